/*
 * Reader: an independent position in a topic.
 * Runs on:    one thread at a time.
 * Invariants: a reader that answers an error stays where it is.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "clientlib/client_lane.h"
#include "clientlib/entry_walk.h"
#include "clientlib/idle.h"
#include "clientlib/lane_op.h"
#include "clientlib/options.h"
#include "clientlib/tail_wait.h"
#include "clientlib/topic.h"

enum {
    /* The earliest entry can be trimmed while a reader goes there: it tries again so often. */
    TRIMS_MAX = 8,
};

struct tusk_reader {
    struct tusk_topic *topic;
    struct entry_walk walk;
    struct tail_wait wait;
    bool earliest;    /* begins at the first entry that is kept when it is first asked */
    uint64_t visible; /* entries below it are known to be visible */
    LIST_ENTRY(tusk_reader) siblings; /* in topic.readers */
};

static int reader_seek(struct tusk_reader *reader, enum tusk_from from, uint64_t value)
{
    reader->earliest = false;
    switch (from) {
    case TUSK_FROM_EARLIEST:
        reader->earliest = true;
        walk_to_seq(&reader->walk, 0);
        return 0;
    case TUSK_FROM_LATEST:
        walk_to_seq(&reader->walk, topic_published_seq(reader->topic->shm));
        return 0;
    case TUSK_FROM_SEQ:
        walk_to_seq(&reader->walk, value);
        return 0;
    case TUSK_FROM_TIME:
        walk_to_time(&reader->walk, value);
        return 0;
    default:
        return -EINVAL;
    }
}

int tusk_reader_open(struct tusk_topic *topic, const struct tusk_reader_options *options,
                     struct tusk_reader **reader)
{
    struct tusk_reader_options given = TUSK_READER_OPTIONS_INIT;
    if (topic == NULL || reader == NULL || !OPTIONS_TAKE(&given, options) ||
        given.from > TUSK_FROM_TIME || given.durable_only > 1) {
        return -EINVAL;
    }
    struct tusk *tusk = topic->tusk;
    int error = handle_check(tusk);
    if (error == 0) {
        error = topic_check(topic);
    }
    if (error != 0) {
        return error;
    }
    struct tusk_reader *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return -ENOMEM;
    }
    made->topic = topic;
    walk_init(&made->walk, topic);
    made->wait.walk = &made->walk;
    made->wait.durable_only = given.durable_only != 0;
    error = reader_seek(made, (enum tusk_from)given.from, given.from_value);
    if (error != 0) {
        free(made);
        return error;
    }
    pthread_mutex_lock(&tusk->lock);
    LIST_INSERT_HEAD(&topic->readers, made, siblings);
    pthread_mutex_unlock(&tusk->lock);
    *reader = made;
    return 0;
}

void reader_free(struct tusk_reader *reader)
{
    walk_deinit(&reader->walk, NULL);
    free(reader);
}

struct tusk_reader *topic_reader_take(struct tusk_topic *topic)
{
    struct tusk_reader *reader = LIST_FIRST(&topic->readers);
    if (reader != NULL) {
        LIST_REMOVE(reader, siblings);
    }
    return reader;
}

void tusk_reader_close(struct tusk_reader *reader)
{
    if (reader == NULL || handle_forked(reader->topic->tusk)) {
        return;
    }
    struct tusk_topic *topic = reader->topic;
    struct tusk *tusk = topic->tusk;
    struct client_lane *lane = client_lane_peek(tusk);
    tail_wait_detach(&reader->wait, lane);
    walk_deinit(&reader->walk, lane);
    pthread_mutex_lock(&tusk->lock);
    LIST_REMOVE(reader, siblings);
    const bool last = topic->closed && LIST_EMPTY(&topic->readers);
    if (last) {
        LIST_REMOVE(topic, siblings);
    }
    pthread_mutex_unlock(&tusk->lock);
    free(reader);
    if (last) {
        topic_free(topic);
    }
}

/* Where the walk may begin now, and what it may see. 0, -ENODATA or -ESTALE. */
static int reader_look(struct tusk_reader *reader)
{
    const struct tusk_topic *topic = reader->topic;
    const int error = topic_check(topic);
    if (UNLIKELY(error != 0)) {
        return error;
    }
    const uint64_t first_seq = topic_first_seq(topic->shm);
    if (UNLIKELY(reader->earliest)) {
        walk_to_seq(&reader->walk, first_seq);
    }
    if (UNLIKELY(first_seq > reader->walk.seq) && !reader->walk.time_unresolved) {
        return -ENODATA;
    }
    if (reader->walk.seq >= reader->visible) {
        reader->visible = tail_wait_visible(&reader->wait);
    }
    return 0;
}

/* Up to max entries that are there now. Their count, or an error if there is none. */
static int reader_take(struct tusk_reader *reader, struct client_lane *lane, size_t max_bytes,
                       struct tusk_entry *entries, size_t max, struct expiry expiry)
{
    int error = reader_look(reader);
    if (UNLIKELY(error != 0)) {
        return error;
    }
    size_t count = 0;
    size_t left = SIZE_MAX; /* of the first entry any size goes */
    int trims = 0;
    while (count < max) {
        const int outcome =
            walk_next(&reader->walk, lane, reader->visible, left, &entries[count], expiry);
        if (outcome == -ENODATA && reader->earliest && trims++ < TRIMS_MAX) {
            error = reader_look(reader); /* what was the earliest has just been trimmed */
            if (error == 0) {
                continue;
            }
        }
        if (outcome != WALK_ENTRY) {
            error = outcome == WALK_FULL && count == 0 ? -ENOMEM : outcome < 0 ? outcome : 0;
            break;
        }
        left = count == 0 ? max_bytes : left;
        left = entries[count].size < left ? left - entries[count].size : 0;
        count++;
        reader->earliest = false;
        count +=
            walk_run(&reader->walk, lane, reader->visible, &left, entries + count, max - count);
    }
    walk_call_end(&reader->walk, lane);
    return count > 0 ? (int)count : error;
}

/* Waits for the tail to pass the walk's seq, one step. 0 or an error. */
static int reader_wait(struct tusk_reader *reader, struct client_lane *lane, struct idle *idle,
                       struct expiry expiry)
{
    const int answer = idle_spin(idle, lane, true, expiry);
    if (answer != IDLE_SLEEP) {
        return answer;
    }
    struct tail_wait *wait = &reader->wait;
    tail_wait_attach(wait, lane);
    walk_release(&reader->walk, lane); /* who sleeps holds nothing */
    wait->wanted = reader->walk.seq;
    lane_drain(lane);
    const int error = tail_wait_submit(wait, lane, expiry);
    if (error != 0 || wait->op->state == LANE_OP_DONE) {
        return error;
    }
    const struct wake_on on = {.completions = lane_op_target(lane, wait->op),
                               .interruptible = true};
    return lane_sleep(lane, &on, expiry);
}

static int reader_read(struct tusk_reader *reader, size_t max_bytes, struct tusk_entry *entries,
                       size_t max, int timeout_ms)
{
    struct client_lane *lane;
    int answer = client_lane_get(reader->topic->tusk, &lane);
    if (UNLIKELY(answer != 0)) {
        return answer;
    }
    reader->wait.hungry = false;
    answer = walk_call_begin(&reader->walk, lane);
    if (UNLIKELY(answer != 0)) {
        return answer;
    }
    /* The clock is looked at only where something is waited for. */
    const struct expiry now = {.at_ns = 0};
    answer = reader_take(reader, lane, max_bytes, entries, max, now);
    if (__builtin_expect(answer != 0, 1)) {
        return answer;
    }
    if (timeout_ms == 0) {
        tail_wait_attach(&reader->wait, lane);
        reader->wait.hungry = true;
        reader->wait.wanted = reader->walk.seq;
        return lane_nothing(lane);
    }
    const struct expiry expiry = expiry_in(timeout_ms);
    struct idle idle = {0};
    for (;;) {
        answer = reader_wait(reader, lane, &idle, expiry);
        if (answer != 0) {
            return answer;
        }
        answer = reader_take(reader, lane, max_bytes, entries, max, expiry);
        if (answer != 0) {
            return answer;
        }
    }
}

int tusk_reader_next(struct tusk_reader *reader, struct tusk_entry *entry, int timeout_ms)
{
    if (UNLIKELY(reader == NULL || entry == NULL || timeout_ms < -1)) {
        return -EINVAL;
    }
    return reader_read(reader, 0, entry, 1, timeout_ms);
}

int tusk_reader_batch(struct tusk_reader *reader, size_t max_bytes, struct tusk_entry *entries,
                      size_t max_entries, int timeout_ms)
{
    if (reader == NULL || entries == NULL || max_entries == 0 || timeout_ms < -1) {
        return -EINVAL;
    }
    return reader_read(reader, max_bytes, entries, max_entries < INT_MAX ? max_entries : INT_MAX,
                       timeout_ms);
}

int tusk_reader_seek(struct tusk_reader *reader, enum tusk_from from, uint64_t value)
{
    if (reader == NULL) {
        return -EINVAL;
    }
    struct client_lane *lane;
    const int error = client_lane_get(reader->topic->tusk, &lane);
    if (error != 0) {
        return error;
    }
    const int outcome = reader_seek(reader, from, value);
    if (outcome == 0) {
        walk_release(&reader->walk, lane);
        (void)walk_call_begin(&reader->walk, lane); /* nothing is held that could be revoked */
        reader->wait.hungry = false;
    }
    return outcome;
}
