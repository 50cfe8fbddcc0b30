/*
 * Proves what a client gets over its control connection: regions, lanes, pins; how requests that
 * cannot be met are answered; and that nothing of a session is left afterwards.
 * How: the stage of session_stage.h, which counts at the end of every test.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/session.h"
#include "shm/pins.h"
#include "shm/wake.h"
#include "tests/support/process.h"
#include "tests/unit/session_stage.h"

enum { CHILD_SECONDS = 60 }; /* no child outlives a test that fails for longer */

TestSuite(session, .init = stage_begin, .fini = stage_end, .timeout = 600);

/* HELLO. */

Test(session, hello_is_welcomed_with_regions_that_cannot_be_written)
{
    int fds[2];
    const int client = client_connect();
    const union control_message hello = hello_make("");
    say(client, &hello);
    pump();
    const union control_message answer = answer_take(client, CONTROL_WELCOME, 41, fds, 2);
    cr_expect_eq(answer.welcome.epoch, directory()->header.epoch);
    cr_expect_neq(answer.welcome.epoch, 0);
    cr_expect_eq(answer.welcome.arena_bytes, CONFIG_ARENA_BYTES_MIN);
    for (int i = 0; i < 2; i++) {
        const uint64_t bytes = i == 0 ? answer.welcome.directory_bytes : answer.welcome.arena_bytes;
        struct mapping mapping;
        cr_expect_eq(fcntl(fds[i], F_GETFL) & O_ACCMODE, O_RDONLY);
        cr_expect_eq(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
        cr_expect_eq(mapping_open(&mapping, fds[i], bytes, true), -EACCES);
        cr_expect_neq(ftruncate(fds[i], 0), 0);
        cr_assert_eq(mapping_open(&mapping, fds[i], bytes, false), 0);
        cr_expect_neq(mprotect(mapping.base, 4096, PROT_READ | PROT_WRITE), 0);
        if (i == 0) {
            const struct directory_shm *seen = mapping.base;
            cr_expect_eq(directory_check(seen, bytes), 0);
            cr_expect_eq(atom_load_relaxed(&seen->sync_each), 1);
            cr_expect_eq(atom_load_relaxed(&seen->strict), 1);
            cr_expect_eq(atom_load_relaxed(&seen->persist_every), 7);
            cr_expect_eq(seen->header.pid, (uint64_t)getpid());
        }
        mapping_close(&mapping);
    }
    fds_close(fds, 2);
    cr_assert_eq(engine.taken[MAIL_CLIENT_ATTACH], 1);
    cr_expect_eq(engine.client->session_id, answer.welcome.session_id);
    cr_expect_eq(engine.client->pid, getpid());
    cr_expect_eq(engine.client->uid, geteuid());
    session_set_publish(&set);
    struct counter_shm *sessions =
        directory_counter(space->regions.directory.base, COUNTER_SESSIONS);
    cr_expect_eq(atom_load_relaxed(&sessions->value), 1);
    close(client);
    pump();
    session_set_publish(&set);
    cr_expect_eq(atom_load_relaxed(&sessions->value), 0);
    cr_expect_eq(set.count, 0);
}

Test(session, hello_of_another_version_is_told_both)
{
    union control_message hello = hello_make("default");
    hello.header.version = 9;
    int client = client_connect();
    say(client, &hello);
    pump();
    error_take(client, 41, -EPROTO, "version 9");
    cr_expect(has_ended(client));
    close(client);

    char expected[32];
    hello = hello_make("default");
    hello.hello.digest = 0xabcd;
    client = client_connect();
    say(client, &hello);
    pump();
    snprintf(expected, sizeof expected, "%016llx", (unsigned long long)layout_digest());
    const union control_message answer = answer_take(client, CONTROL_ERROR, 41, NULL, 0);
    cr_expect_eq(answer.header.error, -EPROTO);
    cr_expect_not_null(strstr(answer.error.text, "000000000000abcd"));
    cr_expect_not_null(strstr(answer.error.text, expected));
    cr_expect(has_ended(client));
    close(client);

    hello = hello_make("default");
    hello.header.magic = 0x20544547;
    client = client_connect();
    say(client, &hello);
    pump();
    error_take(client, 41, -EPROTO, "not a control message");
    cr_expect(has_ended(client));
    close(client);
    cr_expect_eq(engine.taken[MAIL_CLIENT_ATTACH], 0);
}

Test(session, hello_with_a_key_that_cannot_be_is_refused)
{
    static const struct {
        const char *key;
        uint32_t bytes;
        int error;
        const char *part;
    } cases[] = {
        {"default", 8, -EINVAL, "zero byte"},
        {"", NAMESPACE_KEY_BYTES_MAX + 1, -EINVAL, "1025 bytes"},
        {"", UINT32_MAX, -EINVAL, "expected at most 1024"},
        {"", NAMESPACE_KEY_BYTES_MAX, -EINVAL, "zero byte"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        union control_message hello = hello_make(cases[i].key);
        hello.hello.namespace_bytes = cases[i].bytes;
        const int client = client_connect();
        say(client, &hello);
        pump();
        error_take(client, 41, cases[i].error, cases[i].part);
        cr_expect(has_ended(client));
        close(client);
    }
}

Test(session, hello_for_a_new_namespace_waits_until_it_is_open)
{
    int fds[2][2];
    int clients[2];
    uint64_t epochs[2];
    const union control_message hello = hello_make("orders/eu");
    for (int i = 0; i < 2; i++) {
        clients[i] = client_connect();
        say(clients[i], &hello);
    }
    while (control_loop_step(&loop, 0) == 1) {
    }
    cr_expect_eq(namespaces.jobs, 1);
    cr_expect_eq(set.greeting_count, 0);
    /* However long it takes: nobody waits for a HELLO any more. */
    cr_expect_eq(session_set_expire(&set, UINT64_MAX - 1), UINT64_MAX);
    pump_jobs();
    for (int i = 0; i < 2; i++) {
        epochs[i] = answer_take(clients[i], CONTROL_WELCOME, 41, fds[i], 2).welcome.epoch;
        fds_close(fds[i], 2);
    }
    cr_expect_eq(epochs[0], epochs[1]);
    cr_expect_neq(epochs[0], directory()->header.epoch);
    cr_expect_eq(engine.taken[MAIL_STORE_ATTACH], 2);
    cr_expect_eq(engine.taken[MAIL_CLIENT_ATTACH], 2);
    cr_expect_neq(engine.client->store, space->store);
    const int other = client_open();
    cr_expect_eq(engine.client->store, space->store);
    close(other);
    close(clients[0]);
    close(clients[1]);
    pump();
    cr_expect_eq(set.count, 0);
}

Test(session, hello_for_a_namespace_that_cannot_be_opened_is_told_and_may_come_again)
{
    fake_script.open_error = -EIO;
    for (int i = 0; i < 3; i++) {
        const int client = client_connect();
        const union control_message hello = hello_make("bad");
        say(client, &hello);
        const int impatient = client_connect();
        say(impatient, &hello);
        while (control_loop_step(&loop, 0) == 1) {
        }
        close(impatient);
        pump_jobs();
        if (i < 2) {
            error_take(client, 41, -EIO, "does not open");
            cr_expect(has_ended(client));
        } else {
            int fds[2];
            answer_take(client, CONTROL_WELCOME, 41, fds, 2);
            fds_close(fds, 2);
        }
        close(client);
        const int other = client_open(); /* `default` goes on */
        close(other);
        pump();
        fake_script.open_error = i == 0 ? -EIO : 0;
    }
    cr_expect_not_null(strstr(log_take(), "namespace.refused namespace=bad"));
}

/* Lanes. */

Test(session, lane_is_ready_when_its_client_gets_it)
{
    const int client = client_open();
    const uint64_t fds_before = process_count(getpid()).fds;
    const struct client_lane lane = client_lane_open(client);
    cr_assert_eq(engine.lanes, 1);
    cr_expect_eq(engine.lane->lane_id, lane.lane_id);
    /* The client's two, and the broker's end of the socket. */
    cr_expect_eq(process_count(getpid()).fds, fds_before + 3);

    struct lane_map map;
    cr_assert_eq(lane_open(&map, lane.fd), 0);
    cr_expect_eq(map.shm->header.lane_id, lane.lane_id);
    cr_expect_eq(atom_load_relaxed(&map.shm->parked), 1);
    cr_expect_eq(atom_load_relaxed(&map.shm->epoch), directory()->header.epoch);
    lane_publish(&map, 64);
    cr_expect_eq(lane_engine_tail(&engine.lane->map), 64);
    cr_expect_eq(wake_ring(lane.socket), 0);
    struct pollfd look = {.fd = engine.lane->socket, .events = POLLIN};
    cr_expect_eq(poll(&look, 1, 0), 1);
    lane_close(&map);

    const struct lane_record_shm *record = engine.lane->record;
    cr_expect_eq(atom_load_relaxed(&record->session_id), engine.client->session_id);
    cr_expect_eq(atom_load_relaxed(&record->pid), (uint64_t)getpid());
    cr_expect_neq(atom_load_relaxed(&record->start_time), 0);
    cr_expect_neq(atom_load_relaxed(&record->token), 0);
    client_lane_drop(&lane);
    close(client);
    pump();
    cr_expect_eq(records_in_use(), 0);
}

Test(session, lane_is_given_back)
{
    const int client = client_open();
    const struct client_lane first = client_lane_open(client);
    const struct client_lane second = client_lane_open(client);
    cr_expect_neq(first.lane_id, second.lane_id);
    cr_expect_eq(records_in_use(), 2);

    const union control_message close_first = lane_message(CONTROL_LANE_CLOSE, 77, first.lane_id);
    say(client, &close_first);
    pump_control();
    union control_message none;
    cr_expect_eq(control_receive(client, &none, NULL, 0), -EAGAIN); /* the engine is not done */
    cr_expect_eq(records_in_use(), 2);
    pump();
    const union control_message answer = answer_take(client, CONTROL_LANE_CLOSED, 77, NULL, 0);
    cr_expect_eq(answer.lane.lane_id, first.lane_id);
    cr_expect_eq(records_in_use(), 1);
    const struct session *session = engine.client->session;
    cr_expect_eq(session->lane_count, 1);
    cr_expect_eq(session->sq_bytes, SQ_BYTES_MIN);
    cr_expect_eq(wake_drain(first.socket), -EPIPE);
    cr_expect_eq(wake_drain(second.socket), 0);
    client_lane_drop(&first);
    client_lane_drop(&second);
    close(client);
    pump();
}

/* Also after one that died in the middle of a unit, or of a stream. */
Test(session, lane_finds_nothing_of_the_one_before)
{
    const int client = client_open();
    const struct client_lane first = client_lane_open(client);
    struct lane_record_shm *record = engine.lane->record;
    atom_store_relaxed(&record->head, 64);
    atom_store_relaxed(&record->intent_valid, INTENT_VALID);
    atom_store_relaxed(&record->stream_topic, 1);
    const union control_message close_first = lane_message(CONTROL_LANE_CLOSE, 77, first.lane_id);
    say(client, &close_first);
    pump();
    answer_take(client, CONTROL_LANE_CLOSED, 77, NULL, 0);
    cr_expect_eq(atom_load_relaxed(&record->stream_topic), 0);
    const struct client_lane second = client_lane_open(client);
    cr_assert_eq(engine.lane->record, record);
    cr_expect_eq(atom_load_relaxed(&record->head), 0);
    cr_expect_eq(atom_load_relaxed(&record->intent_valid), INTENT_NONE);
    cr_expect_eq(atom_load_relaxed(&record->stream_topic), 0);
    client_lane_drop(&first);
    client_lane_drop(&second);
    close(client);
    pump();
}

Test(session, lanes_that_are_used_up_are_an_answer)
{
    const int client = client_open();
    const int other = client_open();
    struct client_lane lanes[LANES_MAX];
    for (int i = 0; i < LANES_MAX; i++) {
        lanes[i] = client_lane_open(i % 2 == 0 ? client : other);
    }
    const union control_message open = lane_message(CONTROL_LANE_OPEN, 43, SQ_BYTES_MIN);
    say(other, &open);
    pump();
    error_take(other, 43, -ENOSPC, "--lanes");

    const union control_message close_one = lane_message(CONTROL_LANE_CLOSE, 44, lanes[0].lane_id);
    say(client, &close_one);
    pump();
    answer_take(client, CONTROL_LANE_CLOSED, 44, NULL, 0);
    client_lane_drop(&lanes[0]);
    lanes[0] = client_lane_open(other); /* the session that was refused goes on */
    cr_expect_eq(records_in_use(), LANES_MAX);
    for (int i = 0; i < LANES_MAX; i++) {
        client_lane_drop(&lanes[i]);
    }
    close(client);
    close(other);
    pump();
    cr_expect_eq(records_in_use(), 0);
}

Test(session, lane_sizes_are_checked)
{
    static const uint64_t sizes[] = {
        0,
        1,
        SQ_BYTES_MIN / 2,
        SQ_BYTES_MIN + 1,
        SQ_BYTES_MIN * 3,
        SQ_BYTES_MAX + 1,
        SQ_BYTES_MAX * 2,
        UINT64_C(1) << 63,
        UINT64_MAX,
    };
    const int client = client_open();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const union control_message open = lane_message(CONTROL_LANE_OPEN, i, sizes[i]);
        say(client, &open);
        pump();
        error_take(client, i, -EINVAL, "power of two");
    }
    const struct client_lane lane = client_lane_open(client);
    client_lane_drop(&lane);
    close(client);
    pump();
}

Test(session, one_session_cannot_take_everything)
{
    const int client = client_open();
    struct session *session = engine.client->session;
    const union control_message open = lane_message(CONTROL_LANE_OPEN, 45, SQ_BYTES_MIN);
    session->sq_bytes = SESSION_SQ_BYTES_MAX - SQ_BYTES_MIN + 1; /* as if it had such lanes */
    say(client, &open);
    pump();
    error_take(client, 45, -ENOSPC, "over the limit");
    session->sq_bytes = 0;
    session->lane_count = SESSION_LANES_MAX;
    say(client, &open);
    pump();
    error_take(client, 45, -ENOSPC, "1024 lanes");
    session->lane_count = 0;
    cr_expect_eq(records_in_use(), 0);
    close(client);
    pump();
}

Test(session, no_descriptors_left_is_an_answer)
{
    const int client = client_open();
    const union control_message open = lane_message(CONTROL_LANE_OPEN, 46, SQ_BYTES_MIN);
    union control_message pins;
    control_begin(&pins, CONTROL_PINS_OPEN, sizeof pins.header, 47);
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const int next = dup(0);
    close(next);
    say(client, &open);
    say(client, &pins);
    for (rlim_t room = 0; room <= 3; room++) { /* one more step succeeds each time */
        const struct rlimit tight = {.rlim_cur = (rlim_t)next + room, .rlim_max = limit.rlim_max};
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
        if (room > 0) {
            say(client, &open);
        }
        if (room == 1) {
            say(client, &pins);
        }
        pump();
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        if (room < 3) {
            error_take(client, 46, -EMFILE, "cannot make another lane");
        }
        if (room <= 1) {
            error_take(client, 47, -EMFILE, "pins file");
            cr_expect_not(pins_exist(engine.client->session_id));
        }
    }
    int fds[2];
    answer_take(client, CONTROL_LANE_OPENED, 46, fds, 2);
    fds_close(fds, 2);
    cr_expect_eq(records_in_use(), 1);
    close(client);
    pump();
}

Test(session, connection_without_descriptors_for_it_is_refused)
{
    struct rlimit limit;
    int ends[2];
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    const struct rlimit tight = {.rlim_cur = (rlim_t)ends[1] + 1, .rlim_max = limit.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
    session_set_accept(&set, ends[0], stage_now_ns);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    error_take(ends[1], 0, -EMFILE, "cannot watch process");
    cr_expect(has_ended(ends[1]));
    close(ends[1]);
    cr_expect_eq(set.count, 0);
}

/* Pins. */

Test(session, pins_file_is_the_sessions_own_and_goes_with_it)
{
    int fd;
    const int client = client_open();
    const uint64_t session_id = engine.client->session_id;
    union control_message pins;
    control_begin(&pins, CONTROL_PINS_OPEN, sizeof pins.header, 48);
    say(client, &pins);
    pump_control();
    union control_message none;
    cr_expect_eq(control_receive(client, &none, NULL, 0), -EAGAIN); /* the engine does not look */
    pump();
    answer_take(client, CONTROL_PINS_OPENED, 48, &fd, 1);
    cr_expect_eq(engine.taken[MAIL_PINS_ATTACH], 1);
    cr_expect(pins_exist(session_id));
    struct stat status;
    cr_assert_eq(fstat(fd, &status), 0);
    cr_expect_eq(status.st_size, sizeof(struct pins_shm));
    cr_expect_eq(status.st_mode & 0777, 0600);
    cr_expect_eq(status.st_blocks * 512, sizeof(struct pins_shm)); /* no SIGBUS later */

    struct mapping mapping;
    cr_assert_eq(mapping_open(&mapping, fd, sizeof(struct pins_shm), true), 0);
    atom_store_relaxed(&((struct pins_shm *)mapping.base)->pin[5], 1234);
    uint64_t seen = 0;
    cr_assert_eq(pread(engine.client->pins_fd, &seen, sizeof seen, 5 * sizeof seen), sizeof seen);
    cr_expect_eq(seen, 1234);
    cr_assert_eq(fcntl(fd, F_SETFL, O_APPEND), 0);
    cr_expect_eq(fcntl(engine.client->pins_fd, F_GETFL) & O_APPEND, 0);
    mapping_close(&mapping);
    close(fd);
    close(client);
    pump();
    cr_expect_not(pins_exist(session_id));
}

/* Ends. */

Test(session, what_the_engine_has_stays_until_it_lets_go)
{
    const int client = client_open();
    const struct client_lane first = client_lane_open(client);
    const struct client_lane second = client_lane_open(client);
    const union control_message close_first = lane_message(CONTROL_LANE_CLOSE, 53, first.lane_id);
    say(client, &close_first);
    close(client);
    pump_control();
    cr_expect_eq(space->sessions_open, 0);
    cr_expect_eq(set.count, 1);
    cr_expect_eq(records_in_use(), 2);
    cr_expect_eq(wake_drain(first.socket), 0); /* both lanes still work for the engine */
    cr_expect_eq(wake_drain(second.socket), 0);
    const uint64_t tail = lane_engine_tail(&engine.lane->map);
    cr_expect_eq(tail, 0);
    pump(); /* MAIL_LANE_CLOSED of the one and MAIL_CLIENT_CLOSED, in one go */
    cr_expect_eq(engine.taken[MAIL_LANE_CLOSE], 1);
    cr_expect_eq(engine.taken[MAIL_CLIENT_CLOSE], 1);
    cr_expect_eq(set.count, 0);
    cr_expect_eq(records_in_use(), 0);
    cr_expect_eq(wake_drain(first.socket), -EPIPE);
    cr_expect_eq(wake_drain(second.socket), -EPIPE);
    client_lane_drop(&first);
    client_lane_drop(&second);
}

Test(session, muted_clients_are_not_heard_but_what_was_begun_is_answered)
{
    const int client = client_open();
    const struct client_lane lane = client_lane_open(client);
    const union control_message close_lane = lane_message(CONTROL_LANE_CLOSE, 54, lane.lane_id);
    const union control_message open = lane_message(CONTROL_LANE_OPEN, 55, SQ_BYTES_MIN);
    say(client, &close_lane);
    pump_control();
    session_set_mute(&set);
    say(client, &open);
    pump();
    answer_take(client, CONTROL_LANE_CLOSED, 54, NULL, 0);
    union control_message none;
    cr_expect_eq(control_receive(client, &none, NULL, 0), -EAGAIN);
    cr_expect_eq(records_in_use(), 0);
    client_lane_drop(&lane);
    close(client);
}

Test(session, everything_open_at_the_end_is_freed)
{
    int fd;
    const int silent = client_connect();
    const int client = client_open();
    const int closing = client_open();
    const struct client_lane lane = client_lane_open(client);
    const struct client_lane closing_lane = client_lane_open(closing);
    union control_message pins;
    control_begin(&pins, CONTROL_PINS_OPEN, sizeof pins.header, 56);
    say(client, &pins);
    pump();
    answer_take(client, CONTROL_PINS_OPENED, 56, &fd, 1);
    close(fd);
    close(closing);
    pump_control(); /* the engine does not answer any more */
    cr_expect_eq(set.count, 3);
    session_set_deinit(&set);
    cr_expect(has_ended(silent));
    cr_expect(has_ended(client));
    cr_expect_eq(wake_drain(lane.socket), -EPIPE);
    cr_expect_eq(wake_drain(closing_lane.socket), -EPIPE);
    client_lane_drop(&lane);
    client_lane_drop(&closing_lane);
    close(silent);
    close(client);
}

Test(session, end_is_the_end_although_a_forked_child_holds_the_socket)
{
    const int client = client_open();
    const pid_t child = fork(); /* of the program that the broker is embedded in */
    cr_assert_geq(child, 0);
    if (child == 0) {
        alarm(CHILD_SECONDS);
        pause();
    }
    const union control_message wrong = lane_message(CONTROL_LANE_CLOSE, 57, 1);
    say(client, &wrong);
    pump();
    error_take(client, 57, -EPROTO, "not an open lane");
    cr_expect_eq(set.count, 0);
    close(client);
    cr_expect_eq(control_loop_step(&loop, 0), 0); /* hears nothing of it any more */
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

Test(session, pins_that_nobody_waits_for_any_more_are_freed)
{
    union control_message pins;
    control_begin(&pins, CONTROL_PINS_OPEN, sizeof pins.header, 58);
    const int client = client_open();
    say(client, &pins);
    close(client);
    pump_control(); /* the request and the end, before the engine looks */
    cr_expect_eq(space->sessions_open, 0);
    cr_expect_eq(set.count, 1);
    pump();
    cr_expect_eq(set.count, 0);

    const int last = client_open();
    say(last, &pins);
    pump_control();
    session_set_deinit(&set); /* nor does the engine ever answer */
    close(last);
}
