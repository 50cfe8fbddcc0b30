/*
 * Wakes: who sleeps is woken by one system call, who is awake by none.
 * How:        a broker on threads of this process, so that this file's send(), poll() and epoll_wait()
 *             stand before libc's for both sides and count: wake bytes of clients and of engines,
 *             sleeps of clients. What is asserted holds however the threads are scheduled: no more
 *             wakes of a side than it has fallen asleep.
 * Not here:   that no wake is lost (tests/model/wake.pml, tests/stress/stress_wake.c).
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/support/deadline.h"
#include "tests/support/embedded.h"

enum { ROUNDS = 300, PER_ROUND = 3, BATCH = 1000, BATCHES = 50 };

static _Thread_local bool is_client;
static _Atomic uint64_t client_rings; /* wake bytes that clients sent */
static _Atomic uint64_t engine_rings; /* ... and that the broker did */
static _Atomic uint64_t client_sleeps;

static long answer(long result, int error)
{
    if (result < 0) {
        errno = error;
    }
    return result;
}

ssize_t send(int fd, const void *bytes, size_t size, int flags)
{
    atomic_fetch_add(is_client ? &client_rings : &engine_rings, 1);
    const long sent = syscall(SYS_sendto, fd, bytes, size, flags, NULL, 0);
    return answer(sent, errno);
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    if (is_client && timeout_ms != 0) {
        atomic_fetch_add(&client_sleeps, 1);
    }
    struct timespec left = {.tv_sec = timeout_ms / 1000,
                            .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
    const long ready =
        syscall(SYS_ppoll, fds, count, timeout_ms < 0 ? NULL : &left, NULL, sizeof(uint64_t));
    return (int)answer(ready, errno);
}

int epoll_wait(int fd, struct epoll_event *events, int count, int timeout_ms)
{
    if (is_client && timeout_ms != 0) {
        atomic_fetch_add(&client_sleeps, 1);
    }
    const long ready =
        syscall(SYS_epoll_pwait, fd, events, count, timeout_ms, NULL, sizeof(uint64_t));
    return (int)answer(ready, errno);
}

static struct place place;
static struct tusk_broker *embedded;

static void begin_with(uint32_t idle, const char *fsync)
{
    deadline_set(120);
    place_make(&place);
    place.options.idle = idle;
    place.options.fsync = fsync;
    embedded = embedded_start(&place);
}

static void begin(uint32_t idle)
{
    begin_with(idle, "none");
}

static struct tusk *client_attach(uint32_t idle)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    struct tusk *client = NULL;
    is_client = true;
    options.socket_path = place.socket;
    options.idle = idle;
    check_ok(tusk_connect(&client, &options));
    return client;
}

static struct tusk_topic *topic_of(struct tusk *client)
{
    struct tusk_topic *topic = NULL;
    check_ok(tusk_topic_open(client, "t", NULL, &topic));
    return topic;
}

static struct tusk_reader *reader_of(struct tusk_topic *topic)
{
    struct tusk_reader *reader = NULL;
    check_ok(tusk_reader_open(topic, NULL, &reader));
    return reader;
}

static int parks_look(const char *name, const char *help, uint64_t value, void *arg)
{
    (void)help;
    if (strcmp(name, "parks_total") == 0) {
        *(uint64_t *)arg = value;
    }
    return 0;
}

/* How often the engine has parked a lane. */
static uint64_t parks_total(struct tusk *client)
{
    uint64_t parks = 0;
    check_ok(tusk_counter_list(client, parks_look, &parks));
    return parks;
}

TestSuite(wakes);

/* Submissions and waits of one thread, which the engine may see together or one by one. */
static void submit_and_read(struct tusk *client)
{
    struct tusk_topic *topic = topic_of(client);
    struct tusk_reader *reader = reader_of(topic);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < PER_ROUND; i++) {
            check_ok(tusk_submit(topic, "x", 1, 0));
        }
        for (int i = 0; i < PER_ROUND; i++) {
            struct tusk_entry entry;
            check_is(tusk_reader_next(reader, &entry, -1), 1);
        }
    }
}

/* A lane is parked when its client gets it, and then as often as is counted. */
static void expect_rings_of_parkings(struct tusk *client, uint64_t lanes)
{
    const uint64_t rings = atomic_load(&client_rings);
    wait_until(parks_total(client) + lanes >= rings, 10000);
}

static void a_sleeping_engine_is_rung_once_for_each_parking(uint32_t client_idle)
{
    begin(TUSK_IDLE_BLOCK);
    struct tusk *client = client_attach(client_idle);
    submit_and_read(client);
    check(atomic_load(&client_rings) > 0);
    expect_rings_of_parkings(client, 1);
    check(atomic_load(&engine_rings) <= atomic_load(&client_sleeps));
    tusk_disconnect(client);
    check_ok(tusk_broker_stop(embedded));
}

Test(wakes, a_sleeping_engine_is_rung_once_by_a_client_that_sleeps)
{
    a_sleeping_engine_is_rung_once_for_each_parking(TUSK_IDLE_BLOCK);
}

Test(wakes, a_sleeping_engine_is_rung_once_by_a_client_that_is_awake)
{
    a_sleeping_engine_is_rung_once_for_each_parking(TUSK_IDLE_SPIN);
    check_is(atomic_load(&engine_rings), 0);
}

Test(wakes, nobody_is_rung_who_is_awake)
{
    begin(TUSK_IDLE_SPIN);
    struct tusk *client = client_attach(TUSK_IDLE_SPIN);
    submit_and_read(client);
    expect_rings_of_parkings(client, 1); /* lanes without work for 20 ms are parked all the same */
    check_is(atomic_load(&engine_rings), 0);
    tusk_disconnect(client);
    check_ok(tusk_broker_stop(embedded));
}

static _Atomic uint64_t sleeps_before; /* the second read, + 1; 0: it has not begun */

static void *read_two(void *arg)
{
    struct tusk *client = client_attach(TUSK_IDLE_BLOCK);
    struct tusk_topic *topic = topic_of(client);
    struct tusk_reader *reader = reader_of(topic);
    struct tusk_entry entry;
    check_ok(tusk_append(topic, "first", 5, NULL));
    check_is(tusk_reader_next(reader, &entry, -1),
             1); /* nothing but its lane is waited for later */
    atomic_store(&sleeps_before, atomic_load(&client_sleeps) + 1);
    check_is(tusk_reader_next(reader, &entry, -1), 1);
    tusk_disconnect(client);
    return arg;
}

/* Elsewhere an engine may be done before its client wants to sleep, each time. */
Test(wakes, who_sleeps_at_the_end_is_rung)
{
    pthread_t reader;
    begin(TUSK_IDLE_BLOCK);
    struct tusk *client = client_attach(TUSK_IDLE_SPIN);
    struct tusk_topic *topic = topic_of(client);
    check_ok(tusk_flush(client, TUSK_COMMITTED, -1)); /* makes the lane */
    check_is(pthread_create(&reader, NULL, read_two, NULL), 0);
    wait_until(atomic_load(&sleeps_before) > 0 &&
                   atomic_load(&client_sleeps) >= atomic_load(&sleeps_before),
               10000);
    const uint64_t rings = atomic_load(&engine_rings);
    check_ok(tusk_append(topic, "second", 6, NULL));
    check_is(pthread_join(reader, NULL), 0);
    check(atomic_load(&engine_rings) > rings);
    tusk_disconnect(client);
    check_ok(tusk_broker_stop(embedded));
}

static void *read_batches(void *arg)
{
    struct tusk *client = client_attach(TUSK_IDLE_BLOCK);
    struct tusk_reader *reader = reader_of(topic_of(client));
    struct tusk_entry entries[BATCH];
    for (uint64_t seen = 0; seen < (uint64_t)BATCH * BATCHES;) {
        const int count = tusk_reader_batch(reader, SIZE_MAX, entries, BATCH, -1);
        check(count > 0);
        seen += (uint64_t)count;
    }
    tusk_disconnect(client);
    return arg;
}

Test(wakes, a_batch_wakes_each_sleeper_once)
{
    enum { READERS = 2 };
    char text[] = "entry";
    pthread_t readers[READERS];
    struct iovec entries[BATCH];
    for (int i = 0; i < BATCH; i++) {
        entries[i] = (struct iovec){.iov_base = text, .iov_len = 5};
    }
    begin(TUSK_IDLE_BLOCK);
    struct tusk *client = client_attach(TUSK_IDLE_BLOCK);
    struct tusk_topic *topic = topic_of(client);
    for (int i = 0; i < READERS; i++) {
        check_is(pthread_create(&readers[i], NULL, read_batches, NULL), 0);
    }
    for (int i = 0; i < BATCHES; i++) {
        check_ok(tusk_batch_append(topic, entries, BATCH, NULL));
    }
    for (int i = 0; i < READERS; i++) {
        check_is(pthread_join(readers[i], NULL), 0);
    }
    check(atomic_load(&engine_rings) <= atomic_load(&client_sleeps));
    expect_rings_of_parkings(client, READERS + 1);
    tusk_disconnect(client);
    check_ok(tusk_broker_stop(embedded));
}

/* The entry and its sync end the call together. */
Test(wakes, a_durable_append_wakes_its_sleeper_once)
{
    begin_with(TUSK_IDLE_BLOCK, "each");
    struct tusk *client = client_attach(TUSK_IDLE_BLOCK);
    struct tusk_topic *topic = topic_of(client);
    check_ok(tusk_append(topic, "x", 1, NULL));
    const uint64_t rings = atomic_load(&engine_rings);
    for (int i = 0; i < ROUNDS; i++) {
        check_ok(tusk_append(topic, "x", 1, NULL));
    }
    check(atomic_load(&engine_rings) - rings <= ROUNDS);
    tusk_disconnect(client);
    check_ok(tusk_broker_stop(embedded));
}
