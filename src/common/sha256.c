#include "common/sha256.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sr_hasher {
    EVP_MD *md;
    EVP_MD_CTX *ctx;
    bool ok; /* no step of the current digest failed */
};

static bool is_digest(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);
    return strncmp(text, prefix, len) == 0 && strlen(text) == len + SR_SHA256_HEX &&
           strspn(text + len, "0123456789abcdef") == SR_SHA256_HEX;
}

bool sr_is_sha256(const char *text)
{
    return is_digest(text, SR_SHA256_PREFIX);
}

bool sr_is_hmac_sha256(const char *text)
{
    return is_digest(text, SR_HMAC_PREFIX);
}

void sr_hex(const unsigned char *bytes, size_t len, char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        *text++ = digits[bytes[i] >> 4];
        *text++ = digits[bytes[i] & 15];
    }
    *text = '\0';
}

struct sr_hasher *sr_hasher_new(void)
{
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    struct sr_hasher *hasher = calloc(1, sizeof *hasher);
    if (hasher == NULL)
        return NULL;
    hasher->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    hasher->ctx = EVP_MD_CTX_new();
    if (hasher->md == NULL || hasher->ctx == NULL) {
        sr_hasher_free(hasher);
        return NULL;
    }
    return hasher;
}

void sr_hasher_free(struct sr_hasher *hasher)
{
    if (hasher == NULL)
        return;
    EVP_MD_CTX_free(hasher->ctx);
    EVP_MD_free(hasher->md);
    free(hasher);
}

void sr_hasher_reset(struct sr_hasher *hasher)
{
    hasher->ok = EVP_DigestInit_ex2(hasher->ctx, hasher->md, NULL) == 1;
}

void sr_hasher_update(struct sr_hasher *hasher, const void *data, size_t len)
{
    hasher->ok = hasher->ok && EVP_DigestUpdate(hasher->ctx, data, len) == 1;
}

int sr_hasher_final_bytes(struct sr_hasher *hasher, unsigned char digest[SR_SHA256_HEX / 2])
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (!hasher->ok || EVP_DigestFinal_ex(hasher->ctx, bytes, &len) != 1 ||
        len != SR_SHA256_HEX / 2)
        return -1;
    memcpy(digest, bytes, len);
    return 0;
}

int sr_hasher_final(struct sr_hasher *hasher, char text[SR_SHA256_TEXT])
{
    unsigned char digest[SR_SHA256_HEX / 2];
    if (sr_hasher_final_bytes(hasher, digest) < 0)
        return -1;
    memcpy(text, SR_SHA256_PREFIX, sizeof SR_SHA256_PREFIX - 1);
    sr_hex(digest, sizeof digest, text + sizeof SR_SHA256_PREFIX - 1);
    return 0;
}

int sr_sha256(struct sr_hasher *hasher, const void *data, size_t len, char text[SR_SHA256_TEXT])
{
    sr_hasher_reset(hasher);
    sr_hasher_update(hasher, data, len);
    return sr_hasher_final(hasher, text);
}

int sr_sha256_fd(struct sr_hasher *hasher, int fd, char text[SR_SHA256_TEXT])
{
    enum { CHUNK = 128 * 1024 };
    unsigned char *chunk = malloc(CHUNK);
    if (chunk == NULL)
        return -ENOMEM;
    int result = 0;
    off_t at = 0;
    sr_hasher_reset(hasher);
    for (;;) {
        ssize_t got = pread(fd, chunk, CHUNK, at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            result = -errno;
        if (got <= 0)
            break;
        sr_hasher_update(hasher, chunk, (size_t)got);
        at += got;
    }
    free(chunk);
    if (result == 0 && sr_hasher_final(hasher, text) < 0)
        result = -EIO;
    return result;
}

int sr_hmac_sha256(const void *key, size_t key_len, const struct iovec *pieces, size_t count,
                   char text[SR_HMAC_TEXT])
{
    static char digest_name[] = "SHA256";
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", digest_name, 0),
                                 OSSL_PARAM_construct_end()};
    unsigned char digest[SR_SHA256_HEX / 2];
    size_t len = 0;
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = mac != NULL ? EVP_MAC_CTX_new(mac) : NULL;
    bool good = ctx != NULL && EVP_MAC_init(ctx, key, key_len, params) == 1;
    for (size_t i = 0; good && i < count; i++)
        good = EVP_MAC_update(ctx, pieces[i].iov_base, pieces[i].iov_len) == 1;
    good = good && EVP_MAC_final(ctx, digest, &len, sizeof digest) == 1 && len == sizeof digest;
    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(mac);
    if (!good)
        return -1;
    memcpy(text, SR_HMAC_PREFIX, sizeof SR_HMAC_PREFIX - 1);
    sr_hex(digest, sizeof digest, text + sizeof SR_HMAC_PREFIX - 1);
    return 0;
}
