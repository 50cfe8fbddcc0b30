/*
 * Refusal: topics to which a lane's submissions with no_wait are refused, once one of them was, until
 * the client has heard of it and says RESUME: so what is accepted keeps its order.
 * Runs on:    the engine.
 * Trust:      a client that never says RESUME keeps only its own submissions out; there is at most one
 *             refusal for each topic and lane.
 */
#ifndef TUSK_BROKER_REFUSAL_H
#define TUSK_BROKER_REFUSAL_H

#include <stdbool.h>

#include "broker/lane.h"
#include "shm/submission.h"

/* Does an earlier refusal stand against this submission, which has SUBMIT_NO_WAIT? */
bool refusal_stands(const struct lane *lane, const struct submission *submission);

/* Refuses those that follow. 0 or -ENOMEM. */
int refusal_begin(struct lane *lane, const struct submission *submission);

/* RESUME: they may pass again. */
void refusal_end(struct lane *lane, const struct submission *submission);

void refusals_free(struct lane *lane);

#endif
