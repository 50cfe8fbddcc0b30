/*
 * Options: one table per verb makes both its parsing and its --help.
 * Runs on:    the tool's one thread, before the verb does anything.
 * Invariants: a value that is stored is within the range its row states; an unknown or impossible
 *             option names itself and what was expected.
 * Not here:   what the verbs do.
 */
#ifndef TUSK_CLI_OPTIONS_H
#define TUSK_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_FLAG,   /* target: bool */
    OPTION_TEXT,   /* target: const char * */
    OPTION_NUMBER, /* target: uint64_t, from min to max */
    OPTION_SIZE    /* as OPTION_NUMBER; may end in K, M or G */
};

struct option_spec {
    const char *name; /* long, without the dashes */
    char letter;      /* 0: none */
    enum option_kind kind;
    const char *value; /* what --help calls the value; NULL for a flag */
    const char *help;
    void *target;
    uint64_t min;
    uint64_t max;
};

/* Rows of a table, a line each. */
#define FLAG_ROW(letter_, name_, target_, help_)                                                   \
    {                                                                                              \
        .name = (name_), .letter = (letter_), .kind = OPTION_FLAG, .help = (help_),                \
        .target = (target_)                                                                        \
    }
#define TEXT_ROW(letter_, name_, value_, target_, help_)                                           \
    {                                                                                              \
        .name = (name_), .letter = (letter_), .kind = OPTION_TEXT, .value = (value_),              \
        .help = (help_), .target = (target_)                                                       \
    }
#define NUMBER_ROW(letter_, name_, value_, target_, min_, max_, help_)                             \
    {                                                                                              \
        .name = (name_), .letter = (letter_), .kind = OPTION_NUMBER, .value = (value_),            \
        .help = (help_), .target = (target_), .min = (min_), .max = (max_)                         \
    }
#define SIZE_ROW(letter_, name_, value_, target_, min_, max_, help_)                               \
    {                                                                                              \
        .name = (name_), .letter = (letter_), .kind = OPTION_SIZE, .value = (value_),              \
        .help = (help_), .target = (target_), .min = (min_), .max = (max_)                         \
    }

/* What a verb takes, for its --help and for counting its operands. */
struct option_page {
    const char *verb;
    const char *operands; /* "TOPIC [FILE...]" */
    const char *summary;  /* a sentence */
    const char *details;  /* lines printed after the options; may be "" */
    int operands_min;
    int operands_max;  /* -1: any number */
    bool operands_end; /* the first operand ends the options: the rest is another program's */
};

enum options_outcome {
    OPTIONS_RUN = 0,   /* *operands and *count are the verb's operands */
    OPTIONS_EXIT = 1,  /* help was asked for and printed */
    OPTIONS_WRONG = 2, /* the message has been printed: exit with EX_USAGE */
};

/*
 * argv[0] is the verb. Operands come in their order; options may stand anywhere before --, unless
 * the page says that operands end them.
 */
enum options_outcome options_parse(const struct option_page *page, const struct option_spec *specs,
                                   size_t specs_count, int argc, char **argv, char ***operands,
                                   int *operands_count);

/* A verb's call: its operands, or the status with which it has ended already. */
struct verb_call {
    char **operands;
    int count;
    int status;
};

/* options_parse() for a verb: whether there is anything left to do. */
bool verb_begin(struct verb_call *call, const struct option_page *page,
                const struct option_spec *specs, size_t specs_count, int argc, char **argv);
#define VERB_BEGIN(call, page, specs, argc, argv)                                                  \
    verb_begin((call), (page), (specs), sizeof(specs) / sizeof *(specs), (argc), (argv))

/* A number in decimal within [min, max]; 0, or -EINVAL or -ERANGE. */
int number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *number);

#endif
