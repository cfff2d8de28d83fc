/* What this host can do: said by runs, so that there is one way in which anything is found out. */
#include "saferun/doctor.h"

#include "common/clock.h"
#include "common/fs.h"
#include "common/json_member.h"
#include "host/host.h"
#include "saferun/runs.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/landlock.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The rule's address is of a network for documentation (RFC 5737): nothing is sent there. */
#define TRIAL                                                                                      \
    "{\"apiVersion\":\"" SR_POLICY_API_VERSION "\",\"metadata\":{\"name\":\"doctor\"},"            \
    "\"runtime\":{\"command\":\"/bin/true\",\"args\":[]},\"resources\":{\"cpu\":{\"max\":"         \
    "\"100000 100000\"},\"memory\":{\"max\":\"128Mi\"}},\"mounts\":[],"                            \
    "\"audit\":{\"level\":\"basic\"},\"network\":{"
static const char trial_alone[] = TRIAL "\"mode\":\"none\"}}";
static const char trial_network[] =
    TRIAL "\"mode\":\"allowlist\",\"egress\":[{\"protocol\":\"tcp\",\"cidr\":\"192.0.2.1/32\","
          "\"port\":443}]}}";

struct doctor {
    const char *base;
    void (*tell)(void *context, const struct sr_doctor_check *check);
    void *context;
    bool interrupted;
};

static void __attribute__((format(printf, 4, 5)))
say(const struct doctor *doctor, const char *name, enum sr_doctor_result result, const char *fmt,
    ...)
{
    struct sr_doctor_check check = {.name = name, .result = result};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(check.text, sizeof check.text, fmt, ap);
    va_end(ap);
    doctor->tell(doctor->context, &check);
}

/* What came out of a run, and what its report vouches for (owned; NULL when there is none). */
struct trial {
    struct sr_run_result result;
    unsigned msec;
    json_t *assurance;
};

static bool is_good(const struct trial *trial)
{
    return trial->result.finished && trial->result.exit_code == 0;
}

static void take_assurance(struct trial *trial)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.*s/run_report.json", PATH_MAX - 32, trial->result.run_dir);
    json_t *report = json_load_file(path, 0, NULL);
    trial->assurance = json_incref(json_object_get(report, "assurance"));
    json_decref(report);
}

/* Its evidence is of no use to anybody. */
static void forget(const struct trial *trial)
{
    char base[PATH_MAX];
    snprintf(base, sizeof base, "%s", trial->result.run_dir);
    char *slash = strrchr(base, '/');
    if (slash == NULL)
        return;
    *slash = '\0';
    sr_cleanup_fd int fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || sr_remove_tree(fd, trial->result.run_id) < 0)
        return; /* gc --older-than finds it */
}

static void run_trial(struct doctor *doctor, const char *policy, enum sr_accel_choice accel,
                      struct trial *trial)
{
    sr_cleanup_check struct sr_check check = {0};
    *trial = (struct trial){0};
    if (sr_policy_check(policy, strlen(policy), NULL, &check, &trial->result.error) < 0)
        return;
    if (check.policy == NULL) { /* this program's fault */
        trial->result.error = check.errors[0];
        return;
    }
    const struct sr_run_options options = {
        .policy = check.policy,
        .workdir_base = doctor->base,
        .accel = accel,
        .stdin_fd = -1,
        .stdout_fd = -1,
        .stderr_fd = -1,
    };
    uint64_t start = sr_now();
    sr_run(&options, &trial->result);
    trial->msec = (unsigned)((sr_now() - start) / SR_NSEC_PER_MSEC);
    doctor->interrupted = trial->result.cause == SR_CAUSE_INTERRUPTED;
    if (trial->result.report_written)
        take_assurance(trial);
    if (trial->result.run_dir[0] != '\0')
        forget(trial);
}

static const char *assured(const struct trial *trial, const char *name)
{
    const char *text = sr_member_text(trial->assurance, name);
    return text != NULL ? text : "unknown";
}

/* The one that every host has; without it nothing runs. */
static bool try_tcg(struct doctor *doctor, struct trial *trial)
{
    run_trial(doctor, trial_alone, SR_ACCEL_CHOICE_TCG, trial);
    const struct sr_error *error = &trial->result.error;
    if (is_good(trial))
        say(doctor, "tcg", SR_DOCTOR_OK, "a guest ran its command and was gone in %u ms (%s %s)",
            trial->msec, assured(trial, "vmm"), assured(trial, "vmmVersion"));
    else
        say(doctor, "tcg", SR_DOCTOR_FAILURE, "no guest runs: %s %s: %s", sr_code_name(error->code),
            error->path, error->message);
    return is_good(trial);
}

static void try_kvm(struct doctor *doctor, const struct host_config *config)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        say(doctor, "kvm", SR_DOCTOR_WARNING,
            "/dev/kvm cannot be opened: %s; guests run emulated, several times slower%s",
            strerror(errno), errno == EACCES ? "; be a member of the group that owns it" : "");
        return;
    }
    close(fd);
    struct trial trial;
    run_trial(doctor, trial_alone, SR_ACCEL_CHOICE_KVM, &trial);
    if (is_good(&trial))
        say(doctor, "kvm", SR_DOCTOR_OK, "a guest ran its command and was gone in %u ms",
            trial.msec);
    else if (host_kvm_state(config->qemu) == HOST_KVM_BROKEN) /* the run has found that out */
        say(doctor, "kvm", SR_DOCTOR_WARNING,
            "no guest comes up under KVM, so they run emulated: %s", trial.result.error.message);
    else
        say(doctor, "kvm", SR_DOCTOR_WARNING,
            "no guest came up under KVM this time, which need not be KVM's fault: %s",
            trial.result.error.message);
    json_decref(trial.assurance);
}

static void say_jail(const struct doctor *doctor, const struct trial *trial)
{
    const char *jail = assured(trial, "jail");
    bool none = strcmp(jail, "none") == 0;
    say(doctor, "jail", none ? SR_DOCTOR_WARNING : SR_DOCTOR_OK, "%s%s", jail,
        none ? ": QEMU runs without one, because the host configuration says jail.mode: none" : "");
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 0)
        say(doctor, "landlock", SR_DOCTOR_WARNING,
            "this kernel has no Landlock (5.13, CONFIG_SECURITY_LANDLOCK, lsm=landlock): confined "
            "processes have one wall less");
    else
        say(doctor, "landlock", SR_DOCTOR_OK, "version %ld", version);
}

static void say_limits(const struct doctor *doctor, const struct trial *trial)
{
    static const char *const names[] = {"cpu", "memory", "pids"};
    char held[200] = "";
    bool all = true;
    const json_t *limits = json_object_get(trial->assurance, "limits");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *by = sr_member_text(limits, names[i]);
        bool held_here =
            by != NULL && (strncmp(by, "cgroup v", 8) == 0 || strstr(by, ", cgroup v") != NULL);
        all = all && held_here; /* and not only by the guest's */
        snprintf(held + strlen(held), sizeof held - strlen(held), "%s%s: %s", i > 0 ? ", " : "",
                 names[i], by != NULL ? by : "unknown");
    }
    const char *why = trial->result.limits_why;
    say(doctor, "limits", all ? SR_DOCTOR_OK : SR_DOCTOR_WARNING, "%s%s%s", held,
        all ? "" : "; require.limits: enforced is refused here: ", all ? "" : why);
}

static void try_network(struct doctor *doctor)
{
    struct trial trial;
    run_trial(doctor, trial_network, SR_ACCEL_CHOICE_AUTO, &trial);
    const struct sr_error *error = &trial.result.error;
    if (is_good(&trial))
        say(doctor, "network", SR_DOCTOR_OK, "mode allowlist works; uplink %s",
            assured(&trial, "uplink"));
    else
        say(doctor, "network", SR_DOCTOR_WARNING, "only network.mode none works: %s %s: %s",
            sr_code_name(error->code), error->path, error->message);
    json_decref(trial.assurance);
}

static void count_one(void *context, const char *id, enum sr_gc_action action,
                      const struct sr_error *error)
{
    (void)id;
    (void)action;
    (void)error;
    ++*(unsigned *)context;
}

static void say_ceilings(const struct doctor *doctor, const struct sr_ceilings *ceilings)
{
    char memory[SR_SIZE_TEXT], cpus[SR_SIZE_TEXT], disk[SR_SIZE_TEXT], outputs[SR_SIZE_TEXT],
        events[SR_SIZE_TEXT];
    say(doctor, "ceilings", SR_DOCTOR_OK,
        "a policy may ask for: memory %s, cpus %s, disk %s, time %ju s, outputs %s, entries %ju, "
        "events %s, rules %ju, processes %ju (limits in the host configuration)",
        sr_size_text(ceilings->memory_bytes, memory), sr_cpus_text(ceilings->milli_cpus, cpus),
        sr_size_text(ceilings->disk_bytes, disk), (uintmax_t)ceilings->time_sec,
        sr_size_text(ceilings->output_bytes, outputs), (uintmax_t)ceilings->output_entries,
        sr_size_text(ceilings->event_bytes, events), (uintmax_t)ceilings->rules,
        (uintmax_t)ceilings->processes);
}

static void say_runs(const struct doctor *doctor)
{
    char path[PATH_MAX];
    struct sr_error err;
    unsigned dead = 0;
    const struct sr_gc_options options = {
        .older_than_sec = -1, .dry_run = true, .tell = count_one, .context = &dead};
    if (sr_runs_base(doctor->base, path, &err) < 0 || sr_runs_gc(doctor->base, &options, &err) < 0)
        say(doctor, "runs", SR_DOCTOR_FAILURE, "%s: %s", err.path, err.message);
    else if (dead > 0)
        say(doctor, "runs", SR_DOCTOR_WARNING,
            "%u in %.400s were not finished; 'safe-run gc' closes them", dead, path);
    else
        say(doctor, "runs", SR_DOCTOR_OK, "kept in %.500s", path);
}

bool sr_doctor(const char *workdir_base,
               void (*tell)(void *context, const struct sr_doctor_check *check), void *context)
{
    struct doctor doctor = {.base = workdir_base, .tell = tell, .context = context};
    struct host_config config;
    struct sr_error err;
    if (host_config_load(&config, &err) < 0) {
        say(&doctor, "config", SR_DOCTOR_FAILURE, "%s: %s", err.path, err.message);
        return false;
    }
    say(&doctor, "config", SR_DOCTOR_OK, "QEMU is %.250s, the guest's kernel %.250s", config.qemu,
        config.kernel);
    say_ceilings(&doctor, &config.ceilings);
    say_runs(&doctor);
    struct trial trial;
    bool good = try_tcg(&doctor, &trial);
    if (good) {
        say_jail(&doctor, &trial);
        say_limits(&doctor, &trial);
    }
    json_decref(trial.assurance);
    if (good && !doctor.interrupted)
        try_kvm(&doctor, &config);
    if (good && !doctor.interrupted)
        try_network(&doctor);
    return good && !doctor.interrupted;
}
