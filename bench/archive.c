#include "bench.h"

#include "archive/index.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { QUERIES = 14, ARGUMENTS = 10, FILES = 6 };

static void must(int result, const struct sr_error *err)
{
    if (result == 0)
        return;
    fprintf(stderr, "%s: %s\n", err->path, err->message);
    exit(1);
}

static void add_fact(struct archive_index *index, unsigned run, enum archive_fact kind,
                     const char *value)
{
    struct sr_error err;
    must(archive_index_add_fact(index, kind, value, strlen(value), run, &err), &err);
}

/* 64 digits that no other run has, or that every `shared`-th has. */
static const char *digits(unsigned run, unsigned what, unsigned shared)
{
    static char text[65];
    uint64_t seed = (uint64_t)(run % shared) * 64 + what + 1;
    for (int i = 0; i < 4; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        snprintf(text + 16 * i, 17, "%016" PRIx64, seed);
    }
    return text;
}

/* A run like others: one of 200 policies and 50 commands, 90 % end with 0, each goes to 3 of 1,000
 * places. */
static void add_run(struct archive_index *index, unsigned run)
{
    char id[40], bundle[SR_ARCHIVE_ID], policy[32], command[32], line[64], started[40], text[64];
    struct sr_error err;
    unsigned minute = run;
    snprintf(id, sizeof id, "sr-20260102T%06u-%06u", run % 240000, run);
    snprintf(bundle, sizeof bundle, "sha256:%s", digits(run, 0, UINT32_MAX));
    snprintf(policy, sizeof policy, "policy-%u", run * 7 % 200);
    snprintf(command, sizeof command, "/usr/bin/tool%u", run * 11 % 50);
    snprintf(line, sizeof line, "%s --input %u", command, run % 1000);
    snprintf(started, sizeof started, "2026-%02u-%02uT%02u:%02u:00.000000000Z",
             minute / 40320 % 12 + 1, minute / 1440 % 28 + 1, minute / 60 % 24, minute % 60);
    const struct sr_archive_run row = {.leaf = run,
                                       .bundle = bundle,
                                       .run_id = id,
                                       .policy = policy,
                                       .command = line,
                                       .cause = run % 50 == 0 ? "timeout" : "workload",
                                       .result = "pass",
                                       .started = started,
                                       .finished = started,
                                       .stored = started,
                                       .retention = "180d",
                                       .has_exit_code = true,
                                       .exit_code = run % 10 == 0 ? run % 7 : 0};
    must(archive_index_add_run(index, &row, &err), &err);
    add_fact(index, run, ARCHIVE_FACT_RUN_ID, id);
    add_fact(index, run, ARCHIVE_FACT_BUNDLE, bundle + strlen("sha256:"));
    add_fact(index, run, ARCHIVE_FACT_POLICY, policy);
    add_fact(index, run, ARCHIVE_FACT_COMMAND, command);
    add_fact(index, run, ARCHIVE_FACT_COMMAND, command + strlen("/usr/bin/"));
    add_fact(index, run, ARCHIVE_FACT_COMMAND, line);
    add_fact(index, run, ARCHIVE_FACT_CAUSE, row.cause);
    add_fact(index, run, ARCHIVE_FACT_RESULT, row.result);
    snprintf(text, sizeof text, "%" PRId64, row.exit_code);
    add_fact(index, run, ARCHIVE_FACT_EXIT_CODE, text);
    add_fact(index, run, ARCHIVE_FACT_LABEL, "team");
    snprintf(text, sizeof text, "team=%u", run % 20);
    add_fact(index, run, ARCHIVE_FACT_LABEL, text);
    for (unsigned i = 0; i < 3; i++) {
        unsigned place = (run * 13 + i * 331) % 1000;
        snprintf(text, sizeof text, "198.18.%u.%u", place / 250, place % 250);
        add_fact(index, run, i < 2 ? ARCHIVE_FACT_REACHED : ARCHIVE_FACT_DENIED, text);
        strcat(text, ":443");
        add_fact(index, run, i < 2 ? ARCHIVE_FACT_REACHED : ARCHIVE_FACT_DENIED, text);
    }
    for (unsigned i = 0; i < FILES; i++)
        add_fact(index, run, ARCHIVE_FACT_HASH, digits(run, i + 1, UINT32_MAX));
    add_fact(index, run, ARCHIVE_FACT_HASH, digits(run, 20, 1)); /* the kernel's: all have it */
    add_fact(index, run, ARCHIVE_FACT_HASH, digits(run, 21, 200));
}

static void fill(const struct sr_archive_place *place, unsigned runs)
{
    struct sr_archive *archive;
    struct archive_index *index;
    struct sr_error err;
    must(sr_archive_open(place, true, &archive, &err), &err);
    must(archive_index_open(sr_archive_root(archive), true, &index, &err), &err);
    double start = bench_seconds(CLOCK_PROCESS_CPUTIME_ID);
    must(archive_index_begin(index, &err), &err);
    for (unsigned run = 0; run < runs; run++)
        add_run(index, run);
    must(archive_index_commit(index, 0, 0, &err),
         &err); /* in step with a log that has no entries */
    printf("index: %.0f us CPU a run\n",
           (bench_seconds(CLOCK_PROCESS_CPUTIME_ID) - start) / runs * 1e6);
    archive_index_close(index);
    sr_archive_close(archive);
}

void bench_archive(char *program, unsigned runs)
{
    struct sr_archive_place place = {.retention = SR_ARCHIVE_RETENTION};
    char hash[65], id[40], worst_query[64] = "";
    snprintf(place.root, sizeof place.root, "/tmp/sr-bench-archive-XXXXXX");
    if (mkdtemp(place.root) == NULL)
        exit(1);
    fill(&place, runs);
    snprintf(hash, sizeof hash, "%s", digits(4711, 3, UINT32_MAX));
    snprintf(id, sizeof id, "sr-20260102T%06u-%06u", 4711u, 4711u);
    const char *const queries[QUERIES][ARGUMENTS] = {
        {NULL},
        {"--run", id},
        {"--hash", hash},
        {"--hash", digits(0, 20, 1)},
        {"--policy", "policy-7"},
        {"--command", "tool11", "--exit-code", "3"},
        {"--label", "team=7", "--policy", "policy-7"},
        {"--cause", "timeout", "--since", "2026-02-01", "--until", "2026-02-02"},
        {"--reached", "198.18.1.7:443"},
        {"--denied", "198.18.1.7", "--label", "team"},
        {"--exit-code", "0", "--cause", "workload", "--result", "pass"},
        {"--since", "2026-01-01", "--until", "2026-01-03"},
        {"--policy", "no-such-policy", "--exit-code", "0"},
        {"--cause", "timeout", "--exit-code", "5", "--label", "team=3", "--until", "2026-01-05"},
    };
    double worst = 0;
    for (int q = 0; q < QUERIES; q++) {
        char *argv[ARGUMENTS + 8] = {program, "archive", "search", "--json", "--root", place.root};
        char text[64] = "";
        size_t len = 0;
        for (int i = 0; i < ARGUMENTS && queries[q][i] != NULL; i++) {
            argv[6 + i] = (char *)queries[q][i];
            len += (size_t)snprintf(text + len, sizeof text - len, "%.20s ", queries[q][i]);
            if (len >= sizeof text)
                len = sizeof text - 1;
        }
        double times[BENCH_ROUNDS];
        long rss;
        for (int i = 0; i < BENCH_ROUNDS; i++)
            times[i] = bench_run(argv, &rss);
        double middle = bench_median(times);
        if (middle > worst) {
            worst = middle;
            memcpy(worst_query, text, sizeof text);
        }
    }
    char *version[] = {program, "version", NULL};
    double times[BENCH_ROUNDS];
    long rss;
    for (int i = 0; i < BENCH_ROUNDS; i++)
        times[i] = bench_run(version, &rss);
    printf("search: %u runs, %d queries: %.1f ms at worst (%s), whole process; of that starting it "
           "%.1f ms\n",
           runs, QUERIES, worst * 1e3, worst_query, bench_median(times) * 1e3);
    char *clean[] = {"rm", "-r", place.root, NULL};
    bench_run(clean, &rss);
}
