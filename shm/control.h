/*
 * Control: the messages of a session over its SOCK_SEQPACKET socket.
 * A client says HELLO and gets WELCOME with read-only descriptors of directory and arena; then it
 * asks for lanes and pins. Each request gets one reply with the same id: the kind named beside it,
 * or CONTROL_ERROR.
 * Runs on:    any thread; one request at a time on a socket (the caller's lock).
 * Trust:      a message is received whole into private memory and checked before use; one that was
 *             cut (MSG_TRUNC, MSG_CTRUNC) is a protocol error, and its descriptors are closed. The
 *             broker offers no room for descriptors, so that the kernel drops what is sent to it.
 */
#ifndef TUSK_SHM_CONTROL_H
#define TUSK_SHM_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#include "shm/layout.h"

#define CONTROL_MAGIC UINT32_C(0x4c525443) /* "CTRL" */
#define CONTROL_VERSION UINT16_C(1)

enum control_kind {
    CONTROL_NOTHING = 0,
    CONTROL_HELLO = 1,       /* struct control_hello */
    CONTROL_WELCOME = 2,     /* struct control_welcome; descriptors: directory, arena */
    CONTROL_LANE_OPEN = 3,   /* struct control_lane: sq_bytes */
    CONTROL_LANE_OPENED = 4, /* struct control_lane; descriptors: the lane's memfd, its socket */
    CONTROL_LANE_CLOSE = 5,  /* struct control_lane: lane_id */
    CONTROL_LANE_CLOSED = 6, /* struct control_lane: everything it had published is taken */
    CONTROL_PINS_OPEN = 7,   /* header only */
    CONTROL_PINS_OPENED = 8, /* header only; descriptor: the pins file */
    CONTROL_ERROR = 9,       /* struct control_error */

    CONTROL_OPTION_SET = 10,     /* struct control_option: of the session's namespace */
    CONTROL_OPTION_GET = 11,     /* struct control_option: its name */
    CONTROL_OPTION = 12,         /* struct control_option */
    CONTROL_NAMESPACE_NEXT = 13, /* struct control_namespace: the key to look behind */
    CONTROL_NAMESPACE = 14,      /* struct control_namespace: in the order of keys; none: no more */
    CONTROL_NAMESPACE_DELETE = 15, /* struct control_namespace: its key */
    CONTROL_DONE = 16,             /* header only: what was asked for is done, durably */
};

struct control_header {
    uint32_t magic;
    uint16_t version;
    uint16_t kind;  /* enum control_kind */
    uint32_t bytes; /* of the whole message */
    int32_t error;  /* CONTROL_ERROR: -errno; others 0 */
    uint64_t id;    /* of the request, echoed in its reply */
};
LAYOUT_SIZE(struct control_header, 24);

struct control_hello {
    struct control_header header;
    uint64_t digest; /* layout_digest() of the client */
    uint32_t namespace_bytes;
    uint32_t reserved;
    char namespace_key[NAMESPACE_KEY_BYTES_MAX];
};
LAYOUT_SIZE(struct control_hello, 40 + NAMESPACE_KEY_BYTES_MAX);

struct control_welcome {
    struct control_header header;
    uint64_t epoch;
    uint64_t session_id;
    uint64_t directory_bytes;
    uint64_t arena_bytes;
};
LAYOUT_SIZE(struct control_welcome, 56);

struct control_lane {
    struct control_header header;
    uint64_t lane_id;
    uint64_t sq_bytes;
};
LAYOUT_SIZE(struct control_lane, 40);

enum { CONTROL_NAME_BYTES = 32, CONTROL_VALUE_BYTES = 256 };

/* Texts are terminated. */
struct control_option {
    struct control_header header;
    char name[CONTROL_NAME_BYTES];
    char value[CONTROL_VALUE_BYTES];
};
LAYOUT_SIZE(struct control_option, 312);

struct control_namespace {
    struct control_header header;
    uint64_t sessions;
    uint64_t topics;
    uint32_t open; /* 1: the broker serves it */
    uint32_t key_bytes;
    char key[NAMESPACE_KEY_BYTES_MAX];
};
LAYOUT_SIZE(struct control_namespace, 48 + NAMESPACE_KEY_BYTES_MAX);

struct control_error {
    struct control_header header;
    char text[256];
};
LAYOUT_SIZE(struct control_error, 280);

enum { CONTROL_FDS_MAX = 2 };

/* Room for any message, aligned for its structs. */
union control_message {
    struct control_header header;
    struct control_hello hello;
    struct control_welcome welcome;
    struct control_lane lane;
    struct control_option option;
    struct control_namespace space;
    struct control_error error;
    unsigned char bytes[CONTROL_MESSAGE_BYTES_MAX];
};

/* Fills in a message's header: `bytes` of it in all, for request `id`. */
void control_begin(union control_message *message, enum control_kind kind, size_t bytes,
                   uint64_t id);

/*
 * Sends a message with `fds` (fd_count of them, which stay the caller's). Does not block:
 * 0, -EAGAIN when the socket is full, -EPIPE when the peer is gone, or another -errno.
 */
int control_send(int socket, const union control_message *message, const int *fds, size_t fd_count);

/*
 * Receives one message and checks its header and that it is long enough for its kind.
 * Returns 0; -EAGAIN when there is none; -EPIPE at the end of the connection; -EPROTO for anything
 * malformed. `fds` takes exactly fd_count descriptors, which become the caller's; they are all -1 after
 * a failure and with a CONTROL_ERROR. With fd_count 0 the kernel drops whatever came along.
 */
int control_receive(int socket, union control_message *message, int *fds, size_t fd_count);

#endif
