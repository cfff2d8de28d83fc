/* Packed inputs that are kept (kept.h): under the hash of what the kernel tells of the source
 * (image_pack_fingerprint()) and of the owner its entries have. The note says the image's own hash
 * and what is in it. */
#include "host/input_store.h"

#include "host/kept.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

_Static_assert(INPUT_STORE_NAME <= KEPT_NAME, "a name must fit");

int host_input_store_open(const struct host_config *config)
{
    return config->inputs_max == 0 ? -1 : kept_open(config->inputs, "inputs");
}

void input_store_name(const char *fingerprint, uint32_t uid, uint32_t gid,
                      char name[INPUT_STORE_NAME])
{
    snprintf(name, INPUT_STORE_NAME, "%s-%u-%u", fingerprint + strlen(SR_SHA256_PREFIX), uid, gid);
}

bool input_store_find(int store, const char *name, struct host_input *input)
{
    char text[KEPT_TEXT];
    struct host_input found = {.is_file = input->is_file, .reused = true};
    sr_cleanup_fd int fd = kept_find(store, name, text);
    if (fd < 0)
        return false;
    // NOLINTNEXTLINE(cert-err34-c): numbers of our own
    int got = sscanf(
        text, "%71[sha256:0-9a-f]\n%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 "\n%199[^\n]",
        found.hash, &found.image_bytes, &found.bytes, &found.files, &found.skipped,
        found.first_skipped);
    if (got < 5 || !sr_is_sha256(found.hash))
        return false;
    *input = found;
    input->fd = sr_take_fd(&fd);
    return true;
}

void input_store_keep(int store, const char *name, const struct host_input *input)
{
    char text[KEPT_TEXT];
    snprintf(text, sizeof text, "%s\n%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n%s\n",
             input->hash, input->image_bytes, input->bytes, input->files, input->skipped,
             input->first_skipped);
    kept_add(store, name, input->fd, text, false);
}

void host_input_store_trim(int store, uint64_t max, int64_t older_than_sec)
{
    kept_trim(store, max, older_than_sec);
}
