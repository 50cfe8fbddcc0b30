/* Watches: see io_watches.h. */
#include "broker/io_watches.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "shm/ensure.h"

enum { EVENTS_MAX = 256 }; /* told in one look, so that an engine's loop stays bounded */

int watches_open(struct watches *watches)
{
    *watches = (struct watches){.fd = epoll_create1(EPOLL_CLOEXEC)};
    return watches->fd < 0 ? -errno : 0;
}

void watches_close(struct watches *watches)
{
    if (watches->fd >= 0) {
        close(watches->fd);
    }
}

/* False: the kernel has no room for another one now. */
static bool watch_arm(const struct watches *watches, struct io_watch *watch)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = watch};
    watch->armed = epoll_ctl(watches->fd, EPOLL_CTL_ADD, watch->fd, &event) == 0;
    ensure(watch->armed || errno == ENOMEM || errno == ENOSPC);
    return watch->armed;
}

void watches_add(struct watches *watches, struct io_watch *watch)
{
    watch->removing = false;
    if (!watch_arm(watches, watch)) {
        watch->next = watches->unarmed;
        watches->unarmed = watch;
    }
}

void watches_remove(struct watches *watches, struct io_watch *watch)
{
    ensure(!watch->removing);
    watch->removing = true;
    if (watch->armed) {
        ensure(epoll_ctl(watches->fd, EPOLL_CTL_DEL, watch->fd, NULL) == 0);
    } else {
        struct io_watch **link = &watches->unarmed;
        while (*link != watch) {
            link = &(*link)->next;
        }
        *link = watch->next;
    }
    watch->next = watches->removing;
    watches->removing = watch;
}

static void arm_again(struct watches *watches)
{
    while (watches->unarmed != NULL && watch_arm(watches, watches->unarmed)) {
        watches->unarmed = watches->unarmed->next;
    }
}

/* Those removed so far: no list of events can name them any more. */
static unsigned tell_removed(struct watches *watches)
{
    unsigned told = 0;
    struct io_watch *watch = watches->removing;
    watches->removing = NULL;
    while (watch != NULL) {
        struct io_watch *next = watch->next;
        watch->removed(watch); /* and may be gone */
        watch = next;
        told++;
    }
    return told;
}

unsigned watches_look(struct watches *watches)
{
    struct epoll_event events[EVENTS_MAX];
    unsigned told = 0;
    arm_again(watches);
    const int count = epoll_wait(watches->fd, events, EVENTS_MAX, 0);
    ensure(count >= 0 || errno == EINTR);
    for (int i = 0; i < count; i++) {
        struct io_watch *watch = events[i].data.ptr;
        if (!watch->removing) {
            watch->fn(watch);
            told++;
        }
    }
    return told + tell_removed(watches);
}
