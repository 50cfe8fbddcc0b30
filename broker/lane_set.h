/*
 * Lane set: the lanes of an engine by state, their rounds, their parking, and what their clients hear
 * at the end of a pass. Who fills a lane hears of room within a turn as well (submit.h), but who
 * sleeps is woken here alone.
 * Runs on:    the engine.
 * Invariants: a lane is in the list of its state: active lanes are polled, parked ones wake by their
 *             socket, blocked ones when store.freed is set, waiting ones when store.stream_ended is;
 *             sq_head is published before a lane parks or blocks.
 * Ordering:   [W1] lane_set_park(), [W4] lane_set_publish(); partners in the client (shm/wake.h).
 */
#ifndef TUSK_BROKER_LANE_SET_H
#define TUSK_BROKER_LANE_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/lane.h"
#include "broker/store.h"

struct lane_set {
    struct store *store;
    struct io *io;
    bool membarrier;
    struct list active;     /* of struct lane.queue */
    struct list parked;     /* the same */
    struct list blocked;    /* the same */
    struct list waiting;    /* the same */
    struct list closed;     /* the same: hostile ones and those whose watch is going */
    struct list clients;    /* of struct client.clients */
    struct list_node round; /* in active: what follows has not had its turn in this round */
    uint32_t count;         /* of lanes attached */
    bool woke;              /* a client, since the engine last cleared it */

    void (*client_hostile)(struct lane_set *set, struct client *client);
    void (*lane_closed)(struct lane_set *set, struct lane *lane);
    void *context;
};

void lane_set_init(struct lane_set *set, struct store *store, struct io *io);

void lane_set_attach_client(struct lane_set *set, struct client *client);
void lane_set_attach(struct lane_set *set, struct lane *lane);

/* Takes what the lane has published, then lets go of it: lane_closed() follows. */
void lane_set_close(struct lane_set *set, struct lane *lane);

/* The client is not listened to any more, because of `what` it did; its session is closed. */
void lane_set_expel(struct lane_set *set, struct client *client, const char *what);

/* One round over the active lanes, each up to a quantum; returns whether anything was taken. */
bool lane_set_take(struct lane_set *set);

/* Blocked lanes look again at what they wait for. */
void lane_set_unblock(struct lane_set *set);

/* Lanes that wait for a topic's tail look again whether it is theirs. */
void lane_set_stream_ended(struct lane_set *set);

/* Publishes what the pass has done to the clients concerned and wakes those who wait for it. */
void lane_set_publish(struct lane_set *set);

/* Lets go of the chunks whose completions clients have reaped, for lanes that have no turn in which
 * they would: those that are parked or wait for a stream. */
void lane_set_release_fetched(struct lane_set *set);

/* Parks active lanes that have been empty for idle_ns. */
void lane_set_park(struct lane_set *set, uint64_t idle_ns);

/* A stop: every lane is looked at once more, up to what it has published by now. */
void lane_set_stop(struct lane_set *set);
bool lane_set_stopped(const struct lane_set *set);

/* After the last pass: forgets all lanes and clients, which stay the control thread's. */
void lane_set_abandon(struct lane_set *set);

#endif
