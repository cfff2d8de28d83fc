#include "cli/options.h"

#include "cli/cli.h"
#include "cli/help.h"
#include "common/nearest.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MAX = 32, FIRST = 256 };

const struct cli_option cli_no_options[] = {{0}};

bool cli_option_text(const char *value, void *field)
{
    *(const char **)field = value;
    return true;
}

bool cli_option_texts(const char *value, void *field)
{
    struct cli_option_texts *texts = field;
    if (value[0] == '\0' || texts->count == CLI_OPTION_TEXTS_MAX)
        return false;
    texts->items[texts->count++] = value;
    return true;
}

bool cli_option_number(const char *value, uint64_t min, uint64_t max, uint64_t *number)
{
    char *end;
    if (value[0] < '0' || value[0] > '9')
        return false;
    errno = 0;
    uint64_t got = strtoull(value, &end, 10);
    if (*end != '\0' || errno != 0 || got < min || got > max)
        return false;
    *number = got;
    return true;
}

bool cli_option_format(const char *value, void *field)
{
    *(bool *)field = strcmp(value, "text") == 0;
    return *(bool *)field || strcmp(value, "json") == 0;
}

/* What getopt_long() refused: a letter, a value that a long option does not have, or a long name
 * that it does not know or cannot tell from another's beginning. */
static int refuse(const char *given, const struct option *known, const struct cli_command *command)
{
    if (optopt >= FIRST)
        return cli_usage_error(command, "--%s takes no value", known[optopt - FIRST].name);
    if (optopt != 0)
        return cli_usage_error(command, "unknown option '-%c'",
                               optopt > ' ' && optopt <= '~' ? optopt : '?');
    const char *names[OPTIONS_MAX + 2], *meant[OPTIONS_MAX + 2];
    size_t count = 0, begin = 0, len = strcspn(given, "=");
    for (; known[count].name != NULL; count++) {
        names[count] = known[count].name;
        if (strncmp(names[count], given + 2, len - 2) == 0)
            meant[begin++] = names[count];
    }
    names[count] = NULL;
    if (begin > 1)
        return cli_usage_error(command, "ambiguous option '%s': --%s or --%s?", given, meant[0],
                               meant[1]);
    const char *nearest = sr_nearest_name(given + 2, names);
    return nearest != NULL ? cli_usage_error(command, "unknown option '%s'; did you mean '--%s'?",
                                             given, nearest)
                           : cli_usage_error(command, "unknown option '%s'", given);
}

/* order: "+" to stop at the first operand, "" to look for options behind operands, too. */
static int take(int argc, char **argv, const char *order, const struct cli_command *command,
                void *arguments)
{
    struct option known[OPTIONS_MAX + 2] = {0};
    char letters[2 * OPTIONS_MAX + 4];
    /* ':' so that a missing value is told apart. */
    char *letter = letters + snprintf(letters, sizeof letters, "%s:h", order);
    int count = 0, found;
    for (const struct cli_option *one = command->options; one->name != NULL; one++, count++) {
        known[count] = (struct option){
            one->name, one->take != NULL ? required_argument : no_argument, NULL, FIRST + count};
        if (one->letter == 0)
            continue;
        *letter++ = one->letter;
        if (one->take != NULL)
            *letter++ = ':';
    }
    *letter = '\0';
    const int help_value = FIRST + count;
    known[count] = (struct option){"help", no_argument, NULL, help_value};
    optind = 1;
    opterr = 0;
    while ((found = getopt_long(argc, argv, letters, known, NULL)) >= 0) {
        if (found == 'h' || found == help_value) {
            cli_print_help(command);
            return CLI_EXIT_OK;
        }
        if (found == ':' && optopt < FIRST)
            return cli_usage_error(command, "-%c needs a value", optopt);
        if (found == ':')
            return cli_usage_error(command, "--%s needs a value", known[optopt - FIRST].name);
        if (found == '?')
            return refuse(argv[optind - 1], known, command);
        const struct cli_option *one = command->options;
        while (found != one->letter && found != FIRST + (int)(one - command->options))
            one++;
        void *field = (char *)arguments + one->at;
        if (one->take == NULL)
            *(bool *)field = true;
        else if (!one->take(optarg, field))
            return cli_usage_error(command, "--%s takes %s, not '%s'", one->name, one->takes,
                                   optarg);
    }
    return -1;
}

int cli_options(int argc, char **argv, const struct cli_command *command, void *arguments)
{
    return take(argc, argv, "", command, arguments);
}

int cli_options_first(int argc, char **argv, const struct cli_command *command, void *arguments)
{
    return take(argc, argv, "+", command, arguments);
}
