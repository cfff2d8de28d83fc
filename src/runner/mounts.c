/*
 * The run's mounts: packed, recorded, attached.
 *
 * Each mount is either validated or rejected, so that the two together are what was asked for:
 * after the first that is rejected the others are looked at, but not packed any more. mount.applied
 * is written when all of them are there. What was made hangs off descriptors and is undone by
 * closing them, the last first; images that are kept for other runs stay.
 */
#include "runner/run_state.h"

#include "common/failpoint.h"
#include "common/fs.h"
#include "host/inputs.h"
#include "saferun/runs.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct facts mount_facts(const struct sr_mount *mount)
{
    struct facts facts = facts_new();
    fact_text(&facts, "source", mount->source);
    fact_text(&facts, "target", mount->target);
    fact_flag(&facts, "read_only", true);
    return facts;
}

static int record_applied(struct run *run, size_t i, struct sr_error *err)
{
    const struct host_input *input = &run->mounts.inputs[i];
    struct facts facts = mount_facts(&run->options->policy->mounts[i]);
    fact_text(&facts, "imageHash", input->hash);
    fact_count(&facts, "imageBytes", input->image_bytes);
    fact_count(&facts, "bytes", input->bytes);
    fact_count(&facts, "files", input->files);
    fact_count(&facts, "skipped", input->skipped);
    fact_flag(&facts, "reused", input->reused);
    return record_event(run->record, EVIDENCE_STAGE_MOUNT, SR_EVENT_MOUNT_APPLIED,
                        facts_end(&facts), err);
}

static int record_checked(struct run *run, const struct sr_mount *mount,
                          const struct sr_error *fault, struct sr_error *err)
{
    struct facts facts = mount_facts(mount);
    if (fault->code == SR_OK)
        return record_event(run->record, EVIDENCE_STAGE_MOUNT, SR_EVENT_MOUNT_VALIDATED,
                            facts_end(&facts), err);
    fact_text(&facts, "errorCode", sr_code_name(fault->code));
    fact_text(&facts, "message", fault->message);
    return record_event(run->record, EVIDENCE_STAGE_MOUNT, SR_EVENT_MOUNT_REJECTED,
                        facts_end(&facts), err);
}

static void warn_of_skipped(const struct run *run, const struct sr_mount *mount,
                            const struct host_input *input)
{
    char text[512];
    if (input->skipped == 0 || run->options->warn == NULL)
        return;
    snprintf(text, sizeof text, "%.200s: %llu special files are left out: %s%s", mount->source,
             (unsigned long long)input->skipped, input->first_skipped,
             input->skipped > 1 ? " and others" : "");
    run->options->warn(run->options->progress_context, text);
}

/* Where safe-run keeps what is other runs' or the host's owner's, as the kernel names it. What is
 * not there holds nothing. */
struct run_places {
    char items[11][PATH_MAX];
    size_t count;
};

static void add_place(struct run_places *places, const char *path)
{
    if (path[0] != '\0' && realpath(path, places->items[places->count]) != NULL)
        places->count++;
}

/* Those of the configuration and the usual ones: other runs may have been told other places. */
static void find_places(const struct run *run, struct run_places *places)
{
    char path[PATH_MAX + 8];
    struct sr_error none;
    sr_cleanup_fd int cache = host_cache_open();
    /* The first input would make its store only after this. */
    sr_cleanup_fd int store =
        run->options->policy->mount_count > 0 ? host_input_store_open(&run->config) : -1;
    (void)store;
    snprintf(path, sizeof path, "%s/..", run->result->run_dir);
    add_place(places, path);
    if (sr_runs_base(NULL, path, &none) == 0)
        add_place(places, path);
    snprintf(path, sizeof path, "/proc/self/fd/%d/inputs", cache);
    add_place(places, cache >= 0 ? path : "");
    add_place(places, run->config.inputs);
    snprintf(path, sizeof path, "/proc/self/fd/%d/copies", cache);
    add_place(places, cache >= 0 ? path : "");
    add_place(places, run->config.copies);
    if (host_archive_root(&run->config, path))
        add_place(places, path);
    add_place(places, run->config.archive.key);
    add_place(places, run->config.sign_key);
    if (host_state_path("env.key", path))
        add_place(places, path);
    add_place(places, run->config.env_key);
}

/* They are looked up once, for the first that is judged. */
static const struct run_places *places_of(struct run *run)
{
    if (run->mounts.places == NULL &&
        (run->mounts.places = calloc(1, sizeof *run->mounts.places)) != NULL)
        find_places(run, run->mounts.places);
    return run->mounts.places;
}

/* An allowlist may be wider than its author thought, and a packer of root's reads past
 * permissions. */
int run_refuse_ours(struct run *run, int fd, const char *name, struct sr_error *err)
{
    char path[40], source[PATH_MAX];
    const struct run_places *places = places_of(run);
    if (places == NULL)
        return sr_fail(err, SR_RUN_101, "mount.apply", "out of memory");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (realpath(path, source) == NULL)
        return 0; /* it has gone, which is found out later */
    for (size_t i = 0; i < places->count; i++)
        if (sr_path_within(source, places->items[i]) || sr_path_within(places->items[i], source))
            return sr_fail(err, SR_RUN_101, "mount.apply",
                           "%.180s is in or above %.180s, which safe-run keeps for itself: runs, "
                           "packed inputs, the archive, a key",
                           name, places->items[i]);
    return 0;
}

static int open_all(struct run *run, struct sr_error *err)
{
    const struct sr_policy *policy = run->options->policy;
    const int helpers = machine_helpers_cgroup(run->machine);
    const struct host_input_context context = {
        .config = &run->config,
        .hasher = record_hasher(run->record),
        .scratch_fd = record_directory(run->record),
        .uid = run->image.effective.uid,
        .gid = run->image.effective.gid,
        .rehash = run->options->rehash,
        .cgroup_fd = &helpers,
        .progress = run_tell_progress,
        .context = run,
    };
    struct sr_error first = {0};
    for (size_t i = 0; i < policy->mount_count; i++) {
        const struct sr_mount *mount = &policy->mounts[i];
        struct sr_error fault = {0};
        int result = run_refuse_ours(run, mount->fd, mount->source, &fault) < 0 ? -1
                     : first.code == SR_OK
                         ? host_input_open(mount, &context, &run->mounts.inputs[i], &fault)
                         : host_input_check(mount, &fault);
        if (run->options->meter != NULL)
            run->options->meter(run->options->progress_context, mount->source, 1, 1);
        if (record_checked(run, mount, &fault, err) < 0)
            return -1;
        if (result < 0 && first.code == SR_OK) {
            first = fault;
            snprintf(first.message, sizeof first.message, "mounts[%zu]: %.480s", i, fault.message);
        }
        if (first.code == SR_OK)
            warn_of_skipped(run, mount, &run->mounts.inputs[i]);
    }
    if (first.code == SR_OK)
        return 0;
    *err = first;
    return -1;
}

int run_mounts_apply(struct run *run, struct sr_error *err)
{
    size_t count = run->options->policy->mount_count;
    if (count == 0)
        return 0;
    run->mounts.inputs = calloc(count, sizeof *run->mounts.inputs);
    if (run->mounts.inputs == NULL)
        return sr_fail(err, SR_RUN_101, "mount.apply", "out of memory");
    for (size_t i = 0; i < count; i++)
        run->mounts.inputs[i].fd = -1;
    if (open_all(run, err) < 0)
        return -1;
    if (SR_FAILPOINT("mounts.apply"))
        return sr_fail(err, SR_RUN_101, "mount.apply", "told to fail");
    if (host_inputs_arrange(run->mounts.inputs, count, record_directory(run->record),
                            run->mounts.disks, &run->mounts.disk_count, &run->mounts.joined_fd,
                            err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (record_applied(run, i, err) < 0)
            return -1;
    return 0;
}

void run_mounts_specify(const struct run *run, struct sr_buf *spec)
{
    for (size_t i = 0; run->mounts.inputs != NULL && i < run->options->policy->mount_count; i++) {
        sr_cleanup_buf struct sr_buf input = SR_BUF_INIT;
        sr_buf_append(&input, &run->mounts.inputs[i].where, sizeof run->mounts.inputs[i].where);
        sr_buf_puts(&input, run->options->policy->mounts[i].target);
        spec->failed = spec->failed || !sr_buf_ok(&input);
        channel_spec_bytes(spec, CHANNEL_SPEC_INPUT, input.data, input.len);
    }
}

void run_mounts_release(struct run *run)
{
    sr_close_fd(&run->mounts.joined_fd);
    for (size_t i = run->options->policy->mount_count; run->mounts.inputs != NULL && i > 0; i--)
        sr_close_fd(&run->mounts.inputs[i - 1].fd);
    free(run->mounts.inputs);
    run->mounts.inputs = NULL;
    run->mounts.disk_count = 0;
}
