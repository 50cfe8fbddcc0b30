/*
 * Unit: entries that become visible at once: frames behind a topic's tail, then one move of the tail.
 * Runs on:    the engine of the store.
 * Invariants: unit_prepare() has made every chunk that unit_place() will use, so that placing never
 *             fails and never assigns a slot; nothing is visible before unit_publish().
 * Trust:      payloads may change while they are copied (a client's lane): the checksum is computed
 *             over the bytes in the arena.
 * Ordering:   [T1] by topic_publish(); the redo record around it is the caller's (ledger.h).
 */
#ifndef TUSK_BROKER_UNIT_H
#define TUSK_BROKER_UNIT_H

#include <stdint.h>

#include "broker/store.h"

struct unit {
    struct store *store;
    struct topic *topic;
    struct chunk *chunk;
    unsigned char *at;       /* where `position` lies in the arena */
    unsigned char *unsealed; /* the first frame without its checksum; `at`: none */
    uint64_t position;
    uint64_t room; /* bytes from there to the end of the chunk */
    uint64_t seq;  /* of the next entry */
    uint64_t time_ns;
    uint64_t first_seq;
    uint64_t tail;      /* set by unit_end() */
    uint64_t sync_salt; /* of a header's last word, whose low 16 bits are the flags */
};

/*
 * Makes room for entries of these sizes behind the topic's tail.
 * STORE_READY; STORE_WAIT: store.freed says when to try again; -ENOSPC, -EMSGSIZE (more
 * chunks than half the arena, or an entry over more than CLAIM_CHUNKS_MAX) or another -errno: refused.
 */
int unit_prepare(struct store *store, struct topic *topic, const uint64_t *sizes, uint64_t count);

/* After a unit_prepare() that was STORE_READY, before anything else happens in the store. */
void unit_begin(struct unit *unit, struct store *store, struct topic *topic);

/* One entry that needs more than the current chunk, see unit_place(). */
void unit_place_split(struct unit *unit, const void *payload, uint64_t size, uint16_t flags);

/* One frame with all of an entry, where it fits. */
void unit_place_whole(struct unit *unit, const void *payload, uint64_t size, uint16_t flags);

static inline bool unit_fits(const struct unit *unit, uint64_t size)
{
    return frame_bytes(size) <= unit->room;
}

/* Copies an entry behind the unit's end. flags: FRAME_BATCH and FRAME_BATCH_END or 0. */
static inline void unit_place(struct unit *unit, const void *payload, uint64_t size, uint16_t flags)
{
    if (__builtin_expect(unit_fits(unit, size), 1)) {
        unit_place_whole(unit, payload, size, flags);
    } else {
        unit_place_split(unit, payload, size, flags);
    }
    unit->seq++;
}

/* Completes the frames; returns where the topic's tail will be. */
uint64_t unit_end(struct unit *unit);

/* After unit_end(): moves the topic's tail: readers see the entries. */
void unit_publish(struct unit *unit);

#endif
