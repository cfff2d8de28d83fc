#include "common/json_reader.h"
#include "evidence/event.h"
#include "evidence_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* The wall clock as the library sees it, in seconds beside the real one. */
static int64_t wall_clock_step;

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME)
        now->tv_sec += wall_clock_step;
    return result;
}

static int setup(void **state)
{
    static struct fixture fixture;
    wall_clock_step = 0;
    fixture_open(&fixture);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_close(*state);
    return 0;
}

static void open_log(struct fixture *f, uint32_t types)
{
    struct sr_error err;
    assert_int_equal(evidence_event_log_create(f->dir, FIXTURE_RUN_ID, types, &f->log, &err), 0);
}

static void append_sample(struct fixture *f, int i)
{
    struct sr_error err;
    assert_int_equal(
        evidence_event_append(f->log, EVIDENCE_STAGE_MONITOR, SR_EVENT_RESOURCE_SAMPLED,
                              json_pack("{s:i,s:i}", "cpuUsageUsec", i, "memoryCurrentBytes", 4096),
                              &err),
        0);
}

static void sync_log(struct fixture *f)
{
    struct sr_error err;
    assert_int_equal(evidence_event_log_sync(f->log, &err), 0);
}

static void close_log(struct fixture *f)
{
    evidence_event_log_close(f->log);
    f->log = NULL;
}

static int reopen_log(struct fixture *f, uint64_t *dropped, struct sr_error *err)
{
    return evidence_event_log_reopen(f->dir, FIXTURE_RUN_ID, ALL_EVENTS, &f->log, dropped, err);
}

static off_t file_size(const struct fixture *f)
{
    struct stat st;
    return fstatat(f->dir, EVIDENCE_EVENTS_FILE, &st, AT_SYMLINK_NOFOLLOW) < 0 ? -1 : st.st_size;
}

/* The rule of the contract, written out by hand: hashPrev|timestamp|runId|stage|type|payload. */
static void hash_follows_the_contract(void **state)
{
    struct fixture *f = *state;
    open_log(f, ALL_EVENTS);
    append_sample(f, 1);
    append_sample(f, 2);
    sync_log(f);
    size_t len;
    char *text = fixture_read(f, EVIDENCE_EVENTS_FILE, &len);
    struct sr_hasher *hasher = sr_hasher_new();
    char previous[SR_SHA256_TEXT] = EVIDENCE_HASH_ZERO;
    int i = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char timestamp[64], hashed[512], self[SR_SHA256_TEXT], expected[1024];
        assert_int_equal(sscanf(strstr(line, "\"timestamp\":\"") + 13, "%63[^\"]", timestamp), 1);
        snprintf(hashed, sizeof hashed,
                 "%s|%s|" FIXTURE_RUN_ID
                 "|monitor|resource.sampled|{\"cpuUsageUsec\":%d,\"memoryCurrentBytes\":4096,"
                 "\"observedBy\":\"host\"}",
                 previous, timestamp, ++i);
        assert_int_equal(sr_sha256(hasher, hashed, strlen(hashed), self), 0);
        snprintf(expected, sizeof expected,
                 "{\"hashPrev\":\"%s\",\"hashSelf\":\"%s\",\"payload\":{\"cpuUsageUsec\":%d,"
                 "\"memoryCurrentBytes\":4096,\"observedBy\":\"host\"},\"runId\":\"" FIXTURE_RUN_ID
                 "\",\"stage\":\"monitor\",\"timestamp\":\"%s\",\"type\":\"resource.sampled\"}",
                 previous, self, i, timestamp);
        assert_string_equal(line, expected);
        memcpy(previous, self, sizeof previous);
    }
    assert_int_equal(i, 2);
    sr_hasher_free(hasher);
    free(text);
}

static void every_event_says_who_saw_it(void **state)
{
    struct fixture *f = *state;
    struct sr_error err;
    open_log(f, ALL_EVENTS);
    append_sample(f, 1);
    assert_int_equal(evidence_event_append(
                         f->log, EVIDENCE_STAGE_CLEANUP, SR_EVENT_RUN_FAILED,
                         json_pack("{s:s}", EVIDENCE_OBSERVED_BY, EVIDENCE_OBSERVED_GUEST), &err),
                     0);
    sync_log(f);
    size_t len;
    char *text = fixture_read(f, EVIDENCE_EVENTS_FILE, &len);
    char *second = strchr(text, '\n') + 1;
    assert_non_null(strstr(second, "{\"observedBy\":\"guest\"}"));
    *second = '\0';
    assert_non_null(strstr(text, "\"observedBy\":\"host\"}"));
    free(text);
}

static void the_file_is_private_and_new(void **state)
{
    struct fixture *f = *state;
    struct evidence_event_log *second;
    struct sr_error err;
    struct stat st;
    open_log(f, ALL_EVENTS);
    assert_int_equal(fstatat(f->dir, EVIDENCE_EVENTS_FILE, &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(evidence_event_log_create(f->dir, FIXTURE_RUN_ID, ALL_EVENTS, &second, &err),
                     -1);
    assert_int_equal(err.code, SR_EVD_001);
    assert_string_equal(err.path, "events");
}

static void types_that_are_not_wanted_are_not_written(void **state)
{
    struct fixture *f = *state;
    struct sr_error err;
    open_log(f, 1u << SR_EVENT_RUN_CLEANED);
    append_sample(f, 1);
    assert_int_equal(evidence_event_append(f->log, EVIDENCE_STAGE_CLEANUP, SR_EVENT_RUN_CLEANED,
                                           json_object(), &err),
                     0);
    sync_log(f);
    assert_int_equal(evidence_event_log_state(f->log).count, 1);
}

static void payloads_that_no_report_can_hold_are_refused(void **state)
{
    struct fixture *f = *state;
    open_log(f, ALL_EVENTS);
    json_t *deep = json_object();
    for (int i = 0; i < 40; i++)
        deep = json_pack("{s:o}", "x", deep);
    char *long_text = malloc(SR_JSON_MAX_VALUE + 1);
    memset(long_text, 'x', SR_JSON_MAX_VALUE);
    long_text[SR_JSON_MAX_VALUE] = '\0';
    json_t *bad[] = {NULL,
                     json_array(),
                     json_pack("{s:f}", "x", 1.5),
                     json_pack("{s:[I]}", "x", (json_int_t)SR_JSON_MAX_INTEGER + 1),
                     deep,
                     json_pack("{s:s}", "x", "\xff"),
                     json_pack("{s:s}", "x", long_text)};
    free(long_text);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct sr_error err = {0};
        assert_int_equal(evidence_event_append(f->log, EVIDENCE_STAGE_MONITOR, SR_EVENT_VM_STARTED,
                                               bad[i], &err),
                         -1);
        assert_int_equal(err.code, SR_EVD_001);
        assert_string_equal(err.path, "events");
    }
    append_sample(f, 1); /* the chain is as before */
    sync_log(f);
    close_log(f);
    struct sr_error err;
    assert_int_equal(reopen_log(f, NULL, &err), 0);
    assert_int_equal(evidence_event_log_state(f->log).count, 1);
}

static void nothing_is_written_before_the_barrier(void **state)
{
    struct fixture *f = *state;
    open_log(f, ALL_EVENTS);
    append_sample(f, 1);
    assert_int_equal(file_size(f), 0);
    sync_log(f);
    assert_true(file_size(f) > 0);
    assert_int_equal(file_size(f), evidence_event_log_state(f->log).size);
}

static void many_events_do_not_pile_up_in_memory(void **state)
{
    struct fixture *f = *state;
    open_log(f, ALL_EVENTS);
    for (int i = 0; i < 2000; i++)
        append_sample(f, i);
    assert_true((size_t)file_size(f) >= EVIDENCE_EVENT_LOG_HOLD);
}

static void one_writer_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct evidence_event_log *second;
    struct sr_error err;
    open_log(f, ALL_EVENTS);
    assert_int_equal(
        evidence_event_log_reopen(f->dir, FIXTURE_RUN_ID, ALL_EVENTS, &second, NULL, &err), -1);
    assert_int_equal(err.code, SR_EVD_001);
    assert_string_equal(err.path, "events.lock");
    close_log(f);
    assert_int_equal(reopen_log(f, NULL, &err), 0);
}

static void last_timestamp(const struct fixture *f, char text[SR_TIMESTAMP_TEXT])
{
    size_t len;
    char *all = fixture_read(f, EVIDENCE_EVENTS_FILE, &len), *found = all;
    for (char *next; (next = strstr(found, "\"timestamp\":\"")) != NULL;)
        found = next + 13;
    memcpy(text, found, SR_TIMESTAMP_TEXT - 1);
    text[SR_TIMESTAMP_TEXT - 1] = '\0';
    free(all);
}

static void a_wall_clock_that_steps_back_keeps_order(void **state)
{
    struct fixture *f = *state;
    char first[SR_TIMESTAMP_TEXT], second[SR_TIMESTAMP_TEXT], third[SR_TIMESTAMP_TEXT];
    struct sr_error err;
    wall_clock_step = 1000000;
    open_log(f, ALL_EVENTS);
    append_sample(f, 1);
    sync_log(f);
    last_timestamp(f, first);
    wall_clock_step = -1000000;
    append_sample(f, 2);
    sync_log(f);
    last_timestamp(f, second);
    close_log(f);
    assert_int_equal(reopen_log(f, NULL, &err), 0);
    append_sample(f, 3);
    sync_log(f);
    last_timestamp(f, third);
    assert_true(strcmp(first, second) < 0);
    assert_true(strcmp(second, third) < 0);
}

static void timestamps_are_rfc_3339(void **state)
{
    (void)state;
    static const struct {
        int64_t nsec;
        const char *text;
    } times[] = {
        {0, "1970-01-01T00:00:00.000000000Z"},
        {INT64_C(951782399999999999), "2000-02-28T23:59:59.999999999Z"},
        {INT64_C(951782400000000001), "2000-02-29T00:00:00.000000001Z"},
        {INT64_C(4107542400000000000), "2100-03-01T00:00:00.000000000Z"},
        {INT64_MAX, "2262-04-11T23:47:16.854775807Z"},
    };
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        char text[SR_TIMESTAMP_TEXT];
        int64_t nsec;
        sr_timestamp_format(times[i].nsec, text);
        assert_string_equal(text, times[i].text);
        assert_true(sr_timestamp_parse(text, strlen(text), &nsec));
        assert_int_equal(nsec, times[i].nsec);
    }
    int64_t nsec;
    assert_false(sr_timestamp_parse("unix:1700000000.000000001", 25, &nsec));
    assert_false(sr_timestamp_parse("9999-01-01T00:00:00.000000000Z", 30, &nsec));
}

/* A crash in the middle of a write leaves any prefix of it. */
static void every_torn_tail_is_removed(void **state)
{
    struct fixture *f = *state;
    fixture_events(f, 1);
    close_log(f);
    size_t len;
    char *whole = fixture_read(f, EVIDENCE_EVENTS_FILE, &len);
    for (size_t cut = 0; cut <= len; cut++) {
        struct sr_error err = {0};
        uint64_t dropped = 99, lines = 0;
        size_t good = 0;
        for (size_t i = 0; i < cut; i++)
            if (whole[i] == '\n') {
                lines++;
                good = i + 1;
            }
        fixture_write(f, EVIDENCE_EVENTS_FILE, whole, cut);
        if (reopen_log(f, &dropped, &err) < 0)
            fail_msg("cut at %zu: %s %s", cut, err.path, err.message);
        assert_int_equal(dropped, cut - good);
        assert_int_equal(evidence_event_log_state(f->log).count, lines);
        assert_int_equal(file_size(f), good);
        append_sample(f, 7);
        sync_log(f);
        close_log(f);
        assert_int_equal(reopen_log(f, &dropped, &err), 0);
        assert_int_equal(evidence_event_log_state(f->log).count, lines + 1);
        assert_int_equal(dropped, 0);
        close_log(f);
    }
    free(whole);
}

static void a_hole_left_by_a_power_failure_is_removed(void **state)
{
    struct fixture *f = *state;
    struct sr_error err;
    uint64_t dropped;
    fixture_events(f, 1);
    close_log(f);
    size_t len;
    char *text = fixture_read(f, EVIDENCE_EVENTS_FILE, &len);
    size_t line = (size_t)(strchr(text, '\n') - text) + 1;
    memset(text + line + 20, 0, 600); /* the second line and more */
    fixture_write(f, EVIDENCE_EVENTS_FILE, text, len);
    assert_int_equal(reopen_log(f, &dropped, &err), 0);
    assert_int_equal(evidence_event_log_state(f->log).count, 1);
    assert_int_equal(dropped, len - line);
    free(text);
}

static void damage_that_is_no_crash_is_refused(void **state)
{
    struct fixture *f = *state;
    struct sr_error err;
    fixture_events(f, 1);
    close_log(f);
    size_t len;
    char *text = fixture_read(f, EVIDENCE_EVENTS_FILE, &len);
    char *second = strchr(text, '\n') + 1;
    char *digit = strstr(second, "\"timeoutSec\":3") + 13;
    *digit = '4';
    fixture_write(f, EVIDENCE_EVENTS_FILE, text, len);
    assert_int_equal(reopen_log(f, NULL, &err), -1);
    assert_int_equal(err.code, SR_EVD_001);
    assert_string_equal(err.path, "events[1]");
    assert_int_equal(file_size(f), len); /* nothing was cut away */
    *digit = '3';
    text[len - 2] = ' '; /* the last line, which has its newline */
    fixture_write(f, EVIDENCE_EVENTS_FILE, text, len);
    assert_int_equal(reopen_log(f, NULL, &err), -1);
    free(text);
}

static void the_log_of_another_run_is_refused(void **state)
{
    struct fixture *f = *state;
    struct sr_error err;
    fixture_events(f, 0);
    close_log(f);
    assert_int_equal(evidence_event_log_reopen(f->dir, "sr-other", ALL_EVENTS, &f->log, NULL, &err),
                     -1);
    assert_string_equal(err.path, "events[0]");
    assert_int_equal(unlinkat(f->dir, EVIDENCE_EVENTS_FILE, 0), 0);
    assert_int_equal(symlinkat("/dev/zero", f->dir, EVIDENCE_EVENTS_FILE), 0);
    assert_int_equal(reopen_log(f, NULL, &err), -1);
    assert_string_equal(err.path, "events");
}

static void limit_file_size(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The disk fills up at every byte of the second barrier. */
static void a_failed_barrier_loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct sr_error err;
    signal(SIGXFSZ, SIG_IGN);
    off_t first = 0;
    for (rlim_t room = 0; room < 1000; room++) {
        open_log(f, ALL_EVENTS);
        append_sample(f, 1);
        sync_log(f);
        first = file_size(f);
        append_sample(f, 2);
        append_sample(f, 3);
        limit_file_size((rlim_t)first + room);
        int result = evidence_event_log_sync(f->log, &err);
        limit_file_size(RLIM_INFINITY);
        if (result < 0) {
            assert_int_equal(err.code, SR_EVD_001);
            assert_string_equal(err.path, "events");
            assert_int_equal(file_size(f), first); /* what was acknowledged, and nothing torn */
            append_sample(f, 4);
            sync_log(f); /* there is room again */
        }
        uint64_t count = result < 0 ? 4 : 3;
        assert_int_equal(evidence_event_log_state(f->log).count, count);
        close_log(f);
        assert_int_equal(reopen_log(f, NULL, &err), 0);
        assert_int_equal(evidence_event_log_state(f->log).count, count);
        close_log(f);
        assert_int_equal(unlinkat(f->dir, EVIDENCE_EVENTS_FILE, 0), 0);
        if (result == 0 && room > 0)
            return; /* everything fitted */
    }
    fail_msg("the barrier never succeeded");
}

/* In a mount namespace of its own: a file system of one page. 0 good, 77 not possible here. */
static int fill_a_disk(const struct fixture *f)
{
    if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return 77;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", f->path, "tmpfs", 0, "size=4096") < 0)
        return 77;
    struct fixture full = *f;
    struct sr_error err;
    uint64_t count = 0;
    full.dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (full.dir < 0 ||
        evidence_event_log_create(full.dir, FIXTURE_RUN_ID, ALL_EVENTS, &full.log, &err) < 0)
        return 1;
    for (int i = 0; i < 1000; i++) {
        if (evidence_event_append(full.log, EVIDENCE_STAGE_MONITOR, SR_EVENT_RESOURCE_SAMPLED,
                                  json_pack("{s:i}", "cpuUsageUsec", i), &err) < 0)
            return 2;
        if (evidence_event_log_sync(full.log, &err) < 0)
            break;
        count = evidence_event_log_state(full.log).count;
    }
    if (err.code != SR_EVD_001 || strstr(err.message, strerror(ENOSPC)) == NULL || count == 0)
        return 3;
    close_log(&full);
    if (reopen_log(&full, NULL, &err) < 0)
        return 4;
    return evidence_event_log_state(full.log).count == count ? 0 : 5;
}

static void a_full_disk_keeps_what_was_acknowledged(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fill_a_disk(f));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        assert_null(getenv("SR_MUST_WORK"));
        print_message("no mount namespace here: a full disk is tested by RLIMIT_FSIZE only\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Writes for ever; tells each acknowledged event on fd. */
static void write_until_killed(struct fixture *f, int fd)
{
    struct sr_error err;
    if (evidence_event_log_create(f->dir, FIXTURE_RUN_ID, ALL_EVENTS, &f->log, &err) < 0)
        _exit(1);
    for (int i = 0;; i++) {
        if (evidence_event_append(f->log, EVIDENCE_STAGE_MONITOR, SR_EVENT_RESOURCE_SAMPLED,
                                  json_pack("{s:i}", "cpuUsageUsec", i), &err) < 0)
            _exit(2);
        if (i % 3 == 0 && (evidence_event_log_sync(f->log, &err) < 0 || write(fd, "x", 1) != 1))
            _exit(3);
    }
}

static void a_killed_writer_loses_nothing_acknowledged(void **state)
{
    struct fixture *f = *state;
    for (int round = 1; round <= 40; round++) {
        int ends[2], status;
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            write_until_killed(f, ends[1]);
        close(ends[1]);
        uint64_t acknowledged = 0;
        char c;
        for (int i = 0; i < round && read(ends[0], &c, 1) == 1; i++)
            acknowledged++;
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        while (read(ends[0], &c, 1) == 1)
            acknowledged++;
        close(ends[0]);

        struct sr_error err = {0};
        if (reopen_log(f, NULL, &err) < 0)
            fail_msg("round %d: %s %s", round, err.path, err.message);
        uint64_t count = evidence_event_log_state(f->log).count;
        assert_true(count >= acknowledged * 3 - 2); /* events 0, 3, 6, ... are barriers */
        assert_int_equal(evidence_event_append(f->log, EVIDENCE_STAGE_CLEANUP, SR_EVENT_RUN_FAILED,
                                               json_pack("{s:s}", "reason", "setup"), &err),
                         0);
        sync_log(f);
        close_log(f);
        assert_int_equal(reopen_log(f, NULL, &err), 0);
        assert_int_equal(evidence_event_log_state(f->log).count, count + 1);
        close_log(f);
        assert_int_equal(unlinkat(f->dir, EVIDENCE_EVENTS_FILE, 0), 0);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(hash_follows_the_contract),
        CASE(every_event_says_who_saw_it),
        CASE(the_file_is_private_and_new),
        CASE(types_that_are_not_wanted_are_not_written),
        CASE(payloads_that_no_report_can_hold_are_refused),
        CASE(nothing_is_written_before_the_barrier),
        CASE(many_events_do_not_pile_up_in_memory),
        CASE(one_writer_at_a_time),
        CASE(a_wall_clock_that_steps_back_keeps_order),
        cmocka_unit_test(timestamps_are_rfc_3339),
        CASE(every_torn_tail_is_removed),
        CASE(a_hole_left_by_a_power_failure_is_removed),
        CASE(damage_that_is_no_crash_is_refused),
        CASE(the_log_of_another_run_is_refused),
        CASE(a_failed_barrier_loses_nothing),
        CASE(a_full_disk_keeps_what_was_acknowledged),
        CASE(a_killed_writer_loses_nothing_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
