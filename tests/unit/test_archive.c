/* What an archive reads back of its own: one spelling each. And the index against going through all
 * runs. */
#include "archive/bundle.h"
#include "archive/index.h"
#include "archive/log.h"
#include "archive/tar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HASH "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

/* ---- entries of the log ---- */

#define ID "\"bundleId\":\"" HASH "\""
#define PRUNED "\"kind\":\"pruned\""
#define AT "\"prunedAt\":\"2026-01-02T03:04:05.000000000Z\""

static bool is_entry(const char *line)
{
    struct archive_log_entry entry;
    return archive_log_entry_parse(line, strlen(line), &entry);
}

static void an_entry_comes_back(void **state)
{
    (void)state;
    static const char stored[] =
        "{\"bundleId\":\"" HASH "\",\"kind\":\"stored\",\"original\":\"" HASH
        "\",\"report\":\"" HASH "\",\"retention\":\"12h\",\"runId\":\"a "
        "\\\"b\\\"\",\"storedAt\":\"2026-01-02T03:04:05.000000000Z\"}";
    struct archive_log_entry entry;
    assert_true(archive_log_entry_parse(stored, strlen(stored), &entry));
    assert_false(entry.pruned);
    assert_string_equal(entry.run_id, "a \"b\"");
    assert_int_equal(archive_log_expiry(&entry), INT64_C(1767366245) * 1000000000);
    snprintf(entry.retention, sizeof entry.retention, ARCHIVE_LOG_FOREVER);
    assert_int_equal(archive_log_expiry(&entry), INT64_MAX);
    assert_true(is_entry("{" ID "," PRUNED ",\"leaf\":7," AT "}"));
}

static void nothing_else_is_an_entry(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "{}",
        "[]",
        "{" ID "," PRUNED ",\"leaf\":7," AT "} ",
        "{" ID "," PRUNED ",\"leaf\":-7," AT "}",
        "{" ID "," PRUNED ",\"leaf\":07," AT "}",
        "{" ID "," PRUNED ",\"leaf\":7,\"prunedAt\":\"2026-01-02\"}",
        "{\"bundleId\":\"sha256:2\"," PRUNED ",\"leaf\":7," AT "}",
        "{" ID ",\"kind\":\"other\",\"leaf\":7," AT "}",
        "{" ID "," PRUNED ",\"leaf\":7,\"more\":1," AT "}",
        "{" PRUNED "," ID ",\"leaf\":7," AT "}",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_false(is_entry(lines[i]));
}

#define KEY_ID "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
#define STORED(before, origin, behind)                                                             \
    "{" ID before ",\"kind\":\"stored\"" origin ",\"original\":\"" HASH "\",\"report\":\"" HASH    \
    "\",\"retention\":\"12h\",\"runId\":\"a\"" behind                                              \
    ",\"storedAt\":\"2026-01-02T03:04:05.000000000Z\"}"
#define ORIGIN ",\"origin\":\"stored\""
#define GOOD ",\"signature\":\"good\",\"signer\":\"" KEY_ID "\""

/* Where a run came from and who signed it: all of that, or nothing, as in logs that are older. */
static void what_an_entry_says_of_its_origin_goes_together(void **state)
{
    (void)state;
    static const char *const good[] = {
        STORED("", "", ""),
        STORED("", ORIGIN, ",\"signature\":\"none\""),
        STORED("", ORIGIN, ",\"signature\":\"bad\""),
        STORED("", ORIGIN, ",\"signature\":\"unchecked\",\"signer\":\"" KEY_ID "\""),
        STORED(",\"checkedBy\":\"sign-key\"", ORIGIN, GOOD),
        STORED(",\"from\":\"x\"", ",\"origin\":\"imported\"", ",\"signature\":\"none\""),
    };
    static const char *const bad[] = {
        STORED("", ORIGIN, ""),
        STORED("", "", ",\"signature\":\"none\""),
        STORED("", ",\"origin\":\"here\"", ",\"signature\":\"none\""),
        STORED("", ORIGIN, ",\"signature\":\"fine\""),
        STORED("", ORIGIN, GOOD),
        STORED(",\"checkedBy\":\"me\"", ORIGIN, GOOD),
        STORED(",\"checkedBy\":\"sign-key\"", ORIGIN, ",\"signature\":\"none\""),
        STORED(",\"checkedBy\":\"sign-key\"", ORIGIN, ",\"signature\":\"good\""),
        STORED(",\"from\":\"x\"", ORIGIN, ",\"signature\":\"none\""),
        STORED("", ORIGIN, ",\"signature\":\"unchecked\",\"signer\":\"abc\""),
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(is_entry(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(is_entry(bad[i]));
}

/* ---- manifests ---- */

#define FILE_OF(name) "{\"name\":\"" name "\",\"sha256\":\"" HASH "\",\"size\":5}"
#define MANIFEST(files) "{\"files\":[" files "],\"schemaVersion\":\"safe-run.bundle/v1\"}"

static bool is_manifest(const char *text)
{
    struct archive_manifest *manifest = calloc(1, sizeof *manifest);
    struct sr_hasher *hasher = sr_hasher_new();
    bool is = archive_manifest_parse(text, strlen(text), hasher, manifest);
    sr_hasher_free(hasher);
    free(manifest);
    return is;
}

static void a_manifest_has_one_spelling(void **state)
{
    (void)state;
    static const char *const bad[] = {
        MANIFEST(""),
        MANIFEST(FILE_OF("other")),
        MANIFEST(FILE_OF("run_report.json")) "\n",
        MANIFEST(FILE_OF("run_report.json") "," FILE_OF("run_report.json")),
        MANIFEST(FILE_OF("run_report.json") "," FILE_OF("events.jsonl")),
        MANIFEST(FILE_OF("../run_report.json") "," FILE_OF("run_report.json")),
        MANIFEST(FILE_OF(".hidden") "," FILE_OF("run_report.json")),
        MANIFEST(FILE_OF("a/b") "," FILE_OF("run_report.json")),
        MANIFEST(FILE_OF("") "," FILE_OF("run_report.json")),
        MANIFEST("{\"name\":\"run_report.json\",\"sha256\":\"" HASH "\",\"size\":-1}"),
        MANIFEST("{\"name\":\"run_report.json\",\"sha256\":\"" HASH "\",\"size\":4294967297}"),
        MANIFEST("{\"name\":\"run_report.json\",\"sha256\":\"sha256:\",\"size\":5}"),
        MANIFEST("{\"name\":\"run_report.json\",\"size\":5,\"sha256\":\"" HASH "\"}"),
        "{\"files\":[" FILE_OF(
            "run_report.json") "],\"more\":1,\"schemaVersion\":\"safe-run.bundle/v1\"}",
    };
    assert_true(is_manifest(MANIFEST(FILE_OF("run_report.json"))));
    assert_true(is_manifest(MANIFEST(FILE_OF("events.jsonl") "," FILE_OF("run_report.json"))));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(is_manifest(bad[i]));
}

/* ---- tar headers ---- */

static void a_tar_header_has_one_spelling(void **state)
{
    (void)state;
    struct archive_tar_entry entry = {
        .prefix = "some/directory", .name = "a.file", .size = 123456789};
    struct archive_tar_entry found;
    unsigned char block[ARCHIVE_TAR_BLOCK];
    archive_tar_header(&entry, block);
    assert_true(archive_tar_parse(block, &found));
    assert_string_equal(found.name, entry.name);
    assert_string_equal(found.prefix, entry.prefix);
    assert_int_equal(found.size, entry.size);
    for (size_t i = 0; i < ARCHIVE_TAR_BLOCK * 8; i++) {
        block[i / 8] ^= (unsigned char)(1U << i % 8);
        assert_false(archive_tar_parse(block, &found));
        block[i / 8] ^= (unsigned char)(1U << i % 8);
    }
}

/* ---- the index ---- */

enum { RUNS = 500 };

static void text_of(unsigned run, unsigned modulus, char text[16])
{
    snprintf(text, 16, "%u", run % modulus);
}

static void fill(struct archive_index *index)
{
    struct sr_error err;
    assert_int_equal(archive_index_begin(index, &err), 0);
    for (unsigned run = 0; run < RUNS; run++) {
        char id[72], started[40], text[16];
        snprintf(id, sizeof id, "sha256:%064x", run);
        snprintf(started, sizeof started, "2026-01-%02uT00:00:00.000000000Z", run % 28 + 1);
        const struct sr_archive_run row = {.leaf = run,
                                           .bundle = id,
                                           .run_id = "a",
                                           .started = started,
                                           .stored = started,
                                           .retention = "1d"};
        assert_int_equal(archive_index_add_run(index, &row, &err), 0);
        text_of(run, 2, text);
        assert_int_equal(
            archive_index_add_fact(index, ARCHIVE_FACT_POLICY, text, strlen(text), run, &err), 0);
        text_of(run, 30, text);
        assert_int_equal(
            archive_index_add_fact(index, ARCHIVE_FACT_CAUSE, text, strlen(text), run, &err), 0);
        text_of(run, 7, text);
        assert_int_equal(
            archive_index_add_fact(index, ARCHIVE_FACT_LABEL, text, strlen(text), run, &err), 0);
        if (run % 5 == 0)
            assert_int_equal(archive_index_prune(index, run, started, &err), 0);
    }
    assert_int_equal(archive_index_commit(index, 1000, RUNS, &err), 0);
}

struct hits {
    bool seen[RUNS];
    unsigned count;
};

static void note_hit(void *context, const struct sr_archive_run *run)
{
    struct hits *hits = context;
    assert_true(run->leaf < RUNS && !hits->seen[run->leaf]);
    hits->seen[run->leaf] = true;
    hits->count++;
}

/* Every combination of criteria finds what going through all runs finds. */
static void a_search_finds_what_there_is(void **state)
{
    (void)state;
    struct archive_index *index;
    struct sr_error err;
    assert_int_equal(archive_index_open_in_memory(&index, &err), 0);
    fill(index);
    for (unsigned mask = 0; mask < 32; mask++) {
        static const char *const labels[] = {"3"};
        struct hits hits = {.count = 0};
        bool more;
        const struct sr_archive_query query = {
            .policy = mask & 1 ? "1" : NULL,
            .cause = mask & 2 ? "17" : NULL,
            .labels = labels,
            .label_count = mask & 4 ? 1 : 0,
            .since = mask & 8 ? "2026-01-05" : NULL,
            .until = mask & 8 ? "2026-01-18" : NULL,
            .with_pruned = mask & 16,
        };
        assert_int_equal(archive_index_search(index, &query, note_hit, &hits, &more, &err), 0);
        assert_false(more);
        for (unsigned run = 0; run < RUNS; run++) {
            unsigned day = run % 28 + 1;
            bool expected = (!(mask & 1) || run % 2 == 1) && (!(mask & 2) || run % 30 == 17) &&
                            (!(mask & 4) || run % 7 == 3) &&
                            (!(mask & 8) || (day >= 5 && day <= 18)) &&
                            ((mask & 16) || run % 5 != 0);
            assert_int_equal(hits.seen[run], expected);
        }
    }
    uint64_t bytes, entries;
    assert_int_equal(archive_index_position(index, &bytes, &entries, &err), 0);
    assert_int_equal(bytes, 1000);
    assert_int_equal(entries, RUNS);
    archive_index_close(index);
}

static void a_limit_says_that_there_are_more(void **state)
{
    (void)state;
    struct archive_index *index;
    struct sr_error err;
    assert_int_equal(archive_index_open_in_memory(&index, &err), 0);
    fill(index);
    for (unsigned limit = 248; limit <= 251; limit++) {
        struct hits hits = {.count = 0};
        bool more;
        const struct sr_archive_query query = {.policy = "1", .with_pruned = true, .limit = limit};
        assert_int_equal(archive_index_search(index, &query, note_hit, &hits, &more, &err), 0);
        assert_int_equal(hits.count, limit < 250 ? limit : 250);
        assert_int_equal(more, limit < 250);
    }
    archive_index_close(index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_comes_back),
        cmocka_unit_test(nothing_else_is_an_entry),
        cmocka_unit_test(what_an_entry_says_of_its_origin_goes_together),
        cmocka_unit_test(a_manifest_has_one_spelling),
        cmocka_unit_test(a_tar_header_has_one_spelling),
        cmocka_unit_test(a_search_finds_what_there_is),
        cmocka_unit_test(a_limit_says_that_there_are_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
