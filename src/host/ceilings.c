/* The ceilings of this host: what its configuration says, else what the machine can spare. */
#include "host/host.h"

#include "common/fs.h"
#include "evidence/output_digest.h"
#include "saferun/runs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
/* What a policy may say at most on any host (validate.c, SR_OUTPUTS_MAX, the 1 MiB that a policy
 * has). */
#define MEMORY_MAX (1024 * GIB)
#define MILLI_CPUS_MAX 8000u
#define TIME_MAX 604800u
#define ENTRIES_MAX ((uint64_t)SR_OUTPUTS_MAX * EVIDENCE_OUTPUT_ENTRIES_MAX)
#define RULES_MAX 65536u
#define PROCESSES_MAX 4194304u
/* A guest and the VMM need this much; less is no ceiling but a broken machine. */
#define MEMORY_MIN (64 * MIB)
/* One sample a second is 40 MB in a day. */
#define EVENTS_DEFAULT (64 * MIB)
#define EVENTS_MIN (4 * MIB)
#define EVENTS_MAX (4 * GIB)
#define TIME_DEFAULT 86400u
#define RULES_DEFAULT 4096u
/* Linux's pid_max where nobody has raised it. */
#define PROCESSES_DEFAULT 32768u

/* How the text of a ceiling is read. */
enum unit { UNIT_SIZE, UNIT_COUNT, UNIT_CPUS };

static const struct ceiling {
    const char *name;
    size_t at;
    enum unit unit;
    uint64_t min, max;
} ceilings_known[] = {
#define AT(field) offsetof(struct sr_ceilings, field)
    {"memory", AT(memory_bytes), UNIT_SIZE, MEMORY_MIN, MEMORY_MAX},
    {"cpus", AT(milli_cpus), UNIT_CPUS, 100, MILLI_CPUS_MAX},
    {"disk", AT(disk_bytes), UNIT_SIZE, 0, UINT64_C(1) << 53},
    {"time", AT(time_sec), UNIT_COUNT, 1, TIME_MAX},
    {"outputs", AT(output_bytes), UNIT_SIZE, 0, UINT64_C(1) << 53},
    {"entries", AT(output_entries), UNIT_COUNT, 1, ENTRIES_MAX},
    {"events", AT(event_bytes), UNIT_SIZE, EVENTS_MIN, EVENTS_MAX},
    {"rules", AT(rules), UNIT_COUNT, 0, RULES_MAX},
    {"processes", AT(processes), UNIT_COUNT, 1, PROCESSES_MAX},
#undef AT
};

/* What the host itself needs: its services, and what QEMU takes beside the guest's memory. */
static uint64_t spare_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page <= 0)
        return MEMORY_MIN;
    uint64_t total = (uint64_t)pages * (uint64_t)page, reserve = total / 8;
    reserve = reserve > 512 * MIB ? reserve : 512 * MIB;
    uint64_t spare = reserve < total / 2 ? total - reserve : total / 2;
    spare -= spare % MIB;
    return spare < MEMORY_MIN ? MEMORY_MIN : spare < MEMORY_MAX ? spare : MEMORY_MAX;
}

/* Half of the file system that has the run directories, or is to have them. */
static uint64_t spare_disk(void)
{
    char path[PATH_MAX];
    struct statvfs fs;
    struct sr_error none;
    if (sr_runs_base(NULL, path, &none) < 0)
        return GIB;
    while (statvfs(path, &fs) < 0) {
        char *slash = strrchr(path, '/');
        if (slash == NULL || path[1] == '\0')
            return GIB;
        slash[slash == path] = '\0';
    }
    uint64_t half = (uint64_t)fs.f_blocks * fs.f_frsize / 2;
    half -= half % MIB;
    return half > GIB ? half : GIB;
}

void host_ceilings_default(struct sr_ceilings *ceilings)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t cpus = online > 0 ? (uint64_t)online * 1000 : 1000, disk = spare_disk();
    *ceilings = (struct sr_ceilings){
        .memory_bytes = spare_memory(),
        .milli_cpus = cpus < MILLI_CPUS_MAX ? cpus : MILLI_CPUS_MAX,
        .disk_bytes = disk,
        .time_sec = TIME_DEFAULT,
        .output_bytes = disk,
        .output_entries = EVIDENCE_OUTPUT_ENTRIES_MAX,
        .event_bytes = EVENTS_DEFAULT,
        .rules = RULES_DEFAULT,
        .processes = PROCESSES_DEFAULT,
    };
}

/* Digits, at most twelve, and what stands behind them. False when there are none. */
static bool read_digits(const char *text, uint64_t *value, const char **rest)
{
    size_t digits = strspn(text, "0123456789");
    *value = strtoull(text, NULL, 10);
    *rest = text + digits;
    return digits > 0 && digits <= 12;
}

static bool read_size(const char *text, uint64_t *value)
{
    static const char *const units[] = {"Ki", "Mi", "Gi"};
    const char *rest;
    if (!read_digits(text, value, &rest))
        return false;
    for (int i = 0; i < 3; i++)
        if (strcmp(rest, units[i]) == 0) {
            bool fits = *value <= UINT64_MAX >> (10 * (i + 1));
            *value <<= 10 * (i + 1);
            return fits;
        }
    return *value == 0 && *rest == '\0';
}

/* A whole number, or one with up to three digits behind its point; in thousandths. */
static bool read_cpus(const char *text, uint64_t *value)
{
    const char *rest;
    if (!read_digits(text, value, &rest))
        return false;
    *value *= 1000;
    if (*rest == '\0')
        return true;
    size_t digits = strspn(rest + 1, "0123456789");
    if (*rest != '.' || digits < 1 || digits > 3 || rest[1 + digits] != '\0')
        return false;
    uint64_t part = strtoull(rest + 1, NULL, 10);
    for (; digits < 3; digits++)
        part *= 10;
    *value += part;
    return true;
}

static void say_range(const struct ceiling *known, char why[HOST_CEILING_WHY])
{
    char from[SR_SIZE_TEXT], to[SR_SIZE_TEXT];
    if (known->unit == UNIT_SIZE)
        snprintf(why, HOST_CEILING_WHY, "must be a size from %s to %s",
                 sr_size_text(known->min, from), sr_size_text(known->max, to));
    else if (known->unit == UNIT_CPUS)
        snprintf(why, HOST_CEILING_WHY, "must be a number of CPUs from %s to %s",
                 sr_cpus_text(known->min, from), sr_cpus_text(known->max, to));
    else
        snprintf(why, HOST_CEILING_WHY, "must be a whole number from %" PRIu64 " to %" PRIu64,
                 known->min, known->max);
}

int host_ceilings_read(struct sr_ceilings *ceilings, const char *name, const char *text,
                       char why[HOST_CEILING_WHY])
{
    size_t i = 0, count = sizeof ceilings_known / sizeof ceilings_known[0];
    while (i < count && strcmp(ceilings_known[i].name, name) != 0)
        i++;
    if (i == count)
        return 0;
    const struct ceiling *known = &ceilings_known[i];
    uint64_t value;
    const char *rest;
    bool good = known->unit == UNIT_SIZE   ? read_size(text, &value)
                : known->unit == UNIT_CPUS ? read_cpus(text, &value)
                                           : read_digits(text, &value, &rest) && *rest == '\0';
    if (!good || value < known->min || value > known->max) {
        say_range(known, why);
        return -1;
    }
    memcpy((char *)ceilings + known->at, &value, sizeof value);
    return 1;
}
