/* Lists of the page: what the policy allows, what came out, who has signed. */
#include "evidence/page.h"
#include "evidence/page_text.h"

#include <stdio.h>
#include <string.h>

void page_rules(struct sr_buf *out, const struct evidence_reading *r)
{
    static const char *const columns[] = {"Name or addresses", "Protocol", "Port"};
    const struct evidence_companions *c = &r->companions;
    if (c->rule_count == 0)
        return;
    page_open_section(out, "rules", "Rules");
    page_open_table(out, "What the policy lets out; everything else is stopped.", columns, 3, 2);
    for (size_t i = 0; i < c->rule_count; i++) {
        const struct evidence_companion_rule *rule = &c->rules[i];
        sr_buf_puts(out, "<tr><th scope=\"row\">");
        page_bdi(out, rule->where);
        sr_buf_puts(out, "</th><td>");
        page_bdi(out, rule->protocol);
        sr_buf_puts(out, "</td><td class=\"number\">");
        page_bdi(out, rule->port);
        sr_buf_puts(out, "</td></tr>\n");
    }
    page_close_table(out, c->more_rules);
    sr_buf_puts(out, "</section>\n");
}

static void put_output(struct sr_buf *out, const struct evidence_summary_output *output)
{
    char size[EVIDENCE_QUANTITY];
    sr_buf_puts(out, output->collected ? "<tr><th scope=\"row\">"
                                       : "<tr class=\"bad\"><th scope=\"row\">");
    page_bdi(out, output->name);
    sr_buf_puts(out, "</th><td>");
    if (output->collected)
        page_code(out, output->hash);
    else
        page_bdi(out, output->message);
    sr_buf_puts(out, "</td><td class=\"number\">");
    if (output->collected && output->files >= 0)
        sr_buf_i64(out, output->files);
    sr_buf_printf(out, "</td><td class=\"number\">%s</td></tr>\n",
                  output->collected && output->bytes >= 0
                      ? evidence_bytes_text((uint64_t)output->bytes, size)
                      : "");
}

static void put_output_files(struct sr_buf *out, const struct evidence_summary *s)
{
    static const char *const columns[] = {"File", "SHA-256", "Bytes"};
    bool in_manifest = false;
    for (size_t i = 0; i < s->output_count; i++)
        in_manifest = in_manifest || s->outputs[i].in_manifest;
    if (in_manifest)
        sr_buf_puts(
            out, "<p class=\"soft\">Each file's SHA-256 is in <code>outputs.manifest</code> in the "
                 "run directory.</p>\n");
    if (s->output_file_count == 0)
        return;
    page_open_table(out, "Each file that came out.", columns, 3, 2);
    for (size_t i = 0; i < s->output_file_count; i++) {
        const struct evidence_summary_output_file *file = &s->output_files[i];
        sr_buf_puts(out, "<tr><th scope=\"row\">");
        page_bdi(out, file->path);
        sr_buf_puts(out, "</th><td>");
        page_code(out, file->hash);
        sr_buf_puts(out, "</td><td class=\"number\">");
        sr_buf_i64(out, file->size);
        sr_buf_puts(out, "</td></tr>\n");
    }
    page_close_table(out, s->more_output_files);
}

void page_outputs(struct sr_buf *out, const struct evidence_reading *r)
{
    static const char *const columns[] = {"Output", "Hash over its content, or why it is not there",
                                          "Files", "Size"};
    const struct evidence_summary *s = r->summary;
    if (s->output_count == 0)
        return;
    page_open_section(out, "outputs", "What came out");
    page_open_table(out, "Outputs that the policy asked for, as they are on the host.", columns, 4,
                    2);
    for (size_t i = 0; i < s->output_count; i++)
        put_output(out, &s->outputs[i]);
    page_close_table(out, s->more_outputs);
    put_output_files(out, s);
    sr_buf_puts(out, "</section>\n");
}

static bool is_signature_good(const struct sr_verification *v)
{
    for (size_t i = 0; i < v->check_count; i++)
        if (strcmp(v->checks[i].name, "signature") == 0)
            return v->checks[i].ok;
    return false;
}

void page_signers(struct sr_buf *out, const struct evidence_reading *r)
{
    if (r->with_key) {
        bool good = is_signature_good(&r->verification);
        sr_buf_printf(out, "<p class=\"%s\">%s", good ? "good" : "bad",
                      good ? "Signed by key " : "Not signed, as it should be, by key ");
        page_code(out, r->key_id);
        sr_buf_puts(out, "</p>\n");
        return;
    }
    if (!r->with_envelope) {
        sr_buf_puts(out, "<p class=\"soft\">There is no signature beside the report: it is whole "
                         "and consistent, which does not say who wrote it.</p>\n");
        return;
    }
    sr_buf_puts(out,
                "<p class=\"soft\">A signature lies beside the report. Whether it is good takes "
                "a key: safe-run report html --key K.");
    for (size_t i = 0; i < r->signer_count; i++) {
        sr_buf_puts(out, i == 0 ? " It claims key " : ", ");
        page_code(out, r->signers[i]);
    }
    sr_buf_puts(out, "</p>\n");
}
