/*
 * Stream, its state and its end: what stream.c fills, and how it is undone.
 * Runs on:    the engine of the store.
 * Invariants: once a frame of a stream may be on disk, undoing it records a verdict: nothing behind the
 *             topic's tail ever was, and no salt below a new one counts there. The topic takes no
 *             append until that is durable.
 * Not here:   when a stream is undone (stream.h).
 */
#ifndef TUSK_BROKER_STREAM_UNDO_H
#define TUSK_BROKER_STREAM_UNDO_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/list.h"
#include "broker/unit.h"
#include "shm/submission.h"

struct lane;

/* What comes next of its body. */
enum stream_phase {
    STREAM_SIZE = 0, /* an item's size */
    STREAM_PLACE,    /* nothing: the entry's next frame is to be opened */
    STREAM_FILL,     /* bytes of the open frame */
    STREAM_PADDING,  /* what aligns the next item */
};

enum stream_stage {
    STREAM_OPEN = 0,
    STREAM_RECORDING, /* undone: the verdict could not be written yet */
    STREAM_SYNCING,   /* ... is not durable yet */
};

struct stream {
    struct list_node streams; /* in store.streams */
    struct store *store;
    struct topic *topic;
    struct lane *lane; /* its owner; NULL: it is being undone */
    enum stream_stage stage;
    struct submission submission; /* that began it */
    bool whole;                   /* ... and is all of it */
    bool written;                 /* frames may be on disk */
    bool stalled;                 /* its last turn ended for want of room */
    uint32_t salt;
    struct unit unit; /* what is placed; its chunk is held */

    /* As announced. */
    uint64_t entries;
    uint64_t bytes;
    uint64_t entry_bytes_max;

    /* To come. */
    uint64_t entries_left;
    uint64_t bytes_left; /* of payloads */
    uint64_t body_left;  /* but for what is taken of the submission at the lane's head */
    uint64_t taken;      /* bytes of that */
    enum stream_phase phase;
    uint64_t size;       /* of an item, as far as it has come */
    uint32_t size_bytes; /* how far */
    uint64_t padding;
    struct piece piece;

    uint64_t progress_ns; /* when its owner last sent something */
    uint64_t sync;        /* STREAM_SYNCING: that makes the verdict durable */
};

/* Takes back what the stream has placed. Its lane has let go of it. It is freed in the end. */
void stream_undo(struct stream *stream);

/* Goes on with that. */
void stream_undo_step(struct stream *stream);

/* The topic's tail is free: whoever waits for that goes on. Frees the stream. */
void stream_end(struct stream *stream);

/* Frees what is left when the store is closed, also one whose open failed. */
void stream_free_all(struct store *store);

#endif
