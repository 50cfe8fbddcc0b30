/*
 * Handle: what struct tusk is: one connection of this process to a broker, and everything opened
 * on it.
 * Runs on:    any thread; the lists belong to whoever holds `lock`.
 * Invariants: serial is unique in this process, so that what a thread caches by it can't outlive
 *             the handle unnoticed; a dead handle stays dead.
 * fork:       the guard page reads as zero in a forked child (MADV_WIPEONFORK), and every public
 *             call looks at it first.
 * Trust:      the broker is trusted for contents, not for being there.
 * Not here:   making the connection (connect.c), control requests (client_session.h), lanes
 *             (client_lane.h).
 */
#ifndef TUSK_CLIENTLIB_HANDLE_H
#define TUSK_CLIENTLIB_HANDLE_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <tusk/tusk.h>

#include "clientlib/arena.h"
#include "clientlib/client_session.h"
#include "clientlib/expiry.h"
#include "shm/atom.h"
#include "shm/directory.h"
#include "shm/mapping.h"

#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

struct client_lane;
struct tusk_topic;

enum handle_state {
    HANDLE_FORKED = 0, /* what a wiped page says */
    HANDLE_ALIVE = 1,
    HANDLE_DEAD = 2, /* the broker is gone, or has given the session up */
};

struct handle_guard {
    struct atom state; /* enum handle_state */
};

struct tusk {
    struct handle_guard *guard;
    uint64_t serial;
    struct directory_shm *directory; /* mapped read-only */
    bool client_fences;              /* the broker can't fence this process: it does so itself */

    /* Options, resolved. */
    enum tusk_idle idle;
    enum tusk_consistency consistency;
    uint32_t persist_every;
    int timeout_ms;
    bool one_lane;
    uint64_t sq_bytes;

    int wakeup_fd; /* an eventfd that is never read: every write is an edge for all lanes */
    _Atomic uint64_t wakeups;
    pthread_t connector; /* the thread that made the handle */

    struct client_session session;
    struct mapping directory_mapping;
    struct arena arena;

    pthread_mutex_t lock; /* of all below, of the members of topics and lanes that say so */
    struct client_lane *single_lane; /* of a one_lane handle, once it has one */
    LIST_HEAD(, client_lane) lanes;
    LIST_HEAD(, tusk_topic) topics;
    LIST_HEAD(, descriptor) descriptors;
    uint64_t last_topic; /* serial */

    LIST_ENTRY(tusk) live; /* in the list of handle_find() */
};

/* A zeroed handle with its guard, locks and wakeup_fd; in no list yet. 0 or -errno. */
int handle_new(struct tusk **tusk);

/* Frees what handle_new and connecting made; in a forked child as well. The lists are empty. */
void handle_free(struct tusk *tusk);

/* Lets handle_lock_serial find the handle, until handle_hide returns. */
void handle_show(struct tusk *tusk);
void handle_hide(struct tusk *tusk);

/* The live handle with that serial, with its lock held, or NULL. */
struct tusk *handle_lock_serial(uint64_t serial);

/* From now on every call answers -ESTALE. Returns that. */
int handle_kill(struct tusk *tusk);

/* The error of a handle whose state is not HANDLE_ALIVE. */
int handle_state_error(uint64_t state);

/* What lacks descriptors or lanes says -ENOMEM, in the words of the public header. */
static inline int resource_error(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOSPC ? -ENOMEM
                                                                                         : error;
}

/* 0, -EOWNERDEAD or -ESTALE. */
static inline int handle_check(const struct tusk *tusk)
{
    const uint64_t state = atom_load_relaxed(&tusk->guard->state); /* stale: noticed next time */
    return __builtin_expect(state == HANDLE_ALIVE, 1) ? 0 : handle_state_error(state);
}

static inline bool handle_forked(const struct tusk *tusk)
{
    return atom_load_relaxed(&tusk->guard->state) == HANDLE_FORKED; /* never changes back */
}

/* The schedule is `each`. To be asked after what it is asked about was loaded: a tail, a completion. */
static inline bool handle_sync_each(const struct tusk *tusk)
{
    return atom_load_relaxed(&tusk->directory->sync_each) != 0; /* behind [T1] or [L3] */
}

static inline struct expiry handle_expiry(const struct tusk *tusk)
{
    return expiry_in(tusk->timeout_ms);
}

#endif
