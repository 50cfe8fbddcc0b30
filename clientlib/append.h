/*
 * Append: one submission and the wait for its end.
 * Runs on:    the lane's thread.
 * Invariants: once published it is appended once or fails; a wait that ends early says -ETIMEDOUT,
 *             never an error that means "not appended". So wakeups don't end it.
 */
#ifndef TUSK_CLIENTLIB_APPEND_H
#define TUSK_CLIENTLIB_APPEND_H

#include <stdint.h>

#include "clientlib/client_lane.h"
#include "clientlib/expiry.h"
#include "clientlib/topic.h"
#include "shm/submission.h"

struct append {
    struct tusk_topic *topic;
    enum submission_kind kind;
    unsigned flags; /* besides the topic's */
    uint64_t arg;
    uint64_t body_bytes;
    struct client_lane *lane;
    struct expiry expiry;
    struct lane_op *op;
};

/* Waits for room for the submission; the caller then fills the body in, which is returned. 0,
 * -EAGAIN (no room in time), -EBUSY, -EMSGSIZE, -EINTR, -ESTALE. */
int append_begin(struct append *append, void **body);

/* Publishes it and waits for its end. 0 with *seq unless that is NULL, or an error. */
int append_finish(struct append *append, uint64_t *seq);

/* The two halves of that. What could not be published is still the caller's: an error. *wait is the
 * wait for durability that goes with it under `each`, else NULL. */
int append_publish(struct append *append, struct lane_op **wait);
int append_settle(struct append *append, struct lane_op *wait, uint64_t *seq);

/* Takes the result of an append whose op is done: 0 with *seq, or an error. */
int append_result(struct append *append, uint64_t *seq);

#endif
