#include "evidence/page_text.h"

void page_text(struct sr_buf *out, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        switch (c) {
        case '&':
            sr_buf_puts(out, "&amp;");
            break;
        case '<':
            sr_buf_puts(out, "&lt;");
            break;
        case '>':
            sr_buf_puts(out, "&gt;");
            break;
        case '"':
            sr_buf_puts(out, "&quot;");
            break;
        case '\'':
            sr_buf_puts(out, "&#39;");
            break;
        default:
            sr_buf_putc(out, (c < 0x20 && c != '\n') || c == 0x7f ? '?' : *p);
        }
    }
}

void page_bdi(struct sr_buf *out, const char *text)
{
    sr_buf_puts(out, "<bdi>");
    page_text(out, text);
    sr_buf_puts(out, "</bdi>");
}

void page_code(struct sr_buf *out, const char *text)
{
    sr_buf_puts(out, "<code>");
    page_bdi(out, text);
    sr_buf_puts(out, "</code>");
}

void page_open_section(struct sr_buf *out, const char *id, const char *title)
{
    sr_buf_printf(out, "<section aria-labelledby=\"%s\">\n<h2 id=\"%s\">%s</h2>\n", id, id, title);
}

void page_open_table(struct sr_buf *out, const char *caption, const char *const *columns,
                     size_t count, size_t first_number)
{
    sr_buf_printf(out, "<div class=\"wide\"><table>\n<caption>%s</caption>\n<thead><tr>", caption);
    for (size_t i = 0; i < count; i++)
        sr_buf_printf(out, "<th scope=\"col\"%s>%s</th>",
                      i >= first_number ? " class=\"number\"" : "", columns[i]);
    sr_buf_puts(out, "</tr></thead>\n<tbody>\n");
}

void page_close_table(struct sr_buf *out, uint64_t more)
{
    sr_buf_puts(out, "</tbody></table></div>\n");
    if (more > 0)
        sr_buf_printf(out, "<p class=\"soft\">and %llu more in the report</p>\n",
                      (unsigned long long)more);
}
