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

#define SR_ENVELOPE_PAYLOAD_TYPE "application/vnd.in-toto+json"
/* A statement names a report's files, which take at most 2 MiB of a report; with what a statement
 * adds to each, and base64, that is 5 MiB. */
#define SR_ENVELOPE_MAX ((size_t)8 * 1024 * 1024)
#define SR_ENVELOPE_MAX_SIGNATURES 16

struct sr_envelope_signature {
    struct sr_buf key_id; /* as a JSON string with its quotes; empty: none */
    struct sr_buf bytes;
};

struct sr_envelope {
    struct sr_buf payload;
    struct sr_envelope_signature signatures[SR_ENVELOPE_MAX_SIGNATURES];
    size_t count;
};

#define SR_ENVELOPE_INIT                                                                           \
    (struct sr_envelope)                                                                           \
    {                                                                                              \
        0                                                                                          \
    }
void sr_envelope_free(struct sr_envelope *envelope);
#define sr_cleanup_envelope __attribute__((cleanup(sr_envelope_free)))

/* Reads an envelope into an empty one, which the caller frees either way. */
int sr_envelope_parse(const char *text, size_t len, struct sr_envelope *envelope,
                      struct sr_error *err) SR_MUST_CHECK;

/* Appends what sr_envelope_parse() reads. When memory is out, out fails. */
void sr_envelope_write(const struct sr_envelope *envelope, struct sr_buf *out);

/* Whether signature i names key as its maker, or nobody: it has no keyid. */
bool sr_envelope_names(const struct sr_envelope *envelope, size_t i, const struct sr_key *key);

/* Appends what is signed: "DSSEv1 <length of type> <type> <length of payload> <payload>". */
void sr_envelope_encode(const struct sr_envelope *envelope, struct sr_buf *out);

/* Adds key's signature. SR-EVD-003 at `key`; SR-EVD-002 at `attestation` when there is no room. */
int sr_envelope_sign(struct sr_envelope *envelope, const struct sr_key *key,
                     struct sr_error *err) SR_MUST_CHECK;

#endif
