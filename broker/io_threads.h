/*
 * I/O by threads: what the backends without a ring share: helpers that perform the operations, and an
 * epoll set for the descriptors that are watched.
 * Runs on:    see io.h. The functions fit struct io_ops.
 * Invariants: poll makes no system call but one look at the watches every WATCHES_LOOK_NS; wait sleeps
 *             on the helpers' bell and on the epoll set at once.
 * Not here:   how an operation is performed (io_pwrite.c, io_mmap.c).
 */
#ifndef TUSK_BROKER_IO_THREADS_H
#define TUSK_BROKER_IO_THREADS_H

#include "broker/io_helpers.h"
#include "broker/io_watches.h"

struct fault;

/* How late a busy engine hears of a watched descriptor, at most. */
#define WATCHES_LOOK_NS UINT64_C(30000)

struct threads_io {
    struct io io;
    struct helpers helpers;
    struct watches watches;
    uint64_t looked_ns; /* when the watches were looked at last */
};

/* 0 or a negative errno, with words in fault. */
int threads_open(struct io **out, const struct io_ops *ops, helpers_perform_fn perform,
                 struct fault *fault);

void threads_close(struct io *io);
int threads_start(struct io *io);
void threads_submit(struct io *io, struct io_op *op);
void threads_kick(struct io *io);
unsigned threads_poll(struct io *io);
int threads_wait(struct io *io, int64_t timeout_ns);
void threads_watch(struct io *io, struct io_watch *watch);
void threads_unwatch(struct io *io, struct io_watch *watch);
int threads_register_buffers(struct io *io, const struct iovec *regions, unsigned count);
int threads_register_lock(struct io *io, struct io_file *lock);

#endif
