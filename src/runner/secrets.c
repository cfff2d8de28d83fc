/*
 * Theory of operation: values that go to the guest and nowhere else
 *
 *   take     Before run.prepared is written and before anything of the run is forked. Each value
 *            lies in pages of its own, which no core dump and no forked child has; the caller's
 *            variable is overwritten where this process gives up what it does not need (confine),
 *            so that children and /proc/PID/environ do not have it either. Evidence gets the HMAC.
 *   specify  Into the guest's specification, which goes over the channel: a socket, and no file.
 *   drop     When that was sent, and in any case in the end: overwritten and unmapped.
 *
 * A file is read through the descriptor that validation judged. Messages name variables and paths,
 * never a value.
 */
#include "runner/run_state.h"

#include "common/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#define FIELD_TEXT (sizeof "runtime.env..path" + SR_SECRET_NAME_MAX)

static int fail(const struct sr_secret *secret, struct sr_error *err, const char *what)
{
    char path[FIELD_TEXT];
    snprintf(path, sizeof path, "runtime.env.%s%s", secret->name,
             secret->from == SR_SECRET_FILE ? ".path" : "");
    return sr_fail(err, SR_RUN_001, path, "%s", what);
}

/* Pages for size bytes; false when there are none. */
static bool make_room(struct run_secret *value, size_t size)
{
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return false;
    value->text = pages;
    value->mapped = size;
    (void)mlock(pages, size); /* keeps it out of swap, where the user's limit allows that */
    return madvise(pages, size, MADV_WIPEONFORK) == 0 && madvise(pages, size, MADV_DONTDUMP) == 0;
}

/* Those that safe-run and its libraries read themselves: places and a bus, which others of the
 * caller's processes have too. */
static bool is_read_later(const char *name)
{
    static const char *const names[] = {"HOME", "PATH", "TMPDIR", "DBUS_SESSION_BUS_ADDRESS"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return strncmp(name, "XDG_", 4) == 0 || strncmp(name, "SAFE_RUN_", 9) == 0;
}

static int take_variable(const struct run *run, const struct sr_secret *secret,
                         struct run_secret *value, struct sr_error *err)
{
    char *text = getenv(secret->name);
    if (text == NULL)
        return fail(secret, err,
                    "the caller's environment does not have this variable; set and export it, or "
                    "take it out of the policy");
    value->len = strlen(text);
    if (value->len > SR_SECRET_VALUE_MAX)
        return fail(secret, err, "the value is longer than 64 KiB; give a file by a mount");
    if (!make_room(value, value->len + 1))
        return fail(secret, err, "out of memory");
    memcpy(value->text, text, value->len);
    if (run->options->confine && !is_read_later(secret->name)) {
        explicit_bzero(text, value->len);
        unsetenv(secret->name);
    }
    return 0;
}

static int read_file(const struct sr_secret *secret, struct run_secret *value, struct sr_error *err)
{
    char path[40];
    struct stat st;
    snprintf(path, sizeof path, "/proc/self/fd/%d", secret->fd);
    sr_cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return fail(secret, err,
                    errno == EACCES ? "the caller may not read this file"
                                    : "this file cannot be opened");
    /* One byte for the newline at its end, and one to see that there is more. */
    if (!make_room(value, SR_SECRET_VALUE_MAX + 2))
        return fail(secret, err, "out of memory");
    ssize_t got = sr_read_full(fd, value->text, SR_SECRET_VALUE_MAX + 2, 0);
    if (got < 0 || fstat(fd, &st) < 0)
        return fail(secret, err, "this file cannot be read");
    if ((int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec != secret->changed_nsec)
        return fail(secret, err, "this file changed after it was checked; run again");
    value->len = (size_t)got - (got > 0 && value->text[got - 1] == '\n');
    if (value->len > SR_SECRET_VALUE_MAX)
        return fail(secret, err, "this file is larger than the 64 KiB of a value");
    if (memchr(value->text, '\0', value->len) != NULL)
        return fail(secret, err,
                    "this file has a NUL byte, which no variable can have; give it by a mount");
    return 0;
}

static int take_file(struct run *run, const struct sr_secret *secret, struct run_secret *value,
                     struct sr_error *err)
{
    struct sr_error ours;
    if (run_refuse_ours(run, secret->fd, secret->path, &ours) < 0)
        return fail(secret, err, ours.message);
    return read_file(secret, value, err);
}

/* The computation that docs/EVIDENCE.md has for whoever checks a value. */
static int record(struct run *run, const unsigned char key[HOST_ENV_KEY_SIZE],
                  const struct sr_secret *secret, struct run_secret *value, struct sr_error *err)
{
    char salt[sizeof run->secrets.salt];
    memcpy(salt, run->secrets.salt, sizeof salt);
    const struct iovec pieces[] = {{salt, sizeof salt},
                                   {(char *)secret->name, strlen(secret->name) + 1},
                                   {value->text, value->len}};
    return sr_hmac_sha256(key, HOST_ENV_KEY_SIZE, pieces, 3, value->hmac) == 0
               ? 0
               : fail(secret, err, "its HMAC cannot be computed: out of memory");
}

int run_secrets_take(struct run *run, struct sr_error *err)
{
    const struct sr_policy *policy = run->options->policy;
    unsigned char key[HOST_ENV_KEY_SIZE], salt[(sizeof run->secrets.salt - 1) / 2];
    if (policy->secret_count == 0)
        return 0;
    run->secrets.values = calloc(policy->secret_count, sizeof *run->secrets.values);
    if (run->secrets.values == NULL || getrandom(salt, sizeof salt, 0) != sizeof salt)
        return sr_fail(err, SR_RUN_001, "runtime.env", "out of memory, or of random bytes");
    sr_hex(salt, sizeof salt, run->secrets.salt);
    int result = host_env_key(&run->config, key, err);
    for (size_t i = 0; result == 0 && i < policy->secret_count; i++) {
        const struct sr_secret *secret = &policy->secrets[i];
        struct run_secret *value = &run->secrets.values[i];
        result = secret->from == SR_SECRET_FILE ? take_file(run, secret, value, err)
                                                : take_variable(run, secret, value, err);
        if (result == 0)
            result = record(run, key, secret, value, err);
    }
    explicit_bzero(key, sizeof key);
    return result;
}

void run_secrets_record(const struct run *run, struct facts *runtime)
{
    const struct sr_policy *policy = run->options->policy;
    for (size_t i = 0; i < policy->secret_count; i++) {
        const struct sr_secret *secret = &policy->secrets[i];
        const char *hmac = run->secrets.values != NULL ? run->secrets.values[i].hmac : "";
        struct facts one = facts_new();
        fact_text(&one, "name", secret->name);
        fact_text(&one, "from", sr_secret_from_name(secret->from));
        fact_text_if_any(&one, "path", secret->path);
        fact_text_if_any(&one, "hmac", hmac[0] != '\0' ? hmac : NULL);
        fact_add(runtime, "envFrom", facts_end(&one));
    }
    if (policy->secret_count > 0 && run->secrets.salt[0] != '\0')
        fact_text(runtime, "envSalt", run->secrets.salt);
}

void run_secrets_specify(const struct run *run, struct sr_buf *spec)
{
    const struct sr_policy *policy = run->options->policy;
    for (size_t i = 0; i < policy->secret_count; i++) {
        sr_cleanup_buf struct sr_buf pair = {.wipe = true};
        sr_buf_printf(&pair, "%s=", policy->secrets[i].name);
        sr_buf_append(&pair, run->secrets.values[i].text, run->secrets.values[i].len);
        spec->failed = spec->failed || !sr_buf_ok(&pair);
        channel_spec_bytes(spec, CHANNEL_SPEC_ENV, pair.data, pair.len);
    }
}

void run_secrets_drop(struct run *run)
{
    for (size_t i = 0; run->secrets.values != NULL && i < run->options->policy->secret_count; i++) {
        struct run_secret *value = &run->secrets.values[i];
        if (value->text == NULL)
            continue;
        explicit_bzero(value->text, value->mapped);
        munmap(value->text, value->mapped);
        value->text = NULL;
    }
}
