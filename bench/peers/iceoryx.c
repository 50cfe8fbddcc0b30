/*
 * Peer iceoryx: a publisher and a subscriber of iceoryx 1 (the C binding), with a RouDi of the
 * benchmark's own. RouDi's names are the same for the whole machine, so there can be only one:
 * where one runs already, this one ends at its start and the peer fails.
 * Runs on:  see peer.h; the library's own threads in each process too.
 * Practice: entries are written into a loaned chunk and read where they lie; a batch is packed into
 *           one chunk; the publisher waits for a slow subscriber, whose queue is as long as the
 *           library allows; the subscriber polls, which is far faster here than its wait set.
 * Needs:    cmake iceoryx_binding_c
 * Packages: libiceoryx-binding-c-dev iceoryx g++
 */
#include "bench/clock.h"
#include "bench/peer.h"
#include "bench/peer_server.h"

#include <grp.h>
#include <iceoryx_binding_c/config.h>
#include <iceoryx_binding_c/log.h>
#include <iceoryx_binding_c/publisher.h>
#include <iceoryx_binding_c/runtime.h>
#include <iceoryx_binding_c/subscriber.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define CONNECT_LIMIT_NS (20 * NS_PER_S)
#define SERVICE "tusk-bench"
#define INSTANCE "peer"

struct roudi {
    struct peer_server server;
    bool ready; /* it is ours, and what lies there in its name is */
};

struct publisher {
    iox_pub_storage_t storage;
    iox_pub_t publisher;
};

struct subscriber {
    iox_sub_storage_t storage;
    iox_sub_t subscriber;
    unsigned looks;
};

static bool iceoryx_missing(char *reason, size_t bytes)
{
    return peer_program_missing("iox-roudi", "iceoryx", reason, bytes);
}

static bool iceoryx_ready(const struct peer_server *server, const struct peer_job *job)
{
    (void)job;
    return peer_server_printed(server, "RouDi is ready for clients");
}

static int iceoryx_open(struct peer_job *job)
{
    static const char *const arguments[] = {"iox-roudi", "-k", "1", NULL};
    struct roudi *roudi = calloc(1, sizeof *roudi);

    job->state = roudi;
    if (!roudi) {
        return -ENOMEM;
    }
    const int result = peer_server_start(&roudi->server, job, arguments, iceoryx_ready);
    roudi->ready = result == 0;
    return result;
}

/* What processes are called that open this end first. */
static void runtime_name(const struct peer_job *job, const char *side, char *name, size_t bytes)
{
    snprintf(name, bytes, "%.60s-%s", strrchr(job->run_directory, '/') + 1, side);
}

/* Clients that were killed, and a RouDi that finds such, leave these behind. */
static void leftovers_remove(const struct peer_job *job)
{
    static const char *const sides[] = {"sender", "receiver"};
    const struct group *group = getgrgid(getgid());
    char name[96];
    char path[128];

    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        runtime_name(job, sides[i], name, sizeof name);
        snprintf(path, sizeof path, "/tmp/%s", name);
        unlink(path);
        snprintf(path, sizeof path, "/tmp/%s.lock", name);
        unlink(path);
    }
    unlink("/tmp/roudi");
    unlink("/tmp/roudi.lock");
    unlink("/tmp/iox-unique-roudi.lock");
    shm_unlink("/iceoryx_mgmt");
    if (group) {
        snprintf(path, sizeof path, "/%s", group->gr_name);
        shm_unlink(path);
    }
}

static void iceoryx_close(struct peer_job *job)
{
    struct roudi *roudi = job->state;

    if (roudi) {
        peer_server_stop(&roudi->server);
        if (roudi->ready) {
            leftovers_remove(job);
        }
    }
    free(roudi);
}

/* A process registers once, however many ends it has. */
static void runtime_start(const struct peer_end *end, const char *side)
{
    static bool started;
    char name[96];

    if (!started) {
        runtime_name(end->job, side, name, sizeof name);
        iox_set_loglevel(Iceoryx_LogLevel_Error);
        iox_runtime_init(name);
        started = true;
    }
}

static void event_name(const struct peer_end *end, char *name, size_t bytes)
{
    snprintf(name, bytes, "channel-%u", end->channel);
}

/* Until the subscriber is there: what is published before is lost. */
static int subscriber_wait(const struct peer_end *end, const struct publisher *state)
{
    const uint64_t deadline_ns = clock_now_ns() + CONNECT_LIMIT_NS;
    unsigned looks = 0;

    while (!iox_pub_has_subscribers(state->publisher)) {
        if (clock_now_ns() > deadline_ns) {
            return peer_fail(end, -ETIMEDOUT, "waiting for the subscriber");
        }
        peer_look_again(&looks);
    }
    return 0;
}

static int iceoryx_sender_open(struct peer_end *end)
{
    struct publisher *state = calloc(1, sizeof *state);
    iox_pub_options_t options;
    char event[32];

    if (!state) {
        return peer_fail(end, -ENOMEM, "making a publisher");
    }
    end->state = state;
    runtime_start(end, "sender");
    event_name(end, event, sizeof event);
    iox_pub_options_init(&options);
    options.subscriberTooSlowPolicy = ConsumerTooSlowPolicy_WAIT_FOR_CONSUMER;
    state->publisher = iox_pub_init(&state->storage, SERVICE, INSTANCE, event, &options);
    return subscriber_wait(end, state);
}

static int iceoryx_send(struct peer_end *end, const char *entries, size_t count)
{
    const struct publisher *state = end->state;
    const uint32_t bytes = (uint32_t)(count * end->job->size);
    void *chunk = NULL;

    enum iox_AllocationResult result = iox_pub_loan_chunk(state->publisher, &chunk, bytes);
    while (result == AllocationResult_RUNNING_OUT_OF_CHUNKS) {
        sched_yield();
        result = iox_pub_loan_chunk(state->publisher, &chunk, bytes);
    }
    if (result != AllocationResult_SUCCESS) {
        return peer_fail_because(end, "iox_pub_loan_chunk", "no chunk of that size");
    }
    memcpy(chunk, entries, bytes);
    iox_pub_publish_chunk(state->publisher, chunk);
    return 0;
}

static void iceoryx_sender_close(struct peer_end *end)
{
    struct publisher *state = end->state;

    iox_pub_deinit(state->publisher);
    free(state);
}

static int iceoryx_receiver_open(struct peer_end *end)
{
    struct subscriber *state = calloc(1, sizeof *state);
    iox_sub_options_t options;
    char event[32];

    if (!state) {
        return peer_fail(end, -ENOMEM, "making a subscriber");
    }
    end->state = state;
    runtime_start(end, "receiver");
    event_name(end, event, sizeof event);
    iox_sub_options_init(&options);
    options.queueCapacity = iox_cfg_max_subscriber_queue_capacity();
    options.queueFullPolicy = QueueFullPolicy_BLOCK_PRODUCER;
    state->subscriber = iox_sub_init(&state->storage, SERVICE, INSTANCE, event, &options);
    return 0;
}

static int iceoryx_receive(struct peer_end *end)
{
    struct subscriber *state = end->state;
    const size_t bytes = end->job->size * end->job->batch;
    const void *chunk = NULL;
    unsigned taken = 0;

    while (iox_sub_take_chunk(state->subscriber, &chunk) == ChunkReceiveResult_SUCCESS) {
        peer_take_all(end, chunk, bytes);
        iox_sub_release_chunk(state->subscriber, chunk);
        taken++;
    }
    if (taken == 0) {
        peer_look_again(&state->looks);
    } else {
        state->looks = 0;
    }
    return 0;
}

static void iceoryx_receiver_close(struct peer_end *end)
{
    struct subscriber *state = end->state;

    iox_sub_deinit(state->subscriber);
    free(state);
}

const struct peer peer_iceoryx = {.name = "iceoryx",
                                  .pings = true,
                                  .missing = iceoryx_missing,
                                  .open = iceoryx_open,
                                  .close = iceoryx_close,
                                  .sender_open = iceoryx_sender_open,
                                  .send = iceoryx_send,
                                  .sender_close = iceoryx_sender_close,
                                  .receiver_open = iceoryx_receiver_open,
                                  .receive = iceoryx_receive,
                                  .receiver_close = iceoryx_receiver_close};
