/*
 * Flush: group commit. Captures the tails of all topics that have news, writes what lies below them
 * in aligned blocks, syncs each touched segment file once, and only then moves the durable
 * watermarks, to the captured positions. While one flush is in flight the next one gathers.
 * Runs on:    the engine of the store.
 * Invariants: at most one flush is in flight, so at most one write per block; frames appended after
 *             the capture carry the next sync's number, and nothing of them is written before this
 *             sync has succeeded; any write or sync error fences the store.
 * A flush that only writes (chunks that are complete, between two syncs) moves no watermark. It
 * goes on by itself: each write that is done makes room for the next chunk, until a sync is due or
 * nothing is complete.
 */
#ifndef TUSK_BROKER_FLUSH_H
#define TUSK_BROKER_FLUSH_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/io.h"
#include "broker/list.h"

struct store;
struct topic;
struct chunk;

enum flush_state {
    FLUSH_IDLE = 0,
    FLUSH_WRITING = 1,
    FLUSH_SYNCING = 2,
};

struct flush {
    enum flush_state state;
    bool sync;       /* the flush in flight ends in a sync ... */
    uint64_t number; /* ... with this number */
    uint64_t begun_ns;
    uint32_t outstanding;
    int error;

    uint64_t next_sync;    /* the number that the next sync to begin will have; from 1 */
    uint64_t durable_sync; /* of the last one that succeeded */
    uint64_t marked_sync;  /* the last one before the newest marks */
    bool wanted;           /* a sync is due now, whatever the schedule */
    bool news;             /* something was appended since the last capture */
    uint64_t due_ns;       /* `N ms`: when the next one is due; 0: nothing is dirty */

    struct list dirty;               /* of struct topic.dirty: durable < tail */
    struct list full;                /* of struct chunk.full: complete, not written; oldest first */
    uint64_t full_bytes;             /* of these */
    bool room_wanted;                /* somebody waits for the room that writing them gives */
    struct list captured;            /* of struct topic.captured */
    struct list_node *next_captured; /* whose writes are next */
    struct list waiters;             /* of struct pending.queue, by sync */

    unsigned char *blocks; /* private buffers, registered with the ring */
    void *free_block;      /* chained through their first bytes */
    struct flush_op *free_ops;
};

enum {
    /* Sync numbers that the 16 bits of a frame tell apart. */
    SYNC_NUMBERS = 65536,
    /* So many syncs after the last marks, every topic's durable place is recorded again: recovery
     * then never meets frames whose numbers are half a round old. */
    MARK_SYNCS = SYNC_NUMBERS / 8,
    /* Ranges up to this size whose last block is not full are copied to a private buffer and
     * written by one operation. */
    FLUSH_COPY_BYTES = 16 * 1024,
    FLUSH_BLOCKS = 64,
    /* Writes in flight beyond which a flush begins none of a further topic: each has a private
     * buffer then. */
    FLUSH_WRITES_MAX = FLUSH_BLOCKS,
    /* Without a schedule, complete chunks are written ahead when they are so old, or take up this
     * part of the arena: what is consumed and trimmed before that is never written. */
    FLUSH_FULL_MS = 1000,
    FLUSH_FULL_PART = 2,
    /* Writes of a write-only flush in flight at a time: enough for the device, few enough that a
     * sync, which waits for them, begins soon. */
    FLUSH_AHEAD_WRITES = 16,
};

int flush_init(struct flush *flush);
void flush_deinit(struct flush *flush);

/* Private buffers, for io_register_buffers(). Bytes: FLUSH_BLOCKS * FLUSH_COPY_BYTES. */
static inline void *flush_region(const struct flush *flush)
{
    return flush->blocks;
}

/* The topic's tail moved. */
void flush_mark_dirty(struct store *store, struct topic *topic);

/* The chunk is complete: nothing will be added to it. */
void flush_mark_full(struct store *store, struct chunk *chunk);

/* It needs not be written ahead: it is being written, or has been given up. */
void flush_unmark_full(struct store *store, struct chunk *chunk);

/* The arena has no room: what is complete is to be written now. */
void flush_hurry(struct store *store);

/* A hold on the chunk ended, or something of it was written: evictable, if it is clean. */
void flush_settle_chunk(struct store *store, struct chunk *chunk);

/* The topic is not about to be appended to: its tail's chunk is evictable, if it is clean, and so
 * are those made ready behind it, or topics that have some but not all of what they need could keep
 * each other from it for ever. */
void flush_settle_end(struct store *store, struct topic *topic);

/* Asks for a sync now that covers everything so far; returns its number: of the next one, of the
 * one in flight where that captured it all, or of the last one that succeeded. */
uint64_t flush_want(struct store *store);

/* Once per pass: begins the flush that is due, if none is in flight. */
void flush_tick(struct store *store);

/* When flush_tick() has something to do next, CLOCK_MONOTONIC; UINT64_MAX: not by time alone. */
uint64_t flush_next_ns(const struct store *store);

/* Is nothing in flight? */
static inline bool flush_idle(const struct flush *flush)
{
    return flush->state == FLUSH_IDLE;
}

#endif
