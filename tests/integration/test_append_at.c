/*
 * Append at: an entry is appended only if its seq will be the expected one.
 * How:        one real broker per test; the race is between processes.
 * Not here:   other appends (test_basics.c).
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tests/support/clients.h"
#include "tests/support/payload.h"
#include "tests/support/session.h"

enum { RACERS = 3, SEQS = 1500 };

TestSuite(append_at, .init = session_begin, .fini = session_end);
TestSuite(append_at_processes);

Test(append_at, the_expected_seq_appends_and_another_writes_nothing)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    check_ok(tusk_append_at(topic, 0, "a", 1));
    check_is(tusk_append_at(topic, 0, "again", 5), -EILSEQ);
    check_is(tusk_append_at(topic, 2, "early", 5), -EILSEQ);
    check_is(tusk_append_at(topic, UINT64_MAX - 1, "far", 3), -EILSEQ);
    check_is(info_of(topic).next_seq, 1);
    check_ok(tusk_append_at(topic, 1, "b", 1));
    struct tusk_reader *reader = reader_of(topic);
    expect_text(reader, 0, "a");
    expect_text(reader, 1, "b");
    expect_end(reader);
}

Test(append_at, a_topic_that_does_not_exist_expects_0)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    check_is(tusk_append_at(topic, 1, "x", 1), -EILSEQ);
    check_is(info_of(topic).next_seq, 0);
    check_ok(tusk_append_at(topic, 0, "x", 1));
}

Test(append_at, counts_what_the_same_thread_has_submitted_before)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (int i = 0; i < 100; i++) {
        check_ok(tusk_submit(topic, "x", 1, 0));
    }
    check_is(tusk_append_at(topic, 99, "y", 1), -EILSEQ);
    check_ok(tusk_append_at(topic, 100, "y", 1));
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, -1));
}

Test(append_at, works_after_a_restart)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "a");
    session_restart("");
    topic = topic_of(tusk, "t");
    check_is(tusk_append_at(topic, 0, "b", 1), -EILSEQ);
    check_ok(tusk_append_at(topic, 1, "b", 1));
}

struct race {
    struct gate gate;
    uint64_t wins[RACERS];
    uint32_t winner[SEQS]; /* index + 1 of who was told to have won */
};

static void race_run(size_t index, void *arg)
{
    struct race *race = arg;
    struct tusk_topic *topic = topic_of(attach(broker), "t");
    unsigned char data[64];
    gate_pass(&race->gate);
    for (uint32_t seq = 0; seq < SEQS; seq++) {
        payload_fill(data, sizeof data, (uint32_t)index, seq);
        const int result = tusk_append_at(topic, seq, data, sizeof data);
        if (result == 0) {
            race->winner[seq] +=
                (uint32_t)index + 1; /* wins adds up to SEQS only with one winner each */
            race->wins[index]++;
        } else {
            check_is(result, -EILSEQ);
        }
    }
}

Test(append_at_processes, exactly_one_of_the_racers_wins_each_seq)
{
    broker = tuskd_start("");
    struct race *race = shared_memory(sizeof *race);
    struct clients *racers = clients_start(RACERS, race_run, race);
    gate_await(&race->gate, RACERS);
    gate_open(&race->gate);
    clients_join(racers);
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    check_is(info_of(topic).next_seq, SEQS);
    check_is(race->wins[0] + race->wins[1] + race->wins[2], SEQS);
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t seq = 0; seq < SEQS; seq++) {
        const struct tusk_entry entry = reader_take(reader);
        expect_numbered(&entry, race->winner[seq] - 1, seq, 64);
    }
    expect_end(reader);
    session_end();
}
