/*
 * Sessions: thousands of idle ones cost nothing and hinder nobody; those that end give back what
 * they held; those that talk nonsense harm only themselves.
 * How:        real connections, and raw sockets that speak the control protocol badly.
 * Not here:   clients killed under load (crash/test_client_kill.c).
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shm/control.h"
#include "tests/support/clients.h"
#include "tests/support/payload.h"
#include "tests/support/session.h"

enum { IDLE_SESSIONS = 1000, IDLE_PROCESSES = 4 };

/* With a lane and pins of one's own, so that what is counted before and after is the same. */
static void use_once(void)
{
    append_text(topic_of(tusk, "t"), "first");
    struct tusk_reader *reader = reader_of(topic_of(tusk, "t"));
    expect_text(reader, 0, "first");
    tusk_reader_close(reader);
}

static void begin(void)
{
    session_begin();
    use_once();
}

TestSuite(sessions, .init = begin, .fini = session_end);
TestSuite(sessions_many);

static void hold_sessions(size_t index, void *arg)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.lane_bytes = 64 * 1024;
    for (int i = 0; i < IDLE_SESSIONS / IDLE_PROCESSES; i++) {
        struct tusk *connection = attach_with(broker, options);
        append_numbered(topic_of(connection, "idle"), (uint32_t)index, (uint32_t)i, 1, 32);
    }
    gate_pass(arg);
}

Test(sessions_many, a_thousand_idle_ones_cost_little_and_hinder_nobody)
{
    enum { WATCHED_MS = 1500, WATCHES = 10, USED_MS_MAX = WATCHED_MS / 50 * TEST_TIME_FACTOR };
    deadline_set(60);
    broker = tuskd_start("");
    tusk = attach(broker);
    use_once();
    const struct process_counts before = broker_counts(tusk);
    struct gate *gate = shared_memory(sizeof *gate);
    struct clients *holders = clients_start(IDLE_PROCESSES, hold_sessions, gate);
    gate_await(gate, IDLE_PROCESSES);
    check_is(info_of(topic_of(tusk, "idle")).next_seq, IDLE_SESSIONS);
    wait_until(counter_of(tusk, "sessions") == IDLE_SESSIONS + 1, 5000);

    uint64_t used_ms = UINT64_MAX;
    /* What a busy machine charges to who happens to run is not always the broker's. */
    for (int i = 0; i < WATCHES && used_ms > USED_MS_MAX; i++) {
        const uint64_t before_ms = process_count(broker->pid).cpu_ms;
        check_is(tusk_wait(tusk, WATCHED_MS), 0);
        used_ms = process_count(broker->pid).cpu_ms - before_ms;
    }
    check_say(used_ms <= USED_MS_MAX, "idle, the broker used %llu of %d ms",
              (unsigned long long)used_ms, WATCHED_MS);

    append_numbered(topic_of(tusk, "t"), 1, 0, 1000, 64);
    struct tusk_reader *reader = reader_of(topic_of(tusk, "t"));
    for (uint32_t n = 0; n <= 1000; n++) {
        check_is(reader_take(reader).seq, n);
    }
    gate_open(gate);
    clients_join(holders);
    wait_until(process_count(broker->pid).fds <= before.fds, 20000);
    wait_until(counter_of(tusk, "lanes") == 1, 5000);
    wait_until(process_count(broker->pid).mappings <= before.mappings + 16, 5000);
    session_end();
}

Test(sessions, counters_tell_who_is_there)
{
    const uint64_t sessions = counter_of(tusk, "sessions");
    struct tusk *other = attach(broker);
    append_text(topic_of(other, "t"), "x");
    wait_until(counter_of(tusk, "sessions") == sessions + 1, 5000);
    tusk_disconnect(other);
    wait_until(counter_of(tusk, "sessions") == sessions, 5000);
}

struct counter_names {
    char names[128][64];
    int count;
    int stop_at;
};

static int counter_note(const char *name, const char *help, uint64_t value, void *arg)
{
    struct counter_names *seen = arg;
    (void)value;
    check(strlen(name) < 64 && seen->count < 128 && strlen(help) > 3);
    check_is(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(name));
    for (int i = 0; i < seen->count; i++) {
        check_say(strcmp(seen->names[i], name) != 0, "counter %s is there twice", name);
    }
    (void)snprintf(seen->names[seen->count++], 64, "%s", name);
    return seen->count == seen->stop_at ? 9 : 0;
}

Test(sessions, counters_are_listed_once_each_until_told_to_stop)
{
    static struct counter_names all;
    static struct counter_names some = {.stop_at = 3};
    check_ok(tusk_counter_list(tusk, counter_note, &all));
    check(all.count > 3);
    check_is(tusk_counter_list(tusk, counter_note, &some), 9);
    check_is(some.count, 3);
}

static int raw_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    check(fd >= 0);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%.100s", broker->socket);
    check_ok(connect(fd, (struct sockaddr *)&address, sizeof address));
    return fd;
}

/* Wait until the broker has answered or hung up; true if the connection is at its end. */
static bool hung_up(int fd)
{
    char answer[CONTROL_MESSAGE_BYTES_MAX];
    for (;;) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        check_say(poll(&poll_fd, 1, 10000 * TEST_TIME_FACTOR) == 1, "neither answer nor end");
        const ssize_t bytes = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
        if (bytes <= 0) {
            return true;
        }
        check(bytes >= (ssize_t)sizeof(struct control_header));
    }
}

static void send_raw(int fd, const void *data, size_t bytes)
{
    const ssize_t sent = send(fd, data, bytes, MSG_NOSIGNAL);
    check(sent == (ssize_t)bytes || errno == EPIPE || errno == ECONNRESET);
}

static void expect_undisturbed(uint64_t expected_seq)
{
    check(tuskd_alive(broker));
    check_is(append_text(topic_of(tusk, "t"), "x"), expected_seq + 1);
}

Test(sessions, garbage_ends_the_session_and_disturbs_nobody)
{
    unsigned char message[CONTROL_MESSAGE_BYTES_MAX];
    const struct process_counts before = broker_counts(tusk);
    for (uint32_t i = 0; i < 300; i++) {
        const int fd = raw_connect();
        const size_t bytes = payload_size(1, i, 16, sizeof message);
        payload_fill(message, bytes, 7, i);
        send_raw(fd, message, bytes);
        check(hung_up(fd));
        (void)close(fd);
    }
    wait_until(process_count(broker->pid).fds <= before.fds, 5000);
    expect_undisturbed(0);
}

static union control_message hello(void)
{
    union control_message message;
    memset(&message, 0, sizeof message);
    control_begin(&message, CONTROL_HELLO, sizeof message.hello, 1);
    message.hello.digest = 12345;
    return message;
}

Test(sessions, a_library_of_another_layout_is_refused_in_words)
{
    union control_message message = hello();
    union control_message answer;
    const int fd = raw_connect();
    send_raw(fd, &message, sizeof message.hello);
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    check_is(poll(&poll_fd, 1, 10000), 1);
    const ssize_t bytes = recv(fd, &answer, sizeof answer, 0);
    check_is(bytes, sizeof answer.error);
    check_is(answer.header.kind, CONTROL_ERROR);
    check_is(answer.header.error, -EPROTO);
    check(answer.error.text[0] != 0);
    (void)close(fd);
    expect_undisturbed(0);
}

Test(sessions, messages_of_every_length_are_survived)
{
    const union control_message message = hello();
    for (size_t bytes = 0; bytes <= sizeof message; bytes += bytes < 64 ? 1 : 97) {
        const int fd = raw_connect();
        send_raw(fd, &message, bytes);
        check_ok(shutdown(fd, SHUT_WR));
        check(hung_up(fd));
        (void)close(fd);
    }
    expect_undisturbed(0);
}

Test(sessions, an_oversized_message_is_survived)
{
    enum { BYTES = 100000 };
    union control_message message = hello();
    unsigned char *large = calloc(1, BYTES);
    memcpy(large, &message, sizeof message);
    for (int i = 0; i < 10; i++) {
        const int fd = raw_connect();
        send_raw(fd, large, BYTES);
        check(hung_up(fd));
        (void)close(fd);
    }
    free(large);
    expect_undisturbed(0);
}

Test(sessions, every_member_of_a_header_may_be_wrong)
{
    const union control_message right = hello();
    for (size_t at = 0; at < sizeof right.hello; at += at < 48 ? 1 : 111) {
        for (int bit = 0; bit < 8; bit += 3) {
            union control_message wrong = right;
            wrong.bytes[at] ^= (unsigned char)(1 << bit);
            const int fd = raw_connect();
            send_raw(fd, &wrong, sizeof wrong.hello);
            check_ok(shutdown(fd, SHUT_WR));
            check(hung_up(fd));
            (void)close(fd);
        }
    }
    expect_undisturbed(0);
}

Test(sessions, requests_before_hello_are_refused)
{
    static const enum control_kind kinds[] = {
        CONTROL_NOTHING,   CONTROL_WELCOME,     CONTROL_LANE_OPEN, CONTROL_LANE_CLOSE,
        CONTROL_PINS_OPEN, CONTROL_LANE_OPENED, CONTROL_ERROR};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        union control_message message;
        memset(&message, 0xff, sizeof message);
        control_begin(&message, kinds[i], sizeof message.lane, 1);
        const int fd = raw_connect();
        send_raw(fd, &message, sizeof message.lane);
        check(hung_up(fd));
        (void)close(fd);
    }
    expect_undisturbed(0);
}

/* The broker offers no room for descriptors: the kernel drops them. */
Test(sessions, descriptors_that_are_sent_along_are_not_kept)
{
    enum { FDS = 250 };
    union control_message message = hello();
    const struct process_counts before = broker_counts(tusk);
    const int connected = raw_connect();
    for (int i = 0; i < 20; i++) {
        union {
            char bytes[CMSG_SPACE(FDS * sizeof(int))];
            struct cmsghdr alignment;
        } control;
        memset(&control, 0, sizeof control);
        struct iovec part = {&message, sizeof message.hello};
        struct msghdr header = {.msg_iov = &part,
                                .msg_iovlen = 1,
                                .msg_control = control.bytes,
                                .msg_controllen = sizeof control.bytes};
        struct cmsghdr *first = CMSG_FIRSTHDR(&header);
        first->cmsg_level = SOL_SOCKET;
        first->cmsg_type = SCM_RIGHTS;
        first->cmsg_len = CMSG_LEN(FDS * sizeof(int));
        for (size_t k = 0; k < FDS; k++) {
            memcpy(CMSG_DATA(first) + k * sizeof(int), &connected, sizeof connected);
        }
        const int fd = i == 0 ? connected : raw_connect();
        (void)sendmsg(fd, &header, MSG_NOSIGNAL);
        (void)hung_up(fd);
        (void)close(fd);
    }
    wait_until(process_count(broker->pid).fds <= before.fds, 5000);
    expect_undisturbed(0);
}

Test(sessions, silent_connections_block_nobody)
{
    enum { SILENT = 200 };
    int fds[SILENT];
    const struct process_counts before = broker_counts(tusk);
    for (int i = 0; i < SILENT; i++) {
        fds[i] = raw_connect();
    }
    expect_undisturbed(0);
    struct tusk *other = attach(broker);
    append_text(topic_of(other, "t"), "x");
    tusk_disconnect(other);
    for (int i = 0; i < SILENT; i++) {
        (void)close(fds[i]);
    }
    wait_until(process_count(broker->pid).fds <= before.fds, 5000);
    expect_undisturbed(2);
}

static void storm(size_t index, void *arg)
{
    (void)index;
    (void)arg;
    for (int i = 0; i < 2000; i++) {
        const int fd = raw_connect();
        if (i % 3 == 0) {
            send_raw(fd, "x", 1);
        }
        (void)close(fd);
    }
}

Test(sessions, a_storm_of_connections_leaves_nothing)
{
    const struct process_counts before = broker_counts(tusk);
    clients_run(2, storm, NULL);
    expect_undisturbed(0);
    wait_until(process_count(broker->pid).fds <= before.fds, 5000);
    wait_until(process_count(broker->pid).mappings <= before.mappings + 8, 5000);
}

/* A broker with few descriptors refuses further sessions and goes on with those it has. */
Test(sessions_many, a_broker_without_descriptors_refuses_and_goes_on)
{
    enum { ATTEMPTS = 80 };
    struct rlimit few = {.rlim_cur = 96, .rlim_max = 96};
    struct tusk *connections[ATTEMPTS];
    int count = 0;
    broker = tuskd_start("");
    check_ok(prlimit(broker->pid, RLIMIT_NOFILE, &few, NULL));
    tusk = attach(broker);
    append_text(topic_of(tusk, "t"), "x");
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.socket_path = broker->socket;
    options.timeout_ms = 5000;
    int result = 0;
    while (count < ATTEMPTS && result == 0) {
        result = tusk_connect(&connections[count], &options);
        if (result == 0) {
            struct tusk_topic *topic = NULL;
            result = tusk_topic_open(connections[count++], "t", NULL, &topic);
            result = result == 0 ? tusk_append(topic, "x", 1, NULL) : result;
        }
    }
    check_say((result == -ENOMEM || result == -ENOTCONN) && count > 3,
              "%d of %d connections, then %d", count, ATTEMPTS, result);
    check(tuskd_alive(broker));
    append_text(topic_of(tusk, "t"), "x");
    while (count > 0) {
        tusk_disconnect(connections[--count]);
    }
    struct tusk *again = attach(broker);
    append_text(topic_of(again, "t"), "x");
    tusk_disconnect(again);
    session_end();
}
