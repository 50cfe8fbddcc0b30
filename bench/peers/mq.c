/*
 * Peer mq: a POSIX message queue; one entry or one batch a message.
 * Runs on:  see peer.h.
 * Practice: a batch is packed into one message; messages have just the size of what is sent, and a
 *           queue has as many as the system's limits allow, or the ten that it grants to everybody.
 * Needs:    nothing
 * Packages: none
 */
#include "bench/clock.h"
#include "bench/peer.h"

#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MESSAGE_BYTES 8192   /* the kernel's default limit of a message */
#define QUEUE_BYTES 380000   /* half of the default RLIMIT_MSGQUEUE, overheads left out */
#define MESSAGE_OVERHEAD 128 /* at most, that the limit counts for each message */
#define MESSAGES_GRANTED 10  /* the kernel's default limit of a queue without privileges */

struct queues {
    mqd_t queues[PEER_CHANNELS];
};

/* Without its name at once, so that nothing can stay behind. */
static mqd_t queue_make(const struct peer_job *job, unsigned channel)
{
    const size_t bytes = job->size * job->batch;
    const long most = (long)(QUEUE_BYTES / (bytes + MESSAGE_OVERHEAD));
    const long counts[] = {most, MESSAGES_GRANTED};
    char name[64];
    mqd_t queue = (mqd_t)-1;

    snprintf(name, sizeof name, "/tusk-bench-%d-%u", (int)getpid(), channel);
    for (size_t i = 0; i < sizeof counts / sizeof *counts && queue == (mqd_t)-1; i++) {
        struct mq_attr attributes = {.mq_maxmsg = counts[i], .mq_msgsize = (long)bytes};
        queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    }
    if (queue != (mqd_t)-1) {
        mq_unlink(name);
    }
    return queue;
}

static bool mq_missing(char *reason, size_t bytes)
{
    const struct peer_job smallest = {.size = PEER_SIZE_MIN, .batch = 1};
    const mqd_t queue = queue_make(&smallest, 0);

    if (queue == (mqd_t)-1) {
        snprintf(reason, bytes, "a message queue can't be made: %s", strerror(errno));
        return true;
    }
    mq_close(queue);
    return false;
}

static int mq_job_open(struct peer_job *job)
{
    struct queues *queues = calloc(1, sizeof *queues);

    if (!queues) {
        return -ENOMEM;
    }
    job->state = queues;
    for (unsigned channel = 0; channel < PEER_CHANNELS; channel++) {
        queues->queues[channel] = queue_make(job, channel);
        if (queues->queues[channel] == (mqd_t)-1) {
            perror("making a message queue");
            return -errno;
        }
    }
    return 0;
}

static void mq_job_close(struct peer_job *job)
{
    struct queues *queues = job->state;

    for (unsigned channel = 0; queues && channel < PEER_CHANNELS; channel++) {
        if (queues->queues[channel] > 0) {
            mq_close(queues->queues[channel]);
        }
    }
    free(queues);
}

static mqd_t queue_get(const struct peer_end *end)
{
    const struct queues *queues = end->job->state;

    return queues->queues[end->channel];
}

static int mq_end_open(struct peer_end *end)
{
    (void)end;
    return 0;
}

static int mq_peer_send(struct peer_end *end, const char *entries, size_t count)
{
    if (mq_send(queue_get(end), entries, count * end->job->size, 0) < 0) {
        return peer_fail(end, -errno, "mq_send");
    }
    return 0;
}

static int mq_peer_receive(struct peer_end *end)
{
    char message[MESSAGE_BYTES];
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)(PEER_WAIT_MS * NS_PER_MS);
    if (until.tv_nsec >= (long)NS_PER_S) {
        until.tv_nsec -= (long)NS_PER_S;
        until.tv_sec++;
    }
    const ssize_t bytes = mq_timedreceive(queue_get(end), message, sizeof message, NULL, &until);
    if (bytes < 0) {
        return errno == ETIMEDOUT ? 0 : peer_fail(end, -errno, "mq_timedreceive");
    }
    peer_take_all(end, message, (size_t)bytes);
    return 0;
}

const struct peer peer_mq = {.name = "mq",
                             .pings = true,
                             .send_max = MESSAGE_BYTES,
                             .missing = mq_missing,
                             .open = mq_job_open,
                             .close = mq_job_close,
                             .sender_open = mq_end_open,
                             .send = mq_peer_send,
                             .receiver_open = mq_end_open,
                             .receive = mq_peer_receive};
