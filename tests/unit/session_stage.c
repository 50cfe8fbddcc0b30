/* Session stage: see session_stage.h. */
#include "tests/unit/session_stage.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shm/ensure.h"
#include "tests/support/process.h"
#include "tests/support/scratch.h"
#include "tests/unit/maps.h"

enum { LOG_BYTES = 64 * 1024 };

struct config config;
struct run_dir run_dir;
struct namespace_set namespaces;
struct namespace *space;
struct control_loop loop;
struct mailbox mailbox;
struct fake_engine engine;
struct session_set set;
static struct log broker_log;
static char scratch[SCRATCH_PATH_BYTES];
uint64_t stage_now_ns;
static int log_pipe[2];
static struct process_counts before;

static void mailbox_fn(struct control_source *source)
{
    (void)source;
    struct mail *mail = mailbox_take(&mailbox);
    while (mail != NULL) {
        const struct mail *taken = mail;
        mail = mail->next;
        if (taken->kind == MAIL_JOB_DONE || taken->kind == MAIL_STORE_CLOSED ||
            taken->kind == MAIL_STORE_SET_DONE) {
            namespace_set_mail(&namespaces, taken);
        } else {
            session_set_mail(&set, taken);
        }
    }
}

static struct control_source mailbox_source = {.fn = mailbox_fn};

static void parts_begin(void)
{
    struct fault fault;
    cr_assert_eq(run_dir_open(&run_dir, &config, &fault), 0, "%s", fault.text);
    cr_assert_eq(control_loop_init(&loop), 0);
    cr_assert_eq(mailbox_init(&mailbox), 0);
    mailbox_source.added = false;
    cr_assert_eq(control_loop_add(&loop, &mailbox_source, mailbox_fd(&mailbox)), 0);
    fake_engine_init(&engine, &mailbox);
    namespace_set_init(&namespaces, &config, &run_dir, &mailbox, &broker_log);
    session_set_init(&set, &loop, &namespaces, &broker_log);
    namespace_set_add_engine(&namespaces, &engine.mailbox);
    cr_assert_eq(namespace_set_start(&namespaces, &fault), 0, "%s", fault.text);
    cr_assert_eq(namespace_set_find(&namespaces, "default", 7, &space, &fault), NAMESPACE_READY);
    (void)log_take();
}

static void parts_end(void)
{
    session_set_deinit(&set);
    ensure(namespace_set_deinit(&namespaces) == 0);
    fake_engine_deinit(&engine);
    mailbox_deinit(&mailbox);
    control_loop_deinit(&loop);
    run_dir_close(&run_dir);
}

void stage_restart(void)
{
    parts_end();
    parts_begin();
}

void stage_begin(void)
{
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
    snprintf(config.data_dir, sizeof config.data_dir, "%s/data", scratch);
    fake_script = (struct fake_script){0};
    cr_assert_eq(pipe2(log_pipe, O_CLOEXEC | O_NONBLOCK), 0);
    log_init(&broker_log, log_pipe[1], false);
    broker_log.window_ns = 0; /* nothing is suppressed */
    before = process_count(getpid());
    parts_begin();
    stage_now_ns = 1;
}

void stage_end(void)
{
    parts_end();
    log_deinit(&broker_log);
    /* Not Criterion's assertions: in a teardown only a crash fails the test. */
    ensure(process_count(getpid()).fds == before.fds);
    ensure(maps_of(scratch) == 0 && maps_of(MAPS_LANE) == 0);
    ensure(access(config.run_dir, F_OK) != 0);
}

const char *log_take(void)
{
    static char text[LOG_BYTES];
    const ssize_t got = read(log_pipe[0], text, sizeof text - 1);
    text[got > 0 ? got : 0] = '\0';
    return text;
}

/* The control thread and the engine do all they can. */
void pump(void)
{
    do {
        while (control_loop_step(&loop, 0) == 1) {
        }
        fake_engine_run(&engine);
    } while (mailbox_pending(&mailbox));
}

/* The control thread does all it can, the engine nothing. */
void pump_control(void)
{
    while (control_loop_step(&loop, 0) == 1) {
    }
}

void pump_jobs(void)
{
    pump();
    while (namespaces.jobs > 0) {
        struct pollfd news = {.fd = mailbox_fd(&mailbox), .events = POLLIN};
        cr_assert_eq(poll(&news, 1, 20000), 1);
        pump();
    }
}

const struct directory_shm *directory(void)
{
    return space->regions.directory.base;
}

/* A client's end of a new connection. */
int client_connect(void)
{
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    session_set_accept(&set, ends[0], stage_now_ns);
    return ends[1];
}

union control_message hello_make(const char *namespace_key)
{
    union control_message message;
    control_begin(&message, CONTROL_HELLO, sizeof message.hello, 41);
    message.hello.digest = layout_digest();
    message.hello.namespace_bytes = (uint32_t)strlen(namespace_key);
    memcpy(message.hello.namespace_key, namespace_key, strlen(namespace_key));
    return message;
}

union control_message lane_message(enum control_kind kind, uint64_t id, uint64_t value)
{
    union control_message message;
    control_begin(&message, kind, sizeof message.lane, id);
    message.lane.lane_id = value;
    message.lane.sq_bytes = value;
    return message;
}

void say(int client, const union control_message *message)
{
    cr_assert_eq(control_send(client, message, NULL, 0), 0);
}

/* The answer of that kind and id, with its descriptors. */
union control_message answer_take(int client, enum control_kind kind, uint64_t id, int *fds,
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
void error_take(int client, uint64_t id, int error, const char *part)
{
    const union control_message answer = answer_take(client, CONTROL_ERROR, id, NULL, 0);
    cr_expect_eq(answer.header.error, error, "got %s", strerror(-answer.header.error));
    cr_expect_not_null(strstr(answer.error.text, part), "got: %s", answer.error.text);
}

bool has_ended(int client)
{
    union control_message answer;
    return control_receive(client, &answer, NULL, 0) == -EPIPE;
}

void fds_close(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(close(fds[i]), 0);
    }
}

/* A connection that has been welcomed. */
int client_open(void)
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

struct client_lane client_lane_open(int client)
{
    int fds[2];
    const union control_message open = lane_message(CONTROL_LANE_OPEN, 42, SQ_BYTES_MIN);
    say(client, &open);
    pump();
    const union control_message answer = answer_take(client, CONTROL_LANE_OPENED, 42, fds, 2);
    cr_assert_eq(answer.lane.sq_bytes, SQ_BYTES_MIN);
    return (struct client_lane){answer.lane.lane_id, fds[0], fds[1]};
}

void client_lane_drop(const struct client_lane *lane)
{
    close(lane->fd);
    close(lane->socket);
}

unsigned records_in_use(void)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < LANES_MAX; i++) {
        count += atom_load_relaxed(&ledger_lane(space->regions.ledger.base, i)->lane_id) != 0;
    }
    return count;
}

bool pins_exist(uint64_t session_id)
{
    char path[CONFIG_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/default/pins-%llx", config.run_dir,
             (unsigned long long)session_id);
    return access(path, F_OK) == 0;
}
