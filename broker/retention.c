/* Retention: see retention.h. */
#include "broker/retention.h"

#include <errno.h>
#include <string.h>

#include "broker/fetch.h"
#include "broker/pending.h"
#include "broker/system_topic.h"
#include "shm/ensure.h"

/* Under `none` nothing becomes durable by itself: chunks that may go but for that ask for a sync once
 * there are so many. */
enum { CHUNKS_BEFORE_SYNC = 32 };

/* Topics that one tick looks at: with an age in fewer of them what is old goes within a second, with
 * more it takes longer, but no tick does. */
enum { TICK_TOPICS_MAX = 1024 };

/* Chunks that one tick asks for. */
enum { TICK_LOADS_MAX = 256 };

/* While a topic has an age, the age clock is written down so often. */
#define CLOCK_RECORD_NS (UINT64_C(600) * 1000000000)

/* Policies. */

static bool topic_has_age(const struct store *store, const struct topic *topic)
{
    return topic->state == TOPIC_PRESENT && topic != store->system &&
           retention_of(store, topic)->age_ns != 0;
}

static void tick_wants(struct store *store, struct topic *topic)
{
    if (!list_linked(&topic->ticked)) {
        list_push_back(&store->ticked, &topic->ticked);
    }
}

void retention_begin(struct store *store, struct topic *topic)
{
    if (topic_has_age(store, topic)) {
        tick_wants(store, topic);
    }
}

void retention_choose(struct topic *topic, bool own, const struct retention_policy *policy)
{
    topic->retention_own = own;
    topic->retention = own ? *policy : (struct retention_policy){0};
}

struct record_text retention_text(const struct topic *topic, struct retention_text *text)
{
    if (!topic->retention_own) {
        return (struct record_text){0};
    }
    retention_policy_format(text, &topic->retention);
    return (struct record_text){.bytes = text->text, .size = (uint16_t)strlen(text->text)};
}

int retention_set(struct store *store, struct topic *topic, bool own,
                  const struct retention_policy *policy)
{
    const int outcome = system_topic_prepare(store);
    if (outcome != STORE_READY) {
        return outcome;
    }
    retention_choose(topic, own, policy);
    struct retention_text text;
    const struct record record = {
        .kind = RECORD_TOPIC_OPTION,
        .topic_id = topic->id,
        .topic_option = {.key = RECORD_TEXT(RECORD_KEY_RETENTION),
                         .value = retention_text(topic, &text)},
    };
    system_topic_append(store, &record);
    retention_begin(store, topic);
    store_topic_moved(store, topic);
    return STORE_READY;
}

void retention_default_set(struct store *store, const struct retention_policy *policy)
{
    store->retention = *policy;
    list_each(node, &store->topics.all)
    {
        struct topic *topic = list_entry(node, struct topic, topics);
        if (topic->state == TOPIC_PRESENT && !topic->retention_own) {
            retention_begin(store, topic);
            store_topic_moved(store, topic);
        }
    }
}

/* The age clock. */

uint64_t retention_clock(struct store *store)
{
    if (store->age_seen_ns != 0 && store->now_ns > store->age_seen_ns) {
        store->age_ns += store->now_ns - store->age_seen_ns;
    }
    store->age_seen_ns = store->now_ns;
    return store->age_ns;
}

void retention_record_clock(struct store *store)
{
    const uint64_t age_ns = retention_clock(store);
    if (list_empty(&store->ticked) || system_topic_prepare(store) != STORE_READY) {
        return; /* a start that does not find it keeps everything a little longer */
    }
    const struct record record = {.kind = RECORD_CLOCK, .clock = {.age_ns = age_ns}};
    system_topic_append(store, &record);
    store->age_recorded_ns = age_ns;
}

/* Giving up. */

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

/* Consumed. */

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

/* Everything before this chunk could go if it were durable. */
static void ask_for_sync(struct store *store, const struct topic *topic, uint64_t chunk_no)
{
    if (store->config->fsync == FSYNC_NONE &&
        chunk_no >=
            chunk_number(topic->durable_position, store->chunk_bytes) + CHUNKS_BEFORE_SYNC) {
        flush_want(store);
    }
}

static void consumed_look(struct store *store, struct topic *topic)
{
    ask_for_sync(store, topic, chunk_number(topic->cursor.position, store->chunk_bytes));
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

/* Bytes and age. */

/* The last chunk that may become the first one: the newest in which an entry is durable. */
static uint64_t limits_last(const struct store *store, const struct topic *topic)
{
    const uint64_t position = topic->durable_position;
    const uint64_t number = chunk_number(position, store->chunk_bytes);
    const bool unused = position == chunk_first_frame(number, store->chunk_bytes);
    return unused && number > 0 ? number - 1 : number;
}

/* The first chunk with which the log is not longer than `bytes_max`. */
static uint64_t bytes_target(const struct store *store, const struct topic *topic,
                             uint64_t bytes_max)
{
    const uint64_t kept = chunk_number(topic->first_position, store->chunk_bytes);
    if (bytes_max == 0 || topic->tail_position - topic->first_position <= bytes_max) {
        return kept;
    }
    const uint64_t from = topic->tail_position - bytes_max;
    const uint64_t number = chunk_number(from, store->chunk_bytes);
    return from > chunk_first_frame(number, store->chunk_bytes) ? number + 1 : number;
}

/* The first chunk that holds something younger: its successor was begun less than `age_ns` ago. */
static uint64_t age_target(const struct store *store, const struct topic *topic, uint64_t age_ns,
                           uint64_t last)
{
    uint64_t number = chunk_number(topic->first_position, store->chunk_bytes);
    if (age_ns == 0) {
        return number;
    }
    for (; number < last; number++) {
        const struct chunk *next = topic_chunk(topic, number + 1);
        if (next == NULL || next->age_ns + age_ns > store->age_ns) {
            break;
        }
    }
    return number;
}

/* Finds out where the first entry begins that begins in the chunk. STORE_READY: it is in the chunk's
 * entry_position (entry_first), or there is none; STORE_WAIT: the chunk is being loaded; or -errno:
 * it can't be. */
static int chunk_note_entry(struct store *store, struct chunk *chunk)
{
    if (chunk->entry_first || chunk->entryless) {
        return STORE_READY;
    }
    if (chunk->state != CHUNK_RESIDENT) {
        return fetch_begin(store, chunk, POOL_READ);
    }
    struct record_place place;
    if (chunk_find_entry(store, chunk, 0, &place)) {
        chunk->entry_position = place.position;
        chunk->entry_seq = place.seq;
        chunk->entry_first = true;
    } else {
        const uint64_t end = chunk_start(chunk->number + 1, store->chunk_bytes);
        chunk->entryless = chunk->topic->tail_position >= end;
    }
    return STORE_READY;
}

static void limits_give_up(struct store *store, struct topic *topic, const struct chunk *chunk)
{
    const struct record_place place = {.position = chunk->entry_position, .seq = chunk->entry_seq};
    const struct cursor *cursor = &topic->cursor;
    const uint64_t lost = cursor->exists && cursor->seq < place.seq ? place.seq - cursor->seq : 0;
    if (give_up(store, topic, place) == STORE_READY && lost != 0) {
        counter_add(&store->counters, COUNTER_ENTRIES_LOST, lost);
    }
}

static void limits_look(struct store *store, struct topic *topic,
                        const struct retention_policy *policy)
{
    const uint64_t last = limits_last(store, topic);
    const uint64_t kept = chunk_number(topic->first_position, store->chunk_bytes);
    uint64_t target = bytes_target(store, topic, policy->bytes_max);
    ask_for_sync(store, topic, target);
    const uint64_t aged = age_target(store, topic, policy->age_ns, last);
    target = target > aged ? target : aged;
    for (uint64_t number = target < last ? target : last; number > kept; number--) {
        struct chunk *chunk = topic_chunk(topic, number);
        if (chunk == NULL) {
            return;
        }
        if (chunk_note_entry(store, chunk) == STORE_WAIT) {
            topic->retention_waits = true;
            tick_wants(store, topic); /* should it be evicted again before it is looked at */
            return;
        }
        if (chunk->entry_first && chunk->entry_position <= topic->durable_position) {
            limits_give_up(store, topic, chunk); /* not now: the next look does it */
            return;
        }
    }
}

void retention_loaded(struct store *store, struct topic *topic)
{
    if (topic != NULL && topic->retention_waits) {
        store_topic_moved(store, topic);
    }
}

void retention_look(struct store *store, struct topic *topic)
{
    if (topic == NULL || topic == store->system || topic->state != TOPIC_PRESENT ||
        store->fenced != 0 || store->ending) {
        return;
    }
    chunks_drop(store, topic);
    topic->retention_waits = false;
    const struct retention_policy *policy = retention_of(store, topic);
    if (policy->consumed && topic->cursor.exists && topic->chunk_count > 0) {
        consumed_look(store, topic);
    }
    if ((policy->bytes_max != 0 || policy->age_ns != 0) && topic->chunk_count > 0) {
        limits_look(store, topic, policy);
    }
}

void retention_tick(struct store *store)
{
    const uint64_t age_ns = retention_clock(store);
    uint32_t loads = 0;
    for (uint32_t looked = 0; looked < TICK_TOPICS_MAX && loads < TICK_LOADS_MAX; looked++) {
        struct list_node *node = list_first(&store->ticked);
        if (node == NULL) {
            break;
        }
        struct topic *topic = list_entry(node, struct topic, ticked);
        list_remove(node);
        if (topic_has_age(store, topic)) {
            tick_wants(store, topic);
        }
        retention_look(store, topic);
        loads += topic->retention_waits;
        if (topic->ticked_at == age_ns) {
            break; /* once round */
        }
        topic->ticked_at = age_ns;
    }
    if (!list_empty(&store->ticked) && age_ns - store->age_recorded_ns >= CLOCK_RECORD_NS) {
        retention_record_clock(store);
    }
}

/* Trims. */

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
            const int outcome = fetch_begin(store, chunk, POOL_READ);
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
