/* Engine store: see engine_store.h. */
#include "broker/engine_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/clock.h"
#include "broker/io_backend.h"
#include "shm/wake.h"

/* Everything that opening has begun is over: nothing refers to the I/O object any more. */
static int store_settle(struct store *store, struct io *io, struct fault *fault)
{
    segment_set_stop(&store->segments);
    while (io_in_flight(io) > 0) {
        const int outcome = io_wait(io, IO_FOREVER);
        if (outcome < 0) {
            return fault_set(fault, outcome, "the I/O that opened %s fails: %s",
                             store->config->data_dir, strerror(-outcome));
        }
    }
    return 0;
}

static int recover(struct store *store, struct io *io, const struct mapping *arena,
                   struct fault *fault)
{
    int error = io_start(io);
    if (error != 0) {
        return fault_set(fault, error, "the I/O that opens %s cannot be started: %s",
                         store->config->data_dir, strerror(-error));
    }
    store->io = io;
    error = store_open(store, arena, fault);
    const int settled = store->segments.io == NULL ? 0 : store_settle(store, io, fault);
    return error != 0 ? error : settled;
}

int engine_store_open(struct engine_store **out, const struct engine_store_setup *setup,
                      struct fault *fault)
{
    struct io *io;
    struct engine_store *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return fault_set(fault, -ENOMEM, "no memory for a store");
    }
    made->config = *setup->config;
    made->directory = setup->directory;
    made->arena = setup->arena;
    made->attach_mail = (struct mail){.kind = MAIL_STORE_ATTACH, .subject = made};
    made->set_mail = (struct mail){.kind = MAIL_STORE_SET, .subject = made};
    made->close_mail = (struct mail){.kind = MAIL_STORE_CLOSE, .subject = made};
    made->store.config = &made->config;
    made->store.log = setup->log;
    made->store.directory = setup->directory;
    made->store.now_ns = clock_ns(CLOCK_MONOTONIC);
    made->store.time_ns = clock_ns(CLOCK_REALTIME);
    int error = io_open(&io, made->config.backend, made->config.direct, fault);
    if (error < 0) {
        free(made);
        return error;
    }
    error = recover(&made->store, io, &made->arena, fault);
    if (error != 0) {
        store_close(&made->store);
        io_close(io);
        free(made);
        return error;
    }
    /* A ring keeps LOCK until it is closed; the open file goes on holding it. */
    io_close(io);
    made->store.io = NULL;
    /* Read after WELCOME, which follows. */
    atom_store_relaxed(&made->directory->client_fences, !wake_membarrier_available());
    atom_store_relaxed(&made->directory->state, BROKER_RUNNING); /* alone */
    *out = made;
    return 0;
}

/* No engine has had it: it is closed as it was opened. */
static void store_discard(struct engine_store *served)
{
    struct store *store = &served->store;
    struct fault fault = {0};
    struct io *io;
    const int error = io_open(&io, served->config.backend, served->config.direct, &fault);
    if (error < 0) {
        log_error(store->log, "store.left_open",
                  "data=%s reason=%s action=\"its files stay open, and LOCK held, as long as this "
                  "process lives\"",
                  LOG_QUOTE(served->config.data_dir), LOG_QUOTE(fault.text));
        return;
    }
    store->io = io;
    store->dir.io = io;
    store->segments.io = io;
    store->numbers.writer.io = io;
    store_close(store);
    io_close(io);
}

void engine_store_free(struct engine_store *store)
{
    if (store != NULL && store->engine == NULL) {
        store_discard(store);
    }
    free(store);
}
