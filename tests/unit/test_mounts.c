/* Mount sources as an attacker who may write inside the allowlist would arrange them. */
#include "saferun/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A directory of the test: in/ is allowed, in-side/ and out/ are not; each has a file f. */
struct place {
    char dir[64];
    char allowlist[128];   /* empty: the built-in one */
    const char *directory; /* of the policy; NULL: it comes from standard input */
    const char *granted;   /* a directory that the caller allows; NULL: none */
};

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* A path below the test's directory; one of four static buffers. */
static const char *at(const struct place *place, const char *name)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", place->dir, name);
    return path;
}

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    assert_non_null(place);
    strcpy(place->dir, "/tmp/safe-run-mounts-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    static const char *const dirs[] = {"in", "in-side", "out", "in/deep"};
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        char file[64];
        assert_int_equal(mkdir(at(place, dirs[i]), 0755), 0);
        snprintf(file, sizeof file, "%s/f", dirs[i]);
        write_file(at(place, file), dirs[i]);
    }
    snprintf(place->allowlist, sizeof place->allowlist, "%s/allowlist", place->dir);
    char text[256];
    snprintf(text, sizeof text,
             "schemaVersion: safe-run.mount-allowlist/v1\nhostAllowPrefixes: [%s/in/]\n"
             "guestAllowPrefixes: [/data]\n",
             place->dir);
    write_file(place->allowlist, text);
    *state = place;
    return 0;
}

static int remove_entry(int dir, const char *name)
{
    if (unlinkat(dir, name, 0) == 0)
        return 0;
    return unlinkat(dir, name, AT_REMOVEDIR);
}

static int tear_down(void **state)
{
    struct place *place = *state;
    static const char *const names[] = {"in/deep/f", "in/deep",  "in/f",    "in/link",  "in/other",
                                        "in/fifo",   "in/sock",  "in/a\nb", "in/bind",  "in",
                                        "in-side/f", "in-side",  "out/f",   "out/link", "out",
                                        "alias",     "allowlist"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        remove_entry(AT_FDCWD, at(place, names[i]));
    int left = rmdir(place->dir);
    free(place);
    return left;
}

/* Checks a policy that mounts source; the first error's code, or SR_OK. */
static enum sr_code check(const struct place *place, const char *source, struct sr_check *check)
{
    char text[2048];
    struct sr_error err;
    int len = snprintf(
        text, sizeof text,
        "{\"apiVersion\":\"policy.safe-run.dev/v1alpha1\",\"metadata\":{\"name\":\"t\"},"
        "\"runtime\":{\"command\":\"/bin/true\",\"args\":[]},\"resources\":{\"cpu\":{\"max\":"
        "\"100000 100000\"},\"memory\":{\"max\":\"128Mi\"}},\"network\":{\"mode\":\"none\"},"
        "\"mounts\":[{\"source\":\"%s\",\"target\":\"/data/x\",\"read_only\":true}],"
        "\"audit\":{\"level\":\"basic\"}}",
        source);
    const struct sr_policy_sources sources = {
        .allowlist = place->allowlist[0] != '\0' ? place->allowlist : NULL,
        .directory = place->directory,
        .allow = &place->granted,
        .allow_count = place->granted != NULL,
    };
    assert_int_equal(sr_policy_check(text, (size_t)len, &sources, check, &err), 0);
    if (check->error_count == 0)
        return SR_OK;
    assert_string_equal(check->errors[0].path, "mounts[0].source");
    assert_null(check->policy);
    return check->errors[0].code;
}

static void expect(const struct place *place, const char *source, enum sr_code code)
{
    struct sr_check found = {0};
    enum sr_code got = check(place, source, &found);
    if (got != code)
        fail_msg("%s: %s %s", source, sr_code_name(got),
                 found.error_count > 0 ? found.errors[0].message : "");
    sr_check_free(&found);
}

static void what_lies_inside_is_accepted(void **state)
{
    const struct place *place = *state;
    expect(place, at(place, "in"), SR_OK);
    expect(place, at(place, "in///"), SR_OK);
    expect(place, at(place, "in/deep/"), SR_OK);
    expect(place, at(place, "in//deep/./f"), SR_OK);
}

static void a_longer_name_is_not_inside(void **state)
{
    const struct place *place = *state;
    expect(place, at(place, "in-side"), SR_POL_101);
    expect(place, at(place, "in-side/f"), SR_POL_101);
    expect(place, place->dir, SR_POL_101);
}

static void a_relative_source_begins_beside_the_policy(void **state)
{
    struct place *place = *state;
    struct sr_check found = {0};
    expect(place, "in/f", SR_POL_101); /* from standard input */
    place->directory = place->dir;
    assert_int_equal(check(place, "in/f", &found), SR_OK);
    assert_string_equal(found.policy->directory, place->dir);
    assert_string_equal(found.policy->mounts[0].source, "in/f");
    sr_check_free(&found);
    expect(place, "./in", SR_OK);
    expect(place, ".", SR_POL_101);
    expect(place, "out/f", SR_POL_101);
    expect(place, "in/../in/f", SR_POL_101);
    assert_int_equal(symlink("../out/f", at(place, "in/link")), 0);
    expect(place, "in/link", SR_POL_101);
    char elsewhere[128];
    place->directory = strcpy(elsewhere, at(place, "in"));
    expect(place, "deep/f", SR_OK);
    expect(place, "in/f", SR_POL_101);
    place->directory = strcpy(elsewhere, at(place, "nowhere"));
    expect(place, "deep/f", SR_POL_101);
}

static void a_policy_is_not_allowed_what_lies_beside_it(void **state)
{
    struct place *place = *state;
    char out[128];
    place->directory = strcpy(out, at(place, "out"));
    expect(place, "f", SR_POL_101);
    place->allowlist[0] = '\0';
    expect(place, "f", SR_POL_101);
}

static void a_grant_is_added_to_the_allowlist(void **state)
{
    struct place *place = *state;
    struct sr_check found = {0};
    char out[128];
    place->granted = strcpy(out, at(place, "out"));
    assert_int_equal(check(place, at(place, "out/f"), &found), SR_OK);
    assert_int_equal(found.policy->granted_count, 1);
    assert_string_equal(found.policy->granted[0], out);
    sr_check_free(&found);
    expect(place, at(place, "in/f"), SR_OK);
    expect(place, at(place, "in-side/f"), SR_POL_101);
    expect(place, "/proc/self/status", SR_POL_101);
    place->allowlist[0] = '\0';
    expect(place, at(place, "out/f"), SR_OK);
    expect(place, at(place, "in/f"), SR_POL_101);
    place->granted = "/";
    expect(place, "/proc/self/status", SR_POL_101);
    expect(place, "/dev/null", SR_POL_101);
}

static void a_grant_that_is_not_there_is_an_error(void **state)
{
    struct place *place = *state;
    struct sr_check found = {0};
    struct sr_error err;
    const char *granted = at(place, "nowhere");
    const struct sr_policy_sources sources = {.allow = &granted, .allow_count = 1};
    assert_int_equal(sr_policy_check("{}", 2, &sources, &found, &err), 0);
    assert_string_equal(found.errors[0].path, "allowMount[0]");
    assert_int_equal(found.errors[0].code, SR_POL_101);
    sr_check_free(&found);
}

static void a_link_is_judged_by_where_it_leads(void **state)
{
    const struct place *place = *state;
    assert_int_equal(symlink("deep/f", at(place, "in/link")), 0);
    expect(place, at(place, "in/link"), SR_OK);
    assert_int_equal(unlink(at(place, "in/link")), 0);
    assert_int_equal(symlink("../out", at(place, "in/link")), 0);
    expect(place, at(place, "in/link"), SR_POL_101);
    expect(place, at(place, "in/link/f"), SR_POL_101);
    assert_int_equal(symlink("../in/deep", at(place, "out/link")), 0);
    expect(place, at(place, "out/link/f"),
           SR_OK); /* from outside to inside: it is what is inside */
}

static void chains_of_links_are_followed_to_their_end(void **state)
{
    const struct place *place = *state;
    assert_int_equal(symlink("other", at(place, "in/link")), 0);
    assert_int_equal(symlink(at(place, "out/link"), at(place, "in/other")), 0);
    assert_int_equal(symlink("/etc", at(place, "out/link")), 0);
    expect(place, at(place, "in/link"), SR_POL_101);
    assert_int_equal(unlink(at(place, "out/link")), 0);
    assert_int_equal(symlink(at(place, "in/link"), at(place, "out/link")), 0);
    expect(place, at(place, "in/link"), SR_POL_101); /* a circle */
}

static void magic_links_lead_nowhere(void **state)
{
    const struct place *place = *state;
    assert_int_equal(symlink("/proc/self/root", at(place, "in/link")), 0);
    expect(place, at(place, "in/link"), SR_POL_101);
    expect(place, at(place, "in/link/etc"), SR_POL_101);
    char path[128];
    snprintf(path, sizeof path, "/proc/self/root%s/in", place->dir);
    expect(place, path, SR_POL_101);
    expect(place, "/proc/self/cwd", SR_POL_101);
    expect(place, "/dev/fd/0", SR_POL_101);
}

static void an_allowlist_may_name_a_link(void **state)
{
    struct place *place = *state;
    char text[256];
    assert_int_equal(symlink("in", at(place, "alias")), 0);
    snprintf(text, sizeof text,
             "schemaVersion: safe-run.mount-allowlist/v1\nhostAllowPrefixes: [%s/alias]\n"
             "guestAllowPrefixes: [/data]\n",
             place->dir);
    write_file(place->allowlist, text);
    expect(place, at(place, "alias/f"), SR_OK);
    expect(place, at(place, "in/f"), SR_OK);
    expect(place, at(place, "out/f"), SR_POL_101);
}

static void only_files_and_directories_are_mounted(void **state)
{
    const struct place *place = *state;
    assert_int_equal(mkfifo(at(place, "in/fifo"), 0600), 0);
    expect(place, at(place, "in/fifo"), SR_POL_101);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", at(place, "in/sock"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    expect(place, at(place, "in/sock"), SR_POL_101);
    close(fd);
}

static void a_name_may_hold_a_newline(void **state)
{
    const struct place *place = *state;
    write_file(at(place, "in/a\nb"), "x");
    expect(place, at(place, "in/a\\nb"), SR_OK); /* JSON's escape */
    expect(place, at(place, "in/a\\n"), SR_POL_101);
    expect(place, at(place, "in/a"), SR_POL_101);
}

static void names_that_only_look_alike_are_others(void **state)
{
    const struct place *place = *state;
    expect(place, at(place, "\\u0456n/f"), SR_POL_101);        /* Cyrillic i */
    expect(place, at(place, "in\\u2215f"), SR_POL_101);        /* division slash */
    expect(place, at(place, "in/\\u200bdeep"), SR_POL_101);    /* zero width space */
    expect(place, at(place, "in/\\uff0e\\uff0e"), SR_POL_101); /* full-width dots */
}

/* The descriptor stays on what was judged, whatever is put in its place. */
static void what_was_judged_is_what_is_used(void **state)
{
    const struct place *place = *state;
    struct sr_check found = {0};
    struct stat before, after;
    char text[16] = "";
    assert_int_equal(stat(at(place, "in/deep"), &before), 0);
    assert_int_equal(check(place, at(place, "in/deep"), &found), SR_OK);
    int fd = found.policy->mounts[0].fd;
    assert_int_equal(rename(at(place, "in/deep"), at(place, "in/other")), 0);
    assert_int_equal(symlink("../out", at(place, "in/deep")), 0);
    assert_int_equal(fstat(fd, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    int file = openat(fd, "f", O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(file, text, sizeof text - 1), strlen("in/deep"));
    assert_string_equal(text, "in/deep");
    close(file);
    sr_check_free(&found);
    expect(place, at(place, "in/deep"), SR_POL_101); /* looked at anew, it leads outside */
    assert_int_equal(unlink(at(place, "in/deep")), 0);
    assert_int_equal(rename(at(place, "in/other"), at(place, "in/deep")), 0);
}

/* Swaps a directory and a link to elsewhere for as long as it lives. */
static pid_t start_swapping(const struct place *place)
{
    pid_t child = fork();
    if (child != 0)
        return child;
    char inside[128], link[128];
    snprintf(inside, sizeof inside, "%s/in/deep", place->dir);
    snprintf(link, sizeof link, "%s/in/link", place->dir);
    for (;;)
        renameat2(AT_FDCWD, inside, AT_FDCWD, link, RENAME_EXCHANGE);
}

static void no_race_gets_a_file_from_outside(void **state)
{
    const struct place *place = *state;
    assert_int_equal(symlink("../out", at(place, "in/link")), 0);
    pid_t swapper = start_swapping(place);
    assert_true(swapper > 0);
    unsigned accepted = 0;
    for (int i = 0; i < 2000; i++) {
        struct sr_check found = {0};
        if (check(place, at(place, "in/deep/f"), &found) == SR_OK) {
            char text[16] = "", path[40];
            snprintf(path, sizeof path, "/proc/self/fd/%d", found.policy->mounts[0].fd);
            int file = open(path, O_RDONLY | O_CLOEXEC);
            assert_true(read(file, text, sizeof text - 1) > 0);
            assert_string_equal(text, "in/deep");
            close(file);
            accepted++;
        }
        sr_check_free(&found);
    }
    kill(swapper, SIGKILL);
    assert_int_equal(waitpid(swapper, NULL, 0), swapper);
    struct stat st;
    if (lstat(at(place, "in/deep"), &st) == 0 && S_ISLNK(st.st_mode))
        renameat2(AT_FDCWD, at(place, "in/deep"), AT_FDCWD, at(place, "in/link"), RENAME_EXCHANGE);
    print_message("%u of 2000 accepted\n", accepted);
}

/* In a mount namespace of its own: the kernel's file systems are refused wherever they are bound;
 * other binds are the host owner's doing and are judged by where they are. */
static void binds_do_not_smuggle_the_kernels_files(void **state)
{
    const struct place *place = *state;
    assert_int_equal(mkdir(at(place, "in/bind"), 0755), 0);
    pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 ||
            mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("/proc", at(place, "in/bind"), NULL, MS_BIND | MS_REC, NULL) < 0)
            _exit(2);
        struct sr_check kernel = {0}, host = {0};
        bool good = check(place, at(place, "in/bind"), &kernel) == SR_POL_101 &&
                    mount(at(place, "out"), at(place, "in/bind"), NULL, MS_BIND, NULL) == 0 &&
                    check(place, at(place, "in/bind/f"), &host) == SR_OK;
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* Makes this process root of namespaces of its own, with an empty /var/lib. */
static bool enter_another_var_lib(void)
{
    char uid[32], gid[32];
    snprintf(uid, sizeof uid, "0 %u 1", getuid());
    snprintf(gid, sizeof gid, "0 %u 1", getgid());
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return false;
    write_file("/proc/self/uid_map", uid);
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/gid_map", gid);
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", "/var/lib", "tmpfs", 0, NULL) == 0;
}

/* Whoever moved /var/lib/safe-run to a larger disk left a link. */
static void the_built_in_directory_may_be_a_link(void **state)
{
    struct place built_in = *(const struct place *)*state;
    built_in.allowlist[0] = '\0';
    pid_t child = fork();
    if (child == 0) {
        if (!enter_another_var_lib() || mkdir("/var/lib/elsewhere", 0755) < 0 ||
            mkdir("/var/lib/elsewhere/in", 0755) < 0)
            _exit(2);
        struct sr_check absent = {0}, link = {0}, direct = {0}, outside = {0};
        bool good = check(&built_in, "/var/lib/elsewhere/in", &absent) == SR_POL_101 &&
                    strstr(absent.errors[0].hint, "no directory of the allowlist exists") != NULL &&
                    symlink("elsewhere", "/var/lib/safe-run") == 0 &&
                    check(&built_in, "/var/lib/safe-run/in", &link) == SR_OK &&
                    check(&built_in, "/var/lib/elsewhere/in", &direct) == SR_OK &&
                    check(&built_in, "/var/lib", &outside) == SR_POL_101;
        static const char *const ours[] = {"",         "/runs",      "/runs/sr-1",
                                           "/archive", "/archive/a", "/images"};
        for (size_t i = 0; good && i < sizeof ours / sizeof ours[0]; i++) {
            struct sr_check own = {0};
            char path[64];
            snprintf(path, sizeof path, "/var/lib/elsewhere%s", ours[i]);
            good = (mkdir(path, 0755) == 0 || errno == EEXIST) &&
                   check(&built_in, path, &own) == SR_POL_101 &&
                   strstr(own.errors[0].message, "other runs") != NULL;
        }
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(what_lies_inside_is_accepted),
        TEST(a_longer_name_is_not_inside),
        TEST(a_relative_source_begins_beside_the_policy),
        TEST(a_policy_is_not_allowed_what_lies_beside_it),
        TEST(a_grant_is_added_to_the_allowlist),
        TEST(a_grant_that_is_not_there_is_an_error),
        TEST(a_link_is_judged_by_where_it_leads),
        TEST(chains_of_links_are_followed_to_their_end),
        TEST(magic_links_lead_nowhere),
        TEST(an_allowlist_may_name_a_link),
        TEST(only_files_and_directories_are_mounted),
        TEST(a_name_may_hold_a_newline),
        TEST(names_that_only_look_alike_are_others),
        TEST(what_was_judged_is_what_is_used),
        TEST(no_race_gets_a_file_from_outside),
        TEST(binds_do_not_smuggle_the_kernels_files),
        TEST(the_built_in_directory_may_be_a_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
