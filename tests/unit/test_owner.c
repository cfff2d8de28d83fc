/* Whose a file or a directory must be. Much of it takes root, which can give things to somebody
 * else. */
#include "common/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define SOMEBODY 12345

/* dir/above/place/file in a directory of the test's own. */
struct tree {
    char dir[32], above[48], place[64], file[80];
};

static int set_up(void **state)
{
    static struct tree tree;
    snprintf(tree.dir, sizeof tree.dir, "/tmp/sr-owner-XXXXXX");
    assert_non_null(mkdtemp(tree.dir));
    snprintf(tree.above, sizeof tree.above, "%s/above", tree.dir);
    snprintf(tree.place, sizeof tree.place, "%s/place", tree.above);
    snprintf(tree.file, sizeof tree.file, "%s/file", tree.place);
    assert_int_equal(mkdir(tree.above, 0755), 0);
    assert_int_equal(mkdir(tree.place, 0755), 0);
    close(open(tree.file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    *state = &tree;
    return 0;
}

static int tear_down(void **state)
{
    const struct tree *tree = *state;
    unlink(tree->file);
    rmdir(tree->place);
    rmdir(tree->above);
    return rmdir(tree->dir);
}

static void expect_place(const struct tree *tree, int result, const char *words)
{
    char why[SR_OWNER_TEXT] = "";
    sr_cleanup_fd int fd = sr_open_place(tree->place, why);
    assert_int_equal(fd >= 0 ? 0 : fd, result);
    assert_non_null(strstr(why, words));
}

static void expect_file(const struct tree *tree, int result, const char *words)
{
    char why[SR_OWNER_TEXT] = "";
    sr_cleanup_fd int fd = sr_open_owned(tree->file, why);
    assert_int_equal(fd >= 0 ? 0 : fd, result);
    assert_non_null(strstr(why, words));
}

static void give(const char *path, uid_t uid)
{
    assert_int_equal(chown(path, uid, uid), 0);
}

static void test_what_only_the_caller_can_write_to_is_taken(void **state)
{
    expect_place(*state, 0, "");
    expect_file(*state, 0, "");
}

static void test_what_others_can_write_to_is_refused(void **state)
{
    const struct tree *tree = *state;
    const mode_t modes[] = {0775, 0757, 01777};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        assert_int_equal(chmod(tree->place, modes[i]), 0);
        expect_place(tree, -EPERM, "can be written to by others");
    }
    assert_int_equal(chmod(tree->place, 0755), 0);
    assert_int_equal(chmod(tree->file, 0664), 0);
    expect_file(tree, -EPERM, "can be written to by others (mode 0664)");
}

static void
test_a_directory_above_that_others_can_write_to_is_refused_unless_it_is_sticky(void **state)
{
    const struct tree *tree = *state;
    assert_int_equal(chmod(tree->above, 0777), 0);
    expect_place(tree, -EPERM, "/above, which others can write to (mode 0777)");
    expect_file(tree, -EPERM, "/above, which others can write to (mode 0777)");
    assert_int_equal(chmod(tree->above, 01777), 0);
    expect_place(tree, 0, "");
    expect_file(tree, 0, "");
}

static void test_what_somebody_else_owns_is_refused(void **state)
{
    const struct tree *tree = *state;
    if (geteuid() != 0) { /* nothing can be given away; root's is fine for everybody */
        char why[SR_OWNER_TEXT];
        sr_cleanup_fd int top = sr_open_place("/", why);
        assert_true(top >= 0);
        return;
    }
    give(tree->file, SOMEBODY);
    expect_file(tree, -EPERM, "belongs to uid 12345");
    give(tree->file, 0);
    give(tree->place, SOMEBODY);
    expect_place(tree, -EPERM, "belongs to uid 12345");
    expect_file(tree, -EPERM, "belongs to uid 12345");
    give(tree->place, 0);
    give(tree->above, SOMEBODY);
    expect_place(tree, -EPERM, "/above, which belongs to uid 12345");
    expect_file(tree, -EPERM, "/above, which belongs to uid 12345");
}

static void test_roots_is_taken_by_everybody(void **state)
{
    const struct tree *tree = *state;
    if (geteuid() == 0) {
        assert_int_equal(chmod(tree->dir, 0755), 0);
        assert_int_equal(seteuid(SOMEBODY), 0);
    }
    expect_place(tree, 0, "");
    expect_file(tree, 0, "");
    assert_true(getuid() != 0 || seteuid(0) == 0);
}

static void test_what_is_not_there_is_no_matter_of_owners(void **state)
{
    const struct tree *tree = *state;
    unlink(tree->file);
    expect_file(tree, -ENOENT, "cannot be opened");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_only_the_caller_can_write_to_is_taken, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_what_others_can_write_to_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            test_a_directory_above_that_others_can_write_to_is_refused_unless_it_is_sticky, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(test_what_somebody_else_owns_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_roots_is_taken_by_everybody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_not_there_is_no_matter_of_owners, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
