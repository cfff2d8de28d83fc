/* Unpacking an output: the input is the archive, in pieces; nothing may appear but the output
 * itself. */
#include "common/fs.h"
#include "outputs/unpack.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A header may say that its name is gigabytes long, and libarchive asks for them at once. In the
 * worker the limit of memory makes that fail (collector.c); here the sanitizer does. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1:max_allocation_size_mb=64";
}

struct input {
    const uint8_t *data;
    size_t size, piece;
};

static ssize_t next(void *context, const void **data)
{
    struct input *input = context;
    size_t len = input->piece < input->size ? input->piece : input->size;
    *data = input->data;
    input->data += len;
    input->size -= len;
    input->piece = input->piece * 3 % 4093 + 1;
    return (ssize_t)len;
}

static char path[] = "/dev/shm/sr-fuzz-unpack-XXXXXX";
static int base_fd = -1, inner_fd = -1;

static void remove_base(void)
{
    if (sr_remove_tree(AT_FDCWD, path) < 0)
        abort();
}

static void make_base(void)
{
    if (mkdtemp(path) == NULL || atexit(remove_base) != 0 ||
        (base_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
        mkdirat(base_fd, "inner", 0700) < 0 ||
        (inner_fd = openat(base_fd, "inner", O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        abort();
}

/* Aborts when there is anything in a directory but the one name. */
static void expect_only(int fd, const char *name)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fdopendir(copy);
    if (dir == NULL)
        abort();
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, name) != 0)
            abort();
    closedir(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size, 1};
    struct sr_error err = {0};
    if (base_fd < 0)
        make_base();
    struct outputs_unpack unpack = {.directory = inner_fd,
                                    .name = "out",
                                    .bytes_max = 65536,
                                    .entries_left = 64,
                                    .path = "outputs[0].path",
                                    .next = next,
                                    .context = &input};
    int result = outputs_unpack(&unpack, &err);
    if ((result < 0) != (err.code != SR_OK) || unpack.bytes > unpack.bytes_max)
        abort();
    expect_only(base_fd, "inner");
    expect_only(inner_fd, "out");
    if (sr_remove_tree(inner_fd, "out") < 0)
        abort();
    return 0;
}
