/*
 * Theory of operation. A report is verified with what lies beside it, and the statement is made of
 * what that verification read, not of a second reading: what is signed is what was found good. It
 * takes the place of an older attestation in one step, or there is none.
 */
#include "evidence/attest.h"

#include "common/failpoint.h"
#include "common/fs.h"
#include "evidence/attestation.h"
#include "evidence/event.h"
#include "evidence/statement.h"
#include "evidence/verify.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* Takes over the signatures of an attestation that is there, if it is of the same statement. */
static int take_existing(int dirfd, struct evidence_envelope *envelope, struct sr_error *err)
{
    sr_cleanup_envelope struct evidence_envelope existing = EVIDENCE_ENVELOPE_INIT;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    if (faccessat(dirfd, SR_ATTESTATION_FILE, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
        return 0;
    if (attestation_read(dirfd, SR_ATTESTATION_FILE, &text, err) < 0 ||
        evidence_envelope_parse(text.data, text.len, &existing, err) < 0)
        return sr_wrap(err, SR_ATTESTATION_FILE " is there already, and no signature can be added");
    if (existing.payload.len != envelope->payload.len ||
        memcmp(existing.payload.data, envelope->payload.data, existing.payload.len) != 0)
        return sr_fail(err, SR_EVD_304, "attestation",
                       SR_ATTESTATION_FILE " is there already, and attests something else");
    struct evidence_envelope swap = *envelope;
    *envelope = existing;
    existing = swap;
    return 0;
}

/* Adds key's signature, unless it is there. */
static int sign(struct evidence_envelope *envelope, const struct sr_key *key, struct sr_error *err)
{
    sr_cleanup_buf struct sr_buf encoded = SR_BUF_INIT;
    evidence_envelope_encode(envelope, &encoded);
    if (!sr_buf_ok(&encoded))
        return sr_fail(err, SR_EVD_002, "attestation", "cannot be built: out of memory");
    for (size_t i = 0; i < envelope->count; i++) {
        const struct sr_buf *bytes = &envelope->signatures[i].bytes;
        if (envelope->signatures[i].key_id.len == 0 || !evidence_envelope_names(envelope, i, key))
            continue;
        if (evidence_key_verify(key, encoded.data, encoded.len, (const unsigned char *)bytes->data,
                                bytes->len))
            return 0;
        return sr_fail(err, SR_EVD_304, "attestation",
                       "signature %zu says it is by this key, and is not", i);
    }
    return evidence_envelope_sign(envelope, key, err);
}

struct attesting {
    int dirfd;
    const struct sr_key *key;
};

/* The report is valid. */
static int attest(void *context, const struct verify *v, struct sr_error *err)
{
    const struct attesting *to = context;
    sr_cleanup_envelope struct evidence_envelope envelope = EVIDENCE_ENVELOPE_INIT;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    statement_write(v, &envelope.payload);
    if (!sr_buf_ok(&envelope.payload))
        return sr_fail(err, SR_EVD_002, "attestation", "cannot be built: out of memory");
    if (take_existing(to->dirfd, &envelope, err) < 0 || sign(&envelope, to->key, err) < 0)
        return -1;
    evidence_envelope_write(&envelope, &text);
    if (!sr_buf_ok(&text))
        return sr_fail(err, SR_EVD_002, "attestation", "cannot be built: out of memory");
    int result = SR_FAILPOINT("evidence.attestation")
                     ? -errno
                     : sr_replace_file_durably(to->dirfd, SR_ATTESTATION_FILE, text.data, text.len);
    return result == 0 ? 0
                       : sr_fail(err, SR_EVD_002, "attestation",
                                 SR_ATTESTATION_FILE " cannot be written: %s", strerror(-result));
}

int evidence_attest(int dirfd, const char *name, const struct sr_key *key, struct sr_error *err)
{
    sr_cleanup_fd int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return sr_fail(err, SR_EVD_002, "report", "cannot be opened: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return sr_fail(err, SR_EVD_002, "report", "is not a regular file");
    bool has_events = faccessat(dirfd, EVIDENCE_EVENTS_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    const struct sr_verify_options material = {
        .dirfd = &dirfd,
        .events_path = has_events ? EVIDENCE_EVENTS_FILE : NULL,
        .artifacts_dir = ".",
        .files_may_lack = true,
    };
    struct attesting to = {dirfd, key};
    sr_cleanup_verification struct sr_verification found = {0};
    if (verify_report(fd, &material, &found, attest, &to, err) < 0)
        return -1;
    if (found.valid)
        return 0;
    if (found.error_count == 0)
        return sr_fail(err, SR_EVD_302, "report", "does not verify, so it is not signed");
    if (err != NULL)
        *err = found.errors[0];
    return sr_wrap(err, "does not verify, so it is not signed");
}

int sr_report_attest(int dirfd, const char *name, const char *key_path, char key_id[65],
                     struct sr_error *err)
{
    sr_cleanup_key struct sr_key *key = NULL;
    if (evidence_key_load_private(key_path, &key, err) < 0 ||
        evidence_attest(dirfd, name, key, err) < 0)
        return -1;
    memcpy(key_id, evidence_key_id(key), EVIDENCE_KEY_ID_SIZE);
    return 0;
}
