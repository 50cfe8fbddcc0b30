/*
 * Options: from the command line, the environment and a file to a struct config.
 * Runs on:    the thread that starts the broker; options_parse() only before there are others, for
 *             getopt_long() and getenv().
 * Invariants: one table (options_table.h) says everything about an option; a later source overrides
 *             an earlier one: default, file, environment, command line.
 * Trust:      texts come from the operator. Every bad one is answered with where it came from, the
 *             option, the value and what would be accepted, also where a later source overrides it.
 * Not here:   what fits together (config.h).
 */
#ifndef TUSK_BROKER_OPTIONS_H
#define TUSK_BROKER_OPTIONS_H

#include <stdint.h>
#include <stdio.h>

#include "broker/config.h"

struct fault;

enum { OPTIONS_MAX = 32 };

enum option_source {
    OPTION_FROM_DEFAULT,
    OPTION_FROM_FILE,
    OPTION_FROM_ENVIRONMENT,
    OPTION_FROM_COMMAND_LINE,
    OPTION_FROM_PROGRAM /* that has embedded the broker */
};

struct option_origin {
    enum option_source source;
    unsigned line; /* of the file */
};

struct options {
    struct config config;
    char config_path[CONFIG_PATH_BYTES];       /* empty: no file */
    uint64_t ready_fd;                         /* 0: none */
    struct option_origin origins[OPTIONS_MAX]; /* by place in the table */
    enum option_source blamed;                 /* after a failure: where the bad text came from */
};

enum options_outcome { OPTIONS_RUN = 0, OPTIONS_HELP = 1, OPTIONS_VERSION = 2 };

/* Every option's default. */
void options_init(struct options *options);

/*
 * Reads all sources and resolves the config. One of enum options_outcome, or -errno and the words in
 * fault; --help and --version win over whatever comes behind them.
 */
int options_parse(struct options *options, int argc, char *const argv[], struct fault *fault);

/* For an embedding program, after options_init(): gives one option, then resolves the config. */
int options_set(struct options *options, const char *name, const char *text, struct fault *fault);
int options_resolve(struct options *options, struct fault *fault);

/* The exit status for a failed options_parse(): EX_USAGE for the command line, else EX_CONFIG. */
int options_exit_status(const struct options *options);

void options_print_help(FILE *stream);

#endif
