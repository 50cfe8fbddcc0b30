/*
 * Marks: records of what is durable of each topic, and of cursors that moved since their last record,
 * so that the next start finds tails and cursors where they are.
 * Runs on:    the engine of the store.
 * Invariants: a topic is in `unmarked` or `due` when more of it is durable than its newest mark says.
 *             Each step is bounded.
 * Not here:   assignments and cursors' records, which carry the durable place too.
 */
#ifndef TUSK_BROKER_MARKS_H
#define TUSK_BROKER_MARKS_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/list.h"

struct store;
struct topic;

enum {
    /* Descriptors looked at, and records written, in one step. */
    MARKS_STEP_TOPICS = 4096,
    MARKS_STEP_RECORDS = 64,
};

struct marks {
    struct list unmarked; /* of struct topic.unmarked */
    struct list due;      /* of the same: to be recorded now */
    bool running;
    bool periodic;  /* the system topic gets one too */
    uint32_t index; /* of the descriptor whose cursor is looked at next */
};

void marks_init(struct marks *marks);

/* More of the topic is durable. */
void marks_note(struct store *store, struct topic *topic);

/* Begins to record all topics: before a clean stop, and every MARK_SYNCS syncs (`periodic`: the system
 * topic too, so that it has a frame of that time). */
void marks_begin(struct store *store, bool periodic);

/* Goes on with it. True: something was done. */
bool marks_step(struct store *store);

static inline bool marks_running(const struct marks *marks)
{
    return marks->running;
}

#endif
