/*
 * Sparse store: a store that is as large as a test wants it, made in seconds by the broker's own code:
 * every record, every segment and the last chunk of each topic are there as in any store; the chunks
 * before are assigned, but nothing was ever written to them, so the disk holds next to nothing.
 * Runs on:    the thread that starts the broker afterwards; no broker runs meanwhile.
 * Not here:   reading such a store: only the last chunks of its topics can be read.
 */
#ifndef TUSK_TESTS_SUPPORT_SPARSE_STORE_H
#define TUSK_TESTS_SUPPORT_SPARSE_STORE_H

#include <stdint.h>

enum {
    /* Entries that each chunk counts for, and those at the end of each topic that are there. */
    SPARSE_CHUNK_ENTRIES = 100,
    SPARSE_ENTRIES = 10,
};

/* Makes the store of the default namespace in a broker's data directory, of the default geometry with topics "crowd-0000000" ...; their entries are those of
 * crowd_append(), numbered by seq. Returns the seq that the next one of each topic will have. */
uint64_t sparse_store_make(const char *data_dir, uint32_t topics, uint64_t bytes);

#endif
