/*
 * A scope: a cgroup of the caller's own with controllers handed down to it, from the systemd that
 * manages the caller's session (org.freedesktop.systemd1(5), StartTransientUnit; systemd's
 * doc/CGROUP_DELEGATION). For ordinary users, who have none elsewhere.
 */
#ifndef SR_CGROUP_SCOPE_H
#define SR_CGROUP_SCOPE_H

#include "common/cleanup.h"
#include "saferun/error.h"

/*
 * Has the caller moved into "safe-run-<run id>.scope", and in there out of the way of what is to be
 * made below it. systemd removes the scope when its last process has ended. Takes 2 s at the most.
 * Errors: SR-RUN-002 at launch.cgroup, with why there is none; then the caller is where it was, or
 * in a scope of no use.
 */
int sr_cgroup_enter_scope(const char *run_id, struct sr_error *err) SR_MUST_CHECK;

#endif
