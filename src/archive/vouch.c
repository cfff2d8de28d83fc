#include "archive/vouch.h"

#include "common/fs.h"
#include "evidence/attestation.h"
#include "evidence/envelope.h"
#include "evidence/event.h"
#include "saferun/report.h"

#include <stdio.h>
#include <string.h>

int vouch_is_signed_by(int files, const struct archive_manifest *manifest, const struct sr_key *key,
                       struct sr_error *err)
{
    if (archive_manifest_find(manifest, SR_ATTESTATION_FILE) == NULL)
        return 0;
    const struct sr_verify_options options = {
        .dirfd = &files,
        .events_path = archive_manifest_find(manifest, EVIDENCE_EVENTS_FILE) != NULL
                           ? EVIDENCE_EVENTS_FILE
                           : NULL,
        .attestation_path = SR_ATTESTATION_FILE,
        .key = key,
    };
    sr_cleanup_verification struct sr_verification found = {0};
    sr_cleanup_fd int report = sr_open_below(files, ARCHIVE_BUNDLE_REPORT);
    if (report < 0 || sr_report_verify_fd(report, &options, &found, err) < 0)
        return report < 0
                   ? sr_fail(err, SR_OPS_301, "archive.bundle", "its report: %s", strerror(-report))
                   : -1;
    for (size_t i = 0; i < found.check_count; i++)
        if (strcmp(found.checks[i].name, "signature") == 0)
            return found.checks[i].ok;
    return 0;
}

/* The id that a signature names; false when it names none that is one. */
static bool take_id(const struct evidence_envelope_signature *signature,
                    char id[EVIDENCE_KEY_ID_SIZE])
{
    const struct sr_buf *text = &signature->key_id;
    if (text->len != EVIDENCE_KEY_ID_SIZE - 1 + 2)
        return false;
    memcpy(id, text->data + 1, EVIDENCE_KEY_ID_SIZE - 1);
    id[EVIDENCE_KEY_ID_SIZE - 1] = '\0';
    if (strspn(id, "0123456789abcdef") == EVIDENCE_KEY_ID_SIZE - 1)
        return true;
    id[0] = '\0';
    return false;
}

static void set(char word[ARCHIVE_LOG_WORD], const char *text)
{
    snprintf(word, ARCHIVE_LOG_WORD, "%s", text);
}

/* Of an attestation that no key has verified: whom it claims, and whether one of these was asked in
 * vain. */
static void judge_claim(const struct evidence_envelope *envelope,
                        const struct sr_key *const keys[2], struct archive_log_entry *entry)
{
    char id[EVIDENCE_KEY_ID_SIZE];
    set(entry->signature, ARCHIVE_LOG_UNCHECKED);
    for (size_t i = 0; i < envelope->count; i++) {
        if (!take_id(&envelope->signatures[i], id))
            continue;
        bool asked = false;
        for (size_t k = 0; k < 2; k++)
            asked = asked || (keys[k] != NULL && strcmp(id, evidence_key_id(keys[k])) == 0);
        if (asked)
            set(entry->signature, ARCHIVE_LOG_BAD);
        if (asked || entry->signer[0] == '\0')
            memcpy(entry->signer, id, sizeof id);
    }
}

int vouch_judge(int files, const struct archive_manifest *manifest, const struct sr_key *host,
                const struct sr_key *required, struct archive_log_entry *entry,
                struct sr_error *err)
{
    static const char *const names[] = {ARCHIVE_LOG_SIGN_KEY, ARCHIVE_LOG_REQUIRED_KEY};
    const struct sr_key *const keys[] = {host, required};
    sr_cleanup_envelope struct evidence_envelope envelope = EVIDENCE_ENVELOPE_INIT;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    struct sr_error fault;
    entry->signer[0] = entry->checked_by[0] = '\0';
    set(entry->signature, ARCHIVE_LOG_UNSIGNED);
    if (archive_manifest_find(manifest, SR_ATTESTATION_FILE) == NULL)
        return 0;
    for (size_t i = 0; i < 2; i++) {
        int result = keys[i] != NULL ? vouch_is_signed_by(files, manifest, keys[i], err) : 0;
        if (result < 0)
            return -1;
        if (result == 0)
            continue;
        set(entry->signature, ARCHIVE_LOG_GOOD);
        set(entry->checked_by, names[i]);
        snprintf(entry->signer, sizeof entry->signer, "%s", evidence_key_id(keys[i]));
        return 0;
    }
    set(entry->signature, ARCHIVE_LOG_BAD);
    if (attestation_read(files, SR_ATTESTATION_FILE, &text, &fault) == 0 &&
        evidence_envelope_parse(text.data, text.len, &envelope, &fault) == 0)
        judge_claim(&envelope, keys, entry);
    return 0;
}

void archive_provenance(const struct archive_log_entry *entry,
                        struct sr_archive_provenance *provenance)
{
    *provenance = (struct sr_archive_provenance){.origin = ""};
    memcpy(provenance->origin, entry->origin, sizeof provenance->origin);
    memcpy(provenance->from, entry->from, sizeof provenance->from);
    memcpy(provenance->signature, entry->signature, sizeof provenance->signature);
    memcpy(provenance->signer, entry->signer, sizeof provenance->signer);
    memcpy(provenance->checked_by, entry->checked_by, sizeof provenance->checked_by);
}
