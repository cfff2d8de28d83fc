#include "evidence/envelope.h"

#include "common/base64.h"
#include "common/jcs.h"

#include <stdio.h>

static int fault(struct sr_error *err, const char *path, const char *what)
{
    sr_fail(err, SR_EVD_304, path, "%s", what);
    return -1;
}

void evidence_envelope_free(struct evidence_envelope *envelope)
{
    sr_buf_free(&envelope->payload);
    for (size_t i = 0; i < EVIDENCE_ENVELOPE_MAX_SIGNATURES; i++) {
        sr_buf_free(&envelope->signatures[i].key_id);
        sr_buf_free(&envelope->signatures[i].bytes);
    }
    envelope->count = 0;
}

static int read_base64(struct sr_json_slice value, struct sr_buf *out, const char *path,
                       struct sr_error *err)
{
    if (!sr_json_is_string(value))
        return fault(err, path, "expected a string");
    struct sr_json_slice text = sr_json_inside(value);
    if (sr_base64_decode(out, text.text, text.len) < 0)
        return fault(err, path,
                     "expected standard base64 with padding, in its one form: no white space, no "
                     "URL-safe alphabet");
    if (!sr_buf_ok(out))
        return fault(err, path, "out of memory");
    return out->len > 0 ? 0 : fault(err, path, "is empty");
}

static int read_signature(struct sr_json_slice value, size_t index,
                          struct evidence_envelope_signature *signature, struct sr_error *err)
{
    char path[64];
    snprintf(path, sizeof path, "attestation.signatures[%zu]", index);
    if (!sr_json_is_object(value))
        return fault(err, path, "expected an object");
    struct sr_json_slice key_id = sr_json_get(value, "keyid");
    struct sr_json_member member;
    size_t count = 0;
    for (size_t at = 0; sr_json_next_member(value, &at, &member);)
        count++;
    if (count != (key_id.len > 0 ? 2 : 1))
        return fault(err, path, "expected sig, keyid, and nothing else");
    if (key_id.len > 0 && !sr_json_is_string(key_id)) {
        snprintf(path, sizeof path, "attestation.signatures[%zu].keyid", index);
        return fault(err, path, "expected a string");
    }
    sr_buf_append(&signature->key_id, key_id.text, key_id.len);
    snprintf(path, sizeof path, "attestation.signatures[%zu].sig", index);
    return read_base64(sr_json_get(value, "sig"), &signature->bytes, path, err);
}

static int read_signatures(struct sr_json_slice value, struct evidence_envelope *envelope,
                           struct sr_error *err)
{
    static const char path[] = "attestation.signatures";
    struct sr_json_slice element;
    if (!sr_json_is_array(value))
        return fault(err, path, "expected an array");
    for (size_t at = 0; sr_json_next(value, &at, &element);) {
        size_t i = envelope->count;
        if (i == EVIDENCE_ENVELOPE_MAX_SIGNATURES)
            return fault(err, path, "there are more than 16");
        if (read_signature(element, i, &envelope->signatures[i], err) < 0)
            return -1;
        envelope->count++;
    }
    return envelope->count > 0 ? 0 : fault(err, path, "there is none");
}

static int scan_envelope(const char *text, size_t len, struct sr_json_scan *scan,
                         struct sr_error *err)
{
    char path[220];
    if (len > EVIDENCE_ENVELOPE_MAX)
        return fault(err, "attestation", "is larger than 8 MiB");
    if (len == 0)
        return fault(err, "attestation", "is empty");
    if (sr_json_scan(text, len, SR_JSON_LAST, scan) != SR_JSON_OK) {
        snprintf(path, sizeof path, "attestation%s", scan->error_path);
        sr_fail(err, SR_EVD_304, path, "%s (byte %zu)", scan->error, scan->error_at);
        return -1;
    }
    if (text[0] != '{')
        return fault(err, "attestation", "expected an object");
    if (!scan->canonical || scan->len + 1 != len || text[len - 1] != '\n')
        return fault(err, "attestation",
                     "expected canonical JSON (RFC 8785) and one newline: it was written by "
                     "another tool, or changed");
    return 0;
}

int evidence_envelope_parse(const char *text, size_t len, struct evidence_envelope *envelope,
                            struct sr_error *err)
{
    struct sr_json_scan scan;
    if (scan_envelope(text, len, &scan, err) < 0)
        return -1;
    const struct sr_json_member *payload = sr_json_find(&scan, "payload"),
                                *type = sr_json_find(&scan, "payloadType"),
                                *signatures = sr_json_find(&scan, "signatures");
    if (payload == NULL || type == NULL || signatures == NULL || scan.member_count != 3)
        return fault(err, "attestation",
                     "expected payload, payloadType, signatures, and nothing else");
    if (!sr_json_is(type->value, EVIDENCE_ENVELOPE_PAYLOAD_TYPE))
        return fault(err, "attestation.payloadType",
                     "expected \"" EVIDENCE_ENVELOPE_PAYLOAD_TYPE "\"");
    if (read_base64(payload->value, &envelope->payload, "attestation.payload", err) < 0 ||
        read_signatures(signatures->value, envelope, err) < 0)
        return -1;
    return 0;
}

void evidence_envelope_write(const struct evidence_envelope *envelope, struct sr_buf *out)
{
    sr_buf_puts(out, "{\"payload\":\"");
    sr_base64_encode(out, envelope->payload.data, envelope->payload.len);
    sr_buf_puts(out, "\",\"payloadType\":\"" EVIDENCE_ENVELOPE_PAYLOAD_TYPE "\",\"signatures\":[");
    for (size_t i = 0; i < envelope->count; i++) {
        const struct evidence_envelope_signature *signature = &envelope->signatures[i];
        sr_buf_puts(out, i > 0 ? ",{" : "{");
        if (signature->key_id.len > 0) {
            sr_buf_puts(out, "\"keyid\":");
            sr_buf_append(out, signature->key_id.data, signature->key_id.len);
            sr_buf_putc(out, ',');
        }
        sr_buf_puts(out, "\"sig\":\"");
        sr_base64_encode(out, signature->bytes.data, signature->bytes.len);
        sr_buf_puts(out, "\"}");
    }
    sr_buf_puts(out, "]}\n");
}

bool evidence_envelope_names(const struct evidence_envelope *envelope, size_t i,
                             const struct sr_key *key)
{
    const struct sr_buf *key_id = &envelope->signatures[i].key_id;
    return key_id->len == 0 ||
           sr_json_is((struct sr_json_slice){key_id->data, key_id->len}, evidence_key_id(key));
}

void evidence_envelope_encode(const struct evidence_envelope *envelope, struct sr_buf *out)
{
    sr_buf_printf(out, "DSSEv1 %zu %s %zu ", sizeof EVIDENCE_ENVELOPE_PAYLOAD_TYPE - 1,
                  EVIDENCE_ENVELOPE_PAYLOAD_TYPE, envelope->payload.len);
    sr_buf_append(out, envelope->payload.data, envelope->payload.len);
}

int evidence_envelope_sign(struct evidence_envelope *envelope, const struct sr_key *key,
                           struct sr_error *err)
{
    if (envelope->count == EVIDENCE_ENVELOPE_MAX_SIGNATURES)
        return sr_fail(err, SR_EVD_002, "attestation", "there are 16 signatures, no more fit");
    sr_cleanup_buf struct sr_buf encoded = SR_BUF_INIT;
    unsigned char bytes[EVIDENCE_KEY_SIGNATURE_SIZE];
    evidence_envelope_encode(envelope, &encoded);
    if (!sr_buf_ok(&encoded))
        return sr_fail(err, SR_EVD_002, "attestation", "out of memory");
    if (evidence_key_sign(key, encoded.data, encoded.len, bytes, err) < 0)
        return -1;
    struct evidence_envelope_signature *signature = &envelope->signatures[envelope->count++];
    sr_jcs_text(&signature->key_id, evidence_key_id(key));
    sr_buf_append(&signature->bytes, bytes, sizeof bytes);
    return sr_buf_ok(&signature->key_id) && sr_buf_ok(&signature->bytes)
               ? 0
               : sr_fail(err, SR_EVD_002, "attestation", "out of memory");
}
