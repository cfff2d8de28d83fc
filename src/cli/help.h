/* Usage and help of a command, made from its tables (options.h). */
#ifndef SR_CLI_HELP_H
#define SR_CLI_HELP_H

#include "cli/options.h"

#include <stdio.h>

/* "usage: safe-run NAME [OPTION]... OPERANDS", as the man page's synopsis has it. */
void cli_print_usage(FILE *out, const struct cli_command *command);

/* What --help prints. Completions and tests read it: the usage comes first, then paragraphs; an
 * option is a line "  -x, --name VALUE  help" whose help may go on in lines that are indented
 * further. */
void cli_print_help(const struct cli_command *command);

#endif
