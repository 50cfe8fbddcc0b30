/*
 * Engine state: what the parts of an engine share: its thread and mail (engine.c), its pass
 * (engine_pass.c) and the stops of its stores (engine_stop.c).
 * Runs on:    the engine's thread, but for the start's answer, which its lock protects.
 */
#ifndef TUSK_BROKER_ENGINE_STATE_H
#define TUSK_BROKER_ENGINE_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker/engine.h"
#include "broker/engine_store.h"
#include "broker/io.h"
#include "broker/list.h"

struct engine {
    struct engine_setup setup;
    enum idle_strategy idle;
    pthread_t thread;
    struct mailbox mailbox;
    struct io *io;
    struct list stores; /* of struct engine_store.stores */
    /* Passes and sleeps look at these alone: only what happens to the engine (mail, a socket, the
     * end of an operation) or the time ends a store's quiet. */
    struct list awake;      /* of struct engine_store.awake */
    uint64_t quiet_next_ns; /* the first time that one of the others wants a pass */
    bool stirred;           /* something happened: the others are looked at in the next pass */
    struct io_watch mail_watch;
    bool mail_watched;
    bool stopping; /* MAIL_STOP: ends with its last store */
    struct mail stopped_mail;

    uint64_t now_ns;        /* CLOCK_MONOTONIC, of this pass */
    uint64_t time_ns;       /* CLOCK_REALTIME */
    uint64_t idle_since_ns; /* 0: busy */
    uint32_t idle_passes;
    bool woke;             /* clients, in this pass */
    uint64_t hand_over_ns; /* the core is not handed over before this time */

    /* The start's answer. */
    pthread_mutex_t lock;
    pthread_cond_t answered;
    bool answer_given;
    int answer;
    struct fault *fault;
};

/* The store is to be stepped, also if nothing of it wants a pass. */
static inline void engine_store_wake(struct engine_store *store)
{
    store->store.now_ns = store->engine->now_ns;
    store->store.time_ns = store->engine->time_ns;
    if (!list_linked(&store->awake)) {
        list_push_back(&store->engine->awake, &store->awake);
    }
}

/* Takes the mail that waits; true: there was some. */
bool engine_mail_take(struct engine *engine);

/* One pass over everything there is to do, each part bounded; true: something was done. */
bool engine_pass(struct engine *engine);

/* A pass has done something: whoever it woke may want this core first. */
void engine_hand_over(struct engine *engine);

/* A pass found nothing to do: pauses, yields or sleeps, as the strategy says. */
void engine_idle(struct engine *engine);

/* MAIL_STORE_CLOSE: from now on engine_store_step() leads to STORE_ENDED. */
void engine_store_stop(struct engine_store *store);
void engine_store_step(struct engine_store *store);

#endif
