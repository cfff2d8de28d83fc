/* Where the archive is: for the command line, which knows nothing of the host's configuration. */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>

int sr_archive_place(const char *root, struct sr_archive_place *place, struct sr_error *err)
{
    struct sr_host_config config;
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int len = 0;
    if (sr_host_config_load(&config, err) < 0)
        return -1;
    if (root != NULL)
        len = snprintf(config.archive.root, PATH_MAX, "%s", root);
    else if (config.archive.root[0] != '\0')
        len = 1;
    else if (geteuid() == 0)
        len = snprintf(config.archive.root, PATH_MAX, "/var/lib/safe-run/archive");
    else if (xdg != NULL && xdg[0] == '/')
        len = snprintf(config.archive.root, PATH_MAX, "%s/safe-run/archive", xdg);
    else if (home != NULL && home[0] == '/')
        len = snprintf(config.archive.root, PATH_MAX, "%s/.local/state/safe-run/archive", home);
    if (len <= 0 || len >= PATH_MAX)
        return sr_fail(err, SR_OPS_301, "archive.root",
                       "there is no place for the archive: set HOME or name one with --root");
    *place = config.archive;
    return 0;
}
