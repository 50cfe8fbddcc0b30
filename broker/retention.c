/* Retention: see retention.h. */
#include "broker/retention.h"

#include <errno.h>

#include "broker/fetch.h"
#include "broker/pending.h"
#include "broker/system_topic.h"
#include "shm/ensure.h"

/* Under `none` nothing becomes durable by itself: consumed chunks that only wait for that ask for a
 * sync once there are so many. */
enum { CONSUMED_CHUNKS_BEFORE_SYNC = 32 };

static bool chunk_is_used(const struct chunk *chunk)
{
    return chunk_is_kept(chunk) || !list_empty(&chunk->waiters);
}

/* Chunks that lie wholly before the topic's first entry go as soon as nobody uses them. */
static void chunks_drop(struct store *store, struct topic *topic)
{
    const uint64_t kept = chunk_number(topic->first_position, store->chunk_bytes);
    uint64_t number = topic->first_chunk;
    while (number < kept && number < topic->first_chunk + topic->chunk_count &&
           !chunk_is_used(topic_chunk(topic, number))) {
        number++;
    }
    store_forget_chunks(store, topic, number);
}

/* The topic begins at `place` from now on. STORE_READY, STORE_WAIT or -errno. */
static int give_up(struct store *store, struct topic *topic, struct record_place place)
{
    const int outcome = system_topic_prepare(store);
    if (outcome != STORE_READY) {
        return outcome;
    }
    const struct record record = {
        .kind = RECORD_TRIM,
        .topic_id = topic->id,
        .trim = {.chunk_no = chunk_number(place.position, store->chunk_bytes), .first = place},
    };
    system_topic_append(store, &record);
    topic->first_position = place.position;
    topic->first_seq = place.seq;
    topic_publish_first(topic->shm, place.position, place.seq);
    /* By position: before an entry there may be the end of a chunk, which goes. */
    if (topic->cursor.exists && topic->cursor.position < place.position) {
        topic->cursor.seq = place.seq;
        topic->cursor.position = place.position;
        atom_store_relaxed(&topic->shm->cursor_seq, place.seq); /* a figure, ordered by nothing */
    }
    chunks_drop(store, topic);
    store_topic_moved(store, topic);
    return STORE_READY;
}

/* The last chunk that may become the first one, now that the group has passed what is before it. */
static uint64_t consumed_until(const struct store *store, const struct topic *topic)
{
    const uint64_t position = topic->cursor.position < topic->durable_position
                                  ? topic->cursor.position
                                  : topic->durable_position;
    const uint64_t last = chunk_number(position, store->chunk_bytes);
    uint64_t number = topic->first_chunk;
    while (number < last && number + 1 < topic->first_chunk + topic->chunk_count &&
           !chunk_is_used(topic_chunk(topic, number))) {
        number++;
    }
    return number;
}

static void consumed_ask_for_sync(struct store *store, const struct topic *topic)
{
    if (store->config->fsync != FSYNC_NONE) {
        return;
    }
    const uint64_t passed = chunk_number(topic->cursor.position, store->chunk_bytes);
    if (passed >=
        chunk_number(topic->durable_position, store->chunk_bytes) + CONSUMED_CHUNKS_BEFORE_SYNC) {
        flush_want(store);
    }
}

void retention_look(struct store *store, struct topic *topic)
{
    if (topic == NULL || topic->state != TOPIC_PRESENT || store->fenced != 0) {
        return;
    }
    chunks_drop(store, topic);
    if (!topic->cursor.exists || topic->chunk_count == 0) {
        return;
    }
    consumed_ask_for_sync(store, topic);
    for (uint64_t number = consumed_until(store, topic); number > topic->first_chunk; number--) {
        const struct chunk *chunk = topic_chunk(topic, number);
        if (chunk->entry_position != 0 && chunk->entry_position <= topic->cursor.position) {
            const struct record_place place = {.position = chunk->entry_position,
                                               .seq = chunk->entry_seq};
            (void)give_up(store, topic, place); /* not now: the next look does it */
            return;
        }
    }
}

/* The place of the first entry with this seq or a later one that begins in a resident chunk. */
static bool chunk_find_entry(const struct store *store, const struct chunk *chunk, uint64_t seq,
                             struct record_place *place)
{
    const uint64_t end = chunk_start(chunk->number + 1, store->chunk_bytes);
    const uint64_t tail = chunk->topic->tail_position;
    uint64_t position = chunk_first_frame(chunk->number, store->chunk_bytes);
    while (position < tail && position < end && end - position >= FRAME_HEADER_BYTES) {
        const struct frame_header *frame = (const void *)pool_at(&store->pool, chunk, position);
        if ((frame->flags & FRAME_FIRST) != 0 && frame->seq >= seq) {
            *place = (struct record_place){.position = position, .seq = frame->seq};
            return true;
        }
        position += frame_bytes(frame->size);
    }
    return false;
}

static void trim_finish(struct pending *pending, int error)
{
    struct store *store = pending->store;
    const struct pending_result result = {.error = error};
    if (error != 0 || store->config->fsync == FSYNC_NONE) {
        pending_complete(pending, 0, error, 0);
    } else {
        pending_await_sync(pending, flush_want(store), result);
    }
}

/* Finds where the entry begins that the topic is to begin with. STORE_READY; STORE_WAIT: the pending
 * waits for a chunk; or -errno. */
static int trim_locate(struct pending *pending, struct record_place *place)
{
    struct store *store = pending->store;
    struct topic *topic = pending->topic;
    const uint64_t seq = pending->submission.arg;
    if (seq >= topic->durable_seq) {
        *place =
            (struct record_place){.position = topic->durable_position, .seq = topic->durable_seq};
        return STORE_READY;
    }
    if (pending->search_chunk < topic->first_chunk) {
        /* Of an entry in several chunks all but the first begin with its seq. */
        pending->search_chunk = topic_locate_seq(topic, seq - 1)->number;
    }
    for (;; pending->search_chunk++) {
        struct chunk *chunk = topic_chunk(topic, pending->search_chunk);
        if (chunk == NULL) {
            return -EBADMSG; /* the rest of the topic is damaged */
        }
        if (chunk->state != CHUNK_RESIDENT) {
            const int outcome = fetch_begin(store, chunk);
            if (outcome == STORE_WAIT) {
                list_push_back(&chunk->waiters, &pending->queue);
            }
            return outcome;
        }
        if (chunk_find_entry(store, chunk, seq, place)) {
            return STORE_READY;
        }
    }
}

/* Everything up to the trim is durable. */
static void trim_run(struct pending *pending)
{
    struct store *store = pending->store;
    struct topic *topic = pending->topic;
    if (topic->state != TOPIC_PRESENT || pending->submission.arg <= topic->first_seq) {
        trim_finish(pending, topic->state == TOPIC_DELETED ? -ESTALE : 0);
        return;
    }
    struct record_place place;
    int outcome = trim_locate(pending, &place);
    if (outcome == STORE_READY) {
        outcome = give_up(store, topic, place);
        if (outcome == STORE_WAIT) {
            list_push_back(&store->stalled, &pending->queue);
        }
    }
    if (outcome != STORE_WAIT) {
        trim_finish(pending, outcome);
    }
}

void retention_trim(struct pending *pending)
{
    const struct topic *topic = pending->topic;
    pending->resume = trim_run;
    if (topic->state == TOPIC_DELETED) {
        pending_complete(pending, 0, -ESTALE, 0);
    } else if (pending->submission.arg > topic->next_seq) {
        pending_complete(pending, 0, -EINVAL, 0);
    } else if (topic->state != TOPIC_PRESENT) {
        pending_complete(pending, 0, 0, 0);
    } else {
        pending_resume_after_sync(pending, flush_want(pending->store), trim_run);
    }
}
