/* Host: see host.h. */
#include "clientlib/demo/host.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <tusk/tusk.h>
#include <unistd.h>

enum {
    START_SLICE_MS = 100, /* between looks at whether the broker still lives */
    START_TIMEOUT_MS = 20000,
    STOP_TIMEOUT_MS = 15000,
    STOP_SLICE_MS = 10
};

static int directory_make(char path[HOST_PATH_BYTES], const char *parent)
{
    const int length = snprintf(path, HOST_PATH_BYTES, "%s/tusk-demo.XXXXXX", parent);
    int error = 0;
    if (length < 0 || length >= HOST_PATH_BYTES) {
        error = -ENAMETOOLONG;
    } else if (!mkdtemp(path)) {
        error = -errno;
    }
    if (error) {
        fprintf(stderr, "tusk-demo: can't make a directory in %s: %s\n", parent, strerror(-error));
        path[0] = '\0';
    }
    return error;
}

int host_prepare(struct host *host, const char *data_parent)
{
    const char *tmp = getenv("TMPDIR");
    int error = directory_make(host->dir, tmp && *tmp ? tmp : "/tmp");
    if (!error) {
        error = directory_make(host->data, data_parent);
    }
    if (!error) {
        error = directory_make(host->run_dir, "/dev/shm");
    }
    snprintf(host->socket_path, sizeof host->socket_path, "%s/tusk.sock", host->dir);
    snprintf(host->log_path, sizeof host->log_path, "%s/tuskd.log", host->dir);
    return error;
}

uint64_t host_free_bytes(const struct host *host)
{
    struct statvfs status;
    if (statvfs(host->data, &status) != 0) {
        return 0;
    }
    return (uint64_t)status.f_bavail * status.f_frsize;
}

/* In the child: never returns. A process group of its own keeps the terminal's signals away. */
static void broker_exec(const struct host *host, const char *tuskd, pid_t parent)
{
    const int log = open(host->log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);
    }
    if (log < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0) {
        _exit(1);
    }
    execl(tuskd, "tuskd", "--data", host->data, "--socket", host->socket_path, "--run-dir",
          host->run_dir, (char *)NULL);
    fprintf(stderr, "tusk-demo: can't run %s: %s\n", tuskd, strerror(errno));
    _exit(1);
}

/* Connects and leaves: 0 once the broker takes connections. */
static int broker_await(struct host *host)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    int error = -ENOTCONN;
    options.socket_path = host->socket_path;
    options.timeout_ms = START_SLICE_MS;
    for (int waited_ms = 0; waited_ms < START_TIMEOUT_MS; waited_ms += START_SLICE_MS) {
        struct tusk *tusk = NULL;
        error = tusk_connect(&tusk, &options);
        if (!error) {
            tusk_disconnect(tusk);
        }
        if (error != -ENOTCONN || host_died(host)) {
            break;
        }
    }
    return error;
}

int host_start(struct host *host, const char *tuskd)
{
    const pid_t parent = getpid();
    fflush(NULL);
    host->pid = fork();
    if (host->pid == 0) {
        broker_exec(host, tuskd, parent);
    }
    int error = host->pid < 0 ? -errno : broker_await(host);
    if (error) {
        fprintf(stderr, "tusk-demo: the broker didn't start: %s\n", tusk_strerror(error));
        host_log_show(host);
    }
    return error;
}

bool host_died(struct host *host)
{
    if (host->pid > 0 && waitpid(host->pid, NULL, WNOHANG) == host->pid) {
        host->pid = 0;
        return true;
    }
    return false;
}

static int broker_stop(struct host *host)
{
    const struct timespec slice = {.tv_nsec = STOP_SLICE_MS * 1000000};
    int status = 0;
    if (host->pid <= 0) {
        return 0;
    }
    kill(host->pid, SIGTERM);
    for (int waited_ms = 0; waited_ms < STOP_TIMEOUT_MS; waited_ms += STOP_SLICE_MS) {
        if (waitpid(host->pid, &status, WNOHANG) == host->pid) {
            host->pid = 0;
            return status == 0 ? 0 : -EIO;
        }
        nanosleep(&slice, NULL);
    }
    kill(host->pid, SIGKILL);
    waitpid(host->pid, &status, 0);
    host->pid = 0;
    return -EIO;
}

static int path_remove(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void directory_remove(const char *path)
{
    if (path[0]) {
        nftw(path, path_remove, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    }
}

int host_stop(struct host *host)
{
    const int error = broker_stop(host);
    if (error) {
        fprintf(stderr, "tusk-demo: the broker didn't end with status 0\n");
        host_log_show(host);
    }
    directory_remove(host->run_dir);
    directory_remove(host->data);
    directory_remove(host->dir);
    return error;
}

void host_log_show(const struct host *host)
{
    char line[1024];
    FILE *log = fopen(host->log_path, "re");
    if (!log) {
        return;
    }
    fprintf(stderr, "tusk-demo: the broker's log:\n");
    while (fgets(line, sizeof line, log)) {
        fprintf(stderr, "    %s", line);
    }
    fclose(log);
}
