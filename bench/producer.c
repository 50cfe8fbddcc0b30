/*
 * Producer: see producer.h. Payloads are cut from one block of random bytes, so that making them
 * costs nothing; the inner loop reads no clock unless latencies are asked for.
 */
#include "bench/producer.h"

#include "bench/clock.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define FRAME_HEADER_BYTES 32
#define FRAME_ALIGNMENT 16
#define PAYLOAD_SPREAD 4096 /* payloads begin at a random place of so many */
#define REAP_MAX 256
#define WAIT_MS 30000
#define LEAD_LOOK_EVERY 64 /* operations between two looks at the follower */

struct producer {
    struct tusk_topic *topic; /* of the next operation */
    struct tusk_topic **topics;
    unsigned topics_count;
    unsigned next_topic;
    const struct producer_plan *plan;
    char *payload;
    struct iovec *entries; /* of a batch */
    uint64_t random;
    uint64_t log_bytes;
    uint64_t outstanding; /* with completions */
};

uint64_t producer_log_bytes(uint64_t size)
{
    return (FRAME_HEADER_BYTES + size + FRAME_ALIGNMENT - 1) / FRAME_ALIGNMENT * FRAME_ALIGNMENT;
}

/* xorshift64*: the bench needs speed and repeatability, not quality. */
static inline uint64_t random_next(struct producer *producer)
{
    producer->random ^= producer->random >> 12;
    producer->random ^= producer->random << 25;
    producer->random ^= producer->random >> 27;
    return producer->random * UINT64_C(0x2545f4914f6cdd1d);
}

static inline struct iovec payload_next(struct producer *producer)
{
    const struct producer_plan *plan = producer->plan;
    const uint64_t span = plan->size_max - plan->size_min;
    const uint64_t random = random_next(producer);
    const uint64_t size = plan->size_min + (span ? (random >> 32) % (span + 1) : 0);

    return (struct iovec){.iov_base = producer->payload + random % PAYLOAD_SPREAD, .iov_len = size};
}

/* Open those that are the worker's. */
static int topics_open(struct worker *worker, struct producer *producer)
{
    const struct producer_plan *plan = producer->plan;
    const unsigned step = plan->workers > 0 ? plan->workers : plan->topics;
    const unsigned first = worker->number % plan->topics;
    char name[32];

    producer->topics =
        calloc((plan->topics - first + step - 1) / step, sizeof(struct tusk_topic *));
    if (!producer->topics) {
        return -ENOMEM;
    }
    for (unsigned topic = first; topic < plan->topics; topic += step) {
        snprintf(name, sizeof name, PRODUCER_TOPIC_FORMAT, topic);
        const int result =
            tusk_topic_open(worker->tusk, name, NULL, &producer->topics[producer->topics_count]);
        if (result < 0) {
            return result;
        }
        producer->topics_count++;
    }
    producer->topic = producer->topics[0];
    return tusk_flush(worker->tusk, TUSK_COMMITTED, WAIT_MS); /* makes the lane */
}

static inline void topic_turn(struct producer *producer)
{
    if (producer->topics_count > 1) {
        producer->next_topic = (producer->next_topic + 1) % producer->topics_count;
        producer->topic = producer->topics[producer->next_topic];
    }
}

int producer_prepare(struct worker *worker)
{
    const struct producer_plan *plan = worker->arg;
    struct producer *producer = calloc(1, sizeof *producer);

    if (!producer) {
        return worker_fail(worker, -ENOMEM, "making a producer");
    }
    worker->state = producer;
    producer->plan = plan;
    producer->random = worker->number * UINT64_C(0x9e3779b97f4a7c15) + 1;
    producer->payload = malloc(plan->size_max + PAYLOAD_SPREAD);
    producer->entries = calloc(plan->batch, sizeof *producer->entries);
    if (!producer->payload || !producer->entries) {
        return worker_fail(worker, -ENOMEM, "making payloads");
    }
    for (uint64_t i = 0; i < plan->size_max + PAYLOAD_SPREAD; i++) {
        producer->payload[i] = (char)random_next(producer);
    }
    int result = topics_open(worker, producer);
    if (result == 0 && plan->warm_up) {
        result = tusk_append(producer->topic, producer->payload, plan->size_min, NULL);
    }
    return result < 0 ? worker_fail(worker, result, "opening a topic") : 0;
}

void producer_finish(struct worker *worker)
{
    struct producer *producer = worker->state;

    for (unsigned i = 0; i < producer->topics_count; i++) {
        tusk_topic_close(producer->topics[i]);
    }
    free(producer->topics);
    free(producer->payload);
    free(producer->entries);
    free(producer);
}

static int completions_reap(struct worker *worker, struct producer *producer)
{
    struct tusk_completion completions[REAP_MAX];
    const int count = tusk_reap(worker->tusk, completions, REAP_MAX);

    for (int i = 0; i < count; i++) {
        if (completions[i].error < 0) {
            return completions[i].error;
        }
    }
    producer->outstanding -= count > 0 ? (uint64_t)count : 0;
    return count;
}

/* Make room in the lane: reap if there are completions, else sleep. */
static int room_wait(struct worker *worker, struct producer *producer)
{
    if (producer->outstanding > 0) {
        const int reaped = completions_reap(worker, producer);
        if (reaped != 0) {
            return reaped;
        }
    }
    const int result = tusk_wait(worker->tusk, WAIT_MS);
    return result == 0 ? -ETIMEDOUT : result;
}

static int entry_submit(struct worker *worker, struct producer *producer,
                        const struct iovec *payload, bool completion)
{
    for (;;) {
        const int result =
            tusk_submit(producer->topic, payload->iov_base, payload->iov_len, completion);
        if (result != -EAGAIN) {
            producer->outstanding += completion && result == 0;
            return result;
        }
        const int waited = room_wait(worker, producer);
        if (waited < 0) {
            return waited;
        }
    }
}

static int batch_submit(struct worker *worker, struct producer *producer)
{
    for (;;) {
        const int result =
            tusk_submit_batch(producer->topic, producer->entries, producer->plan->batch, 0);
        if (result != -EAGAIN) {
            return result;
        }
        const int waited = room_wait(worker, producer);
        if (waited < 0) {
            return waited;
        }
    }
}

static void batch_fill(struct producer *producer)
{
    for (unsigned i = 0; i < producer->plan->batch; i++) {
        producer->entries[i] = payload_next(producer);
    }
}

/* One call of the mode; its payloads are in producer->entries. */
static int operation(struct worker *worker, struct producer *producer)
{
    const struct iovec *first = &producer->entries[0];

    switch (producer->plan->mode) {
    case PRODUCER_APPEND:
        return tusk_append(producer->topic, first->iov_base, first->iov_len, NULL);
    case PRODUCER_SUBMIT:
        return entry_submit(worker, producer, first, false);
    case PRODUCER_COMPLETIONS:
        return entry_submit(worker, producer, first, true);
    case PRODUCER_BATCH:
        return tusk_batch_append(producer->topic, producer->entries, producer->plan->batch, NULL);
    case PRODUCER_SUBMIT_BATCH:
        return batch_submit(worker, producer);
    }
    return -EINVAL;
}

static int producer_end(struct worker *worker, struct producer *producer)
{
    while (producer->outstanding > 0) {
        const int result = room_wait(worker, producer);
        if (result < 0) {
            return result;
        }
    }
    return tusk_flush(worker->tusk, TUSK_COMMITTED, WAIT_MS);
}

/* Wait until the followers are close enough, on average. */
static void lead_limit(const struct worker *worker, const struct producer *producer,
                       uint64_t entries)
{
    while (!worker_stopped(worker) && entries > producer->plan->lead_entries &&
           (entries - producer->plan->lead_entries) * producer->plan->followers >
               atomic_load_explicit(&worker->shared->followed, memory_order_relaxed)) {
        sched_yield();
    }
}

int producer_work(struct worker *worker)
{
    struct producer *producer = worker->state;
    const struct producer_plan *plan = producer->plan;
    struct worker_result *sum = worker->result;
    const bool batch = plan->mode == PRODUCER_BATCH || plan->mode == PRODUCER_SUBMIT_BATCH;
    const unsigned entries = batch ? plan->batch : 1;
    const uint64_t operations_max = plan->operations_max ? plan->operations_max : UINT64_MAX;
    uint64_t operations = 0;
    uint64_t payload_bytes = 0;
    uint64_t before_ns = plan->latency ? clock_now_ns() : 0;
    int result = 0;

    while ((operations == 0 || !worker_stopped(worker)) && operations < operations_max &&
           producer->log_bytes < plan->log_bytes_max) {
        if (batch) {
            batch_fill(producer);
        } else {
            producer->entries[0] = payload_next(producer);
        }
        result = operation(worker, producer);
        if (result < 0) {
            return worker_fail(worker, result, "appending");
        }
        if (plan->latency) {
            const uint64_t now_ns = clock_now_ns();
            histogram_add(&sum->latency_ns, now_ns - before_ns);
            before_ns = now_ns;
        }
        operations++;
        topic_turn(producer);
        if (plan->lead_entries > 0 && operations % LEAD_LOOK_EVERY == 0) {
            lead_limit(worker, producer, operations * entries);
        }
        for (unsigned i = 0; i < entries; i++) {
            payload_bytes += producer->entries[i].iov_len;
            producer->log_bytes += producer_log_bytes(producer->entries[i].iov_len);
        }
    }
    result = producer_end(worker, producer);
    sum->operations = operations;
    sum->entries = operations * entries;
    sum->bytes = payload_bytes;
    return result < 0 ? worker_fail(worker, result, "waiting until all is committed") : 0;
}

struct role producer_role(unsigned processes, unsigned threads, const struct producer_plan *plan)
{
    return (struct role){.processes = processes,
                         .threads = threads,
                         .produces = true,
                         .prepare = producer_prepare,
                         .work = producer_work,
                         .finish = producer_finish,
                         .arg = plan};
}
