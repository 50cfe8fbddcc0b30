/* Recovery's snapshot: see recovery_snapshot.h. */
#include "broker/recovery_snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "broker/fault.h"
#include "broker/recovery_replay.h"
#include "broker/segment.h"
#include "broker/snapshot.h"

static int refuse_missing(struct recovery_scan *scan, uint32_t slot)
{
    return fault_set(scan->fault, -EBADMSG,
                     "the snapshot of the system topic goes on in slot %" PRIu32
                     ", which is in none of the segments in %s: restore the store from a backup",
                     slot, scan->segments->path);
}

/* Reads the chain's next chunk into the scan's image. */
static int chunk_read(struct recovery_scan *scan, const struct recovered_chunk *chunk)
{
    if (!recovery_slot_exists(scan, chunk->slot, chunk->chunk_no)) {
        return refuse_missing(scan, chunk->slot);
    }
    struct recovered_topic *log = &scan->recovery->snapshot;
    int result = recovered_chunk_put(log, chunk);
    if (result != 0) {
        return fault_set(scan->fault, result, "no memory for the snapshot of the system topic");
    }
    const uint64_t offset = slot_offset(scan->segments, chunk->slot);
    result = io_read_now(scan->io, slot_file(scan->segments, chunk->slot), scan->image,
                         chunk_size(chunk->chunk_no, scan->chunk_bytes), offset);
    if (result != 0) {
        return fault_set(scan->fault, result, "%s cannot be read at offset %" PRIu64 ": %s",
                         slot_path(scan->segments, chunk->slot).text, offset, strerror(-result));
    }
    const struct frame_chunk place = {.topic_id = SNAPSHOT_TOPIC_ID,
                                      .chunk_no = chunk->chunk_no,
                                      .generation = chunk->generation};
    return frame_chunk_header_fits(&place, scan->image)
               ? 0
               : recovery_refuse(scan, log, chunk_start(chunk->chunk_no, scan->chunk_bytes),
                                 "the snapshot's chunk does not begin as it was written");
}

static int record_apply(struct recovery_scan *scan, const struct frame_view *frame)
{
    const unsigned kinds = frame->header.flags & (FRAME_FIRST | FRAME_LAST | FRAME_BATCH);
    struct record record;
    int result = kinds == (FRAME_FIRST | FRAME_LAST)
                     ? record_decode(&record, frame->payload, frame->header.size)
                     : -EBADMSG;
    if (result == 0) {
        result = replay_apply_snapshot(scan->recovery, &record, scan->chunk_bytes);
    }
    switch (result) {
    case 0:
        return 0;
    case -EPROTO:
        return fault_set(scan->fault, -EPROTO,
                         "the snapshot of the system topic has a record that this version of Tusk "
                         "does not know: use the version that wrote it");
    case -ENOMEM:
        return fault_set(scan->fault, result, "no memory to read the snapshot");
    default:
        return recovery_refuse(scan, &scan->recovery->snapshot, frame->position,
                               "a record of the snapshot contradicts itself or those before");
    }
}

/* Applies the image's records below `end`. */
static int chunk_apply(struct recovery_scan *scan, struct frame_scan *frames,
                       const struct recovered_chunk *chunk, uint64_t end)
{
    const struct frame_chunk place = {.topic_id = SNAPSHOT_TOPIC_ID,
                                      .chunk_no = chunk->chunk_no,
                                      .generation = chunk->generation};
    frame_scan_chunk(frames, &place, scan->image);
    while (frames->position < end) {
        struct frame_view view;
        const enum frame_step step = frame_scan_next(frames, &view);
        if (step == FRAME_STEP_END) {
            return 0;
        }
        if (step == FRAME_STEP_INVALID || view.position >= end) {
            return recovery_refuse(scan, &scan->recovery->snapshot, frames->position,
                                   "the snapshot is not as it was written");
        }
        const int result = record_apply(scan, &view);
        if (result != 0) {
            return result;
        }
    }
    return 0;
}

int recovery_snapshot_apply(struct recovery_scan *scan, const struct superblock *superblock)
{
    const struct superblock_snapshot *snapshot = &superblock->snapshot;
    struct recovered_topic *log = &scan->recovery->snapshot;
    recovered_topic_init(log, SNAPSHOT_TOPIC_ID, scan->chunk_bytes);
    if (snapshot->generation == 0) {
        return 0;
    }
    struct recovered_chunk chunk = {.generation = snapshot->generation, .slot = snapshot->slot};
    struct frame_scan frames;
    frame_scan_init(&frames, scan->chunk_bytes, log->first, NULL, 0);
    while (frames.position < snapshot->end) {
        int result = chunk_read(scan, &chunk);
        if (result == 0) {
            result = chunk_apply(scan, &frames, &chunk, snapshot->end);
        }
        if (result != 0) {
            return result;
        }
        struct chunk_header header;
        memcpy(&header, scan->image, sizeof header);
        chunk = (struct recovered_chunk){.chunk_no = chunk.chunk_no + 1,
                                         .generation = header.next_generation,
                                         .slot = header.next_slot};
    }
    scan->recovery->synced = true;
    scan->recovery->last_sync = (uint16_t)snapshot->sync;
    return 0;
}
