/*
 * The attestation of a report: first who signed it, then what it says. Nothing of what it says is
 * looked at, let alone quoted, before a key that was given has vouched for it.
 *
 * Every key that was given must have signed. A signature counts for a key when its keyid is that
 * key's id, or when it has none. One that claims a key and is not the key's is an error, whatever
 * others say. Signatures by keys that were not given cannot be judged and count for nothing.
 */
#include "evidence/verify.h"

#include "evidence/attestation.h"
#include "evidence/envelope.h"
#include "evidence/statement.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static bool read_envelope(struct verify *v, struct evidence_envelope *envelope)
{
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    struct sr_error err;
    if (attestation_read(verify_base(v), v->options->attestation_path, &text, &err) == 0 &&
        evidence_envelope_parse(text.data, text.len, envelope, &err) == 0)
        return true;
    verify_error(v, CHECK_SIGNATURE, err.code, err.path, "%s", err.message);
    return false;
}

/* Loads a key to check with; NULL with an error recorded. */
static struct sr_key *load_key(struct verify *v, size_t i)
{
    struct sr_key *key = NULL;
    struct sr_error err;
    char path[32];
    snprintf(path, sizeof path, v->options->key_count > 1 ? "key[%zu]" : "key", i);
    if (evidence_key_load_public(v->options->key_paths[i], &key, &err) < 0)
        verify_error(v, CHECK_SIGNATURE, err.code, path, "%s", err.message);
    return key;
}

/* Whether the key has signed. claimed: marks the signatures that are or say they are the key's. */
static bool has_signed(struct verify *v, const struct evidence_envelope *envelope,
                       const struct sr_buf *encoded, const struct sr_key *key, bool claimed[])
{
    bool signed_once = false, lied = false;
    for (size_t i = 0; i < envelope->count; i++) {
        const struct evidence_envelope_signature *signature = &envelope->signatures[i];
        if (!evidence_envelope_names(envelope, i, key))
            continue;
        bool good =
            evidence_key_verify(key, encoded->data, encoded->len,
                                (const unsigned char *)signature->bytes.data, signature->bytes.len);
        signed_once = signed_once || good;
        if (good || signature->key_id.len > 0)
            claimed[i] = true;
        if (good || signature->key_id.len == 0)
            continue;
        char path[64];
        lied = true;
        snprintf(path, sizeof path, "attestation.signatures[%zu].sig", i);
        verify_error(v, CHECK_SIGNATURE, SR_EVD_304, path,
                     "this is not a signature of the payload by key %s", evidence_key_id(key));
    }
    /* Nobody signs under another's name: a keyid that leads elsewhere was changed. */
    for (size_t i = 0; !signed_once && !lied && i < envelope->count; i++) {
        const struct evidence_envelope_signature *signature = &envelope->signatures[i];
        lied =
            evidence_key_verify(key, encoded->data, encoded->len,
                                (const unsigned char *)signature->bytes.data, signature->bytes.len);
        char path[64], shown[SHOWN_SIZE];
        snprintf(path, sizeof path, "attestation.signatures[%zu].keyid", i);
        if (lied)
            verify_error(
                v, CHECK_SIGNATURE, SR_EVD_304, path,
                "the signature is by key %s, and its keyid was changed to %s", evidence_key_id(key),
                verify_show((struct sr_json_slice){signature->key_id.data, signature->key_id.len},
                            shown));
    }
    if (!signed_once && !lied) {
        const struct sr_buf *first = &envelope->signatures[0].key_id;
        char shown[SHOWN_SIZE];
        verify_error(v, CHECK_SIGNATURE, SR_EVD_304, "attestation.signatures",
                     "expected one by key %s, found %zu by others, the first by %s",
                     evidence_key_id(key), envelope->count,
                     verify_show((struct sr_json_slice){first->data, first->len}, shown));
    }
    return signed_once && !lied;
}

static bool is_signed(struct verify *v, const struct evidence_envelope *envelope)
{
    sr_cleanup_buf struct sr_buf encoded = SR_BUF_INIT;
    const struct sr_key *loaded = v->options->key;
    bool claimed[EVIDENCE_ENVELOPE_MAX_SIGNATURES] = {false},
         good = v->options->key_count > 0 || loaded != NULL;
    evidence_envelope_encode(envelope, &encoded);
    if (!sr_buf_ok(&encoded)) {
        v->no_memory = true;
        return false;
    }
    if (!good)
        verify_error(v, CHECK_SIGNATURE, SR_EVD_003, "key", "no public key was given");
    for (size_t i = 0; i < v->options->key_count; i++) {
        sr_cleanup_key struct sr_key *key = load_key(v, i);
        if (key == NULL || !has_signed(v, envelope, &encoded, key, claimed))
            good = false;
    }
    if (loaded != NULL && !has_signed(v, envelope, &encoded, loaded, claimed))
        good = false;
    size_t unknown = 0;
    for (size_t i = 0; i < envelope->count; i++)
        unknown += !claimed[i];
    if (good && unknown > 0)
        verify_note(v, CHECK_SIGNATURE, "%zu of %zu signatures are by keys that were not given",
                    unknown, envelope->count);
    return good;
}

void verify_signature(struct verify *v)
{
    sr_cleanup_envelope struct evidence_envelope envelope = EVIDENCE_ENVELOPE_INIT;
    if (v->options->attestation_path == NULL)
        return;
    if (read_envelope(v, &envelope) && is_signed(v, &envelope))
        statement_compare(v, &envelope.payload);
    else
        v->checks[CHECK_SIGNATURE].ok = false;
}
