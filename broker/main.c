/*
 * tuskd: the broker as a process of its own: options, signals, limits, supervisors.
 * Runs on:    the main thread; the broker's threads inherit its signal mask.
 * Invariants: SIGTERM, SIGINT and SIGHUP end it cleanly: the broker drains, flushes, exit status 0.
 *             Clients can connect before the supervisor is told so. Exit statuses are those of
 *             sysexits.h; why it failed to start is one line on stderr.
 * Not here:   anything that an embedded broker needs as well (broker.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/config.h"
#include "broker/fault.h"
#include "broker/log.h"
#include "broker/notify.h"
#include "broker/options.h"
#include "shm/cleanup.h"
#include "shm/quantity.h"

/* Says why there is no broker; returns the exit status. */
static int refuse(const struct fault *fault, int status)
{
    fprintf(stderr, "tuskd: %s\n", fault->text);
    return status;
}

/* Blocks the signals that end the broker and returns a descriptor that tells of them, or -errno. */
static int signals_open(void)
{
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &ending, NULL);
    signal(SIGPIPE, SIG_IGN); /* a client's death is an answer, not an end */
    signal(SIGXFSZ, SIG_IGN); /* and so is a file that may not grow: -EFBIG */
    const int fd = signalfd(-1, &ending, SFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Every lane and session takes descriptors, and registered buffers are locked memory. */
static void limits_raise(void)
{
    static const int resources[] = {RLIMIT_NOFILE, RLIMIT_MEMLOCK};
    for (size_t at = 0; at < sizeof resources / sizeof resources[0]; at++) {
        struct rlimit limit;
        if (getrlimit(resources[at], &limit) == 0) {
            limit.rlim_cur = limit.rlim_max;
            (void)setrlimit(resources[at], &limit);
        }
    }
}

static void ready_tell(const struct options *options, struct log *log)
{
    const int fd = (int)options->ready_fd;
    if (fd != 0) {
        if (write(fd, "\n", 1) != 1) {
            log_warning(log, "broker.ready_fd_failed", "fd=%d error=%s", fd,
                        LOG_QUOTE(strerror(errno)));
        }
        if (fd > STDERR_FILENO) {
            close(fd);
        }
    }
    const int result = notify_send("READY=1");
    if (result < 0) {
        log_warning(log, "broker.notify_failed", "error=%s", LOG_QUOTE(strerror(-result)));
    }
}

/* The signal that ends the broker, or 0 when it has failed. */
static int end_wait(int signals, const struct broker *broker)
{
    struct pollfd waits[] = {{.fd = signals, .events = POLLIN},
                             {.fd = broker_wait_fd(broker), .events = POLLIN}};
    while (poll(waits, sizeof waits / sizeof waits[0], -1) < 0 && errno == EINTR) {
    }
    struct signalfd_siginfo signal_info;
    const bool by_signal =
        (waits[0].revents & POLLIN) != 0 && read(signals, &signal_info, sizeof signal_info) > 0;
    return by_signal ? (int)signal_info.ssi_signo : 0;
}

static int serve(const struct options *options, struct log *log)
{
    const struct config *const config = &options->config;
    struct fault fault = {0, ""};
    struct broker *broker;
    if (options->ready_fd != 0 && fcntl((int)options->ready_fd, F_GETFD) < 0) {
        fault_set(&fault, -EBADF, "command line: --ready-fd %d: not an open file descriptor",
                  (int)options->ready_fd);
        return refuse(&fault, EX_USAGE);
    }
    cleanup_fd const int signals = signals_open();
    if (signals < 0) {
        fault_set(&fault, signals, "signals cannot be waited for: %s", strerror(-signals));
        return refuse(&fault, EX_OSERR);
    }
    limits_raise();
    log_info(log, "tuskd.starting", "version=%s data=%s fsync=%s", TUSK_VERSION,
             LOG_QUOTE(config->data_dir),
             config->fsync == FSYNC_INTERVAL ? DURATION_TEXT(config->fsync_interval_ns)
                                             : config_fsync_name(config->fsync));
    int result = broker_start(&broker, config, log, &fault);
    if (result < 0) {
        return refuse(&fault, fault_exit_status(result));
    }
    ready_tell(options, log);
    const int signal_number = end_wait(signals, broker);
    (void)notify_send("STOPPING=1");
    result = broker_stop(broker);
    log_write(log, result < 0 ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, "tuskd.stopped",
              "signal=%s error=%s", signal_number == 0 ? "none" : sigabbrev_np(signal_number),
              result < 0 ? strerrorname_np(-result) : "none");
    return signal_number == 0 && result == 0 ? EX_SOFTWARE : fault_exit_status(result);
}

static int run(const struct options *options)
{
    struct log log;
    log_init(&log, STDERR_FILENO, options->config.quiet);
    const int status = serve(options, &log);
    log_deinit(&log);
    return status;
}

int main(int argc, char *argv[])
{
    struct options options;
    struct fault fault = {0, ""};
    const int answer = options_parse(&options, argc, argv, &fault);
    if (answer < 0) {
        return refuse(&fault, options_exit_status(&options));
    }
    switch ((enum options_outcome)answer) {
    case OPTIONS_RUN:
        return run(&options);
    case OPTIONS_HELP:
        options_print_help(stdout);
        break;
    case OPTIONS_VERSION:
        printf("tuskd %s\n", TUSK_VERSION);
        break;
    }
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}
