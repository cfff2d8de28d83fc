/*
 * What policies cost: validating and compiling one with 5,000 egress rules, against a bare loop
 * over libyaml's events of the same text in this same process; its peak memory; and the whole
 * process of `safe-run validate` for a small one.
 *
 * Usage: bench-policy SAFE_RUN
 */
#include "saferun/bundle.h"

#include "common/buf.h"

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <yaml.h>

enum { RULES = 5000, ROUNDS = 60 };

static const char head[] = "apiVersion: policy.safe-run.dev/v1alpha1\n"
                           "metadata:\n  name: bench\n"
                           "runtime:\n  command: /bin/true\n  args: []\n"
                           "resources:\n  cpu: {max: \"100000 100000\"}\n  memory: {max: 128Mi}\n"
                           "mounts: []\n"
                           "audit:\n  level: basic\n";

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void generate(struct sr_buf *text)
{
    sr_buf_puts(text, head);
    sr_buf_puts(text, "network:\n  mode: allowlist\n  egress:\n");
    for (unsigned i = 0; i < RULES; i++)
        if (i % 3 == 0)
            sr_buf_printf(
                text, "    - protocol: tcp\n      host: host-%u.example.com\n      port: 443\n", i);
        else
            sr_buf_printf(text, "    - protocol: %s\n      cidr: 10.%u.%u.0/24\n      port: %u\n",
                          i % 3 == 1 ? "tcp" : "udp", i / 256, i % 256, 1024 + i);
}

static double events(const struct sr_buf *text)
{
    double started = cpu_seconds();
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        abort();
    yaml_parser_set_input_string(&parser, (const unsigned char *)text->data, text->len);
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event))
            abort();
        more = event.type != YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return cpu_seconds() - started;
}

static double compile(const struct sr_buf *text)
{
    double started = cpu_seconds();
    sr_cleanup_check struct sr_check check = {0};
    sr_cleanup_bundle struct sr_bundle bundle = {0};
    struct sr_error err;
    if (sr_policy_check(text->data, text->len, NULL, &check, &err) < 0 || check.policy == NULL ||
        check.policy->egress_count != RULES || sr_compile(check.policy, &bundle, &err) < 0)
        abort();
    sr_bundle_free(&bundle);
    sr_check_free(&check);
    return cpu_seconds() - started;
}

/* Runs argv, or compile() in a child when argv is NULL, and returns what it used. */
static struct rusage child(char *const argv[], const struct sr_buf *text)
{
    pid_t pid = -1;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", 1, 0);
    extern char **environ;
    if (argv == NULL && (pid = fork()) == 0) {
        compile(text);
        _exit(0);
    }
    if (argv != NULL && posix_spawn(&pid, argv[0], &actions, NULL, argv, environ) != 0)
        abort();
    posix_spawn_file_actions_destroy(&actions);
    struct rusage usage;
    int status;
    if (wait4(pid, &status, 0, &usage) != pid || status != 0)
        abort();
    return usage;
}

static int verdict(bool good)
{
    puts(good ? "ok" : "OVER");
    return good ? 0 : 1;
}

static int compare(const void *a, const void *b)
{
    return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 64;
    sr_cleanup_buf struct sr_buf text = SR_BUF_INIT;
    generate(&text);
    struct rusage usage = child(NULL, &text); /* before this process has grown */
    double loop = 1e9, ours = 1e9;
    for (int i = 0; i < ROUNDS; i++) { /* in turn, so that a noisy neighbour hits both */
        double a = events(&text), b = compile(&text);
        loop = a < loop ? a : loop;
        ours = b < ours ? b : ours;
    }
    int over = 0;
    printf("policy: %u rules, %zu KiB: validate and compile %.2f ms CPU, libyaml's events alone "
           "%.2f ms: %.2f times "
           "(limit 2.00): ",
           RULES, text.len / 1024, ours * 1e3, loop * 1e3, ours / loop);
    over |= verdict(ours / loop <= 2.0);
    printf("policy: peak memory of a process that does it: %.1f MiB (limit 24): ",
           (double)usage.ru_maxrss / 1024);
    over |= verdict(usage.ru_maxrss <= 24 * 1024);

    char path[] = "/tmp/bench-policy-XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (file == NULL || fprintf(file, "%snetwork: {mode: none}\n", head) < 0 || fclose(file) != 0)
        abort();
    double whole[51];
    char *const command[] = {argv[1], "validate", path, NULL};
    for (int i = 0; i < 51; i++) {
        usage = child(command, NULL);
        whole[i] = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
    }
    unlink(path);
    qsort(whole, 51, sizeof whole[0], compare);
    printf("policy: safe-run validate, small policy, whole process: %.2f ms CPU (limit 3): ",
           whole[25]);
    over |= verdict(whole[25] < 3);
    return over;
}
