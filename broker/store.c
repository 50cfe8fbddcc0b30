/* Store: see store.h. */
#include "broker/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "broker/checksum.h"
#include "broker/group.h"
#include "broker/pending.h"
#include "broker/retention.h"
#include "broker/stream.h"
#include "broker/system_topic.h"
#include "broker/tail_wait.h"
#include "shm/crash_point.h"
#include "shm/ensure.h"

void store_fence(struct store *store, int error, const char *what)
{
    if (store->fenced != 0) {
        return;
    }
    store->fenced = error;
    store->freed = true; /* whoever waits for room, or for a stream's end, gets the error */
    store->stream_ended = true;
    list_each(node, &store->topics.all)
    {
        store_topic_moved(store, list_entry(node, struct topic, topics));
    }
    atom_store_relaxed(&store->directory->fenced, (uint64_t)-error); /* alone */
    log_error(
        store->log, "store.fenced",
        "data=%s error=%d what=\"%s failed: %s\" action=\"appends fail with EIO, reads go on; "
        "mend the disk and restart the broker\"",
        LOG_QUOTE(store->config->data_dir), error, what, strerror(-error));
}

void store_wake_readers(struct store *store)
{
    list_each(node, &store->topics.all)
    {
        tail_wait_renew(list_entry(node, struct topic, topics));
    }
}

void store_topic_moved(struct store *store, struct topic *topic)
{
    if (!list_linked(&topic->moved)) {
        list_push_back(&store->moved, &topic->moved);
    }
}

void store_arena_full(struct store *store)
{
    counter_add(&store->counters, COUNTER_ARENA_WAITS, 1);
    flush_hurry(store);
}

/* Is there a chunk whose slot the next sync frees? */
static bool frees_due(const struct store *store)
{
    list_each(node, &store->frees)
    {
        if (!chunk_is_kept(list_entry(node, struct chunk, frees))) {
            return true;
        }
    }
    return false;
}

/* No slot and no space for another segment: what was given up may help, now or after a sync. */
static int slot_scrape(struct store *store, unsigned flags, uint32_t *slot)
{
    store_frees_release(store, store->flush.durable_sync);
    const int error = slot_allocate(&store->segments, flags, slot);
    if (error == 0) {
        return 0;
    }
    flush_want(store);
    return frees_due(store) ? -EAGAIN : error;
}

/* A slot for the topic's next chunk; the system topic's own may come from the reserve. */
static int slot_take(struct store *store, const struct topic *topic, uint64_t number,
                     uint32_t *slot)
{
    unsigned flags = number < SMALL_CHUNKS ? SLOT_SMALL : 0;
    flags |= store->config->fsync == FSYNC_NONE ? 0 : SLOT_WRITTEN;
    flags |= topic == store->system ? SLOT_SYSTEM : 0;
    int error = slot_allocate(&store->segments, flags, slot);
    if (error == -ENOSPC) {
        error = slot_scrape(store, flags, slot);
    }
    return error == -EAGAIN ? STORE_WAIT : error;
}

/* The header of an image that has no first unit yet: what readers compare is complete. */
static void header_write(struct store *store, const struct chunk *chunk)
{
    struct chunk_header *header = (struct chunk_header *)pool_image(&store->pool, chunk);
    *header = (struct chunk_header){
        .magic = CHUNK_MAGIC,
        .version = CHUNK_FORMAT_VERSION,
        .topic_id = chunk->topic->id,
        .chunk_no = chunk->number,
        .generation = chunk->generation,
        .next_generation = chunk->next_generation,
        .next_slot = chunk->next_slot,
    };
}

/* The chunk's place on disk: the system topic's was its predecessor's successor. */
static int place_take(struct store *store, struct chunk *chunk)
{
    struct topic *topic = chunk->topic;
    int outcome;
    if (topic == store->system) {
        const struct chunk *last = topic_chunk(topic, chunk->number - 1);
        ensure(last != NULL && last->next_slot != SLOT_NONE);
        outcome = slot_take(store, topic, chunk->number + 1, &chunk->next_slot);
        if (outcome == STORE_READY) {
            outcome = numbers_take_generation(store, &chunk->next_generation);
        }
        chunk->slot = last->next_slot;
        chunk->generation = last->next_generation;
        return outcome;
    }
    outcome = slot_take(store, topic, chunk->number, &chunk->slot);
    if (outcome == STORE_READY) {
        outcome = numbers_take_generation(store, &chunk->generation);
    }
    return outcome;
}

/* Undoes place_take(). */
static void place_give(struct store *store, struct chunk *chunk)
{
    const bool system = chunk->topic == store->system;
    const uint32_t slot = system ? chunk->next_slot : chunk->slot;
    const uint64_t number = system ? chunk->number + 1 : chunk->number;
    if (slot != SLOT_NONE) {
        slot_release(&store->segments, slot, number < SMALL_CHUNKS);
    }
}

static void assign_record(struct store *store, const struct chunk *chunk)
{
    const struct topic *topic = chunk->topic;
    const struct record record = {
        .kind = RECORD_ASSIGN,
        .topic_id = topic->id,
        .assign = {.chunk_no = chunk->number,
                   .generation = chunk->generation,
                   .base_seq = chunk->base_seq,
                   .base_time_ns = chunk->base_time_ns,
                   .slot = chunk->slot,
                   .age_ns = chunk->age_ns,
                   .durable = {.position = topic->durable_position, .seq = topic->durable_seq}},
    };
    system_topic_append(store, &record);
}

static int chunk_place(struct store *store, struct chunk *chunk)
{
    const bool system = chunk->topic == store->system;
    if (!system) {
        const int outcome = system_topic_prepare(store);
        if (outcome != STORE_READY) {
            return outcome;
        }
    }
    if (pool_assign(&store->pool, chunk, system ? POOL_SYSTEM : POOL_APPEND) == POOL_FULL) {
        store_arena_full(store);
        return STORE_WAIT;
    }
    int outcome = place_take(store, chunk);
    if (outcome == STORE_READY) {
        outcome = topic_chunk_push(chunk->topic, chunk);
    }
    if (outcome != STORE_READY) {
        place_give(store, chunk);
        pool_unassign(&store->pool, chunk);
    }
    return outcome;
}

int store_chunk_add(struct store *store, struct topic *topic, uint64_t base_seq)
{
    const uint64_t number = topic->chunk_count > 0
                                ? topic->first_chunk + topic->chunk_count
                                : chunk_number(topic->tail_position, store->chunk_bytes);
    struct chunk *chunk = chunk_new(topic, number);
    if (chunk == NULL) {
        return -ENOMEM;
    }
    const int outcome = chunk_place(store, chunk);
    if (outcome != STORE_READY) {
        chunk_free(chunk);
        return outcome;
    }
    chunk->base_seq = base_seq;
    chunk->base_time_ns =
        store->time_ns > topic->last_time_ns ? store->time_ns : topic->last_time_ns;
    chunk->age_ns = retention_clock(store);
    chunk->written = chunk_start(number, store->chunk_bytes);
    chunk->seed = checksum_seed(topic->id, number, chunk->generation);
    header_write(store, chunk);
    pool_show(&store->pool, chunk);
    if (topic != store->system) {
        assign_record(store, chunk);
    }
    crash_point("chunk.assigned");
    return STORE_READY;
}

int store_chunk_revive(struct store *store, struct chunk *chunk)
{
    if (pool_assign(&store->pool, chunk,
                    chunk->topic == store->system ? POOL_SYSTEM : POOL_APPEND) == POOL_FULL) {
        store_arena_full(store);
        return STORE_WAIT;
    }
    header_write(store, chunk);
    pool_show(&store->pool, chunk);
    return STORE_READY;
}

/* The topic's no more: its slot is free after the sync of the record that says so. */
static void chunk_forget(struct store *store, struct chunk *chunk)
{
    flush_unmark_full(store, chunk);
    list_remove(&chunk->starved);
    if (chunk->state == CHUNK_RESIDENT) {
        topic_unmap_chunk(chunk->topic->shm, chunk->number, chunk->unit);
    }
    chunk->topic = NULL;
    chunk->free_after_sync = store->flush.next_sync;
    list_push_back(&store->frees, &chunk->frees);
    flush_settle_chunk(store, chunk);
}

void store_forget_chunks(struct store *store, struct topic *topic, uint64_t first_kept)
{
    while (topic->chunk_count > 0 && topic->first_chunk < first_kept) {
        chunk_forget(store, topic_chunk_shift(topic));
        counter_add(&store->counters, COUNTER_CHUNKS_TRIMMED, 1);
    }
}

void store_forget_log(struct store *store, uint64_t first_kept)
{
    struct topic *system = store->system;
    while (system->chunk_count > 0 && system->first_chunk < first_kept) {
        struct chunk *chunk = topic_chunk_shift(system);
        chunk_forget(store, chunk);
        list_remove(&chunk->frees);
        chunk->free_after_sync = store->flush.durable_sync;
        list_push_front(&store->frees, &chunk->frees);
        counter_add(&store->counters, COUNTER_CHUNKS_TRIMMED, 1);
    }
    store_frees_release(store, store->flush.durable_sync);
}

void store_forget_end(struct store *store, struct topic *topic, uint64_t first_gone)
{
    while (topic->chunk_count > 0 && topic->first_chunk + topic->chunk_count > first_gone) {
        chunk_forget(store, topic_chunk_pop(topic));
    }
}

void store_frees_release(struct store *store, uint64_t number)
{
    list_each(node, &store->frees)
    {
        struct chunk *chunk = list_entry(node, struct chunk, frees);
        if (chunk->free_after_sync > number) {
            break;
        }
        if (chunk_is_kept(chunk)) {
            continue;
        }
        list_remove(&chunk->frees);
        slot_release(&store->segments, chunk->slot, chunk->number < SMALL_CHUNKS);
        chunk->slot = SLOT_NONE;
        store->freed = true;
        if (chunk->unit == UNIT_NONE) {
            chunk_free(chunk);
        }
    }
}

int store_topic_create(struct store *store, struct topic *topic)
{
    const int outcome = system_topic_prepare(store);
    if (outcome != STORE_READY) {
        return outcome;
    }
    struct retention_text text;
    topic->id = store->numbers.next_topic_id++;
    topic->created_ns = store->time_ns;
    topic->floor =
        (struct salt_floor){.position = topic->tail_position, .salt = store->numbers.salt};
    const struct record record = {
        .kind = RECORD_TOPIC_CREATE,
        .topic_id = topic->id,
        .topic_create = {.time_ns = store->time_ns,
                         .name = {.bytes = topic->shm->name,
                                  .size = (uint16_t)topic->shm->name_bytes},
                         .retention = retention_text(topic, &text)},
    };
    system_topic_append(store, &record);
    topic->state = TOPIC_PRESENT;
    retention_begin(store, topic);
    store->topics.present++;
    atom_store_relaxed(&topic->shm->topic_id, topic->id); /* [T3] orders it */
    topic_announce(topic->shm, TOPIC_PRESENT);
    return STORE_READY;
}

static void chunk_waiters_end(struct chunk *chunk, int error)
{
    while (!list_empty(&chunk->waiters)) {
        struct pending *pending = list_entry(list_first(&chunk->waiters), struct pending, queue);
        pending_complete(pending, 0, error, chunk->number);
    }
}

int store_topic_delete(struct store *store, struct topic *topic)
{
    const int outcome = system_topic_prepare(store);
    if (outcome != STORE_READY) {
        return outcome;
    }
    stream_topic_gone(topic);
    const struct record record = {.kind = RECORD_TOPIC_DELETE, .topic_id = topic->id};
    system_topic_append(store, &record);
    topic_set_unname(&store->topics, topic);
    store->topics.present--;
    group_delete(topic);
    tail_wait_delete(topic);
    list_remove(&topic->cursor.undurable);
    list_remove(&topic->dirty);
    list_remove(&topic->unmarked);
    list_remove(&topic->ticked);
    while (topic->chunk_count > 0) {
        struct chunk *chunk = topic_chunk_shift(topic);
        chunk_waiters_end(chunk, -ESTALE);
        chunk_forget(store, chunk);
    }
    return STORE_READY;
}
