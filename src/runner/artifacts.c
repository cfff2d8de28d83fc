/* How files of the host are opened, copied and hashed on behalf of a run. */
#include "runner/run_state.h"

bool run_tell_progress(void *context, const char *what, uint64_t done, uint64_t total)
{
    struct run *run = context;
    if (run->options->meter != NULL)
        run->options->meter(run->options->progress_context, what, done, total);
    return !run_interrupted(run);
}

struct host_artifact_context run_artifact_context(struct run *run)
{
    return (struct host_artifact_context){
        .config = &run->config,
        .hasher = record_hasher(run->record),
        .scratch_fd = record_directory(run->record),
        .rehash = run->options->rehash,
        .progress = run_tell_progress,
        .context = run,
    };
}
