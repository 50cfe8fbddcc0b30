/*
 * Peer aeron: an exclusive publication and a subscription over aeron:ipc, with a media driver
 * (aeronmd) of the benchmark's own. Debian has neither, so this one has been compiled, but not run,
 * where it was written.
 * Runs on:  see peer.h; the client's conductor thread in each process too.
 * Practice: entries are written into a claimed range of the log and read where they lie; a batch is
 *           packed into one message; terms of 1 MiB, touched before; an MTU that takes 16 KiB in
 *           one fragment; the driver has one thread, and everybody yields: spinning starves the
 *           driver where cores are few.
 * Needs:    header aeronc.h library aeron
 * Packages: none
 */
#include "bench/clock.h"
#include "bench/peer.h"
#include "bench/peer_server.h"

#include <aeronc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHANNEL "aeron:ipc?term-length=1m|mtu=32768"
#define STREAM_BASE 1000
#define FRAGMENTS 256
#define CONNECT_LIMIT_NS (20 * NS_PER_S)
#define SEND_MAX 32000 /* bytes of a message in one fragment */

struct client {
    aeron_context_t *context;
    aeron_t *aeron;
    aeron_exclusive_publication_t *publication;
    aeron_subscription_t *subscription;
    unsigned looks;
};

static bool aeron_missing(char *reason, size_t bytes)
{
    return peer_program_missing("aeronmd", "Aeron's media driver; no package of Debian", reason,
                                bytes);
}

static void driver_directory(const struct peer_job *job, char *path, size_t bytes)
{
    snprintf(path, bytes, "%s/aeron", job->run_directory);
}

static bool aeron_ready(const struct peer_server *server, const struct peer_job *job)
{
    char directory[PATH_MAX + 16];
    char path[PATH_MAX + 32];

    (void)server;
    driver_directory(job, directory, sizeof directory);
    snprintf(path, sizeof path, "%s/cnc.dat", directory);
    return access(path, R_OK) == 0;
}

static int aeron_open(struct peer_job *job)
{
    struct peer_server *server = calloc(1, sizeof *server);
    char directory[PATH_MAX + 16];
    char setting[PATH_MAX + 32];

    job->state = server;
    if (!server) {
        return -ENOMEM;
    }
    driver_directory(job, directory, sizeof directory);
    snprintf(setting, sizeof setting, "AERON_DIR=%s", directory);
    const char *const arguments[] = {"env",
                                     setting,
                                     "AERON_THREADING_MODE=SHARED",
                                     "AERON_SHARED_IDLE_STRATEGY=yielding",
                                     "AERON_TERM_BUFFER_SPARSE_FILE=0",
                                     "aeronmd",
                                     NULL};
    return peer_server_start(server, job, arguments, aeron_ready);
}

static void aeron_job_close(struct peer_job *job)
{
    if (job->state) {
        peer_server_stop(job->state);
    }
    free(job->state);
}

static int aeron_fail(const struct peer_end *end, const char *what)
{
    return peer_fail_because(end, what, aeron_errmsg());
}

static int client_open(struct peer_end *end)
{
    struct client *client = calloc(1, sizeof *client);
    char directory[PATH_MAX + 16];

    if (!client) {
        return peer_fail(end, -ENOMEM, "making a client");
    }
    end->state = client;
    driver_directory(end->job, directory, sizeof directory);
    if (aeron_context_init(&client->context) < 0 ||
        aeron_context_set_dir(client->context, directory) < 0 ||
        aeron_context_set_pre_touch_mapped_memory(client->context, true) < 0 ||
        aeron_init(&client->aeron, client->context) < 0 || aeron_start(client->aeron) < 0) {
        return aeron_fail(end, "connecting to the media driver");
    }
    return 0;
}

static void client_close(struct peer_end *end)
{
    struct client *client = end->state;

    aeron_close(client->aeron); /* with what it owns */
    aeron_context_close(client->context);
    free(client);
}

/* Until the driver has made it and a subscription is there: what is published before is lost. */
static int publication_wait(struct peer_end *end, aeron_async_add_exclusive_publication_t *adding)
{
    const uint64_t deadline_ns = clock_now_ns() + CONNECT_LIMIT_NS;
    struct client *client = end->state;
    unsigned looks = 0;

    while (!client->publication || !aeron_exclusive_publication_is_connected(client->publication)) {
        if (!client->publication &&
            aeron_async_add_exclusive_publication_poll(&client->publication, adding) < 0) {
            return aeron_fail(end, "adding a publication");
        }
        if (clock_now_ns() > deadline_ns) {
            return peer_fail(end, -ETIMEDOUT, "waiting for the subscription");
        }
        peer_look_again(&looks);
    }
    return 0;
}

static int aeron_sender_open(struct peer_end *end)
{
    aeron_async_add_exclusive_publication_t *adding = NULL;
    const int result = client_open(end);

    if (result < 0) {
        return result;
    }
    const struct client *client = end->state;
    if (aeron_async_add_exclusive_publication(&adding, client->aeron, CHANNEL,
                                              STREAM_BASE + (int32_t)end->channel) < 0) {
        return aeron_fail(end, "adding a publication");
    }
    return publication_wait(end, adding);
}

static int aeron_send(struct peer_end *end, const char *entries, size_t count)
{
    const struct client *client = end->state;
    const size_t bytes = count * end->job->size;
    aeron_buffer_claim_t claim;

    int64_t position = aeron_exclusive_publication_try_claim(client->publication, bytes, &claim);
    while (position == AERON_PUBLICATION_BACK_PRESSURED ||
           position == AERON_PUBLICATION_ADMIN_ACTION) {
        sched_yield();
        position = aeron_exclusive_publication_try_claim(client->publication, bytes, &claim);
    }
    if (position < 0) {
        return aeron_fail(end, "aeron_exclusive_publication_try_claim");
    }
    memcpy(claim.data, entries, bytes);
    return aeron_buffer_claim_commit(&claim) < 0 ? aeron_fail(end, "aeron_buffer_claim_commit") : 0;
}

static int aeron_receiver_open(struct peer_end *end)
{
    const uint64_t deadline_ns = clock_now_ns() + CONNECT_LIMIT_NS;
    aeron_async_add_subscription_t *adding = NULL;
    unsigned looks = 0;
    int result = client_open(end);

    if (result < 0) {
        return result;
    }
    struct client *client = end->state;
    result =
        aeron_async_add_subscription(&adding, client->aeron, CHANNEL,
                                     STREAM_BASE + (int32_t)end->channel, NULL, NULL, NULL, NULL);
    while (result == 0) {
        result = aeron_async_add_subscription_poll(&client->subscription, adding);
        if (result == 0 && clock_now_ns() > deadline_ns) {
            return peer_fail(end, -ETIMEDOUT, "waiting for the media driver");
        }
        peer_look_again(&looks);
    }
    return result < 0 ? aeron_fail(end, "adding a subscription") : 0;
}

static void fragment_take(void *clientd, const uint8_t *buffer, size_t length,
                          aeron_header_t *header)
{
    (void)header;
    peer_take_all(clientd, (const char *)buffer, length);
}

static int aeron_receive(struct peer_end *end)
{
    struct client *client = end->state;
    const int count = aeron_subscription_poll(client->subscription, fragment_take, end, FRAGMENTS);

    if (count < 0) {
        return aeron_fail(end, "aeron_subscription_poll");
    }
    if (count == 0) {
        peer_look_again(&client->looks);
    } else {
        client->looks = 0;
    }
    return 0;
}

const struct peer peer_aeron = {.name = "aeron",
                                .pings = true,
                                .send_max = SEND_MAX,
                                .missing = aeron_missing,
                                .open = aeron_open,
                                .close = aeron_job_close,
                                .sender_open = aeron_sender_open,
                                .send = aeron_send,
                                .sender_close = client_close,
                                .receiver_open = aeron_receiver_open,
                                .receive = aeron_receive,
                                .receiver_close = client_close};
