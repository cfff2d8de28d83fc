/* Where safe-run keeps what lasts: runs, the archive, keys, and what can be made again. Root's
 * places are the system's, everybody else's follow the XDG base directory specification. */
#include "host/host.h"

#include "common/fs.h"
#include "common/owner.h"
#include "saferun/runs.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* "<roots>/<name>" for root, else below xdg (the value of a variable, or NULL) or
 * $HOME/<below>/safe-run. False: there is no such place. */
static bool find_place(const char *roots, const char *xdg, const char *below, const char *name,
                       char path[PATH_MAX])
{
    const char *home = getenv("HOME");
    int len = 0;
    if (geteuid() == 0)
        len = snprintf(path, PATH_MAX, "%s/safe-run%s", roots, name);
    else if (xdg != NULL && xdg[0] == '/')
        len = snprintf(path, PATH_MAX, "%s/safe-run%s", xdg, name);
    else if (home != NULL && home[0] == '/')
        len = snprintf(path, PATH_MAX, "%s/%s/safe-run%s", home, below, name);
    return len > 0 && len < PATH_MAX;
}

bool host_state_path(const char *name, char path[PATH_MAX])
{
    char below[NAME_MAX + 2];
    snprintf(below, sizeof below, "/%s", name);
    return find_place("/var/lib", getenv("XDG_STATE_HOME"), ".local/state", below, path);
}

int sr_runs_base(const char *base, char path[PATH_MAX], struct sr_error *err)
{
    if (base == NULL || base[0] == '\0')
        base = getenv("SAFE_RUN_WORKDIR_BASE");
    if (base != NULL && base[0] != '\0') {
        if (snprintf(path, PATH_MAX, "%s", base) >= PATH_MAX)
            return sr_fail(err, SR_RUN_001, "prepare.workdir",
                           "the path of the run directory is too long");
    } else if (!host_state_path("runs", path)) {
        return sr_fail(err, SR_RUN_001, "prepare.workdir",
                       "there is no place for the run directory: set HOME, SAFE_RUN_WORKDIR_BASE "
                       "or --workdir-base");
    }
    return 0;
}

int host_cache_open(void)
{
    char path[PATH_MAX], why[SR_OWNER_TEXT];
    const char *named = getenv("SAFE_RUN_CACHE_DIR");
    struct stat st;
    if (named != NULL && named[0] == '/') {
        if (snprintf(path, sizeof path, "%s", named) >= (int)sizeof path)
            return -1;
    } else if (!find_place("/var/cache", getenv("XDG_CACHE_HOME"), ".cache", "", path)) {
        return -1;
    }
    if (sr_mkdir_all(path, 0755) < 0)
        return -1;
    /* Somebody else's directory could tell us anything. */
    sr_cleanup_fd int fd = sr_open_place(path, why);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid())
        return -1;
    return sr_take_fd(&fd);
}

bool host_archive_root(const struct host_config *config, char root[PATH_MAX])
{
    if (config->archive.root[0] == '\0')
        return host_state_path("archive", root);
    return snprintf(root, PATH_MAX, "%s", config->archive.root) < PATH_MAX;
}
