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
    return chunk->holds > 0 || !list_empty(&chunk->waiters);
}

/* The first chunk that must stay when everything below `position` may go. */
static uint64_t first_kept(const struct store *store, const struct topic *topic, uint64_t position)
{
    const uint64_t limit = position < topic->durable_position ? position : topic->durable_position;
    const uint64_t last = chunk_number(limit, store->chunk_bytes);
    uint64_t number = topic->first_chunk;
    while (number < last && number + 1 < topic->first_chunk + topic->chunk_count &&
           !chunk_is_used(topic_chunk(topic, number))) {
        number++;
    }
    return number;
}

/* Gives up the chunks before the one of `place`, which becomes the first kept entry. */
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
    store_forget_chunks(store, topic, record.trim.chunk_no);
    topic->first_position = place.position;
    topic->first_seq = place.seq;
    topic_publish_first(topic->shm, place.position, place.seq);
    if (topic->cursor.exists && topic->cursor.seq < place.seq) {
        topic->cursor.seq = place.seq;
        topic->cursor.position = place.position;
        atom_store_relaxed(&topic->shm->cursor_seq, place.seq); /* a figure */
    }
    store_topic_moved(store, topic);
    return STORE_READY;
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
    if (topic == NULL || topic->state != TOPIC_PRESENT || !topic->cursor.exists ||
        store->fenced != 0 || topic->chunk_count == 0) {
        return;
    }
    consumed_ask_for_sync(store, topic);
    for (uint64_t number = first_kept(store, topic, topic->cursor.position);
         number > topic->first_chunk; number--) {
        const struct chunk *chunk = topic_chunk(topic, number);
        if (chunk->entry_position != 0 && chunk->entry_position <= topic->cursor.position) {
            const struct record_place place = {.position = chunk->entry_position,
                                               .seq = chunk->entry_seq};
            (void)give_up(store, topic, place); /* not now: the next look does it */
            return;
        }
    }
}

/* The place of the first entry that begins in this resident chunk; false: none does. */
static bool chunk_first_entry(const struct store *store, const struct chunk *chunk,
                              struct record_place *place)
{
    const uint64_t end = chunk_start(chunk->number + 1, store->chunk_bytes);
    const uint64_t tail = chunk->topic->tail_position;
    uint64_t position = chunk_first_frame(chunk->number, store->chunk_bytes);
    while (position < tail && end - position >= FRAME_HEADER_BYTES) {
        const struct frame_header *frame = (const void *)pool_at(&store->pool, chunk, position);
        if ((frame->flags & FRAME_FIRST) != 0 && (frame->flags & FRAME_PAD) == 0) {
            *place = (struct record_place){.position = position, .seq = frame->seq};
            return true;
        }
        position += frame_bytes(frame->size);
        if (position >= end) {
            return false;
        }
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

/* Everything up to the trim is durable: finds the chunk that stays and the first entry in it. */
static void trim_run(struct pending *pending)
{
    struct store *store = pending->store;
    struct topic *topic = pending->topic;
    const uint64_t seq = pending->submission.arg;
    if (topic->state != TOPIC_PRESENT || topic->chunk_count == 0 || seq <= topic->first_seq) {
        trim_finish(pending, topic->state == TOPIC_DELETED ? -ESTALE : 0);
        return;
    }
    struct chunk *wanted = topic_locate_seq(topic, seq);
    const uint64_t kept = first_kept(store, topic, chunk_start(wanted->number, store->chunk_bytes));
    for (uint64_t number = kept; number > topic->first_chunk; number--) {
        struct chunk *chunk = topic_chunk(topic, number);
        if (chunk->state != CHUNK_RESIDENT) {
            const int outcome = fetch_begin(store, chunk);
            if (outcome == STORE_WAIT) {
                list_push_back(&chunk->waiters, &pending->queue);
            } else {
                trim_finish(pending, outcome);
            }
            return;
        }
        struct record_place place;
        if (!chunk_first_entry(store, chunk, &place)) {
            continue; /* an entry that began before goes through all of it */
        }
        const int outcome = give_up(store, topic, place);
        if (outcome == STORE_WAIT) {
            list_push_back(&store->stalled, &pending->queue);
            return;
        }
        trim_finish(pending, outcome);
        return;
    }
    trim_finish(pending, 0);
}

void retention_trim(struct pending *pending)
{
    pending->resume = trim_run;
    if (pending->topic->state != TOPIC_PRESENT) {
        trim_run(pending);
        return;
    }
    pending_resume_after_sync(pending, flush_want(pending->store), trim_run);
}
