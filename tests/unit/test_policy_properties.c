/*
 * Properties over generated policies: whatever is valid compiles; its spelling, YAML or JSON, in
 * any order and with comments, does not matter; normalising twice changes nothing. The generator is
 * seeded, so a failure repeats.
 */
#include "common/buf.h"
#include "common/jcs.h"
#include "saferun/bundle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { POLICIES = 1500 };

static uint64_t seed;

/* SplitMix64. */
static unsigned draw(unsigned below)
{
    uint64_t z = seed += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return (unsigned)((z ^ z >> 31) % below);
}

/* One policy in two spellings, section by section. */
struct spelling {
    struct sr_buf json[9], yaml[9];
    unsigned count;
    bool read_only; /* no disk, hence no outputs */
};

/* What JSON's strings hold as it is and YAML's only as an escape: line ends that only YAML 1.1
 * knows, directions of writing, and what YAML does not print. */
static const struct escape {
    const char *raw, *yaml;
} escapes[] = {
    {"\x7f", "\\x7f"},           {"\xc2\x85", "\\N"},         {"\xc2\x9b", "\\x9b"},
    {"\xe2\x80\xa8", "\\L"},     {"\xe2\x80\xae", "\\u202e"}, {"\xe2\x81\xa6", "\\u2066"},
    {"\xef\xbb\xbf", "\\ufeff"}, {"\xef\xbf\xbf", "\\uffff"},
};
enum { ESCAPES = sizeof escapes / sizeof escapes[0] };

static const struct escape *find_escape(const char *text)
{
    for (size_t i = 0; i < ESCAPES; i++)
        if (strncmp(text, escapes[i].raw, strlen(escapes[i].raw)) == 0)
            return &escapes[i];
    return NULL;
}

/* A text as both spellings may hold it: JSON's string is also YAML's double-quoted scalar but for
 * "\/" and the above. */
static void text(struct sr_buf *json, struct sr_buf *yaml, bool blank_ok)
{
    static const char *const pieces[] = {"a",
                                         "Z",
                                         "no",
                                         "~",
                                         " ",
                                         "\n",
                                         "\"",
                                         "\\",
                                         "#",
                                         ": ",
                                         "-",
                                         "\xc3\xa4",
                                         "\x1b",
                                         "0x1",
                                         "{",
                                         "\t",
                                         "*",
                                         "/",
                                         "\xf0\x9f\x98\x80",
                                         "null",
                                         "1",
                                         "%",
                                         "\xee\x80\x80"};
    sr_cleanup_buf struct sr_buf word = SR_BUF_INIT, quoted = SR_BUF_INIT;
    if (!blank_ok)
        sr_buf_puts(&word, "x");
    for (unsigned n = draw(7); n > 0; n--)
        sr_buf_puts(&word, draw(8) == 0 ? escapes[draw(ESCAPES)].raw
                                        : pieces[draw(sizeof pieces / sizeof pieces[0])]);
    sr_jcs_string(&quoted, word.data != NULL ? word.data : "", word.len);
    sr_buf_append(json, quoted.data, quoted.len);
    bool plain = word.len > 1 && strspn(word.data, "aZxno1") == word.len && word.data[0] == 'x';
    if (plain && draw(2) == 0) {
        sr_buf_append(yaml, word.data, word.len);
        return;
    }
    for (size_t i = 0; i < quoted.len;) {
        const struct escape *escape = find_escape(quoted.data + i);
        if (escape != NULL)
            sr_buf_puts(yaml, escape->yaml);
        else
            sr_buf_putc(yaml, quoted.data[i]);
        i += escape != NULL ? strlen(escape->raw) : 1;
    }
}

__attribute__((format(printf, 2, 3))) static void both(struct spelling *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    sr_buf_vprintf(&s->json[s->count], fmt, ap);
    sr_buf_vprintf(&s->yaml[s->count], fmt, again);
    va_end(again);
    va_end(ap);
}

static void both_text(struct spelling *s, bool blank_ok)
{
    text(&s->json[s->count], &s->yaml[s->count], blank_ok);
}

static void section(struct spelling *s, const char *name)
{
    sr_buf_printf(&s->json[s->count], "\"%s\":", name);
    sr_buf_printf(&s->yaml[s->count], draw(3) == 0 ? "# comment\n\"%s\":   " : "%s: ", name);
}

static void pairs(struct spelling *s, unsigned count)
{
    both(s, "{");
    for (unsigned i = 0; i < count; i++) {
        both(s, "%s\"k%u%u\": ", i > 0 ? ", " : "", i, draw(100));
        both_text(s, true);
    }
    both(s, "}");
}

static void runtime(struct spelling *s)
{
    section(s, "runtime");
    both(s, "{\"command\": ");
    both_text(s, false);
    both(s, ", \"args\": [");
    for (unsigned i = 0, count = draw(5); i < count; i++) {
        both(s, i > 0 ? ", " : "");
        both_text(s, true);
    }
    both(s, "]");
    if (draw(2) == 0) {
        both(s, ", \"env\": ");
        pairs(s, draw(4));
    }
    if (draw(2) == 0)
        both(s, ", \"user\": \"%u:%u\"", draw(70000), draw(70000));
    if (draw(2) == 0)
        both(s, ", \"timeoutSec\": %u", 1 + draw(604800));
    both(s, "}");
    s->count++;
}

static void resources(struct spelling *s)
{
    static const char *const units[] = {"Ki", "Mi", "Gi"};
    unsigned period = 1000 + draw(999001), unit = draw(3);
    unsigned quota = period / 10 + 1 + draw(period * 8 - period / 10);
    section(s, "resources");
    if (draw(5) == 0)
        both(s, "{\"cpu\": {\"max\": \"max %u\"}", period);
    else
        both(s, "{\"cpu\": {\"max\": \"%u %u\"}", quota < 1000 ? 1000 : quota, period);
    both(s, ", \"memory\": {\"max\": \"%u%s\"}",
         unit == 0   ? 65536 + draw(10000000)
         : unit == 1 ? 64 + draw(9999)
                     : 1 + draw(1024),
         units[unit]);
    if (draw(2) == 0)
        both(s, ", \"pids\": {\"max\": %u}", 1 + draw(4194304));
    if (draw(2) == 0) {
        s->read_only = draw(2) == 0;
        both(s, ", \"disk\": {\"max\": %s}", s->read_only ? "0" : "\"17Mi\"");
    }
    both(s, "}");
    s->count++;
}

static void network(struct spelling *s)
{
    section(s, "network");
    if (draw(4) == 0) {
        both(s, "{\"mode\": \"none\"}");
    } else {
        both(s, "{\"mode\": \"allowlist\", \"egress\": [");
        for (unsigned i = 0, count = 1 + draw(20); i < count; i++) {
            both(s, "%s{\"protocol\": \"%s\", \"port\": %u, ", i > 0 ? ", " : "",
                 draw(2) == 0 ? "tcp" : "udp", 1 + draw(draw(2) == 0 ? 3 : 65535));
            if (draw(3) == 0)
                both(s, "\"host\": \"h%u.Example\"}", draw(5));
            else
                both(s, "\"cidr\": \"%u.%u.%u.%u/%u\"}", draw(256), draw(256), draw(256), draw(256),
                     draw(33));
        }
        both(s, "]}");
    }
    s->count++;
}

static void generate(struct spelling *s)
{
    *s = (struct spelling){0};
    section(s, "apiVersion");
    both(s, "\"policy.safe-run.dev/v1alpha1\"");
    s->count++;
    section(s, "metadata");
    both(s, "{\"name\": ");
    both_text(s, false);
    both(s, ", \"labels\": ");
    pairs(s, draw(3));
    both(s, "}");
    s->count++;
    runtime(s);
    resources(s);
    network(s);
    section(s, "mounts");
    both(s, "[]");
    s->count++;
    if (draw(2) == 0 && !s->read_only) {
        section(s, "outputs");
        both(s, "[{\"path\": \"/data/o\"}, {\"path\": \"/srv//x/../y\", \"max\": \"%uKi\"}]",
             1 + draw(1000));
        s->count++;
    }
    section(s, "audit");
    both(s, "{\"level\": \"%s\"}", draw(2) == 0 ? "basic" : "full");
    s->count++;
    if (draw(2) == 0) {
        section(s, "require");
        both(s, "{\"accel\": \"%s\", \"signature\": %s}", draw(2) == 0 ? "any" : "kvm",
             draw(2) == 0 ? "true" : "false");
        s->count++;
    }
}

/* Joins the sections of one spelling in a drawn order. */
static void join(struct sr_buf *out, const struct sr_buf *sections, unsigned count, bool json)
{
    unsigned order[9];
    for (unsigned i = 0; i < count; i++) {
        unsigned j = draw(i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    sr_buf_puts(out, json ? "{" : "");
    for (unsigned i = 0; i < count; i++) {
        sr_buf_append(out, sections[order[i]].data, sections[order[i]].len);
        sr_buf_puts(out, !json ? "\n" : i + 1 < count ? ",\n " : "}");
    }
    assert_true(sr_buf_ok(out));
}

static const struct sr_policy *valid(const char *document, size_t len, struct sr_check *check)
{
    struct sr_error err;
    assert_int_equal(sr_policy_check(document, len, NULL, check, &err), 0);
    if (check->policy == NULL)
        fail_msg("%u:%u %s: %s\n%.*s", check->errors[0].line, check->errors[0].column,
                 check->errors[0].path, check->errors[0].message, (int)len, document);
    return check->policy;
}

static void what_is_valid_compiles_and_has_one_normal_form(void **state)
{
    (void)state;
    for (unsigned i = 0; i < POLICIES; i++) {
        seed = i;
        struct spelling s;
        generate(&s);
        sr_cleanup_buf struct sr_buf json = SR_BUF_INIT, yaml = SR_BUF_INIT;
        join(&json, s.json, s.count, true);
        join(&yaml, s.yaml, s.count, false);
        sr_cleanup_check struct sr_check a = {0}, b = {0}, again = {0};
        const struct sr_policy *policy = valid(json.data, json.len, &a);
        assert_string_equal(policy->json, valid(yaml.data, yaml.len, &b)->json);
        assert_string_equal(policy->json, valid(policy->json, policy->json_len, &again)->json);
        sr_cleanup_bundle struct sr_bundle bundle = {0}, same = {0};
        struct sr_error err;
        assert_int_equal(sr_compile(policy, &bundle, &err), 0);
        assert_int_equal(sr_compile(again.policy, &same, &err), 0);
        assert_string_equal(bundle.json, same.json);
        assert_in_range(bundle.vcpu_count, 1, 8);
        assert_in_range(bundle.mem_size_mib, 64, 1 << 20);
        json_t *value = json_loadb(bundle.json, bundle.json_len, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(value);
        sr_cleanup_buf struct sr_buf canonical = SR_BUF_INIT;
        sr_jcs_value(&canonical, value);
        json_decref(value);
        assert_string_equal(canonical.data, bundle.json); /* it is its own canonical form */
        for (unsigned j = 0; j < s.count; j++) {
            sr_buf_free(&s.json[j]);
            sr_buf_free(&s.yaml[j]);
        }
    }
}

/* Whether rule i of a policy adds nothing: another covers it, or says the same before it. */
static bool adds_nothing(const struct sr_policy *policy, size_t i)
{
    const struct sr_egress *rule = &policy->egress[i];
    for (size_t j = 0; j < policy->egress_count; j++) {
        const struct sr_egress *other = &policy->egress[j];
        if (j == i || other->protocol != rule->protocol || other->port != rule->port ||
            (other->host == NULL) != (rule->host == NULL))
            continue;
        if (rule->host != NULL) {
            if (j < i && strcmp(other->host, rule->host) == 0)
                return true;
            continue;
        }
        bool inside =
            other->prefix == 0 || (other->address ^ rule->address) >> (32 - other->prefix) == 0;
        if (inside && (other->prefix < rule->prefix || (other->prefix == rule->prefix && j < i)))
            return true;
    }
    return false;
}

/* Every rule that adds nothing is warned about once, and no other: against every pair of rules. */
static void superfluous_rules_are_told(void **state)
{
    (void)state;
    size_t told_in_all = 0;
    for (unsigned i = 0; i < POLICIES; i++) {
        seed = 2000000 + i;
        sr_cleanup_buf struct sr_buf document = SR_BUF_INIT;
        sr_buf_puts(&document,
                    "{apiVersion: policy.safe-run.dev/v1alpha1, metadata: {name: t}, mounts: [], "
                    "audit: {level: basic}, runtime: {command: a, args: []}, resources: {cpu: "
                    "{max: 1000 1000}, memory: {max: 64Mi}}, network: {mode: allowlist, egress: [");
        for (unsigned n = 2 + draw(12); n > 0; n--) {
            sr_buf_printf(&document, "{protocol: %s, port: %u, ", draw(2) == 0 ? "tcp" : "udp",
                          1 + draw(2));
            if (draw(4) == 0)
                sr_buf_printf(&document, "host: h%u}, ", draw(2));
            else
                sr_buf_printf(&document, "cidr: 198.51.%u.%u/%u}, ", draw(2), draw(16),
                              draw(9) == 0   ? 0
                              : draw(3) == 0 ? 21 + draw(4)
                                             : 27 + draw(6));
        }
        sr_buf_puts(&document, "]}}");
        sr_cleanup_check struct sr_check check = {0};
        const struct sr_policy *policy = valid(document.data, document.len, &check);
        for (size_t rule = 0; rule < policy->egress_count; rule++) {
            char path[40];
            snprintf(path, sizeof path, "network.egress[%zu]", rule);
            size_t told = 0;
            for (size_t w = 0; w < check.warning_count; w++)
                told += strcmp(check.warnings[w].path, path) == 0;
            if (told != adds_nothing(policy, rule))
                fail_msg("rule %zu is warned about %zu times: %s", rule, told, document.data);
            told_in_all += told;
        }
    }
    assert_true(told_in_all > POLICIES);
}

/* Cut, doubled and overwritten bytes: an answer every time, and what is still valid still
 * compiles. */
static void damaged_policies_are_judged(void **state)
{
    (void)state;
    for (unsigned i = 0; i < POLICIES; i++) {
        seed = 1000000 + i;
        struct spelling s;
        generate(&s);
        sr_cleanup_buf struct sr_buf document = SR_BUF_INIT;
        bool is_json = draw(2) == 0;
        join(&document, is_json ? s.json : s.yaml, s.count, is_json);
        for (unsigned n = 1 + draw(3); n > 0; n--)
            document.data[draw((unsigned)document.len)] = (char)draw(256);
        size_t len = draw(4) == 0 ? draw((unsigned)document.len) : document.len;
        sr_cleanup_check struct sr_check check = {0};
        sr_cleanup_bundle struct sr_bundle bundle = {0};
        struct sr_error err;
        assert_int_equal(sr_policy_check(document.data, len, NULL, &check, &err), 0);
        assert_int_equal(check.policy == NULL, check.error_count > 0);
        for (size_t j = 0; j < check.error_count; j++)
            assert_true(check.errors[j].line > 0 && check.errors[j].column > 0 &&
                        check.errors[j].path[0] != '\0');
        if (check.policy != NULL)
            assert_int_equal(sr_compile(check.policy, &bundle, &err), 0);
        for (unsigned j = 0; j < s.count; j++) {
            sr_buf_free(&s.json[j]);
            sr_buf_free(&s.yaml[j]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_valid_compiles_and_has_one_normal_form),
        cmocka_unit_test(superfluous_rules_are_told),
        cmocka_unit_test(damaged_policies_are_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
