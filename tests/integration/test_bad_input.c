/*
 * Bad input: every public function with arguments that are not possible answers -EINVAL (or what
 * its manual says), changes nothing and goes on working.
 * How:        one real broker per test; each argument that can be wrong is wrong once.
 * Not here:   bytes in shared memory and on sockets (test_hostile.c, test_sessions.c).
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/session.h"

TestSuite(bad_input, .init = session_begin, .fini = session_end);

static struct tusk_topic *opened(void)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "x");
    return topic;
}

static void expect_unchanged(struct tusk_topic *topic)
{
    check_is(info_of(topic).next_seq, 1);
    check_is(info_of(topic).unread, 1);
    check_is(append_text(topic, "goes on"), 1);
}

Test(bad_input, connect)
{
    struct tusk *other = NULL;
    struct tusk_options options = TUSK_OPTIONS_INIT;
    char path[300];
    options.socket_path = broker->socket;
    check_is(tusk_connect(NULL, &options), -EINVAL);
    options.size = 0;
    check_is(tusk_connect(&other, &options), -EINVAL);
    options = TUSK_OPTIONS_INIT;
    options.socket_path = broker->socket;
    options.idle = 77;
    check_is(tusk_connect(&other, &options), -EINVAL);
    options.idle = 0;
    options.consistency = 77;
    check_is(tusk_connect(&other, &options), -EINVAL);
    options.consistency = 0;
    options.timeout_ms = -2;
    check_is(tusk_connect(&other, &options), -EINVAL);
    options.timeout_ms = 100;
    static const size_t lanes[] = {1, 1000, 65537, SIZE_MAX, (size_t)1 << 40};
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) {
        options.lane_bytes = lanes[i];
        check_is(tusk_connect(&other, &options), -EINVAL);
    }
    options.lane_bytes = 0;
    memset(path, 'p', sizeof path);
    path[0] = '/';
    path[299] = 0;
    options.socket_path = path;
    check_is(tusk_connect(&other, &options), -EINVAL);
    options.socket_path = "/no/such/socket";
    check_is(tusk_connect(&other, &options), -ENOTCONN);
    check(other == NULL);
    tusk_disconnect(NULL);
}

/* Smaller: an older program; larger: a newer one, whose further members this library ignores. */
Test(bad_input, sizes_of_option_structs_may_differ)
{
    struct {
        struct tusk_options options;
        uint64_t later[4];
    } larger = {.options = {.size = sizeof larger, .socket_path = broker->socket}};
    struct tusk *other = NULL;
    check_ok(tusk_connect(&other, &larger.options));
    tusk_disconnect(other);
    struct tusk_options smaller = {.size = offsetof(struct tusk_options, namespace_key),
                                   .socket_path = broker->socket,
                                   .lane_bytes = 1,
                                   .idle = 99};
    check_ok(tusk_connect(&other, &smaller));
    struct tusk_topic_options topic_options = {.size = offsetof(struct tusk_topic_options, no_wait),
                                               .no_create = 1};
    struct tusk_topic *topic = NULL;
    check_ok(tusk_topic_open(other, "t", &topic_options, &topic));
    check_ok(tusk_append(topic, "x", 1, NULL));
    tusk_disconnect(other);
}

Test(bad_input, seed_row_15_namespace_keys)
{
    static const char *const good[] = {"default", "another", "..", "/", "a\nb", "\xff\xfe", " "};
    char longest[1024 + 2];
    memset(longest, 'k', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    struct tusk *other = NULL;
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.socket_path = broker->socket;
    options.namespace_key = longest;
    check_is(tusk_connect(&other, &options), -EINVAL);
    options.namespace_key = "";
    check_ok(tusk_connect(&other, &options)); /* as none: `default` */
    tusk_disconnect(other);
    longest[sizeof longest - 2] = '\0';
    options.namespace_key = longest;
    check_ok(tusk_connect(&other, &options));
    tusk_disconnect(other);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        options.namespace_key = good[i];
        check_ok(tusk_connect(&other, &options));
        tusk_disconnect(other);
    }
}

Test(bad_input, topic_open)
{
    struct tusk_topic *topic = NULL;
    struct tusk_topic_options options = TUSK_TOPIC_OPTIONS_INIT;
    check_is(tusk_topic_open(NULL, "t", NULL, &topic), -EINVAL);
    check_is(tusk_topic_open(tusk, NULL, NULL, &topic), -EINVAL);
    check_is(tusk_topic_open(tusk, "t", NULL, NULL), -EINVAL);
    check_is(tusk_topic_open(tusk, "", NULL, &topic), -EINVAL);
    options.size = 3;
    check_is(tusk_topic_open(tusk, "t", &options, &topic), -EINVAL);
    check(topic == NULL);
    tusk_topic_close(NULL);
}

Test(bad_input, topic_calls)
{
    struct tusk_topic *topic = opened();
    struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;
    check_is(tusk_topic_delete(NULL, "t"), -EINVAL);
    check_is(tusk_topic_delete(tusk, NULL), -EINVAL);
    check_is(tusk_topic_delete(tusk, ""), -EINVAL);
    check_is(tusk_topic_trim(NULL, 0), -EINVAL);
    check_is(tusk_topic_trim(topic, UINT64_MAX), -EINVAL);
    check_is(tusk_topic_set(NULL, "retention", "consumed"), -EINVAL);
    check_is(tusk_topic_set(topic, NULL, "consumed"), -EINVAL);
    check_is(tusk_topic_set(topic, "retention", NULL), -EINVAL);
    check_is(tusk_topic_info(NULL, &stat), -EINVAL);
    check_is(tusk_topic_info(topic, NULL), -EINVAL);
    stat.size = 0;
    check_is(tusk_topic_info(topic, &stat), -EINVAL);
    check_is(tusk_topic_list(NULL, NULL, NULL), -EINVAL);
    check_is(tusk_topic_list(tusk, NULL, NULL), -EINVAL);
    check_is(tusk_counter_list(NULL, NULL, NULL), -EINVAL);
    check_is(tusk_counter_list(tusk, NULL, NULL), -EINVAL);
    expect_unchanged(topic);
}

Test(bad_input, appends)
{
    struct tusk_topic *topic = opened();
    struct iovec null_entry = {NULL, 5};
    uint64_t seq = 42;
    check_is(tusk_append(NULL, "x", 1, &seq), -EINVAL);
    check_is(tusk_append(topic, NULL, 1, &seq), -EINVAL);
    check_is(tusk_append_at(NULL, 0, "x", 1), -EINVAL);
    check_is(tusk_append_at(topic, 1, NULL, 1), -EINVAL);
    check_is(tusk_batch_append(NULL, &null_entry, 1, &seq), -EINVAL);
    check_is(tusk_batch_append(topic, NULL, 1, &seq), -EINVAL);
    check_is(tusk_batch_append(topic, &null_entry, 1, &seq), -EINVAL);
    check_is(seq, 42);
    expect_unchanged(topic);
}

Test(bad_input, submissions)
{
    struct tusk_topic *topic = opened();
    struct iovec null_entry = {NULL, 5};
    void *buffer = NULL;
    check_is(tusk_submit(NULL, "x", 1, 1), -EINVAL);
    check_is(tusk_submit(topic, NULL, 1, 1), -EINVAL);
    check_is(tusk_submit_batch(NULL, &null_entry, 1, 1), -EINVAL);
    check_is(tusk_submit_batch(topic, NULL, 1, 1), -EINVAL);
    check_is(tusk_submit_batch(topic, &null_entry, 1, 1), -EINVAL);
    check_is(tusk_reserve(NULL, 1, &buffer), -EINVAL);
    check_is(tusk_reserve(topic, 1, NULL), -EINVAL);
    check_is(tusk_commit(NULL, 1, 1), -EINVAL);
    check_is(tusk_commit(topic, 1, 1), -EINVAL);
    tusk_abandon(NULL);
    tusk_abandon(topic);
    expect_unchanged(topic);
}

Test(bad_input, completions_and_waits)
{
    struct tusk_topic *topic = opened();
    struct tusk_completion completion;
    check_is(tusk_reap(NULL, &completion, 1), -EINVAL);
    check_is(tusk_reap(tusk, NULL, 1), -EINVAL);
    check_is(tusk_reap(tusk, &completion, 0), 0);
    check_is(tusk_reap(tusk, NULL, 0), 0);
    check_is(tusk_flush(NULL, TUSK_COMMITTED, 0), -EINVAL);
    check_is(tusk_flush(tusk, (enum tusk_level)9, 0), -EINVAL);
    check_is(tusk_flush(tusk, TUSK_COMMITTED, -2), -EINVAL);
    check_is(tusk_fd(NULL), -EINVAL);
    check_is(tusk_arm(NULL), -EINVAL);
    check_is(tusk_wait(NULL, 0), -EINVAL);
    check_is(tusk_wait(tusk, -2), -EINVAL);
    tusk_wakeup(NULL);
    expect_unchanged(topic);
}

Test(bad_input, cursor_reads)
{
    struct tusk_topic *topic = opened();
    struct tusk_entry entry;
    check_is(tusk_read_next(NULL, true, &entry), -EINVAL);
    check_is(tusk_read_next(topic, true, NULL), -EINVAL);
    check_is(tusk_batch_read(NULL, 1, true, &entry, 1), -EINVAL);
    check_is(tusk_batch_read(topic, 1, true, NULL, 1), -EINVAL);
    check_is(tusk_batch_read(topic, 1, true, &entry, 0), -EINVAL);
    expect_unchanged(topic);
}

Test(bad_input, readers)
{
    struct tusk_topic *topic = opened();
    struct tusk_entry entry;
    struct tusk_reader *reader = NULL;
    struct tusk_reader_options options = TUSK_READER_OPTIONS_INIT;
    check_is(tusk_reader_open(NULL, NULL, &reader), -EINVAL);
    check_is(tusk_reader_open(topic, NULL, NULL), -EINVAL);
    options.from = 99;
    check_is(tusk_reader_open(topic, &options, &reader), -EINVAL);
    options = TUSK_READER_OPTIONS_INIT;
    options.size = 1;
    check_is(tusk_reader_open(topic, &options, &reader), -EINVAL);
    check(reader == NULL);
    reader = reader_of(topic);
    check_is(tusk_reader_next(NULL, &entry, 0), -EINVAL);
    check_is(tusk_reader_next(reader, NULL, 0), -EINVAL);
    check_is(tusk_reader_next(reader, &entry, -2), -EINVAL);
    check_is(tusk_reader_batch(NULL, 1, &entry, 1, 0), -EINVAL);
    check_is(tusk_reader_batch(reader, 1, NULL, 1, 0), -EINVAL);
    check_is(tusk_reader_batch(reader, 1, &entry, 0, 0), -EINVAL);
    check_is(tusk_reader_batch(reader, 1, &entry, 1, -2), -EINVAL);
    check_is(tusk_reader_seek(NULL, TUSK_FROM_EARLIEST, 0), -EINVAL);
    check_is(tusk_reader_seek(reader, (enum tusk_from)99, 0), -EINVAL);
    tusk_reader_close(NULL);
    expect_text(reader, 0, "x");
    expect_unchanged(topic);
}

Test(bad_input, seeks_to_wild_places_find_nothing)
{
    struct tusk_topic *topic = opened();
    struct tusk_entry entry;
    struct tusk_reader *reader = reader_of(topic);
    static const uint64_t values[] = {1, 2, UINT32_MAX, INT64_MAX, UINT64_MAX - 1};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        check_ok(tusk_reader_seek(reader, TUSK_FROM_SEQ, values[i]));
        check_is(tusk_reader_next(reader, &entry, 0), 0);
    }
    check_ok(tusk_reader_seek(reader, TUSK_FROM_TIME, UINT64_MAX));
    check_is(tusk_reader_next(reader, &entry, 0), 0);
    expect_unchanged(topic);
}

Test(bad_input, entry_check)
{
    struct tusk_topic *topic = opened();
    struct tusk_reader *reader = reader_of(topic);
    struct tusk_entry entry = reader_take(reader);
    check_is(tusk_entry_check(NULL, &entry), -EINVAL);
    check_is(tusk_entry_check(topic, NULL), -EINVAL);
    check_ok(tusk_entry_check(topic, &entry));
    expect_unchanged(topic);
}
