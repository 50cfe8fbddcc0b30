/*
 * Frame scan: walks the frames of a topic's log in chunk images, and says where it stops being one.
 * Runs on:    the engine's thread, or the one that opens the store; memory only.
 * Invariants: a frame is believed only when header, checksum, seq, salt and its place in its entry and
 *             batch all fit. `whole` is behind the last entry and batch that are complete: what
 *             lies between it and `position` belongs to one that is not.
 * Trust:      every byte of an image comes from a disk. An image is as large as its chunk, so no size
 *             in it that passed the checks leads out of it.
 * Not here:   reading images; torn or corrupt (recovery.h).
 */
#ifndef TUSK_BROKER_FRAME_SCAN_H
#define TUSK_BROKER_FRAME_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/record.h"
#include "shm/frame.h"

/* From `position` on, frames with a lower salt don't count. */
struct salt_floor {
    uint64_t position;
    uint32_t salt;
};

/* Where a chunk image comes from. */
struct frame_chunk {
    uint64_t topic_id;
    uint64_t chunk_no;
    uint64_t generation;
};

struct frame_view {
    struct frame_header header; /* a copy */
    const uint8_t *payload;     /* in the image */
    uint64_t position;
};

enum frame_step {
    FRAME_STEP_FRAME,   /* the view holds the next frame; PADs are walked over */
    FRAME_STEP_END,     /* the chunk is used up: frame_scan_chunk() with the next one */
    FRAME_STEP_INVALID, /* no frame begins at `position` */
};

struct frame_scan {
    uint64_t chunk_bytes;            /* C */
    const struct salt_floor *floors; /* rising positions and salts */
    uint32_t floors_count;
    uint32_t salt;     /* of the frame before: salts never fall */
    uint32_t salt_end; /* no salt that high was ever used */

    const uint8_t *image;
    uint64_t chunk_no;
    uint64_t start; /* position of the image */
    uint64_t end;
    uint32_t seed;

    uint64_t position; /* of the next frame */
    uint64_t seq;      /* that it must have */
    struct record_place whole;

    /* The entry or batch that is not complete. */
    bool joining;  /* the frames before are not known: any state will do */
    bool in_entry; /* fragments are missing */
    bool in_batch;
    bool in_stream;      /* the batch is a stream */
    uint64_t entry_left; /* bytes of the entry's stream; ENTRY_LEFT_UNKNOWN after joining */
};

/* Begins behind a whole entry. floors may be NULL with a count of 0. Salts are not bounded above
 * until salt_end is set. */
void frame_scan_init(struct frame_scan *scan, uint64_t chunk_bytes, struct record_place from,
                     const struct salt_floor *floors, uint32_t floors_count);

/* Begins at the start of a chunk, where an entry or batch of the chunk before may go on. */
void frame_scan_join(struct frame_scan *scan, uint64_t chunk_bytes, uint64_t chunk_no,
                     uint64_t base_seq);

/* The image of the chunk that holds `position`. */
void frame_scan_chunk(struct frame_scan *scan, const struct frame_chunk *chunk, const void *image);

enum frame_step frame_scan_next(struct frame_scan *scan, struct frame_view *view);

/* Is an entry or batch open? */
static inline bool frame_scan_open(const struct frame_scan *scan)
{
    return scan->in_entry || scan->in_batch;
}

/*
 * After FRAME_STEP_INVALID, or in a later chunk: the next place in the current image, in [from, upto)
 * (positions), with an intact frame that the floors and salts don't rule out and whose seq is not
 * below scan->seq. False: there is none.
 */
bool frame_scan_search(const struct frame_scan *scan, uint64_t from, uint64_t upto,
                       struct frame_view *view);

/* After FRAME_STEP_INVALID: do the bytes at `position` look like the header of the frame expected
 * there, though it is not intact? Then the view holds it; its payload is not to be believed. */
bool frame_scan_claim(const struct frame_scan *scan, struct frame_view *view);

/* Where to search from after FRAME_STEP_INVALID: `position`, if an intact frame in the wrong place
 * lies there; else behind the payload of a claim, if there is one, so that what a client wrote as
 * payload is not taken for frames. */
uint64_t frame_scan_gap_end(const struct frame_scan *scan);

/* Is the chunk's header intact and this chunk's? */
bool frame_chunk_header_fits(const struct frame_chunk *chunk, const void *image);

/* What frame_verify_step() answers besides -EBADMSG. */
enum frame_verify { FRAME_VERIFY_DONE = 0, FRAME_VERIFY_MORE = 1 };

/* Begins to look whether an image is as it was written. 0, or -EBADMSG: its header is not. */
int frame_verify_begin(struct frame_scan *scan, const void *image, uint64_t chunk_bytes,
                       const struct frame_chunk *chunk);

/* Goes on over about so many bytes of frames. FRAME_VERIFY_DONE: all below `upto`, a position in the
 * chunk or its end, are intact; FRAME_VERIFY_MORE; or -EBADMSG. */
int frame_verify_step(struct frame_scan *scan, uint64_t upto, uint64_t bytes);

/* Both at once: 0 or -EBADMSG. */
int frame_scan_verify(const void *image, uint64_t chunk_bytes, uint64_t topic_id, uint64_t chunk_no,
                      uint64_t generation, uint64_t upto);

#endif
