/* An input between the moment it was judged and the moment it is packed. */
#include "common/fs.h"
#include "host/inputs.h"
#include "saferun/policy.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const char policy_format[] =
    "apiVersion: policy.safe-run.dev/v1alpha1\n"
    "metadata: {name: test}\n"
    "runtime: {command: /bin/true, args: []}\n"
    "resources: {cpu: {max: '100000 100000'}, memory: {max: 64Mi}}\n"
    "network: {mode: none}\n"
    "mounts: [{source: %s/in, target: /data/in, read_only: true}]\n"
    "audit: {level: basic}\n";
static const char allowlist_format[] = "schemaVersion: safe-run.mount-allowlist/v1\n"
                                       "hostAllowPrefixes: [%s]\nguestAllowPrefixes: [/data]\n";

struct fixture {
    char dir[64];
    int fd;
    struct sr_hasher *hasher;
    struct host_config config;
    struct sr_check check;
    struct host_input input;
    struct sr_error err;
};

static void put(int dir, const char *name, const char *text)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(sr_write_all(fd, text, strlen(text)), 0);
    close(fd);
}

/* A source "in" with a file "a" in it, judged. */
static int judge(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char text[1024], allowlist[128];
    strcpy(f->dir, "/tmp/sr-inputs-XXXXXX");
    if (mkdtemp(f->dir) == NULL)
        return -1;
    f->fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->hasher = sr_hasher_new();
    f->input.fd = -1;
    assert_int_equal(mkdirat(f->fd, "in", 0755), 0);
    put(f->fd, "in/a", "checked");
    snprintf(text, sizeof text, allowlist_format, f->dir);
    put(f->fd, "allow.yaml", text);
    int len = snprintf(text, sizeof text, policy_format, f->dir);
    snprintf(allowlist, sizeof allowlist, "%s/allow.yaml", f->dir);
    assert_int_equal(sr_policy_check(text, (size_t)len,
                                     &(struct sr_policy_sources){.allowlist = allowlist}, &f->check,
                                     &f->err),
                     0);
    assert_non_null(f->check.policy);
    *state = f;
    return 0;
}

static int forget(void **state)
{
    struct fixture *f = *state;
    sr_close_fd(&f->input.fd);
    sr_check_free(&f->check);
    sr_hasher_free(f->hasher);
    close(f->fd);
    int result = sr_remove_tree(AT_FDCWD, f->dir);
    free(f);
    return result;
}

static int open_input(struct fixture *f)
{
    const struct host_input_context context = {
        .config = &f->config, .hasher = f->hasher, .scratch_fd = f->fd};
    return host_input_open(&f->check.policy->mounts[0], &context, &f->input, &f->err);
}

static void expect_refusal(struct fixture *f, const char *words)
{
    assert_int_equal(open_input(f), -1);
    assert_int_equal(f->err.code, SR_RUN_101);
    assert_string_equal(f->err.path, "mount.apply");
    if (strstr(f->err.message, words) == NULL)
        fail_msg("'%s' is not in: %s", words, f->err.message);
}

static void what_was_checked_is_packed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(open_input(f), 0);
    assert_int_equal(f->input.files, 1);
    assert_int_equal(f->input.bytes, 7);
    assert_int_equal(fcntl(f->input.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
}

static void a_link_in_the_sources_place_changes_nothing(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkdirat(f->fd, "other", 0755), 0);
    put(f->fd, "other/a", "something else altogether");
    assert_int_equal(renameat(f->fd, "in", f->fd, "away"), 0);
    assert_int_equal(symlinkat("other", f->fd, "in"), 0);
    if (open_input(f) == 0) /* a file system need not change the ctime of what is renamed */
        assert_int_equal(f->input.bytes, 7);
    else
        assert_non_null(strstr(f->err.message, "changed after it was checked"));
}

static void another_directory_in_the_sources_place_changes_nothing(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mkdirat(f->fd, "other", 0755), 0);
    put(f->fd, "other/a", "something else altogether");
    assert_int_equal(renameat2(f->fd, "in", f->fd, "other", RENAME_EXCHANGE), 0);
    if (open_input(f) == 0)
        assert_int_equal(f->input.bytes, 7);
    else
        assert_non_null(strstr(f->err.message, "changed after it was checked"));
}

static void a_source_that_was_removed_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(sr_remove_tree(f->fd, "in"), 0);
    expect_refusal(f, "was removed after it was checked");
}

static void a_source_that_got_another_entry_is_refused(void **state)
{
    struct fixture *f = *state;
    usleep(20000); /* a tick of the file system's clock */
    put(f->fd, "in/b", "new");
    expect_refusal(f, "changed after it was checked");
}

static void more_images_than_disks_share_the_last(void **state)
{
    enum { COUNT = VMM_INPUTS_MAX + 3 };
    struct fixture *f = *state;
    struct host_input inputs[COUNT];
    int disks[VMM_INPUTS_MAX], joined = -1;
    size_t count;
    for (int i = 0; i < COUNT; i++) {
        char name[16], text[8000];
        snprintf(name, sizeof name, "image%d", i);
        memset(text, 'a' + i, sizeof text);
        /* Half of them on another file system than what they are joined into. */
        inputs[i] = (struct host_input){
            .fd = i % 2 == 0 ? memfd_create(name, MFD_CLOEXEC)
                             : openat(f->fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600),
            .image_bytes = 5000 + (uint64_t)i};
        assert_int_equal(sr_write_all(inputs[i].fd, text, 5000 + (size_t)i), 0);
    }
    assert_int_equal(host_inputs_arrange(inputs, COUNT, f->fd, disks, &count, &joined, &f->err), 0);
    assert_int_equal(count, VMM_INPUTS_MAX);
    assert_int_equal(disks[VMM_INPUTS_MAX - 1], joined);
    for (int i = 0; i < COUNT; i++) {
        char first = 0, last = 0;
        const struct channel_spec_input *where = &inputs[i].where;
        int fd = disks[where->disk];
        assert_int_equal(where->length == 0, fd != joined);
        assert_int_equal(where->offset % 4096, 0);
        assert_int_equal(pread(fd, &first, 1, (off_t)where->offset), 1);
        assert_int_equal(pread(fd, &last, 1, (off_t)(where->offset + inputs[i].image_bytes - 1)),
                         1);
        assert_int_equal(first, 'a' + i);
        assert_int_equal(last, 'a' + i);
        close(inputs[i].fd);
    }
    close(joined);
}

#define inputs_test(name) cmocka_unit_test_setup_teardown(name, judge, forget)

int main(void)
{
    const struct CMUnitTest tests[] = {
        inputs_test(what_was_checked_is_packed),
        inputs_test(a_link_in_the_sources_place_changes_nothing),
        inputs_test(another_directory_in_the_sources_place_changes_nothing),
        inputs_test(a_source_that_was_removed_is_refused),
        inputs_test(a_source_that_got_another_entry_is_refused),
        inputs_test(more_images_than_disks_share_the_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
