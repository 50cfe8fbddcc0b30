/*
 * Readers: positions of one's own: where they begin, where they go, what they see and when.
 * How:        one real broker per test.
 * Not here:   the shared cursor (test_cursor.c), sleeping in event loops (test_waits.c).
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/frame.h"
#include "shm/limits.h"
#include "tests/support/clients.h"
#include "tests/support/payload.h"
#include "tests/support/session.h"

TestSuite(readers, .init = session_begin, .fini = session_end);
TestSuite(readers_processes);

Test(readers, from_earliest_sees_everything)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "a");
    append_text(topic, "b");
    struct tusk_reader *reader = reader_from(topic, TUSK_FROM_EARLIEST, 77);
    expect_text(reader, 0, "a");
    expect_text(reader, 1, "b");
    expect_end(reader);
}

Test(readers, from_latest_sees_what_is_appended_from_now_on)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "old");
    struct tusk_reader *reader = reader_from(topic, TUSK_FROM_LATEST, 0);
    expect_end(reader);
    append_text(topic, "new");
    expect_text(reader, 1, "new");
    expect_end(reader);
}

Test(readers, from_latest_of_a_topic_that_does_not_exist_sees_its_first_entry)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_reader *reader = reader_from(topic, TUSK_FROM_LATEST, 0);
    expect_end(reader);
    append_text(topic, "first");
    expect_text(reader, 0, "first");
}

Test(readers, from_a_seq_begins_there)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 2000, 500);
    static const uint32_t seqs[] = {0, 1, 999, 1023, 1024, 1500, 1999};
    for (size_t i = 0; i < sizeof seqs / sizeof *seqs; i++) {
        struct tusk_reader *reader = reader_from(topic, TUSK_FROM_SEQ, seqs[i]);
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, seqs[i]);
        expect_numbered(&entry, 1, seqs[i], 500);
        tusk_reader_close(reader);
    }
}

Test(readers, a_seq_that_has_no_entry_yet_is_waited_for)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_reader *reader = reader_from(topic, TUSK_FROM_SEQ, 2);
    expect_end(reader);
    append_text(topic, "a");
    append_text(topic, "b");
    expect_end(reader);
    append_text(topic, "c");
    expect_text(reader, 2, "c");
}

/* Entries committed at the same nanosecond are possible: compare with what the entries say. */
Test(readers, from_a_time_begins_at_the_first_entry_committed_then_or_later)
{
    enum { COUNT = 600 };
    static uint64_t times[COUNT];
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, COUNT, 1000);
    struct tusk_reader *all = reader_of(topic);
    for (int i = 0; i < COUNT; i++) {
        times[i] = reader_take(all).time_ns;
    }
    static const int picks[] = {0, 1, 15, 16, 100, 300, COUNT - 1};
    for (size_t i = 0; i < sizeof picks / sizeof *picks; i++) {
        uint64_t first = (uint64_t)picks[i];
        while (first > 0 && times[first - 1] == times[picks[i]]) {
            first--;
        }
        struct tusk_reader *reader = reader_from(topic, TUSK_FROM_TIME, times[picks[i]]);
        check_is(reader_take(reader).seq, first);
        tusk_reader_close(reader);
    }
    struct tusk_reader *reader = reader_from(topic, TUSK_FROM_TIME, 0);
    check_is(reader_take(reader).seq, 0);
    tusk_reader_close(reader);
    reader = reader_from(topic, TUSK_FROM_TIME, times[COUNT - 1] + 1);
    expect_end(reader);
    append_text(topic, "later");
    expect_text(reader, COUNT, "later");
}

Test(readers, seek_goes_anywhere_and_back)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 1000, 700);
    struct tusk_reader *reader = reader_of(topic);
    check_is(reader_take(reader).seq, 0);
    check_ok(tusk_reader_seek(reader, TUSK_FROM_SEQ, 900));
    check_is(reader_take(reader).seq, 900);
    check_is(reader_take(reader).seq, 901);
    check_ok(tusk_reader_seek(reader, TUSK_FROM_SEQ, 3));
    check_is(reader_take(reader).seq, 3);
    check_ok(tusk_reader_seek(reader, TUSK_FROM_LATEST, 0));
    expect_end(reader);
    check_ok(tusk_reader_seek(reader, TUSK_FROM_EARLIEST, 0));
    check_is(reader_take(reader).seq, 0);
    check_ok(tusk_reader_seek(reader, TUSK_FROM_TIME, 0));
    check_is(reader_take(reader).seq, 0);
    check_is(tusk_reader_seek(reader, (enum tusk_from)99, 0), -EINVAL);
    check_is(reader_take(reader).seq, 1);
}

Test(readers, many_readers_of_one_topic_dont_disturb_each_other)
{
    enum { READERS = 20, COUNT = 400 };
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_reader *all[READERS];
    append_numbered(topic, 1, 0, COUNT, 300);
    for (int i = 0; i < READERS; i++) {
        all[i] = reader_of(topic);
    }
    for (uint32_t n = 0; n < COUNT; n++) {
        for (uint32_t i = 0; i < READERS; i++) {
            if (n % (i + 1) == 0) {
                check_is(reader_take(all[i]).seq, n / (i + 1));
            }
        }
    }
    check_is(info_of(topic).unread, COUNT);
}

Test(readers, a_batch_keeps_its_budget)
{
    struct tusk_entry entries[32];
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 20, 100);
    struct tusk_reader *reader = reader_of(topic);
    check_is(tusk_reader_batch(reader, 300, entries, 32, 0), 3);
    check_is(tusk_reader_batch(reader, 350, entries, 32, 0), 3);
    check_is(tusk_reader_batch(reader, 1, entries, 32, 0), 1);
    check_is(tusk_reader_batch(reader, 0, entries, 32, 0), 1);
    check_is(tusk_reader_batch(reader, SIZE_MAX, entries, 2, 0), 2);
    check_is(tusk_reader_batch(reader, SIZE_MAX, entries, 32, 0), 10);
    for (uint32_t i = 0; i < 10; i++) {
        check_is(entries[i].seq, 10 + i);
        expect_numbered(&entries[i], 1, 10 + i, 100);
    }
    check_is(tusk_reader_batch(reader, SIZE_MAX, entries, 32, 0), 0);
    check_is(tusk_reader_batch(reader, SIZE_MAX, entries, 32, 30), -ETIMEDOUT);
    check_is(tusk_reader_batch(reader, SIZE_MAX, entries, 0, 0), -EINVAL);
}

Test(readers, waiting_ends_at_the_time_out)
{
    struct tusk_entry entry;
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "x");
    struct tusk_reader *reader = reader_from(topic, TUSK_FROM_LATEST, 0);
    const uint64_t begin_ms = now_ms();
    check_is(tusk_reader_next(reader, &entry, 100), -ETIMEDOUT);
    const uint64_t took_ms = now_ms() - begin_ms;
    check_say(took_ms >= 99 && took_ms < 20000, "it took %llu ms", (unsigned long long)took_ms);
}

Test(readers, a_wait_on_a_topic_that_does_not_exist_times_out_as_well)
{
    struct tusk_entry entry;
    struct tusk_reader *reader = reader_of(topic_of(tusk, "none"));
    check_is(tusk_reader_next(reader, &entry, 50), -ETIMEDOUT);
    expect_end(reader);
}

/* In place: the entry's bytes lie in memory that this process cannot write. */
Test(readers, an_entry_in_one_piece_is_seen_in_place_until_the_next_read)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 10, 200);
    struct tusk_reader *one = reader_of(topic);
    struct tusk_reader *two = reader_of(topic);
    const struct tusk_entry first = reader_take(one);
    const struct tusk_entry same = reader_take(two);
    check(first.data == same.data);
    append_numbered(topic, 1, 10, 2000, 200);
    expect_numbered(&first, 1, 0, 200);
    check_ok(tusk_entry_check(topic, &first));
    (void)reader_take(two);
    expect_numbered(&first, 1, 0, 200);
    check_ok(tusk_entry_check(topic, &first));
}

/* Where its payload would begin, the next piece of the arena does, which the reader does not hold. */
Test(readers, an_empty_entry_at_the_very_end_of_a_chunk_is_intact)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    const size_t before = chunk_size(0, CHUNK_BYTES_DEFAULT) - CHUNK_HEADER_BYTES - frame_bytes(0) -
                          FRAME_HEADER_BYTES;
    append_numbered(topic, 1, 0, 1, before);
    append_text(topic, "");
    append_text(topic, "in the next chunk");
    struct tusk_reader *reader = reader_of(topic);
    const struct tusk_entry first = reader_take(reader);
    check_is((const char *)reader_take(reader).data - (const char *)first.data,
             before + FRAME_HEADER_BYTES);
    tusk_reader_close(reader);
    reader = reader_from(topic, TUSK_FROM_SEQ, 1);
    const struct tusk_entry empty = reader_take(reader);
    check_is(empty.size, 0);
    check_ok(tusk_entry_check(topic, &empty));
}

Test(readers, the_entries_of_a_batch_are_valid_together)
{
    enum { COUNT = 512 };
    struct tusk_entry entries[COUNT];
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, COUNT, 3000);
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < COUNT;) {
        const int count = tusk_reader_batch(reader, SIZE_MAX, entries, COUNT, TEST_LONG_MS);
        check_say(count > 0, "tusk_reader_batch: %d", count);
        append_numbered(topic, 2, 0, 50, 3000);
        for (int i = 0; i < count && n < COUNT; i++, n++) {
            check_is(entries[i].seq, n);
            expect_numbered(&entries[i], 1, n, 3000);
            check_ok(tusk_entry_check(topic, &entries[i]));
        }
    }
}

Test(readers, closing_with_entries_held_gives_them_back)
{
    struct tusk_entry entries[64];
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 64, 3000);
    for (int i = 0; i < 3000; i++) { /* more than a session has pins */
        struct tusk_reader *reader = reader_of(topic);
        check(tusk_reader_batch(reader, SIZE_MAX, entries, 64, TEST_LONG_MS) > 0);
        tusk_reader_close(reader);
    }
    tusk_reader_close(NULL);
}

/* Each holds its entry; a session has 1,024 pins. */
Test(readers, more_readers_than_pins_still_read)
{
    enum { READERS = 1500 };
    static struct tusk_reader *all[READERS];
    static struct tusk_entry entries[READERS];
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 3, 100);
    for (int i = 0; i < READERS; i++) {
        all[i] = reader_of(topic);
        entries[i] = reader_take(all[i]);
    }
    for (int i = 0; i < READERS; i++) {
        expect_numbered(&entries[i], 1, 0, 100);
        check_ok(tusk_entry_check(topic, &entries[i]));
    }
}

Test(readers, what_left_memory_is_read_from_disk)
{
    enum { COUNT = 1000, SIZE = 60000 };
    struct tusk_topic *topic = topic_of(tusk, "t"); /* 60 MB through an arena of 32 MiB */
    append_numbered(topic, 1, 0, COUNT, SIZE);
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < COUNT; n++) {
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, n);
        expect_numbered(&entry, 1, n, SIZE);
    }
    for (uint32_t n = COUNT; n > 0; n -= 50) {
        check_ok(tusk_reader_seek(reader, TUSK_FROM_SEQ, n - 1));
        const struct tusk_entry entry = reader_take(reader);
        expect_numbered(&entry, 1, n - 1, SIZE);
    }
}

Test(readers, asking_only_never_waits_for_the_disk_but_gets_there)
{
    enum { COUNT = 800, SIZE = 60000 };
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, COUNT, SIZE);
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < COUNT;) {
        struct tusk_entry entry;
        const int result = tusk_reader_next(reader, &entry, 0);
        if (result == 0) {
            check_is(tusk_wait(tusk, TEST_LONG_MS), 1);
            continue;
        }
        check_is(result, 1);
        expect_numbered(&entry, 1, n, SIZE);
        n++;
    }
}

Test(readers, an_old_entry_is_intact_or_said_not_to_be)
{
    enum { COUNT = 700, SIZE = 60000 };
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 1, SIZE);
    struct tusk_reader *reader = reader_of(topic);
    const struct tusk_entry held = reader_take(reader);
    append_numbered(topic, 1, 1, COUNT, SIZE); /* the arena is used more than once */
    struct payload_id id;
    const bool right = payload_verify(held.data, held.size, &id) && id.n == 0;
    check_say(right || tusk_entry_check(topic, &held) == -ESTALE, "changed without a word");
    check(right); /* pinned for less than the pin time-out: it must have stayed */
}

Test(readers, durable_only_sees_durable_entries_only)
{
    struct tusk_entry entry;
    struct tusk_reader *reader = NULL;
    struct tusk_reader_options options = TUSK_READER_OPTIONS_INIT;
    options.durable_only = 1;
    session_restart("--fsync none");
    struct tusk_topic *topic = topic_of(tusk, "t");
    check_ok(tusk_reader_open(topic, &options, &reader));
    append_text(topic, "a");
    append_text(topic, "b");
    check_is(tusk_reader_next(reader, &entry, 0), 0);
    check_is(tusk_reader_next(reader, &entry, 100), -ETIMEDOUT);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    expect_text(reader, 0, "a");
    expect_text(reader, 1, "b");
    append_text(topic, "c");
    check_is(tusk_reader_next(reader, &entry, 50), -ETIMEDOUT);
    struct tusk_reader *all = reader_from(topic, TUSK_FROM_SEQ, 2);
    expect_text(all, 2, "c");
}

struct following {
    struct gate gate;
    uint64_t seen;
};

enum { FOLLOWED = 20000 };

static void follow(size_t index, void *arg)
{
    struct following *following = arg;
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.idle = index == 0 ? TUSK_IDLE_ADAPTIVE : TUSK_IDLE_BLOCK;
    struct tusk_reader *reader = reader_of(topic_of(attach_with(broker, options), "t"));
    gate_pass(&following->gate);
    for (uint32_t n = 0; n < FOLLOWED; n++) {
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, n);
        expect_numbered(&entry, 1, n, 40);
    }
}

Test(readers_processes, followers_see_everything_as_it_comes)
{
    broker = tuskd_start("");
    struct following *following = shared_memory(sizeof *following);
    struct clients *followers = clients_start(3, follow, following);
    gate_await(&following->gate, 3);
    tusk = attach(broker);
    gate_open(&following->gate);
    append_numbered(topic_of(tusk, "t"), 1, 0, FOLLOWED, 40);
    clients_join(followers);
    session_end();
}

static void wait_for_one(size_t index, void *arg)
{
    struct following *following = arg;
    struct tusk_entry entry;
    struct tusk_reader *reader = reader_of(topic_of(attach(broker), "t"));
    (void)index;
    expect_end(reader);
    gate_pass(&following->gate);
    check_is(tusk_reader_next(reader, &entry, -1), 1);
    check_bytes(entry.data, entry.size, "wake", 4);
    expect_end(reader);
}

Test(readers_processes, a_blocked_reader_is_woken_by_another_process)
{
    broker = tuskd_start("");
    struct following *following = shared_memory(sizeof *following);
    struct clients *waiting = clients_start(4, wait_for_one, following);
    gate_await(&following->gate, 4);
    tusk = attach(broker);
    gate_open(&following->gate);
    append_text(topic_of(tusk, "t"), "wake");
    clients_join(waiting);
    session_end();
}

/* Many rounds of one entry each, so that sleeping and waking meet in every way. */
static void answer(size_t index, void *arg)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    (void)arg;
    options.idle = TUSK_IDLE_BLOCK;
    struct tusk *connection = attach_with(broker, options);
    struct tusk_topic *mine = topic_of(connection, index == 0 ? "ping" : "pong");
    struct tusk_reader *reader = reader_of(topic_of(connection, index == 0 ? "pong" : "ping"));
    for (uint32_t n = 0; n < 3000; n++) {
        if (index == 0) {
            append_numbered(mine, 1, n, 1, 32);
        }
        check_is(reader_take(reader).seq, n);
        if (index == 1) {
            append_numbered(mine, 1, n, 1, 32);
        }
    }
}

Test(readers_processes, no_wakeup_is_lost_in_thousands_of_rounds)
{
    broker = tuskd_start("--idle block");
    clients_run(2, answer, NULL);
    tuskd_stop(broker);
}
