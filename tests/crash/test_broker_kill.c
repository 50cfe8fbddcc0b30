/*
 * Broker kill: SIGKILL of the broker under load, then a cold start from disk: nothing durable is
 * lost, what remains of each topic is a prefix with dense seqs, and the cursor keeps its word.
 * How:        writers and readers as processes with diaries that survive; many cycles of load,
 *             kill, start, check, on one store.
 * Not here:   handles that live through a broker's death (there are none).
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/clients.h"
#include "tests/support/oracle.h"
#include "tests/support/session.h"

enum {
    WRITERS = 3,
    TOPICS = 2,
    CYCLE_MS_MIN = 40,
    CYCLE_MS_SPREAD = 120,
    ENTRIES_MAX = 400000 /* of one writer, over all cycles */
};

TestSuite(broker_kill);

struct load {
    uint64_t acked;
    uint64_t writing; /* clients that have connected */
    struct diary *diaries[TOPICS][WRITERS];
    size_t size_max;
};

static uint64_t seed = 4711;

static void sleep_ms(uint64_t ms)
{
    const struct timespec time = {.tv_sec = (time_t)(ms / 1000),
                                  .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
}

static uint64_t next_random(uint64_t limit)
{
    seed = payload_mix(seed);
    return seed % limit;
}

static const char *const names[TOPICS] = {"even", "odd"};

/* Append until the broker is gone; every now and then make sure that it is durable. Everything
 * that was appended before by this diary is in the log or was never acknowledged as durable. */
static void write_until_gone(size_t index, void *arg)
{
    struct load *load = arg;
    struct tusk *connection = attach(broker);
    struct tusk_topic *topics[TOPICS];
    unsigned char *data = malloc(load->size_max);
    for (int i = 0; i < TOPICS; i++) {
        topics[i] = topic_of(connection, names[i]);
    }
    (void)shared_add(&load->writing, 1);
    for (uint32_t round = 0;; round++) {
        struct diary *diary = load->diaries[round % TOPICS][index];
        uint64_t seq = 0;
        if (diary_intents(diary) + 1 >= diary->capacity) {
            break;
        }
        const uint32_t coming = diary_intents(diary);
        const size_t size =
            payload_size(diary->producer, coming, PAYLOAD_BYTES_MIN, load->size_max);
        const uint32_t n = diary_intend(diary, size);
        payload_fill(data, size, diary->producer, n);
        if (tusk_append(topics[round % TOPICS], data, size, &seq) != 0) {
            break;
        }
        diary_committed(diary, n, seq);
        (void)shared_add(&load->acked, 1);
        if (round % 50 == 49) {
            if (tusk_flush(connection, TUSK_DURABLE, -1) != 0) {
                break;
            }
            for (int i = 0; i < TOPICS; i++) {
                diary_durable_below(load->diaries[i][index],
                                    diary_intents(load->diaries[i][index]));
            }
        }
    }
    free(data);
}

static struct load *load_new(size_t size_max)
{
    struct load *load = shared_memory(sizeof *load);
    load->size_max = size_max;
    for (uint32_t t = 0; t < TOPICS; t++) {
        for (uint32_t w = 0; w < WRITERS; w++) {
            load->diaries[t][w] = diary_new(broker->run_dir, t * WRITERS + w, ENTRIES_MAX);
        }
    }
    return load;
}

/* All writers are at work, and so many entries are acknowledged. */
static void load_await(struct load *load, uint64_t acked)
{
    wait_until(shared_get(&load->writing) == WRITERS, 10000);
    wait_until(shared_get(&load->acked) > acked, 10000);
    shared_set(&load->writing, 0);
}

/* Entries that were lost legally are forgotten, so that their seqs may be given again. */
static void forget_lost(struct load *load, int topic, uint64_t next_seq)
{
    for (int w = 0; w < WRITERS; w++) {
        struct diary *diary = load->diaries[topic][w];
        for (uint32_t n = 0; n < diary_intents(diary); n++) {
            struct diary_append *append = &diary->appends[n];
            if (append->state == DIARY_COMMITTED && append->seq >= next_seq) {
                append->state = DIARY_INTENDED;
            }
        }
    }
}

/* After a cold start: all that is there is acknowledged from now on, for it is on disk. */
static void check_after_cold_start(struct load *load)
{
    struct tusk *checking = attach(broker);
    for (int t = 0; t < TOPICS; t++) {
        struct tusk_topic *topic = topic_of(checking, names[t]);
        const struct oracle_report report =
            oracle_check(topic, load->diaries[t], WRITERS, DIARY_DURABLE);
        check_is(report.first_seq, 0);
        check_is(info_of(topic).durable_seq, report.next_seq);
        forget_lost(load, t, report.next_seq);
    }
    tusk_disconnect(checking);
}

static void kill_and_start_again(const char *options, int cycles, size_t size_max)
{
    deadline_set(60);
    broker = tuskd_start(options);
    struct load *load = load_new(size_max);
    for (int cycle = 0; cycle < cycles; cycle++) {
        const uint64_t acked = shared_get(&load->acked);
        struct clients *writers = clients_start(WRITERS, write_until_gone, load);
        load_await(load, acked + 20);
        sleep_ms(CYCLE_MS_MIN + next_random(CYCLE_MS_SPREAD));
        tuskd_kill(broker);
        clients_join(writers);
        tuskd_restart(broker, options);
        check_after_cold_start(load);
    }
    tuskd_stop(broker);
    tuskd_restart(broker, options);
    check_after_cold_start(load);
    tuskd_stop(broker);
}

Test(broker_kill, under_an_interval_nothing_durable_is_lost)
{
    kill_and_start_again("--fsync 5ms", 12, 1000);
}

Test(broker_kill, under_each_nothing_acknowledged_is_lost)
{
    kill_and_start_again("--fsync each", 10, 1000);
}

Test(broker_kill, under_none_nothing_flushed_is_lost)
{
    kill_and_start_again("--fsync none", 10, 1000);
}

Test(broker_kill, with_small_chunks_and_large_entries_nothing_durable_is_lost)
{
    kill_and_start_again("--fsync 5ms --chunk 64K --segment 1M --arena 8M", 10, 40000);
}

/* Killed again while it starts, at any moment of its recovery. */
Test(broker_kill, killed_during_recovery_nothing_durable_is_lost)
{
    static const char options[] = "--fsync 5ms";
    deadline_set(60);
    broker = tuskd_start(options);
    struct load *load = load_new(1000);
    for (int cycle = 0; cycle < 5; cycle++) {
        const uint64_t acked = shared_get(&load->acked);
        struct clients *writers = clients_start(WRITERS, write_until_gone, load);
        load_await(load, acked + 200);
        tuskd_kill(broker);
        clients_join(writers);
        for (int again = 0; again < 6; again++) {
            tuskd_restart_killed(broker, options, next_random(60000));
        }
        tuskd_restart(broker, options);
        check_after_cold_start(load);
    }
    tuskd_stop(broker);
}

struct consumption {
    uint64_t given;
    uint64_t reading; /* clients that have connected */
    uint64_t at_end;  /* they were quick, or the kills late: there is nothing more to be given */
    struct diary *diaries[2];
    uint32_t consistency;
    uint32_t persist_every;
};

static void consume_until_gone(size_t index, void *arg)
{
    struct consumption *consumption = arg;
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.consistency = consumption->consistency;
    options.persist_every = consumption->persist_every;
    struct tusk_entry entries[16];
    struct tusk_topic *topic = topic_of(attach_with(broker, options), "t");
    (void)shared_add(&consumption->reading, 1);
    for (;;) {
        const int count = tusk_batch_read(topic, 500, true, entries, 16);
        if (count < 0) {
            check_is(count, -ESTALE);
            return;
        }
        for (int i = 0; i < count; i++) {
            struct payload_id id;
            check(payload_verify(entries[i].data, entries[i].size, &id));
            check_is(id.n, entries[i].seq);
            diary_was_given(consumption->diaries[index], entries[i].seq, id);
        }
        (void)shared_add(&consumption->given, (uint64_t)count);
        if (count == 0) {
            shared_set(&consumption->at_end, 1);
        }
    }
}

static void fill_topic(size_t index, void *arg)
{
    struct tusk *connection = attach(broker);
    (void)index;
    append_numbered(topic_of(connection, "t"), 9, 0, *(uint32_t *)arg, 50);
    check_ok(tusk_flush(connection, TUSK_DURABLE, -1));
    tusk_disconnect(connection);
}

static struct consumption *consume_and_kill(const char *options, uint32_t consistency,
                                            uint32_t persist_every, uint32_t total, int cycles)
{
    deadline_set(60);
    broker = tuskd_start(options);
    struct consumption *consumption = shared_memory(sizeof *consumption);
    consumption->consistency = consistency;
    consumption->persist_every = persist_every;
    for (uint32_t i = 0; i < 2; i++) {
        consumption->diaries[i] = diary_new(broker->run_dir, i, total * 2);
    }
    clients_run(1, fill_topic, &total);
    for (int cycle = 0; cycle < cycles; cycle++) {
        const uint64_t before = shared_get(&consumption->given);
        shared_set(&consumption->at_end, 0);
        struct clients *consumers = clients_start(2, consume_until_gone, consumption);
        wait_until(shared_get(&consumption->reading) == 2, 10000);
        wait_until(shared_get(&consumption->given) > before ||
                       shared_get(&consumption->at_end) != 0,
                   10000);
        shared_set(&consumption->reading, 0);
        sleep_ms(next_random(40));
        tuskd_kill(broker);
        clients_join(consumers);
        tuskd_restart(broker, options);
    }
    return consumption;
}

/* Strict: nothing twice, ever; at most one call of each consumer is lost with each kill. */
Test(broker_kill, a_strict_cursor_repeats_nothing_and_loses_one_call_per_consumer)
{
    enum { TOTAL = 60000, CYCLES = 10, CALL_MAX = 10 };
    const struct consumption *consumption =
        consume_and_kill("--fsync 5ms", TUSK_STRICTLY_AT_ONCE, 0, TOTAL, CYCLES);
    const uint64_t given = oracle_check_cursor(consumption->diaries, 2, 0);
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    const uint64_t unread = info_of(topic).unread;
    check_say(given + unread <= TOTAL && given + unread + CYCLES * 2 * CALL_MAX >= TOTAL,
              "%llu entries given and %llu unread of %d", (unsigned long long)given,
              (unsigned long long)unread, TOTAL);
    session_end();
}

/* At least once: nothing is lost; at most persist_every entries come again after each kill. */
Test(broker_kill, an_at_least_once_cursor_loses_nothing_and_repeats_at_most_n)
{
    enum { TOTAL = 200000, CYCLES = 8, EVERY = 100 };
    const struct consumption *consumption =
        consume_and_kill("--fsync 5ms", TUSK_AT_LEAST_ONCE, EVERY, TOTAL, CYCLES);
    (void)oracle_check_cursor(consumption->diaries, 2, CYCLES * EVERY);
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    const uint64_t next = TOTAL - info_of(topic).unread;
    unsigned char *seen = calloc(TOTAL, 1);
    for (int i = 0; i < 2; i++) {
        const struct diary *diary = consumption->diaries[i];
        for (uint32_t r = 0; r < diary_readings(diary); r++) {
            seen[diary->read[r].seq] = 1;
        }
    }
    uint64_t lost = 0;
    for (uint64_t seq = 0; seq < next; seq++) {
        lost += seen[seq] == 0;
    }
    free(seen);
    /* a call whose answer the killed broker could not give any more had moved the cursor */
    check_say(lost <= CYCLES * 2 * 16, "%llu entries below the cursor were given to nobody",
              (unsigned long long)lost);
    session_end();
}

/* Topics, deletes and trims around kills. */
Test(broker_kill, what_was_created_deleted_and_trimmed_durably_stays_so)
{
    broker = tuskd_start("--fsync 5ms");
    for (uint32_t round = 0; round < 10; round++) {
        char kept[32];
        char gone[32];
        tusk = attach(broker);
        (void)snprintf(kept, sizeof kept, "kept-%u", round);
        (void)snprintf(gone, sizeof gone, "gone-%u", round);
        append_numbered(topic_of(tusk, kept), round, 0, 100, 500);
        append_numbered(topic_of(tusk, gone), round, 0, 100, 500);
        check_ok(tusk_topic_trim(topic_of(tusk, kept), round * 10));
        check_ok(tusk_topic_delete(tusk, gone));
        append_text(topic_of(tusk, "marker"), "x");
        check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
        tuskd_kill(broker);
        tusk_disconnect(tusk);
        tuskd_restart(broker, "--fsync 5ms");
        tusk = attach(broker);
        for (uint32_t r = 0; r <= round; r++) {
            (void)snprintf(kept, sizeof kept, "kept-%u", r);
            (void)snprintf(gone, sizeof gone, "gone-%u", r);
            check_is(info_of(topic_of(tusk, kept)).first_seq, r * 10);
            check_is(info_of(topic_of(tusk, kept)).next_seq, 100);
            check_is(tusk_topic_delete(tusk, gone), -ENOENT);
        }
        tusk_disconnect(tusk);
    }
    tuskd_stop(broker);
}
