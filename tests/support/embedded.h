/*
 * Embedded: brokers on threads of the test's own process, and what the process holds.
 * Runs on:    anywhere.
 * Invariants: a place's directories are private, and gone when the process is.
 * Not here:   brokers as processes (tuskd.h).
 */
#ifndef TUSK_TESTS_SUPPORT_EMBEDDED_H
#define TUSK_TESTS_SUPPORT_EMBEDDED_H

#include <stdint.h>
#include <tusk/broker.h>

#include "tests/support/scratch.h"

enum { EMBEDDED_PATH_BYTES = SCRATCH_PATH_BYTES + 16, EMBEDDED_ERROR_BYTES = 512 };

/* Where a broker lives, and the options that say so. */
struct place {
    char dir[SCRATCH_PATH_BYTES]; /* on disk: data and socket are below it */
    char data[EMBEDDED_PATH_BYTES];
    char socket[EMBEDDED_PATH_BYTES];
    char run_dir[SCRATCH_PATH_BYTES];
    char error[EMBEDDED_ERROR_BYTES];
    struct tusk_broker_options options;
};

/* The place does not move afterwards: the options point into it. */
void place_make(struct place *place);

/* It must start. */
struct tusk_broker *embedded_start(struct place *place);

/* It must be refused with this error. */
void embedded_refused(struct place *place, int error);

struct tusk *embedded_attach(const struct place *place);

/* What this process holds, and what there is in the directories of a place. */
struct footprint {
    uint64_t threads;
    uint64_t fds;
    uint64_t shared_mappings;
    uint64_t mappings;   /* all of them */
    uint64_t heap_bytes; /* in use; 0 where a sanitizer has its own heap */
    uint64_t run_files;
    uint64_t data_files;
    uint64_t data_bytes;
};

/* Threads but those that the kernel adds for io_uring's work, as it likes. place may be NULL. */
struct footprint footprint_take(const struct place *place);

/* Nothing has grown; of what the allocator and the store keep for later, no more than is allowed. */
struct footprint_slack {
    uint64_t heap_bytes;
    uint64_t mappings;
    uint64_t data_files;
};
void footprint_expect_flat(const struct footprint *before, const struct footprint *after,
                           struct footprint_slack slack);

/* Starts and stops a broker on that place so many times; a client appends an entry each time, and
 * finds all those of before. *appended counts them over all calls. */
void embedded_cycles(struct place *place, uint32_t count, uint64_t *appended);

#endif
