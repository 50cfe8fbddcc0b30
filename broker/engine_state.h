/*
 * Engine state: what the parts of an engine share: its thread and mail (engine.c), its pass
 * (engine_pass.c) and its stop (engine_stop.c).
 * Runs on:    the engine's thread, but for the start's answer, which its lock protects.
 */
#ifndef TUSK_BROKER_ENGINE_STATE_H
#define TUSK_BROKER_ENGINE_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker/engine.h"
#include "broker/io.h"
#include "broker/lane_set.h"
#include "broker/store.h"

enum engine_stage {
    ENGINE_SERVING,
    ENGINE_DRAINING, /* takes what the lanes had published when the stop came */
    ENGINE_SYNCING,  /* everything taken is being made durable */
    ENGINE_MARKING,  /* and then the marks that make the next start short */
    ENGINE_SETTLING, /* waits for operations in flight */
    ENGINE_ENDED,
};

struct engine {
    struct engine_setup setup;
    struct config config;
    pthread_t thread;
    struct mailbox mailbox;
    struct io *io;
    struct store store;
    struct lane_set lanes;
    struct io_watch mail_watch;
    bool mail_watched;
    struct mail stopped_mail;

    enum engine_stage stage;
    uint64_t stop_deadline_ns;
    uint64_t stop_sync;
    uint64_t idle_since_ns; /* 0: busy */
    uint32_t idle_passes;
    uint64_t tick_ns;
    uint64_t park_ns;
    uint64_t count_ns;
    bool short_told; /* directory.arena_short is set */

    /* The start's answer. */
    pthread_mutex_t lock;
    pthread_cond_t answered;
    bool answer_given;
    int answer;
    struct fault *fault;
    int result;
};

/* Reads the clocks that a pass goes by. */
void engine_clocks_read(struct engine *engine);

/* Takes the mail that waits; true: there was some. */
bool engine_mail_take(struct engine *engine);

/* One pass over everything there is to do, each part bounded; true: something was done. */
bool engine_pass(struct engine *engine);

/* A pass found nothing to do: pauses, yields or sleeps, as the strategy says. */
void engine_idle(struct engine *engine);

/* MAIL_STOP: from now on engine_stop_step() leads to ENGINE_ENDED. */
void engine_stop_begin(struct engine *engine);
void engine_stop_step(struct engine *engine);

#endif
