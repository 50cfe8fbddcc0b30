/*
 * Numbers: what must never be used twice in a store: salts, generations, topic ids.
 * Runs on:    the engine of the store; numbers_open() before it serves.
 * Invariants: generations and salts are set aside in the superblock, durably, before they are used; a
 *             start uses a new salt and none of the generations that the one before had set aside.
 */
#ifndef TUSK_BROKER_NUMBERS_H
#define TUSK_BROKER_NUMBERS_H

#include <stdint.h>

#include "broker/superblock.h"

struct fault;
struct store;

struct numbers {
    uint64_t next_generation;
    uint64_t next_topic_id;
    uint32_t salt;
    struct superblock_writer writer;
};

/* Sets the first stride aside; writes the store's superblock. */
int numbers_open(struct store *store, struct fault *fault);
void numbers_close(struct store *store);

/* Moves numbers.salt on: frames that carry it from now on outlive those that do not. As below. */
int numbers_take_salt(struct store *store);

/* STORE_READY and a generation, or STORE_WAIT: a stride is being set aside. */
int numbers_take_generation(struct store *store, uint64_t *generation);

#endif
