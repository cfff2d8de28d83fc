/* What came out, of a summary: outputs and their files. */
#include "evidence/summary_state.h"

#include "common/printable.h"
#include "evidence/take.h"

#include <stdio.h>
#include <string.h>

static void take_file(struct evidence_summary *s, const char *output, struct sr_json_slice entry)
{
    char path[EVIDENCE_SUMMARY_TEXT];
    if (s->output_file_count == EVIDENCE_SUMMARY_OUTPUT_FILES) {
        s->more_output_files++;
        return;
    }
    struct evidence_summary_output_file *file = &s->output_files[s->output_file_count++];
    evidence_take_text(entry, "path", path, sizeof path);
    evidence_take_text(entry, "sha256", file->hash, sizeof file->hash);
    file->size = evidence_take_number(entry, "size");
    /* Both are printable; a character that is cut in half here would not be. */
    if (snprintf(file->path, sizeof file->path, "%s%s%s", output, path[0] != '\0' ? "/" : "",
                 path) >= (int)sizeof file->path)
        sr_make_printable(file->path);
}

void summary_take_output(struct evidence_summary *s, struct sr_json_slice payload)
{
    struct sr_json_slice entries = sr_json_get(payload, "entries"), entry;
    if (s->output_count == EVIDENCE_SUMMARY_OUTPUTS) {
        s->more_outputs++;
        return;
    }
    struct evidence_summary_output *output = &s->outputs[s->output_count++];
    evidence_take_text(payload, "name", output->name, sizeof output->name);
    evidence_take_text(payload, "hash", output->hash, sizeof output->hash);
    evidence_take_text(payload, "message", output->message, sizeof output->message);
    output->collected = sr_json_is_true(sr_json_get(payload, "collected"));
    output->in_manifest = sr_json_get(payload, "manifest").len > 0;
    output->files = evidence_take_number(payload, "files");
    output->bytes = evidence_take_number(payload, "bytes");
    for (size_t at = 0; sr_json_is_array(entries) && sr_json_next(entries, &at, &entry);)
        take_file(s, output->name, entry);
}
