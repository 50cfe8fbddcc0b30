/*
 * Chunk pool: the broker's manager of the arena: which unit holds which chunk's image, and which
 * image goes when room is needed.
 * Runs on:    the engine of the store.
 * Invariants: a unit is S = C / 16 bytes; a big chunk takes 16 aligned units, a small one takes
 *             one; a stamp is never given twice; only chunks that are resident, clean and not held
 *             are in `clean`, by rank, the least recently used first. So that scans and tails leave
 *             each other room: appends never take the last eighth of the arena from what is loaded,
 *             and what is loaded goes before what was appended once it is more than a third.
 * Ordering:   [P3] pool_evict(): the top bit of the candidates' stamps, then a full fence, then the
 *             pins of all sessions that read; partner pin_take() (shm/pins.h).
 * Not here:   reading pins (pool_pins.h); reading and writing images (fetch.h, flush.h).
 */
#ifndef TUSK_BROKER_CHUNK_POOL_H
#define TUSK_BROKER_CHUNK_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/list.h"
#include "broker/topic.h"
#include "shm/directory.h"

struct chunk_pool {
    struct directory_shm *directory;
    unsigned char *arena;
    uint64_t chunk_bytes;
    uint32_t units;
    uint32_t bigs;       /* big places: units / 16 */
    uint16_t *used;      /* per big place: which of its 16 units are taken */
    uint32_t *free_bigs; /* stack of wholly free places */
    uint32_t free_big_count;
    uint32_t partial;      /* the place that small chunks are taken from, or UNIT_NONE */
    uint32_t partial_hint; /* where to look for another one */
    uint64_t *marks;       /* per unit one bit: scratch of an eviction, or of a look at pins */
    uint64_t next_stamp;
    struct list clean[CHUNK_RANKS]; /* of struct chunk.clean */
    uint32_t clean_counts[CHUNK_RANKS];
    uint32_t clean_count;   /* of all ranks */
    uint32_t loaded_units;  /* of chunks of the ranks LOADED and AHEAD */
    uint32_t reading_units; /* so many of them are left alone by appends */
    struct list ahead;      /* of struct chunk.ahead */
    uint32_t ahead_count;
    struct list readers; /* of struct client.readers */
    uint64_t evictions;
    bool is_short;      /* an assignment has failed, or had to revoke pins, and nobody has said that
                         * it is over */
    uint64_t looked_ns; /* when pins were last looked at, CLOCK_MONOTONIC */
    bool pins_overdue;  /* ... and some were overdue */
    uint64_t revocations;
    bool pins_faulty;      /* a session has client.pins_fault */
    uint64_t ahead_hits;   /* chunks read ahead that were used */
    uint64_t ahead_wasted; /* ... that were not */
};

/* The pool keeps so many big places for the system topic alone, so that what frees space can always
 * be recorded. */
enum { POOL_SYSTEM_BIGS = 2 };

enum pool_outcome { POOL_OK = 0, POOL_FULL = 1 };

/* Who wants room: it decides what may go for it, and which reserves it may use. */
enum pool_use {
    POOL_APPEND = 0,
    POOL_SYSTEM = 1, /* anything may go, all places may be used */
    POOL_READ = 2,   /* a reader waits for it */
    POOL_AHEAD = 3,  /* a reader will: nothing that was read ahead goes for it */
};

int pool_init(struct chunk_pool *pool, struct directory_shm *directory, void *arena);
void pool_deinit(struct chunk_pool *pool);

/* Gives the chunk a unit (evicting clean images where needed, overdue pins notwithstanding where
 * nothing else helps): POOL_OK or POOL_FULL. Its contents are whatever was there; the chunk is not
 * visible to readers before pool_show(). */
enum pool_outcome pool_assign(struct chunk_pool *pool, struct chunk *chunk, enum pool_use use);

/* The image is complete as far as published positions say: readers may find and pin it. */
void pool_show(struct chunk_pool *pool, struct chunk *chunk);

/* Takes a unit back that no reader can have pinned: its image was never shown. */
void pool_unassign(struct chunk_pool *pool, struct chunk *chunk);

/* The chunk may go, or may not; `clean` says whether its image is wholly on disk. */
void pool_settle(struct chunk_pool *pool, struct chunk *chunk, bool clean);

/* Frees the chunks that were trimmed but whose images are still there: the pool is going. */
void pool_free_forgotten(struct chunk_pool *pool);

/* The chunk was used by a reader: it goes last among the clean ones of its rank, which is not AHEAD
 * any more. */
void pool_touch(struct chunk_pool *pool, struct chunk *chunk);

/* The chunk is being appended to. */
void pool_promote(struct chunk_pool *pool, struct chunk *chunk);

/* Chunks that were read ahead before `since_ns` are not expected to be used any more. */
void pool_ahead_expire(struct chunk_pool *pool, uint64_t since_ns);

static inline unsigned char *pool_image(const struct chunk_pool *pool, const struct chunk *chunk)
{
    return pool->arena + (uint64_t)chunk->unit * small_chunk_bytes(pool->chunk_bytes);
}

/* Where a position of this chunk lies in the arena. */
static inline unsigned char *pool_at(const struct chunk_pool *pool, const struct chunk *chunk,
                                     uint64_t position)
{
    return pool_image(pool, chunk) + (position - chunk_start(chunk->number, pool->chunk_bytes));
}

#endif
