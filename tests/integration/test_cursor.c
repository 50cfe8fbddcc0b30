/*
 * Cursor: the one cursor per topic behind tusk_read_next and tusk_batch_read, as the rows of the
 * reference semantics have it: peek, checkpoint, budget, sharing, persistence.
 * How:        one real broker per test; sharing and restarts with real processes.
 * Not here:   what went wrong in the reference implementation (test_seed_faults.c), a broker that
 *             is killed (crash/test_broker_kill.c).
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/clients.h"
#include "tests/support/oracle.h"
#include "tests/support/session.h"

enum { ENTRY_BYTES = 100, ENTRIES_MAX = 2000 };

TestSuite(cursor, .init = session_begin, .fini = session_end);
TestSuite(cursor_processes);

static struct tusk_entry entries[ENTRIES_MAX];

static int batch_take(struct tusk_topic *topic, size_t max_bytes, bool checkpoint)
{
    return tusk_batch_read(topic, max_bytes, checkpoint, entries, ENTRIES_MAX);
}

Test(cursor, reads_entries_in_order_until_caught_up)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "a");
    append_text(topic, "b");
    expect_next(topic, 0, "a");
    expect_next(topic, 1, "b");
    expect_caught_up(topic);
    append_text(topic, "c");
    expect_next(topic, 2, "c");
    expect_caught_up(topic);
}

Test(cursor, seed_row_06_a_peek_can_be_repeated_and_moves_nothing)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "a");
    append_text(topic, "b");
    for (int i = 0; i < 5; i++) {
        struct tusk_entry entry;
        check_is(tusk_read_next(topic, false, &entry), 1);
        check_is(entry.seq, 0);
        check_bytes(entry.data, entry.size, "a", 1);
    }
    check_is(batch_take(topic, SIZE_MAX, false), 2);
    check_is(batch_take(topic, SIZE_MAX, false), 2);
    check_is(info_of(topic).unread, 2);
    expect_next(topic, 0, "a");
}

Test(cursor, after_a_checkpointed_read_a_peek_sees_the_next_entry)
{
    struct tusk_entry entry;
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "a");
    append_text(topic, "b");
    expect_next(topic, 0, "a");
    check_is(tusk_read_next(topic, false, &entry), 1);
    check_is(entry.seq, 1);
    expect_next(topic, 1, "b");
    check_is(tusk_read_next(topic, false, &entry), 0);
}

/* As in the reference: budget 300 gives 3, 500 gives 5, 1 gives 1, 350 gives 3. */
Test(cursor, seed_row_07_a_batch_read_stops_before_its_payloads_pass_the_budget)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 20, ENTRY_BYTES);
    check_is(batch_take(topic, 300, true), 3);
    check_is(entries[0].seq, 0);
    check_is(entries[2].seq, 2);
    check_is(batch_take(topic, 500, true), 5);
    check_is(entries[0].seq, 3);
    check_is(batch_take(topic, 1, true), 1);
    check_is(entries[0].seq, 8);
    check_is(batch_take(topic, 350, true), 3);
    check_is(batch_take(topic, 0, true), 1);
    check_is(entries[0].seq, 12);
    check_is(batch_take(topic, 199, true), 1);
    check_is(batch_take(topic, SIZE_MAX, true), 6);
    check_is(entries[0].seq, 14);
    check_is(entries[5].seq, 19);
    check_is(batch_take(topic, SIZE_MAX, true), 0);
}

Test(cursor, a_batch_read_gives_at_most_as_many_as_fit_the_array)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 10, ENTRY_BYTES);
    check_is(tusk_batch_read(topic, SIZE_MAX, true, entries, 4), 4);
    check_is(tusk_batch_read(topic, SIZE_MAX, true, entries, 1), 1);
    check_is(entries[0].seq, 4);
    check_is(tusk_batch_read(topic, SIZE_MAX, true, entries, 0), -EINVAL);
    check_is(info_of(topic).unread, 5);
}

Test(cursor, every_entry_of_a_batch_read_has_its_bytes)
{
    enum { COUNT = 500 };
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 4, 0, COUNT, 300);
    uint32_t n = 0;
    while (n < COUNT) {
        const int count = batch_take(topic, 100000, true);
        check_say(count > 0, "tusk_batch_read: %d at %u", count, n);
        for (int i = 0; i < count; i++, n++) {
            check_is(entries[i].seq, n);
            expect_numbered(&entries[i], 4, n, 300);
        }
    }
    expect_caught_up(topic);
}

Test(cursor, empty_entries_count_as_entries)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (int i = 0; i < 4; i++) {
        check_ok(tusk_append(topic, "", 0, NULL));
    }
    check_is(batch_take(topic, 0, true), 4);
    expect_caught_up(topic);
}

Test(cursor, seed_row_11_single_and_batch_reads_share_it)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 10, ENTRY_BYTES);
    struct tusk_entry entry;
    check_is(tusk_read_next(topic, true, &entry), 1);
    check_is(entry.seq, 0);
    check_is(batch_take(topic, 300, true), 3);
    check_is(entries[0].seq, 1);
    check_is(tusk_read_next(topic, true, &entry), 1);
    check_is(entry.seq, 4);
    check_is(batch_take(topic, SIZE_MAX, true), 5);
    check_is(entries[0].seq, 5);
}

Test(cursor, all_connections_share_it)
{
    struct tusk *other = attach(broker);
    struct tusk_topic *here = topic_of(tusk, "t");
    struct tusk_topic *there = topic_of(other, "t");
    append_text(here, "a");
    append_text(here, "b");
    append_text(here, "c");
    expect_next(here, 0, "a");
    expect_next(there, 1, "b");
    expect_next(here, 2, "c");
    expect_caught_up(there);
    tusk_disconnect(other);
}

Test(cursor, each_topic_has_its_own)
{
    struct tusk_topic *a = topic_of(tusk, "a");
    struct tusk_topic *b = topic_of(tusk, "b");
    append_text(a, "a0");
    append_text(b, "b0");
    append_text(a, "a1");
    expect_next(a, 0, "a0");
    expect_next(b, 0, "b0");
    expect_next(a, 1, "a1");
    expect_caught_up(b);
}

Test(cursor, seed_row_08_what_is_unread_is_counted)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 10, ENTRY_BYTES);
    check_is(info_of(topic).unread, 10);
    check_is(batch_take(topic, 300, true), 3);
    check_is(info_of(topic).unread, 7);
    append_numbered(topic, 1, 10, 1, ENTRY_BYTES);
    check_is(info_of(topic).unread, 8);
}

Test(cursor, seed_row_10_a_clients_restart_repeats_nothing)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "a");
    append_text(topic, "b");
    expect_next(topic, 0, "a");
    tusk_disconnect(tusk);
    tusk = attach(broker);
    topic = topic_of(tusk, "t");
    expect_next(topic, 1, "b");
    expect_caught_up(topic);
}

static struct tusk *attach_consistent(uint32_t consistency, uint32_t persist_every)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.consistency = consistency;
    options.persist_every = persist_every;
    return attach_with(broker, options);
}

/* Read 7 of 10, restart the broker cleanly: entry 7 comes next. */
static void restart_keeps_cursor(uint32_t consistency, uint32_t persist_every)
{
    struct tusk *reading = attach_consistent(consistency, persist_every);
    struct tusk_topic *topic = topic_of(reading, "t");
    append_numbered(topic, 1, 0, 10, ENTRY_BYTES);
    for (int i = 0; i < 7; i++) {
        struct tusk_entry entry;
        check_is(tusk_read_next(topic, true, &entry), 1);
        check_is(entry.seq, i);
    }
    tusk_disconnect(reading);
    session_restart("");
    reading = attach_consistent(consistency, persist_every);
    topic = topic_of(reading, "t");
    check_is(info_of(topic).unread, 3);
    for (uint32_t next = 7; next < 10;) { /* a call moves the cursor by persist_every at most */
        const int count = batch_take(topic, SIZE_MAX, true);
        check_say(count > 0, "tusk_batch_read: %d", count);
        for (int i = 0; i < count; i++, next++) {
            check_is(entries[i].seq, next);
            expect_numbered(&entries[i], 1, next, ENTRY_BYTES);
        }
    }
    tusk_disconnect(reading);
}

Test(cursor, strict_survives_a_clean_restart_of_the_broker)
{
    restart_keeps_cursor(TUSK_STRICTLY_AT_ONCE, 0);
}

Test(cursor, at_least_once_1_survives_a_clean_restart_of_the_broker)
{
    restart_keeps_cursor(TUSK_AT_LEAST_ONCE, 1);
}

Test(cursor, seed_row_12_at_least_once_every_0_acts_as_1)
{
    restart_keeps_cursor(TUSK_AT_LEAST_ONCE, 0);
}

Test(cursor, at_least_once_1000_survives_a_clean_restart_of_the_broker)
{
    restart_keeps_cursor(TUSK_AT_LEAST_ONCE, 1000);
}

Test(cursor, the_brokers_default_survives_a_clean_restart)
{
    restart_keeps_cursor(TUSK_CONSISTENCY_DEFAULT, 0);
}

Test(cursor, one_at_the_end_stays_at_the_end_after_restarts)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "a");
    expect_next(topic, 0, "a");
    for (int i = 0; i < 3; i++) {
        session_restart("");
        topic = topic_of(tusk, "t");
        expect_caught_up(topic);
        check_is(info_of(topic).unread, 0);
    }
    check_is(append_text(topic, "b"), 1);
    expect_next(topic, 1, "b");
}

Test(cursor, at_least_once_reads_make_no_sync)
{
    session_restart("--fsync none");
    struct tusk *reading = attach_consistent(TUSK_AT_LEAST_ONCE, 10000);
    struct tusk_topic *topic = topic_of(reading, "t");
    append_numbered(topic, 1, 0, 999, ENTRY_BYTES);
    check_is(tusk_read_next(topic, true, entries), 1);
    append_numbered(topic, 1, 999, 1, ENTRY_BYTES);
    counters_await(reading, 1000);
    const uint64_t syncs = counter_of(reading, "syncs_total");
    for (int left = 999; left > 0;) {
        const int count = batch_take(topic, 1000, true);
        check(count > 0);
        left -= count;
    }
    append_text(topic, "after");
    counters_await(reading, 1001);
    check_is(counter_of(reading, "syncs_total"), syncs);
    tusk_disconnect(reading);
}

/* What the readers of a test do; each process has a diary. */
struct reading {
    struct diary *diaries[4];
    uint32_t consistency;
    uint32_t persist_every;
    uint32_t total;
    size_t max_bytes; /* 0: one by one */
    struct gate gate;
    uint64_t given;
};

static void note(struct reading *reading, struct diary *diary, const struct tusk_entry *entry)
{
    struct payload_id id;
    check(payload_verify(entry->data, entry->size, &id));
    check_is(id.n, entry->seq);
    diary_was_given(diary, entry->seq, id);
    (void)shared_add(&reading->given, 1);
}

static void read_shared(size_t index, void *arg)
{
    struct reading *reading = arg;
    struct tusk *connection = attach_consistent(reading->consistency, reading->persist_every);
    struct tusk_topic *topic = topic_of(connection, "t");
    gate_pass(&reading->gate);
    while (shared_get(&reading->given) < reading->total) {
        const int count = reading->max_bytes == 0 ? tusk_read_next(topic, true, entries)
                                                  : batch_take(topic, reading->max_bytes, true);
        check_say(count >= 0, "reading: %s", tusk_strerror(count));
        for (int i = 0; i < count; i++) {
            note(reading, reading->diaries[index], &entries[i]);
        }
    }
    tusk_disconnect(connection);
}

static void exact_under_concurrent_readers(const char *options, uint32_t consistency,
                                           uint32_t persist_every, uint32_t total, size_t max_bytes)
{
    broker = tuskd_start(options);
    struct reading *reading = shared_memory(sizeof *reading);
    reading->consistency = consistency;
    reading->persist_every = persist_every;
    reading->total = total;
    reading->max_bytes = max_bytes;
    for (uint32_t i = 0; i < 4; i++) {
        reading->diaries[i] = diary_new(broker->dir, i, total + 1);
    }
    struct clients *readers = clients_start(4, read_shared, reading);
    gate_await(&reading->gate, 4);
    tusk = attach(broker);
    append_numbered(topic_of(tusk, "t"), 9, 0, total, 64);
    gate_open(&reading->gate);
    clients_join(readers);
    check_is(oracle_check_cursor(reading->diaries, 4, 0), total);
    expect_caught_up(topic_of(tusk, "t"));
    session_end();
}

Test(cursor_processes, strict_single_reads_give_each_entry_to_exactly_one)
{
    exact_under_concurrent_readers("", TUSK_STRICTLY_AT_ONCE, 0, 1500, 0);
}

Test(cursor_processes, strict_single_reads_without_sync_give_each_entry_to_exactly_one)
{
    exact_under_concurrent_readers("--fsync none", TUSK_STRICTLY_AT_ONCE, 0, 20000, 0);
}

Test(cursor_processes, strict_batch_reads_give_each_entry_to_exactly_one)
{
    exact_under_concurrent_readers("", TUSK_STRICTLY_AT_ONCE, 0, 20000, 2000);
}

Test(cursor_processes, at_least_once_single_reads_give_each_entry_to_exactly_one)
{
    exact_under_concurrent_readers("", TUSK_AT_LEAST_ONCE, 100, 20000, 0);
}

Test(cursor_processes, at_least_once_batch_reads_give_each_entry_to_exactly_one)
{
    exact_under_concurrent_readers("", TUSK_AT_LEAST_ONCE, 1000, 20000, 1000);
}

Test(cursor_processes, durable_entries_are_given_exactly_once_under_each)
{
    exact_under_concurrent_readers("--fsync each", TUSK_STRICTLY_AT_ONCE, 0, 500, 300);
}
