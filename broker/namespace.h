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
struct session;

#define NAMESPACE_DEFAULT "default"

enum namespace_state {
    NAMESPACE_CLOSED,   /* nobody has asked for it since the broker started */
    NAMESPACE_OPENING,  /* a job */
    NAMESPACE_SERVING,  /* an engine has the store */
    NAMESPACE_CLOSING,  /* the engine is letting go of the store, which will be removed */
    NAMESPACE_REMOVING, /* a job */
};

enum namespace_job {
    NAMESPACE_JOB_NONE,
    NAMESPACE_JOB_OPEN,   /* make what is missing on disk, make regions, recover the store */
    NAMESPACE_JOB_WRITE,  /* write `changed` to disk */
    NAMESPACE_JOB_REMOVE, /* remove its directory */
};

struct namespace
{
    struct namespace_set *set;
    struct list_node namespaces; /* in namespace_set.all */
    struct namespace_name name;  /* of its directories */
    struct namespace_facts facts;
    struct namespace_facts *changed; /* what JOB_WRITE writes, while it does */
    bool on_disk;                    /* it has a directory that says so */
    struct fault damage;             /* error 0, or why it cannot be used */
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
    bool setting;             /* MAIL_STORE_SET is the engine's */
    struct session *asker;    /* who waits for an answer about it, or NULL */
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

/* The key in quotes, for words and log lines, cut where it is too long for them; lasts as long as the
 * buffer. */
enum { NAMESPACE_WORDS_BYTES = 96 };
struct namespace_words {
    char text[NAMESPACE_WORDS_BYTES];
};
struct namespace_words namespace_words(const struct namespace *space);
#define NAMESPACE_WORDS(space) namespace_words(space).text

/* What holds for a namespace of these facts: the broker's options and its own. 0 or -errno, the words
 * in fault. */
int namespace_configure(const struct namespace *space, const struct namespace_facts *facts,
                        struct config *config, struct fault *fault);

/* The value of an option that a namespace may have, as text. */
struct namespace_option_text {
    char text[NAMESPACE_OPTION_BYTES];
};
struct namespace_option_text namespace_option_text(const struct config *config,
                                                   enum namespace_option option);

/* The end of the name of a directory that is being removed; in no name of a namespace. */
#define NAMESPACE_REMOVED "~removed"

/* Finishes a removal that was cut short: `name` ends as said above. What is not a store's stays. 0 or
 * -errno. */
int namespace_sweep(struct io *io, struct io_file *data, const char *name);

/* Begins a job on a thread of its own; MAIL_JOB_DONE follows. 0 or -errno. */
int namespace_job_begin(struct namespace *space, enum namespace_job job);
/* After MAIL_JOB_DONE. */
void namespace_job_end(struct namespace *space);
/* The same on this thread: space->fault says how it went. */
void namespace_job_run(struct namespace *space, enum namespace_job job);

/* Nothing refers to its store and regions any more: gives them back. */
void namespace_parts_free(struct namespace *space);

#endif
