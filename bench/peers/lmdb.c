/*
 * Peer lmdb: a memory-mapped B+tree, entries under their sequence numbers.
 * Runs on:  see peer.h.
 * Practice: one transaction for each call; MDB_APPEND with integer keys, so that pages fill from
 *           left to right. Relay: MDB_WRITEMAP and MDB_NOSYNC; the receiver renews its read
 *           transaction and goes on behind the last key; nothing tells it, so it looks again.
 *           Durable: a plain commit, which syncs; there is one writer at a time, and none shares
 *           another's sync.
 * Needs:    pkg-config lmdb
 * Packages: liblmdb-dev
 */
#include "bench/peer.h"

#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define MAP_FACTOR 4 /* the map's size over that of all entries */

struct environment {
    MDB_env *env;
    MDB_dbi database;
    MDB_txn *reading;
    MDB_cursor *cursor;
    unsigned looks;
};

static int lmdb_fail(const struct peer_end *end, int error, const char *what)
{
    return peer_fail_because(end, what, mdb_strerror(error));
}

static int lmdb_open(struct peer_job *job)
{
    char path[PATH_MAX + 16];

    for (unsigned channel = 0; channel < PEER_CHANNELS; channel++) {
        snprintf(path, sizeof path, "%s/lmdb-%u", job->directory, channel);
        if (mkdir(path, 0700) < 0) {
            perror(path);
            return -errno;
        }
    }
    return 0;
}

static int database_open(struct environment *state, const char *path, const struct peer_job *job)
{
    const unsigned flags = job->shape == PEER_DURABLE ? 0 : MDB_WRITEMAP | MDB_NOSYNC;
    const size_t map_bytes = (size_t)job->settings->bytes_max / 8 * MAP_FACTOR;
    MDB_txn *txn = NULL;

    int error = mdb_env_create(&state->env);
    if (error == 0) {
        error = mdb_env_set_mapsize(state->env, map_bytes);
    }
    if (error == 0) {
        error = mdb_env_set_maxreaders(state->env, 256);
    }
    if (error == 0) {
        error = mdb_env_open(state->env, path, flags, 0600);
    }
    if (error == 0) {
        error = mdb_txn_begin(state->env, NULL, 0, &txn);
    }
    if (error == 0) {
        error = mdb_dbi_open(txn, NULL, MDB_INTEGERKEY | MDB_CREATE, &state->database);
        if (error == 0) {
            error = mdb_txn_commit(txn);
        } else {
            mdb_txn_abort(txn);
        }
    }
    return error;
}

static int end_open(struct peer_end *end)
{
    struct environment *state = calloc(1, sizeof *state);
    char path[PATH_MAX + 16];

    if (!state) {
        return peer_fail(end, -ENOMEM, "making an environment");
    }
    end->state = state;
    snprintf(path, sizeof path, "%s/lmdb-%u", end->job->directory, end->channel);
    const int error = database_open(state, path, end->job);
    return error != 0 ? lmdb_fail(end, error, path) : 0;
}

static void end_close(struct peer_end *end)
{
    struct environment *state = end->state;

    if (state->cursor) {
        mdb_cursor_close(state->cursor);
    }
    if (state->reading) {
        mdb_txn_abort(state->reading);
    }
    mdb_env_close(state->env);
    free(state);
}

/* The first key that is free. */
static int key_next(MDB_cursor *cursor, size_t *key)
{
    MDB_val last;
    MDB_val data;

    *key = 0;
    const int error = mdb_cursor_get(cursor, &last, &data, MDB_LAST);
    if (error == 0) {
        memcpy(key, last.mv_data, sizeof *key);
        (*key)++;
    }
    return error == MDB_NOTFOUND ? 0 : error;
}

static int entries_put(const struct environment *state, MDB_txn *txn, const char *entries,
                       size_t count, size_t size)
{
    MDB_cursor *cursor = NULL;
    size_t key = 0;
    int error = mdb_cursor_open(txn, state->database, &cursor);

    if (error == 0) {
        error = key_next(cursor, &key);
    }
    for (size_t i = 0; i < count && error == 0; i++, key++) {
        MDB_val name = {.mv_size = sizeof key, .mv_data = &key};
        /* const is cast away for MDB_val only: nobody writes there. */
        MDB_val data = {.mv_size = size, .mv_data = (void *)(uintptr_t)(entries + i * size)};
        error = mdb_cursor_put(cursor, &name, &data, MDB_APPEND);
    }
    if (cursor) {
        mdb_cursor_close(cursor);
    }
    return error;
}

static int lmdb_send(struct peer_end *end, const char *entries, size_t count)
{
    const struct environment *state = end->state;
    MDB_txn *txn = NULL;

    int error = mdb_txn_begin(state->env, NULL, 0, &txn);
    if (error == 0) {
        error = entries_put(state, txn, entries, count, end->job->size);
        if (error == 0) {
            error = mdb_txn_commit(txn);
        } else {
            mdb_txn_abort(txn);
        }
    }
    return error != 0 ? lmdb_fail(end, error, "a transaction") : 0;
}

static int reading_begin(struct environment *state)
{
    if (state->reading) {
        const int error = mdb_txn_renew(state->reading);
        return error != 0 ? error : mdb_cursor_renew(state->reading, state->cursor);
    }
    const int error = mdb_txn_begin(state->env, NULL, MDB_RDONLY, &state->reading);
    return error != 0 ? error : mdb_cursor_open(state->reading, state->database, &state->cursor);
}

static int lmdb_receive(struct peer_end *end)
{
    struct environment *state = end->state;
    const uint64_t before = end->received;
    size_t key = end->received;
    MDB_val name = {.mv_size = sizeof key, .mv_data = &key};
    MDB_val data;

    int error = reading_begin(state);
    if (error != 0) {
        return lmdb_fail(end, error, "a read transaction");
    }
    error = mdb_cursor_get(state->cursor, &name, &data, MDB_SET_KEY);
    while (error == 0) {
        peer_take(end, data.mv_data, data.mv_size);
        error = mdb_cursor_get(state->cursor, &name, &data, MDB_NEXT);
    }
    mdb_txn_reset(state->reading);
    if (error != MDB_NOTFOUND) {
        return lmdb_fail(end, error, "reading");
    }
    if (end->received == before) {
        peer_look_again(&state->looks);
    } else {
        state->looks = 0;
    }
    return 0;
}

const struct peer peer_lmdb = {.name = "lmdb",
                               .keeps = "page cache",
                               .syncs = "disk",
                               .pings = true,
                               .open = lmdb_open,
                               .sender_open = end_open,
                               .send = lmdb_send,
                               .sender_close = end_close,
                               .receiver_open = end_open,
                               .receive = lmdb_receive,
                               .receiver_close = end_close};
