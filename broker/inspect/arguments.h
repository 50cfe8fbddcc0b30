/*
 * Arguments: what tusk-inspect was asked for.
 * Runs on:    one thread, first of all.
 * Invariants: one table makes parsing and --help; what is wrong names the option or operand and what
 *             was expected.
 */
#ifndef TUSK_BROKER_INSPECT_ARGUMENTS_H
#define TUSK_BROKER_INSPECT_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>

enum inspect_verb { VERB_VERIFY, VERB_DUMP };

enum payload_form { PAYLOAD_TEXT, PAYLOAD_HEX, PAYLOAD_NONE };

struct arguments {
    enum inspect_verb verb;
    const char *directory;
    const char *topic; /* of dump; NULL: list the topics */
    bool json;
    bool quiet;
    bool progress;
    bool map;
    bool records;
    bool frames; /* of the system topic, which has no name */
    uint64_t from;
    uint64_t count;
    enum payload_form payload;
};

enum arguments_outcome {
    ARGUMENTS_RUN = 0,
    ARGUMENTS_EXIT = 1,  /* help or version was printed */
    ARGUMENTS_WRONG = 2, /* the message has been printed */
};

int arguments_parse(struct arguments *arguments, int argc, char **argv);

#endif
