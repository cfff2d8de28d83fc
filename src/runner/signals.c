/* The signals that safe-run itself gets while it runs something. */
#include "runner/run_state.h"

#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

static bool is_ignored(int number)
{
    struct sigaction now;
    return sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

/* Blocks the signals that the run reads, and SIGCHLD. Hangup and interrupt the caller may ignore
 * (nohup, a shell's background), and they stay so; SIGTERM is how `safe-run stop` asks. */
sigset_t run_hold_signals(sigset_t *before)
{
    sigset_t ours, held;
    sigemptyset(&ours);
    sigaddset(&ours, SIGTERM);
    if (!is_ignored(SIGINT))
        sigaddset(&ours, SIGINT);
    if (!is_ignored(SIGHUP))
        sigaddset(&ours, SIGHUP);
    held = ours;
    sigaddset(&held, SIGCHLD);
    sigprocmask(SIG_BLOCK, &held, before);
    return ours;
}

/* Those that came when the run was over are forgotten: they would end the caller, who has yet to
 * tell how the run ended. */
void run_release_signals(const sigset_t *ours, const sigset_t *before)
{
    const struct timespec at_once = {0};
    while (sigtimedwait(ours, NULL, &at_once) > 0)
        ;
    sigprocmask(SIG_SETMASK, before, NULL);
}

bool run_next_signal(struct run *run, int *number)
{
    struct signalfd_siginfo info;
    if (read(run->signals.fd, &info, sizeof info) != sizeof info)
        return false;
    *number = (int)info.ssi_signo;
    return true;
}

bool run_interrupted(struct run *run)
{
    int number;
    if (run->signals.ended_by == 0 && run_next_signal(run, &number))
        run->signals.ended_by = number;
    return run->signals.ended_by != 0;
}
