/* Usage and help of `archive` and `report archive`. Included by cmd_archive.c alone. */
#ifndef SR_CLI_ARCHIVE_HELP_H
#define SR_CLI_ARCHIVE_HELP_H

#include "cli/run_name.h"

#define PLACE_HELP                                                                                 \
    "  --root D          the archive; otherwise the host configuration's archive.root, else\n"     \
    "                    /var/lib/safe-run/archive for root and\n"                                 \
    "                    $XDG_STATE_HOME/safe-run/archive for others\n"
#define HELP_HELP "  -h, --help        this text\n"
#define ROOT_HELP PLACE_HELP "  --json            answer for programs\n" HELP_HELP

static const char add_usage[] =
    "usage: safe-run report archive [--require-key K] [--root D] [--retention T] [--json] FILE";
static const char add_help[] =
    "\n"
    "Keeps a finished run: FILE is its run_report.json, and what lies beside it (events.jsonl,\n"
    "attestation, policy, bundle, command, logs, the files it names; of outputs a list with\n"
    "hashes) goes along. The report is verified, and says in the archive what that found.\n"
    "\n" RUN_NAME_HELP "\n"
    "  --retention T     for how long: 90s, 30m, 12h, 180d or forever (default 180d)\n"
    "  --require-key K   only if the holder of this public key (PEM) has signed the run\n" ROOT_HELP
    "\n"
    "Exit status: 0 stored, or it was there already; 2 stored, but the report does not verify;\n"
    "1 nothing was stored (SR-OPS-301); 64 usage.\n"
    "\n"
    "Example:\n"
    "  safe-run report archive --retention 365d last";

static const char ls_usage[] =
    "usage: safe-run archive ls [--limit N] [--pruned] [--root D] [--json]";
static const char ls_help[] =
    "\n"
    "Lists the archived runs, newest first. VERDICT is what verification found when\n"
    "the run was stored, who vouches for it, and whether it came from another archive.\n"
    "\n"
    "  --limit N         not more than N (default 100; 0: all)\n"
    "  --pruned          also those whose bundle was removed when its "
    "retention was over\n" ROOT_HELP "\n"
    "Example:\n"
    "  safe-run archive ls --limit 20";

static const char search_usage[] =
    "usage: safe-run archive search [CRITERION]... [--limit N] [--pruned] [--root D] [--json]";
static const char search_help[] =
    "\n"
    "Finds runs for which every criterion holds, newest first.\n"
    "\n"
    "  --run ID          run id\n"
    "  --bundle ID       bundle id, or the beginning of one\n"
    "  --policy NAME     metadata.name of the policy\n"
    "  --label K[=V]     label of the policy; may be repeated\n"
    "  --command C       the command: its path, the last part of that, or the whole line\n"
    "  --exit-code N     exit code of the run\n"
    "  --cause C         why it ended: workload, timeout, guest-oom, ...\n"
    "  --result R        what verification found: pass or fail\n"
    "  --since T         it started then or later: 2026-01-31, 2026-01-31T12:00, ... (UTC)\n"
    "  --until T         it started then or earlier\n"
    "  --reached A[:PORT]  address or name that it reached\n"
    "  --denied A[:PORT]  address or name that it tried to reach, and was not let\n"
    "  --hash H          SHA-256 of policy, command, kernel, image, output or bundle\n"
    "  --limit N         not more than N (default 100; 0: all)\n"
    "  --pruned          also those whose bundle was removed when its retention was "
    "over\n" ROOT_HELP "\n"
    "Example:\n"
    "  safe-run archive search --command wget --since 2026-01-01 --denied 192.0.2.1:443";

static const char show_usage[] = "usage: safe-run archive show [--root D] [--json] BUNDLE";
static const char show_help[] =
    "\n"
    "Says what a bundle holds and where. BUNDLE is a bundle id, the beginning of one (6 digits\n"
    "at least), a run id, the end of one, or 'last': the run of yours that ended last.\n"
    "\n" ROOT_HELP "\n"
    "Example:\n"
    "  safe-run archive show last";

static const char verify_usage[] =
    "usage: safe-run archive verify [--key K] [--require-key K] [--checkpoint F] [--root D] "
    "[--json]\n"
    "                               [BUNDLE]...\n"
    "       safe-run archive verify --proof F --key K [--report F] [--json]";
static const char verify_help[] =
    "\n"
    "Checks the archive against its signed checkpoint: every bundle (or those named) is there\n"
    "unchanged or was pruned when its retention was over, nothing was added, the log was not\n"
    "rolled back. With --proof: checks a proof of inclusion, without any archive.\n"
    "\n"
    "  --checkpoint F    an older checkpoint that was kept elsewhere: the log must go on from it\n"
    "  --key K           the archive's public key (PEM) as you know it; otherwise the archive's "
    "own\n"
    "                    word for it, archive.key.pub. --proof needs it\n"
    "  --require-key K   the holder of this public key (PEM) must have signed every run\n"
    "  --proof F         what 'archive prove' wrote\n"
    "  --report F        with --proof: F must be the report that is proved\n" ROOT_HELP "\n"
    "Exit status: 0 valid, 2 not, 1 it cannot be checked, 64 usage.\n"
    "\n"
    "Example:\n"
    "  safe-run archive verify --checkpoint /mnt/safe/checkpoint-of-january";

static const char prove_usage[] = "usage: safe-run archive prove [-o F] [--root D] [--json] BUNDLE";
static const char prove_help[] =
    "\n"
    "Proves that a bundle is in the archive that the checkpoint signs, to somebody who has only\n"
    "the archive's public key: prints a C2SP tlog-proof. BUNDLE is named as for 'archive show'.\n"
    "\n"
    "  -o, --out F       write it to F, which must not exist\n" ROOT_HELP "\n"
    "Example:\n"
    "  safe-run archive prove -o run.tlog-proof sr-20260101T120000-abcdef\n"
    "  safe-run archive verify --proof run.tlog-proof --key archive.key.pub";

static const char prune_usage[] =
    "usage: safe-run archive prune [--dry-run] [--trust-clock] [--root D] [--json]";
static const char prune_help[] =
    "\n"
    "Removes the bundles whose retention is over. The log says so, so that 'archive verify' can\n"
    "tell them from bundles that were taken away. Nothing is removed when the log has times that\n"
    "are still to come, or when only a gap of more than a month in it makes a bundle's retention\n"
    "over: the clock may be wrong, and has to be vouched for.\n"
    "\n"
    "  --dry-run         only say which\n"
    "  --trust-clock     the clock is right, whatever the log says\n" ROOT_HELP "\n"
    "Example:\n"
    "  safe-run archive prune --dry-run";

static const char export_usage[] =
    "usage: safe-run archive export [-o F] [--root D] {--all | BUNDLE...}";
static const char export_help[] = "\n"
                                  "Writes bundles, each with a proof of inclusion, as one tar "
                                  "archive, the same bytes each time.\n"
                                  "BUNDLE is named as for 'archive show'.\n"
                                  "\n"
                                  "  --all             all bundles\n"
                                  "  -o, --out F       write it to F, which must not exist; "
                                  "otherwise to standard output\n" PLACE_HELP HELP_HELP "\n"
                                  "Example:\n"
                                  "  safe-run archive export -o january.tar --all";

static const char import_usage[] = "usage: safe-run archive import [--from K] [--require-key K] "
                                   "[--root D] [--retention T] [--json]\n"
                                   "                               FILE|-";
static const char import_help[] =
    "\n"
    "Takes the bundles of an archive that 'archive export' wrote. Each is verified, and listed as\n"
    "imported; one that was changed on the way is refused, and with it what follows. That a "
    "report\n"
    "verifies says that it is whole, not that it is true: only a signature says whose it is.\n"
    "\n"
    "  --from K          the public key (PEM) of the archive that they come from: the proof of "
    "each\n"
    "                    must hold by it\n"
    "  --require-key K   only runs that the holder of this public key (PEM) has signed\n"
    "  --retention T     for how long they are kept: 12h, 180d, forever (default 180d)\n" ROOT_HELP
    "\n"
    "Exit status: 0 taken, 2 taken, but a report does not verify, 1 refused, 64 usage.\n"
    "\n"
    "Example:\n"
    "  safe-run archive import --from theirs.pub --require-key host.pub january.tar";

static const char reindex_usage[] = "usage: safe-run archive reindex [--root D] [--json]";
static const char reindex_help[] = "\n"
                                   "Makes the index of the archive anew from its bundles.\n"
                                   "\n" ROOT_HELP "\n"
                                   "Example:\n"
                                   "  safe-run archive reindex";

#endif
