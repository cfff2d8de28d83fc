/*
 * The report of a bundle: the run's own report with the archive's findings, sealed anew.
 *
 * A report's digest covers all of it, so adding `archive` and `verification` needs a new digest;
 * the run's own bytes stay in files/ and archive.originalHash is their SHA-256. The copy is
 * canonical JSON (RFC 8785) and a newline, whatever the original's spelling. Only
 * integrity.digest changes, and earlier `archive` and `verification` members are replaced.
 */
#ifndef SR_ARCHIVE_SEAL_H
#define SR_ARCHIVE_SEAL_H

#include "common/sha256.h"
#include "saferun/report.h"

struct archive_seal {
    const char *bundle_id, *original_hash, *stored_at, *retention;
    const char *verified_at;
    const struct sr_verification *verification; /* of the original */
};

/*
 * Writes the sealed copy of the report behind from (regular file) to out (empty file), both from
 * their start, not durably. hash covers all bytes written. SR-OPS-301 at archive.report: the report
 * is no JSON object that could take the members, or out cannot be written.
 */
int archive_seal_report(int from, const struct archive_seal *seal, int out,
                        char hash[SR_SHA256_TEXT], struct sr_error *err)
    __attribute__((warn_unused_result));

#endif
