/*
 * Submit: what a lane's client asks for, one submission after the other, in order.
 * Runs on:    the engine of the store.
 * Trust:      everything in the lane is the client's. A bad submission that can be attributed gets a
 *             completion with an error; one that cannot ends the session.
 */
#ifndef TUSK_BROKER_SUBMIT_H
#define TUSK_BROKER_SUBMIT_H

#include "broker/lane.h"
#include "broker/store.h"
#include "shm/submission.h"

enum submit_outcome {
    SUBMIT_TAKEN,   /* the lane's head has moved */
    SUBMIT_AGAIN,   /* a part of it was taken: the rest in the lane's next turn */
    SUBMIT_BLOCKED, /* it stays in the lane until store.freed */
    SUBMIT_WAITING, /* the same, until store.stream_ended */
    SUBMIT_HOSTILE, /* client->hostile says why */
};

/* Takes submissions of the lane up to `bytes_max` of its SQ. SUBMIT_TAKEN: the budget is used up or
 * the lane is empty (lane->head == *tail). Tells the client of each quarter of its ring that was
 * taken, and wakes nobody. */
enum submit_outcome submit_lane(struct store *store, struct lane *lane, uint64_t bytes_max,
                                uint64_t *tail);

/* Says what the client did that no honest one does; returns SUBMIT_HOSTILE. */
enum submit_outcome submit_hostile(struct lane *lane, const char *what);

/* The head has moved past a submission that is not part of a unit. */
void submit_advance(struct store *store, struct lane *lane, const struct submission *submission);

#endif
