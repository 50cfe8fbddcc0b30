/*
 * Hostile: a client that writes what it likes into what it may write harms only itself.
 * How:        a real session, opened by hand over the control protocol, whose lane is then filled
 *             with nonsense; another, honest client must not notice.
 * Not here:   the decoder's own tests, fuzzing.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "shm/control.h"
#include "shm/layout.h"
#include "tests/support/clients.h"
#include "tests/support/payload.h"
#include "tests/support/process.h"
#include "tests/support/session.h"

static void begin(void)
{
    session_begin();
    append_text(topic_of(tusk, "t"), "a lane and pins of one's own");
    expect_text(reader_of(topic_of(tusk, "t")), 0, "a lane and pins of one's own");
}

TestSuite(hostile, .init = begin, .fini = session_end);

/* A session made by hand, with one lane mapped whole. */
struct intruder {
    int control;
    int lane_socket;
    int lane_fd;
    unsigned char *lane;
    size_t lane_bytes;
};

static void exchange(int fd, union control_message *message, size_t bytes, int *fds, size_t count)
{
    (void)bytes;
    check_ok(control_send(fd, message, NULL, 0));
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    check_is(poll(&poll_fd, 1, 10000 * TEST_TIME_FACTOR), 1);
    check_ok(control_receive(fd, message, fds, count));
}

static struct intruder intrude(void)
{
    struct intruder intruder = {0};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    union control_message message;
    int fds[2];
    intruder.control = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%.100s", broker->socket);
    check_ok(connect(intruder.control, (struct sockaddr *)&address, sizeof address));
    memset(&message, 0, sizeof message);
    control_begin(&message, CONTROL_HELLO, sizeof message.hello, 1);
    message.hello.digest = layout_digest();
    exchange(intruder.control, &message, sizeof message.hello, fds, 2);
    check_is(message.header.kind, CONTROL_WELCOME);
    (void)close(fds[0]);
    (void)close(fds[1]);
    memset(&message, 0, sizeof message);
    control_begin(&message, CONTROL_LANE_OPEN, sizeof message.lane, 2);
    message.lane.sq_bytes = 65536;
    exchange(intruder.control, &message, sizeof message.lane, fds, 2);
    check_is(message.header.kind, CONTROL_LANE_OPENED);
    struct stat info;
    check_ok(fstat(fds[0], &info));
    intruder.lane_fd = fds[0];
    intruder.lane_socket = fds[1];
    intruder.lane_bytes = (size_t)info.st_size;
    intruder.lane = mmap(NULL, intruder.lane_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    check(intruder.lane != MAP_FAILED);
    return intruder;
}

static void ring_bell(const struct intruder *intruder)
{
    (void)send(intruder->lane_socket, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void leave(struct intruder *intruder)
{
    (void)munmap(intruder->lane, intruder->lane_bytes);
    (void)close(intruder->lane_fd);
    (void)close(intruder->lane_socket);
    (void)close(intruder->control);
}

/* Whether the broker has closed the session. */
static bool expelled(const struct intruder *intruder)
{
    struct pollfd poll_fd = {.fd = intruder->control, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLHUP) != 0;
}

static void expect_undisturbed(uint32_t n)
{
    struct tusk_topic *topic = topic_of(tusk, "honest");
    append_numbered(topic, 1, n, 1, 100);
    struct tusk_reader *reader = reader_from(topic, TUSK_FROM_SEQ, n);
    const struct tusk_entry entry = reader_take(reader);
    expect_numbered(&entry, 1, n, 100);
    expect_end(reader);
    tusk_reader_close(reader);
    tusk_topic_close(topic);
    check(tuskd_alive(broker));
}

Test(hostile, a_lane_full_of_random_bytes)
{
    const struct process_counts before = broker_counts(tusk);
    for (uint32_t round = 0; round < 60; round++) {
        struct intruder intruder = intrude();
        payload_fill(intruder.lane, intruder.lane_bytes, 99, round);
        ring_bell(&intruder);
        expect_undisturbed(round);
        leave(&intruder);
    }
    wait_until(process_count(broker->pid).fds <= before.fds, 10000);
    check_is(info_of(topic_of(tusk, "honest")).next_seq, 60);
}

Test(hostile, a_lane_full_of_ones)
{
    struct intruder intruder = intrude();
    memset(intruder.lane, 0xff, intruder.lane_bytes);
    ring_bell(&intruder);
    wait_until(expelled(&intruder), 5000);
    wait_until(counter_of(tusk, "sessions_hostile_total") > 0, 5000);
    leave(&intruder);
    expect_undisturbed(0);
}

Test(hostile, a_lane_of_zeros_with_a_tail_decodes_as_nothing)
{
    struct intruder intruder = intrude();
    for (size_t at = 0; at + sizeof(uint64_t) <= 1024; at += 128) {
        const uint64_t tail = 4096;
        memcpy(intruder.lane + at, &tail, sizeof tail);
    }
    ring_bell(&intruder);
    expect_undisturbed(0);
    leave(&intruder);
    expect_undisturbed(1);
}

/* Each word of the lane's head takes each of the values that arithmetic trips over. */
Test(hostile, wild_indices)
{
    static const uint64_t values[] = {1,
                                      8,
                                      16,
                                      65535,
                                      65536,
                                      65537,
                                      131072,
                                      UINT32_MAX,
                                      UINT64_C(1) << 32,
                                      INT64_MAX,
                                      UINT64_C(1) << 63,
                                      UINT64_MAX - 15,
                                      UINT64_MAX};
    uint32_t n = 0;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        for (size_t at = 0; at < 1024; at += 64) {
            struct intruder intruder = intrude();
            memcpy(intruder.lane + at, &values[i], sizeof values[i]);
            ring_bell(&intruder);
            if (at % 256 == 0) {
                expect_undisturbed(n++);
            }
            leave(&intruder);
        }
    }
    expect_undisturbed(n);
}

struct scribble {
    struct gate gate;
    uint64_t stop;
};

/* Never stops writing, so that the broker reads words that change while it looks at them. */
static void scribble_on(size_t index, void *arg)
{
    struct scribble *scribble = arg;
    uint64_t state = index + 1;
    struct intruder intruder = intrude();
    gate_pass(&scribble->gate);
    while (shared_get(&scribble->stop) == 0) {
        if (expelled(&intruder)) {
            leave(&intruder);
            intruder = intrude();
        }
        for (int i = 0; i < 2000; i++) {
            state = payload_mix(state);
            const size_t at = (size_t)(state >> 32) % (intruder.lane_bytes / 8) * 8;
            const uint64_t value = state % 3 == 0 ? payload_mix(state) : state % 70000;
            memcpy(intruder.lane + (state % 5 == 0 ? at % 1024 : at), &value, sizeof value);
        }
        ring_bell(&intruder);
    }
    leave(&intruder);
}

Test(hostile, scribblers_at_work_disturb_nobody)
{
    enum { HONEST = 3000 };
    struct scribble *scribble = shared_memory(sizeof *scribble);
    struct clients *scribblers = clients_start(2, scribble_on, scribble);
    gate_await(&scribble->gate, 2);
    gate_open(&scribble->gate);
    struct tusk_topic *topic = topic_of(tusk, "honest");
    struct tusk_reader *reader = reader_of(topic);
    for (uint32_t n = 0; n < HONEST; n++) {
        append_numbered(topic, 1, n, 1, 100);
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, n);
        expect_numbered(&entry, 1, n, 100);
    }
    shared_set(&scribble->stop, 1);
    clients_join(scribblers);
    check_is(info_of(topic).next_seq, HONEST);
    check(tuskd_alive(broker));
}

/* The entries of the log are shared read-only: not even mprotect makes them writable. */
Test(hostile, a_reader_cannot_write_what_it_reads)
{
    struct tusk_reader *reader = reader_of(topic_of(tusk, "t"));
    const struct tusk_entry entry = reader_take(reader);
    const uintptr_t page = (uintptr_t)entry.data & ~(uintptr_t)4095;
    check(mprotect((void *)page, 4096, PROT_READ | PROT_WRITE) != 0);
    check_is(errno, EACCES);
}
