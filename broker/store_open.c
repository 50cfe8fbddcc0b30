/* Store: opening, that is locking, recovering and building what store.h describes; and closing. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "broker/checksum.h"
#include "broker/clock.h"
#include "broker/fetch.h"
#include "broker/group.h"
#include "broker/recovery.h"
#include "broker/retention.h"
#include "broker/store.h"
#include "broker/stream_undo.h"
#include "broker/system_topic.h"
#include "shm/ensure.h"
#include "shm/quantity.h"

static void segments_changed(void *context, int result)
{
    struct store *store = context;
    if (result == -ENOSPC) {
        log_warning(
            store->log, "segment.refused",
            "data=%s reason=\"no space for another segment\" action=\"appends that need one "
            "are refused; it is tried again every second\"",
            LOG_QUOTE(store->config->data_dir));
    } else if (result != 0) {
        store_fence(store, result, "making a segment");
    }
    store->freed = true;
}

/* Memory and files, everything up to the point where what is in them is known. */
static int parts_open(struct store *store, const struct mapping *arena, struct fault *fault)
{
    const struct config *config = store->config;
    list_init(&store->streams);
    list_init(&store->moved);
    list_init(&store->publish);
    list_init(&store->cursors);
    list_init(&store->stalled);
    list_init(&store->starved);
    list_init(&store->ticked);
    list_init(&store->fetched);
    list_init(&store->frees);
    marks_init(&store->marks);
    store->chunk_bytes = config->chunk_bytes;
    store->retention = config->retention;
    counters_init(&store->counters, store->directory, COUNTER_OF_ENGINE);
    if (flush_init(&store->flush) != 0 ||
        pool_init(&store->pool, store->directory, arena->base) != 0 ||
        topic_set_init(&store->topics, store->directory) != 0) {
        return fault_set(fault, -ENOMEM, "no memory for the tables of the store");
    }
    int error =
        store_dir_open(&store->dir, store->io, config->data_dir, STORE_LOCK_TIMEOUT_NS, fault);
    if (error != 0) {
        return error;
    }
    error = io_register_lock(store->io, store->dir.lock);
    if (error != 0) {
        return fault_set(fault, error, "%s cannot be tied to the ring: %s",
                         store_dir_path(&store->dir, "LOCK").text, strerror(-error));
    }
    error = store_dir_load(&store->dir, config->chunk_bytes, config->segment_bytes,
                           &store->superblock, fault);
    if (error != 0) {
        return error;
    }
    const struct segment_config segments = {
        .zeroed_groups = config->fsync == FSYNC_NONE ? 0 : SEGMENT_ZEROED_DEFAULT,
        .system_groups = SEGMENT_SYSTEM_DEFAULT,
        .changed = segments_changed,
        .context = store,
    };
    return segment_set_open(&store->segments, &store->dir, &store->superblock, &segments, fault);
}

static struct chunk *chunk_build(struct store *store, struct topic *topic,
                                 const struct recovered_chunk *from)
{
    struct chunk *chunk = chunk_new(topic, from->chunk_no);
    if (chunk == NULL) {
        return NULL;
    }
    const uint64_t start = chunk_start(chunk->number, store->chunk_bytes);
    const uint64_t end = chunk_start(chunk->number + 1, store->chunk_bytes);
    const uint64_t tail = topic->tail_position;
    chunk->generation = from->generation;
    chunk->slot = from->slot;
    chunk->base_seq = from->base_seq;
    chunk->base_time_ns = from->base_time_ns;
    chunk->base_exact = from->base_exact;
    chunk->age_ns = from->age_ns != 0 ? from->age_ns : store->age_ns;
    chunk->started = tail > start + CHUNK_HEADER_BYTES;
    chunk->written = tail <= start ? start : tail < end ? tail : end;
    chunk->seed = checksum_seed(topic->id, chunk->number, chunk->generation);
    return chunk;
}

static int chunks_build(struct store *store, struct topic *topic,
                        const struct recovered_topic *from)
{
    for (uint32_t i = 0; i < from->chunks_count; i++) {
        struct chunk *chunk = chunk_build(store, topic, &from->chunks[i]);
        if (chunk == NULL || topic_chunk_push(topic, chunk) != 0) {
            free(chunk);
            return -ENOMEM;
        }
    }
    return 0;
}

static int topic_build(struct store *store, struct topic *topic, const struct recovered_topic *from)
{
    topic->id = from->id;
    topic->tail_position = from->tail.position;
    topic->next_seq = from->tail.seq;
    topic->durable_position = from->tail.position;
    topic->durable_seq = from->tail.seq;
    topic->marked_position = from->durable.position;
    topic->first_position = from->first.position;
    topic->first_seq = from->first.seq;
    topic->last_time_ns = from->last_time_ns;
    topic->created_ns = from->created_ns;
    /* Whatever is appended from here on has this start's salt. */
    topic->floor =
        (struct salt_floor){.position = from->tail.position, .salt = store->numbers.salt};
    topic->retention_own = from->retention != NULL && from->retention[0] != '\0';
    if (topic->retention_own) {
        const int error = retention_policy_parse(from->retention, &topic->retention);
        ensure(error == 0); /* the replay of its record has checked it */
    }
    if (from->cursor_exists) {
        topic->cursor.exists = true;
        topic->cursor.seq = from->cursor.seq;
        topic->cursor.position = from->cursor.position;
        topic->cursor.durable_seq = from->cursor.seq;
        topic->cursor.recorded.seq = from->cursor.seq;
        atom_store_relaxed(&topic->shm->cursor_seq, from->cursor.seq); /* before it is announced */
        atom_store_relaxed(&topic->shm->cursor_exists, 1);
    }
    topic_publish_first(topic->shm, topic->first_position, topic->first_seq);
    topic_publish_durable(topic->shm, topic->durable_position, topic->durable_seq);
    topic_publish(topic->shm, topic->tail_position, topic->next_seq);
    return chunks_build(store, topic, from);
}

/* The last chunk of the system topic names its successor, unless it was never used. */
static int system_build(struct store *store, const struct recovery *recovery)
{
    int error = topic_set_open_system(&store->topics, &store->system);
    if (error == 0) {
        error = topic_build(store, store->system, &recovery->system);
    }
    if (error != 0) {
        return error;
    }
    struct topic *topic = store->system;
    ensure(topic->chunk_count > 0);
    struct chunk *last = topic_chunk(topic, topic->first_chunk + topic->chunk_count - 1);
    last->next_slot = recovery->system_next_slot;
    last->next_generation = recovery->system_next_generation;
    if (last->next_slot != SLOT_NONE) {
        return 0;
    }
    const unsigned flags = SLOT_SYSTEM | (last->number + 1 < SMALL_CHUNKS ? SLOT_SMALL : 0);
    error = slot_allocate(&store->segments, flags, &last->next_slot);
    if (error == 0) {
        last->next_generation = store->numbers.next_generation++;
    }
    return error;
}

static int topics_build(struct store *store, const struct recovery *recovery)
{
    int error = system_build(store, recovery);
    for (uint32_t i = 0; i < recovery->topics_count && error == 0; i++) {
        const struct recovered_topic *from = &recovery->topics[i];
        struct topic *topic;
        error = topic_set_open(&store->topics, from->name, strlen(from->name), &topic);
        if (error != 0) {
            return error;
        }
        error = topic_build(store, topic, from);
        topic->state = TOPIC_PRESENT;
        retention_begin(store, topic);
        store->topics.present++;
        atom_store_relaxed(&topic->shm->topic_id, topic->id); /* [T3] orders it */
        topic_announce(topic->shm, TOPIC_PRESENT);
        marks_note(store, topic);
    }
    return error;
}

/* Before there is a loop: begins what is due and waits for something to complete. */
static int store_step(struct store *store)
{
    flush_tick(store);
    if (fetch_verify(store)) {
        return store->fenced;
    }
    ensure(io_in_flight(store->io) > 0);
    const int outcome = io_wait(store->io, IO_FOREVER);
    return outcome < 0 ? outcome : store->fenced;
}

/* Makes everything recorded so far durable. */
static int sync_now(struct store *store)
{
    const uint64_t sync = flush_want(store);
    int error = 0;
    while (error == 0 && store->flush.durable_sync < sync) {
        error = store_step(store);
    }
    return error;
}

/* Every frame of the verdicts carries the same sync number, the one that recovery names, however many
 * syncs they take: a start that is killed among them leaves no torn end beside frames of a later
 * one. */
static void sync_number_repeat(struct store *store, uint64_t number)
{
    store->flush.next_sync = number;
    store->flush.durable_sync = number - 1;
}

static int verdict_append(struct store *store, const struct recovered_topic *from, uint64_t number)
{
    int outcome;
    while ((outcome = system_topic_prepare(store)) == STORE_WAIT) {
        const bool dirty = !list_empty(&store->flush.dirty);
        const int error = dirty ? sync_now(store) : store_step(store);
        if (error != 0) {
            return error;
        }
        sync_number_repeat(store, number);
    }
    if (outcome < 0) {
        return outcome;
    }
    const struct record record = {
        .kind = RECORD_VERDICT,
        .topic_id = from->id,
        .verdict = {.tail = from->tail,
                    .durable = from->tail,
                    .void_from = from->void_from,
                    .salt_floor = store->numbers.salt},
    };
    system_topic_append(store, &record);
    return 0;
}

/* What recovery found becomes binding before anything is served. */
static int verdicts_write(struct store *store, const struct recovery *recovery, struct fault *fault)
{
    const uint64_t number = store->flush.next_sync;
    store->flush.marked_sync = number;
    for (uint32_t i = 0; i < recovery->topics_count; i++) {
        if (!recovery->topics[i].changed) {
            continue;
        }
        const int error = verdict_append(store, &recovery->topics[i], number);
        if (error != 0) {
            return fault_set(fault, error, "the outcome of recovery cannot be recorded in %s: %s",
                             store->config->data_dir, strerror(-error));
        }
    }
    const int error = sync_now(store);
    return error == 0
               ? 0
               : fault_set(fault, error, "the outcome of recovery cannot be synced in %s: %s",
                           store->config->data_dir, strerror(-error));
}

static int recovered_build(struct store *store, const struct recovery *recovery,
                           struct fault *fault)
{
    store->numbers.next_generation = recovery->next_generation;
    store->numbers.next_topic_id = recovery->next_topic_id;
    store->age_ns = recovery->age_ns + 1; /* a stamp of 0 is none */
    store->age_recorded_ns = store->age_ns;
    /* The number itself has 64 bits here, its low ones are in the frames; 0 is no sync. */
    sync_number_repeat(store, recovery->first_sync != 0 ? recovery->first_sync : SYNC_NUMBERS);
    int error = numbers_open(store, fault);
    if (error != 0) {
        return error;
    }
    error = topics_build(store, recovery);
    if (error == 0) {
        error = snapshot_open(store, &recovery->snapshot);
    }
    if (error != 0) {
        return fault_set(fault, error,
                         "%" PRIu32 " topics of %s cannot be held: %s (raise --topics, or memory)",
                         recovery->topics_count, store->config->data_dir, strerror(-error));
    }
    return verdicts_write(store, recovery, fault);
}

int store_open(struct store *store, const struct mapping *arena, struct fault *fault)
{
    const uint64_t begin = clock_ns(CLOCK_MONOTONIC);
    int error = parts_open(store, arena, fault);
    if (error != 0) {
        return error;
    }
    struct recovery recovery;
    error = recovery_run(&recovery, &store->dir, &store->segments, &store->superblock, fault);
    if (error == 0) {
        error = recovered_build(store, &recovery, fault);
    }
    recovery_free(&recovery);
    if (error != 0) {
        return error;
    }
    const uint64_t took = clock_ns(CLOCK_MONOTONIC) - begin;
    counter_set(&store->counters, COUNTER_RECOVERY_NS, took);
    log_info(store->log, "store.open",
             "data=%s topics=%" PRIu32 " segments=%" PRIu32 " ms=%" PRIu64,
             LOG_QUOTE(store->config->data_dir), store->topics.present, store->segments.present,
             took / NS_PER_MS);
    return 0;
}

/* What is read and written often. */
static void regions_of(const struct store *store, const struct mapping *arena,
                       struct iovec regions[2])
{
    regions[0] = (struct iovec){.iov_base = arena->base, .iov_len = arena->bytes};
    regions[1] = (struct iovec){.iov_base = flush_region(&store->flush),
                                .iov_len = FLUSH_BLOCKS * FLUSH_COPY_BYTES};
}

int store_attach(struct store *store, struct io *io, const struct mapping *arena)
{
    struct iovec regions[2];
    store->io = io;
    store->dir.io = io;
    store->segments.io = io;
    store->numbers.writer.io = io;
    segment_set_resume(&store->segments);
    regions_of(store, arena, regions);
    if (io_register_buffers(io, regions, 2) != 0) {
        log_info(
            store->log, "arena.unregistered",
            "data=%s reason=\"RLIMIT_MEMLOCK or the kernel forbids it\" effect=\"writes cost a "
            "little more\"",
            LOG_QUOTE(store->config->data_dir));
    }
    return io_register_lock(io, store->dir.lock);
}

void store_detach(struct store *store, const struct mapping *arena)
{
    struct iovec regions[2];
    regions_of(store, arena, regions);
    io_forget_buffers(store->io, regions, 2);
    io_forget_lock(store->io, store->dir.lock);
}

bool store_settled(const struct store *store)
{
    return flush_idle(&store->flush) && !segment_set_busy(&store->segments) &&
           !superblock_writer_busy(&store->numbers.writer) && store->loading == 0 &&
           store->snapshot.state != SNAPSHOT_WRITING;
}

void store_seal(struct store *store)
{
    const struct flush *flush = &store->flush;
    if (store->fenced != 0 || !flush_idle(flush) || !list_empty(&flush->dirty) || flush->news ||
        marks_running(&store->marks) || !list_empty(&store->marks.unmarked) ||
        !list_empty(&store->marks.due)) {
        return; /* the next start looks behind each topic's mark */
    }
    struct fault fault;
    store->superblock.clean_position = store->system->tail_position;
    if (superblock_write_now(store->io, store->dir.store, store_dir_path(&store->dir, "STORE").text,
                             &store->superblock, &fault) != 0) {
        log_warning(store->log, "store.unsealed", "data=%s reason=%s",
                    LOG_QUOTE(store->config->data_dir), LOG_QUOTE(fault.text));
    }
}

/* Chunks that were given up and whose slots or images were still waiting to be. */
static void forgotten_free(struct store *store)
{
    if (store->frees.head.next == NULL) {
        return;
    }
    list_each(node, &store->frees)
    {
        struct chunk *chunk = list_entry(node, struct chunk, frees);
        list_remove(node);
        chunk->slot = SLOT_NONE;
        if (chunk->unit == UNIT_NONE || !list_linked(&chunk->clean)) {
            chunk_free(chunk);
        }
    }
    fetch_deinit(store);
    pool_free_forgotten(&store->pool);
}

void store_close(struct store *store)
{
    stream_free_all(store);
    forgotten_free(store);
    snapshot_close(store);
    numbers_close(store);
    segment_set_close(&store->segments);
    store_dir_close(&store->dir);
    topic_set_deinit(&store->topics);
    pool_deinit(&store->pool);
    flush_deinit(&store->flush);
    free(store->sizes);
    free(store->payload);
}
