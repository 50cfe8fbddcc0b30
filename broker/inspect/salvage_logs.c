/* Salvage of logs: see salvage_logs.h. */
#include "broker/inspect/salvage_logs.h"

#include <errno.h>
#include <string.h>

#include "broker/checksum.h"
#include "broker/inspect/chunk_walk.h"
#include "broker/recovery_replay.h"
#include "broker/slot_map.h"
#include "broker/snapshot.h"
#include "shm/cleanup.h"

void salvage_chunk_read(const struct salvage *salvage, const struct recovered_chunk *chunk)
{
    struct survey *survey = salvage->survey;
    const uint64_t bytes = chunk_size(chunk->chunk_no, survey->chunk_bytes);
    uint64_t offset = 0;
    const struct survey_file *file = inspection_slot(salvage->inspection, chunk->slot, &offset);
    if (file == NULL) {
        memset(salvage->image, 0, bytes);
    } else {
        survey_read(survey, file, salvage->image, bytes, offset);
    }
}

bool salvage_slot_fits(const struct salvage *salvage, uint32_t slot, uint64_t chunk_no)
{
    uint64_t offset = 0;
    return (chunk_no < SMALL_CHUNKS || slot % GROUP_UNITS == 0) &&
           inspection_slot(salvage->inspection, slot, &offset) != NULL && offset != 0;
}

/* The records. */

static void record_refused(const struct salvage *salvage, const struct frame_view *frame,
                           int result)
{
    uint64_t offset = 0;
    const uint64_t chunk_bytes = salvage->survey->chunk_bytes;
    const struct survey_file *file =
        inspection_slot(salvage->inspection, salvage->chunk->slot, &offset);
    const struct store_path path = survey_path(salvage->survey, file == NULL ? "" : file->name);
    const struct finding finding = {
        .kind = result == -EPROTO ? FINDING_VERSION : FINDING_RECORD,
        .weight = WEIGHT_DAMAGE,
        .file = path.text,
        .offset = offset + frame->position - chunk_start(salvage->chunk->chunk_no, chunk_bytes),
        .bytes = frame_bytes(frame->header.size),
        .in_topic = true,
        .topic_id = salvage->log->id,
        .topic = inspection_topic_name(salvage->log),
        .chunk_no = salvage->chunk->chunk_no,
        .loses = true,
        .seq_first = frame->header.seq,
        .seq_end = frame->header.seq + 1,
    };
    finding_add(&salvage->inspection->findings, &finding,
                result == -EPROTO ? "a record that this version of Tusk does not know"
                                  : "a record contradicts itself or those before");
}

/* The last sync is found in the frames that recovery meets, those of the system topic first. */
static void sync_note(struct recovery *recovery, const struct frame_view *frame)
{
    if (!recovery->synced || (int16_t)(frame->header.sync - recovery->last_sync) > 0) {
        recovery->last_sync = frame->header.sync;
    }
    recovery->synced = true;
}

static int record_apply(const struct salvage *salvage, const struct record *record,
                        uint64_t position)
{
    const uint64_t chunk_bytes = salvage->survey->chunk_bytes;
    return salvage->log->id == SNAPSHOT_TOPIC_ID
               ? replay_apply_snapshot(salvage->recovery, record, chunk_bytes)
               : replay_apply(salvage->recovery, record, position, chunk_bytes);
}

static int record_take(void *context, const struct frame_view *frame)
{
    struct salvage *salvage = context;
    struct record record;
    if (salvage->log->id != SNAPSHOT_TOPIC_ID) {
        sync_note(salvage->recovery, frame);
    }
    int result = record_join(&salvage->join, frame, &record);
    if (result == 0) {
        result = record_apply(salvage, &record, frame->position);
    }
    if (result == -EBADMSG || result == -EPROTO) {
        record_refused(salvage, frame, result);
    }
    return result == -ENOMEM ? result : 0;
}

/* Where the next chunk of the log is, when no header says so: any slot whose header claims to be it. */
static bool successor_search(const struct salvage *salvage, uint64_t chunk_no,
                             struct recovered_chunk *found)
{
    struct survey *survey = salvage->survey;
    const uint64_t unit_bytes = small_chunk_bytes(survey->chunk_bytes);
    const uint64_t units = survey->segment_bytes / unit_bytes;
    const uint64_t end = survey->segments_end * units;
    cleanup_free uint8_t *block = io_buffer_new(IO_ALIGNMENT);
    *found = (struct recovered_chunk){.chunk_no = chunk_no};
    for (uint32_t slot = 0; slot < end && block != NULL; slot++) {
        uint64_t offset = 0;
        const struct survey_file *file = inspection_slot(salvage->inspection, slot, &offset);
        if (file == NULL || !salvage_slot_fits(salvage, slot, chunk_no)) {
            continue;
        }
        survey_read(survey, file, block, IO_ALIGNMENT, offset);
        struct chunk_header header;
        memcpy(&header, block, sizeof header);
        if (chunk_header_intact(&header) && header.topic_id == salvage->log->id &&
            header.chunk_no == chunk_no && header.generation > found->generation) {
            found->slot = slot;
            found->generation = header.generation;
        }
    }
    return found->generation != 0;
}

/* The successor that the chunk's header in salvage->image names, or one that is found. */
static bool successor_of(const struct salvage *salvage, const struct recovered_chunk *chunk,
                         bool header_fits, struct recovered_chunk *next)
{
    struct chunk_header header;
    memcpy(&header, salvage->image, sizeof header);
    *next = (struct recovered_chunk){.chunk_no = chunk->chunk_no + 1,
                                     .generation = header.next_generation,
                                     .slot = header.next_slot};
    return header_fits ? salvage_slot_fits(salvage, next->slot, next->chunk_no)
                       : successor_search(salvage, chunk->chunk_no + 1, next);
}

/* One chunk, as if it was full up to `upto`: the log's tail is where frames end. */
static int log_chunk_walk(struct salvage *salvage, struct recovered_chunk *chunk, uint64_t upto,
                          struct chunk_walked *walked)
{
    const uint64_t chunk_bytes = salvage->survey->chunk_bytes;
    const uint64_t end = chunk_start(chunk->chunk_no + 1, chunk_bytes);
    struct recovered_topic *log = salvage->log;
    const struct chunk_walk walk = {.chunk_bytes = chunk_bytes,
                                    .salt_end = salvage->survey->superblock.salt_reserved,
                                    .frame_fn = record_take,
                                    .context = salvage};
    salvage_chunk_read(salvage, chunk);
    salvage->chunk = chunk;
    chunk->base_seq = salvage->seq;
    const struct record_place tail = log->tail;
    log->tail.position = upto < end ? upto : end;
    const int result = chunk_walk(&walk, log, chunk, salvage->image, walked);
    log->tail = tail;
    if (result == 0 && walked->position > chunk_first_frame(chunk->chunk_no, chunk_bytes)) {
        salvage->seq = walked->seq_end;
        log->tail = (struct record_place){
            .position = frame_settle(walked->position, chunk->chunk_no, chunk_bytes),
            .seq = walked->seq_end};
    }
    return result;
}

/*
 * Walks the chain that begins with `next` up to `upto`; what lies below `least` was there once. *end
 * is the chunk that is named as successor and was never used; its slot is SLOT_NONE if there is none.
 */
static int log_walk(struct salvage *salvage, struct recovered_chunk next, uint64_t least,
                    uint64_t upto, struct recovered_chunk *end)
{
    const uint64_t chunk_bytes = salvage->survey->chunk_bytes;
    bool found = salvage_slot_fits(salvage, next.slot, next.chunk_no);
    int result = 0;
    *end = (struct recovered_chunk){.slot = SLOT_NONE};
    salvage->seq = salvage->log->first.seq;
    while (found && result == 0 && chunk_start(next.chunk_no, chunk_bytes) < upto) {
        struct recovered_chunk chunk = next;
        const uint64_t first = chunk_first_frame(chunk.chunk_no, chunk_bytes);
        struct chunk_walked walked;
        result = log_chunk_walk(salvage, &chunk, upto, &walked);
        if (result != 0) {
            break;
        }
        if (!walked.header_fits && walked.position <= first && least <= first) {
            *end = chunk;
            break;
        }
        result = recovered_chunk_put(salvage->log, &chunk);
        found = successor_of(salvage, &chunk, walked.header_fits, &next);
    }
    if (salvage->log->tail.position < least) {
        salvage->log->tail.position = least;
    }
    return result;
}

static int snapshot_walk(struct salvage *salvage)
{
    const struct superblock_snapshot *snapshot = &salvage->survey->superblock.snapshot;
    struct recovered_chunk end;
    const struct recovered_chunk first = {.generation = snapshot->generation,
                                          .slot = snapshot->slot};
    salvage->log = &salvage->recovery->snapshot;
    recovered_topic_init(salvage->log, SNAPSHOT_TOPIC_ID, salvage->survey->chunk_bytes);
    if (snapshot->generation == 0) {
        return 0;
    }
    salvage->recovery->synced = true;
    salvage->recovery->last_sync = (uint16_t)snapshot->sync;
    return log_walk(salvage, first, snapshot->end, snapshot->end, &end);
}

static uint64_t greater(uint64_t left, uint64_t right)
{
    return left > right ? left : right;
}

static int system_walk(struct salvage *salvage)
{
    const struct superblock *superblock = &salvage->survey->superblock;
    struct recovered_topic *system = &salvage->recovery->system;
    salvage->log = system;
    recovered_topic_init(system, 0, salvage->survey->chunk_bytes);
    system->first_chunk = chunk_number(superblock->replay.position, salvage->survey->chunk_bytes);
    system->first = superblock->replay;
    system->tail = superblock->replay;
    const struct recovered_chunk first = {.chunk_no = system->first_chunk,
                                          .generation = superblock->system_generation,
                                          .slot = superblock->system_slot};
    const uint64_t least =
        greater(greater(superblock->system_tail.position, superblock->snapshot.until),
                superblock->clean_position);
    struct recovered_chunk end;
    int result =
        salt_floor_add(system, superblock->system_tail.position, superblock->system_salt_floor);
    if (result == 0) {
        result = log_walk(salvage, first, least, UINT64_MAX, &end);
        salvage->recovery->system_next_slot = end.slot;
        salvage->recovery->system_next_generation = end.generation;
    }
    return result;
}

int salvage_logs(struct salvage *salvage)
{
    const int result = snapshot_walk(salvage);
    return result == 0 ? system_walk(salvage) : result;
}
