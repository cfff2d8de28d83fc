/*
 * A reading as one page.
 *
 * What keeps a hostile run out of it: every text of the run goes through page_text(), which escapes
 * what HTML gives a meaning; there is no place for such a text but between tags, never in an
 * attribute, a style or an id; and the Content-Security-Policy lets the page load nothing and run
 * nothing at all, its one style sheet named by hash.
 */
#include "evidence/page.h"
#include "evidence/page_text.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

/* Rows of a table; the report has the rest. */
enum { ROWS = 200, ERRORS = 20 };

/* A row of a description list; nothing when there is no text. */
static void put_field(struct sr_buf *out, const char *name, const char *text, bool code)
{
    if (text == NULL || text[0] == '\0')
        return;
    sr_buf_printf(out, "<dt>%s</dt><dd>", name);
    (code ? page_code : page_bdi)(out, text);
    sr_buf_puts(out, "</dd>\n");
}

/* The style's hash as a Content-Security-Policy source. */
static int put_style_source(struct sr_buf *out)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len;
    char text[4 * ((EVP_MAX_MD_SIZE + 2) / 3) + 1];
    if (EVP_Digest(evidence_page_style, strlen(evidence_page_style), digest, &len, EVP_sha256(),
                   NULL) != 1)
        return -1;
    EVP_EncodeBlock((unsigned char *)text, digest, (int)len);
    sr_buf_printf(out, "'sha256-%s'", text);
    return 0;
}

static int put_head(struct sr_buf *out, const struct evidence_reading *r)
{
    sr_buf_puts(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                     "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                     "base-uri 'none'; form-action 'none'; style-src ");
    if (put_style_source(out) < 0)
        return -1;
    sr_buf_puts(out, "\">\n<meta name=\"referrer\" content=\"no-referrer\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                     "<title>safe-run report ");
    page_text(out, r->summary->run_id);
    sr_buf_puts(out, "</title>\n<style>");
    sr_buf_puts(out, evidence_page_style);
    sr_buf_puts(out, "</style>\n</head>\n<body>\n");
    return 0;
}

static bool is_guests(const struct evidence_summary *s)
{
    return strcmp(s->exit_seen_by, EVIDENCE_OBSERVED_GUEST) == 0;
}

static void put_header(struct sr_buf *out, const struct evidence_reading *r)
{
    const struct evidence_summary *s = r->summary;
    const struct evidence_companions *c = &r->companions;
    char took[EVIDENCE_QUANTITY], when[EVIDENCE_QUANTITY];
    sr_buf_puts(out, "<header>\n<p class=\"kicker\">safe-run report</p>\n<h1>");
    page_bdi(out, c->name[0] != '\0'          ? c->name
                  : s->policy_name[0] != '\0' ? s->policy_name
                                              : s->run_id);
    sr_buf_puts(out, "</h1>\n<p class=\"meta\">");
    page_bdi(out, s->run_id);
    sr_buf_puts(out, " · ");
    page_bdi(out, evidence_when_text(s->started, when));
    if (evidence_reading_usec(r) > 0)
        sr_buf_printf(out, " · %s", evidence_usec_text(evidence_reading_usec(r), took));
    sr_buf_puts(out, "</p>\n");
    if (c->labels[0] != '\0') {
        sr_buf_puts(out, "<p class=\"meta\">");
        page_bdi(out, c->labels);
        sr_buf_puts(out, "</p>\n");
    }
    if (!r->verification.valid)
        sr_buf_puts(out, "<div class=\"banner bad\"><strong>This report is not valid.</strong>"
                         "<p>It was changed, or is not of one piece. Do not rely on what follows; "
                         "the verification says where it fails.</p></div>\n");
    if (s->contradiction_count > 0) {
        sr_buf_puts(out, "<div class=\"banner warn\"><strong>The guest contradicts the "
                         "host.</strong><ul class=\"plain\">");
        for (size_t i = 0; i < s->contradiction_count; i++) {
            sr_buf_puts(out, "<li>");
            page_bdi(out, s->contradictions[i].about);
            sr_buf_puts(out, ": ");
            page_bdi(out, s->contradictions[i].message);
            sr_buf_puts(out, "</li>");
        }
        sr_buf_puts(out, "</ul></div>\n");
    }
    sr_buf_puts(out, "</header>\n");
}

static void open_tile(struct sr_buf *out, const char *name, const char *tone)
{
    sr_buf_printf(out, "<li><span class=\"name\">%s</span><span class=\"value %s\">", name, tone);
}

/* A good end is nothing to be glad of where it cannot be relied on. */
static const char *outcome_tone(const struct evidence_reading *r)
{
    if (r->summary->exit_code != 0)
        return "bad";
    if (r->summary->contradiction_count > 0)
        return "warn";
    return r->verification.valid ? "good" : "";
}

static void put_tiles(struct sr_buf *out, const struct evidence_reading *r)
{
    const struct evidence_summary *s = r->summary;
    const struct sr_verification *v = &r->verification;
    char how[EVIDENCE_SUMMARY_TEXT];
    typedef unsigned long long ull;
    const ull destinations = s->target_count + s->more_targets;
    evidence_exit_sentence(s, how, sizeof how);
    if (how[0] >= 'a' && how[0] <= 'z')
        how[0] = (char)(how[0] - 'a' + 'A');
    sr_buf_puts(out, "<ul class=\"tiles\">\n");
    open_tile(out, "Outcome", outcome_tone(r));
    page_bdi(out, how);
    sr_buf_printf(out, "</span><span class=\"note\">%s</span></li>\n",
                  is_guests(s)                 ? "the guest's word"
                  : s->exit_seen_by[0] != '\0' ? "as the host saw it"
                                               : "");
    open_tile(out, "Evidence", v->valid ? "good" : "bad");
    sr_buf_printf(out, "%s</span><span class=\"note\">%llu events, %zu checks</span></li>\n",
                  v->valid ? "Valid" : "Not valid", (ull)v->event_count, v->check_count);
    open_tile(out, "Let out", "");
    if (s->target_count == 0)
        sr_buf_puts(out, "Nothing</span><span class=\"note\">no network at all</span></li>\n");
    else
        sr_buf_printf(out,
                      "%lld</span><span class=\"note\">packets of new connections, to %llu "
                      "allowed destinations</span></li>\n",
                      (long long)s->allowed_hits, destinations);
    uint64_t stopped = evidence_summary_denied(s) + evidence_summary_dropped(s);
    open_tile(out, "Stopped",
              stopped > 0 || s->mounts_rejected > 0 || evidence_summary_uncounted(s) ? "bad" : "");
    if (stopped > 0)
        sr_buf_printf(out, "%llu</span><span class=\"note\">packet%s%s</span></li>\n", (ull)stopped,
                      evidence_plural((int64_t)stopped),
                      s->flow_count > 0 ? "; the denied destinations are below" : "");
    else if (s->mounts_rejected > 0)
        sr_buf_printf(out, "%lld</span><span class=\"note\">mounts</span></li>\n",
                      (long long)s->mounts_rejected);
    else if (evidence_summary_uncounted(s))
        sr_buf_puts(out, "Not known</span><span class=\"note\">the counters were not read in the "
                         "end</span></li>\n");
    else
        sr_buf_puts(out, "Nothing</span><span class=\"note\">no attempt was seen</span></li>\n");
    sr_buf_puts(out, "</ul>\n");
}

static void put_companion(struct sr_buf *out, const char *name, enum evidence_companion_state state,
                          const char *text, const char *hash)
{
    if (state == EVIDENCE_COMPANION_KNOWN) {
        put_field(out, name, text, true);
        return;
    }
    sr_buf_printf(out, "<dt>%s</dt><dd>", name);
    sr_buf_puts(out, state == EVIDENCE_COMPANION_OTHER
                         ? "the file beside the report is another one; "
                         : "not beside the report; ");
    page_code(out, hash);
    sr_buf_puts(out, "</dd>\n");
}

static void put_what_ran(struct sr_buf *out, const struct evidence_reading *r)
{
    const struct evidence_summary *s = r->summary;
    const struct evidence_companions *c = &r->companions;
    char text[640];
    char ran[EVIDENCE_RAN];
    page_open_section(out, "ran", "What ran");
    sr_buf_puts(out, "<dl>\n");
    put_companion(out, "Command", c->command, c->command_line, s->command_hash);
    if (c->policy == EVIDENCE_COMPANION_KNOWN) {
        put_field(out, "Image", c->image, false);
        if (strcmp(s->rootfs_hash, EVIDENCE_HASH_ZERO) != 0)
            put_field(out, "Image digest", s->rootfs_hash, true);
        put_field(out, "Audit level", c->audit, false);
    } else {
        put_companion(out, "Policy", c->policy, "", s->policy_hash);
    }
    put_field(out, "User", evidence_ran_user(r, ran), false);
    put_field(out, "Directory", evidence_ran_workdir(r, ran), true);
    put_field(out, "Variables", c->env, true);
    for (size_t i = 0; i < s->secret_count; i++) {
        evidence_secret_sentence(&s->secrets[i], text, sizeof text);
        put_field(out, "Variable from outside", text, true);
    }
    put_field(out, "Variables from outside", s->secret_count == 0 ? c->env_from : "", true);
    put_field(out, "Variables by the image", s->ran_image_env, true);
    snprintf(text, sizeof text, "%s %s%s%s", s->vmm, s->vmm_version,
             s->accel[0] != '\0' ? ", accelerator " : "", s->accel);
    put_field(out, "VM", text, false);
    put_field(out, "Jail of the VMM", s->jail, false);
    put_field(out, "Uplink", s->uplink, false);
    put_field(out, "Archived as", s->bundle_id, true);
    sr_buf_puts(out, "</dl>\n</section>\n");
}

static void put_reach(struct sr_buf *out, const struct evidence_reading *r)
{
    static const char *const columns[] = {"Destination", "Protocol", "Port", "Let out", "Blocked"};
    const struct evidence_summary *s = r->summary;
    page_open_section(out, "reach", "Where it could go, and went");
    if (s->target_count == 0) {
        sr_buf_puts(out, strcmp(s->network_mode, "allowlist") == 0
                             ? "<p>Nowhere: no rule was applied.</p>\n</section>\n"
                             : "<p>Nowhere: the guest had no network at all.</p>\n</section>\n");
        return;
    }
    page_open_table(out, "Allowed destinations. Packets of new connections, counted by the host.",
                    columns, 5, 2);
    size_t shown = s->target_count < ROWS ? s->target_count : ROWS;
    for (size_t i = 0; i < shown; i++) {
        const struct evidence_summary_target *target = &s->targets[i];
        sr_buf_puts(out, "<tr><th scope=\"row\">");
        page_bdi(out, target->host[0] != '\0' ? target->host : target->target);
        if (target->host[0] != '\0') {
            sr_buf_puts(out, " <span class=\"soft\">");
            page_bdi(out, target->target);
            sr_buf_puts(out, "</span>");
        }
        sr_buf_puts(out, "</th><td>");
        page_bdi(out, target->protocol);
        sr_buf_printf(out,
                      "</td><td class=\"number\">%lld</td><td class=\"number\">%llu</td>"
                      "<td class=\"number%s\">%llu</td></tr>\n",
                      (long long)target->port, (unsigned long long)target->allowed,
                      target->blocked > 0 ? " bad" : "", (unsigned long long)target->blocked);
    }
    page_close_table(out, s->target_count - shown + s->more_targets);
    sr_buf_puts(out, "</section>\n");
}

static void put_stopped(struct sr_buf *out, const struct evidence_reading *r)
{
    static const char *const columns[] = {"Destination", "Protocol", "When", "Port", "Packets"};
    const struct evidence_summary *s = r->summary;
    uint64_t denied = evidence_summary_denied(s);
    char when[EVIDENCE_FLOW_TIME];
    page_open_section(out, "stopped", "What was stopped");
    if (s->failure_code[0] != '\0') {
        sr_buf_puts(out, "<p class=\"bad\">The run: ");
        page_bdi(out, s->failure);
        sr_buf_puts(out, " <span class=\"word\">");
        page_bdi(out, s->failure_code);
        sr_buf_puts(out, "</span></p>\n");
    }
    if (evidence_summary_uncounted(s))
        sr_buf_puts(out, "<p class=\"bad\">The network's counters were not read in the end: there "
                         "may have been more packets, let out and stopped.</p>\n");
    if (s->mounts_rejected > 0)
        sr_buf_printf(out, "<p>%lld mount%s refused; the time line says which.</p>\n",
                      (long long)s->mounts_rejected, evidence_plural(s->mounts_rejected));
    if (s->flow_count > 0) {
        page_open_table(out, "Denied destinations, as the host's kernel noted them.", columns, 5,
                        3);
        size_t shown = s->flow_count < ROWS ? s->flow_count : ROWS;
        for (size_t i = 0; i < shown; i++) {
            const struct evidence_summary_flow *flow = &s->flows[i];
            sr_buf_puts(out, "<tr class=\"bad\"><th scope=\"row\">");
            page_bdi(out, flow->destination);
            sr_buf_puts(out, "</th><td>");
            page_bdi(out, flow->protocol);
            evidence_flow_time(s, flow, when);
            sr_buf_printf(out, "</td><td>%s</td><td class=\"number\">",
                          when[0] != '\0' ? when + 2 : "");
            if (flow->port > 0)
                sr_buf_i64(out, flow->port);
            sr_buf_printf(out, "</td><td class=\"number\">%llu</td></tr>\n",
                          (unsigned long long)flow->packets);
        }
        page_close_table(out, s->flow_count - shown + s->more_flows);
    }
    if (denied > s->flow_packets && denied > (uint64_t)s->blocked_hits)
        sr_buf_printf(out, "<p>%llu packet%s to destinations that are not recorded.</p>\n",
                      (unsigned long long)(denied - s->flow_packets),
                      evidence_plural((int64_t)(denied - s->flow_packets)));
    for (int i = 0; i < EVIDENCE_DROP_COUNT; i++)
        if (s->dropped[i] > 0)
            sr_buf_printf(out, "<p>%llu frame%s %s.</p>\n", (unsigned long long)s->dropped[i],
                          evidence_plural((int64_t)s->dropped[i]),
                          evidence_drop_sentence((enum evidence_drop)i));
    if (s->blocked_hits > 0)
        sr_buf_printf(out,
                      "<p>%s%lld packet%s to an allowed address, but to a port or protocol that no "
                      "rule allows there.</p>\n",
                      s->flow_count > 0 ? "Of the denied ones " : "", (long long)s->blocked_hits,
                      evidence_plural(s->blocked_hits));
    if (denied + evidence_summary_dropped(s) == 0 && s->failure_code[0] == '\0' &&
        s->mounts_rejected == 0)
        sr_buf_puts(out, "<p>Nothing was seen to try.</p>\n");
    sr_buf_puts(out, "</section>\n");
}

static void put_limits(struct sr_buf *out, const struct evidence_reading *r)
{
    static const char *const columns[] = {"Resource", "Limit", "Used", "Held by"};
    struct evidence_limit_row rows[EVIDENCE_LIMIT_ROWS];
    evidence_limit_rows(r, rows);
    page_open_section(out, "limits", "Limits and use");
    page_open_table(out, "What the policy gave, what the host saw used, and who enforced it.",
                    columns, 4, 4);
    for (int i = 0; i < EVIDENCE_LIMIT_ROWS; i++) {
        const char *const cells[] = {rows[i].limit, rows[i].used, rows[i].holder};
        sr_buf_printf(out, "<tr><th scope=\"row\">%s</th>", rows[i].name);
        for (int k = 0; k < 3; k++) {
            sr_buf_puts(out, "<td>");
            if (cells[k][0] != '\0')
                page_bdi(out, cells[k]);
            else
                sr_buf_puts(out, "<span class=\"soft\">not recorded</span>");
            sr_buf_puts(out, "</td>");
        }
        sr_buf_puts(out, "</tr>\n");
    }
    page_close_table(out, 0);
    if (!page_charts(out, r))
        sr_buf_puts(out, "<p class=\"soft\">Too short, or too few samples, for a chart.</p>\n");
    sr_buf_puts(out, "</section>\n");
}

static void put_time_line(struct sr_buf *out, const struct evidence_reading *r)
{
    const struct evidence_summary *s = r->summary;
    size_t count = evidence_summary_steps(s);
    page_open_section(out, "line", "Time line");
    page_phases(out, s);
    sr_buf_puts(out, "<p class=\"soft\">Seen by the host, unless marked as the guest's "
                     "word.</p>\n<ol class=\"line\">\n");
    for (size_t i = 0; i < count; i++) {
        const struct evidence_summary_step *step = evidence_summary_step(s, i);
        if (i == EVIDENCE_SUMMARY_FIRST_STEPS && s->step_count > count)
            sr_buf_printf(
                out, "<li><time></time><span class=\"soft\">%llu more in the report</span></li>\n",
                (unsigned long long)(s->step_count - count));
        bool fault = step->kind == SR_EVENT_RUN_FAILED || step->kind == SR_EVENT_MOUNT_REJECTED ||
                     step->kind == SR_EVENT_NETWORK_RULE_CLEANUP_FAILED,
             vm = step->kind == SR_EVENT_VM_STARTED || step->kind == SR_EVENT_VM_EXITED;
        sr_buf_puts(out, fault ? "<li class=\"fault\">" : vm ? "<li class=\"vm\">" : "<li>");
        if (step->timed && s->first_nsec > 0 && step->nsec >= s->first_nsec)
            sr_buf_printf(out, "<time>+%.3f s</time>", (double)(step->nsec - s->first_nsec) / 1e9);
        else
            sr_buf_puts(out, "<time>?</time>");
        sr_buf_puts(out, "<span>");
        page_bdi(out, step->text);
        if (step->guest)
            sr_buf_puts(out, " <span class=\"word\">the guest's word</span>");
        sr_buf_puts(out, "</span></li>\n");
    }
    sr_buf_puts(out, "</ol>\n");
    if (s->counts[SR_EVENT_RESOURCE_SAMPLED] > 0)
        sr_buf_printf(out,
                      "<p class=\"soft\">Not listed: %llu samples, %llu rules, %llu hits, %llu "
                      "denied flows.</p>\n",
                      (unsigned long long)s->counts[SR_EVENT_RESOURCE_SAMPLED],
                      (unsigned long long)s->counts[SR_EVENT_NETWORK_RULE_APPLIED],
                      (unsigned long long)s->counts[SR_EVENT_NETWORK_RULE_HIT],
                      (unsigned long long)s->counts[SR_EVENT_NETWORK_FLOW_DENIED]);
    sr_buf_puts(out, "</section>\n");
}

static void put_output(struct sr_buf *out, const char *name,
                       const struct evidence_companion_output *output, int64_t received)
{
    char size[EVIDENCE_QUANTITY];
    sr_buf_printf(out, "<h3>%s</h3>\n", name);
    if (output->state == EVIDENCE_COMPANION_KNOWN && output->tail[0] != '\0') {
        sr_buf_printf(out,
                      "<p class=\"soft\">%s in the log%s</p>\n<pre tabindex=\"0\" "
                      "role=\"region\" aria-label=\"%s\"><bdi>",
                      evidence_bytes_text(output->size, size),
                      output->size > EVIDENCE_COMPANION_TAIL ? "; this is its end" : "", name);
        page_text(out, output->tail);
        sr_buf_puts(out, "</bdi></pre>\n");
    } else if (output->state == EVIDENCE_COMPANION_KNOWN) {
        sr_buf_puts(out, "<p class=\"soft\">empty</p>\n");
    } else if (output->state == EVIDENCE_COMPANION_OTHER) {
        sr_buf_puts(out, "<p class=\"bad\">The file beside the report is another one; it is not "
                         "shown.</p>\n");
    } else {
        sr_buf_printf(out, "<p class=\"soft\">%s received; the log is not beside the report</p>\n",
                      received >= 0 ? evidence_bytes_text((uint64_t)received, size)
                                    : "not known what was");
    }
}

static void put_outputs(struct sr_buf *out, const struct evidence_reading *r)
{
    page_open_section(out, "output", "What the command said");
    put_output(out, "stdout", &r->companions.out, r->summary->stdout_bytes);
    put_output(out, "stderr", &r->companions.err, r->summary->stderr_bytes);
    sr_buf_puts(out, "</section>\n");
}

static void put_errors(struct sr_buf *out, const struct sr_verification *v)
{
    size_t shown = v->error_count < ERRORS ? v->error_count : ERRORS;
    if (shown == 0)
        return;
    sr_buf_puts(out, "<ul class=\"plain bad\">\n");
    for (size_t i = 0; i < shown; i++) {
        sr_buf_printf(out, "<li>%s ", sr_code_name(v->errors[i].code));
        page_code(out, v->errors[i].path);
        sr_buf_putc(out, ' ');
        page_bdi(out, v->errors[i].message);
        sr_buf_puts(out, "</li>\n");
    }
    uint64_t more = v->error_count - shown + v->more_errors;
    if (more > 0)
        sr_buf_printf(out, "<li>and %llu more</li>\n", (unsigned long long)more);
    sr_buf_puts(out, "</ul>\n");
}

static void put_verification(struct sr_buf *out, const struct evidence_reading *r)
{
    const struct sr_verification *v = &r->verification;
    const struct evidence_summary *s = r->summary;
    page_open_section(out, "verification", "Verification");
    sr_buf_printf(out,
                  "<p>The verifier was run on this report%s%s when the page was made: "
                  "<strong class=\"%s\">%s</strong>.</p>\n<ul class=\"checks\">\n",
                  r->with_events ? ", its events.jsonl" : "",
                  r->with_files ? " and the files beside it" : "", v->valid ? "good" : "bad",
                  v->valid ? "valid" : "not valid");
    for (size_t i = 0; i < v->check_count; i++)
        sr_buf_printf(out, "<li><b class=\"%s\">%s</b>%s</li>\n", v->checks[i].ok ? "good" : "bad",
                      v->checks[i].ok ? "Good" : "Failed", v->checks[i].name);
    sr_buf_puts(out, "</ul>\n");
    for (size_t i = 0; i < v->check_count; i++) {
        if (v->checks[i].note[0] == '\0')
            continue;
        sr_buf_printf(out, "<p class=\"soft\">%s: ", v->checks[i].name);
        page_bdi(out, v->checks[i].note);
        sr_buf_puts(out, "</p>\n");
    }
    put_errors(out, v);
    page_signers(out, r);
    sr_buf_puts(out, "<h3>Hashes</h3>\n<dl>\n");
    put_field(out, "Report", s->digest, true);
    put_field(out, "Policy", s->policy_hash, true);
    put_field(out, "Command", s->command_hash, true);
    put_field(out, "Kernel", s->kernel_hash, true);
    put_field(out, "Image", s->rootfs_hash, true);
    for (size_t i = 0; i < s->file_count; i++) {
        sr_buf_puts(out, "<dt>");
        page_bdi(out, s->files[i].name);
        sr_buf_puts(out, "</dt><dd>");
        page_code(out, s->files[i].hash);
        sr_buf_puts(out, "</dd>\n");
    }
    sr_buf_puts(out, "</dl>\n</section>\n");
}

int evidence_html(const struct evidence_reading *r, const char *version, struct sr_buf *out)
{
    if (put_head(out, r) < 0)
        return -1;
    put_header(out, r);
    sr_buf_puts(out, "<main>\n");
    put_tiles(out, r);
    put_what_ran(out, r);
    page_rules(out, r);
    put_reach(out, r);
    put_stopped(out, r);
    put_limits(out, r);
    put_time_line(out, r);
    put_outputs(out, r);
    page_outputs(out, r);
    put_verification(out, r);
    sr_buf_printf(out,
                  "</main>\n<footer>\n<p>Made by safe-run %s from run_report.json. This page is "
                  "a view: the evidence is the report and its events, and anyone can check "
                  "them with <code>safe-run report verify</code>.</p>\n</footer>\n</body>\n"
                  "</html>\n",
                  version);
    return sr_buf_ok(out) ? 0 : -1;
}
