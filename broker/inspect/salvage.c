/* Salvage: see salvage.h. */
#include "broker/inspect/salvage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/inspect/chunk_walk.h"
#include "broker/inspect/salvage_logs.h"
#include "broker/recovery_replay.h"
#include "broker/recovery_scan.h"
#include "broker/recovery_settle.h"
#include "broker/segment.h"
#include "broker/segment_ahead.h"
#include "shm/cleanup.h"

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

/* Sees to what recovery_settle() insists on and damage may have taken. */
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
    qsort(named, count, sizeof(struct recovered_topic *), name_order);
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
            !salvage_slot_fits(salvage, chunk->slot, chunk->chunk_no)) {
            chunk_unreachable(salvage, topic, i);
        }
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < topic->chunks_count; i++) {
        const struct recovered_chunk *chunk = &topic->chunks[i];
        if (salvage_slot_fits(salvage, chunk->slot, chunk->chunk_no)) {
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
        salvage_chunk_read(salvage, chunk);
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
        .own_image = salvage->image,
        .image = salvage->image,
        .fault = &unused,
    };
    int result = topics_complete(salvage);
    for (uint32_t i = 0; i < recovery->topics_count; i++) {
        chunks_reach(salvage, &recovery->topics[i]);
    }
    if (result == 0) {
        result = recovery_settle(recovery, &salvage->segments, fault);
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
        if (file != NULL && file->file != NULL) {
            result = segment_set_insert(set, (uint32_t)number, file->file);
        }
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
        result = salvage_logs(salvage);
    }
    if (result == 0) {
        result = topics_settle(salvage, fault);
    }
    segments_empty(&salvage->segments);
    return result == 0 ? 0 : fault_set(fault, result, "no memory to put the topics together");
}
