/*
 * The envelope of an attestation: DSSE v1 (Dead Simple Signing Envelope, secure-systems-lab/dsse).
 *
 *   {"payload":"<base64>","payloadType":"application/vnd.in-toto+json",
 *    "signatures":[{"keyid":"<hex>","sig":"<base64>"}]}
 *
 * The signature covers DSSE's pre-authentication encoding of type and payload, not this text, so
 * that other tools check it by their own reading of the envelope. This reader is stricter than DSSE
 * asks, so that an envelope has one spelling and every changed byte is found: canonical JSON (RFC
 * 8785) and one newline, standard base64 with its padding (no URL-safe alphabet, no white space),
 * no members but these. Only a keyid, which DSSE makes optional, may be missing.
 *
 * Pure: no I/O. The fuzz target is tests/fuzz/fuzz_envelope.c. Errors are SR-EVD-304 at
 * `attestation...`.
 */
#ifndef SR_EVIDENCE_ENVELOPE_H
#define SR_EVIDENCE_ENVELOPE_H

#include "common/buf.h"
#include "common/json_text.h"
#include "evidence/key.h"

#define EVIDENCE_ENVELOPE_PAYLOAD_TYPE "application/vnd.in-toto+json"
/* A statement names a report's files, which take at most 2 MiB of a report; with what a statement
 * adds to each, and base64, that is 5 MiB. */
#define EVIDENCE_ENVELOPE_MAX ((size_t)8 * 1024 * 1024)
#define EVIDENCE_ENVELOPE_MAX_SIGNATURES 16

struct evidence_envelope_signature {
    struct sr_buf key_id; /* as a JSON string with its quotes; empty: none */
    struct sr_buf bytes;
};

struct evidence_envelope {
    struct sr_buf payload;
    struct evidence_envelope_signature signatures[EVIDENCE_ENVELOPE_MAX_SIGNATURES];
    size_t count;
};

#define EVIDENCE_ENVELOPE_INIT                                                                     \
    (struct evidence_envelope)                                                                     \
    {                                                                                              \
        0                                                                                          \
    }
void evidence_envelope_free(struct evidence_envelope *envelope);
#define sr_cleanup_envelope __attribute__((cleanup(evidence_envelope_free)))

/* Reads an envelope into an empty one, which the caller frees either way. */
int evidence_envelope_parse(const char *text, size_t len, struct evidence_envelope *envelope,
                            struct sr_error *err) SR_MUST_CHECK;

/* Appends what evidence_envelope_parse() reads. When memory is out, out fails. */
void evidence_envelope_write(const struct evidence_envelope *envelope, struct sr_buf *out);

/* Whether signature i names key as its maker, or nobody: it has no keyid. */
bool evidence_envelope_names(const struct evidence_envelope *envelope, size_t i,
                             const struct sr_key *key);

/* Appends what is signed: "DSSEv1 <length of type> <type> <length of payload> <payload>". */
void evidence_envelope_encode(const struct evidence_envelope *envelope, struct sr_buf *out);

/* Adds key's signature. SR-EVD-003 at `key`; SR-EVD-002 at `attestation` when there is no room. */
int evidence_envelope_sign(struct evidence_envelope *envelope, const struct sr_key *key,
                           struct sr_error *err) SR_MUST_CHECK;

#endif
