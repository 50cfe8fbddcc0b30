/*
 * Sweep: reads a file from its beginning to its end in large pieces, the next one while the caller
 * looks at this one.
 * Runs on:    one thread, which is the I/O object's.
 * Invariants: at most one read is in flight, and none after sweep_end(). A piece that could not be
 *             read at once is read block by block, and its lost blocks are findings (survey_read()).
 */
#ifndef TUSK_BROKER_INSPECT_SWEEP_H
#define TUSK_BROKER_INSPECT_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/io.h"

struct survey;
struct survey_file;

/* Bytes of a piece, a multiple of every chunk size. */
#define SWEEP_BYTES (UINT64_C(4) << 20)

struct sweep {
    struct survey *survey;
    uint8_t *pieces[2];
    uint64_t piece_bytes; /* SWEEP_BYTES, or a whole segment if that is smaller */
    unsigned piece;       /* the one that is being read into */
    const struct survey_file *file;
    uint64_t bytes; /* to read in all, which the file may not have */
    uint64_t offset;
    uint64_t reading; /* bytes of the read in flight */
    struct io_op op;
    bool in_flight;
    int result;
};

/* 0 or -ENOMEM. */
int sweep_init(struct sweep *sweep, struct survey *survey);
void sweep_deinit(struct sweep *sweep);

/* Starts to read the first `bytes` bytes, a multiple of IO_ALIGNMENT; what the file lacks is zeros. */
void sweep_begin(struct sweep *sweep, const struct survey_file *file, uint64_t bytes);

/* The next piece, valid until the next call; 0: there is none. */
uint64_t sweep_next(struct sweep *sweep, const uint8_t **piece);

#endif
