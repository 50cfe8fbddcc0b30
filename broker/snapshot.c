/* Snapshot: see snapshot.h. */
#include "broker/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/checksum.h"
#include "broker/recovery.h"
#include "broker/retention.h"
#include "broker/store.h"
#include "shm/crash_point.h"
#include "shm/ensure.h"

#define SNAPSHOT_RETRY_NS UINT64_C(1000000000)

static int chain_add(struct snapshot_chain *chain, uint32_t slot, bool small)
{
    if (chain->count == chain->max) {
        const uint32_t max = chain->max == 0 ? 16 : chain->max * 2;
        struct snapshot_slot *slots = realloc(chain->slots, max * sizeof *slots);
        if (slots == NULL) {
            return -ENOMEM;
        }
        chain->slots = slots;
        chain->max = max;
    }
    chain->slots[chain->count++] = (struct snapshot_slot){.slot = slot, .small = small};
    return 0;
}

static void chain_release(struct store *store, struct snapshot_chain *chain)
{
    for (uint32_t i = 0; i < chain->count; i++) {
        slot_release(&store->segments, chain->slots[i].slot, chain->slots[i].small);
    }
    chain->count = 0;
    store->freed = true;
}

/* The system topic's reserve has room for one more snapshot like the one that is named. */
static void reserve_adjust(struct store *store)
{
    const uint32_t count = store->snapshot.named.count;
    const uint32_t groups = count <= SMALL_CHUNKS ? 1 : 1 + count - SMALL_CHUNKS;
    store->segments.slots.system_groups = SEGMENT_SYSTEM_DEFAULT + (count == 0 ? 0 : groups);
}

int snapshot_open(struct store *store, const struct recovered_topic *found)
{
    struct snapshot *snapshot = &store->snapshot;
    *snapshot =
        (struct snapshot){.log_bytes_min = SNAPSHOT_LOG_BYTES, .step_bytes = SNAPSHOT_STEP_BYTES};
    for (uint32_t i = 0; i < found->chunks_count; i++) {
        const struct recovered_chunk *chunk = &found->chunks[i];
        if (chain_add(&snapshot->named, chunk->slot, chunk->chunk_no < SMALL_CHUNKS) != 0) {
            return -ENOMEM;
        }
    }
    reserve_adjust(store);
    return 0;
}

void snapshot_close(struct store *store)
{
    struct snapshot *snapshot = &store->snapshot;
    free(snapshot->image);
    free(snapshot->chain.slots);
    free(snapshot->named.slots);
    *snapshot = (struct snapshot){0};
}

static uint64_t chunk_end(const struct store *store)
{
    return chunk_start(store->snapshot.chunk_no + 1, store->chunk_bytes);
}

/* A slot for chunk `chunk_no` of the snapshot. STORE_READY, STORE_WAIT or -errno. */
static int slot_take(struct store *store, uint64_t chunk_no, uint32_t *slot, uint64_t *generation)
{
    struct snapshot *snapshot = &store->snapshot;
    const bool small = chunk_no < SMALL_CHUNKS;
    if (slot_map_free_groups(&store->segments.slots) <= SNAPSHOT_GROUPS_LEFT) {
        return -ENOSPC;
    }
    int outcome = numbers_take_generation(store, generation);
    if (outcome != STORE_READY) {
        return outcome;
    }
    outcome = slot_allocate(&store->segments, SLOT_SYSTEM | (small ? SLOT_SMALL : 0), slot);
    if (outcome != 0) {
        return outcome == -EAGAIN ? STORE_WAIT : outcome;
    }
    outcome = chain_add(&snapshot->chain, *slot, small);
    if (outcome != 0) {
        slot_release(&store->segments, *slot, small);
    }
    return outcome;
}

/* Drops what is not named; the next one is tried a little later. */
static void snapshot_abandon(struct store *store)
{
    struct snapshot *snapshot = &store->snapshot;
    chain_release(store, &snapshot->chain);
    free(snapshot->image);
    snapshot->image = NULL;
    snapshot->state = SNAPSHOT_IDLE;
    snapshot->retry_ns = store->now_ns + SNAPSHOT_RETRY_NS;
}

static uint64_t log_bytes_max(const struct store *store)
{
    const uint64_t least = store->snapshot.log_bytes_min;
    const uint64_t twice = store->superblock.snapshot.end * 2;
    return least > twice ? least : twice;
}

/* Is there a segment of which nothing but the log that a snapshot frees is in use? What the tail's
 * chunk takes stays, so each such snapshot waits for another chunk of log. */
static bool log_keeps_segment(const struct store *store)
{
    const struct topic *system = store->system;
    const uint64_t tail_chunk = chunk_number(system->tail_position, store->chunk_bytes);
    for (uint64_t number = system->first_chunk; number < tail_chunk; number++) {
        slot_segment(&store->segments, topic_chunk(system, number)->slot)->units_log = 0;
    }
    bool keeps = false;
    for (uint64_t number = system->first_chunk; number < tail_chunk; number++) {
        struct segment *segment = slot_segment(&store->segments, topic_chunk(system, number)->slot);
        segment->units_log += number < SMALL_CHUNKS ? 1 : GROUP_UNITS;
        keeps = keeps || segment->units_log == segment->units_used;
    }
    return keeps;
}

static bool snapshot_due(struct store *store)
{
    if (store->now_ns < store->snapshot.retry_ns) {
        return false;
    }
    const uint64_t logged = store->system->tail_position - store->superblock.replay.position;
    return logged > log_bytes_max(store) ||
           (segment_set_take_kept(&store->segments) && log_keeps_segment(store));
}

/* Where the system topic's tail lies: its chunk, or the slot that its last chunk names. */
static void from_capture(struct store *store)
{
    struct snapshot *snapshot = &store->snapshot;
    const struct topic *system = store->system;
    snapshot->from =
        (struct record_place){.position = system->tail_position, .seq = system->next_seq};
    const uint64_t chunk_no = chunk_number(system->tail_position, store->chunk_bytes);
    const struct chunk *chunk = topic_chunk(system, chunk_no);
    if (chunk != NULL) {
        snapshot->from_slot = chunk->slot;
        snapshot->from_generation = chunk->generation;
        return;
    }
    const struct chunk *last = topic_chunk(system, chunk_no - 1);
    ensure(last != NULL && last->next_slot != SLOT_NONE);
    snapshot->from_slot = last->next_slot;
    snapshot->from_generation = last->next_generation;
}

/* The first record. */
static void list_clock(struct store *store)
{
    const struct record record = {.kind = RECORD_CLOCK,
                                  .clock = {.age_ns = retention_clock(store)}};
    store->snapshot.record_bytes = record_encode(&record, store->snapshot.record);
}

static bool snapshot_begin(struct store *store)
{
    struct snapshot *snapshot = &store->snapshot;
    snapshot->image = io_buffer_new(store->chunk_bytes);
    if (snapshot->image == NULL) {
        snapshot->retry_ns = store->now_ns + SNAPSHOT_RETRY_NS;
        return false;
    }
    if (slot_take(store, 0, &snapshot->first_slot, &snapshot->first_generation) != STORE_READY) {
        snapshot_abandon(store);
        return false;
    }
    snapshot->chunk_no = 0;
    snapshot->generation = snapshot->first_generation;
    snapshot->position = chunk_first_frame(0, store->chunk_bytes);
    snapshot->seq = 0;
    list_clock(store);
    snapshot->index = 0;
    snapshot->part = PART_TOPIC;
    snapshot->state = SNAPSHOT_LISTING;
    from_capture(store);
    return true;
}

/* Listing. */

static void list_topic(struct store *store, const struct topic *topic)
{
    struct snapshot *snapshot = &store->snapshot;
    snapshot->incarnation = topic->incarnation;
    snapshot->chunk_next = chunk_number(topic->first_position, store->chunk_bytes);
    snapshot->chunk_last = topic->first_chunk + topic->chunk_count - 1;
    snapshot->part = topic->chunk_count > 0 ? PART_CHUNKS : PART_CURSOR;
    struct retention_text retention;
    const struct record record = {
        .kind = RECORD_TOPIC,
        .topic_id = topic->id,
        .topic = {.created_ns = topic->created_ns,
                  .name = {.bytes = topic->shm->name, .size = (uint16_t)topic->shm->name_bytes},
                  .retention = retention_text(topic, &retention),
                  .as_of = store->system->tail_position,
                  .first = {.position = topic->first_position, .seq = topic->first_seq},
                  .durable = {.position = topic->durable_position, .seq = topic->durable_seq},
                  .last_time_ns = topic->last_time_ns,
                  .floor_position = topic->floor.position,
                  .floor_salt = topic->floor.salt},
    };
    snapshot->record_bytes = record_encode(&record, snapshot->record);
}

/* Chunks that go while they are listed: what is recorded behind as_of says so. */
static void list_chunks(struct store *store, const struct topic *topic)
{
    struct snapshot *snapshot = &store->snapshot;
    uint8_t items[RECORD_ITEMS_MAX * RECORD_CHUNK_ITEM_BYTES];
    uint32_t count = 0;
    if (snapshot->chunk_next < topic->first_chunk) {
        snapshot->chunk_next = topic->first_chunk;
    }
    const uint64_t first = snapshot->chunk_next;
    const struct chunk *chunk;
    while (count < RECORD_ITEMS_MAX && snapshot->chunk_next <= snapshot->chunk_last &&
           (chunk = topic_chunk(topic, snapshot->chunk_next)) != NULL) {
        const struct record_chunk item = {.generation = chunk->generation,
                                          .base_seq = chunk->base_seq,
                                          .base_time_ns = chunk->base_time_ns,
                                          .age_ns = chunk->age_ns,
                                          .slot = chunk->slot};
        record_chunk_put(items, count++, &item);
        snapshot->chunk_next++;
    }
    if (count < RECORD_ITEMS_MAX) {
        snapshot->part = PART_CURSOR;
    }
    if (count > 0) {
        const struct record record = {
            .kind = RECORD_CHUNKS,
            .topic_id = topic->id,
            .chunks = {.chunk_no = first, .items = {.bytes = items, .count = (uint16_t)count}},
        };
        snapshot->record_bytes = record_encode(&record, snapshot->record);
    }
}

static void list_cursor(struct store *store, const struct topic *topic)
{
    struct snapshot *snapshot = &store->snapshot;
    const struct cursor *cursor = &topic->cursor;
    snapshot->part = PART_TOPIC;
    snapshot->index++;
    if (!cursor->exists) {
        return;
    }
    const struct record record = {
        .kind = RECORD_CURSOR,
        .topic_id = topic->id,
        .cursor = {.group = RECORD_TEXT(RECORD_GROUP_DEFAULT),
                   .cursor = {.position = cursor->position, .seq = cursor->seq},
                   .durable = {.position = topic->durable_position, .seq = topic->durable_seq}},
    };
    snapshot->record_bytes = record_encode(&record, snapshot->record);
}

/* Looks at the current descriptor: encodes a record of it, or moves on. False: there are no
 * more. */
static bool list_next(struct store *store)
{
    struct snapshot *snapshot = &store->snapshot;
    const struct topic_set *set = &store->topics;
    if (snapshot->index >= set->used) {
        return false;
    }
    const struct topic *topic = set->by_index[snapshot->index];
    const bool same = snapshot->part == PART_TOPIC ||
                      (topic != NULL && topic->incarnation == snapshot->incarnation);
    if (topic == NULL || topic == store->system || topic->state != TOPIC_PRESENT || !same) {
        snapshot->part = PART_TOPIC;
        snapshot->index++;
        return true;
    }
    switch (snapshot->part) {
    case PART_TOPIC:
        list_topic(store, topic);
        break;
    case PART_CHUNKS:
        list_chunks(store, topic);
        break;
    case PART_CURSOR:
        list_cursor(store, topic);
        break;
    }
    return true;
}

/* Placing. */

static struct frame_header *frame_put(struct store *store, uint32_t size, uint16_t flags)
{
    struct snapshot *snapshot = &store->snapshot;
    struct frame_header *frame =
        (struct frame_header *)(snapshot->image +
                                (snapshot->position -
                                 chunk_start(snapshot->chunk_no, store->chunk_bytes)));
    *frame = (struct frame_header){
        .size = size, .seq = snapshot->seq, .flags = flags, .salt = store->numbers.salt};
    return frame;
}

static uint32_t frame_seed(const struct snapshot *snapshot)
{
    return checksum_seed(SNAPSHOT_TOPIC_ID, snapshot->chunk_no, snapshot->generation);
}

/* Puts the encoded record behind the others; false: it does not fit into the chunk. */
static bool record_place(struct store *store)
{
    struct snapshot *snapshot = &store->snapshot;
    const uint64_t bytes = frame_bytes(snapshot->record_bytes);
    if (bytes > chunk_end(store) - snapshot->position) {
        return false;
    }
    struct frame_header *frame =
        frame_put(store, (uint32_t)snapshot->record_bytes, FRAME_FIRST | FRAME_LAST);
    memcpy(frame + 1, snapshot->record, snapshot->record_bytes);
    frame_seal(frame, frame_seed(snapshot));
    snapshot->position += bytes;
    snapshot->seq++;
    snapshot->record_bytes = 0;
    return true;
}

static void chunk_written(struct io_op *op, int result)
{
    struct store *store = op->context;
    struct snapshot *snapshot = &store->snapshot;
    if (result != 0) {
        snapshot->state = SNAPSHOT_IDLE;
        store_fence(store, result, "a write of the snapshot");
        return;
    }
    crash_point("snapshot.chunk_written");
    if (!snapshot->more) {
        snapshot->until = store->system->tail_position;
        snapshot->sync = flush_want(store);
        snapshot->state = SNAPSHOT_SYNCING;
        return;
    }
    snapshot->chunk_no++;
    snapshot->generation = snapshot->next_generation;
    snapshot->position = chunk_first_frame(snapshot->chunk_no, store->chunk_bytes);
    memset(snapshot->image, 0, store->chunk_bytes);
    snapshot->state = SNAPSHOT_LISTING;
}

/* Writes the chunk durably; `more`: next_slot and next_generation are its successor's. */
static void chunk_write(struct store *store, bool more)
{
    struct snapshot *snapshot = &store->snapshot;
    const uint64_t start = chunk_start(snapshot->chunk_no, store->chunk_bytes);
    const uint64_t used = snapshot->position - start;
    const uint64_t room = chunk_end(store) - snapshot->position;
    if (more && room >= FRAME_HEADER_BYTES) {
        frame_seal(frame_put(store, (uint32_t)(room - FRAME_HEADER_BYTES), FRAME_PAD),
                   frame_seed(snapshot));
    }
    struct chunk_header *header = (struct chunk_header *)snapshot->image;
    *header = (struct chunk_header){
        .magic = CHUNK_MAGIC,
        .version = CHUNK_FORMAT_VERSION,
        .topic_id = SNAPSHOT_TOPIC_ID,
        .chunk_no = snapshot->chunk_no,
        .generation = snapshot->generation,
        .next_generation = more ? snapshot->next_generation : 0,
        .next_slot = more ? snapshot->next_slot : SLOT_NONE,
    };
    chunk_header_seal(header);
    const uint32_t slot = snapshot->chain.slots[snapshot->chunk_no].slot;
    snapshot->more = more;
    snapshot->state = SNAPSHOT_WRITING;
    snapshot->op = (struct io_op){
        .kind = IO_WRITE,
        .dsync = true,
        .file = slot_file(&store->segments, slot),
        .buffer = snapshot->image,
        .bytes =
            more ? chunk_size(snapshot->chunk_no, store->chunk_bytes) : align_up(used, BLOCK_BYTES),
        .offset = slot_offset(&store->segments, slot),
        .done = chunk_written,
        .context = store,
    };
    counter_add(&store->counters, COUNTER_BYTES_WRITTEN, snapshot->op.bytes);
    io_submit(store->io, &snapshot->op);
}

/* False: it waits for a slot. */
static bool list_step(struct store *store)
{
    struct snapshot *snapshot = &store->snapshot;
    const uint64_t enough = snapshot->position + snapshot->step_bytes;
    for (int i = 0; i < SNAPSHOT_STEP_TOPICS && snapshot->position < enough; i++) {
        if (snapshot->record_bytes == 0 && !list_next(store)) {
            chunk_write(store, false);
            return true;
        }
        if (snapshot->record_bytes == 0 || record_place(store)) {
            continue;
        }
        const int outcome = slot_take(store, snapshot->chunk_no + 1, &snapshot->next_slot,
                                      &snapshot->next_generation);
        if (outcome == STORE_READY) {
            chunk_write(store, true);
        } else if (outcome != STORE_WAIT) {
            snapshot_abandon(store);
        }
        return outcome != STORE_WAIT;
    }
    return true;
}

/* Naming. */

static void snapshot_named(void *context, int result)
{
    struct store *store = context;
    struct snapshot *snapshot = &store->snapshot;
    if (result != 0) {
        store_fence(store, result, "a write of the superblock");
        return;
    }
    crash_point("snapshot.named");
    const struct snapshot_chain old = snapshot->named;
    snapshot->named = snapshot->chain;
    snapshot->chain = old;
    chain_release(store, &snapshot->chain);
    free(snapshot->image);
    snapshot->image = NULL;
    reserve_adjust(store);
    struct topic *system = store->system;
    system->first_position = snapshot->from.position;
    system->first_seq = snapshot->from.seq;
    store_forget_log(store, chunk_number(snapshot->from.position, store->chunk_bytes));
    counter_add(&store->counters, COUNTER_SNAPSHOTS, 1);
    snapshot->state = SNAPSHOT_IDLE;
}

static bool snapshot_name(struct store *store)
{
    struct snapshot *snapshot = &store->snapshot;
    struct superblock *superblock = &store->superblock;
    if (store->flush.durable_sync < snapshot->sync ||
        superblock_writer_busy(&store->numbers.writer)) {
        return false;
    }
    crash_point("snapshot.durable");
    superblock->system_slot = snapshot->from_slot;
    superblock->system_generation = snapshot->from_generation;
    superblock->replay = snapshot->from;
    superblock->topic_id_bound = store->numbers.next_topic_id;
    superblock->snapshot = (struct superblock_snapshot){
        .generation = snapshot->first_generation,
        .slot = snapshot->first_slot,
        .sync = (uint32_t)(store->flush.durable_sync & UINT16_MAX),
        .end = snapshot->position,
        .until = snapshot->until,
    };
    snapshot->state = SNAPSHOT_NAMING;
    superblock_write(&store->numbers.writer, superblock, snapshot_named, store);
    return true;
}

bool snapshot_step(struct store *store)
{
    struct snapshot *snapshot = &store->snapshot;
    if (store->fenced != 0 || snapshot->stopped) {
        return false;
    }
    switch (snapshot->state) {
    case SNAPSHOT_IDLE:
        return snapshot_due(store) && snapshot_begin(store);
    case SNAPSHOT_LISTING:
        return list_step(store);
    case SNAPSHOT_SYNCING:
        return snapshot_name(store);
    case SNAPSHOT_WRITING:
    case SNAPSHOT_NAMING:
        break; /* what is in flight goes on with it */
    }
    return false;
}

bool snapshot_goes_on(const struct store *store)
{
    const enum snapshot_state state = store->snapshot.state;
    return (state == SNAPSHOT_LISTING || state == SNAPSHOT_SYNCING) && !store->snapshot.stopped &&
           store->fenced == 0;
}

void snapshot_stop(struct store *store)
{
    store->snapshot.stopped = true;
}
