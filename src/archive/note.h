/*
 * Signed notes (C2SP signed-note), the checkpoints that are written in them (C2SP tlog-checkpoint),
 * and proofs of inclusion (C2SP tlog-proof). Texts that other tools of transparency logs read.
 *
 *   note        text, an empty line, and lines "\u2014 <name> <base64>" of 4 bytes that name the
 *               key and its signature (Ed25519) over the text
 *   checkpoint  a note whose text is origin, size and root hash of a log, a line each
 *   proof       index and path of a leaf, and a checkpoint; with us `extra` is the leaf itself
 *
 * A checkpoint's origin is the name of the key that signs it, which follows from the public key.
 * Nothing here does I/O. Errors are SR-EVD-303.
 */
#ifndef SR_ARCHIVE_NOTE_H
#define SR_ARCHIVE_NOTE_H

#include "archive/merkle.h"
#include "common/buf.h"
#include "evidence/key.h"

/* Size of a name, with its NUL. */
#define ARCHIVE_NOTE_NAME 64
/* Size of a note: one by safe-run has 250 bytes, the rest is room for signatures of witnesses. */
#define ARCHIVE_NOTE_MAX ((size_t)16 * 1024)
/* Size of a leaf, whose texts are bounded. */
#define ARCHIVE_LEAF_MAX ((size_t)4096)
/* Size of a proof: a leaf in base64, a path of 64 lines, a note. */
#define ARCHIVE_PROOF_MAX                                                                          \
    (ARCHIVE_NOTE_MAX + 2 * ARCHIVE_LEAF_MAX + (size_t)ARCHIVE_MERKLE_DEPTH * 48)

/* Appends text (UTF-8, ending with a newline) and the key's signature under this name. */
int archive_note_sign(const struct sr_key *key, const char *name, const char *text,
                      struct sr_buf *note, struct sr_error *err) SR_MUST_CHECK;

/* Checks that the note is well formed and that key has signed it under this name; *text_len is the
 * length of its text. Ignores signatures of others. path is for errors. */
int archive_note_open(const struct sr_key *key, const char *name, const char *note, size_t len,
                      const char *path, size_t *text_len, struct sr_error *err) SR_MUST_CHECK;

/* Appends the key as verifiers of notes take it: "<name>+<key hash>+<base64>". */
int archive_note_verifier(const struct sr_key *key, const char *name,
                          struct sr_buf *out) SR_MUST_CHECK;

struct archive_checkpoint {
    uint64_t size;
    struct archive_merkle_hash root;
};

/* Writes the origin of a log that this key signs: "archive.safe-run.dev/" and 16 digits of the
 * key's id. */
void archive_checkpoint_origin(const struct sr_key *key, char origin[ARCHIVE_NOTE_NAME]);

int archive_checkpoint_sign(const struct sr_key *key, const struct archive_checkpoint *checkpoint,
                            struct sr_buf *note, struct sr_error *err) SR_MUST_CHECK;
int archive_checkpoint_open(const struct sr_key *key, const char *note, size_t len,
                            const char *path, struct archive_checkpoint *checkpoint,
                            struct sr_error *err) SR_MUST_CHECK;

struct archive_proof {
    uint64_t index;
    struct archive_merkle_hash path[ARCHIVE_MERKLE_DEPTH];
    size_t count;
    const char *note; /* the checkpoint; of a parsed proof: in its text */
    size_t note_len;
};

/* Appends the proof's text. */
void archive_proof_write(const struct archive_proof *proof, const char *leaf, size_t leaf_len,
                         struct sr_buf *out);

/* Parses a proof's text and appends the leaf's bytes to leaf; archive_proof_check() checks it. */
int archive_proof_parse(const char *text, size_t len, struct archive_proof *proof,
                        struct sr_buf *leaf, struct sr_error *err) SR_MUST_CHECK;

/* Returns 0 when the path leads from the leaf to the root of a checkpoint that key has signed, else
 * -1 with err. */
int archive_proof_check(struct sr_hasher *hasher, const struct sr_key *key,
                        const struct archive_proof *proof, const char *leaf, size_t leaf_len,
                        struct archive_checkpoint *checkpoint, struct sr_error *err) SR_MUST_CHECK;

#endif
