/*
 * Plain writer: a role that writes records to a file with pwrite, opened with O_DSYNC: what programs
 * without a broker would do to have each record on stable storage.
 * Runs on:    the processes of a crew, with one file for all of them or one each.
 * Invariants: a file has been written and synced as a whole before, so that no write allocates
 *             anything; this is the fastest such a program can be.
 */
#ifndef TUSK_BENCH_PLAIN_WRITER_H
#define TUSK_BENCH_PLAIN_WRITER_H

#include "bench/crew.h"

struct plain_plan {
    const char *directory; /* on the file system to be measured */
    uint64_t size;         /* of a record */
    unsigned processes;
    int shared_fd; /* of the file that all write to in turn; -1: each has its own */
};

/* A file without a name, written and synced: its descriptor, or -errno. */
int plain_file_make(const char *directory);

struct role plain_role(const struct plain_plan *plan);

#endif
