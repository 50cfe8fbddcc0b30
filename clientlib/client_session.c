/* Client session: see client_session.h. */
#include "clientlib/client_session.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shm/cleanup.h"

/* How long the broker has for a reply, whatever the call's own time-out: control requests are rare
 * and small, and one that is left unanswered ends the session. */
enum { REPLY_TIMEOUT_MS = 10000 };

void client_session_init(struct client_session *session)
{
    *session = (struct client_session){.socket = -1};
    pthread_mutex_init(&session->lock, NULL);
}

void client_session_deinit(struct client_session *session)
{
    client_session_close(session);
    pthread_mutex_destroy(&session->lock);
}

void client_session_close(struct client_session *session)
{
    if (session->socket >= 0) {
        close(session->socket);
        session->socket = -1;
    }
}

static int socket_await(int socket, short events, struct expiry expiry)
{
    struct pollfd poll_fd = {.fd = socket, .events = events};
    for (;;) {
        const int left_ms = expiry_left_ms(expiry);
        const int ready = poll(&poll_fd, 1, left_ms);
        if (ready > 0) {
            return 0;
        }
        if (ready == 0) {
            return -ETIMEDOUT;
        }
        if (errno != EINTR) {
            return -errno;
        }
    }
}

static int message_send(int socket, const union control_message *message, struct expiry expiry)
{
    for (;;) {
        int error = control_send(socket, message, NULL, 0);
        if (error != -EAGAIN) {
            return error;
        }
        error = socket_await(socket, POLLOUT, expiry);
        if (error != 0) {
            return error;
        }
    }
}

/* Receives one message, which must be `kind` in answer to `id` (0: to any). */
static int reply_receive(int socket, enum control_kind kind, uint64_t id,
                         union control_message *message, int *fds, size_t fd_count,
                         struct expiry expiry)
{
    int error;
    while ((error = control_receive(socket, message, fds, fd_count)) == -EAGAIN) {
        error = socket_await(socket, POLLIN, expiry);
        if (error != 0) {
            return error;
        }
    }
    if (error != 0) {
        return error;
    }
    const bool expected = id == 0 || message->header.id == id;
    if (expected && message->header.kind == kind) {
        return 0;
    }
    for (size_t i = 0; i < fd_count; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
            fds[i] = -1;
        }
    }
    if (expected && message->header.kind == CONTROL_ERROR && message->header.error < 0) {
        return message->header.error;
    }
    return -EPROTO;
}

/* One request and its reply. With the lock held. */
static int session_call(struct client_session *session, union control_message *message,
                        enum control_kind reply, int *fds, size_t fd_count, struct expiry expiry)
{
    if (session->socket < 0) {
        return -EPIPE;
    }
    union control_message closed;
    while (session->closes_due > 0) {
        const int error =
            reply_receive(session->socket, CONTROL_LANE_CLOSED, 0, &closed, NULL, 0, expiry);
        if (error != 0) {
            return error;
        }
        session->closes_due--;
    }
    const uint64_t id = message->header.id;
    const int error = message_send(session->socket, message, expiry);
    if (error != 0) {
        return error;
    }
    return reply_receive(session->socket, reply, id, message, fds, fd_count, expiry);
}

static int socket_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t length = strlen(path);
    if (length == 0 || length >= sizeof address.sun_path) {
        return -EINVAL;
    }
    memcpy(address.sun_path, path, length + 1);
    cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        return -errno;
    }
    return take_fd(&fd);
}

int client_session_open(struct client_session *session, const char *path, const char *namespace_key,
                        struct control_welcome *welcome, int fds[2], struct expiry expiry,
                        bool *refused)
{
    *refused = false;
    const size_t namespace_bytes = strlen(namespace_key);
    if (namespace_bytes > NAMESPACE_KEY_BYTES_MAX) {
        return -EINVAL;
    }
    cleanup_fd int fd = socket_connect(path);
    if (fd < 0) {
        return fd;
    }
    union control_message message;
    const uint64_t id = ++session->last_id;
    control_begin(&message, CONTROL_HELLO, sizeof message.hello, id);
    message.hello.digest = layout_digest();
    message.hello.namespace_bytes = (uint32_t)namespace_bytes;
    memcpy(message.hello.namespace_key, namespace_key, namespace_bytes);
    int error = message_send(fd, &message, expiry);
    if (error == 0) {
        error = reply_receive(fd, CONTROL_WELCOME, id, &message, fds, 2, expiry);
        *refused = message.header.kind == CONTROL_ERROR && error == message.header.error;
    }
    if (error != 0) {
        return error;
    }
    *welcome = message.welcome;
    session->socket = take_fd(&fd);
    return 0;
}

int client_session_lane_open(struct client_session *session, uint64_t sq_bytes, uint64_t *lane_id,
                             int fds[2])
{
    union control_message message;
    pthread_mutex_lock(&session->lock);
    control_begin(&message, CONTROL_LANE_OPEN, sizeof message.lane, ++session->last_id);
    message.lane.sq_bytes = sq_bytes;
    const int error =
        session_call(session, &message, CONTROL_LANE_OPENED, fds, 2, expiry_in(REPLY_TIMEOUT_MS));
    pthread_mutex_unlock(&session->lock);
    if (error == 0) {
        *lane_id = message.lane.lane_id;
    }
    return error;
}

void client_session_lane_close(struct client_session *session, uint64_t lane_id)
{
    union control_message message;
    pthread_mutex_lock(&session->lock);
    if (session->socket >= 0) {
        while (session->closes_due > 0 &&
               control_receive(session->socket, &message, NULL, 0) == 0) {
            session->closes_due--;
        }
        control_begin(&message, CONTROL_LANE_CLOSE, sizeof message.lane, ++session->last_id);
        message.lane.lane_id = lane_id;
        /* Where this fails the session is over, and its lanes with it. */
        if (message_send(session->socket, &message, expiry_in(REPLY_TIMEOUT_MS)) == 0) {
            session->closes_due++;
        }
    }
    pthread_mutex_unlock(&session->lock);
}

int client_session_pins_open(struct client_session *session, int *fd)
{
    union control_message message;
    pthread_mutex_lock(&session->lock);
    control_begin(&message, CONTROL_PINS_OPEN, sizeof message.header, ++session->last_id);
    const int error =
        session_call(session, &message, CONTROL_PINS_OPENED, fd, 1, expiry_in(REPLY_TIMEOUT_MS));
    pthread_mutex_unlock(&session->lock);
    return error;
}

int client_session_ask(struct client_session *session, union control_message *message,
                       enum control_kind reply, struct expiry expiry)
{
    pthread_mutex_lock(&session->lock);
    message->header.id = ++session->last_id;
    const int error = session_call(session, message, reply, NULL, 0, expiry);
    pthread_mutex_unlock(&session->lock);
    return error;
}
