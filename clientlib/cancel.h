/*
 * Cancel: keeps pthread cancellation away while the library makes system calls, so that no call of
 * it is a cancellation point and no lock is left behind.
 * Runs on:    any thread; also in a signal handler.
 */
#ifndef TUSK_CLIENTLIB_CANCEL_H
#define TUSK_CLIENTLIB_CANCEL_H

#include <pthread.h>

static inline int cancel_disable(void)
{
    int before = PTHREAD_CANCEL_ENABLE;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return before;
}

static inline void cancel_restore(const int *before)
{
    int ours;
    (void)pthread_setcancelstate(*before, &ours);
}

/* Until the end of the scope. */
#define CANCEL_OFF                                                                                 \
    __attribute__((cleanup(cancel_restore), unused)) const int cancel_before_ = cancel_disable()

#endif
