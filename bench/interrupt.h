/*
 * Interrupt: asking a benchmark to end, so that it keeps what it measured and leaves nothing
 * behind.
 * Runs on:    the benchmark's main thread.
 * Invariants: from interrupt_block() on SIGINT, SIGTERM and SIGHUP wait until somebody looks; what
 *             is measured ends by itself or is ended by whoever looked.
 */
#ifndef TUSK_BENCH_INTERRUPT_H
#define TUSK_BENCH_INTERRUPT_H

#include <signal.h>
#include <stdbool.h>

/* Add the signals that ask to end. */
void interrupt_signals(sigset_t *set);

void interrupt_block(void);

/* Has one come? It stays, so that everybody who asks later is told as well. */
bool interrupt_pending(void);

/* Wait until a file descriptor can be read: 1; 0 after timeout_ms; -EINTR once one has come. */
int interrupt_wait(int fd, int timeout_ms);

#endif
