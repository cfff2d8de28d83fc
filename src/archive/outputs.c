/* What came out of a run, listed file by file in the order of names. */
#include "archive/bundle.h"

#include "common/jcs.h"
#include "common/walk.h"
#include "evidence/output_digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* Around a name in the list: hash, size, punctuation. And around the list. */
enum { ENTRY_TEXT = 128, LIST_TEXT = 128 };

struct output {
    struct sr_buf name; /* "outputs/a/b" as a JSON string */
    char hash[SR_SHA256_TEXT];
    uint64_t size;
};

struct outputs {
    struct sr_hasher *hasher;
    struct output *found;
    size_t count, text; /* and how long they make the list */
    bool truncated;
};

/* Of one output, or of all of them: then each entry is an output. */
struct listing {
    struct sr_walk walk; /* first: the walk hands itself back */
    struct outputs *outputs;
    const char *output; /* whose entries these are; NULL: of all */
};

static struct sr_json_slice key_of(const struct output *output)
{
    return (struct sr_json_slice){output->name.data + 1, output->name.len - 2};
}

/* As a report has them, so that the two lists can be gone through side by side. */
static int by_name(const void *a, const void *b)
{
    return sr_json_compare_keys(key_of(a), key_of(b));
}

static bool make_room(struct outputs *outputs)
{
    if ((outputs->count & (outputs->count - 1)) != 0) /* grows at 0, 1, 2, 4, 8, ... */
        return true;
    size_t capacity = outputs->count == 0 ? 1 : 2 * outputs->count;
    struct output *grown = realloc(outputs->found, capacity * sizeof *grown);
    if (grown != NULL)
        outputs->found = grown;
    return grown != NULL;
}

/* What comes once the list is full is not even read. */
static int note_output(struct listing *listing, int directory_fd, const char *name,
                       struct sr_error *err)
{
    struct outputs *outputs = listing->outputs;
    char path[sizeof "outputs/" + NAME_MAX + 1 + PATH_MAX];
    struct output output = {.name = SR_BUF_INIT};
    struct statx st;
    if (outputs->truncated)
        return 0;
    snprintf(path, sizeof path, "outputs/%s%s%s", listing->output != NULL ? listing->output : "",
             listing->output != NULL ? "/" : "", listing->walk.at);
    sr_cleanup_fd int fd = sr_walk_open(directory_fd, name, 0);
    if (fd < 0 || sr_walk_stat(fd, "", &st) < 0)
        return sr_walk_fail(&listing->walk, "cannot be read", errno, err);
    output.size = st.stx_size;
    sr_jcs_text(&output.name, path);
    outputs->truncated = outputs->text + output.name.len + ENTRY_TEXT > ARCHIVE_BUNDLE_MAX_OUTPUTS;
    int result = outputs->truncated ? 0
                 : !sr_buf_ok(&output.name) || !make_room(outputs)
                     ? -ENOMEM
                     : sr_sha256_fd(outputs->hasher, fd, output.hash);
    if (result < 0 || outputs->truncated) {
        sr_buf_free(&output.name);
        return result < 0 ? sr_walk_fail(&listing->walk, "cannot be read", -result, err) : 0;
    }
    outputs->text += output.name.len + ENTRY_TEXT;
    outputs->found[outputs->count++] = output;
    return 0;
}

static int list_entry(struct sr_walk *walk, void *parent, int directory_fd, const char *name,
                      const struct statx *st, int open_fd, void **own, struct sr_error *err)
{
    struct listing *listing = (struct listing *)walk;
    (void)parent, (void)open_fd, (void)own;
    return S_ISREG(st->stx_mode) ? note_output(listing, directory_fd, name, err) : 0;
}

/* What is no file or directory came from nowhere and is let be. */
static void skip(struct sr_walk *walk, const char *why)
{
    (void)walk, (void)why;
}

#define LISTING(visit, shown)                                                                      \
    {                                                                                              \
        .entry = (visit), .skip = skip, .code = SR_OPS_301, .path = "archive.bundle",              \
        .name = (shown), .entries_max = EVIDENCE_OUTPUT_ENTRIES_MAX,                               \
    }

/* Each output by itself: it may be as large, and its paths as long, as the collector lets one
 * be. */
static int list_output(struct sr_walk *walk, void *parent, int directory_fd, const char *name,
                       const struct statx *st, int open_fd, void **own, struct sr_error *err)
{
    struct listing *all = (struct listing *)walk;
    if (!S_ISDIR(st->stx_mode))
        return list_entry(walk, parent, directory_fd, name, st, open_fd, own, err);
    struct listing one = {
        .walk = LISTING(list_entry, name), .outputs = all->outputs, .output = name};
    return sr_walk(&one.walk, open_fd, NULL, err);
}

static void write_outputs(struct outputs *outputs, struct sr_buf *out)
{
    if (outputs->count > 0)
        qsort(outputs->found, outputs->count, sizeof *outputs->found, by_name);
    sr_buf_puts(out, "{\"files\":[");
    for (size_t i = 0; i < outputs->count; i++) {
        sr_buf_puts(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        sr_buf_append(out, outputs->found[i].name.data, outputs->found[i].name.len);
        sr_buf_printf(out, ",\"sha256\":\"%s\",\"size\":", outputs->found[i].hash);
        sr_buf_u64(out, outputs->found[i].size);
        sr_buf_putc(out, '}');
    }
    sr_buf_puts(out, "],\"schemaVersion\":\"safe-run.outputs/v1\"");
    sr_buf_puts(out, outputs->truncated ? ",\"truncated\":true}" : "}");
}

int archive_staging_outputs(struct archive_staging *stage, int dirfd, struct sr_error *err)
{
    sr_cleanup_fd int fd =
        openat(dirfd, "outputs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT
                   ? 0
                   : sr_fail(err, SR_OPS_301, "archive.bundle", "outputs: %s", strerror(errno));
    stage->run = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
    if (stage->run < 0)
        return sr_fail(err, SR_OPS_301, "archive.bundle", "outputs: %s", strerror(errno));
    struct outputs outputs = {.hasher = stage->hasher, .text = LIST_TEXT};
    struct listing all = {.walk = LISTING(list_output, "outputs"), .outputs = &outputs};
    all.walk.flat = true;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    int result = sr_walk(&all.walk, fd, NULL, err);
    if (result == 0)
        write_outputs(&outputs, &text);
    for (size_t i = 0; i < outputs.count; i++)
        sr_buf_free(&outputs.found[i].name);
    free(outputs.found);
    return result < 0 ? -1 : archive_staging_text(stage, ARCHIVE_BUNDLE_OUTPUTS, &text, err);
}
