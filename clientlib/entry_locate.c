/* Entry locate: see entry_locate.h. */
#include "clientlib/entry_locate.h"

#include <errno.h>

static int outcome_of(int outcome)
{
    return outcome == CHUNK_VIEW_FULL ? WALK_FULL : outcome;
}

/* Does the entry with this seq begin in the current chunk, or behind it? */
static bool chunk_begins_at_or_before(const struct chunk_view *view, uint64_t seq)
{
    const uint64_t base_seq = chunk_view_base_seq(view);
    if (base_seq != seq) {
        return base_seq < seq;
    }
    return (chunk_view_frame(view, CHUNK_HEADER_BYTES).flags & (FRAME_FIRST | FRAME_PAD)) != 0;
}

/* Looks among the tail chunks that the topic's map names. 0, CHUNK_VIEW_ABSENT or as
 * chunk_view_enter(). */
static int tail_locate(struct entry_walk *walk, struct client_lane *lane)
{
    const uint64_t chunk_bytes = lane->tusk->directory->header.chunk_bytes;
    /* At least as new as the seq that made the entry visible: it was stored before [T1]. */
    const uint64_t tail = atom_load_relaxed(&walk->view.topic->shm->tail_position);
    uint64_t chunk_no = chunk_number(tail, chunk_bytes);
    for (int i = 0; i < CHUNK_MAP_ENTRIES; i++) {
        const uint64_t first_frame = chunk_first_frame(chunk_no, chunk_bytes);
        if (first_frame < tail) {
            const int outcome = chunk_view_enter_mapped(&walk->view, lane, chunk_no);
            if (outcome != 0) {
                return outcome;
            }
            if (chunk_begins_at_or_before(&walk->view, walk->seq)) {
                walk->position = first_frame;
                return 0;
            }
        }
        if (chunk_no == 0) {
            break;
        }
        chunk_no--;
    }
    return CHUNK_VIEW_ABSENT;
}

int walk_locate_seq(struct entry_walk *walk, struct client_lane *lane, struct expiry expiry)
{
    if (topic_first_seq(walk->view.topic->shm) > walk->seq) {
        return -ENODATA;
    }
    int outcome = tail_locate(walk, lane);
    if (outcome == CHUNK_VIEW_ABSENT) {
        outcome = chunk_view_find(&walk->view, lane, SUBMIT_BY_SEQ, walk->seq, expiry);
        if (outcome == 0) {
            walk->position = walk->view.start + CHUNK_HEADER_BYTES;
        }
    }
    walk->located = outcome == 0;
    return outcome_of(outcome);
}

/* The seq of the first entry that begins in the current chunk below `tail`, or behind it. */
static uint64_t chunk_first_seq(const struct chunk_view *view, uint64_t tail)
{
    uint64_t offset = CHUNK_HEADER_BYTES;
    while (offset + FRAME_HEADER_BYTES <= view->bytes && view->start + offset < tail) {
        const struct frame_header frame = chunk_view_frame(view, offset);
        if ((frame.flags & (FRAME_FIRST | FRAME_PAD)) == FRAME_FIRST) {
            return frame.seq;
        }
        offset += frame_bytes(frame.size);
    }
    return chunk_view_base_seq(view) + 1; /* it holds a part of that one alone */
}

int walk_locate_time(struct entry_walk *walk, struct client_lane *lane, struct expiry expiry)
{
    const struct topic_shm *topic = walk->view.topic->shm;
    /* What comes later than this is found by walking on. */
    const uint64_t next_seq = topic_published_seq(topic);
    const uint64_t tail = atom_load_relaxed(&topic->tail_position); /* at least as new [T1] */
    uint64_t seq = next_seq;
    if (next_seq > 0) {
        const int outcome =
            chunk_view_find(&walk->view, lane, SUBMIT_BY_TIME, walk->time_ns, expiry);
        if (outcome == 0) {
            seq = chunk_first_seq(&walk->view, tail);
            if (!chunk_view_intact(&walk->view)) {
                chunk_view_leave(&walk->view, lane);
                return WALK_TAKEN_BACK;
            }
        } else if (outcome != -EAGAIN) {
            return outcome_of(outcome);
        }
    }
    const uint64_t first_seq = topic_first_seq(topic);
    walk->seq = seq > first_seq ? seq : first_seq;
    walk->located = false;
    walk->time_unresolved = false;
    return 0;
}
