/*
 * Slow disk: producers that are faster than the disk fill the arena and then their lanes, and are
 * told so; what does not need room goes on; the broker's memory stays as it is, nothing is lost, and
 * once the disk is back so is the latency.
 * How:        tuskd-throttled, a tuskd whose writes and syncs go at the rate that the test says
 *             (io_throttle.h), with an arena of 4 MiB.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/clients.h"
#include "tests/support/io_throttle.h"
#include "tests/support/payload.h"
#include "tests/support/process.h"
#include "tests/support/program.h"
#include "tests/support/session.h"

#define SMALL "--arena 4M --chunk 64K --segment 4M --fsync 20ms"

enum {
    ARENA_BYTES = 4 << 20,
    SIZE = 4000,        /* of most entries here */
    PATIENCE_MS = 1000, /* a busy machine is not yet a full arena */
    SMALL_LEFT = 20,    /* a place shared by small chunks may be left when there is no whole one */
    SLOW_BYTES_PER_S = 6 << 20,
};

static struct throttle *throttle;

static void disk_rate(uint64_t bytes_per_s)
{
    __atomic_store_n(&throttle->bytes_per_s, bytes_per_s, __ATOMIC_RELAXED); /* a setting, alone */
}

/* The file of the throttle, and the program that goes by it. */
static void begin(void)
{
    static char path[SCRATCH_PATH_BYTES + 16];
    static char program[4096];
    static const struct throttle none = {.bytes_per_s = THROTTLE_NONE};
    char dir[SCRATCH_PATH_BYTES];
    scratch_on_tmpfs(dir);
    (void)snprintf(path, sizeof path, "%s/throttle", dir);
    scratch_write(path, &none, sizeof none);
    throttle = shared_file(path, sizeof *throttle);
    check(setenv(THROTTLE_VARIABLE, path, 1) == 0);
    (void)snprintf(program, sizeof program, "%s-throttled", program_tuskd());
    check(setenv("TUSKD", program, 1) == 0);
}

TestSuite(slow_disk, .init = begin);

/* Bytes of the broker's own memory, without what it shares with clients. */
static uint64_t broker_memory(void)
{
    char text[256];
    unsigned long long kib = 0;
    (void)snprintf(text, sizeof text, "/proc/%d/status", (int)broker->pid);
    FILE *status = fopen(text, "re");
    check(status != NULL);
    while (fgets(text, sizeof text, status) != NULL && sscanf(text, "RssAnon: %llu", &kib) != 1) {
    }
    (void)fclose(status);
    check(kib > 0);
    return kib << 10;
}

static void sleep_ms(uint64_t ms)
{
    const uint64_t end_ms = now_ms() + ms;
    while (now_ms() < end_ms) {
        pause_briefly();
    }
}

static struct tusk *attach_impatient(int timeout_ms)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.timeout_ms = timeout_ms;
    return attach_with(broker, options);
}

/* Append entries first, first + 1, … until one does not get through in time; returns the next
 * number that is not appended and will not be. */
static uint32_t append_until_full(struct tusk_topic *topic, uint32_t producer, uint32_t first)
{
    unsigned char data[SIZE];
    for (uint32_t n = first;; n++) {
        payload_fill(data, sizeof data, producer, n);
        const int result = tusk_append(topic, data, sizeof data, NULL);
        if (result == -EAGAIN) {
            return n;
        }
        if (result == -ETIMEDOUT) {
            return n + 1; /* it is submitted, and will be appended */
        }
        check_ok(result);
    }
}

static void expect_all(const char *name, uint32_t producer, uint32_t count, size_t size)
{
    struct tusk_reader *reader = reader_of(topic_of(tusk, name));
    for (uint32_t n = 0; n < count; n++) {
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, n);
        expect_numbered(&entry, producer, n, size);
    }
    expect_end(reader);
    tusk_reader_close(reader);
}

Test(slow_disk, a_disk_that_stands_still_holds_back_only_what_needs_room)
{
    struct tusk_topic_options options = TUSK_TOPIC_OPTIONS_INIT;
    struct tusk_topic *hasty = NULL;
    unsigned char data[SIZE];
    broker = tuskd_start(SMALL);
    tusk = attach(broker);
    struct tusk *impatient = attach_impatient(PATIENCE_MS);
    append_numbered(topic_of(tusk, "other"), 9, 0, 1, 100);
    disk_rate(THROTTLE_STALLED);
    /* COMMITTED goes on until the arena is full. */
    const uint32_t count = append_until_full(topic_of(impatient, "t"), 1, 0);
    check((uint64_t)count * SIZE > ARENA_BYTES / 2);
    check((uint64_t)count * SIZE < ARENA_BYTES + (1 << 20)); /* and a lane */
    /* It was waited for, and so is the next one. */
    const uint64_t begin_ms = now_ms();
    const uint32_t next = append_until_full(topic_of(impatient, "t"), 1, count);
    const uint64_t waited_ms = now_ms() - begin_ms;
    check_say(waited_ms + 1 >= PATIENCE_MS && waited_ms < 30000, "it was waited for %llu ms",
              (unsigned long long)waited_ms);
    /* no_wait is not waited for at all. */
    options.no_wait = 1;
    check_ok(tusk_topic_open(tusk, "hasty", &options, &hasty));
    payload_fill(data, sizeof data, 3, 0);
    int result = 0;
    for (int n = 0; n < SMALL_LEFT && result == 0; n++) {
        result = tusk_append(hasty, data, sizeof data, NULL);
    }
    check_is(result, -EAGAIN);
    /* What has room in its chunk goes on, for writers and readers. */
    append_numbered(topic_of(tusk, "other"), 9, 1, 20, 100);
    expect_all("other", 9, 21, 100);
    disk_rate(THROTTLE_NONE);
    check_ok(tusk_flush(impatient, TUSK_DURABLE, TEST_LONG_MS));
    expect_all("t", 1, next, SIZE);
    check_ok(tusk_append(hasty, data, sizeof data, NULL));
    tusk_disconnect(impatient);
    session_end();
}

/* Every call ends in time: first with what is submitted and waits, then, when the lane is full, with
 * nothing submitted. What was submitted is appended once, in order, and nothing else is. */
Test(slow_disk, a_lane_that_is_full_says_that_nothing_was_submitted)
{
    unsigned char data[SIZE];
    broker = tuskd_start(SMALL);
    tusk = attach(broker);
    disk_rate(THROTTLE_STALLED);
    struct tusk *impatient = attach_impatient(20);
    struct tusk_topic *topic = topic_of(impatient, "t");
    uint32_t submitted = append_until_full(topic, 1, 0);
    uint32_t timed_out = 0;
    int result = 0;
    for (; result != -EAGAIN; submitted += result != -EAGAIN) {
        payload_fill(data, sizeof data, 1, submitted);
        result = tusk_append(topic, data, sizeof data, NULL);
        check_say(result == -ETIMEDOUT || result == -EAGAIN, "tusk_append: %s",
                  tusk_strerror(result));
        timed_out += result == -ETIMEDOUT;
    }
    check(timed_out > 0);
    check_is(tusk_submit(topic, data, sizeof data, 0), -EAGAIN);
    check_is(tusk_flush(impatient, TUSK_COMMITTED, 0), -EAGAIN);
    disk_rate(THROTTLE_NONE);
    check_ok(tusk_flush(impatient, TUSK_DURABLE, TEST_LONG_MS));
    expect_all("t", 1, submitted, SIZE);
    tusk_disconnect(impatient);
    session_end();
}

/* Each in a process of its own: as fast as it goes, noting how often it was told to wait. */
enum { PRODUCERS = 3, FAST_COUNT = 2000 };

static void produce(size_t index, void *arg)
{
    uint64_t *held_back = arg;
    unsigned char data[SIZE];
    char name[16];
    struct tusk *connection = attach(broker);
    (void)snprintf(name, sizeof name, "t%zu", index);
    struct tusk_topic *topic = topic_of(connection, name);
    for (uint32_t n = 0; n < FAST_COUNT; n++) {
        payload_fill(data, sizeof data, (uint32_t)index, n);
        int result = tusk_submit(topic, data, sizeof data, 0);
        while (result == -EAGAIN) {
            (void)shared_add(held_back, 1);
            check_is(tusk_wait(connection, TEST_LONG_MS), 1);
            result = tusk_submit(topic, data, sizeof data, 0);
        }
        check_ok(result);
    }
    check_ok(tusk_flush(connection, TUSK_DURABLE, TEST_LONG_MS));
    tusk_disconnect(connection);
}

Test(slow_disk, producers_go_at_the_pace_of_the_disk_and_memory_stays_flat)
{
    uint64_t *held_back = shared_memory(sizeof *held_back);
    broker = tuskd_start(SMALL);
    disk_rate(SLOW_BYTES_PER_S);
    const uint64_t begin_ms = now_ms();
    struct clients *clients = clients_start(PRODUCERS, produce, held_back);
    wait_until(shared_get(held_back) > PRODUCERS, 10000);
    const uint64_t before = broker_memory();
    clients_join(clients);
    const uint64_t after = broker_memory();
    const uint64_t took_ms = now_ms() - begin_ms;
    const uint64_t bytes = (uint64_t)PRODUCERS * FAST_COUNT * SIZE;
    check_say(took_ms > (bytes - ARENA_BYTES) * 900 / SLOW_BYTES_PER_S,
              "the disk was not slow: %llu ms", (unsigned long long)took_ms);
    check_say(after < before + (1 << 20) * TEST_MEMORY_FACTOR,
              "the broker has grown from %llu to %llu bytes", (unsigned long long)before,
              (unsigned long long)after);
    disk_rate(THROTTLE_NONE);
    tusk = attach(broker);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "t%u", i);
        expect_all(name, i, FAST_COUNT, SIZE);
    }
    session_end();
}

/* Lanes that wait for room cost nothing but themselves. */
static void wait_in_line(size_t index, void *arg)
{
    struct gate *gate = arg;
    char name[16];
    struct tusk *connection = attach(broker);
    (void)snprintf(name, sizeof name, "w%zu", index);
    struct tusk_topic *topic = topic_of(connection, name);
    gate_pass(gate);
    append_numbered(topic, (uint32_t)index, 0, 20, SIZE);
    tusk_disconnect(connection);
}

Test(slow_disk, lanes_that_wait_for_room_take_no_memory)
{
    enum { WAITERS = 24 };
    struct gate *gate = shared_memory(sizeof *gate);
    broker = tuskd_start(SMALL);
    struct clients *clients = clients_start(WAITERS, wait_in_line, gate);
    gate_await(gate, WAITERS);
    tusk = attach_impatient(PATIENCE_MS);
    disk_rate(THROTTLE_STALLED);
    const uint32_t count = append_until_full(topic_of(tusk, "t"), 1, 0);
    const uint64_t before = broker_memory();
    gate_open(gate);
    sleep_ms(500);
    const uint64_t after = broker_memory();
    check_say(after < before + (512 << 10) * TEST_MEMORY_FACTOR,
              "the broker has grown from %llu to %llu bytes", (unsigned long long)before,
              (unsigned long long)after);
    uint64_t used_ms = UINT64_MAX;
    /* It sleeps, and looks at the throttle. A busy machine may charge it with more. */
    for (int watch = 0; watch < 10 && used_ms >= 250; watch++) {
        const uint64_t before_ms = process_count(broker->pid).cpu_ms;
        sleep_ms(500);
        used_ms = process_count(broker->pid).cpu_ms - before_ms;
    }
    check_say(used_ms < 250, "it used %llu of 500 ms", (unsigned long long)used_ms);
    disk_rate(THROTTLE_NONE);
    clients_join(clients);
    expect_all("t", 1, count, SIZE);
    session_end();
}

/* A steady producer, well below what the disk can do; microseconds of each append. */
enum { STEADY_MAX = 200000 };

struct steady {
    uint64_t count;
    uint64_t stop;
    struct {
        uint64_t begin_ns;
        uint64_t took_ns;
    } appends[STEADY_MAX];
};

static void produce_steadily(size_t index, void *arg)
{
    struct steady *steady = arg;
    unsigned char data[SIZE];
    struct tusk *connection = attach(broker);
    struct tusk_topic *topic = topic_of(connection, "steady");
    (void)index;
    for (uint32_t n = 0; shared_get(&steady->stop) == 0; n++) {
        check(n < STEADY_MAX);
        payload_fill(data, sizeof data, 1, n);
        steady->appends[n].begin_ns = now_ns();
        check_ok(tusk_append(topic, data, sizeof data, NULL));
        steady->appends[n].took_ns = now_ns() - steady->appends[n].begin_ns;
        shared_set(&steady->count, n + 1);
        pause_briefly();
    }
    check_ok(tusk_flush(connection, TUSK_DURABLE, TEST_LONG_MS));
    tusk_disconnect(connection);
}

static int by_number(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left;
    const uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* How long appends took that were begun in [from, to): that many in a hundred took no longer. 0: there
 * are too few. */
static uint64_t percentile_ns(const struct steady *steady, uint64_t from_ns, uint64_t to_ns,
                              uint64_t percent)
{
    static uint64_t took_ns[STEADY_MAX];
    size_t count = 0;
    for (uint64_t i = 0; i < shared_get(&steady->count); i++) {
        const uint64_t begin_ns = steady->appends[i].begin_ns;
        if (begin_ns >= from_ns && begin_ns < to_ns) {
            took_ns[count++] = steady->appends[i].took_ns;
        }
    }
    if (count < 20) {
        return 0; /* the machine had no time for them */
    }
    qsort(took_ns, count, sizeof *took_ns, by_number);
    return took_ns[(count - 1) * percent / 100];
}

#define MS UINT64_C(1000000)

/* The disk stands still until the producer does, and comes back; true: the latency did as well. What
 * else the machine does meanwhile delays appends, too. */
static bool stall_passes(struct steady *steady, uint64_t *normal_ns, uint64_t *again_ns)
{
    const uint64_t begin_ns = now_ns();
    sleep_ms(500);
    const uint64_t stalled_ns = now_ns();
    disk_rate(THROTTLE_STALLED);
    uint64_t before = 0;
    do { /* a chunk of the arena is there for each 16 appends */
        before = shared_get(&steady->count);
        sleep_ms(200);
    } while (shared_get(&steady->count) != before);
    const uint64_t back_ns = now_ns();
    disk_rate(THROTTLE_NONE);
    sleep_ms(700);
    *normal_ns = percentile_ns(steady, begin_ns, stalled_ns, 99);
    *again_ns = percentile_ns(steady, back_ns + 100 * MS, back_ns + 600 * MS, 99);
    return *normal_ns > 0 && *again_ns > 0 &&
           *again_ns <= (3 * *normal_ns > 10 * MS ? 3 * *normal_ns : 10 * MS) * TEST_TIME_FACTOR;
}

Test(slow_disk, latency_is_back_a_tenth_of_a_second_after_the_disk)
{
    enum { STALLS_MAX = 15 };
    struct steady *steady = shared_memory(sizeof *steady);
    broker = tuskd_start(SMALL);
    struct clients *clients = clients_start(1, produce_steadily, steady);
    wait_until(shared_get(&steady->count) > 200, 10000);
    uint64_t normal_ns = 0;
    uint64_t again_ns = 0;
    for (int stall = 1; !stall_passes(steady, &normal_ns, &again_ns); stall++) {
        check_say(stall < STALLS_MAX,
                  "99 of 100 appends took up to %llu us, and %llu us when the disk was back, "
                  "and no better in %d times",
                  (unsigned long long)normal_ns / 1000, (unsigned long long)again_ns / 1000, stall);
    }
    shared_set(&steady->stop, 1);
    clients_join(clients);
    tusk = attach(broker);
    expect_all("steady", 1, (uint32_t)shared_get(&steady->count), SIZE);
    session_end();
}
