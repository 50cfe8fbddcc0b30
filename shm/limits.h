/*
 * Limits: every bound that both sides know, with its unit and its reason.
 * Not here: limits of one side only (broker/config.h, clientlib).
 */
#ifndef TUSK_SHM_LIMITS_H
#define TUSK_SHM_LIMITS_H

#include <stdint.h>

enum {
    /* Distance between words with different writers: two cache lines, since the adjacent-line
     * prefetcher of x86-64 moves lines in pairs. Bytes. */
    WRITER_STRIDE = 128,

    /* Topic names: any bytes without NUL. The longest name in bytes. */
    TOPIC_NAME_BYTES_MAX = 255,
    NAMESPACE_KEY_BYTES_MAX = 1024,

    /* Alignment of frames in the log and of submissions in a lane's SQ. Bytes. */
    FRAME_ALIGNMENT = 16,
    SUBMISSION_ALIGNMENT = 16,
    /* Items of a batch in the SQ lie on this alignment. Bytes. */
    BATCH_ITEM_ALIGNMENT = 8,

    /* The first chunks of a topic are small, so that a small topic costs little: sixteen small
     * chunks make one chunk. */
    SMALL_CHUNKS = 16,

    /* What the disk transfers at once. Bytes. */
    BLOCK_BYTES = 4096,

    /* Tail chunks that a topic descriptor tells readers about. A power of two. */
    CHUNK_MAP_ENTRIES = 8,

    /* One unit of the append path, so that one lane cannot hold up the others. */
    UNIT_BYTES_MAX = 64 * 1024,
    UNIT_ENTRIES_MAX = 256,

    /* Pins of a session: one u64 each, two pages in all. */
    PINS_MAX = 1024,

    /* Handles of readers and consumers that a lane may have waits pending for, and all other
     * submissions in flight: the CQ's slots bound both. A power of two; 64 KiB, and as much again
     * for what the library notes of each, of the 512 KiB that a session may take. */
    CQ_SLOTS = 2048,

    /* The engine maps this part of a ring behind its end once more; clients, all of it. What a
     * process has mapped twice counts twice as its memory. */
    LANE_MIRROR_PART = 16,

    /* A control message. Bytes. */
    CONTROL_MESSAGE_BYTES_MAX = 4096,
};

/* SQ sizes that a client may ask for. Bytes. */
#define SQ_BYTES_MIN (UINT64_C(64) * 1024)
#define SQ_BYTES_DEFAULT (UINT64_C(256) * 1024)
#define SQ_BYTES_MAX (UINT64_C(64) * 1024 * 1024)
/* So much lies in one piece for the engine wherever in a ring it begins. */
#define SQ_PIECE_BYTES_MIN (SQ_BYTES_MIN / LANE_MIRROR_PART)

/* Chunk sizes. Bytes. */
#define CHUNK_BYTES_MIN (UINT64_C(64) * 1024)
#define CHUNK_BYTES_DEFAULT (UINT64_C(256) * 1024)
#define CHUNK_BYTES_MAX (UINT64_C(4) * 1024 * 1024)

/* Entries and batches: what is larger is -EMSGSIZE. */
#define ENTRY_BYTES_MAX (UINT64_C(1) << 30)
#define BATCH_BYTES_MAX (UINT64_C(16) << 30)
#define BATCH_ENTRIES_MAX (UINT64_C(1) << 20)

#endif
