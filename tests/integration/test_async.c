/*
 * Async: submissions end in completions, in order, once each; a full ring is an answer.
 * How:        one real broker per test, one thread, public interface only.
 * Not here:   sleeping until there are completions (test_waits.c), a full arena
 *             (test_pressure.c).
 */
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/payload.h"
#include "tests/support/session.h"

enum { MANY = 20000 };

TestSuite(async, .init = session_begin, .fini = session_end);

Test(async, a_submission_completes_with_its_user_data_and_seq)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_completion completion;
    memset(&completion, 0xff, sizeof completion);
    check_ok(tusk_submit(topic, "abc", 3, UINT64_MAX));
    reap_all(tusk, &completion, 1);
    check(completion.user_data == UINT64_MAX);
    check_is(completion.seq, 0);
    check_is(completion.error, 0);
    check_is(completion.flags, 0);
    check_is(completion.reserved, 0);
    check_is(tusk_reap(tusk, &completion, 1), 0);
    struct tusk_reader *reader = reader_of(topic);
    expect_text(reader, 0, "abc");
}

Test(async, the_data_is_copied_before_submit_returns)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_completion completions[100];
    char data[16];
    for (int i = 0; i < 100; i++) {
        memset(data, 'a' + i % 26, sizeof data);
        check_ok(tusk_submit(topic, data, sizeof data, 1));
        memset(data, '!', sizeof data);
    }
    reap_all(tusk, completions, 100);
    struct tusk_reader *reader = reader_of(topic);
    for (int i = 0; i < 100; i++) {
        const struct tusk_entry entry = reader_take(reader);
        memset(data, 'a' + i % 26, sizeof data);
        check_bytes(entry.data, entry.size, data, sizeof data);
    }
}

/* Submit one more, reaping when the lane says so; returns how many were reaped on the way. */
static size_t submit_reaping(struct tusk_topic *topic, uint64_t user_data,
                             struct tusk_completion *completions)
{
    size_t reaped = 0;
    for (;;) {
        const int result = tusk_submit(topic, &user_data, sizeof user_data, user_data);
        if (result == 0) {
            return reaped;
        }
        check_is(result, -EAGAIN);
        const int count = tusk_reap(tusk, completions + reaped, 64);
        check(count >= 0);
        reaped += (size_t)count;
        if (count == 0) {
            check_is(tusk_wait(tusk, TEST_LONG_MS), 1);
        }
    }
}

Test(async, completions_come_in_submission_order_each_once)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_completion *completions = calloc(MANY + 64, sizeof *completions);
    size_t reaped = 0;
    for (uint64_t i = 1; i <= MANY; i++) {
        reaped += submit_reaping(topic, i, completions + reaped);
    }
    reap_all(tusk, completions + reaped, MANY - reaped);
    for (uint64_t i = 0; i < MANY; i++) {
        check_is(completions[i].user_data, i + 1);
        check_is(completions[i].seq, i);
        check_is(completions[i].error, 0);
    }
    check_is(tusk_reap(tusk, completions, 1), 0);
    free(completions);
    check_is(info_of(topic).next_seq, MANY);
}

Test(async, each_topic_keeps_its_submission_order)
{
    enum { COUNT = 1000, TOPICS = 3 };
    static const char *const names[TOPICS] = {"a", "b", "c"};
    struct tusk_completion completions[COUNT];
    struct tusk_topic *topics[TOPICS];
    for (int i = 0; i < TOPICS; i++) {
        topics[i] = topic_of(tusk, names[i]);
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        check_ok(tusk_submit(topics[i % TOPICS], "x", 1, i + 1));
    }
    reap_all(tusk, completions, COUNT);
    uint64_t next[TOPICS] = {0};
    for (int i = 0; i < COUNT; i++) {
        const uint64_t which = (completions[i].user_data - 1) % TOPICS;
        check_is(completions[i].seq, next[which]);
        check_is((completions[i].user_data - 1) / TOPICS, next[which]);
        next[which]++;
    }
}

Test(async, user_data_0_posts_no_completion_and_flush_covers_it)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_completion completion;
    for (int i = 0; i < 500; i++) {
        check_ok(tusk_submit(topic, "quiet", 5, 0));
    }
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, -1));
    check_is(info_of(topic).next_seq, 500);
    check_is(tusk_reap(tusk, &completion, 1), 0);
}

Test(async, flush_with_time_out_0_asks_only)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, 0));
    check_ok(tusk_submit(topic, "x", 1, 0));
    int result = tusk_flush(tusk, TUSK_COMMITTED, 0);
    while (result == -EAGAIN) {
        check_is(tusk_wait(tusk, TEST_LONG_MS), 1);
        result = tusk_flush(tusk, TUSK_COMMITTED, 0);
    }
    check_ok(result);
    check_is(info_of(topic).next_seq, 1);
}

Test(async, a_full_completion_ring_is_eagain_until_it_is_reaped)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    uint64_t submitted = 0;
    int result = 0;
    while (submitted < 1000000) {
        result = tusk_submit(topic, "x", 1, submitted + 1);
        if (result != 0 && tusk_flush(tusk, TUSK_COMMITTED, -1) == 0 &&
            tusk_submit(topic, "x", 1, submitted + 1) == -EAGAIN) {
            break; /* all is appended, so it is the completions that are too many */
        }
        submitted += result == 0;
    }
    check_is(result, -EAGAIN);
    check_is(submitted, 1984); /* as tusk.h says */
    struct tusk_completion *completions = calloc(submitted, sizeof *completions);
    reap_all(tusk, completions, submitted);
    for (uint64_t i = 0; i < submitted; i++) {
        check_is(completions[i].user_data, i + 1);
        check_is(completions[i].seq, i);
    }
    free(completions);
    check_is(info_of(topic).next_seq, submitted);
    check_ok(tusk_submit(topic, "x", 1, 0));
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, -1));
    check_is(info_of(topic).next_seq, submitted + 1);
}

Test(async, a_full_lane_is_eagain_and_nothing_is_lost)
{
    enum { SIZE = 60000, COUNT = 300 };
    struct tusk_topic *topic = topic_of(tusk, "t");
    unsigned char *data = malloc(SIZE);
    check(data != NULL);
    for (uint32_t n = 0; n < COUNT; n++) {
        payload_fill(data, SIZE, 1, n);
        int result = tusk_submit(topic, data, SIZE, 0);
        while (result == -EAGAIN) {
            check_is(tusk_wait(tusk, TEST_LONG_MS), 1);
            result = tusk_submit(topic, data, SIZE, 0);
        }
        check_ok(result);
    }
    free(data);
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, -1));
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < COUNT; n++) {
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, n);
        expect_numbered(&entry, 1, n, SIZE);
    }
}

Test(async, over_half_a_lane_is_emsgsize)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    char *data = calloc(1, 200000);
    void *buffer = NULL;
    struct iovec entries[2] = {{data, 100000}, {data, 100000}};
    check_is(tusk_submit(topic, data, 200000, 1), -EMSGSIZE);
    check_is(tusk_submit(topic, data, SIZE_MAX, 1), -EMSGSIZE);
    check_is(tusk_submit_batch(topic, entries, 2, 1), -EMSGSIZE);
    check_is(tusk_reserve(topic, 200000, &buffer), -EMSGSIZE);
    check_is(tusk_reserve(topic, SIZE_MAX, &buffer), -EMSGSIZE);
    check_ok(tusk_submit(topic, data, 100000, 0));
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, -1));
    check_is(info_of(topic).next_seq, 1);
    free(data);
}

Test(async, reserve_and_commit_append_what_was_written_in_place)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_completion completion;
    void *buffer = NULL;
    check_ok(tusk_reserve(topic, 1000, &buffer));
    check_is((uintptr_t)buffer % 16, 0);
    payload_fill(buffer, 1000, 5, 0);
    check_ok(tusk_commit(topic, 1000, 77));
    reap_all(tusk, &completion, 1);
    check_is(completion.user_data, 77);
    check_is(completion.seq, 0);
    struct tusk_reader *reader = reader_of(topic);
    const struct tusk_entry entry = reader_take(reader);
    expect_numbered(&entry, 5, 0, 1000);
}

Test(async, a_reservation_may_be_committed_shorter_or_empty)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    void *buffer = NULL;
    check_ok(tusk_reserve(topic, 1000, &buffer));
    memcpy(buffer, "short", 5);
    check_ok(tusk_commit(topic, 5, 0));
    check_ok(tusk_reserve(topic, 1000, &buffer));
    check_ok(tusk_commit(topic, 0, 0));
    check_ok(tusk_reserve(topic, 0, &buffer));
    check_ok(tusk_commit(topic, 0, 0));
    check_is(append_text(topic, "after"), 3);
    struct tusk_reader *reader = reader_of(topic);
    expect_text(reader, 0, "short");
    expect_text(reader, 1, "");
    expect_text(reader, 2, "");
    expect_text(reader, 3, "after");
}

Test(async, committing_more_than_was_reserved_is_refused)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_topic *other = topic_of(tusk, "other");
    void *buffer = NULL;
    check_is(tusk_commit(topic, 1, 1), -EINVAL);
    check_ok(tusk_reserve(topic, 100, &buffer));
    check_is(tusk_commit(topic, 101, 1), -EINVAL);
    check_is(tusk_commit(topic, SIZE_MAX, 1), -EINVAL);
    check_is(tusk_commit(other, 10, 1), -EINVAL);
    memcpy(buffer, "still", 5);
    check_ok(tusk_commit(topic, 5, 0));
    check_is(tusk_commit(topic, 5, 0), -EINVAL);
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, -1));
    struct tusk_reader *reader = reader_of(topic);
    expect_text(reader, 0, "still");
    expect_end(reader);
}

Test(async, an_abandoned_reservation_appends_nothing)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    void *buffer = NULL;
    for (int i = 0; i < 1000; i++) {
        check_ok(tusk_reserve(topic, 60000, &buffer));
        memset(buffer, 'x', 60000);
        tusk_abandon(topic);
    }
    check_is(info_of(topic).next_seq, 0);
    tusk_abandon(topic);
    check_is(append_text(topic, "only"), 0);
}

Test(async, other_appends_of_the_thread_are_ebusy_while_it_holds_a_reservation)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_topic *other = topic_of(tusk, "other");
    char text[] = "x";
    struct iovec entry = {text, 1};
    void *buffer = NULL;
    void *second = NULL;
    check_ok(tusk_reserve(topic, 100, &buffer));
    check_is(tusk_append(topic, "x", 1, NULL), -EBUSY);
    check_is(tusk_append(other, "x", 1, NULL), -EBUSY);
    check_is(tusk_append_at(topic, 0, "x", 1), -EBUSY);
    check_is(tusk_submit(topic, "x", 1, 1), -EBUSY);
    check_is(tusk_batch_append(topic, &entry, 1, NULL), -EBUSY);
    check_is(tusk_submit_batch(topic, &entry, 1, 1), -EBUSY);
    check_is(tusk_reserve(topic, 100, &second), -EBUSY);
    check_is(tusk_reserve(other, 100, &second), -EBUSY);
    memcpy(buffer, "mine", 4);
    check_ok(tusk_commit(topic, 4, 0));
    check_is(append_text(topic, "free again"), 1);
    struct tusk_reader *reader = reader_of(topic);
    expect_text(reader, 0, "mine");
    expect_text(reader, 1, "free again");
}

Test(async, calls_that_append_nothing_go_on_while_the_thread_holds_a_reservation)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_entry entry;
    void *buffer = NULL;
    append_text(topic, "first");
    check_ok(tusk_reserve(topic, 100, &buffer));
    struct tusk_reader *reader = reader_of(topic);
    expect_text(reader, 0, "first");
    check_is(info_of(topic).next_seq, 1);
    check_is(info_of(topic_of(tusk, "other")).next_seq, 0);
    check_is(tusk_read_next(topic, true, &entry), 1);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    check_is(tusk_reader_next(reader, &entry, 20), -ETIMEDOUT);
    memcpy(buffer, "second", 6);
    check_ok(tusk_commit(topic, 6, 0));
    expect_text(reader, 1, "second");
}

Test(async, blocking_calls_set_other_completions_aside)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_completion completions[10];
    for (uint64_t i = 1; i <= 10; i++) {
        check_ok(tusk_submit(topic, "x", 1, i));
        check_is(append_text(topic, "y"), i * 2 - 1);
    }
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, -1));
    check_is(tusk_reap(tusk, completions, 10), 10);
    for (uint64_t i = 0; i < 10; i++) {
        check_is(completions[i].user_data, i + 1);
        check_is(completions[i].seq, i * 2);
    }
    check_is(tusk_reap(tusk, completions, 10), 0);
}

Test(async, the_first_failure_without_completion_is_told_by_flush_once)
{
    struct tusk *other = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "x");
    check_ok(tusk_topic_delete(other, "t"));
    tusk_disconnect(other);
    const int result = tusk_submit(topic, "late", 4, 0);
    if (result == 0) {
        check_is(tusk_flush(tusk, TUSK_COMMITTED, -1), -ESTALE);
    } else {
        check_is(result, -ESTALE);
    }
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, -1));
    check_is(append_text(topic_of(tusk, "t"), "anew"), 0);
}

Test(async, a_failed_submission_completes_with_its_error_and_the_others_go_on)
{
    struct tusk *other = attach(broker);
    struct tusk_topic *gone = topic_of(tusk, "gone");
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(gone, "x");
    check_ok(tusk_topic_delete(other, "gone"));
    tusk_disconnect(other);
    struct tusk_completion completions[2];
    const int result = tusk_submit(gone, "late", 4, 1);
    check(result == 0 || result == -ESTALE);
    check_ok(tusk_submit(topic, "fine", 4, 2));
    reap_all(tusk, completions, result == 0 ? 2 : 1);
    if (result == 0) {
        check_is(completions[0].user_data, 1);
        check_is(completions[0].error, -ESTALE);
        check(completions[0].seq == TUSK_ANY_SEQ);
    }
    check_is(completions[result == 0].user_data, 2);
    check_is(completions[result == 0].error, 0);
    check_is(completions[result == 0].seq, 0);
}

Test(async, disconnect_waits_until_all_is_committed)
{
    struct tusk *other = attach(broker);
    struct tusk_topic *topic = topic_of(other, "t");
    for (int i = 0; i < 3000; i++) {
        check_ok(tusk_submit(topic, "x", 1, 0));
    }
    tusk_disconnect(other);
    check_is(info_of(topic_of(tusk, "t")).next_seq, 3000);
}

Test(async, what_a_closed_topic_handle_submitted_is_appended)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_completion completion;
    check_ok(tusk_submit(topic, "x", 1, 5));
    check_ok(tusk_submit(topic, "y", 1, 0));
    tusk_topic_close(topic);
    reap_all(tusk, &completion, 1);
    check_is(completion.user_data, 5);
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, -1));
    check_is(info_of(topic_of(tusk, "t")).next_seq, 2);
}
