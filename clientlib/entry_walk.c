/* Entry walk: see entry_walk.h. */
#include "clientlib/entry_walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clientlib/entry_locate.h"

enum {
    /* A place that was taken back is entered again so often within one call. */
    REENTER_ATTEMPTS = 3,
    CACHE_LINE_BYTES = 64,
    /* How far ahead of the frame that is looked at memory is asked for. */
    PREFETCH_BYTES = 4096,
};

/* A frame of the current image: its header, read once, and where its payload lies. */
struct walk_frame {
    struct frame_header header;
    const unsigned char *payload;
};

void walk_init(struct entry_walk *walk, const struct tusk_topic *topic)
{
    *walk = (struct entry_walk){.view = {.topic = topic}};
}

static void blocks_free(struct walk_block *block)
{
    while (block != NULL) {
        struct walk_block *next = block->next;
        free(block);
        block = next;
    }
}

void walk_deinit(struct entry_walk *walk, struct client_lane *lane)
{
    chunk_view_release(&walk->view, lane);
    blocks_free(walk->blocks);
    walk->blocks = NULL;
}

void walk_to_position(struct entry_walk *walk, uint64_t seq, uint64_t position)
{
    walk->seq = seq;
    walk->position = position;
    walk->located = true;
    walk->time_unresolved = false;
    walk->time_filter = false;
}

void walk_to_seq(struct entry_walk *walk, uint64_t seq)
{
    walk_to_position(walk, seq, 0);
    walk->located = false;
}

void walk_to_time(struct entry_walk *walk, uint64_t time_ns)
{
    walk_to_seq(walk, 0);
    walk->time_unresolved = true;
    walk->time_filter = true;
    walk->time_ns = time_ns;
}

int walk_call_begin(struct entry_walk *walk, struct client_lane *lane)
{
    struct chunk_view *view = &walk->view;
    const bool revoked = chunk_view_revoked(view);
    if (UNLIKELY(revoked)) {
        chunk_view_release(view, lane);
    } else if (__builtin_expect(view->count == 1 && view->image != NULL, 1)) {
        view->holds[0].used = false;
    } else if (view->count > 0) {
        chunk_view_trim(view, lane);
    }
    if (walk->blocks != NULL && !walk->block_spare) {
        blocks_free(walk->blocks->next);
        walk->blocks->next = NULL;
        walk->block_spare = true;
    }
    return revoked ? -ESTALE : 0;
}

void walk_release(struct entry_walk *walk, struct client_lane *lane)
{
    chunk_view_release(&walk->view, lane);
}

/* A block for an entry of so many bytes, valid until the next call; NULL: no memory. */
static struct walk_block *block_new(struct entry_walk *walk, size_t bytes)
{
    if (walk->block_spare) {
        if (walk->blocks->room >= bytes) {
            walk->block_spare = false;
            return walk->blocks;
        }
        blocks_free(walk->blocks);
        walk->blocks = NULL;
        walk->block_spare = false;
    }
    struct walk_block *block = malloc(sizeof *block + bytes);
    if (block != NULL) {
        block->room = bytes;
        block->next = walk->blocks;
        walk->blocks = block;
    }
    return block;
}

/* The current image says what can't be: it was taken back, or it is damaged. Then the way to this
 * place may have led through what was not the chunk's either. */
static int frame_refused(struct entry_walk *walk, struct client_lane *lane)
{
    if (chunk_view_intact(&walk->view)) {
        return -EBADMSG;
    }
    chunk_view_leave(&walk->view, lane);
    walk->located = false;
    return WALK_TAKEN_BACK;
}

/* The frame at the walk's position, entering chunks and passing PADs. 0, WALK_FULL,
 * WALK_TAKEN_BACK or an error. */
static int walk_frame(struct entry_walk *walk, struct client_lane *lane, struct expiry expiry,
                      struct walk_frame *frame)
{
    struct chunk_view *view = &walk->view;
    const uint64_t chunk_bytes = lane->tusk->directory->header.chunk_bytes;
    for (;;) {
        if (UNLIKELY(view->image == NULL || walk->position - view->start >= view->bytes)) {
            if (view->image != NULL && !chunk_view_intact(view)) {
                return frame_refused(walk, lane); /* what led here was not the chunk's */
            }
            const uint64_t chunk_no = chunk_number(walk->position, chunk_bytes);
            const int outcome = chunk_view_enter(view, lane, chunk_no, expiry);
            if (outcome != 0) {
                return outcome == CHUNK_VIEW_FULL ? WALK_FULL : outcome;
            }
        }
        const uint64_t offset = walk->position - view->start;
        const struct frame_header here = chunk_view_frame(view, offset);
        if (UNLIKELY(frame_bytes(here.size) > view->bytes - offset)) {
            return frame_refused(walk, lane);
        }
        if (__builtin_expect((here.flags & FRAME_PAD) == 0, 1)) {
            frame->header = here;
            frame->payload = view->image + offset + FRAME_HEADER_BYTES;
            return 0;
        }
        walk->position =
            frame_settle(walk->position + frame_bytes(here.size), view->chunk_no, chunk_bytes);
    }
}

/* Behind a frame with this payload. */
static void walk_pass(struct entry_walk *walk, const struct client_lane *lane, uint64_t size)
{
    walk->position = frame_settle(walk->position + frame_bytes(size), walk->view.chunk_no,
                                  lane->tusk->directory->header.chunk_bytes);
}

/* The first frame of the entry with the walk's seq. 0, or as walk_frame(), or -ENODATA. */
static int walk_first_frame(struct entry_walk *walk, struct client_lane *lane, struct expiry expiry,
                            struct walk_frame *frame)
{
    uint64_t backed_from = UINT64_MAX; /* chunk: each step back goes further back */
    for (;;) {
        const int outcome = walk_frame(walk, lane, expiry, frame);
        if (UNLIKELY(outcome != 0)) {
            return outcome;
        }
        const struct frame_header *here = &frame->header;
        if (__builtin_expect(here->seq == walk->seq && (here->flags & FRAME_FIRST) != 0, 1)) {
            return 0;
        }
        if (here->seq == walk->seq && (here->flags & FRAME_DAMAGED) != 0) {
            return frame_refused(walk, lane);
        }
        const uint64_t chunk_no = walk->view.chunk_no;
        if (here->seq == walk->seq && chunk_no > 0 && chunk_no < backed_from) {
            /* Its beginning lies in an earlier chunk. */
            backed_from = chunk_no;
            walk->position =
                chunk_first_frame(chunk_no - 1, lane->tusk->directory->header.chunk_bytes);
        } else if (here->seq < walk->seq) {
            walk_pass(walk, lane, here->size);
        } else {
            return topic_first_seq(walk->view.topic->shm) > walk->seq ? -ENODATA
                                                                      : frame_refused(walk, lane);
        }
    }
}

/* Copies the fragments of an entry, whose first frame this is, into a block. 0, or as
 * walk_frame(). On success the walk stands behind the entry, whose last frame *frame is. */
static int walk_assemble(struct entry_walk *walk, struct client_lane *lane,
                         struct walk_frame *frame, uint64_t total, struct expiry expiry,
                         unsigned char **bytes)
{
    struct walk_block *block = block_new(walk, total);
    if (block == NULL) {
        return -ENOMEM;
    }
    uint64_t copied = 0;
    uint64_t skip = FRAGMENT_TOTAL_BYTES;
    for (;;) {
        const uint64_t size = frame->header.size;
        const bool last = (frame->header.flags & FRAME_LAST) != 0;
        if (size < skip || size - skip > total - copied) {
            return frame_refused(walk, lane);
        }
        memcpy(block->bytes + copied, frame->payload + skip, size - skip);
        copied += size - skip;
        skip = 0;
        if (!chunk_view_intact(&walk->view) || (last && copied != total)) {
            return frame_refused(walk, lane);
        }
        walk_pass(walk, lane, size);
        if (last) {
            break;
        }
        const int outcome = walk_frame(walk, lane, expiry, frame);
        if (outcome != 0) {
            return outcome;
        }
        if (frame->header.seq != walk->seq || (frame->header.flags & FRAME_FIRST) != 0) {
            return frame_refused(walk, lane);
        }
    }
    *bytes = block->bytes;
    return 0;
}

/* Copies an entry that lies in one piece, since its chunk can't be held. 0 or -ENOMEM. */
static int walk_copy(struct entry_walk *walk, struct tusk_entry *entry)
{
    struct walk_block *block = block_new(walk, entry->size);
    if (block == NULL) {
        return -ENOMEM;
    }
    memcpy(block->bytes, entry->data, entry->size);
    entry->data = block->bytes;
    return 0;
}

/* An entry that lies in one frame, in place. As walk_give(). */
static int walk_give_whole(struct entry_walk *walk, struct client_lane *lane,
                           const struct walk_frame *frame, size_t size_max,
                           struct tusk_entry *entry)
{
    const uint64_t size = frame->header.size;
    if (size > size_max) {
        return WALK_OVER;
    }
    *entry = (struct tusk_entry){
        .data = frame->payload,
        .size = size,
        .seq = walk->seq,
        .time_ns = frame->header.time_ns,
        .deliveries = walk->deliveries,
    };
    if (UNLIKELY(walk->view.transient)) {
        const int error = walk_copy(walk, entry);
        if (error != 0) {
            return error;
        }
    }
    if (UNLIKELY(!chunk_view_intact(&walk->view))) {
        return frame_refused(walk, lane); /* a place of the same seq in another topic's chunk */
    }
    chunk_view_hold(&walk->view)->used = !walk->view.transient;
    walk_pass(walk, lane, size);
    walk->seq++;
    return WALK_ENTRY;
}

/* An entry of several fragments, put together. As walk_give(). */
static int walk_give_parts(struct entry_walk *walk, struct client_lane *lane,
                           struct walk_frame *frame, size_t size_max, struct tusk_entry *entry,
                           struct expiry expiry)
{
    if (frame->header.size < FRAGMENT_TOTAL_BYTES) {
        return frame_refused(walk, lane);
    }
    const uint64_t total = *(const volatile uint64_t *)(const void *)frame->payload; /* once */
    if (total > ENTRY_BYTES_MAX) {
        return frame_refused(walk, lane);
    }
    if (total > size_max) {
        return WALK_OVER;
    }
    const uint64_t position = walk->position;
    const uint64_t time_ns = frame->header.time_ns;
    unsigned char *bytes = NULL;
    const int outcome = walk_assemble(walk, lane, frame, total, expiry, &bytes);
    if (outcome != 0) {
        walk->position = position;
        return outcome;
    }
    *entry = (struct tusk_entry){.data = bytes,
                                 .size = total,
                                 .seq = walk->seq,
                                 .time_ns = time_ns,
                                 .deliveries = walk->deliveries};
    walk->seq++;
    return WALK_ENTRY;
}

/* Fills *entry from its first frame. WALK_ENTRY, WALK_OVER, or as walk_frame(). */
static inline int walk_give(struct entry_walk *walk, struct client_lane *lane,
                            struct walk_frame *frame, size_t size_max, struct tusk_entry *entry,
                            struct expiry expiry)
{
    if (__builtin_expect((frame->header.flags & FRAME_LAST) != 0, 1)) {
        return walk_give_whole(walk, lane, frame, size_max, entry);
    }
    return walk_give_parts(walk, lane, frame, size_max, entry, expiry);
}

static int walk_try(struct entry_walk *walk, struct client_lane *lane, uint64_t visible,
                    size_t size_max, struct tusk_entry *entry, struct expiry expiry)
{
    if (UNLIKELY(walk->time_unresolved)) {
        const int error = walk_locate_time(walk, lane, expiry);
        if (error != 0) {
            return error;
        }
    }
    while (walk->seq < visible) {
        if (UNLIKELY(!walk->located)) {
            const int error = walk_locate_seq(walk, lane, expiry);
            if (error != 0) {
                return error;
            }
        }
        struct walk_frame frame;
        const int outcome = walk_first_frame(walk, lane, expiry, &frame);
        if (UNLIKELY(outcome != 0)) {
            return outcome;
        }
        if (UNLIKELY(walk->time_filter) && frame.header.time_ns < walk->time_ns) {
            walk->seq++;
            walk_pass(walk, lane, frame.header.size);
            continue;
        }
        walk->time_filter = false;
        return walk_give(walk, lane, &frame, size_max, entry, expiry);
    }
    return WALK_END;
}

int walk_next(struct entry_walk *walk, struct client_lane *lane, uint64_t visible, size_t size_max,
              struct tusk_entry *entry, struct expiry expiry)
{
    for (int attempt = 0; attempt < REENTER_ATTEMPTS; attempt++) {
        const int outcome = walk_try(walk, lane, visible, size_max, entry, expiry);
        if (__builtin_expect(outcome == WALK_ENTRY, 1)) {
            return outcome;
        }
        if (outcome == -EAGAIN) {
            return WALK_END;
        }
        if (outcome != WALK_TAKEN_BACK) {
            return outcome;
        }
    }
    return -ESTALE;
}

/* Can entries be given from the walk's place on without looking at anything but frames? */
static bool run_can_begin(const struct entry_walk *walk)
{
    const struct chunk_view *view = &walk->view;
    return view->image != NULL && !view->transient && walk->located && !walk->time_unresolved &&
           !walk->time_filter && walk->position - view->start < view->bytes;
}

/* Asks for the frame that begins PREFETCH_BYTES or more ahead if those that follow are as large as
 * this one, of `bytes` bytes: each frame says where the next one is, so the processor alone would
 * wait for one after the other. Nothing from `end` on is asked for: the engine writes behind the last
 * visible frame. */
static inline void frame_prefetch(const unsigned char *frame, uint64_t bytes,
                                  const unsigned char *end)
{
    uint64_t ahead = bytes;
    if (bytes < PREFETCH_BYTES) {
        ahead <<= __builtin_clzll(bytes) - __builtin_clzll(PREFETCH_BYTES);
    }
    if (ahead + 2 * CACHE_LINE_BYTES <= (uint64_t)(end - frame)) {
        __builtin_prefetch(frame + ahead);
        __builtin_prefetch(frame + ahead + CACHE_LINE_BYTES); /* small frames may skip a line */
    }
}

size_t walk_run(struct entry_walk *walk, const struct client_lane *lane, uint64_t visible,
                size_t *left, struct tusk_entry *entries, size_t max)
{
    enum { WHOLE = FRAME_FIRST | FRAME_LAST };
    struct chunk_view *view = &walk->view;
    if (walk->seq >= visible || !run_can_begin(walk)) {
        return 0;
    }
    const unsigned char *image = view->image;
    const uint64_t image_bytes = view->bytes;
    const uint64_t seq = walk->seq;
    const uint32_t deliveries = walk->deliveries;
    const uint64_t frames = visible - seq;
    const size_t limit = frames < max ? frames : max;
    uint64_t offset = walk->position - view->start;
    size_t room = *left;
    size_t count = 0;
    while (count < limit && image_bytes - offset >= FRAME_HEADER_BYTES) {
        const struct frame_header frame = frame_header_copy(image + offset);
        const uint64_t size = frame.size;
        const uint64_t bytes = frame_bytes(size);
        if ((frame.flags & (WHOLE | FRAME_PAD | FRAME_DAMAGED)) != WHOLE ||
            frame.seq != seq + count || size > room || bytes > image_bytes - offset) {
            break;
        }
        const uint64_t follow = (frames - count) * bytes;
        const uint64_t rest = image_bytes - offset;
        frame_prefetch(image + offset, bytes, image + offset + (follow < rest ? follow : rest));
        entries[count] = (struct tusk_entry){.data = image + offset + FRAME_HEADER_BYTES,
                                             .size = size,
                                             .seq = seq + count,
                                             .time_ns = frame.time_ns,
                                             .deliveries = deliveries};
        room -= size;
        offset += bytes;
        count++;
    }
    if (count == 0 || UNLIKELY(!chunk_view_intact(view))) {
        return 0; /* what was taken back is entered again by walk_next() */
    }
    chunk_view_hold(view)->used = true;
    walk->position = frame_settle(view->start + offset, view->chunk_no,
                                  lane->tusk->directory->header.chunk_bytes);
    walk->seq = seq + count;
    *left = room;
    return count;
}
