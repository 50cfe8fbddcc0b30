/* Broker: see broker.h. */
#include "broker/broker.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "broker/control_loop.h"
#include "broker/counters.h"
#include "broker/engine.h"
#include "broker/engine_store.h"
#include "broker/listener.h"
#include "broker/mailbox.h"
#include "broker/run_dir.h"
#include "broker/session_set.h"
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
    struct engine *engine;
    struct engine_store *store;
    int stop_fd;   /* eventfd: the owner's word to the control thread */
    int failed_fd; /* eventfd: the control thread's word to the owner */
    pthread_t thread;
    bool thread_started;

    /* The control thread's while it runs. */
    struct control_loop loop;
    struct mailbox mailbox;
    struct session_set sessions;
    struct control_source stop_source;
    struct control_source mailbox_source;
    struct control_source listener_source;
    uint64_t listener_resume_ns; /* 0: it is not paused */
    struct mail stop_mail;
    bool stopping; /* MAIL_STOP was posted */
    bool engine_stopped;
};

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 * NS_PER_MS + (uint64_t)now.tv_nsec;
}

static void eventfd_set(int fd)
{
    const uint64_t one = 1;
    ensure(write(fd, &one, sizeof one) == sizeof one);
}

/* The control thread. */

static void listener_pause(struct broker *broker)
{
    control_loop_remove(&broker->loop, &broker->listener_source);
    broker->listener_resume_ns = monotonic_ns() + LISTENER_PAUSE_NS;
}

static void listener_readable(struct control_source *source)
{
    struct broker *broker = list_entry(source, struct broker, listener_source);
    int connection;
    const int outcome = listener_accept(&broker->listener, &connection);
    if (outcome == 0) {
        session_set_accept(&broker->sessions, connection, monotonic_ns());
    } else if (outcome == LISTENER_REFUSED) {
        counter_add(&broker->sessions.counters, COUNTER_SESSIONS_REFUSED, 1);
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
    if (broker->stopping || broker->engine_stopped) {
        return;
    }
    broker->stopping = true;
    mute(broker);
    broker->stop_mail = (struct mail){.kind = MAIL_STOP, .subject = broker->engine};
    mailbox_post(engine_mailbox(broker->engine), &broker->stop_mail);
}

static void stop_readable(struct control_source *source)
{
    struct broker *broker = list_entry(source, struct broker, stop_source);
    control_loop_remove(&broker->loop, source); /* said once */
    stop_begin(broker);
}

static void mailbox_readable(struct control_source *source)
{
    struct broker *broker = list_entry(source, struct broker, mailbox_source);
    struct mail *mail = mailbox_take(&broker->mailbox);
    while (mail != NULL) {
        const struct mail *taken = mail;
        mail = mail->next;
        if (taken->kind == MAIL_ENGINE_STOPPED) {
            broker->engine_stopped = true;
        } else if (taken->kind != MAIL_STORE_CLOSED) {
            session_set_mail(&broker->sessions, taken);
        }
    }
}

/* Does what is due and returns how long the control thread may sleep. */
static int timers_run(struct broker *broker)
{
    const uint64_t now_ns = monotonic_ns();
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

static void control_run(struct broker *broker)
{
    while (!broker->engine_stopped) {
        const int timeout_ms = timers_run(broker);
        control_loop_step(&broker->loop, timeout_ms);
        counters_publish(&broker->sessions.counters);
    }
    if (!broker->stopping) {
        mute(broker);
        log_error(broker->log, "broker.failed", "reason=%s",
                  LOG_QUOTE("the engine has ended by itself"));
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
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&broker->thread, NULL, control_main, broker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0) {
        broker->thread_started = true;
        pthread_setname_np(broker->thread, "tusk-control");
    }
    return -error;
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
    int result = 0;
    if (broker->thread_started) {
        eventfd_set(broker->stop_fd);
        pthread_join(broker->thread, NULL);
    } else if (broker->engine != NULL) {
        stop_begin(broker);
        control_run(broker);
    }
    if (broker->engine != NULL) {
        engine_free(broker->engine);
    }
    if (broker->store != NULL) {
        result = broker->store->result;
        engine_store_free(broker->store);
    }
    control_loop_remove(&broker->loop, &broker->listener_source);
    control_loop_remove(&broker->loop, &broker->mailbox_source);
    control_loop_remove(&broker->loop, &broker->stop_source);
    session_set_deinit(&broker->sessions);
    listener_close(&broker->listener);
    run_dir_close(&broker->run_dir);
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

static int engine_prepare(struct broker *broker, struct fault *fault)
{
    const struct engine_setup setup = {
        .config = &broker->config, .log = broker->log, .control = &broker->mailbox};
    const struct engine_store_setup store = {
        .config = &broker->config,
        .log = broker->log,
        .directory = broker->run_dir.directory.base,
        .arena = broker->run_dir.arena,
    };
    int error = engine_start(&broker->engine, &setup, fault);
    if (error != 0) {
        broker->engine = NULL;
        return error;
    }
    error = engine_store_open(&broker->store, &store, fault);
    if (error != 0) {
        broker->store = NULL;
        return error;
    }
    mailbox_post(engine_mailbox(broker->engine), &broker->store->attach_mail);
    return 0;
}

/* From here on clients come in. */
static int service_open(struct broker *broker, struct fault *fault)
{
    int error = session_set_init(&broker->sessions, &broker->loop, engine_mailbox(broker->engine),
                                 broker->store, &broker->run_dir, broker->log);
    if (error == 0) {
        error = listener_open(&broker->listener, &broker->config, fault);
        if (error != 0) {
            return error;
        }
        error = control_loop_add(&broker->loop, &broker->listener_source, broker->listener.socket);
    }
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
        error = run_dir_make_regions(&broker->run_dir, &broker->config, broker->log, fault);
    }
    if (error == 0) {
        counters_describe(broker->run_dir.directory.base);
        error = engine_prepare(broker, fault);
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
    log_info(broker->log, "broker.started", "pid=%d socket=%s run_dir=%s arena=%s lanes=%" PRIu64,
             getpid(), LOG_QUOTE(broker->config.socket_path), LOG_QUOTE(broker->config.run_dir),
             SIZE_TEXT(broker->config.arena_bytes), broker->config.lanes_max);
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
