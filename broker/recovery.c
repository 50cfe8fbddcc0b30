/* Recovery: see recovery.h. */
#include "broker/recovery.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "broker/fault.h"
#include "broker/recovery_ahead.h"
#include "broker/recovery_replay.h"
#include "broker/recovery_scan.h"
#include "broker/recovery_settle.h"
#include "broker/recovery_snapshot.h"
#include "broker/segment.h"
#include "broker/store_dir.h"
#include "shm/cleanup.h"
#include "shm/crash_point.h"

/* The first start: a slot for the first chunk of the system topic, recorded in the superblock. */
static int system_topic_make(const struct store_dir *store, struct segment_set *segments,
                             struct superblock *superblock, struct fault *fault)
{
    if (segments->present == 0) {
        const int result = segment_set_add_now(segments, fault);
        if (result != 0) {
            return result;
        }
    }
    uint32_t slot;
    const bool taken = slot_map_take(&segments->slots, SLOT_SMALL | SLOT_SYSTEM, &slot);
    ensure(taken);
    /* As for any store, recovery marks what is used once it has found it out. */
    slot_map_release(&segments->slots, slot, true);
    superblock->system_slot = slot;
    superblock->system_generation = superblock->generation_reserved++;
    superblock->replay =
        (struct record_place){.position = chunk_first_frame(0, superblock->chunk_bytes)};
    superblock->system_tail = superblock->replay;
    crash_point("store.segment_made");
    return superblock_write_now(store->io, store->store, store_dir_path(store, "STORE").text,
                                superblock, fault);
}

/* Puts a system record together from its frames, and applies it. */
struct replay {
    struct recovery_scan *scan;
    size_t size; /* bytes of the record so far */
    size_t skip; /* of its stream: the total in front */
    uint8_t bytes[RECORD_BYTES_MAX];
};

static int replay_refuse(const struct replay *replay, const struct frame_view *frame, int result)
{
    struct recovery_scan *scan = replay->scan;
    if (result == -EPROTO) {
        return fault_set(scan->fault, -EPROTO,
                         "the system topic has a record at position %" PRIu64
                         " that this version of Tusk does not know: use the version that wrote it",
                         frame->position);
    }
    if (result == -EBADMSG) {
        return recovery_refuse(scan, &scan->recovery->system, frame->position,
                               "a record of the system topic contradicts itself or those before");
    }
    return fault_set(scan->fault, result, "no memory to replay the system topic");
}

static int replay_frame(void *context, const struct frame_view *frame)
{
    struct replay *replay = context;
    if (frame->header.flags & (FRAME_BATCH | FRAME_PAD)) {
        return replay_refuse(replay, frame, -EBADMSG);
    }
    if (frame->header.flags & FRAME_FIRST) {
        replay->size = 0;
        replay->skip = frame->header.flags & FRAME_LAST ? 0 : FRAGMENT_TOTAL_BYTES;
    }
    const size_t skip = replay->skip < frame->header.size ? replay->skip : frame->header.size;
    const size_t bytes = frame->header.size - skip;
    replay->skip -= skip;
    if (bytes > sizeof replay->bytes - replay->size) {
        return replay_refuse(replay, frame, -EBADMSG);
    }
    memcpy(replay->bytes + replay->size, frame->payload + skip, bytes);
    replay->size += bytes;
    if (!(frame->header.flags & FRAME_LAST)) {
        return 0;
    }
    struct record record;
    int result = record_decode(&record, replay->bytes, replay->size);
    if (result == 0) {
        result = replay_apply(replay->scan->recovery, &record, frame->position,
                              replay->scan->chunk_bytes);
    }
    return result == 0 ? 0 : replay_refuse(replay, frame, result);
}

/* The successor of the tail's chunk is not the system topic's yet, nor is what would follow it. */
static int system_conclude(struct recovery_scan *scan)
{
    struct recovery *recovery = scan->recovery;
    const struct recovered_topic *system = &recovery->system;
    const uint64_t tail_chunk = chunk_number(system->tail.position, scan->chunk_bytes);
    const struct recovered_chunk *next = recovered_chunk_find(system, tail_chunk + 1);
    if (next != NULL) {
        recovery->system_next_slot = next->slot;
        recovery->system_next_generation = next->generation;
    }
    return recovery_conclude(scan, &recovery->system);
}

static int system_topic_replay(struct recovery_scan *scan, const struct superblock *superblock)
{
    struct recovered_topic *system = &scan->recovery->system;
    const uint64_t chunk_no = chunk_number(superblock->replay.position, scan->chunk_bytes);
    const struct recovered_chunk first = {.chunk_no = chunk_no,
                                          .generation = superblock->system_generation,
                                          .slot = superblock->system_slot};
    if (!recovery_slot_exists(scan, first.slot, chunk_no)) {
        return fault_set(
            scan->fault, -EBADMSG,
            "the system topic begins in slot %" PRIu32
            ", which is in none of the segments in %s: restore the store from a backup",
            first.slot, scan->segments->path);
    }
    recovered_topic_init(system, 0, scan->chunk_bytes);
    system->first_chunk = chunk_no;
    system->first = superblock->replay;
    system->durable = superblock->replay;
    int result = recovered_chunk_put(system, &first);
    if (result == 0 && superblock->system_salt_floor != 0) {
        result =
            salt_floor_add(system, superblock->system_tail.position, superblock->system_salt_floor);
    }
    if (result != 0) {
        return fault_set(scan->fault, result, "no memory to replay the system topic");
    }
    struct replay replay = {.scan = scan};
    result = recovery_scan_topic(scan, system, replay_frame, &replay);
    if (result == 0 && system->tail.position < superblock->system_tail.position) {
        return recovery_refuse(scan, system, system->tail.position,
                               "records below the place that the last start verified are missing");
    }
    if (result == 0 && system->tail.position < superblock->clean_position) {
        return recovery_refuse(scan, system, system->tail.position,
                               "records that were there when the store was closed are missing");
    }
    if (result == 0 && system->tail.position < superblock->snapshot.until) {
        return recovery_refuse(scan, system, system->tail.position,
                               "records below the place that the snapshot reaches are missing");
    }
    return result;
}

static int mark_slot(const struct recovery_scan *scan, struct segment_set *segments, uint32_t slot,
                     uint64_t chunk_no, const char *name)
{
    if (segment_set_mark(segments, slot, chunk_no < SMALL_CHUNKS) == 0) {
        return 0;
    }
    return fault_set(scan->fault, -EBADMSG,
                     "slot %" PRIu32 " in %s is recorded for chunk %" PRIu64
                     " of topic \"%s\" and for another one: restore the store from a backup",
                     slot, slot_path(segments, slot).text, chunk_no, name);
}

static int mark_topic(const struct recovery_scan *scan, struct segment_set *segments,
                      const struct recovered_topic *topic, const char *name)
{
    int result = 0;
    for (uint32_t i = 0; i < topic->chunks_count && result == 0; i++) {
        result = mark_slot(scan, segments, topic->chunks[i].slot, topic->chunks[i].chunk_no, name);
    }
    return result;
}

static int mark_slots(const struct recovery_scan *scan, struct segment_set *segments)
{
    const struct recovery *recovery = scan->recovery;
    const char *system_name = "(the system topic)";
    int result = mark_topic(scan, segments, &recovery->system, system_name);
    if (result == 0) {
        result = mark_topic(scan, segments, &recovery->snapshot, "(its snapshot)");
    }
    if (result == 0 && recovery->system_next_slot != SLOT_NONE) {
        const uint64_t next_chunk =
            recovery->system.chunks[recovery->system.chunks_count - 1].chunk_no + 1;
        result = mark_slot(scan, segments, recovery->system_next_slot, next_chunk, system_name);
    }
    for (uint32_t i = 0; i < recovery->topics_count && result == 0; i++) {
        result = mark_topic(scan, segments, &recovery->topics[i], recovery->topics[i].name);
    }
    return result;
}

static int topics_scan(struct recovery_scan *scan)
{
    struct recovery *recovery = scan->recovery;
    struct recovery_ahead *ahead = ahead_new(scan);
    if (ahead == NULL) {
        return fault_set(scan->fault, -ENOMEM, "no memory to read the ends of %" PRIu32 " topics",
                         recovery->topics_count);
    }
    int result = 0;
    for (uint32_t i = 0; i < recovery->topics_count && result == 0; i++) {
        scan->ahead = ahead_take(ahead, i);
        result = recovery_scan_topic(scan, &recovery->topics[i], NULL, NULL);
    }
    scan->ahead = NULL;
    scan->image = scan->own_image;
    ahead_free(ahead);
    return result;
}

static int recover(struct recovery_scan *scan, const struct superblock *superblock)
{
    struct recovery *recovery = scan->recovery;
    int result = recovery_snapshot_apply(scan, superblock);
    if (result == 0) {
        result = system_topic_replay(scan, superblock);
    }
    if (result == 0) {
        result = recovery_settle(recovery, scan->segments, scan->fault);
    }
    if (result == 0) {
        scan->clean = superblock->clean_position != 0 &&
                      superblock->clean_position == recovery->system.tail.position;
        result = topics_scan(scan);
    }
    if (result == 0) {
        result = system_conclude(scan);
    }
    for (uint32_t i = 0; i < recovery->topics_count && result == 0; i++) {
        result = recovery_conclude(scan, &recovery->topics[i]);
    }
    return result;
}

/* What the superblock will say: the verdict on the system topic, and numbers not used so far. */
static void superblock_renew(const struct recovery *recovery, struct superblock *superblock)
{
    if (recovery->next_generation > superblock->generation_reserved) {
        superblock->generation_reserved = recovery->next_generation;
    }
    if (recovery->next_topic_id > superblock->topic_id_bound) {
        superblock->topic_id_bound = recovery->next_topic_id;
    }
    superblock->clean_position = 0;
    superblock->system_tail = recovery->system.tail;
    superblock->system_salt_floor = superblock->salt_reserved;
}

int recovery_run(struct recovery *recovery, const struct store_dir *store,
                 struct segment_set *segments, struct superblock *superblock, struct fault *fault)
{
    *recovery =
        (struct recovery){.system_next_slot = SLOT_NONE, .next_generation = 1, .next_topic_id = 1};
    int result = 0;
    if (superblock->system_slot == SLOT_NONE) {
        result = system_topic_make(store, segments, superblock, fault);
    }
    cleanup_free uint8_t *image = io_buffer_new(superblock->chunk_bytes);
    struct recovery_scan scan = {
        .recovery = recovery,
        .segments = segments,
        .io = store->io,
        .chunk_bytes = superblock->chunk_bytes,
        .salt_end = superblock->salt_reserved,
        .own_image = image,
        .image = image,
        .fault = fault,
    };
    if (result == 0 && image == NULL) {
        result = fault_set(fault, -ENOMEM, "no memory to read a chunk");
    }
    if (result == 0) {
        result = recover(&scan, superblock);
    }
    if (result == 0) {
        result = mark_slots(&scan, segments);
    }
    if (result != 0) {
        recovery_free(recovery);
        return result;
    }
    superblock_renew(recovery, superblock);
    recovery->first_sync = recovery->synced ? recovery->last_sync : 1;
    recovery->next_generation = superblock->generation_reserved;
    recovery->next_topic_id = superblock->topic_id_bound;
    return 0;
}

void recovery_free(struct recovery *recovery)
{
    for (uint32_t i = 0; i < recovery->topics_count; i++) {
        recovered_topic_free(&recovery->topics[i]);
    }
    recovered_topic_free(&recovery->system);
    recovered_topic_free(&recovery->snapshot);
    free(recovery->topics);
    free(recovery->buckets);
    *recovery = (struct recovery){0};
}
