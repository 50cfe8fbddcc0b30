/*
 * Engine store: a store with its lanes, as an engine serves it among others.
 * Runs on:    engine_store_open() on any thread, one at a time; from MAIL_STORE_ATTACH to
 *             MAIL_STORE_CLOSED the struct is the engine's; then engine_store_free() on any thread.
 * Invariants: the stages go one way; a store that is fenced goes through them as well, without
 *             waiting for what cannot happen any more.
 * Trust:      the disk's bytes are recovery's affair.
 * Not here:   the pass over a store (engine_pass.c), its stop (engine_stop.c).
 */
#ifndef TUSK_BROKER_ENGINE_STORE_H
#define TUSK_BROKER_ENGINE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/config.h"
#include "broker/fault.h"
#include "broker/lane_set.h"
#include "broker/log.h"
#include "broker/mail.h"
#include "broker/store.h"
#include "shm/directory.h"
#include "shm/mapping.h"

struct engine;

enum engine_store_stage {
    STORE_SERVING,
    STORE_DRAINING, /* takes what the lanes had published when the stop came */
    STORE_SYNCING,  /* everything taken is being made durable */
    STORE_MARKING,  /* the marks that make the next start short are being recorded */
    STORE_SYNCING_MARKS,
    STORE_SETTLING, /* waits for operations in flight */
    STORE_ENDED,
};

struct engine_store_setup {
    const struct config *config; /* copied; data_dir is the store's own directory */
    struct log *log;
    struct directory_shm *directory; /* formatted; the engine is its writer from now on */
    struct mapping arena;
};

/* What a namespace may change while its store is served. */
struct engine_store_options {
    enum fsync_schedule fsync;
    uint64_t fsync_interval_ns;
    enum read_consistency consistency;
    uint64_t persist_every;
    struct retention_policy retention;
};

struct engine_store {
    struct config config;
    struct directory_shm *directory;
    struct mapping arena;
    struct store store;
    struct mail attach_mail;
    struct mail close_mail;
    struct mail set_mail;
    struct engine_store_options wanted; /* the engine's from MAIL_STORE_SET to its answer */
    void *owner;                        /* whoever had it made */

    /* Engine. */
    struct engine *engine;
    struct list_node stores; /* in engine.stores */
    struct lane_set lanes;
    struct mail closed_mail;
    struct mail set_done_mail;
    enum engine_store_stage stage;
    bool setting;      /* MAIL_STORE_SET waits for ... */
    uint64_t set_sync; /* ... this sync */
    uint64_t stop_deadline_ns;
    uint64_t stop_sync;
    uint64_t tick_ns;
    uint64_t park_ns;
    uint64_t count_ns;
    bool short_told;        /* directory.arena_short is set */
    struct list_node awake; /* in engine.awake, unless it is quiet */

    int result; /* from MAIL_STORE_CLOSED on: 0, or the errno that fenced it */
};

/* Locks, recovers and opens the store, by an I/O object of its own, which is closed again: *store
 * is to be mailed to an engine, or freed. 0 or -errno with words. */
int engine_store_open(struct engine_store **store, const struct engine_store_setup *setup,
                      struct fault *fault);

/* Of one that no engine has, which is closed then, or has any more. NULL is fine. */
void engine_store_free(struct engine_store *store);

static inline struct engine_store_options engine_store_options_of(const struct config *config)
{
    return (struct engine_store_options){
        .fsync = config->fsync,
        .fsync_interval_ns = config->fsync_interval_ns,
        .consistency = config->consistency,
        .persist_every = config->persist_every,
        .retention = config->retention,
    };
}

/* The config goes by these from now on. */
static inline void engine_store_options_take(struct config *config,
                                             const struct engine_store_options *options)
{
    config->fsync = options->fsync;
    config->fsync_interval_ns = options->fsync_interval_ns;
    config->consistency = options->consistency;
    config->persist_every = options->persist_every;
    config->retention = options->retention;
}

#endif
