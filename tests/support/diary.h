/*
 * Diary: what one client intended, was acknowledged and was given, in a file of its own that
 * survives its SIGKILL.
 * Runs on:    one client writes; the checker reads when the client has ended.
 * Invariants: an intent is written before the append, an acknowledgement after it answered.
 * Trust:      the client may have died between any two stores.
 * Ordering:
 *   [D1] diary_*() of the client -> readers in other processes: the record, then the count
 * Not here:   what must hold between diaries and logs (oracle.h).
 */
#ifndef TUSK_TESTS_SUPPORT_DIARY_H
#define TUSK_TESTS_SUPPORT_DIARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/support/payload.h"

/* What a client knows of one of its entries. */
enum diary_state { DIARY_NONE, DIARY_INTENDED, DIARY_COMMITTED, DIARY_DURABLE };

struct diary_append {
    uint64_t seq;   /* valid from DIARY_COMMITTED */
    uint32_t size;  /* of the payload */
    uint32_t state; /* enum diary_state */
};

/* What a client was given by the default cursor. */
struct diary_reading {
    uint64_t seq;
    struct payload_id id;
};

struct diary {
    uint32_t producer;
    uint32_t capacity;
    struct diary_append *appends;
    struct diary_reading *read;
    uint32_t *shared; /* counts of intents and readings, in the file */
};

/* A new diary, for the life of this process: a producer of up to capacity entries and readings, in a
 * file of that directory. Made before the client is forked; client and checker use the same one. */
struct diary *diary_new(const char *dir, uint32_t producer, uint32_t capacity);

/* The client is about to append entry n = the number of intents so far; returns n. */
uint32_t diary_intend(struct diary *diary, size_t size);

/* Entry n was acknowledged; all entries below n are durable. */
void diary_committed(struct diary *diary, uint32_t n, uint64_t seq);
void diary_durable_below(struct diary *diary, uint32_t n);

/* The default cursor gave this entry. */
void diary_was_given(struct diary *diary, uint64_t seq, struct payload_id id);

/* How many intents and readings there are now. */
uint32_t diary_intents(const struct diary *diary);
uint32_t diary_readings(const struct diary *diary);

#endif
