/* I/O by threads: see io_threads.h. */
#include "broker/io_threads.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "broker/clock.h"
#include "broker/fault.h"

/* Watches that the kernel had no room for are tried again so often. */
#define UNARMED_RETRY_NS INT64_C(10000000)

static struct threads_io *threads_of(struct io *io)
{
    return (struct threads_io *)io;
}

void threads_close(struct io *io)
{
    struct threads_io *threads = threads_of(io);
    helpers_close(&threads->helpers);
    watches_close(&threads->watches);
    free(threads);
}

int threads_open(struct io **out, const struct io_ops *ops, helpers_perform_fn perform,
                 struct fault *fault)
{
    struct threads_io *threads = calloc(1, sizeof *threads);
    if (threads == NULL) {
        return fault_set(fault, -ENOMEM, "no memory for an engine's I/O");
    }
    threads->io.ops = ops;
    int result = watches_open(&threads->watches);
    const int helped = helpers_open(&threads->helpers, &threads->io, perform);
    result = result == 0 ? helped : result;
    if (result != 0) {
        threads_close(&threads->io);
        return fault_set(fault, result, "the threads of an engine's I/O cannot be started: %s",
                         strerror(-result));
    }
    *out = &threads->io;
    return 0;
}

int threads_start(struct io *io)
{
    (void)io; /* nothing here belongs to one thread by the kernel's rules */
    return 0;
}

void threads_submit(struct io *io, struct io_op *op)
{
    helpers_submit(&threads_of(io)->helpers, op);
}

void threads_kick(struct io *io)
{
    helpers_kick(&threads_of(io)->helpers);
}

unsigned threads_poll(struct io *io)
{
    struct threads_io *threads = threads_of(io);
    helpers_kick(&threads->helpers);
    unsigned handled = helpers_take(&threads->helpers);
    const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    if (now_ns - threads->looked_ns >= WATCHES_LOOK_NS || watches_waiting(&threads->watches)) {
        threads->looked_ns = now_ns;
        handled += watches_look(&threads->watches);
    }
    if (handled != 0) {
        helpers_kick(&threads->helpers);
    }
    return handled;
}

/* Until the bell rings, a watch has news or the time is over. */
static int sleep_until_news(struct threads_io *threads, int64_t timeout_ns)
{
    if (threads->watches.unarmed != NULL && (timeout_ns < 0 || timeout_ns > UNARMED_RETRY_NS)) {
        timeout_ns = UNARMED_RETRY_NS;
    }
    const struct timespec timeout = {.tv_sec = timeout_ns / 1000000000,
                                     .tv_nsec = timeout_ns % 1000000000};
    struct pollfd fds[] = {{.fd = threads->helpers.bell, .events = POLLIN},
                           {.fd = threads->watches.fd, .events = POLLIN}};
    const int count = ppoll(fds, 2, timeout_ns < 0 ? NULL : &timeout, NULL);
    const int error = count < 0 ? -errno : 0;
    helpers_awake(&threads->helpers, count > 0 && (fds[0].revents & POLLIN) != 0);
    return error == -EINTR ? 0 : error;
}

int threads_wait(struct io *io, int64_t timeout_ns)
{
    struct threads_io *threads = threads_of(io);
    int error = 0;
    helpers_kick(&threads->helpers);
    if (!watches_waiting(&threads->watches) && helpers_sleep(&threads->helpers)) {
        error = sleep_until_news(threads, timeout_ns);
    }
    const unsigned handled = helpers_take(&threads->helpers) + watches_look(&threads->watches);
    helpers_kick(&threads->helpers);
    return error < 0 ? error : (int)handled;
}

void threads_watch(struct io *io, struct io_watch *watch)
{
    watches_add(&threads_of(io)->watches, watch);
}

void threads_unwatch(struct io *io, struct io_watch *watch)
{
    watches_remove(&threads_of(io)->watches, watch);
}

int threads_register_buffers(struct io *io, const struct iovec *regions, unsigned count)
{
    (void)io; /* system calls on the caller's own memory: the kernel keeps nothing of it */
    (void)regions;
    (void)count;
    return 0;
}

int threads_register_lock(struct io *io, struct io_file *lock)
{
    (void)io; /* see "Kill" in io_helpers.h: the process's own descriptor is enough */
    (void)lock;
    return 0;
}
