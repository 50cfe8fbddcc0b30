/*
 * Store stage: a whole struct store over a memory disk, its directory and arena in plain memory, and
 * lanes that the test fills itself; the engine's pass is done by hand, a part at a time where a test
 * wants to look in between.
 * Runs on:    the test's thread; no threads, no sockets that anybody waits on.
 * Invariants: as in the engine a lane that is blocked is looked at again only when store.freed was
 *             set, so that a wake that is forgotten shows as an answer that never comes.
 * Not here:   the order of passes in time, parking and waking (broker/engine.c, lane_set.c).
 */
#ifndef TUSK_TESTS_UNIT_STORE_STAGE_H
#define TUSK_TESTS_UNIT_STORE_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/io_memory.h"
#include "broker/lane.h"
#include "broker/memory_disk.h"
#include "broker/store.h"
#include "broker/submit.h"

#define STAGE_CHUNK UINT64_C(65536)

enum { STAGE_LANES_MAX = 96 };

/* The answer to the submission with this user_data, which counts the lane's submissions from 0. */
struct stage_answer {
    bool given;
    uint64_t seq;
    int error;
    uint64_t value;
};

struct stage_lane {
    struct stage *stage;
    struct lane *lane;
    struct client client;
    struct lane_record_shm record;
    struct lane_map map; /* the client's own mapping */
    int fd;
    int socket;
    uint64_t tail;   /* of the SQ, written so far */
    uint64_t reaped; /* completions */
    bool blocked;
    bool waiting; /* for a stream's end */
    bool hostile;
    struct stage_answer *answers;
    uint64_t submissions;
    uint64_t silent; /* of them: parts of streams, which nothing answers */
    uint64_t answers_room;
};

struct stage {
    struct config config;
    uint64_t snapshot_log_bytes; /* 0: the store's own; else also one record a pass */
    struct memory_disk *disk;
    struct io *io;
    struct directory_shm *directory;
    struct mapping arena;
    struct store store;
    struct fault fault;
    bool open;
    bool reaping; /* passes reap the completions of all lanes */
    uint64_t now_ns;
    uint64_t time_ns;
    uint64_t random;
    struct stage_lane *lanes[STAGE_LANES_MAX];
    uint32_t lanes_count;
};

/* A stage with a new disk; nothing is open. The config may be changed before stage_open(): chunks of
 * STAGE_CHUNK, segments of 16 chunks, an arena of 64, 256 topics, schedule `each`. */
void stage_init(struct stage *stage, uint64_t seed);

/* store_open()'s result; after a failure everything is closed again. */
int stage_try_open(struct stage *stage);
void stage_open(struct stage *stage);

/* A clean stop; lanes go as well. */
void stage_close(struct stage *stage);

/* The process is gone: what was queued may or may not happen; then the power goes too. */
void stage_power_off(struct stage *stage, enum memory_loss loss);

/* Closes what is open without ceremony and frees the disk. */
void stage_deinit(struct stage *stage);

uint64_t stage_random(struct stage *stage, uint64_t below);

struct stage_lane *stage_lane_open(struct stage *stage);
struct stage_lane *stage_lane_open_sized(struct stage *stage, uint64_t sq_bytes);
/* As the engine does when the client has gone: takes what it has published no more. */
void stage_lane_close(struct stage_lane *lane);

/* What a submission is about. */
struct stage_topic {
    uint32_t index;
    uint32_t incarnation;
};

/* The topic of a name: TOPIC_OPEN, answered at once. */
struct stage_topic stage_topic_open(struct stage_lane *lane, const char *name);
struct topic *stage_topic_of(const struct stage *stage, struct stage_topic topic);

/* Writes a submission and publishes it; returns its user_data. */
struct stage_request {
    uint16_t kind;
    uint16_t flags;
    struct stage_topic topic;
    uint64_t arg;
    const void *body;
    uint32_t bytes;
};
uint64_t stage_submit(struct stage_lane *lane, const struct stage_request *request);

/* An entry whose bytes follow from `stamp` and its size; see stage_fill(). */
uint64_t stage_append(struct stage_lane *lane, struct stage_topic topic, uint32_t size,
                      uint64_t stamp, unsigned flags);
/* count entries with stamps from `stamp` on. */
uint64_t stage_batch(struct stage_lane *lane, struct stage_topic topic, const uint32_t *sizes,
                     uint32_t count, uint64_t stamp, unsigned flags);
uint64_t stage_claim(struct stage_lane *lane, struct stage_topic topic, uint64_t bytes_max,
                     uint32_t entries_max, uint32_t persist_every, unsigned flags);
/* Any other submission of this kind without a body. */
uint64_t stage_ask(struct stage_lane *lane, uint16_t kind, struct stage_topic topic, uint64_t arg,
                   unsigned flags);

/* Is there room in the lane for so many bytes of body? */
bool stage_lane_has_room(const struct stage_lane *lane, uint64_t bytes);

/* The parts of a pass. */
void stage_clock(struct stage *stage, uint64_t ns);
bool stage_take(
    struct stage *stage); /* what all lanes have published, also blocked ones if freed */
void stage_look(struct stage *stage); /* topics that moved; publishes and, if told, reaps */
/* One pass, in the engine's order; true: something was done. */
bool stage_pass(struct stage *stage);
/* Passes until there is nothing to do any more; under `N ms` also what only waits for the time. */
void stage_settle(struct stage *stage);

void stage_reap(struct stage_lane *lane);

const struct stage_answer *stage_answer(const struct stage_lane *lane, uint64_t user_data);
/* After stage_settle(): the answer must be there. */
const struct stage_answer *stage_answered(struct stage_lane *lane, uint64_t user_data);

/* The bytes of an entry. */
void stage_fill(void *bytes, uint64_t size, uint64_t stamp);

/* The sum of all holds of all chunks: 0 when nobody uses anything. */
uint64_t stage_holds(const struct stage *stage);

#endif
