/* When a guest that stays silent is KVM's fault. */
#include "host/host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#define SEC UINT64_C(1000000)

/* Whether a VMM could have had more CPU in 1.5 s, in which these times passed, in microseconds. */
static bool free_for(uint64_t idle_usec, uint64_t disk_usec, uint64_t used_usec)
{
    const struct host_cpu_times from = {
        .known = true, .idle_usec = 700 * SEC, .disk_usec = 3 * SEC, .nsec = 9000 * SEC};
    struct host_cpu_times to = from;
    to.idle_usec += idle_usec;
    to.disk_usec += disk_usec;
    to.nsec += 1500 * SEC;
    return host_cpu_was_free(&from, &to, used_usec);
}

static void on_an_idle_host_silence_counts(void **state)
{
    (void)state;
    assert_true(free_for(3 * SEC, 0, 0));
    assert_true(free_for(14 * SEC / 10, 0, SEC / 10));
}

static void a_vmm_that_has_a_cpu_for_itself_needs_no_other(void **state)
{
    (void)state;
    assert_true(free_for(0, 0, 15 * SEC / 10));
    assert_true(free_for(SEC / 10, 0, 14 * SEC / 10));
}

static void on_a_busy_host_silence_says_nothing(void **state)
{
    (void)state;
    assert_false(free_for(0, 0, 0));
    assert_false(free_for(SEC / 2, 0, SEC / 2));
    assert_false(free_for(0, 0, SEC));
}

static void nor_where_the_disk_is_waited_for(void **state)
{
    (void)state;
    assert_false(free_for(3 * SEC, SEC, 0));
    assert_false(free_for(0, 3 * SEC, 0));
}

static void what_is_not_known_proves_nothing(void **state)
{
    (void)state;
    const struct host_cpu_times none = {0},
                                some = {.known = true, .idle_usec = 100 * SEC, .nsec = SEC};
    assert_false(host_cpu_was_free(&none, &none, 10 * SEC));
    assert_false(host_cpu_was_free(&none, &some, 10 * SEC));
    assert_false(host_cpu_was_free(&some, &none, 10 * SEC));
    assert_false(host_cpu_was_free(&some, &some, 10 * SEC));
}

static void the_kernel_tells_the_times(void **state)
{
    (void)state;
    const struct host_cpu_times now = host_cpu_times();
    assert_true(now.known);
    assert_true(now.nsec > 0);
    /* CPUs that are offline have idle times too. */
    long cpus = sysconf(_SC_NPROCESSORS_CONF);
    assert_true(now.idle_usec <= (now.nsec / 1000 + 10 * SEC) * (uint64_t)cpus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_an_idle_host_silence_counts),
        cmocka_unit_test(a_vmm_that_has_a_cpu_for_itself_needs_no_other),
        cmocka_unit_test(on_a_busy_host_silence_says_nothing),
        cmocka_unit_test(nor_where_the_disk_is_waited_for),
        cmocka_unit_test(what_is_not_known_proves_nothing),
        cmocka_unit_test(the_kernel_tells_the_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
