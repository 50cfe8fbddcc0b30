/*
 * Frame: how entries lie in the log, in a chunk's image and in its slot alike.
 * A topic's log is cut into chunks: the first SMALL_CHUNKS have S = C / 16 bytes, later ones C.
 * A chunk begins with a chunk header; frames follow on 16-byte alignment. Little-endian.
 * Trust:    the broker alone writes images, but one that a client reads can be taken back under its
 *           eyes (--pin-timeout): it copies a header once, checks the copy and uses only that.
 * Not here: checksums (broker/checksum.h).
 */
#ifndef TUSK_SHM_FRAME_H
#define TUSK_SHM_FRAME_H

#include "shm/layout.h"

#define CHUNK_MAGIC UINT32_C(0x4b435554) /* "TUCK" */
#define CHUNK_FORMAT_VERSION UINT16_C(1)
#define SLOT_NONE UINT32_MAX

enum frame_flag {
    FRAME_FIRST = 1,     /* the first fragment of an entry, or all of it */
    FRAME_LAST = 2,      /* the last fragment of an entry, or all of it */
    FRAME_BATCH = 4,     /* belongs to a batch */
    FRAME_BATCH_END = 8, /* the last frame of its batch; of a stream a PAD without payload */
    FRAME_PAD = 16,      /* fills a chunk; carries the next seq without consuming it */
    FRAME_HEADERS = 32,  /* reserved */
    FRAME_DAMAGED = 64,  /* in the arena only: entries from seq on that cannot be read */
    FRAME_STREAM = 128,  /* of a stream: it was written before anybody knew which sync covers it, so
                          * its sync number says nothing; that of the BATCH_END does */
    FRAME_FLAGS_KNOWN =
        FRAME_FIRST | FRAME_LAST | FRAME_BATCH | FRAME_BATCH_END | FRAME_PAD | FRAME_STREAM,
};

struct frame_header {
    uint32_t size;     /* payload bytes of this frame; of a PAD: up to the end of the chunk */
    uint32_t checksum; /* CRC32C, see broker/checksum.h */
    uint64_t seq;
    uint64_t time_ns; /* since the epoch */
    uint16_t flags;   /* enum frame_flag */
    uint16_t sync;    /* low bits of the number of the sync that covers the frame */
    uint32_t salt;
};
LAYOUT_SIZE(struct frame_header, 32);
LAYOUT_AT(struct frame_header, seq, 8);
LAYOUT_AT(struct frame_header, flags, 24);

/*
 * The only read of a frame's header in an image that can be taken back and filled anew meanwhile: what
 * is checked and what is used is this copy.
 */
static inline struct frame_header frame_header_copy(const void *place)
{
    const volatile uint64_t *word = place;
    const uint64_t first = word[0];
    const uint64_t seq = word[1];
    const uint64_t time_ns = word[2];
    const uint64_t last = word[3];
    return (struct frame_header){
        .size = (uint32_t)first,
        .checksum = (uint32_t)(first >> 32),
        .seq = seq,
        .time_ns = time_ns,
        .flags = (uint16_t)last,
        .sync = (uint16_t)(last >> 16),
        .salt = (uint32_t)(last >> 32),
    };
}

struct chunk_header {
    uint32_t magic;
    uint16_t version;
    uint16_t flags; /* 0 */
    uint64_t topic_id;
    uint64_t chunk_no;
    uint64_t generation;
    uint64_t base_seq;        /* of the first unit that uses the chunk */
    uint64_t base_time_ns;    /* of the first unit that uses the chunk */
    uint64_t next_generation; /* system topic: of the successor's slot; others 0 */
    uint32_t next_slot;       /* system topic: the successor's slot; others SLOT_NONE */
    uint32_t checksum;        /* CRC32C over the header before it */
};
LAYOUT_SIZE(struct chunk_header, 64);
LAYOUT_AT(struct chunk_header, next_slot, 56);

enum {
    FRAME_HEADER_BYTES = 32,
    CHUNK_HEADER_BYTES = 64,
    /* In less room no fragment starts: a header and a little payload. */
    FRAGMENT_ROOM_MIN = 64,
    /* What precedes the payload of an entry of several fragments: its total size. */
    FRAGMENT_TOTAL_BYTES = 8,
};

/* Geometry. `chunk_bytes_full` is C, a power of two. */

static inline uint64_t small_chunk_bytes(uint64_t chunk_bytes_full)
{
    return chunk_bytes_full / SMALL_CHUNKS;
}

static inline uint64_t chunk_start(uint64_t chunk_no, uint64_t chunk_bytes_full)
{
    return chunk_no < SMALL_CHUNKS ? chunk_no * small_chunk_bytes(chunk_bytes_full)
                                   : (chunk_no - (SMALL_CHUNKS - 1)) * chunk_bytes_full;
}

static inline uint64_t chunk_number(uint64_t position, uint64_t chunk_bytes_full)
{
    return position < chunk_bytes_full ? position / small_chunk_bytes(chunk_bytes_full)
                                       : SMALL_CHUNKS - 1 + position / chunk_bytes_full;
}

static inline uint64_t chunk_size(uint64_t chunk_no, uint64_t chunk_bytes_full)
{
    return chunk_no < SMALL_CHUNKS ? small_chunk_bytes(chunk_bytes_full) : chunk_bytes_full;
}

/* Position of the first frame of a chunk. */
static inline uint64_t chunk_first_frame(uint64_t chunk_no, uint64_t chunk_bytes_full)
{
    return chunk_start(chunk_no, chunk_bytes_full) + CHUNK_HEADER_BYTES;
}

/* Bytes that a frame with this payload takes in the log. */
static inline uint64_t frame_bytes(uint64_t payload_bytes)
{
    return align_up(FRAME_HEADER_BYTES + payload_bytes, FRAME_ALIGNMENT);
}

/* Is an entry of this size cut at the end of a chunk of `bytes` bytes, rather than moved to the
 * next one behind a PAD? */
static inline bool frame_fragments(uint64_t payload_bytes, uint64_t bytes)
{
    return payload_bytes > bytes / 8;
}

/*
 * Where the next frame begins once everything before `position` in chunk `chunk_no` is used:
 * `position` itself, or the next chunk's first frame where no header fits any more.
 */
static inline uint64_t frame_settle(uint64_t position, uint64_t chunk_no, uint64_t chunk_bytes_full)
{
    const uint64_t end = chunk_start(chunk_no + 1, chunk_bytes_full);
    return end - position < FRAME_HEADER_BYTES ? end + CHUNK_HEADER_BYTES : position;
}

#endif
