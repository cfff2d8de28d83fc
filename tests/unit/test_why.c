/* `policy why`, `explain` and `diff`: what is said of a policy is what its rules mean. */
#include "common/buf.h"
#include "saferun/explain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void read_policy(const char *network, const char *rest, struct sr_check *check)
{
    char text[2048];
    struct sr_error err;
    int len = snprintf(text, sizeof text,
                       "apiVersion: policy.safe-run.dev/v1alpha1\nmetadata: {name: t}\nmounts: []\n"
                       "network: %s\naudit: {level: basic}\n%s\n",
                       network, rest);
    assert_int_equal(sr_policy_check(text, (size_t)len, NULL, check, &err), 0);
    if (check->policy == NULL)
        fail_msg("%s: %s", check->errors[0].path, check->errors[0].message);
}

static const char common[] = "runtime: {command: /bin/true, args: []}\n"
                             "resources: {cpu: {max: \"100000 100000\"}, memory: {max: 128Mi}}";

static const char rules[] =
    "{mode: allowlist, egress: [{protocol: tcp, cidr: 198.51.100.0/24, port: 443},"
    "{protocol: udp, cidr: 198.51.100.7/32, port: 53},"
    "{protocol: tcp, cidr: 0.0.0.0/0, port: 80},"
    "{protocol: tcp, cidr: 198.51.100.7/32, port: 443},"
    "{protocol: tcp, cidr: 169.254.169.254/32, port: 80},"
    "{protocol: tcp, host: API.example.com, port: 8443},"
    "{protocol: tcp, cidr: 128.0.0.0/1, port: 25},"
    "{protocol: tcp, cidr: 0.0.0.0/1, port: 25},"
    "{protocol: tcp, cidr: 127.0.0.0/8, port: 8443}]}";

static void the_first_rule_that_matches_decides(void **state)
{
    (void)state;
    static const struct {
        const char *destination;
        bool allowed;
        size_t rule;
        const char *word; /* of the reason, or of the remedy */
    } cases[] = {
        {"tcp:198.51.100.7:443", true, 0, "egress[0]"},
        {"udp:198.51.100.7:53", true, 1, "egress[1]"},
        {"tcp:203.0.113.9:80", true, 2, "egress[2]"},
        {"tcp:169.254.169.254:80", true, 4, "egress[4]"},
        {"tcp:api.EXAMPLE.com:8443", true, 5, "when the run starts or gets while it goes on"},
        {"tcp:203.0.113.9:80", true, 2, "unless it is an address of this host or of its runs"},
        {"tcp:example.com:80", true, 2, "by address"},
        {"tcp:example.com:25", true, 6, "by address"},
        {"tcp:api.example.com:80", true, 2, "by address"},
        {"tcp:example.com:443", false, SR_NO_RULE,
         "by address network.egress[0] lets it through if the name has one in 198.51.100.0/24"},
        {"tcp:198.18.0.1:80", false, SR_NO_RULE, "no rule opens the run's own network"},
        {"tcp:198.18.0.2:8443", false, SR_NO_RULE, "no rule opens the run's own network"},
        {"tcp:169.254.169.254:8443", false, 4, "refused if api.example.com (network.egress[5])"},
        {"tcp:10.0.0.1:8443", false, 2, "of a private network"},
        {"tcp:169.254.169.253:80", false, 2, "link-local"},
        {"tcp:127.0.0.1:80", false, 2, "loopback"},
        {"tcp:224.0.0.1:80", false, 2, "multicast"},
        {"udp:198.51.100.7:443", false, 0, "tcp port 443"},
        {"tcp:api.example.com:443", false, 5, "tcp port 8443"},
        {"tcp:example.com:8443", false, SR_NO_RULE, "no rule names"},
        {"udp:203.0.113.9:53", false, 2, "tcp port 80"},
        {"tcp:203.0.113.9:8443", false, 2, "address of api.example.com"},
        {"tcp:203.0.113.9:22", false, 2, "{protocol: tcp, cidr: 203.0.113.9/32, port: 22}"},
        {"udp:a.example:22", false, SR_NO_RULE, "{protocol: udp, host: a.example, port: 22}"},
    };
    sr_cleanup_check struct sr_check check = {0};
    read_policy(rules, common, &check);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sr_destination to;
        struct sr_verdict verdict;
        struct sr_error err;
        assert_int_equal(sr_destination_parse(cases[i].destination, &to, &err), 0);
        sr_policy_why(check.policy, &to, &verdict);
        if (verdict.allowed != cases[i].allowed || verdict.rule != cases[i].rule ||
            (strstr(verdict.reason, cases[i].word) == NULL &&
             strstr(verdict.remedy, cases[i].word) == NULL))
            fail_msg("%s: %d %zu %s %s", cases[i].destination, verdict.allowed, verdict.rule,
                     verdict.reason, verdict.remedy);
    }
}

static void judge(const char *network, const char *destination, struct sr_verdict *verdict)
{
    sr_cleanup_check struct sr_check check = {0};
    struct sr_destination to;
    struct sr_error err;
    read_policy(network, common, &check);
    assert_int_equal(sr_destination_parse(destination, &to, &err), 0);
    sr_policy_why(check.policy, &to, verdict);
}

/* An address that is named is meant, also if it is this host's; nothing opens the run's own. */
static void single_addresses_are_opened_but_the_runs_own(void **state)
{
    (void)state;
    static const char named[] = "{mode: allowlist, egress: ["
                                "{protocol: tcp, cidr: 0.0.0.0/0, port: 443},"
                                "{protocol: tcp, cidr: 203.0.113.9/32, port: 443},"
                                "{protocol: tcp, cidr: 198.18.0.1/32, port: 443}]}";
    struct sr_verdict verdict;
    judge(named, "tcp:203.0.113.9:443", &verdict);
    assert_string_equal(verdict.reason, "network.egress[0] allows it");
    judge(named, "tcp:198.18.0.1:443", &verdict);
    assert_false(verdict.allowed);
    assert_string_equal(verdict.remedy, "");
}

/* Taken at its word, the remedy allows the destination. */
static void the_remedy_works(void **state)
{
    (void)state;
    static const char *const destinations[] = {"tcp:127.0.0.1:80", "udp:198.51.100.7:54",
                                               "tcp:a.example:1"};
    static const char *const networks[] = {rules, "{mode: none}"};
    for (size_t i = 0; i < 6; i++) {
        sr_cleanup_check struct sr_check check = {0}, mended = {0};
        struct sr_destination to;
        struct sr_verdict verdict;
        struct sr_error err;
        read_policy(networks[i / 3], common, &check);
        assert_int_equal(sr_destination_parse(destinations[i % 3], &to, &err), 0);
        sr_policy_why(check.policy, &to, &verdict);
        assert_false(verdict.allowed);
        char network[512];
        if (i / 3 == 0)
            snprintf(network, sizeof network, "\n  mode: allowlist\n  egress:\n    %s",
                     verdict.remedy);
        else
            snprintf(network, sizeof network, "%s", verdict.remedy + strlen("network: "));
        read_policy(network, common, &mended);
        sr_policy_why(mended.policy, &to, &verdict);
        assert_true(verdict.allowed);
    }
}

static void what_is_no_destination_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "tcp",
                                      "tcp:",
                                      "tcp:1.2.3.4",
                                      "tcp:1.2.3.4:",
                                      "icmp:1.2.3.4:1",
                                      "tcp:1.2.3.4:0",
                                      "tcp:1.2.3.4:65536",
                                      "tcp:1.2.3.4:01",
                                      "tcp::1",
                                      "tcp:::1:80",
                                      "tcp:[::1]:80",
                                      "tcp:1.2.3:1",
                                      "tcp:0x7f000001:1",
                                      "tcp:a_b:1",
                                      "tcp:1.2.3.4:1x",
                                      "TCP:1.2.3.4:1",
                                      "tcp:1.2.3.256:1",
                                      "tcp:1.2.3.4/32:1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct sr_destination to;
        struct sr_error err;
        if (sr_destination_parse(bad[i], &to, &err) == 0)
            fail_msg("'%s' is taken", bad[i]);
        assert_string_equal(err.path, "destination");
    }
}

static void collect(void *context, const char *topic, const char *sentence)
{
    sr_buf_printf(context, "%s: %s\n", topic, sentence);
}

/* The sentences of a comparison about rights and changes (the plans are a golden file's matter). */
static char *compare(const char *network_a, const char *rest_a, const char *network_b,
                     const char *rest_b)
{
    struct sr_check a = {0}, b = {0};
    struct sr_bundle old = {0}, new = {0};
    struct sr_buf said = SR_BUF_INIT;
    struct sr_error err;
    size_t changes;
    read_policy(network_a, rest_a, &a);
    read_policy(network_b, rest_b, &b);
    assert_int_equal(sr_compile(a.policy, &old, &err), 0);
    assert_int_equal(sr_compile(b.policy, &new, &err), 0);
    assert_int_equal(sr_bundle_diff(&old, &new, collect, &said, &changes, &err), 0);
    assert_int_equal(changes > 0, said.len > 0);
    sr_bundle_free(&old);
    sr_bundle_free(&new);
    sr_check_free(&a);
    sr_check_free(&b);
    char *text = sr_buf_take(&said);
    if (text == NULL)
        text = strdup("");
    char *plans = strstr(text, "Compiled plans");
    if (plans != NULL)
        *plans = '\0';
    return text;
}

static void equal_policies_do_not_differ(void **state)
{
    (void)state;
    char *said = compare(rules, common, rules, common);
    assert_string_equal(said, "");
    free(said);
}

static void a_rule_inside_others_is_no_new_right(void **state)
{
    (void)state;
    static const char halves[] =
        "{mode: allowlist, egress: [{protocol: tcp, cidr: 10.128.0.0/9, port: 1},"
        "{protocol: tcp, cidr: 10.0.0.0/9, port: 1}, {protocol: tcp, cidr: 0.0.0.0/1, port: 2}]}",
                      whole[] =
                          "{mode: allowlist, egress: [{protocol: tcp, cidr: 10.0.0.0/8, port: 1},"
                          "{protocol: tcp, cidr: 127.0.0.1/32, port: 2}, {protocol: udp, cidr: "
                          "10.0.0.0/9, port: 1}]}";
    char *said = compare(halves, common, whole, common);
    assert_string_equal(said,
                        "B may, A may not: reach 127.0.0.1/32, tcp port 2 (network.egress[1])\n"
                        "B may, A may not: reach 10.0.0.0/9, udp port 1 (network.egress[2])\n"
                        "A may, B may not: reach 0.0.0.0/1, tcp port 2 (network.egress[2])\n");
    free(said);
}

static void only_what_a_rule_opens_is_a_right(void **state)
{
    (void)state;
    static const char wide[] =
        "{mode: allowlist, egress: [{protocol: tcp, cidr: 0.0.0.0/0, port: 1},"
        "{protocol: tcp, cidr: 126.0.0.0/8, port: 2}]}",
                      more[] =
                          "{mode: allowlist, egress: [{protocol: tcp, cidr: 0.0.0.0/0, port: 1},"
                          "{protocol: tcp, cidr: 203.0.113.9/32, port: 1},"
                          "{protocol: tcp, cidr: 198.18.0.1/32, port: 1},"
                          "{protocol: tcp, cidr: 127.0.0.0/8, port: 3},"
                          "{protocol: tcp, cidr: 224.0.0.0/3, port: 3},"
                          "{protocol: tcp, cidr: 126.0.0.0/7, port: 2}]}";
    char *said = compare(wide, common, more, common);
    assert_string_equal(said,
                        "B may, A may not: reach 203.0.113.9/32, tcp port 1, also if it is an "
                        "address of this host (network.egress[1])\n");
    free(said);
}

/* What is left open may be the image's to say. */
static void a_default_that_is_given_differs_from_one_that_is_not(void **state)
{
    (void)state;
    static const char given[] =
        "runtime: {command: /bin/true, args: [], user: \"1000:1000\", workdir: /}\n"
        "resources: {cpu: {max: \"100000 100000\"}, memory: {max: 128Mi}}",
                      group[] =
                          "runtime: {command: /bin/true, args: [], user: \"1000:0\", workdir: /}\n"
                          "resources: {cpu: {max: \"100000 100000\"}, memory: {max: 128Mi}}";
    char *said = compare("{mode: none}", common, "{mode: none}", given);
    assert_string_equal(
        said, "Changes: runtime.workdir: / instead of the image's, else /\n"
              "Changes: runtime.user: 1000:1000 instead of the image's, else 1000:1000\n");
    free(said);
    said = compare("{mode: none}", given, "{mode: none}", group);
    assert_string_equal(said, "B may, A may not: be in root's group in the guest\n"
                              "Changes: runtime.user: 1000:0 instead of 1000:1000\n");
    free(said);
}

static void every_right_is_compared(void **state)
{
    (void)state;
    static const char
        more[] =
            "runtime: {command: /bin/sh, args: [a], user: \"0:0\", timeoutSec: 301, env: {A: b}}\n"
            "resources: {cpu: {max: \"200000 100000\"}, memory: {max: 1Gi}, pids: {max: 257}, "
            "disk: {max: 1Gi}}\noutputs: [{path: /o}]",
        strict[] =
            "runtime: {command: /bin/true, args: []}\nresources: {cpu: {max: \"100000 100000\"}, "
            "memory: {max: 128Mi}}\nrequire: {accel: kvm, limits: enforced, signature: true}";
    char *said = compare("{mode: none}", strict, "{mode: none}", more);
    assert_string_equal(said,
                        "B may, A may not: hand out up to 64Mi from /o (outputs[0])\n"
                        "B may, A may not: use more CPU: 200000 100000 instead of 100000 100000\n"
                        "B may, A may not: use more memory: 1Gi instead of 128Mi\n"
                        "B may, A may not: start more processes: 257 instead of 256\n"
                        "B may, A may not: write more scratch data: 1Gi instead of 64Mi\n"
                        "B may, A may not: run longer: 301 instead of 300 seconds\n"
                        "B may, A may not: be root of the guest\n"
                        "B may, A may not: run without KVM\n"
                        "B may, A may not: run where no host kernel enforces the limits\n"
                        "B may, A may not: run without a signed report\n"
                        "Changes: runtime.command: /bin/sh instead of /bin/true\n"
                        "Changes: runtime.user: 0:0 instead of the image's, else 1000:1000\n"
                        "Changes: runtime.args[0] is new: a\n"
                        "Changes: runtime.env.A is new: b\n");
    free(said);
}

static void hostile_texts_are_said_harmlessly(void **state)
{
    (void)state;
    sr_cleanup_check struct sr_check check = {0};
    struct sr_buf said = SR_BUF_INIT;
    struct sr_error err;
    read_policy(
        "{mode: none}",
        "runtime: {command: \"/bin/\\e[31m\", args: [\"a'b\", \"\\u202e\"], env: {A: \"x\\ny\"}}\n"
        "resources: {cpu: {max: \"100000 100000\"}, memory: {max: 128Mi}}",
        &check);
    assert_int_equal(sr_policy_explain(check.policy, NULL, collect, &said, &err), 0);
    assert_non_null(strstr(said.data, "Runs: '/bin/?[31m' 'a'\\''b' '?'\n"));
    assert_non_null(strstr(said.data, "with A=x?y in its environment"));
    assert_null(strchr(said.data, '\033'));
    sr_buf_free(&said);
}

static char *explain(const char *network, const char *rest)
{
    sr_cleanup_check struct sr_check check = {0};
    struct sr_buf said = SR_BUF_INIT;
    struct sr_error err;
    read_policy(network, rest, &check);
    assert_int_equal(sr_policy_explain(check.policy, NULL, collect, &said, &err), 0);
    return sr_buf_take(&said);
}

static void audit_levels_differ_by_the_network_alone(void **state)
{
    (void)state;
    char *said = explain("{mode: none}", common);
    assert_non_null(strstr(said, "blocked (audit level basic; without a network both levels record "
                                 "the same)\n"));
    free(said);
    said = explain(rules, common);
    assert_non_null(strstr(said, "with the network's counters in sum (audit level basic)\n"));
    free(said);
}

static void what_stays_closed_in_a_prefix_is_said(void **state)
{
    (void)state;
    char *said =
        explain("{mode: allowlist, egress: [{protocol: tcp, cidr: 198.51.100.9/24, port: 1},"
                "{protocol: udp, cidr: 126.0.0.0/7, port: 2},"
                "{protocol: tcp, cidr: 127.0.0.0/8, port: 3}]}",
                "runtime: {command: /bin/true, args: [], user: \"1000:0\"}\n"
                "resources: {cpu: {max: \"100000 100000\"}, memory: {max: 128Mi}, disk: {max: 0}}");
    assert_non_null(strstr(said, "May write: nothing on the root, which is read-only\n"
                                 "May write: up to 16Mi in /dev/shm, which is memory\n"));
    assert_non_null(
        strstr(said, "as the unprivileged user 1000:0 of the guest, but in root's group\n"));
    assert_non_null(strstr(said,
                           "May reach: 198.51.100.0/24 (256 addresses), tcp port 1; but not "
                           "this host's own addresses or its runs'\n"
                           "May reach: 126.0.0.0/7 (33554432 addresses), udp port 2; but not "
                           "loopback (127.0.0.0/8), this host's own addresses or its runs'\n"
                           "May reach: nothing of 127.0.0.0/8, which such a rule does not open\n"));
    free(said);
}

static void the_starter_is_valid(void **state)
{
    (void)state;
    sr_cleanup_check struct sr_check check = {0};
    struct sr_error err;
    assert_int_equal(
        sr_policy_check(sr_policy_starter, strlen(sr_policy_starter), NULL, &check, &err), 0);
    assert_non_null(check.policy);
    assert_int_equal(check.warning_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_rule_that_matches_decides),
        cmocka_unit_test(single_addresses_are_opened_but_the_runs_own),
        cmocka_unit_test(the_remedy_works),
        cmocka_unit_test(what_is_no_destination_is_refused),
        cmocka_unit_test(equal_policies_do_not_differ),
        cmocka_unit_test(a_rule_inside_others_is_no_new_right),
        cmocka_unit_test(only_what_a_rule_opens_is_a_right),
        cmocka_unit_test(a_default_that_is_given_differs_from_one_that_is_not),
        cmocka_unit_test(every_right_is_compared),
        cmocka_unit_test(hostile_texts_are_said_harmlessly),
        cmocka_unit_test(audit_levels_differ_by_the_network_alone),
        cmocka_unit_test(what_stays_closed_in_a_prefix_is_said),
        cmocka_unit_test(the_starter_is_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
