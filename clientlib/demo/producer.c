/* Producer: see producer.h. */
#include "clientlib/demo/producer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <tusk/tusk.h>

#include "clientlib/demo/tag.h"
#include "clientlib/demo/topic_name.h"

enum {
    POLL_MS = 50, /* how soon a process notices that the demo ends */
    FLUSH_TIMEOUT_MS = 20000,
    LEAD_PAUSE_NS = 100000,    /* when it is LEAD_LINES_MAX ahead of its consumer */
    ROUND_TRIPS_MAX = 100000,  /* how many are timed, */
    ROUND_TRIP_NS = 1000000000 /* and how long */
};

struct producer {
    const struct plan *plan;
    struct board *board;
    struct producer_slot *slot;
    unsigned index;
    uint64_t lines;
    uint64_t bytes;
    struct tusk *tusk;
    struct tusk_topic *topic;
};

static bool stopped(const struct producer *producer)
{
    return atomic_load_explicit(&producer->board->stop, memory_order_relaxed);
}

static int fail(const struct producer *producer, const char *what, int error)
{
    board_fail(producer->board, "producer %u: %s failed after %llu lines: %s", producer->index,
               what, (unsigned long long)producer->lines, tusk_strerror(error));
    return error;
}

static struct corpus_line line_of(const struct producer *producer)
{
    return corpus_pick(producer->plan->corpus, producer->index, producer->plan->producers,
                       producer->lines);
}

static void line_sent(struct producer *producer, size_t bytes)
{
    producer->lines++;
    producer->bytes += bytes;
    atomic_store_explicit(&producer->slot->bytes, producer->bytes, memory_order_relaxed);
    atomic_store_explicit(&producer->slot->lines, producer->lines, memory_order_relaxed);
}

/* Writes the next line in place, into the lane; 0, -EAGAIN when the lane is full, or an error. */
static int line_submit(struct producer *producer)
{
    const struct corpus_line line = line_of(producer);
    void *room = NULL;
    int error = tusk_reserve(producer->topic, TAG_BYTES_MAX + line.bytes, &room);
    if (error) {
        return error;
    }
    char *text = room;
    const size_t tag_bytes = tag_write(text, producer->index, producer->lines);
    memcpy(text + tag_bytes, line.text, line.bytes);
    board_stamp(producer->slot, producer->lines);
    error = tusk_commit(producer->topic, tag_bytes + line.bytes, 0);
    if (!error) {
        line_sent(producer, tag_bytes + line.bytes);
    }
    return error;
}

/* Producers that outrun their consumers show how much the broker can keep, not how fast it is. */
static bool too_far_ahead(const struct producer *producer)
{
    const struct consumer_slot *consumer =
        &producer->board->consumers[producer->index % producer->plan->consumers];
    const uint64_t arrived =
        atomic_load_explicit(&consumer->arrived[producer->index], memory_order_relaxed);
    return producer->lines - arrived >= LEAD_LINES_MAX;
}

static int load_run(struct producer *producer)
{
    const struct timespec pause = {.tv_nsec = LEAD_PAUSE_NS};
    const uint64_t bytes_max = producer->plan->bytes_max / producer->plan->producers;
    while (!stopped(producer) && producer->bytes < bytes_max &&
           !atomic_load_explicit(&producer->board->load_over, memory_order_relaxed)) {
        if (too_far_ahead(producer)) {
            nanosleep(&pause, NULL);
            continue;
        }
        int error = line_submit(producer);
        if (error == -EAGAIN) {
            error = tusk_wait(producer->tusk, POLL_MS);
        }
        if (error < 0) {
            return fail(producer, "appending", error);
        }
    }
    const int error = tusk_flush(producer->tusk, TUSK_COMMITTED, FLUSH_TIMEOUT_MS);
    return error ? fail(producer, "tusk_flush", error) : 0;
}

/* One line at a time, each acknowledged before the next. */
static int round_trips_run(struct producer *producer)
{
    const uint64_t end_ns = clock_ns() + ROUND_TRIP_NS;
    for (unsigned i = 0; i < ROUND_TRIPS_MAX && !stopped(producer); i++) {
        char text[TAG_BYTES_MAX + CORPUS_LINE_BYTES];
        const struct corpus_line line = line_of(producer);
        const size_t tag_bytes = tag_write(text, producer->index, producer->lines);
        memcpy(text + tag_bytes, line.text, line.bytes);
        const uint64_t before_ns = clock_ns();
        const int error = tusk_append(producer->topic, text, tag_bytes + line.bytes, NULL);
        const uint64_t after_ns = clock_ns();
        if (error) {
            return fail(producer, "tusk_append", error);
        }
        histogram_add(&producer->board->round_trip, after_ns - before_ns);
        line_sent(producer, tag_bytes + line.bytes);
        if (after_ns >= end_ns) {
            break;
        }
    }
    return 0;
}

/* Waits until nobody else appends and all of it has been read. */
static int quiet_wait(struct producer *producer)
{
    for (;;) {
        uint64_t sent = 0;
        uint64_t read = 0;
        bool loaded = true;
        for (unsigned i = 0; i < producer->plan->producers; i++) {
            loaded = loaded && atomic_load(&producer->board->producers[i].loaded);
            sent += atomic_load(&producer->board->producers[i].lines);
        }
        for (unsigned i = 0; i < producer->plan->consumers; i++) {
            read += atomic_load(&producer->board->consumers[i].lines);
        }
        if ((loaded && sent == read) || stopped(producer)) {
            return 0;
        }
        const int error = tusk_wait(producer->tusk, POLL_MS);
        if (error < 0) {
            return fail(producer, "tusk_wait", error);
        }
    }
}

static int producer_work(struct producer *producer)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    char name[TOPIC_NAME_BYTES];
    options.socket_path = producer->plan->socket_path;
    int error = tusk_connect(&producer->tusk, &options);
    if (error) {
        return fail(producer, "tusk_connect", error);
    }
    topic_name(name, producer->index % producer->plan->consumers);
    error = tusk_topic_open(producer->tusk, name, NULL, &producer->topic);
    if (error) {
        return fail(producer, "tusk_topic_open", error);
    }
    error = load_run(producer);
    atomic_store(&producer->slot->loaded, true);
    if (!error && producer->index == 0) {
        error = quiet_wait(producer);
        if (!error) {
            error = round_trips_run(producer);
        }
    }
    if (!error && !stopped(producer)) {
        error = tusk_flush(producer->tusk, TUSK_DURABLE, FLUSH_TIMEOUT_MS);
        if (error) {
            return fail(producer, "tusk_flush to the disk", error);
        }
        atomic_store(&producer->slot->ended, true);
    }
    return error;
}

int producer_run(const struct plan *plan, struct board *board, unsigned index)
{
    struct producer producer = {
        .plan = plan,
        .board = board,
        .slot = &board->producers[index],
        .index = index,
    };
    const int error = producer_work(&producer);
    tusk_topic_close(producer.topic);
    tusk_disconnect(producer.tusk);
    return error ? 1 : 0;
}
