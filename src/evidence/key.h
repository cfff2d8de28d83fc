/*
 * Keys that sign evidence: Ed25519 (RFC 8032) and nothing else.
 *
 *   evidence_key_generate()                            once: safe-run key generate
 *   evidence_key_load_private() -> evidence_key_sign()       to make evidence
 *   evidence_key_load_public()  -> evidence_key_verify()     to check it
 *
 * On disk a private key is PKCS#8 (RFC 8410) and a public key SubjectPublicKeyInfo, both PEM, as
 * OpenSSL and other tools read and write them. A private key with a passphrase is refused: nobody
 * can be asked for it when a run ends.
 *
 * In memory the private half lies in a page of its own that no core dump and no forked child has (a
 * child's copy is zeros, and evidence_key_sign() fails there), because the process that holds it
 * also starts others that read what strangers send.
 *
 * Errors are SR-EVD-003 at `key`.
 */
#ifndef SR_EVIDENCE_KEY_H
#define SR_EVIDENCE_KEY_H

#include "common/cleanup.h"
#include "saferun/error.h"

#include <stdbool.h>
#include <stddef.h>

#define EVIDENCE_KEY_PUBLIC_SIZE 32
#define EVIDENCE_KEY_SIGNATURE_SIZE 64
/* A key's id: the hex SHA-256 of its public half's DER, and NUL. */
#define EVIDENCE_KEY_ID_SIZE 65
/* Size of a PEM file. A key takes 120 bytes; the rest is room for text around it. */
#define EVIDENCE_KEY_MAX_FILE 16384

struct sr_key;

/*
 * Makes a key: the private half in path (0600), the public one in path.pub (0644, less the umask),
 * both durable. Neither may exist; on failure neither does. Returns the key to be freed.
 */
int evidence_key_generate(const char *path, struct sr_key **key,
                          struct sr_error *err) SR_MUST_CHECK;

/* Loads a key from a regular file; of a private one, group and others have no permissions. The
 * caller frees *key. */
int evidence_key_load_private(const char *path, struct sr_key **key,
                              struct sr_error *err) SR_MUST_CHECK;
int evidence_key_load_public(const char *path, struct sr_key **key,
                             struct sr_error *err) SR_MUST_CHECK;

/* Loads a key from text in PEM. The caller frees *key. */
int evidence_key_parse(const char *text, size_t len, bool is_private, struct sr_key **key,
                       struct sr_error *err) SR_MUST_CHECK;

void evidence_key_free(struct sr_key *key);

/* Returns the hex SHA-256 of the public half's DER (SubjectPublicKeyInfo), as `openssl pkey -pubin
 * -in K.pub -outform DER | sha256sum` prints it. It lives as long as the key. */
const char *evidence_key_id(const struct sr_key *key);

/* Returns the 32 bytes of the public half, which live as long as the key. */
const unsigned char *evidence_key_public(const struct sr_key *key);

/* Signs data. Fails with a public key, and in a child of the process that loaded the key. */
int evidence_key_sign(const struct sr_key *key, const void *data, size_t len,
                      unsigned char signature[EVIDENCE_KEY_SIGNATURE_SIZE],
                      struct sr_error *err) SR_MUST_CHECK;

/* True when signature is this key's over data. A failure inside libcrypto is false, too. */
bool evidence_key_verify(const struct sr_key *key, const void *data, size_t len,
                         const unsigned char *signature, size_t signature_len) SR_MUST_CHECK;

static inline void evidence_key_free_ptr(struct sr_key **key)
{
    evidence_key_free(*key);
}
#define sr_cleanup_key __attribute__((cleanup(evidence_key_free_ptr)))

#endif
