/* Control: see control.h. */
#include "shm/control.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shm/ensure.h"

union control_ancillary {
    char bytes[CMSG_SPACE(sizeof(int) * CONTROL_FDS_MAX)];
    struct cmsghdr align;
};

void control_begin(union control_message *message, enum control_kind kind, size_t bytes,
                   uint64_t id)
{
    memset(message->bytes, 0, bytes);
    message->header = (struct control_header){
        .magic = CONTROL_MAGIC,
        .version = CONTROL_VERSION,
        .kind = (uint16_t)kind,
        .bytes = (uint32_t)bytes,
        .id = id,
    };
}

int control_send(int socket, const union control_message *message, const int *fds, size_t fd_count)
{
    ensure(fd_count <= CONTROL_FDS_MAX);
    struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = message->header.bytes};
    struct msghdr envelope = {.msg_iov = &part, .msg_iovlen = 1};
    union control_ancillary ancillary;
    if (fd_count > 0) {
        memset(&ancillary, 0, sizeof ancillary);
        envelope.msg_control = ancillary.bytes;
        envelope.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&envelope);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(rights), fds, sizeof(int) * fd_count);
    }
    for (;;) {
        const ssize_t sent = sendmsg(socket, &envelope, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent == (ssize_t)part.iov_len) {
            return 0;
        }
        if (sent >= 0) {
            return -EPROTO;
        }
        if (errno != EINTR) {
            return errno == ECONNRESET || errno == ENOTCONN ? -EPIPE : -errno;
        }
    }
}

/* Moves the descriptors of an envelope to `fds`; returns how many there were in all. What does not
 * fit is closed. */
static size_t ancillary_take(struct msghdr *envelope, int *fds, size_t fd_count)
{
    size_t found = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(envelope); part != NULL;
         part = CMSG_NXTHDR(envelope, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            if (found < fd_count) {
                fds[found] = fd;
            } else {
                close(fd);
            }
            found++;
        }
    }
    return found;
}

static void fds_drop(int *fds, size_t fd_count)
{
    for (size_t i = 0; i < fd_count; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
            fds[i] = -1;
        }
    }
}

static size_t control_bytes_min(enum control_kind kind)
{
    switch (kind) {
    case CONTROL_HELLO:
        return sizeof(struct control_hello);
    case CONTROL_WELCOME:
        return sizeof(struct control_welcome);
    case CONTROL_LANE_OPEN:
    case CONTROL_LANE_OPENED:
    case CONTROL_LANE_CLOSE:
    case CONTROL_LANE_CLOSED:
        return sizeof(struct control_lane);
    case CONTROL_OPTION_SET:
    case CONTROL_OPTION_GET:
    case CONTROL_OPTION:
        return sizeof(struct control_option);
    case CONTROL_NAMESPACE_NEXT:
    case CONTROL_NAMESPACE:
    case CONTROL_NAMESPACE_DELETE:
        return sizeof(struct control_namespace);
    case CONTROL_PINS_OPEN:
    case CONTROL_PINS_OPENED:
    case CONTROL_DONE:
        return sizeof(struct control_header);
    case CONTROL_ERROR:
        return sizeof(struct control_error);
    case CONTROL_NOTHING:
    default:
        return SIZE_MAX;
    }
}

static int control_check(const union control_message *message, size_t received)
{
    const struct control_header *header = &message->header;
    if (received < sizeof *header || header->magic != CONTROL_MAGIC ||
        header->version != CONTROL_VERSION || header->bytes != received ||
        received < control_bytes_min((enum control_kind)header->kind)) {
        return -EPROTO;
    }
    return 0;
}

int control_receive(int socket, union control_message *message, int *fds, size_t fd_count)
{
    ensure(fd_count <= CONTROL_FDS_MAX);
    for (size_t i = 0; i < fd_count; i++) {
        fds[i] = -1;
    }
    struct iovec part = {.iov_base = message->bytes, .iov_len = sizeof *message};
    union control_ancillary ancillary;
    struct msghdr envelope = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count > 0) {
        envelope.msg_control = ancillary.bytes;
        envelope.msg_controllen = sizeof ancillary.bytes;
    }
    ssize_t received;
    do {
        received = recvmsg(socket, &envelope, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (received < 0 && errno == EINTR);
    if (received < 0) {
        return errno == ECONNRESET ? -EPIPE : -errno;
    }
    if (received == 0) {
        return -EPIPE;
    }
    const size_t found = fd_count > 0 ? ancillary_take(&envelope, fds, fd_count) : 0;
    const int cut = MSG_TRUNC | (fd_count > 0 ? MSG_CTRUNC : 0);
    int error =
        (envelope.msg_flags & cut) != 0 ? -EPROTO : control_check(message, (size_t)received);
    const bool refused = error == 0 && message->header.kind == CONTROL_ERROR;
    if (error == 0 && !refused && found != fd_count) {
        error = -EPROTO;
    }
    if (error != 0 || refused) {
        fds_drop(fds, fd_count);
        return error;
    }
    return 0;
}
