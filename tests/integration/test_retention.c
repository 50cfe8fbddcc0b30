/*
 * Retention as programs and people see it: policies of the broker and of topics, given at creation or
 * changed by the tool, through restarts; readers whose place was given up; trims at every edge.
 * How:        one real broker per test, with small chunks; the real tool.
 * Not here:   which chunk goes when, clocks (unit/test_retention_limits.c); texts
 *             (unit/test_retention_policy.c); disk use over a long life (test_long_life.c).
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "tests/support/deadline.h"
#include "tests/support/program.h"
#include "tests/support/session.h"

#define SMALL "--chunk 64K --segment 4M --fsync 10ms "

static void begin(void)
{
    session_begin_with(SMALL);
}

TestSuite(retention, .init = begin, .fini = session_end);
TestSuite(retention_of_the_broker, .fini = session_end);

static void expect_output(const char *words, const char *output)
{
    struct program_result result = cli(broker, words, "", 0);
    check_say(result.status == 0, "tusk %s: exit status %d: %s", words, result.status, result.err);
    check_bytes(result.out, result.out_bytes, output, strlen(output));
    program_free(&result);
}

static void expect_failure(const char *words, int status, const char *part)
{
    struct program_result result = cli(broker, words, "", 0);
    check_say(result.status == status, "tusk %s: exit status %d, expected %d: %s", words,
              result.status, status, result.err);
    check_contains(result.err, part);
    program_free(&result);
}

static void expect_option(struct tusk_topic *topic, const char *option, const char *expected)
{
    char value[96];
    check_is(tusk_topic_get(topic, option, value, sizeof value), strlen(expected));
    check_say(strcmp(value, expected) == 0, "%s is %s, expected %s", option, value, expected);
}

/* Appends until the first entry is gone, or fails. */
static void append_until_trimmed(struct tusk_topic *topic, uint32_t *appended)
{
    while (info_of(topic).first_seq == 0) {
        append_numbered(topic, 1, *appended, 50, 2000);
        *appended += 50;
        check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
        check_say(*appended < 10000, "nothing is trimmed");
    }
}

Test(retention, a_topic_is_created_with_its_policy_and_keeps_it)
{
    struct tusk_topic_options options = TUSK_TOPIC_OPTIONS_INIT;
    struct tusk_topic *topic;
    uint32_t appended = 0;
    options.retention = "bytes=256KiB";
    check_ok(tusk_topic_open(tusk, "t", &options, &topic));
    append_until_trimmed(topic, &appended);
    check(info_of(topic).bytes <= 256 << 10);
    expect_option(topic, "retention", "bytes=256KiB");
    expect_option(topic, "retention_source", "topic");
    options.retention = "none"; /* it exists: nothing changes */
    struct tusk_topic *again;
    check_ok(tusk_topic_open(tusk, "t", &options, &again));
    expect_option(again, "retention", "bytes=256KiB");
    const uint64_t first = info_of(topic).first_seq;
    session_restart(SMALL);
    topic = topic_of(tusk, "t");
    expect_option(topic, "retention", "bytes=256KiB");
    check_is(info_of(topic).first_seq, first);
}

Test(retention, the_tool_shows_and_changes_it)
{
    append_text(topic_of(tusk, "t"), "x");
    expect_output("config t", "retention=consumed\nretention_source=default\n");
    expect_output("config t retention=bytes=10GiB,age=7d", "");
    expect_output("config t", "retention=bytes=10GiB,age=7d\nretention_source=topic\n");
    tuskd_kill(broker);
    tusk_disconnect(tusk);
    tuskd_restart(broker, SMALL "--retention none");
    tusk = attach(broker);
    expect_output("config t", "retention=bytes=10GiB,age=7d\nretention_source=topic\n");
    expect_output("config t retention=default", "");
    expect_output("config t", "retention=none\nretention_source=default\n");
}

Test(retention, the_tool_says_what_it_expects)
{
    append_text(topic_of(tusk, "t"), "x");
    append_text(topic_of(tusk, "retention=none"), "x");
    expect_output("config --topic retention=none",
                  "retention=consumed\nretention_source=default\n");
    expect_output("config --topic retention=none retention=age=7d", "");
    expect_output("config --topic retention=none", "retention=age=7d\nretention_source=topic\n");
    expect_failure("config colour=red", EX_USAGE, "--topic");
    expect_failure("config none", EX_NOINPUT, "there is no topic 'none'");
    expect_failure("config none retention=consumed", EX_NOINPUT, "there is no topic 'none'");
    expect_failure("config t retention=bytes", EX_USAGE, "'bytes' is not a value of it; expected");
    expect_failure("config t retention=bytes", EX_USAGE, "bytes=SIZE");
    expect_failure("config t retention", EX_USAGE, "expected KEY=VALUE");
    expect_failure("config t colour=red", EX_USAGE, "'colour' is no option of a topic");
    expect_failure("config t colour=red", EX_USAGE, "there is: retention");
    expect_failure("config t retention=none colour=red", EX_USAGE, "'colour'");
    expect_output("config t", "retention=consumed\nretention_source=default\n");
}

Test(retention_of_the_broker, age_gives_up_what_is_old)
{
    session_begin_with(SMALL "--retention age=1s");
    struct tusk_topic *topic = topic_of(tusk, "t");
    const uint64_t begin_ms = now_ms();
    append_numbered(topic, 1, 0, 500, 2000);
    const bool kept = info_of(topic).first_seq == 0;
    check(kept || now_ms() - begin_ms >= 1000); /* a busy machine takes longer */
    wait_until(info_of(topic).bytes <= 2 * 64 << 10, 30000);
    const uint64_t first = info_of(topic).first_seq;
    check(first < 500);
    struct tusk_reader *reader = reader_of(topic);
    const struct tusk_entry entry = reader_take(reader);
    check(entry.seq >= first && entry.seq <= info_of(topic).first_seq);
    expect_numbered(&entry, 1, (uint32_t)entry.seq, 2000);
}

Test(retention_of_the_broker, bytes_take_what_nobody_has_read)
{
    session_begin_with(SMALL "--retention bytes=512KiB");
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_entry entry;
    uint32_t appended = 100;
    append_numbered(topic, 1, 0, appended, 2000);
    check_is(tusk_read_next(topic, true, &entry), 1);
    check_is(entry.seq, 0);
    struct tusk_reader *reader = reader_from(topic, TUSK_FROM_SEQ, 5);
    check_is(reader_take(reader).seq, 5);
    while (info_of(topic).first_seq < 200) {
        append_numbered(topic, 1, appended, 50, 2000);
        appended += 50;
        check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    }
    /* The reader is told, stays, and goes on from the first one still there. */
    struct tusk_reader *late = reader_from(topic, TUSK_FROM_SEQ, 7);
    check_is(tusk_reader_next(late, &entry, TEST_LONG_MS), -ENODATA);
    check_is(tusk_reader_next(late, &entry, 0), -ENODATA);
    const uint64_t first = info_of(topic).first_seq;
    check_ok(tusk_reader_seek(late, TUSK_FROM_SEQ, first));
    entry = reader_take(late);
    check_is(entry.seq, first);
    expect_numbered(&entry, 1, (uint32_t)first, 2000);
    check_ok(tusk_reader_seek(late, TUSK_FROM_EARLIEST, 0));
    check_is(reader_take(late).seq, first);
    /* So does the cursor, and what it has missed is counted. */
    check_is(tusk_read_next(topic, true, &entry), 1);
    check_is(entry.seq, first);
    wait_until(counter_of(tusk, "entries_lost_total") == first - 1, 5000);
    /* So does the tool, with a message that says how. */
    char words[64];
    char part[64];
    expect_failure("read t --from 3", EX_DATAERR, "or --from earliest");
    snprintf(part, sizeof part, "read on with --from %llu", (unsigned long long)first);
    expect_failure("read t --from 3", EX_DATAERR, part);
    snprintf(words, sizeof words, "read t --raw -n 1 --from %llu", (unsigned long long)first);
    struct program_result result = cli(broker, words, "", 0);
    check_is(result.status, 0);
    check_is(result.out_bytes, 2000);
    program_free(&result);
    result = cli(broker, "read t --raw -n 1 --from earliest", "", 0);
    check_is(result.status, 0);
    check_is(result.out_bytes, 2000);
    program_free(&result);
}

/* A reader in the middle of a chunk that goes keeps what it holds until it moves on. */
Test(retention, a_chunk_that_is_read_stays_readable_until_the_reader_moves_on)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 400, 2000);
    struct tusk_reader *reader = reader_from(topic, TUSK_FROM_SEQ, 100);
    const struct tusk_entry held = reader_take(reader);
    check_is(held.seq, 100);
    check_ok(tusk_topic_trim(topic, 300));
    append_numbered(topic, 1, 400, 2000, 2000); /* the freed slots are used again */
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    check_ok(tusk_entry_check(topic, &held));
    expect_numbered(&held, 1, 100, 2000);
    struct tusk_entry entry;
    check_is(tusk_reader_next(reader, &entry, TEST_LONG_MS), -ENODATA);
    check_ok(tusk_reader_seek(reader, TUSK_FROM_SEQ, 300));
    entry = reader_take(reader);
    expect_numbered(&entry, 1, 300, 2000);
}

/* Every seq around a chunk's edge: the topic begins with exactly that one. */
Test(retention, trims_are_exact_around_every_edge)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 300, 1000);
    for (uint32_t seq = 1; seq < 300; seq += seq % 61 == 60 ? 17 : 1) {
        check_ok(tusk_topic_trim(topic, seq));
        check_is(info_of(topic).first_seq, seq);
        struct tusk_reader *reader = reader_of(topic);
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, seq);
        expect_numbered(&entry, 1, seq, 1000);
        tusk_reader_close(reader);
    }
    expect_failure("trim t 301", EX_USAGE, "is beyond the end of topic 't', expected at most 300");
    expect_failure("trim t x", EX_USAGE, "'x' is not a sequence number");
    expect_failure("trim none 1", EX_NOINPUT, "there is no topic 'none'");
    expect_output("trim t 5", ""); /* gone already: no error */
    check(info_of(topic).first_seq > 5);
    expect_output("trim t 300", "");
    check_is(info_of(topic).first_seq, 300);
    check_is(info_of(topic).bytes, 0);
    session_restart(SMALL);
    topic = topic_of(tusk, "t");
    check_is(info_of(topic).first_seq, 300);
    check_is(append_text(topic, "next"), 300);
    expect_output("read t", "next\n");
    expect_output("delete t", "");
    expect_failure("delete t", EX_NOINPUT, "there is no topic 't'");
}
