/*
 * Namespace: a named, isolated set of topics: its key, its directory, its options, its one store with
 * its regions, and the engine that serves it.
 * Runs on:    the control thread; the blocking part of a job on a thread of the job's own, to which
 *             facts, config, regions and store belong from namespace_job_begin() until MAIL_JOB_DONE.
 *             Before the control thread starts, namespace_job_run() does it on the owner's thread.
 * Invariants: at most one job of a namespace runs at a time; all that changes the data directory is
 *             done while the broker holds LOCK of the namespace `default`, so no other broker does.
 * Trust:      files in the data directory are checked; a directory that is not the namespace's own is
 *             not touched.
 * Not here:   which namespaces there are, who waits for them (namespace_set.h).
 */
#ifndef TUSK_BROKER_NAMESPACE_H
#define TUSK_BROKER_NAMESPACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker/config.h"
#include "broker/counters.h"
#include "broker/engine_store.h"
#include "broker/fault.h"
#include "broker/lane_table.h"
#include "broker/list.h"
#include "broker/mail.h"
#include "broker/namespace_file.h"
#include "broker/namespace_name.h"
#include "broker/regions.h"

struct namespace_set;
struct namespace_engine;

#define NAMESPACE_DEFAULT "default"

enum namespace_state {
    NAMESPACE_CLOSED,  /* nobody has asked for it since the broker started */
    NAMESPACE_OPENING, /* a job */
    NAMESPACE_SERVING, /* an engine has the store */
};

enum namespace_job {
    NAMESPACE_JOB_NONE,
    NAMESPACE_JOB_OPEN, /* make what is missing on disk, make regions, recover the store */
};

struct namespace
{
    struct namespace_set *set;
    struct list_node namespaces; /* in namespace_set.all */
    struct namespace_name name;  /* of its directories */
    struct namespace_facts facts;
    bool on_disk;        /* it has a directory that says so */
    struct fault damage; /* error 0, or why it cannot be used */
    enum namespace_state state;

    /* While it is open. */
    struct config config;
    struct regions regions;
    struct engine_store *store;
    struct namespace_engine *engine;
    struct lane_table lanes;
    struct counters counters; /* the control thread's */
    uint32_t sessions;        /* whose clients the engine knows ... */
    uint32_t sessions_open;   /* ... and that are not closing */
    struct list waiting;      /* of struct session.sessions: their HELLO waits for the job */

    enum namespace_job job;
    pthread_t thread;
    struct fault fault; /* of the last job: error 0, or why it failed */
    struct mail job_mail;
};

/* A namespace of that key, closed. NULL: no memory. */
struct namespace *namespace_new(struct namespace_set *set, const void *key, uint32_t bytes);

/* Closed, or its engine has ended; no job runs and no session refers to it. */
void namespace_free(struct namespace *space);

/* The key in quotes, for words and log lines; lasts as long as the buffer. */
struct namespace_words {
    char text[96];
};
struct namespace_words namespace_words(const struct namespace *space);
#define NAMESPACE_WORDS(space) namespace_words(space).text

/* Fills space->config with the broker's and the namespace's own options. 0 or -errno, the words in
 * fault. */
int namespace_configure(struct namespace *space, struct fault *fault);

/* Begins a job on a thread of its own; MAIL_JOB_DONE follows. 0 or -errno. */
int namespace_job_begin(struct namespace *space, enum namespace_job job);
/* After MAIL_JOB_DONE. */
void namespace_job_end(struct namespace *space);
/* The same on this thread: space->fault says how it went. */
void namespace_job_run(struct namespace *space, enum namespace_job job);

/* Nothing refers to its store and regions any more: gives them back. */
void namespace_parts_free(struct namespace *space);

#endif
