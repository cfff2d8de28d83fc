/*
 * The image that a policy names, and what it brings along. A name is looked for in the user's
 * store, in the system's, and among the images that come with safe-run. From the store come a
 * digest, which has to be the file's, and defaults for what the policy leaves open.
 */
#include "runner/run_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFLIGHT "launch.preflight.image"

int run_choose_image(struct run *run, struct sr_error *err)
{
    const struct sr_policy *policy = run->options->policy;
    struct run_image *image = &run->image;
    char name[PATH_MAX];
    sr_policy_effective(policy, NULL, &image->effective);
    if (!sr_image_split(policy->image, name, image->pinned))
        return sr_fail(err, SR_RUN_002, PREFLIGHT, "%s is not NAME@sha256:<64 hex digits>",
                       policy->image);
    if (sr_image_name_ok(name)) {
        struct sr_error absent = {0};
        image->is_stored = sr_image_find(name, &image->stored, &absent) == 0;
        if (!image->is_stored && absent.code != SR_OPS_109)
            return sr_fail(err, SR_RUN_002, PREFLIGHT, "%s", absent.message);
    }
    if (image->is_stored)
        sr_policy_effective(policy, &image->stored.config, &image->effective);
    bool is_path = strchr(name, '/') != NULL;
    image->from = is_path ? "path" : image->is_stored ? "store" : "built-in";
    int len =
        is_path ? snprintf(image->path, sizeof image->path, "%s%s%s",
                           name[0] == '/' ? "" : policy->directory, name[0] == '/' ? "" : "/", name)
        : image->is_stored
            ? snprintf(image->path, sizeof image->path, "%s", image->stored.path)
            : snprintf(image->path, sizeof image->path, "%s/%s.img", run->config.images, name);
    return len < (int)sizeof image->path
               ? 0
               : sr_fail(err, SR_RUN_002, PREFLIGHT, "the path of image %s is too long", name);
}

/* The file systems that init knows, by their magic numbers. Here their file has a name to tell; in
 * the guest it is a disk. */
static bool is_file_system(int fd)
{
    static const struct {
        off_t at;
        size_t len;
        const char *magic;
    } kinds[] = {{0, 4, "hsqs"}, {1024, 4, "\xe2\xe1\xf5\xe0"}, {1024 + 56, 2, "\x53\xef"}};
    char found[4];
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (pread(fd, found, kinds[i].len, kinds[i].at) == (ssize_t)kinds[i].len &&
            memcmp(found, kinds[i].magic, kinds[i].len) == 0)
            return true;
    return false;
}

static const char *advice(const struct run_image *image)
{
    if (image->is_stored)
        return "'safe-run image build' makes it again";
    return strcmp(image->from, "path") == 0 ? "the policy names it (runtime.image)"
                                            : HOST_ARTIFACT_ADVICE;
}

int run_open_image(struct run *run, struct sr_error *err)
{
    const struct run_image *image = &run->image;
    const char *name = run->options->policy->image;
    bool is_ours = strncmp(name, "base", 4) == 0 && (name[4] == '\0' || name[4] == '@');
    if (strcmp(image->from, "built-in") == 0 && !is_ours && access(image->path, F_OK) < 0 &&
        errno == ENOENT)
        return sr_fail(
            err, SR_RUN_002, PREFLIGHT,
            "there is no image %s, neither in a store nor at %s; safe-run image ls shows "
            "what there is, safe-run image build makes one",
            name, image->path);
    const struct host_known_hash known = {image->stored.identity, image->stored.digest};
    const struct host_artifact_plan plan = {
        .path = image->path,
        .what = "image",
        .advice = advice(image),
        .known = image->is_stored ? &known : NULL,
    };
    const struct host_artifact_context artifacts = run_artifact_context(run);
    if (host_artifact_open(&run->image.rootfs, &plan, &artifacts, err) < 0)
        return -1;
    struct stat judged;
    int judged_fd = run->options->policy->image_fd;
    if (judged_fd >= 0 &&
        (fstat(judged_fd, &judged) < 0 || judged.st_dev != run->image.rootfs.device ||
         judged.st_ino != run->image.rootfs.inode))
        return sr_fail(err, SR_RUN_002, PREFLIGHT, "%s was replaced after it was checked",
                       image->path);
    struct sr_error ours;
    if (judged_fd >= 0 && run_refuse_ours(run, judged_fd, image->path, &ours) < 0)
        return sr_fail(err, SR_RUN_002, PREFLIGHT, "%s", ours.message);
    if (image->is_stored && strcmp(run->image.rootfs.hash, image->stored.digest) != 0)
        return sr_fail(err, SR_RUN_002, PREFLIGHT,
                       "%s was changed: it is %s and was stored as %s; build it again", image->path,
                       run->image.rootfs.hash, image->stored.digest);
    if (image->pinned[0] != '\0' && strcmp(run->image.rootfs.hash, image->pinned) != 0)
        return sr_fail(err, SR_RUN_002, PREFLIGHT, "the policy pins %s, and the image is %s",
                       run->options->policy->image, run->image.rootfs.hash);
    if (!is_file_system(run->image.rootfs.fd))
        return sr_fail(err, SR_RUN_002, PREFLIGHT,
                       "%s is no squashfs, erofs or ext4 image; 'safe-run image build' makes an "
                       "image of an archive or a directory",
                       image->path);
    return 0;
}

json_t *run_image_facts(const struct run *run)
{
    const struct run_image *image = &run->image;
    struct facts facts = facts_new();
    fact_text(&facts, "name", run->options->policy->image);
    fact_text(&facts, "from", image->from != NULL ? image->from : "nowhere");
    fact_text_or_null(&facts, "digest", image->is_stored ? image->stored.digest : NULL);
    return facts_end(&facts);
}

void run_runtime_record(const struct run *run, struct facts *runtime)
{
    const struct sr_effective *effective = &run->image.effective;
    const struct sr_image_config *config = &run->image.stored.config;
    const struct sr_policy *policy = run->options->policy;
    char user[32];
    snprintf(user, sizeof user, "%u:%u", effective->uid, effective->gid);
    fact_text(runtime, "workdir", effective->workdir);
    fact_text(runtime, "workdirFrom",
              effective->workdir_of_image ? "image"
              : policy->workdir_given     ? "policy"
                                          : "default");
    fact_text(runtime, "user", user);
    fact_text(runtime, "userFrom",
              effective->user_of_image ? "image"
              : policy->user_given     ? "policy"
                                       : "default");
    fact_list(runtime, "imageEnv");
    for (size_t i = 0; i < config->env_count; i++)
        if (sr_policy_lets_env(policy, config->env[i]))
            fact_add_text(runtime, "imageEnv", config->env[i]);
}
