/* Cursor: see cursor.h. */
#include "clientlib/cursor.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "clientlib/client_lane.h"
#include "clientlib/idle.h"
#include "clientlib/lane_op.h"
#include "clientlib/topic.h"

/* One call of tusk_read_next or tusk_batch_read. */
struct cursor_read {
    size_t max_bytes; /* of payload, behind the first entry */
    size_t max_entries;
    bool checkpoint;
    struct tusk_entry *entries;
    struct expiry expiry;
};

static void cursor_free(struct topic_cursor *cursor, struct client_lane *lane)
{
    if (cursor->claim != NULL && lane == cursor->lane) {
        lane_op_drop(lane, cursor->claim);
    }
    walk_deinit(&cursor->walk, lane);
    free(cursor);
}

void topic_cursors_leave(struct client_lane *lane)
{
    struct tusk_topic *topic;
    LIST_FOREACH(topic, &lane->tusk->topics, siblings)
    {
        struct topic_cursor *cursor;
        LIST_FOREACH(cursor, &topic->cursors, siblings)
        {
            if (cursor->lane == lane) {
                LIST_REMOVE(cursor, siblings);
                cursor_free(cursor, lane);
                break;
            }
        }
    }
}

void topic_cursors_close(struct tusk_topic *topic, struct client_lane *lane)
{
    for (;;) {
        /* One by one: threads that exit meanwhile take theirs out. */
        pthread_mutex_lock(&topic->tusk->lock);
        struct topic_cursor *cursor = LIST_FIRST(&topic->cursors);
        if (cursor != NULL) {
            LIST_REMOVE(cursor, siblings);
        }
        pthread_mutex_unlock(&topic->tusk->lock);
        if (cursor == NULL) {
            return;
        }
        tail_wait_detach(&cursor->wait, lane);
        cursor_free(cursor, lane);
    }
}

void topic_cursors_free(struct tusk_topic *topic, struct client_lane *lane)
{
    while (!LIST_EMPTY(&topic->cursors)) {
        struct topic_cursor *cursor = LIST_FIRST(&topic->cursors);
        LIST_REMOVE(cursor, siblings);
        cursor_free(cursor, lane);
    }
}

static int cursor_get(struct tusk_topic *topic, struct client_lane *lane,
                      struct topic_cursor **cursor)
{
    if (__builtin_expect(lane->cursor_topic == topic->serial, 1)) {
        *cursor = lane->cursor;
        return 0;
    }
    struct topic_cursor *found;
    pthread_mutex_lock(&lane->tusk->lock);
    LIST_FOREACH(found, &topic->cursors, siblings)
    {
        if (found->lane == lane) {
            break;
        }
    }
    if (found == NULL && (found = calloc(1, sizeof *found)) != NULL) {
        found->topic = topic;
        found->lane = lane;
        walk_init(&found->walk, topic);
        found->walk.deliveries = 1;
        found->wait.walk = &found->walk;
        LIST_INSERT_HEAD(&topic->cursors, found, siblings);
    }
    pthread_mutex_unlock(&lane->tusk->lock);
    if (found == NULL) {
        return -ENOMEM;
    }
    lane->cursor_topic = topic->serial;
    lane->cursor = found;
    *cursor = found;
    return 0;
}

/* The consistency that holds for the handle: flags of a CLAIM, and persist_every. */
static unsigned cursor_consistency(const struct tusk *tusk, uint32_t *persist_every)
{
    const struct directory_shm *directory = tusk->directory;
    uint64_t every;
    switch (tusk->consistency) {
    case TUSK_STRICTLY_AT_ONCE:
        *persist_every = 1;
        return SUBMIT_STRICT;
    case TUSK_AT_LEAST_ONCE:
        *persist_every = tusk->persist_every > 0 ? tusk->persist_every : 1;
        return 0;
    case TUSK_CONSISTENCY_DEFAULT:
    default:
        every =
            atom_load_relaxed(&directory->persist_every); /* each word alone is a valid choice */
        *persist_every = every > 0 ? (uint32_t)every : 1;
        return atom_load_relaxed(&directory->strict) != 0 ? SUBMIT_STRICT : 0; /* the same */
    }
}

static int claim_submit(struct topic_cursor *cursor, const struct cursor_read *read,
                        struct lane_op **op)
{
    struct claim_request_shm body = {.entries_max = (uint32_t)read->max_entries};
    const int error = chunk_view_reserve(&cursor->walk.view, body.entries_max, &body.chunks_max);
    if (error != 0) {
        return error;
    }
    unsigned flags = cursor_consistency(cursor->lane->tusk, &body.persist_every);
    if (!read->checkpoint) {
        flags = SUBMIT_PEEK;
    }
    const struct lane_request claim = {.kind = SUBMIT_CLAIM,
                                       .flags = flags,
                                       .topic_word = cursor->topic->word,
                                       .arg = read->max_bytes,
                                       .body = &body,
                                       .body_bytes = sizeof body,
                                       .holds = true};
    return lane_op_submit(cursor->lane, &claim, read->expiry, false, op);
}

/* Waits for a claim's answer: *count entries from where the walk now is. That is a round trip, not a
 * wait for an entry, so wakeups are left to others. A checkpointed claim is never canceled, since it
 * may have been granted already: the next call goes on waiting for it. */
static int claim_await(struct topic_cursor *cursor, const struct cursor_read *read,
                       struct lane_op *op, bool peeks, uint64_t *count)
{
    struct client_lane *lane = cursor->lane;
    const int error = lane_op_await(lane, op, read->expiry, false);
    cursor->claim = NULL;
    if (error != 0 && peeks) {
        lane_op_drop(lane, op);
    } else if (error != 0) {
        cursor->claim = op;
    }
    if (error != 0) {
        return error;
    }
    const struct completion_shm result = op->result;
    if (result.error > 0) {
        cursor->holding = op;
        *count = (uint64_t)result.error;
        walk_to_position(&cursor->walk, result.seq, result.value);
        return 0;
    }
    (void)lane_op_take(lane, op);
    *count = 0;
    if (result.error == 0 && cursor->walk.seq != result.seq) {
        walk_to_seq(&cursor->walk, result.seq);
    }
    return result.error;
}

/* Entries from the cursor on. *count of them, where the walk is. 0 or an error. */
static int cursor_claim(struct topic_cursor *cursor, const struct cursor_read *read,
                        uint64_t *count)
{
    if (cursor->claim != NULL) {
        uint32_t chunks;
        const int unpinned = chunk_view_reserve(&cursor->walk.view, CHUNK_HOLDS_MAX, &chunks);
        if (unpinned != 0) {
            return unpinned;
        }
        const int answer = claim_await(cursor, read, cursor->claim, false, &cursor->granted);
        *count = cursor->granted;
        if (answer < 0 || *count > 0) {
            return answer;
        }
    }
    struct lane_op *op;
    const int error = claim_submit(cursor, read, &op);
    if (error != 0) {
        return error;
    }
    const int answer = claim_await(cursor, read, op, !read->checkpoint, count);
    if (answer == 0 && read->checkpoint) {
        cursor->granted = *count;
    }
    return answer;
}

/* What the directory tells without asking: 1: *count entries, from where the walk stands already;
 * 0: there is none; -EAGAIN: the broker must be asked. */
static int cursor_glance(struct topic_cursor *cursor, const struct cursor_read *read,
                         uint64_t *count)
{
    const struct topic_shm *topic = cursor->topic->shm;
    const uint64_t visible = tail_wait_visible(&cursor->wait);
    /* Both only grow; an old cursor_seq means asking once more than needed, or a peek that another
     * reader has just overtaken. */
    if (atom_load_relaxed(&topic->cursor_exists) == 0) {
        return visible == 0 ? 0 : -EAGAIN;
    }
    const uint64_t seq = atom_load_relaxed(&topic->cursor_seq);
    if (seq >= visible) {
        if (cursor->walk.seq != seq) {
            walk_to_seq(&cursor->walk, seq);
        }
        return 0;
    }
    if (!read->checkpoint && cursor->walk.located && cursor->walk.seq == seq) {
        *count = visible - seq;
        return 1;
    }
    return -EAGAIN;
}

/* Gives up to `count` entries from the walk on. Their number, or an error if there is none. */
static int cursor_give(struct topic_cursor *cursor, const struct cursor_read *read, uint64_t count)
{
    const uint64_t end = cursor->walk.seq + count;
    size_t given = 0;
    size_t left = SIZE_MAX; /* of the first entry any size goes */
    while (given < read->max_entries && given < count) {
        struct tusk_entry *entry = &read->entries[given];
        const int outcome = walk_next(&cursor->walk, cursor->lane, end, left, entry, read->expiry);
        if (outcome != WALK_ENTRY) {
            if (given > 0 || outcome == WALK_END || outcome == WALK_OVER) {
                break;
            }
            return outcome == WALK_FULL ? -ENOMEM : outcome;
        }
        left = given == 0 ? read->max_bytes : left;
        left = entry->size < left ? left - entry->size : 0;
        given++;
        given +=
            walk_run(&cursor->walk, cursor->lane, end, &left, entry + 1, read->max_entries - given);
    }
    return (int)given;
}

static int cursor_read(struct topic_cursor *cursor, const struct cursor_read *read)
{
    uint64_t count = cursor->granted;
    if (count == 0) {
        int answer = cursor->claim == NULL ? cursor_glance(cursor, read, &count) : -EAGAIN;
        if (answer == -EAGAIN) {
            answer = cursor_claim(cursor, read, &count);
        }
        if (answer < 0) {
            return answer;
        }
    }
    if (count == 0) {
        cursor->wait.wanted = cursor->walk.seq;
        return 0;
    }
    const uint64_t seq = cursor->walk.seq;
    const uint64_t position = cursor->walk.position;
    const int given = cursor_give(cursor, read, count);
    if (cursor->holding != NULL) {
        (void)lane_op_take(cursor->lane, cursor->holding);
        cursor->holding = NULL;
    }
    chunk_view_spares_give(&cursor->walk.view);
    walk_call_end(&cursor->walk, cursor->lane);
    if (!read->checkpoint) {
        walk_to_position(&cursor->walk, seq, position);
    } else if (given > 0 && cursor->granted > 0) {
        cursor->granted -= (uint64_t)given;
    }
    return given;
}

static int topic_read(struct tusk_topic *topic, struct cursor_read *read)
{
    struct client_lane *lane;
    int answer = client_lane_get(topic->tusk, &lane);
    if (answer == 0) {
        answer = topic_check(topic);
    }
    struct topic_cursor *cursor = NULL;
    if (answer == 0) {
        answer = cursor_get(topic, lane, &cursor);
    }
    if (answer != 0) {
        return answer;
    }
    cursor->wait.hungry = false;
    answer = walk_call_begin(&cursor->walk, lane);
    if (UNLIKELY(answer != 0)) {
        return answer;
    }
    read->expiry = handle_expiry(topic->tusk);
    answer = cursor_read(cursor, read);
    if (answer == 0) {
        tail_wait_attach(&cursor->wait, lane);
        cursor->wait.hungry = true;
        return lane_nothing(lane);
    }
    return answer;
}

int tusk_read_next(struct tusk_topic *topic, bool checkpoint, struct tusk_entry *entry)
{
    if (topic == NULL || entry == NULL) {
        return -EINVAL;
    }
    struct cursor_read read = {.max_entries = 1, .checkpoint = checkpoint, .entries = entry};
    return topic_read(topic, &read);
}

int tusk_batch_read(struct tusk_topic *topic, size_t max_bytes, bool checkpoint,
                    struct tusk_entry *entries, size_t max_entries)
{
    if (topic == NULL || entries == NULL || max_entries == 0) {
        return -EINVAL;
    }
    struct cursor_read read = {.max_bytes = max_bytes,
                               .max_entries = max_entries < INT_MAX ? max_entries : INT_MAX,
                               .checkpoint = checkpoint,
                               .entries = entries};
    return topic_read(topic, &read);
}
