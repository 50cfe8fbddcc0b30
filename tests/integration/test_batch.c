/*
 * Batch: all or nothing, contiguous, in order, for every reader at every moment.
 * How:        one real broker per test; writers and watchers are processes.
 * Not here:   batches across a broker's death (crash/test_broker_kill.c).
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/clients.h"
#include "tests/support/payload.h"
#include "tests/support/scratch.h"
#include "tests/support/session.h"

enum { BATCH = 16, WRITERS = 4, BATCHES = 400 };

TestSuite(batch, .init = session_begin, .fini = session_end);
TestSuite(batch_processes);

/* The same entry count times. */
static struct iovec *batch_of(const void *data, size_t size, size_t count)
{
    struct iovec *entries = calloc(count, sizeof *entries);
    void *copy = malloc(size + 1);
    check(entries != NULL && copy != NULL);
    memcpy(copy, data, size);
    for (size_t i = 0; i < count; i++) {
        entries[i] = (struct iovec){.iov_base = copy, .iov_len = size};
    }
    return entries;
}

static void batch_free(struct iovec *entries)
{
    free(entries[0].iov_base);
    free(entries);
}

Test(batch, its_entries_are_contiguous_and_in_order)
{
    char texts[3][4] = {"one", "two", "thr"};
    struct iovec entries[3];
    for (int i = 0; i < 3; i++) {
        entries[i] = (struct iovec){.iov_base = texts[i], .iov_len = 3};
    }
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "before");
    uint64_t first = 0;
    check_ok(tusk_batch_append(topic, entries, 3, &first));
    check_is(first, 1);
    check_is(append_text(topic, "after"), 4);
    struct tusk_reader *reader = reader_of(topic);
    expect_text(reader, 0, "before");
    expect_text(reader, 1, "one");
    expect_text(reader, 2, "two");
    expect_text(reader, 3, "thr");
    expect_text(reader, 4, "after");
}

Test(batch, seed_row_04_an_empty_one_writes_nothing_and_creates_nothing)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct iovec entry = {0};
    uint64_t first = 42;
    check_ok(tusk_batch_append(topic, NULL, 0, &first));
    check_ok(tusk_batch_append(topic, &entry, 0, &first));
    check_is(first, 42);
    check_is(info_of(topic).next_seq, 0);
    check_is(tusk_topic_delete(tusk, "t"), -ENOENT);
}

Test(batch, of_one_entry_is_an_entry)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct iovec *entries = batch_of("alone", 5, 1);
    check_ok(tusk_batch_append(topic, entries, 1, NULL));
    batch_free(entries);
    struct tusk_reader *reader = reader_of(topic);
    expect_text(reader, 0, "alone");
    expect_end(reader);
}

Test(batch, may_hold_empty_entries)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    char text[] = "x";
    struct iovec entries[3] = {{NULL, 0}, {text, 1}, {text, 0}};
    check_ok(tusk_batch_append(topic, entries, 3, NULL));
    struct tusk_reader *reader = reader_of(topic);
    expect_text(reader, 0, "");
    expect_text(reader, 1, "x");
    expect_text(reader, 2, "");
    expect_end(reader);
}

Test(batch, one_with_more_entries_than_a_unit_is_still_one)
{
    enum { COUNT = 3000 };
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct iovec *entries = batch_of("12345678", 8, COUNT);
    uint64_t first = 99;
    check_ok(tusk_batch_append(topic, entries, COUNT, &first));
    batch_free(entries);
    check_is(first, 0);
    check_is(info_of(topic).next_seq, COUNT);
    struct tusk_reader *reader = reader_of(topic);
    for (uint64_t seq = 0; seq < COUNT; seq++) {
        expect_text(reader, seq, "12345678");
    }
    expect_end(reader);
}

Test(batch, one_that_crosses_chunks_comes_back_whole)
{
    enum { COUNT = 12, SIZE = 9000, ROUNDS = 40 };
    struct tusk_topic *topic = topic_of(tusk, "t");
    unsigned char *data = malloc((size_t)COUNT * SIZE);
    check(data != NULL);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct iovec entries[COUNT];
        for (uint32_t i = 0; i < COUNT; i++) {
            unsigned char *at = data + (size_t)i * SIZE;
            payload_fill(at, SIZE, 3, round * COUNT + i);
            entries[i] = (struct iovec){.iov_base = at, .iov_len = SIZE};
        }
        check_ok(tusk_batch_append(topic, entries, COUNT, NULL));
    }
    free(data);
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < COUNT * ROUNDS; n++) {
        const struct tusk_entry entry = reader_take(reader);
        expect_numbered(&entry, 3, n, SIZE);
    }
}

Test(batch, a_too_large_one_writes_nothing)
{
    enum { COUNT = 17 };
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct iovec entries[COUNT]; /* 17 GiB of what is never looked at */
    char data[5] = {0};
    for (int i = 0; i < COUNT; i++) {
        entries[i] = (struct iovec){.iov_base = data, .iov_len = (size_t)1 << 30};
    }
    uint64_t first = 7;
    check_is(tusk_batch_append(topic, entries, COUNT, &first), -EMSGSIZE);
    check_is(first, 7);
    check_is(info_of(topic).next_seq, 0);
    struct iovec *small = batch_of(data, sizeof data, 5);
    check_ok(tusk_batch_append(topic, small, 5, &first));
    check_is(first, 0);
    check_is(info_of(topic).next_seq, 5);
    batch_free(small);
}

Test(batch, impossible_counts_and_sizes_are_refused)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    char text[] = "x";
    struct iovec entries[2] = {{text, SIZE_MAX}, {text, SIZE_MAX}};
    check_is(tusk_batch_append(topic, entries, 1, NULL), -EMSGSIZE);
    check_is(tusk_batch_append(topic, entries, 2, NULL), -EMSGSIZE);
    entries[0].iov_len = SIZE_MAX / 2 + 1;
    entries[1].iov_len = SIZE_MAX / 2 + 1;
    check_is(tusk_batch_append(topic, entries, 2, NULL), -EMSGSIZE);
    entries[0].iov_len = 1;
    check_is(tusk_batch_append(topic, entries, SIZE_MAX, NULL), -EMSGSIZE);
    check_is(tusk_batch_append(topic, entries, SIZE_MAX / sizeof *entries + 1, NULL), -EMSGSIZE);
    check_is(info_of(topic).next_seq, 0);
}

Test(batch, more_than_a_mebi_of_entries_is_refused)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    const size_t count = (1U << 20) + 1;
    struct iovec *entries = batch_of("", 0, count);
    check_is(tusk_batch_append(topic, entries, count, NULL), -EMSGSIZE);
    batch_free(entries);
    check_is(info_of(topic).next_seq, 0);
}

Test(batch, a_submitted_one_has_one_completion_with_its_first_seq)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct iovec *entries = batch_of("abc", 3, 10);
    struct tusk_completion completions[3];
    check_ok(tusk_submit_batch(topic, entries, 10, 1));
    check_ok(tusk_submit_batch(topic, entries, 5, 2));
    check_ok(tusk_submit_batch(topic, entries, 1, 3));
    reap_all(tusk, completions, 3);
    static const uint64_t seqs[3] = {0, 10, 15};
    for (uint64_t i = 0; i < 3; i++) {
        check_is(completions[i].user_data, i + 1);
        check_is(completions[i].seq, seqs[i]);
        check_is(completions[i].error, 0);
    }
    check_is(tusk_reap(tusk, completions, 3), 0);
    batch_free(entries);
}

Test(batch, an_empty_submitted_one_completes_without_a_seq)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_completion completion;
    check_ok(tusk_submit_batch(topic, NULL, 0, 9));
    reap_all(tusk, &completion, 1);
    check_is(completion.user_data, 9);
    check_is(completion.error, 0);
    check(completion.seq == TUSK_ANY_SEQ);
    check_is(info_of(topic).next_seq, 0);
}

Test(batch, survives_a_clean_restart_of_the_broker)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct iovec *entries = batch_of("kept", 4, 100);
    check_ok(tusk_batch_append(topic, entries, 100, NULL));
    session_restart("");
    topic = topic_of(tusk, "t");
    struct tusk_reader *reader = reader_of(topic);
    for (uint64_t seq = 0; seq < 100; seq++) {
        expect_text(reader, seq, "kept");
    }
    expect_end(reader);
    uint64_t first = 0;
    check_ok(tusk_batch_append(topic, entries, 100, &first));
    check_is(first, 100);
    batch_free(entries);
}

static void write_batches(size_t index, void *arg)
{
    (void)arg;
    struct tusk_topic *topic = topic_of(attach(broker), "t");
    unsigned char data[BATCH][64];
    struct iovec entries[BATCH];
    for (uint32_t round = 0; round < BATCHES; round++) {
        for (uint32_t i = 0; i < BATCH; i++) {
            payload_fill(data[i], sizeof data[i], (uint32_t)index, round * BATCH + i);
            entries[i] = (struct iovec){.iov_base = data[i], .iov_len = sizeof data[i]};
        }
        uint64_t first = 1;
        check_ok(tusk_batch_append(topic, entries, BATCH, &first));
        check_is(first % BATCH, 0);
    }
}

Test(batch_processes, seed_row_02_concurrent_ones_all_succeed_and_never_mix)
{
    broker = tuskd_start("");
    clients_run(WRITERS, write_batches, NULL);
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_reader *reader = reader_of(topic);
    uint32_t next[WRITERS] = {0};
    check_is(info_of(topic).next_seq, WRITERS * BATCHES * BATCH);
    for (uint64_t seq = 0; seq < WRITERS * BATCHES * BATCH; seq++) {
        static uint32_t owner;
        const struct tusk_entry entry = reader_take(reader);
        struct payload_id id;
        check(payload_verify(entry.data, entry.size, &id));
        owner = seq % BATCH == 0 ? id.producer : owner;
        check_is(id.producer, owner);
        check_is(id.n, next[owner]++);
    }
    session_end();
}

/* Watches until everything is there: whatever it sees, it sees whole batches. */
static void watch_batches(size_t index, void *arg)
{
    struct tusk_topic *topic = topic_of(attach(broker), "t");
    struct tusk_reader *reader = reader_of(topic);
    struct tusk_entry entries[BATCH * 4];
    struct gate *gate = arg;
    gate_pass(gate);
    for (uint64_t seen = 0; seen < (uint64_t)WRITERS * BATCHES * BATCH;) {
        check_is(info_of(topic).next_seq % BATCH, 0);
        if (index % 2 == 0) {
            const int count = tusk_reader_batch(reader, SIZE_MAX, entries, BATCH * 4, TEST_LONG_MS);
            check_say(count > 0, "tusk_reader_batch: %d", count);
            seen += (uint64_t)count;
        } else {
            (void)reader_take(reader);
            for (int i = 1; i < BATCH; i++) { /* the first is there: so are the others, at once */
                check_is(tusk_reader_next(reader, &entries[0], 0), 1);
            }
            seen += BATCH;
        }
    }
}

Test(batch_processes, readers_never_see_a_part_of_one)
{
    broker = tuskd_start("");
    struct gate *gate = shared_memory(sizeof *gate);
    struct clients *watchers = clients_start(2, watch_batches, gate);
    gate_await(gate, 2);
    gate_open(gate);
    clients_run(WRITERS, write_batches, NULL);
    clients_join(watchers);
    tuskd_stop(broker);
}
