/*
 * Store stream: a stream that a test sends a piece at a time over a lane of the store stage.
 * Runs on:    the test's thread.
 * Not here:   COMMIT and ABORT (stage_ask()).
 */
#ifndef TUSK_TESTS_UNIT_STORE_STREAM_H
#define TUSK_TESTS_UNIT_STORE_STREAM_H

#include "tests/unit/store_stage.h"

struct stage_stream {
    struct stage_lane *lane;
    struct stage_topic topic;
    unsigned char *body;
    uint64_t bytes; /* of the body */
    uint64_t sent;
    uint64_t ask; /* of its OPEN */
};

/* Announces entries of these sizes, whose bytes follow from the stamps from `stamp` on (stage_fill()). The
 * struct is zero before its first stream; one stream after another may use it. */
void stage_stream_open(struct stage_stream *stream, struct stage_lane *lane,
                       struct stage_topic topic, const uint32_t *sizes, uint32_t count,
                       uint64_t stamp);

/* Sends the next bytes, at most so many; false: all are sent, or there is no room in the lane. */
bool stage_stream_send(struct stage_stream *stream, uint64_t bytes_max);

void stage_stream_free(struct stage_stream *stream);

#endif
