/*
 * Outputs on disk against the hashes of output.collected: outputs/<name> in the directory of the files, hashed again as the supervisor
 * did (output_digest.h). A run with --output-dir has no outputs/; then it is said that nothing was looked at. Where it is, what was
 * collected has to be in it and nothing else.
 *
 * Names and trees are foreign: a name is one component, nothing is read through a link or beyond a mount point, and of a tree no more
 * than the event says that there is.
 */
#include "verify.h"

#include "fs.h"
#include "output_digest.h"
#include "saferun/policy.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DIRECTORY "outputs"

struct told {
    uint64_t index; /* of the event */
    char name[NAME_MAX + 1];
    struct sr_output_digest digest;
};

struct verify_outputs {
    unsigned count;
    struct told told[SR_OUTPUTS_MAX];
};

__attribute__((format(printf, 4, 5))) static void fail(struct verify *v, uint64_t index,
                                                       const char *field, const char *fmt, ...)
{
    char path[64], message[sizeof v->out->errors->message];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    for (char *p = message; *p != '\0'; p++)
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
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

void verify_outputs_take(struct verify *v, uint64_t index)
{
    struct sr_json_slice payload = v->event.payload, hash = sr_json_get(payload, "hash");
    const struct sr_verify_options *options = v->options;
    if (options->outputs_dirfd == NULL &&
        (options->artifacts_dir == NULL || options->elsewhere != NULL))
        return;
    if (v->collected == NULL)
        v->collected = calloc(1, sizeof *v->collected);
    if (v->collected == NULL) {
        v->no_memory = true;
        return;
    }
    if (hash.len == 0) /* it was not collected */
        return;
    struct verify_outputs *outputs = v->collected;
    struct told told = {.index = index,
                        .digest = {.files = take_count(payload, "files"),
                                   .directories = take_count(payload, "directories"),
                                   .links = take_count(payload, "links"),
                                   .bytes = take_count(payload, "bytes")}};
    if (!take_name(sr_json_get(payload, "name"), told.name))
        fail(v, index, "name", "is no name of an output");
    else if (!sr_json_is_string(hash) ||
             !sr_hash_well_formed((struct sr_json_slice){hash.text + 1, hash.len - 2}))
        fail(v, index, "hash", "%s/%s: is no SHA-256", DIRECTORY, told.name);
    else if (outputs->count == SR_OUTPUTS_MAX || find(outputs, told.name) != NULL)
        fail(v, index, "name", "%s/%s: %s", DIRECTORY, told.name,
             outputs->count == SR_OUTPUTS_MAX ? "is one more than a policy can have"
                                              : "is there twice");
    else {
        memcpy(told.digest.hash, hash.text + 1, SR_SHA256_TEXT - 1);
        outputs->told[outputs->count++] = told;
    }
}

static void differs(struct verify *v, const struct told *told, const char *what, uint64_t found,
                    uint64_t expected)
{
    fail(v, told->index, what, "%s/%s: expected %llu %s, found %llu", DIRECTORY, told->name,
         (unsigned long long)expected, what, (unsigned long long)found);
}

static void check(struct verify *v, int dir, const struct told *told)
{
    const struct sr_output_digest *expected = &told->digest;
    struct sr_output_digest found;
    struct sr_error why = {0};
    if (faccessat(dir, told->name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT) {
        if (!v->options->files_may_lack)
            fail(v, told->index, "name", "%s/%s is not there", DIRECTORY, told->name);
        return;
    }
    if (sr_output_digest(dir, told->name, "", expected->bytes, v->hasher, &found, &why) < 0)
        fail(v, told->index, "hash", "%s/%s", DIRECTORY, why.message);
    else if (other_count(found.files, expected->files))
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

unsigned verify_outputs(struct verify *v, int dir)
{
    if (v->collected == NULL)
        return 0;
    sr_cleanup_fd int outputs =
        openat(dir, DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (outputs < 0 && errno == ENOENT) {
        if (v->collected->count > 0 && !v->options->files_may_lack)
            verify_note(v, CHECK_ARTIFACT_FILES,
                        "outputs were not looked at: there is no " DIRECTORY "/ (a run with "
                        "--output-dir has none)");
        return 0;
    }
    if (outputs < 0) {
        v->out->outputs_differ = true;
        verify_error(v, CHECK_ARTIFACT_FILES, SR_EVD_302, DIRECTORY, "%s",
                     errno == ENOTDIR || errno == ELOOP ? "is no directory" : strerror(errno));
        return 0;
    }
    for (unsigned i = 0; i < v->collected->count; i++)
        check(v, outputs, &v->collected->told[i]);
    check_nothing_else(v, outputs);
    return v->collected->count;
}

void verify_outputs_free(struct verify *v)
{
    free(v->collected);
    v->collected = NULL;
}
