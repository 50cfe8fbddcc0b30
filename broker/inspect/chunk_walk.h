/*
 * Chunk walk: what every byte of one chunk's image is, and where frames are missing in it.
 * Runs on:    one thread; memory only.
 * Invariants: frames are believed as recovery believes them (frame_scan.h). A gap ends at the next
 *             intact frame that may follow, so that one rotten byte costs one frame. bytes_fn hears of
 *             each byte of the image once, in order.
 * Trust:      every byte of the image may be anything.
 */
#ifndef TUSK_BROKER_INSPECT_CHUNK_WALK_H
#define TUSK_BROKER_INSPECT_CHUNK_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/frame_scan.h"
#include "broker/inspect/account.h"

struct recovered_chunk;
struct recovered_topic;

/* Nothing intact in [position, end). Entries [seq, seq_end) are lost in it; seq_end may be unknown,
 * when nothing follows in the chunk: then they are those before what the next chunk begins with. */
struct chunk_gap {
    uint64_t position;
    uint64_t end;
    uint64_t seq;
    uint64_t seq_end;
    bool seq_end_known;
};

struct chunk_walk {
    uint64_t chunk_bytes;
    uint32_t salt_end;
    void (*bytes_fn)(void *context, enum byte_class what, uint64_t offset, uint64_t bytes);
    int (*frame_fn)(void *context, const struct frame_view *frame); /* negative: end */
    int (*gap_fn)(void *context, const struct chunk_gap *gap);      /* negative: end */
    void *context;                                                  /* any of them may be NULL */
};

/* What a walk found. */
struct chunk_walked {
    bool header_fits;
    uint64_t seq_first; /* of its first entry, or part of one */
    uint64_t seq_end;
    uint64_t position; /* behind the last intact frame */
    bool open;         /* the last entry goes on in the next chunk */
};

/*
 * Walks the image of a topic's chunk up to the topic's tail. 0 or what a function answered.
 */
int chunk_walk(const struct chunk_walk *walk, const struct recovered_topic *topic,
               const struct recovered_chunk *chunk, const void *image, struct chunk_walked *walked);

/* Are all bytes zero? */
bool bytes_zero(const void *bytes, uint64_t count);

#endif
