/*
 * Fake engine: answers the control thread's mail as an engine must, and looks into nothing else.
 * Runs on:    fake_engine_run() on the test's thread; between engine_start() and engine_free(), which
 *             this module provides in place of broker/engine.h's, on a thread of its own. Stores,
 *             in place of broker/engine_store.h's, hold nothing.
 * Invariants: it holds the control thread to mail.h: a lane belongs to an attached client, nothing is
 *             attached or closed twice, nothing follows a client's end.
 * Not here:   submissions, stores.
 */
#ifndef TUSK_TESTS_UNIT_FAKE_ENGINE_H
#define TUSK_TESTS_UNIT_FAKE_ENGINE_H

#include "broker/engine.h"
#include "broker/engine_store.h"
#include "broker/lane.h"

enum { FAKE_MAIL_KINDS = MAIL_JOB_DONE + 1 };

struct fake_engine {
    struct mailbox mailbox;
    struct mailbox *control;
    unsigned taken[FAKE_MAIL_KINDS]; /* mail of each kind */
    struct list clients;             /* of struct client.clients: attached */
    unsigned lanes;                  /* attached */
    struct client *client;           /* attached last */
    struct lane *lane;               /* attached last */
    struct list stores;              /* of struct engine_store.stores: attached */
    bool stopped;
    int end_error; /* that fenced the store */
};

void fake_engine_init(struct fake_engine *engine, struct mailbox *control);
void fake_engine_deinit(struct fake_engine *engine);

/* Takes all mail and answers it. */
void fake_engine_run(struct fake_engine *engine);

/* What engines started from now on do. */
struct fake_script {
    int start_error; /* engine_start() fails with it */
    int open_error;  /* engine_store_open() fails with it */
    int end_error;   /* a store has been fenced by it when it is closed */
};
extern struct fake_script fake_script;

/* Makes the engine that was started last end by itself. */
void fake_engine_fail(void);

#endif
