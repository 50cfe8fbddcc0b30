/* Broker: see broker.h. */
#include "broker/broker.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker/clock.h"
#include "broker/control_loop.h"
#include "broker/engine.h"
#include "broker/listener.h"
#include "broker/mailbox.h"
#include "broker/namespace_set.h"
#include "broker/run_dir.h"
#include "broker/session_set.h"
#include "broker/thread.h"
#include "shm/cleanup.h"
#include "shm/ensure.h"
#include "shm/quantity.h"

/* Without descriptors or memory for a connection, the listener is left alone so long. */
#define LISTENER_PAUSE_NS (100 * NS_PER_MS)

struct broker {
    struct config config;
    struct log *log;
    struct run_dir run_dir;
    struct listener listener;
    struct engine *engines[CONFIG_ENGINES_MAX];
    uint32_t engines_count;
    int stop_fd;   /* eventfd: the owner's word to the control thread */
    int failed_fd; /* eventfd: the control thread's word to the owner */
    pthread_t thread;
    bool thread_started;

    /* The control thread's while it runs. */
    struct control_loop loop;
    struct mailbox mailbox;
    struct namespace_set namespaces;
    struct session_set sessions;
    struct control_source stop_source;
    struct control_source mailbox_source;
    struct control_source listener_source;
    uint64_t listener_resume_ns; /* 0: it is not paused */
    struct mail stop_mails[CONFIG_ENGINES_MAX];
    bool stopping;            /* MAIL_STOP was posted */
    bool failed;              /* an engine has ended by itself */
    uint32_t engines_running; /* have not told that they ended */
};

static void eventfd_set(int fd)
{
    const uint64_t one = 1;
    ensure(write(fd, &one, sizeof one) == sizeof one);
}

/* The control thread. */

static void listener_pause(struct broker *broker)
{
    control_loop_remove(&broker->loop, &broker->listener_source);
    broker->listener_resume_ns = clock_ns(CLOCK_MONOTONIC) + LISTENER_PAUSE_NS;
}

static void listener_readable(struct control_source *source)
{
    struct broker *broker = list_entry(source, struct broker, listener_source);
    int connection;
    const int outcome = listener_accept(&broker->listener, &connection);
    if (outcome == 0) {
        session_set_accept(&broker->sessions, connection, clock_ns(CLOCK_MONOTONIC));
    } else if (outcome == LISTENER_REFUSED) {
        broker->sessions.refused++;
        log_warning(broker->log, "listener.refused", "reason=%s",
                    LOG_QUOTE("no file descriptors left: raise the limit (ulimit -n)"));
    } else if (outcome == LISTENER_EXHAUSTED) {
        log_warning(broker->log, "listener.paused", "reason=%s",
                    LOG_QUOTE("no file descriptors or memory left for a connection"));
        listener_pause(broker);
    }
}

/* No client is heard any more. */
static void mute(struct broker *broker)
{
    control_loop_remove(&broker->loop, &broker->listener_source);
    broker->listener_resume_ns = 0;
    listener_shut(&broker->listener);
    session_set_mute(&broker->sessions);
}

static void stop_begin(struct broker *broker)
{
    if (broker->stopping) {
        return;
    }
    broker->stopping = true;
    broker->namespaces.stopping = true;
    mute(broker);
    for (uint32_t at = 0; at < broker->engines_count; at++) {
        broker->stop_mails[at] = (struct mail){.kind = MAIL_STOP, .subject = broker->engines[at]};
        mailbox_post(engine_mailbox(broker->engines[at]), &broker->stop_mails[at]);
    }
}

static void stop_readable(struct control_source *source)
{
    struct broker *broker = list_entry(source, struct broker, stop_source);
    control_loop_remove(&broker->loop, source); /* said once */
    stop_begin(broker);
}

/* An engine that ends without having been told to takes its stores with it: so the broker ends. */
static void engine_stopped(struct broker *broker)
{
    broker->engines_running--;
    if (!broker->stopping) {
        broker->failed = true;
        log_error(broker->log, "broker.failed", "reason=%s",
                  LOG_QUOTE("an engine has ended by itself"));
        stop_begin(broker);
    }
}

static void mail_take(struct broker *broker, const struct mail *mail)
{
    switch (mail->kind) {
    case MAIL_ENGINE_STOPPED:
        engine_stopped(broker);
        return;
    case MAIL_STORE_SET_DONE:
    case MAIL_STORE_CLOSED:
    case MAIL_JOB_DONE:
        namespace_set_mail(&broker->namespaces, mail);
        return;
    case MAIL_LANE_CLOSED:
    case MAIL_PINS_ATTACHED:
    case MAIL_CLIENT_CLOSED:
    case MAIL_CLIENT_HOSTILE:
        session_set_mail(&broker->sessions, mail);
        return;
    case MAIL_STORE_ATTACH:
    case MAIL_STORE_SET:
    case MAIL_STORE_CLOSE:
    case MAIL_CLIENT_ATTACH:
    case MAIL_LANE_ATTACH:
    case MAIL_LANE_CLOSE:
    case MAIL_PINS_ATTACH:
    case MAIL_CLIENT_CLOSE:
    case MAIL_STOP:
    default:
        ensure(!"mail for an engine");
    }
}

static void mailbox_readable(struct control_source *source)
{
    struct broker *broker = list_entry(source, struct broker, mailbox_source);
    struct mail *mail = mailbox_take(&broker->mailbox);
    while (mail != NULL) {
        const struct mail *taken = mail;
        mail = mail->next;
        mail_take(broker, taken);
    }
}

/* Does what is due and returns how long the control thread may sleep. */
static int timers_run(struct broker *broker)
{
    const uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
    uint64_t next_ns = session_set_expire(&broker->sessions, now_ns);
    if (broker->listener_resume_ns != 0 && broker->listener_resume_ns <= now_ns) {
        broker->listener_resume_ns = 0;
        if (control_loop_add(&broker->loop, &broker->listener_source, broker->listener.socket) !=
            0) {
            listener_pause(broker);
        }
    }
    if (broker->listener_resume_ns != 0 && broker->listener_resume_ns < next_ns) {
        next_ns = broker->listener_resume_ns;
    }
    if (next_ns == UINT64_MAX) {
        return -1;
    }
    return (int)((next_ns - now_ns) / NS_PER_MS) + 1;
}

/* Until all engines have ended and no namespace is being opened. */
static void control_run(struct broker *broker)
{
    while (!broker->stopping || broker->engines_running > 0 || broker->namespaces.jobs > 0) {
        const int timeout_ms = timers_run(broker);
        control_loop_step(&broker->loop, timeout_ms);
        session_set_publish(&broker->sessions);
    }
    if (broker->failed) {
        eventfd_set(broker->failed_fd);
    }
}

static void *control_main(void *argument)
{
    control_run(argument);
    return NULL;
}

static int control_start(struct broker *broker)
{
    const int error = thread_start(&broker->thread, "tusk-control", control_main, broker);
    broker->thread_started = error == 0;
    return error;
}

/* The owner's thread. */

static int eventfds_open(struct broker *broker)
{
    broker->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    broker->failed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return broker->stop_fd >= 0 && broker->failed_fd >= 0 ? 0 : -errno;
}

static struct broker *broker_new(const struct config *config, struct log *log)
{
    struct broker *broker = calloc(1, sizeof *broker);
    if (broker != NULL) {
        broker->config = *config;
        broker->log = log;
        broker->stop_fd = -1;
        broker->failed_fd = -1;
        broker->loop.epoll = -1;
        broker->mailbox.fd = -1;
        broker->run_dir.fd = -1;
        broker->listener.lock = -1;
        broker->stop_source.fn = stop_readable;
        broker->mailbox_source.fn = mailbox_readable;
        broker->listener_source.fn = listener_readable;
    }
    return broker;
}

/* Takes a broker apart, however far its start came. */
static int broker_free(struct broker *broker)
{
    if (broker->thread_started) {
        eventfd_set(broker->stop_fd);
        pthread_join(broker->thread, NULL);
    } else if (broker->engines_count > 0) {
        stop_begin(broker);
        control_run(broker);
    }
    for (uint32_t at = 0; at < broker->engines_count; at++) {
        engine_free(broker->engines[at]);
    }
    control_loop_remove(&broker->loop, &broker->listener_source);
    control_loop_remove(&broker->loop, &broker->mailbox_source);
    control_loop_remove(&broker->loop, &broker->stop_source);
    session_set_deinit(&broker->sessions);
    const int result = namespace_set_deinit(&broker->namespaces);
    run_dir_close(&broker->run_dir); /* it may lie in the directory of the socket */
    listener_close(&broker->listener);
    mailbox_deinit(&broker->mailbox);
    control_loop_deinit(&broker->loop);
    if (broker->stop_fd >= 0) {
        close(broker->stop_fd);
    }
    if (broker->failed_fd >= 0) {
        close(broker->failed_fd);
    }
    free(broker);
    return result;
}

/* What the control thread sleeps on, before there is an engine. */
static int control_prepare(struct broker *broker)
{
    int error = control_loop_init(&broker->loop);
    if (error == 0) {
        error = mailbox_init(&broker->mailbox);
    }
    if (error == 0) {
        error = eventfds_open(broker);
    }
    if (error == 0) {
        error =
            control_loop_add(&broker->loop, &broker->mailbox_source, mailbox_fd(&broker->mailbox));
    }
    if (error == 0) {
        error = control_loop_add(&broker->loop, &broker->stop_source, broker->stop_fd);
    }
    return error;
}

static int engines_start(struct broker *broker, struct fault *fault)
{
    struct engine_setup setup = {
        .config = &broker->config, .log = broker->log, .control = &broker->mailbox};
    while (broker->engines_count < broker->config.engines) {
        setup.number = broker->engines_count;
        struct engine *engine;
        const int error = engine_start(&engine, &setup, fault);
        if (error != 0) {
            return error;
        }
        broker->engines[broker->engines_count++] = engine;
        broker->engines_running++;
        namespace_set_add_engine(&broker->namespaces, engine_mailbox(engine));
    }
    return 0;
}

/* From here on clients come in. */
static int service_open(struct broker *broker, struct fault *fault)
{
    int error = listener_open(&broker->listener, &broker->config, fault);
    if (error != 0) {
        return error;
    }
    error = control_loop_add(&broker->loop, &broker->listener_source, broker->listener.socket);
    if (error == 0) {
        error = control_start(broker);
    }
    if (error != 0) {
        return fault_set(fault, error, "cannot start the control thread: %s", strerror(-error));
    }
    return 0;
}

static int broker_assemble(struct broker *broker, struct fault *fault)
{
    namespace_set_init(&broker->namespaces, &broker->config, &broker->run_dir, &broker->mailbox,
                       broker->log);
    session_set_init(&broker->sessions, &broker->loop, &broker->namespaces, broker->log);
    int error = control_prepare(broker);
    if (error != 0) {
        return fault_set(fault, error, "cannot prepare the control thread: %s", strerror(-error));
    }
    /* The socket's directory first: the run directory may be in it. */
    error = listener_claim(&broker->listener, &broker->config, fault);
    if (error == 0) {
        error = run_dir_open(&broker->run_dir, &broker->config, fault);
    }
    if (error == 0) {
        error = engines_start(broker, fault);
    }
    if (error == 0) {
        error = namespace_set_start(&broker->namespaces, fault);
    }
    if (error == 0) {
        error = service_open(broker, fault);
    }
    return error;
}

int broker_start(struct broker **out, const struct config *config, struct log *log,
                 struct fault *fault)
{
    struct broker *broker = broker_new(config, log);
    if (broker == NULL) {
        return fault_set(fault, -ENOMEM, "no memory for a broker");
    }
    const int error = broker_assemble(broker, fault);
    if (error != 0) {
        broker_free(broker);
        return error;
    }
    log_info(broker->log, "broker.started",
             "pid=%d socket=%s run_dir=%s engines=%" PRIu32 " lanes=%" PRIu64, getpid(),
             LOG_QUOTE(broker->config.socket_path), LOG_QUOTE(broker->config.run_dir),
             broker->engines_count, broker->config.lanes_max);
    *out = broker;
    return 0;
}

int broker_wait_fd(const struct broker *broker)
{
    return broker->failed_fd;
}

int broker_stop(struct broker *broker)
{
    log_info(broker->log, "broker.stopping", "pid=%d", getpid());
    return broker_free(broker);
}
