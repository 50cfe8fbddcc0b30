/*
 * Recovery: what a store holds, found out from its files before anything is served.
 * Runs on:    the thread that opens the store, once, blocking.
 * Invariants: the snapshot is applied and the system topic replayed from the superblock's place on;
 *             then each topic's log is walked from the highest position recorded as durable to its
 *             first invalid frame, its tail. Everything below the tails is durable and was verified
 *             from there on. Slots of all chunks that are left are marked in the segment set, no
 *             others.
 * Trust:      the directory's files are this store's (store_dir.h, segment.h); every byte in them may
 *             be torn or rotten. Torn: what follows the gap, if anything, was in flight together with
 *             it. Corrupt: a gap below a durable position; one behind which a frame lies that an older
 *             sync than the last covered (of a stream its BATCH_END says so for all of it); a frame
 *             that such a sync covered, by its header, and that does not match its checksum. That
 *             is refused with -EBADMSG, file and offset.
 * Not here:   writing the verdict. The caller, before it serves anything, writes the superblock, uses
 *             what was superblock.salt_reserved as its salt, and appends a VERDICT for each topic
 *             that `changed`, durably.
 */
#ifndef TUSK_BROKER_RECOVERY_H
#define TUSK_BROKER_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/frame_scan.h"
#include "broker/record.h"
#include "broker/superblock.h"

struct fault;
struct segment_set;
struct store_dir;

struct recovered_chunk {
    uint64_t chunk_no;
    uint64_t generation;
    uint64_t base_seq; /* a lower bound unless base_exact */
    uint64_t base_time_ns;
    uint64_t age_ns; /* the age clock then (retention.h) */
    uint32_t slot;
    bool base_exact; /* read from its header */
};

/* Intact frames behind a gap; `sync` is the oldest of their sync numbers. Those of streams have none:
 * that of the BATCH_END says which sync covered them, so they are evidence of nothing. */
struct gap_evidence {
    bool any;
    bool stream; /* there are some of streams */
    uint16_t sync;
};

/* Where a log's walk met something that is no frame, and what speaks about it. */
struct recovered_gap {
    uint64_t position;
    struct gap_evidence behind;
    bool claimed;               /* it looks like the header of the frame expected ... */
    bool claim_whole;           /* ... and lies in one sector, so it is no mixture of old and new */
    bool claim_stream;          /* ... and of a stream: it was not said to be durable */
    uint16_t claim_sync;        /* the number in it */
    struct gap_evidence hidden; /* within the payload that it claims */
};

struct recovered_topic {
    uint64_t id;
    char *name; /* NUL-terminated */
    char *retention;
    uint64_t created_ns;

    /* Chunks first_chunk .. of the tail without a gap; the tail's own may be missing, or there and
     * not used yet. */
    struct recovered_chunk *chunks;
    uint32_t chunks_count;
    uint32_t chunks_max; /* allocated */

    uint64_t first_chunk;
    struct record_place first;
    struct record_place tail;
    struct record_place durable; /* the highest one recorded; tail is durable too by now */
    uint64_t last_time_ns;       /* no entry is newer; 0: none was seen */

    bool cursor_exists; /* of the group "default" */
    struct record_place cursor;

    bool changed; /* a VERDICT is due: {tail, durable = tail, void_from, salt_floor = new salt} */
    uint64_t void_from;

    /* While recovery runs. */
    uint64_t as_of; /* records below this position of the system topic are in the snapshot's */
    bool created;   /* its TOPIC_CREATE was seen */
    bool deleted;
    struct salt_floor *floors;
    uint32_t floors_count;
    uint32_t floors_max;
    struct recovered_gap gap;
};

struct recovery {
    struct recovered_topic *topics;
    uint32_t topics_count;
    uint32_t topics_max;

    /* The system topic: chunks from the one of superblock.replay to the tail's. */
    struct recovered_topic system;
    /* What the header of its last chunk names as successor; SLOT_NONE: that chunk has no header yet. */
    uint32_t system_next_slot;
    uint64_t system_next_generation;

    /* The chunks of the snapshot that the superblock names. */
    struct recovered_topic snapshot;

    /* The number of the first sync of this start, low bits: that of the last one found, once more.
     * Torn ends that a verdict is still to settle were in flight with it, and stay so until the sync
     * of the verdicts has succeeded. */
    uint16_t first_sync;
    uint64_t next_generation;
    uint64_t next_topic_id;
    uint64_t age_ns; /* the highest stamp of the age clock */

    /* While recovery runs. */
    uint32_t *buckets; /* topics by id: index + 1 */
    uint32_t buckets_count;
    bool synced;        /* frames were seen */
    uint16_t last_sync; /* the highest number in them */
};

/*
 * Recovers a loaded store whose segments are open; makes the system topic of a new one. On success
 * superblock is as it is to be written: system_tail, system_salt_floor and salt_reserved are new.
 * -EBADMSG: damaged; -EPROTO: a newer version's; or an error of the I/O.
 */
int recovery_run(struct recovery *recovery, const struct store_dir *store,
                 struct segment_set *segments, struct superblock *superblock, struct fault *fault);

void recovery_free(struct recovery *recovery);

#endif
