/*
 * Ledger: what a restarted broker needs to go on exactly where the killed one stopped. Shared
 * memory that only brokers map.
 * Runs on:    the engine that owns the lane's store.
 * Invariants: intent.valid is INTENT_NONE, INTENT_VALID (the unit's topic part may be missing) or
 *             INTENT_APPLIED (a restart has applied the topic part; the lane part is still due).
 * Ordering:   the steps of one unit. Each is a release store with a compiler fence before the next;
 *             the reader is the next broker, after this one's death, so program order is what
 *             counts, and both sides of a step stand in the writer:
 *   [J1] frames, and completions beyond the CQ's tail -> the intent's fields -> INTENT_VALID
 *   [J2] INTENT_VALID -> the topic's tail and seq in the directory
 *   [J3] the topic's tail and seq -> the ledger's head, or a redo's INTENT_APPLIED
 *   [J4] completions -> the ledger's CQ tail and head -> INTENT_NONE
 *   [J5] the ledger's record -> SQ head and CQ tail published to the client
 */
#ifndef TUSK_SHM_LEDGER_H
#define TUSK_SHM_LEDGER_H

#include <stdalign.h>
#include <stdint.h>

#include "shm/atom.h"
#include "shm/directory.h"
#include "shm/layout.h"

#define LEDGER_MAGIC UINT64_C(0x52474c204b535554) /* "TUSK LGR" */

/* What the position and seq of an intent are. */
enum intent_kind {
    INTENT_UNIT = 0,       /* the topic's, unless count is 0 */
    INTENT_STREAM = 1,     /* the private ones of the lane's stream, which begins or goes on */
    INTENT_STREAM_END = 2, /* as of a unit, and the lane has no stream any more */
};

enum intent_state { INTENT_NONE = 0, INTENT_VALID = 1, INTENT_APPLIED = 2 };

/* One unit of one lane, made final: a redo record. */
struct intent {
    uint64_t head;     /* the lane's SQ head after the unit */
    uint64_t cq_tail;  /* the lane's CQ tail after the unit */
    uint64_t position; /* the topic's tail after the unit */
    uint64_t first_seq;
    uint32_t topic; /* descriptor index */
    uint32_t count; /* entries: the topic's next seq is first_seq + count */
    int32_t error;  /* what every completion of the unit says, when not 0 */
    enum intent_kind kind;
    uint32_t salt; /* INTENT_STREAM: of all frames of the stream */
};

/* A lane's record: two cache lines, and two for a stream. */
struct lane_record_shm {
    alignas(WRITER_STRIDE) struct atom lane_id; /* 0: not in use */
    struct atom head;                           /* SQ bytes taken for good */
    struct atom cq_tail;                        /* completions posted for good */
    struct atom session_id;
    struct atom token; /* presented when the lane is handed back */
    struct atom pid;   /* of the client, with its start time: pins and death */
    struct atom start_time;
    struct atom reserved;

    struct atom intent_valid; /* enum intent_state */
    struct atom intent_head;
    struct atom intent_cq_tail;
    struct atom intent_position;
    struct atom intent_first_seq;
    struct atom intent_topic_count; /* topic | count << 32 */
    struct atom intent_error;       /* as 32 bits | salt << 32 */
    struct atom intent_kind;

    /* The stream that the lane has open: what it has placed behind the topic's tail. */
    struct atom stream_topic; /* (descriptor index + 1) | salt << 32; 0: none */
    struct atom stream_position;
    struct atom stream_seq;
    struct atom stream_reserved[13];
};
LAYOUT_SIZE(struct lane_record_shm, 256);
LAYOUT_AT(struct lane_record_shm, intent_valid, 64);
LAYOUT_AT(struct lane_record_shm, stream_topic, 128);

struct ledger_shm {
    uint64_t magic;
    uint64_t digest; /* layout_digest() */
    uint64_t bytes;  /* of the region */
    uint64_t lanes_max;
    uint64_t epoch; /* of the broker that made it */
    uint64_t reserved[11];
    /* lanes_max records follow */
};
LAYOUT_SIZE(struct ledger_shm, 128);

/* Bytes that a ledger of so many lanes takes. */
uint64_t ledger_bytes(uint64_t lanes_max);

/* Writes the header of a new ledger over zeroed memory. */
void ledger_format(struct ledger_shm *ledger, uint64_t lanes_max, uint64_t epoch);

/* Is this region, of which `bytes` are mapped, a ledger of this layout? 0 or -EPROTO. */
int ledger_check(const struct ledger_shm *ledger, uint64_t bytes);

static inline struct lane_record_shm *ledger_lane(struct ledger_shm *ledger, uint32_t index)
{
    return (struct lane_record_shm *)(void *)(ledger + 1) + index;
}

/* Step 2 of a unit, after its frames and completions are in place: the record is complete, then
 * valid. */
void intent_write(struct lane_record_shm *record, const struct intent *intent);

/* Step 3 of a unit of a stream: where it stands, or that the lane has none any more. */
void intent_publish_stream(struct lane_record_shm *record, const struct intent *intent);

/* Step 5 of a unit, after its topic is published: the lane's indices are the unit's, then the record
 * ends. */
void intent_finish(struct lane_record_shm *record, uint64_t head, uint64_t cq_tail);

/* Returns the record's state; where that is INTENT_VALID or INTENT_APPLIED, *intent is the unit's. */
enum intent_state intent_read(const struct lane_record_shm *record, struct intent *intent);

/*
 * What a restarted broker does first with every record: applies the topic's part of a valid intent,
 * once: tail = max(tail, the intent's), or what the lane's stream has become, and marks it
 * INTENT_APPLIED. Safe to repeat after a death at any step. The lane's part stays until the lane is
 * handed back.
 */
void intent_redo_topic(struct lane_record_shm *record, struct directory_shm *directory);

#endif
