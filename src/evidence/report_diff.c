/* What differs between two runs, in sentences. */
#include "evidence/reading.h"

#include "common/printable.h"

#include <stdio.h>
#include <string.h>

struct speaker {
    evidence_diff_say *say;
    void *context;
    const char *topic;
    bool *differs; /* NULL: what is said now always differs */
};

__attribute__((format(printf, 2, 3))) static void say(const struct speaker *speaker,
                                                      const char *fmt, ...)
{
    char sentence[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(sentence, sizeof sentence, fmt, ap);
    va_end(ap);
    sr_make_printable(sentence); /* it may have been cut in the middle of a character */
    speaker->say(speaker->context, speaker->topic, sentence);
    if (speaker->differs != NULL)
        *speaker->differs = true;
}

static const char *or_nothing(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : "not recorded";
}

static void texts(const struct speaker *speaker, const char *what, const char *a, const char *b)
{
    if (strcmp(or_nothing(a), or_nothing(b)) != 0)
        say(speaker, "%s: %s, then %s", what, or_nothing(a), or_nothing(b));
}

static void numbers(const struct speaker *speaker, const char *what, int64_t a, int64_t b)
{
    if (a != b)
        say(speaker, "%s: %lld, then %lld", what, (long long)a, (long long)b);
}

/* Whether anything a hash is taken of is the same thing; the hashes say which. */
static void hashes(const struct speaker *speaker, const char *what, const char *a, const char *b)
{
    if (strcmp(a, b) != 0)
        say(speaker, "another %s: %.23s..., then %.23s...", what, or_nothing(a), or_nothing(b));
}

static void asked(struct speaker *speaker, const struct evidence_reading *a,
                  const struct evidence_reading *b)
{
    const struct evidence_companions *x = &a->companions, *y = &b->companions;
    speaker->topic = "Asked";
    hashes(speaker, "policy", a->summary->policy_hash, b->summary->policy_hash);
    if (x->policy == EVIDENCE_COMPANION_KNOWN && y->policy == EVIDENCE_COMPANION_KNOWN) {
        texts(speaker, "name", x->name, y->name);
        texts(speaker, "labels", x->labels, y->labels);
        texts(speaker, "image", x->image, y->image);
        if (strcmp(x->env, y->env) != 0)
            say(speaker, "variables: %s, then %s", x->env[0] != '\0' ? x->env : "none",
                y->env[0] != '\0' ? y->env : "none");
        if (strcmp(x->env_from, y->env_from) != 0)
            say(speaker, "variables from outside: %s, then %s",
                x->env_from[0] != '\0' ? x->env_from : "none",
                y->env_from[0] != '\0' ? y->env_from : "none");
        texts(speaker, "audit level", x->audit, y->audit);
    }
    if (strcmp(a->summary->command_hash, b->summary->command_hash) != 0 &&
        x->command_line != NULL && y->command_line != NULL)
        texts(speaker, "command", x->command_line, y->command_line);
    else
        hashes(speaker, "command", a->summary->command_hash, b->summary->command_hash);
}

/* What the command ran as: by the events where they tell, else by the policy. What is not known of
 * both is not compared. */
static void ran_as(const struct speaker *speaker, const char *what, const char *ran_a,
                   const char *asked_a, const char *ran_b, const char *asked_b)
{
    const char *a = ran_a[0] != '\0' ? ran_a : asked_a, *b = ran_b[0] != '\0' ? ran_b : asked_b;
    if (a[0] != '\0' && b[0] != '\0')
        texts(speaker, what, a, b);
}

static void runtime(struct speaker *speaker, const struct evidence_reading *a,
                    const struct evidence_reading *b)
{
    const struct evidence_summary *s = a->summary, *t = b->summary;
    const struct evidence_companions *x = &a->companions, *y = &b->companions;
    speaker->topic = "Ran as";
    ran_as(speaker, "user", s->ran_user, x->user, t->ran_user, y->user);
    ran_as(speaker, "directory", s->ran_workdir, x->workdir, t->ran_workdir, y->workdir);
    if (s->ran_user[0] != '\0' && t->ran_user[0] != '\0' &&
        strcmp(s->ran_image_env, t->ran_image_env) != 0)
        say(speaker, "variables by the image: %s, then %s",
            s->ran_image_env[0] != '\0' ? s->ran_image_env : "none",
            t->ran_image_env[0] != '\0' ? t->ran_image_env : "none");
}

static void ran_on(struct speaker *speaker, const struct evidence_summary *a,
                   const struct evidence_summary *b)
{
    speaker->topic = "Ran on";
    hashes(speaker, "kernel", a->kernel_hash, b->kernel_hash);
    hashes(speaker, "root image", a->rootfs_hash, b->rootfs_hash);
    texts(speaker, "VMM", a->vmm, b->vmm);
    texts(speaker, "VMM's version", a->vmm_version, b->vmm_version);
    texts(speaker, "accelerator", a->accel, b->accel);
    texts(speaker, "jail", a->jail, b->jail);
    texts(speaker, "uplink", a->uplink, b->uplink);
}

static void ended(struct speaker *speaker, const struct evidence_reading *a,
                  const struct evidence_reading *b)
{
    char x[EVIDENCE_SUMMARY_TEXT], y[EVIDENCE_SUMMARY_TEXT];
    speaker->topic = "Ended";
    evidence_exit_sentence(a->summary, x, sizeof x);
    evidence_exit_sentence(b->summary, y, sizeof y);
    texts(speaker, "outcome", x, y);
    numbers(speaker, "exit status of safe-run", a->summary->exit_code, b->summary->exit_code);
    texts(speaker, "failure", a->summary->failure, b->summary->failure);
    numbers(speaker, "contradictions of guest and host", (int64_t)a->summary->contradiction_count,
            (int64_t)b->summary->contradiction_count);
    texts(speaker, "verification", a->verification.valid ? "valid" : "not valid",
          b->verification.valid ? "valid" : "not valid");
}

static const struct evidence_summary_target *target_in(const struct evidence_summary *s,
                                                       const struct evidence_summary_target *wanted)
{
    for (size_t i = 0; i < s->target_count; i++)
        if (s->targets[i].port == wanted->port &&
            strcmp(s->targets[i].protocol, wanted->protocol) == 0 &&
            strcmp(s->targets[i].target, wanted->target) == 0 &&
            strcmp(s->targets[i].host, wanted->host) == 0)
            return &s->targets[i];
    return NULL;
}

/* What could be reached, and whether it was; how many packets that took says nothing. */
static void reached(struct speaker *speaker, const struct evidence_summary *a,
                    const struct evidence_summary *b)
{
    char name[EVIDENCE_DESTINATION];
    speaker->topic = "Reached";
    texts(speaker, "network mode", a->network_mode, b->network_mode);
    numbers(speaker, "rules", a->rules_total, b->rules_total);
    for (size_t i = 0; i < a->target_count; i++)
        if (target_in(b, &a->targets[i]) == NULL)
            say(speaker, "no longer allowed: %s", evidence_target_text(&a->targets[i], name));
    for (size_t i = 0; i < b->target_count; i++) {
        const struct evidence_summary_target *now = &b->targets[i], *before = target_in(a, now);
        if (before == NULL)
            say(speaker, "newly allowed: %s%s", evidence_target_text(now, name),
                now->allowed > 0 ? ", and reached" : "");
        else if ((before->allowed > 0) != (now->allowed > 0))
            say(speaker, "%s: %s", now->allowed > 0 ? "now reached" : "no longer reached",
                evidence_target_text(now, name));
    }
    if (a->more_targets + b->more_targets > 0)
        say(speaker, "not compared: %llu destinations, then %llu; there are too many",
            (unsigned long long)a->more_targets, (unsigned long long)b->more_targets);
}

static bool has_flow(const struct evidence_summary *s, const struct evidence_summary_flow *wanted)
{
    for (size_t i = 0; i < s->flow_count; i++)
        if (s->flows[i].port == wanted->port &&
            strcmp(s->flows[i].protocol, wanted->protocol) == 0 &&
            strcmp(s->flows[i].destination, wanted->destination) == 0)
            return true;
    return false;
}

static void flows_only_in(struct speaker *speaker, const struct evidence_summary *s,
                          const struct evidence_summary *other, const char *what)
{
    char name[EVIDENCE_DESTINATION];
    for (size_t i = 0; i < s->flow_count; i++)
        if (!has_flow(other, &s->flows[i]))
            say(speaker, "%s: %s", what, evidence_flow_text(&s->flows[i], name));
}

static void stopped(struct speaker *speaker, const struct evidence_summary *a,
                    const struct evidence_summary *b)
{
    speaker->topic = "Stopped";
    flows_only_in(speaker, a, b, "no longer tried");
    flows_only_in(speaker, b, a, "newly tried and stopped");
    if ((evidence_summary_denied(a) > 0) != (evidence_summary_denied(b) > 0))
        say(speaker, "packets denied: %llu, then %llu",
            (unsigned long long)evidence_summary_denied(a),
            (unsigned long long)evidence_summary_denied(b));
    if (evidence_summary_uncounted(a) != evidence_summary_uncounted(b))
        say(speaker, "counters read in the end: %s, then %s",
            evidence_summary_uncounted(a) ? "no, there may have been more" : "yes",
            evidence_summary_uncounted(b) ? "no, there may have been more" : "yes");
    for (int i = 0; i < EVIDENCE_DROP_COUNT; i++)
        if ((a->dropped[i] > 0) != (b->dropped[i] > 0))
            say(speaker, "frames %s: %llu, then %llu",
                evidence_drop_sentence((enum evidence_drop)i), (unsigned long long)a->dropped[i],
                (unsigned long long)b->dropped[i]);
    if ((a->blocked_hits > 0) != (b->blocked_hits > 0))
        say(speaker,
            "packets to an allowed address, but not to what is allowed there: %lld, then "
            "%lld",
            (long long)a->blocked_hits, (long long)b->blocked_hits);
    numbers(speaker, "mounts refused", a->mounts_rejected, b->mounts_rejected);
    numbers(speaker, "mounts accepted", a->mounts_accepted, b->mounts_accepted);
}

static void limits(struct speaker *speaker, const struct evidence_reading *a,
                   const struct evidence_reading *b)
{
    struct evidence_limit_row x[EVIDENCE_LIMIT_ROWS], y[EVIDENCE_LIMIT_ROWS];
    char what[64];
    evidence_limit_rows(a, x);
    evidence_limit_rows(b, y);
    speaker->topic = "Limits";
    for (int i = 0; i < EVIDENCE_LIMIT_ROWS; i++) {
        if (a->companions.policy == EVIDENCE_COMPANION_KNOWN &&
            b->companions.policy == EVIDENCE_COMPANION_KNOWN)
            texts(speaker, x[i].name, x[i].limit, y[i].limit);
        snprintf(what, sizeof what, "%s held by", x[i].name);
        texts(speaker, what, x[i].holder, y[i].holder);
    }
    speaker->topic = "Used";
    speaker->differs = NULL;
    for (int i = 0; i < EVIDENCE_LIMIT_ROWS; i++)
        texts(speaker, x[i].name, x[i].used, y[i].used);
}

void evidence_diff(const struct evidence_reading *a, const struct evidence_reading *b,
                   evidence_diff_say *to, void *context, bool *differs)
{
    struct speaker speaker = {.say = to, .context = context, .differs = differs};
    *differs = false;
    asked(&speaker, a, b);
    runtime(&speaker, a, b);
    ran_on(&speaker, a->summary, b->summary);
    ended(&speaker, a, b);
    reached(&speaker, a->summary, b->summary);
    stopped(&speaker, a->summary, b->summary);
    limits(&speaker, a, b);
}
