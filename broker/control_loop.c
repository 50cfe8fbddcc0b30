/* Control loop: see control_loop.h. */
#include "broker/control_loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "shm/ensure.h"

int control_loop_init(struct control_loop *loop)
{
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    return loop->epoll >= 0 ? 0 : -errno;
}

void control_loop_deinit(struct control_loop *loop)
{
    if (loop->epoll >= 0) {
        close(loop->epoll);
        loop->epoll = -1;
    }
}

int control_loop_add(struct control_loop *loop, struct control_source *source, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
    ensure(!source->added);
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        return -errno;
    }
    source->fd = fd;
    source->added = true;
    return 0;
}

void control_loop_remove(struct control_loop *loop, struct control_source *source)
{
    if (source->added) {
        /* Not left to close(): a forked child may hold the same open file. */
        ensure(epoll_ctl(loop->epoll, EPOLL_CTL_DEL, source->fd, NULL) == 0);
        source->added = false;
    }
}

int control_loop_step(struct control_loop *loop, int timeout_ms)
{
    struct epoll_event event;
    const int ready = epoll_wait(loop->epoll, &event, 1, timeout_ms);
    if (ready <= 0) {
        ensure(ready == 0 || errno == EINTR);
        return 0;
    }
    struct control_source *source = event.data.ptr;
    source->fn(source);
    return 1;
}
