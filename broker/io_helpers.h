/*
 * Helpers: a few threads that perform operations that block, for an engine that must not.
 * Runs on:    the engine's thread, but for helpers_open() and _close(), which run where no operation
 *             is in flight, and `perform`, which runs on the helpers'.
 * Invariants: an operation is on one list at a time: submitted (the engine's own), queued, done
 *             (both under the lock) or in the hands of one helper. Helpers begin queued operations in
 *             order and end them in any; done() runs in helpers_take() alone.
 *             Between helpers_sleep() and helpers_awake() the first operation that ends rings the
 *             bell; at any other time none does, so a busy engine costs no system call.
 * Kill:       the threads of a killed process end their system calls before its files are closed: a
 *             lock that it held is free only when its last write has landed.
 * Not here:   what operations mean (io_posix.h, io_mmap.c), descriptors that wake (io_watches.h).
 */
#ifndef TUSK_BROKER_IO_HELPERS_H
#define TUSK_BROKER_IO_HELPERS_H

#include <pthread.h>
#include <stdbool.h>

#include "broker/io.h"
#include "shm/atom.h"

enum {
    /* As many operations as keep a device busy; measured, see broker/README.md. */
    HELPERS = 4,
};

struct op_list {
    struct io_op *first; /* linked by op->next, oldest first */
    struct io_op **end;
};

/* Performs one operation to its end; 0 or a negative errno. */
typedef int (*helpers_perform_fn)(struct io *io, struct io_op *op);

struct helpers {
    struct io *io;
    helpers_perform_fn perform;
    pthread_t threads[HELPERS];
    unsigned threads_count;
    int bell; /* an eventfd */

    struct op_list submitted; /* the engine's: what the next kick queues */
    unsigned submitted_count;

    struct atom done_any; /* not 0: `done` is not empty; a hint, the lock orders what is on it */
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t work;
    struct op_list queued;
    struct op_list done;
    unsigned idle; /* helpers that wait for work */
    bool sleeping; /* the engine is, or is about to: ring */
    bool stopping;
};

/* 0 or a negative errno; helpers_close() takes what a failure leaves. */
int helpers_open(struct helpers *helpers, struct io *io, helpers_perform_fn perform);
void helpers_close(struct helpers *helpers);

void helpers_submit(struct helpers *helpers, struct io_op *op);
/* Hands what was submitted to the helpers. */
void helpers_kick(struct helpers *helpers);
/* Calls done() of what has ended; returns how many. */
unsigned helpers_take(struct helpers *helpers);

/* Before the engine waits on the bell. False: something has ended meanwhile, don't. */
bool helpers_sleep(struct helpers *helpers);
/* After it: `rung` if the bell is readable. */
void helpers_awake(struct helpers *helpers, bool rung);

#endif
