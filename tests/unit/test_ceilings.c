/* The ceilings of a host: how its configuration says them, and what of a policy is above them. */
#include "host/host.h"
#include "saferun/ceilings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

static const struct sr_ceilings small = {
    .memory_bytes = 128 * MIB,
    .milli_cpus = 1500,
    .disk_bytes = 64 * MIB,
    .time_sec = 300,
    .output_bytes = 64 * MIB,
    .output_entries = 100,
    .event_bytes = 4 * MIB,
    .rules = 1,
    .processes = 256,
};

static void hold(const char *text, struct sr_check *check)
{
    struct sr_error err;
    assert_int_equal(sr_policy_check(text, strlen(text), NULL, check, &err), 0);
    assert_int_equal(sr_policy_hold(check, &small, &err), 0);
}

struct expected {
    const char *path;
    unsigned line, column;
    const char *message; /* its beginning */
};

static void assert_errors(const struct sr_check *check, const struct expected *expected,
                          size_t count)
{
    assert_int_equal(check->error_count, count);
    assert_true(count == 0 ? check->policy != NULL : check->policy == NULL);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(check->errors[i].path, expected[i].path);
        assert_int_equal(check->errors[i].code, SR_POL_003);
        assert_int_equal(check->errors[i].line, expected[i].line);
        assert_int_equal(check->errors[i].column, expected[i].column);
        assert_int_equal(
            strncmp(check->errors[i].message, expected[i].message, strlen(expected[i].message)), 0);
    }
}

#define POLICY(runtime, resources, rest)                                                           \
    "apiVersion: policy.safe-run.dev/v1alpha1\nmetadata: {name: test}\n"                           \
    "runtime: {command: /bin/true, args: []" runtime "}\n"                                         \
    "resources: {cpu: {max: \"100000 100000\"}, " resources "}\n"                                  \
    "mounts: []\naudit: {level: basic}\n" rest

static void every_breach_is_told_with_its_place_and_what_is_allowed(void **state)
{
    (void)state;
    struct sr_check check = {0};
    hold("apiVersion: policy.safe-run.dev/v1alpha1\nmetadata: {name: test}\n"
         "runtime: {command: /bin/true, args: [], timeoutSec: 301}\n"
         "resources:\n  cpu: {max: \"150001 100000\"}\n  memory: {max: 1048576Mi}\n"
         "  pids: {max: 257}\n  disk: {max: 65Mi}\n"
         "network: {mode: allowlist, egress: [{protocol: tcp, cidr: 192.0.2.1/32, port: 1},\n"
         "  {protocol: tcp, cidr: 192.0.2.1/32, port: 2}]}\n"
         "mounts: []\naudit: {level: basic}\n"
         "outputs: [{path: /tmp/o, max: 8388607Gi}]\n",
         &check);
    const struct expected expected[] = {
        {"runtime.timeoutSec", 3, 53, "301 seconds is more than the 300 that this host allows"},
        {"resources.cpu.max", 5, 14, "is more than the 1.5 CPUs that this host allows"},
        {"resources.memory.max", 6, 17, "is more than the 128Mi that this host allows"},
        {"resources.pids.max", 7, 15, "257 is more than the 256 that this host allows"},
        {"resources.disk.max", 8, 15, "is more than the 64Mi that this host allows"},
        {"network.egress", 9, 36, "2 rules is more than the 1 that this host allows"},
        {"outputs[0].max", 13, 31, "is more than the 64Mi that this host allows"},
    };
    assert_errors(&check, expected, sizeof expected / sizeof expected[0]);
    sr_check_free(&check);
}

static void what_is_just_allowed_stays_valid(void **state)
{
    (void)state;
    struct sr_check check = {0};
    hold("apiVersion: policy.safe-run.dev/v1alpha1\nmetadata: {name: test}\n"
         "runtime: {command: /bin/true, args: [], timeoutSec: 300}\n"
         "resources:\n  cpu: {max: \"150000 100000\"}\n  memory: {max: 128Mi}\n"
         "network: {mode: allowlist, egress: [{protocol: tcp, cidr: 192.0.2.1/32, port: 1}]}\n"
         "mounts: []\naudit: {level: basic}\noutputs: [{path: /tmp/o, max: 64Mi}]\n",
         &check);
    assert_errors(&check, NULL, 0);
    sr_check_free(&check);
}

static void outputs_are_held_together(void **state)
{
    (void)state;
    struct sr_check check = {0};
    hold(POLICY("", "memory: {max: 128Mi}",
                "network: {mode: none}\noutputs:\n  - {path: /a, max: 32Mi}\n"
                "  - {path: /b, max: 33Mi}\n  - {path: /c, max: 1Mi}\n"),
         &check);
    const struct expected expected[] = {
        {"outputs[1].max", 10, 21, "makes the outputs 65Mi in all, more than the 64Mi that"},
    };
    assert_errors(&check, expected, 1);
    sr_check_free(&check);
}

/* The second output has 64Mi because it says nothing: told of where it is. */
static void a_default_is_held_too(void **state)
{
    (void)state;
    struct sr_check check = {0};
    hold(POLICY("", "memory: {max: 128Mi}",
                "network: {mode: none}\noutputs:\n  - {path: /a, max: 1Mi}\n  - {path: /b}\n"),
         &check);
    const struct expected expected[] = {
        {"outputs[1].max", 10, 5, "makes the outputs 65Mi in all, more than the 64Mi that"},
    };
    assert_errors(&check, expected, 1);
    sr_check_free(&check);
}

static void what_is_wrong_on_every_host_is_said_once(void **state)
{
    (void)state;
    struct sr_check check = {0};
    hold(POLICY("", "memory: {max: 1025Gi}", "network: {mode: none}\n"), &check);
    const struct expected expected[] = {
        {"resources.memory.max", 4, 56, "is more than the 1024 GiB a guest can have"},
    };
    assert_errors(&check, expected, 1);
    sr_check_free(&check);
}

static void other_errors_stay_in_document_order(void **state)
{
    (void)state;
    struct sr_check check = {0};
    hold(POLICY(", timeoutSec: 500", "memory: {max: 128MB}", "network: {mode: non}\n"), &check);
    assert_int_equal(check.error_count, 3);
    assert_string_equal(check.errors[0].path, "runtime.timeoutSec");
    assert_string_equal(check.errors[1].path, "resources.memory.max");
    assert_string_equal(check.errors[2].path, "network.mode");
    sr_check_free(&check);
}

static void a_document_that_cannot_be_read_has_nothing_to_hold(void **state)
{
    (void)state;
    struct sr_check check = {0};
    hold("a: [", &check);
    assert_int_equal(check.error_count, 1);
    sr_check_free(&check);
}

/* ---- the configuration ---- */

static void ceilings_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text;
        size_t at;
        uint64_t value;
    } cases[] = {
#define AT(field) offsetof(struct sr_ceilings, field)
        {"memory", "64Mi", AT(memory_bytes), 64 * MIB},
        {"memory", "1024Gi", AT(memory_bytes), UINT64_C(1) << 40},
        {"cpus", "2", AT(milli_cpus), 2000},
        {"cpus", "0.1", AT(milli_cpus), 100},
        {"cpus", "1.25", AT(milli_cpus), 1250},
        {"cpus", "7.999", AT(milli_cpus), 7999},
        {"disk", "0", AT(disk_bytes), 0},
        {"disk", "8388608Gi", AT(disk_bytes), UINT64_C(1) << 53},
        {"time", "604800", AT(time_sec), 604800},
        {"outputs", "1Ki", AT(output_bytes), 1024},
        {"entries", "6400000", AT(output_entries), 6400000},
        {"events", "4Mi", AT(event_bytes), 4 * MIB},
        {"rules", "0", AT(rules), 0},
        {"processes", "4194304", AT(processes), 4194304},
#undef AT
    };
    char why[HOST_CEILING_WHY];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sr_ceilings ceilings = {0};
        uint64_t value;
        assert_int_equal(host_ceilings_read(&ceilings, cases[i].name, cases[i].text, why), 1);
        memcpy(&value, (char *)&ceilings + cases[i].at, sizeof value);
        assert_int_equal(value, cases[i].value);
    }
}

static void what_is_no_ceiling_is_refused_with_the_range(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"memory", "63Mi", "must be a size from 64Mi to 1024Gi"},
        {"memory", "1025Gi", "must be a size from 64Mi to 1024Gi"},
        {"memory", "99999999999999999Gi", "must be a size from 64Mi to 1024Gi"},
        {"memory", "17179869185Gi", "must be a size from 64Mi to 1024Gi"},
        {"memory", "1024", "must be a size from 64Mi to 1024Gi"},
        {"memory", "", "must be a size from 64Mi to 1024Gi"},
        {"cpus", "0.09", "must be a number of CPUs from 0.1 to 8"},
        {"cpus", "8.001", "must be a number of CPUs from 0.1 to 8"},
        {"cpus", "1.", "must be a number of CPUs from 0.1 to 8"},
        {"cpus", "1.0000", "must be a number of CPUs from 0.1 to 8"},
        {"cpus", "1,5", "must be a number of CPUs from 0.1 to 8"},
        {"cpus", "max", "must be a number of CPUs from 0.1 to 8"},
        {"disk", "8388609Gi", "must be a size from 0 to 8388608Gi"},
        {"time", "0", "must be a whole number from 1 to 604800"},
        {"time", "24h", "must be a whole number from 1 to 604800"},
        {"time", "-1", "must be a whole number from 1 to 604800"},
        {"outputs", "1Ti", "must be a size from 0 to 8388608Gi"},
        {"entries", "6400001", "must be a whole number from 1 to 6400000"},
        {"events", "4095Ki", "must be a size from 4Mi to 4Gi"},
        {"rules", "65537", "must be a whole number from 0 to 65536"},
        {"processes", "0", "must be a whole number from 1 to 4194304"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sr_ceilings ceilings = {0};
        const struct sr_ceilings before = ceilings;
        char why[HOST_CEILING_WHY] = "";
        assert_int_equal(host_ceilings_read(&ceilings, cases[i][0], cases[i][1], why), -1);
        assert_string_equal(why, cases[i][2]);
        assert_memory_equal(&ceilings, &before, sizeof before);
    }
    struct sr_ceilings ceilings = {0};
    char why[HOST_CEILING_WHY];
    assert_int_equal(host_ceilings_read(&ceilings, "cpu", "1", why), 0);
}

/* Whatever the machine, what it spares is what a configuration could say. */
static void the_defaults_are_ceilings(void **state)
{
    (void)state;
    struct sr_ceilings ceilings, again;
    char text[SR_SIZE_TEXT], why[HOST_CEILING_WHY];
    host_ceilings_default(&ceilings);
    assert_in_range(ceilings.memory_bytes, 64 * MIB, UINT64_C(1) << 40);
    assert_int_equal(
        host_ceilings_read(&again, "memory", sr_size_text(ceilings.memory_bytes, text), why), 1);
    assert_int_equal(again.memory_bytes, ceilings.memory_bytes);
    assert_int_equal(
        host_ceilings_read(&again, "cpus", sr_cpus_text(ceilings.milli_cpus, text), why), 1);
    assert_int_equal(again.milli_cpus, ceilings.milli_cpus);
    assert_true(ceilings.disk_bytes >= 1024 * MIB && ceilings.output_bytes >= 1024 * MIB);
    assert_int_equal(ceilings.time_sec, 86400);
}

static void sizes_and_cpus_are_spelled_as_policies_spell_them(void **state)
{
    (void)state;
    char text[SR_SIZE_TEXT];
    assert_string_equal(sr_size_text(0, text), "0");
    assert_string_equal(sr_size_text(1023, text), "0");
    assert_string_equal(sr_size_text(1024, text), "1Ki");
    assert_string_equal(sr_size_text(1536, text), "1Ki");
    assert_string_equal(sr_size_text(20993 * MIB, text), "20993Mi");
    assert_string_equal(sr_size_text(UINT64_C(1) << 53, text), "8388608Gi");
    assert_string_equal(sr_cpus_text(1000, text), "1");
    assert_string_equal(sr_cpus_text(10000, text), "10");
    assert_string_equal(sr_cpus_text(1250, text), "1.25");
    assert_string_equal(sr_cpus_text(5, text), "0.005");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_breach_is_told_with_its_place_and_what_is_allowed),
        cmocka_unit_test(what_is_just_allowed_stays_valid),
        cmocka_unit_test(outputs_are_held_together),
        cmocka_unit_test(a_default_is_held_too),
        cmocka_unit_test(what_is_wrong_on_every_host_is_said_once),
        cmocka_unit_test(other_errors_stay_in_document_order),
        cmocka_unit_test(a_document_that_cannot_be_read_has_nothing_to_hold),
        cmocka_unit_test(ceilings_are_read),
        cmocka_unit_test(what_is_no_ceiling_is_refused_with_the_range),
        cmocka_unit_test(the_defaults_are_ceilings),
        cmocka_unit_test(sizes_and_cpus_are_spelled_as_policies_spell_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
