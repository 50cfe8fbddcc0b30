/*
 * Lane, client: the broker's side of one client thread's lane and of the session that owns it.
 * Runs on:    made and freed on the control thread; between MAIL_LANE_ATTACH and MAIL_LANE_CLOSED
 *             (MAIL_CLIENT_ATTACH and MAIL_CLIENT_CLOSED) the members marked "engine" belong to the
 *             engine alone; the others do not change in that time.
 * Trust:      the lane's memory is the client's; head and cq_tail here are the engine's own.
 */
#ifndef TUSK_BROKER_LANE_H
#define TUSK_BROKER_LANE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/io.h"
#include "broker/list.h"
#include "broker/mail.h"
#include "shm/ensure.h"
#include "shm/lane.h"
#include "shm/ledger.h"

struct engine_store;
struct pin_note;
struct stream;

/* Why a lane is not looked at although it may hold submissions. */
enum lane_state {
    LANE_PARKED = 0,  /* empty when last seen; its socket wakes it */
    LANE_ACTIVE = 1,  /* polled */
    LANE_BLOCKED = 2, /* its next submission waits until store.freed */
    LANE_CLOSED = 3,  /* detached or being so */
    LANE_WAITING = 4, /* its next submission waits until store.stream_ended */
};

struct client {
    /* Control thread, before MAIL_CLIENT_ATTACH. */
    uint64_t session_id;
    pid_t pid;
    uid_t uid;
    struct mail attach_mail;
    struct mail close_mail;
    struct mail pins_mail;
    int pins_fd; /* -1 until MAIL_PINS_ATTACH */
    void *session;
    struct engine_store *store; /* that serves it */

    /* Engine. */
    struct list_node clients;         /* in lane_set.clients */
    struct list lanes;                /* of struct lane.siblings */
    struct list topic_refs;           /* of struct topic_ref */
    struct topic_ref **topic_buckets; /* the same by descriptor, topic_bucket_count of them */
    uint32_t topic_bucket_count;      /* 0 or a power of two */
    uint32_t topic_ref_count;
    struct list_node readers;   /* in pool.readers, once it has pins */
    struct pin_note *pin_notes; /* of each of its pins, or NULL (pool_pins.h) */
    uint64_t pins_revoked;      /* so many, not told yet */
    int pins_fault;             /* why its pins could not be read, -errno */
    struct mail closed_mail;
    struct mail hostile_mail;
    char hostile[120]; /* what it did, in words; "" = nothing */
    bool closing;
};

struct lane {
    /* Control thread, before MAIL_LANE_ATTACH. */
    uint64_t lane_id;
    struct lane_map map;
    struct lane_record_shm *record; /* in the ledger */
    int socket;                     /* the broker's end of the socketpair */
    struct client *client;
    struct mail attach_mail;
    struct mail close_mail;

    /* Engine. */
    struct mail closed_mail;
    struct list_node siblings; /* in client.lanes */
    struct list_node queue;    /* in the list of its state */
    enum lane_state state;
    bool closing;
    struct io_watch watch;

    uint64_t head;           /* SQ bytes taken */
    uint64_t head_published; /* ... as the client knows */
    uint64_t cq_tail;        /* completions posted */
    uint64_t cq_tail_published;
    uint64_t cq_head_seen;        /* the client's cq_head, as last loaded */
    uint32_t pending_count;       /* submissions accepted whose completion is still due */
    int32_t failed;               /* first failure of a submission without completion; 0 = none */
    struct list pending;          /* of struct pending.siblings */
    uint64_t last_sync;           /* the sync that covers its last unit */
    struct pending *durable_wait; /* at most one */
    struct list refusals;         /* see refusal.h */
    struct stream *stream;        /* that it has open, or NULL */
    bool stream_skip;             /* what follows of a stream that has failed is passed over */
    struct list fetched;          /* chunks held until their completions are reaped */
    struct list_node dirty;       /* in store.publish: news for its client */
    bool publish_due;
    uint64_t cq_tail_before; /* of the publication in progress */
    uint64_t head_before;
    uint64_t idle_since_ns; /* 0: it had something in its last turn */
    uint64_t parkings;      /* the last one's number: lane.parked */
    uint64_t stop_tail;     /* a stop takes what was published below this */
};

/* Control thread. Makes the memfd, the socketpair and the mapping; *lane_fd and *client_socket are
 * the caller's, to be handed to the client. 0 or -errno. */
int lane_new(struct lane **lane, struct client *client, uint64_t lane_id, uint64_t sq_bytes,
             struct lane_record_shm *record, int *lane_fd, int *client_socket);

/* Control thread, after MAIL_LANE_CLOSED or MAIL_CLIENT_CLOSED: unmaps, closes, frees. */
void lane_free(struct lane *lane);

/* Engine: has so much been taken since the client was told of `head_told` that it should hear of
 * it, although no completion is due? */
static inline bool lane_room_is_news(const struct lane *lane, uint64_t head_told)
{
    return lane->head - head_told >= lane->map.sq_bytes / 4;
}

/* Engine: copies the body of the submission at the lane's head, once, where it is to be looked at:
 * a request or a name, of so few bytes that it lies in one piece. */
static inline void lane_body_copy(const struct lane *lane, void *copy, uint64_t bytes)
{
    ensure(bytes <= SQ_PIECE_BYTES_MIN);
    lane_engine_copy(copy, lane_at(&lane->map, lane->head + SUBMISSION_HEADER_BYTES), bytes);
}

/* Engine, after lane_set_stop(): has it taken all that had been published when the stop came? */
static inline bool lane_is_drained(const struct lane *lane)
{
    return lane->head - lane->stop_tail <= lane->map.sq_bytes;
}

#endif
