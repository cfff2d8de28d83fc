/* Values of the environment that no document has: how policies name them, who lets them, and what
 * evidence keeps. */
#include "common/buf.h"
#include "host/host.h"
#include "saferun/bundle.h"
#include "saferun/ceilings.h"
#include "saferun/explain.h"
#include "verify_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A directory of the test: in/ is granted, out/ is not. */
static char dir[64];

static const char *at(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/safe-run-secrets-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(mkdir(at("in"), 0755) | mkdir(at("out"), 0755), 0);
    write_file(at("in/token"), "value\n");
    write_file(at("out/token"), "value\n");
    assert_int_equal(symlink("../out/token", at("in/link")), 0);
    write_file(at("in/large"), "");
    assert_int_equal(truncate(at("in/large"), SR_SECRET_VALUE_MAX + 2), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"in/token", "in/link", "in/large", "out/token",
                                        "in",       "out",     "env.key",  "config"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        remove(at(names[i]));
    return rmdir(dir);
}

/* A policy with this environment, in YAML; env is on line 4. */
static void check_env(const char *env, const char *const *allow_env, size_t allow_env_count,
                      struct sr_check *check)
{
    char text[2048];
    struct sr_error err;
    const char *granted = at("in");
    const struct sr_policy_sources sources = {.directory = dir,
                                              .allow = &granted,
                                              .allow_count = 1,
                                              .allow_env = allow_env,
                                              .allow_env_count = allow_env_count};
    int len = snprintf(text, sizeof text,
                       "apiVersion: policy.safe-run.dev/v1alpha1\nmetadata: {name: test}\n"
                       "runtime: {command: /bin/true, args: [],\n env: %s}\n"
                       "resources: {cpu: 1, memory: 128Mi}\nnetwork: {mode: none}\n",
                       env);
    assert_true(len < (int)sizeof text);
    assert_int_equal(sr_policy_check(text, (size_t)len, &sources, check, &err), 0);
}

static void the_normal_form_has_the_source_and_no_value(void **state)
{
    (void)state;
    sr_cleanup_check struct sr_check check = {0};
    check_env("{Z: plain, TOKEN: {from: env}, A: {from: file, path: in/token}}", NULL, 0, &check);
    assert_int_equal(check.error_count, 0);
    const struct sr_policy *policy = check.policy;
    assert_non_null(strstr(policy->json, "\"env\":{\"A\":{\"from\":\"file\",\"path\":\"in/token\"},"
                                         "\"TOKEN\":{\"from\":\"env\"},\"Z\":\"plain\"}"));
    assert_int_equal(policy->secret_count, 2);
    assert_string_equal(policy->secrets[0].name, "A");
    assert_true(policy->secrets[0].fd >= 0);
    assert_int_equal(policy->secrets[1].fd, -1);
    assert_int_equal(policy->env_count, 1);
    sr_cleanup_bundle struct sr_bundle bundle = {0};
    struct sr_error err;
    assert_int_equal(sr_compile(policy, &bundle, &err), 0);
    assert_non_null(strstr(bundle.json,
                           "\"env\":[\"Z=plain\"],\"envFrom\":[{\"from\":\"file\",\"name\":\"A\","
                           "\"path\":\"in/token\"},{\"from\":\"env\",\"name\":\"TOKEN\"}]"));
    /* The image's own of these names gives way. */
    assert_false(sr_policy_lets_env(policy, "TOKEN=image"));
    assert_true(sr_policy_lets_env(policy, "TOKEN2=image"));
}

/* Appends what is said to a text. */
static void collect(void *context, const char *topic, const char *sentence)
{
    sr_buf_printf(context, "%s: %s\n", topic, sentence);
}

static void assert_diff(const char *a_env, const char *b_env, const char *expected)
{
    sr_cleanup_check struct sr_check a = {0}, b = {0};
    sr_cleanup_bundle struct sr_bundle old = {0}, new = {0};
    sr_cleanup_buf struct sr_buf said = SR_BUF_INIT;
    struct sr_error err;
    size_t changes;
    check_env(a_env, NULL, 0, &a);
    check_env(b_env, NULL, 0, &b);
    assert_int_equal(sr_compile(a.policy, &old, &err) | sr_compile(b.policy, &new, &err), 0);
    assert_int_equal(sr_bundle_diff(&old, &new, collect, &said, &changes, &err), 0);
    assert_string_equal(said.data != NULL ? said.data : "", expected);
}

static void a_diff_says_who_may_have_what(void **state)
{
    (void)state;
    static const char env[] = "{T: {from: env}}", file[] = "{T: {from: file, path: in/token}}";
    assert_diff(env, env, "");
    assert_diff("{}", env,
                "B may, A may not: have the caller's T in its environment (runtime.env.T)\n"
                "Compiled plans: guestPlan.envFrom: + {\"from\":\"env\",\"name\":\"T\"}\n");
    assert_diff(env, "{}",
                "A may, B may not: have the caller's T in its environment (runtime.env.T)\n"
                "Compiled plans: guestPlan.envFrom: - {\"from\":\"env\",\"name\":\"T\"}\n");
    assert_diff(
        env, file,
        "B may, A may not: have what is in the file in/token in its environment (runtime.env.T)\n"
        "A may, B may not: have the caller's T in its environment (runtime.env.T)\n"
        "Compiled plans: guestPlan.envFrom: - {\"from\":\"env\",\"name\":\"T\"}\n"
        "Compiled plans: guestPlan.envFrom: + "
        "{\"from\":\"file\",\"name\":\"T\",\"path\":\"in/token\"}\n");
}

static void a_bundle_without_secrets_is_as_it_was(void **state)
{
    (void)state;
    sr_cleanup_check struct sr_check check = {0};
    sr_cleanup_bundle struct sr_bundle bundle = {0};
    struct sr_error err;
    check_env("{Z: plain}", NULL, 0, &check);
    assert_int_equal(sr_compile(check.policy, &bundle, &err), 0);
    assert_null(strstr(bundle.json, "envFrom"));
}

static void what_is_wrong_is_said_at_its_field(void **state)
{
    (void)state;
    static const struct {
        const char *env, *path;
        enum sr_code code;
    } cases[] = {
        {"{T: {}}", "runtime.env.T.from", SR_POL_001},
        {"{T: {from: vault}}", "runtime.env.T.from", SR_POL_002},
        {"{T: {from: env, value: x}}", "runtime.env.T.value", SR_POL_002},
        {"{T: {from: env, path: in/token}}", "runtime.env.T.path", SR_POL_003},
        {"{T: {from: file}}", "runtime.env.T.path", SR_POL_001},
        {"{T: {from: file, path: in}}", "runtime.env.T.path", SR_POL_101},
        {"{T: {from: file, path: in/large}}", "runtime.env.T.path", SR_POL_101},
        {"{T: {from: file, path: in/none}}", "runtime.env.T.path", SR_POL_101},
        {"{T: {from: file, path: out/token}}", "runtime.env.T.path", SR_POL_101},
        {"{T: {from: file, path: in/../out/token}}", "runtime.env.T.path", SR_POL_101},
        {"{T: {from: file, path: in/link}}", "runtime.env.T.path", SR_POL_101},
        {"{T: {from: file, path: /etc/passwd}}", "runtime.env.T.path", SR_POL_101},
        {"{T: {from: file, path: /proc/self/environ}}", "runtime.env.T.path", SR_POL_101},
        {"{1T: {from: env}}", "runtime.env.1T", SR_POL_002},
        {"{a-b: {from: env}}", "runtime.env.a-b", SR_POL_002},
        {"{T: [x]}", "runtime.env.T", SR_POL_002},
        {"{T: {from: env}, T: x}", "runtime.env.T", SR_POL_002},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sr_cleanup_check struct sr_check check = {0};
        check_env(cases[i].env, NULL, 0, &check);
        if (check.error_count != 1 || check.errors[0].code != cases[i].code ||
            strcmp(check.errors[0].path, cases[i].path) != 0 || check.errors[0].line != 4)
            fail_msg("%s: %zu errors, %s %s: %s", cases[i].env, check.error_count,
                     check.error_count > 0 ? sr_code_name(check.errors[0].code) : "",
                     check.error_count > 0 ? check.errors[0].path : "",
                     check.error_count > 0 ? check.errors[0].message : "");
        assert_null(check.policy);
    }
}

static void secrets_are_counted(void **state)
{
    (void)state;
    for (int over = 0; over < 2; over++) {
        char env[2000] = "{";
        for (int i = 0; i < SR_SECRETS_MAX + over; i++)
            snprintf(env + strlen(env), sizeof env - strlen(env), "V%d: {from: env},", i);
        strcat(env, "}");
        sr_cleanup_check struct sr_check check = {0};
        check_env(env, NULL, 0, &check);
        assert_int_equal(check.error_count, over);
        if (over)
            assert_string_equal(check.errors[0].path, "runtime.env");
    }
}

/* With "TOKEN_B " in the host's env.allow. */
static void assert_grants(const char *const *allowed, size_t count, size_t refused)
{
    struct sr_ceilings ceilings;
    struct sr_error err;
    sr_cleanup_check struct sr_check check = {0};
    memset(&ceilings, 0xff, sizeof ceilings);
    strcpy(ceilings.env_allow, "OTHER TOKEN_B ");
    check_env("{TOKEN: {from: env}, TOKEN_B: {from: env}, F: {from: file, path: in/token}}",
              allowed, count, &check);
    assert_int_equal(check.error_count, 0);
    assert_int_equal(sr_policy_hold(&check, &ceilings, &err), 0);
    assert_int_equal(check.error_count, refused);
    if (refused == 0)
        return;
    assert_int_equal(check.errors[0].code, SR_POL_003);
    assert_string_equal(check.errors[0].path, "runtime.env.TOKEN");
    assert_int_equal(check.errors[0].line, 4);
    assert_non_null(strstr(check.errors[0].message, "--allow-env TOKEN "));
    assert_null(check.policy);
}

static void a_variable_needs_the_callers_or_the_hosts_word(void **state)
{
    (void)state;
    static const char *const names[] = {"TOKE", "TOKEN_", "TOKEN"};
    assert_grants(NULL, 0, 1);
    assert_grants(names, 2, 1);
    assert_grants(names, 3, 0);
}

static void a_value_given_for_a_name_is_refused_and_not_repeated(void **state)
{
    (void)state;
    static const char *const names[] = {"TOKEN=s3cr3t"};
    sr_cleanup_check struct sr_check check = {0};
    check_env("{TOKEN: {from: env}}", names, 1, &check);
    assert_int_equal(check.error_count, 1);
    assert_string_equal(check.errors[0].path, "allowEnv[0]");
    assert_null(strstr(check.errors[0].message, "s3cr3t"));
    assert_null(strstr(check.errors[0].hint, "s3cr3t"));
}

static void the_host_lists_variables(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path; /* path: of the error; NULL: none */
    } cases[] = {
        {"env: {allow: [TOKEN, CI_KEY]}\n", NULL},
        {"env:\n  allow: []\n", NULL},
        {"env: {allow: TOKEN}\n", "prepare.config.env.allow"},
        {"env: {allow: [TOKEN, A B]}\n", "prepare.config.env.allow"},
        {"env: {allow: [[TOKEN]]}\n", "prepare.config.env.allow"},
        {"env: {key: relative}\n", "prepare.config.env.key"},
        {"env: {key: [/a, /b]}\n", "prepare.config.env.key"},
    };
    assert_int_equal(setenv("SAFE_RUN_CONFIG", at("config"), 1), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct host_config config;
        struct sr_error err = {0};
        write_file(at("config"), cases[i].text);
        assert_int_equal(host_config_load(&config, &err), cases[i].path == NULL ? 0 : -1);
        if (cases[i].path != NULL)
            assert_string_equal(err.path, cases[i].path);
        else
            assert_string_equal(config.ceilings.env_allow, i == 0 ? "TOKEN CI_KEY " : "");
    }
}

/* -- The key and the HMAC -- */

static void hmacs_are_those_of_rfc_4231(void **state)
{
    (void)state;
    unsigned char key[131];
    char text[SR_HMAC_TEXT];
    static char first[] = "what do ya want ", second[] = "for nothing?",
                large[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    const struct iovec two[] = {{first, strlen(first)}, {second, strlen(second)}};
    assert_int_equal(sr_hmac_sha256("Jefe", 4, two, 2, text), 0);
    assert_string_equal(
        text, "hmac-sha256:5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    assert_true(sr_is_hmac_sha256(text));
    const struct iovec one = {large, strlen(large)};
    memset(key, 0xaa, sizeof key);
    assert_int_equal(sr_hmac_sha256(key, sizeof key, &one, 1, text), 0);
    assert_string_equal(
        text, "hmac-sha256:60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    text[20] = 'A';
    assert_false(sr_is_hmac_sha256(text));
}

static void the_key_is_made_once_for_its_owner_alone(void **state)
{
    (void)state;
    struct host_config config = {.env_key = ""};
    unsigned char keys[2][HOST_ENV_KEY_SIZE], zeros[HOST_ENV_KEY_SIZE] = {0};
    struct sr_error err;
    struct stat st;
    snprintf(config.env_key, sizeof config.env_key, "%s", at("env.key"));
    pid_t children[4];
    mode_t mask = umask(0);
    for (int i = 0; i < 4; i++) { /* first runs at once */
        children[i] = fork();
        if (children[i] == 0)
            _exit(host_env_key(&config, keys[0], &err) == 0 ? 0 : 1);
    }
    for (int i = 0; i < 4; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    umask(mask);
    assert_int_equal(host_env_key(&config, keys[0], &err), 0);
    assert_int_equal(host_env_key(&config, keys[1], &err), 0);
    assert_memory_equal(keys[0], keys[1], HOST_ENV_KEY_SIZE);
    assert_memory_not_equal(keys[0], zeros, HOST_ENV_KEY_SIZE);
    assert_int_equal(stat(at("env.key"), &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    assert_int_equal(st.st_size, HOST_ENV_KEY_SIZE);
}

static void assert_no_key(const char *path, const char *why)
{
    struct host_config config = {.env_key = ""};
    unsigned char key[HOST_ENV_KEY_SIZE];
    struct sr_error err = {0};
    snprintf(config.env_key, sizeof config.env_key, "%s", path);
    assert_int_equal(host_env_key(&config, key, &err), -1);
    assert_int_equal(err.code, SR_EVD_003);
    assert_string_equal(err.path, "env.key");
    assert_non_null(strstr(err.message, why));
}

static void a_key_that_others_know_or_wrote_is_refused(void **state)
{
    (void)state;
    write_file(at("env.key"), "0123456789abcdef0123456789abcdef");
    assert_int_equal(chmod(at("env.key"), 0640), 0);
    assert_no_key(at("env.key"), "0640");
    assert_int_equal(chmod(at("env.key"), 0622), 0);
    assert_no_key(at("env.key"), "can be written to by others");
    assert_int_equal(chmod(at("env.key"), 0600), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(at("env.key"), 12345, 12345), 0);
        assert_no_key(at("env.key"), "belongs to uid 12345");
        assert_int_equal(chown(at("env.key"), 0, 0), 0);
    }
    assert_int_equal(truncate(at("env.key"), 31), 0);
    assert_no_key(at("env.key"), "is not the 32 bytes of a key");
    assert_int_equal(unlink(at("env.key")), 0);
    assert_int_equal(chmod(at("out"), 0777), 0);
    assert_no_key(at("out/env.key"), "can be written to by others");
    assert_int_equal(access(at("out/env.key"), F_OK), -1);
    assert_no_key(at("in/none/env.key"), "cannot be opened");
}

static void a_wiped_buffer_leaves_nothing_behind_its_end(void **state)
{
    (void)state;
    sr_cleanup_buf struct sr_buf buf = {.wipe = true};
    sr_buf_puts(&buf, "abc");
    for (int i = 0; i < 200; i++)
        sr_buf_puts(&buf, "s3cr3t");
    assert_int_equal(buf.len, 1203);
    assert_memory_equal(buf.data, "abcs3cr3t", 9);
    sr_buf_consume(&buf, 1200);
    assert_string_equal(buf.data, "r3t");
    assert_null(memmem(buf.data, 1204, "s3cr3t", 6));
}

/* -- The verifier -- */

static void verify_prepared(const char *runtime, const char *allowed,
                            struct sr_verification *result)
{
    json_t *report = load_sealed();
    json_t *prepared =
        json_object_get(json_array_get(json_object_get(report, "events"), 1), "payload");
    json_t *facts = json_loads(runtime, 0, NULL);
    assert_non_null(facts);
    json_object_set_new(prepared, "runtime", facts);
    if (allowed != NULL)
        json_object_set_new(prepared, "allowEnv", json_loads(allowed, 0, NULL));
    verify_resealed(report, result);
}

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HMAC "\"hmac\":\"hmac-sha256:" HEX "\""
#define SALT "\"envSalt\":\"" HEX "\""
#define ENV "{\"from\":\"env\",\"name\":\"T\"," HMAC "}"

static void what_evidence_says_of_secrets_verifies(void **state)
{
    (void)state;
    sr_cleanup_verification struct sr_verification result;
    verify_prepared("{\"envFrom\":[{\"from\":\"file\",\"name\":\"F\",\"path\":\"a/b\"," HMAC
                    "}," ENV "]," SALT "}",
                    "[\"T\"]", &result);
    for (size_t i = 0; i < result.error_count; i++)
        print_error("%s: %s\n", result.errors[i].path, result.errors[i].message);
    assert_true(result.valid);
}

static void what_is_no_evidence_of_secrets_does_not(void **state)
{
    (void)state;
    static const char entry[] = "events[1].payload.runtime.envFrom[0]";
    static const struct {
        const char *runtime, *allowed, *path;
        enum sr_code code;
    } cases[] = {
        {"{\"envFrom\":{}}", NULL, "events[1].payload.runtime.envFrom", SR_EVD_301},
        {"{\"envFrom\":[\"T\"]," SALT "}", NULL, entry, SR_EVD_301},
        {"{\"envFrom\":[{\"from\":\"env\",\"name\":\"1T\"," HMAC "}]," SALT "}", NULL, entry,
         SR_EVD_301},
        {"{\"envFrom\":[{\"from\":\"vault\",\"name\":\"T\"," HMAC "}]," SALT "}", NULL, entry,
         SR_EVD_301},
        {"{\"envFrom\":[{\"from\":\"env\",\"name\":\"T\",\"path\":\"x\"," HMAC "}]," SALT "}", NULL,
         entry, SR_EVD_301},
        {"{\"envFrom\":[{\"from\":\"file\",\"name\":\"T\"," HMAC "}]," SALT "}", NULL, entry,
         SR_EVD_301},
        {"{\"envFrom\":[{\"from\":\"env\",\"name\":\"T\",\"hmac\":\"s3cr3t\"}]," SALT "}", NULL,
         entry, SR_EVD_301},
        {"{\"envFrom\":[" ENV "]}", NULL, entry, SR_EVD_301},
        {"{\"envFrom\":[" ENV "],\"envSalt\":\"s3cr3t\"}", NULL,
         "events[1].payload.runtime.envSalt", SR_EVD_301},
        {"{\"envFrom\":[" ENV "," ENV "]," SALT "}", NULL, "events[1].payload.runtime.envFrom[1]",
         SR_EVD_301},
        {"{\"envFrom\":[{\"from\":\"env\",\"name\":\"T\"}]," SALT "}", NULL,
         "events[6].payload.pid", SR_EVD_303},
        {"{}", "[\"T=s3cr3t\"]", "events[1].payload.allowEnv", SR_EVD_301},
        {"{}", "{}", "events[1].payload.allowEnv", SR_EVD_301},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sr_cleanup_verification struct sr_verification result;
        verify_prepared(cases[i].runtime, cases[i].allowed, &result);
        assert_false(result.valid);
        expect_error(&result, cases[i].code, cases[i].path);
    }
}

int main(void)
{
#define IN_A_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        IN_A_DIRECTORY(the_normal_form_has_the_source_and_no_value),
        IN_A_DIRECTORY(a_diff_says_who_may_have_what),
        IN_A_DIRECTORY(a_bundle_without_secrets_is_as_it_was),
        IN_A_DIRECTORY(what_is_wrong_is_said_at_its_field),
        IN_A_DIRECTORY(secrets_are_counted),
        IN_A_DIRECTORY(a_variable_needs_the_callers_or_the_hosts_word),
        IN_A_DIRECTORY(a_value_given_for_a_name_is_refused_and_not_repeated),
        IN_A_DIRECTORY(the_host_lists_variables),
        cmocka_unit_test(hmacs_are_those_of_rfc_4231),
        IN_A_DIRECTORY(the_key_is_made_once_for_its_owner_alone),
        IN_A_DIRECTORY(a_key_that_others_know_or_wrote_is_refused),
        cmocka_unit_test(a_wiped_buffer_leaves_nothing_behind_its_end),
        cmocka_unit_test(what_evidence_says_of_secrets_verifies),
        cmocka_unit_test(what_is_no_evidence_of_secrets_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
