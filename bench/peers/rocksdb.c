/*
 * Peer rocksdb: a log-structured store, entries under their sequence numbers.
 * Runs on:  see peer.h; the library's own threads in each process too.
 * Practice: a put for one entry, a WriteBatch for several. Relay: the write-ahead log unsynced; the
 *           receiver is a secondary instance, the way to follow a database from another process: it
 *           catches up with the log and goes on behind the last key. (manual_wal_flush would save a
 *           write() per put, but what was put would not leave the process.) Durable: sync writes,
 *           which share one sync of the log among threads; a database has one process, so senders
 *           are threads. Compaction is off: nothing here is ever overwritten.
 * Needs:    pkg-config rocksdb
 * Packages: librocksdb-dev
 */
#include "bench/clock.h"
#include "bench/peer.h"

#include <endian.h>
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define OPEN_LIMIT_NS (10 * NS_PER_S) /* until the sender must have made the database */
#define OPEN_LOOK_NS 2000000

/* The primary instance of a channel, shared by the senders of this process. */
struct primary {
    pthread_mutex_t lock;
    rocksdb_t *database;
    unsigned users;
    _Atomic uint64_t next_key;
};

struct instance {
    struct primary *primary; /* NULL: this is a secondary one */
    rocksdb_t *database;
    rocksdb_options_t *options;
    rocksdb_writeoptions_t *writing;
    rocksdb_readoptions_t *reading;
    rocksdb_writebatch_t *batch;
    unsigned looks;
};

static struct primary primaries[PEER_CHANNELS] = {{.lock = PTHREAD_MUTEX_INITIALIZER},
                                                  {.lock = PTHREAD_MUTEX_INITIALIZER}};

static void database_name(const struct peer_end *end, char *path, size_t bytes)
{
    snprintf(path, bytes, "%s/rocksdb-%u", end->job->directory, end->channel);
}

static int rocksdb_fail(const struct peer_end *end, const char *what, char *error)
{
    const int result = peer_fail_because(end, what, error);

    rocksdb_free(error);
    return result;
}

static struct instance *instance_make(struct peer_end *end)
{
    struct instance *state = calloc(1, sizeof *state);

    if (!state) {
        peer_fail(end, -ENOMEM, "making an instance");
        return NULL;
    }
    end->state = state;
    state->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(state->options, 1);
    rocksdb_options_set_compression(state->options, rocksdb_no_compression);
    rocksdb_options_set_disable_auto_compactions(state->options, 1);
    rocksdb_options_set_max_open_files(state->options, -1); /* a secondary needs them all */
    rocksdb_options_set_info_log_level(state->options, 4);
    return state;
}

static int rocksdb_sender_open(struct peer_end *end)
{
    struct primary *primary = &primaries[end->channel];
    struct instance *state = instance_make(end);
    char path[PATH_MAX + 16];
    char *error = NULL;

    if (!state) {
        return -ENOMEM;
    }
    database_name(end, path, sizeof path);
    state->primary = primary;
    state->batch = rocksdb_writebatch_create();
    state->writing = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(state->writing, end->job->shape == PEER_DURABLE);
    pthread_mutex_lock(&primary->lock);
    if (!primary->database) {
        primary->database = rocksdb_open(state->options, path, &error);
    }
    primary->users++;
    state->database = primary->database;
    pthread_mutex_unlock(&primary->lock);
    return error ? rocksdb_fail(end, path, error) : 0;
}

static void rocksdb_sender_close(struct peer_end *end)
{
    struct instance *state = end->state;
    struct primary *primary = state->primary;

    pthread_mutex_lock(&primary->lock);
    if (--primary->users == 0) {
        rocksdb_close(primary->database);
        primary->database = NULL;
    }
    pthread_mutex_unlock(&primary->lock);
    rocksdb_writebatch_destroy(state->batch);
    rocksdb_writeoptions_destroy(state->writing);
    rocksdb_options_destroy(state->options);
    free(state);
}

static uint64_t key_next(struct primary *primary)
{
    return htobe64(atomic_fetch_add_explicit(&primary->next_key, 1, memory_order_relaxed));
}

static int rocksdb_send(struct peer_end *end, const char *entries, size_t count)
{
    const struct instance *state = end->state;
    const size_t size = end->job->size;
    char *error = NULL;

    if (count == 1) {
        const uint64_t key = key_next(state->primary);
        rocksdb_put(state->database, state->writing, (const char *)&key, sizeof key, entries, size,
                    &error);
    } else {
        rocksdb_writebatch_clear(state->batch);
        for (size_t i = 0; i < count; i++) {
            const uint64_t key = key_next(state->primary);
            rocksdb_writebatch_put(state->batch, (const char *)&key, sizeof key, entries + i * size,
                                   size);
        }
        rocksdb_write(state->database, state->writing, state->batch, &error);
    }
    return error ? rocksdb_fail(end, "writing", error) : 0;
}

/* Waits until the sender has made the database. */
static int rocksdb_receiver_open(struct peer_end *end)
{
    const struct timespec look = {.tv_nsec = OPEN_LOOK_NS};
    const uint64_t deadline_ns = clock_now_ns() + OPEN_LIMIT_NS;
    struct instance *state = instance_make(end);
    char path[PATH_MAX + 16];
    char secondary[PATH_MAX + 16];
    char *error = NULL;

    if (!state) {
        return -ENOMEM;
    }
    database_name(end, path, sizeof path);
    snprintf(secondary, sizeof secondary, "%s/secondary-%u", end->job->directory, end->channel);
    state->reading = rocksdb_readoptions_create();
    for (;;) {
        state->database = rocksdb_open_as_secondary(state->options, path, secondary, &error);
        if (!error) {
            return 0;
        }
        if (clock_now_ns() > deadline_ns) {
            return rocksdb_fail(end, path, error);
        }
        rocksdb_free(error);
        error = NULL;
        nanosleep(&look, NULL);
    }
}

static int rocksdb_receive(struct peer_end *end)
{
    struct instance *state = end->state;
    const uint64_t before = end->received;
    const uint64_t key = htobe64(before);
    char *error = NULL;

    rocksdb_try_catch_up_with_primary(state->database, &error);
    if (error) {
        return rocksdb_fail(end, "catching up", error);
    }
    rocksdb_iterator_t *at = rocksdb_create_iterator(state->database, state->reading);
    rocksdb_iter_seek(at, (const char *)&key, sizeof key);
    for (; rocksdb_iter_valid(at); rocksdb_iter_next(at)) {
        size_t size = 0;
        const char *entry = rocksdb_iter_value(at, &size);
        peer_take(end, entry, size);
    }
    rocksdb_iter_get_error(at, &error);
    rocksdb_iter_destroy(at);
    if (error) {
        return rocksdb_fail(end, "reading", error);
    }
    if (end->received == before) {
        peer_look_again(&state->looks);
    } else {
        state->looks = 0;
    }
    return 0;
}

static void rocksdb_receiver_close(struct peer_end *end)
{
    struct instance *state = end->state;

    rocksdb_close(state->database);
    rocksdb_readoptions_destroy(state->reading);
    rocksdb_options_destroy(state->options);
    free(state);
}

const struct peer peer_rocksdb = {.name = "rocksdb",
                                  .keeps = "page cache",
                                  .syncs = "disk",
                                  .pings = true,
                                  .threads = true,
                                  .sender_open = rocksdb_sender_open,
                                  .send = rocksdb_send,
                                  .sender_close = rocksdb_sender_close,
                                  .receiver_open = rocksdb_receiver_open,
                                  .receive = rocksdb_receive,
                                  .receiver_close = rocksdb_receiver_close};
