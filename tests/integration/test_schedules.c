/*
 * Schedules: when entries become durable under each, N ms and none, and what tusk_flush does.
 * How:        one real broker per test; what is durable is asked of the broker, and proved by
 *             killing it.
 * Not here:   a broker that is killed under load (crash/test_broker_kill.c).
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tests/support/clients.h"
#include "tests/support/payload.h"
#include "tests/support/session.h"

TestSuite(schedules, .fini = session_end);
TestSuite(schedules_processes);

static void restart_killed(const char *options)
{
    tuskd_kill(broker);
    tusk_disconnect(tusk);
    tuskd_restart(broker, options);
    tusk = attach(broker);
}

Test(schedules, seed_row_09_each_acknowledges_durable_entries_only)
{
    session_begin_with("--fsync each");
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (uint32_t i = 0; i < 50; i++) {
        append_numbered(topic, 1, i, 1, 100);
        check_is(info_of(topic).durable_seq, i + 1);
    }
    restart_killed("--fsync each");
    check_is(info_of(topic_of(tusk, "t")).next_seq, 50);
}

Test(schedules, each_hands_completions_out_for_durable_entries_only)
{
    enum { COUNT = 500 };
    session_begin_with("--fsync each");
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (uint64_t i = 1; i <= COUNT; i++) {
        check_ok(tusk_submit(topic, "x", 1, i));
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        struct tusk_completion completion;
        reap_all(tusk, &completion, 1);
        check_is(completion.seq, i);
        check(info_of(topic).durable_seq > completion.seq);
    }
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, -1));
    check_is(info_of(topic).durable_seq, COUNT);
}

Test(schedules, seed_row_03_each_makes_a_batch_durable_before_it_answers)
{
    session_begin_with("--fsync each");
    struct tusk_topic *topic = topic_of(tusk, "t");
    char text[] = "x";
    struct iovec entries[3] = {{text, 1}, {text, 1}, {text, 1}};
    check_ok(tusk_batch_append(topic, entries, 3, NULL));
    check_is(info_of(topic).durable_seq, 3);
}

struct watch {
    struct gate gate;
    uint64_t done;
};

static void watch_durable(size_t index, void *arg)
{
    struct watch *watch = arg;
    struct tusk_topic *topic = topic_of(attach(broker), "t");
    struct tusk_reader *reader = reader_of(topic);
    (void)index;
    gate_pass(&watch->gate);
    for (uint64_t seq = 0; seq < 300; seq++) {
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, seq);
        check_say(info_of(topic).durable_seq > seq, "seq %llu is seen and not durable",
                  (unsigned long long)seq);
    }
}

Test(schedules_processes, under_each_readers_see_durable_entries_only)
{
    broker = tuskd_start("--fsync each");
    struct watch *watch = shared_memory(sizeof *watch);
    struct clients *watchers = clients_start(2, watch_durable, watch);
    gate_await(&watch->gate, 2);
    gate_open(&watch->gate);
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (int i = 0; i < 300; i++) {
        check_ok(tusk_submit(topic, "x", 1, 0));
    }
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, -1));
    clients_join(watchers);
    session_end();
}

Test(schedules, seed_row_13_n_ms_makes_entries_durable_by_itself)
{
    session_begin_with("--fsync 20ms");
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (uint32_t i = 1; i <= 10; i++) {
        append_numbered(topic, 1, i, 1, 100);
        wait_until(info_of(topic).durable_seq == i, 2000);
    }
    restart_killed("--fsync 20ms");
    check_is(info_of(topic_of(tusk, "t")).next_seq, 10);
}

Test(schedules, n_ms_answers_before_the_entry_is_durable)
{
    session_begin_with("--fsync 3600000ms");
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "x");
    check_is(info_of(topic).durable_seq, 0);
    struct tusk_reader *reader = reader_of(topic);
    expect_text(reader, 0, "x");
}

Test(schedules, the_default_makes_entries_durable_by_itself)
{
    session_begin();
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "x");
    check_contains(tuskd_log(broker), "fsync=200ms"); /* in which time depends on the disk, too */
    wait_until(info_of(topic).durable_seq == 1, 5000);
}

Test(schedules, none_syncs_at_a_clean_stop_only)
{
    session_begin_with("--fsync none");
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 100, 100);
    check_is(tusk_wait(tusk, 500), 0);
    check_is(info_of(topic).durable_seq, 0);
    session_restart("--fsync none");
    check_is(info_of(topic_of(tusk, "t")).next_seq, 100);
    check_is(info_of(topic_of(tusk, "t")).durable_seq, 100);
}

Test(schedules, none_and_a_kill_leave_a_prefix)
{
    enum { COUNT = 20000 };
    session_begin_with("--fsync none");
    append_numbered(topic_of(tusk, "t"), 1, 0, COUNT, 400);
    restart_killed("--fsync none");
    struct tusk_topic *topic = topic_of(tusk, "t");
    const uint64_t kept = info_of(topic).next_seq;
    check(kept <= COUNT);
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < kept; n++) {
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, n);
        expect_numbered(&entry, 1, n, 400);
    }
    expect_end(reader);
    check_is(append_text(topic, "goes on"), kept);
}

static void flush_durable_under(const char *options)
{
    session_begin_with(options);
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (uint32_t round = 1; round <= 5; round++) {
        for (int i = 0; i < 100; i++) {
            check_ok(tusk_submit(topic, "x", 1, 0));
        }
        check_ok(tusk_flush(tusk, TUSK_DURABLE, -1)); /* else the deadline passes */
        check_is(info_of(topic).durable_seq, round * 100);
    }
    restart_killed(options);
    check_is(info_of(topic_of(tusk, "t")).next_seq, 500);
}

Test(schedules, flush_durable_syncs_now_under_none)
{
    flush_durable_under("--fsync none");
}

Test(schedules, flush_durable_syncs_now_under_a_long_interval)
{
    flush_durable_under("--fsync 3600000ms");
}

Test(schedules, flush_durable_syncs_under_each)
{
    flush_durable_under("--fsync each");
}

Test(schedules, flush_committed_does_not_wait_for_the_disk)
{
    session_begin_with("--fsync none");
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (int i = 0; i < 1000; i++) {
        check_ok(tusk_submit(topic, "x", 1, 0));
    }
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, -1));
    check_is(info_of(topic).next_seq, 1000);
    check_is(info_of(topic).durable_seq, 0);
}

Test(schedules, flush_covers_several_topics_of_the_lane)
{
    session_begin_with("--fsync none");
    struct tusk_topic *a = topic_of(tusk, "a");
    struct tusk_topic *b = topic_of(tusk, "b");
    check_ok(tusk_submit(a, "x", 1, 0));
    check_ok(tusk_submit(b, "x", 1, 0));
    append_text(a, "y");
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    check_is(info_of(a).durable_seq, 2);
    check_is(info_of(b).durable_seq, 1);
}

Test(schedules, flush_with_nothing_submitted_is_done_at_once)
{
    session_begin_with("--fsync none");
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, 0));
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    append_text(topic_of(tusk, "t"), "x");
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
}

Test(schedules, seed_row_19_what_was_durable_stays_durable_after_restarts)
{
    session_begin();
    for (uint32_t round = 1; round <= 4; round++) {
        struct tusk_topic *topic = topic_of(tusk, "t");
        append_numbered(topic, 1, round, 10, 100);
        check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
        restart_killed("");
        check_is(info_of(topic_of(tusk, "t")).next_seq, round * 10);
        check_is(info_of(topic_of(tusk, "t")).durable_seq, round * 10);
    }
}

Test(schedules, another_schedule_may_be_chosen_at_each_start)
{
    session_begin_with("--fsync none");
    append_text(topic_of(tusk, "t"), "a");
    session_restart("--fsync each");
    check_is(append_text(topic_of(tusk, "t"), "b"), 1);
    check_is(info_of(topic_of(tusk, "t")).durable_seq, 2);
    session_restart("--fsync 10ms");
    check_is(append_text(topic_of(tusk, "t"), "c"), 2);
    wait_until(info_of(topic_of(tusk, "t")).durable_seq == 3, 2000);
}
