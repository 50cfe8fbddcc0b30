/*
 * Wait: sleeping until anything that the thread is interested in may go on: tusk_fd, tusk_arm,
 * tusk_wait, tusk_wakeup.
 * Runs on:    the lane's thread; tusk_wakeup on any, and in signal handlers.
 * Invariants: what is waited for becomes a completion of the lane (a WAIT_TAIL, a durable WAIT) or a
 *             publication of the engine for it (room), so one socket covers everything.
 * Ordering:   [W3] of wake.h, through lane_sleep_begin().
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clientlib/cancel.h"
#include "clientlib/client_lane.h"
#include "clientlib/idle.h"
#include "clientlib/lane_op.h"
#include "clientlib/reap.h"
#include "clientlib/submit.h"
#include "clientlib/tail_wait.h"
#include "shm/wake.h"

/* Room for an append that found none. Told once: who still wants it has been refused again. */
static bool room_ready(struct client_lane *lane)
{
    if (lane->room_wanted == 0 || !submit_slot_free(lane) ||
        !lane_fits(lane, lane->room_wanted + LANE_MARGIN_BYTES)) {
        return false;
    }
    lane->room_wanted = 0;
    return true;
}

/* Completions to reap. Told again only after a reap or when there are more: a thread that leaves
 * them alone can still sleep. */
static bool completions_ready(struct client_lane *lane)
{
    if (lane->reap_reported == lane->asyncs_done || !reap_ready(lane)) {
        return false;
    }
    lane->reap_reported = lane->asyncs_done;
    return true;
}

static bool flush_ready(struct client_lane *lane)
{
    for (int level = TUSK_COMMITTED; level <= TUSK_DURABLE; level++) {
        struct lane_flush *flush = &lane->flush[level];
        if (flush->unanswered && (flush->op == NULL || flush->op->state == LANE_OP_DONE)) {
            flush->unanswered = false;
            return true;
        }
    }
    return false;
}

static bool tails_ready(struct client_lane *lane)
{
    const struct tail_wait *wait;
    LIST_FOREACH(wait, &lane->tails, siblings)
    {
        if (wait->hungry && tail_wait_ready(wait)) {
            return true;
        }
    }
    return false;
}

/* May a call that last answered 0 or -EAGAIN succeed now? */
static bool lane_ready(struct client_lane *lane)
{
    lane_drain(lane);
    if (completions_ready(lane) || room_ready(lane) || flush_ready(lane)) {
        return true;
    }
    if (LIST_EMPTY(&lane->tails)) {
        return false;
    }
    pthread_mutex_lock(&lane->tusk->lock);
    const bool ready = tails_ready(lane);
    pthread_mutex_unlock(&lane->tusk->lock);
    return ready;
}

/* Under `each`: asks to be told when what tusk_reap withholds is durable. */
static int durable_submit(struct client_lane *lane)
{
    if (!handle_sync_each(lane->tusk) || !reap_withheld(lane)) {
        return 0;
    }
    /* A newer durable WAIT would end a flush's: where that covers all, it is waited for as well. */
    const struct lane_flush *flush = &lane->flush[TUSK_DURABLE];
    if (flush->op != NULL && flush->op->state == LANE_OP_PENDING &&
        flush->covers == lane_appended(lane)) {
        return 0;
    }
    if (lane->durable_op != NULL && lane->durable_op->state == LANE_OP_PENDING &&
        lane->durable_covers == lane->asyncs_done) {
        return 0;
    }
    if (lane->durable_op != NULL) {
        lane_op_drop(lane, lane->durable_op);
        lane->durable_op = NULL;
    }
    const struct lane_request wait = {
        .kind = SUBMIT_WAIT, .flags = SUBMIT_DURABLE, .reports = true};
    struct lane_op *op;
    const int error = lane_op_submit(lane, &wait, expiry_in(0), false, &op);
    if (error == 0) {
        lane->durable_op = op;
        lane->durable_covers = lane->asyncs_done;
    }
    return error;
}

static int tails_submit(struct client_lane *lane)
{
    struct tail_wait *wait;
    int error = 0;
    pthread_mutex_lock(&lane->tusk->lock);
    LIST_FOREACH(wait, &lane->tails, siblings)
    {
        if (wait->hungry) {
            walk_release(wait->walk, lane); /* who sleeps holds nothing */
            error = tail_wait_submit(wait, lane, expiry_in(0));
            if (error != 0) {
                break;
            }
        }
    }
    pthread_mutex_unlock(&lane->tusk->lock);
    return error;
}

/* Makes completions of all that is waited for. Where the lane has no room for that, room is waited
 * for first. */
static int wait_prepare(struct client_lane *lane, struct wake_on *on)
{
    *on = (struct wake_on){.interruptible = true};
    int error = durable_submit(lane);
    if (error == 0) {
        error = tails_submit(lane);
    }
    if (error != 0 && error != -ETIMEDOUT) {
        return error;
    }
    on->completions = lane->drained + 1;
    on->room = error == -ETIMEDOUT || lane->room_wanted != 0;
    return 0;
}

/* Forgets earlier wakes: what they were about is looked at from here on. */
static int wakes_clear(struct client_lane *lane)
{
    struct epoll_event events[4];
    if (lane->epoll_fd >= 0) {
        (void)epoll_wait(lane->epoll_fd, events, 4, 0);
    }
    if (lane->self_fd >= 0) {
        eventfd_t count;
        (void)eventfd_read(lane->self_fd, &count);
    }
    return wake_drain(lane->socket) == 0 ? 0 : handle_kill(lane->tusk);
}

int tusk_fd(struct tusk *tusk)
{
    if (tusk == NULL) {
        return -EINVAL;
    }
    CANCEL_OFF;
    struct client_lane *lane;
    int error = client_lane_get(tusk, &lane);
    if (error != 0) {
        return error;
    }
    const int epoll_fd = lane_epoll_get(lane);
    if (epoll_fd < 0 || lane->self_fd >= 0) {
        return epoll_fd;
    }
    const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        return -ENOMEM;
    }
    struct epoll_event event = {.events = EPOLLIN};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        close(fd);
        return -ENOMEM;
    }
    lane->self_fd = fd;
    return epoll_fd;
}

int tusk_arm(struct tusk *tusk)
{
    CANCEL_OFF;
    const int epoll_fd = tusk_fd(tusk);
    if (epoll_fd < 0) {
        return epoll_fd;
    }
    struct client_lane *lane;
    int error = client_lane_get(tusk, &lane);
    if (error != 0) {
        return error;
    }
    lane->armed = false;
    lane_awake(lane);
    error = wakes_clear(lane);
    if (error != 0) {
        return error;
    }
    if (lane_wakeup_take(lane) || lane_ready(lane)) {
        return 1;
    }
    for (;;) {
        struct wake_on on;
        error = wait_prepare(lane, &on);
        if (error != 0) {
            return error;
        }
        if (!lane_sleep_begin(lane, &on)) {
            lane->armed = true;
            return 0;
        }
        if (lane_ready(lane)) {
            lane_awake(lane);
            return 1;
        }
    }
}

int tusk_wait(struct tusk *tusk, int timeout_ms)
{
    if (tusk == NULL || timeout_ms < -1) {
        return -EINVAL;
    }
    struct client_lane *lane;
    int error = client_lane_get(tusk, &lane);
    if (error != 0) {
        return error;
    }
    struct idle idle = {0};
    const struct expiry expiry = expiry_in(timeout_ms);
    for (;;) {
        if (lane_wakeup_take(lane)) {
            return -EINTR;
        }
        if (lane_ready(lane)) {
            return 1;
        }
        if (timeout_ms == 0) {
            return lane_nothing(lane);
        }
        error = idle_spin(&idle, lane, true, expiry);
        if (error == IDLE_SLEEP) {
            struct wake_on on;
            error = wait_prepare(lane, &on);
            if (error == 0) {
                error = lane_sleep(lane, &on, expiry);
            }
        }
        if (error != 0) {
            return error == -ETIMEDOUT ? 0 : error;
        }
    }
}

void tusk_wakeup(struct tusk *tusk)
{
    if (tusk == NULL || handle_forked(tusk)) {
        return;
    }
    CANCEL_OFF;
    const int saved = errno;
    atomic_fetch_add(&tusk->wakeups, 1);
    (void)eventfd_write(tusk->wakeup_fd, 1);
    errno = saved;
}
