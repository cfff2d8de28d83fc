/*
 * The reader of reports on any bytes: whatever it makes of them, what it writes is text that
 * neither a terminal nor a browser obeys, and a bounded amount of it.
 */
#include "evidence/ocsf.h"
#include "evidence/reading.h"

#include "common/json_unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int ok)
{
    if (!ok)
        abort();
}

/* UTF-8 without control characters but newlines. */
static void check_text(const struct sr_buf *text)
{
    must(sr_buf_ok(text));
    for (size_t at = 0; at < text->len;) {
        unsigned char c = (unsigned char)text->data[at];
        must(c == '\n' || (c >= 0x20 && c != 0x7f));
        int n = c < 0x80 ? 1 : sr_json_utf8(text->data + at, text->len - at);
        must(n > 0 && (n != 2 || c != 0xC2 || (unsigned char)text->data[at + 1] >= 0xA0));
        at += (size_t)n;
    }
}

/* Between tags there is no '<', and the tags are ours. */
static void check_page(const struct sr_buf *page)
{
    static const char *const ours[] = {
        "!DOCTYPE", "html", "head",    "meta", "title", "style", "body",   "header",    "p",
        "h1",       "h2",   "h3",      "bdi",  "code",  "div",   "strong", "ul",        "li",
        "main",     "span", "section", "dl",   "dt",    "dd",    "table",  "caption",   "thead",
        "tbody",    "tr",   "th",      "td",   "svg",   "desc",  "line",   "text",      "path",
        "figure",   "rect", "ol",      "time", "pre",   "b",     "footer", "figcaption"};
    for (const char *at = page->data; (at = strchr(at, '<')) != NULL;) {
        at += at[1] == '/' ? 2 : 1;
        size_t len = strcspn(at, " >"), i = 0;
        while (i < sizeof ours / sizeof ours[0] &&
               (strlen(ours[i]) != len || memcmp(ours[i], at, len) != 0))
            i++;
        must(i < sizeof ours / sizeof ours[0]);
    }
}

static int take_record(void *context, const char *line, size_t len, struct sr_error *err)
{
    struct sr_json_scan scan;
    (void)context;
    (void)err;
    must(len > 1 && line[len - 1] == '\n');
    must(sr_json_scan(line, len - 1, SR_JSON_LAST, &scan) == SR_JSON_OK && scan.len == len - 1);
    return 0;
}

static void hear(void *context, const char *topic, const char *sentence)
{
    struct sr_buf text = SR_BUF_INIT;
    (void)context;
    sr_buf_puts(&text, topic);
    sr_buf_puts(&text, sentence);
    check_text(&text);
    sr_buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sr_cleanup_reading struct evidence_reading reading = EVIDENCE_READING_INIT;
    sr_cleanup_buf struct sr_buf shown = SR_BUF_INIT, page = SR_BUF_INIT;
    struct sr_error err;
    char path[32];
    bool differs;
    int fd = memfd_create("input", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (evidence_reading_open(path, NULL, NULL, &reading, &err) == 0) {
        const struct evidence_show_options options = {.width = 40 + (unsigned)(size % 80)};
        evidence_show(&reading, &options, &shown);
        check_text(&shown);
        must(shown.len < 1024 * 1024);
        must(evidence_html(&reading, "0", &page) == 0);
        check_text(&page);
        check_page(&page);
        must(page.len < 2 * 1024 * 1024);
        evidence_diff(&reading, &reading, hear, NULL, &differs);
        must(!differs);
        if (evidence_ocsf_export(reading.fd, "0", take_record, NULL, &err) < 0)
            must(err.code == SR_EVD_301);
    }
    close(fd);
    return 0;
}
