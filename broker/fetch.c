/* Fetch: see fetch.h. */
#include "broker/fetch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "broker/damage.h"
#include "broker/frame_scan.h"
#include "broker/pending.h"
#include "broker/retention.h"
#include "shm/ensure.h"

/* A read in flight. */
struct fetch {
    struct io_op io;
    struct store *store;
    struct chunk *chunk;
    uint64_t upto; /* position: the image is verified below */
};

/* A chunk that a lane's client has not reaped yet. */
struct fetch_hold {
    struct list_node holds; /* in lane.fetched */
    struct chunk *chunk;
    uint64_t cq_index;
    uint64_t seen_ns; /* when it was looked at first while the arena was short; 0: never */
    bool revoked;     /* it keeps the chunk in its topic only */
};

static void waiter_complete(struct store *store, struct pending *pending, struct chunk *chunk)
{
    if (pending->resume != NULL) {
        pending->resume(pending);
        return;
    }
    if (chunk->damaged != 0) {
        pending_complete(pending, 0, chunk->damaged, chunk->number);
        return;
    }
    chunk->holds++;
    pool_settle(&store->pool, chunk, false);
    fetch_hold(pending->lane, chunk);
    pending_complete(pending, chunk->unit, 0, chunk->number);
}

static void waiters_complete(struct store *store, struct chunk *chunk)
{
    struct list waiters;
    list_init(&waiters);
    while (!list_empty(&chunk->waiters)) {
        struct list_node *node = list_first(&chunk->waiters);
        list_remove(node);
        list_push_back(&waiters, node);
    }
    while (!list_empty(&waiters)) {
        struct list_node *node = list_first(&waiters);
        list_remove(node);
        waiter_complete(store, list_entry(node, struct pending, queue), chunk);
    }
}

static int image_verify(const struct fetch *fetch)
{
    const struct store *store = fetch->store;
    const struct chunk *chunk = fetch->chunk;
    return frame_scan_verify(pool_image(&store->pool, chunk), store->chunk_bytes, chunk->topic->id,
                             chunk->number, chunk->generation, fetch->upto);
}

static void fetch_failed(struct store *store, struct chunk *chunk, int error)
{
    if (chunk->topic != NULL) {
        log_error(store->log, "chunk.damaged",
                  "file=%s offset=%" PRIu64 " topic_id=%" PRIu64 " chunk=%" PRIu64
                  " error=%d action=\"its readers get the error; other chunks are served\"",
                  slot_path(&store->segments, chunk->slot).text,
                  slot_offset(&store->segments, chunk->slot), chunk->topic->id, chunk->number,
                  error);
    }
    chunk->damaged = error;
    pool_unassign(&store->pool, chunk);
}

static void fetch_done(struct io_op *io, int result)
{
    struct fetch *fetch = io->context;
    struct store *store = fetch->store;
    struct chunk *chunk = fetch->chunk;
    chunk->holds--;
    store->loading--;
    if (result == 0) {
        result = chunk->topic == NULL ? -ESTALE : image_verify(fetch);
    }
    if (result == -EBADMSG) {
        counter_add(&store->counters, COUNTER_CHUNKS_DAMAGED, 1);
        result = damage_mark(store, chunk, fetch->upto);
    }
    if (result == 0) {
        const struct chunk_header *header = (void *)pool_image(&store->pool, chunk);
        chunk->base_seq = header->base_seq;
        chunk->base_time_ns = header->base_time_ns;
        chunk->base_exact = true;
        pool_show(&store->pool, chunk);
    } else {
        fetch_failed(store, chunk, result);
    }
    store->freed = true;
    free(fetch);
    chunk->holds++; /* until its waiters have been served */
    waiters_complete(store, chunk);
    retention_loaded(store, chunk->topic);
    chunk->holds--;
    flush_settle_chunk(store, chunk);
}

/* The chunk has a unit: reads what is written of it. */
static int read_submit(struct store *store, struct chunk *chunk)
{
    struct fetch *fetch = calloc(1, sizeof *fetch);
    if (fetch == NULL) {
        return -ENOMEM;
    }
    const uint64_t start = chunk_start(chunk->number, store->chunk_bytes);
    fetch->store = store;
    fetch->chunk = chunk;
    fetch->upto = chunk->written;
    fetch->io = (struct io_op){
        .kind = IO_READ,
        .file = slot_file(&store->segments, chunk->slot),
        .buffer = pool_image(&store->pool, chunk),
        .bytes = align_up(chunk->written - start, BLOCK_BYTES),
        .offset = slot_offset(&store->segments, chunk->slot),
        .done = fetch_done,
        .context = fetch,
    };
    chunk->state = CHUNK_LOADING;
    counter_add(&store->counters, COUNTER_FETCHES, 1);
    chunk->holds++;
    store->loading++;
    io_submit(store->io, &fetch->io);
    return 0;
}

int fetch_begin(struct store *store, struct chunk *chunk)
{
    if (chunk->damaged != 0) {
        return chunk->damaged;
    }
    if (chunk->state == CHUNK_LOADING || list_linked(&chunk->starved)) {
        return STORE_WAIT;
    }
    ensure(chunk->state == CHUNK_COLD);
    const bool system = chunk->topic == store->system;
    if (pool_assign(&store->pool, chunk, system) == POOL_FULL) {
        list_push_back(&store->starved, &chunk->starved);
        store_arena_full(store);
        return STORE_WAIT;
    }
    const int error = read_submit(store, chunk);
    if (error != 0) {
        pool_unassign(&store->pool, chunk);
        return error;
    }
    return STORE_WAIT;
}

void fetch_retry(struct store *store)
{
    list_each(node, &store->starved)
    {
        struct chunk *chunk = list_entry(node, struct chunk, starved);
        list_remove(&chunk->starved);
        if (fetch_begin(store, chunk) == STORE_WAIT && list_linked(&chunk->starved)) {
            break; /* no more room: the others stay behind it */
        }
    }
}

void fetch_submit(struct pending *pending)
{
    struct store *store = pending->store;
    const struct submission *submission = &pending->submission;
    struct topic *topic = pending->topic;
    struct chunk *chunk = NULL;
    if ((submission->flags & SUBMIT_BY_CHUNK) != 0) {
        chunk = topic_chunk(topic, submission->arg);
    } else if ((submission->flags & SUBMIT_BY_SEQ) != 0) {
        /* Of an entry in several chunks all but the first begin with its seq. */
        const uint64_t before = submission->arg > 0 ? submission->arg - 1 : 0;
        chunk = topic_locate_seq(topic, before);
    } else {
        chunk = topic_locate_time(topic, submission->arg);
    }
    if (chunk == NULL || !chunk->started) {
        const bool trimmed =
            (submission->flags & SUBMIT_BY_CHUNK) != 0 && submission->arg < topic->first_chunk;
        pending_complete(pending, 0, trimmed ? -ENODATA : -EAGAIN, 0);
        return;
    }
    if (chunk->state != CHUNK_RESIDENT) {
        const int outcome = fetch_begin(store, chunk);
        if (outcome < 0) {
            pending_complete(pending, 0, outcome, chunk->number);
            return;
        }
        list_push_back(&chunk->waiters, &pending->queue);
        return;
    }
    pool_touch(&store->pool, chunk);
    waiter_complete(store, pending, chunk);
}

void fetch_hold(struct lane *lane, struct chunk *chunk)
{
    struct fetch_hold *hold = calloc(1, sizeof *hold);
    ensure(hold != NULL);
    hold->chunk = chunk;
    hold->cq_index = lane->cq_tail;
    list_push_back(&lane->fetched, &hold->holds);
}

void fetch_release(struct store *store, struct lane *lane, bool all)
{
    if (list_empty(&lane->fetched)) {
        return;
    }
    const uint64_t head = lane_engine_cq_head(&lane->map);
    list_each(node, &lane->fetched)
    {
        struct fetch_hold *hold = list_entry(node, struct fetch_hold, holds);
        /* A head beyond what was published only lets go of the client's own chunks early. */
        if (!all && hold->cq_index >= head) {
            break;
        }
        struct chunk *chunk = hold->chunk;
        if (hold->revoked) {
            chunk->keeps--;
        } else {
            chunk->holds--;
        }
        list_remove(&hold->holds);
        free(hold);
        flush_settle_chunk(store, chunk);
        retention_look(store, chunk->topic);
    }
}

uint64_t fetch_revoke(struct store *store, struct lane *lane, uint64_t timeout_ns)
{
    uint64_t count = 0;
    list_each(node, &lane->fetched)
    {
        struct fetch_hold *hold = list_entry(node, struct fetch_hold, holds);
        if (hold->seen_ns == 0) {
            hold->seen_ns = store->now_ns;
        }
        if (hold->revoked || store->now_ns - hold->seen_ns < timeout_ns) {
            continue;
        }
        hold->revoked = true;
        hold->chunk->keeps++;
        hold->chunk->holds--;
        flush_settle_chunk(store, hold->chunk);
        count++;
    }
    return count;
}
