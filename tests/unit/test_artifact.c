/* Kernel, initrd and image between the moment they are found and the moment they run: what runs is
 * what was hashed, and what is kept of it is bounded. */
#include "common/fs.h"
#include "common/memo.h"
#include "host/copy.h"
#include "host/kept.h"

#include <dirent.h>
#include <errno.h>
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

#define PAGE ((size_t)4096)

struct fixture {
    char dir[64], source[96];
    int fd;
    struct sr_hasher *hasher;
    struct host_config config;
    struct host_artifact_context context;
    struct host_artifact artifact;
    struct sr_error err;
};

/* A directory with a file "image" of two pages of 'A', which everybody may write to; the cache is
 * below it. */
static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char cache[80];
    strcpy(f->dir, "/tmp/sr-artifact-XXXXXX");
    if (mkdtemp(f->dir) == NULL)
        return -1;
    f->fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->hasher = sr_hasher_new();
    f->config.copies_max = UINT64_C(1) << 30;
    f->context = (struct host_artifact_context){
        .config = &f->config, .hasher = f->hasher, .scratch_fd = f->fd};
    f->artifact.fd = -1;
    snprintf(cache, sizeof cache, "%s/cache", f->dir);
    setenv("SAFE_RUN_CACHE_DIR", cache, 1);
    snprintf(f->source, sizeof f->source, "%s/image", f->dir);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    sr_close_fd(&f->artifact.fd);
    sr_hasher_free(f->hasher);
    close(f->fd);
    int result = sr_remove_tree(AT_FDCWD, f->dir);
    free(f);
    return result;
}

/* A file of whole pages of one letter; its descriptor can write. */
static int put(const struct fixture *f, const char *name, char letter, size_t pages, mode_t mode)
{
    char page[PAGE];
    memset(page, letter, sizeof page);
    int fd = openat(f->fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (size_t i = 0; i < pages; i++)
        assert_int_equal(sr_write_all(fd, page, sizeof page), 0);
    assert_int_equal(fchmod(fd, mode), 0);
    return fd;
}

static void put_image(const struct fixture *f, mode_t mode)
{
    close(put(f, "image", 'A', 2, mode));
}

static int open_as(struct fixture *f, const struct host_artifact_plan *plan)
{
    sr_close_fd(&f->artifact.fd);
    return host_artifact_open(&f->artifact, plan, &f->context, &f->err);
}

static void open_image(struct fixture *f)
{
    const struct host_artifact_plan plan = {.path = f->source, .what = "image", .advice = "none"};
    if (open_as(f, &plan) < 0)
        fail_msg("%s: %s", f->err.path, f->err.message);
}

static void expect_hash(const struct fixture *f, const char *hash)
{
    char found[SR_SHA256_TEXT];
    assert_int_equal(sr_sha256_fd(f->hasher, f->artifact.fd, found), 0);
    assert_string_equal(found, hash);
    assert_string_equal(found, f->artifact.hash);
}

static void hash_of(const struct fixture *f, const char *name, char hash[SR_SHA256_TEXT])
{
    sr_cleanup_fd int fd = openat(f->fd, name, O_RDONLY | O_CLOEXEC);
    assert_int_equal(sr_sha256_fd(f->hasher, fd, hash), 0);
}

static ino_t inode_of(const struct fixture *f)
{
    struct stat st;
    assert_int_equal(fstat(f->artifact.fd, &st), 0);
    return st.st_ino;
}

/* Until a change of a file could not go unseen. */
static void let_settle(const struct fixture *f, const char *name)
{
    char identity[SR_IDENTITY_TEXT];
    sr_cleanup_fd int fd = openat(f->fd, name, O_RDONLY | O_CLOEXEC);
    while (sr_file_identity(fd, identity) == 0)
        usleep(50000);
}

static size_t count_entries(const struct fixture *f, const char *directory, const char *prefix)
{
    sr_cleanup_fd int fd = openat(f->fd, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = sr_open_list(fd);
    size_t count = 0;
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_type == DT_REG && strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(dir);
    return count;
}

static void what_others_can_write_runs_from_a_copy(void **state)
{
    struct fixture *f = *state;
    char hash[SR_SHA256_TEXT];
    struct stat st, directory;
    put_image(f, 0666);
    hash_of(f, "image", hash);
    open_image(f);
    assert_int_equal(stat(f->artifact.path, &st), 0);
    assert_int_equal(st.st_ino, inode_of(f));
    assert_int_equal(st.st_mode & 07777, 0444);
    assert_int_not_equal(f->artifact.inode, st.st_ino);
    assert_int_equal(fcntl(f->artifact.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    *strrchr(f->artifact.path, '/') = '\0';
    assert_int_equal(stat(f->artifact.path, &directory), 0);
    assert_int_equal(directory.st_mode & 07777, 0700);
    close(put(f, "image", 'B', 2, 0666)); /* the source's content, in place */
    expect_hash(f, hash);
}

static void what_only_root_can_write_runs_as_it_is(void **state)
{
    struct fixture *f = *state;
    put_image(f, 0644);
    open_image(f);
    bool in_place = f->artifact.inode == inode_of(f);
    assert_int_equal(in_place, geteuid() == 0); /* an ordinary user's file is his to write */
    if (geteuid() != 0)
        return;
    put_image(f, 0664);
    open_image(f);
    assert_int_not_equal(f->artifact.inode, inode_of(f));
    put_image(f, 0644);
    assert_int_equal(chown(f->source, 1000, 1000), 0);
    open_image(f);
    assert_int_not_equal(f->artifact.inode, inode_of(f));
}

static void a_mapping_from_before_counts_although_no_time_tells_of_it(void **state)
{
    struct fixture *f = *state;
    char first[SR_SHA256_TEXT], second[SR_SHA256_TEXT];
    int writer = put(f, "image", 'A', 2, 0644);
    char *mapped = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, writer, 0);
    assert_ptr_not_equal(mapped, MAP_FAILED);
    close(writer);
    memset(mapped, 'A', 2 * PAGE); /* dirty, with the same content */
    let_settle(f, "image");
    hash_of(f, "image", first);
    open_image(f);
    mapped[PAGE] = 'M';
    expect_hash(f, first); /* and not what the source is now */
    open_image(f);
    hash_of(f, "image", second);
    assert_string_not_equal(first, second);
    expect_hash(f, second); /* and not what it was */
    munmap(mapped, 2 * PAGE);
}

static void a_copy_is_found_again_until_its_source_changes(void **state)
{
    struct fixture *f = *state;
    put_image(f, 0666);
    let_settle(f, "image");
    open_image(f);
    ino_t copy = inode_of(f);
    int other = dup(f->artifact.fd); /* or its number may be given again */
    open_image(f);
    assert_int_equal(inode_of(f), copy);
    f->context.rehash = true;
    open_image(f);
    assert_int_not_equal(inode_of(f), copy);
    f->context.rehash = false;
    close(put(f, "image", 'B', 2, 0666));
    char hash[SR_SHA256_TEXT];
    hash_of(f, "image", hash);
    open_image(f);
    expect_hash(f, hash);
    close(other);
}

static void a_copy_that_was_changed_is_not_used(void **state)
{
    struct fixture *f = *state;
    char hash[SR_SHA256_TEXT];
    put_image(f, 0666);
    let_settle(f, "image");
    hash_of(f, "image", hash);
    open_image(f);
    assert_int_equal(chmod(f->artifact.path, 0600), 0);
    sr_cleanup_fd int writer = open(f->artifact.path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(sr_write_all(writer, "changed", 7), 0);
    open_image(f);
    expect_hash(f, hash);
}

static void holes_stay_holes(void **state)
{
    struct fixture *f = *state;
    char hash[SR_SHA256_TEXT];
    struct stat st;
    sr_cleanup_fd int fd = openat(f->fd, "image", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    assert_int_equal(fchmod(fd, 0666), 0);
    assert_int_equal(pwrite(fd, "deep", 4, (off_t)PAGE * 4096), 4);
    assert_int_equal(ftruncate(fd, (off_t)PAGE * 8192 + 5), 0);
    hash_of(f, "image", hash);
    open_image(f);
    expect_hash(f, hash);
    assert_int_equal(fstat(f->artifact.fd, &st), 0);
    assert_int_equal(st.st_size, (off_t)PAGE * 8192 + 5);
    assert_true(st.st_blocks * 512 < (blkcnt_t)PAGE * 64);
}

static void one_content_is_one_copy(void **state)
{
    struct fixture *f = *state;
    put_image(f, 0666);
    close(put(f, "again", 'A', 2, 0666));
    open_image(f);
    sr_cleanup_fd int first = dup(f->artifact.fd);
    assert_true(first >= 0);
    ino_t copy = inode_of(f);
    snprintf(f->source, sizeof f->source, "%s/again", f->dir);
    open_image(f);
    assert_int_equal(inode_of(f), copy);
    assert_int_equal(count_entries(f, "cache/copies", ""), 2); /* and its note */
}

static void without_a_place_to_keep_copies_an_image_runs_and_a_kernel_does_not(void **state)
{
    struct fixture *f = *state;
    const struct host_artifact_plan kernel = {
        .path = f->source, .what = "kernel", .advice = "none", .by_path = true};
    char hash[SR_SHA256_TEXT];
    put_image(f, 0666);
    hash_of(f, "image", hash);
    snprintf(f->config.copies, sizeof f->config.copies, "%s", f->source); /* no directory */
    open_image(f);
    expect_hash(f, hash);
    assert_string_equal(f->artifact.path, "");
    assert_int_equal(open_as(f, &kernel), -1);
    assert_int_equal(f->err.code, SR_RUN_002);
    assert_string_equal(f->err.path, "launch.preflight.kernel");
    assert_non_null(strstr(f->err.message, "copies.directory"));
}

static void copies_are_bounded_and_those_in_use_stay(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 12 };
    struct stat st;
    int held = -1;
    char first[PATH_MAX] = "";
    f->config.copies_max = 4 * 2 * PAGE;
    for (int i = 0; i < COUNT; i++) {
        close(put(f, "image", (char)('a' + i), 2, 0666));
        open_image(f);
        if (i == 0) {
            held = f->artifact.fd;
            f->artifact.fd = -1;
            memcpy(first, f->artifact.path, sizeof first);
        }
    }
    assert_int_equal(stat(first, &st), 0);
    assert_in_range(count_entries(f, "cache/copies", ""), 2, 2 * 5);
    close(held);
    sr_close_fd(&f->artifact.fd);
    sr_cleanup_fd int copies = host_copies_open(&f->config);
    kept_trim(copies, 0, -1);
    assert_int_equal(count_entries(f, "cache/copies", ""), 0);
}

static void kept_images_are_bounded_in_number(void **state)
{
    struct fixture *f = *state;
    char name[KEPT_NAME];
    sr_cleanup_fd int copies = host_copies_open(&f->config);
    for (int i = 0; i < KEPT_COUNT_MAX + 40; i++) { /* as many runs would leave them */
        snprintf(name, sizeof name, "%d.img", i);
        close(openat(copies, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0444));
        snprintf(name, sizeof name, "%d.note", i);
        close(openat(copies, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0444));
    }
    put_image(f, 0666);
    open_image(f);
    assert_int_equal(count_entries(f, "cache/copies", ""), 2 * KEPT_COUNT_MAX);
}

static void three_thousand_artefacts_leave_a_bounded_cache(void **state)
{
    struct fixture *f = *state;
    const int count =
        geteuid() == 0 ? 3000 : 300; /* an ordinary user's are copied, which takes longer */
    char name[16];
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%d", i);
        close(put(f, name, (char)('a' + i % 26), 1, 0644));
    }
    put_image(f, 0644);
    let_settle(f, "image");
    for (int i = 0; i < count; i++) {
        snprintf(f->source, sizeof f->source, "%s/%d", f->dir, i);
        open_image(f);
    }
    size_t memos = count_entries(f, "cache", "");
    assert_in_range(memos, 1, SR_MEMOS_MAX);
    assert_int_equal(memos, count_entries(f, "cache", "hash-"));
}

static void gc_removes_memos_that_are_old_and_those_of_other_names(void **state)
{
    struct fixture *f = *state;
    put_image(f, 0644);
    let_settle(f, "image");
    open_image(f);
    sr_cleanup_fd int cache = host_cache_open();
    char name[SR_MEMO_NAME], path[80];
    sr_memo_name("hash", f->artifact.device, f->artifact.inode, name);
    snprintf(path, sizeof path, "cache/%s", name);
    close(put(f, "cache/hash-2049-131", 'x', 1, 0600)); /* one file, one memo: how it was once */
    close(put(f, "cache/.hash-00a.4711", 'x', 1, 0600));
    close(put(f, "cache/kvm", 'x', 1, 0600));
    sr_memos_sweep(cache, "hash", 3600);
    sr_memos_sweep(cache, "files", 0);
    assert_int_equal(count_entries(f, "cache", ""), 4);
    let_settle(f, path);
    let_settle(f, "cache/kvm");
    sr_memos_sweep(cache, "hash", 1);
    assert_int_equal(count_entries(f, "cache", ""), 1);
    assert_int_equal(faccessat(f->fd, "cache/kvm", F_OK, 0), 0);
}

static void whether_somebody_writes_the_kernel_says(void **state)
{
    struct fixture *f = *state;
    put_image(f, 0644);
    sr_cleanup_fd int reader = open(f->source, O_RDONLY | O_CLOEXEC);
    sr_cleanup_fd int second = open(f->source, O_RDONLY | O_CLOEXEC);
    assert_true(second >= 0);
    assert_int_equal(sr_file_has_writer(reader), 0);
    sr_cleanup_fd int writer = open(f->source, O_WRONLY | O_CLOEXEC);
    assert_int_equal(sr_file_has_writer(reader), 1);
    sr_close_fd(&writer);
    assert_int_equal(sr_file_has_writer(reader), 0);
    assert_int_equal(fcntl(reader, F_GETLEASE), F_UNLCK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
        TEST(what_others_can_write_runs_from_a_copy),
        TEST(what_only_root_can_write_runs_as_it_is),
        TEST(a_mapping_from_before_counts_although_no_time_tells_of_it),
        TEST(a_copy_is_found_again_until_its_source_changes),
        TEST(a_copy_that_was_changed_is_not_used),
        TEST(holes_stay_holes),
        TEST(one_content_is_one_copy),
        TEST(without_a_place_to_keep_copies_an_image_runs_and_a_kernel_does_not),
        TEST(copies_are_bounded_and_those_in_use_stay),
        TEST(kept_images_are_bounded_in_number),
        TEST(three_thousand_artefacts_leave_a_bounded_cache),
        TEST(gc_removes_memos_that_are_old_and_those_of_other_names),
        TEST(whether_somebody_writes_the_kernel_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
