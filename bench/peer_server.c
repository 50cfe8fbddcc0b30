/*
 * Peer server: see peer_server.h.
 */
#include "bench/peer_server.h"

#include "bench/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define START_TIMEOUT_MS 20000
#define STOP_TIMEOUT_MS 20000
#define LOOK_MS 5
#define LOG_LOOK_BYTES 65536

static _Noreturn void server_exec(const struct peer_server *server, const char *const *arguments,
                                  pid_t parent)
{
    const int log_fd = open(server->log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int null_fd = open("/dev/null", O_RDONLY);
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (log_fd < 0 || null_fd < 0 || getppid() != parent) {
        _exit(EX_OSERR);
    }
    dup2(null_fd, STDIN_FILENO);
    dup2(log_fd, STDOUT_FILENO);
    dup2(log_fd, STDERR_FILENO);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0); /* a Ctrl-C is for the benchmark, which ends it */
    execvp(arguments[0], (char *const *)(uintptr_t)arguments);
    perror(arguments[0]);
    _exit(EX_UNAVAILABLE);
}

static void log_show(const struct peer_server *server)
{
    FILE *file = fopen(server->log, "re");
    char line[256];

    while (file && fgets(line, sizeof line, file)) {
        fprintf(stderr, "    %s", line);
    }
    if (file) {
        fclose(file);
    }
}

int peer_server_start(struct peer_server *server, struct peer_job *job,
                      const char *const *arguments,
                      bool (*ready)(const struct peer_server *server, const struct peer_job *job))
{
    const struct timespec look = {.tv_nsec = (long)(LOOK_MS * NS_PER_MS)};
    const uint64_t deadline_ns = clock_now_ns() + START_TIMEOUT_MS * NS_PER_MS;
    const pid_t parent = getpid();

    server->pid = 0;
    snprintf(server->log, sizeof server->log, "%.*s/server.log", PATH_MAX - 16, job->run_directory);
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        server_exec(server, arguments, parent);
    }
    if (pid < 0) {
        perror("making a process for a server");
        return -errno;
    }
    server->pid = pid;
    while (!ready(server, job)) {
        const bool ended = waitpid(pid, NULL, WNOHANG) == pid;
        if (ended || clock_now_ns() > deadline_ns) {
            server->pid = ended ? 0 : pid;
            fprintf(stderr, "%s %s:\n", arguments[0],
                    ended ? "ended at its start" : "did not start within 20 s");
            log_show(server);
            return -ECHILD;
        }
        nanosleep(&look, NULL);
    }
    job->server = pid;
    return 0;
}

/* Wait for the process with a time limit; whether it ended. */
static bool process_ended(pid_t pid)
{
    const int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd fds = {.fd = pidfd, .events = POLLIN};

    const int count = pidfd < 0 ? 0 : poll(&fds, 1, STOP_TIMEOUT_MS);
    if (pidfd >= 0) {
        close(pidfd);
    }
    return count > 0 && waitpid(pid, NULL, 0) == pid;
}

void peer_server_stop(struct peer_server *server)
{
    if (server->pid == 0) {
        return;
    }
    kill(server->pid, SIGTERM);
    if (!process_ended(server->pid)) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
    }
    server->pid = 0;
}

bool peer_server_accepts(const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    const bool accepts =
        fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return accepts;
}

bool peer_server_printed(const struct peer_server *server, const char *text)
{
    static char output[LOG_LOOK_BYTES];
    FILE *file = fopen(server->log, "re");

    const size_t bytes = file ? fread(output, 1, sizeof output - 1, file) : 0;
    output[bytes] = '\0';
    if (file) {
        fclose(file);
    }
    return strstr(output, text) != NULL;
}
