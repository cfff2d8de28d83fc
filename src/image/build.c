/*
 * In the worker: descriptions, then each layer from the lowest up onto the tree (apply.c). The
 * contents of the last layer, which nothing can hide any more, are written as they pass; of lower
 * layers it is known only then which of their files are left, so those layers are read a second
 * time, digests checked again, and these files' contents written. An image of one layer is read
 * once, and nothing is ever unpacked to a disk.
 */
#include "image/build.h"

#include "common/printable.h"
#include "image/apply.h"
#include "image/config.h"
#include "image/oci.h"
#include "image/pack_tree.h"
#include "jail/worker.h"

#include <stdio.h>
#include <string.h>

enum note_kind { NOTE_WARNING = 1, NOTE_CONFIG };

struct building {
    struct image_source source;
    enum image_build_kind kind;
    const char *tag;
    int image;
    unsigned threads;
    struct image_worker *worker;
    struct image_layer_budget budget;
    struct image_apply apply;
    struct image_oci oci;
    json_t *config; /* in the store's form */
};

static void note_warning(void *context, const char *text)
{
    struct building *building = context;
    if (building->worker != NULL)
        jail_worker_note(building->worker, NOTE_WARNING, text, strlen(text) + 1);
}

/* Opens a layer and hands it to one of the two passes. */
static int with_layer(struct building *building, size_t index, struct image_inode *const *files,
                      size_t count, struct sr_error *err)
{
    static struct image_layer layer;
    struct image_apply *apply = &building->apply;
    apply->layer = &layer;
    apply->number = (uint32_t)index + 1;
    apply->streams = index + 1 == building->oci.layer_count;
    int result = image_layer_open(&building->source, &building->oci.layers[index],
                                  (unsigned)index + 1, &building->budget, &layer, err);
    if (result == 0)
        result = files == NULL ? image_apply_layer(apply, err)
                               : image_apply_contents(apply, files, count, err);
    if (result == 0 && building->kind == IMAGE_BUILD_TAR)
        memcpy(building->oci.digest, layer.digest, sizeof layer.digest);
    image_layer_close(&layer);
    return result;
}

static int apply_layers(struct building *building, struct sr_error *err)
{
    for (size_t i = 0; i < building->oci.layer_count; i++)
        if (with_layer(building, i, NULL, 0, err) < 0)
            return -1;
    struct image_inode **files = NULL;
    size_t count = 0;
    if (building->oci.layer_count > 1 &&
        image_apply_left(&building->apply, &files, &count, err) < 0)
        return -1;
    int result = 0;
    /* The second reading is not new content. */
    building->budget.bytes = building->budget.bytes_max;
    for (size_t at = 0, end; result == 0 && at < count; at = end) {
        uint32_t number = image_apply_layer_of(files[at]);
        for (end = at; end < count && image_apply_layer_of(files[end]) == number;)
            end++;
        result = with_layer(building, number - 1, files + at, end - at, err);
    }
    free(files);
    return result;
}

static int read_description(struct building *building, struct sr_error *err)
{
    struct image_oci *oci = &building->oci;
    switch (building->kind) {
    case IMAGE_BUILD_OCI_ARCHIVE:
    case IMAGE_BUILD_OCI:
        return image_oci_read(&building->source, building->tag, oci, err);
    case IMAGE_BUILD_DOCKER_ARCHIVE:
        return image_oci_read_docker(&building->source, building->tag, oci, err);
    case IMAGE_BUILD_TAR:
        break;
    }
    oci->layers = calloc(1, sizeof *oci->layers);
    if (oci->layers == NULL)
        return sr_fail(err, SR_OPS_105, IMAGE_SOURCE_PATH, "out of memory");
    oci->layers[0].size = -1;
    oci->layer_count = 1;
    return 0;
}

static int make_config(struct building *building, struct sr_error *err)
{
    const struct image_apply *apply = &building->apply;
    building->config =
        image_config_make(building->oci.config, apply->captured[IMAGE_CAPTURED_PASSWD],
                          apply->captured[IMAGE_CAPTURED_GROUP], note_warning, building, err);
    return building->config != NULL ? 0 : -1;
}

static int make_image(struct building *building, struct image_built *built, struct sr_error *err)
{
    struct image_apply *apply = &building->apply;
    apply->whiteouts = building->kind != IMAGE_BUILD_TAR;
    apply->tree = image_tree_new(apply->entries_max);
    if (apply->tree == NULL)
        return sr_fail(err, SR_OPS_105, IMAGE_SOURCE_PATH, "out of memory");
    if (read_description(building, err) < 0 ||
        image_sqfs_open(building->image, IMAGE_SQFS_ZSTD, building->threads, &apply->sqfs, err) <
            0 ||
        apply_layers(building, err) < 0 || make_config(building, err) < 0 ||
        image_sqfs_finish(apply->sqfs, apply->tree, &built->counts, err) < 0)
        return -1;
    built->devices = apply->devices;
    memcpy(built->source_digest, building->oci.digest, sizeof built->source_digest);
    return 0;
}

/* The worker's work; what it has allocated ends with it. */
static int work(void *context, struct image_worker *worker, void *result, struct sr_error *err)
{
    struct building *building = context;
    building->worker = building->budget.worker = worker;
    if (make_image(building, result, err) < 0)
        return -1;
    char *text = json_dumps(building->config, JSON_COMPACT);
    if (text == NULL)
        return sr_fail(err, SR_OPS_105, IMAGE_SOURCE_PATH, "out of memory");
    jail_worker_note(worker, NOTE_CONFIG, text, strlen(text));
    return 0;
}

static int prepare(struct building *building, const struct sr_image_build *build,
                   enum image_build_kind kind, int source, const char *tag, int image,
                   struct sr_error *err)
{
    uint64_t bytes_max = build->bytes_max > 0 ? build->bytes_max : SR_IMAGE_BYTES_MAX;
    *building = (struct building){
        .source = {.lib = image_archive_load(err),
                   .fd = source,
                   .is_directory = kind == IMAGE_BUILD_OCI},
        .kind = kind,
        .tag = tag,
        .image = image,
        .threads = jail_worker_threads(),
        .budget = {.bytes = bytes_max, .bytes_max = bytes_max},
        .apply = {.entries_max =
                      build->entries_max > 0 ? build->entries_max : SR_IMAGE_ENTRIES_MAX},
    };
    return building->source.lib != NULL ? 0 : -1;
}

int image_build_unconfined(const struct sr_image_build *build, enum image_build_kind kind,
                           int source, const char *tag, int image, struct image_built *built,
                           json_t **config, struct sr_error *err)
{
    struct building building;
    struct image_built done = {0};
    if (prepare(&building, build, kind, source, tag, image, err) < 0)
        return -1;
    building.threads = 1;
    int result = make_image(&building, &done, err);
    image_sqfs_close(building.apply.sqfs);
    if (building.apply.tree != NULL)
        image_sqfs_forget(building.apply.tree);
    image_tree_free(building.apply.tree);
    image_apply_free(&building.apply);
    image_oci_free(&building.oci);
    if (result < 0) {
        json_decref(building.config);
        return -1;
    }
    *built = done;
    *config = building.config;
    return 0;
}

/* What the worker's notes come to, here. */
struct listener {
    const struct sr_image_build *build;
    json_t *config;
};

static bool hear_progress(void *context, uint64_t done, uint64_t total)
{
    const struct listener *listener = context;
    (void)total;
    return listener->build->progress == NULL ||
           listener->build->progress(listener->build->context, done);
}

static void hear_note(void *context, unsigned kind, const void *data, size_t len)
{
    struct listener *listener = context;
    if (kind == NOTE_CONFIG && listener->config == NULL)
        listener->config = json_loadb(data, len, JSON_REJECT_DUPLICATES, NULL);
    if (kind != NOTE_WARNING || listener->build->warn == NULL)
        return;
    char text[400];
    size_t shown = strnlen(data, len);
    snprintf(text, sizeof text, "%.*s", (int)shown, (const char *)data);
    sr_make_printable(text);
    listener->build->warn(listener->build->context, text);
}

static int judge(struct listener *listener, struct image_built *built, struct sr_error *err)
{
    struct sr_image_config config;
    built->source_digest[sizeof built->source_digest - 1] = '\0';
    if (listener->config == NULL || image_config_take(listener->config, &config) < 0)
        return sr_fail(err, SR_OPS_107, IMAGE_SOURCE_PATH,
                       "the worker's configuration of the image makes no sense");
    image_config_free(&config);
    return 0;
}

int image_build_archive(const struct sr_image_build *build, enum image_build_kind kind, int source,
                        const char *tag, int image, struct image_built *built, json_t **config,
                        struct sr_error *err)
{
    struct building building;
    if (prepare(&building, build, kind, source, tag, image, err) < 0)
        return -1;
    struct listener listener = {.build = build};
    const int kept[] = {image, source};
    const struct jail_worker_plan plan = {
        .what = "the image's builder",
        .code = SR_OPS_101,
        .path = IMAGE_SOURCE_PATH,
        .fds = kept,
        .fd_count = building.source.is_directory ? 1 : 2,
        .read_dir = building.source.is_directory ? source : -1,
        .write_dir = -1,
        .read_any = building.source.is_directory,
        .memory_max = IMAGE_PACK_MEMORY_MAX,
        .file_max =
            building.budget.bytes_max + building.budget.bytes_max / 8 + IMAGE_PACK_MEMORY_MAX,
        .cpu_sec = IMAGE_PACK_CPU_SEC,
        .progress = hear_progress,
        .note = hear_note,
        .context = &listener,
    };
    struct image_built done;
    int result = jail_worker_run(&plan, work, &building, &done, sizeof done, err);
    if (result == 0)
        result = judge(&listener, &done, err);
    if (result < 0) {
        json_decref(listener.config);
        return -1;
    }
    *built = done;
    *config = listener.config;
    return 0;
}
