/*
 * Read-from: the places where `tusk read --from` can begin.
 * Runs on:    the tool's one thread.
 */
#ifndef TUSK_CLI_READ_FROM_H
#define TUSK_CLI_READ_FROM_H

#include <stdint.h>
#include <tusk/tusk.h>

/* What --help says about the value. */
#define READ_FROM_FORMS                                                                            \
    "earliest, latest, SEQ, @SECONDS, 2030-01-31, 2030-01-31T12:00:00 or 2030-01-31T12:00:00Z"

struct read_from {
    enum tusk_from from;
    uint64_t value; /* a seq or ns since the epoch */
};

/* 0 or -EINVAL. */
int read_from_parse(const char *text, struct read_from *from);

#endif
