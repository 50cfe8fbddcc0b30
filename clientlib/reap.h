/*
 * Reap: handing completions of asynchronous appends out.
 * Runs on:    the lane's thread.
 * Invariants: in submission order; under the schedule `each` only what is durable, so the first that
 *             is not holds back those behind it until the same or the next group commit.
 */
#ifndef TUSK_CLIENTLIB_REAP_H
#define TUSK_CLIENTLIB_REAP_H

#include <stdbool.h>
#include <stdint.h>

#include "clientlib/client_lane.h"

/* Is there a completion that tusk_reap would hand out? */
bool reap_ready(struct client_lane *lane);

/* Is there one that only waits to be durable? */
bool reap_withheld(struct client_lane *lane);

/* Lets appends to a topic with no_wait pass again, once what has failed by -EAGAIN is known to the
 * caller. `index` is that of the failed append, or asyncs_tail for one that is not asynchronous. */
void lane_resume(struct client_lane *lane, uint64_t topic_word, uint64_t index);

/* The same for all topics with no_wait, after a flush that told of a -EAGAIN. */
void lane_resume_all(struct client_lane *lane);

#endif
