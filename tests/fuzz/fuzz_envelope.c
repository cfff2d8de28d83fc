/*
 * Any bytes as an envelope: what is read is written again byte for byte, so that there is one
 * spelling. The same bytes as a statement that the right key has signed: an answer. The same as a
 * key in PEM.
 */
#include "evidence/envelope.h"
#include "saferun/report.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* A file in memory, and its path for whoever wants one. */
static int file_of(const void *data, size_t size, char path[32])
{
    int fd = memfd_create("input", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
    snprintf(path, 32, "/proc/self/fd/%d", fd);
    return fd;
}

static void read_envelope(const char *text, size_t size)
{
    sr_cleanup_envelope struct evidence_envelope envelope = EVIDENCE_ENVELOPE_INIT;
    sr_cleanup_buf struct sr_buf again = SR_BUF_INIT;
    struct sr_error err;
    if (evidence_envelope_parse(text, size, &envelope, &err) < 0) {
        must(err.code == SR_EVD_304 && strncmp(err.path, "attestation", 11) == 0);
        return;
    }
    evidence_envelope_write(&envelope, &again);
    must(again.len == size && memcmp(again.data, text, size) == 0);
}

static void read_statement(const char *text, size_t size)
{
    static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
                              "-----END PRIVATE KEY-----\n";
    static const char public_pem[] =
        "-----BEGIN PUBLIC KEY-----\n"
        "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
        "-----END PUBLIC KEY-----\n";
    static const char report[] =
        "{\"artifacts\":{\"files\":{\"a\":\"sha256:00\",\"b\":1}},\"events\":[],\"runId\":\"r\"}";
    sr_cleanup_envelope struct evidence_envelope envelope = EVIDENCE_ENVELOPE_INIT;
    sr_cleanup_buf struct sr_buf signed_text = SR_BUF_INIT;
    sr_cleanup_key struct sr_key *key = NULL;
    struct sr_error err;
    if (size == 0)
        return;
    sr_buf_append(&envelope.payload, text, size);
    must(evidence_key_parse(pem, strlen(pem), true, &key, &err) == 0 &&
         evidence_envelope_sign(&envelope, key, &err) == 0);
    evidence_envelope_write(&envelope, &signed_text);

    char attestation[32], key_path[32], report_path[32];
    const char *const keys[] = {key_path};
    int envelope_fd = file_of(signed_text.data, signed_text.len, attestation);
    int key_fd = file_of(public_pem, strlen(public_pem), key_path);
    int report_fd = file_of(report, strlen(report), report_path);
    const struct sr_verify_options options = {
        .attestation_path = attestation, .key_paths = keys, .key_count = 1};
    sr_cleanup_verification struct sr_verification result = {0};
    must(sr_report_verify_fd(report_fd, &options, &result, &err) == 0);
    must(!result.valid); /* the report is none */
    for (size_t i = 0; i < result.error_count; i++)
        must(strncmp(result.errors[i].path, "attestation.signatures", 22) != 0);
    close(envelope_fd);
    close(key_fd);
    close(report_fd);
}

static void read_key(const char *text, size_t size, bool is_private)
{
    sr_cleanup_key struct sr_key *key = NULL;
    struct sr_error err;
    if (evidence_key_parse(text, size, is_private, &key, &err) < 0)
        must(err.code == SR_EVD_003 && key == NULL);
    else
        must(strlen(evidence_key_id(key)) == EVIDENCE_KEY_ID_SIZE - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    read_envelope(text, size);
    read_statement(text, size);
    read_key(text, size, true);
    read_key(text, size, false);
    return 0;
}
