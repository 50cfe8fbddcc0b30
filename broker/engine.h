/*
 * Engine: a broker thread with its own I/O object; it owns whole stores and shares nothing.
 * Runs on:    engine_start and engine_free on the thread that owns the broker; all else on the
 *             engine's own thread.
 * Invariants: its stores come and go by mail (mail.h); one that is fenced, full or closing does not
 *             stop the others.
 * Not here:   one store's lanes and stages (engine_store.h); opening a store from disk.
 */
#ifndef TUSK_BROKER_ENGINE_H
#define TUSK_BROKER_ENGINE_H

#include <stdint.h>

#include "broker/config.h"
#include "broker/fault.h"
#include "broker/log.h"
#include "broker/mailbox.h"

struct engine;

struct engine_setup {
    const struct config *config; /* copied */
    struct log *log;
    struct mailbox *control; /* where the engine's mail goes */
    uint32_t number;         /* among the broker's engines, for words */
};

/* Starts the thread and its I/O object, without a store. Returns when it takes mail (0), or has ended
 * (-errno, with words in `fault`). What the setup points to must outlive the engine. */
int engine_start(struct engine **engine, const struct engine_setup *setup, struct fault *fault);

/* Where to post mail for the engine. */
struct mailbox *engine_mailbox(struct engine *engine);

/* After MAIL_ENGINE_STOPPED: joins the thread, frees everything. */
void engine_free(struct engine *engine);

#endif
