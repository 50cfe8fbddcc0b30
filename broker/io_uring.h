/*
 * I/O by io_uring: one ring, which belongs to one engine.
 * Runs on:    see io.h; the thread that calls io_start() becomes the ring's only issuer.
 * Invariants: with deferred task work completions become visible only when that thread enters the
 *             kernel, so poll looks at the ring's flags as well as at its completion queue.
 * Trust:      the kernel.
 * Not here:   the cold path (io_posix.h); what to do where io_uring is forbidden (io_backend.h).
 */
#ifndef TUSK_BROKER_IO_URING_H
#define TUSK_BROKER_IO_URING_H

struct io;
struct fault;

/* -ENOSYS: the kernel lacks io_uring or forbids it; the words are in fault. */
int io_uring_open(struct io **out, struct fault *fault);

#endif
