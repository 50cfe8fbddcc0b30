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

#include <stdbool.h>
#include <stdint.h>

#include "broker/store.h"

struct unit {
    struct store *store;
    struct topic *topic;
    struct chunk *chunk;
    unsigned char *at;          /* where `position` lies in the arena */
    unsigned char *unsealed;    /* the first frame without its checksum; `at`: none */
    const unsigned char *asked; /* up to there the chunk's lines were asked for */
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
 * STORE_READY; STORE_WAIT: store.freed says when to try again; -EMSGSIZE: they need more
 * than half the arena at once, which a stream does not (stream.h); -ENOSPC or another -errno: refused.
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

/* Entries whose bytes come a piece at a time, for units that go on over many turns (stream.h). */

struct piece {
    uint64_t size; /* of the entry */
    uint64_t left; /* of its fragments' bytes, the open one included; 0: none was placed */
    /* The open frame. */
    uint64_t bytes;
    uint64_t filled;
    bool last; /* of its entry */
};

enum unit_piece {
    UNIT_PIECE_FRAME, /* a frame is open: fill `bytes` of it, then finish it */
    UNIT_PIECE_CHUNK, /* the chunk is used up: make the next one, unit_next_chunk(), begin again */
};

/* Opens the next frame of the entry. piece->size is set and all else 0 before its first one. */
enum unit_piece unit_piece_begin(struct unit *unit, struct piece *piece, uint16_t flags);
void unit_piece_fill(const struct unit *unit, struct piece *piece, const void *bytes,
                     uint64_t count);
/* Closes the open frame, which is filled. True: that was the entry, and the piece is as new. */
bool unit_piece_finish(struct unit *unit, struct piece *piece);

/* The BATCH_END of a stream; false: the chunk is used up, as above. */
bool unit_place_marker(struct unit *unit);

/* A unit goes on: its next frames carry this salt and these flags, and the number of the next sync. */
void unit_turn(struct unit *unit, uint32_t salt, uint16_t flags);

/* Computes the checksums of the frames that are in place and not sealed; unit_end() does so too. */
void unit_seal(struct unit *unit);

/* Goes to the start of the topic's next chunk, which unit_chunk_prepare() has made. */
void unit_next_chunk(struct unit *unit);

/* Makes a chunk behind the topic's end, or makes sure that it is in the arena, where it stays until
 * the next look at what can go. `seq`: it begins with no lower one. As unit_prepare(). */
int unit_chunk_prepare(struct store *store, struct topic *topic, uint64_t chunk_no, uint64_t seq);

/* Completes the frames; returns where the topic's tail will be. */
uint64_t unit_end(struct unit *unit);

/* After unit_end(): moves the topic's tail: readers see the entries. */
void unit_publish(struct unit *unit);

#endif
