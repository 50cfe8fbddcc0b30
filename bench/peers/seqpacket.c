/*
 * Peer seqpacket: a unix socket that keeps the borders of packets; one entry or one batch a packet.
 * Runs on:  see peer.h.
 * Practice: a batch is packed into one packet, which is far cheaper than sendmmsg() of as many;
 *           socket buffers are as large as an unprivileged process may make them. (recvmmsg() of up
 *           to 64 packets makes neither the rate nor the CPU time of the receiver better.)
 * Needs:    nothing
 * Packages: none
 */
#include "bench/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BUFFER_BYTES (1 << 20)
#define PACKET_BYTES (64 << 10)

struct listeners {
    int fds[PEER_CHANNELS];
};

struct receiver {
    int fd;
    char packet[PACKET_BYTES];
};

static struct sockaddr_un address_get(const struct peer_job *job, unsigned channel)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof address.sun_path, "%.90s/packets-%u", job->run_directory,
             channel);
    return address;
}

static int seqpacket_open(struct peer_job *job)
{
    struct listeners *listeners = calloc(1, sizeof *listeners);

    if (!listeners) {
        return -ENOMEM;
    }
    job->state = listeners;
    for (unsigned channel = 0; channel < PEER_CHANNELS; channel++) {
        const struct sockaddr_un address = address_get(job, channel);
        const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        listeners->fds[channel] = fd;
        if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 ||
            listen(fd, 1) < 0) {
            perror(address.sun_path);
            return -errno;
        }
    }
    return 0;
}

static void seqpacket_close(struct peer_job *job)
{
    struct listeners *listeners = job->state;

    for (unsigned channel = 0; listeners && channel < PEER_CHANNELS; channel++) {
        if (listeners->fds[channel] > 0) {
            close(listeners->fds[channel]);
        }
    }
    free(listeners);
}

static int seqpacket_sender_open(struct peer_end *end)
{
    const struct sockaddr_un address = address_get(end->job, end->channel);
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    const int bytes = BUFFER_BYTES;

    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        return peer_fail(end, -errno, "connecting");
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    end->state = (void *)(intptr_t)fd;
    return 0;
}

static int seqpacket_send(struct peer_end *end, const char *entries, size_t count)
{
    const size_t bytes = count * end->job->size;

    if (send((int)(intptr_t)end->state, entries, bytes, MSG_NOSIGNAL) != (ssize_t)bytes) {
        return peer_fail(end, -errno, "send");
    }
    return 0;
}

static void seqpacket_sender_close(struct peer_end *end)
{
    close((int)(intptr_t)end->state);
}

static int seqpacket_receiver_open(struct peer_end *end)
{
    const struct listeners *listeners = end->job->state;
    struct receiver *receiver = calloc(1, sizeof *receiver);

    if (!receiver) {
        return peer_fail(end, -ENOMEM, "making a receiver");
    }
    end->state = receiver;
    receiver->fd = accept(listeners->fds[end->channel], NULL, NULL);
    return receiver->fd < 0 ? peer_fail(end, -errno, "accept") : 0;
}

static int seqpacket_receive(struct peer_end *end)
{
    struct receiver *receiver = end->state;
    const ssize_t bytes = recv(receiver->fd, receiver->packet, sizeof receiver->packet, 0);

    if (bytes < 0) {
        return peer_fail(end, -errno, "recv");
    }
    peer_take_all(end, receiver->packet, (size_t)bytes);
    return 0;
}

static void seqpacket_receiver_close(struct peer_end *end)
{
    struct receiver *receiver = end->state;

    close(receiver->fd);
    free(receiver);
}

const struct peer peer_seqpacket = {.name = "seqpacket",
                                    .pings = true,
                                    .send_max = PACKET_BYTES,
                                    .open = seqpacket_open,
                                    .close = seqpacket_close,
                                    .sender_open = seqpacket_sender_open,
                                    .send = seqpacket_send,
                                    .sender_close = seqpacket_sender_close,
                                    .receiver_open = seqpacket_receiver_open,
                                    .receive = seqpacket_receive,
                                    .receiver_close = seqpacket_receiver_close};
