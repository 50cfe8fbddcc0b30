/*
 * Cursor: reading by the topic's one shared cursor, for one lane.
 * Runs on:    the lane's thread; the lists belong to the holder of the handle's lock.
 * Invariants: entries are claimed from the broker before they are given; what has been claimed and
 *             not given yet (`granted`, or what a claim that outlived its call brings) is given by
 *             the next calls, so nothing claimed is lost while the thread lives, whatever ends a
 *             call early. The broker keeps a claim's chunks until its completion is reaped, so that
 *             is held back until they are pinned: consumed chunks may be trimmed at once.
 * Not here:   moving and persisting the cursor, which the engine does.
 */
#ifndef TUSK_CLIENTLIB_CURSOR_H
#define TUSK_CLIENTLIB_CURSOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "clientlib/entry_walk.h"
#include "clientlib/tail_wait.h"

struct topic_cursor {
    struct tusk_topic *topic;
    struct client_lane *lane;
    struct entry_walk walk; /* at the first entry that is granted, or at the cursor */
    uint64_t granted;
    struct lane_op *claim;   /* a checkpointed one that outlived its call, or NULL */
    struct lane_op *holding; /* a claim whose entries are being given, or NULL */
    struct tail_wait wait;
    LIST_ENTRY(topic_cursor) siblings; /* in topic.cursors */
};

/* Frees the lane's cursors: its thread exits. With the handle's lock held. */
void topic_cursors_leave(struct client_lane *lane);

/* Frees the topic's cursors; lane is the calling thread's, or NULL. The topic is being closed. */
void topic_cursors_close(struct tusk_topic *topic, struct client_lane *lane);

/* The same when all lanes go as well. */
void topic_cursors_free(struct tusk_topic *topic, struct client_lane *lane);

#endif
