/* What a confined worker can do, and what its end comes back as. */
#include "jail/worker.h"

#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
// clang-format on

static struct jail_worker_plan plan(void)
{
    return (struct jail_worker_plan){
        .what = "the worker",
        .code = SR_RUN_101,
        .path = "test.worker",
        .read_dir = -1,
        .write_dir = -1,
        .memory_max = 64 << 20,
        .file_max = 1 << 20,
        .cpu_sec = 10,
    };
}

static int add_up(void *context, struct image_worker *worker, void *result, struct sr_error *err)
{
    (void)worker, (void)err;
    *(int *)result = *(int *)context + 1;
    return 0;
}

static void a_result_comes_back(void **state)
{
    (void)state;
    struct jail_worker_plan how = plan();
    int number = 41, result = 0;
    struct sr_error err = {0};
    assert_int_equal(jail_worker_run(&how, add_up, &number, &result, sizeof result, &err), 0);
    assert_int_equal(result, 42);
}

static int complain(void *context, struct image_worker *worker, void *result, struct sr_error *err)
{
    (void)context, (void)worker, (void)result;
    return sr_fail(err, SR_OPS_106, "some.path", "twice \x1b[31mthere");
}

static void an_error_crosses_whole_and_printable(void **state)
{
    (void)state;
    struct jail_worker_plan how = plan();
    struct sr_error err = {0};
    int result = 7;
    assert_int_equal(jail_worker_run(&how, complain, NULL, &result, sizeof result, &err), -1);
    assert_int_equal(err.code, SR_OPS_106);
    assert_string_equal(err.path, "some.path");
    assert_string_equal(err.message, "twice ?[31mthere");
    assert_int_equal(result, 7);
}

static int die(void *context, struct image_worker *worker, void *result, struct sr_error *err)
{
    (void)worker, (void)result, (void)err;
    signal(*(int *)context, SIG_DFL);
    raise(*(int *)context);
    _exit(0);
}

static void a_death_is_an_error_with_a_sentence(void **state)
{
    (void)state;
    struct jail_worker_plan how = plan();
    struct sr_error err = {0};
    int result, number = SIGKILL;
    assert_int_equal(jail_worker_run(&how, die, &number, &result, sizeof result, &err), -1);
    assert_string_equal(err.message, "the worker was ended by signal 9 (Killed)");
    assert_int_equal(err.code, SR_RUN_101);
    number = 0; /* no signal: it just ends */
    assert_int_equal(jail_worker_run(&how, die, &number, &result, sizeof result, &err), -1);
    assert_string_equal(err.message, "the worker ended without a result");
}

static int spin(void *context, struct image_worker *worker, void *result, struct sr_error *err)
{
    (void)context, (void)result, (void)err;
    for (uint64_t i = 0; i < UINT64_MAX; i++)
        jail_worker_progress(worker, i, 0);
    return 0;
}

static void cpu_time_is_limited(void **state)
{
    (void)state;
    struct jail_worker_plan how = plan();
    struct sr_error err = {0};
    int result;
    how.cpu_sec = 1;
    assert_int_equal(jail_worker_run(&how, spin, NULL, &result, sizeof result, &err), -1);
    assert_string_equal(err.message, "the worker took more than 1 s of CPU time");
}

static bool stop_at_third(void *context, uint64_t done, uint64_t total)
{
    (void)done, (void)total;
    return ++*(int *)context < 3;
}

static void progress_can_end_it(void **state)
{
    (void)state;
    struct jail_worker_plan how = plan();
    struct sr_error err = {0};
    int result, calls = 0;
    how.progress = stop_at_third;
    how.context = &calls;
    assert_int_equal(jail_worker_run(&how, spin, NULL, &result, sizeof result, &err), -1);
    assert_string_equal(err.message, "the worker was told to stop");
    assert_int_equal(calls, 3);
}

static int note(void *context, struct image_worker *worker, void *result, struct sr_error *err)
{
    (void)context, (void)err;
    static char text[JAIL_WORKER_NOTE_MAX];
    memset(text, 'x', sizeof text);
    jail_worker_note(worker, 3, "word", 4);
    jail_worker_note(worker, 4, text, sizeof text);
    *(int *)result = 1;
    return 0;
}

static void take_note(void *context, unsigned kind, const void *data, size_t len)
{
    (void)data;
    *(size_t *)context += kind * len;
}

static void notes_arrive(void **state)
{
    (void)state;
    struct jail_worker_plan how = plan();
    struct sr_error err = {0};
    size_t sum = 0;
    int result;
    how.note = take_note;
    how.context = &sum;
    assert_int_equal(jail_worker_run(&how, note, NULL, &result, sizeof result, &err), 0);
    assert_int_equal(sum, 3 * 4 + 4 * JAIL_WORKER_NOTE_MAX);
}

/* What a worker of a kind finds when it tries. */
struct attempts {
    int read_dir, write_dir, kept, lost;
    int open_passwd, open_inside, open_above, make_outside, make_inside, socket, fork, kept_errno,
        lost_errno, big_file;
};

static int outcome(long result)
{
    return result < 0 ? errno : 0;
}

static int attempt(void *context, struct image_worker *worker, void *result, struct sr_error *err)
{
    (void)worker, (void)err;
    struct attempts *tried = result;
    *tried = *(struct attempts *)context;
    tried->open_passwd = outcome(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
    tried->open_inside = outcome(openat(tried->read_dir, "inside", O_RDONLY | O_CLOEXEC));
    tried->open_above = outcome(openat(tried->read_dir, "../above", O_RDONLY | O_CLOEXEC));
    tried->make_outside = outcome(openat(tried->read_dir, "new", O_CREAT | O_WRONLY, 0600));
    tried->make_inside = outcome(openat(tried->write_dir, "new", O_CREAT | O_WRONLY, 0600));
    if (tried->make_inside == 0)
        tried->make_inside = outcome(mkdirat(tried->write_dir, "below", 0700));
    tried->socket = outcome(socket(AF_UNIX, SOCK_STREAM, 0));
    tried->fork = outcome(fork());
    tried->kept_errno = outcome(write(tried->kept, "x", 1));
    tried->lost_errno = outcome(write(tried->lost, "x", 1));
    tried->big_file = outcome(ftruncate(tried->kept, 2 << 20));
    return 0;
}

struct place {
    char path[64];
    int fd;
};

static struct place make_place(void)
{
    struct place place;
    snprintf(place.path, sizeof place.path, "/tmp/sr-worker-XXXXXX");
    assert_non_null(mkdtemp(place.path));
    assert_int_equal(chmod(place.path, 0755), 0);
    place.fd = open(place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(mkdirat(place.fd, "read", 0700), 0);
    assert_int_equal(mkdirat(place.fd, "write", 0700), 0);
    assert_int_equal(sr_write_new_file(place.fd, "above", "x", 1), 0);
    assert_int_equal(sr_write_new_file(place.fd, "read/inside", "x", 1), 0);
    return place;
}

static void remove_place(struct place *place)
{
    static const char *const files[] = {"read/inside", "read/new", "write/new", "above"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        unlinkat(place->fd, files[i], 0);
    unlinkat(place->fd, "write/below", AT_REMOVEDIR);
    unlinkat(place->fd, "read", AT_REMOVEDIR);
    unlinkat(place->fd, "write", AT_REMOVEDIR);
    close(place->fd);
    assert_int_equal(rmdir(place->path), 0);
}

static struct attempts run_attempts(bool reads, bool writes)
{
    struct place place = make_place();
    struct jail_worker_plan how = plan();
    struct sr_error err = {0};
    struct attempts tried, wish = {
                               .read_dir = openat(place.fd, "read", O_RDONLY | O_DIRECTORY),
                               .write_dir = openat(place.fd, "write", O_RDONLY | O_DIRECTORY),
                               .kept = memfd_create("kept", MFD_CLOEXEC),
                               .lost = memfd_create("lost", MFD_CLOEXEC),
                           };
    how.fds = &wish.kept;
    how.fd_count = 1;
    how.read_dir = reads ? wish.read_dir : -1;
    how.write_dir = writes ? wish.write_dir : -1;
    how.read_any = reads;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(jail_worker_run(&how, attempt, &wish, &tried, sizeof tried, &err), 0);
    close(wish.read_dir);
    close(wish.write_dir);
    close(wish.kept);
    close(wish.lost);
    remove_place(&place);
    return tried;
}

static void it_keeps_its_descriptors_and_nothing_else(void **state)
{
    (void)state;
    struct attempts tried = run_attempts(false, false);
    assert_int_equal(tried.open_passwd, EPERM);
    assert_int_equal(tried.open_inside, EPERM);
    assert_int_equal(tried.make_inside, EPERM);
    assert_int_equal(tried.socket, EPERM);
    assert_int_equal(tried.fork, EPERM);
    assert_int_equal(tried.kept_errno, 0);
    assert_int_equal(tried.lost_errno, EBADF);
    assert_int_equal(tried.big_file, EFBIG);
}

static void a_reader_reads_below_its_directory_only(void **state)
{
    (void)state;
    struct attempts tried = run_attempts(true, false);
    assert_int_equal(tried.open_passwd, EACCES);
    assert_int_equal(tried.open_inside, 0);
    assert_int_equal(tried.open_above, EACCES);
    assert_int_equal(tried.make_outside, EACCES);
    assert_int_equal(tried.socket, EPERM);
}

static void a_writer_writes_below_its_directory_only(void **state)
{
    (void)state;
    struct attempts tried = run_attempts(false, true);
    assert_int_equal(tried.open_passwd, EACCES);
    assert_int_equal(tried.make_inside, 0);
    assert_int_not_equal(tried.make_outside, 0);
    assert_int_equal(tried.fork, EPERM);
}

#ifndef __SANITIZE_ADDRESS__ /* whose shadow is beyond every limit */
static int eat(void *context, struct image_worker *worker, void *result, struct sr_error *err)
{
    (void)context, (void)worker;
    void *volatile memory = malloc(128 << 20);
    *(int *)result = 1;
    return memory != NULL ? 0 : sr_fail(err, SR_OPS_105, "memory", "out of memory");
}

static void memory_is_limited(void **state)
{
    (void)state;
    struct jail_worker_plan how = plan();
    struct sr_error err = {0};
    int result;
    assert_int_equal(jail_worker_run(&how, eat, NULL, &result, sizeof result, &err), -1);
    assert_int_equal(err.code, SR_OPS_105);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_result_comes_back),
        cmocka_unit_test(an_error_crosses_whole_and_printable),
        cmocka_unit_test(a_death_is_an_error_with_a_sentence),
        cmocka_unit_test(cpu_time_is_limited),
        cmocka_unit_test(progress_can_end_it),
        cmocka_unit_test(notes_arrive),
        cmocka_unit_test(it_keeps_its_descriptors_and_nothing_else),
        cmocka_unit_test(a_reader_reads_below_its_directory_only),
        cmocka_unit_test(a_writer_writes_below_its_directory_only),
#ifndef __SANITIZE_ADDRESS__
        cmocka_unit_test(memory_is_limited),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
