/*
 * Source: a file or stdin, cut into what becomes entries.
 * Runs on:    the tool's one thread.
 * Invariants: memory grows with the largest piece, never with the input; what was given stays valid
 *             until the next call.
 * Not here:   appending (appender.h).
 */
#ifndef TUSK_CLI_SOURCE_H
#define TUSK_CLI_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

enum source_cut {
    SOURCE_LINES,   /* at each newline, which is not part of the entry */
    SOURCE_RECORDS, /* every record_bytes */
    SOURCE_WHOLE    /* not at all: one entry, even if it is empty */
};

enum source_outcome {
    SOURCE_GIVEN = 0,
    SOURCE_END = 1,
    SOURCE_TOO_LONG = 2, /* the next piece is larger than an entry may be */
    SOURCE_PARTIAL = 3   /* the input ends with less than a record: *size bytes */
};

struct source {
    int fd;
    enum source_cut cut;
    size_t record_bytes;
    size_t entry_bytes_max;
    char *buffer;
    size_t capacity;
    size_t begin;   /* of what is buffered and not given yet */
    size_t scanned; /* no newline from begin to here */
    size_t end;
    bool at_end; /* read() said so */
    bool whole_given;
};

/* fd stays the caller's. 0 or -ENOMEM. */
int source_init(struct source *source, int fd, enum source_cut cut, size_t record_bytes,
                size_t entry_bytes_max);
void source_deinit(struct source *source);

/* The next piece: an enum source_outcome, -errno of read(), or -ENOMEM. Waits for input. */
int source_next(struct source *source, const char **data, size_t *size);

#endif
