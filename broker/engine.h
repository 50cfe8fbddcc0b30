/*
 * Engine: a broker thread with its own io_uring ring; it owns whole stores and shares nothing.
 * Runs on:    engine_start, engine_stop and engine_free on the thread that owns the broker; all
 *             else on the engine's own thread.
 */
#ifndef TUSK_BROKER_ENGINE_H
#define TUSK_BROKER_ENGINE_H

#include <stdbool.h>

#include "broker/config.h"
#include "broker/fault.h"
#include "broker/log.h"
#include "broker/mailbox.h"
#include "shm/directory.h"
#include "shm/ledger.h"
#include "shm/mapping.h"

struct engine;

struct engine_setup {
    const struct config *config;
    struct log *log;
    struct directory_shm *directory; /* formatted; the engine is its writer from now on */
    struct mapping arena;
    struct ledger_shm *ledger;
    struct mailbox *control; /* where the engine's mail goes */
};

/* Starts the thread, locks and recovers the store. Returns when it serves (0), or has ended (-errno,
 * with words in `fault`). The setup is copied; what it points to must outlive the engine. */
int engine_start(struct engine **engine, const struct engine_setup *setup, struct fault *fault);

/* Where to post mail for the engine. */
struct mailbox *engine_mailbox(struct engine *engine);

/* After MAIL_ENGINE_STOPPED: joins the thread, frees everything. 0, or the errno that fenced the
 * store or failed its last flush. */
int engine_free(struct engine *engine);

#endif
