/* Group: see group.h. */
#include "broker/group.h"

#include <errno.h>
#include <string.h>

#include "broker/fetch.h"
#include "broker/pending.h"
#include "broker/retention.h"
#include "broker/system_topic.h"
#include "shm/ensure.h"

static bool claim_is(const struct pending *pending, enum submission_flag flag)
{
    return (pending->submission.flags & flag) != 0;
}

/* Of an entry in many chunks a claim holds this part of the arena at once. */
enum { CLAIM_ARENA_PART = 16 };

/* How a claim's walk stands. */
enum walk {
    WALK_DONE,    /* as far as it goes */
    WALK_WAITING, /* in some queue, whose owner resumes it */
    WALK_ENDED,   /* completed with an error */
};

/* Lets go of the chunks from the `from`-th on. */
static void chunks_release(struct pending *pending, uint32_t from)
{
    struct claim *claim = &pending->claim;
    while (claim->chunk_count > from) {
        struct chunk *chunk = claim->chunks[--claim->chunk_count];
        chunk->holds--;
        flush_settle_chunk(pending->store, chunk);
    }
}

static void chunk_hold(struct pending *pending, struct chunk *chunk)
{
    pending->claim.chunks[pending->claim.chunk_count++] = chunk;
    chunk->holds++;
    pool_settle(&pending->store->pool, chunk, false);
}

/* Entries that may be handed out: below this seq. */
static uint64_t visible_seq(const struct store *store, const struct topic *topic)
{
    return store->config->fsync == FSYNC_EACH ? topic->durable_seq : topic->next_seq;
}

static bool cursor_is_persisted(const struct store *store)
{
    return store->config->fsync != FSYNC_NONE;
}

/* Writes the cursor down; the sync that covers it is in cursor.recorded. STORE_READY or STORE_WAIT. */
static int cursor_record(struct store *store, struct topic *topic)
{
    struct cursor *cursor = &topic->cursor;
    const int outcome = system_topic_prepare(store);
    if (outcome != STORE_READY) {
        return outcome;
    }
    const struct record record = {
        .kind = RECORD_CURSOR,
        .topic_id = topic->id,
        .cursor = {.group = RECORD_TEXT(RECORD_GROUP_DEFAULT),
                   .cursor = {.position = cursor->position, .seq = cursor->seq},
                   .durable = {.position = topic->durable_position, .seq = topic->durable_seq}},
    };
    system_topic_append(store, &record);
    if (cursor->recorded.sync != store->flush.next_sync) {
        cursor->in_flight = cursor->recorded;
    }
    cursor->recorded = (struct cursor_record){.seq = cursor->seq, .sync = store->flush.next_sync};
    if (!list_linked(&cursor->undurable)) {
        list_push_back(&store->cursors, &cursor->undurable);
    }
    return STORE_READY;
}

static void cursor_publish(struct topic *topic)
{
    atom_store_relaxed(&topic->shm->cursor_seq,
                       topic->cursor.seq); /* a figure, ordered by nothing */
    atom_store_relaxed(&topic->shm->cursor_exists, topic->cursor.exists);
}

static void walk_begin(struct pending *pending)
{
    struct topic *topic = pending->topic;
    struct cursor *cursor = &topic->cursor;
    if (!cursor->exists) {
        cursor->exists = true;
        cursor->seq = topic->first_seq;
        cursor->position = topic->first_position;
        cursor->durable_seq = cursor->seq;
        cursor_publish(topic);
    }
    struct claim *claim = &pending->claim;
    claim->first_seq = claim->seq = cursor->seq;
    claim->first_position = claim->position = claim->at = cursor->position;
    claim->bytes = 0;
    claim->count = 0;
}

/* Nobody waits for the chunk any more. */
static void starved_forget(struct chunk *chunk)
{
    if (list_empty(&chunk->waiters)) {
        list_remove(&chunk->starved);
    }
}

/*
 * The next chunk is not there yet. Where the arena has no room for it the walk holds nothing while it
 * waits, since what it holds may be all that could go: it ends with what it has, or goes on later.
 */
static enum walk walk_wait(struct pending *pending, struct chunk *next)
{
    struct claim *claim = &pending->claim;
    if (list_linked(&next->starved)) {
        if (claim->count > 0) {
            starved_forget(next);
            return WALK_DONE;
        }
        chunks_release(pending, 0);
    }
    list_push_back(&next->waiters, &pending->queue);
    return WALK_WAITING;
}

/* How many chunks of one entry are held at once: a large entry must not need all of its chunks in the
 * arena, nor many claims for such entries all of the arena. */
static uint32_t holds_max(const struct store *store)
{
    const uint32_t part = store->pool.bigs / CLAIM_ARENA_PART;
    return part < 2 ? 2 : part > CLAIM_CHUNKS_MAX ? CLAIM_CHUNKS_MAX : part;
}

/* A chunk more is about to be held. Those in the middle of a large entry go: the client asks for them
 * again, one after the other. */
static void chunks_make_room(struct pending *pending)
{
    if (pending->claim.count == 0 && pending->claim.chunk_count >= holds_max(pending->store)) {
        chunks_release(pending, 1);
    }
}

/* The claim is about to be granted: its first chunk is held, in the arena or not, and with it all that
 * follow are kept from being trimmed until the client has reaped the completion. */
static void range_hold(struct pending *pending)
{
    struct claim *claim = &pending->claim;
    const uint64_t first = chunk_number(claim->first_position, pending->store->chunk_bytes);
    if (claim->chunk_count > 0 && claim->chunks[0]->number == first) {
        return;
    }
    chunks_release(pending, claim->chunk_count < CLAIM_CHUNKS_MAX ? claim->chunk_count : 0);
    chunk_hold(pending, topic_chunk(pending->topic, first));
    struct chunk *const held = claim->chunks[claim->chunk_count - 1];
    memmove(claim->chunks + 1, claim->chunks, (claim->chunk_count - 1) * sizeof(struct chunk *));
    claim->chunks[0] = held;
}

/* The chunk of position `at`, held. WALK_DONE: *chunk is set, or NULL where the claim must end. */
static enum walk walk_chunk(struct pending *pending, struct chunk **chunk)
{
    struct claim *claim = &pending->claim;
    struct store *store = pending->store;
    const uint64_t number = chunk_number(claim->at, store->chunk_bytes);
    struct chunk *last = claim->chunk_count > 0 ? claim->chunks[claim->chunk_count - 1] : NULL;
    if (last != NULL && last->number == number) {
        *chunk = last;
        return WALK_DONE;
    }
    *chunk = NULL;
    if (claim->chunk_count >= claim->chunks_max && claim->count > 0) {
        return WALK_DONE;
    }
    struct chunk *next = topic_chunk(pending->topic, number);
    const int error = next == NULL ? -EBADMSG : fetch_use(store, next, READ_ON);
    if (error == STORE_WAIT) {
        return walk_wait(pending, next);
    }
    if (error != 0 && claim->count > 0) {
        return WALK_DONE; /* what is before the damage is good */
    }
    if (error != 0) {
        pending_complete(pending, claim->first_seq, error, claim->first_position);
        return WALK_ENDED;
    }
    chunks_make_room(pending);
    chunk_hold(pending, next);
    *chunk = next;
    return WALK_DONE;
}

static uint64_t entry_size(const struct frame_header *frame)
{
    uint64_t size = frame->size;
    if ((frame->flags & FRAME_LAST) == 0) {
        memcpy(&size, frame + 1, sizeof size);
    }
    return size;
}

/* An entry ends, and the next one begins, at `at`: the first such place that is known in a chunk is
 * where the topic can begin once the chunks before are given up. */
static void walk_note_place(const struct pending *pending)
{
    const struct claim *claim = &pending->claim;
    struct chunk *chunk =
        topic_chunk(pending->topic, chunk_number(claim->at, pending->store->chunk_bytes));
    if (chunk != NULL && chunk->entry_position == 0) {
        chunk->entry_position = claim->at;
        chunk->entry_seq = claim->seq;
    }
}

/* Takes the frame at `at`; false: the claim ends before its entry. */
static bool walk_frame(struct pending *pending, const struct chunk *chunk)
{
    struct claim *claim = &pending->claim;
    const struct store *store = pending->store;
    const struct frame_header *frame = (const void *)pool_at(&store->pool, chunk, claim->at);
    const bool pad = (frame->flags & FRAME_PAD) != 0;
    if (!pad && (frame->flags & FRAME_FIRST) != 0) {
        const uint64_t size = entry_size(frame);
        if (claim->count > 0 && size > claim->bytes_max - claim->bytes) {
            return false;
        }
        claim->bytes = size > claim->bytes_max ? claim->bytes_max : claim->bytes + size;
    }
    const uint64_t end = claim->at + frame_bytes(frame->size);
    claim->at = frame_settle(end, chunk->number, store->chunk_bytes);
    if (!pad && (frame->flags & FRAME_LAST) != 0) {
        claim->count++;
        claim->seq++;
        claim->position = claim->at;
        walk_note_place(pending);
    }
    return true;
}

/* Lets go of a chunk of which no entry was taken: the walk had begun one that does not fit. */
static void walk_cut(struct pending *pending)
{
    struct claim *claim = &pending->claim;
    const uint64_t chunk_bytes = pending->store->chunk_bytes;
    claim->at = claim->position;
    uint32_t keep = claim->chunk_count;
    while (keep > 0 &&
           chunk_start(claim->chunks[keep - 1]->number, chunk_bytes) >= claim->position) {
        keep--;
    }
    chunks_release(pending, claim->count == 0 ? 0 : keep);
}

static bool frame_is_damaged(const struct pending *pending, const struct chunk *chunk)
{
    const struct frame_header *frame =
        (const void *)pool_at(&pending->store->pool, chunk, pending->claim.at);
    return (frame->flags & FRAME_DAMAGED) != 0;
}

static enum walk walk(struct pending *pending)
{
    struct claim *claim = &pending->claim;
    const uint64_t limit = visible_seq(pending->store, pending->topic);
    while (claim->seq < limit && claim->count < claim->entries_max) {
        struct chunk *chunk;
        const enum walk step = walk_chunk(pending, &chunk);
        if (step != WALK_DONE) {
            return step;
        }
        if (chunk != NULL && frame_is_damaged(pending, chunk)) {
            if (claim->count > 0) {
                break;
            }
            pending_complete(pending, claim->first_seq, -EBADMSG, claim->first_position);
            return WALK_ENDED;
        }
        if (chunk == NULL || !walk_frame(pending, chunk)) {
            break;
        }
    }
    walk_cut(pending);
    return WALK_DONE;
}

static uint64_t persist_every(const struct claim *claim)
{
    return claim->persist_every == 0 ? 1 : claim->persist_every;
}

/* Must the cursor's move be durable before the client may have the entries? Strictly-at-once: always;
 * at-least-once {n}: where more than n entries would be repeated otherwise. */
static bool claim_awaits_sync(const struct pending *pending)
{
    const struct cursor *cursor = &pending->topic->cursor;
    const struct claim *claim = &pending->claim;
    if (claim->count == 0 || claim_is(pending, SUBMIT_PEEK) ||
        !cursor_is_persisted(pending->store)) {
        return false;
    }
    return claim_is(pending, SUBMIT_STRICT) ||
           claim->seq - cursor->durable_seq > persist_every(claim);
}

/* Hands the walked range out: the cursor moves. `now`: that must be recorded at once; else it is when
 * half of persist_every is not. STORE_READY or STORE_WAIT. */
static int claim_grant(struct pending *pending, bool now)
{
    struct store *store = pending->store;
    struct topic *topic = pending->topic;
    const struct claim *claim = &pending->claim;
    struct cursor *cursor = &topic->cursor;
    const struct cursor before = *cursor;
    cursor->seq = claim->seq;
    cursor->position = claim->position;
    if (now || claim->seq - cursor->recorded.seq >= (persist_every(claim) + 1) / 2) {
        const int outcome = cursor_record(store, topic);
        if (outcome != STORE_READY) {
            cursor->seq = before.seq;
            cursor->position = before.position;
            return outcome;
        }
        if (cursor_is_persisted(store)) {
            flush_want(store);
        }
    }
    cursor_publish(topic);
    counter_add(&store->counters, COUNTER_ENTRIES_CONSUMED, claim->count);
    return STORE_READY;
}

static void claim_next(struct topic *topic);

/* The claim's walk is over: grants it, or says what there is. */
static void claim_finish(struct pending *pending)
{
    struct store *store = pending->store;
    struct topic *topic = pending->topic;
    const struct claim *claim = &pending->claim;
    const struct pending_result result = {
        .seq = claim->first_seq,
        .error = (int)claim->count,
        .value = claim->first_position,
    };
    const bool wait = claim_awaits_sync(pending);
    if (claim->count > 0) {
        range_hold(pending);
    }
    if (claim->count > 0 && !claim_is(pending, SUBMIT_PEEK)) {
        const int outcome = claim_grant(pending, wait);
        if (outcome == STORE_WAIT) {
            list_push_back(&store->stalled, &pending->queue);
            return;
        }
        if (outcome < 0) {
            pending_complete(pending, 0, outcome, 0);
            return;
        }
    }
    list_remove(&pending->turn);
    if (wait) {
        pending_await_sync(pending, topic->cursor.recorded.sync, result);
    } else {
        pending_complete(pending, result.seq, result.error, result.value);
    }
    retention_look(store, topic);
    claim_next(topic);
}

/* Runs the claim whose turn it is. */
static void claim_run(struct pending *pending)
{
    struct store *store = pending->store;
    struct topic *topic = pending->topic;
    struct claim *claim = &pending->claim;
    if (topic->state != TOPIC_PRESENT) {
        pending_complete(pending, 0, topic->state == TOPIC_DELETED ? -ESTALE : 0, 0);
        return;
    }
    if (store->fenced != 0 && cursor_is_persisted(store) && !claim_is(pending, SUBMIT_PEEK)) {
        pending_complete(pending, 0, -EIO, 0);
        return;
    }
    if (claim->first_position == 0 || claim->first_position != topic->cursor.position) {
        chunks_release(pending, 0); /* a trim has overtaken it */
        walk_begin(pending);
    }
    if (walk(pending) == WALK_DONE) {
        claim_finish(pending);
    }
}

/* One claim after the other, in a loop: a client may have thousands of them waiting. */
static void claim_next(struct topic *topic)
{
    if (topic->claims_run) {
        return; /* a call further up the stack goes on */
    }
    topic->claims_run = true;
    struct list_node *first;
    while ((first = list_first(&topic->claims)) != NULL) {
        struct pending *pending = list_entry(first, struct pending, turn);
        if (list_linked(&pending->queue)) {
            break;
        }
        claim_run(pending);
    }
    topic->claims_run = false;
}

/* What the claim waited for has happened. */
static void claim_resume(struct pending *pending)
{
    ensure(list_first(&pending->topic->claims) == &pending->turn);
    claim_run(pending);
}

void group_claim(struct pending *pending)
{
    pending->resume = claim_resume;
    list_push_back(&pending->topic->claims, &pending->turn);
    claim_next(pending->topic);
}

void group_claim_hand_over(struct pending *pending)
{
    struct claim *claim = &pending->claim;
    for (uint32_t i = 0; i < claim->chunk_count; i++) {
        fetch_hold(pending->lane, claim->chunks[i], true);
    }
    claim->chunk_count = 0;
}

void group_claim_release(struct pending *pending)
{
    if (pending->submission.kind != SUBMIT_CLAIM) {
        return;
    }
    chunks_release(pending, 0);
    list_remove(&pending->queue);
    if (list_linked(&pending->turn)) {
        list_remove(&pending->turn);
        if (!pending->store->ending) {
            claim_next(pending->topic);
        }
    }
}

void group_delete(struct topic *topic)
{
    while (!list_empty(&topic->claims)) {
        struct pending *pending = list_entry(list_first(&topic->claims), struct pending, turn);
        list_remove(&pending->turn);
        pending_complete(pending, 0, -ESTALE, 0);
    }
}

void group_synced(struct store *store, uint64_t number)
{
    list_each(node, &store->cursors)
    {
        struct cursor *cursor = list_entry(node, struct cursor, undurable);
        if (cursor->recorded.sync <= number) {
            cursor->durable_seq = cursor->recorded.seq;
            list_remove(node);
        } else if (cursor->in_flight.sync <= number) {
            cursor->durable_seq = cursor->in_flight.seq;
        }
        store->freed = true; /* claims may be waiting for it */
    }
}

bool group_needs_record(const struct topic *topic)
{
    const struct cursor *cursor = &topic->cursor;
    return topic->state == TOPIC_PRESENT && cursor->exists && cursor->recorded.seq != cursor->seq;
}

int group_record(struct store *store, struct topic *topic)
{
    return cursor_record(store, topic);
}
