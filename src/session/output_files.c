#include "session/output_files.h"

#include "common/fs.h"
#include "common/jcs.h"
#include "common/json_member.h"
#include "evidence/fact.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { FLUSH = 64 * 1024 };

void output_files_init(struct output_files *files, int run_dirfd)
{
    *files = (struct output_files){.dirfd = run_dirfd, .fd = -1};
}

void output_files_begin(struct output_files *files, uint32_t index, const char *name)
{
    files->at = index;
    files->names[index] = name;
    files->begun_listed = files->listed;
    files->begun_text = files->text;
    files->begun = files->written + files->lines.len;
}

static int fail(struct sr_error *err, int error)
{
    return sr_fail(err, SR_EVD_001, "outputs", EVIDENCE_OUTPUT_MANIFEST " cannot be written: %s",
                   strerror(error));
}

static int flush(struct output_files *files, struct sr_error *err)
{
    int result = sr_buf_ok(&files->lines)
                     ? sr_write_all(files->fd, files->lines.data, files->lines.len)
                     : -ENOMEM;
    if (result < 0)
        return fail(err, -result);
    files->written += files->lines.len;
    files->lines.len = 0;
    return 0;
}

static int add_line(struct output_files *files, const char *output,
                    const struct evidence_output_file *file, struct sr_error *err)
{
    evidence_output_manifest_line(&files->lines, output, file);
    return files->lines.len < FLUSH ? 0 : flush(files, err);
}

/* The entry's line, from what was meant for an event. */
static int move_entry(struct output_files *files, const char *output, const json_t *entry,
                      struct sr_error *err)
{
    struct evidence_output_file file = {.path = sr_member_text(entry, "path")};
    snprintf(file.hash, sizeof file.hash, "%s", sr_member_text(entry, "sha256"));
    return add_line(files, output, &file, err);
}

/* There are too many: from now on all of them are in the manifest. */
static int begin_manifest(struct output_files *files, struct sr_error *err)
{
    files->fd = openat(files->dirfd, EVIDENCE_OUTPUT_MANIFEST,
                       O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (files->fd < 0)
        return fail(err, errno);
    for (uint32_t i = 0; i <= files->at; i++) {
        files->begun = files->written + files->lines.len;
        for (size_t k = 0; k < json_array_size(files->entries[i]); k++)
            if (move_entry(files, files->names[i], json_array_get(files->entries[i], k), err) < 0)
                return -1;
        json_decref(files->entries[i]);
        files->entries[i] = NULL;
    }
    return 0;
}

/* Bytes that the path has as canonical JSON; 0: it is no UTF-8. */
static size_t length_as_json(const char *path)
{
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    json_t *valid = json_string(path);
    if (valid == NULL)
        return 0;
    json_decref(valid);
    sr_jcs_text(&text, path);
    return sr_buf_ok(&text) ? text.len : 0;
}

static bool list_entry(struct output_files *files, const struct evidence_output_file *file)
{
    static const char rest[] = "{\"path\":,\"sha256\":\"\",\"size\":9007199254740991},";
    json_t **entries = &files->entries[files->at];
    size_t len = length_as_json(file->path), text = len + sizeof rest + SR_SHA256_TEXT;
    if (len == 0 || files->listed == EVIDENCE_OUTPUT_LISTED_MAX ||
        files->text + text > EVIDENCE_OUTPUT_LISTED_TEXT)
        return false;
    if (*entries == NULL)
        *entries = json_array();
    struct facts entry = facts_new();
    fact_text(&entry, "path", file->path);
    fact_text(&entry, "sha256", file->hash);
    fact_count(&entry, "size", file->size);
    if (json_array_append_new(*entries, facts_end(&entry)) < 0)
        return false;
    files->listed++;
    files->text += text;
    return true;
}

int output_files_add(void *context, const struct evidence_output_file *file, struct sr_error *err)
{
    struct output_files *files = context;
    if (files->fd < 0 && list_entry(files, file))
        return 0;
    if (files->fd < 0 && begin_manifest(files, err) < 0)
        return -1;
    return add_line(files, files->names[files->at], file, err);
}

void output_files_drop(struct output_files *files)
{
    json_decref(files->entries[files->at]);
    files->entries[files->at] = NULL;
    files->listed = files->begun_listed;
    files->text = files->begun_text;
    if (files->fd < 0)
        return;
    if (files->begun >= files->written) {
        files->lines.len = (size_t)(files->begun - files->written);
        return;
    }
    files->lines.len = 0;
    if (ftruncate(files->fd, (off_t)files->begun) < 0 ||
        lseek(files->fd, (off_t)files->begun, SEEK_SET) < 0)
        files->lines.failed = true; /* output_files_end() says so */
    files->written = files->begun;
}

int output_files_end(struct output_files *files, struct sr_hasher *hasher, struct sr_error *err)
{
    if (files->fd < 0)
        return 0;
    if (flush(files, err) < 0)
        return -1;
    int result = fdatasync(files->fd) < 0 ? -errno : sr_sha256_fd(hasher, files->fd, files->hash);
    return result < 0 ? fail(err, -result) : 0;
}

uint64_t output_files_entry_bytes(const struct output_files *files)
{
    return files->fd < 0 ? files->text : 0;
}

json_t *output_files_entries(const struct output_files *files, uint32_t index)
{
    if (files->fd >= 0)
        return NULL;
    return files->entries[index] != NULL ? json_incref(files->entries[index]) : json_array();
}

const char *output_files_manifest(const struct output_files *files)
{
    return files->hash[0] != '\0' ? files->hash : NULL;
}

void output_files_free(struct output_files *files)
{
    for (size_t i = 0; i < SR_OUTPUTS_MAX; i++)
        json_decref(files->entries[i]);
    sr_buf_free(&files->lines);
    sr_close_fd(&files->fd);
}
