/*
 * Tail wait: how a reader or a cursor waits for the tail of a topic to pass a seq.
 * Runs on:    the thread that uses the reader, with its lane; `lane` and the list belong to the
 *             holder of the handle's lock, since a reader may move to another thread.
 * Invariants: linked to one lane at most; at most one WAIT_TAIL is pending for it, on that lane, and
 *             it stays pending across calls.
 */
#ifndef TUSK_CLIENTLIB_TAIL_WAIT_H
#define TUSK_CLIENTLIB_TAIL_WAIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "clientlib/client_lane.h"
#include "clientlib/entry_walk.h"
#include "clientlib/expiry.h"

struct tail_wait {
    struct entry_walk *walk; /* whose it is */
    bool durable_only;       /* for durable entries, whatever the schedule */
    bool hungry;             /* the last call answered 0 */
    uint64_t wanted;         /* the seq that is waited for */
    uint64_t lane_id;        /* of the lane that this thread linked it to; 0: none */
    struct lane_op *op;      /* the WAIT_TAIL on that lane, or NULL */
    uint64_t op_wanted;      /* what it waits for */

    struct client_lane *lane; /* NULL: not linked, or that lane's thread has exited */
    LIST_ENTRY(tail_wait) siblings;
};

/* Links it to the calling thread's lane. */
void tail_wait_attach(struct tail_wait *wait, struct client_lane *lane);

/* Ends it; lane is the calling thread's, or NULL. */
void tail_wait_detach(struct tail_wait *wait, struct client_lane *lane);

/* A lane goes. With the handle's lock held. */
void tail_wait_detach_all(struct client_lane *lane);

/* Entries below this seq are there for whoever waits: durable ones, or committed ones. */
uint64_t tail_wait_visible(const struct tail_wait *wait);

/* May a call that answered 0 succeed now? */
bool tail_wait_ready(const struct tail_wait *wait);

/* Has a WAIT_TAIL pending for `wanted`. 0, or as lane_op_submit(), or why the broker refused it. */
int tail_wait_submit(struct tail_wait *wait, struct client_lane *lane, struct expiry expiry);

#endif
