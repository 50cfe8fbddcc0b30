/*
 * Idle: how a thread waits for its lane: it spins, yields and sleeps as the handle's idle strategy
 * says, and notices wakeups, the end of its time and the broker's death.
 * Runs on:    the lane's thread.
 * Ordering:   [W3] of wake.h: `waiting`, then a full fence, then the second look.
 * Not here:   what is waited for: callers look, then take an idle_step(), then look again.
 */
#ifndef TUSK_CLIENTLIB_IDLE_H
#define TUSK_CLIENTLIB_IDLE_H

#include <stdbool.h>
#include <stdint.h>

#include "clientlib/client_lane.h"
#include "clientlib/expiry.h"

/* One wait; zeroed at its beginning. */
struct idle {
    uint32_t rounds;
    uint64_t since_ns; /* 0: the clock has not been looked at */
    bool disk;         /* a sync is waited for */
};

/* What ends a sleep. */
struct wake_on {
    uint64_t completions; /* the CQ's tail reaches this */
    bool room;            /* instead: anything that the engine publishes for the lane */
    bool interruptible;   /* tusk_wakeup() as well */
};

enum idle_answer { IDLE_LOOK = 0, IDLE_SLEEP = 1 };

/* One turn of waiting after a look that found nothing. 0: look again; -ETIMEDOUT, -EINTR, -ESTALE,
 * -ENOMEM. */
int idle_step(struct idle *idle, struct client_lane *lane, const struct wake_on *on,
              struct expiry expiry);

/* The part of it before sleeping: enum idle_answer, or an error as above. */
int idle_spin(struct idle *idle, struct client_lane *lane, bool interruptible,
              struct expiry expiry);

/* The part that sleeps: 0 or an error as above. */
int lane_sleep(struct client_lane *lane, const struct wake_on *on, struct expiry expiry);

/* Sets `waiting` and looks again: has what is waited for happened? Until lane_awake(). */
bool lane_sleep_begin(struct client_lane *lane, const struct wake_on *on);
void lane_awake(struct client_lane *lane);

/* Has tusk_wakeup() been called since this lane last answered -EINTR? Says so once. */
bool lane_wakeup_take(struct client_lane *lane);

/* The epoll descriptor of a lane; makes it at the first call. It or -ENOMEM. */
int lane_epoll_get(struct client_lane *lane);

/* Waits for room in the SQ. 0, or as idle_step(). */
int lane_room_await(struct client_lane *lane, uint64_t bytes, struct expiry expiry,
                    bool interruptible);

/* For calls that answer "nothing" without waiting: now and then looks whether the broker is there,
 * so that a loop of them ends. 0 or -ESTALE. */
int lane_nothing(struct client_lane *lane);

#endif
