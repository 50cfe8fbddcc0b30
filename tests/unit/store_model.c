/* Store model: see store_model.h. */
#include "tests/unit/store_model.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/checksum.h"
#include "broker/io.h"
#include "broker/io_memory.h"

uint64_t model_random(struct model *model, uint64_t below)
{
    model->random = model->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (model->random >> 33) % below;
}

/* What an entry holds at byte i. */
uint8_t model_content(uint32_t stamp, uint64_t i)
{
    return (uint8_t)((stamp * UINT32_C(2654435761)) >> (i % 4 * 8)) ^ (uint8_t)(i / 4);
}

struct model_topic *model_system_of(struct model *model)
{
    return &model->topics[0];
}

static bool is_system(const struct model *model, const struct model_topic *topic)
{
    return topic == &model->topics[0];
}

/* Records and slots. */

static uint32_t slot_get(struct model *model, const struct model_topic *topic, uint64_t chunk_no)
{
    unsigned flags = chunk_no < SMALL_CHUNKS ? SLOT_SMALL : 0;
    flags |= is_system(model, topic) ? SLOT_SYSTEM : 0;
    uint32_t slot;
    int result;
    while ((result = slot_allocate(&model->segments, flags, &slot)) == -EAGAIN) {
        io_poll(model->io);
    }
    cr_assert_eq(result, 0);
    return slot;
}

struct model_chunk *model_chunk_find(struct model_topic *topic, uint64_t chunk_no)
{
    for (uint32_t i = 0; i < topic->chunks_count; i++) {
        if (topic->chunks[i].chunk_no == chunk_no) {
            return &topic->chunks[i];
        }
    }
    return NULL;
}

struct model_chunk *model_chunk_add(struct model_topic *topic, uint64_t chunk_no, uint32_t slot,
                                    uint64_t generation)
{
    cr_assert_lt(topic->chunks_count, MODEL_CHUNKS_MAX);
    struct model_chunk *chunk = &topic->chunks[topic->chunks_count++];
    *chunk = (struct model_chunk){.chunk_no = chunk_no,
                                  .slot = slot,
                                  .generation = generation,
                                  .image = calloc(1, MODEL_CHUNK)};
    return chunk;
}

static struct model_chunk *chunk_assign(struct model *model, struct model_topic *topic,
                                        uint64_t chunk_no)
{
    if (is_system(model, topic)) {
        const uint32_t slot = topic->next_slot;
        cr_assert_neq(slot, SLOT_NONE);
        topic->next_slot = SLOT_NONE;
        return model_chunk_add(topic, chunk_no, slot, topic->next_generation);
    }
    struct model_chunk *chunk = model_chunk_add(topic, chunk_no, slot_get(model, topic, chunk_no),
                                                model->next_generation++);
    const struct record record = {.kind = RECORD_ASSIGN,
                                  .topic_id = topic->id,
                                  .assign = {.chunk_no = chunk_no,
                                             .generation = chunk->generation,
                                             .base_seq = topic->tail.seq,
                                             .base_time_ns = model->time_ns,
                                             .slot = chunk->slot,
                                             .durable = topic->durable}};
    model_record(model, &record);
    return model_chunk_find(topic, chunk_no);
}

/* Frames, placed by the rules of the log. `open` is where the next one goes. */

static struct model_chunk *chunk_enter(struct model *model, struct model_topic *topic)
{
    const uint64_t chunk_no = chunk_number(topic->open.position, MODEL_CHUNK);
    struct model_chunk *chunk = model_chunk_find(topic, chunk_no);
    if (chunk == NULL) {
        chunk = chunk_assign(model, topic, chunk_no);
    }
    struct chunk_header *header = (struct chunk_header *)chunk->image;
    if (topic->open.position != chunk_first_frame(chunk_no, MODEL_CHUNK)) {
        return chunk;
    }
    *header = (struct chunk_header){.magic = CHUNK_MAGIC,
                                    .version = CHUNK_FORMAT_VERSION,
                                    .topic_id = topic->id,
                                    .chunk_no = chunk_no,
                                    .generation = chunk->generation,
                                    .base_seq = topic->open.seq,
                                    .base_time_ns = model->time_ns,
                                    .next_slot = SLOT_NONE};
    if (is_system(model, topic)) {
        if (topic->next_slot == SLOT_NONE) {
            topic->next_slot = slot_get(model, topic, chunk_no + 1);
            topic->next_generation = model->next_generation++;
        }
        header->next_slot = topic->next_slot;
        header->next_generation = topic->next_generation;
    }
    chunk_header_seal(header);
    return chunk;
}

static void frame_put(struct model *model, struct model_topic *topic, struct model_chunk *chunk,
                      uint32_t size, uint16_t flags, const uint8_t *payload)
{
    const uint64_t start = chunk_start(chunk->chunk_no, MODEL_CHUNK);
    struct frame_header *frame =
        (struct frame_header *)(chunk->image + (topic->open.position - start));
    *frame = (struct frame_header){.size = size,
                                   .seq = topic->open.seq,
                                   .time_ns = ++model->time_ns,
                                   .flags = flags,
                                   .sync = (uint16_t)model->next_sync,
                                   .salt = model->salt};
    if (!(flags & FRAME_PAD)) {
        memcpy(frame + 1, payload, size);
    }
    frame_seal(frame, checksum_seed(topic->id, chunk->chunk_no, chunk->generation));
    topic->open.position += frame_bytes(size);
    topic->open.seq += flags & FRAME_LAST ? 1 : 0;
}

static void entry_put(struct model *model, struct model_topic *topic, const uint8_t *payload,
                      uint32_t size, uint16_t batch)
{
    uint8_t *stream = malloc(sizeof(uint64_t) + size);
    const uint64_t total = size;
    uint64_t from = 0;
    memcpy(stream, &total, sizeof total);
    memcpy(stream + sizeof total, payload, size);
    for (;;) {
        struct model_chunk *chunk = chunk_enter(model, topic);
        const uint64_t bytes = chunk_size(chunk->chunk_no, MODEL_CHUNK);
        const uint64_t end = chunk_start(chunk->chunk_no + 1, MODEL_CHUNK);
        const uint64_t room = end - topic->open.position;
        if (from == 0 && frame_bytes(size) <= room) {
            frame_put(model, topic, chunk, size, FRAME_FIRST | FRAME_LAST | batch, payload);
            break;
        }
        if (room >= FRAGMENT_ROOM_MIN && (from != 0 || size > bytes / 8)) {
            const uint64_t left = sizeof total + size - from;
            const uint64_t part = left < room - 32 ? left : room - 32;
            const bool last = part == left;
            uint16_t flags = (uint16_t)((from == 0 ? FRAME_FIRST : 0) | (last ? FRAME_LAST : 0));
            flags |= last ? batch : (uint16_t)(batch & ~FRAME_BATCH_END);
            frame_put(model, topic, chunk, (uint32_t)part, flags, stream + from);
            from += part;
            if (last) {
                break;
            }
        } else if (room >= FRAME_HEADER_BYTES) {
            frame_put(model, topic, chunk, (uint32_t)(room - 32), FRAME_PAD, NULL);
        }
        if (end - topic->open.position < FRAME_HEADER_BYTES) {
            topic->open.position = end + CHUNK_HEADER_BYTES;
        }
    }
    free(stream);
    topic->open.position = frame_settle(
        topic->open.position, chunk_number(topic->open.position - 1, MODEL_CHUNK), MODEL_CHUNK);
}

void model_raw_record(struct model *model, const void *bytes, uint32_t size)
{
    struct model_topic *system = model_system_of(model);
    entry_put(model, system, bytes, size, 0);
    system->tail = system->open;
}

void model_record(struct model *model, const struct record *record)
{
    uint8_t bytes[RECORD_BYTES_MAX];
    model_raw_record(model, bytes, (uint32_t)record_encode(record, bytes));
}

/* What the topics do. */

static struct model_topic *topic_get(struct model *model, unsigned number)
{
    struct model_topic *topic = &model->topics[number];
    if (topic->id != 0) {
        return topic;
    }
    memset(topic, 0, sizeof *topic);
    topic->id = model->next_topic_id++;
    snprintf(topic->name, sizeof topic->name, "t%u.%u", number, (unsigned)topic->id);
    const struct record_place begin = {.position = chunk_first_frame(0, MODEL_CHUNK)};
    topic->first = topic->first_durable = topic->tail = topic->open = begin;
    topic->captured = topic->durable = begin;
    const struct record record = {
        .kind = RECORD_TOPIC_CREATE,
        .topic_id = topic->id,
        .topic_create = {.time_ns = model->time_ns,
                         .name = {topic->name, (uint16_t)strlen(topic->name)},
                         .retention = {"consumed", 8}}};
    model_record(model, &record);
    return topic;
}

static void entry_make(struct model *model, struct model_topic *topic, uint32_t size,
                       uint16_t batch)
{
    static uint8_t payload[1 << 18];
    cr_assert_lt(topic->open.seq, MODEL_ENTRIES_MAX);
    struct model_entry *entry = &topic->entries[topic->open.seq];
    *entry = (struct model_entry){.size = size, .stamp = ++model->stamp};
    for (uint32_t i = 0; i < size; i++) {
        payload[i] = model_content(entry->stamp, i);
    }
    entry_put(model, topic, payload, size, batch);
}

/* The frames so far are the topic's. */
static void unit_commit(struct model_topic *topic)
{
    topic->tail = topic->open;
    if (topic->tail.seq > 0) {
        topic->entries[topic->tail.seq - 1].behind = topic->tail.position;
    }
}

void model_append(struct model *model, unsigned number, uint32_t size)
{
    struct model_topic *topic = topic_get(model, number);
    entry_make(model, topic, size, 0);
    unit_commit(topic);
}

void model_batch(struct model *model, unsigned number, uint32_t count, uint32_t size)
{
    struct model_topic *topic = topic_get(model, number);
    for (uint32_t i = 1; i <= count; i++) {
        entry_make(model, topic, size, FRAME_BATCH | (i == count ? FRAME_BATCH_END : 0));
    }
    unit_commit(topic);
}

void model_cursor(struct model *model, unsigned number)
{
    struct model_topic *topic = topic_get(model, number);
    topic->cursor = topic->tail;
    topic->cursor_exists = true;
    const struct record record = {
        .kind = RECORD_CURSOR,
        .topic_id = topic->id,
        .cursor = {.group = {"default", 7}, .cursor = topic->cursor, .durable = topic->durable}};
    model_record(model, &record);
}

void model_mark(struct model *model, unsigned number)
{
    struct model_topic *topic = topic_get(model, number);
    const struct record record = {
        .kind = RECORD_MARK, .topic_id = topic->id, .mark = {.durable = topic->durable}};
    model_record(model, &record);
}

/* Slots are free again when the sync that covers what is appended now has succeeded. */
static void chunks_drop(struct model *model, struct model_topic *topic, uint64_t chunk_no)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < topic->chunks_count; i++) {
        struct model_chunk *chunk = &topic->chunks[i];
        if (chunk->chunk_no >= chunk_no) {
            topic->chunks[kept++] = *chunk;
            continue;
        }
        free(chunk->image);
        cr_assert_lt(model->frees_count, 1024);
        model->frees[model->frees_count++] =
            (struct model_free){.slot = chunk->slot,
                                .small = chunk->chunk_no < SMALL_CHUNKS,
                                .after = model->next_sync};
    }
    topic->chunks_count = kept;
}

/* The first entry that begins in a chunk, below the tail. */
static bool first_entry(struct model_topic *topic, uint64_t chunk_no, struct record_place *place)
{
    const struct model_chunk *chunk = model_chunk_find(topic, chunk_no);
    const uint64_t start = chunk_start(chunk_no, MODEL_CHUNK);
    const uint64_t end = chunk_start(chunk_no + 1, MODEL_CHUNK);
    uint64_t position = start + CHUNK_HEADER_BYTES;
    while (chunk != NULL && position < topic->tail.position &&
           position + FRAME_HEADER_BYTES <= end) {
        const struct frame_header *frame =
            (const struct frame_header *)(chunk->image + (position - start));
        if (frame->flags & FRAME_FIRST) {
            *place = (struct record_place){.position = position, .seq = frame->seq};
            return true;
        }
        position += frame_bytes(frame->size);
    }
    return false;
}

void model_trim(struct model *model, unsigned number)
{
    struct model_topic *topic = topic_get(model, number);
    const uint64_t tail_chunk = chunk_number(topic->tail.position, MODEL_CHUNK);
    if (tail_chunk == topic->first_chunk || model->flushing) {
        return;
    }
    const uint64_t chunk_no =
        topic->first_chunk + 1 + model_random(model, tail_chunk - topic->first_chunk);
    if (!first_entry(topic, chunk_no, &topic->first)) {
        return;
    }
    topic->first_chunk = chunk_no;
    const struct record record = {.kind = RECORD_TRIM,
                                  .topic_id = topic->id,
                                  .trim = {.chunk_no = chunk_no, .first = topic->first}};
    model_record(model, &record);
    chunks_drop(model, topic, chunk_no);
    const uint64_t start = chunk_start(chunk_no, MODEL_CHUNK);
    topic->written = topic->written < start ? start : topic->written;
    if (topic->cursor_exists && topic->cursor.position < topic->first.position) {
        topic->cursor = topic->first;
    }
}

void model_delete(struct model *model, unsigned number)
{
    struct model_topic *topic = &model->topics[number];
    if (topic->id == 0 || model->flushing) {
        return;
    }
    const struct record record = {.kind = RECORD_TOPIC_DELETE, .topic_id = topic->id};
    model_record(model, &record);
    topic->delete_recorded = true;
    chunks_drop(model, topic, UINT64_MAX);
    model_flush(model);
    memset(topic, 0, sizeof *topic);
}

void model_aborted_stream(struct model *model, unsigned number, uint32_t count, uint32_t size)
{
    struct model_topic *topic = topic_get(model, number);
    if (model->flushing || topic->tail.position < 128) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        entry_make(model, topic, size, FRAME_BATCH);
    }
    model_flush(model);
    topic->open = topic->tail;
    topic->written = topic->tail.position;
    model->salt++;
    const struct record record = {.kind = RECORD_VERDICT,
                                  .topic_id = topic->id,
                                  .verdict = {.tail = topic->tail,
                                              .durable = topic->durable,
                                              .void_from = RECORD_NOTHING_VOID,
                                              .salt_floor = model->salt}};
    model_record(model, &record);
    for (uint32_t i = 0; i < topic->chunks_count; i++) {
        const uint64_t start = chunk_start(topic->chunks[i].chunk_no, MODEL_CHUNK);
        const uint64_t used = topic->tail.position > start ? topic->tail.position - start : 0;
        if (used < MODEL_CHUNK) {
            memset(topic->chunks[i].image + used, 0, MODEL_CHUNK - used);
        }
    }
    model_flush(model); /* no append until that is durable */
}

/* The flush. */

static void flush_step(struct model *model);

static void flush_op_done(struct io_op *op, int result)
{
    struct model *model = op->context;
    cr_assert_eq(result, 0);
    free(op->buffer);
    op->buffer = NULL;
    if (--model->outstanding == 0) {
        flush_step(model);
    }
}

static void flush_submit(struct model *model, struct io_op op)
{
    cr_assert_lt(model->ops_count, MODEL_FLUSH_OPS_MAX);
    op.done = flush_op_done;
    op.context = model;
    model->ops[model->ops_count] = op;
    model->outstanding++;
    io_submit(model->io, &model->ops[model->ops_count++]);
}

/* One write per block, so that blocks are there or not each by itself. */
static void block_write(struct model *model, const struct model_chunk *chunk, uint64_t from,
                        uint64_t used)
{
    uint8_t *buffer = io_buffer_new(BLOCK_BYTES);
    memcpy(buffer, chunk->image + from, used < BLOCK_BYTES ? used : BLOCK_BYTES);
    segment_touch(&model->segments, chunk->slot);
    flush_submit(model,
                 (struct io_op){.kind = IO_WRITE,
                                .file = slot_file(&model->segments, chunk->slot),
                                .buffer = buffer,
                                .bytes = BLOCK_BYTES,
                                .offset = slot_offset(&model->segments, chunk->slot) + from});
}

static void topic_write(struct model *model, struct model_topic *topic)
{
    for (uint32_t i = 0; i < topic->chunks_count; i++) {
        const struct model_chunk *chunk = &topic->chunks[i];
        const uint64_t start = chunk_start(chunk->chunk_no, MODEL_CHUNK);
        const uint64_t end = chunk_start(chunk->chunk_no + 1, MODEL_CHUNK);
        const uint64_t upto = topic->open.position < end ? topic->open.position : end;
        if (upto <= start + CHUNK_HEADER_BYTES || upto <= topic->written) {
            continue;
        }
        const uint64_t written = topic->written > start ? topic->written - start : 0;
        for (uint64_t from = written / BLOCK_BYTES * BLOCK_BYTES; from < upto - start;
             from += BLOCK_BYTES) {
            block_write(model, chunk, from, upto - start - from);
        }
    }
    topic->written = topic->open.position;
}

void model_flush_begin(struct model *model)
{
    cr_assert_not(model->flushing);
    model->flushing = true;
    model->syncing = false;
    model->ops_count = 0;
    model->outstanding = 1;
    for (unsigned i = 0; i < MODEL_TOPICS; i++) {
        struct model_topic *topic = &model->topics[i];
        if (i != 0 && topic->id == 0) {
            continue;
        }
        topic->captured = topic->tail;
        topic->cursor_captured = topic->cursor;
        topic->create_captured = true;
        topic_write(model, topic);
    }
    model->next_sync++;
    if (--model->outstanding == 0) {
        flush_step(model);
    }
}

static void flush_end(struct model *model)
{
    model->flushing = false;
    for (unsigned i = 0; i < MODEL_TOPICS; i++) {
        struct model_topic *topic = &model->topics[i];
        topic->durable = topic->captured;
        topic->cursor_durable = topic->cursor_captured;
        topic->first_durable = topic->first;
        topic->create_durable = topic->create_captured;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < model->frees_count; i++) {
        const struct model_free *one = &model->frees[i];
        if (one->after < model->next_sync) {
            slot_release(&model->segments, one->slot, one->small);
        } else {
            model->frees[kept++] = *one;
        }
    }
    model->frees_count = kept;
}

static void flush_step(struct model *model)
{
    if (model->syncing) {
        flush_end(model);
        return;
    }
    model->syncing = true;
    model->outstanding = 1;
    struct segment *segment;
    while ((segment = segment_take_touched(&model->segments)) != NULL) {
        flush_submit(model, (struct io_op){.kind = IO_SYNC, .file = segment->file});
    }
    if (--model->outstanding == 0) {
        flush_step(model);
    }
}

void model_settle(struct model *model)
{
    while (io_in_flight(model->io) > 0) {
        io_poll(model->io);
    }
}

void model_flush(struct model *model)
{
    while (model->flushing) {
        io_poll(model->io);
    }
    model_flush_begin(model);
    while (model->flushing) {
        io_poll(model->io);
    }
}

/* Ends. */

static void images_free(struct model *model)
{
    for (unsigned i = 0; i < MODEL_TOPICS; i++) {
        for (uint32_t j = 0; j < model->topics[i].chunks_count; j++) {
            free(model->topics[i].chunks[j].image);
        }
        model->topics[i].chunks_count = 0;
    }
}

void model_kill(struct model *model)
{
    io_memory_kill(model->io);
    for (uint32_t i = 0; i < model->ops_count && model->flushing; i++) {
        free(model->ops[i].buffer);
    }
    for (uint32_t i = 0; i < model->segments.count; i++) {
        model->segments.segments[i]->file = NULL;
    }
    model->segments.zeroing = false;
    model->segments.growing = NULL;
    segment_set_close(&model->segments);
    recovery_free(&model->recovery);
    images_free(model);
    model->flushing = false;
    model->frees_count = 0;
}

void model_stop(struct model *model)
{
    model_flush(model);
    segment_set_stop(&model->segments);
    model_settle(model);
    segment_set_close(&model->segments);
    store_dir_close(&model->store);
    io_close(model->io);
    recovery_free(&model->recovery);
    images_free(model);
}

void model_free_all(struct model *model)
{
    memory_disk_free(model->disk);
    free(model);
}

uint8_t *model_disk_bytes(struct model *model, struct memory_disk *disk, unsigned number,
                          uint64_t position)
{
    const uint64_t chunk_no = chunk_number(position, MODEL_CHUNK);
    const struct model_chunk *chunk = model_chunk_find(&model->topics[number], chunk_no);
    ensure(chunk != NULL);
    const struct memory_node *file =
        memory_disk_find(disk, slot_path(&model->segments, chunk->slot).text);
    ensure(file != NULL);
    return file->bytes + slot_offset(&model->segments, chunk->slot) + position -
           chunk_start(chunk_no, MODEL_CHUNK);
}

uint64_t model_frame_start(struct model *model, unsigned number, uint64_t position)
{
    const uint64_t chunk_no = chunk_number(position, MODEL_CHUNK);
    const struct model_chunk *chunk = model_chunk_find(&model->topics[number], chunk_no);
    ensure(chunk != NULL);
    const uint64_t start = chunk_start(chunk_no, MODEL_CHUNK);
    uint64_t at = CHUNK_HEADER_BYTES;
    if (position - start < at) {
        return start;
    }
    while (at + FRAME_HEADER_BYTES <= chunk_size(chunk_no, MODEL_CHUNK)) {
        const struct frame_header *frame = (const struct frame_header *)(chunk->image + at);
        if (position - start < at + frame_bytes(frame->size)) {
            break;
        }
        at += frame_bytes(frame->size);
    }
    return start + at;
}

bool model_covers(struct model *model, unsigned number, uint64_t position)
{
    const uint64_t start = model_frame_start(model, number, position);
    const uint64_t chunk_no = chunk_number(position, MODEL_CHUNK);
    const uint64_t chunk_begin = chunk_start(chunk_no, MODEL_CHUNK);
    if (start == chunk_begin) {
        return true; /* the chunk's header */
    }
    if (chunk_start(chunk_no + 1, MODEL_CHUNK) - start < FRAME_HEADER_BYTES) {
        return false;
    }
    const struct model_chunk *chunk = model_chunk_find(&model->topics[number], chunk_no);
    ensure(chunk != NULL);
    const struct frame_header *frame =
        (const struct frame_header *)(chunk->image + (start - chunk_begin));
    const uint64_t covered = frame->flags & FRAME_PAD ? 0 : frame->size;
    return position < start + FRAME_HEADER_BYTES + covered;
}

int model_verify(struct model *model, struct memory_disk *disk, unsigned number, uint64_t position,
                 uint64_t upto)
{
    const struct model_topic *topic = &model->topics[number];
    const uint64_t chunk_no = chunk_number(position, MODEL_CHUNK);
    const struct model_chunk *chunk = model_chunk_find(&model->topics[number], chunk_no);
    ensure(chunk != NULL);
    const uint64_t end = chunk_start(chunk_no + 1, MODEL_CHUNK);
    const uint8_t *image =
        model_disk_bytes(model, disk, number, chunk_start(chunk_no, MODEL_CHUNK));
    return frame_scan_verify(image, MODEL_CHUNK, topic->id, chunk_no, chunk->generation,
                             upto < end ? upto : end);
}
