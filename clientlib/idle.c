/* Idle: see idle.h. */
#include "clientlib/idle.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clientlib/cancel.h"
#include "clientlib/lane_op.h"
#include "shm/wake.h"

enum {
    SPIN_ROUNDS = 50,       /* pauses before anything else */
    SPIN_CLOCK_ROUNDS = 64, /* `spin`: rounds between looks at the clock, and yields */
    YIELD_NS = 30 * 1000,   /* `adaptive`: yields so long before it sleeps */
    YIELD_DISK_NS =
        300 * 1000,           /* ... for a sync, which takes longer than a wake costs, while ... */
    YIELD_COST_NS = 3 * 1000, /* ... a yield takes no longer on average: nobody wants the core */
    ALIVE_NS = 5 * 1000 * 1000, /* between looks whether the broker is there */
    NOTHING_ROUNDS = 64,        /* answers "nothing" between looks at the clock */
    EPOLL_EVENTS = 4,
};

bool lane_wakeup_take(struct client_lane *lane)
{
    const uint64_t wakeups = atomic_load_explicit(&lane->tusk->wakeups, memory_order_relaxed);
    if (__builtin_expect(wakeups == lane->wakeups_seen, 1)) {
        return false;
    }
    lane->wakeups_seen = wakeups;
    return true;
}

/* Is the broker there? Its death closes the lane's socket. */
static int lane_alive(struct client_lane *lane, uint64_t now_ns)
{
    if (now_ns - lane->checked_ns < ALIVE_NS) {
        return 0;
    }
    lane->checked_ns = now_ns;
    lane->nothings = 0;
    CANCEL_OFF;
    struct pollfd poll_fd = {.fd = lane->socket};
    if (poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) {
        return handle_kill(lane->tusk);
    }
    if (atom_load_relaxed(&lane->map.shm->revoked) != 0) { /* alone; stale: seen next time */
        return handle_kill(lane->tusk);
    }
    return 0;
}

int lane_nothing(struct client_lane *lane)
{
    if (++lane->nothings < NOTHING_ROUNDS) {
        return 0;
    }
    lane->nothings = 0;
    return lane_alive(lane, monotonic_ns());
}

/* `adaptive`, after so long: is it better to sleep? */
static bool yielded_enough(const struct idle *idle, uint64_t waited_ns)
{
    if (waited_ns < YIELD_NS) {
        return false;
    }
    const uint64_t yields = idle->rounds - SPIN_ROUNDS;
    return !idle->disk || waited_ns >= YIELD_DISK_NS || waited_ns > yields * YIELD_COST_NS;
}

int idle_spin(struct idle *idle, struct client_lane *lane, bool interruptible, struct expiry expiry)
{
    const struct tusk *tusk = lane->tusk;
    const int error = handle_check(tusk);
    if (UNLIKELY(error != 0)) {
        return error;
    }
    if (interruptible && UNLIKELY(lane_wakeup_take(lane))) {
        return -EINTR;
    }
    const uint32_t rounds = ++idle->rounds;
    if (tusk->idle == TUSK_IDLE_BLOCK) {
        return IDLE_SLEEP;
    }
    if (rounds < SPIN_ROUNDS || (tusk->idle == TUSK_IDLE_SPIN && rounds % SPIN_CLOCK_ROUNDS != 0)) {
        spin_pause();
        return IDLE_LOOK;
    }
    const uint64_t now_ns = monotonic_ns();
    if (expiry_passed(expiry, now_ns)) {
        return -ETIMEDOUT;
    }
    if (idle->since_ns == 0) {
        idle->since_ns = now_ns;
    }
    if (tusk->idle == TUSK_IDLE_ADAPTIVE && yielded_enough(idle, now_ns - idle->since_ns)) {
        return IDLE_SLEEP;
    }
    sched_yield();
    return now_ns - idle->since_ns >= ALIVE_NS ? lane_alive(lane, now_ns) : IDLE_LOOK;
}

int lane_epoll_get(struct client_lane *lane)
{
    if (lane->epoll_fd >= 0) {
        return lane->epoll_fd;
    }
    CANCEL_OFF;
    const int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        return -ENOMEM;
    }
    struct epoll_event rung = {.events = EPOLLIN};
    struct epoll_event woken = {.events = EPOLLIN | EPOLLET}; /* one edge for each lane's epoll */
    if (epoll_ctl(fd, EPOLL_CTL_ADD, lane->socket, &rung) != 0 ||
        epoll_ctl(fd, EPOLL_CTL_ADD, lane->tusk->wakeup_fd, &woken) != 0) {
        close(fd);
        return -ENOMEM;
    }
    lane->epoll_fd = fd;
    return fd;
}

bool lane_sleep_begin(struct client_lane *lane, const struct wake_on *on)
{
    const uint64_t target = on->room ? LANE_WAITING_ANY : on->completions;
    atom_store_relaxed(&lane->map.shm->waiting, target); /* ordered by the fence */
    fence_full();                                        /* [W3] */
    const uint64_t cq_tail = lane_completions(&lane->map);
    if (!on->room) {
        return cq_tail >= on->completions;
    }
    /* Room that was there before is no news: what was refused then was refused for something else. */
    const uint64_t sq_head = lane_room(&lane->map);
    const bool moved = sq_head != lane->sq_head_seen;
    lane->sq_head_seen = sq_head;
    return cq_tail != lane->drained || moved;
}

void lane_awake(struct client_lane *lane)
{
    atom_store_relaxed(&lane->map.shm->waiting, 0); /* a late wake is only a spurious one */
}

/* Sleeps until a wake, a wakeup, a signal or the end of the time. */
static int lane_poll(struct client_lane *lane, int epoll_fd, int left_ms)
{
    int ready;
    if (epoll_fd >= 0) {
        struct epoll_event events[EPOLL_EVENTS];
        ready = epoll_wait(epoll_fd, events, EPOLL_EVENTS, left_ms);
    } else {
        struct pollfd poll_fd = {.fd = lane->socket, .events = POLLIN};
        ready = poll(&poll_fd, 1, left_ms);
    }
    if (ready < 0 && errno != EINTR) {
        return -ENOMEM;
    }
    if (ready > 0 && wake_drain(lane->socket) != 0) {
        return handle_kill(lane->tusk);
    }
    return 0;
}

int lane_sleep(struct client_lane *lane, const struct wake_on *on, struct expiry expiry)
{
    CANCEL_OFF;
    const int left_ms = expiry_left_ms(expiry);
    if (left_ms == 0) {
        return -ETIMEDOUT;
    }
    const int epoll_fd = on->interruptible ? lane_epoll_get(lane) : -1;
    if (on->interruptible && epoll_fd < 0) {
        return epoll_fd;
    }
    int error = 0;
    if (!lane_sleep_begin(lane, on)) {
        error = lane_poll(lane, epoll_fd, left_ms);
        lane->nothings = 0;
        if (lane->armed) { /* what was taken here had been promised to tusk_fd's watcher */
            lane->armed = false;
            (void)eventfd_write(lane->self_fd, 1);
        }
    }
    lane_awake(lane);
    if (error == 0 && atom_load_relaxed(&lane->map.shm->revoked) != 0) { /* stale: seen later */
        error = handle_kill(lane->tusk);
    }
    return error;
}

int idle_step(struct idle *idle, struct client_lane *lane, const struct wake_on *on,
              struct expiry expiry)
{
    const int answer = idle_spin(idle, lane, on->interruptible, expiry);
    return answer == IDLE_SLEEP ? lane_sleep(lane, on, expiry) : answer;
}

int lane_room_await(struct client_lane *lane, uint64_t bytes, struct expiry expiry,
                    bool interruptible)
{
    struct idle idle = {0};
    const struct wake_on on = {.room = true, .interruptible = interruptible};
    while (UNLIKELY(!lane_fits(lane, bytes))) {
        const int error = idle_step(&idle, lane, &on, expiry);
        if (error != 0) {
            return error;
        }
        lane_drain(lane);
    }
    return 0;
}
