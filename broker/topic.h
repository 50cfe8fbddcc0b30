/*
 * Topic, chunk: the engine's own state of one topic and of the chunks of its log.
 * Runs on:    the engine of the topic's store.
 * Invariants: first_position <= durable_position <= tail_position; chunks[] holds the chunks
 *             first_chunk .. first_chunk + chunk_count - 1 without a gap, the one of first_position
 *             first; a chunk with state CHUNK_RESIDENT has a unit of the arena and a stamp.
 * Trust:      nothing here can be written by a client.
 * Not here:   names and descriptors (topic_set.h), units of the arena (chunk_pool.h).
 */
#ifndef TUSK_BROKER_TOPIC_H
#define TUSK_BROKER_TOPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/frame_scan.h"
#include "broker/list.h"
#include "shm/directory.h"
#include "shm/frame.h"
#include "shm/retention_policy.h"

#define UNIT_NONE UINT32_MAX
#define SYSTEM_TOPIC_INDEX UINT32_C(0)

enum chunk_state {
    CHUNK_COLD = 0,     /* on disk only */
    CHUNK_LOADING = 1,  /* a read into its unit is in flight */
    CHUNK_RESIDENT = 2, /* its unit holds the image */
};

/* What a resident image is worth to others when room is needed; see chunk_pool.h. */
enum chunk_rank {
    CHUNK_RECENT = 0, /* it was appended, or was the tail when it was loaded */
    CHUNK_LOADED = 1, /* brought back from the disk, and used since */
    CHUNK_AHEAD = 2,  /* brought back, or being so, for a reader that will ask for it soon */
    CHUNK_RANKS = 3,
};

struct stream;

/* What a chunk begins with. */
enum chunk_begin {
    BEGIN_UNKNOWN = 0,
    BEGIN_ENTRY = 1,
    BEGIN_REST = 2, /* of an entry that begins in an earlier one */
};

struct chunk {
    struct topic *topic; /* NULL: trimmed, its image is still pinned */
    uint64_t number;
    uint64_t generation;
    uint64_t base_seq; /* of its first unit, or a lower bound of it unless base_exact */
    uint64_t base_time_ns;
    uint64_t age_ns;         /* the store's age clock when it was assigned */
    uint64_t entry_position; /* of an entry that begins in it; 0: none is known */
    uint64_t entry_seq;
    uint64_t written; /* the image is on disk (not: durable) up to this position */
    uint32_t slot;
    uint32_t unit;  /* in the arena, or UNIT_NONE */
    uint32_t seed;  /* of its frames' checksums */
    uint32_t holds; /* fetches not reaped, claims, writes in flight: neither evicted nor trimmed */
    uint32_t keeps; /* the same, not reaped for too long: evicted, but not trimmed */
    enum chunk_state state;
    enum chunk_rank rank;
    bool base_exact;
    bool begin_unreadable; /* what it begins with could not be read */
    enum chunk_begin begin;
    bool entry_first;         /* entry_position is that of the first entry that begins in it */
    bool entryless;           /* no entry begins in it */
    bool started;             /* its header is complete: it has a first unit */
    uint32_t next_slot;       /* system topic: the successor's, else SLOT_NONE */
    uint64_t next_generation; /* system topic */
    int damaged;              /* why its image cannot be loaded, -errno; 0 = it can */
    bool damage_told;         /* its damage has been logged and counted */
    uint64_t ahead_ns;        /* when it was read ahead */
    struct list_node clean;   /* in pool.clean[rank]: resident and evictable */
    struct list_node ahead;   /* in pool.ahead: read ahead and not used yet, oldest first */
    struct list_node full;    /* in flush.full: complete, not written yet */
    uint64_t full_ns;         /* ... since */
    struct list_node starved; /* in store.starved: wants a unit to be loaded into */
    struct list waiters;      /* of struct pending.queue: until it is resident */
    struct list_node frees;   /* in store.frees: its slot waits for the trim's sync */
    uint64_t free_after_sync; /* the sync that makes its trim durable */
};

/* A record of a cursor, and the sync that makes it durable. */
struct cursor_record {
    uint64_t seq;
    uint64_t sync;
};

/* The cursor of the group "default". */
struct cursor {
    bool exists;
    uint64_t seq; /* the next entry to hand out */
    uint64_t position;
    uint64_t durable_seq;           /* of the newest durable record */
    struct cursor_record recorded;  /* the newest */
    struct cursor_record in_flight; /* the newest that the flush in flight covers */
    struct list_node undurable;     /* in store.cursors: recorded, not durable */
};

struct topic {
    uint32_t index; /* of its descriptor */
    struct topic_shm *shm;
    uint64_t incarnation;
    uint64_t id; /* on disk; 0: it does not exist yet (or is the system topic) */
    enum topic_state state;
    uint32_t refs;     /* TOPIC_OPENs not closed */
    uint32_t pendings; /* struct pending that refer to it */

    uint64_t tail_position;
    uint64_t next_seq;
    struct stream *stream; /* alone may append, and holds the tail; or NULL */
    uint64_t stream_end;   /* where its frames end, at or behind the tail */
    uint64_t durable_position;
    uint64_t durable_seq;
    uint64_t marked_position; /* the highest durable position in a record */
    uint64_t first_position;
    uint64_t first_seq;
    uint64_t created_ns;     /* since the epoch */
    struct salt_floor floor; /* as of a verdict: lower salts from there on don't count */
    uint64_t last_time_ns;   /* of the newest entry: times never go back within a topic */

    bool retention_waits; /* a look at it waits for a chunk */
    bool retention_own;   /* has a policy of its own; else the store's holds */
    struct retention_policy retention;

    struct chunk **chunk_memory; /* chunk_room pointers; those before `chunks` are gone */
    struct chunk **chunks;
    uint64_t first_chunk;
    uint32_t chunk_count;
    uint32_t chunk_room;

    struct cursor cursor;

    struct list_node topics;    /* in topic_set.all */
    struct list_node hash_next; /* in topic_set's bucket */
    struct list_node dirty;     /* in flush.dirty: durable < tail */
    struct list_node unmarked;  /* in marks.unmarked or marks.due */
    struct list_node captured;  /* in flush.captured */
    uint64_t captured_position;
    uint64_t captured_seq;
    struct list_node ticked;  /* in store.ticked */
    uint64_t ticked_at;       /* the age clock when a tick last looked */
    struct list_node moved;   /* in store.moved: tail or watermark passed since the last pass */
    struct list tail_waiters; /* of struct pending.queue */
    struct list claims;       /* of struct pending.turn; the first one walks */
    bool claims_run;          /* claims are being served, one after the other */
};

/* The chunk of this number, or NULL when the topic has none. */
static inline struct chunk *topic_chunk(const struct topic *topic, uint64_t number)
{
    return number - topic->first_chunk < topic->chunk_count
               ? topic->chunks[number - topic->first_chunk]
               : NULL;
}

/* Is something of it below the tail? Of what an open stream has begun, nothing is. */
static inline bool chunk_is_visible(const struct chunk *chunk, uint64_t chunk_bytes)
{
    return chunk->topic->tail_position > chunk_first_frame(chunk->number, chunk_bytes);
}

/* Must it stay in its topic? */
static inline bool chunk_is_kept(const struct chunk *chunk)
{
    return chunk->holds > 0 || chunk->keeps > 0;
}

/* Where the log ends, whether readers see it or not. */
static inline uint64_t topic_log_end(const struct topic *topic)
{
    return topic->stream != NULL ? topic->stream_end : topic->tail_position;
}

/* Appends a chunk, which becomes the topic's, behind its last one. 0 or -ENOMEM. */
int topic_chunk_push(struct topic *topic, struct chunk *chunk);

/* Takes the first, or the last, chunk away and returns it. */
struct chunk *topic_chunk_shift(struct topic *topic);
struct chunk *topic_chunk_pop(struct topic *topic);

/* Where the chunk begins is known exactly. */
void topic_chunk_learn(struct chunk *chunk, uint64_t base_seq, uint64_t base_time_ns);

/*
 * The chunk in which to begin looking for an entry with this seq, by what is in memory: the last
 * that begins at or before it, or the one before where the beginnings are only lower bounds. NULL
 * when the topic has no chunks.
 */
struct chunk *topic_locate_seq(const struct topic *topic, uint64_t seq);

struct chunk *chunk_new(struct topic *topic, uint64_t number);
void chunk_free(struct chunk *chunk);

#endif
