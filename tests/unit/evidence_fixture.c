#include "evidence_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fixture: %s failed\n", what);
        abort();
    }
}

void fixture_open(struct fixture *fixture)
{
    /* In memory where that is possible: what reaches the disk when is not tested here, and
     * thousands of barriers take their time. */
    const char *tmp = getenv("TMPDIR");
    if (tmp == NULL || strlen(tmp) > 40)
        tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(fixture->path, sizeof fixture->path, "%s/sr-test-XXXXXX", tmp);
    must(mkdtemp(fixture->path) != NULL, "mkdtemp");
    fixture->dir = open(fixture->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(fixture->dir >= 0, "open");
    fixture->log = NULL;
}

static void remove_all(int dirfd)
{
    DIR *dir = fdopendir(dup(dirfd));
    must(dir != NULL, "fdopendir");
    rewinddir(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd, entry->d_name, 0) < 0) {
            int below = openat(dirfd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            must(below >= 0, "openat");
            remove_all(below);
            close(below);
            must(unlinkat(dirfd, entry->d_name, AT_REMOVEDIR) == 0, "rmdir");
        }
    }
    closedir(dir);
}

void fixture_close(struct fixture *fixture)
{
    evidence_event_log_close(fixture->log);
    remove_all(fixture->dir);
    close(fixture->dir);
    must(rmdir(fixture->path) == 0, "rmdir");
}

static void append(struct fixture *fixture, enum evidence_stage stage, enum sr_event_type type,
                   json_t *payload)
{
    struct sr_error err;
    if (evidence_event_append(fixture->log, stage, type, payload, &err) < 0)
        must(false, err.message);
}

void fixture_events(struct fixture *fixture, unsigned samples)
{
    struct sr_error err;
    if (evidence_event_log_create(fixture->dir, FIXTURE_RUN_ID, ALL_EVENTS, &fixture->log, &err) <
        0)
        must(false, err.message);
    append(fixture, EVIDENCE_STAGE_COMPILE, SR_EVENT_COMPILE,
           json_pack("{s:s}", "observers", "field"));
    append(fixture, EVIDENCE_STAGE_PREPARE, SR_EVENT_RUN_PREPARED,
           json_pack("{s:s,s:i}", "workdir", "/x \"quoted\" \x1f \xe2\x82\xac", "timeoutSec", 300));
    append(fixture, EVIDENCE_STAGE_MOUNT, SR_EVENT_MOUNT_VALIDATED,
           json_pack("{s:s,s:s,s:b}", "source", "/srv/a", "target", "/data/a", "read_only", 1));
    append(fixture, EVIDENCE_STAGE_MOUNT, SR_EVENT_MOUNT_REJECTED,
           json_pack("{s:s,s:s,s:b,s:s,s:s}", "source", "/srv/b", "target", "/data/b", "read_only",
                     1, "errorCode", "SR-POL-101", "message", "\"/srv/b\" does not exist"));
    append(fixture, EVIDENCE_STAGE_NETWORK, SR_EVENT_NETWORK_PLAN_GENERATED,
           json_pack("{s:s,s:s,s:s,s:[s],s:i}", "mode", "allowlist", "tap", "sr-tap-12345678",
                     "table", "safe_run", "chains", "forward", "rulesTotal", 2));
    append(fixture, EVIDENCE_STAGE_LAUNCH, SR_EVENT_VM_STARTED,
           json_pack("{s:i,s:s}", "pid", 4711, "launcher", "qemu"));
    for (unsigned i = 0; i < samples; i++)
        append(fixture, EVIDENCE_STAGE_MONITOR, SR_EVENT_RESOURCE_SAMPLED,
               json_pack("{s:I,s:I}", "cpuUsageUsec", (json_int_t)i * 1000 + 17,
                         "memoryCurrentBytes", (json_int_t)104857600 + i));
    for (int i = 0; i < 2; i++)
        append(fixture, EVIDENCE_STAGE_MONITOR, SR_EVENT_NETWORK_RULE_HIT,
               json_pack("{s:s,s:s,s:s,s:s,s:s,s:i,s:i,s:i}", "tap", "sr-tap-12345678", "table",
                         "safe_run", "chain", "forward", "protocol", "tcp", "target", "1.1.1.1",
                         "port", 443 + i, "allowedHits", 3, "blockedHits", i));
    append(fixture, EVIDENCE_STAGE_MONITOR, SR_EVENT_VM_EXITED,
           json_pack(
               "{s:i,s:s,s:b,s:i,s:i,s:i,s:i,s:i,s:{s:s,s:i,s:i},s:[],s:{s:s,s:i,s:i,s:i,s:i,s:i,"
               "s:i}}",
               "exitCode", 0, "exitObservedBy", "guest", "timedOut", 0, "sampleCount", (int)samples,
               "wallUsec", 1000000, "vcpus", 1, "guestRamBytes", 268435456, "hostOomKills", 0,
               "vmm", "endedBy", "safe-run", "status", 0, "signal", 9, "contradictions", "guest",
               "observedBy", "guest", "exitCode", 0, "signal", 0, "userUsec", 1, "systemUsec", 1,
               "maxRssKib", 1, "oomKills", 0));
    append(fixture, EVIDENCE_STAGE_CLEANUP, SR_EVENT_RUN_CLEANED, json_object());
    if (evidence_event_log_sync(fixture->log, &err) < 0)
        must(false, err.message);
}

json_t *fixture_failure(const char *reason)
{
    return json_pack("{s:s,s:s,s:s}", "reason", reason, "reasonObservedBy", "host",
                     "messageObservedBy", "host");
}

struct evidence_report_facts fixture_facts(void)
{
    return (struct evidence_report_facts){
        .exit_code = 0,
        .kernel_hash = "sha256:1111111111111111111111111111111111111111111111111111111111111111",
        .rootfs_hash = "sha256:2222222222222222222222222222222222222222222222222222222222222222",
        .network_mode = SR_NETWORK_ALLOWLIST,
        .rules_total = 2,
        .mount_count = 2,
        .cause = "workload",
        .guest_spoke = true,
        .cause_by_guest = true,
        .status_by_guest = true,
        .vmm = "qemu",
        .vmm_version = "7.2",
        .accel = "tcg",
        .jail = "none",
        .uplink = "none",
        .limit_cpu = "vm (1 vCPU)",
        .limit_memory = "vm (guest RAM)",
        .limit_pids = "guest",
        .limit_disk = "guest",
    };
}

void fixture_report(struct fixture *fixture, unsigned samples)
{
    static const char asked[] = "{\"args\":[\"hello\"],\"command\":\"/bin/echo\"}";
    char policy[SR_SHA256_TEXT], command[SR_SHA256_TEXT];
    struct sr_error err;
    struct sr_hasher *hasher = sr_hasher_new();
    must(hasher != NULL && sr_sha256(hasher, asked, strlen(asked), command) == 0 &&
             evidence_policy_hash(hasher, FIXTURE_POLICY, strlen(FIXTURE_POLICY), policy) == 0,
         "hash");
    sr_hasher_free(hasher);
    fixture_events(fixture, samples);
    struct evidence_report_facts facts = fixture_facts();
    facts.policy_hash = policy;
    facts.command_hash = command;
    if (evidence_report_write(fixture->dir, &facts, fixture->log, &err) < 0)
        must(false, err.message);
    evidence_event_log_close(fixture->log);
    fixture->log = NULL;
}

const char *fixture_path(const struct fixture *fixture, const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", fixture->path, name);
    return path;
}

char *fixture_read(const struct fixture *fixture, const char *name, size_t *len)
{
    int fd = openat(fixture->dir, name, O_RDONLY | O_CLOEXEC);
    off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    char *text = size < 0 ? NULL : malloc((size_t)size + 1);
    must(text != NULL && pread(fd, text, (size_t)size, 0) == size, "read");
    text[size] = '\0';
    close(fd);
    *len = (size_t)size;
    return text;
}

void fixture_write(const struct fixture *fixture, const char *name, const char *text, size_t len)
{
    int fd = openat(fixture->dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, text, len) == (ssize_t)len, "write");
    close(fd);
}

void fixture_verify(const char *text, size_t len, const struct sr_verify_options *options,
                    struct sr_verification *result)
{
    struct sr_error err;
    int fd = memfd_create("report", MFD_CLOEXEC);
    must(fd >= 0 && pwrite(fd, text, len, 0) == (ssize_t)len, "memfd");
    memset(result, 0, sizeof *result);
    if (sr_report_verify_fd(fd, options, result, &err) < 0)
        must(false, err.message);
    close(fd);
}
