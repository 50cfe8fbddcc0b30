/* Fetch: see fetch.h. */
#include "broker/fetch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "broker/chunk_locate.h"
#include "broker/damage.h"
#include "broker/frame_scan.h"
#include "broker/pending.h"
#include "broker/retention.h"
#include "shm/ensure.h"

/* So much of an image is verified in one pass: with the smallest entries it takes as long as a lane's
 * turn. Bytes. */
enum { VERIFY_QUANTUM_BYTES = 128 * 1024 };

/* A read in flight, and then an image that is being verified. */
struct fetch {
    struct io_op io;
    struct store *store;
    struct chunk *chunk;
    uint64_t upto;          /* position: the image is verified below */
    struct list_node queue; /* in store.fetched */
    struct frame_scan scan; /* where its verification stands */
    bool begun;
    uint64_t verified; /* bytes, about */
    int result;        /* of the read */
};

/* A chunk that a lane's client has not reaped yet. */
struct fetch_hold {
    struct list_node holds; /* in lane.fetched */
    struct chunk *chunk;
    uint64_t cq_index;
    uint64_t seen_ns; /* when it was looked at first while the arena was short; 0: never */
    bool revoked;     /* it keeps the chunk in its topic only */
    bool by_claim;
};

/* Of its FETCHes a lane that reaps nothing, since it still reads what a claim before them gave it,
 * keeps so many: a client has seen and pinned what it was given long before it has asked so often
 * again. */
enum { FETCHES_HELD_MAX = 4 };

static void hold_end(struct store *store, struct fetch_hold *hold)
{
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

/* Lets go of the oldest FETCHed chunks of which there are more than a lane may keep. */
static void fetches_thin(struct store *store, struct lane *lane)
{
    uint32_t kept = 0;
    for (struct list_node *node = lane->fetched.head.previous, *before = node->previous;
         node != &lane->fetched.head; node = before, before = node->previous) {
        struct fetch_hold *hold = list_entry(node, struct fetch_hold, holds);
        if (!hold->by_claim && ++kept > FETCHES_HELD_MAX) {
            hold_end(store, hold);
        }
    }
}

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
    fetch_hold(pending->lane, chunk, false);
    fetches_thin(store, pending->lane);
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

/* Goes on over so many bytes of it: enum frame_verify or -EBADMSG. */
static int image_verify(struct fetch *fetch, uint64_t bytes)
{
    const struct store *store = fetch->store;
    const struct chunk *chunk = fetch->chunk;
    if (chunk->topic == NULL) {
        return -ESTALE; /* it was trimmed meanwhile */
    }
    if (!fetch->begun) {
        const struct frame_chunk place = {.topic_id = chunk->topic->id,
                                          .chunk_no = chunk->number,
                                          .generation = chunk->generation};
        const int error = frame_verify_begin(&fetch->scan, pool_image(&store->pool, chunk),
                                             store->chunk_bytes, &place);
        if (error != 0) {
            return error;
        }
        fetch->begun = true;
    }
    return frame_verify_step(&fetch->scan, fetch->upto, bytes);
}

/* Says once, and remembers, that the chunk cannot be loaded. A read ahead of which nobody waits for is
 * tried again by whoever will. */
static void fetch_failed(struct store *store, struct chunk *chunk, int error)
{
    const bool unwanted = chunk->rank == CHUNK_AHEAD && list_empty(&chunk->waiters);
    if (chunk->topic != NULL && (error == -EBADMSG || !unwanted)) {
        log_error(store->log, "chunk.damaged",
                  "file=%s offset=%" PRIu64 " topic_id=%" PRIu64 " chunk=%" PRIu64
                  " error=%d action=\"its readers get the error; other chunks are served\"",
                  slot_path(&store->segments, chunk->slot).text,
                  slot_offset(&store->segments, chunk->slot), chunk->topic->id, chunk->number,
                  error);
        chunk->damaged = error;
    }
    pool_unassign(&store->pool, chunk);
}

/* Makes an image with damaged frames readable around them. 0 or -EBADMSG. */
static int image_mend(struct store *store, const struct fetch *fetch)
{
    struct chunk *chunk = fetch->chunk;
    const bool told = chunk->damage_told;
    chunk->damage_told = true;
    if (!told) {
        counter_add(&store->counters, COUNTER_CHUNKS_DAMAGED, 1);
    }
    return damage_mark(store, chunk, fetch->upto, !told);
}

/* The image has been read and verified, or it could not be. */
static void fetch_end(struct fetch *fetch, int result)
{
    struct store *store = fetch->store;
    struct chunk *chunk = fetch->chunk;
    chunk->holds--;
    store->loading--;
    if (result == -EBADMSG) {
        result = image_mend(store, fetch);
    }
    if (result == 0) {
        const struct chunk_header *header = (void *)pool_image(&store->pool, chunk);
        topic_chunk_learn(chunk, header->base_seq, header->base_time_ns);
        pool_show(&store->pool, chunk);
    } else {
        fetch_failed(store, chunk, result);
    }
    store->freed = true;
    list_remove(&fetch->queue);
    free(fetch);
    chunk->holds++; /* until its waiters have been served */
    waiters_complete(store, chunk);
    retention_loaded(store, chunk->topic);
    chunk->holds--;
    flush_settle_chunk(store, chunk);
}

static void fetch_done(struct io_op *io, int result)
{
    struct fetch *fetch = io->context;
    fetch->result = result;
    list_push_back(&fetch->store->fetched, &fetch->queue);
}

/* What somebody waits for comes first. */
static struct fetch *fetch_next(struct store *store)
{
    list_each(node, &store->fetched)
    {
        struct fetch *fetch = list_entry(node, struct fetch, queue);
        if (!list_empty(&fetch->chunk->waiters)) {
            return fetch;
        }
    }
    return list_entry(list_first(&store->fetched), struct fetch, queue);
}

bool fetch_verify(struct store *store)
{
    const bool any = !fetch_idle(store);
    uint64_t left = VERIFY_QUANTUM_BYTES;
    while (left > 0 && !fetch_idle(store)) {
        struct fetch *fetch = fetch_next(store);
        const uint64_t bytes = fetch->io.bytes - fetch->verified;
        const uint64_t piece = bytes < left ? bytes : left;
        const int result = fetch->result != 0 ? fetch->result : image_verify(fetch, piece);
        fetch->verified += piece;
        left -= piece;
        if (result != FRAME_VERIFY_MORE) {
            fetch_end(fetch, result);
        }
    }
    return any;
}

void fetch_deinit(struct store *store)
{
    list_each(node, &store->fetched)
    {
        free(list_entry(node, struct fetch, queue));
    }
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

int fetch_begin(struct store *store, struct chunk *chunk, enum pool_use use)
{
    if (chunk->damaged != 0) {
        return chunk->damaged;
    }
    if (chunk->state == CHUNK_LOADING) {
        pool_touch(&store->pool, chunk);
        return STORE_WAIT;
    }
    if (list_linked(&chunk->starved)) {
        return STORE_WAIT;
    }
    ensure(chunk->state == CHUNK_COLD);
    if (pool_assign(&store->pool, chunk, chunk->topic == store->system ? POOL_SYSTEM : use) ==
        POOL_FULL) {
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

int fetch_use(struct store *store, struct chunk *chunk, enum read_kind kind)
{
    const bool waits = chunk->state != CHUNK_RESIDENT;
    int outcome = STORE_READY;
    if (waits) {
        outcome = fetch_begin(store, chunk, POOL_READ);
    } else {
        pool_touch(&store->pool, chunk);
        pool_settle(&store->pool, chunk, false); /* or it might go for what is read ahead */
    }
    if (outcome >= 0) {
        read_ahead_use(store, chunk, kind, waits);
    }
    return outcome;
}

bool fetch_ahead(struct store *store, struct chunk *chunk)
{
    if (chunk->state != CHUNK_COLD || chunk->damaged != 0 || list_linked(&chunk->starved)) {
        return true;
    }
    if (pool_assign(&store->pool, chunk, POOL_AHEAD) == POOL_FULL) {
        return false;
    }
    chunk->ahead_ns = store->now_ns;
    if (read_submit(store, chunk) != 0) {
        pool_unassign(&store->pool, chunk);
        return false;
    }
    counter_add(&store->counters, COUNTER_CHUNKS_READ_AHEAD, 1);
    return true;
}

void fetch_retry(struct store *store)
{
    list_each(node, &store->starved)
    {
        struct chunk *chunk = list_entry(node, struct chunk, starved);
        list_remove(&chunk->starved);
        if (fetch_begin(store, chunk, POOL_READ) == STORE_WAIT && list_linked(&chunk->starved)) {
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
    } else {
        pending->resume = fetch_submit;
        const int located = chunk_locate(pending, &chunk);
        if (located == STORE_WAIT) {
            return;
        }
        pending->resume = NULL;
        if (located != STORE_READY) {
            pending_complete(pending, 0, located, 0);
            return;
        }
    }
    if (chunk == NULL || !chunk_is_visible(chunk, store->chunk_bytes)) {
        const bool trimmed =
            (submission->flags & SUBMIT_BY_CHUNK) != 0 && submission->arg < topic->first_chunk;
        pending_complete(pending, 0, trimmed ? -ENODATA : -EAGAIN, 0);
        return;
    }
    const int outcome =
        fetch_use(store, chunk, (submission->flags & SUBMIT_BY_CHUNK) != 0 ? READ_ON : READ_SEEK);
    if (outcome < 0) {
        pending_complete(pending, 0, outcome, chunk->number);
    } else if (outcome == STORE_WAIT) {
        list_push_back(&chunk->waiters, &pending->queue);
    } else {
        waiter_complete(store, pending, chunk);
    }
}

void fetch_hold(struct lane *lane, struct chunk *chunk, bool by_claim)
{
    struct fetch_hold *hold = calloc(1, sizeof *hold);
    ensure(hold != NULL);
    hold->chunk = chunk;
    hold->cq_index = lane->cq_tail;
    hold->by_claim = by_claim;
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
        hold_end(store, hold);
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
