/* Where safe-run keeps what lasts, and where the archive is: for the command line, which knows
 * nothing of the host's configuration. */
#include "runner/host.h"

#include <stdio.h>
#include <stdlib.h>

bool sr_host_state_path(const char *name, char path[PATH_MAX])
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int len = 0;
    if (geteuid() == 0)
        len = snprintf(path, PATH_MAX, "/var/lib/safe-run/%s", name);
    else if (xdg != NULL && xdg[0] == '/')
        len = snprintf(path, PATH_MAX, "%s/safe-run/%s", xdg, name);
    else if (home != NULL && home[0] == '/')
        len = snprintf(path, PATH_MAX, "%s/.local/state/safe-run/%s", home, name);
    return len > 0 && len < PATH_MAX;
}

bool sr_host_archive_root(const struct sr_host_config *config, char root[PATH_MAX])
{
    if (config->archive.root[0] == '\0')
        return sr_host_state_path("archive", root);
    return snprintf(root, PATH_MAX, "%s", config->archive.root) < PATH_MAX;
}

int sr_archive_place(const char *root, struct sr_archive_place *place, struct sr_error *err)
{
    struct sr_host_config config;
    if (sr_host_config_load(&config, err) < 0)
        return -1;
    *place = config.archive;
    snprintf(place->sign_key, sizeof place->sign_key, "%s", config.sign_key);
    int len = root != NULL ? snprintf(place->root, PATH_MAX, "%s", root) : 0;
    if (root != NULL ? len == 0 || len >= PATH_MAX : !sr_host_archive_root(&config, place->root))
        return sr_fail(err, SR_OPS_301, "archive.root",
                       "there is no place for the archive: set HOME or name one with --root");
    return 0;
}
