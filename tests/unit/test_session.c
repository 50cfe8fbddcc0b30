/*
 * Proves what a client gets over its control connection, that whatever it says out of form or turn
 * costs only its own session, and that nothing of a session is left afterwards.
 * How: real sockets, real regions on tmpfs, the control thread's loop stepped by hand, a clock that
 * the test moves, and an engine that only answers mail (fake_engine.h).
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/quantity.h"
#include "broker/session.h"
#include "shm/control.h"
#include "shm/directory.h"
#include "shm/pins.h"
#include "shm/wake.h"
#include "tests/support/process.h"
#include "tests/support/scratch.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/maps.h"

enum {
    LANES_MAX = 4,
    LOG_BYTES = 64 * 1024,
    GARBAGE_ROUNDS = 3000,
    MESSAGE_BYTES_MOST = 3 * CONTROL_MESSAGE_BYTES_MAX,
    FDS_PER_MESSAGE_MOST = 253,
};

static struct config config;
static struct run_dir run_dir;
static struct control_loop loop;
static struct mailbox mailbox;
static struct fake_engine engine;
static struct session_set set;
static struct log broker_log;
static char scratch[SCRATCH_PATH_BYTES];
static uint64_t now_ns;
static int log_pipe[2];
static struct process_counts before;

static void mailbox_fn(struct control_source *source)
{
    (void)source;
    struct mail *mail = mailbox_take(&mailbox);
    while (mail != NULL) {
        const struct mail *taken = mail;
        mail = mail->next;
        session_set_mail(&set, taken);
    }
}

static struct control_source mailbox_source = {.fn = mailbox_fn};

static void broker_begin(void)
{
    struct fault fault;
    scratch_on_tmpfs(scratch);
    config = (struct config){
        .chunk_bytes = CHUNK_BYTES_MIN,
        .arena_bytes = CONFIG_ARENA_BYTES_MIN,
        .arena_given = true,
        .topics_max = 8,
        .lanes_max = LANES_MAX,
        .persist_every = 7,
        .fsync = FSYNC_EACH,
    };
    snprintf(config.run_dir, sizeof config.run_dir, "%s/run", scratch);
    cr_assert_eq(pipe2(log_pipe, O_CLOEXEC | O_NONBLOCK), 0);
    log_init(&broker_log, log_pipe[1], false);
    broker_log.window_ns = 0; /* nothing is suppressed */
    before = process_count(getpid());
    cr_assert_eq(run_dir_open(&run_dir, &config, &fault), 0, "%s", fault.text);
    cr_assert_eq(run_dir_make_regions(&run_dir, &config, &broker_log, &fault), 0, "%s", fault.text);
    cr_assert_eq(control_loop_init(&loop), 0);
    cr_assert_eq(mailbox_init(&mailbox), 0);
    mailbox_source.added = false;
    cr_assert_eq(control_loop_add(&loop, &mailbox_source, mailbox_fd(&mailbox)), 0);
    fake_engine_init(&engine, &mailbox);
    cr_assert_eq(session_set_init(&set, &loop, &engine.mailbox, &run_dir, &broker_log), 0);
    now_ns = 1;
}

/* Every test ends with this: whatever it did, nothing is left. */
static void broker_end(void)
{
    session_set_deinit(&set);
    fake_engine_deinit(&engine);
    mailbox_deinit(&mailbox);
    control_loop_deinit(&loop);
    run_dir_close(&run_dir);
    const struct process_counts after = process_count(getpid());
    cr_expect_eq(after.fds, before.fds, "%d fds leaked", (int)(after.fds - before.fds));
    cr_expect_eq(maps_of(scratch) + maps_of(MAPS_LANE), 0, "mappings leaked");
    cr_expect_neq(access(config.run_dir, F_OK), 0, "the run directory is still there");
    log_deinit(&broker_log);
}

TestSuite(session, .init = broker_begin, .fini = broker_end, .timeout = 120);

static const char *log_take(void)
{
    static char text[LOG_BYTES];
    const ssize_t got = read(log_pipe[0], text, sizeof text - 1);
    text[got > 0 ? got : 0] = '\0';
    return text;
}

/* The control thread and the engine do all they can. */
static void pump(void)
{
    do {
        while (control_loop_step(&loop, 0) == 1) {
        }
        fake_engine_run(&engine);
    } while (mailbox_pending(&mailbox));
}

/* The control thread does all it can, the engine nothing. */
static void pump_control(void)
{
    while (control_loop_step(&loop, 0) == 1) {
    }
}

static const struct directory_shm *directory(void)
{
    return run_dir.directory.base;
}

/* A client's end of a new connection. */
static int client_connect(void)
{
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    session_set_accept(&set, ends[0], now_ns);
    return ends[1];
}

static union control_message hello_make(const char *namespace_key)
{
    union control_message message;
    control_begin(&message, CONTROL_HELLO, sizeof message.hello, 41);
    message.hello.digest = layout_digest();
    message.hello.namespace_bytes = (uint32_t)strlen(namespace_key);
    memcpy(message.hello.namespace_key, namespace_key, strlen(namespace_key));
    return message;
}

static union control_message lane_message(enum control_kind kind, uint64_t id, uint64_t value)
{
    union control_message message;
    control_begin(&message, kind, sizeof message.lane, id);
    message.lane.lane_id = value;
    message.lane.sq_bytes = value;
    return message;
}

static void say(int client, const union control_message *message)
{
    cr_assert_eq(control_send(client, message, NULL, 0), 0);
}

/* The answer of that kind and id, with its descriptors. */
static union control_message answer_take(int client, enum control_kind kind, uint64_t id, int *fds,
                                         size_t fd_count)
{
    union control_message answer;
    const int error = control_receive(client, &answer, fds, fd_count);
    cr_assert_eq(error, 0, "no answer: %s", strerror(-error));
    cr_assert_eq(answer.header.kind, kind, "got kind %d: %s", answer.header.kind,
                 answer.header.kind == CONTROL_ERROR ? answer.error.text : "");
    cr_assert_eq(answer.header.id, id);
    return answer;
}

/* An error of that number whose text contains that part. */
static void error_take(int client, uint64_t id, int error, const char *part)
{
    const union control_message answer = answer_take(client, CONTROL_ERROR, id, NULL, 0);
    cr_expect_eq(answer.header.error, error, "got %s", strerror(-answer.header.error));
    cr_expect_not_null(strstr(answer.error.text, part), "got: %s", answer.error.text);
}

static bool has_ended(int client)
{
    union control_message answer;
    return control_receive(client, &answer, NULL, 0) == -EPIPE;
}

static void fds_close(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(close(fds[i]), 0);
    }
}

/* A connection that has been welcomed. */
static int client_open(void)
{
    int fds[2];
    const int client = client_connect();
    const union control_message hello = hello_make("default");
    say(client, &hello);
    pump();
    answer_take(client, CONTROL_WELCOME, 41, fds, 2);
    fds_close(fds, 2);
    return client;
}

struct client_lane {
    uint64_t lane_id;
    int fd;
    int socket;
};

static struct client_lane client_lane_open(int client)
{
    int fds[2];
    const union control_message open = lane_message(CONTROL_LANE_OPEN, 42, SQ_BYTES_MIN);
    say(client, &open);
    pump();
    const union control_message answer = answer_take(client, CONTROL_LANE_OPENED, 42, fds, 2);
    cr_assert_eq(answer.lane.sq_bytes, SQ_BYTES_MIN);
    return (struct client_lane){answer.lane.lane_id, fds[0], fds[1]};
}

static void client_lane_drop(const struct client_lane *lane)
{
    close(lane->fd);
    close(lane->socket);
}

static unsigned records_in_use(void)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < LANES_MAX; i++) {
        count += atom_load_relaxed(&ledger_lane(run_dir.ledger.base, i)->lane_id) != 0;
    }
    return count;
}

static bool pins_exist(uint64_t session_id)
{
    char path[CONFIG_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/pins-%llx", config.run_dir, (unsigned long long)session_id);
    return access(path, F_OK) == 0;
}

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
            cr_expect_eq(seen->header.sync_each, 1);
            cr_expect_eq(seen->header.strict, 1);
            cr_expect_eq(seen->header.persist_every, 7);
            cr_expect_eq(seen->header.pid, (uint64_t)getpid());
        }
        mapping_close(&mapping);
    }
    fds_close(fds, 2);
    cr_assert_eq(engine.taken[MAIL_CLIENT_ATTACH], 1);
    cr_expect_eq(engine.client->session_id, answer.welcome.session_id);
    cr_expect_eq(engine.client->pid, getpid());
    cr_expect_eq(engine.client->uid, geteuid());
    counters_publish(&set.counters);
    struct counter_shm *sessions = directory_counter(run_dir.directory.base, COUNTER_SESSIONS);
    cr_expect_eq(atom_load_relaxed(&sessions->value), 1);
    close(client);
    pump();
    counters_publish(&set.counters);
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

Test(session, hello_for_another_namespace_is_refused)
{
    static const struct {
        const char *key;
        uint32_t bytes;
        int error;
        const char *part;
    } cases[] = {
        {"other", 5, -ENOENT, "asked for other"},
        {"defaul", 6, -ENOENT, "defaul"},
        {"default\n", 8, -ENOENT, "\\x0a"},
        {"default", 8, -ENOENT, "\\x00"},
        {"", NAMESPACE_KEY_BYTES_MAX + 1, -EINVAL, "1025 bytes"},
        {"", UINT32_MAX, -EINVAL, "expected at most 1024"},
        {"", NAMESPACE_KEY_BYTES_MAX, -ENOENT, "\\x00"},
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
    cr_expect_eq(wake_drain(first.socket), -EPIPE);
    cr_expect_eq(wake_drain(second.socket), 0);
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
        pump();
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        if (room < 3) {
            error_take(client, 46, -EMFILE, "cannot make another lane");
        }
        if (room == 0) {
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
    session_set_accept(&set, ends[0], now_ns);
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

/* What is out of turn or form. */

Test(session, messages_out_of_turn_end_the_session_that_sent_them)
{
    const int bystander = client_open();
    for (int open = 0; open <= 1; open++) {
        for (int kind = 0; kind <= CONTROL_ERROR + 1; kind++) {
            const bool in_turn = open ? kind == CONTROL_LANE_OPEN || kind == CONTROL_PINS_OPEN
                                      : kind == CONTROL_HELLO;
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

Test(session, requests_that_repeat_end_the_session)
{
    int fd;
    union control_message pins;
    control_begin(&pins, CONTROL_PINS_OPEN, sizeof pins.header, 48);
    int client = client_open();
    say(client, &pins);
    say(client, &pins);
    pump();
    answer_take(client, CONTROL_PINS_OPENED, 48, &fd, 1);
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

Test(session, lane_of_another_session_cannot_be_closed)
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

Test(session, messages_cut_anywhere_are_malformed)
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

Test(session, garbage_costs_only_the_session_that_sends_it)
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
                .kind = (uint16_t)(rand_r(&seed) % (CONTROL_ERROR + 2)),
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

Test(session, descriptors_that_a_client_sends_are_dropped)
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

Test(session, client_that_takes_no_answers_is_let_go)
{
    const int client = client_open();
    const union control_message open = lane_message(CONTROL_LANE_OPEN, 52, 1);
    int sent = 0;
    while (set.open_count == 1) {
        cr_assert_lt(sent, 100000, "the broker keeps on answering");
        sent += control_send(client, &open, NULL, 0) == 0;
        pump();
    }
    cr_expect_gt(sent, 10);
    cr_expect_eq(set.count, 0);
    close(client);
}

/* Time and numbers. */

Test(session, silent_connection_is_ended_in_time_and_only_that)
{
    const int open = client_open();
    const int first = client_connect();
    now_ns += NS_PER_MS;
    const int second = client_connect();
    cr_expect_eq(session_set_expire(&set, now_ns), GREETING_TIMEOUT_NS + 1);
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

Test(session, silent_connections_of_one_user_are_limited)
{
    static int clients[GREETING_PER_UID_MAX];
    for (int i = 0; i < GREETING_PER_UID_MAX; i++) {
        clients[i] = client_connect();
    }
    const int refused = client_connect();
    error_take(refused, 0, -EAGAIN, "try later");
    cr_expect(has_ended(refused));
    close(refused);

    const union control_message hello = hello_make("default");
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
    cr_expect_eq(set.open_count, 0);
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

Test(session, hostile_client_loses_its_session_and_the_log_says_why)
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
    counters_publish(&set.counters);
    struct counter_shm *count = directory_counter(run_dir.directory.base, COUNTER_SESSIONS_HOSTILE);
    cr_expect_eq(atom_load_relaxed(&count->value), 1);
    client_lane_drop(&lane);
    close(client);
    const struct client_lane other = client_lane_open(bystander);
    client_lane_drop(&other);
    close(bystander);
    pump();
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
