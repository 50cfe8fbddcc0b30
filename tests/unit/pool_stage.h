/*
 * Pool stage: a chunk pool over an arena of twelve places in plain memory, and sessions that read,
 * whose files of pins are real and written by the test.
 * Runs on:    the test's thread.
 */
#ifndef TUSK_TESTS_UNIT_POOL_STAGE_H
#define TUSK_TESTS_UNIT_POOL_STAGE_H

#include "broker/chunk_pool.h"
#include "broker/lane.h"
#include "broker/pool_pins.h"
#include "shm/pins.h"

enum {
    BIGS = 12, /* places for big chunks in the arena */
    UNITS = BIGS * SMALL_CHUNKS,
    READING_BIGS = BIGS / 8, /* that appends leave to readers */
    USER_BIGS = BIGS - POOL_SYSTEM_BIGS - READING_BIGS,
    USER_UNITS = USER_BIGS * SMALL_CHUNKS,
    READERS = 3,
    CHUNKS = 400,
    BIG_NUMBER = SMALL_CHUNKS, /* the first chunk of a topic that is big */
};

extern struct chunk_pool pool;
extern struct topic pool_topic; /* of all chunks */
extern struct client clients[READERS];
extern struct chunk *chunks[CHUNKS];

void pool_stage_begin(void);
void pool_stage_end(void);

/* A new chunk chunks[index]; with a unit, which must be there; and one that may go. */
struct chunk *chunk_make(int index, uint64_t number);
struct chunk *chunk_place(int index, uint64_t number, bool system);
struct chunk *chunk_place_clean(int index, uint64_t number);

bool is_there(const struct chunk *chunk);
bool is_gone(const struct chunk *chunk);
uint64_t stamp_of(const struct chunk *chunk);

/* A pin of the chunk's image; what a session writes into a word of its pins. */
uint64_t pin_of(const struct chunk *chunk);
void pin_write(int reader, int slot, uint64_t value);

#endif
