/*
 * Chunk view: the chunk images of one topic that a reader holds, and the one it looks at.
 * Runs on:    one thread at a time, with its lane.
 * Invariants: every hold has a pin word of its own; the current chunk, if any, is the last hold. A
 *             hold that no given entry lies in (`used`) goes when the view moves on.
 * Trust:      pinned images are the broker's and complete; one whose header doesn't fit was reused
 *             before the pin and is asked for again. A pin can be revoked (--pin-timeout), and the
 *             image filled anew while it is read, so no word of it is read twice.
 * Ordering:   after an unpin, arena_short is looked at as `parked` is after a publication [W2].
 * Not here:   frames (entry_walk.h).
 */
#ifndef TUSK_CLIENTLIB_CHUNK_VIEW_H
#define TUSK_CLIENTLIB_CHUNK_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "clientlib/client_lane.h"
#include "clientlib/expiry.h"
#include "clientlib/topic.h"
#include "shm/frame.h"
#include "shm/pins.h"

enum {
    /* Chunks that one handle's entries can lie in at once: bounds what one batch can pin. */
    CHUNK_HOLDS_MAX = 16,
};

/* What chunk_view_enter answers besides 0 and errors. */
enum chunk_view_outcome {
    CHUNK_VIEW_FULL = 1,   /* no hold is left */
    CHUNK_VIEW_ABSENT = 2, /* chunk_view_enter_mapped: not in the arena, as far as can be seen */
};

struct chunk_hold {
    struct atom *pin;
    const struct atom *stamp_word; /* of the unit, in the directory */
    uint64_t stamp;
    uint32_t unit;
    bool used; /* entries of the call that lasts lie in it */
};

struct chunk_view {
    const struct tusk_topic *topic;
    struct chunk_hold holds[CHUNK_HOLDS_MAX];
    uint32_t count;
    struct atom *spares[CHUNK_HOLDS_MAX]; /* pin words that pin nothing now */
    uint32_t spare_count;
    bool transient; /* the current hold ends with the call: entries in it are copied */

    const unsigned char *image; /* of the current chunk; NULL: there is none */
    uint64_t chunk_no;
    uint64_t start; /* positions */
    uint64_t bytes;
};

/* Makes a chunk current, fetching it if need be. 0, CHUNK_VIEW_FULL, or -ENODATA, -EBADMSG,
 * -EAGAIN (nothing there yet), -ESTALE, -ENOMEM, -ETIMEDOUT, -EBUSY. */
int chunk_view_enter(struct chunk_view *view, struct client_lane *lane, uint64_t chunk_no,
                     struct expiry expiry);

/* The same for a chunk that the topic's map names, without asking the broker: 0,
 * CHUNK_VIEW_ABSENT, CHUNK_VIEW_FULL or an error. */
int chunk_view_enter_mapped(struct chunk_view *view, struct client_lane *lane, uint64_t chunk_no);

/* Makes the chunk current in which to look for a seq or a time (SUBMIT_BY_SEQ, SUBMIT_BY_TIME). */
int chunk_view_find(struct chunk_view *view, struct client_lane *lane, unsigned by, uint64_t arg,
                    struct expiry expiry);

/* Sets pin words aside for so many chunks in all; *chunks: how many there are words for, at least 1.
 * 0 or as arena_open(). Kept until chunk_view_spares_give(). */
int chunk_view_reserve(struct chunk_view *view, uint32_t wanted, uint32_t *chunks);
void chunk_view_spares_give(struct chunk_view *view);

/* The current chunk is not looked at any more; it stays held if entries lie in it. */
void chunk_view_leave(struct chunk_view *view, struct client_lane *lane);

/* Lets go of all but the current chunk, in which no entry is valid any more either. */
void chunk_view_trim(struct chunk_view *view, struct client_lane *lane);

/* Lets go of everything; lane may be NULL. */
void chunk_view_release(struct chunk_view *view, struct client_lane *lane);

/* The base seq of the current chunk, read once: what is compared is what is used. */
static inline uint64_t chunk_view_base_seq(const struct chunk_view *view)
{
    return ((const volatile struct chunk_header *)(const void *)view->image)->base_seq;
}

/* The header of the frame at an offset of the current chunk. */
static inline struct frame_header chunk_view_frame(const struct chunk_view *view, uint64_t offset)
{
    return frame_header_copy(view->image + offset);
}

static inline struct chunk_hold *chunk_view_hold(struct chunk_view *view)
{
    return &view->holds[view->count - 1];
}

/* Has the current image been intact since it was pinned? What was read of it before was its own. */
static inline bool chunk_view_intact(struct chunk_view *view)
{
    const struct chunk_hold *hold = chunk_view_hold(view);
    fence_loads();
    return pin_intact(hold->stamp_word, hold->stamp);
}

/* Is one of the chunks in which entries were given taken back (--pin-timeout)? */
bool chunk_view_revoked(const struct chunk_view *view);

#endif
