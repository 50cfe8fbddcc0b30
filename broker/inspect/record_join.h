/*
 * Record join: puts the records of the system topic together from its frames.
 * Runs on:    one thread.
 * Invariants: a record is given out only when all its fragments came, in order.
 * Trust:      frames are intact; what they say may be anything.
 */
#ifndef TUSK_BROKER_INSPECT_RECORD_JOIN_H
#define TUSK_BROKER_INSPECT_RECORD_JOIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/frame_scan.h"
#include "broker/record.h"

struct record_join {
    bool open; /* fragments are missing */
    size_t size;
    size_t skip; /* of the entry's stream: the total in front */
    uint8_t bytes[RECORD_BYTES_MAX];
};

enum record_join_outcome {
    RECORD_JOIN_MORE = 1, /* the frame was one of several, or none of a record */
};

/* The next frame. 0: *record is there, and valid until the next call; enum record_join_outcome;
 * -EBADMSG, -EPROTO: it is no record, or a newer version's. */
int record_join(struct record_join *join, const struct frame_view *frame, struct record *record);

#endif
