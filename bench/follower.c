/*
 * Follower: see follower.h. With one topic it sleeps in the reader; with several it asks each and
 * sleeps on all of them at once. It may sleep on for WAIT_MS behind the last entry, because only
 * the producers' end tells that there is no other: its time is that of the last one it took.
 */
#include "bench/follower.h"

#include "bench/clock.h"
#include "bench/producer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_ENTRIES 512
#define WAIT_MS 100

struct followed {
    struct tusk_topic *topic;
    struct tusk_reader *reader;
    uint64_t next_seq;
};

struct follower {
    const struct follower_plan *plan;
    struct followed *topics;
    uint64_t touched; /* sum of first bytes: a consumer looks at what it gets */
    struct tusk_entry entries[BATCH_ENTRIES];
};

/* The arena is mapped at the first read. */
static int warm_up(struct tusk *tusk)
{
    struct tusk_topic *topic = NULL;
    struct tusk_reader *reader = NULL;
    struct tusk_entry entry;

    int result = tusk_topic_open(tusk, "warm-up", NULL, &topic);
    if (result == 0) {
        result = tusk_append(topic, "", 0, NULL);
    }
    if (result == 0) {
        result = tusk_reader_open(topic, NULL, &reader);
    }
    if (result == 0) {
        result = tusk_reader_next(reader, &entry, -1);
    }
    tusk_reader_close(reader);
    tusk_topic_close(topic);
    return result < 0 ? result : 0;
}

static int follower_prepare(struct worker *worker)
{
    const struct follower_plan *plan = worker->arg;
    struct follower *follower = calloc(1, sizeof *follower);
    char name[32];

    if (!follower) {
        return worker_fail(worker, -ENOMEM, "making a follower");
    }
    worker->state = follower;
    follower->plan = plan;
    follower->topics = calloc(plan->topics, sizeof *follower->topics);
    if (!follower->topics) {
        return worker_fail(worker, -ENOMEM, "making a follower");
    }
    const int warm = plan->warm ? warm_up(worker->tusk) : 0;
    if (warm < 0) {
        return worker_fail(worker, warm, "reading from a topic of its own");
    }
    for (unsigned i = 0; i < plan->topics; i++) {
        snprintf(name, sizeof name, PRODUCER_TOPIC_FORMAT, i);
        int result = tusk_topic_open(worker->tusk, name, NULL, &follower->topics[i].topic);
        if (result == 0) {
            result = tusk_reader_open(follower->topics[i].topic, NULL, &follower->topics[i].reader);
        }
        if (result < 0) {
            return worker_fail(worker, result, "opening a reader");
        }
    }
    return 0;
}

static void follower_finish(struct worker *worker)
{
    struct follower *follower = worker->state;

    for (unsigned i = 0; i < follower->plan->topics; i++) {
        tusk_reader_close(follower->topics[i].reader);
        tusk_topic_close(follower->topics[i].topic);
    }
    free(follower->topics);
    free(follower);
}

static int entries_take(struct worker *worker, struct follower *follower, unsigned topic, int count)
{
    struct worker_result *sum = worker->result;

    for (int i = 0; i < count; i++) {
        const struct tusk_entry *entry = &follower->entries[i];
        if (entry->seq != follower->topics[topic].next_seq) {
            return worker_fail(worker, -EBADMSG, "an entry is missing or came twice");
        }
        follower->topics[topic].next_seq++;
        if (follower->plan->latency) {
            uint64_t sent_ns = 0;
            memcpy(&sent_ns, entry->data, sizeof sent_ns);
            if (sent_ns == 0) {
                continue;
            }
            histogram_add(&sum->latency_ns, clock_now_ns() - sent_ns);
        }
        sum->entries++;
        sum->bytes += entry->size;
        follower->touched += entry->size > 0 ? *(const unsigned char *)entry->data : 0;
    }
    sum->operations++;
    sum->end_ns = clock_now_ns();
    atomic_fetch_add_explicit(&worker->shared->followed, (uint64_t)count, memory_order_relaxed);
    return 0;
}

/* Everything that the producers have appended has been seen, and they have ended. */
static bool all_seen(const struct worker *worker)
{
    return atomic_load(&worker->shared->producing) == 0 &&
           worker->result->entries >= atomic_load(&worker->shared->produced);
}

/* Read each topic once: how many entries came. */
static int topics_read(struct worker *worker, struct follower *follower)
{
    const unsigned topics = follower->plan->topics;
    const int timeout_ms = topics == 1 ? WAIT_MS : 0;
    int total = 0;

    for (unsigned topic = 0; topic < topics; topic++) {
        const int count = tusk_reader_batch(follower->topics[topic].reader, SIZE_MAX,
                                            follower->entries, BATCH_ENTRIES, timeout_ms);
        if (count < 0 && count != -ETIMEDOUT) {
            return worker_fail(worker, count, "reading");
        }
        if (count > 0) {
            const int result = entries_take(worker, follower, topic, count);
            if (result < 0) {
                return result;
            }
            total += count;
        }
    }
    return total;
}

static int follower_work(struct worker *worker)
{
    struct follower *follower = worker->state;

    while (!all_seen(worker)) {
        const int count = topics_read(worker, follower);
        if (count < 0) {
            return count;
        }
        if (count == 0 && follower->plan->topics > 1) {
            const int result = tusk_wait(worker->tusk, WAIT_MS);
            if (result < 0) {
                return worker_fail(worker, result, "waiting for entries");
            }
        }
    }
    return 0;
}

struct role follower_role(unsigned processes, const struct follower_plan *plan)
{
    return (struct role){.processes = processes,
                         .threads = 1,
                         .prepare = follower_prepare,
                         .work = follower_work,
                         .finish = follower_finish,
                         .arg = plan};
}
