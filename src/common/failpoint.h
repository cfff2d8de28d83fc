/*
 * Failpoints: places where a test makes a step fail, crash the process or take long. There are some
 * at every step that changes the host and every write of evidence; only sanitized builds have them,
 * elsewhere they are the constant 0.
 *
 *     if (SR_FAILPOINT("cgroup.create") || mkdir(path, 0755) < 0)
 *         return -errno;
 *
 * SAFE_RUN_FAILPOINT=<name>:error makes that one true, with errno EIO; :crash kills the process
 * that comes there; :delay waits 0.3 s. The file that SAFE_RUN_FAILPOINT_LOG names gets a line when
 * it happens.
 */
#ifndef SR_COMMON_FAILPOINT_H
#define SR_COMMON_FAILPOINT_H

#include <stdbool.h>

#ifdef SR_WITH_FAILPOINTS
bool sr_failpoint(const char *name);
#define SR_FAILPOINT(name) sr_failpoint(name)
#else
#define SR_FAILPOINT(name) 0
#endif

#endif
