/* Consumer: see consumer.h. */
#include "clientlib/demo/consumer.h"

#include <errno.h>
#include <string.h>
#include <tusk/tusk.h>

#include "clientlib/demo/tag.h"
#include "clientlib/demo/topic_name.h"

enum {
    POLL_MS = 50, /* how soon a process notices that the demo ends */
    BATCH_ENTRIES = 512,
    BATCH_BYTES = 1 << 20
};

struct consumer {
    const struct plan *plan;
    struct board *board;
    struct consumer_slot *slot;
    unsigned index;
    uint64_t next[PRODUCERS_MAX]; /* the number that each producer's next line carries */
    uint64_t lines;
    uint64_t bytes;
    struct tusk *tusk;
    struct tusk_topic *topic;
    struct tusk_reader *reader;
};

static int fail(const struct consumer *consumer, const char *what, int error)
{
    board_fail(consumer->board, "consumer %u: %s failed after %llu lines: %s", consumer->index,
               what, (unsigned long long)consumer->lines, tusk_strerror(error));
    return error;
}

static int refuse(const struct consumer *consumer, const struct tusk_entry *entry,
                  const struct tag *tag, const char *what)
{
    board_fail(consumer->board, "consumer %u: seq %llu, line %llu of producer %llu: %s",
               consumer->index, (unsigned long long)entry->seq, (unsigned long long)tag->number,
               (unsigned long long)tag->producer, what);
    return -EBADMSG;
}

/* One entry against what must come next. */
static int entry_check(struct consumer *consumer, const struct tusk_entry *entry)
{
    const struct plan *plan = consumer->plan;
    const char *text = entry->data;
    struct tag tag = {0};
    if (entry->seq != consumer->lines) {
        return refuse(consumer, entry, &tag, "sequence numbers have a gap");
    }
    if (!tag_parse(text, entry->size, &tag) || tag.producer >= plan->producers ||
        tag.producer % plan->consumers != consumer->index) {
        return refuse(consumer, entry, &tag, "this is no line of this topic");
    }
    const uint64_t expected = consumer->next[tag.producer];
    if (tag.number != expected) {
        return refuse(consumer, entry, &tag,
                      tag.number < expected ? "arrived twice" : "lines before it are missing");
    }
    const struct corpus_line line =
        corpus_pick(plan->corpus, (unsigned)tag.producer, plan->producers, tag.number);
    if (entry->size - tag.bytes != line.bytes ||
        memcmp(text + tag.bytes, line.text, line.bytes) != 0) {
        return refuse(consumer, entry, &tag, "the text is not the one that was appended");
    }
    const uint64_t age_ns = board_age(&consumer->board->producers[tag.producer], tag.number);
    if (age_ns) {
        histogram_add(&consumer->slot->latency, age_ns);
    }
    consumer->next[tag.producer] = expected + 1;
    consumer->lines++;
    consumer->bytes += entry->size;
    return 0;
}

static int batch_check(struct consumer *consumer, const struct tusk_entry *entries, int count)
{
    for (int i = 0; i < count; i++) {
        const int error = entry_check(consumer, &entries[i]);
        if (error) {
            return error;
        }
    }
    for (unsigned i = consumer->index; i < consumer->plan->producers;
         i += consumer->plan->consumers) {
        atomic_store_explicit(&consumer->slot->arrived[i], consumer->next[i], memory_order_relaxed);
    }
    atomic_store_explicit(&consumer->slot->bytes, consumer->bytes, memory_order_relaxed);
    atomic_store_explicit(&consumer->slot->lines, consumer->lines, memory_order_relaxed);
    return 0;
}

/* Has every line of this topic's producers arrived? */
static bool all_arrived(const struct consumer *consumer)
{
    const unsigned step = consumer->plan->consumers;
    for (unsigned i = consumer->index; i < consumer->plan->producers; i += step) {
        struct producer_slot *producer = &consumer->board->producers[i];
        if (!atomic_load(&producer->ended) || atomic_load(&producer->lines) != consumer->next[i]) {
            return false;
        }
    }
    return true;
}

static int lines_read(struct consumer *consumer)
{
    static struct tusk_entry entries[BATCH_ENTRIES];
    while (!atomic_load_explicit(&consumer->board->stop, memory_order_relaxed)) {
        const bool last = all_arrived(consumer);
        int count = tusk_reader_batch(consumer->reader, BATCH_BYTES, entries, BATCH_ENTRIES,
                                      last ? 0 : POLL_MS);
        if (count == -ETIMEDOUT) {
            count = 0;
        }
        if (count < 0) {
            return fail(consumer, "tusk_reader_batch", count);
        }
        const int error = batch_check(consumer, entries, count);
        if (error) {
            return error;
        }
        if (last && count == 0) {
            atomic_store(&consumer->slot->ended, true);
            return 0;
        }
    }
    return 0;
}

static int consumer_work(struct consumer *consumer)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    char name[TOPIC_NAME_BYTES];
    options.socket_path = consumer->plan->socket_path;
    int error = tusk_connect(&consumer->tusk, &options);
    if (error) {
        return fail(consumer, "tusk_connect", error);
    }
    topic_name(name, consumer->index);
    error = tusk_topic_open(consumer->tusk, name, NULL, &consumer->topic);
    if (error) {
        return fail(consumer, "tusk_topic_open", error);
    }
    error = tusk_reader_open(consumer->topic, NULL, &consumer->reader);
    if (error) {
        return fail(consumer, "tusk_reader_open", error);
    }
    return lines_read(consumer);
}

int consumer_run(const struct plan *plan, struct board *board, unsigned index)
{
    struct consumer consumer = {
        .plan = plan,
        .board = board,
        .slot = &board->consumers[index],
        .index = index,
    };
    const int error = consumer_work(&consumer);
    tusk_reader_close(consumer.reader);
    tusk_topic_close(consumer.topic);
    tusk_disconnect(consumer.tusk);
    return error ? 1 : 0;
}
