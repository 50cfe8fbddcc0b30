/*
 * Proves that whatever a client says out of form or turn, or does not say, costs only its own
 * session, and that nothing of that session is left afterwards.
 * How: the stage of session_stage.h, which counts at the end of every test.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/session.h"
#include "shm/quantity.h"
#include "shm/wake.h"
#include "tests/support/process.h"
#include "tests/unit/session_stage.h"

enum {
    GARBAGE_ROUNDS = 3000,
    MESSAGE_BYTES_MOST = 3 * CONTROL_MESSAGE_BYTES_MAX,
    FDS_PER_MESSAGE_MOST = 253,
};

TestSuite(session_hostile, .init = stage_begin, .fini = stage_end, .timeout = 600);

/* Of a session that is open; a CLOSE of a lane that it has not is none. */
static bool is_request(int kind)
{
    return kind == CONTROL_LANE_OPEN || kind == CONTROL_PINS_OPEN || kind == CONTROL_OPTION_SET ||
           kind == CONTROL_OPTION_GET || kind == CONTROL_NAMESPACE_NEXT ||
           kind == CONTROL_NAMESPACE_DELETE;
}

Test(session_hostile, messages_out_of_turn_end_the_session_that_sent_them)
{
    const int bystander = client_open();
    for (int open = 0; open <= 1; open++) {
        for (int kind = 0; kind <= CONTROL_DONE + 1; kind++) {
            const bool in_turn = open ? is_request(kind) : kind == CONTROL_HELLO;
            if (in_turn) {
                continue;
            }
            union control_message message = hello_make("default"); /* long enough for any kind */
            message.header.kind = (uint16_t)kind;
            const int client = open ? client_open() : client_connect();
            const uint32_t count = set.count;
            say(client, &message);
            pump();
            error_take(client, 41, -EPROTO, "");
            cr_expect(has_ended(client));
            cr_expect_eq(set.count, count - 1);
            close(client);
            cr_expect_not_null(strstr(log_take(), "session.ended"));
        }
    }
    const struct client_lane lane = client_lane_open(bystander);
    client_lane_drop(&lane);
    close(bystander);
    pump();
}

Test(session_hostile, requests_that_repeat_end_the_session)
{
    int fd;
    union control_message pins;
    control_begin(&pins, CONTROL_PINS_OPEN, sizeof pins.header, 48);
    int client = client_open();
    say(client, &pins);
    pump();
    answer_take(client, CONTROL_PINS_OPENED, 48, &fd, 1);
    say(client, &pins);
    pump();
    error_take(client, 48, -EPROTO, "already");
    cr_expect(has_ended(client));
    close(fd);
    close(client);

    client = client_open();
    const struct client_lane lane = client_lane_open(client);
    const union control_message twice = lane_message(CONTROL_LANE_CLOSE, 49, lane.lane_id);
    say(client, &twice);
    say(client, &twice);
    pump_control();
    pump();
    error_take(client, 49, -EPROTO, "not an open lane");
    cr_expect(has_ended(client));
    client_lane_drop(&lane);
    close(client);
    cr_expect_eq(records_in_use(), 0);
    cr_expect_eq(set.count, 0);
}

Test(session_hostile, lane_of_another_session_cannot_be_closed)
{
    const int owner = client_open();
    const int thief = client_open();
    const struct client_lane lane = client_lane_open(owner);
    const union control_message theft = lane_message(CONTROL_LANE_CLOSE, 50, lane.lane_id);
    say(thief, &theft);
    pump();
    error_take(thief, 50, -EPROTO, "not an open lane of this session");
    cr_expect_eq(engine.lanes, 1);
    cr_expect_eq(wake_drain(lane.socket), 0);
    client_lane_drop(&lane);
    close(owner);
    close(thief);
    pump();
}

Test(session_hostile, messages_cut_anywhere_are_malformed)
{
    const union control_message whole[] = {
        hello_make("default"),
        lane_message(CONTROL_LANE_OPEN, 1, SQ_BYTES_MIN),
        lane_message(CONTROL_LANE_CLOSE, 1, 1),
    };
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        for (size_t bytes = 0; bytes < whole[i].header.bytes; bytes++) {
            const int client = i == 0 ? client_connect() : client_open();
            cr_assert_eq(send(client, &whole[i], bytes, MSG_NOSIGNAL), (ssize_t)bytes);
            pump();
            if (bytes > 0) { /* an empty message is the end of the connection */
                union control_message answer;
                cr_assert_eq(control_receive(client, &answer, NULL, 0), 0);
                cr_expect_eq(answer.header.error, -EPROTO);
            }
            cr_assert(has_ended(client));
            close(client);
            cr_assert_eq(set.count, 0);
        }
    }
    cr_expect_eq(records_in_use(), 0);
}

Test(session_hostile, garbage_costs_only_the_session_that_sends_it)
{
    static unsigned char bytes[MESSAGE_BYTES_MOST];
    const int bystander = client_open();
    unsigned seed = 20250101;
    for (int round = 0; round < GARBAGE_ROUNDS; round++) {
        const size_t length = 1 + (size_t)rand_r(&seed) % sizeof bytes;
        for (size_t i = 0; i < length; i++) {
            bytes[i] = (unsigned char)rand_r(&seed);
        }
        if (round % 3 != 0 && length >= sizeof(struct control_header)) { /* further in */
            struct control_header header = {
                .magic = CONTROL_MAGIC,
                .version = CONTROL_VERSION,
                .kind = (uint16_t)(rand_r(&seed) % (CONTROL_DONE + 2)),
                .bytes = (uint32_t)length,
            };
            memcpy(bytes, &header, sizeof header);
        }
        const int client = round % 2 == 0 ? client_connect() : client_open();
        cr_assert_eq(send(client, bytes, length, MSG_NOSIGNAL), (ssize_t)length);
        pump();
        close(client);
        pump();
        cr_assert_eq(set.count, 1);
        log_take();
    }
    const struct client_lane lane = client_lane_open(bystander);
    cr_expect_eq(records_in_use(), 1);
    client_lane_drop(&lane);
    close(bystander);
    pump();
}

Test(session_hostile, descriptors_that_a_client_sends_are_dropped)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * FDS_PER_MESSAGE_MOST)];
        struct cmsghdr align;
    } ancillary = {{0}};
    union control_message message = lane_message(CONTROL_LANE_OPEN, 51, 1);
    struct iovec part = {.iov_base = &message, .iov_len = message.header.bytes};
    struct msghdr envelope = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = ancillary.bytes,
        .msg_controllen = sizeof ancillary.bytes,
    };
    struct cmsghdr *rights = CMSG_FIRSTHDR(&envelope);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * FDS_PER_MESSAGE_MOST);
    const int sent = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < FDS_PER_MESSAGE_MOST; i++) {
        memcpy(CMSG_DATA(rights) + i * sizeof sent, &sent, sizeof sent);
    }
    const int client = client_open();
    const uint64_t fds = process_count(getpid()).fds;
    for (int i = 0; i < 50; i++) {
        cr_assert_eq(sendmsg(client, &envelope, MSG_NOSIGNAL), (ssize_t)part.iov_len);
        pump();
        error_take(client, 51, -EINVAL, "power of two"); /* the message itself is served */
    }
    cr_expect_eq(process_count(getpid()).fds, fds);
    close(sent);
    close(client);
    pump();
}

Test(session_hostile, client_that_takes_no_answers_is_let_go)
{
    const int client = client_open();
    const union control_message open = lane_message(CONTROL_LANE_OPEN, 52, 1);
    int sent = 0;
    while (space->sessions_open == 1) {
        cr_assert_lt(sent, 100000, "the broker keeps on answering");
        sent += control_send(client, &open, NULL, 0) == 0;
        pump();
    }
    cr_expect_gt(sent, 10);
    cr_expect_eq(set.count, 0);
    close(client);
}

Test(session_hostile, hostile_client_loses_its_session_and_the_log_says_why)
{
    const int bystander = client_open();
    const int client = client_open();
    struct client *hostile = engine.client;
    struct mail again = {.kind = MAIL_CLIENT_HOSTILE, .subject = hostile};
    const struct client_lane lane = client_lane_open(client);
    snprintf(hostile->hostile, sizeof hostile->hostile, "sq_tail moved back by %d", 16);
    hostile->hostile_mail = (struct mail){.kind = MAIL_CLIENT_HOSTILE, .subject = hostile};
    mailbox_post(&mailbox, &hostile->hostile_mail);
    mailbox_post(&mailbox, &again); /* its other lane, before the engine hears of the end */
    pump();
    cr_expect(has_ended(client));
    cr_expect_eq(wake_drain(lane.socket), -EPIPE);
    cr_expect_not_null(strstr(log_take(), "sq_tail moved back by 16"));
    cr_expect_eq(set.count, 1);
    session_set_publish(&set);
    struct counter_shm *count =
        directory_counter(space->regions.directory.base, COUNTER_SESSIONS_HOSTILE);
    cr_expect_eq(atom_load_relaxed(&count->value), 1);
    client_lane_drop(&lane);
    close(client);
    const struct client_lane other = client_lane_open(bystander);
    client_lane_drop(&other);
    close(bystander);
    pump();
}

/* Time and numbers. */

Test(session_hostile, silent_connection_is_ended_in_time_and_only_that)
{
    const int open = client_open();
    const int first = client_connect();
    stage_now_ns += NS_PER_MS;
    const int second = client_connect();
    cr_expect_eq(session_set_expire(&set, stage_now_ns), GREETING_TIMEOUT_NS + 1);
    cr_expect_eq(session_set_expire(&set, GREETING_TIMEOUT_NS), GREETING_TIMEOUT_NS + 1);
    cr_expect_eq(set.greeting_count, 2);
    cr_expect_eq(session_set_expire(&set, GREETING_TIMEOUT_NS + 1),
                 GREETING_TIMEOUT_NS + 1 + NS_PER_MS);
    cr_expect(has_ended(first));
    union control_message none;
    cr_expect_eq(control_receive(second, &none, NULL, 0), -EAGAIN);
    cr_expect_eq(session_set_expire(&set, UINT64_MAX - 1), UINT64_MAX);
    cr_expect(has_ended(second));
    cr_expect_eq(control_receive(open, &none, NULL, 0), -EAGAIN);
    cr_expect_not_null(strstr(log_take(), "no HELLO in time"));
    close(first);
    close(second);
    close(open);
    pump();
    cr_expect_eq(set.count, 0);
}

Test(session_hostile, silent_connections_of_one_user_are_limited)
{
    static int clients[GREETING_PER_UID_MAX];
    for (int i = 0; i < GREETING_PER_UID_MAX; i++) {
        clients[i] = client_connect();
    }
    int ends[2];
    const union control_message hello = hello_make("default");
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    say(ends[1], &hello); /* before the broker has looked */
    session_set_accept(&set, ends[0], stage_now_ns);
    error_take(ends[1], 0, -EAGAIN, "try later");
    cr_expect(has_ended(ends[1]));
    close(ends[1]);

    int fds[2];
    say(clients[0], &hello);
    pump();
    answer_take(clients[0], CONTROL_WELCOME, 41, fds, 2);
    fds_close(fds, 2);
    const int next = client_open(); /* there is room again */
    close(next);
    for (int i = 0; i < GREETING_PER_UID_MAX; i++) {
        close(clients[i]);
    }
    pump();
    cr_expect_eq(set.count, 0);
}
