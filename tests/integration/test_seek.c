/*
 * Seeks by seq and by time in a long topic that lies on disk: they find exactly the entry, and read little
 * more than the chunk it lies in, also right after a start, when where chunks begin is known only
 * roughly.
 * How:        one real broker per test; its counters say how many chunks and chunk headers were read.
 * Not here:   the search itself (unit/test_chunk_locate.c).
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/deadline.h"
#include "tests/support/payload.h"
#include "tests/support/session.h"

#define OPTIONS "--chunk 64K --segment 16M --arena 8M --fsync 50ms --retention none"

enum { ENTRIES = 32000, SIZE = 4000, SEEKS = 150, CHUNKS = ENTRIES / 16 };

static void begin(void)
{
    deadline_set(120);
    session_begin_with(OPTIONS);
}

TestSuite(seek, .init = begin, .fini = session_end, .timeout = 600);

static struct tusk_entry seek_to(struct tusk_reader *reader, enum tusk_from from, uint64_t value)
{
    check_ok(tusk_reader_seek(reader, from, value));
    return reader_take(reader);
}

static uint64_t random_below(uint64_t below)
{
    static uint64_t state = 88172645463325252;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

struct cost {
    uint64_t chunks;
    uint64_t headers;
};

static struct cost cost_now(void)
{
    return (struct cost){.chunks = counter_of(tusk, "fetches_total"),
                         .headers = counter_of(tusk, "chunk_headers_read_total")};
}

static void expect_cost(const char *what, struct cost before, double chunks_max, double headers_max)
{
    const struct cost after = cost_now();
    const double chunks = (double)(after.chunks - before.chunks) / SEEKS;
    const double headers = (double)(after.headers - before.headers) / SEEKS;
    (void)fprintf(stderr, "seek by %s: %.2f chunks and %.2f headers each\n", what, chunks, headers);
    check_say(chunks <= chunks_max, "a seek by %s reads %.2f chunks", what, chunks);
    check_say(headers <= headers_max, "a seek by %s reads %.2f headers", what, headers);
}

/* A broker that has just started on a topic of 2,000 chunks. */
static struct tusk_topic *long_topic(void)
{
    append_numbered(topic_of(tusk, "t"), 1, 0, ENTRIES, SIZE);
    session_restart(OPTIONS);
    struct tusk_topic *topic = topic_of(tusk, "t");
    check(info_of(topic).bytes / 65536 >= CHUNKS - 32);
    return topic;
}

Test(seek, by_seq_reads_little_more_than_one_chunk)
{
    struct tusk_reader *reader = reader_of(long_topic());
    struct cost before = cost_now();
    for (int i = 0; i < SEEKS; i++) {
        const uint64_t seq = random_below(ENTRIES);
        const struct tusk_entry entry = seek_to(reader, TUSK_FROM_SEQ, seq);
        check_is(entry.seq, seq);
        expect_numbered(&entry, 1, (uint32_t)seq, SIZE);
    }
    /* One entry in sixteen lies in two chunks. */
    expect_cost("seq", before, 1.3, 2);
    check_is(seek_to(reader, TUSK_FROM_SEQ, 0).seq, 0);
    check_is(seek_to(reader, TUSK_FROM_SEQ, ENTRIES - 1).seq, ENTRIES - 1);
    expect_end(reader);
}

Test(seek, by_time_reads_little_more_than_one_chunk)
{
    struct tusk_topic *topic = long_topic();
    struct tusk_reader *reader = reader_of(topic);
    static uint64_t seqs[SEEKS];
    static uint64_t times[SEEKS];
    for (int i = 0; i < SEEKS; i++) {
        seqs[i] = random_below(ENTRIES);
        times[i] = seek_to(reader, TUSK_FROM_SEQ, seqs[i]).time_ns;
    }
    session_restart(OPTIONS);
    topic = topic_of(tusk, "t");
    reader = reader_of(topic);
    struct cost before = cost_now();
    for (int i = 0; i < SEEKS; i++) {
        const struct tusk_entry entry = seek_to(reader, TUSK_FROM_TIME, times[i]);
        check_is(entry.time_ns, times[i]);
        check_say(entry.seq <= seqs[i], "seq %zu is not the first of its time", (size_t)seqs[i]);
    }
    expect_cost("time", before, 2.5, 12);
    /* Exactly: the entry before, if there is one, is older. */
    for (int i = 0; i < 20; i++) {
        const struct tusk_entry entry = seek_to(reader, TUSK_FROM_TIME, times[i]);
        const uint64_t seq = entry.seq;
        check(seq == 0 || seek_to(reader, TUSK_FROM_SEQ, seq - 1).time_ns < times[i]);
    }
    check_is(seek_to(reader, TUSK_FROM_TIME, 0).seq, 0);
    check_is(seek_to(reader, TUSK_FROM_TIME, 1).seq, 0);
    check_ok(tusk_reader_seek(reader, TUSK_FROM_TIME, UINT64_MAX));
    expect_end(reader);
    const struct tusk_entry last = seek_to(reader, TUSK_FROM_SEQ, ENTRIES - 1);
    check(seek_to(reader, TUSK_FROM_TIME, last.time_ns).time_ns == last.time_ns);
    check_ok(tusk_reader_seek(reader, TUSK_FROM_TIME, last.time_ns + 1));
    expect_end(reader);
}
