/*
 * Store: one log engine instance: its topics, the arena that holds their tails, the segments behind
 * them, and the numbers that are unique in it. What the modules of the append, read and flush paths
 * share.
 * Runs on:    the engine that owns it.
 * Invariants: once `fenced` is set nothing is acknowledged any more: appends fail, reads go on.
 * Not here:   submissions and lanes (submit.h), the pass (engine_pass.c).
 */
#ifndef TUSK_BROKER_STORE_H
#define TUSK_BROKER_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/chunk_pool.h"
#include "broker/config.h"
#include "broker/counters.h"
#include "broker/fault.h"
#include "broker/flush.h"
#include "broker/io.h"
#include "broker/log.h"
#include "broker/marks.h"
#include "broker/numbers.h"
#include "broker/read_ahead.h"
#include "broker/segment.h"
#include "broker/snapshot.h"
#include "broker/store_dir.h"
#include "broker/superblock.h"
#include "broker/topic_set.h"
#include "shm/mapping.h"

struct store {
    const struct config *config;
    struct log *log;
    struct io *io;
    struct directory_shm *directory;
    struct chunk_pool pool;
    struct topic_set topics;
    struct topic *system;
    struct store_dir dir;
    struct superblock superblock;
    struct segment_set segments;
    struct flush flush;
    struct snapshot snapshot;
    struct marks marks;

    uint64_t chunk_bytes;
    struct retention_policy retention; /* of topics that have none of their own */
    struct numbers numbers;
    struct counters counters;
    int fenced;  /* 0, or the errno that fenced it */
    bool ending; /* lanes are being forgotten for good: nothing more is begun for them */

    /* Of this pass. */
    uint64_t now_ns;  /* CLOCK_MONOTONIC */
    uint64_t time_ns; /* CLOCK_REALTIME, of entries */

    uint64_t age_ns;          /* the age clock (retention.h) at age_seen_ns */
    uint64_t age_seen_ns;     /* as now_ns; 0: not yet */
    uint64_t age_recorded_ns; /* the newest that a record of its own has */

    struct list streams; /* of struct stream.streams */
    uint32_t streams_count;
    struct list moved;   /* of struct topic.moved */
    struct list publish; /* of struct lane.dirty: news for their clients */
    struct list cursors; /* of struct cursor.undurable */
    struct list stalled; /* of struct pending.queue: what goes on once `freed` is set */
    struct list starved; /* of struct chunk.starved: wanted, no unit to load them into */
    struct list ticked;  /* of struct topic.ticked: retention looks at them every second */
    struct list frees;   /* of struct chunk.frees: trimmed, waiting for the sync of their record */
    bool freed;          /* something that a lane may wait for was freed in this pass */
    uint32_t loading;    /* chunks being read */
    bool stream_ended;   /* a topic's tail, which a lane may wait for, was let go of in this pass */
    struct list fetched; /* of struct fetch.queue: read, to be verified */
    struct read_ahead read_ahead;
    uint64_t *sizes; /* of a batch's items: scratch */
    uint64_t sizes_room;
    unsigned char *payload; /* of a submission that wraps: scratch (lane_payload.h) */
    uint64_t payload_room;
};

/* Can it be done now? Errors are negative. */
enum store_outcome {
    STORE_READY = 0,
    STORE_WAIT = 1, /* not before `freed` */
    STORE_HELD = 2, /* not before `stream_ended` */
};

/* Locks, recovers and opens the store of config's data directory; config, log, io and directory are
 * set. 0 or -errno with words. */
int store_open(struct store *store, const struct mapping *arena, struct fault *fault);
/* Accepts a store whose open failed. Nothing may be in flight. */
void store_close(struct store *store);

/* A store that was opened by another I/O object goes on with this one, the engine's; nothing is in
 * flight. 0, or -errno: its lock cannot be tied to the object, so nothing may be written. */
int store_attach(struct store *store, struct io *io, const struct mapping *arena);
/* The object forgets the store, which has settled and is about to be closed. */
void store_detach(struct store *store, const struct mapping *arena);

/* Is nothing of it in flight? */
bool store_settled(const struct store *store);

/* After the last sync of a clean stop, with nothing in flight and nothing to come: the superblock
 * says that the store ends where its marks say, unless something was appended since. Blocks. */
void store_seal(struct store *store);

/* No more acknowledgements: says what happened, once. */
void store_fence(struct store *store, int error, const char *what);

/* The schedule has changed: whoever waits for a topic's tail looks again. */
void store_wake_readers(struct store *store);

/* The topic's tail or watermark moved, or it was deleted: who waits for it is looked at. */
void store_topic_moved(struct store *store, struct topic *topic);

/*
 * Makes the chunk that follows the topic's last one: a unit, a slot, and the record that assigns
 * it. base_seq is a lower bound of its first entry's seq. STORE_READY, STORE_WAIT (arena or
 * segment: `freed` will say when to try again), or -ENOSPC.
 */
int store_chunk_add(struct store *store, struct topic *topic, uint64_t base_seq);

/* The arena has no room. What is dirty will be written, whatever the schedule, unless something is
 * under way already that makes room. */
void store_arena_full(struct store *store);

/* Gives an assigned chunk that was never used a unit again. STORE_READY or STORE_WAIT. */
int store_chunk_revive(struct store *store, struct chunk *chunk);

/* The topic's chunks before `first_kept` are no more; the caller has recorded that. Their slots are
 * free after the next sync, their images once nobody has them pinned. */
void store_forget_chunks(struct store *store, struct topic *topic, uint64_t first_kept);

/* The system topic's chunks before `first_kept` are no more, and that is durable: as above, but
 * their slots are free now. */
void store_forget_log(struct store *store, uint64_t first_kept);

/* The topic's chunks from `first_gone` on, behind its tail, are no more; as above. */
void store_forget_end(struct store *store, struct topic *topic, uint64_t first_gone);

/* After sync `number`: slots of chunks whose trim is durable can be used again. */
void store_frees_release(struct store *store, uint64_t number);

/* Brings the topic into being: a record. STORE_READY, STORE_WAIT or -errno. */
int store_topic_create(struct store *store, struct topic *topic);
/* Deletes it: a record; pending waits answer -ESTALE. */
int store_topic_delete(struct store *store, struct topic *topic);

#endif
