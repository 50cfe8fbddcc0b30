/*
 * A long life in a short time: what is consumed, trimmed or deleted gives its space back, so that the
 * data directory stays within a bound that does not depend on how much went through it.
 * How:        one real broker per test with small chunks and segments; what the files occupy is asked
 *             of the file system.
 * Not here:   the minutes-long version (soak/soak_month.c).
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/support/deadline.h"
#include "tests/support/month.h"
#include "tests/support/scratch.h"
#include "tests/support/session.h"

#define MIB (UINT64_C(1) << 20)
/* What stays: what is in use, a segment to grow into, and segments that single chunks keep. */
#define RESERVE (32 * MIB)
#define SMALL "--chunk 64K --segment 4M --arena 32M --fsync 20ms "

static void begin(void)
{
    deadline_set(120);
    session_begin_with(SMALL);
}

TestSuite(long_life, .init = begin, .fini = session_end, .timeout = 600);

static uint64_t disk_bytes(void)
{
    return scratch_disk_bytes(broker->data);
}

/* Reads by the cursor until there is nothing more; returns how many. */
static uint64_t consume(struct tusk_topic *topic)
{
    static struct tusk_entry entries[1024];
    uint64_t total = 0;
    int count;
    while ((count = tusk_batch_read(topic, 1 << 20, true, entries, 1024)) > 0) {
        total += (uint64_t)count;
    }
    check_is(count, 0);
    return total;
}

static void fill(struct tusk_topic *topic, uint64_t bytes)
{
    static unsigned char data[16000];
    for (uint64_t written = 0; written < bytes; written += sizeof data) {
        check_ok(tusk_append(topic, data, sizeof data, NULL));
    }
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
}

/* 100 MiB wait to be read, and are: the disk has them no more, also after a kill. */
Test(long_life, a_backlog_s_space_is_returned)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_topic *beside = topic_of(tusk, "beside");
    append_text(beside, "stays");
    fill(topic, 100 * MIB);
    check(disk_bytes() > 100 * MIB);
    append_text(beside, "too");
    check_is(consume(topic), info_of(topic).next_seq);
    append_text(topic, "after");
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    wait_until(disk_bytes() <= RESERVE, 60000);
    tusk_disconnect(tusk);
    tuskd_kill(broker);
    tuskd_restart(broker, SMALL);
    tusk = attach(broker);
    topic = topic_of(tusk, "t");
    expect_next(topic, info_of(topic).next_seq - 1, "after");
    struct tusk_reader *reader = reader_of(topic_of(tusk, "beside"));
    expect_text(reader, 0, "stays");
    expect_text(reader, 1, "too");
    check(disk_bytes() <= RESERVE);
    fill(topic, 20 * MIB); /* segments that went are made again */
    check_is(consume(topic), 20 * MIB / 16000 + 1);
}

/* The same by a trim, by a delete, and by a bound that is lowered. */
Test(long_life, whatever_frees_space_returns_it)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    fill(topic, 40 * MIB);
    fill(topic_of(tusk, "u"), 40 * MIB);
    fill(topic_of(tusk, "v"), 40 * MIB);
    check(disk_bytes() > 120 * MIB);
    check_ok(tusk_topic_trim(topic, info_of(topic).next_seq));
    check_ok(tusk_topic_delete(tusk, "u"));
    check_ok(tusk_topic_set(topic_of(tusk, "v"), "retention", "bytes=1MiB"));
    wait_until(disk_bytes() <= RESERVE, 60000);
    check(info_of(topic_of(tusk, "v")).bytes <= MIB);
    check(info_of(topic_of(tusk, "v")).bytes > MIB / 2);
}

/* A month of cursors, topics created and deleted, and 100 times the disk budget of data. */
Test(long_life, a_month_leaves_the_disk_as_it_was)
{
    const struct month month = {
        .days = 30,
        .topics = 100 / TEST_TIME_FACTOR,
        .cursor_moves = 100 / TEST_TIME_FACTOR,
        .bytes = 100 * RESERVE / 30 / TEST_TIME_FACTOR,
        .step_bytes = 4 * MIB,
        .disk_bytes = RESERVE,
        .restart_every = 6,
        .options = SMALL,
    };
    const struct month_report report = month_live(&month);
    (void)fprintf(
        stderr,
        "%llu MiB, %llu topics, %llu cursor moves, %llu restarts: at most %llu MiB of disk, "
        "%llu MiB in the end\n",
        (unsigned long long)(report.bytes / MIB), (unsigned long long)report.topics,
        (unsigned long long)report.cursor_moves, (unsigned long long)report.restarts,
        (unsigned long long)(report.disk_bytes_max / MIB),
        (unsigned long long)(report.disk_bytes_end / MIB));
    check(report.bytes >= 100 / TEST_TIME_FACTOR * RESERVE);
}
