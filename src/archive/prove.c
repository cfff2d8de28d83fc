/* Proofs that a bundle is in the log. */
#include "archive/store.h"

#include "archive/vouch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The leaves up to the checkpoint, and the entry that is sought. */
struct leaves {
    struct sr_archive *archive;
    const char *bundle;
    struct archive_merkle_hash *hashes;
    uint64_t count, found;
    bool has_found;
    struct sr_buf line;
};

static int take_line(void *context, const char *line, size_t len, uint64_t end,
                     struct sr_error *err)
{
    struct leaves *leaves = context;
    struct sr_archive *archive = leaves->archive;
    struct archive_log_entry entry;
    (void)end;
    if (leaves->count == archive->log.checkpoint.size)
        return 1;
    if (archive_merkle_leaf(archive->hasher, line, len, &leaves->hashes[leaves->count]) < 0)
        return archive_fail(err, "log", ENOMEM, "cannot be hashed");
    if (archive_log_entry_parse(line, len, &entry) && strcmp(entry.bundle, leaves->bundle) == 0 &&
        !entry.pruned) {
        leaves->has_found = true;
        leaves->found = leaves->count;
        leaves->line.len = 0;
        sr_buf_append(&leaves->line, line, len);
    }
    leaves->count++;
    return 0;
}

static void describe(const struct sr_key *key, const struct archive_log_entry *entry,
                     uint64_t index, uint64_t size, struct sr_archive_proof *proof)
{
    *proof = (struct sr_archive_proof){.index = index, .size = size};
    memcpy(proof->bundle, entry->bundle, sizeof proof->bundle);
    memcpy(proof->run_id, entry->run_id, sizeof proof->run_id);
    memcpy(proof->stored, entry->time, sizeof entry->time);
    memcpy(proof->original, entry->original, sizeof proof->original);
    memcpy(proof->report, entry->report, sizeof proof->report);
    archive_provenance(entry, &proof->provenance);
    archive_checkpoint_origin(key, proof->origin);
    sr_cleanup_buf struct sr_buf verifier = SR_BUF_INIT;
    if (archive_note_verifier(key, proof->origin, &verifier) == 0)
        snprintf(proof->verifier, sizeof proof->verifier, "%s", verifier.data);
}

static int make_proof(struct leaves *leaves, struct sr_archive_proof *proof, struct sr_error *err)
{
    struct sr_archive *archive = leaves->archive;
    const struct archive_checkpoint *checkpoint = &archive->log.checkpoint;
    struct archive_proof found = {.index = leaves->found};
    struct archive_log_entry entry;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    char note[ARCHIVE_NOTE_MAX + 2];
    struct archive_checkpoint now;
    /* The signed text itself: a reader has no key to sign it again. */
    ssize_t len = archive_log_read_checkpoint(&archive->log, note, sizeof note, &now);
    if (len < 0 || now.size != checkpoint->size || leaves->count != checkpoint->size)
        return archive_fail(err, "checkpoint", 0, "it changed meanwhile; try again");
    if (!archive_log_entry_parse(leaves->line.data, leaves->line.len, &entry) ||
        archive_merkle_prove(archive->hasher, leaves->hashes, checkpoint->size, leaves->found,
                             found.path, &found.count) < 0)
        return archive_fail(err, "log", ENOMEM, "no proof can be made");
    found.note = note;
    found.note_len = (size_t)len;
    archive_proof_write(&found, leaves->line.data, leaves->line.len, &text);
    describe(archive->key, &entry, leaves->found, checkpoint->size, proof);
    proof->text = sr_buf_take(&text);
    return proof->text != NULL ? 0 : archive_fail(err, "log", ENOMEM, "no proof can be made");
}

int sr_archive_prove(struct sr_archive *archive, const char *bundle, struct sr_archive_proof *proof,
                     struct sr_error *err)
{
    struct leaves leaves = {.archive = archive, .bundle = bundle};
    leaves.hashes = calloc(archive->log.checkpoint.size + 1, sizeof *leaves.hashes);
    int result = leaves.hashes == NULL
                     ? archive_fail(err, "log", ENOMEM, "cannot be held")
                     : archive_log_each(archive->log.fd, 0, take_line, &leaves, err);
    if (result >= 0)
        result = leaves.has_found ? make_proof(&leaves, proof, err)
                                  : archive_fail(err, "bundle", 0,
                                                 "%s was never stored in this archive", bundle);
    free(leaves.hashes);
    sr_buf_free(&leaves.line);
    return result;
}

int sr_archive_check_proof(const char *text, size_t len, const char *public_key,
                           struct sr_archive_proof *proof, struct sr_error *err)
{
    struct archive_proof found;
    struct archive_checkpoint checkpoint;
    struct archive_log_entry entry;
    sr_cleanup_key struct sr_key *key = NULL;
    sr_cleanup_hasher struct sr_hasher *hasher = sr_hasher_new();
    sr_cleanup_buf struct sr_buf leaf = SR_BUF_INIT;
    if (hasher == NULL)
        return sr_fail(err, SR_EVD_303, "proof", "out of memory");
    if (evidence_key_load_public(public_key, &key, err) < 0 ||
        archive_proof_parse(text, len, &found, &leaf, err) < 0 ||
        archive_proof_check(hasher, key, &found, leaf.data, leaf.len, &checkpoint, err) < 0)
        return -1;
    if (!archive_log_entry_parse(leaf.data, leaf.len, &entry) || entry.pruned)
        return sr_fail(err, SR_EVD_303, "proof.leaf", "is no entry that stores a bundle");
    describe(key, &entry, found.index, checkpoint.size, proof);
    return 0;
}
