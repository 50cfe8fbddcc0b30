/* Control client: see control_client.h. */
#include "tests/unit/control_client.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

int control_client_hello_to(int client, const char *namespace_key, union control_message *answer,
                            int fds[2])
{
    union control_message hello;
    control_begin(&hello, CONTROL_HELLO, sizeof hello.hello, 1);
    hello.hello.digest = layout_digest();
    hello.hello.namespace_bytes = (uint32_t)strlen(namespace_key);
    memcpy(hello.hello.namespace_key, namespace_key, strlen(namespace_key));
    const int error = control_send(client, &hello, NULL, 0);
    return error != 0 ? error : control_client_answer(client, answer, fds, 2);
}

int control_client_hello(int client, union control_message *answer, int fds[2])
{
    return control_client_hello_to(client, "", answer, fds);
}

int control_client_lane(int client, union control_message *answer, int fds[2])
{
    union control_message open;
    control_begin(&open, CONTROL_LANE_OPEN, sizeof open.lane, 2);
    open.lane.sq_bytes = SQ_BYTES_MIN;
    const int error = control_send(client, &open, NULL, 0);
    return error != 0 ? error : control_client_answer(client, answer, fds, 2);
}

static const char *const visited[] = {"", "a", "b/c"};
enum { VISITED = sizeof visited / sizeof visited[0] };

/* Changes its own namespace, or removes any: whether that is refused is of no interest. */
static int administer(int client, unsigned *seed)
{
    union control_message message;
    const bool change = rand_r(seed) % 2 == 0;
    if (change) {
        control_begin(&message, CONTROL_OPTION_SET, sizeof message.option, 3);
        strcpy(message.option.name, "fsync");
        strcpy(message.option.value, rand_r(seed) % 2 == 0 ? "each" : "default");
    } else {
        const char *key = visited[(unsigned)rand_r(seed) % VISITED];
        control_begin(&message, CONTROL_NAMESPACE_DELETE, sizeof message.space, 3);
        message.space.key_bytes = (uint32_t)strlen(key);
        memcpy(message.space.key, key, strlen(key));
    }
    const int error = control_send(client, &message, NULL, 0);
    return error != 0 || rand_r(seed) % 2 == 0 ? error
                                               : control_client_answer(client, &message, NULL, 0);
}

static int visit(const char *socket_path, const char *key, bool roams, unsigned *seed)
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
        error = control_client_hello_to(client, key, &answer, fds);
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
    if (error == 0 && until == 5 && roams) {
        error = administer(client, seed);
    }
    close(client);
    return error;
}

int control_client_visit(const char *socket_path, unsigned *seed)
{
    return visit(socket_path, "", false, seed);
}

int control_client_roam(const char *socket_path, unsigned *seed)
{
    return visit(socket_path, visited[(unsigned)rand_r(seed) % VISITED], true, seed);
}
