/*
 * What the client library puts into its lane and makes of what comes back: order, user data, room,
 * reservations, failures, levels. The broker is a stage that does as it is told.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/deadline.h"
#include "tests/unit/client_stage.h"

static struct stage stage;
static struct tusk *tusk;
static struct tusk_topic *topic;

static void begin_with(bool each, int timeout_ms)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.timeout_ms = timeout_ms;
    options.lane_bytes = 65536;
    stage_begin(&stage, each);
    tusk = stage_connect(&stage, &options);
    cr_assert_eq(tusk_topic_open(tusk, "t", NULL, &topic), 0);
}

static void begin(void)
{
    begin_with(false, 5000);
}

static void begin_each(void)
{
    begin_with(true, 300);
}

static void end(void)
{
    atomic_store(&stage.stalled, false);
    tusk_disconnect(tusk);
    stage_end(&stage);
}

/* Reaps exactly one. */
static struct tusk_completion reap_one(void)
{
    struct tusk_completion completion;
    while (tusk_reap(tusk, &completion, 1) == 0) {
        cr_assert_eq(tusk_wait(tusk, TEST_LONG_MS), 1);
    }
    return completion;
}

TestSuite(append, .init = begin, .fini = end, .timeout = 600);
TestSuite(append_each, .init = begin_each, .fini = end, .timeout = 600);

Test(append, blocking_gives_dense_seqs)
{
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t seq = 77;
        cr_assert_eq(tusk_append(topic, "entry", 5, &seq), 0);
        cr_assert_eq(seq, i);
    }
    cr_assert_eq(tusk_append(topic, NULL, 0, NULL), 0);
    cr_assert_eq(tusk_append(topic, NULL, 1, NULL), -EINVAL);
    cr_assert_eq(tusk_append(NULL, "x", 1, NULL), -EINVAL);
}

Test(append, any_user_data_comes_back_in_order)
{
    const uint64_t odd[] = {UINT64_MAX, 1, UINT64_C(1) << 63, (UINT64_C(1) << 63) | 5, 42};
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(tusk_submit(topic, "x", 1, odd[i]), 0);
        uint64_t seq;
        cr_assert_eq(tusk_append(topic, "y", 1, &seq), 0); /* sets the other aside */
        cr_assert_eq(seq, 2 * i + 1);
    }
    for (size_t i = 0; i < 5; i++) {
        const struct tusk_completion completion = reap_one();
        cr_assert_eq(completion.user_data, odd[i]);
        cr_assert_eq(completion.seq, 2 * i);
        cr_assert_eq(completion.error, 0);
    }
    struct tusk_completion none;
    cr_assert_eq(tusk_reap(tusk, &none, 1), 0);
}

Test(append, full_lane_is_eagain_and_recovers)
{
    char entry[1000] = {0};
    stage_set(&stage.stalled, true);
    int count = 0;
    int error;
    while ((error = tusk_submit(topic, entry, sizeof entry, 0)) == 0) {
        count++;
    }
    cr_assert_eq(error, -EAGAIN);
    cr_assert_gt(count, 60);
    cr_assert_lt(count, 66);
    cr_assert_eq(tusk_wait(tusk, 20), 0);
    atomic_store(&stage.stalled, false);
    cr_assert_eq(tusk_wait(tusk, TEST_LONG_MS), 1);
    cr_assert_eq(tusk_submit(topic, entry, sizeof entry, 0), 0);
    cr_assert_eq(tusk_flush(tusk, TUSK_COMMITTED, TEST_LONG_MS), 0);
    struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;
    cr_assert_eq(tusk_topic_info(topic, &stat), 0);
    cr_assert_eq(stat.next_seq, (uint64_t)count + 1);
}

Test(append, full_completion_ring_is_eagain_and_nothing_is_lost)
{
    uint64_t submitted = 0;
    uint64_t reaped = 0;
    while (submitted < 20000) {
        const int error = tusk_submit(topic, "x", 1, submitted + 1);
        if (error == 0) {
            submitted++;
            continue;
        }
        cr_assert_eq(error, -EAGAIN);
        struct tusk_completion completions[100];
        const int count = tusk_reap(tusk, completions, 100);
        for (int i = 0; i < count; i++) {
            cr_assert_eq(completions[i].user_data, ++reaped);
            cr_assert_eq(completions[i].seq, reaped - 1);
        }
    }
    while (reaped < submitted) {
        cr_assert_eq(reap_one().user_data, ++reaped);
    }
}

Test(append, size_limits)
{
    static char large[65536];
    cr_assert_eq(tusk_append(topic, large, 32768 - 32, NULL), 0);
    cr_assert_eq(tusk_append(topic, large, ENTRY_BYTES_MAX + 1, NULL), -EMSGSIZE);
    cr_assert_eq(tusk_append_at(topic, 1, large, ENTRY_BYTES_MAX + 1), -EMSGSIZE);
    cr_assert_eq(tusk_submit(topic, large, 32768 - 31, 1), -EMSGSIZE);
    void *buffer;
    cr_assert_eq(tusk_reserve(topic, SIZE_MAX, &buffer), -EMSGSIZE);
    const struct iovec two[2] = {{large, 16384}, {large, 16384}};
    cr_assert_eq(tusk_submit_batch(topic, two, 2, 1), -EMSGSIZE);
    const struct iovec huge = {large, SIZE_MAX - 3};
    cr_assert_eq(tusk_batch_append(topic, &huge, 1, NULL), -EMSGSIZE);
    const struct iovec null = {NULL, 1};
    cr_assert_eq(tusk_batch_append(topic, &null, 1, NULL), -EINVAL);
}

Test(append, batches)
{
    char words[] = "onethree";
    const struct iovec entries[3] = {{words, 3}, {NULL, 0}, {words + 3, 5}};
    uint64_t first = 99;
    cr_assert_eq(tusk_batch_append(topic, entries, 0, &first), 0);
    cr_assert_eq(first, 99);
    cr_assert_eq(tusk_batch_append(topic, entries, 3, &first), 0);
    cr_assert_eq(first, 0);
    cr_assert_eq(tusk_submit_batch(topic, entries, 3, 7), 0);
    cr_assert_eq(tusk_submit_batch(topic, entries, 0, 8), 0);
    cr_assert_eq(tusk_submit(topic, "x", 1, 9), 0);
    struct tusk_completion completion = reap_one();
    cr_assert(completion.user_data == 7 && completion.seq == 3);
    completion = reap_one();
    cr_assert(completion.user_data == 8 && completion.seq == TUSK_ANY_SEQ && completion.error == 0);
    completion = reap_one();
    cr_assert(completion.user_data == 9 && completion.seq == 6);
    cr_assert_eq(tusk_submit_batch(topic, entries, 0, 10), 0);
    cr_assert_eq(reap_one().user_data, 10);
}

Test(append, empty_batch_behind_pending_appends_does_not_lose_a_wake)
{
    stage_set(&stage.stalled, true);
    cr_assert_eq(tusk_submit(topic, "x", 1, 1), 0);
    cr_assert_eq(tusk_submit_batch(topic, NULL, 0, 2), 0);
    cr_assert_eq(tusk_submit_batch(topic, NULL, 0, 3), 0);
    struct tusk_completion none;
    cr_assert_eq(tusk_reap(tusk, &none, 1), 0);
    atomic_store(&stage.stalled, false);
    uint64_t seq;
    cr_assert_eq(tusk_append(topic, "y", 1, &seq), 0);
    cr_assert_eq(seq, 1);
    for (uint64_t i = 1; i <= 3; i++) {
        cr_assert_eq(reap_one().user_data, i);
    }
}

Test(append, at_an_expected_seq)
{
    cr_assert_eq(tusk_append_at(topic, 1, "x", 1), -EILSEQ);
    cr_assert_eq(tusk_append_at(topic, 0, "x", 1), 0);
    cr_assert_eq(tusk_append_at(topic, 1, "x", 1), 0);
    cr_assert_eq(tusk_append_at(topic, 1, "x", 1), -EILSEQ);
}

Test(append, reservation)
{
    void *buffer;
    cr_assert_eq(tusk_commit(topic, 0, 0), -EINVAL);
    cr_assert_eq(tusk_reserve(topic, 100, &buffer), 0);
    cr_assert_eq((uintptr_t)buffer % 16, 0);
    cr_assert_eq(tusk_submit(topic, "x", 1, 0), -EBUSY);
    cr_assert_eq(tusk_append(topic, "x", 1, NULL), -EBUSY);
    cr_assert_eq(tusk_submit_batch(topic, NULL, 0, 1), -EBUSY);
    cr_assert_eq(tusk_reserve(topic, 1, &buffer), -EBUSY);
    cr_assert_eq(tusk_commit(topic, 101, 0), -EINVAL);
    tusk_abandon(topic);
    cr_assert_eq(tusk_commit(topic, 1, 0), -EINVAL);
    cr_assert_eq(tusk_reserve(topic, 100, &buffer), 0);
    memcpy(buffer, "reserved", 8);
    cr_assert_eq(tusk_commit(topic, 8, 5), 0);
    cr_assert_eq(reap_one().user_data, 5);
    struct tusk_entry entry;
    cr_assert_eq(tusk_read_next(topic, true, &entry), 1);
    cr_assert(entry.size == 8 && memcmp(entry.data, "reserved", 8) == 0);
}

/* Holds a reservation of so many bytes while asking `asks` things of the broker, then commits it. */
static void reserve_and_ask(size_t size, int asks, uint64_t seq)
{
    unsigned char *buffer;
    cr_assert_eq(tusk_reserve(topic, size, (void **)&buffer), 0);
    for (size_t i = 0; i < size; i++) {
        buffer[i] = (unsigned char)(i * 7 + seq);
    }
    for (int i = 0; i < asks; i++) {
        char name[16];
        struct tusk_topic *other;
        snprintf(name, sizeof name, "other%d", i);
        cr_assert_eq(tusk_topic_open(tusk, name, NULL, &other), 0);
        tusk_topic_close(other);
    }
    cr_assert_eq(tusk_commit(topic, size, seq + 1), 0);
    cr_assert_eq(reap_one().seq, seq);
    struct tusk_entry entry;
    cr_assert_eq(tusk_read_next(topic, true, &entry), 1);
    cr_assert_eq(entry.size, size);
    for (size_t i = 0; i < size; i++) {
        cr_assert_eq(((const unsigned char *)entry.data)[i], (unsigned char)(i * 7 + seq));
    }
}

Test(append, a_reservation_leaves_room_to_ask_things)
{
    for (uint64_t seq = 0; seq < 120; seq++) { /* over the ring's end several times */
        reserve_and_ask(seq % 3 == 0 ? 9000 : seq % 3 == 1 ? 100 : 4096, (int)(seq % 4), seq);
    }
    void *buffer;
    cr_assert_eq(tusk_reserve(topic, 1, &buffer), 0);
    int error = 0;
    for (int i = 0; i < 20 && error == 0; i++) {
        error = tusk_topic_delete(tusk, "other0");
        error = error == -ENOENT ? 0 : error;
    }
    cr_assert_eq(error, -EBUSY);
    tusk_abandon(topic);
    cr_assert_eq(tusk_append(topic, "x", 1, NULL), 0);
}

Test(append, quiet_failures_are_told_by_flush_once)
{
    atomic_store(&stage.append_error, -ENOSPC);
    cr_assert_eq(tusk_submit(topic, "x", 1, 0), 0);
    cr_assert_eq(tusk_submit(topic, "x", 1, 6), 0);
    const struct tusk_completion failed = reap_one();
    cr_assert(failed.user_data == 6 && failed.error == -ENOSPC && failed.seq == TUSK_ANY_SEQ);
    atomic_store(&stage.append_error, 0);
    cr_assert_eq(tusk_flush(tusk, TUSK_COMMITTED, TEST_LONG_MS), -ENOSPC);
    cr_assert_eq(tusk_flush(tusk, TUSK_COMMITTED, TEST_LONG_MS), 0);
    cr_assert_eq(tusk_flush(tusk, TUSK_DURABLE, TEST_LONG_MS), 0);
}

Test(append, durable_flush_waits_and_can_only_ask)
{
    stage_set(&stage.durable_held, true);
    cr_assert_eq(tusk_flush(tusk, TUSK_DURABLE, 0), 0, "nothing was submitted");
    cr_assert_eq(tusk_submit(topic, "x", 1, 0), 0);
    cr_assert_eq(tusk_flush(tusk, TUSK_DURABLE, 0), -EAGAIN);
    cr_assert_eq(tusk_flush(tusk, TUSK_DURABLE, 30), -ETIMEDOUT);
    cr_assert_eq(tusk_flush(tusk, TUSK_COMMITTED, TEST_LONG_MS), 0);
    cr_assert_eq(tusk_submit(topic, "x", 1, 0), 0);
    cr_assert_eq(tusk_flush(tusk, TUSK_DURABLE, 0), -EAGAIN);
    cr_assert_eq(tusk_wait(tusk, 20), 0);
    atomic_store(&stage.durable_held, false);
    cr_assert_eq(tusk_wait(tusk, TEST_LONG_MS), 1);
    cr_assert_eq(tusk_flush(tusk, TUSK_DURABLE, 0), 0);
}

Test(append, sleeping_engine_is_rung_and_sleeping_client_woken)
{
    atomic_store(&stage.parked, true);
    for (int i = 0; i < 300; i++) {
        cr_assert_eq(tusk_append(topic, "x", 1, NULL), 0);
    }
    cr_assert_gt(atomic_load(&stage.woken), 0);
}

Test(append, a_sleeping_engine_is_rung_once_for_all_that_is_submitted_meanwhile)
{
    enum { SUBMITTED = 200 };
    cr_assert_eq(tusk_append(topic, "x", 1, NULL), 0);
    stage_set(&stage.parked, true);
    stage_set(&stage.stalled, true);
    for (int i = 0; i < SUBMITTED; i++) {
        cr_assert_eq(tusk_submit(topic, "x", 1, 0), 0);
    }
    atomic_store(&stage.stalled, false);
    cr_assert_eq(tusk_flush(tusk, TUSK_COMMITTED, TEST_LONG_MS), 0);
    tusk_disconnect(tusk);
    tusk = NULL;
    cr_assert_geq(atomic_load(&stage.woken), 1);
    cr_assert_leq(atomic_load(&stage.woken), atomic_load(&stage.parkings));
    cr_assert_lt(atomic_load(&stage.parkings), SUBMITTED);
}

Test(append, death_of_the_broker_ends_the_handle)
{
    stage_kill(&stage);
    int error;
    while ((error = tusk_submit(topic, "x", 1, 0)) == 0 || error == -EAGAIN) {
    }
    cr_assert_eq(error, -ESTALE);
    cr_assert_eq(tusk_append(topic, "x", 1, NULL), -ESTALE);
    cr_assert_eq(tusk_wait(tusk, 0), -ESTALE);
    struct tusk_reader *reader;
    cr_assert_eq(tusk_reader_open(topic, NULL, &reader), -ESTALE);
}

static void *kill_it(void *arg)
{
    stage_kill(&stage);
    return arg;
}

Test(append, death_of_the_broker_ends_a_sleep)
{
    atomic_store(&stage.stalled, true);
    cr_assert_eq(tusk_submit(topic, "x", 1, 1), 0);
    pthread_t killer;
    cr_assert_eq(pthread_create(&killer, NULL, kill_it, NULL), 0);
    cr_assert_eq(tusk_flush(tusk, TUSK_COMMITTED, TEST_LONG_MS), -ESTALE);
    pthread_join(killer, NULL);
}

Test(append_each, acknowledges_only_what_is_durable)
{
    cr_assert_eq(tusk_append(topic, "x", 1, NULL), 0);
    stage_set(&stage.durable_held, true);
    cr_assert_eq(tusk_submit(topic, "y", 1, 9), 0);
    cr_assert_eq(tusk_flush(tusk, TUSK_COMMITTED, TEST_LONG_MS), 0);
    struct tusk_completion completion;
    cr_assert_eq(tusk_reap(tusk, &completion, 1), 0, "committed, not durable");
    cr_assert_eq(tusk_wait(tusk, 20), 0);
    cr_assert_eq(tusk_append(topic, "z", 1, NULL), -ETIMEDOUT);
    struct tusk_entry entry;
    cr_assert_eq(tusk_read_next(topic, true, &entry), 1);
    cr_assert_eq(tusk_read_next(topic, true, &entry), 0, "readers see durable entries only");
    atomic_store(&stage.durable_held, false);
    cr_assert_eq(tusk_wait(tusk, TEST_LONG_MS), 1);
    cr_assert_eq(tusk_reap(tusk, &completion, 1), 1);
    cr_assert(completion.user_data == 9 && completion.seq == 1);
    cr_assert_eq(tusk_flush(tusk, TUSK_DURABLE, TEST_LONG_MS), 0);
    cr_assert_eq(tusk_read_next(topic, true, &entry), 1);
    cr_assert_eq(entry.seq, 1);
}

Test(append_each, what_does_not_wait_is_refused_without_waiting_for_the_disk)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.timeout_ms = -1;
    struct tusk_topic_options no_wait = TUSK_TOPIC_OPTIONS_INIT;
    no_wait.no_wait = 1;
    struct tusk *patient = stage_connect(&stage, &options);
    struct tusk_topic *other;
    cr_assert_eq(tusk_topic_open(patient, "other", &no_wait, &other), 0);
    cr_assert_eq(tusk_append(other, "x", 1, NULL), 0);
    stage_set(&stage.durable_held, true);
    cr_assert_eq(tusk_submit(other, "y", 1, 0), 0);
    cr_assert_eq(tusk_flush(patient, TUSK_COMMITTED, TEST_LONG_MS), 0);
    atomic_store(&stage.append_error, -EAGAIN);
    cr_assert_eq(tusk_append(other, "x", 1, NULL), -EAGAIN);
    atomic_store(&stage.append_error, 0);
    atomic_store(&stage.durable_held, false);
    tusk_disconnect(patient);
}

Test(append_each, what_would_get_another_seq_is_refused_without_waiting_for_the_disk)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.timeout_ms = -1;
    struct tusk *patient = stage_connect(&stage, &options);
    struct tusk_topic *other;
    cr_assert_eq(tusk_topic_open(patient, "other", NULL, &other), 0);
    stage_set(&stage.durable_held, true);
    cr_assert_eq(tusk_submit(other, "y", 1, 0), 0);
    cr_assert_eq(tusk_append_at(other, 7, "x", 1), -EILSEQ);
    atomic_store(&stage.durable_held, false);
    cr_assert_eq(tusk_append_at(other, 1, "x", 1), 0);
    tusk_disconnect(patient);
}

Test(append_each, a_flush_and_withheld_completions_are_waited_for_together)
{
    stage_set(&stage.durable_held, true);
    cr_assert_eq(tusk_submit(topic, "y", 1, 9), 0);
    cr_assert_eq(tusk_flush(tusk, TUSK_DURABLE, 0), -EAGAIN);
    struct tusk_completion completion;
    struct pollfd poll_fd = {.fd = tusk_fd(tusk), .events = POLLIN};
    int spurious = 0; /* that it is committed may be told */
    while ((tusk_arm(tusk) == 1 || poll(&poll_fd, 1, 20) == 1) && spurious++ < 10) {
        cr_assert_eq(tusk_reap(tusk, &completion, 1), 0);
        cr_assert_eq(tusk_flush(tusk, TUSK_DURABLE, 0), -EAGAIN);
    }
    cr_assert_lt(spurious, 5, "it comes to rest");
    atomic_store(&stage.durable_held, false);
    cr_assert_eq(poll(&poll_fd, 1, 5000), 1);
    cr_assert_eq(tusk_arm(tusk), 1);
    cr_assert_eq(tusk_flush(tusk, TUSK_DURABLE, 0), 0);
    cr_assert_eq(tusk_reap(tusk, &completion, 1), 1);
}

Test(append_each, a_refusal_is_told_also_if_the_disk_is_too_slow)
{
    stage_set(&stage.durable_held, true);
    atomic_store(&stage.append_error, -EILSEQ);
    cr_assert_eq(tusk_append_at(topic, 7, "x", 1), -EILSEQ, "it was not appended");
    atomic_store(&stage.append_error, 0);
    atomic_store(&stage.durable_held, false);
    cr_assert_eq(tusk_flush(tusk, TUSK_DURABLE, TEST_LONG_MS), 0, "it has been told");
    cr_assert_eq(tusk_append_at(topic, 0, "y", 1), 0);
}

Test(append_each, fence_is_told)
{
    stage_set(&stage.durable_held, true);
    cr_assert_eq(tusk_submit(topic, "y", 1, 9), 0);
    cr_assert_eq(tusk_flush(tusk, TUSK_COMMITTED, TEST_LONG_MS), 0);
    atom_store_relaxed(&stage.directory->fenced, EIO);
    const struct tusk_completion completion = reap_one();
    cr_assert(completion.user_data == 9 && completion.error == -EIO);
}
