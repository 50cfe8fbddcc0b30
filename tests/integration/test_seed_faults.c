/*
 * Seed faults: what the reference implementation got wrong, one named test for each fault that
 * can show through the public interface, numbered as in the list of its faults.
 * How:        one real broker per test; full disks are small mounted tmpfs, kills are SIGKILL.
 * Not here:   faults 12 and 15, damaged bytes (test_seed_damage.c); 20, a kernel without io_uring
 *             (test_backends.c); and the second half of 7, namespaces, which have no interface yet.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/clients.h"
#include "tests/support/oracle.h"
#include "tests/support/process.h"
#include "tests/support/session.h"

enum { ENTRIES_MAX = 4096 };

TestSuite(seed, .init = session_begin, .fini = session_end);
TestSuite(seed_processes);

static struct tusk_entry entries[ENTRIES_MAX];

static int batch_take(struct tusk_topic *topic, size_t max_bytes, bool checkpoint)
{
    return tusk_batch_read(topic, max_bytes, checkpoint, entries, ENTRIES_MAX);
}

static void restart_killed(const char *options)
{
    tuskd_kill(broker);
    tusk_disconnect(tusk);
    tuskd_restart(broker, options);
    tusk = attach(broker);
}

/* Read the whole topic: n entries of producer 1, numbers 0 .. n-1. */
static void expect_all_numbered(struct tusk_topic *topic, uint32_t count, size_t size)
{
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < count; n++) {
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, n);
        expect_numbered(&entry, 1, n, size);
    }
    expect_end(reader);
    tusk_reader_close(reader);
}

Test(seed_processes, seed_fault_01_a_full_disk_never_acknowledges_what_is_not_kept)
{
    enum { SIZE = 20000, ATTEMPTS = 1000, MIB = 1024 * 1024 };
    static const char options[] = "--segment 1M --chunk 64K --arena 8M";
    char disk[SCRATCH_PATH_BYTES];
    if (!scratch_mount(disk, 8U * MIB)) {
        cr_skip_test("mounting a tmpfs is not allowed");
    }
    broker = tuskd_new();
    (void)snprintf(broker->data, sizeof broker->data, "%s/data", disk);
    tuskd_restart(broker, options);
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    unsigned char *data = malloc(SIZE);
    uint32_t acked = 0;
    uint32_t refused = 0;
    for (uint32_t i = 0; i < ATTEMPTS && refused < 20; i++) {
        payload_fill(data, SIZE, 1, acked);
        const int result = tusk_append(topic, data, SIZE, NULL);
        check_say(result == 0 || result == -ENOSPC, "tusk_append: %s", tusk_strerror(result));
        acked += result == 0;
        refused += result == -ENOSPC;
    }
    free(data);
    check_say(refused > 0, "8 MiB took %u entries of 20,000 bytes", acked);
    check(acked > 50);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, TEST_LONG_MS));
    check_is(info_of(topic).next_seq, acked);
    expect_all_numbered(topic, acked, SIZE);
    session_restart(options);
    topic = topic_of(tusk, "t");
    check_is(info_of(topic).next_seq, acked);
    expect_all_numbered(topic, acked, SIZE);
    restart_killed(options);
    expect_all_numbered(topic_of(tusk, "t"), acked, SIZE);
    session_end();
}

Test(seed_processes, seed_fault_01_a_full_disk_takes_entries_again_when_there_is_space)
{
    enum { SIZE = 20000, MIB = 1024 * 1024 };
    static const char options[] = "--segment 1M --chunk 64K --arena 8M";
    char disk[SCRATCH_PATH_BYTES];
    if (!scratch_mount(disk, 8U * MIB)) {
        cr_skip_test("mounting a tmpfs is not allowed");
    }
    broker = tuskd_new();
    (void)snprintf(broker->data, sizeof broker->data, "%s/data", disk);
    tuskd_restart(broker, options);
    tusk = attach(broker);
    struct tusk_topic *victim = topic_of(tusk, "victim");
    char *data = calloc(1, SIZE);
    int result = 0;
    for (int i = 0; i < 1000 && result == 0; i++) {
        result = tusk_append(victim, data, SIZE, NULL);
    }
    check_is(result, -ENOSPC);
    struct tusk_topic *topic = topic_of(tusk, "t");
    result = 0;
    uint32_t acked = 0;
    while (acked < 1000 && result == 0) { /* small chunks may still fit */
        result = tusk_append(topic, data, SIZE, NULL);
        acked += result == 0;
    }
    check_is(result, -ENOSPC);
    check_ok(tusk_topic_delete(tusk, "victim"));
    wait_until(tusk_append(topic, data, SIZE, NULL) == 0, 5000);
    append_numbered(topic, 1, 0, 100, SIZE);
    check_is(info_of(topic).next_seq, acked + 101);
    free(data);
    session_end();
}

Test(seed, seed_fault_02_an_exhausted_topics_cursor_never_falls_back)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 3000, 500);
    for (int left = 3000; left > 0;) {
        const int count = batch_take(topic, 300000, true);
        check(count > 0);
        left -= count;
    }
    expect_caught_up(topic);
    session_restart("");
    expect_caught_up(topic_of(tusk, "t"));
    restart_killed("");
    expect_caught_up(topic_of(tusk, "t"));
    topic = topic_of(tusk, "t");
    check_is(append_text(topic, "next"), 3000);
    expect_next(topic, 3000, "next");
}

Test(seed, seed_fault_03_at_least_once_repeats_at_most_persist_every)
{
    enum { COUNT = 1000, READ = 777, EVERY = 50 };
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.consistency = TUSK_AT_LEAST_ONCE;
    options.persist_every = EVERY;
    struct tusk *reading = attach_with(broker, options);
    struct tusk_topic *topic = topic_of(reading, "t");
    append_numbered(topic, 1, 0, COUNT, 100);
    check_ok(tusk_flush(reading, TUSK_DURABLE, -1));
    for (int i = 0; i < READ; i++) {
        check_is(tusk_read_next(topic, true, entries), 1);
        check_is(entries[0].seq, i);
    }
    restart_killed("");
    tusk_disconnect(reading);
    const int count = batch_take(topic_of(tusk, "t"), SIZE_MAX, true);
    check_is(count, COUNT - (int)entries[0].seq);
    check_say(entries[0].seq <= READ && entries[0].seq + EVERY >= READ,
              "after %d entries read, persisted every %d, seq %llu comes next", READ, EVERY,
              (unsigned long long)entries[0].seq);
}

/* 250,000 entries over many chunks; budgets that end before, at and behind the chunks' ends. */
Test(seed_processes, seed_fault_04_batch_read_budget_never_skips)
{
    enum { COUNT = 250000, SIZE = 48 };
    static const size_t budgets[] = {65536, SIZE_MAX, 4096, 1, 65536 - 64, 10240, 262144, 100000};
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.consistency = TUSK_AT_LEAST_ONCE;
    options.persist_every = 1000;
    broker = tuskd_start("--chunk 64K --arena 16M");
    tusk = attach_with(broker, options);
    struct tusk_topic *topic = topic_of(tusk, "t");
    unsigned char data[SIZE];
    for (uint32_t n = 0; n < COUNT; n++) {
        payload_fill(data, SIZE, 1, n);
        int result = tusk_submit(topic, data, SIZE, 0);
        while (result == -EAGAIN) {
            check_is(tusk_wait(tusk, TEST_LONG_MS), 1);
            result = tusk_submit(topic, data, SIZE, 0);
        }
        check_ok(result);
    }
    check_ok(tusk_flush(tusk, TUSK_COMMITTED, -1));
    uint64_t next = 0;
    for (size_t round = 0; next < COUNT; round++) {
        const int count =
            batch_take(topic, budgets[round % (sizeof budgets / sizeof *budgets)], true);
        check_say(count > 0, "tusk_batch_read: %d at %llu", count, (unsigned long long)next);
        for (int i = 0; i < count; i++, next++) {
            check_is(entries[i].seq, next);
            expect_numbered(&entries[i], 1, (uint32_t)next, SIZE);
        }
    }
    expect_caught_up(topic);
    session_end();
}

Test(seed, seed_fault_05_refused_calls_leave_no_hole)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    char large[] = "x"; /* of more than an entry may have nothing is looked at */
    const size_t large_bytes = ((size_t)1 << 30) + 1;
    struct iovec entry = {large, large_bytes};
    char name[300];
    struct tusk_topic *none = NULL;
    memset(name, 'n', sizeof name);
    name[299] = 0;
    for (uint32_t n = 0; n < 200; n++) {
        append_numbered(topic, 1, n, 1, 3000);
        check_is(tusk_batch_append(topic, &entry, 1, NULL), -EMSGSIZE);
        check_is(tusk_append(topic, large, large_bytes, NULL), -EMSGSIZE);
        check_ok(tusk_batch_append(topic, NULL, 0, NULL));
        check_is(tusk_append_at(topic, 12345, "x", 1), -EILSEQ);
        check_is(tusk_topic_open(tusk, name, NULL, &none), -EINVAL);
    }
    session_restart("");
    expect_all_numbered(topic_of(tusk, "t"), 200, 3000);
    append_numbered(topic_of(tusk, "t"), 1, 200, 1, 3000);
    expect_all_numbered(topic_of(tusk, "t"), 201, 3000);
}

Test(seed_processes, seed_fault_06_entries_larger_than_a_chunk_survive_restarts)
{
    static const char options[] = "--chunk 64K --arena 16M";
    enum { SIZE = 300001, COUNT = 12 };
    struct tusk_options wide = TUSK_OPTIONS_INIT;
    wide.lane_bytes = 1024 * 1024;
    broker = tuskd_start(options);
    tusk = attach_with(broker, wide);
    append_numbered(topic_of(tusk, "t"), 1, 0, COUNT, SIZE);
    expect_all_numbered(topic_of(tusk, "t"), COUNT, SIZE);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    session_restart(options);
    expect_all_numbered(topic_of(tusk, "t"), COUNT, SIZE);
    restart_killed(options);
    expect_all_numbered(topic_of(tusk, "t"), COUNT, SIZE);
    session_end();
}

Test(seed, seed_fault_07_every_restart_returns_everything)
{
    for (uint32_t round = 0; round < 6; round++) {
        struct tusk_topic *topic = topic_of(tusk, "t");
        append_numbered(topic, 1, round * 100, 100, 1000);
        append_text(topic_of(tusk, "other"), "x");
        check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
        if (round % 2 == 0) {
            session_restart("");
        } else {
            restart_killed("");
        }
        expect_all_numbered(topic_of(tusk, "t"), (round + 1) * 100, 1000);
        check_is(info_of(topic_of(tusk, "other")).next_seq, round + 1);
    }
}

Test(seed_processes, seed_fault_08_peeks_keep_everything_and_reclaimed_space_moves_no_position)
{
    static const char options[] = "--chunk 64K --segment 1M --arena 8M";
    enum { COUNT = 1000, SIZE = 3000, CONSUMED = 600 };
    broker = tuskd_start(options);
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, COUNT, SIZE);
    for (int i = 0; i < 200; i++) {
        check(batch_take(topic, 1000000, false) > 0);
        check_is(entries[0].seq, 0);
    }
    check_is(info_of(topic).first_seq, 0);
    check_is(info_of(topic).unread, COUNT);
    check_is(tusk_batch_read(topic, SIZE_MAX, false, entries, 1), 1);
    for (int left = CONSUMED; left > 0;) {
        const int count = tusk_batch_read(topic, SIZE_MAX, true, entries, left > 50 ? 50 : 1);
        check(count > 0);
        left -= count;
    }
    wait_until(info_of(topic).first_seq > 0, 5000);
    check(info_of(topic).first_seq <= CONSUMED);
    session_restart(options);
    topic = topic_of(tusk, "t");
    for (uint32_t n = CONSUMED; n < COUNT; n++) {
        check_is(tusk_read_next(topic, true, entries), 1);
        check_is(entries[0].seq, n);
        expect_numbered(&entries[0], 1, n, SIZE);
    }
    expect_caught_up(topic);
    session_end();
}

struct strict {
    struct gate gate;
    uint64_t given;
    uint32_t times[20000]; /* per seq */
};

static void read_strictly(size_t index, void *arg)
{
    struct strict *strict = arg;
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.consistency = TUSK_STRICTLY_AT_ONCE;
    struct tusk_topic *topic = topic_of(attach_with(broker, options), "t");
    (void)index;
    gate_pass(&strict->gate);
    while (shared_get(&strict->given) < 20000) {
        const int count = tusk_read_next(topic, true, entries);
        check(count == 0 || count == 1);
        if (count == 1) {
            check(entries[0].seq < 20000);
            (void)__atomic_add_fetch(&strict->times[entries[0].seq], 1, __ATOMIC_RELAXED);
            (void)shared_add(&strict->given, 1);
        }
    }
}

Test(seed_processes, seed_fault_09_concurrent_strict_readers_never_get_the_same_entry)
{
    broker = tuskd_start("--fsync none");
    struct strict *strict = shared_memory(sizeof *strict);
    struct clients *readers = clients_start(2, read_strictly, strict);
    gate_await(&strict->gate, 2);
    tusk = attach(broker);
    append_numbered(topic_of(tusk, "t"), 1, 0, 20000, 32);
    gate_open(&strict->gate);
    clients_join(readers);
    for (uint32_t seq = 0; seq < 20000; seq++) {
        check_say(strict->times[seq] == 1, "seq %u was given %u times", seq, strict->times[seq]);
    }
    session_end();
}

static void batches_without_end(size_t index, void *arg)
{
    struct tusk_topic *topic = topic_of(attach(broker), "t");
    unsigned char data[20][700];
    struct iovec batch[20];
    for (uint32_t n = 0;;) {
        for (uint32_t i = 0; i < 20; i++, n++) {
            payload_fill(data[i], sizeof data[i], (uint32_t)index, n);
            batch[i] = (struct iovec){data[i], sizeof data[i]};
        }
        if (tusk_batch_append(topic, batch, 20, NULL) != 0) {
            return; /* the broker was killed */
        }
        (void)shared_add((uint64_t *)arg + index, 1);
    }
}

Test(seed_processes, seed_fault_10_of_a_batch_all_or_nothing_survives_a_crash)
{
    broker = tuskd_start("--chunk 64K --fsync 1ms");
    for (uint64_t round = 1; round <= 5; round++) {
        uint64_t *done = shared_memory(2 * sizeof *done);
        struct clients *writers = clients_start(2, batches_without_end, done);
        wait_until(shared_get(&done[0]) >= 100 * round && shared_get(&done[1]) >= 100 * round,
                   10000);
        tuskd_kill(broker);
        clients_join(writers);
        tuskd_restart(broker, "--chunk 64K --fsync 1ms");
        struct tusk *checking = attach(broker);
        struct tusk_topic *topic = topic_of(checking, "t");
        const uint64_t next_seq = info_of(topic).next_seq;
        check_is(next_seq % 20, 0);
        struct tusk_reader *reader = reader_of(topic);
        for (uint64_t seq = 0; seq < next_seq; seq++) {
            static struct payload_id first;
            struct payload_id id;
            const struct tusk_entry entry = reader_take(reader);
            check(payload_verify(entry.data, entry.size, &id));
            first = seq % 20 == 0 ? id : first;
            check_is(id.producer, first.producer);
            check_is(id.n, first.n + seq % 20);
        }
        tusk_disconnect(checking);
    }
    tuskd_stop(broker);
}

Test(seed, seed_fault_11_a_name_that_is_too_long_disturbs_nothing)
{
    char name[300];
    struct tusk_topic *topic = NULL;
    memset(name, 'n', sizeof name);
    name[256] = 0;
    for (int i = 0; i < 100; i++) {
        check_is(tusk_topic_open(tusk, name, NULL, &topic), -EINVAL);
        check_is(tusk_topic_delete(tusk, name), -EINVAL);
    }
    name[255] = 0;
    check_is(append_text(topic_of(tusk, name), "fits"), 0);
    check_is(append_text(topic_of(tusk, name), "fits"), 1);
}

Test(seed, seed_fault_13_a_caller_knows_what_is_durable)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_numbered(topic, 1, 0, 500, 700);
    check(info_of(topic).durable_seq <= 500);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    check_is(info_of(topic).durable_seq, 500);
    restart_killed("");
    expect_all_numbered(topic_of(tusk, "t"), 500, 700);
    check_is(info_of(topic_of(tusk, "t")).durable_seq, 500);
}

Test(seed, seed_fault_14_a_cursor_move_writes_a_record_not_all_cursors)
{
    enum { TOPICS = 400, READS = 100, BYTES_PER_READ_MAX = 32768 };
    char name[32];
    for (uint32_t i = 0; i < TOPICS; i++) {
        (void)snprintf(name, sizeof name, "cursor-%u", i);
        struct tusk_topic *topic = topic_of(tusk, name);
        append_numbered(topic, 1, 0, 10, 32);
        check_is(batch_take(topic, 1, true), 1);
        tusk_topic_close(topic);
    }
    struct tusk_topic *topic = topic_of(tusk, "read");
    append_numbered(topic, 1, 0, READS, 32);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    const uint64_t before = counter_of(tusk, "bytes_written_total");
    for (uint32_t i = 0; i < READS; i++) {
        check_is(tusk_read_next(topic, true, entries), 1);
    }
    const uint64_t each = (counter_of(tusk, "bytes_written_total") - before) / READS;
    check_say(each < BYTES_PER_READ_MAX, "a cursor move writes %llu bytes",
              (unsigned long long)each);
}

Test(seed, seed_fault_16_many_processes_share_a_store_and_a_second_broker_is_refused)
{
    struct tuskd *second = tuskd_new();
    const char *text = NULL;
    append_text(topic_of(tusk, "t"), "mine");
    (void)snprintf(second->data, sizeof second->data, "%s", broker->data);
    check(tuskd_refusal(second, "", &text) != 0);
    check_contains(text, broker->data);
    check(tuskd_alive(broker));
    check_is(append_text(topic_of(tusk, "t"), "still mine"), 1);
}

Test(seed, seed_fault_17_opening_and_closing_leaks_nothing)
{
    tusk_disconnect(attach(broker));
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "x");
    const struct process_counts own = process_count(getpid());
    const struct process_counts theirs = broker_counts(tusk);
    for (int i = 0; i < 150; i++) {
        struct tusk *other = attach(broker);
        struct tusk_topic *there = topic_of(other, "t");
        struct tusk_reader *reader = reader_of(there);
        append_text(there, "x");
        check(reader_take(reader).size == 1);
        if (i % 2 == 0) {
            tusk_reader_close(reader);
            tusk_topic_close(there);
        }
        tusk_disconnect(other);
    }
    check_is(process_count(getpid()).fds, own.fds);
    check_is(process_count(getpid()).threads, own.threads);
    check(process_count(getpid()).mappings <= own.mappings + 8);
    wait_until(process_count(broker->pid).fds <= theirs.fds, 5000);
    wait_until(process_count(broker->pid).mappings <= theirs.mappings + 8, 5000);
    check_is(process_count(broker->pid).threads, theirs.threads);
}

Test(seed_processes, seed_fault_17_deleted_topics_give_their_space_back)
{
    enum { ROUNDS = 8, SIZE = 60000, COUNT = 60 };
    broker = tuskd_start("--segment 1M --chunk 64K --arena 8M");
    tusk = attach(broker);
    uint64_t disk_bytes = 0;
    for (int round = 0; round < ROUNDS; round++) {
        append_numbered(topic_of(tusk, "t"), 1, 0, COUNT, SIZE);
        check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
        check_ok(tusk_topic_delete(tusk, "t"));
        check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
        disk_bytes = round == 2 ? scratch_disk_bytes(broker->data) : disk_bytes;
    }
    check_say(scratch_disk_bytes(broker->data) <= disk_bytes + 2U * 1024 * 1024,
              "the store has grown from %llu to %llu bytes", (unsigned long long)disk_bytes,
              (unsigned long long)scratch_disk_bytes(broker->data));
    session_end();
}

static void batches_that_must_succeed(size_t index, void *arg)
{
    struct tusk_topic *topic = topic_of(attach(broker), "t");
    struct iovec batch[50];
    char text[] = "entry of a batch";
    (void)arg;
    (void)index;
    for (int i = 0; i < 50; i++) {
        batch[i] = (struct iovec){text, sizeof text};
    }
    for (int i = 0; i < 300; i++) {
        check_ok(tusk_batch_append(topic, batch, 50, NULL));
        check_ok(tusk_append(topic, text, sizeof text, NULL));
    }
}

Test(seed_processes, seed_fault_18_concurrent_batches_need_no_retries)
{
    broker = tuskd_start("");
    clients_run(4, batches_that_must_succeed, NULL);
    tusk = attach(broker);
    check_is(info_of(topic_of(tusk, "t")).next_seq, 4 * 300 * 51);
    session_end();
}

/* Under none nothing is synced because chunks fill, however many do. */
Test(seed_processes, seed_fault_19_a_full_chunk_is_not_synced_inside_an_append)
{
    broker = tuskd_start("--fsync none --chunk 64K");
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "x");
    counters_await(tusk, 1);
    const uint64_t syncs = counter_of(tusk, "syncs_total");
    append_numbered(topic, 1, 0, 1000, 8000);
    counters_await(tusk, 1001);
    check_is(counter_of(tusk, "syncs_total"), syncs);
    session_end();
}

Test(seed, seed_fault_21_batch_reads_return_empty_entries)
{
    struct tusk_topic *topic = topic_of(tusk, "t");
    append_text(topic, "");
    append_text(topic, "a");
    append_text(topic, "");
    append_text(topic, "");
    check_is(batch_take(topic, 1, true), 4);
    for (int i = 0; i < 4; i++) {
        check_is(entries[i].seq, i);
        check_is(entries[i].size, i == 1);
        check(entries[i].data != NULL);
    }
    expect_caught_up(topic);
}
