/*
 * A scope: a cgroup of the caller's own with controllers handed down to it. The systemd that
 * manages the caller's session makes it (org.freedesktop.systemd1(5), StartTransientUnit; systemd's
 * doc/CGROUP_DELEGATION). Ordinary users get controllers nowhere else.
 */
#ifndef SR_CGROUP_SCOPE_H
#define SR_CGROUP_SCOPE_H

#include "common/cleanup.h"
#include "saferun/error.h"

/*
 * Asks systemd to move the caller into "safe-run-<run id>.scope", then moves it into a cgroup below
 * that, so that others can be made beside it. systemd removes the scope when its last process has
 * ended. Takes at most 2 s. Errors: SR-RUN-002 at launch.cgroup; then the caller is where it was,
 * or in a scope without controllers.
 */
int cgroup_enter_scope(const char *run_id, struct sr_error *err) SR_MUST_CHECK;

#endif
