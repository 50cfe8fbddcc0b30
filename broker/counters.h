/*
 * Counters: figures of the broker that anybody who is connected reads in the directory, without
 * asking (tusk_counter_list).
 * Runs on:    the thread that counters.c names as the writer; counters_describe() before any client.
 * Invariants: a counter has one writer and a cache line of its own in the directory; a name that
 *             ends in _total only grows, any other is a present value.
 * Cost:       counting is an addition in private memory; counters_publish(), a hundred times a second
 *             at most, touches only the lines of what was counted since. So readers may be behind, by
 *             a second where little happens.
 * Not here:   figures of one topic (directory.h); events (log.h).
 */
#ifndef TUSK_BROKER_COUNTERS_H
#define TUSK_BROKER_COUNTERS_H

#include <stdint.h>

#include "shm/directory.h"

enum counter {
    COUNTER_ENTRIES_APPENDED,
    COUNTER_BYTES_APPENDED,
    COUNTER_BATCHES_APPENDED,
    COUNTER_STREAMS_APPENDED,
    COUNTER_STREAMS_ROLLED_BACK,
    COUNTER_SUBMISSIONS_FAILED,
    COUNTER_ENTRIES_CONSUMED,
    COUNTER_FETCHES,
    COUNTER_HEADERS_READ,
    COUNTER_CHUNKS_READ_AHEAD,
    COUNTER_READ_AHEAD_HITS,
    COUNTER_READ_AHEAD_WASTED,
    COUNTER_CHUNKS_DAMAGED,
    COUNTER_CHUNKS_EVICTED,
    COUNTER_CHUNKS_TRIMMED,
    COUNTER_SNAPSHOTS,
    COUNTER_ENTRIES_LOST,
    COUNTER_ARENA_WAITS,
    COUNTER_PINS_REVOKED,
    COUNTER_SYNCS,
    COUNTER_SYNC_NS,
    COUNTER_BYTES_WRITTEN,
    COUNTER_PASSES,
    COUNTER_PARKS,
    COUNTER_WAKES,
    COUNTER_TOPICS,
    COUNTER_LANES,
    COUNTER_ARENA_UNITS_FREE,
    COUNTER_SEGMENTS,
    COUNTER_RECOVERY_NS,
    COUNTER_SESSIONS,
    COUNTER_SESSIONS_OPENED,
    COUNTER_SESSIONS_REFUSED,
    COUNTER_SESSIONS_HOSTILE,
    COUNTER_COUNT
};
_Static_assert(COUNTER_COUNT <= 64, "struct counters has one bit for each");
_Static_assert((int)COUNTER_COUNT <= (int)COUNTERS_MAX, "the directory has a place for each");

enum counter_writer { COUNTER_OF_ENGINE, COUNTER_OF_CONTROL };

struct counter_spec {
    const char *name;
    const char *help;
    enum counter_writer writer;
};

extern const struct counter_spec counter_table[COUNTER_COUNT];

/* Of one thread, embedded in what it owns. */
struct counters {
    struct directory_shm *directory;
    enum counter_writer writer;
    uint64_t changed; /* a bit for each counter that differs from what was published */
    uint64_t values[COUNTER_COUNT];
};

/* Writes the names and explanations into a new directory. */
void counters_describe(struct directory_shm *directory);

/* Begins at 0. */
void counters_init(struct counters *counters, struct directory_shm *directory,
                   enum counter_writer writer);

/* Shows readers what was counted since the last time. */
void counters_publish(struct counters *counters);

static inline void counter_add(struct counters *counters, enum counter counter, uint64_t value)
{
    counters->values[counter] += value;
    counters->changed |= UINT64_C(1) << counter;
}

/* For a present value. */
static inline void counter_set(struct counters *counters, enum counter counter, uint64_t value)
{
    counters->values[counter] = value;
    counters->changed |= UINT64_C(1) << counter;
}

#endif
