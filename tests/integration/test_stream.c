/*
 * Streams: entries and batches far larger than lanes and arena, sent to a real broker by real
 * processes that end, stop or are killed in the middle, and brokers that are.
 * How:        an arena of 8 MiB, lanes of 64 KiB to 1 MiB; contents follow from producer and number, so
 *             a reader finds any byte that is wrong, missing or of what must never be seen.
 * Not here:   every step of a rollback (unit/test_stream.c); full sizes (soak/soak_stream.c).
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/clients.h"
#include "tests/support/deadline.h"
#include "tests/support/payload.h"
#include "tests/support/scratch.h"
#include "tests/support/session.h"

#define MIB ((size_t)1 << 20)

enum { LANE_SMALL = 64 * 1024 };

static void begin(void)
{
    session_begin_with("--arena 8MiB --chunk 64KiB --segment 4MiB --fsync 20ms");
}

static void begin_impatient(void)
{
    session_begin_with("--arena 8MiB --chunk 64KiB --segment 4MiB --fsync 20ms "
                       "--stream-timeout 300ms");
}

TestSuite(stream, .init = begin, .fini = session_end, .timeout = 600);

static struct tusk *attach_lane(size_t lane_bytes, int timeout_ms)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.lane_bytes = lane_bytes;
    options.timeout_ms = timeout_ms;
    return attach_with(broker, options);
}

static unsigned char *payload_new(size_t size, uint32_t producer, uint32_t n)
{
    unsigned char *data = malloc(size);
    check(data != NULL);
    payload_fill(data, size, producer, n);
    return data;
}

/* A batch of count entries that share one memory of the largest's size. */
struct load {
    struct iovec *entries;
    unsigned char *data;
    size_t count;
};

static struct load load_new(size_t count, size_t size, uint32_t producer)
{
    struct load load = {.entries = calloc(count, sizeof(struct iovec)),
                        .data = malloc(count * size),
                        .count = count};
    check(load.entries != NULL && load.data != NULL);
    for (size_t i = 0; i < count; i++) {
        const size_t bytes = payload_size(producer, (uint32_t)i, PAYLOAD_BYTES_MIN, size);
        payload_fill(load.data + i * size, bytes, producer, (uint32_t)i);
        load.entries[i] = (struct iovec){.iov_base = load.data + i * size, .iov_len = bytes};
    }
    return load;
}

static void load_free(struct load *load)
{
    free(load->entries);
    free(load->data);
}

static void expect_load(struct tusk_reader *reader, size_t count, size_t size, uint32_t producer)
{
    for (size_t i = 0; i < count; i++) {
        const struct tusk_entry entry = reader_take(reader);
        expect_numbered(&entry, producer, (uint32_t)i,
                        payload_size(producer, (uint32_t)i, PAYLOAD_BYTES_MIN, size));
    }
}

Test(stream, one_large_entry)
{
    static const size_t lanes[] = {LANE_SMALL, 256 * 1024, MIB};
    enum { COUNT = sizeof lanes / sizeof lanes[0] };
    const size_t size = 64 * MIB;
    for (uint32_t n = 0; n < COUNT; n++) {
        struct tusk *own = attach_lane(lanes[n], 0);
        unsigned char *data = payload_new(size, 1, n);
        uint64_t seq = 99;
        check_ok(tusk_append(topic_of(own, "t"), data, size, &seq));
        check_is(seq, n);
        free(data);
        tusk_disconnect(own);
    }
    struct tusk_topic *topic = topic_of(tusk, "t");
    check_is(append_text(topic, "behind"), COUNT);
    wait_until(counter_of(tusk, "streams_appended_total") == COUNT, 5000);
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < COUNT; n++) {
        const struct tusk_entry entry = reader_take(reader);
        expect_numbered(&entry, 1, n, size);
    }
    expect_text(reader, COUNT, "behind");
}

Test(stream, one_large_batch_survives_restarts)
{
    enum { COUNT = 4096, SIZE = 128 * 1024 };
    struct load load = load_new(COUNT, SIZE, 7); /* 256 MiB on average */
    struct tusk *own = attach_lane(LANE_SMALL, 0);
    uint64_t first = 0;
    append_numbered(topic_of(tusk, "t"), 1, 0, 3, 100);
    check_ok(tusk_batch_append(topic_of(own, "t"), load.entries, load.count, &first));
    check_is(first, 3);
    load_free(&load);
    check_ok(tusk_flush(own, TUSK_DURABLE, TEST_LONG_MS));
    tusk_disconnect(own);
    tuskd_kill(broker);
    tusk_disconnect(tusk);
    tuskd_restart(broker, "--arena 8MiB --chunk 64KiB --segment 4MiB");
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    check_is(info_of(topic).next_seq, COUNT + 3);
    check_is(append_text(topic, "behind"), COUNT + 3);
    struct tusk_reader *reader = reader_from(topic, TUSK_FROM_SEQ, 3);
    expect_load(reader, COUNT, SIZE, 7);
    expect_text(reader, COUNT + 3, "behind");
}

/* One submission that fits its lane but not the arena. */
Test(stream, larger_than_the_arena_in_one_submission)
{
    const size_t size = 15 * MIB;
    struct tusk *own = attach_lane(32 * MIB, 0);
    struct tusk_topic *topic = topic_of(own, "t");
    unsigned char *data = payload_new(size, 3, 0);
    check_ok(tusk_submit(topic, data, size, 5));
    check_ok(tusk_submit(topic, "behind", 6, 6));
    struct tusk_completion completions[2];
    reap_all(own, completions, 2);
    check_is(completions[0].error, 0);
    check_is(completions[0].seq, 0);
    check_is(completions[1].seq, 1);
    struct tusk_reader *reader = reader_of(topic_of(tusk, "t"));
    const struct tusk_entry entry = reader_take(reader);
    expect_numbered(&entry, 3, 0, size);
    expect_text(reader, 1, "behind");
    free(data);
    tusk_disconnect(own);
}

Test(stream, expected_seq_is_looked_at_first)
{
    const size_t size = MIB;
    struct tusk *own = attach_lane(LANE_SMALL, 0);
    struct tusk_topic *topic = topic_of(own, "t");
    unsigned char *data = payload_new(size, 3, 0);
    check_is(tusk_append_at(topic, 1, data, size), -EILSEQ);
    check_is(info_of(topic).next_seq, 0);
    check_ok(tusk_append_at(topic, 0, data, size));
    check_is(tusk_append_at(topic, 0, data, size), -EILSEQ);
    check_is(info_of(topic).next_seq, 1);
    struct tusk_topic_options options = TUSK_TOPIC_OPTIONS_INIT;
    options.no_create = 1;
    struct tusk_topic *none = NULL;
    check_ok(tusk_topic_open(own, "none", &options, &none));
    check_is(tusk_append(none, data, size, NULL), -ENOENT);
    void *buffer;
    check_ok(tusk_reserve(topic, 100, &buffer));
    check_is(tusk_append(topic, data, size, NULL), -EBUSY);
    tusk_abandon(topic);
    check_is(append_text(topic, "goes on"), 1);
    free(data);
    tusk_disconnect(own);
}

/* A client process that sends batches without end, until something happens to it. */
struct endless {
    struct gate gate;
    uint64_t appended; /* batches whose append has returned 0 */
    uint64_t given_up; /* by the broker, after which it goes on */
};

enum { ENDLESS_COUNT = 64, ENDLESS_SIZE = 64 * 1024 };

static void endless_run(size_t index, void *arg)
{
    struct endless *endless = arg;
    struct tusk *own = attach_lane(LANE_SMALL, 0);
    struct tusk_topic *topic = topic_of(own, "t");
    struct load load = load_new(ENDLESS_COUNT, ENDLESS_SIZE, (uint32_t)index + 1);
    gate_pass(&endless->gate);
    int error = 0;
    while (error == 0 || error == -ETIMEDOUT) {
        error = tusk_batch_append(topic, load.entries, load.count, NULL);
        if (error == -ETIMEDOUT) {
            check_is(tusk_flush(own, TUSK_COMMITTED, -1), -ECANCELED);
            check_is(tusk_flush(own, TUSK_COMMITTED, -1), 0);
            shared_add(&endless->given_up, 1);
        } else if (error == 0) {
            shared_add(&endless->appended, 1);
        }
    }
    load_free(&load);
    tusk_disconnect(own);
}

static struct clients *endless_start(struct endless *endless, size_t count)
{
    memset(endless, 0, sizeof *endless);
    struct clients *clients = clients_start(count, endless_run, endless);
    gate_await(&endless->gate, (uint32_t)count);
    gate_open(&endless->gate);
    return clients;
}

/* From `first` on the topic holds whole batches alone; returns how many. */
static uint64_t expect_whole_batches(struct tusk_topic *topic, uint64_t first)
{
    const uint64_t next = info_of(topic).next_seq;
    check_is((next - first) % ENDLESS_COUNT, 0);
    struct tusk_reader *reader = reader_from(topic, TUSK_FROM_SEQ, first);
    for (uint64_t seq = first; seq < next; seq++) {
        const struct tusk_entry entry = reader_take(reader);
        struct payload_id id;
        check_is(entry.seq, seq);
        check(payload_verify(entry.data, entry.size, &id));
        check_is(id.n, (seq - first) % ENDLESS_COUNT);
    }
    tusk_reader_close(reader);
    return (next - first) / ENDLESS_COUNT;
}

Test(stream, client_killed_at_any_moment)
{
    struct endless *endless = shared_memory(sizeof *endless);
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (uint64_t round = 0; round < 15; round++) {
        const uint64_t first = info_of(topic).next_seq;
        struct clients *clients = endless_start(endless, 2);
        for (uint64_t pauses = payload_mix(round) % 400; pauses > 0; pauses--) {
            pause_briefly();
        }
        clients_kill(clients, round % 2);
        /* The other one goes on: nothing of the dead one's holds the topic. */
        const uint64_t before = shared_get(&endless->appended);
        wait_until(shared_get(&endless->appended) >= before + 2, 20000);
        clients_kill(clients, 1 - round % 2);
        clients_join(clients);
        append_numbered(topic, 9, 0, 1, 1000); /* behind what was rolled back, if anything was */
        const uint64_t last = info_of(topic).next_seq - 1;
        check_is((last - first) % ENDLESS_COUNT, 0);
        check(last - first >= ENDLESS_COUNT * 2);
    }
    /* Every byte, batch by batch, each round's behind the mark of the one before. */
    const uint64_t next = info_of(topic).next_seq;
    struct tusk_reader *reader = reader_of(topic);
    uint32_t expected = 0;
    for (uint64_t seq = 0; seq < next; seq++) {
        const struct tusk_entry entry = reader_take(reader);
        struct payload_id id;
        check(payload_verify(entry.data, entry.size, &id));
        check_is(id.n, id.producer == 9 ? 0 : expected);
        check(id.producer != 9 || expected == 0);
        expected = id.producer == 9 ? 0 : (expected + 1) % ENDLESS_COUNT;
    }
    check_is(expected, 0);
}

/* Stops the client until the broker has given its stream up; it goes on as if told to. */
Test(stream, stopped_client_is_rolled_back, .init = begin_impatient)
{
    struct endless *endless = shared_memory(sizeof *endless);
    struct clients *clients = endless_start(endless, 1);
    struct tusk *own = attach_lane(LANE_SMALL, 10000);
    struct tusk_topic *topic = topic_of(own, "t");
    for (uint64_t round = 0; shared_get(&endless->given_up) < 5; round++) {
        check_say(round < 200, "it was never stopped in the middle of a stream");
        check_is(kill(clients_pid(clients, 0), SIGSTOP), 0);
        check_ok(tusk_append(topic, "between", 7, NULL)); /* waits for at most the time-out */
        check_is(kill(clients_pid(clients, 0), SIGCONT), 0);
        const uint64_t before = shared_get(&endless->appended);
        wait_until(shared_get(&endless->appended) > before, 10000);
    }
    clients_kill(clients, 0);
    clients_join(clients);
    struct tusk_reader *reader = reader_of(topic_of(tusk, "t"));
    append_text(topic, "end");
    uint32_t expected = 0;
    for (;;) {
        const struct tusk_entry entry = reader_take(reader);
        if (entry.size == 7 || entry.size == 3) {
            check_is(expected, 0);
            if (entry.size == 3) {
                break;
            }
            continue;
        }
        struct payload_id id;
        check(payload_verify(entry.data, entry.size, &id));
        check_is(id.n, expected);
        expected = (expected + 1) % ENDLESS_COUNT;
    }
    tusk_disconnect(own);
}

Test(stream, broker_killed_at_any_moment)
{
    struct endless *endless = shared_memory(sizeof *endless);
    for (uint64_t round = 0; round < 8; round++) {
        struct clients *clients = endless_start(endless, 2);
        wait_until(shared_get(&endless->appended) >= 1, 20000);
        for (uint64_t pauses = payload_mix(round) % 100; pauses > 0; pauses--) {
            pause_briefly();
        }
        tuskd_kill(broker);
        clients_join(clients); /* they end with an error that is no success */
        tusk_disconnect(tusk);
        tuskd_restart(broker, "--arena 8MiB --chunk 64KiB --segment 4MiB --fsync 20ms");
        tusk = attach(broker);
        expect_whole_batches(topic_of(tusk, "t"), 0);
    }
}

Test(stream, clean_stop_in_the_middle)
{
    struct endless *endless = shared_memory(sizeof *endless);
    struct clients *clients = endless_start(endless, 2);
    wait_until(shared_get(&endless->appended) >= 2, 20000);
    const uint64_t appended = shared_get(&endless->appended);
    tuskd_stop(broker);
    clients_join(clients);
    tusk_disconnect(tusk);
    tuskd_restart(broker, "--arena 8MiB --chunk 64KiB --segment 4MiB");
    tusk = attach(broker);
    check(expect_whole_batches(topic_of(tusk, "t"), 0) >= appended);
}

/* While one client streams, others of the topic wait in order, or are refused and told so. */
Test(stream, others_keep_their_order)
{
    enum { APPENDS = 300 };
    struct endless *endless = shared_memory(sizeof *endless);
    struct clients *clients = endless_start(endless, 1);
    struct tusk *own = attach_lane(LANE_SMALL, 20000);
    struct tusk_topic *topic = topic_of(own, "t");
    struct tusk_topic_options options = TUSK_TOPIC_OPTIONS_INIT;
    options.no_wait = 1;
    struct tusk_topic *impatient = NULL;
    check_ok(tusk_topic_open(own, "t", &options, &impatient));
    uint64_t last = 0;
    for (uint32_t n = 0; n < APPENDS; n++) {
        const uint64_t seq = append_text(topic, "mine");
        check(n == 0 || seq > last);
        last = seq;
    }
    uint64_t refused = 0;
    uint64_t taken = 0;
    while (refused < 20 || taken < 20) {
        const int error = tusk_append(impatient, "now", 3, NULL);
        check(error == 0 || error == -EAGAIN);
        refused += error != 0;
        taken += error == 0;
    }
    clients_kill(clients, 0);
    clients_join(clients);
    tusk_disconnect(own);
}

/* A topic of its own goes on beside streams: as many appends as it makes alone in the same time would
 * be too much to ask of two cores, but none waits for a stream to end. Once of some times, since the
 * machine may be busy: if appends waited for streams, there would never be more than some. */
Test(stream, other_topics_go_on)
{
    struct endless *endless = shared_memory(sizeof *endless);
    struct clients *clients = endless_start(endless, 2);
    struct tusk_topic *topic = topic_of(tusk, "elsewhere");
    enum { ROUNDS = 30, APPENDS_MIN = 60 };
    uint64_t most = 0;
    wait_until(shared_get(&endless->appended) >= 1, 20000);
    for (int round = 0; round < ROUNDS && most <= APPENDS_MIN; round++) {
        const uint64_t before = shared_get(&endless->appended);
        uint64_t appends = 0;
        while (shared_get(&endless->appended) < before + 6) {
            append_text(topic, "mine");
            appends++;
        }
        most = appends > most ? appends : most;
    }
    check_say(most > APPENDS_MIN, "at most %llu appends beside 6 streams",
              (unsigned long long)most);
    clients_kill(clients, 0);
    clients_kill(clients, 1);
    clients_join(clients);
}

/* A call that ends early leaves nothing behind, and its lane goes on. */
Test(stream, calls_that_end_early)
{
    struct endless *endless = shared_memory(sizeof *endless);
    struct clients *clients = endless_start(endless, 1);
    struct tusk *own = attach_lane(LANE_SMALL, 1);
    struct tusk_topic *topic = NULL;
    wait_until(tusk_topic_open(own, "t", NULL, &topic) == 0, 10000);
    unsigned char *data = payload_new(4 * MIB, 1, 0);
    uint64_t ended = 0;
    uint64_t done = 0;
    for (int i = 0; i < 200 && (ended < 5 || done < 1); i++) {
        if (i % 3 == 0) {
            tusk_wakeup(own);
        }
        const int error = tusk_append(topic, data, 4 * MIB, NULL);
        check(error == 0 || error == -EAGAIN || error == -EINTR || error == -ETIMEDOUT);
        ended += error == -EAGAIN || error == -EINTR;
        done += error == 0;
    }
    check(ended >= 5);
    clients_kill(clients, 0);
    clients_join(clients);
    int error = -EAGAIN;
    while (error == -EAGAIN || error == -EINTR) {
        error = tusk_append(topic, data, 4 * MIB, NULL);
    }
    check(error == 0 || error == -ETIMEDOUT);
    check_ok(tusk_flush(own, TUSK_COMMITTED, TEST_LONG_MS));
    free(data);
    tusk_disconnect(own);
}

Test(stream, deleted_topic)
{
    struct endless *endless = shared_memory(sizeof *endless);
    struct clients *clients = endless_start(endless, 1);
    wait_until(shared_get(&endless->appended) >= 1, 20000);
    check_ok(tusk_topic_delete(tusk, "t"));
    clients_join(clients); /* it ends: -ESTALE */
    struct tusk_topic *topic = topic_of(tusk, "t");
    check_is(append_text(topic, "a new one"), 0);
}
