/* Options: see options.h for the contract. */
#include "broker/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "broker/fault.h"
#include "broker/options_table.h"
#include "broker/options_value.h"
#include "shm/cleanup.h"
#include "shm/ensure.h"

enum {
    GETOPT_VALUE_FIRST = 256, /* above every character that getopt_long() may return */
    EXPECTED_BYTES = 160,
    WHERE_BYTES = 300,
    SHOWN_BYTES = 100 /* of a value that is refused */
};

struct where {
    char text[WHERE_BYTES];
};

static size_t option_place(const struct option_spec *spec)
{
    return (size_t)(spec - option_table);
}

/* As the operator wrote it, with where: "command line: --arena", "/etc/t.conf:3: arena". */
static const char *where_name(struct where *where, const struct options *options,
                              const struct option_spec *spec, struct option_origin origin)
{
    switch (origin.source) {
    case OPTION_FROM_DEFAULT:
        snprintf(where->text, sizeof where->text, "default of --%s", spec->name);
        break;
    case OPTION_FROM_FILE:
        snprintf(where->text, sizeof where->text, "%.200s:%u: %s", options->config_path,
                 origin.line, spec->name);
        break;
    case OPTION_FROM_ENVIRONMENT:
        snprintf(where->text, sizeof where->text, "environment: %s", spec->variable);
        break;
    case OPTION_FROM_COMMAND_LINE:
        snprintf(where->text, sizeof where->text, "command line: --%s", spec->name);
        break;
    case OPTION_FROM_PROGRAM:
        snprintf(where->text, sizeof where->text, "options: %s", spec->name);
        break;
    }
    return where->text;
}

static int option_apply(struct options *options, const struct option_spec *spec, const char *text,
                        struct option_origin origin, struct fault *fault)
{
    options->origins[option_place(spec)] = origin;
    options->blamed = origin.source;
    if (option_value_store(spec, text, options) == 0) {
        return 0;
    }
    struct where where;
    char expected[EXPECTED_BYTES];
    return fault_set(fault, -EINVAL, "%s '%.*s': expected %s",
                     where_name(&where, options, spec, origin), SHOWN_BYTES, text,
                     option_value_expected(spec, expected, sizeof expected));
}

void options_init(struct options *options)
{
    memset(options, 0, sizeof *options);
    options->config.socket_group = CONFIG_GROUP_UNCHANGED;
    for (size_t at = 0; at < option_count; at++) {
        const struct option_spec *const spec = &option_table[at];
        ensure(spec->default_text == NULL ||
               option_value_store(spec, spec->default_text, options) == 0);
    }
    options->config.persist_every = 1;
}

int options_set(struct options *options, const char *name, const char *text, struct fault *fault)
{
    const struct option_spec *const spec = option_find(name);
    ensure(spec != NULL);
    return option_apply(options, spec, text, (struct option_origin){OPTION_FROM_PROGRAM, 0}, fault);
}

int options_resolve(struct options *options, struct fault *fault)
{
    const char *name;
    struct fault cause = {0, ""};
    const struct option_spec *const arena = option_find("arena");
    options->config.arena_given =
        options->origins[option_place(arena)].source != OPTION_FROM_DEFAULT;
    const int result = config_resolve(&options->config, &name, &cause);
    if (result < 0) {
        struct where where;
        const struct option_spec *const spec = option_find(name);
        ensure(spec != NULL);
        const struct option_origin origin = options->origins[option_place(spec)];
        options->blamed = origin.source;
        return fault_set(fault, result, "%s: %s", where_name(&where, options, spec, origin),
                         cause.text);
    }
    return 0;
}

/* --- the file --- */

static char *blanks_skip(char *text)
{
    return text + strspn(text, " \t");
}

/* Cuts a comment and blanks off the end, or the quotes off a quoted value; NULL: text behind it. */
static char *file_value(char *text)
{
    if (*text == '"') {
        char *const end = strchr(text + 1, '"');
        if (end == NULL) {
            return NULL;
        }
        const char *const behind = blanks_skip(end + 1);
        *end = '\0';
        return *behind == '\0' || *behind == '#' ? text + 1 : NULL;
    }
    char *end = text;
    for (char *at = text; *at != '\0'; at++) {
        if (*at == '#' && (at == text || at[-1] == ' ' || at[-1] == '\t')) {
            break;
        }
        if (*at != ' ' && *at != '\t') {
            end = at + 1;
        }
    }
    *end = '\0';
    return text;
}

static int file_line_apply(struct options *options, char *line, unsigned number,
                           struct fault *fault)
{
    char *const name = blanks_skip(line);
    if (*name == '\0' || *name == '#') {
        return 0;
    }
    char *const name_end = name + strcspn(name, "= \t");
    char *const equals = blanks_skip(name_end);
    char *const value = *equals == '=' ? file_value(blanks_skip(equals + 1)) : NULL;
    if (value == NULL || name_end == name) {
        return fault_set(fault, -EINVAL,
                         "%.200s:%u: expected 'name = value', the value in \"\" "
                         "when it holds a # behind a blank",
                         options->config_path, number);
    }
    *name_end = '\0';
    const struct option_spec *const spec = option_find(name);
    if (spec == NULL) {
        char meant[WHERE_BYTES];
        option_suggest(meant, sizeof meant, name, "");
        return fault_set(fault, -EINVAL, "%.200s:%u: unknown option '%.*s'%s", options->config_path,
                         number, SHOWN_BYTES, name, meant);
    }
    if (spec->not_in_file) {
        return fault_set(fault, -EINVAL, "%.200s:%u: '%s' cannot be given in a file",
                         options->config_path, number, name);
    }
    const struct option_origin before = options->origins[option_place(spec)];
    if (before.source == OPTION_FROM_FILE) {
        return fault_set(fault, -EINVAL, "%.200s:%u: '%s' is given twice, first in line %u",
                         options->config_path, number, name, before.line);
    }
    return option_apply(options, spec, value, (struct option_origin){OPTION_FROM_FILE, number},
                        fault);
}

static void cleanup_file_close(FILE **file)
{
    if (*file != NULL) {
        fclose(*file);
    }
}

static int file_apply(struct options *options, struct fault *fault)
{
    options->blamed = OPTION_FROM_FILE;
    __attribute__((cleanup(cleanup_file_close))) FILE *file = fopen(options->config_path, "re");
    if (file == NULL) {
        const int error = -errno;
        return fault_set(fault, error, "%.200s: cannot be opened: %s", options->config_path,
                         strerror(-error));
    }
    cleanup_free char *line = NULL;
    size_t bytes = 0;
    ssize_t length;
    for (unsigned number = 1; (length = getline(&line, &bytes, file)) >= 0; number++) {
        while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r')) {
            line[--length] = '\0';
        }
        if (strlen(line) != (size_t)length) {
            return fault_set(fault, -EINVAL, "%.200s:%u: a zero byte, expected text",
                             options->config_path, number);
        }
        const int result = file_line_apply(options, line, number, fault);
        if (result < 0) {
            return result;
        }
    }
    if (ferror(file) != 0) {
        return fault_set(fault, -EIO, "%.200s: cannot be read: %s", options->config_path,
                         strerror(errno));
    }
    return 0;
}

/* --- the environment --- */

/* A variable that is empty counts as none. */
static const char *variable_text(const struct option_spec *spec)
{
    const char *const text = spec->variable == NULL ? NULL : getenv(spec->variable);
    return text == NULL || text[0] == '\0' ? NULL : text;
}

static int environment_apply(struct options *options, struct fault *fault)
{
    const struct option_origin origin = {OPTION_FROM_ENVIRONMENT, 0};
    for (size_t at = 0; at < option_count; at++) {
        const char *const text = variable_text(&option_table[at]);
        const int result =
            text == NULL ? 0 : option_apply(options, &option_table[at], text, origin, fault);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

/* --- the command line --- */

/* What the command line gives: a text per place in the table, NULL where it gives none. */
struct command_line {
    const char *texts[OPTIONS_MAX];
};

static void getopt_options(struct option longs[OPTIONS_MAX + 1])
{
    memset(longs, 0, sizeof(struct option) * (OPTIONS_MAX + 1));
    for (size_t at = 0; at < option_count; at++) {
        const struct option_spec *const spec = &option_table[at];
        longs[at].name = spec->name;
        longs[at].val = GETOPT_VALUE_FIRST + (int)at;
        if (spec->kind == OPTION_BOOL) {
            longs[at].has_arg = optional_argument;
        } else {
            longs[at].has_arg = spec->kind == OPTION_FLAG ? no_argument : required_argument;
        }
    }
}

/* Says what getopt_long() has against argument. */
static int command_line_fault(struct fault *fault, int answer, const char *argument)
{
    const int place = optopt - GETOPT_VALUE_FIRST;
    if (answer == ':') {
        const struct option_spec *const spec = &option_table[place];
        char expected[EXPECTED_BYTES];
        return fault_set(fault, -EINVAL, "command line: --%s needs a value: expected %s",
                         spec->name, option_value_expected(spec, expected, sizeof expected));
    }
    if (place >= 0) {
        return fault_set(fault, -EINVAL, "command line: --%s takes no value",
                         option_table[place].name);
    }
    char name[SHOWN_BYTES];
    char meant[WHERE_BYTES];
    const char *const begin = argument + strspn(argument, "-");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(begin, "="), begin);
    option_suggest(meant, sizeof meant, name, "--");
    return fault_set(fault, -EINVAL, "command line: unknown option '%.*s'%s", SHOWN_BYTES, argument,
                     meant[0] != '\0' ? meant : "; --help lists the options");
}

static int command_line_read(struct command_line *line, int argc, char *const argv[],
                             struct fault *fault)
{
    struct option longs[OPTIONS_MAX + 1];
    getopt_options(longs);
    memset(line, 0, sizeof *line);
    opterr = 0;
    optind = 0; /* from the beginning, whoever used getopt() before */
    for (;;) {
        const int next = optind == 0 ? 1 : optind;
        const int answer = getopt_long(argc, argv, "+:", longs, NULL);
        if (answer == -1) {
            break;
        }
        if (answer < GETOPT_VALUE_FIRST) {
            return command_line_fault(fault, answer, argv[next]);
        }
        const int place = answer - GETOPT_VALUE_FIRST;
        if (option_table[place].kind == OPTION_FLAG) {
            return strcmp(option_table[place].name, "help") == 0 ? OPTIONS_HELP : OPTIONS_VERSION;
        }
        line->texts[place] = optarg != NULL ? optarg : "yes";
    }
    if (optind < argc) {
        return fault_set(fault, -EINVAL,
                         "command line: unexpected '%.*s'; there are only options, and a value "
                         "that holds a blank needs quotes",
                         SHOWN_BYTES, argv[optind]);
    }
    return OPTIONS_RUN;
}

static int command_line_apply(struct options *options, const struct command_line *line,
                              struct fault *fault)
{
    const struct option_origin origin = {OPTION_FROM_COMMAND_LINE, 0};
    for (size_t at = 0; at < option_count; at++) {
        const char *const text = line->texts[at];
        const int result =
            text == NULL ? 0 : option_apply(options, &option_table[at], text, origin, fault);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

/* --- all of them --- */

/* The file's name comes from the sources that override it. */
static int config_path_apply(struct options *options, const struct command_line *line,
                             struct fault *fault)
{
    const struct option_spec *const spec = option_find("config");
    const char *const given = line->texts[option_place(spec)];
    const char *const text = given != NULL ? given : variable_text(spec);
    const struct option_origin origin = {
        given != NULL ? OPTION_FROM_COMMAND_LINE : OPTION_FROM_ENVIRONMENT, 0};
    return text == NULL ? 0 : option_apply(options, spec, text, origin, fault);
}

int options_parse(struct options *options, int argc, char *const argv[], struct fault *fault)
{
    struct command_line line;
    options_init(options);
    options->blamed = OPTION_FROM_COMMAND_LINE;
    int result = command_line_read(&line, argc, argv, fault);
    if (result != OPTIONS_RUN) {
        return result;
    }
    result = config_path_apply(options, &line, fault);
    if (result == 0 && options->config_path[0] != '\0') {
        result = file_apply(options, fault);
    }
    if (result == 0) {
        result = environment_apply(options, fault);
    }
    if (result == 0) {
        result = command_line_apply(options, &line, fault);
    }
    return result == 0 ? options_resolve(options, fault) : result;
}

int options_exit_status(const struct options *options)
{
    return options->blamed == OPTION_FROM_COMMAND_LINE ? EX_USAGE : EX_CONFIG;
}

/* Prints words from column on, in lines of 80. */
static void help_print_text(FILE *stream, size_t column, const char *text)
{
    enum { COLUMNS = 80 };
    size_t at = column;
    while (*text != '\0') {
        const size_t word = strcspn(text, " ");
        if (at > column && at + 1 + word > COLUMNS) {
            fprintf(stream, "\n%*s", (int)column, "");
            at = column;
        }
        at += (size_t)fprintf(stream, "%s%.*s", at > column ? " " : "", (int)word, text);
        text += word;
        text += strspn(text, " ");
    }
    fprintf(stream, "\n");
}

static void help_print_option(FILE *stream, const struct option_spec *spec)
{
    enum { TEXT_COLUMN = 26 };
    char head[64];
    char tail[256] = "";
    const char *const by_default =
        spec->default_help != NULL ? spec->default_help : spec->default_text;
    snprintf(head, sizeof head, "  --%s%s%s", spec->name, spec->argument != NULL ? " " : "",
             spec->argument != NULL ? spec->argument : "");
    fprintf(stream, "%-*s", TEXT_COLUMN, head);
    if (strlen(head) >= TEXT_COLUMN) {
        fprintf(stream, "\n%*s", TEXT_COLUMN, "");
    }
    help_print_text(stream, TEXT_COLUMN, spec->help);
    if (spec->kind != OPTION_FLAG) {
        snprintf(tail, sizeof tail, "[%s%s%s]", spec->variable != NULL ? spec->variable : "",
                 spec->variable != NULL ? "; " : "", by_default);
        fprintf(stream, "%*s", TEXT_COLUMN, "");
        help_print_text(stream, TEXT_COLUMN, tail);
    }
}

void options_print_help(FILE *stream)
{
    fprintf(stream, "Usage: tuskd [OPTION]...\n"
                    "Runs Tusk's broker in the foreground until SIGTERM: durable topics that the\n"
                    "processes of this machine append to and read from through shared memory.\n\n");
    for (size_t at = 0; at < option_count; at++) {
        help_print_option(stream, &option_table[at]);
    }
    fprintf(stream,
            "\nIn brackets: the environment variable, and the default. The command line\n"
            "overrides the environment, which overrides the file. Sizes are bytes, or with\n"
            "K, M, G, T or KiB, MiB, GiB, TiB; times are milliseconds, or with ms, s, min, h,\n"
            "d. An age of --retention needs its unit.\n");
}
