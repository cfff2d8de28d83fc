/* Packing a directory or a file: what is in the image, and that it depends on nothing else. */
#include "image/pack_tree.h"

#include "common/fs.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

// clang-format off
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
// clang-format on

struct fixture {
    char path[64];
    int fd;
    struct sr_hasher *hasher;
    struct image_pack_options options;
    char skipped[256];
    char big[400000];
};

static void note_skip(void *context, const char *entry, const char *why)
{
    struct fixture *fixture = context;
    size_t len = strlen(fixture->skipped);
    snprintf(fixture->skipped + len, sizeof fixture->skipped - len, "%s: %s\n", entry, why);
}

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.hasher = sr_hasher_new()};
    snprintf(fixture.path, sizeof fixture.path, "/tmp/sr-pack-XXXXXX");
    assert_non_null(mkdtemp(fixture.path));
    fixture.fd = open(fixture.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof fixture.big; i++)
        fixture.big[i] = (char)(i * i >> 7);
    assert_int_equal(mkdirat(fixture.fd, "sub", 0750), 0);
    assert_int_equal(sr_write_new_file(fixture.fd, "sub/big", fixture.big, sizeof fixture.big), 0);
    assert_int_equal(sr_write_new_file(fixture.fd, "empty", "", 0), 0);
    assert_int_equal(sr_write_new_file(fixture.fd, "small", "hello\n", 6), 0);
    assert_int_equal(linkat(fixture.fd, "small", fixture.fd, "sub/hard", 0), 0);
    assert_int_equal(symlinkat("../small", fixture.fd, "sub/soft"), 0);
    fixture.options = (struct image_pack_options){
        .compressor = IMAGE_SQFS_ZSTD,
        .threads = 1,
        .code = SR_RUN_101,
        .path = "mounts[0].source",
        .skipped = note_skip,
        .context = &fixture,
    };
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const files[] = {"sub/big", "sub/hard", "sub/soft",
                                        "empty",   "small",    "pipe"};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        unlinkat(fixture->fd, files[i], 0);
    unlinkat(fixture->fd, "sub", AT_REMOVEDIR);
    close(fixture->fd);
    sr_hasher_free(fixture->hasher);
    return rmdir(fixture->path);
}

static int pack(struct fixture *fixture, int source, struct image_pack_result *result,
                struct sr_error *err)
{
    int image = memfd_create("image", MFD_CLOEXEC);
    int done = image_pack(source, "SOURCE", image, &fixture->options, fixture->hasher, result, err);
    char magic[4] = "";
    if (done == 0)
        assert_int_equal(pread(image, magic, sizeof magic, 0), sizeof magic);
    assert_true(done < 0 || memcmp(magic, "hsqs", sizeof magic) == 0);
    close(image);
    return done;
}

static void a_directory_becomes_an_image(void **state)
{
    struct fixture *fixture = *state;
    struct image_pack_result result;
    struct sr_error err = {0};
    assert_int_equal(pack(fixture, fixture->fd, &result, &err), 0);
    assert_int_equal(result.counts.files, 3); /* a hard link is no file of its own */
    assert_int_equal(result.counts.directories, 2);
    assert_int_equal(result.counts.symlinks, 1);
    assert_int_equal(result.counts.bytes, sizeof fixture->big + 6);
    assert_int_equal(result.counts.image_bytes % 4096, 0);
    assert_int_equal(result.skipped, 0);
}

static void threads_do_not_show_in_the_bytes(void **state)
{
    struct fixture *fixture = *state;
    struct image_pack_result one, four;
    struct sr_error err = {0};
    assert_int_equal(pack(fixture, fixture->fd, &one, &err), 0);
    fixture->options.threads = 4;
    assert_int_equal(pack(fixture, fixture->fd, &four, &err), 0);
    assert_string_equal(one.hash, four.hash);
}

static void an_o_path_descriptor_will_do(void **state)
{
    struct fixture *fixture = *state;
    struct image_pack_result result, other;
    struct sr_error err = {0};
    int directory = open(fixture->path, O_PATH | O_CLOEXEC);
    int file = openat(fixture->fd, "small", O_PATH | O_CLOEXEC);
    assert_int_equal(pack(fixture, fixture->fd, &other, &err), 0);
    assert_int_equal(pack(fixture, directory, &result, &err), 0);
    assert_string_equal(result.hash, other.hash);
    assert_int_equal(pack(fixture, file, &result, &err), 0);
    assert_int_equal(result.counts.files, 1);
    assert_int_equal(result.counts.bytes, 6);
    close(directory);
    close(file);
}

static void owners_can_be_replaced(void **state)
{
    struct fixture *fixture = *state;
    struct image_pack_result theirs, ours;
    struct sr_error err = {0};
    assert_int_equal(pack(fixture, fixture->fd, &theirs, &err), 0);
    fixture->options.own = true;
    fixture->options.uid = fixture->options.gid = 12345;
    assert_int_equal(pack(fixture, fixture->fd, &ours, &err), 0);
    assert_string_not_equal(theirs.hash, ours.hash);
}

static void special_files_are_left_out_and_told(void **state)
{
    struct fixture *fixture = *state;
    struct image_pack_result with, without;
    struct sr_error err = {0};
    /* Times of the directory too, which a new entry changes. */
    const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    assert_int_equal(futimens(fixture->fd, times), 0);
    assert_int_equal(pack(fixture, fixture->fd, &without, &err), 0);
    assert_int_equal(mkfifoat(fixture->fd, "pipe", 0600), 0);
    assert_int_equal(futimens(fixture->fd, times), 0);
    assert_int_equal(pack(fixture, fixture->fd, &with, &err), 0);
    assert_int_equal(with.skipped, 1);
    assert_string_equal(fixture->skipped, "pipe: a pipe\n");
    assert_string_equal(with.hash, without.hash);
}

static void limits_hold(void **state)
{
    struct fixture *fixture = *state;
    struct image_pack_result result;
    struct sr_error err = {0};
    fixture->options.bytes_max = sizeof fixture->big;
    assert_int_equal(pack(fixture, fixture->fd, &result, &err), -1);
    assert_string_equal(err.message, "SOURCE has more than 400000 bytes");
    assert_string_equal(err.path, "mounts[0].source");
    fixture->options.bytes_max = 0;
    fixture->options.entries_max = 5;
    assert_int_equal(pack(fixture, fixture->fd, &result, &err), -1);
    assert_string_equal(err.message, "SOURCE has more than 5 entries");
}

static void a_fingerprint_tells_a_change(void **state)
{
    struct fixture *fixture = *state;
    struct image_fingerprint before, same, after;
    struct sr_error err = {0};
    const struct image_pack_options *options = &fixture->options;
    assert_int_equal(
        image_pack_fingerprint(fixture->fd, "S", options, fixture->hasher, &before, &err), 0);
    assert_int_equal(
        image_pack_fingerprint(fixture->fd, "S", options, fixture->hasher, &same, &err), 0);
    assert_string_equal(before.hash, same.hash);
    assert_false(before.settled); /* it was made just now */
    assert_int_equal(before.entries, 6);
    assert_int_equal(fchmodat(fixture->fd, "sub/big", 0400, 0), 0);
    assert_int_equal(
        image_pack_fingerprint(fixture->fd, "S", options, fixture->hasher, &after, &err), 0);
    assert_string_not_equal(before.hash, after.hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_directory_becomes_an_image, set_up, tear_down),
        cmocka_unit_test_setup_teardown(threads_do_not_show_in_the_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_o_path_descriptor_will_do, set_up, tear_down),
        cmocka_unit_test_setup_teardown(owners_can_be_replaced, set_up, tear_down),
        cmocka_unit_test_setup_teardown(special_files_are_left_out_and_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(limits_hold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_fingerprint_tells_a_change, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
