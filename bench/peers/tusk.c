/*
 * Peer tusk: a topic of a private broker.
 * Runs on:  see peer.h.
 * Practice: relay: tusk_submit or tusk_submit_batch without completions, a reader that takes
 *           entries in batches; the sender stays within a quarter of the arena of it, as a program
 *           with flow control would. Durable: tusk_append to one topic of a broker with `--fsync
 *           each`.
 * Needs:    nothing
 * Packages: none
 */
#include "bench/peer.h"
#include "bench/private_broker.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <tusk/tusk.h>

#define READ_ENTRIES 512
#define FLUSH_MS 60000
#define LEAD_BYTES (16 << 20)

struct topic_end {
    struct tusk *tusk;
    struct tusk_topic *topic;
    struct tusk_reader *reader;
    struct iovec *batch;
    struct tusk_entry entries[READ_ENTRIES];
};

static int tusk_job_open(struct peer_job *job)
{
    struct private_broker *broker = calloc(1, sizeof *broker);

    job->state = broker;
    if (!broker) {
        return -ENOMEM;
    }
    const int result = private_broker_start(
        broker, job->settings, job->shape == PEER_DURABLE ? "each" : "none", job->settings->idle);
    job->server = broker->pid;
    return result;
}

static void tusk_job_close(struct peer_job *job)
{
    if (job->state) {
        private_broker_stop(job->state);
    }
    free(job->state);
}

static int tusk_fail(const struct peer_end *end, int error, const char *what)
{
    peer_fail_because(end, what, tusk_strerror(error));
    return error;
}

static int end_open(struct peer_end *end)
{
    const struct private_broker *broker = end->job->state;
    struct topic_end *state = calloc(1, sizeof *state);
    struct tusk_options options = TUSK_OPTIONS_INIT;
    char name[32];

    if (!state || !(state->batch = calloc(end->job->batch, sizeof *state->batch))) {
        free(state);
        return peer_fail(end, -ENOMEM, "making an end");
    }
    end->state = state;
    options.socket_path = broker->socket;
    options.idle = settings_idle(end->job->settings->idle);
    snprintf(name, sizeof name, "bench-%u", end->channel);
    int result = tusk_connect(&state->tusk, &options);
    if (result == 0) {
        result = tusk_topic_open(state->tusk, name, NULL, &state->topic);
    }
    return result < 0 ? tusk_fail(end, result, "opening a topic") : 0;
}

static int tusk_peer_flush(struct peer_end *end)
{
    const struct topic_end *state = end->state;
    const int result = tusk_flush(state->tusk, TUSK_COMMITTED, FLUSH_MS);

    return result < 0 ? tusk_fail(end, result, "tusk_flush") : 0;
}

static int tusk_sender_open(struct peer_end *end)
{
    const int result = end_open(end);

    return result < 0 ? result : tusk_peer_flush(end); /* which makes the lane */
}

static int entries_submit(const struct topic_end *state, const char *entries, size_t count,
                          size_t size)
{
    if (count == 1) {
        return tusk_submit(state->topic, entries, size, 0);
    }
    for (size_t i = 0; i < count; i++) {
        /* const is cast away for iovec only: nobody writes there. */
        state->batch[i] =
            (struct iovec){.iov_base = (void *)(uintptr_t)(entries + i * size), .iov_len = size};
    }
    return tusk_submit_batch(state->topic, state->batch, count, 0);
}

static int tusk_peer_send(struct peer_end *end, const char *entries, size_t count)
{
    const struct topic_end *state = end->state;
    const size_t size = end->job->size;
    int result;

    if (end->job->shape == PEER_DURABLE) {
        result = tusk_append(state->topic, entries, size, NULL);
    } else {
        while ((result = entries_submit(state, entries, count, size)) == -EAGAIN) {
            const int waited = tusk_wait(state->tusk, FLUSH_MS);
            if (waited < 0) {
                return tusk_fail(end, waited, "waiting for room");
            }
        }
    }
    return result < 0 ? tusk_fail(end, result, "appending") : 0;
}

static int tusk_receiver_open(struct peer_end *end)
{
    int result = end_open(end);

    if (result < 0) {
        return result;
    }
    struct topic_end *state = end->state;
    result = tusk_reader_open(state->topic, NULL, &state->reader);
    return result < 0 ? tusk_fail(end, result, "opening a reader") : 0;
}

static int tusk_receive(struct peer_end *end)
{
    struct topic_end *state = end->state;
    const int count =
        tusk_reader_batch(state->reader, SIZE_MAX, state->entries, READ_ENTRIES, PEER_WAIT_MS);

    if (count < 0 && count != -ETIMEDOUT) {
        return tusk_fail(end, count, "reading");
    }
    for (int i = 0; i < count; i++) {
        peer_take(end, state->entries[i].data, state->entries[i].size);
    }
    return 0;
}

static void end_close(struct peer_end *end)
{
    struct topic_end *state = end->state;

    tusk_reader_close(state->reader);
    tusk_topic_close(state->topic);
    tusk_disconnect(state->tusk);
    free(state->batch);
    free(state);
}

const struct peer peer_tusk = {.name = "tusk",
                               .keeps = "arena",
                               .syncs = "disk",
                               .pings = true,
                               .lead_bytes = LEAD_BYTES,
                               .open = tusk_job_open,
                               .close = tusk_job_close,
                               .sender_open = tusk_sender_open,
                               .send = tusk_peer_send,
                               .flush = tusk_peer_flush,
                               .sender_close = end_close,
                               .receiver_open = tusk_receiver_open,
                               .receive = tusk_receive,
                               .receiver_close = end_close};
