/*
 * Thread: how the broker's threads are started.
 * Runs on:    any thread.
 * Invariants: a thread that is started here gets no signals: those of the process are for the threads
 *             that the program itself has.
 */
#ifndef TUSK_BROKER_THREAD_H
#define TUSK_BROKER_THREAD_H

#include <pthread.h>

/* `name`: as tools show it, 15 characters at the most. 0 or -errno. */
int thread_start(pthread_t *thread, const char *name, void *(*run)(void *context), void *context);

#endif
