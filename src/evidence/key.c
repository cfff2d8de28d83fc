#include "evidence/key.h"

#include "common/owner.h"
#include "common/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { SEED_SIZE = 32, PAGE_SIZE = 4096 };

/* RFC 8410: all of an Ed25519 key's DER but the key itself never differs, so that comparing it
 * admits this algorithm and this spelling only. */
static const unsigned char private_prefix[] = {0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06,
                                               0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20};
static const unsigned char public_prefix[] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
                                              0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
enum {
    PRIVATE_DER_SIZE = sizeof private_prefix + SEED_SIZE,
    PUBLIC_DER_SIZE = sizeof public_prefix + EVIDENCE_KEY_PUBLIC_SIZE,
};

struct sr_key {
    unsigned char public_half[EVIDENCE_KEY_PUBLIC_SIZE];
    char id[EVIDENCE_KEY_ID_SIZE];
    unsigned char *seed; /* a page of its own; NULL: there is only the public half */
};

static int key_error(struct sr_error *err, const char *what)
{
    return sr_fail(err, SR_EVD_003, "key", "%s", what);
}

static void public_der(const struct sr_key *key, unsigned char der[PUBLIC_DER_SIZE])
{
    memcpy(der, public_prefix, sizeof public_prefix);
    memcpy(der + sizeof public_prefix, key->public_half, sizeof key->public_half);
}

/* Once the public half is known. */
static int make_id(struct sr_key *key)
{
    unsigned char der[PUBLIC_DER_SIZE];
    char text[SR_SHA256_TEXT];
    sr_cleanup_hasher struct sr_hasher *hasher = sr_hasher_new();
    public_der(key, der);
    if (hasher == NULL || sr_sha256(hasher, der, sizeof der, text) < 0)
        return -1;
    memcpy(key->id, text + sizeof SR_SHA256_PREFIX - 1, sizeof key->id);
    return 0;
}

/* libcrypto's form of the private half, to be freed, and the public half that follows from it; or
 * NULL. */
static EVP_PKEY *open_seed(const struct sr_key *key,
                           unsigned char derived[EVIDENCE_KEY_PUBLIC_SIZE])
{
    size_t len = EVIDENCE_KEY_PUBLIC_SIZE;
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key_ex(NULL, "ED25519", NULL, key->seed, SEED_SIZE);
    if (pkey != NULL && EVP_PKEY_get_raw_public_key(pkey, derived, &len) == 1 &&
        len == EVIDENCE_KEY_PUBLIC_SIZE)
        return pkey;
    EVP_PKEY_free(pkey);
    return NULL;
}

static int take_seed(struct sr_key *key, const unsigned char *seed)
{
    void *page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return -1;
    key->seed = page;
    if (madvise(page, PAGE_SIZE, MADV_WIPEONFORK) < 0 ||
        madvise(page, PAGE_SIZE, MADV_DONTDUMP) < 0)
        return -1;
    (void)mlock(page, PAGE_SIZE); /* keeps it out of swap, where the user's limit allows that */
    memcpy(key->seed, seed, SEED_SIZE);
    EVP_PKEY *pkey = open_seed(key, key->public_half);
    EVP_PKEY_free(pkey);
    return pkey != NULL ? 0 : -1;
}

/* Makes a key of its halves' bytes: der has one of the two fixed forms. */
static int import(const unsigned char *der, bool is_private, struct sr_key **key,
                  struct sr_error *err)
{
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    struct sr_key *made = calloc(1, sizeof *made);
    int result = made != NULL ? 0 : -1;
    if (result == 0 && is_private)
        result = take_seed(made, der + sizeof private_prefix);
    else if (result == 0)
        memcpy(made->public_half, der + sizeof public_prefix, sizeof made->public_half);
    if (result == 0)
        result = make_id(made);
    if (result < 0) {
        evidence_key_free(made);
        return key_error(err, "libcrypto has no Ed25519, or memory is out");
    }
    *key = made;
    return 0;
}

void evidence_key_free(struct sr_key *key)
{
    if (key == NULL)
        return;
    if (key->seed != NULL) {
        OPENSSL_cleanse(key->seed, SEED_SIZE);
        munmap(key->seed, PAGE_SIZE);
    }
    free(key);
}

const char *evidence_key_id(const struct sr_key *key)
{
    return key->id;
}

const unsigned char *evidence_key_public(const struct sr_key *key)
{
    return key->public_half;
}

int evidence_key_sign(const struct sr_key *key, const void *data, size_t len,
                      unsigned char signature[EVIDENCE_KEY_SIGNATURE_SIZE], struct sr_error *err)
{
    if (key->seed == NULL)
        return key_error(err, "a public key cannot sign");
    unsigned char derived[EVIDENCE_KEY_PUBLIC_SIZE], made[EVIDENCE_KEY_SIGNATURE_SIZE];
    size_t made_len = sizeof made;
    EVP_PKEY *pkey = open_seed(key, derived);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    /* The comparison fails in a forked child, whose page is zeros. */
    bool good = pkey != NULL && ctx != NULL &&
                memcmp(derived, key->public_half, sizeof derived) == 0 &&
                EVP_DigestSignInit_ex(ctx, NULL, NULL, NULL, NULL, pkey, NULL) == 1 &&
                EVP_DigestSign(ctx, made, &made_len, data, len) == 1 && made_len == sizeof made;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    if (!good)
        return key_error(err, "cannot sign: the private half is gone, or memory is out");
    memcpy(signature, made, sizeof made);
    return 0;
}

bool evidence_key_verify(const struct sr_key *key, const void *data, size_t len,
                         const unsigned char *signature, size_t signature_len)
{
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, key->public_half,
                                                    sizeof key->public_half);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = pkey != NULL && ctx != NULL && signature_len == EVIDENCE_KEY_SIGNATURE_SIZE &&
                EVP_DigestVerifyInit_ex(ctx, NULL, NULL, NULL, NULL, pkey, NULL) == 1 &&
                EVP_DigestVerify(ctx, signature, signature_len, data, len) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    return good;
}

/* ---- PEM ---- */

/* What is wrong with a PEM block as a key, or NULL. */
static const char *block_fault(const char *name, const char *header, const unsigned char *der,
                               long len, bool is_private)
{
    if (is_private && strstr(name, "ENCRYPTED") != NULL)
        return "the private key has a passphrase; only one without can be used";
    if (is_private && strcmp(name, "PRIVATE KEY") != 0)
        return "expected a private key in PKCS#8 (-----BEGIN PRIVATE KEY-----)";
    if (!is_private && strcmp(name, "PRIVATE KEY") == 0)
        return "this is a private key; whoever checks needs the public one, and nobody else should "
               "have this";
    if (!is_private && strcmp(name, "PUBLIC KEY") != 0)
        return "expected a public key (-----BEGIN PUBLIC KEY-----)";
    static const unsigned char version_2[] = {0x02, 0x01,
                                              0x01}; /* behind the sequence's two bytes */
    if (is_private && len > 2 + (long)sizeof version_2 &&
        memcmp(der + 2, version_2, sizeof version_2) == 0)
        return "this is a PKCS#8 key of version 2 (RFC 5958), which carries its public half along; "
               "version 1 is expected, as openssl genpkey and safe-run key generate write it";
    const size_t prefix = is_private ? sizeof private_prefix : sizeof public_prefix;
    if (header[0] != '\0' || len != (is_private ? PRIVATE_DER_SIZE : PUBLIC_DER_SIZE) ||
        memcmp(der, is_private ? private_prefix : public_prefix, prefix) != 0)
        return "this is no Ed25519 key; no other kind is used";
    return NULL;
}

int evidence_key_parse(const char *text, size_t len, bool is_private, struct sr_key **key,
                       struct sr_error *err)
{
    char *name = NULL, *header = NULL;
    unsigned char *der = NULL;
    long der_len = 0;
    if (len > EVIDENCE_KEY_MAX_FILE)
        return key_error(err, "too large for a key");
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    BIO *bio = BIO_new_mem_buf(text, (int)len);
    if (bio == NULL)
        return key_error(err, "out of memory");
    int result;
    if (PEM_read_bio(bio, &name, &header, &der, &der_len) != 1) {
        result = key_error(err, "this is no PEM file");
    } else {
        const char *wrong = block_fault(name, header, der, der_len, is_private);
        result = wrong != NULL ? key_error(err, wrong) : import(der, is_private, key, err);
    }
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(der, (size_t)der_len);
    BIO_free(bio);
    return result;
}

/* *len is 0 at first. */
static int read_key(const char *path, bool is_private, char text[EVIDENCE_KEY_MAX_FILE + 1],
                    size_t *len, struct sr_error *err)
{
    char why[SR_OWNER_TEXT];
    /* Whoever checks a signature may take a public key from where he likes. */
    sr_cleanup_fd int fd = is_private ? sr_open_owned(path, why)
                                      : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (is_private && fd < 0)
        return sr_fail(err, SR_EVD_003, "key", "%s %s%s", path, why,
                       fd == -EPERM ? ": a private key is its owner's alone (chown, chmod 600)"
                                    : "");
    if (fd < 0 || fstat(fd, &st) < 0)
        return sr_fail(err, SR_EVD_003, "key", "%s cannot be opened: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return sr_fail(err, SR_EVD_003, "key", "%s is not a regular file", path);
    if (is_private && (st.st_mode & 077) != 0)
        return sr_fail(err, SR_EVD_003, "key",
                       "%s has mode %04o: others may use this private key; chmod 600 closes it",
                       path, (unsigned)st.st_mode & 07777);
    while (*len <= EVIDENCE_KEY_MAX_FILE) {
        ssize_t got = read(fd, text + *len, EVIDENCE_KEY_MAX_FILE + 1 - *len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sr_fail(err, SR_EVD_003, "key", "%s cannot be read: %s", path, strerror(errno));
        if (got == 0)
            return 0;
        *len += (size_t)got;
    }
    return sr_fail(err, SR_EVD_003, "key", "%s is too large for a key", path);
}

static int load(const char *path, bool is_private, struct sr_key **key, struct sr_error *err)
{
    char text[EVIDENCE_KEY_MAX_FILE + 1];
    size_t len = 0;
    int result = read_key(path, is_private, text, &len, err);
    if (result == 0 && evidence_key_parse(text, len, is_private, key, err) < 0)
        result = sr_wrap(err, "%s", path);
    OPENSSL_cleanse(text, sizeof text);
    return result;
}

int evidence_key_load_private(const char *path, struct sr_key **key, struct sr_error *err)
{
    return load(path, true, key, err);
}

int evidence_key_load_public(const char *path, struct sr_key **key, struct sr_error *err)
{
    return load(path, false, key, err);
}

/* ---- making one ---- */

/* Creates a file with one PEM block in it, durable; nothing is left on failure. */
static int write_pem(const char *path, mode_t mode, const char *name, const unsigned char *der,
                     size_t len, struct sr_error *err)
{
    sr_cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return sr_fail(err, SR_EVD_003, "key", "%s cannot be created: %s", path, strerror(errno));
    BIO *bio = BIO_new_fd(fd, BIO_NOCLOSE);
    errno = ENOMEM;
    bool good = bio != NULL && PEM_write_bio(bio, name, "", der, (long)len) > 0 && fsync(fd) == 0;
    int failure = errno;
    BIO_free(bio);
    if (good)
        return 0;
    unlink(path);
    return sr_fail(err, SR_EVD_003, "key", "%s cannot be written: %s", path, strerror(failure));
}

static int sync_directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char name[PATH_MAX];
    int len = slash == NULL ? snprintf(name, sizeof name, ".")
                            : snprintf(name, sizeof name, "%.*s/", (int)(slash - path), path);
    sr_cleanup_fd int fd =
        len < (int)sizeof name ? open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    return fd < 0 ? -1 : fsync(fd);
}

/* The private half's DER of a new key. */
static int draw(unsigned char der[PRIVATE_DER_SIZE])
{
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    size_t len = SEED_SIZE;
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    memcpy(der, private_prefix, sizeof private_prefix);
    int result =
        pkey != NULL &&
                EVP_PKEY_get_raw_private_key(pkey, der + sizeof private_prefix, &len) == 1 &&
                len == SEED_SIZE
            ? 0
            : -1;
    EVP_PKEY_free(pkey);
    return result;
}

static int write_halves(const char *path, const unsigned char der[PRIVATE_DER_SIZE],
                        const struct sr_key *key, struct sr_error *err)
{
    unsigned char other[PUBLIC_DER_SIZE];
    char public_path[PATH_MAX];
    if (snprintf(public_path, sizeof public_path, "%s.pub", path) >= (int)sizeof public_path)
        return key_error(err, "the path is too long");
    public_der(key, other);
    if (write_pem(public_path, 0644, "PUBLIC KEY", other, sizeof other, err) < 0)
        return -1;
    int result = write_pem(path, 0600, "PRIVATE KEY", der, PRIVATE_DER_SIZE, err);
    if (result == 0 && sync_directory_of(path) < 0) {
        result = sr_fail(err, SR_EVD_003, "key", "the directory of %s cannot be made durable: %s",
                         path, strerror(errno));
        unlink(path);
    }
    if (result < 0)
        unlink(public_path);
    return result;
}

int evidence_key_generate(const char *path, struct sr_key **key, struct sr_error *err)
{
    unsigned char der[PRIVATE_DER_SIZE];
    if (draw(der) < 0)
        return key_error(err, "libcrypto cannot make an Ed25519 key");
    struct sr_key *made = NULL;
    int result = import(der, true, &made, err);
    if (made != NULL && write_halves(path, der, made, err) < 0) {
        evidence_key_free(made);
        made = NULL;
        result = -1;
    }
    OPENSSL_cleanse(der, sizeof der);
    if (made != NULL)
        *key = made;
    return result;
}
