/*
 * The image builder on any bytes: an error with a code of ours, or an image whose counts hold
 * together. The first byte says what the rest is:
 *   o, d, t   an OCI archive, a docker archive, a tar, as they stand
 *   l         an image whose digests are right whatever is in it: its configuration, then its
 *             layers, each a tar, with 0xFF 0xFE between them
 */
#include "image/build.h"

#include "common/sha256.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LAYERS_MAX = 4, BLOCK = 512 };

static void put(int fd, const void *data, size_t len)
{
    if (len > 0 && write(fd, data, len) != (ssize_t)len)
        abort();
}

/* A member of a tar (POSIX ustar), enough of one. */
static void put_member(int fd, const char *name, const void *data, size_t len)
{
    char header[BLOCK] = {0};
    const char zeros[BLOCK] = {0};
    unsigned sum = 0;
    snprintf(header, 100, "%s", name);
    snprintf(header + 100, 8, "0000644");
    snprintf(header + 124, 12, "%011zo", len);
    snprintf(header + 136, 12, "00000000000");
    memset(header + 148, ' ', 8);
    header[156] = '0';
    memcpy(header + 257, "ustar\00000", 8);
    for (size_t i = 0; i < BLOCK; i++)
        sum += (unsigned char)header[i];
    snprintf(header + 148, 8, "%06o", sum);
    put(fd, header, BLOCK);
    put(fd, data, len);
    put(fd, zeros, (BLOCK - len % BLOCK) % BLOCK);
}

/* Puts a blob, and into text its descriptor. */
static void put_blob(int fd, struct sr_hasher *hasher, const char *type, const void *data,
                     size_t len, char text[256])
{
    char digest[SR_SHA256_TEXT], name[128];
    if (sr_sha256(hasher, data, len, digest) < 0)
        abort();
    snprintf(name, sizeof name, "blobs/sha256/%s", digest + strlen(SR_SHA256_PREFIX));
    snprintf(text, 256, "{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu}", type, digest, len);
    put_member(fd, name, data, len);
}

static void put_image(int fd, const uint8_t *data, size_t size)
{
    struct sr_hasher *hasher = sr_hasher_new();
    const char mark[2] = "\xFF\xFE", zeros[2 * BLOCK] = {0};
    char config[256], layers[LAYERS_MAX * 256] = "", manifest[2048], index[512];
    const uint8_t *end = memmem(data, size, mark, sizeof mark);
    size_t len = end != NULL ? (size_t)(end - data) : size;
    put_blob(fd, hasher, "application/vnd.oci.image.config.v1+json", data, len, config);
    for (int i = 0; i < LAYERS_MAX && end != NULL; i++) {
        size -= len + sizeof mark;
        data = end + sizeof mark;
        end = memmem(data, size, mark, sizeof mark);
        len = end != NULL ? (size_t)(end - data) : size;
        char layer[256];
        put_blob(fd, hasher, "application/vnd.oci.image.layer.v1.tar", data, len, layer);
        size_t at = strlen(layers);
        snprintf(layers + at, sizeof layers - at, "%s%s", i > 0 ? "," : "", layer);
    }
    snprintf(manifest, sizeof manifest, "{\"config\":%s,\"layers\":[%s]}", config, layers);
    put_blob(fd, hasher, "application/vnd.oci.image.manifest.v1+json", manifest, strlen(manifest),
             config);
    snprintf(index, sizeof index, "{\"manifests\":[%s]}", config);
    put_member(fd, "index.json", index, strlen(index));
    put(fd, zeros, sizeof zeros);
    sr_hasher_free(hasher);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct {
        uint8_t letter;
        enum image_build_kind kind;
    } kinds[] = {{'o', IMAGE_BUILD_OCI_ARCHIVE},
                 {'d', IMAGE_BUILD_DOCKER_ARCHIVE},
                 {'t', IMAGE_BUILD_TAR},
                 {'l', IMAGE_BUILD_OCI_ARCHIVE}};
    const struct sr_image_build build = {.bytes_max = 1 << 20, .entries_max = 1000};
    size_t k = 0;
    while (size > 0 && k < 4 && kinds[k].letter != data[0])
        k++;
    if (size == 0 || k == 4)
        return 0;
    int source = memfd_create("source", MFD_CLOEXEC), image = memfd_create("image", MFD_CLOEXEC);
    if (source < 0 || image < 0)
        abort();
    if (data[0] == 'l')
        put_image(source, data + 1, size - 1);
    else
        put(source, data + 1, size - 1);
    struct image_built built;
    json_t *config;
    struct sr_error err = {0};
    if (image_build_unconfined(&build, kinds[k].kind, source, "", image, &built, &config, &err) ==
        0) {
        if (built.counts.bytes > build.bytes_max || built.counts.directories == 0 ||
            built.counts.image_bytes % 4096 != 0 || !json_is_object(config))
            abort();
        json_decref(config);
    } else if (err.code < SR_OPS_101 || err.code > SR_OPS_110 || err.message[0] == '\0') {
        abort();
    }
    close(source);
    close(image);
    return 0;
}
