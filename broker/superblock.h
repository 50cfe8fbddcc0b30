/*
 * Superblock: the file STORE, which says what a store is and where its system topic begins.
 * Runs on:    reading and writing at once on the thread that opens the store; a superblock_writer on
 *             the engine's.
 * Invariants: the file holds two copies of one block. A write puts the new content into one copy, then
 *             into the other, each synced, beginning with the one that the last write began with
 *             second: at every moment one copy is whole, and after a write both are.
 * Trust:      the copies are checked against accidents; a copy that is whole is believed.
 * Not here:   where the file is (store_dir.h); what the system topic says (recovery.h).
 */
#ifndef TUSK_BROKER_SUPERBLOCK_H
#define TUSK_BROKER_SUPERBLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/io.h"
#include "broker/record.h"

struct fault;

enum {
    STORE_UUID_BYTES = 16,
    SUPERBLOCK_BYTES = BLOCK_BYTES,
    SUPERBLOCK_COPIES = 2,
    SUPERBLOCK_FILE_BYTES = SUPERBLOCK_BYTES * SUPERBLOCK_COPIES,
};

/* The layout of everything in a store's directory. */
#define STORE_LAYOUT_VERSION UINT32_C(1)

/* Numbers that must never be used twice are set aside durably before use, this many at a time: what
 * was set aside when the broker died is not used again. */
#define SALT_STRIDE UINT32_C(4096)
#define GENERATION_STRIDE (UINT64_C(1) << 20)

/* Where a snapshot lies. */
struct superblock_snapshot {
    uint64_t generation; /* of its first chunk; 0: there is none */
    uint32_t slot;       /* of its first chunk */
    uint32_t sync;       /* low bits of a sync that had succeeded when it was named */
    uint64_t end;        /* position in its own log behind its last record */
    uint64_t until;      /* position in the system topic: it may hold what is recorded below */
};

struct superblock {
    uint64_t sequence; /* of writes of the superblock */
    uint8_t uuid[STORE_UUID_BYTES];
    uint64_t chunk_bytes;
    uint64_t segment_bytes;

    /* The chunk of the system topic that holds replay.position. SLOT_NONE: the store was made but
     * never used, there is no system topic. */
    uint32_t system_slot;
    uint64_t system_generation;
    struct record_place replay;

    /* What the last recovery found of the system topic: its tail, and the salt below which no frame
     * from there on counts. */
    struct record_place system_tail;
    uint32_t system_salt_floor;

    /* Of the system topic up to replay, and of some of what follows: see snapshot.h. */
    struct superblock_snapshot snapshot;

    /* The system topic ends here, and so does every other topic where it is recorded to: the store
     * was closed in order and nothing was written since. 0: it was not. */
    uint64_t clean_position;

    uint32_t salt_reserved;       /* salts below it may have been used */
    uint64_t generation_reserved; /* generations below it may have been used */
    uint64_t topic_id_bound;      /* topic ids below it may have been used */
};

/* The block's bytes, and back: 0, -EBADMSG (no superblock or damaged), -EPROTO (newer). */
void superblock_encode(const struct superblock *superblock, uint8_t block[SUPERBLOCK_BYTES]);
int superblock_decode(struct superblock *superblock, const uint8_t block[SUPERBLOCK_BYTES]);

/* Reads the newest whole copy. name is the file's, for the words in fault. */
int superblock_read(struct io *io, struct io_file *file, const char *name,
                    struct superblock *superblock, struct fault *fault);

/* Raises the sequence and writes both copies durably; blocks. */
int superblock_write_now(struct io *io, struct io_file *file, const char *name,
                         struct superblock *superblock, struct fault *fault);

/* The same without blocking, one write at a time. A result other than 0 fences the store. */
struct superblock_writer {
    struct io *io;
    struct io_file *file;
    uint8_t *block;
    struct io_op op;
    unsigned copies_left; /* 0: idle */
    uint64_t sequence;
    void (*done)(void *context, int result);
    void *context;
};

int superblock_writer_init(struct superblock_writer *writer, struct io *io, struct io_file *file);
void superblock_writer_deinit(struct superblock_writer *writer);

static inline bool superblock_writer_busy(const struct superblock_writer *writer)
{
    return writer->copies_left != 0;
}

/* Raises the superblock's sequence, takes a copy and starts; the writer is idle. */
void superblock_write(struct superblock_writer *writer, struct superblock *superblock,
                      void (*done)(void *context, int result), void *context);

#endif
