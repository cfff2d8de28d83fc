/* A reading for a terminal. */
#include "evidence/reading.h"

#include <stdio.h>
#include <string.h>

/* Rows of a table that a terminal is given. */
enum { ROWS = 30, LABEL = 14 };

struct printer {
    struct sr_buf *out;
    unsigned width;
    bool colour;
};

enum tone { PLAIN, BOLD, GOOD, BAD, FAINT };

static const char *begin(const struct printer *p, enum tone tone)
{
    static const char *const codes[] = {"", "\033[1m", "\033[32m", "\033[31m", "\033[2m"};
    return p->colour ? codes[tone] : "";
}

static const char *end(const struct printer *p, enum tone tone)
{
    return p->colour && tone != PLAIN ? "\033[0m" : "";
}

/* Characters, not bytes: all texts here are valid UTF-8. */
static size_t columns(const char *text, size_t len)
{
    size_t count = 0;
    for (size_t i = 0; i < len; i++)
        count += ((unsigned char)text[i] & 0xC0) != 0x80;
    return count;
}

/* How many bytes the first n characters are. */
static size_t bytes_of(const char *text, size_t len, size_t n)
{
    size_t at = 0;
    while (at < len && n > 0) {
        at++;
        while (at < len && ((unsigned char)text[at] & 0xC0) == 0x80)
            at++;
        n--;
    }
    return at;
}

/* Text in lines, of which all but the first are indented; words longer than a line are broken. */
static void wrap(const struct printer *p, const char *text, size_t at, size_t indent)
{
    size_t len = strlen(text);
    while (len > 0) {
        size_t room = p->width > at + 10 ? p->width - at : 10;
        size_t fits = bytes_of(text, len, room), line = fits;
        if (fits < len && text[fits] != ' ') {
            while (line > 0 && text[line - 1] != ' ')
                line--;
            line = line > 0 ? line : fits;
        }
        size_t shown = line;
        while (shown > 0 && text[shown - 1] == ' ')
            shown--;
        sr_buf_append(p->out, text, shown);
        sr_buf_putc(p->out, '\n');
        text += line;
        len -= line;
        while (len > 0 && *text == ' ') {
            text++;
            len--;
        }
        at = indent;
        for (size_t i = 0; len > 0 && i < indent; i++)
            sr_buf_putc(p->out, ' ');
    }
}

static void heading(const struct printer *p, const char *text)
{
    sr_buf_printf(p->out, "\n%s%s%s\n", begin(p, BOLD), text, end(p, BOLD));
}

/* "  label         text", wrapped under itself; nothing when there is no text. */
static void field(const struct printer *p, const char *label, const char *text)
{
    if (text == NULL || text[0] == '\0')
        return;
    sr_buf_printf(p->out, "  %-*s", LABEL, label);
    wrap(p, text, LABEL + 2, LABEL + 2);
}

__attribute__((format(printf, 3, 4))) static void say(const struct printer *p, enum tone tone,
                                                      const char *fmt, ...)
{
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    sr_buf_vprintf(&text, fmt, ap);
    va_end(ap);
    sr_buf_printf(p->out, "  %s", begin(p, tone));
    if (sr_buf_ok(&text))
        wrap(p, text.data, 2, 4);
    if (p->colour && tone != PLAIN) { /* the line's end belongs behind the colour's */
        p->out->len--;
        sr_buf_printf(p->out, "%s\n", end(p, tone));
    }
}

static void verification(const struct printer *p, const struct evidence_reading *r)
{
    const struct sr_verification *v = &r->verification;
    sr_cleanup_buf struct sr_buf checks = SR_BUF_INIT;
    heading(p, "Verification");
    for (size_t i = 0; i < v->check_count; i++)
        if (v->checks[i].ok)
            sr_buf_printf(&checks, "%s%s", checks.len > 0 ? ", " : "", v->checks[i].name);
    say(p, v->valid ? GOOD : BAD, "%s",
        v->valid ? "valid" : "INVALID: do not rely on what follows");
    field(p, "good", checks.data);
    for (size_t i = 0; i < v->check_count; i++) {
        char line[256];
        snprintf(line, sizeof line, "%s%s%s", v->checks[i].name,
                 v->checks[i].note[0] != '\0' ? ": " : "", v->checks[i].note);
        if (!v->checks[i].ok || v->checks[i].note[0] != '\0')
            field(p, v->checks[i].ok ? "note" : "FAILED", line);
    }
    for (size_t i = 0; i < v->error_count && i < 5; i++)
        say(p, BAD, "%s %s: %s", sr_code_name(v->errors[i].code), v->errors[i].path,
            v->errors[i].message);
    uint64_t more = v->error_count > 5 ? v->error_count - 5 + v->more_errors : v->more_errors;
    if (more > 0)
        say(p, BAD, "and %llu more; 'safe-run report verify' lists them", (unsigned long long)more);
    if (!r->with_events && !r->with_files)
        field(p, "not checked",
              "events.jsonl and the files of the run: they are not beside the report");
    if (!r->with_key)
        field(p, "signature",
              r->with_envelope ? "lies beside the report; it takes a key to check: --key K"
                               : "none beside the report: it is consistent, which does not say who "
                                 "wrote it");
}

/* In place of a document, why it is not there, and its hash. */
static void not_shown(const struct printer *p, const char *label,
                      enum evidence_companion_state state, const char *hash)
{
    field(p, label,
          state == EVIDENCE_COMPANION_OTHER ? "the file beside the report is another one; not shown"
                                            : "not beside the report");
    field(p, "", hash);
}

static void what_ran(const struct printer *p, const struct evidence_reading *r)
{
    const struct evidence_summary *s = r->summary;
    const struct evidence_companions *c = &r->companions;
    char text[640], ran[EVIDENCE_RAN], took[EVIDENCE_QUANTITY], when[EVIDENCE_QUANTITY];
    heading(p, "What ran");
    if (c->command_line != NULL)
        field(p, "command", c->command_line);
    else
        not_shown(p, "command", c->command, s->command_hash);
    if (c->policy == EVIDENCE_COMPANION_KNOWN) {
        snprintf(text, sizeof text, "%s%s%s%s", c->name, c->labels[0] != '\0' ? " (" : "",
                 c->labels, c->labels[0] != '\0' ? ")" : "");
        field(p, "policy", text);
        field(p, "image", c->image);
    } else {
        field(p, "policy", s->policy_name);
        not_shown(p, s->policy_name[0] != '\0' ? "" : "policy", c->policy, s->policy_hash);
    }
    field(p, "user", evidence_ran_user(r, ran));
    field(p, "directory", evidence_ran_workdir(r, ran));
    field(p, "variables", c->env);
    for (size_t i = 0; i < s->secret_count; i++) {
        evidence_secret_sentence(&s->secrets[i], text, sizeof text);
        field(p, "variables", text);
    }
    field(p, "variables", s->secret_count == 0 ? c->env_from : "");
    snprintf(text, sizeof text, "%s (by the image)", s->ran_image_env);
    field(p, "variables", s->ran_image_env[0] != '\0' ? text : "");
    snprintf(text, sizeof text, "%s%s%s%s%s", s->vmm, s->vmm_version[0] != '\0' ? " " : "",
             s->vmm_version, s->accel[0] != '\0' ? ", accelerator " : "", s->accel);
    field(p, "VM", text);
    field(p, "jail", s->jail);
    snprintf(text, sizeof text, "%s%sfor %s", evidence_when_text(s->started, when),
             s->started[0] != '\0' ? ", " : "", evidence_usec_text(evidence_reading_usec(r), took));
    field(p, "when", text);
}

/* A cell: text cut or filled to a number of columns. */
static void cell(const struct printer *p, const char *text, size_t width)
{
    size_t len = strlen(text), have = columns(text, len);
    if (have > width) {
        sr_buf_append(p->out, text, bytes_of(text, len, width - 3));
        sr_buf_puts(p->out, "...");
        return;
    }
    sr_buf_append(p->out, text, len);
    for (; have < width; have++)
        sr_buf_putc(p->out, ' ');
}

static void target(const struct printer *p, const struct evidence_summary_target *target,
                   size_t wide)
{
    char name[EVIDENCE_DESTINATION];
    unsigned long long allowed = target->allowed, blocked = target->blocked;
    enum tone tone = blocked > 0 ? BAD : PLAIN;
    evidence_target_text(target, name);
    if (wide == 0) {
        say(p, PLAIN, "%s: %llu allowed, %llu blocked", name, allowed, blocked);
        return;
    }
    sr_buf_puts(p->out, "  ");
    cell(p, name, wide);
    sr_buf_printf(p->out, " %10llu %s%10llu%s\n", allowed, begin(p, tone), blocked, end(p, tone));
}

static void reach(const struct printer *p, const struct evidence_reading *r)
{
    const struct evidence_summary *s = r->summary;
    size_t wide = p->width >= 72 ? p->width - 26 : 0; /* 0: no room for a table */
    heading(p, "Where it could go, and went");
    if (s->target_count == 0) {
        say(p, PLAIN, "%s",
            strcmp(s->network_mode, "allowlist") == 0 ? "nowhere: no rule was applied"
                                                      : "nowhere: the guest had no network at all");
        return;
    }
    field(p, "uplink", s->uplink);
    if (wide > 0) {
        sr_buf_printf(p->out, "  %s", begin(p, FAINT));
        cell(p, "destination", wide);
        sr_buf_printf(p->out, " %10s %10s%s\n", "allowed", "blocked", end(p, FAINT));
    }
    size_t shown = s->target_count < ROWS ? s->target_count : ROWS;
    for (size_t i = 0; i < shown; i++)
        target(p, &s->targets[i], wide);
    uint64_t more = s->target_count - shown + s->more_targets;
    if (more > 0)
        say(p, FAINT, "and %llu more", (unsigned long long)more);
    say(p, PLAIN, "packets of new connections: %lld let out; %lld stopped at these addresses",
        (long long)s->allowed_hits, (long long)s->blocked_hits);
    if (evidence_summary_uncounted(s))
        say(p, BAD, "there may have been more: the counters were not read in the end");
}

static void stopped(const struct printer *p, const struct evidence_reading *r)
{
    const struct evidence_summary *s = r->summary;
    char name[EVIDENCE_DESTINATION], when[EVIDENCE_FLOW_TIME];
    heading(p, "What was stopped");
    uint64_t denied = evidence_summary_denied(s);
    if (denied + evidence_summary_dropped(s) == 0 && s->mounts_rejected <= 0 &&
        s->failure_code[0] == '\0' && !s->timed_out) {
        say(p, PLAIN, "nothing");
        return;
    }
    size_t shown = s->flow_count < ROWS ? s->flow_count : ROWS;
    for (size_t i = 0; i < shown; i++)
        say(p, PLAIN, "%s: %llu packet%s%s", evidence_flow_text(&s->flows[i], name),
            (unsigned long long)s->flows[i].packets, evidence_plural((int64_t)s->flows[i].packets),
            evidence_flow_time(s, &s->flows[i], when));
    uint64_t more = s->flow_count - shown + s->more_flows;
    if (more > 0)
        say(p, FAINT, "and %llu more destinations", (unsigned long long)more);
    if (denied > s->flow_packets && denied > (uint64_t)s->blocked_hits)
        say(p, PLAIN, "%llu packet%s to destinations that are not recorded",
            (unsigned long long)(denied - s->flow_packets),
            evidence_plural((int64_t)(denied - s->flow_packets)));
    for (int i = 0; i < EVIDENCE_DROP_COUNT; i++)
        if (s->dropped[i] > 0)
            say(p, PLAIN, "%llu frame%s %s", (unsigned long long)s->dropped[i],
                evidence_plural((int64_t)s->dropped[i]),
                evidence_drop_sentence((enum evidence_drop)i));
    if (s->blocked_hits > 0)
        say(p, PLAIN, "%s%lld packet%s to an allowed address, but not to what is allowed there",
            s->flow_count > 0 ? "of the denied ones " : "", (long long)s->blocked_hits,
            evidence_plural(s->blocked_hits));
    if (s->mounts_rejected > 0)
        say(p, PLAIN, "%lld mount%s refused", (long long)s->mounts_rejected,
            evidence_plural(s->mounts_rejected));
    if (s->timed_out)
        say(p, BAD, "the command: its time was up");
    if (s->failure_code[0] != '\0')
        say(p, BAD, "%s %s: %s", s->failure_code, s->failure_path, s->failure);
    if (evidence_summary_uncounted(s))
        say(p, BAD, "packets: the counters were not read in the end, so there may have been any");
}

static void outputs(const struct printer *p, const struct evidence_summary *s)
{
    bool in_manifest = false;
    char size[EVIDENCE_QUANTITY];
    if (s->output_count == 0)
        return;
    heading(p, "What came out");
    for (size_t i = 0; i < s->output_count; i++) {
        const struct evidence_summary_output *output = &s->outputs[i];
        uint64_t bytes = output->bytes > 0 ? (uint64_t)output->bytes : 0;
        in_manifest = in_manifest || output->in_manifest;
        if (output->collected)
            say(p, PLAIN, "%s: %lld file%s, %s, %s", output->name, (long long)output->files,
                evidence_plural(output->files), evidence_bytes_text(bytes, size), output->hash);
        else
            say(p, BAD, "%s: %s", output->name, output->message);
    }
    if (s->more_outputs > 0)
        say(p, FAINT, "and %llu more", (unsigned long long)s->more_outputs);
    size_t shown = s->output_file_count < ROWS ? s->output_file_count : ROWS;
    for (size_t i = 0; i < shown; i++)
        say(p, PLAIN, "%s  %s", s->output_files[i].hash, s->output_files[i].path);
    uint64_t more = s->output_file_count - shown + s->more_output_files;
    if (more > 0)
        say(p, FAINT, "and %llu more files", (unsigned long long)more);
    if (in_manifest)
        say(p, FAINT, "each file's SHA-256 is in outputs.manifest in the run directory");
}

static void limits(const struct printer *p, const struct evidence_reading *r)
{
    struct evidence_limit_row rows[EVIDENCE_LIMIT_ROWS];
    evidence_limit_rows(r, rows);
    heading(p, "Limits and use");
    for (int i = 0; i < EVIDENCE_LIMIT_ROWS; i++) {
        char text[400];
        snprintf(text, sizeof text, "%s%s%s%s%s%s", rows[i].limit[0] != '\0' ? "limit " : "",
                 rows[i].limit[0] != '\0' ? rows[i].limit : "limit not known",
                 rows[i].used[0] != '\0' ? "; used " : "", rows[i].used,
                 rows[i].holder[0] != '\0' ? "; held by " : "", rows[i].holder);
        field(p, rows[i].name, text);
    }
}

static void guest_against_host(const struct printer *p, const struct evidence_summary *s)
{
    if (s->contradiction_count == 0)
        return;
    heading(p, "Guest against host");
    for (size_t i = 0; i < s->contradiction_count; i++)
        say(p, BAD, "%s: %s", s->contradictions[i].about, s->contradictions[i].message);
}

static void time_line(const struct printer *p, const struct evidence_summary *s)
{
    size_t count = evidence_summary_steps(s), gap = count;
    heading(p, "Time line");
    if (s->step_count > count)
        gap = EVIDENCE_SUMMARY_FIRST_STEPS;
    for (size_t i = 0; i < count; i++) {
        const struct evidence_summary_step *step = evidence_summary_step(s, i);
        if (i == gap)
            say(p, FAINT, "... %llu more ...", (unsigned long long)(s->step_count - count));
        char line[EVIDENCE_SUMMARY_TEXT + 32];
        if (step->timed && s->first_nsec > 0 && step->nsec >= s->first_nsec)
            sr_buf_printf(p->out, "  %+10.3f s  ", (double)(step->nsec - s->first_nsec) / 1e9);
        else
            sr_buf_printf(p->out, "  %10s    ", "?");
        snprintf(line, sizeof line, "%s%s", step->text, step->guest ? " (the guest's word)" : "");
        bool bad = step->kind == SR_EVENT_RUN_FAILED || step->kind == SR_EVENT_MOUNT_REJECTED ||
                   step->kind == SR_EVENT_NETWORK_RULE_CLEANUP_FAILED;
        sr_buf_puts(p->out, begin(p, bad ? BAD : PLAIN));
        wrap(p, line, 16, 16);
        if (bad && p->colour) {
            p->out->len--;
            sr_buf_printf(p->out, "%s\n", end(p, BAD));
        }
    }
    if (s->odd_events > 0)
        say(p, BAD, "%llu events are none", (unsigned long long)s->odd_events);
}

void evidence_show(const struct evidence_reading *r, const struct evidence_show_options *options,
                   struct sr_buf *out)
{
    const struct evidence_summary *s = r->summary;
    const struct printer p = {out, options->width, options->colour};
    char how[EVIDENCE_SUMMARY_TEXT];
    evidence_exit_sentence(s, how, sizeof how);
    sr_buf_printf(out, "%s%s%s\n", begin(&p, BOLD),
                  s->run_id[0] != '\0' ? s->run_id : "(no run id)", end(&p, BOLD));
    say(&p, s->exit_code == 0 ? GOOD : BAD, "%s%s", how,
        strcmp(s->exit_seen_by, EVIDENCE_OBSERVED_GUEST) == 0 ? " (the guest's word)" : "");
    what_ran(&p, r);
    verification(&p, r);
    guest_against_host(&p, s);
    reach(&p, r);
    stopped(&p, r);
    outputs(&p, r->summary);
    limits(&p, r);
    time_line(&p, s);
}
