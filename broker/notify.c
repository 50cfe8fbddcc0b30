/* Notify: see notify.h for the contract. */
#include "broker/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "shm/cleanup.h"

int notify_send(const char *state)
{
    const char *const name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (name == NULL || name[0] == '\0') {
        return 0;
    }
    const size_t name_bytes = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || name[1] == '\0' ||
        name_bytes >= sizeof address.sun_path) {
        return -EINVAL;
    }
    memcpy(address.sun_path, name, name_bytes);
    if (name[0] == '@') {
        address.sun_path[0] = '\0'; /* an abstract name ends where its length says */
    }
    const socklen_t address_bytes =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + name_bytes + (name[0] == '/' ? 1 : 0));
    cleanup_fd int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    const ssize_t sent = sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
                                (const struct sockaddr *)&address, address_bytes);
    return sent < 0 ? -errno : 0;
}
