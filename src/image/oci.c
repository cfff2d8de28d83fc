#include "image/oci.h"
#include "common/json_member.h"

#include <stdio.h>
#include <string.h>

#define REF_NAME "org.opencontainers.image.ref.name"
/* An index may name one index for each platform; what nests further is no image. */
#define INDEX_DEPTH 2
#define OUR_ARCHITECTURE "amd64"

__attribute__((format(printf, 2, 3))) static int refuse(struct sr_error *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    sr_vfail(err, SR_OPS_107, IMAGE_SOURCE_PATH, fmt, ap);
    va_end(ap);
    return -1;
}

/* Reads a member as JSON; digest may be NULL. */
static int read_json(const struct image_source *source, const char *member, const char *digest,
                     json_t **json, struct sr_error *err)
{
    sr_cleanup_free char *text = NULL;
    size_t len;
    json_error_t fault;
    int result = image_source_read(source, member, digest, IMAGE_DESCRIPTION_MAX, &text, &len, err);
    if (result > 0)
        return refuse(err, "%s is not in the source", member);
    if (result < 0)
        return -1;
    *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &fault);
    return *json != NULL ? 0 : refuse(err, "%s is not JSON: %s", member, fault.text);
}

/* The path of the blob that a descriptor names. */
static int blob_path(const json_t *descriptor, const char *what, char path[256],
                     struct sr_error *err)
{
    const char *digest = sr_member_text(descriptor, "digest");
    if (digest == NULL || !sr_is_sha256(digest))
        return refuse(err, "the digest of %s is not a sha256", what);
    snprintf(path, 256, "blobs/sha256/%s", digest + strlen(SR_SHA256_PREFIX));
    return 0;
}

static int read_blob(const struct image_source *source, const json_t *descriptor, const char *what,
                     json_t **json, struct sr_error *err)
{
    char path[256];
    if (blob_path(descriptor, what, path, err) < 0)
        return -1;
    return read_json(source, path, sr_member_text(descriptor, "digest"), json, err);
}

/* Whether an entry of an index is for this machine and, if one was asked for, of that name. */
static bool is_wanted(const json_t *entry, const char *tag)
{
    const json_t *platform = json_object_get(entry, "platform");
    const char *architecture = sr_member_text(platform, "architecture"),
               *os = sr_member_text(platform, "os");
    const char *name = sr_member_text(json_object_get(entry, "annotations"), REF_NAME);
    if (tag[0] != '\0' && (name == NULL || strcmp(name, tag) != 0))
        return false;
    return (architecture == NULL || strcmp(architecture, OUR_ARCHITECTURE) == 0) &&
           (os == NULL || strcmp(os, "linux") == 0);
}

static int choose(const json_t *index, const char *tag, const json_t **chosen, struct sr_error *err)
{
    const json_t *list = json_object_get(index, "manifests"), *entry;
    size_t i, found = 0;
    if (!json_is_array(list))
        return refuse(err, "the index has no list of manifests");
    json_array_foreach(list, i, entry) if (is_wanted(entry, tag))
    {
        *chosen = entry;
        found++;
    }
    if (found == 1)
        return 0;
    if (found == 0)
        return refuse(err, "there is no image for linux/" OUR_ARCHITECTURE "%s%s in the source",
                      tag[0] != '\0' ? " named " : "", tag);
    return refuse(err, "there are %zu images in the source; name one: KIND:PATH:NAME", found);
}

static bool is_index(const json_t *descriptor, const json_t *document)
{
    const char *type = sr_member_text(descriptor, "mediaType");
    return (type != NULL &&
            (strstr(type, "image.index") != NULL || strstr(type, "manifest.list") != NULL)) ||
           (type == NULL && json_object_get(document, "manifests") != NULL);
}

static bool is_tar(const char *type)
{
    static const char *const types[] = {
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    };
    for (size_t i = 0; type != NULL && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(type, types[i]) == 0)
            return true;
    return false;
}

static int make_layers(struct image_oci *oci, size_t count, struct sr_error *err)
{
    if (count == 0 || count > IMAGE_LAYERS_MAX)
        return refuse(err, "an image has 1 to %d layers, this one %zu", IMAGE_LAYERS_MAX, count);
    oci->layers = calloc(count, sizeof *oci->layers);
    oci->layer_count = count;
    for (size_t i = 0; oci->layers != NULL && i < count; i++)
        oci->layers[i].size = -1;
    return oci->layers != NULL ? 0 : sr_fail(err, SR_OPS_105, IMAGE_SOURCE_PATH, "out of memory");
}

/* The layers' digests uncompressed, which the configuration lists. */
static int take_diff_ids(struct image_oci *oci, bool required, struct sr_error *err)
{
    const json_t *list = json_object_get(json_object_get(oci->config, "rootfs"), "diff_ids");
    if (list == NULL && !required)
        return 0;
    if (json_array_size(list) != oci->layer_count)
        return refuse(err, "the configuration knows %zu layers, there are %zu",
                      json_array_size(list), oci->layer_count);
    for (size_t i = 0; i < oci->layer_count; i++) {
        const char *digest = json_string_value(json_array_get(list, i));
        if (digest == NULL || !sr_is_sha256(digest))
            return refuse(err, "a diff id of the configuration is not a sha256");
        snprintf(oci->layers[i].diff_id, sizeof oci->layers[i].diff_id, "%s", digest);
    }
    return 0;
}

static int take_manifest(const struct image_source *source, const json_t *manifest,
                         struct image_oci *oci, struct sr_error *err)
{
    const json_t *layers = json_object_get(manifest, "layers"), *descriptor;
    size_t i;
    if (make_layers(oci, json_array_size(layers), err) < 0)
        return -1;
    json_array_foreach(layers, i, descriptor)
    {
        struct image_layer_description *layer = &oci->layers[i];
        const char *type = sr_member_text(descriptor, "mediaType");
        uint64_t size;
        if (!is_tar(type))
            return refuse(err, "layer %zu is of the type %.80s, which is no tar", i + 1,
                          type != NULL ? type : "(none)");
        if (blob_path(descriptor, "a layer", layer->member, err) < 0)
            return -1;
        if (!sr_member_number(descriptor, "size", INT64_MAX, &size))
            return refuse(err, "layer %zu has no size", i + 1);
        layer->size = (int64_t)size;
        snprintf(layer->digest, sizeof layer->digest, "%s", sr_member_text(descriptor, "digest"));
    }
    if (read_blob(source, json_object_get(manifest, "config"), "the configuration", &oci->config,
                  err) < 0)
        return -1;
    return take_diff_ids(oci, false, err);
}

int image_oci_read(const struct image_source *source, const char *tag, struct image_oci *oci,
                   struct sr_error *err)
{
    json_t *document = NULL;
    const json_t *descriptor = NULL;
    int result = read_json(source, "index.json", NULL, &document, err);
    if (result == 0)
        result = choose(document, tag, &descriptor, err);
    for (int depth = 0; result == 0; depth++) {
        json_t *next = NULL;
        result = read_blob(source, descriptor, "a manifest", &next, err);
        if (result == 0)
            snprintf(oci->digest, sizeof oci->digest, "%s", sr_member_text(descriptor, "digest"));
        bool index = result == 0 && is_index(descriptor, next);
        json_decref(document); /* and with it descriptor */
        document = next;
        if (result == 0 && index && depth == INDEX_DEPTH)
            result = refuse(err, "the index nests too deep");
        else if (result == 0 && index)
            result = choose(document, "", &descriptor, err);
        if (!index)
            break;
    }
    if (result == 0)
        result = take_manifest(source, document, oci, err);
    json_decref(document);
    return result;
}

/* docker names a configuration by its digest: "<hex>.json", or as OCI does. */
static int read_docker_config(const struct image_source *source, const char *member,
                              struct image_oci *oci, struct sr_error *err)
{
    const char *last = strrchr(member, '/');
    last = last != NULL ? last + 1 : member;
    if (strspn(last, "0123456789abcdef") != SR_SHA256_HEX)
        return refuse(err, "the configuration %.100s is not named by its digest", member);
    snprintf(oci->digest, sizeof oci->digest, SR_SHA256_PREFIX "%.*s", SR_SHA256_HEX, last);
    return read_json(source, member, oci->digest, &oci->config, err);
}

static bool has_tag(const json_t *image, const char *tag)
{
    const json_t *name;
    size_t i;
    json_array_foreach(json_object_get(image, "RepoTags"), i,
                       name) if (json_is_string(name) &&
                                 strcmp(json_string_value(name), tag) == 0) return true;
    return tag[0] == '\0';
}

static int take_docker(const struct image_source *source, const json_t *list, const char *tag,
                       struct image_oci *oci, struct sr_error *err)
{
    const json_t *image = NULL, *candidate;
    size_t i, found = 0;
    json_array_foreach(list, i, candidate) if (has_tag(candidate, tag))
    {
        image = candidate;
        found++;
    }
    if (found != 1)
        return refuse(err, "there are %zu images in the source%s", found,
                      found > 1 ? "; name one: docker-archive:PATH:REPOSITORY:TAG" : "");
    const json_t *layers = json_object_get(image, "Layers");
    const char *config = sr_member_text(image, "Config");
    if (config == NULL)
        return refuse(err, "manifest.json names no configuration");
    if (make_layers(oci, json_array_size(layers), err) < 0 ||
        read_docker_config(source, config, oci, err) < 0)
        return -1;
    for (i = 0; i < oci->layer_count; i++) {
        const char *member = json_string_value(json_array_get(layers, i));
        if (member == NULL || member[0] == '\0' || strlen(member) >= sizeof oci->layers[i].member)
            return refuse(err, "layer %zu has no name", i + 1);
        snprintf(oci->layers[i].member, sizeof oci->layers[i].member, "%s", member);
    }
    return take_diff_ids(oci, true, err);
}

int image_oci_read_docker(const struct image_source *source, const char *tag, struct image_oci *oci,
                          struct sr_error *err)
{
    json_t *list = NULL;
    int result = read_json(source, "manifest.json", NULL, &list, err);
    if (result == 0)
        result = take_docker(source, list, tag, oci, err);
    json_decref(list);
    return result;
}

void image_oci_free(struct image_oci *oci)
{
    free(oci->layers);
    json_decref(oci->config);
    *oci = (struct image_oci){0};
}
