/*
 * What an archive reads of others: notes and checkpoints, proofs, entries of the log, manifests and
 * tar headers. What is taken must come out again as it went in: there is one spelling of each.
 */
#include "archive/bundle.h"
#include "archive/log.h"
#include "archive/note.h"
#include "archive/tar.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
                          "MC4CAQAwBQYDK2VwBCIEIIEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz\n"
                          "-----END PRIVATE KEY-----\n";

static void must(int ok)
{
    if (!ok)
        abort();
}

static void try_note(struct sr_hasher *hasher, const struct sr_key *key, const char *text,
                     size_t size)
{
    struct archive_checkpoint checkpoint;
    struct archive_proof proof;
    struct sr_error err;
    size_t text_len;
    sr_cleanup_buf struct sr_buf leaf = SR_BUF_INIT, again = SR_BUF_INIT;
    if (archive_note_open(key, "PeterNeumann", text, size, "note", &text_len, &err) == 0)
        must(text_len < size);
    (void)!archive_checkpoint_open(key, text, size, "checkpoint", &checkpoint, &err);
    if (archive_proof_parse(text, size, &proof, &leaf, &err) < 0)
        return;
    archive_proof_write(&proof, leaf.data, leaf.len, &again);
    must(sr_buf_ok(&again) && again.len == size && memcmp(again.data, text, size) == 0);
    if (archive_proof_check(hasher, key, &proof, leaf.data, leaf.len, &checkpoint, &err) == 0)
        must(proof.index < checkpoint.size);
}

static void try_entry(const char *text, size_t size)
{
    struct archive_log_entry entry;
    sr_cleanup_buf struct sr_buf again = SR_BUF_INIT;
    if (!archive_log_entry_parse(text, size, &entry))
        return;
    must(archive_log_expiry(&entry) > 0);
    archive_log_entry_write(&entry, &again);
    must(sr_buf_ok(&again) && again.len == size && memcmp(again.data, text, size) == 0);
}

static void try_manifest(struct sr_hasher *hasher, const char *text, size_t size)
{
    static struct archive_manifest manifest;
    sr_cleanup_buf struct sr_buf again = SR_BUF_INIT;
    if (!archive_manifest_parse(text, size, hasher, &manifest))
        return;
    for (size_t i = 0; i < manifest.count; i++)
        must(archive_manifest_is_name(manifest.files[i].name) &&
             archive_manifest_find(&manifest, manifest.files[i].name) == &manifest.files[i]);
    archive_manifest_write(&manifest, &again);
    must(sr_buf_ok(&again) && again.len == size && memcmp(again.data, text, size) == 0);
}

static void try_header(const uint8_t *data, size_t size)
{
    struct archive_tar_entry entry;
    unsigned char again[ARCHIVE_TAR_BLOCK];
    if (size < ARCHIVE_TAR_BLOCK || !archive_tar_parse(data, &entry))
        return;
    must(strlen(entry.name) < ARCHIVE_TAR_NAME && strlen(entry.prefix) < ARCHIVE_TAR_PREFIX);
    archive_tar_header(&entry, again);
    must(memcmp(data, again, ARCHIVE_TAR_BLOCK) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sr_key *key;
    static struct sr_hasher *hasher;
    struct sr_error err;
    if (key == NULL) {
        hasher = sr_hasher_new();
        must(hasher != NULL && evidence_key_parse(pem, sizeof pem - 1, true, &key, &err) == 0);
    }
    try_note(hasher, key, (const char *)data, size);
    try_entry((const char *)data, size);
    try_manifest(hasher, (const char *)data, size);
    try_header(data, size);
    return 0;
}
