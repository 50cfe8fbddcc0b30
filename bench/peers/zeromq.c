/*
 * Peer zeromq: a PUSH and a PULL socket over ipc://.
 * Runs on:  see peer.h; the library's own thread in each process too.
 * Practice: zmq_send and zmq_recv without multipart; a batch is packed into one message, which is
 *           how its users reach their rates; high-water marks far above the default of 1,000
 *           messages, so that the library's own batching has something to work on. A sender is
 *           there when it is connected: one that comes before the receiver would find it after a
 *           fifth of a second only, in the middle of what is measured.
 * Needs:    pkg-config libzmq
 * Packages: libzmq3-dev
 */
#include "bench/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

#define MARK_BYTES (64 << 20) /* in a queue, divided by the size of a message */
#define MARK_MESSAGES_MAX 100000
#define RECONNECT_MS 1
#define CONNECT_LIMIT_MS 20000

struct socket {
    void *context;
    void *socket;
};

static int zeromq_fail(const struct peer_end *end, const char *what)
{
    return peer_fail_because(end, what, zmq_strerror(zmq_errno()));
}

static int socket_make(struct peer_end *end, int type, int mark_option)
{
    struct socket *state = calloc(1, sizeof *state);
    const size_t bytes = end->job->size * end->job->batch;
    const int mark =
        MARK_BYTES / bytes < MARK_MESSAGES_MAX ? (int)(MARK_BYTES / bytes) : MARK_MESSAGES_MAX;
    const int wait_ms = PEER_WAIT_MS;

    if (!state) {
        return peer_fail(end, -ENOMEM, "making a socket");
    }
    end->state = state;
    state->context = zmq_ctx_new();
    state->socket = state->context ? zmq_socket(state->context, type) : NULL;
    if (!state->socket || zmq_setsockopt(state->socket, mark_option, &mark, sizeof mark) < 0 ||
        zmq_setsockopt(state->socket, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms) < 0) {
        return zeromq_fail(end, "making a socket");
    }
    return 0;
}

static void address_get(const struct peer_end *end, char *address, size_t bytes)
{
    snprintf(address, bytes, "ipc://%s/zeromq-%u", end->job->run_directory, end->channel);
}

static int zeromq_sender_open(struct peer_end *end)
{
    char address[PATH_MAX + 32];
    const int connected_only = 1;
    const int again_ms = RECONNECT_MS;
    const int result = socket_make(end, ZMQ_PUSH, ZMQ_SNDHWM);

    if (result < 0) {
        return result;
    }
    const struct socket *state = end->state;
    zmq_pollitem_t item = {.socket = state->socket, .events = ZMQ_POLLOUT};
    address_get(end, address, sizeof address);
    if (zmq_setsockopt(state->socket, ZMQ_IMMEDIATE, &connected_only, sizeof connected_only) < 0 ||
        zmq_setsockopt(state->socket, ZMQ_RECONNECT_IVL, &again_ms, sizeof again_ms) < 0 ||
        zmq_connect(state->socket, address) < 0) {
        return zeromq_fail(end, address);
    }
    return zmq_poll(&item, 1, CONNECT_LIMIT_MS) == 1
               ? 0
               : peer_fail_because(end, address, "no receiver within 20 s");
}

static int zeromq_send(struct peer_end *end, const char *entries, size_t count)
{
    const struct socket *state = end->state;

    return zmq_send(state->socket, entries, count * end->job->size, 0) < 0
               ? zeromq_fail(end, "zmq_send")
               : 0;
}

static int zeromq_receiver_open(struct peer_end *end)
{
    char address[PATH_MAX + 32];
    const int result = socket_make(end, ZMQ_PULL, ZMQ_RCVHWM);

    if (result < 0) {
        return result;
    }
    const struct socket *state = end->state;
    address_get(end, address, sizeof address);
    return zmq_bind(state->socket, address) < 0 ? zeromq_fail(end, address) : 0;
}

static int zeromq_receive(struct peer_end *end)
{
    const struct socket *state = end->state;
    zmq_msg_t message;

    zmq_msg_init(&message);
    if (zmq_msg_recv(&message, state->socket, 0) < 0) {
        zmq_msg_close(&message);
        return zmq_errno() == EAGAIN ? 0 : zeromq_fail(end, "zmq_msg_recv");
    }
    peer_take_all(end, zmq_msg_data(&message), zmq_msg_size(&message));
    zmq_msg_close(&message);
    return 0;
}

/* A sender's waits until all has left it. */
static void zeromq_end_close(struct peer_end *end)
{
    struct socket *state = end->state;

    zmq_close(state->socket);
    zmq_ctx_term(state->context);
    free(state);
}

static void zeromq_sender_close(struct peer_end *end)
{
    const struct socket *state = end->state;
    const int linger_ms = 5000;

    zmq_setsockopt(state->socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    zeromq_end_close(end);
}

const struct peer peer_zeromq = {.name = "zeromq",
                                 .pings = true,
                                 .sender_open = zeromq_sender_open,
                                 .send = zeromq_send,
                                 .sender_close = zeromq_sender_close,
                                 .receiver_open = zeromq_receiver_open,
                                 .receive = zeromq_receive,
                                 .receiver_close = zeromq_end_close};
