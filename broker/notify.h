/*
 * Notify: tells the supervisor that started the broker how it is, as sd_notify() does.
 * Runs on:    the thread that starts and stops the broker.
 * Invariants: one datagram per call to $NOTIFY_SOCKET, a path or an abstract name ("@..."); without
 *             that variable nothing happens.
 * Trust:      the supervisor is trusted; a missing or stuck one costs an answer, never a wait.
 * Not here:   --ready-fd (main.c).
 */
#ifndef TUSK_BROKER_NOTIFY_H
#define TUSK_BROKER_NOTIFY_H

/*
 * state is lines of "KEY=value", such as "READY=1". 0, also without a supervisor; -EINVAL: the
 * variable names no socket; otherwise the -errno of sending.
 */
int notify_send(const char *state);

#endif
