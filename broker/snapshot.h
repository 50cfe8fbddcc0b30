/*
 * Snapshot: what the records of the system topic add up to, written down while work goes on, so
 * that a start replays only what was recorded since and the chunks before can be used again.
 * Runs on:    the engine of the store.
 * Invariants: the snapshot is a log of its own (SNAPSHOT_TOPIC_ID): records in frames, in a chain
 *             of chunks whose headers name their successors. `from` is the system topic's tail when
 *             it was begun. Each topic's record carries the system topic's tail of its own moment
 *             (as_of): a replay from `from` skips what is recorded of that topic below, since it is
 *             in it, and applies the rest. A topic that is deleted before its turn is not in it,
 *             nor is one that is made behind it: their records lie behind `from`.
 *             It is named in the superblock only when all of it is durable, and so is all of the
 *             system topic that it may hold something of. So a crash leaves the old one or the new
 *             one, whole; only after that are the old one's slots and the chunks before `from`
 *             free. One is begun when the log has grown, and where segments that are not needed
 *             hold nothing but log.
 *             Each step is bounded.
 * Not here:   reading it (recovery_snapshot.h).
 */
#ifndef TUSK_BROKER_SNAPSHOT_H
#define TUSK_BROKER_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/io.h"
#include "broker/record.h"

struct recovered_topic;
struct store;
struct topic;

#define SNAPSHOT_TOPIC_ID UINT64_MAX

/* One is due when the system topic has grown by this since the last one, and by twice its size, at
 * the latest. */
#define SNAPSHOT_LOG_BYTES (UINT64_C(2) << 20)

enum {
    /* Bytes of records, and descriptors looked at, in one step. */
    SNAPSHOT_STEP_BYTES = 64 * 1024,
    SNAPSHOT_STEP_TOPICS = 4096,
    /* Free groups of slots that it leaves to the system topic. */
    SNAPSHOT_GROUPS_LEFT = 2,
};

enum snapshot_state {
    SNAPSHOT_IDLE,
    SNAPSHOT_LISTING, /* records are put into the image of the chain's last chunk */
    SNAPSHOT_WRITING, /* and that image is written; `more`: another chunk follows */
    SNAPSHOT_SYNCING, /* what it holds becomes durable in the system topic too */
    SNAPSHOT_NAMING,  /* the superblock is written */
};

/* What is to be listed next of the current topic. */
enum snapshot_part { PART_TOPIC, PART_CHUNKS, PART_CURSOR };

struct snapshot_slot {
    uint32_t slot;
    bool small;
};

/* The slots of a chain. */
struct snapshot_chain {
    struct snapshot_slot *slots;
    uint32_t count;
    uint32_t max;
};

struct snapshot {
    enum snapshot_state state;
    bool stopped;
    uint64_t retry_ns;      /* none is begun before */
    uint64_t log_bytes_min; /* SNAPSHOT_LOG_BYTES, */
    uint64_t step_bytes;    /* SNAPSHOT_STEP_BYTES, unless a test wants less */

    /* The one that is being written. */
    struct record_place from;
    uint32_t from_slot;
    uint64_t from_generation;
    struct snapshot_chain chain;
    uint32_t first_slot;
    uint64_t first_generation;

    uint8_t *image;
    uint64_t chunk_no;
    uint64_t generation; /* of the chunk being filled */
    uint64_t position;   /* in the snapshot's log */
    uint64_t seq;        /* records so far */
    bool more;
    uint32_t next_slot;
    uint64_t next_generation;
    struct io_op op;

    uint8_t record[RECORD_BYTES_MAX]; /* encoded, for lack of room not placed yet */
    size_t record_bytes;              /* 0: none */

    uint32_t index; /* of the current topic's descriptor */
    uint64_t incarnation;
    enum snapshot_part part;
    uint64_t chunk_next; /* of the topic's chunks, the next to list ... */
    uint64_t chunk_last; /* ... and the last */

    uint64_t sync;
    uint64_t until;

    /* The one that the superblock names. */
    struct snapshot_chain named;
};

/* Takes over the chain that recovery found. 0 or -ENOMEM. */
int snapshot_open(struct store *store, const struct recovered_topic *found);
void snapshot_close(struct store *store);

/* Once per pass: begins one when it is due, and goes on with it. True: something was done. */
bool snapshot_step(struct store *store);

/* Does the next step go on with one? */
bool snapshot_goes_on(const struct store *store);

/* No more steps: what is not named is dropped. Operations in flight end by themselves. */
void snapshot_stop(struct store *store);

#endif
