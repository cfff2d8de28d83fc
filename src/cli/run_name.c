#include "cli/run_name.h"

#include "evidence/report.h"
#include "saferun/runs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int put_path(const char *directory, char path[PATH_MAX], struct sr_error *err)
{
    size_t len = strlen(directory);
    bool slash = len > 0 && directory[len - 1] == '/';
    char joined[PATH_MAX];
    if (snprintf(joined, sizeof joined, "%s%s" EVIDENCE_REPORT_FILE, directory, slash ? "" : "/") >=
        (int)sizeof joined)
        return sr_fail(err, SR_RUN_001, "run", "%s: %s", directory, strerror(ENAMETOOLONG));
    memcpy(path, joined, sizeof joined);
    return 0;
}

/* Nothing that is called so is there, and no file of a report is likely to be. */
static bool is_only_a_run(const char *name)
{
    return strchr(name, '/') == NULL && strchr(name, '.') == NULL;
}

int run_name_report(const char *name, char path[PATH_MAX], const char **report,
                    struct sr_error *err)
{
    struct stat st;
    char base[PATH_MAX];
    *report = name;
    if (strcmp(name, "-") == 0)
        return 0;
    int found = 1;
    if (stat(name, &st) == 0) {
        if (!S_ISDIR(st.st_mode))
            return 0;
        if (put_path(name, path, err) < 0)
            return -1;
    } else {
        found = errno == ENOENT ? sr_runs_find(NULL, name, base, err) : 0;
        if (found < 0 || (found > 0 && put_path(base, path, err) < 0))
            return -1;
    }
    if (found > 0)
        *report = path;
    else if (is_only_a_run(name) && sr_runs_base(NULL, base, err) == 0)
        return sr_fail(err, SR_RUN_001, "run",
                       "'%s' is no file, and no run in %s; 'safe-run ps -a' lists the runs", name,
                       base);
    return 0;
}

int run_name_id(const char *name, char id[32], const char **run, struct sr_error *err)
{
    char path[PATH_MAX];
    *run = name;
    if (strcmp(name, "last") != 0)
        return 0;
    int found = sr_runs_find(NULL, name, path, err);
    if (found < 0)
        return -1;
    if (found == 0)
        return sr_runs_base(NULL, path, err) < 0
                   ? -1
                   : sr_fail(err, SR_RUN_001, "run", "no run in %s has ended", path);
    snprintf(id, 32, "%s", strrchr(path, '/') + 1);
    *run = id;
    return 0;
}
