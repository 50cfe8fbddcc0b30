/*
 * Options' table: all that is known of each option of the broker, once.
 * Runs on:    any thread; constant.
 * Invariants: names are unique and lower case; a default text is one that the option accepts;
 *             the order is that of --help.
 * Not here:   reading a text (options_value.h), reading the sources (options.h).
 */
#ifndef TUSK_BROKER_OPTIONS_TABLE_H
#define TUSK_BROKER_OPTIONS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_PATH,      /* char[bytes] */
    OPTION_SIZE,      /* uint64_t: bytes */
    OPTION_DURATION,  /* uint64_t: ns; the bounds as well */
    OPTION_INTEGER,   /* uint64_t */
    OPTION_WORD,      /* an enum: one of the words and nothing else */
    OPTION_BOOL,      /* bool; on the command line its name alone means yes */
    OPTION_MODE,      /* mode_t: permission bits in octal */
    OPTION_GROUP,     /* gid_t: a group's name or number */
    OPTION_RETENTION, /* struct retention_policy */
    OPTION_FLAG       /* says what to do instead of running; no value, not stored */
};

struct option_word {
    const char *name; /* NULL ends a list */
    int value;
};

struct option_spec {
    const char *name;     /* of --name, and of "name = value" in a file */
    const char *variable; /* of the environment; NULL: command line only */
    const char *argument; /* as --help calls the value; NULL: none */
    const char *help;
    const char *default_text; /* NULL: empty until config_resolve() */
    const char *default_help; /* what --help says instead of default_text, or NULL */
    size_t offset;            /* of the member of struct options */
    size_t bytes;             /* of a path's member */
    uint64_t minimum;
    uint64_t maximum;
    const struct option_word *words; /* accepted, beside numbers for a number; or NULL */
    size_t word_offset;              /* of the enum that the words set */
    int number_word;                 /* the enum's value when a number was given */
    enum option_kind kind;
    bool power_of_two;
    bool zero_as_minimum; /* 0 is accepted and acts as the minimum */
    bool not_in_file;
};

extern const struct option_spec option_table[];
extern const size_t option_count; /* at most OPTIONS_MAX */

/* The option of that name, or NULL. */
const struct option_spec *option_find(const char *name);

/*
 * Says which options may have been meant, each with prefix before its name, as
 * "; did you mean --a or --b?", or "" when none is near.
 */
void option_suggest(char *text, size_t bytes, const char *name, const char *prefix);

#endif
