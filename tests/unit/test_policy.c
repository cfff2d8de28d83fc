#include "saferun/bundle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The lines of a good policy; a case replaces one of them. */
static const char *const good[] = {
    "apiVersion: policy.safe-run.dev/v1alpha1", /* 1 */
    "metadata: {name: test}",                   /* 2 */
    "runtime:",                                 /* 3 */
    "  command: /bin/true",                     /* 4 */
    "  args: []",                               /* 5 */
    "resources:",                               /* 6 */
    "  cpu: {max: \"100000 100000\"}",          /* 7 */
    "  memory: {max: 128Mi}",                   /* 8 */
    "network: {mode: none}",                    /* 9 */
    "mounts: []",                               /* 10 */
    "audit: {level: basic}",                    /* 11 */
};
enum { GOOD_LINES = sizeof good / sizeof good[0] };

static void check_text(const char *text, struct sr_check *check)
{
    struct sr_error err;
    assert_int_equal(sr_policy_check(text, strlen(text), NULL, check, &err), 0);
}

/* Checks the good policy with one line (1-based; 0: none) replaced. */
static void check_with(unsigned line, const char *replacement, struct sr_check *check)
{
    char text[4096];
    size_t len = 0;
    for (unsigned i = 0; i < GOOD_LINES; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s\n",
                                i + 1 == line ? replacement : good[i]);
    check_text(text, check);
}

struct bad {
    unsigned line;
    const char *text;
    enum sr_code code;
    const char *path;
    unsigned at_line, at_column;
    const char *hint; /* NULL: none is asked for */
};

static const struct bad bads[] = {
    {1, "apiVersion: v2", SR_POL_002, "apiVersion", 1, 13, NULL},
    {1, "x: 1", SR_POL_001, "apiVersion", 1, 1, NULL},
    {2, "metadata: {name: \"  \"}", SR_POL_001, "metadata.name", 2, 18, NULL},
    {2, "metadata: {name: t, labels: [a]}", SR_POL_002, "metadata.labels", 2, 29, NULL},
    {2, "metadata: [x]", SR_POL_002, "metadata", 2, 11, NULL},
    {2, "metadata: {name: t, name: u}", SR_POL_002, "metadata.name", 2, 21, NULL},
    {4, "  command:", SR_POL_001, "runtime.command", 4, 11, NULL},
    {4, "  command: \"a\\0b\"", SR_POL_002, "runtime.command", 4, 12, NULL},
    {4, "  comand: /bin/true", SR_POL_002, "runtime.comand", 4, 3, "did you mean 'command'?"},
    {5, "  args: null", SR_POL_002, "runtime.args", 5, 9, "an empty list is written []"},
    {5, "  args: [{a: b}]", SR_POL_002, "runtime.args[0]", 5, 10, NULL},
    {5, "  args: []\n  user: root", SR_POL_002, "runtime.user", 6, 9, NULL},
    {5, "  args: []\n  user: \"1:2:3\"", SR_POL_002, "runtime.user", 6, 9, NULL},
    {5, "  args: []\n  user: \"4294967295\"", SR_POL_002, "runtime.user", 6, 9, NULL},
    {5, "  args: []\n  timeoutSec: \"5\"", SR_POL_002, "runtime.timeoutSec", 6, 15,
     "write the number without quotes"},
    {5, "  args: []\n  timeoutSec: 0", SR_POL_002, "runtime.timeoutSec", 6, 15, NULL},
    {5, "  args: []\n  timeoutSec: 010", SR_POL_002, "runtime.timeoutSec", 6, 15, NULL},
    {5, "  args: []\n  workdir: tmp", SR_POL_002, "runtime.workdir", 6, 12, NULL},
    {5, "  args: []\n  env: {\"A=B\": c}", SR_POL_002, "runtime.env.A=B", 6, 9, NULL},
    {7, "  cpu: {max: \"100000\"}", SR_POL_002, "resources.cpu.max", 7, 14, NULL},
    {7, "  cpu: {max: \"100000  100000\"}", SR_POL_002, "resources.cpu.max", 7, 14, NULL},
    {7, "  cpu: {max: \"5000 100000\"}", SR_POL_003, "resources.cpu.max", 7, 14, NULL},
    {7, "  cpu: {max: \"900000 100000\"}", SR_POL_003, "resources.cpu.max", 7, 14, NULL},
    {8, "  memory: {max: 128M}", SR_POL_002, "resources.memory.max", 8, 17, NULL},
    {8, "  memory: {max: 1Mi}", SR_POL_003, "resources.memory.max", 8, 17, NULL},
    {8, "  memory: {max: 9999999Gi}", SR_POL_002, "resources.memory.max", 8, 17, NULL},
    {8, "  memory: {max: 128Mi}\n  pids: {max: many}", SR_POL_002, "resources.pids.max", 9, 15,
     NULL},
    {9, "network: {mode: nonne}", SR_POL_002, "network.mode", 9, 17, "did you mean 'none'?"},
    {9, "network: {mode: allowlist}", SR_POL_201, "network.egress", 9, 10, NULL},
    {9, "network: {mode: none, egress: [{protocol: tcp, cidr: 10.0.0.0/8, port: 1}]}", SR_POL_201,
     "network.egress", 9, 31, NULL},
    {9, "network: {mode: allowlist, egress: [{protocol: icmp, cidr: 10.0.0.0/8, port: 1}]}",
     SR_POL_201, "network.egress[0].protocol", 9, 48, NULL},
    {9, "network: {mode: allowlist, egress: [{protocol: tcp, cidr: 10.0.0.0/8, port: 65536}]}",
     SR_POL_201, "network.egress[0].port", 9, 77, NULL},
    {9, "network: {mode: allowlist, egress: [{protocol: tcp, cidr: 10.0.0/8, port: 1}]}",
     SR_POL_201, "network.egress[0].cidr", 9, 59, NULL},
    {9, "network: {mode: allowlist, egress: [{protocol: tcp, cidr: 10.0.0.01/8, port: 1}]}",
     SR_POL_201, "network.egress[0].cidr", 9, 59, NULL},
    {9, "network: {mode: allowlist, egress: [{protocol: tcp, cidr: \"::/0\", port: 1}]}",
     SR_POL_201, "network.egress[0].cidr", 9, 59, "IPv6 is denied in the guest altogether"},
    {9, "network: {mode: allowlist, egress: [{protocol: tcp, host: 1.2.3.4, port: 1}]}", SR_POL_201,
     "network.egress[0].host", 9, 59, NULL},
    {9, "network: {mode: allowlist, egress: [{protocol: tcp, host: a_b.example, port: 1}]}",
     SR_POL_201, "network.egress[0].host", 9, 59, NULL},
    {10, "mounts: [{source: /etc, target: /data/x, read_only: true}]", SR_POL_101,
     "mounts[0].source", 10, 19, NULL},
    {10, "mounts: [{source: /var/lib/safe-run/../../etc, target: /data/x, read_only: true}]",
     SR_POL_101, "mounts[0].source", 10, 19, NULL},
    {11, "audit: {level: loud}", SR_POL_002, "audit.level", 11, 16, NULL},
    {11, "audit: {level: basic}\noutputs: [{path: out}]", SR_POL_002, "outputs[0].path", 12, 18,
     NULL},
    {11, "audit: {level: basic}\nrequire: {signature: yes}", SR_POL_002, "require.signature", 12,
     22, NULL},
    {11, "audit: {level: basic}\n---\na: b", SR_POL_002, "policy", 12, 1, NULL},
    {11, "audit: !!map {level: basic}", SR_POL_002, "policy", 11, 8, NULL},
    {11, "audit: {level: \"\x80\"}", SR_POL_002, "policy", 11, 17, NULL},
    {11, "audit:\n\tlevel: basic", SR_POL_002, "policy", 12, 1, NULL},
    {11, "audit: &a {level: *a}", SR_POL_002, "policy", 11, 19, NULL},
};

static void each_fault_has_its_code_path_and_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        const struct bad *bad = &bads[i];
        struct sr_check check = {0};
        check_with(bad->line, bad->text, &check);
        const struct sr_error *found = NULL;
        for (size_t j = 0; j < check.error_count && found == NULL; j++)
            if (strcmp(check.errors[j].path, bad->path) == 0)
                found = &check.errors[j];
        if (found == NULL || found->code != bad->code || found->line != bad->at_line ||
            found->column != bad->at_column ||
            (bad->hint != NULL && strcmp(found->hint, bad->hint) != 0))
            fail_msg("%s\nwanted %s %s %u:%u, found %s %s %u:%u %s (hint: %s)", bad->text,
                     sr_code_name(bad->code), bad->path, bad->at_line, bad->at_column,
                     found != NULL ? sr_code_name(found->code) : "nothing",
                     found != NULL ? found->path : "", found != NULL ? found->line : 0,
                     found != NULL ? found->column : 0, found != NULL ? found->message : "",
                     found != NULL ? found->hint : "");
        assert_null(check.policy);
        sr_check_free(&check);
    }
}

static void errors_come_all_at_once_in_document_order(void **state)
{
    (void)state;
    struct sr_check check = {0};
    check_text("runtime: {args: 1, command: ''}\nmetadata: {nam: x}\n", &check);
    static const char *const paths[] = {"apiVersion",      "resources",     "network",
                                        "mounts",          "audit",         "runtime.args",
                                        "runtime.command", "metadata.name", "metadata.nam"};
    assert_int_equal(check.error_count, sizeof paths / sizeof paths[0]);
    for (size_t i = 0; i < check.error_count; i++) {
        size_t same = 0;
        for (size_t j = 0; j < check.error_count; j++)
            same += strcmp(paths[i], check.errors[j].path) == 0;
        assert_int_equal(same, 1);
        if (i > 0)
            assert_true(check.errors[i - 1].line < check.errors[i].line ||
                        (check.errors[i - 1].line == check.errors[i].line &&
                         check.errors[i - 1].column <= check.errors[i].column));
    }
    sr_check_free(&check);
}

static void every_default_is_explicit_in_the_normal_form(void **state)
{
    (void)state;
    struct sr_check check = {0};
    check_with(0, NULL, &check);
    assert_non_null(check.policy);
    assert_string_equal(
        check.policy->json,
        "{\"apiVersion\":\"policy.safe-run.dev/v1alpha1\",\"audit\":{\"level\":\"basic\"},"
        "\"metadata\":{\"labels\":{},\"name\":\"test\"},\"mounts\":[],"
        "\"network\":{\"egress\":[],\"mode\":\"none\"},\"outputs\":[],"
        "\"require\":{\"accel\":\"any\",\"limits\":\"any\",\"signature\":false},"
        "\"resources\":{\"cpu\":{\"max\":\"100000 100000\"},\"disk\":{\"max\":\"64Mi\"},"
        "\"memory\":{\"max\":\"128Mi\"},\"pids\":{\"max\":256}},"
        "\"runtime\":{\"args\":[],\"command\":\"/bin/true\",\"env\":{},\"image\":\"base\","
        "\"timeoutSec\":300,\"user\":\"1000:1000\",\"workdir\":\"/\"}}");
    sr_check_free(&check);
}

/* The same policy in YAML with anchors, comments and another order, and in JSON with escapes. */
static const char *const spellings[] = {
    "# a comment\naudit: {level: basic}\nmounts: []\nnetwork: {mode: none}\n"
    "resources: {memory: {max: 128Mi}, cpu: {max: \"100000 100000\"}}\n"
    "runtime: {args: [no, '1', ~x, &a \"\\u00e4\", *a], command: /bin/true}\n"
    "metadata: {name: \"te\\x73t\"}\napiVersion: policy.safe-run.dev/v1alpha1\n",
    "{\"apiVersion\":\"policy.safe-run.dev/v1alpha1\",\"metadata\":{\"name\":\"t\\u0065st\"},"
    "\"runtime\":{\"command\":\"\\/bin/"
    "true\",\"args\":[\"no\",\"1\",\"~x\",\"\\u00e4\",\"\xc3\xa4\"]},"
    "\"resources\":{\"cpu\":{\"max\":\"100000 100000\"},\"memory\":{\"max\":\"128Mi\"}},"
    "\"network\":{\"mode\":\"none\"},\"mounts\":[],\"audit\":{\"level\":\"basic\"}}",
};

static void spelling_does_not_change_the_normal_form(void **state)
{
    (void)state;
    struct sr_check yaml = {0}, json = {0}, again = {0};
    check_text(spellings[0], &yaml);
    check_text(spellings[1], &json);
    assert_non_null(yaml.policy);
    assert_non_null(json.policy);
    assert_string_equal(yaml.policy->json, json.policy->json);
    check_text(yaml.policy->json, &again);
    assert_non_null(again.policy);
    assert_string_equal(again.policy->json, json.policy->json);
    sr_check_free(&yaml);
    sr_check_free(&json);
    sr_check_free(&again);
}

static void json_is_read_strictly(void **state)
{
    (void)state;
    static const char *const documents[] = {"{\"a\":1,}",          "{\"a\":'b'}", "{a: b}",
                                            "{\"a\":\"\\ud800\"}", "{\"a\":1} x", "{\"a\":01}"};
    for (size_t i = 0; i < sizeof documents / sizeof documents[0]; i++) {
        struct sr_check check = {0};
        check_text(documents[i], &check);
        assert_int_equal(check.error_count, 1);
        assert_int_equal(check.errors[0].code, SR_POL_002);
        assert_string_equal(check.errors[0].path, "policy");
        assert_int_equal(check.errors[0].line, 1);
        sr_check_free(&check);
    }
}

static void bombs_are_refused(void **state)
{
    (void)state;
    char text[8192] = "a: &a [x, x, x, x, x, x, x, x, x, x]\n";
    for (char c = 'b'; c <= 'g'; c++) {
        size_t len = strlen(text);
        snprintf(text + len, sizeof text - len,
                 "%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, c - 1, c - 1,
                 c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1);
    }
    struct sr_check check = {0};
    check_text(text, &check);
    assert_int_equal(check.errors[0].code, SR_POL_002);
    sr_check_free(&check);

    memset(text, '[', 100);
    text[100] = '\0';
    check_text(text, &check);
    assert_non_null(strstr(check.errors[0].message, "64 levels"));
    sr_check_free(&check);
}

static void a_flood_of_faults_is_cut_short(void **state)
{
    (void)state;
    enum { LINES = 100000 };
    char *text = malloc(LINES * 5 + 1);
    assert_non_null(text);
    for (int i = 0; i < LINES; i++)
        memcpy(text + 5 * (size_t)i, "a: 1\n", 6);
    struct sr_check check = {0};
    check_text(text, &check);
    free(text);
    assert_int_equal(check.error_count, 1001);
    assert_null(check.policy);
    sr_check_free(&check);
    check_with(9,
               "network: {mode: allowlist, egress: [{protocol: tcp, host: 0x7f000001, port: 1}]}",
               &check);
    assert_null(check.policy); /* an address in disguise */
    sr_check_free(&check);
}

static void warnings_do_not_make_a_policy_invalid(void **state)
{
    (void)state;
    struct sr_check check = {0};
    check_with(9,
               "network:\n  mode: allowlist\n  egress:\n"
               "    - {protocol: tcp, cidr: 10.0.0.1/8, port: 1}\n"
               "    - {protocol: tcp, cidr: 10.2.0.0/16, port: 1}\n"
               "    - {protocol: udp, host: A.example, port: 1}\n"
               "    - {protocol: udp, host: a.example, port: 1}",
               &check);
    assert_non_null(check.policy);
    assert_int_equal(check.warning_count, 3);
    assert_string_equal(check.warnings[0].path, "network.egress[0].cidr");
    assert_string_equal(check.warnings[1].path, "network.egress[1]");
    assert_string_equal(check.warnings[2].path, "network.egress[3]");
    sr_check_free(&check);
}

static void the_bundle_follows_from_the_policy(void **state)
{
    (void)state;
    struct sr_check check = {0};
    check_with(7, "  cpu: {max: \"150000 100000\"}", &check);
    assert_non_null(check.policy);
    struct sr_bundle bundle = {0};
    struct sr_error err;
    assert_int_equal(sr_compile(check.policy, &bundle, &err), 0);
    assert_int_equal(bundle.vcpu_count, 2);
    assert_int_equal(bundle.mem_size_mib, 128);
    assert_string_equal(
        bundle.json,
        "{\"cgroupPlan\":{\"enabled\":true,\"ops\":[\"set_cpu_max=150000 100000\","
        "\"set_memory_max=128Mi\"]},\"evidencePlan\":{\"enabled\":true,\"events\":[\"compile\","
        "\"run.prepared\",\"mount.validated\",\"mount.rejected\",\"mount.applied\",\"vm.started\","
        "\"resource.sampled\",\"vm.exited\",\"run.cleaned\",\"run.failed\",\"vm.accel.selected\"]},"
        "\"firecrackerConfig\":{\"boot-source\":{\"boot_args\":\"console=ttyS0 reboot=k panic=-1 "
        "quiet random.trust_cpu=on ipv6.disable=1\",\"initrd_path\":\"artifacts/initrd.img\","
        "\"kernel_image_path\":\"artifacts/vmlinux\"},\"drives\":[{\"drive_id\":\"rootfs\","
        "\"is_read_only\":true,\"is_root_device\":true,\"path_on_host\":\"artifacts/rootfs.img\"}],"
        "\"machine-config\":{\"mem_size_mib\":128,\"smt\":false,\"vcpu_count\":2}},"
        "\"guestPlan\":{\"args\":[],\"command\":\"/bin/true\",\"diskMaxBytes\":67108864,\"env\":[],"
        "\"gid\":1000,\"image\":\"base\",\"outputs\":[],\"pidsMax\":256,\"timeoutSec\":300,"
        "\"uid\":1000,\"workdir\":\"/\"},\"jailerPlan\":{\"enabled\":true,"
        "\"ops\":[\"prepare_jailer_context\"]},\"mountPlan\":{\"enabled\":true,\"mounts\":[]},"
        "\"networkPlan\":null}");
    sr_bundle_free(&bundle);
    sr_check_free(&check);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_fault_has_its_code_path_and_place),
        cmocka_unit_test(errors_come_all_at_once_in_document_order),
        cmocka_unit_test(every_default_is_explicit_in_the_normal_form),
        cmocka_unit_test(spelling_does_not_change_the_normal_form),
        cmocka_unit_test(json_is_read_strictly),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(a_flood_of_faults_is_cut_short),
        cmocka_unit_test(warnings_do_not_make_a_policy_invalid),
        cmocka_unit_test(the_bundle_follows_from_the_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
