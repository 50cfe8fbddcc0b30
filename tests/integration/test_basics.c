/*
 * Basics: what is appended is what is read, by seq, for every size and every name.
 * How:        one real broker per test, public interface only.
 * Not here:   batches (test_batch.c), submissions without waiting (test_async.c).
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/payload.h"
#include "tests/support/session.h"

enum { LANE_BYTES_DEFAULT = 256 * 1024, HEADERS_BYTES_MAX = 256 };

TestSuite(basics, .init = session_begin, .fini = session_end);

static int count_topics(const char *name, const struct tusk_topic_stat *stat, void *arg)
{
    (void)name;
    (void)stat;
    ++*(int *)arg;
    return 0;
}

static int topics_count(void)
{
    int count = 0;
    check_ok(tusk_topic_list(tusk, count_topics, &count));
    return count;
}

Test(basics, seed_row_01_seqs_begin_at_0_and_are_dense)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (uint64_t i = 0; i < 1000; i++) {
        check_is(append_text(topic, "entry"), i);
    }
    check_is(info_of(topic).next_seq, 1000);
    check_is(info_of(topic).first_seq, 0);
}

Test(basics, an_entry_is_read_as_it_was_appended)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "first");
    append_text(topic, "second");
    struct tusk_reader *reader = reader_of(topic);
    expect_text(reader, 0, "first");
    expect_text(reader, 1, "second");
    expect_end(reader);
}

Test(basics, every_member_of_an_entry_is_filled)
{
    struct timespec before;
    struct timespec after;
    struct tusk_topic *topic = topic_of(tusk, "t");
    check_ok(clock_gettime(CLOCK_REALTIME, &before));
    append_text(topic, "x");
    append_text(topic, "y");
    check_ok(clock_gettime(CLOCK_REALTIME, &after));
    struct tusk_reader *reader = reader_of(topic);
    const struct tusk_entry first = reader_take(reader);
    const struct tusk_entry second = reader_take(reader);
    const uint64_t second_ns = 1000000000U;
    check(first.time_ns + second_ns >= (uint64_t)before.tv_sec * second_ns);
    check(first.time_ns <= second.time_ns);
    check(second.time_ns <= ((uint64_t)after.tv_sec + 1) * second_ns);
    check_is(first.flags, 0);
    check_is(first.reserved[0] | first.reserved[1] | first.reserved[2], 0);
}

Test(basics, entries_of_every_size_up_to_half_a_lane_come_back_whole)
{
    static const size_t sizes[] = {16,    17,    24,    31,    32,    33,    47,     48,
                                   63,    64,    65,    100,   127,   128,   129,    255,
                                   256,   1000,  1023,  1024,  4095,  4096,  4097,   16383,
                                   16384, 16385, 32767, 32769, 65535, 65536, 100001, 0};
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t i = 0; sizes[i] != 0; i++) {
        append_numbered(topic, 1, i, 1, sizes[i]);
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, i);
        expect_numbered(&entry, 1, i, sizes[i]);
    }
}

Test(basics, small_entries_of_0_to_15_bytes_come_back_whole)
{
    static const char text[] = "0123456789abcde";
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_reader *reader = reader_of(topic);
    for (size_t size = 0; size < sizeof text; size++) {
        check_ok(tusk_append(topic, text, size, NULL));
    }
    for (size_t size = 0; size < sizeof text; size++) {
        const struct tusk_entry entry = reader_take(reader);
        check(entry.data != NULL);
        check_bytes(entry.data, entry.size, text, size);
    }
}

Test(basics, an_empty_entry_may_have_no_data)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    check_ok(tusk_append(topic, NULL, 0, NULL));
    struct tusk_reader *reader = reader_of(topic);
    const struct tusk_entry entry = reader_take(reader);
    check_is(entry.size, 0);
    check(entry.data != NULL);
}

Test(basics, seed_row_18_an_entry_may_be_larger_than_a_lane)
{
    static const size_t sizes[] = {LANE_BYTES_DEFAULT / 2 - HEADERS_BYTES_MAX,
                                   LANE_BYTES_DEFAULT / 2 - 32,
                                   LANE_BYTES_DEFAULT / 2 - 31,
                                   LANE_BYTES_DEFAULT / 2 + 1,
                                   LANE_BYTES_DEFAULT,
                                   LANE_BYTES_DEFAULT * 11 + 3};
    enum { COUNT = sizeof sizes / sizeof sizes[0] };
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (uint32_t n = 0; n < COUNT; n++) {
        append_numbered(topic, 1, n, 1, sizes[n]);
    }
    check_is(append_text(topic, "goes on"), COUNT);
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < COUNT; n++) {
        const struct tusk_entry entry = reader_take(reader);
        expect_numbered(&entry, 1, n, sizes[n]);
    }
    expect_text(reader, COUNT, "goes on");
}

Test(basics, impossible_sizes_are_refused_without_touching_the_data)
{
    static const size_t sizes[] = {SIZE_MAX,   SIZE_MAX - 15,   SIZE_MAX - 64,     SIZE_MAX / 2,
                                   UINT32_MAX, UINT32_MAX + 1U, (size_t)INT32_MAX, 0};
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (size_t i = 0; sizes[i] != 0; i++) {
        check_is(tusk_append(topic, "x", sizes[i], NULL), -EMSGSIZE);
    }
    check_is(info_of(topic).next_seq, 0);
    check_is(topics_count(), 0);
}

Test(basics, a_larger_lane_takes_larger_entries)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.lane_bytes = 2 * 1024 * 1024;
    struct tusk *wide = attach_with(broker, options);
    struct tusk_topic *topic = topic_of(wide, "t");
    append_numbered(topic, 1, 0, 1, 1000000);
    append_numbered(topic, 1, 1, 1, 700001);
    struct tusk_reader *reader = reader_of(topic_of(tusk, "t"));
    const struct tusk_entry first = reader_take(reader);
    expect_numbered(&first, 1, 0, 1000000);
    const struct tusk_entry second = reader_take(reader);
    expect_numbered(&second, 1, 1, 700001);
    tusk_disconnect(wide);
}

Test(basics, many_entries_over_many_chunks_are_all_there)
{
    enum { COUNT = 2000 };
    struct tusk_topic *topic = topic_of(tusk, "t");
    for (uint32_t n = 0; n < COUNT; n++) {
        append_numbered(topic, 7, n, 1, payload_size(7, n, 16, 9000));
    }
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < COUNT; n++) {
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, n);
        expect_numbered(&entry, 7, n, payload_size(7, n, 16, 9000));
    }
    expect_end(reader);
}

Test(basics, names_may_be_any_bytes_and_never_become_a_path)
{
    static const char *const names[] = {
        "x",           "../x",        "../../x",  "/",        "/etc/passwd", ".",
        "..",          "a/../b",      "%00",      "X",        " ",           "a b",
        "\x01\x1b[2J", "line\nbreak", "\xc3\xa4", "\xc0\xaf", "\xff\xfe",    "\xf0\x9f\x90\x98",
        "con",         "--help",      "$HOME",    NULL};
    for (size_t i = 0; names[i] != NULL; i++) {
        check_is(append_text(topic_of(tusk, names[i]), names[i]), 0);
    }
    struct tusk *other = attach(broker);
    for (size_t i = 0; names[i] != NULL; i++) {
        struct tusk_reader *reader = reader_of(topic_of(other, names[i]));
        expect_text(reader, 0, names[i]);
        expect_end(reader);
    }
    char path[256];
    (void)snprintf(path, sizeof path, "%s/x", broker->dir);
    check(access(path, F_OK) != 0);
    (void)snprintf(path, sizeof path, "%s/x", broker->run_dir);
    check(access(path, F_OK) != 0);
    tusk_disconnect(other);
}

Test(basics, seed_row_17_names_have_1_to_255_bytes)
{
    char name[257];
    struct tusk_topic *topic = NULL;
    memset(name, 'n', sizeof name);
    name[255] = 0;
    check_is(append_text(topic_of(tusk, name), "255"), 0);
    name[254] = 0;
    check_is(append_text(topic_of(tusk, name), "254"), 0);
    name[254] = 'n';
    name[255] = 'n';
    name[256] = 0;
    check_is(tusk_topic_open(tusk, name, NULL, &topic), -EINVAL);
    check_is(tusk_topic_open(tusk, "", NULL, &topic), -EINVAL);
    check(topic == NULL);
    check_is(topics_count(), 2);
}

Test(basics, seed_row_05_opening_asking_and_reading_dont_create_a_topic)
{
    struct tusk_entry entry;
    struct tusk_topic *topic = topic_of(tusk, "nothing");
    struct tusk_reader *reader = reader_of(topic);
    check_is(tusk_reader_next(reader, &entry, 0), 0);
    check_is(tusk_read_next(topic, true, &entry), 0);
    check_is(tusk_read_next(topic, false, &entry), 0);
    check_is(tusk_batch_read(topic, 1000, true, &entry, 1), 0);
    const struct tusk_topic_stat stat = info_of(topic);
    check_is(stat.first_seq | stat.next_seq | stat.durable_seq | stat.unread | stat.bytes, 0);
    check_is(topics_count(), 0);
}

Test(basics, no_create_refuses_what_would_create)
{
    struct tusk_topic *topic = NULL;
    struct tusk_topic_options options = TUSK_TOPIC_OPTIONS_INIT;
    options.no_create = 1;
    check_ok(tusk_topic_open(tusk, "t", &options, &topic));
    check_is(tusk_append(topic, "x", 1, NULL), -ENOENT);
    check_is(topics_count(), 0);
    append_text(topic_of(tusk, "t"), "created");
    uint64_t seq = 0;
    check_ok(tusk_append(topic, "x", 1, &seq));
    check_is(seq, 1);
}

Test(basics, two_handles_and_two_connections_share_one_topic)
{
    struct tusk *other = attach(broker);
    struct tusk_topic *one = topic_of(tusk, "t");
    struct tusk_topic *same = topic_of(tusk, "t");
    struct tusk_topic *elsewhere = topic_of(other, "t");
    check_is(append_text(one, "a"), 0);
    check_is(append_text(elsewhere, "b"), 1);
    check_is(append_text(same, "c"), 2);
    struct tusk_reader *reader = reader_of(elsewhere);
    expect_text(reader, 0, "a");
    expect_text(reader, 1, "b");
    expect_text(reader, 2, "c");
    tusk_disconnect(other);
}

Test(basics, a_closed_topic_handle_leaves_the_topic)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "a");
    tusk_topic_close(topic);
    topic = topic_of(tusk, "t");
    check_is(append_text(topic, "b"), 1);
    tusk_topic_close(topic);
    tusk_topic_close(NULL);
}

/* The arena holds 128 chunks of 256 KiB: fewer than there are topics. */
Test(basics, there_may_be_more_topics_than_chunks_in_the_arena)
{
    enum { TOPICS = 300, ROUNDS = 3 };
    char name[32];
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < TOPICS; i++) {
            (void)snprintf(name, sizeof name, "topic-%u", i);
            struct tusk_topic *topic = topic_of(tusk, name);
            append_numbered(topic, i, round, 1, 100);
            tusk_topic_close(topic);
        }
    }
    check_is(topics_count(), TOPICS);
    for (uint32_t i = 0; i < TOPICS; i++) {
        (void)snprintf(name, sizeof name, "topic-%u", i);
        struct tusk_topic *topic = topic_of(tusk, name);
        struct tusk_reader *reader = reader_of(topic);
        for (uint32_t round = 0; round < ROUNDS; round++) {
            const struct tusk_entry entry = reader_take(reader);
            expect_numbered(&entry, i, round, 100);
        }
        expect_end(reader);
        tusk_reader_close(reader);
        tusk_topic_close(topic);
    }
}

Test(basics, errors_have_words_and_the_library_has_a_version)
{
    static const int errors[] = {-EAGAIN,  -ETIMEDOUT, -EINTR,  -EINVAL,     -EMSGSIZE, -ENOENT,
                                 -ENODATA, -EBADMSG,   -EILSEQ, -ESTALE,     -ENOSPC,   -EIO,
                                 -EACCES,  -ENOTCONN,  -EPROTO, -EOWNERDEAD, -ENOMEM,   -EBUSY};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        check(strlen(tusk_strerror(errors[i])) > 3);
        for (size_t other = 0; other < i; other++) {
            check(strcmp(tusk_strerror(errors[i]), tusk_strerror(errors[other])) != 0);
        }
    }
    check(tusk_strerror(0) != NULL);
    check(tusk_strerror(12345) != NULL);
    check(tusk_strerror(-99999) != NULL);
    check(strchr(tusk_version(), '.') != NULL);
}
