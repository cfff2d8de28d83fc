/*
 * SHA-256 (FIPS 180-4) by libcrypto. One hasher is set up once and used for many digests, because
 * fetching the implementation costs more than hashing a small text. libcrypto's configuration file
 * is not read.
 */
#ifndef SR_COMMON_SHA256_H
#define SR_COMMON_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#define SR_SHA256_PREFIX "sha256:"
#define SR_SHA256_HEX 64
/* "sha256:" + 64 lower-case hex digits + NUL: how every hash is written. */
#define SR_SHA256_TEXT (sizeof SR_SHA256_PREFIX + SR_SHA256_HEX)

/* True for a hash that is written so. */
bool sr_is_sha256(const char *text);

struct sr_hasher; /* opaque */

/* Returns a hasher to be freed with sr_hasher_free(), or NULL when memory is out. */
struct sr_hasher *sr_hasher_new(void);
void sr_hasher_free(struct sr_hasher *hasher);

/* Starts, feeds and ends one digest; reset may be called at any time. A failure inside libcrypto
 * shows at the end: 0, or -1 with text untouched. */
void sr_hasher_reset(struct sr_hasher *hasher);
void sr_hasher_update(struct sr_hasher *hasher, const void *data, size_t len);
int sr_hasher_final(struct sr_hasher *hasher, char text[SR_SHA256_TEXT])
    __attribute__((warn_unused_result));
/* The same as bytes. */
int sr_hasher_final_bytes(struct sr_hasher *hasher, unsigned char digest[SR_SHA256_HEX / 2])
    __attribute__((warn_unused_result));

/* All of the three at once. */
int sr_sha256(struct sr_hasher *hasher, const void *data, size_t len, char text[SR_SHA256_TEXT])
    __attribute__((warn_unused_result));

/* Hashes what is behind fd from its start (regular file); the file position is not used.
 * Returns 0, or a negative errno. */
int sr_sha256_fd(struct sr_hasher *hasher, int fd, char text[SR_SHA256_TEXT])
    __attribute__((warn_unused_result));

#define SR_HMAC_PREFIX "hmac-sha256:"
#define SR_HMAC_TEXT (sizeof SR_HMAC_PREFIX + SR_SHA256_HEX)

/* HMAC-SHA-256 (RFC 2104) of pieces, one behind the other, as a text like a hash's. -1 when memory
 * is out, with text untouched. */
int sr_hmac_sha256(const void *key, size_t key_len, const struct iovec *pieces, size_t count,
                   char text[SR_HMAC_TEXT]) __attribute__((warn_unused_result));
/* True for one that is written so. */
bool sr_is_hmac_sha256(const char *text);

/* Lower-case hex digits of len bytes, and NUL. */
void sr_hex(const unsigned char *bytes, size_t len, char *text);

static inline void sr_hasher_free_ptr(struct sr_hasher **hasher)
{
    sr_hasher_free(*hasher);
}
#define sr_cleanup_hasher __attribute__((cleanup(sr_hasher_free_ptr)))

#endif
