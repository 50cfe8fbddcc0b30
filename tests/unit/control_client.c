/* Control client: see control_client.h. */
#include "tests/unit/control_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int control_client_connect(const char *socket_path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    const int client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (client >= 0 && connect(client, (const struct sockaddr *)&address, sizeof address) != 0) {
        const int error = errno;
        close(client);
        return -error;
    }
    return client >= 0 ? client : -errno;
}

int control_client_answer(int client, union control_message *answer, int *fds, size_t fd_count)
{
    struct pollfd look = {.fd = client, .events = POLLIN};
    if (poll(&look, 1, ANSWER_MS) != 1) {
        return -ETIMEDOUT;
    }
    return control_receive(client, answer, fds, fd_count);
}

int control_client_hello(int client, union control_message *answer, int fds[2])
{
    union control_message hello;
    control_begin(&hello, CONTROL_HELLO, sizeof hello.hello, 1);
    hello.hello.digest = layout_digest();
    const int error = control_send(client, &hello, NULL, 0);
    return error != 0 ? error : control_client_answer(client, answer, fds, 2);
}

int control_client_lane(int client, union control_message *answer, int fds[2])
{
    union control_message open;
    control_begin(&open, CONTROL_LANE_OPEN, sizeof open.lane, 2);
    open.lane.sq_bytes = SQ_BYTES_MIN;
    const int error = control_send(client, &open, NULL, 0);
    return error != 0 ? error : control_client_answer(client, answer, fds, 2);
}

int control_client_visit(const char *socket_path, unsigned *seed)
{
    union control_message answer = {{0}};
    int fds[2];
    int lane[2];
    const int client = control_client_connect(socket_path);
    if (client < 0) {
        return client;
    }
    const int until = rand_r(seed) % 8;
    int error = 0;
    if (until == 1) {
        error = send(client, &answer, 10, MSG_NOSIGNAL) == 10 ? 0 : -errno;
    } else if (until > 1) {
        error = control_client_hello(client, &answer, fds);
        if (error == 0 && answer.header.kind == CONTROL_WELCOME) {
            close(fds[0]);
            close(fds[1]);
        }
    }
    if (error == 0 && until > 6) {
        error = control_client_lane(client, &answer, lane);
        if (error == 0) {
            close(lane[0]);
            close(lane[1]);
        }
    }
    close(client);
    return error;
}
