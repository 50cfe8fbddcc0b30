/*
 * Entry walk: a place in a topic's log, and the way from one entry to the next.
 * Runs on:    one thread at a time, with its lane.
 * Invariants: entries that were given stay valid until walk_call_begin() or walk_release(); when
 *             `located`, position is that of a frame at or before the entry with seq.
 * Trust:      frames of a pinned image have been checked by the broker; a place that was taken back
 *             (--pin-timeout) is noticed by what it says and entered again.
 * Not here:   waiting at the tail (tail_wait.h), who may read what (reader.c, cursor.c).
 */
#ifndef TUSK_CLIENTLIB_ENTRY_WALK_H
#define TUSK_CLIENTLIB_ENTRY_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clientlib/chunk_view.h"

/* What walk_next answers besides errors. */
enum walk_outcome {
    WALK_END = 0,   /* no entry is visible at the walk's seq yet */
    WALK_ENTRY = 1, /* *entry is filled */
    WALK_FULL = 2,  /* no further chunk can be held */
    WALK_OVER = 3,  /* the entry is larger than allowed; the walk stays before it */
};

/* Where an entry of several fragments was put together. */
struct walk_block {
    struct walk_block *next;
    size_t room;
    unsigned char bytes[];
};

struct entry_walk {
    struct chunk_view view;
    uint64_t seq; /* of the next entry */
    uint64_t position;
    bool located;
    bool time_unresolved; /* time_ns is still to be turned into a seq */
    bool time_filter;     /* entries committed before time_ns are passed over */
    uint64_t time_ns;
    uint32_t deliveries;       /* of all entries it gives; 0: nobody counts them */
    struct walk_block *blocks; /* in use; the first is kept for the next call */
    bool block_spare;          /* the first is not in use */
};

void walk_init(struct entry_walk *walk, const struct tusk_topic *topic);

/* Lets go of all chunks and frees the blocks; lane may be NULL. */
void walk_deinit(struct entry_walk *walk, struct client_lane *lane);

/* Elsewhere: at a seq; at the first entry committed at time_ns or later; at a seq whose position is
 * known. */
void walk_to_seq(struct entry_walk *walk, uint64_t seq);
void walk_to_time(struct entry_walk *walk, uint64_t time_ns);
void walk_to_position(struct entry_walk *walk, uint64_t seq, uint64_t position);

/* Entries given by earlier calls are not valid any more. 0; -ESTALE, once: the place of one has
 * been taken back (--pin-timeout) since it was given; the walk goes on behind it. */
int walk_call_begin(struct entry_walk *walk, struct client_lane *lane);

/* The call ends: what can't be held any longer is let go. */
static inline void walk_call_end(struct entry_walk *walk, struct client_lane *lane)
{
    if (UNLIKELY(walk->view.transient)) {
        chunk_view_release(&walk->view, lane);
    }
}

/* ... and the reader is going to sleep: nothing is held. */
void walk_release(struct entry_walk *walk, struct client_lane *lane);

/* The entry at the walk's seq, if that is below `visible` and the entry has at most size_max bytes.
 * enum walk_outcome, -ENODATA, -EBADMSG, -ESTALE, -ENOMEM, -ETIMEDOUT, -EBUSY. */
int walk_next(struct entry_walk *walk, struct client_lane *lane, uint64_t visible, size_t size_max,
              struct tusk_entry *entry, struct expiry expiry);

/* Up to `max` entries from the walk's seq on, below `visible`, that lie whole and one behind the
 * other in the current chunk and have at most *left bytes together, by which *left is lowered.
 * Whether the image was intact is asked once, behind all that was read of it. Their number; 0:
 * walk_next() tells what is there. */
size_t walk_run(struct entry_walk *walk, const struct client_lane *lane, uint64_t visible,
                size_t *left, struct tusk_entry *entries, size_t max);

/* How far readers of a topic may see. */
static inline uint64_t topic_visible_seq(const struct tusk_topic *topic, bool durable)
{
    return durable ? topic_durable_seq(topic->shm) : topic_published_seq(topic->shm);
}

#endif
