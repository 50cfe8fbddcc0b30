/*
 * Store model: a small writer of a store's files, as plain as can be, and what must be found again.
 * It keeps the rules of the log (placement, group commit, sync numbers, verdicts) with code of its
 * own, on a memory disk, one operation at a time, so that a test can stop it anywhere.
 * Runs on:    the test's thread.
 * Invariants: what the model calls durable must be there after any crash; what it holds beyond that
 *             may be, as a prefix that ends where an entry or batch ends.
 */
#ifndef TUSK_TESTS_UNIT_STORE_MODEL_H
#define TUSK_TESTS_UNIT_STORE_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/fault.h"
#include "broker/memory_disk.h"
#include "broker/recovery.h"
#include "broker/segment.h"
#include "broker/store_dir.h"

#define MODEL_CHUNK UINT64_C(65536)
#define MODEL_SEGMENT (UINT64_C(16) * MODEL_CHUNK)
#define MODEL_DATA "/data"

enum {
    MODEL_TOPICS = 4, /* number 0 is the system topic */
    MODEL_CHUNKS_MAX = 64,
    MODEL_ENTRIES_MAX = 8192,
    MODEL_FLUSH_OPS_MAX = 256,
};

struct model_chunk {
    uint64_t chunk_no;
    uint64_t generation;
    uint32_t slot;
    uint8_t *image;
};

struct model_entry {
    uint32_t size;
    uint32_t stamp;  /* its bytes are made from it */
    uint64_t behind; /* position behind it, if an entry or batch ends there; else 0 */
};

struct model_topic {
    uint64_t id; /* 0 and not the system topic: does not exist */
    char name[16];
    struct model_chunk chunks[MODEL_CHUNKS_MAX];
    uint32_t chunks_count;
    uint32_t next_slot; /* system topic: the successor of the last chunk */
    uint64_t next_generation;
    uint64_t first_chunk;
    struct record_place first;
    struct record_place first_durable; /* of the last trim that is durable */
    struct record_place tail;
    struct record_place open; /* behind the frames of an open stream; else the tail */
    struct record_place captured;
    struct record_place durable;
    uint64_t written;
    bool cursor_exists;
    struct record_place cursor;
    struct record_place cursor_captured;
    struct record_place cursor_durable;
    bool create_captured;
    bool create_durable;
    bool delete_recorded;
    struct model_entry entries[MODEL_ENTRIES_MAX]; /* by seq */
};

struct model_free {
    uint32_t slot;
    bool small;
    uint64_t after; /* the sync that makes the trim durable */
};

struct model {
    struct memory_disk *disk;
    struct io *io;
    struct store_dir store;
    struct superblock superblock;
    struct segment_set segments;
    struct recovery recovery;
    struct fault fault;
    struct model_topic topics[MODEL_TOPICS];
    uint64_t random;
    uint32_t stamp;
    uint32_t salt;
    uint64_t next_generation;
    uint64_t next_topic_id;
    uint64_t time_ns;

    /* The flush. */
    uint64_t next_sync;
    bool flushing;
    bool syncing;
    uint32_t outstanding;
    struct io_op ops[MODEL_FLUSH_OPS_MAX];
    uint32_t ops_count;
    struct model_free frees[1024];
    uint32_t frees_count;
};

uint64_t model_random(struct model *model, uint64_t below);

struct model *model_new(uint64_t seed);

/* A model of the same store after a power loss now; model_start() it. The original goes on. */
struct model *model_power_loss(const struct model *model, uint64_t seed, enum memory_loss loss);

/* Starts the store on the disk: recovery's result, 0 when it is up. The model keeps what it knows from
 * before: after a success it has checked that all of it that must be there is, and holds what was
 * found. The verdicts are appended but not flushed. */
int model_start(struct model *model);

/* Until nothing is in flight. */
void model_settle(struct model *model);

void model_flush_begin(struct model *model);
/* All that was appended is durable. */
void model_flush(struct model *model);

/* Each makes its topic if it does not exist. number from 1. */
void model_append(struct model *model, unsigned number, uint32_t size);
void model_batch(struct model *model, unsigned number, uint32_t count, uint32_t size);
void model_cursor(struct model *model, unsigned number);
void model_mark(struct model *model, unsigned number);
void model_trim(struct model *model, unsigned number);
void model_delete(struct model *model, unsigned number);
/* A stream that is written to disk in part and then rolled back. */
void model_aborted_stream(struct model *model, unsigned number, uint32_t count, uint32_t size);

/* Puts any bytes, or any record, into the system topic. */
void model_raw_record(struct model *model, const void *bytes, uint32_t size);
void model_record(struct model *model, const struct record *record);

/* As a kill: what is in flight may or may not happen. Afterwards model_start(). */
void model_kill(struct model *model);
/* Everything durable, everything closed. */
void model_stop(struct model *model);
void model_free_all(struct model *model);

/* Recovery alone, on the disk as it is: its result is in model->recovery, everything is closed. Takes
 * a model_power_loss() of the model that is looked at with the functions below. */
int model_recover(struct model *model);

/* Of a running model: where a position of a topic lies on a disk, its own or a copy. */
uint8_t *model_disk_bytes(struct model *model, struct memory_disk *disk, unsigned number,
                          uint64_t position);
/* Where the frame that holds a position begins; the chunk's start, if it is in its header. */
uint64_t model_frame_start(struct model *model, unsigned number, uint64_t position);
/* Is the byte at a position of a topic covered by a checksum? */
bool model_covers(struct model *model, unsigned number, uint64_t position);
/* Is the chunk of a position intact on a disk, below `upto`? 0 or -EBADMSG. */
int model_verify(struct model *model, struct memory_disk *disk, unsigned number, uint64_t position,
                 uint64_t upto);

/* Between the model's two files, writing and checking. */
struct model_topic *model_system_of(struct model *model);
struct model_chunk *model_chunk_find(struct model_topic *topic, uint64_t chunk_no);
struct model_chunk *model_chunk_add(struct model_topic *topic, uint64_t chunk_no, uint32_t slot,
                                    uint64_t generation);
/* What an entry made from a stamp holds at byte i. */
uint8_t model_content(uint32_t stamp, uint64_t i);

#endif
