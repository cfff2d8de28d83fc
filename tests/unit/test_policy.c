/* What tests/golden/policy cannot say: bounds, normal form, the bundle. */
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

static void errors_come_all_at_once_in_document_order(void **state)
{
    (void)state;
    struct sr_check check = {0};
    check_text("runtime: {args: 1, command: ''}\nmetadata: {nam: x}\n", &check);
    static const char *const paths[] = {"apiVersion",   "resources",       "network",
                                        "runtime.args", "runtime.command", "metadata.name",
                                        "metadata.nam"};
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
        "\"gid\":1000,\"image\":\"base\",\"outputs\":[],\"pidsMax\":256,\"stdin\":null,"
        "\"timeoutSec\":300,"
        "\"uid\":1000,\"workdir\":\"/\"},\"jailerPlan\":{\"enabled\":true,"
        "\"ops\":[\"prepare_jailer_context\"]},\"mountPlan\":{\"enabled\":true,\"mounts\":[]},"
        "\"networkPlan\":null}");
    sr_bundle_free(&bundle);
    sr_check_free(&check);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_come_all_at_once_in_document_order),
        cmocka_unit_test(every_default_is_explicit_in_the_normal_form),
        cmocka_unit_test(spelling_does_not_change_the_normal_form),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(a_flood_of_faults_is_cut_short),
        cmocka_unit_test(the_bundle_follows_from_the_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
