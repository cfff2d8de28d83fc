/*
 * Files on disk against the hashes that the report names. Their content and names are as foreign as
 * the report: nothing outside the directory is opened, no symbolic link followed, nothing but
 * regular files read.
 *
 *   policy.json               policyHash over its canonical form
 *   command.json              commandHash over its canonical form; without it runtime.command and
 *                             runtime.args of policy.json, unless arguments came from elsewhere
 *   vmlinux, rootfs.img       kernelHash, rootfsHash; also below artifacts/
 *   artifacts.files           each file by its name
 *   outputs/                  as verify_outputs.c says
 *
 * Of the first three only what is there is checked (kernel and image usually lie in a store of
 * their own, and can be linked in); what artifacts.files names must be there.
 */
#include "evidence/verify.h"

#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct files {
    struct verify *v;
    int dir;
    unsigned checked;
};

static const char *open_error(int error)
{
    return error == EINVAL                    ? "is not a regular file"
           : error == ELOOP || error == EXDEV ? "is, or lies behind, a symbolic link or '..'"
                                              : strerror(error);
}

static void compare(struct files *files, const char *path, const char *name,
                    struct sr_json_slice expected, const char *hash)
{
    char shown[SHOWN_SIZE];
    files->checked++;
    if (!sr_json_is(expected, hash))
        verify_error(files->v, CHECK_ARTIFACT_FILES, SR_EVD_302, path, "expected %s, but %s has %s",
                     verify_show(expected, shown), name, hash);
}

/* Hashes an open file as it is. */
static void compare_file(struct files *files, const char *path, const char *name, int fd,
                         struct sr_json_slice expected)
{
    char hash[SR_SHA256_TEXT];
    int result = sr_sha256_fd(files->v->hasher, fd, hash);
    if (result < 0)
        verify_error(files->v, CHECK_ARTIFACT_FILES, SR_EVD_002, path, "%s cannot be read: %s",
                     name, strerror(-result));
    else
        compare(files, path, name, expected, hash);
}

/* A run that ended before it knew a hash has zeros in its place: then nothing is promised of the
 * file. */
static bool is_unknown(struct files *files, const char *field, const char *name)
{
    if (!sr_json_is(verify_field(files->v, "artifacts", field), EVIDENCE_HASH_ZERO))
        return false;
    verify_note(files->v, CHECK_ARTIFACT_FILES, "%s is not vouched for: %s is zeros", name, field);
    return true;
}

static void check_artifact(struct files *files, const char *field, const char *name,
                           const char *other_name)
{
    char path[64];
    snprintf(path, sizeof path, "artifacts.%s", field);
    sr_cleanup_fd int fd = sr_open_below(files->dir, name);
    if (fd == -ENOENT) {
        name = other_name;
        fd = sr_open_below(files->dir, name);
    }
    if (fd == -ENOENT)
        return;
    if (fd < 0)
        verify_error(files->v, CHECK_ARTIFACT_FILES, SR_EVD_302, path, "%s: %s", name,
                     open_error(-fd));
    else if (!is_unknown(files, field, name))
        compare_file(files, path, name, fd, verify_field(files->v, "artifacts", field));
}

/* Reads a small JSON document into canonical form; false with an error recorded when it is none. */
static bool read_document(struct files *files, int fd, const char *path, const char *name,
                          struct sr_buf *canonical)
{
    sr_cleanup_json_reader struct sr_json_reader reader;
    struct sr_json_scan scan;
    const char *text;
    char repeated[200] = "";
    const char *fault = NULL;
    if (sr_json_reader_open(&reader, fd, 0, SR_JSON_MAX_VALUE, false) < 0 ||
        sr_json_peek(&reader) == SR_JSON_FAULT)
        fault = "cannot be read";
    else if (sr_json_read_value(&reader, &scan, &text) < 0)
        fault = reader.error;
    else if (sr_json_canonical((struct sr_json_slice){text, scan.len}, canonical, repeated,
                               sizeof repeated) < 0)
        fault = "a key is there twice";
    else if (!sr_buf_ok(canonical))
        fault = "is too large";
    else if (sr_json_peek(&reader) != SR_JSON_EOF)
        fault = "something follows the document";
    if (fault != NULL)
        verify_error(files->v, CHECK_ARTIFACT_FILES, SR_EVD_302, path, "%s: %s", name, fault);
    return fault == NULL;
}

static bool hash_text(struct files *files, const struct sr_buf *text, char hash[SR_SHA256_TEXT])
{
    if (sr_buf_ok(text) && sr_sha256(files->v->hasher, text->data, text->len, hash) == 0)
        return true;
    files->v->no_memory = true;
    return false;
}

/* {"args":[...],"command":"..."} out of a policy's runtime; false when it has none. */
static bool command_of(const struct sr_buf *policy, struct sr_buf *command)
{
    struct sr_json_slice all = {policy->data, policy->len}, runtime = sr_json_get(all, "runtime"),
                         args = sr_json_get(runtime, "args"),
                         name = sr_json_get(runtime, "command");
    if (args.len == 0 || name.len == 0)
        return false;
    sr_buf_puts(command, "{\"args\":");
    sr_buf_append(command, args.text, args.len);
    sr_buf_puts(command, ",\"command\":");
    sr_buf_append(command, name.text, name.len);
    sr_buf_putc(command, '}');
    return true;
}

static void check_policy(struct files *files, bool with_command)
{
    static const char path[] = "artifacts.policyHash";
    sr_cleanup_fd int fd = sr_open_below(files->dir, "policy.json");
    if (fd == -ENOENT)
        return;
    sr_cleanup_buf struct sr_buf policy = SR_BUF_INIT, command = SR_BUF_INIT;
    char hash[SR_SHA256_TEXT];
    if (fd < 0) {
        verify_error(files->v, CHECK_ARTIFACT_FILES, SR_EVD_302, path, "policy.json: %s",
                     open_error(-fd));
        return;
    }
    if (is_unknown(files, "policyHash", "policy.json") ||
        !read_document(files, fd, path, "policy.json", &policy) || !hash_text(files, &policy, hash))
        return;
    compare(files, path, "policy.json", verify_field(files->v, "artifacts", "policyHash"), hash);
    if (with_command && command_of(&policy, &command) && hash_text(files, &command, hash) &&
        !sr_json_is(verify_field(files->v, "artifacts", "commandHash"), hash))
        verify_note(files->v, CHECK_ARTIFACT_FILES,
                    "commandHash is not of policy.json's command alone (arguments may have been "
                    "added)");
}

/* Returns whether there is a command.json. */
static bool check_command(struct files *files)
{
    static const char path[] = "artifacts.commandHash";
    sr_cleanup_fd int fd = sr_open_below(files->dir, "command.json");
    if (fd == -ENOENT)
        return false;
    sr_cleanup_buf struct sr_buf command = SR_BUF_INIT;
    char hash[SR_SHA256_TEXT];
    if (fd < 0)
        verify_error(files->v, CHECK_ARTIFACT_FILES, SR_EVD_302, path, "command.json: %s",
                     open_error(-fd));
    else if (!is_unknown(files, "commandHash", "command.json") &&
             read_document(files, fd, path, "command.json", &command) &&
             hash_text(files, &command, hash))
        compare(files, path, "command.json", verify_field(files->v, "artifacts", "commandHash"),
                hash);
    return true;
}

static void check_named_file(struct files *files, const struct sr_json_member *member)
{
    char shown[SHOWN_SIZE], path[160];
    snprintf(path, sizeof path, "artifacts.files[\"%s\"]", verify_show(member->key, shown));
    sr_cleanup_buf struct sr_buf name = SR_BUF_INIT;
    sr_json_string(sr_json_quoted(member->key), &name);
    if (!sr_buf_ok(&name) || strlen(name.data) != name.len) {
        verify_error(files->v, CHECK_ARTIFACT_FILES, SR_EVD_302, path, "is no name of a file");
        return;
    }
    const char *elsewhere = files->v->options->elsewhere;
    if (elsewhere != NULL && strncmp(name.data, elsewhere, strlen(elsewhere)) == 0)
        return;
    sr_cleanup_fd int fd = sr_open_below(files->dir, name.data);
    if (fd == -ENOENT && files->v->options->files_may_lack)
        return;
    if (fd < 0)
        verify_error(files->v, CHECK_ARTIFACT_FILES, SR_EVD_302, path, "%s", open_error(-fd));
    else
        compare_file(files, path, shown, fd, member->value);
}

static void check_named_files(struct files *files)
{
    struct sr_json_slice map = verify_field(files->v, "artifacts", "files");
    struct sr_json_member member;
    if (!sr_json_is_object(map))
        return;
    for (size_t at = 0; sr_json_next_member(map, &at, &member);)
        check_named_file(files, &member);
}

void verify_files(struct verify *v)
{
    const int *outputs = v->options->outputs_dirfd;
    bool apart = outputs != NULL || v->options->outputs_dir != NULL;
    if (apart)
        (void)verify_outputs(v, outputs != NULL ? *outputs : -1);
    if (v->options->artifacts_dir == NULL)
        return;
    sr_cleanup_fd int dir =
        openat(verify_base(v), v->options->artifacts_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        verify_error(v, CHECK_ARTIFACT_FILES, SR_EVD_002, "artifacts", "cannot be opened: %s",
                     strerror(errno));
        return;
    }
    struct files files = {.v = v, .dir = dir};
    check_artifact(&files, "kernelHash", "vmlinux", "artifacts/vmlinux");
    check_artifact(&files, "rootfsHash", "rootfs.img", "artifacts/rootfs.img");
    check_policy(&files, !check_command(&files));
    check_named_files(&files);
    if (!apart)
        files.checked += verify_outputs(v, dir);
    if (files.checked == 0 && !v->options->files_may_lack && v->checks[CHECK_ARTIFACT_FILES].ok)
        verify_error(v, CHECK_ARTIFACT_FILES, SR_EVD_302, "artifacts",
                     "the directory has no file that the report names");
}
