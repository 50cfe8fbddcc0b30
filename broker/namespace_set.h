/*
 * Namespace set: all namespaces of a broker, those on disk and those that are open, and the engines
 * that serve them.
 * Runs on:    the control thread; start and deinit on the thread that owns the broker, without one.
 * Invariants: no two namespaces have one directory, no two one key; `default` is opened at the start
 *             and stays, all others are opened when a client first asks for them, and then stay
 *             open until they are removed. Opening one, which can take seconds, holds up neither
 *             this thread nor an engine.
 * Trust:      clients choose keys: there are at most NAMESPACES_MAX.
 * Not here:   what one namespace consists of, its disk (namespace.h); sessions (session_set.h).
 */
#ifndef TUSK_BROKER_NAMESPACE_SET_H
#define TUSK_BROKER_NAMESPACE_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/config.h"
#include "broker/list.h"
#include "broker/log.h"
#include "broker/mailbox.h"
#include "broker/namespace.h"

/* Each has a directory on disk and, while open, regions, descriptors and a place in a ring. */
enum { NAMESPACES_MAX = 4096 };

struct namespace_engine {
    struct mailbox *mailbox;
    uint32_t stores; /* that it has been given and has not closed */
};

struct namespace_set {
    const struct config *config;
    const struct run_dir *run_dir;
    struct mailbox *control; /* where jobs tell that they are done */
    struct log *log;
    struct list all; /* of struct namespace.namespaces */
    uint32_t count;
    uint32_t jobs; /* running */
    struct namespace_engine engines[CONFIG_ENGINES_MAX];
    uint32_t engines_count;
    bool stopping; /* nothing is opened any more */

    /* The sessions that wait for it can go on, or `why` it cannot be opened. */
    void (*opened)(void *context, struct namespace *space, const struct fault *why);
    /* What its asker asked for is done, or `why` not. */
    void (*answered)(void *context, struct namespace *space, const struct fault *why);
    void *context;
};

/* What namespace_set_find() answers besides errors. */
enum namespace_outcome {
    NAMESPACE_READY = 0,
    NAMESPACE_WAIT = 1, /* `opened` will tell */
};

/* All that it is given must outlive it. */
void namespace_set_init(struct namespace_set *set, const struct config *config,
                        const struct run_dir *run_dir, struct mailbox *control, struct log *log);

/* An engine that has started, by its mailbox. */
void namespace_set_add_engine(struct namespace_set *set, struct mailbox *engine);

/* Opens `default` and looks which others there are on disk. 0 or -errno, the words in fault. */
int namespace_set_start(struct namespace_set *set, struct fault *fault);

/* All engines have ended, no job runs, no session is left: closes everything. The first error that
 * fenced a store, or 0. Accepts a set that was never initialised. */
int namespace_set_deinit(struct namespace_set *set);

/* The namespace of a key of 1 to NAMESPACE_KEY_BYTES_MAX bytes, made if there is none. One of enum
 * namespace_outcome, or -errno and the words in fault. */
int namespace_set_find(struct namespace_set *set, const void *key, uint32_t bytes,
                       struct namespace **space, struct fault *fault);

/*
 * Gives the namespace an option of its own, or takes it away (value "default"); the asker is told.
 * 0, or -errno and the words in fault: -EINVAL no such option or value, -EBUSY it is being changed
 * already.
 */
int namespace_set_option(struct namespace *space, const char *option, const char *value,
                         struct session *asker, struct fault *fault);

/* What holds for an option of the namespace, or where that is from ("fsync_source"), as text. 0, or
 * -EINVAL and the words in fault. */
int namespace_option_value(const struct namespace *space, const char *option,
                           struct namespace_option_text *text, struct fault *fault);

/*
 * Removes a namespace and all that is in it; the asker is told. 0, or -errno and the words in fault:
 * -ENOENT there is none, -EPERM it is `default`, -EBUSY a session has it, or it is being changed.
 */
int namespace_set_remove(struct namespace_set *set, const void *key, uint32_t bytes,
                         struct session *asker, struct namespace **space, struct fault *fault);

/* The namespace whose key is the least one above this; no bytes: the least of all. NULL: none. */
struct namespace *namespace_set_next(const struct namespace_set *set, const void *key,
                                     uint32_t bytes);

/* MAIL_JOB_DONE, MAIL_STORE_SET_DONE and MAIL_STORE_CLOSED. */
void namespace_set_mail(struct namespace_set *set, const struct mail *mail);

/* For the start (namespace_start.c): by key, by directory; NULL: there is none. */
struct namespace *namespace_set_find_key(const struct namespace_set *set, const void *key,
                                         uint32_t bytes);
const struct namespace *namespace_set_find_name(const struct namespace_set *set, const char *name);
void namespace_set_add(struct namespace_set *set, struct namespace *space);
/* A new one, under the first name that no other key has. 0 or -errno, the words in fault. */
int namespace_set_make(struct namespace_set *set, const void *key, uint32_t bytes,
                       struct namespace **space, struct fault *fault);
/* Gives one that was just opened to an engine. */
void namespace_set_serve(struct namespace *space);

#endif
