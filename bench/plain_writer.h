/*
 * Plain writer: a role that writes records to a file of its own with pwrite, opened with O_DSYNC:
 * what a program without a broker would do to have each record on stable storage.
 * Runs on:    the processes of a crew, one file each.
 * Invariants: the file has been written and synced as a whole before, so that no write allocates
 *             anything; this is the fastest such a program can be.
 */
#ifndef TUSK_BENCH_PLAIN_WRITER_H
#define TUSK_BENCH_PLAIN_WRITER_H

#include "bench/crew.h"

struct plain_plan {
    const char *directory; /* on the file system to be measured */
    uint64_t size;         /* of a record */
};

struct role plain_role(unsigned processes, const struct plain_plan *plan);

#endif
