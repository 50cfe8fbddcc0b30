/* Wake: see wake.h. */
#include "shm/wake.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef TUSK_TSAN
AO_t fence_word_tsan;
#endif

static int membarrier(int command)
{
    return syscall(SYS_membarrier, command, 0, 0) < 0 ? -errno : 0;
}

int wake_register(void)
{
    return membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
}

bool wake_membarrier_available(void)
{
    return membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0;
}

void wake_fence_engine(bool use_membarrier)
{
    /* The expedited one can lack memory; the slow one needs none. */
    if (!use_membarrier || (membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) != 0 &&
                            membarrier(MEMBARRIER_CMD_GLOBAL) != 0)) {
        fence_full(); /* [W1] */
    }
}

int wake_pair(int sockets[2])
{
    const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    return socketpair(AF_UNIX, type, 0, sockets) == 0 ? 0 : -errno;
}

int wake_ring(int socket)
{
    const unsigned char byte = 1;
    fence_full(); /* a send that finds the socket full need not order what it was about */
    while (send(socket, &byte, sizeof byte, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        if (errno == EAGAIN) {
            return 0;
        }
        if (errno != EINTR) {
            return -EPIPE;
        }
    }
    return 0;
}

int wake_drain(int socket)
{
    unsigned char bytes[64];
    for (;;) {
        const ssize_t taken = recv(socket, bytes, sizeof bytes, MSG_DONTWAIT);
        if (taken == 0) {
            return -EPIPE;
        }
        if (taken < 0 && errno != EINTR) {
            return errno == EAGAIN ? 0 : -EPIPE;
        }
        if (taken > 0 && (size_t)taken < sizeof bytes) {
            return 0;
        }
    }
}
