/*
 * Client lane: this process's side of one thread's lane.
 * Runs on:    the thread that owns it, but for `tails` and `cursors`, which belong to the holder of
 *             the handle's lock, and for opening and closing.
 * Invariants: sq_tail is what was published; asyncs_head <= asyncs_done <= asyncs_tail <=
 *             asyncs_head + CQ slots; as many completions as there are ops pending and asyncs
 *             between done and tail are due, never more than the CQ has slots.
 *             Space is left at the SQ's end for the library's own small submissions
 *             (LANE_MARGIN_BYTES), so that a lane full of appends can still be asked things.
 * Trust:      the engine's words are trusted; a completion of something that isn't outstanding ends
 *             the handle.
 * Not here:   operations and reaping (lane_op.h), waiting (idle.h).
 *
 * A thread finds its lane by the handle's serial in thread-local storage. Lanes are given back when
 * their thread exits; the one lane of a one_lane handle is given back with the handle.
 */
#ifndef TUSK_CLIENTLIB_CLIENT_LANE_H
#define TUSK_CLIENTLIB_CLIENT_LANE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "clientlib/handle.h"
#include "shm/lane.h"

enum {
    /* What appends leave free in the SQ. */
    LANE_MARGIN_BYTES = 1024,
    /* CQ slots that asynchronous appends leave to everything else. */
    LANE_MARGIN_SLOTS = 64,
    /* Operations that can be pending on a lane at once: waits of readers, mostly. */
    LANE_OPS_MAX = CQ_SLOTS / 2,
    /* Waits leave so many to calls, which would fail else for as long as all readers wait. */
    LANE_WAITS_MAX = LANE_OPS_MAX - 16,
};

/* An append by tusk_submit and its like, until tusk_reap hands its completion out. */
struct lane_async {
    uint64_t user_data;
    uint64_t topic_word; /* of the submission: descriptor index and incarnation */
    uint64_t seq;
    int32_t error;
    uint32_t local; /* an empty batch: never published, done when its turn comes */
};

/* A level that tusk_flush has asked for. */
struct lane_flush {
    struct lane_op *op; /* pending, or NULL */
    uint64_t covers;    /* lane_appended() when op was submitted */
    uint64_t reached;   /* lane_appended() that is known to have reached the level */
    bool unanswered;    /* the last tusk_flush said -EAGAIN */
};

/* What a lane and a topic with no_wait have to settle after -EAGAIN (lane_resume). */
struct lane_refusal {
    uint64_t topic_word;
    uint64_t resumed; /* asyncs below this index were submitted before the last RESUME */
};

struct client_lane {
    /* Submitting. */
    struct lane_map map;
    uint64_t sq_tail;
    uint64_t sq_head_seen; /* the engine's head when it was last looked at */
    uint64_t own_bytes;    /* of sq_tail: submissions that aren't appends */
    struct lane_async *asyncs;
    uint64_t asyncs_tail;  /* submitted */
    uint64_t asyncs_done;  /* completed */
    uint64_t asyncs_head;  /* handed out */
    uint32_t asyncs_local; /* local ones between done and tail */
    uint32_t ops_pending;
    int socket;
    bool client_fences;
    uint64_t rung;                     /* the last parking of the engine that it was rung for */
    const struct tusk_topic *reserved; /* the topic of the reservation, or NULL */
    uint64_t reserved_at;              /* SQ index of its header; ops go between tail and this */
    uint64_t reserved_bytes;

    /* Completing. */
    uint64_t drained;    /* completions taken from the CQ */
    uint64_t reaped;     /* ... that the engine knows to be taken; less while one is held back */
    uint32_t held_count; /* ops that hold theirs back */
    struct lane_op *ops;
    struct lane_op *ops_free;
    uint32_t ops_used;          /* those below this index have been used */
    int32_t quiet_error;        /* the first failure that the next flush reports */
    struct lane_flush flush[2]; /* by enum tusk_level */
    struct lane_op *durable_op; /* waits for durability of what tusk_reap withholds, or NULL */
    uint64_t durable_covers;    /* asyncs_done when it was submitted */
    struct lane_refusal *refusals;
    uint32_t refusals_count;

    /* Waiting. */
    uint64_t wakeups_seen;
    uint64_t checked_ns;    /* when the broker was last known to be there */
    uint32_t nothings;      /* answers "nothing" since then */
    uint64_t room_wanted;   /* bytes of the append that found no room; 0: none */
    uint64_t reap_reported; /* asyncs_done when tusk_arm last said 1 for completions */
    bool armed;             /* tusk_arm has said 0 and promised that tusk_fd will turn readable */
    int epoll_fd;           /* -1 until something sleeps; holds socket, wakeup_fd, self_fd */
    int self_fd;            /* an eventfd of this lane, -1 until tusk_fd is called */

    /* Belonging. */
    struct tusk *tusk;
    uint64_t lane_id;
    int fd;                       /* the memfd, kept */
    LIST_HEAD(, tail_wait) tails; /* handle's lock: readers and cursors that wait on this lane */
    uint64_t cursor_topic;        /* serial of the topic that `cursor` is for; 0: none */
    struct topic_cursor *cursor;  /* the last one used */
    LIST_ENTRY(client_lane) siblings; /* in tusk.lanes */
};

/* What this thread used last. */
struct client_lane_cache {
    uint64_t serial;
    struct client_lane *lane;
};
extern _Thread_local struct client_lane_cache client_lane_cache
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* The slow way of client_lane_get(): looks further, or opens a lane. */
int client_lane_find(struct tusk *tusk, struct client_lane **lane);

/* The calling thread's lane if it has one and the handle is alive, else NULL. */
struct client_lane *client_lane_peek(struct tusk *tusk);

/* Frees a lane without a word to the broker, which learns from the session's end. It is in no list
 * any more. In a forked child the lane's memory is not there and is left alone. */
void client_lane_free(struct client_lane *lane);

/* Bytes of the lane's submissions that are appends: flushes compare it. */
static inline uint64_t lane_appended(const struct client_lane *lane)
{
    return lane->sq_tail - lane->own_bytes;
}

/* The calling thread's lane; opens one at the first call. 0, -EOWNERDEAD, -ESTALE, -ENOMEM. */
static inline int client_lane_get(struct tusk *tusk, struct client_lane **lane)
{
    const uint64_t state = atom_load_relaxed(&tusk->guard->state); /* stale: noticed next time */
    if (UNLIKELY(state != HANDLE_ALIVE)) {
        return handle_state_error(state);
    }
    if (UNLIKELY(client_lane_cache.serial != tusk->serial)) {
        return client_lane_find(tusk, lane);
    }
    *lane = client_lane_cache.lane;
    return 0;
}

#endif
