/*
 * Control: a message arrives whole with exactly the descriptors it should have, or it is an answer
 * that leaves no descriptor behind, whatever the peer sends.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shm/control.h"

enum { REQUEST = 42 };

static int sockets[2];
static union control_message message;
static union control_message received;

static void set_up(void)
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
}

static void tear_down(void)
{
    close(sockets[0]);
    close(sockets[1]);
}

TestSuite(shm_control, .init = set_up, .fini = tear_down);

static int fds_open(void)
{
    DIR *directory = opendir("/proc/self/fd");
    cr_assert_not_null(directory);
    int count = -1; /* its own */
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

/* The smallest message of every kind. */
static const struct {
    enum control_kind kind;
    size_t bytes;
} kinds[] = {
    {CONTROL_HELLO, sizeof(struct control_hello)},
    {CONTROL_WELCOME, sizeof(struct control_welcome)},
    {CONTROL_LANE_OPEN, sizeof(struct control_lane)},
    {CONTROL_LANE_OPENED, sizeof(struct control_lane)},
    {CONTROL_LANE_CLOSE, sizeof(struct control_lane)},
    {CONTROL_LANE_CLOSED, sizeof(struct control_lane)},
    {CONTROL_PINS_OPEN, sizeof(struct control_header)},
    {CONTROL_PINS_OPENED, sizeof(struct control_header)},
    {CONTROL_ERROR, sizeof(struct control_error)},
};

Test(shm_control, every_kind_arrives_as_sent)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        memset(&message, 0xff, sizeof message);
        control_begin(&message, kinds[i].kind, kinds[i].bytes, REQUEST + i);
        memset(message.bytes + sizeof message.header, (int)i + 1,
               kinds[i].bytes - sizeof message.header);
        cr_assert_eq(control_send(sockets[0], &message, NULL, 0), 0);
        cr_assert_eq(control_receive(sockets[1], &received, NULL, 0), 0);
        cr_assert_eq(memcmp(&received, &message, kinds[i].bytes), 0);
        cr_assert_eq(received.header.id, REQUEST + i);
        cr_assert_eq(received.header.kind, kinds[i].kind);
        cr_assert_eq(received.header.error, 0);
    }
}

Test(shm_control, begins_zeroed)
{
    memset(&message, 0xff, sizeof message);
    control_begin(&message, CONTROL_HELLO, sizeof message.hello, 1);
    for (size_t i = sizeof message.header; i < sizeof message.hello; i++) {
        cr_assert_eq(message.bytes[i], 0, "byte %zu would be sent as it was", i);
    }
}

Test(shm_control, one_byte_less_than_a_kind_has_is_refused)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        control_begin(&message, kinds[i].kind, kinds[i].bytes, REQUEST);
        message.header.bytes--;
        cr_assert_eq(send(sockets[0], &message, kinds[i].bytes - 1, 0),
                     (ssize_t)kinds[i].bytes - 1);
        cr_assert_eq(control_receive(sockets[1], &received, NULL, 0), -EPROTO, "kind %d",
                     (int)kinds[i].kind);
    }
}

static void refused_as_sent(size_t bytes, const char *what)
{
    cr_assert_eq(send(sockets[0], &message, bytes, 0), (ssize_t)bytes);
    cr_assert_eq(control_receive(sockets[1], &received, NULL, 0), -EPROTO, "%s", what);
}

Test(shm_control, refuses_what_is_malformed)
{
    const size_t bytes = sizeof message.lane;
    control_begin(&message, CONTROL_LANE_OPEN, bytes, REQUEST);
    const union control_message good = message;
    message.header.magic ^= 1;
    refused_as_sent(bytes, "magic");
    message = good;
    message.header.version++;
    refused_as_sent(bytes, "version");
    message = good;
    message.header.bytes++;
    refused_as_sent(bytes, "says more than it has");
    message = good;
    message.header.bytes = 0;
    refused_as_sent(bytes, "says nothing");
    message = good;
    message.header.kind = CONTROL_NOTHING;
    refused_as_sent(bytes, "kind 0");
    message.header.kind = UINT16_MAX;
    refused_as_sent(bytes, "unknown kind");
    message = good;
    refused_as_sent(1, "one byte");
    refused_as_sent(sizeof message.header - 1, "less than a header");
    message = good;
    cr_assert_eq(send(sockets[0], &message, bytes, 0), (ssize_t)bytes);
    cr_assert_eq(control_receive(sockets[1], &received, NULL, 0), 0, "and goes on after it");
}

Test(shm_control, refuses_what_is_too_long)
{
    static struct {
        union control_message message;
        char more[1];
    } oversize;
    control_begin(&oversize.message, CONTROL_ERROR, sizeof oversize.message, REQUEST);
    cr_assert_eq(send(sockets[0], &oversize, sizeof oversize.message + 1, 0),
                 (ssize_t)sizeof oversize.message + 1);
    cr_assert_eq(control_receive(sockets[1], &received, NULL, 0), -EPROTO);
    cr_assert_eq(control_send(sockets[0], &oversize.message, NULL, 0), 0);
    cr_assert_eq(control_receive(sockets[1], &received, NULL, 0), 0, "the longest is accepted");
}

Test(shm_control, descriptors_arrive_and_close_on_exec)
{
    const int before = fds_open();
    int pipes[2];
    cr_assert_eq(pipe(pipes), 0);
    control_begin(&message, CONTROL_LANE_OPENED, sizeof message.lane, REQUEST);
    cr_assert_eq(control_send(sockets[0], &message, pipes, 2), 0);
    int fds[2] = {7, 7};
    cr_assert_eq(control_receive(sockets[1], &received, fds, 2), 0);
    cr_assert_eq(write(fds[1], "x", 1), 1);
    char byte = 0;
    cr_assert_eq(read(fds[0], &byte, 1), 1);
    cr_assert_eq(byte, 'x');
    for (int i = 0; i < 2; i++) {
        cr_assert_neq(fcntl(fds[i], F_GETFD) & FD_CLOEXEC, 0);
        cr_assert_neq(fcntl(pipes[i], F_GETFD), -1, "what was sent stays the sender's");
        close(fds[i]);
        close(pipes[i]);
    }
    cr_assert_eq(fds_open(), before);
}

/* Sends a message with `sent` descriptors to a receiver that expects `expected`. */
static int receive_with(enum control_kind kind, size_t bytes, size_t sent, size_t expected)
{
    const int own[2] = {sockets[0], sockets[1]};
    const int before = fds_open();
    control_begin(&message, kind, bytes, REQUEST);
    cr_assert_eq(control_send(sockets[0], &message, own, sent), 0);
    int fds[2] = {7, 7};
    const int error = control_receive(sockets[1], &received, fds, expected);
    for (size_t i = 0; i < expected; i++) {
        if (error != 0 || kind == CONTROL_ERROR) {
            cr_assert_eq(fds[i], -1);
        } else {
            close(fds[i]);
        }
    }
    cr_assert_eq(fds_open(), before, "%zu sent, %zu expected: left descriptors", sent, expected);
    return error;
}

Test(shm_control, another_number_of_descriptors_is_refused)
{
    const size_t bytes = sizeof message.lane;
    cr_assert_eq(receive_with(CONTROL_LANE_OPENED, bytes, 2, 2), 0);
    cr_assert_eq(receive_with(CONTROL_LANE_OPENED, bytes, 1, 2), -EPROTO);
    cr_assert_eq(receive_with(CONTROL_LANE_OPENED, bytes, 0, 2), -EPROTO);
    cr_assert_eq(receive_with(CONTROL_LANE_OPENED, bytes, 2, 1), -EPROTO);
    cr_assert_eq(receive_with(CONTROL_LANE_OPENED, bytes, 0, 1), -EPROTO);
    cr_assert_eq(receive_with(CONTROL_LANE_OPENED, bytes, 2, 0), 0, "no room: never arrived");
}

Test(shm_control, an_error_comes_without_descriptors)
{
    const size_t bytes = sizeof message.error;
    cr_assert_eq(receive_with(CONTROL_ERROR, bytes, 0, 2), 0);
    cr_assert_eq(receive_with(CONTROL_ERROR, bytes, 1, 2), 0);
    cr_assert_eq(receive_with(CONTROL_ERROR, bytes, 2, 2), 0);
}

Test(shm_control, more_descriptors_than_any_message_has_are_refused)
{
    const int before = fds_open();
    enum { MANY = 20 };
    union {
        char bytes[CMSG_SPACE(sizeof(int) * MANY)];
        struct cmsghdr align;
    } ancillary = {0};
    control_begin(&message, CONTROL_LANE_OPENED, sizeof message.lane, REQUEST);
    struct iovec part = {.iov_base = &message, .iov_len = sizeof message.lane};
    struct msghdr envelope = {.msg_iov = &part,
                              .msg_iovlen = 1,
                              .msg_control = ancillary.bytes,
                              .msg_controllen = sizeof ancillary.bytes};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&envelope);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * MANY);
    for (int i = 0; i < MANY; i++) {
        memcpy(CMSG_DATA(rights) + (size_t)i * sizeof(int), &sockets[0], sizeof(int));
    }
    cr_assert_eq(sendmsg(sockets[0], &envelope, 0), (ssize_t)sizeof message.lane);
    int fds[2];
    cr_assert_eq(control_receive(sockets[1], &received, fds, 2), -EPROTO);
    cr_assert_eq(fds[0], -1);
    cr_assert_eq(fds[1], -1);
    cr_assert_eq(fds_open(), before);
}

Test(shm_control, tells_an_empty_socket_a_full_one_and_a_dead_peer_apart)
{
    cr_assert_eq(control_receive(sockets[1], &received, NULL, 0), -EAGAIN);
    control_begin(&message, CONTROL_PINS_OPEN, sizeof message.header, REQUEST);
    int sent = 0;
    int error;
    while ((error = control_send(sockets[0], &message, NULL, 0)) == 0) {
        sent++;
    }
    cr_assert_eq(error, -EAGAIN);
    close(sockets[0]);
    for (int i = 0; i < sent; i++) {
        cr_assert_eq(control_receive(sockets[1], &received, NULL, 0), 0);
    }
    cr_assert_eq(control_receive(sockets[1], &received, NULL, 0), -EPIPE);
    cr_assert_eq(control_send(sockets[1], &message, NULL, 0), -EPIPE, "and no SIGPIPE");
    sockets[0] = -1;
}
