/* What the collector's worker does with archives, good and hostile. */
#include "common/buf.h"
#include "common/fs.h"
#include "evidence/output_digest.h"
#include "outputs/unpack.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char path[64];
    int directory;
    struct sr_buf archive;
    size_t at;
    uint32_t nlink;
    uint64_t bytes_max, entries_left;
    struct outputs_unpack unpack;
    struct sr_error err;
};

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->path, "/tmp/sr-unpack-XXXXXX");
    if (mkdtemp(f->path) == NULL)
        return -1;
    f->directory = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->nlink = 1;
    f->bytes_max = 1000;
    f->entries_left = UINT64_MAX;
    umask(022);
    *state = f;
    return 0;
}

static int unmake(void **state)
{
    struct fixture *f = *state;
    close(f->directory);
    sr_buf_free(&f->archive);
    int result = sr_remove_tree(AT_FDCWD, f->path);
    free(f);
    return result;
}

static void pad(struct fixture *f)
{
    while (f->archive.len % 4 != 0)
        sr_buf_putc(&f->archive, '\0');
}

static void entry_of(struct fixture *f, const char *name, unsigned mode, const char *content,
                     uint32_t size)
{
    sr_buf_printf(&f->archive, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", 7u,
                  mode, 0u, 0u, f->nlink, 1700000000u, size, 0u, 0u, 0u, 0u,
                  (unsigned)strlen(name) + 1, 0u);
    sr_buf_append(&f->archive, name, strlen(name) + 1);
    pad(f);
    sr_buf_puts(&f->archive, content);
    pad(f);
}

static void entry(struct fixture *f, const char *name, unsigned mode, const char *content)
{
    entry_of(f, name, mode, content, (uint32_t)strlen(content));
}

static ssize_t next(void *context, const void **data)
{
    struct fixture *f = context;
    size_t left = f->archive.len - f->at, len = left < 100 ? left : 100;
    *data = f->archive.data + f->at;
    f->at += len;
    return (ssize_t)len;
}

static int unpack(struct fixture *f)
{
    entry(f, "TRAILER!!!", 0, "");
    f->unpack = (struct outputs_unpack){.directory = f->directory,
                                        .name = "out",
                                        .bytes_max = f->bytes_max,
                                        .entries_left = f->entries_left,
                                        .path = "outputs[0].path",
                                        .next = next,
                                        .context = f};
    return outputs_unpack(&f->unpack, &f->err);
}

static void expect_refusal(struct fixture *f, const char *words)
{
    assert_int_equal(unpack(f), -1);
    assert_int_equal(f->err.code, SR_RUN_001);
    assert_string_equal(f->err.path, "outputs[0].path");
    if (strstr(f->err.message, words) == NULL)
        fail_msg("'%s' is not in: %s", words, f->err.message);
}

static void directory(struct fixture *f)
{
    entry(f, "o", S_IFDIR | 0755, "");
}

static void files_directories_and_links_are_made(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    char text[16] = "";
    directory(f);
    entry(f, "o/d", S_IFDIR | 0500, "");
    entry(f, "o/d/f", S_IFREG | 0755, "content");
    entry(f, "o/d/l", S_IFLNK | 0777, "../d/f");
    assert_int_equal(unpack(f), 0);
    assert_int_equal(f->unpack.entries, 4);
    assert_int_equal(f->unpack.bytes, 7);
    assert_int_equal(fstatat(f->directory, "out/d", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(st.st_mode, S_IFDIR | 0700);
    assert_int_equal(fstatat(f->directory, "out/d/f", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0755);
    assert_int_equal(st.st_mtim.tv_sec, 1700000000);
    int fd = openat(f->directory, "out/d/l", O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, text, sizeof text - 1), 7);
    assert_string_equal(text, "content");
    close(fd);
}

static void an_output_may_be_a_file(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    entry(f, "o", S_IFREG | 0600, "result");
    assert_int_equal(unpack(f), 0);
    assert_int_equal(fstatat(f->directory, "out", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(st.st_size, 6);
}

static void names_may_be_any_bytes(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    directory(f);
    entry(f, "o/new\nline \xff\xfe \033[2J", S_IFREG | 0644, "x");
    entry(f, "o/TRAILER!!!", S_IFREG | 0644, "x");
    assert_int_equal(unpack(f), 0);
    assert_int_equal(fstatat(f->directory, "out/new\nline \xff\xfe \033[2J", &st, 0), 0);
    assert_int_equal(fstatat(f->directory, "out/TRAILER!!!", &st, 0), 0);
}

static void special_bits_are_taken_away_and_counted(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    directory(f);
    entry(f, "o/su", S_IFREG | 07777, "x");
    assert_int_equal(unpack(f), 0);
    assert_int_equal(f->unpack.cleared, 1);
    assert_int_equal(fstatat(f->directory, "out/su", &st, 0), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0755);
}

/* One entry in a directory, in an archive and a place of its own. */
static void expect_entry_refused(const char *name, unsigned mode, const char *content,
                                 const char *words)
{
    struct fixture *f = NULL;
    assert_int_equal(make((void **)&f), 0);
    directory(f);
    entry(f, name, mode, content);
    expect_refusal(f, words);
    assert_int_equal(unmake((void **)&f), 0);
}

static void names_that_lead_out_are_refused(void **state)
{
    static const char *const names[] = {
        "../x",  "/etc/x", "x",  "o/../x", "o/..", "o/a/../../x", "o//x",        "o/./x",
        "./o/x", "oo",     "o/", "o/x/.",  "/o",   "o/x/../y",    "o/../escaped"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        expect_entry_refused(names[i], S_IFREG | 0644, "x", "leads out of the output");
    expect_entry_refused("", S_IFREG | 0644, "x", "");
}

static void links_that_lead_out_are_refused(void **state)
{
    static const char *const targets[] = {"/etc/passwd", "..",     "../x", "d/../../x",      "",
                                          "./../x",      "d/../x", "./..", "../../../../etc"};
    (void)state;
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++)
        expect_entry_refused("o/l", S_IFLNK | 0777, targets[i], "");
}

/* s leads to the root of the output; a target that went through it and up again would be
 * outside. */
static void links_that_lead_out_through_others_are_refused(void **state)
{
    struct fixture *f = *state;
    directory(f);
    entry(f, "o/d", S_IFDIR | 0755, "");
    entry(f, "o/d/s", S_IFLNK | 0777, "..");
    entry(f, "o/d/m", S_IFLNK | 0777, "s/../x");
    expect_refusal(f, "d/m is a symbolic link that leads out");
}

static void nothing_is_written_through_a_link(void **state)
{
    struct fixture *f = *state;
    directory(f);
    entry(f, "o/d", S_IFDIR | 0755, "");
    entry(f, "o/l", S_IFLNK | 0777, "d");
    entry(f, "o/l/f", S_IFREG | 0644, "x");
    expect_refusal(f, "lies in no directory of the output");
}

static void an_output_that_is_a_link_is_refused(void **state)
{
    entry(*state, "o", S_IFLNK | 0777, "x");
    expect_refusal(*state, "is a symbolic link");
}

static void hard_links_are_refused(void **state)
{
    struct fixture *f = *state;
    directory(f);
    f->nlink = 2;
    entry(f, "o/a", S_IFREG | 0644, "x");
    entry(f, "o/b", S_IFREG | 0644, "");
    expect_refusal(f, "is another name of a file");
}

static void devices_and_the_like_are_refused(void **state)
{
    static const unsigned kinds[] = {S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK, 0};
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        expect_entry_refused("o/x", kinds[i] | 0666, "", i < 2 ? "is a device" : "is neither");
}

static void what_is_there_twice_is_refused(void **state)
{
    struct fixture *f = *state;
    directory(f);
    entry(f, "o/f", S_IFREG | 0644, "x");
    entry(f, "o/f", S_IFREG | 0644, "y");
    expect_refusal(f, "is there twice");
}

static void more_than_max_is_refused_before_it_is_written(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    directory(f);
    entry_of(f, "o/big", S_IFREG | 0644, "", 1001);
    expect_refusal(f, "more than its max of 1000 bytes");
    assert_int_equal(fstatat(f->directory, "out/big", &st, 0), -1);
}

static void the_sum_of_the_files_counts(void **state)
{
    struct fixture *f = *state;
    char half[601];
    memset(half, 'x', 600);
    half[600] = '\0';
    directory(f);
    entry(f, "o/a", S_IFREG | 0644, half);
    entry(f, "o/b", S_IFREG | 0644, half);
    expect_refusal(f, "b makes it more than its max");
}

static void too_many_entries_are_refused(void **state)
{
    struct fixture *f = *state;
    char name[16];
    directory(f);
    for (unsigned i = 0; i < EVIDENCE_OUTPUT_ENTRIES_MAX; i++) {
        snprintf(name, sizeof name, "o/%u", i);
        entry(f, name, S_IFREG | 0644, "");
    }
    expect_refusal(f, "more than 100000 files");
}

static void what_the_host_allows_in_all_is_held(void **state)
{
    struct fixture *f = *state;
    f->entries_left = 2;
    directory(f);
    entry(f, "o/a", S_IFREG | 0644, "");
    entry(f, "o/b", S_IFREG | 0644, "");
    expect_refusal(f, "more files and directories than the 2 that this host allows it");
}

static void append(struct fixture *f, char byte, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sr_buf_putc(&f->archive, byte);
}

enum { SPARSE = 4 * 1024 * 1024, DATA = 1024 * 1024 + 5, DATA_LEN = 5000 };

/* Of four MiB all but 5,000 bytes are zeros: what is written is the blocks that those are in. */
static void holes_stay_holes(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    f->bytes_max = SPARSE;
    directory(f);
    entry_of(f, "o/f", S_IFREG | 0644, "", SPARSE);
    append(f, '\0', DATA);
    append(f, 'x', DATA_LEN);
    append(f, '\0', SPARSE - DATA - DATA_LEN);
    assert_int_equal(unpack(f), 0);
    assert_int_equal(f->unpack.bytes, SPARSE);
    assert_int_equal(fstatat(f->directory, "out/f", &st, 0), 0);
    assert_int_equal(st.st_size, SPARSE);
    assert_in_range(st.st_blocks, 1, 64); /* of 512 bytes */
    assert_int_equal(st.st_mtim.tv_sec, 1700000000);
    int fd = openat(f->directory, "out/f", O_RDONLY | O_CLOEXEC);
    char *content = malloc(SPARSE);
    assert_non_null(content);
    assert_int_equal(sr_read_full(fd, content, SPARSE, 0), SPARSE);
    for (size_t i = 0; i < SPARSE; i++)
        if (content[i] != (i >= DATA && i < DATA + DATA_LEN ? 'x' : '\0'))
            fail_msg("byte %zu is wrong", i);
    free(content);
    close(fd);
}

static void holes_count_like_data(void **state)
{
    struct fixture *f = *state;
    f->bytes_max = SPARSE - 1;
    directory(f);
    entry_of(f, "o/f", S_IFREG | 0644, "", SPARSE);
    append(f, '\0', SPARSE);
    expect_refusal(f, "f makes it more than its max of 4194303 bytes");
}

static void too_deep_is_refused(void **state)
{
    struct fixture *f = *state;
    char name[400] = "o";
    directory(f);
    for (unsigned i = 0; i < OUTPUTS_OUTPUT_DEPTH_MAX + 2; i++) {
        strcat(name, "/d");
        entry(f, name, S_IFDIR | 0755, "");
    }
    assert_int_equal(unpack(f), -1);
}

static void broken_archives_are_refused(void **state)
{
    struct fixture *f = *state;
    sr_buf_puts(&f->archive,
                "this is no archive, but it is long enough to be looked at for one, and it "
                "goes on until there can be no doubt about it any more, which is here.");
    assert_int_equal(unpack(f), -1);
}

static void an_archive_that_is_cut_off_is_refused_at_every_byte(void **state)
{
    struct fixture *f = *state;
    directory(f);
    entry(f, "o/f", S_IFREG | 0644, "content");
    size_t whole = f->archive.len;
    for (size_t len = 0; len < whole; len += 3) {
        struct fixture *g = NULL;
        assert_int_equal(make((void **)&g), 0);
        sr_buf_append(&g->archive, f->archive.data, len);
        g->unpack = (struct outputs_unpack){.directory = g->directory,
                                            .name = "out",
                                            .bytes_max = 1000,
                                            .entries_left = 10,
                                            .path = "outputs[0].path",
                                            .next = next,
                                            .context = g};
        assert_int_equal(outputs_unpack(&g->unpack, &g->err), -1);
        unmake((void **)&g);
    }
}

static void an_empty_archive_is_refused(void **state)
{
    expect_refusal(*state, "empty");
}

/* The records of output_digest.h, written out. */
static void the_digest_is_over_records_in_order(void **state)
{
    struct fixture *f = *state;
    static const char records[] = "fa\0"
                                  "2\0"
                                  "hi"
                                  "db\0"
                                  "xb/x\0"
                                  "0\0"
                                  "lc\0"
                                  "a\0";
    char expected[SR_SHA256_TEXT];
    struct evidence_output_digest digest;
    sr_cleanup_hasher struct sr_hasher *hasher = sr_hasher_new();
    directory(f);
    entry(f, "o/c", S_IFLNK | 0777, "a");
    entry(f, "o/b", S_IFDIR | 0755, "");
    entry(f, "o/b/x", S_IFREG | 0755, "");
    entry(f, "o/a", S_IFREG | 0644, "hi");
    assert_int_equal(unpack(f), 0);
    assert_int_equal(
        evidence_output_digest(f->directory, "out", "p", 2, hasher, NULL, &digest, &f->err), 0);
    assert_int_equal(sr_sha256(hasher, records, sizeof records - 1, expected), 0);
    assert_string_equal(digest.hash, expected);
    assert_int_equal(digest.files, 2);
    assert_int_equal(digest.directories, 1);
    assert_int_equal(digest.links, 1);
    assert_int_equal(digest.bytes, 2);
    assert_int_equal(
        evidence_output_digest(f->directory, "out", "p", 1, hasher, NULL, &digest, &f->err), -1);
    assert_string_equal(f->err.message, "out/a makes it more than 1 bytes");
}

#define unpack_test(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        unpack_test(files_directories_and_links_are_made),
        unpack_test(an_output_may_be_a_file),
        unpack_test(names_may_be_any_bytes),
        unpack_test(special_bits_are_taken_away_and_counted),
        unpack_test(names_that_lead_out_are_refused),
        unpack_test(links_that_lead_out_are_refused),
        unpack_test(links_that_lead_out_through_others_are_refused),
        unpack_test(nothing_is_written_through_a_link),
        unpack_test(an_output_that_is_a_link_is_refused),
        unpack_test(hard_links_are_refused),
        unpack_test(devices_and_the_like_are_refused),
        unpack_test(what_is_there_twice_is_refused),
        unpack_test(more_than_max_is_refused_before_it_is_written),
        unpack_test(the_sum_of_the_files_counts),
        unpack_test(too_many_entries_are_refused),
        unpack_test(what_the_host_allows_in_all_is_held),
        unpack_test(holes_stay_holes),
        unpack_test(holes_count_like_data),
        unpack_test(too_deep_is_refused),
        unpack_test(broken_archives_are_refused),
        unpack_test(an_archive_that_is_cut_off_is_refused_at_every_byte),
        unpack_test(an_empty_archive_is_refused),
        unpack_test(the_digest_is_over_records_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
