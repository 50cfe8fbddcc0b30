/*
 * Peer redis: a stream in a redis-server of the benchmark's own, on a unix socket.
 * Runs on:  see peer.h.
 * Practice: relay: nothing is written to disk (no snapshots, no append-only file); XADD is
 *           pipelined: each call hands its commands to the server, replies are collected later,
 *           when a window of them is open; a batch is as many XADD in one write, so that each entry
 *           keeps an identifier; the receiver blocks in XREAD and takes up to 512 entries at once.
 *           Durable: an append-only file with appendfsync always, which shares one sync among all
 *           clients.
 * Needs:    pkg-config hiredis
 * Packages: libhiredis-dev redis-server
 */
#include "bench/peer.h"
#include "bench/peer_server.h"

#include <hiredis.h>
#include <stdio.h>
#include <stdlib.h>

#define WINDOW 1024 /* replies that are waited for; half of them are collected when it is full */
#define READ_COUNT "512"
#define ID_BYTES 64

struct client {
    redisContext *redis;
    unsigned open; /* commands whose replies have not been collected */
    char stream[16];
    char last_id[ID_BYTES];
};

static void socket_name(const struct peer_job *job, char *path, size_t bytes)
{
    snprintf(path, bytes, "%s/redis.sock", job->run_directory);
}

static bool redis_missing(char *reason, size_t bytes)
{
    return peer_program_missing("redis-server", "redis-server", reason, bytes);
}

static bool redis_ready(const struct peer_server *server, const struct peer_job *job)
{
    char path[PATH_MAX + 16];

    (void)server;
    socket_name(job, path, sizeof path);
    return peer_server_accepts(path);
}

static int redis_open(struct peer_job *job)
{
    struct peer_server *server = calloc(1, sizeof *server);
    const bool durable = job->shape == PEER_DURABLE;
    char path[PATH_MAX + 16];

    job->state = server;
    if (!server) {
        return -ENOMEM;
    }
    socket_name(job, path, sizeof path);
    const char *const arguments[] = {"redis-server",
                                     "--port",
                                     "0",
                                     "--unixsocket",
                                     path,
                                     "--dir",
                                     job->directory,
                                     "--save",
                                     "",
                                     "--appendonly",
                                     durable ? "yes" : "no",
                                     "--appendfsync",
                                     durable ? "always" : "no",
                                     "--auto-aof-rewrite-percentage",
                                     "0",
                                     NULL};
    return peer_server_start(server, job, arguments, redis_ready);
}

static void redis_close(struct peer_job *job)
{
    if (job->state) {
        peer_server_stop(job->state);
    }
    free(job->state);
}

static int redis_fail(const struct peer_end *end, const char *what)
{
    const struct client *client = end->state;

    return peer_fail_because(end, what, client->redis ? client->redis->errstr : "no memory");
}

static int end_open(struct peer_end *end)
{
    struct client *client = calloc(1, sizeof *client);
    char path[PATH_MAX + 16];

    if (!client) {
        return peer_fail(end, -ENOMEM, "making a client");
    }
    end->state = client;
    socket_name(end->job, path, sizeof path);
    snprintf(client->stream, sizeof client->stream, "bench-%u", end->channel);
    strcpy(client->last_id, "0-0");
    client->redis = redisConnectUnix(path);
    return !client->redis || client->redis->err ? redis_fail(end, path) : 0;
}

static void end_close(struct peer_end *end)
{
    struct client *client = end->state;

    redisFree(client->redis);
    free(client);
}

/* Until at most so many are open. */
static int replies_collect(struct peer_end *end, unsigned open_max)
{
    struct client *client = end->state;

    while (client->open > open_max) {
        redisReply *reply = NULL;
        if (redisGetReply(client->redis, (void **)&reply) != REDIS_OK) {
            return redis_fail(end, "waiting for a reply");
        }
        const bool failed = reply->type == REDIS_REPLY_ERROR;
        if (failed) {
            peer_fail_because(end, "XADD", reply->str);
        }
        freeReplyObject(reply);
        if (failed) {
            return -EPROTO;
        }
        client->open--;
    }
    return 0;
}

static int redis_flush(struct peer_end *end)
{
    return replies_collect(end, 0);
}

static int redis_send(struct peer_end *end, const char *entries, size_t count)
{
    struct client *client = end->state;
    const char *words[] = {"XADD", client->stream, "*", "e", NULL};
    size_t sizes[] = {4, strlen(client->stream), 1, 1, end->job->size};
    int done = 0;

    for (size_t i = 0; i < count; i++) {
        words[4] = entries + i * end->job->size;
        if (redisAppendCommandArgv(client->redis, 5, words, sizes) != REDIS_OK) {
            return redis_fail(end, "XADD");
        }
        client->open++;
    }
    while (!done) {
        if (redisBufferWrite(client->redis, &done) != REDIS_OK) {
            return redis_fail(end, "writing commands");
        }
    }
    if (end->job->shape == PEER_DURABLE) {
        return replies_collect(end, 0);
    }
    return client->open >= WINDOW ? replies_collect(end, WINDOW / 2) : 0;
}

/* The entries of [[stream, [[id, [field, value]], ...]]]. */
static int entries_take(struct peer_end *end, const redisReply *reply)
{
    struct client *client = end->state;

    if (reply->type == REDIS_REPLY_NIL) {
        return 0; /* nothing came while it blocked */
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 1 ||
        reply->element[0]->elements != 2) {
        return peer_fail_because(end, "XREAD",
                                 reply->type == REDIS_REPLY_ERROR ? reply->str : "odd answer");
    }
    const redisReply *entries = reply->element[0]->element[1];
    for (size_t i = 0; i < entries->elements; i++) {
        const redisReply *entry = entries->element[i];
        if (entry->elements != 2 || entry->element[1]->elements != 2) {
            return peer_fail_because(end, "XREAD", "an odd entry");
        }
        const redisReply *value = entry->element[1]->element[1];
        peer_take(end, value->str, value->len);
        snprintf(client->last_id, sizeof client->last_id, "%s", entry->element[0]->str);
    }
    return 0;
}

static int redis_receive(struct peer_end *end)
{
    const struct client *client = end->state;
    redisReply *reply =
        redisCommand(client->redis, "XREAD COUNT " READ_COUNT " BLOCK %d STREAMS %s %s",
                     PEER_WAIT_MS, client->stream, client->last_id);

    if (!reply) {
        return redis_fail(end, "XREAD");
    }
    const int result = entries_take(end, reply);
    freeReplyObject(reply);
    return result;
}

const struct peer peer_redis = {.name = "redis",
                                .keeps = "server's memory",
                                .syncs = "disk",
                                .pings = true,
                                .missing = redis_missing,
                                .open = redis_open,
                                .close = redis_close,
                                .sender_open = end_open,
                                .send = redis_send,
                                .flush = redis_flush,
                                .sender_close = end_close,
                                .receiver_open = end_open,
                                .receive = redis_receive,
                                .receiver_close = end_close};
