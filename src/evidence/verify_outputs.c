/*
 * Outputs against output.collected. What an event lists of their files must follow from itself, and
 * a manifest that events name be one that the report vouches for. On disk, outputs/<name> in the
 * directory of the files is hashed again as the supervisor did (output_digest.h), each file by
 * itself in the same reading. A run with --output-dir has no outputs/; then it is said that nothing
 * was looked at, unless the caller knows where they are. In outputs/ what was collected has to be
 * and nothing else; a directory that the caller named may hold other things.
 *
 * Names and trees are foreign: a name is one component, nothing is read through a link or beyond a
 * mount point, and of a tree no more than the event says that there is.
 */
#include "evidence/verify.h"

#include "common/fs.h"
#include "common/printable.h"
#include "evidence/output_digest.h"
#include "saferun/policy.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DIRECTORY "outputs"

/* Entries that are kept, as text: twice what a writer lists. What a report has beyond is
 * refused. */
#define ENTRIES_TEXT_MAX (2 * EVIDENCE_OUTPUT_LISTED_TEXT)

struct told {
    uint64_t index; /* of the event */
    char name[NAME_MAX + 1];
    struct evidence_output_digest digest;
    struct sr_buf entries; /* canonical array; empty when the event lists none */
};

struct verify_outputs {
    unsigned count;
    struct told told[SR_OUTPUTS_MAX];
    size_t entries_text;
    struct sr_hasher *manifest; /* over the lines of all files that were found; NULL: nobody asks */
    bool manifest_known;        /* every output was there and was read to its end */
};

__attribute__((format(printf, 4, 5))) static void fail(struct verify *v, uint64_t index,
                                                       const char *field, const char *fmt, ...)
{
    char path[64], message[sizeof v->out->errors->message];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    sr_make_ascii(message);
    snprintf(path, sizeof path, "events[%llu].payload.%s", (unsigned long long)index, field);
    v->out->outputs_differ = true;
    verify_error(v, CHECK_ARTIFACT_FILES, SR_EVD_302, path, "%s", message);
}

/* A name that is one component; in a bundle or beside a report nothing else is looked for. */
static bool take_name(struct sr_json_slice value, char name[NAME_MAX + 1])
{
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    if (!sr_json_is_string(value))
        return false;
    sr_json_string(value, &text);
    if (!sr_buf_ok(&text) || text.len == 0 || text.len > NAME_MAX ||
        memchr(text.data, '\0', text.len) != NULL || memchr(text.data, '/', text.len) != NULL)
        return false;
    memcpy(name, text.data, text.len);
    name[text.len] = '\0';
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* What a writer did not count is not compared. */
#define UNKNOWN UINT64_MAX

static uint64_t take_count(struct sr_json_slice payload, const char *name)
{
    int64_t number;
    return sr_json_integer(sr_json_get(payload, name), &number) && number >= 0 ? (uint64_t)number
                                                                               : UNKNOWN;
}

static bool other_count(uint64_t found, uint64_t expected)
{
    return expected != UNKNOWN && found != expected;
}

static const struct told *find(const struct verify_outputs *outputs, const char *name)
{
    for (unsigned i = 0; i < outputs->count; i++)
        if (strcmp(outputs->told[i].name, name) == 0)
            return &outputs->told[i];
    return NULL;
}

/* One file's entry: {"path","sha256","size"}. */
static bool read_entry(struct sr_json_slice element, int64_t *size)
{
    struct sr_json_slice hash = sr_json_get(element, "sha256");
    return sr_json_is_string(sr_json_get(element, "path")) && evidence_is_hash(hash) &&
           sr_json_integer(sr_json_get(element, "size"), size) && *size >= 0;
}

/* Files that an event lists are as many, and have together as many bytes, as it says there are. */
static void check_entries(struct verify *v, uint64_t index, struct sr_json_slice payload)
{
    char path[64];
    struct sr_json_slice entries = sr_json_get(payload, "entries"), element;
    uint64_t count = 0, bytes = 0;
    int64_t size = 0;
    if (entries.len == 0)
        return;
    snprintf(path, sizeof path, "events[%llu].payload.entries", (unsigned long long)index);
    if (!sr_json_is_array(entries)) {
        verify_error(v, CHECK_SCHEMA, SR_EVD_301, path, "expected an array");
        return;
    }
    for (size_t at = 0; sr_json_next(entries, &at, &element); count++) {
        if (!read_entry(element, &size)) {
            verify_error(v, CHECK_SCHEMA, SR_EVD_301, path,
                         "expected objects with path, sha256 and size, found another at %llu",
                         (unsigned long long)count);
            return;
        }
        bytes += (uint64_t)size; /* 2^53 of at most a million */
    }
    if (other_count(count, take_count(payload, "files")) ||
        other_count(bytes, take_count(payload, "bytes")))
        verify_error(v, CHECK_AGGREGATES, SR_EVD_303, path,
                     "lists %llu files of %llu bytes, which are not the event's files and bytes",
                     (unsigned long long)count, (unsigned long long)bytes);
}

/* All events of a run name one manifest. */
static void take_manifest(struct verify *v, uint64_t index, struct sr_json_slice payload)
{
    char path[64];
    struct sr_json_slice hash = sr_json_get(payload, "manifest");
    if (hash.len == 0)
        return;
    snprintf(path, sizeof path, "events[%llu].payload.manifest", (unsigned long long)index);
    if (!evidence_is_hash(hash))
        verify_error(v, CHECK_SCHEMA, SR_EVD_301, path, "is no SHA-256");
    else if (v->manifest[0] != '\0' && !sr_json_is(hash, v->manifest))
        verify_error(v, CHECK_AGGREGATES, SR_EVD_303, path, "is another one than before");
    else
        memcpy(v->manifest, hash.text + 1, SR_SHA256_TEXT - 1);
}

static void take_output(struct verify *v, uint64_t index, struct sr_json_slice payload)
{
    struct sr_json_slice hash = sr_json_get(payload, "hash"),
                         entries = sr_json_get(payload, "entries");
    struct verify_outputs *outputs = v->collected;
    struct told told = {.index = index,
                        .digest = {.files = take_count(payload, "files"),
                                   .directories = take_count(payload, "directories"),
                                   .links = take_count(payload, "links"),
                                   .bytes = take_count(payload, "bytes")}};
    if (!take_name(sr_json_get(payload, "name"), told.name))
        fail(v, index, "name", "is no name of an output");
    else if (!evidence_is_hash(hash))
        fail(v, index, "hash", "%s/%s: is no SHA-256", DIRECTORY, told.name);
    else if (outputs->count == SR_OUTPUTS_MAX || find(outputs, told.name) != NULL)
        fail(v, index, "name", "%s/%s: %s", DIRECTORY, told.name,
             outputs->count == SR_OUTPUTS_MAX ? "is one more than a policy can have"
                                              : "is there twice");
    else if (outputs->entries_text + entries.len > ENTRIES_TEXT_MAX)
        fail(v, index, "entries", "%s/%s: lists more than any run does", DIRECTORY, told.name);
    else {
        memcpy(told.digest.hash, hash.text + 1, SR_SHA256_TEXT - 1);
        if (sr_json_is_array(entries))
            sr_buf_append(&told.entries, entries.text, entries.len);
        v->no_memory = v->no_memory || !sr_buf_ok(&told.entries);
        outputs->entries_text += entries.len;
        outputs->told[outputs->count++] = told;
    }
}

void verify_outputs_take(struct verify *v, uint64_t index)
{
    struct sr_json_slice payload = v->event.payload;
    const struct sr_verify_options *options = v->options;
    check_entries(v, index, payload);
    take_manifest(v, index, payload);
    if (options->outputs_dirfd == NULL && options->outputs_dir == NULL &&
        (options->artifacts_dir == NULL || options->elsewhere != NULL))
        return;
    if (v->collected == NULL)
        v->collected = calloc(1, sizeof *v->collected);
    if (v->collected == NULL) {
        v->no_memory = true;
        return;
    }
    if (sr_json_get(payload, "hash").len > 0) /* else it was not collected */
        take_output(v, index, payload);
}

void verify_outputs_manifest(struct verify *v)
{
    struct sr_json_slice vouched =
        sr_json_get(verify_field(v, "artifacts", "files"), EVIDENCE_OUTPUT_MANIFEST);
    char found[SHOWN_SIZE];
    if (v->manifest[0] != '\0' && !sr_json_is(vouched, v->manifest))
        verify_error(v, CHECK_AGGREGATES, SR_EVD_303,
                     "artifacts.files[\"" EVIDENCE_OUTPUT_MANIFEST "\"]",
                     "expected %s, which output.collected names, found %s", v->manifest,
                     verify_show(vouched, found));
}

/* ---- on disk ---- */

static void differs(struct verify *v, const struct told *told, const char *what, uint64_t found,
                    uint64_t expected)
{
    fail(v, told->index, what, "%s/%s: expected %llu %s, found %llu", DIRECTORY, told->name,
         (unsigned long long)expected, what, (unsigned long long)found);
}

/* The files of one output as they are found, beside what the event lists of them. */
struct comparison {
    struct verify *v;
    const struct told *told;
    size_t at; /* in the entries */
    bool differs;
};

static bool is_path(struct sr_json_slice entry, const char *path)
{
    sr_cleanup_buf struct sr_buf listed = SR_BUF_INIT;
    sr_json_string(sr_json_get(entry, "path"), &listed);
    sr_buf_putc(&listed, '\0');
    return sr_buf_ok(&listed) && listed.len == strlen(path) + 1 && strcmp(listed.data, path) == 0;
}

/* Says so of the first file that is not as the event lists it. */
static void compare_entry(struct comparison *comparison, const struct evidence_output_file *file)
{
    const struct told *told = comparison->told;
    struct sr_json_slice entry, entries = {told->entries.data, told->entries.len};
    const char *slash = file->path[0] != '\0' ? "/" : "";
    int64_t size = -1;
    char shown[SHOWN_SIZE];
    bool listed = sr_json_next(entries, &comparison->at, &entry) && is_path(entry, file->path);
    if (listed && sr_json_is(sr_json_get(entry, "sha256"), file->hash) &&
        sr_json_integer(sr_json_get(entry, "size"), &size) && (uint64_t)size == file->size)
        return;
    comparison->differs = true;
    if (listed)
        fail(comparison->v, told->index, "entries",
             "%s/%s%s%s: expected %s, found \"%s\" (%llu bytes)", DIRECTORY, told->name, slash,
             file->path, verify_show(sr_json_get(entry, "sha256"), shown), file->hash,
             (unsigned long long)file->size);
    else
        fail(comparison->v, told->index, "entries",
             "%s/%s%s%s is there, and the event lists another file in its place", DIRECTORY,
             told->name, slash, file->path);
}

static int compare_file(void *context, const struct evidence_output_file *file,
                        struct sr_error *err)
{
    struct comparison *comparison = context;
    const struct told *told = comparison->told;
    struct verify *v = comparison->v;
    (void)err;
    if (v->collected->manifest != NULL) {
        sr_cleanup_buf struct sr_buf line = SR_BUF_INIT;
        evidence_output_manifest_line(&line, told->name, file);
        v->no_memory = v->no_memory || !sr_buf_ok(&line);
        sr_hasher_update(v->collected->manifest, line.data, line.len);
    }
    if (told->entries.len > 0 && !comparison->differs)
        compare_entry(comparison, file);
    return 0;
}

static void check(struct verify *v, int dir, const struct told *told)
{
    const struct evidence_output_digest *expected = &told->digest;
    struct comparison comparison = {.v = v, .told = told};
    const struct evidence_output_listener listener = {compare_file, &comparison};
    struct evidence_output_digest found;
    struct sr_error why = {0};
    if (faccessat(dir, told->name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT) {
        v->collected->manifest_known = false;
        if (!v->options->files_may_lack)
            fail(v, told->index, "name", "%s/%s is not there", DIRECTORY, told->name);
        return;
    }
    if (evidence_output_digest(dir, told->name, "", expected->bytes, v->hasher, &listener, &found,
                               &why) < 0) {
        v->collected->manifest_known = false;
        fail(v, told->index, "hash", "%s/%s", DIRECTORY, why.message);
    } else if (other_count(found.files, expected->files))
        differs(v, told, "files", found.files, expected->files);
    else if (other_count(found.directories, expected->directories))
        differs(v, told, "directories", found.directories, expected->directories);
    else if (other_count(found.links, expected->links))
        differs(v, told, "links", found.links, expected->links);
    else if (other_count(found.bytes, expected->bytes))
        differs(v, told, "bytes", found.bytes, expected->bytes);
    else if (strcmp(found.hash, expected->hash) != 0)
        fail(v, told->index, "hash",
             "%s/%s: expected %s, found %s: a content, a name or an executable bit differs",
             DIRECTORY, told->name, expected->hash, found.hash);
}

/* The manifest that follows from the files is the one that the events name. */
static void check_manifest(struct verify *v)
{
    char found[SR_SHA256_TEXT];
    if (v->collected->manifest == NULL || !v->collected->manifest_known)
        return;
    if (sr_hasher_final(v->collected->manifest, found) < 0)
        v->no_memory = true;
    else if (strcmp(found, v->manifest) != 0) {
        v->out->outputs_differ = true;
        verify_error(v, CHECK_ARTIFACT_FILES, SR_EVD_302, EVIDENCE_OUTPUT_MANIFEST,
                     "expected %s, found %s: the files are not those that it lists", v->manifest,
                     found);
    }
}

static bool begin_manifest(struct verify *v)
{
    v->collected->manifest_known = true;
    if (v->manifest[0] == '\0')
        return true;
    v->collected->manifest = sr_hasher_new();
    if (v->collected->manifest == NULL)
        return false;
    sr_hasher_reset(v->collected->manifest);
    return true;
}

/* The first entry of the directory that no event tells of. */
static void check_nothing_else(struct verify *v, int dir)
{
    DIR *listing = sr_open_list(dir);
    const struct dirent *entry;
    if (listing == NULL) {
        v->out->outputs_differ = true;
        verify_error(v, CHECK_ARTIFACT_FILES, SR_EVD_002, DIRECTORY, "cannot be read: %s",
                     strerror(errno));
        return;
    }
    while ((entry = readdir(listing)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            find(v->collected, entry->d_name) == NULL) {
            char name[SHOWN_SIZE];
            v->out->outputs_differ = true;
            verify_error(
                v, CHECK_ARTIFACT_FILES, SR_EVD_302, DIRECTORY,
                DIRECTORY "/%s is there, and no event tells of it",
                verify_show((struct sr_json_slice){entry->d_name, strlen(entry->d_name)}, name));
            break;
        }
    closedir(listing);
}

/* Opens where outputs are; -1 with what there is to say about that. */
static int open_outputs(struct verify *v, int dir, const char *name)
{
    bool named = v->options->outputs_dir != NULL;
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (named ? 0 : O_NOFOLLOW));
    if (fd >= 0)
        return fd;
    if (errno == ENOENT && !named) {
        if (v->collected->count > 0 && !v->options->files_may_lack)
            verify_note(v, CHECK_ARTIFACT_FILES,
                        "outputs were not looked at: there is no " DIRECTORY "/; --outputs names "
                        "what was --output-dir of the run");
        return -1;
    }
    v->out->outputs_differ = true;
    verify_error(v, CHECK_ARTIFACT_FILES, named ? SR_EVD_002 : SR_EVD_302, DIRECTORY, "%s",
                 errno == ENOTDIR || errno == ELOOP ? "is no directory" : strerror(errno));
    return -1;
}

unsigned verify_outputs(struct verify *v, int dir)
{
    bool named = v->options->outputs_dir != NULL;
    if (v->collected == NULL)
        return 0;
    sr_cleanup_fd int outputs =
        open_outputs(v, named ? verify_base(v) : dir, named ? v->options->outputs_dir : DIRECTORY);
    if (outputs < 0)
        return 0;
    if (!begin_manifest(v)) {
        v->no_memory = true;
        return 0;
    }
    for (unsigned i = 0; i < v->collected->count; i++)
        check(v, outputs, &v->collected->told[i]);
    check_manifest(v);
    if (!named)
        check_nothing_else(v, outputs);
    return v->collected->count;
}

void verify_outputs_free(struct verify *v)
{
    if (v->collected == NULL)
        return;
    for (unsigned i = 0; i < v->collected->count; i++)
        sr_buf_free(&v->collected->told[i].entries);
    sr_hasher_free(v->collected->manifest);
    free(v->collected);
    v->collected = NULL;
}
