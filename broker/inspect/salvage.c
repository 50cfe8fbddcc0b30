/* Salvage: see salvage.h. */
#include "broker/inspect/salvage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/checksum.h"
#include "broker/inspect/chunk_walk.h"
#include "broker/inspect/inspection.h"
#include "broker/inspect/record_join.h"
#include "broker/recovery_replay.h"
#include "broker/recovery_scan.h"
#include "broker/segment.h"
#include "broker/segment_ahead.h"
#include "shm/cleanup.h"

struct salvage {
    struct inspection *inspection;
    struct survey *survey;
    struct recovery *recovery;
    struct segment_set segments; /* what recovery's code looks at: the survey's files */
    struct record_join join;
    uint8_t *image;
    const struct recovered_chunk *chunk; /* of the system topic, in hand */
    uint64_t seq;                        /* of the next record */
};

static void chunk_read(const struct salvage *salvage, const struct recovered_chunk *chunk)
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

static bool slot_fits(const struct salvage *salvage, uint32_t slot, uint64_t chunk_no)
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
        .topic = inspection_topic_name(&salvage->recovery->system),
        .chunk_no = salvage->chunk->chunk_no,
        .loses = true,
        .seq_first = frame->header.seq,
        .seq_end = frame->header.seq + 1,
    };
    finding_add(&salvage->inspection->findings, &finding,
                result == -EPROTO
                    ? "a record of the system topic that this version of Tusk does not know"
                    : "a record of the system topic contradicts itself or those before");
}

/* The last sync is found in the frames that recovery meets, those of the system topic first. */
static void sync_note(struct recovery *recovery, const struct frame_view *frame)
{
    if (!recovery->synced || (int16_t)(frame->header.sync - recovery->last_sync) > 0) {
        recovery->last_sync = frame->header.sync;
    }
    recovery->synced = true;
}

static int record_take(void *context, const struct frame_view *frame)
{
    struct salvage *salvage = context;
    struct record record;
    sync_note(salvage->recovery, frame);
    int result = record_join(&salvage->join, frame, &record);
    if (result == 0) {
        result = replay_apply(salvage->recovery, &record, salvage->survey->chunk_bytes);
    }
    if (result == -EBADMSG || result == -EPROTO) {
        record_refused(salvage, frame, result);
    }
    return result == -ENOMEM ? result : 0;
}

/* Where the next chunk of the system topic is, when no header says so: any slot whose header claims
 * to be it. */
static bool successor_search(const struct salvage *salvage, uint64_t chunk_no,
                             struct recovered_chunk *found)
{
    struct survey *survey = salvage->survey;
    const uint64_t unit_bytes = small_chunk_bytes(survey->chunk_bytes);
    const uint64_t units = survey->segment_bytes / unit_bytes;
    cleanup_free uint8_t *block = io_buffer_new(IO_ALIGNMENT);
    *found = (struct recovered_chunk){.chunk_no = chunk_no};
    const uint64_t end = survey->segments_end * units;
    for (uint32_t slot = 0; slot < end && block != NULL; slot++) {
        uint64_t offset = 0;
        const struct survey_file *file = inspection_slot(salvage->inspection, slot, &offset);
        if (file == NULL || !slot_fits(salvage, slot, chunk_no)) {
            continue;
        }
        survey_read(survey, file, block, IO_ALIGNMENT, offset);
        struct chunk_header header;
        memcpy(&header, block, sizeof header);
        if (chunk_header_intact(&header) && header.topic_id == 0 && header.chunk_no == chunk_no &&
            header.generation > found->generation) {
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
    return header_fits ? slot_fits(salvage, next->slot, next->chunk_no)
                       : successor_search(salvage, chunk->chunk_no + 1, next);
}

/* One chunk of the system topic, as if it was full; its tail is where frames end. */
static int system_chunk_walk(struct salvage *salvage, struct recovered_chunk *chunk,
                             struct chunk_walked *walked)
{
    const uint64_t chunk_bytes = salvage->survey->chunk_bytes;
    struct recovered_topic *system = &salvage->recovery->system;
    const struct chunk_walk walk = {.chunk_bytes = chunk_bytes,
                                    .salt_end = salvage->survey->superblock.salt_reserved,
                                    .frame_fn = record_take,
                                    .context = salvage};
    chunk_read(salvage, chunk);
    salvage->chunk = chunk;
    chunk->base_seq = salvage->seq;
    const struct record_place tail = system->tail;
    system->tail.position = chunk_start(chunk->chunk_no + 1, chunk_bytes);
    const int result = chunk_walk(&walk, system, chunk, salvage->image, walked);
    system->tail = tail;
    if (result == 0 && walked->position > chunk_first_frame(chunk->chunk_no, chunk_bytes)) {
        salvage->seq = walked->seq_end;
        system->tail = (struct record_place){
            .position = frame_settle(walked->position, chunk->chunk_no, chunk_bytes),
            .seq = walked->seq_end};
    }
    return result;
}

static int system_walk(struct salvage *salvage)
{
    const struct superblock *superblock = &salvage->survey->superblock;
    const uint64_t chunk_bytes = salvage->survey->chunk_bytes;
    struct recovered_topic *system = &salvage->recovery->system;
    recovered_topic_init(system, 0, chunk_bytes);
    system->first_chunk = chunk_number(superblock->replay.position, chunk_bytes);
    system->first = superblock->replay;
    system->tail = superblock->replay;
    salvage->seq = superblock->replay.seq;
    struct recovered_chunk next = {.chunk_no = system->first_chunk,
                                   .generation = superblock->system_generation,
                                   .slot = superblock->system_slot};
    bool found = slot_fits(salvage, next.slot, next.chunk_no);
    int result =
        salt_floor_add(system, superblock->system_tail.position, superblock->system_salt_floor);
    while (found && result == 0) {
        struct recovered_chunk chunk = next;
        struct chunk_walked walked;
        result = system_chunk_walk(salvage, &chunk, &walked);
        const bool used =
            walked.header_fits ||
            walked.position > chunk_first_frame(chunk.chunk_no, chunk_bytes) ||
            superblock->system_tail.position > chunk_first_frame(chunk.chunk_no, chunk_bytes);
        if (result != 0 || !used) {
            salvage->recovery->system_next_slot = chunk.slot;
            salvage->recovery->system_next_generation = chunk.generation;
            break;
        }
        result = recovered_chunk_put(system, &chunk);
        found = chunk.chunk_no < system->first_chunk + UINT32_MAX &&
                successor_of(salvage, &chunk, walked.header_fits, &next) &&
                (!walked.header_fits || next.generation != chunk.generation);
    }
    if (system->tail.position < superblock->system_tail.position) {
        system->tail = superblock->system_tail;
    }
    return result;
}

/* The topics. */

static int name_order(const void *left, const void *right)
{
    const struct recovered_topic *const *a = left;
    const struct recovered_topic *const *b = right;
    const int order = strcmp((*a)->name, (*b)->name);
    return order != 0 ? order : (*a)->id < (*b)->id ? -1 : 1;
}

/* Gives a topic a name that no other has. */
static int topic_rename(const struct salvage *salvage, struct recovered_topic *topic)
{
    char *name;
    if (asprintf(&name, "%s (topic %" PRIu64 ")", topic->name == NULL ? "" : topic->name,
                 topic->id) < 0) {
        return -ENOMEM;
    }
    free(topic->name);
    topic->name = name;
    const struct finding finding = {.kind = FINDING_RECORD,
                                    .weight = WEIGHT_DAMAGE,
                                    .in_topic = true,
                                    .topic_id = topic->id,
                                    .topic = name};
    finding_add(&salvage->inspection->findings, &finding,
                "the record that creates the topic is missing, or names another one's");
    return 0;
}

/* Sees to what replay_finish() insists on and damage may have taken. */
static int topics_complete(const struct salvage *salvage)
{
    struct recovery *recovery = salvage->recovery;
    cleanup_free struct recovered_topic **named =
        malloc((recovery->topics_count + 1) * sizeof(struct recovered_topic *));
    if (named == NULL) {
        return -ENOMEM;
    }
    uint32_t count = 0;
    int result = 0;
    for (uint32_t i = 0; i < recovery->topics_count && result == 0; i++) {
        struct recovered_topic *topic = &recovery->topics[i];
        topic->created = true;
        if (topic->name != NULL && !topic->deleted) {
            named[count++] = topic;
        } else if (!topic->deleted) {
            result = topic_rename(salvage, topic);
        }
    }
    qsort(named, count, sizeof *named, name_order);
    for (uint32_t i = count; i > 1 && result == 0; i--) {
        if (strcmp(named[i - 1]->name, named[i - 2]->name) == 0) {
            result = topic_rename(salvage, named[i - 1]);
        }
    }
    return result;
}

/* The index-th chunk of the topic lies in a segment that is missing, or not this store's. */
static void chunk_unreachable(const struct salvage *salvage, const struct recovered_topic *topic,
                              uint32_t index)
{
    const struct survey *survey = salvage->survey;
    const struct recovered_chunk *chunk = &topic->chunks[index];
    const uint64_t unit_bytes = small_chunk_bytes(survey->chunk_bytes);
    const uint64_t units = survey->segment_bytes / unit_bytes;
    const struct store_path dir = survey_path(survey, "segments");
    char file[sizeof dir.text + SEGMENT_NAME_BYTES];
    (void)snprintf(file, sizeof file, "%s/%s", dir.text,
                   segment_name((uint32_t)(chunk->slot / units)).text);
    const uint64_t seq_end =
        index + 1 < topic->chunks_count ? topic->chunks[index + 1].base_seq : topic->durable.seq;
    const struct finding finding = {.kind = FINDING_MISSING_CHUNK,
                                    .weight = WEIGHT_DAMAGE,
                                    .file = file,
                                    .offset = chunk->slot % units * unit_bytes,
                                    .bytes = chunk_size(chunk->chunk_no, survey->chunk_bytes),
                                    .in_topic = true,
                                    .topic_id = topic->id,
                                    .topic = inspection_topic_name(topic),
                                    .chunk_no = chunk->chunk_no,
                                    .loses = chunk->base_seq < seq_end,
                                    .seq_first = chunk->base_seq,
                                    .seq_end = seq_end};
    finding_add(&salvage->inspection->findings, &finding,
                "the chunk is recorded in slot %" PRIu32
                ", which is in none of the segments that are there: restore the segment from a "
                "backup",
                chunk->slot);
}

/* Drops the slots of segments that are missing or not this store's. */
static void chunks_reach(const struct salvage *salvage, struct recovered_topic *topic)
{
    for (uint32_t i = 0; i < topic->chunks_count; i++) {
        const struct recovered_chunk *chunk = &topic->chunks[i];
        if (!topic->deleted && chunk->chunk_no >= topic->first_chunk &&
            !slot_fits(salvage, chunk->slot, chunk->chunk_no)) {
            chunk_unreachable(salvage, topic, i);
        }
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < topic->chunks_count; i++) {
        const struct recovered_chunk *chunk = &topic->chunks[i];
        if (slot_fits(salvage, chunk->slot, chunk->chunk_no)) {
            topic->chunks[kept++] = *chunk;
        }
    }
    topic->chunks_count = kept;
}

/* The last intact frame says where the log ends, if nothing durable is behind it. */
static int tail_guess(struct salvage *salvage, struct recovered_topic *topic)
{
    const uint64_t chunk_bytes = salvage->survey->chunk_bytes;
    const struct chunk_walk walk = {.chunk_bytes = chunk_bytes,
                                    .salt_end = salvage->survey->superblock.salt_reserved};
    topic->tail = topic->durable.position > topic->first.position ? topic->durable : topic->first;
    for (uint32_t i = topic->chunks_count; i > 0; i--) {
        const struct recovered_chunk *chunk = &topic->chunks[i - 1];
        const uint64_t start = chunk_start(chunk->chunk_no, chunk_bytes);
        const struct record_place least = topic->tail;
        struct chunk_walked walked;
        chunk_read(salvage, chunk);
        topic->tail.position = chunk_start(chunk->chunk_no + 1, chunk_bytes);
        const int result = chunk_walk(&walk, topic, chunk, salvage->image, &walked);
        topic->tail = least;
        if (result != 0) {
            return result;
        }
        if (walked.position > start + CHUNK_HEADER_BYTES) {
            const uint64_t position = frame_settle(walked.position, chunk->chunk_no, chunk_bytes);
            if (position > least.position) {
                topic->tail = (struct record_place){.position = position, .seq = walked.seq_end};
            }
            break;
        }
    }
    return 0;
}

/* Recovery's answer for the topics that have one, as recovery comes to it; the others' tails are
 * guessed. */
static int tails_settle(struct salvage *salvage, struct recovery_scan *scan)
{
    struct recovery *recovery = salvage->recovery;
    const uint64_t chunk_bytes = salvage->survey->chunk_bytes;
    cleanup_free bool *found = calloc(recovery->topics_count + 1, sizeof *found);
    int result = found == NULL ? -ENOMEM : 0;
    for (uint32_t i = 0; i < recovery->topics_count && result == 0; i++) {
        const int scanned = recovery_scan_topic(scan, &recovery->topics[i], NULL, NULL);
        found[i] = scanned == 0;
        result = scanned == -ENOMEM ? scanned : 0;
    }
    for (uint32_t i = 0; i < recovery->topics_count && result == 0; i++) {
        struct recovered_topic *topic = &recovery->topics[i];
        if (found[i] && recovery_conclude(scan, topic) == 0) {
            continue;
        }
        topic->gap = (struct recovered_gap){0};
        topic->first_chunk = chunk_number(topic->first.position, chunk_bytes);
        recovered_chunks_trim(topic);
        result = tail_guess(salvage, topic);
    }
    return result;
}

static int topics_settle(struct salvage *salvage, struct fault *fault)
{
    struct recovery *recovery = salvage->recovery;
    struct fault unused;
    struct recovery_scan scan = {
        .recovery = recovery,
        .segments = &salvage->segments,
        .io = salvage->inspection->io,
        .chunk_bytes = salvage->survey->chunk_bytes,
        .salt_end = salvage->survey->superblock.salt_reserved,
        .image = salvage->image,
        .fault = &unused,
    };
    int result = topics_complete(salvage);
    for (uint32_t i = 0; i < recovery->topics_count; i++) {
        chunks_reach(salvage, &recovery->topics[i]);
    }
    if (result == 0) {
        result = replay_finish(recovery, &salvage->segments, fault);
    }
    return result == 0 ? tails_settle(salvage, &scan) : result;
}

/* The files of the survey as the set of segments that recovery's code knows. */
static int segments_fill(struct salvage *salvage)
{
    const struct survey *survey = salvage->survey;
    struct segment_set *set = &salvage->segments;
    set->io = survey->io;
    set->chunk_bytes = survey->chunk_bytes;
    set->segment_bytes = survey->segment_bytes;
    set->segment_groups = (uint32_t)(survey->segment_bytes / survey->chunk_bytes);
    slot_map_init(&set->slots, 0, 0);
    int result = 0;
    for (uint64_t number = 0; number < survey->segments_end && result == 0; number++) {
        const struct survey_file *file = survey->segments[number];
        result = segment_set_insert(set, file == NULL ? NULL : file->file);
    }
    return result;
}

/* The files stay the survey's. */
static void segments_empty(struct segment_set *set)
{
    for (uint32_t i = 0; i < set->count; i++) {
        free(set->segments[i]);
    }
    free(set->segments);
    slot_map_deinit(&set->slots);
}

int salvage_run(struct inspection *inspection, struct fault *fault)
{
    struct survey *survey = &inspection->survey;
    recovery_free(&inspection->recovery);
    inspection->recovery =
        (struct recovery){.system_next_slot = SLOT_NONE, .next_generation = 1, .next_topic_id = 1};
    if (!survey->superblock_known || survey->superblock.system_slot == SLOT_NONE) {
        return 0;
    }
    cleanup_free uint8_t *image = io_buffer_new(survey->chunk_bytes);
    cleanup_free struct salvage *salvage = calloc(1, sizeof *salvage);
    if (image == NULL || salvage == NULL) {
        return fault_set(fault, -ENOMEM, "no memory to read a chunk");
    }
    salvage->inspection = inspection;
    salvage->survey = survey;
    salvage->recovery = &inspection->recovery;
    salvage->image = image;
    int result = segments_fill(salvage);
    if (result == 0) {
        result = system_walk(salvage);
    }
    if (result == 0) {
        result = topics_settle(salvage, fault);
    }
    segments_empty(&salvage->segments);
    return result == 0 ? 0 : fault_set(fault, result, "no memory to put the topics together");
}
