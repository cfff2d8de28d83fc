/*
 * What evidence costs. Prints:
 *
 *   append   CPU time of an append without a barrier, and of one with
 *   verify   wall time and peak RSS of `safe-run report verify` on a report of 50,000 events,
 * beside `openssl dgst -sha256` of the same file (medians of alternating runs)
 *   attest   wall time of attesting that report, with its events file, and of verifying all of it
 *   search   wall time of `safe-run archive search` over 100,000 runs (bench/archive.c)
 *
 *   bench-evidence SAFE-RUN [EVENTS [RUNS]]
 *
 * The goals: under 5 us, at most 5 times, at most 32 MiB, under 20 ms (docs/OPERATIONS.md,
 * "Figures").
 */
#include "bench.h"
#include "evidence/key.h"
#include "evidence_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = BENCH_ROUNDS, SYNCS = 200, RUNS = 100000 };

double bench_seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double values[BENCH_ROUNDS])
{
    qsort(values, ROUNDS, sizeof *values, compare);
    return values[ROUNDS / 2];
}

double bench_run(char *const argv[], long *rss)
{
    double start = bench_seconds(CLOCK_MONOTONIC);
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        execvp(argv[0], argv);
        _exit(127);
    }
    int status;
    struct rusage usage;
    if (pid < 0 || wait4(pid, &status, 0, &usage) < 0 || status != 0) {
        fprintf(stderr, "%s failed\n", argv[0]);
        exit(1);
    }
    *rss = usage.ru_maxrss;
    return bench_seconds(CLOCK_MONOTONIC) - start;
}

static json_t *sample(unsigned i)
{
    return json_pack("{s:I,s:I}", "cpuUsageUsec", (json_int_t)i * 1000, "memoryCurrentBytes",
                     (json_int_t)104857600 + i);
}

static void bench_append(unsigned events)
{
    struct fixture fixture;
    struct sr_error err;
    fixture_open(&fixture);
    fixture_events(&fixture, 0);

    double start = bench_seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (unsigned i = 0; i < events; i++)
        json_decref(sample(i));
    double payloads = bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - start;

    start = bench_seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (unsigned i = 0; i < events; i++)
        if (evidence_event_append(fixture.log, EVIDENCE_STAGE_MONITOR, SR_EVENT_RESOURCE_SAMPLED,
                                  sample(i), &err) < 0)
            exit(1);
    double cpu = bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - start;
    printf("append: %.2f us CPU an event (of which building its payload: %.2f us)\n",
           cpu / events * 1e6, payloads / events * 1e6);

    start = bench_seconds(CLOCK_MONOTONIC);
    for (unsigned i = 0; i < SYNCS; i++)
        if (evidence_event_append(fixture.log, EVIDENCE_STAGE_MONITOR, SR_EVENT_RESOURCE_SAMPLED,
                                  sample(i), &err) < 0 ||
            evidence_event_log_sync(fixture.log, &err) < 0)
            exit(1);
    printf("append and barrier: %.0f us wall\n",
           (bench_seconds(CLOCK_MONOTONIC) - start) / SYNCS * 1e6);
    fixture_close(&fixture);
}

static void bench_verify(char *program, unsigned events)
{
    struct fixture fixture;
    double ours[ROUNDS], openssl[ROUNDS];
    long rss, other, max = 0;
    fixture_open(&fixture);
    double start = bench_seconds(CLOCK_PROCESS_CPUTIME_ID);
    fixture_report(&fixture, events);
    printf("write: %.0f ms CPU for all events and the report\n",
           (bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - start) * 1e3);
    struct stat st;
    if (fstatat(fixture.dir, EVIDENCE_REPORT_FILE, &st, 0) < 0)
        exit(1);
    char path[128];
    snprintf(path, sizeof path, "%s", fixture_path(&fixture, EVIDENCE_REPORT_FILE));
    char *verify[] = {program, "report", "verify", path, NULL};
    char *digest[] = {"openssl", "dgst", "-sha256", path, NULL};
    for (int i = 0; i < ROUNDS; i++) {
        ours[i] = bench_run(verify, &rss);
        openssl[i] = bench_run(digest, &other);
        max = rss > max ? rss : max;
    }
    double a = bench_median(ours), b = bench_median(openssl);
    printf(
        "verify: %u events, %.1f MB: %.1f ms, openssl dgst -sha256 %.1f ms: %.2f times; peak RSS "
        "%.1f MiB\n",
        events, (double)st.st_size / 1e6, a * 1e3, b * 1e3, a / b, (double)max / 1024);
    fixture_close(&fixture);
}

static void bench_attest(char *program, unsigned events)
{
    struct fixture fixture;
    struct sr_error err;
    struct sr_key *key;
    char report[128], events_path[128], key_path[128], public_path[136];
    double made[ROUNDS], verified[ROUNDS];
    long rss, max = 0;
    fixture_open(&fixture);
    fixture_report(&fixture, events);
    snprintf(report, sizeof report, "%s", fixture_path(&fixture, EVIDENCE_REPORT_FILE));
    snprintf(events_path, sizeof events_path, "%s", fixture_path(&fixture, EVIDENCE_EVENTS_FILE));
    snprintf(key_path, sizeof key_path, "%s", fixture_path(&fixture, "key"));
    snprintf(public_path, sizeof public_path, "%s.pub", key_path);
    if (evidence_key_generate(key_path, &key, &err) < 0)
        exit(1);
    evidence_key_free(key);
    char *attest[] = {program, "report", "attest", "--key", key_path, report, NULL};
    char *verify[] = {program, "report",    "verify", "--events", events_path,
                      "--key", public_path, report,   NULL};
    for (int i = 0; i < ROUNDS; i++) {
        made[i] = bench_run(attest, &rss);
        max = rss > max ? rss : max;
        verified[i] = bench_run(verify, &rss);
        max = rss > max ? rss : max;
    }
    printf("attest: %.1f ms; verify with events and signature: %.1f ms; peak RSS %.1f MiB\n",
           bench_median(made) * 1e3, bench_median(verified) * 1e3, (double)max / 1024);
    fixture_close(&fixture);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s SAFE-RUN [EVENTS [RUNS]]\n", argv[0]);
        return 64;
    }
    setenv("TMPDIR", "/tmp", 0); /* a disk, for the barriers */
    unsigned events = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 50000;
    bench_append(events);
    bench_verify(argv[1], events);
    bench_attest(argv[1], events);
    bench_archive(argv[1], argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : RUNS);
    return 0;
}
