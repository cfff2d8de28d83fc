/*
 * Who vouches for a run: which of the keys at hand have signed the attestation in a bundle's
 * files/. Everything there is foreign: a key id that an attestation names is a claim until a key
 * with this id has verified it.
 */
#ifndef SR_ARCHIVE_VOUCH_H
#define SR_ARCHIVE_VOUCH_H

#include "archive/bundle.h"
#include "archive/log.h"
#include "saferun/archive.h"

/* Returns 1 when key has signed the report in files/ (a directory's descriptor), by the attestation
 * there, 0 when not, or -1 when memory is out. */
int vouch_is_signed_by(int files, const struct archive_manifest *manifest, const struct sr_key *key,
                       struct sr_error *err) SR_MUST_CHECK;

/* Fills in signature, signer and checked_by of an entry. host: this host's own key, required: the
 * caller's; each may be NULL. */
int vouch_judge(int files, const struct archive_manifest *manifest, const struct sr_key *host,
                const struct sr_key *required, struct archive_log_entry *entry,
                struct sr_error *err) SR_MUST_CHECK;

/* Copies what an entry says of where its run came from and who has signed it. */
void archive_provenance(const struct archive_log_entry *entry,
                        struct sr_archive_provenance *provenance);

#endif
