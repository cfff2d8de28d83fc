/*
 * Theory of operation: outputs
 *
 *   1. Before the supervisor gives up its rights, the directory is opened, every output's name in
 *      it found free, and the collector started (src/outputs/collector.h), which can write below it
 *      and nothing else.
 *   2. When the command has ended, the guest sends an archive of each output in turn. The collector
 *      unpacks it under a name that says it is not finished ("." and the run's id). A guest that
 *      breaks a rule is told that it is enough; the next output has its own chance.
 *   3. Once the VM is gone, what is there is hashed here, not by the collector, and only then gets
 *      its name, in one step. What was refused is removed, to the last file.
 *
 * The name of an output is the last component of its path; if two outputs share one, all are called
 * <index>-<component>. Nothing is ever written over: a name that is taken is an error before
 * anything runs.
 */
#include "session/session_state.h"

#include "common/clock.h"
#include "common/failpoint.h"
#include "common/fs.h"
#include "outputs/collector.h"
#include "runs/runs.h"
#include "session/output_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Without a word of the guest. */
#define IDLE_NSEC (30 * SR_NSEC_PER_SEC)
/* For a guest that was told that it is enough of an output. */
#define CUT_NSEC (2 * SR_NSEC_PER_SEC)

struct output {
    char path[32]; /* of errors: "outputs[0].path" */
    char name[NAME_MAX + 1];
    bool collected;           /* all of it is there, for all the collector and the guest say */
    bool refused;             /* by the collector: nothing more of it is wanted */
    uint32_t cleared;         /* files that lost a set-user-id, set-group-id or sticky bit */
    struct sr_error error;    /* why it is not there */
    struct machine_word word; /* what the guest said of that */
    struct evidence_output_digest digest;
};

struct session_outputs {
    int directory;
    uint32_t count;
    bool made; /* the directory that --output-dir names was not there */
    struct outputs_collector collector;
    uint32_t turn; /* the output that the guest sends */
    bool cut;      /* whose time was over: the guest was told */
    /* Of all of them, of this one, and for the guest's next word; LOOP_NEVER: the command still
     * runs. */
    uint64_t deadline, turn_deadline, idle_deadline;
    uint64_t entries;                       /* of those that are there */
    struct outputs_collector_output *parts; /* names and sizes of what is not finished */
    struct output_files files;
    struct output items[];
};

static const char *last_component(const char *path)
{
    return strrchr(path, '/') + 1;
}

/* <index>-<component>, as much of it as a name has room for, in whole characters: events are
 * UTF-8. */
static void name_by_index(struct output *output, uint32_t i, const char *component)
{
    int head = snprintf(output->name, sizeof output->name, "%u-", i);
    size_t len = strnlen(component, NAME_MAX - (size_t)head);
    while (len > 0 && (component[len] & 0xc0) == 0x80)
        len--;
    snprintf(output->name + head, sizeof output->name - (size_t)head, "%.*s", (int)len, component);
}

static void name_outputs(const struct session *session, struct session_outputs *outputs)
{
    const struct sr_policy *policy = session->plan.policy;
    bool same = false;
    for (size_t i = 0; i < policy->output_count; i++)
        for (size_t j = 0; j < i; j++)
            same = same || strcmp(last_component(policy->outputs[i].path),
                                  last_component(policy->outputs[j].path)) == 0;
    for (uint32_t i = 0; i < outputs->count; i++) {
        struct output *output = &outputs->items[i];
        const char *name = last_component(policy->outputs[i].path);
        snprintf(output->path, sizeof output->path, "outputs[%u].path", i);
        if (same)
            name_by_index(output, i, name);
        else
            snprintf(output->name, sizeof output->name, "%s", name);
        snprintf(outputs->parts[i].name, sizeof outputs->parts[i].name, RUNS_PART,
                 record_id(session->plan.record), i);
        outputs->parts[i].bytes_max = policy->outputs[i].max_bytes;
    }
}

static int open_directory(struct session *session, struct session_outputs *outputs,
                          struct sr_error *err)
{
    const char *path = session->plan.options->output_dir;
    int result = 0;
    if (SR_FAILPOINT("outputs.directory"))
        result = -errno;
    else if (path != NULL) {
        outputs->made = faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
        result = sr_mkdir_all(path, 0777);
    } else if (mkdirat(record_directory(session->plan.record), "outputs", 0700) < 0)
        result = -errno;
    if (result == 0) {
        outputs->directory = path != NULL
                                 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                                 : openat(record_directory(session->plan.record), "outputs",
                                          O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        result = outputs->directory < 0 ? -errno : 0;
    }
    return result == 0 ? 0
                       : sr_fail(err, SR_RUN_001, "prepare.outputs", "%s cannot be used: %s",
                                 path != NULL ? path : "outputs/", strerror(-result));
}

/* Whether the collector will be able to write there, who has none of root's privileges; better to
 * know before the command has run. */
static int try_directory(const struct session *session, const struct session_outputs *outputs,
                         struct sr_error *err)
{
    const char *name = outputs->parts[0].name, *path = session->plan.output_dir;
    struct stat made, st;
    if (mkdirat(outputs->directory, name, 0700) < 0 || SR_FAILPOINT("outputs.try") ||
        fstatat(outputs->directory, name, &made, AT_SYMLINK_NOFOLLOW) < 0 ||
        unlinkat(outputs->directory, name, AT_REMOVEDIR) < 0) {
        sr_fail(err, SR_RUN_001, "prepare.outputs", "%s cannot be written to: %s", path,
                strerror(errno));
        unlinkat(outputs->directory, name, AT_REMOVEDIR);
        return -1;
    }
    if ((made.st_mode & S_IRWXU) != S_IRWXU) {
        if (outputs->made)
            rmdir(path); /* which nobody else could use either */
        return sr_fail(err, SR_RUN_001, "prepare.outputs",
                       "%s cannot be written to: the umask takes away the owner's rights to what "
                       "is made there; run safe-run with another (umask 077)",
                       path);
    }
    if (geteuid() != 0 || fstat(outputs->directory, &st) < 0)
        return 0;
    bool is_roots = st.st_uid == 0;
    mode_t rights = is_roots                 ? st.st_mode >> 6
                    : st.st_gid == getegid() ? st.st_mode >> 3
                                             : st.st_mode;
    if ((rights & (S_IWOTH | S_IXOTH)) == (S_IWOTH | S_IXOTH))
        return 0;
    if (is_roots)
        return sr_fail(err, SR_RUN_001, "prepare.outputs",
                       "%s cannot be written to: its mode is %04o, and outputs are unpacked "
                       "without root's privileges; chmod u+rwx allows it",
                       path, st.st_mode & 07777);
    return sr_fail(err, SR_RUN_001, "prepare.outputs",
                   "%s cannot be written to: it is not root's (its owner is %u), and outputs are "
                   "unpacked without root's privileges; name a directory that root owns",
                   path, st.st_uid);
}

/* Says where, for a later safe-run, should this one be killed: before anything is made there. */
static int note_directory(const struct session *session, struct sr_error *err)
{
    const char *path = session->plan.output_dir;
    int result = session->plan.options->output_dir == NULL
                     ? 0
                     : sr_write_new_file(record_directory(session->plan.record), RUNS_OUTPUT_DIR,
                                         path, strlen(path));
    return result == 0 ? 0
                       : sr_fail(err, SR_RUN_001, "prepare.outputs",
                                 RUNS_OUTPUT_DIR " cannot be written: %s", strerror(-result));
}

int session_prepare_outputs(struct session *session, struct sr_error *err)
{
    uint32_t count = (uint32_t)session->plan.policy->output_count;
    const char *named = session->plan.options->output_dir;
    struct stat st;
    /* Even if the policy has no outputs yet: what was asked for cannot be done. */
    if (named != NULL && stat(named, &st) == 0 && !S_ISDIR(st.st_mode))
        return sr_fail(err, SR_RUN_001, "prepare.outputs",
                       "%s is not a directory; --output-dir names another", named);
    if (count == 0)
        return 0;
    struct session_outputs *outputs = calloc(1, sizeof *outputs + count * sizeof outputs->items[0]);
    session->outputs = outputs;
    if (outputs == NULL)
        return sr_fail(err, SR_RUN_001, "prepare.outputs", "out of memory");
    outputs->directory = outputs->collector.fd = -1;
    output_files_init(&outputs->files, record_directory(session->plan.record));
    outputs->count = count;
    outputs->deadline = outputs->turn_deadline = outputs->idle_deadline = LOOP_NEVER;
    outputs->parts = calloc(count, sizeof *outputs->parts);
    if (outputs->parts == NULL)
        return sr_fail(err, SR_RUN_001, "prepare.outputs", "out of memory");
    name_outputs(session, outputs);
    if (open_directory(session, outputs, err) < 0)
        return -1;
    if (session->plan.options->output_dir == NULL)
        snprintf(session->plan.output_dir, PATH_MAX, "%.4000s/outputs",
                 record_path(session->plan.record));
    else if (realpath(session->plan.options->output_dir, session->plan.output_dir) == NULL)
        return sr_fail(err, SR_RUN_001, "prepare.outputs", "%s: %s",
                       session->plan.options->output_dir, strerror(errno));
    for (uint32_t i = 0; i < count; i++)
        if (fstatat(outputs->directory, outputs->items[i].name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            return sr_fail(err, SR_RUN_001, outputs->items[i].path,
                           "%s is there already in %s, and nothing is written over",
                           outputs->items[i].name, session->plan.output_dir);
    if (note_directory(session, err) < 0 || try_directory(session, outputs, err) < 0)
        return -1;
    return outputs_collector_start(&outputs->collector, outputs->directory, outputs->parts, count,
                                   session->plan.config->ceilings.output_entries,
                                   machine_helpers_cgroup(session->plan.machine), err);
}

/* Why an output is not there; the first reason counts. */
__attribute__((format(printf, 2, 3))) static void lose(struct output *output, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (output->error.code == SR_OK)
        sr_vfail(&output->error, SR_RUN_001, output->path, fmt, ap);
    va_end(ap);
}

/* The same by the guest's word. */
static void lose_by_guest(struct output *output, const char *outcome, const char *says,
                          const char *where, const struct channel_event *event)
{
    if (output->error.code != SR_OK)
        return;
    lose(output, "%s%s", says, where);
    output->word = (struct machine_word){.decides = true, .outcome = outcome};
    machine_word_take(&output->word, event->data, event->len);
}

/* The collector has died; the command's own end is worth no less for that. */
static void lose_rest(struct session *session, const struct sr_error *why)
{
    struct session_outputs *outputs = session->outputs;
    outputs_collector_stop(&outputs->collector);
    for (uint32_t i = outputs->collector.answered; i < outputs->count; i++) {
        outputs->items[i].refused = true;
        lose(&outputs->items[i], "%s", why->message);
    }
    if (machine_channel(session->plan.machine)->state == CHANNEL_COLLECTING)
        channel_send_enough(machine_channel(session->plan.machine),
                            machine_channel(session->plan.machine)->collected);
}

static void take_archive(struct session *session, const struct channel_event *event)
{
    struct session_outputs *outputs = session->outputs;
    struct sr_error why = {0};
    size_t passed = event->len; /* of what is refused the rest is taken and dropped */
    if (!outputs->items[event->output].refused &&
        outputs_collector_feed(&outputs->collector, event->data, event->len, &passed, &why) < 0) {
        lose_rest(session, &why);
        passed = event->len;
    }
    channel_credit(machine_channel(session->plan.machine), CHANNEL_STREAM_ARCHIVE, passed);
}

static void take_end(struct session *session, const struct channel_event *event)
{
    struct session_outputs *outputs = session->outputs;
    struct output *output = &outputs->items[event->output];
    const char *where = session->plan.policy->outputs[event->output].path;
    struct sr_error why = {0};
    size_t passed;
    if (event->status == CHANNEL_COLLECTED_MISSING)
        lose_by_guest(output, "missing", EVIDENCE_GUEST_SAYS_MISSING, where, event);
    else if (event->status == CHANNEL_COLLECTED_FAILED)
        lose_by_guest(output, "unreadable", EVIDENCE_GUEST_SAYS_UNREADABLE, where, event);
    if (outputs->collector.fd < 0)
        return;
    if (outputs_collector_end(&outputs->collector, event->status == CHANNEL_COLLECTED_OK, &passed,
                              &why) < 0)
        lose_rest(session, &why);
    else
        channel_credit(machine_channel(session->plan.machine), CHANNEL_STREAM_ARCHIVE, passed);
}

static uint64_t timeout_nsec(const struct session *session, uint32_t i)
{
    return session->plan.policy->outputs[i].timeout_sec * SR_NSEC_PER_SEC;
}

static void begin_turn(struct session *session, uint32_t i, uint64_t now)
{
    struct session_outputs *outputs = session->outputs;
    outputs->cut = false;
    outputs->turn = i;
    outputs->turn_deadline = now + timeout_nsec(session, i);
}

void session_outputs_begin(struct session *session)
{
    uint64_t now = sr_now();
    session->outputs->deadline = now + session_outputs_limit_nsec(session);
    session->outputs->idle_deadline = now + IDLE_NSEC;
    begin_turn(session, 0, now);
}

int session_outputs_take(struct session *session, const struct channel_event *event,
                         struct sr_error *err)
{
    struct session_outputs *outputs = session->outputs;
    if (outputs == NULL || event->output >= outputs->count)
        return sr_fail_vm(err, SR_RUN_001, "monitor.channel", "an output that nobody asked for");
    outputs->idle_deadline = sr_now() + IDLE_NSEC;
    if (event->type == CHANNEL_ARCHIVE) {
        take_archive(session, event);
        return 0;
    }
    take_end(session, event);
    if (event->output + 1 < outputs->count)
        begin_turn(session, event->output + 1, sr_now());
    return 0;
}

static void take_result(struct session *session, const struct outputs_collector_result *result)
{
    struct output *output = &session->outputs->items[result->index];
    output->cleared = result->cleared;
    output->collected = result->refused == 0;
    if (output->collected)
        return;
    output->refused = true;
    lose(output, "%s", result->message);
    if (machine_channel(session->plan.machine)->state == CHANNEL_COLLECTING &&
        machine_channel(session->plan.machine)->collected == result->index)
        channel_send_enough(machine_channel(session->plan.machine), result->index);
}

void session_outputs_ready(struct session *session)
{
    struct outputs_collector *collector = &session->outputs->collector;
    struct outputs_collector_result result;
    struct sr_error why = {0};
    size_t passed;
    if (collector->fd < 0)
        return;
    if (outputs_collector_flush(collector, &passed, &why) < 0) {
        lose_rest(session, &why);
        return;
    }
    channel_credit(machine_channel(session->plan.machine), CHANNEL_STREAM_ARCHIVE, passed);
    int got = 1;
    while (got > 0 && collector->answered < session->outputs->count) {
        got = outputs_collector_receive(collector, &result, &why);
        if (got > 0)
            take_result(session, &result);
    }
    if (got < 0)
        lose_rest(session, &why);
    else if (collector->answered == session->outputs->count && !outputs_collector_holds(collector))
        outputs_collector_stop(collector);
}

int session_outputs_fd(const struct session *session, bool *writable)
{
    if (session->outputs == NULL)
        return -1;
    *writable = outputs_collector_holds(&session->outputs->collector);
    return session->outputs->collector.fd;
}

bool session_outputs_pending(const struct session *session)
{
    return session->outputs != NULL && !outputs_collector_idle(&session->outputs->collector);
}

uint64_t session_outputs_limit_nsec(const struct session *session)
{
    uint64_t total = 0, most = session->plan.config->collect_timeout_sec * SR_NSEC_PER_SEC;
    for (uint32_t i = 0; session->outputs != NULL && i < session->outputs->count; i++)
        total += timeout_nsec(session, i);
    return total < most ? total : most;
}

uint64_t session_outputs_deadline(const struct session *session)
{
    const struct session_outputs *outputs = session->outputs;
    if (outputs == NULL || (machine_channel(session->plan.machine)->state != CHANNEL_COLLECTING &&
                            !session_outputs_pending(session)))
        return LOOP_NEVER;
    uint64_t nearest = outputs->deadline;
    if (outputs->turn_deadline < nearest)
        nearest = outputs->turn_deadline;
    return outputs->idle_deadline < nearest ? outputs->idle_deadline : nearest;
}

/* Nothing more comes of those that are not there yet. */
__attribute__((format(printf, 2, 3))) static void give_up(struct session *session, const char *fmt,
                                                          ...)
{
    char why[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    struct session_outputs *outputs = session->outputs;
    outputs_collector_stop(&outputs->collector);
    outputs->deadline = outputs->turn_deadline = outputs->idle_deadline = LOOP_NEVER;
    for (uint32_t i = 0; i < outputs->count; i++)
        if (!outputs->items[i].collected)
            lose(&outputs->items[i], "not collected: %s", why);
}

bool session_outputs_late(struct session *session)
{
    struct session_outputs *outputs = session->outputs;
    struct output *output = &outputs->items[outputs->turn];
    uint64_t now = sr_now();
    bool sending = machine_channel(session->plan.machine)->state == CHANNEL_COLLECTING &&
                   machine_listens(session->plan.machine);
    if (outputs_collector_holds(&outputs->collector) || session_outputs_pending(session)) {
        give_up(session, "the collector of outputs did not answer in time");
        return true;
    }
    if (now >= outputs->turn_deadline)
        lose(output, "not collected: it took more than %u s (outputs[%u].timeoutSec)",
             session->plan.policy->outputs[outputs->turn].timeout_sec, outputs->turn);
    if (now >= outputs->deadline)
        give_up(session, "all outputs together took more than %u s",
                (unsigned)(session_outputs_limit_nsec(session) / SR_NSEC_PER_SEC));
    else if (now >= outputs->idle_deadline)
        give_up(session, "the guest sent nothing for %u s",
                (unsigned)(IDLE_NSEC / SR_NSEC_PER_SEC));
    else if (outputs->cut || !sending)
        give_up(session, "the guest did not go on to it");
    else {
        outputs->cut = output->refused = true;
        outputs->turn_deadline = now + CUT_NSEC;
        channel_send_enough(machine_channel(session->plan.machine), outputs->turn);
        return false;
    }
    return true;
}

/* What the collector should have refused, and would not, had it been taken over. */
static void hold_entries(const struct session *session, struct output *output)
{
    const uint64_t max = session->plan.config->ceilings.output_entries;
    const struct evidence_output_digest *digest = &output->digest;
    uint64_t entries = digest->files + digest->directories + digest->links;
    if (entries > max - session->outputs->entries)
        lose(output,
             "refused: the outputs have more than the %llu files and directories that this "
             "host allows (limits.entries)",
             (unsigned long long)max);
    else
        session->outputs->entries += entries;
}

/* The guest chose how many files there are and how they are called, and all that must fit on the
 * disk with their names. */
static void hold_room(struct session *session, struct output *output)
{
    struct sr_error why = {0};
    if (session->plan.owe(session->plan.context, &why) < 0)
        lose(output, "not kept: %s", why.message);
}

static void finish(struct session *session, uint32_t i)
{
    struct session_outputs *outputs = session->outputs;
    struct output *output = &outputs->items[i];
    const char *part = outputs->parts[i].name;
    const struct evidence_output_listener listener = {output_files_add, &outputs->files};
    output_files_begin(&outputs->files, i, output->name);
    if (output->error.code == SR_OK && !output->collected)
        lose(output, "not collected: the guest ended before");
    if (output->error.code == SR_OK)
        (void)!evidence_output_digest(
            outputs->directory, part, output->path, outputs->parts[i].bytes_max,
            record_hasher(session->plan.record), &listener, &output->digest, &output->error);
    if (output->error.code == SR_OK)
        hold_entries(session, output);
    if (output->error.code == SR_OK)
        hold_room(session, output);
    if (output->error.code == SR_OK &&
        (SR_FAILPOINT("outputs.rename") || renameat2(outputs->directory, part, outputs->directory,
                                                     output->name, RENAME_NOREPLACE) < 0))
        lose(output, "it cannot be given its name, %s: %s", output->name, strerror(errno));
    if (output->error.code != SR_OK)
        output_files_drop(&outputs->files);
    int removed = output->error.code == SR_OK ? 0 : sr_remove_tree(outputs->directory, part);
    if (removed < 0)
        sr_tell(&session->plan.tell,
                "%s, the rest of an output that was refused, cannot be removed: %s", part,
                strerror(-removed));
}

void session_conclude(struct session *session)
{
    if (session->outputs == NULL)
        return;
    outputs_collector_stop(&session->outputs->collector);
    for (uint32_t i = 0;
         machine_times(session->plan.machine).launched != 0 && i < session->outputs->count; i++)
        finish(session, i);
}

const struct sr_error *session_outputs_failure(const struct session *session,
                                               struct machine_word *word)
{
    for (uint32_t i = 0; session->outputs != NULL && i < session->outputs->count; i++)
        if (session->outputs->items[i].error.code != SR_OK) {
            *word = session->outputs->items[i].word;
            return &session->outputs->items[i].error;
        }
    return NULL;
}

/* What a collected output has, and its files one by one: here, or in the manifest, whose hash
 * stands for them. */
static void describe(const struct session_outputs *outputs, uint32_t i, struct facts *facts)
{
    const struct output *output = &outputs->items[i];
    const struct evidence_output_digest *digest = &output->digest;
    const char *manifest = output_files_manifest(&outputs->files);
    fact_count(facts, "files", digest->files);
    fact_count(facts, "directories", digest->directories);
    fact_count(facts, "links", digest->links);
    fact_count(facts, "bytes", digest->bytes);
    fact_count(facts, "modesCleared", output->cleared);
    fact_text(facts, "hash", digest->hash);
    if (manifest != NULL)
        fact_text(facts, "manifest", manifest);
    else
        fact_take(facts, "entries", output_files_entries(&outputs->files, i));
}

static int record(struct session *session, uint32_t i, struct sr_error *err)
{
    const struct output *output = &session->outputs->items[i];
    bool there = output->error.code == SR_OK;
    struct facts facts = facts_new();
    fact_text(&facts, "path", session->plan.policy->outputs[i].path);
    fact_text(&facts, "name", output->name);
    fact_count(&facts, "max", session->outputs->parts[i].bytes_max);
    fact_flag(&facts, "collected", there);
    fact_text(&facts, EVIDENCE_OBSERVED_BY, EVIDENCE_OBSERVED_HOST);
    if (there) {
        describe(session->outputs, i, &facts);
    } else {
        fact_text(&facts, "errorCode", sr_code_name(output->error.code));
        fact_text(&facts, "message", output->error.message);
        machine_word_record(&output->word, &facts);
    }
    return record_event(session->plan.record, EVIDENCE_STAGE_MONITOR, SR_EVENT_OUTPUT_COLLECTED,
                        facts_end(&facts), err);
}

int session_record(struct session *session, struct sr_error *err)
{
    struct session_outputs *outputs = session->outputs;
    if (outputs == NULL || machine_times(session->plan.machine).launched == 0)
        return 0;
    if (output_files_end(&outputs->files, record_hasher(session->plan.record), err) < 0)
        return -1;
    for (uint32_t i = 0; i < outputs->count; i++)
        if (record(session, i, err) < 0)
            return -1;
    return 0;
}

uint64_t session_entry_bytes(const struct session *session)
{
    return session->outputs != NULL ? output_files_entry_bytes(&session->outputs->files) : 0;
}

int session_outputs_directory(const struct session *session)
{
    return session->outputs != NULL ? session->outputs->directory : -1;
}

void session_outputs_release(struct session *session)
{
    if (session->outputs == NULL)
        return;
    outputs_collector_stop(&session->outputs->collector);
    sr_close_fd(&session->outputs->directory);
    output_files_free(&session->outputs->files);
    free(session->outputs->parts);
    free(session->outputs);
    session->outputs = NULL;
}
