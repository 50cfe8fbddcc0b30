/* Store model: starting a store, and what must be found in it. See store_model.h. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "broker/io.h"
#include "broker/io_memory.h"
#include "tests/unit/store_model.h"

static const struct recovered_topic *recovered_find(const struct model *model,
                                                    const struct model_topic *topic)
{
    for (uint32_t i = 0; i < model->recovery.topics_count; i++) {
        if (model->recovery.topics[i].id == topic->id) {
            return &model->recovery.topics[i];
        }
    }
    return NULL;
}

/* Reads the chunks that were recovered. */
static void images_load(struct model *model, struct model_topic *topic,
                        const struct recovered_topic *found)
{
    for (uint32_t i = 0; i < found->chunks_count; i++) {
        const struct recovered_chunk *from = &found->chunks[i];
        struct model_chunk *chunk =
            model_chunk_add(topic, from->chunk_no, from->slot, from->generation);
        uint8_t *buffer = io_buffer_new(MODEL_CHUNK);
        cr_assert_eq(io_read_now(model->io, slot_file(&model->segments, from->slot), buffer,
                                 chunk_size(from->chunk_no, MODEL_CHUNK),
                                 slot_offset(&model->segments, from->slot)),
                     0);
        const uint64_t start = chunk_start(from->chunk_no, MODEL_CHUNK);
        if (found->tail.position > start + CHUNK_HEADER_BYTES) {
            const uint64_t used = found->tail.position - start;
            memcpy(chunk->image, buffer, used < MODEL_CHUNK ? used : MODEL_CHUNK);
            const struct chunk_header *header = (const struct chunk_header *)buffer;
            cr_assert(!from->base_exact || header->base_seq == from->base_seq);
            cr_assert_geq(header->base_seq, from->base_seq);
        }
        free(buffer);
    }
}

/* One frame's payload against what the model wrote. *done: bytes of the entry seen so far. */
static void frame_check(const struct model_topic *topic, const struct frame_view *view,
                        uint64_t *done)
{
    if (view->header.flags & FRAME_PAD) {
        return;
    }
    const struct model_entry *entry = &topic->entries[view->header.seq];
    const bool first = view->header.flags & FRAME_FIRST;
    const bool last = view->header.flags & FRAME_LAST;
    const uint64_t skip = first && !last ? FRAGMENT_TOTAL_BYTES : 0;
    if (first) {
        *done = 0;
    }
    for (uint64_t i = skip; i < view->header.size; i++) {
        const uint8_t expected = model_content(entry->stamp, (*done)++);
        cr_assert_eq(view->payload[i], expected);
    }
    cr_assert(!last || *done == entry->size);
}

/* Everything from the first kept place to the tail is what the model wrote. */
static void log_check(const struct model_topic *topic, const struct recovered_topic *found)
{
    struct frame_scan scan;
    uint64_t done = 0;
    frame_scan_init(&scan, MODEL_CHUNK, found->first, NULL, 0);
    for (uint32_t i = 0; i < found->chunks_count && scan.position < found->tail.position; i++) {
        const struct model_chunk *chunk = &topic->chunks[i];
        cr_assert_eq(chunk->chunk_no, found->first_chunk + i);
        const struct frame_chunk place = {
            .topic_id = topic->id, .chunk_no = chunk->chunk_no, .generation = chunk->generation};
        const uint64_t end = chunk_start(chunk->chunk_no + 1, MODEL_CHUNK);
        cr_assert_eq(frame_scan_verify(chunk->image, MODEL_CHUNK, topic->id, chunk->chunk_no,
                                       chunk->generation,
                                       found->tail.position < end ? found->tail.position : end),
                     0);
        frame_scan_chunk(&scan, &place, chunk->image);
        struct frame_view view;
        enum frame_step step = FRAME_STEP_FRAME;
        while (scan.position < found->tail.position && step == FRAME_STEP_FRAME) {
            step = frame_scan_next(&scan, &view);
            cr_assert_neq(step, FRAME_STEP_INVALID);
            if (step == FRAME_STEP_FRAME) {
                frame_check(topic, &view, &done);
            }
        }
    }
    cr_assert_eq(scan.whole.position, found->tail.position);
    cr_assert_eq(scan.whole.seq, found->tail.seq);
}

static void topic_check(const struct model_topic *topic, const struct recovered_topic *found)
{
    cr_assert_str_eq(found->name, topic->name);
    cr_assert_str_eq(found->retention, "consumed");
    cr_assert_geq(found->tail.position, topic->durable.position, "a durable entry is lost");
    cr_assert_geq(found->tail.seq, topic->durable.seq);
    cr_assert_leq(found->tail.seq, topic->tail.seq, "an entry came from nowhere");
    if (found->tail.seq > found->first.seq) {
        const uint64_t behind = topic->entries[found->tail.seq - 1].behind;
        cr_assert_neq(behind, 0, "the tail lies within a batch");
        cr_assert(found->tail.position == behind ||
                  /* a PAD behind it was there already */
                  found->tail.position ==
                      chunk_first_frame(chunk_number(behind, MODEL_CHUNK) + 1, MODEL_CHUNK));
    }
    cr_assert_geq(found->first.seq, topic->first_durable.seq);
    cr_assert_leq(found->first.seq, topic->first.seq);
    cr_assert_geq(found->first.position, topic->first_durable.position);
    cr_assert_geq(found->cursor.position, topic->cursor_durable.position, "the cursor fell back");
    cr_assert_leq(found->cursor.position, found->tail.position);
}

/* The model goes on with what was found. */
static void topic_adopt(struct model_topic *topic, const struct recovered_topic *found)
{
    topic->first_chunk = found->first_chunk;
    topic->first = topic->first_durable = found->first;
    topic->tail = topic->open = topic->captured = found->tail;
    topic->durable = found->tail;
    topic->written = found->tail.position;
    topic->cursor_exists = found->cursor_exists;
    topic->cursor = topic->cursor_captured = topic->cursor_durable = found->cursor;
    if (found->tail.seq > 0) {
        topic->entries[found->tail.seq - 1].behind = found->tail.position;
    }
}

static void system_adopt(struct model *model)
{
    struct model_topic *system = model_system_of(model);
    const struct recovered_topic *found = &model->recovery.system;
    cr_assert_geq(found->tail.position, system->durable.position, "a durable record is lost");
    images_load(model, system, found);
    system->tail = system->open = system->captured = system->durable = found->tail;
    system->written = found->tail.position;
    system->first = system->first_durable = found->first;
    system->first_chunk = found->first_chunk;
    const uint64_t tail_chunk = chunk_number(found->tail.position, MODEL_CHUNK);
    if (model_chunk_find(system, tail_chunk) == NULL) {
        cr_assert_fail("the tail's system chunk has no slot");
    }
    system->next_slot = model->recovery.system_next_slot;
    system->next_generation = model->recovery.system_next_generation;
}

static void topics_adopt(struct model *model)
{
    for (unsigned i = 1; i < MODEL_TOPICS; i++) {
        struct model_topic *topic = &model->topics[i];
        if (topic->id == 0) {
            continue;
        }
        const struct recovered_topic *found = recovered_find(model, topic);
        if (found == NULL) {
            cr_assert(!topic->create_durable || topic->delete_recorded, "topic %s is lost",
                      topic->name);
            memset(topic, 0, sizeof *topic);
            continue;
        }
        if (topic->delete_recorded) {
            /* Its chunks are gone from the model; that it is there is enough. */
            memset(topic, 0, sizeof *topic);
            continue;
        }
        topic_check(topic, found);
        images_load(model, topic, found);
        log_check(topic, found);
        topic_adopt(topic, found);
    }
}

static void verdicts_append(struct model *model)
{
    for (uint32_t i = 0; i < model->recovery.topics_count; i++) {
        const struct recovered_topic *found = &model->recovery.topics[i];
        if (!found->changed) {
            continue;
        }
        const struct record record = {.kind = RECORD_VERDICT,
                                      .topic_id = found->id,
                                      .verdict = {.tail = found->tail,
                                                  .durable = found->tail,
                                                  .void_from = found->void_from,
                                                  .salt_floor = model->salt}};
        model_record(model, &record);
    }
}

static int store_recover(struct model *model)
{
    const struct segment_config config = {.zeroed_groups = 2, .system_groups = 2};
    model->io = io_memory_open(model->disk);
    io_memory_shuffle(model->io);
    int result = store_dir_open(&model->store, model->io, MODEL_DATA, 0, &model->fault);
    if (result == 0) {
        result = store_dir_load(&model->store, MODEL_CHUNK, MODEL_SEGMENT, &model->superblock,
                                &model->fault);
    }
    if (result == 0) {
        result = segment_set_open(&model->segments, &model->store, &model->superblock, &config,
                                  &model->fault);
    }
    return result == 0 ? recovery_run(&model->recovery, &model->store, &model->segments,
                                      &model->superblock, &model->fault)
                       : result;
}

struct model *model_new(uint64_t seed)
{
    struct model *model = calloc(1, sizeof *model);
    model->disk = memory_disk_new(seed);
    model->random = seed;
    model->time_ns = 1;
    model->topics[0].durable.position = chunk_first_frame(0, MODEL_CHUNK);
    return model;
}

struct model *model_power_loss(const struct model *model, uint64_t seed, enum memory_loss loss)
{
    struct model *copy = malloc(sizeof *copy);
    memcpy(copy, model, sizeof *copy);
    copy->disk = memory_disk_clone(model->disk, seed);
    copy->random = seed;
    copy->flushing = false;
    copy->frees_count = 0;
    copy->recovery = (struct recovery){0};
    copy->segments = (struct segment_set){0};
    for (unsigned i = 0; i < MODEL_TOPICS; i++) {
        copy->topics[i].chunks_count = 0; /* the images stay the original's */
    }
    memory_disk_power_off(copy->disk, loss);
    return copy;
}

int model_recover(struct model *model)
{
    const int result = store_recover(model);
    io_memory_kill(model->io);
    for (uint32_t i = 0; i < model->segments.count; i++) {
        model->segments.segments[i]->file = NULL;
    }
    segment_set_close(&model->segments);
    return result;
}

int model_start(struct model *model)
{
    int result = store_recover(model);
    if (result != 0) {
        return result;
    }
    model->salt = model->superblock.salt_reserved;
    model->superblock.salt_reserved += SALT_STRIDE;
    model->next_generation = model->recovery.next_generation;
    model->superblock.generation_reserved += GENERATION_STRIDE;
    model->next_topic_id = model->recovery.next_topic_id;
    model->next_sync = model->recovery.first_sync;
    result = superblock_write_now(model->io, model->store.store, "STORE", &model->superblock,
                                  &model->fault);
    if (result != 0) {
        return result;
    }
    model->disk->fail_at = 0; /* what the test wanted to fail was the start */
    system_adopt(model);
    topics_adopt(model);
    verdicts_append(model);
    return 0;
}
