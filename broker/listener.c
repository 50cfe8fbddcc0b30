/* Listener: see listener.h. */
#include "broker/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "broker/fault.h"
#include "broker/lock_file.h"
#include "shm/cleanup.h"

enum {
    /* Others search it on their way to the socket, whose own mode decides. */
    SOCKET_DIR_MODE = 0755,
    LISTEN_BACKLOG = 1024,
    CLAIM_ATTEMPTS = 8,
    LOCK_PATH_BYTES = CONFIG_SOCKET_PATH_BYTES + sizeof ".lock",
};

static void lock_path(char path[LOCK_PATH_BYTES], const struct listener *listener)
{
    snprintf(path, LOCK_PATH_BYTES, "%s.lock", listener->path);
}

/* The directory of the socket; false: it is in none of its own. */
static bool directory_path(char path[CONFIG_SOCKET_PATH_BYTES], const struct listener *listener)
{
    memcpy(path, listener->path, CONFIG_SOCKET_PATH_BYTES);
    char *end = strrchr(path, '/');
    if (end == NULL || end == path) {
        return false;
    }
    *end = '\0';
    return true;
}

static int make_directory(struct listener *listener, struct fault *fault)
{
    char path[CONFIG_SOCKET_PATH_BYTES];
    if (!directory_path(path, listener)) {
        return 0;
    }
    if (mkdir(path, SOCKET_DIR_MODE) != 0) {
        return errno == EEXIST
                   ? 0
                   : fault_set(fault, -errno,
                               "cannot make the directory %s for the socket: %s; make it, or name "
                               "another socket with --socket",
                               path, strerror(errno));
    }
    listener->made_dir = true;
    /* Whatever the umask. */
    if (chmod(path, SOCKET_DIR_MODE) != 0) {
        return fault_set(fault, -errno, "cannot set the mode of %s: %s", path, strerror(errno));
    }
    return 0;
}

static struct sockaddr_un socket_address(const struct listener *listener)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    _Static_assert(sizeof address.sun_path == CONFIG_SOCKET_PATH_BYTES, "a path fits");
    memcpy(address.sun_path, listener->path, sizeof address.sun_path);
    return address;
}

/* Removes a socket file that a dead broker has left, and nothing else. */
static int remove_stale(const struct listener *listener, struct fault *fault)
{
    struct stat status;
    if (lstat(listener->path, &status) != 0) {
        return errno == ENOENT ? 0
                               : fault_set(fault, -errno, "cannot look at the socket %s: %s",
                                           listener->path, strerror(errno));
    }
    if (!S_ISSOCK(status.st_mode)) {
        return fault_set(fault, -EADDRINUSE,
                         "%s is there and is not a socket: remove it, or name another path with "
                         "--socket",
                         listener->path);
    }
    cleanup_fd int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0) {
        return fault_set(fault, -errno, "cannot make a socket: %s", strerror(errno));
    }
    const struct sockaddr_un address = socket_address(listener);
    if (connect(probe, (const struct sockaddr *)&address, sizeof address) == 0 ||
        errno != ECONNREFUSED) {
        return fault_set(fault, -EADDRINUSE,
                         "another program listens on the socket %s: stop it, or name another path "
                         "with --socket",
                         listener->path);
    }
    if (unlink(listener->path) != 0) {
        return fault_set(fault, -errno, "cannot remove the stale socket %s: %s", listener->path,
                         strerror(errno));
    }
    return 0;
}

/* Only while nothing is in it, so another broker that has its socket there keeps it. */
static void remove_directory(const struct listener *listener)
{
    char path[CONFIG_SOCKET_PATH_BYTES];
    if (listener->made_dir && directory_path(path, listener)) {
        rmdir(path);
    }
}

int listener_claim(struct listener *listener, const struct config *config, struct fault *fault)
{
    *listener = (struct listener){.lock = -1, .socket = -1, .reserve = -1};
    memcpy(listener->path, config->socket_path, sizeof listener->path);
    char path[LOCK_PATH_BYTES];
    lock_path(path, listener);
    int error = 0;
    int lock = -ENOENT;
    /* A broker that ends removes the directory that it has made. */
    for (int attempt = 0; error == 0 && lock == -ENOENT && attempt < CLAIM_ATTEMPTS; attempt++) {
        error = make_directory(listener, fault);
        lock = error == 0 ? lock_file_open(path) : error;
    }
    if (lock < 0) {
        remove_directory(listener);
    }
    if (error != 0) {
        return error;
    }
    if (lock == -EBUSY) {
        return fault_set(fault, -EADDRINUSE,
                         "another broker listens on the socket %s: stop it, or name another path "
                         "with --socket",
                         listener->path);
    }
    if (lock < 0) {
        return fault_set(fault, lock, "cannot lock %s: %s; name another path with --socket", path,
                         strerror(-lock));
    }
    listener->lock = lock;
    error = remove_stale(listener, fault);
    if (error != 0) {
        listener_close(listener);
    }
    return error;
}

static int reserve_open(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Between bind() and listen() nobody can connect, so nobody slips in before the mode is set. */
static int socket_publish(struct listener *listener, int fd, const struct config *config,
                          struct fault *fault)
{
    const struct sockaddr_un address = socket_address(listener);
    struct stat status;
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        return fault_set(fault, -errno, "cannot make the socket %s: %s", listener->path,
                         strerror(errno));
    }
    if (lstat(listener->path, &status) != 0) {
        return fault_set(fault, -errno, "cannot look at the socket %s: %s", listener->path,
                         strerror(errno));
    }
    listener->device = status.st_dev;
    listener->inode = status.st_ino;
    if (config->socket_group != CONFIG_GROUP_UNCHANGED &&
        lchown(listener->path, (uid_t)-1, config->socket_group) != 0) {
        return fault_set(fault, -errno,
                         "cannot give the socket %s to group %u (--socket-group): %s",
                         listener->path, config->socket_group, strerror(errno));
    }
    if (chmod(listener->path, config->socket_mode) != 0) {
        return fault_set(fault, -errno, "cannot give the socket %s mode %04o: %s", listener->path,
                         config->socket_mode, strerror(errno));
    }
    if (listen(fd, LISTEN_BACKLOG) != 0) {
        return fault_set(fault, -errno, "cannot listen on the socket %s: %s", listener->path,
                         strerror(errno));
    }
    return 0;
}

int listener_open(struct listener *listener, const struct config *config, struct fault *fault)
{
    listener->reserve = reserve_open();
    listener->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->reserve < 0 || listener->socket < 0) {
        return fault_set(fault, -errno, "cannot make a socket: %s", strerror(errno));
    }
    return socket_publish(listener, listener->socket, config, fault);
}

static int accept_next(const struct listener *listener)
{
    for (;;) {
        const int fd = accept4(listener->socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            return fd;
        }
        if (errno != EINTR && errno != ECONNABORTED) {
            return -errno;
        }
    }
}

/* Takes the connection on the reserve's descriptor and closes it, so that the client hears at once
 * and the control thread is not woken for it again and again. */
static enum listener_outcome refuse_next(struct listener *listener)
{
    if (listener->reserve >= 0) {
        close(take_fd(&listener->reserve));
    }
    const int fd = accept_next(listener);
    if (fd >= 0) {
        close(fd);
    }
    listener->reserve = reserve_open();
    return fd >= 0 || fd == -EAGAIN ? LISTENER_REFUSED : LISTENER_EXHAUSTED;
}

int listener_accept(struct listener *listener, int *connection)
{
    const int fd = accept_next(listener);
    if (fd >= 0) {
        *connection = fd;
        return 0;
    }
    switch (-fd) {
    case EAGAIN:
        return -EAGAIN;
    case EMFILE:
    case ENFILE:
        return refuse_next(listener);
    default: /* memory, mostly */
        return LISTENER_EXHAUSTED;
    }
}

/* Somebody may have removed or replaced our socket file by hand. */
static void remove_own(const struct listener *listener)
{
    struct stat status;
    if (listener->inode != 0 && lstat(listener->path, &status) == 0 &&
        status.st_dev == listener->device && status.st_ino == listener->inode) {
        unlink(listener->path);
    }
}

void listener_shut(struct listener *listener)
{
    if (listener->socket >= 0) {
        remove_own(listener);
        close(take_fd(&listener->socket));
    }
}

void listener_close(struct listener *listener)
{
    if (listener->lock < 0) {
        return;
    }
    listener_shut(listener);
    if (listener->reserve >= 0) {
        close(take_fd(&listener->reserve));
    }
    char path[LOCK_PATH_BYTES];
    lock_path(path, listener);
    lock_file_remove(path, take_fd(&listener->lock));
    remove_directory(listener);
}
