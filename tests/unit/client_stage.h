/*
 * Client stage: a broker of a few lines for tests of the client library: control socket, directory,
 * arena and one engine, all in memory and on one thread of the test. It does what tests tell it to:
 * stalls, withholds durability, forgets chunk images, fails appends, dies.
 * Runs on:    stage_* on the test's threads; the engine on its own. Words of struct stage are atomic
 *             or set while the engine stands still.
 * Not here:   anything a real broker does for safety.
 */
#ifndef TUSK_TESTS_UNIT_CLIENT_STAGE_H
#define TUSK_TESTS_UNIT_CLIENT_STAGE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <tusk/tusk.h>

#include "shm/directory.h"
#include "shm/lane.h"
#include "shm/mapping.h"
#include "shm/pins.h"

enum {
    STAGE_LANES = 16,
    STAGE_TOPICS = 16,
    STAGE_CHUNKS = 256,
    STAGE_SESSIONS = 8,
    STAGE_WAITERS = 64,
};

struct stage_lane {
    bool open;
    uint64_t lane_id;
    int fd;
    int socket;
    struct lane_map map;
    uint64_t head;
    uint64_t cq_tail;
    uint64_t cq_published; /* other lanes' turns complete waits of this one */
    bool parked;
    uint64_t parkings;
    int failed; /* of a QUIET append since the last WAIT */
};

struct stage_chunk {
    uint32_t unit;
    uint64_t base_seq;
    uint64_t base_time_ns;
    bool shown; /* in the topic's map, or would be if that were larger */
    bool gone;  /* trimmed: FETCH says -ENODATA */
};

struct stage_topic {
    char name[TOPIC_NAME_BYTES_MAX + 1];
    struct topic_shm *shm;
    uint64_t position;
    uint64_t next_seq;
    uint64_t cursor_seq;
    uint64_t positions[65536]; /* of each entry */
    uint64_t sizes[65536];
    struct stage_chunk chunks[STAGE_CHUNKS];
    uint64_t chunk_count;
};

struct stage_waiter {
    bool pending;
    struct stage_lane *lane;
    struct submission submission;
};

/* A claim whose completion has not been reaped. */
struct stage_claim {
    bool pending;
    const struct stage_lane *lane;
    struct stage_topic *topic;
    uint64_t cq_index;
    uint64_t chunks_from; /* what goes when it is reaped, unless it is pinned */
    uint64_t chunks_to;
};

struct stage {
    char directory_path[128];
    char socket_path[160];
    struct mapping directory_map;
    struct mapping arena_map;
    struct mapping pins_map;
    int directory_fd; /* of the regions' folder */
    int directory_share;
    int arena_share;
    int pins_fd;
    struct directory_shm *directory;
    int listener;
    int sessions[STAGE_SESSIONS];
    struct stage_lane lanes[STAGE_LANES];
    struct stage_topic topics[STAGE_TOPICS];
    struct stage_waiter waiters[STAGE_WAITERS];
    struct stage_claim claims[STAGE_WAITERS];
    uint32_t units_used;
    uint64_t last_lane;
    pthread_t thread;

    /* What tests turn. */
    _Atomic bool stop;
    _Atomic bool stalled;      /* takes nothing */
    _Atomic bool durable_held; /* nothing becomes durable */
    _Atomic bool trims;        /* consumed chunks go as soon as their claim is reaped */
    _Atomic bool parked;       /* goes to sleep whenever a lane is empty */
    _Atomic int append_error;  /* what appends fail with */
    _Atomic uint64_t fetches;
    _Atomic uint64_t trimmed; /* chunks */
    _Atomic uint64_t rings;   /* wake bytes sent to clients */
    _Atomic uint64_t woken;   /* wake bytes received */
    _Atomic uint64_t parkings;
};

/* Starts the broker; `each`: the schedule. */
void stage_begin(struct stage *stage, bool each);
void stage_end(struct stage *stage);

/* Its sockets close, as when it is killed. */
void stage_kill(struct stage *stage);

/* Sets a switch and waits until the engine has seen it. */
void stage_set(_Atomic bool *word, bool value);

/* Takes all chunk images away that no client pins; returns how many are pinned. */
uint32_t stage_evict(struct stage *stage, struct stage_topic *topic);

struct stage_topic *stage_topic(struct stage *stage, const char *name);

/* Deletes a topic behind its clients' backs. */
void stage_delete(struct stage *stage, const char *name);

/* Lets entries below a seq go. */
void stage_trim(struct stage *stage, const char *name, uint64_t first_seq);

/* A connection to it. */
struct tusk *stage_connect(struct stage *stage, const struct tusk_options *options);

#endif
