#include "evidence/reading.h"

#include "common/fs.h"
#include "evidence/attestation.h"
#include "evidence/envelope.h"
#include "evidence/report.h"
#include "evidence/take.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* What is read twice must be a file. */
static int spool(int in, struct sr_error *err)
{
    sr_cleanup_fd int copy = sr_open_unnamed();
    char chunk[65536];
    uint64_t size = 0;
    ssize_t got;
    while (copy >= 0 && (got = read(in, chunk, sizeof chunk)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        int result = got < 0 ? -errno : sr_write_all(copy, chunk, (size_t)got);
        if (result < 0)
            return sr_fail(err, SR_EVD_002, "report", "cannot be read: %s", strerror(-result));
        size += (uint64_t)got;
        if (size > EVIDENCE_REPORT_MAX_BYTES)
            return sr_fail(err, SR_EVD_002, "report", "is larger than any report");
    }
    if (copy < 0)
        return sr_fail(err, SR_EVD_002, "report", "no temporary file for standard input: %s",
                       strerror(errno));
    if (lseek(copy, 0, SEEK_SET) < 0)
        return sr_fail(err, SR_EVD_002, "report", "cannot be read: %s", strerror(errno));
    return sr_take_fd(&copy);
}

static int open_report(const char *path, struct sr_error *err)
{
    if (strcmp(path, "-") == 0)
        return spool(STDIN_FILENO, err);
    struct stat st;
    sr_cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0)
        return sr_fail(err, SR_EVD_002, "report", "cannot be opened: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return sr_fail(err, SR_EVD_002, "report",
                       "is not a regular file; '-' reads standard input");
    return sr_take_fd(&fd);
}

/* The directory of a path's last component, for a report that lies among the files of its run. */
static char *directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (strcmp(path, "-") == 0)
        return NULL;
    return slash == NULL ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static bool is_file_in(int dirfd, const char *name)
{
    struct stat st;
    return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

/* Who is said to have signed; what cannot be read says nothing, and a verification with a key says
 * why. */
static void read_signers(struct evidence_reading *reading, int dirfd, const char *key)
{
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    sr_cleanup_envelope struct evidence_envelope envelope = EVIDENCE_ENVELOPE_INIT;
    sr_cleanup_key struct sr_key *public_key = NULL;
    struct sr_error unused;
    if (key != NULL && evidence_key_load_public(key, &public_key, &unused) == 0)
        snprintf(reading->key_id, sizeof reading->key_id, "%s", evidence_key_id(public_key));
    if (attestation_read(dirfd, SR_ATTESTATION_FILE, &text, &unused) < 0 ||
        evidence_envelope_parse(text.data, text.len, &envelope, &unused) < 0)
        return;
    for (size_t i = 0; i < envelope.count && i < EVIDENCE_READING_SIGNERS; i++) {
        const struct sr_buf *id = &envelope.signatures[i].key_id;
        evidence_take_string((struct sr_json_slice){id->data, id->len},
                             reading->signers[reading->signer_count], sizeof reading->signers[0]);
        reading->signer_count += reading->signers[reading->signer_count][0] != '\0';
    }
}

static int verify(struct evidence_reading *reading, const char *directory, bool with_files,
                  const char *key, struct sr_error *err)
{
    sr_cleanup_buf struct sr_buf events = SR_BUF_INIT, envelope = SR_BUF_INIT;
    struct sr_verify_options options = {0};
    if (reading->with_events) {
        sr_buf_printf(&events, "%s/" EVIDENCE_EVENTS_FILE, directory);
        if (!sr_buf_ok(&events))
            return sr_fail(err, SR_EVD_002, "report", "out of memory");
        options.events_path = events.data;
    }
    reading->with_key = key != NULL;
    if (key != NULL) {
        sr_buf_printf(&envelope, "%s/" SR_ATTESTATION_FILE, directory);
        if (!sr_buf_ok(&envelope))
            return sr_fail(err, SR_EVD_002, "report", "out of memory");
        options.attestation_path = envelope.data;
        options.key_paths = &key;
        options.key_count = 1;
    }
    reading->with_files = with_files;
    if (with_files)
        options.artifacts_dir = directory;
    return sr_report_verify_fd(reading->fd, &options, &reading->verification, err);
}

int evidence_reading_open(const char *path, const char *artifacts, const char *key,
                          struct evidence_reading *reading, struct sr_error *err)
{
    sr_cleanup_free char *beside = artifacts == NULL ? directory_of(path) : strdup(artifacts);
    sr_cleanup_fd int dirfd = -1;
    reading->companions.pids_max = reading->companions.timeout_sec = -1; /* not known */
    reading->fd = open_report(path, err);
    if (reading->fd < 0)
        return -1;
    reading->summary = evidence_summary_new();
    if (reading->summary == NULL)
        return sr_fail(err, SR_EVD_002, "report", "out of memory");
    if (evidence_summary_read(reading->summary, reading->fd, err) < 0)
        return -1;
    if (beside != NULL)
        dirfd = open(beside, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (artifacts != NULL && dirfd < 0)
        return sr_fail(err, SR_EVD_002, "artifacts", "%s cannot be opened: %s", artifacts,
                       strerror(errno));
    if (dirfd >= 0) {
        reading->with_events = is_file_in(dirfd, EVIDENCE_EVENTS_FILE);
        reading->with_envelope = is_file_in(dirfd, SR_ATTESTATION_FILE);
        if (reading->with_envelope)
            read_signers(reading, dirfd, key);
        if (evidence_companions_read(&reading->companions, dirfd, reading->summary) < 0)
            return sr_fail(err, SR_EVD_002, "report", "out of memory");
    }
    if (key != NULL && !reading->with_envelope)
        return sr_fail(err, SR_EVD_002, "attestation",
                       "there is no " SR_ATTESTATION_FILE " %s, so no signature to check",
                       beside != NULL ? "beside the report" : "beside standard input");
    const struct evidence_companions *c = &reading->companions;
    bool among_files =
        c->policy != EVIDENCE_COMPANION_ABSENT || c->command != EVIDENCE_COMPANION_ABSENT;
    return verify(reading, beside, dirfd >= 0 && (artifacts != NULL || among_files), key, err);
}

void evidence_reading_close(struct evidence_reading *reading)
{
    sr_close_fd(&reading->fd);
    sr_verification_free(&reading->verification);
    evidence_summary_free(reading->summary);
    reading->summary = NULL;
    evidence_companions_free(&reading->companions);
}

const char *evidence_bytes_text(uint64_t bytes, char text[EVIDENCE_QUANTITY])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    if (bytes < 1024) {
        snprintf(text, EVIDENCE_QUANTITY, "%u %s", (unsigned)bytes, bytes == 1 ? "byte" : "bytes");
        return text;
    }
    size_t unit = 0;
    uint64_t tenths = bytes * 10 / 1024; /* bytes are at most 2^53 */
    for (; tenths >= 10240 && unit + 1 < sizeof units / sizeof units[0]; unit++)
        tenths /= 1024;
    snprintf(text, EVIDENCE_QUANTITY, "%llu.%llu %s", (unsigned long long)tenths / 10,
             (unsigned long long)tenths % 10, units[unit]);
    return text;
}

const char *evidence_usec_text(uint64_t usec, char text[EVIDENCE_QUANTITY])
{
    if (usec > 0 && usec < 1000)
        snprintf(text, EVIDENCE_QUANTITY, "%llu us", (unsigned long long)usec);
    else if (usec < 1000000)
        snprintf(text, EVIDENCE_QUANTITY, "%llu ms", (unsigned long long)(usec + 500) / 1000);
    else
        snprintf(text, EVIDENCE_QUANTITY, "%llu.%02llu s", (unsigned long long)usec / 1000000,
                 (unsigned long long)usec / 10000 % 100);
    return text;
}

const char *evidence_when_text(const char *timestamp, char text[EVIDENCE_QUANTITY])
{
    int64_t nsec;
    if (!sr_timestamp_parse(timestamp, strlen(timestamp), &nsec))
        return timestamp;
    snprintf(text, EVIDENCE_QUANTITY, "%.10s %.8s UTC", timestamp, timestamp + 11);
    return text;
}

static const char *ran_text(const char *ran, const char *from, const char *asked,
                            char text[EVIDENCE_RAN])
{
    bool differs = ran[0] != '\0' && asked[0] != '\0' && strcmp(ran, asked) != 0,
         image = strcmp(from, "image") == 0;
    snprintf(text, EVIDENCE_RAN, "%s", ran[0] != '\0' ? ran : asked);
    size_t len = strlen(text);
    /* The image's word counts only where the policy is silent: what is asked there is a default. */
    if (differs)
        snprintf(text + len, EVIDENCE_RAN - len, " (%s %s)",
                 image ? "by the image; the default of the policy is" : "asked was", asked);
    else if (image)
        snprintf(text + len, EVIDENCE_RAN - len, " (by the image)");
    return text;
}

const char *evidence_ran_user(const struct evidence_reading *r, char text[EVIDENCE_RAN])
{
    const struct evidence_summary *s = r->summary;
    return ran_text(s->ran_user, s->ran_user_from, r->companions.user, text);
}

const char *evidence_ran_workdir(const struct evidence_reading *r, char text[EVIDENCE_RAN])
{
    const struct evidence_summary *s = r->summary;
    return ran_text(s->ran_workdir, s->ran_workdir_from, r->companions.workdir, text);
}

static const char *destination_text(const char *protocol, const char *target, int64_t port,
                                    const char *host, char text[EVIDENCE_DESTINATION])
{
    char number[32] = "";
    if (port > 0)
        snprintf(number, sizeof number, " port %lld", (long long)port);
    snprintf(text, EVIDENCE_DESTINATION, "%s %s%s%s%s%s", protocol, target, number,
             host[0] != '\0' ? " (" : "", host, host[0] != '\0' ? ")" : "");
    return text;
}

const char *evidence_target_text(const struct evidence_summary_target *target,
                                 char text[EVIDENCE_DESTINATION])
{
    return destination_text(target->protocol, target->target, target->port, target->host, text);
}

const char *evidence_flow_text(const struct evidence_summary_flow *flow,
                               char text[EVIDENCE_DESTINATION])
{
    return destination_text(flow->protocol, flow->destination, flow->port, "", text);
}

const char *evidence_flow_time(const struct evidence_summary *s,
                               const struct evidence_summary_flow *flow,
                               char text[EVIDENCE_FLOW_TIME])
{
    text[0] = '\0';
    if (s->first_nsec > 0 && flow->first_nsec >= s->first_nsec &&
        flow->last_nsec >= flow->first_nsec)
        snprintf(text, EVIDENCE_FLOW_TIME, ", from %+.1f s to %+.1f s",
                 (double)(flow->first_nsec - s->first_nsec) / 1e9,
                 (double)(flow->last_nsec - s->first_nsec) / 1e9);
    return text;
}

uint64_t evidence_reading_usec(const struct evidence_reading *reading)
{
    const struct evidence_summary *s = reading->summary;
    return s->first_nsec > 0 && s->last_nsec > s->first_nsec
               ? (uint64_t)(s->last_nsec - s->first_nsec) / 1000
               : 0;
}

/* "100000 100000" as what it means, anything else as it is. */
static void cpu_limit(const char *max, char *text, size_t size)
{
    char *end;
    errno = 0;
    unsigned long long quota = strtoull(max, &end, 10),
                       period = *end == ' ' ? strtoull(end, &end, 10) : 0;
    if (strncmp(max, "max ", 4) == 0)
        snprintf(text, size, "no quota");
    else if (errno == 0 && *end == '\0' && period > 0 && quota <= ULLONG_MAX / 100)
        snprintf(text, size, "%llu.%02llu CPU", quota / period, quota * 100 / period % 100);
    else
        snprintf(text, size, "%s", max);
}

/* All phases of the VM, and what the last two might take. */
static void describe_time(const struct evidence_exit_facts *exit, struct evidence_limit_row *time)
{
    char all[EVIDENCE_QUANTITY], command[EVIDENCE_QUANTITY], collect[EVIDENCE_QUANTITY],
        end[EVIDENCE_QUANTITY];
    size_t len = strlen(time->limit);
    if (exit->collect.limit_usec > 0)
        snprintf(time->limit + len, sizeof time->limit - len, " and %llu s for outputs",
                 (unsigned long long)(exit->collect.limit_usec / 1000000u));
    snprintf(time->used, sizeof time->used, "%s: command %s, outputs %s, end %s",
             evidence_usec_text(exit->wall_usec, all),
             evidence_usec_text(exit->command.used_usec, command),
             evidence_usec_text(exit->collect.used_usec, collect),
             evidence_usec_text(exit->end.used_usec, end));
}

void evidence_limit_rows(const struct evidence_reading *reading,
                         struct evidence_limit_row rows[EVIDENCE_LIMIT_ROWS])
{
    const struct evidence_summary *s = reading->summary;
    const struct evidence_companions *c = &reading->companions;
    char one[EVIDENCE_QUANTITY], two[EVIDENCE_QUANTITY];
    struct evidence_limit_row *cpu = &rows[0], *memory = &rows[1], *processes = &rows[2],
                              *disk = &rows[3], *time = &rows[4];
    for (int i = 0; i < EVIDENCE_LIMIT_ROWS; i++)
        rows[i] = (struct evidence_limit_row){0};

    cpu->name = "CPU";
    cpu_limit(c->cpu_max, cpu->limit, sizeof cpu->limit);
    snprintf(cpu->holder, sizeof cpu->holder, "%s", s->limit_cpu);
    uint64_t used = s->vmm_cpu_usec > 0 ? (uint64_t)s->vmm_cpu_usec : s->cpu_usec;
    if (used > 0)
        snprintf(cpu->used, sizeof cpu->used, "%s", evidence_usec_text(used, one));

    memory->name = "Memory";
    snprintf(memory->limit, sizeof memory->limit, "%s", c->memory_max);
    snprintf(memory->holder, sizeof memory->holder, "%s", s->limit_memory);
    if (s->peak_memory_bytes > 0)
        snprintf(memory->used, sizeof memory->used, "%s at most, VMM included",
                 evidence_bytes_text(s->peak_memory_bytes, two));
    if (s->guest_oom_kills > 0) {
        size_t len = strlen(memory->used);
        snprintf(memory->used + len, sizeof memory->used - len,
                 "%sthe guest says that it killed %lld process%s for lack of it",
                 len > 0 ? "; " : "", (long long)s->guest_oom_kills,
                 s->guest_oom_kills == 1 ? "" : "es");
    }

    processes->name = "Processes";
    if (c->pids_max >= 0)
        snprintf(processes->limit, sizeof processes->limit, "%lld", (long long)c->pids_max);
    snprintf(processes->holder, sizeof processes->holder, "%s", s->limit_pids);

    disk->name = "Scratch";
    snprintf(disk->limit, sizeof disk->limit, "%s", c->disk_max);
    snprintf(disk->holder, sizeof disk->holder, "%s", s->limit_disk);

    time->name = "Time";
    int64_t timeout = s->timeout_sec >= 0 ? s->timeout_sec : c->timeout_sec;
    if (timeout >= 0)
        snprintf(time->limit, sizeof time->limit, "%lld s", (long long)timeout);
    snprintf(time->holder, sizeof time->holder, "safe-run");
    if (s->exit.timed)
        describe_time(&s->exit, time);
    else if (s->exit.wall_usec > 0)
        snprintf(time->used, sizeof time->used, "%s", evidence_usec_text(s->exit.wall_usec, one));
    else if (s->vm_started_nsec > 0 && s->vm_exited_nsec > s->vm_started_nsec)
        snprintf(
            time->used, sizeof time->used, "%s",
            evidence_usec_text((uint64_t)(s->vm_exited_nsec - s->vm_started_nsec) / 1000, one));
}
