#include "archive/note.h"

#include "common/base64.h"
#include "common/jcs.h"

#include <stdio.h>
#include <string.h>

#define EM_DASH "\xe2\x80\x94 "
#define PROOF_HEAD "c2sp.org/tlog-proof@v1\n"
#define ORIGIN_PREFIX "archive.safe-run.dev/"

enum {
    ALGORITHM_ED25519 = 1,
    KEY_HASH = 4,
    SIGNATURE = KEY_HASH + EVIDENCE_KEY_SIGNATURE_SIZE,
    MAX_SIGNATURES = 100, /* of a note, as other verifiers have it */
};

static bool take_hash(const char *text, size_t len, struct archive_merkle_hash *hash)
{
    sr_cleanup_buf struct sr_buf bytes = SR_BUF_INIT;
    if (sr_base64_decode(&bytes, text, len) < 0 || bytes.len != ARCHIVE_MERKLE_HASH)
        return false;
    memcpy(hash->bytes, bytes.data, ARCHIVE_MERKLE_HASH);
    return true;
}

/* ---- lines ---- */

struct line {
    const char *text;
    size_t len; /* without the newline */
};

/* The line at *at, which moves behind its newline; false when there is no newline. */
static bool take_line(const char **at, const char *end, struct line *line)
{
    const char *newline = memchr(*at, '\n', (size_t)(end - *at));
    if (newline == NULL)
        return false;
    *line = (struct line){*at, (size_t)(newline - *at)};
    *at = newline + 1;
    return true;
}

static bool take_prefix(struct line *line, const char *prefix)
{
    size_t len = strlen(prefix);
    if (line->len < len || memcmp(line->text, prefix, len) != 0)
        return false;
    line->text += len;
    line->len -= len;
    return true;
}

static bool line_is(const struct line *line, const char *text)
{
    return line->len == strlen(text) && memcmp(line->text, text, line->len) == 0;
}

/* A decimal number without needless zeros. */
static bool take_number(const struct line *line, uint64_t *number)
{
    uint64_t value = 0;
    if (line->len == 0 || (line->len > 1 && line->text[0] == '0'))
        return false;
    for (size_t i = 0; i < line->len; i++) {
        unsigned digit = (unsigned char)line->text[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(value, 10U, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *number = value;
    return true;
}

/* ---- notes ---- */

static int no_memory(struct sr_error *err)
{
    return sr_fail(err, SR_EVD_303, "checkpoint", "out of memory");
}

/* The first bytes of SHA-256(name \n algorithm public-key). */
static int key_hash(const struct sr_key *key, const char *name, unsigned char hash[KEY_HASH])
{
    struct archive_merkle_hash digest;
    sr_cleanup_hasher struct sr_hasher *hasher = sr_hasher_new();
    if (hasher == NULL)
        return -1;
    sr_hasher_reset(hasher);
    sr_hasher_update(hasher, name, strlen(name));
    sr_hasher_update(hasher, (const char[]){'\n', ALGORITHM_ED25519}, 2);
    sr_hasher_update(hasher, evidence_key_public(key), EVIDENCE_KEY_PUBLIC_SIZE);
    if (sr_hasher_final_bytes(hasher, digest.bytes) < 0)
        return -1;
    memcpy(hash, digest.bytes, KEY_HASH);
    return 0;
}

int archive_note_verifier(const struct sr_key *key, const char *name, struct sr_buf *out)
{
    unsigned char hash[KEY_HASH], data[1 + EVIDENCE_KEY_PUBLIC_SIZE] = {ALGORITHM_ED25519};
    if (key_hash(key, name, hash) < 0)
        return -1;
    memcpy(data + 1, evidence_key_public(key), EVIDENCE_KEY_PUBLIC_SIZE);
    sr_buf_printf(out, "%s+%02x%02x%02x%02x+", name, hash[0], hash[1], hash[2], hash[3]);
    sr_base64_encode(out, data, sizeof data);
    return sr_buf_ok(out) ? 0 : -1;
}

int archive_note_sign(const struct sr_key *key, const char *name, const char *text,
                      struct sr_buf *note, struct sr_error *err)
{
    unsigned char signature[SIGNATURE];
    if (key_hash(key, name, signature) < 0)
        return no_memory(err);
    if (evidence_key_sign(key, text, strlen(text), signature + KEY_HASH, err) < 0)
        return -1;
    sr_buf_printf(note, "%s\n" EM_DASH "%s ", text, name);
    sr_base64_encode(note, signature, sizeof signature);
    sr_buf_putc(note, '\n');
    return sr_buf_ok(note) ? 0 : no_memory(err);
}

/* Takes a signature line apart: name, and key hash with signature. */
static bool take_signature(struct line line, struct line *name, struct sr_buf *bytes)
{
    if (!take_prefix(&line, EM_DASH))
        return false;
    const char *space = memchr(line.text, ' ', line.len);
    if (space == NULL)
        return false;
    *name = (struct line){line.text, (size_t)(space - line.text)};
    bytes->len = 0;
    return name->len > 0 && memchr(name->text, '+', name->len) == NULL &&
           sr_base64_decode(bytes, space + 1, line.len - name->len - 1) == 0 &&
           bytes->len > KEY_HASH;
}

/* Only printable UTF-8 and newlines, and between text and signatures the last empty line. */
static const char *find_signatures(const char *note, size_t len)
{
    const char *signatures = NULL;
    sr_cleanup_buf struct sr_buf copy = SR_BUF_INIT;
    if (len == 0 || len > ARCHIVE_NOTE_MAX || note[len - 1] != '\n')
        return NULL;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)note[i];
        if (c != '\n' && (c < 0x20 || c == 0x7f))
            return NULL;
        if (i > 0 && c == '\n' && note[i - 1] == '\n')
            signatures = note + i + 1;
    }
    sr_buf_append(&copy, note, len);
    return sr_buf_ok(&copy) && sr_is_utf8(copy.data) ? signatures : NULL;
}

int archive_note_open(const struct sr_key *key, const char *name, const char *note, size_t len,
                      const char *path, size_t *text_len, struct sr_error *err)
{
    static const char malformed[] = "is no signed note";
    unsigned char hash[KEY_HASH];
    sr_cleanup_buf struct sr_buf bytes = SR_BUF_INIT;
    const char *at = find_signatures(note, len), *end = note + len;
    if (at == NULL || at == end)
        return sr_fail(err, SR_EVD_303, path, malformed);
    size_t covered = (size_t)(at - note) - 1;
    if (key_hash(key, name, hash) < 0)
        return no_memory(err);
    bool signed_by_key = false;
    struct line line, signer;
    for (unsigned count = 0; at < end; count++) {
        if (count == MAX_SIGNATURES || !take_line(&at, end, &line) ||
            !take_signature(line, &signer, &bytes))
            return sr_fail(err, SR_EVD_303, path, malformed);
        if (!line_is(&signer, name) || memcmp(bytes.data, hash, KEY_HASH) != 0)
            continue;
        if (signed_by_key || bytes.len != SIGNATURE ||
            !evidence_key_verify(key, note, covered, (unsigned char *)bytes.data + KEY_HASH,
                                 EVIDENCE_KEY_SIGNATURE_SIZE))
            return sr_fail(err, SR_EVD_303, path,
                           "the signature is wrong: it was changed after it was signed");
        signed_by_key = true;
    }
    if (!signed_by_key)
        return sr_fail(err, SR_EVD_303, path, "is not signed by %s: another key signed it, or none",
                       name);
    *text_len = covered;
    return 0;
}

/* ---- checkpoints ---- */

void archive_checkpoint_origin(const struct sr_key *key, char origin[ARCHIVE_NOTE_NAME])
{
    snprintf(origin, ARCHIVE_NOTE_NAME, ORIGIN_PREFIX "%.16s", evidence_key_id(key));
}

int archive_checkpoint_sign(const struct sr_key *key, const struct archive_checkpoint *checkpoint,
                            struct sr_buf *note, struct sr_error *err)
{
    char origin[ARCHIVE_NOTE_NAME];
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    archive_checkpoint_origin(key, origin);
    sr_buf_printf(&text, "%s\n%llu\n", origin, (unsigned long long)checkpoint->size);
    sr_base64_encode(&text, checkpoint->root.bytes, ARCHIVE_MERKLE_HASH);
    sr_buf_putc(&text, '\n');
    return sr_buf_ok(&text) ? archive_note_sign(key, origin, text.data, note, err) : no_memory(err);
}

int archive_checkpoint_open(const struct sr_key *key, const char *note, size_t len,
                            const char *path, struct archive_checkpoint *checkpoint,
                            struct sr_error *err)
{
    char origin[ARCHIVE_NOTE_NAME];
    size_t text_len = 0;
    struct line line = {NULL, 0};
    struct archive_checkpoint found;
    archive_checkpoint_origin(key, origin);
    if (archive_note_open(key, origin, note, len, path, &text_len, err) < 0)
        return -1;
    const char *at = note, *end = note + text_len;
    if (!take_line(&at, end, &line) || !line_is(&line, origin) || !take_line(&at, end, &line) ||
        !take_number(&line, &found.size) || !take_line(&at, end, &line) ||
        !take_hash(line.text, line.len, &found.root))
        return sr_fail(err, SR_EVD_303, path, "is signed, but is no checkpoint of %s", origin);
    *checkpoint = found;
    return 0;
}

/* ---- proofs ---- */

void archive_proof_write(const struct archive_proof *proof, const char *leaf, size_t leaf_len,
                         struct sr_buf *out)
{
    sr_buf_puts(out, PROOF_HEAD "extra ");
    sr_base64_encode(out, leaf, leaf_len);
    sr_buf_printf(out, "\nindex %llu\n", (unsigned long long)proof->index);
    for (size_t i = 0; i < proof->count; i++) {
        sr_base64_encode(out, proof->path[i].bytes, ARCHIVE_MERKLE_HASH);
        sr_buf_putc(out, '\n');
    }
    sr_buf_putc(out, '\n');
    sr_buf_append(out, proof->note, proof->note_len);
}

int archive_proof_parse(const char *text, size_t len, struct archive_proof *proof,
                        struct sr_buf *leaf, struct sr_error *err)
{
    static const char malformed[] = "is no proof of inclusion that 'archive prove' writes";
    const char *at = text, *end = text + len;
    struct line line = {NULL, 0};
    struct archive_proof found = {0};
    if (len > ARCHIVE_PROOF_MAX || len < sizeof PROOF_HEAD - 1 ||
        memcmp(text, PROOF_HEAD, sizeof PROOF_HEAD - 1) != 0)
        return sr_fail(err, SR_EVD_303, "proof", malformed);
    at += sizeof PROOF_HEAD - 1;
    if (!take_line(&at, end, &line) || !take_prefix(&line, "extra ") ||
        sr_base64_decode(leaf, line.text, line.len) < 0 || leaf->len == 0 ||
        leaf->len > ARCHIVE_LEAF_MAX || !take_line(&at, end, &line) ||
        !take_prefix(&line, "index ") || !take_number(&line, &found.index))
        return sr_fail(err, SR_EVD_303, "proof", malformed);
    for (;;) {
        if (!take_line(&at, end, &line))
            return sr_fail(err, SR_EVD_303, "proof", malformed);
        if (line.len == 0)
            break;
        if (found.count == ARCHIVE_MERKLE_DEPTH ||
            !take_hash(line.text, line.len, &found.path[found.count]))
            return sr_fail(err, SR_EVD_303, "proof", malformed);
        found.count++;
    }
    found.note = at;
    found.note_len = (size_t)(end - at);
    *proof = found;
    return 0;
}

int archive_proof_check(struct sr_hasher *hasher, const struct sr_key *key,
                        const struct archive_proof *proof, const char *leaf, size_t leaf_len,
                        struct archive_checkpoint *checkpoint, struct sr_error *err)
{
    struct archive_checkpoint found = {0};
    struct archive_merkle_hash hash;
    if (archive_checkpoint_open(key, proof->note, proof->note_len, "proof.checkpoint", &found,
                                err) < 0)
        return -1;
    if (archive_merkle_leaf(hasher, leaf, leaf_len, &hash) < 0)
        return no_memory(err);
    if (!archive_merkle_includes(hasher, &hash, proof->index, found.size, proof->path, proof->count,
                                 &found.root))
        return sr_fail(err, SR_EVD_303, "proof.path",
                       "does not lead from the entry to the root that was signed");
    *checkpoint = found;
    return 0;
}
