#include "evidence/companion.h"

#include "common/printable.h"
#include "evidence/take.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Of a command line: more than anybody reads. */
enum { COMMAND_MAX = 4096 };

static int open_companion(int dirfd, const char *name, off_t *size)
{
    struct stat st;
    sr_cleanup_fd int fd =
        openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -1;
    *size = st.st_size;
    return sr_take_fd(&fd);
}

/* Reads a document whole into text, if its bytes have that hash. */
static enum evidence_companion_state read_document(int dirfd, const char *name, const char *hash,
                                                   struct sr_hasher *hasher, struct sr_buf *text)
{
    off_t size;
    char found[SR_SHA256_TEXT], chunk[16384];
    sr_cleanup_fd int fd = open_companion(dirfd, name, &size);
    if (fd < 0)
        return EVIDENCE_COMPANION_ABSENT;
    ssize_t got = 0;
    while (text->len <= SR_JSON_MAX_VALUE && (got = read(fd, chunk, sizeof chunk)) > 0)
        sr_buf_append(text, chunk, (size_t)got);
    if (got != 0 || !sr_buf_ok(text) || text->len == 0 ||
        sr_sha256(hasher, text->data, text->len, found) < 0 || strcmp(found, hash) != 0)
        return EVIDENCE_COMPANION_OTHER;
    /* Our own documents are canonical; values of any other are not looked up in it. */
    struct sr_json_scan scan;
    return sr_json_scan(text->data, text->len, SR_JSON_LAST, &scan) == SR_JSON_OK &&
                   scan.canonical && scan.len == text->len
               ? EVIDENCE_COMPANION_KNOWN
               : EVIDENCE_COMPANION_OTHER;
}

/* "a=b, c=d" of an object of texts, as much as there is room for. */
static void take_pairs(struct sr_json_slice object, char *text, size_t size)
{
    struct sr_json_member member;
    if (!sr_json_is_object(object))
        return;
    for (size_t at = 0; sr_json_next_member(object, &at, &member);) {
        char name[64], value[64], pair[sizeof name + sizeof value];
        evidence_take_key(member.key, name, sizeof name);
        evidence_take_string(member.value, value, sizeof value);
        snprintf(pair, sizeof pair, "%s=%s", name, value);
        if (!evidence_join_text(pair, text, size))
            return;
    }
}

/* Values that the policy has, and where the others come from. */
static void take_env(struct evidence_companions *c, struct sr_json_slice env)
{
    struct sr_json_member member;
    bool full[2] = {false, false};
    if (!sr_json_is_object(env))
        return;
    for (size_t at = 0; sr_json_next_member(env, &at, &member);) {
        char name[64], value[64], pair[sizeof name + sizeof value + 16], from[16];
        bool outside = sr_json_is_object(member.value);
        evidence_take_key(member.key, name, sizeof name);
        if (outside) {
            evidence_take_text(member.value, "from", from, sizeof from);
            evidence_take_text(member.value, "path", value, sizeof value);
            snprintf(pair, sizeof pair, "%s from %s%s%s", name, from, value[0] != '\0' ? " " : "",
                     value);
        } else {
            evidence_take_string(member.value, value, sizeof value);
            snprintf(pair, sizeof pair, "%s=%s", name, value);
        }
        if (!full[outside])
            full[outside] = !evidence_join_text(pair, outside ? c->env_from : c->env,
                                                outside ? sizeof c->env_from : sizeof c->env);
    }
}

/* A number, a text, or whatever else a policy has there, as JSON. */
static void take_port(struct sr_json_slice port, struct evidence_companion_rule *rule)
{
    evidence_take_string(port, rule->port, sizeof rule->port);
    if (sr_json_is_string(port) || port.len == 0 || sr_json_is_null(port))
        return;
    snprintf(rule->port, sizeof rule->port, "%.*s", (int)(port.len < 60 ? port.len : 60),
             port.text);
    sr_make_printable(rule->port);
}

static int take_rules(struct evidence_companions *c, struct sr_json_slice egress)
{
    struct sr_json_slice rule;
    if (!sr_json_is_array(egress))
        return 0;
    c->rules = calloc(EVIDENCE_COMPANION_RULES, sizeof *c->rules);
    if (c->rules == NULL)
        return -1;
    for (size_t at = 0; sr_json_next(egress, &at, &rule);) {
        if (c->rule_count == EVIDENCE_COMPANION_RULES) {
            c->more_rules++;
            continue;
        }
        struct evidence_companion_rule *one = &c->rules[c->rule_count++];
        evidence_take_text(rule, "host", one->where, sizeof one->where);
        if (one->where[0] == '\0')
            evidence_take_text(rule, "cidr", one->where, sizeof one->where);
        evidence_take_text(rule, "protocol", one->protocol, sizeof one->protocol);
        take_port(sr_json_get(rule, "port"), one);
    }
    return 0;
}

static int take_policy(struct evidence_companions *c, struct sr_json_slice policy)
{
    struct sr_json_slice metadata = sr_json_get(policy, "metadata"),
                         runtime = sr_json_get(policy, "runtime"),
                         resources = sr_json_get(policy, "resources");
    evidence_take_text(metadata, "name", c->name, sizeof c->name);
    take_pairs(sr_json_get(metadata, "labels"), c->labels, sizeof c->labels);
    take_env(c, sr_json_get(runtime, "env"));
    evidence_take_text(runtime, "image", c->image, sizeof c->image);
    evidence_take_text(runtime, "user", c->user, sizeof c->user);
    evidence_take_text(runtime, "workdir", c->workdir, sizeof c->workdir);
    c->timeout_sec = evidence_take_number(runtime, "timeoutSec");
    evidence_take_text(sr_json_get(policy, "audit"), "level", c->audit, sizeof c->audit);
    evidence_take_text(sr_json_get(resources, "cpu"), "max", c->cpu_max, sizeof c->cpu_max);
    evidence_take_text(sr_json_get(resources, "memory"), "max", c->memory_max,
                       sizeof c->memory_max);
    evidence_take_text(sr_json_get(resources, "disk"), "max", c->disk_max, sizeof c->disk_max);
    c->pids_max = evidence_take_number(sr_json_get(resources, "pids"), "max");
    return take_rules(c, sr_json_get(sr_json_get(policy, "network"), "egress"));
}

/* A word as a shell would take it. Its control characters are gone by now. */
static void put_word(struct sr_buf *out, struct sr_json_slice value)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%";
    char word[COMMAND_MAX];
    evidence_take_string(value, word, sizeof word);
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
        sr_buf_puts(out, word);
        return;
    }
    sr_buf_putc(out, '\'');
    for (const char *p = word; *p != '\0'; p++)
        if (*p == '\'')
            sr_buf_puts(out, "'\\''");
        else
            sr_buf_putc(out, *p);
    sr_buf_putc(out, '\'');
}

static int take_command(struct evidence_companions *c, struct sr_json_slice command)
{
    struct sr_buf line = SR_BUF_INIT;
    struct sr_json_slice args = sr_json_get(command, "args"), arg;
    put_word(&line, sr_json_get(command, "command"));
    for (size_t at = 0; sr_json_is_array(args) && sr_json_next(args, &at, &arg);) {
        sr_buf_putc(&line, ' ');
        if (line.len > COMMAND_MAX) {
            sr_buf_puts(&line, "...");
            break;
        }
        put_word(&line, arg);
    }
    c->command_line = sr_buf_take(&line);
    return c->command_line != NULL ? 0 : -1;
}

/* The last bytes of a file, from the first whole line or at least character on. */
static int read_tail(int fd, uint64_t size, char **tail)
{
    char bytes[EVIDENCE_COMPANION_TAIL];
    uint64_t at = size > sizeof bytes ? size - sizeof bytes : 0;
    ssize_t got = pread(fd, bytes, sizeof bytes, (off_t)at);
    size_t start = 0, len = got > 0 ? (size_t)got : 0;
    const char *newline = at > 0 ? memchr(bytes, '\n', len) : NULL;
    if (newline != NULL)
        start = (size_t)(newline - bytes) + 1;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    sr_buf_puts(&text, "");
    while (start < len) {
        newline = memchr(bytes + start, '\n', len - start);
        size_t end = newline != NULL ? (size_t)(newline - bytes) : len;
        char line[EVIDENCE_COMPANION_TAIL + 1];
        memcpy(line, bytes + start, end - start);
        for (size_t i = 0; i < end - start; i++)
            if (line[i] == '\0')
                line[i] = '?';
            else if (line[i] == '\t')
                line[i] = ' ';
        line[end - start] = '\0';
        sr_make_printable(line);
        sr_buf_puts(&text, line);
        sr_buf_putc(&text, '\n');
        start = end + 1;
    }
    *tail = sr_buf_take(&text);
    return *tail != NULL ? 0 : -1;
}

static const char *hash_named(const struct evidence_summary *summary, const char *name)
{
    for (size_t i = 0; i < summary->file_count; i++)
        if (strcmp(summary->files[i].name, name) == 0)
            return summary->files[i].hash;
    return NULL;
}

static int take_output(int dirfd, const char *name, const struct evidence_summary *summary,
                       struct sr_hasher *hasher, struct evidence_companion_output *output)
{
    char found[SR_SHA256_TEXT];
    const char *hash = hash_named(summary, name);
    off_t size;
    sr_cleanup_fd int fd = hash != NULL ? open_companion(dirfd, name, &size) : -1;
    if (fd < 0)
        return 0;
    output->state = EVIDENCE_COMPANION_OTHER;
    if (sr_sha256_fd(hasher, fd, found) < 0 || strcmp(found, hash) != 0)
        return 0;
    output->state = EVIDENCE_COMPANION_KNOWN;
    output->size = (uint64_t)size;
    return read_tail(fd, output->size, &output->tail);
}

int evidence_companions_read(struct evidence_companions *c, int dirfd,
                             const struct evidence_summary *summary)
{
    sr_cleanup_hasher struct sr_hasher *hasher = sr_hasher_new();
    sr_cleanup_buf struct sr_buf policy = SR_BUF_INIT, command = SR_BUF_INIT;
    if (hasher == NULL)
        return -1;
    c->policy = read_document(dirfd, "policy.json", summary->policy_hash, hasher, &policy);
    if (c->policy == EVIDENCE_COMPANION_KNOWN &&
        take_policy(c, (struct sr_json_slice){policy.data, policy.len}) < 0)
        return -1;
    c->command = read_document(dirfd, "command.json", summary->command_hash, hasher, &command);
    if (c->command == EVIDENCE_COMPANION_KNOWN &&
        take_command(c, (struct sr_json_slice){command.data, command.len}) < 0)
        return -1;
    if (!sr_buf_ok(&policy) || !sr_buf_ok(&command))
        return -1;
    if (take_output(dirfd, "stdout.log", summary, hasher, &c->out) < 0)
        return -1;
    return take_output(dirfd, "stderr.log", summary, hasher, &c->err);
}

void evidence_companions_free(struct evidence_companions *c)
{
    free(c->rules);
    free(c->command_line);
    free(c->out.tail);
    free(c->err.tail);
}
