/* Store reader: see store_reader.h. */
#include "tests/unit/store_reader.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "broker/frame_scan.h"

const unsigned char *stage_image(struct stage *stage, const struct chunk *chunk)
{
    struct store *store = &stage->store;
    if (chunk->state == CHUNK_RESIDENT) {
        return pool_image(&store->pool, chunk);
    }
    struct memory_node *file =
        memory_disk_find(stage->disk, slot_path(&store->segments, chunk->slot).text);
    cr_assert_not_null(file);
    return file->bytes + slot_offset(&store->segments, chunk->slot);
}

struct reading {
    struct stage *stage;
    struct topic *topic;
    uint64_t position;
    uint64_t seq;
    uint64_t time_ns;
    unsigned char *entry; /* of an entry of several fragments */
    uint64_t entry_bytes; /* in all */
    uint64_t entry_have;
    void (*each)(void *context, const struct stage_entry *entry);
    void *context;
};

static void entry_found(struct reading *reading, const struct frame_header *frame,
                        const unsigned char *bytes, uint64_t size, uint64_t position)
{
    const struct stage_entry entry = {.seq = frame->seq,
                                      .position = position,
                                      .size = size,
                                      .time_ns = frame->time_ns,
                                      .bytes = bytes,
                                      .batch = (frame->flags & FRAME_BATCH) != 0,
                                      .batch_end = (frame->flags & FRAME_BATCH_END) != 0};
    cr_assert_eq(frame->seq, reading->seq, "seq %zu follows %zu", (size_t)frame->seq,
                 (size_t)reading->seq);
    cr_assert_geq(frame->time_ns, reading->time_ns);
    reading->time_ns = frame->time_ns;
    reading->seq++;
    if (reading->each != NULL) {
        reading->each(reading->context, &entry);
    }
}

static void fragment_found(struct reading *reading, const struct frame_header *frame,
                           const unsigned char *payload)
{
    uint64_t size = frame->size;
    if (frame->flags & FRAME_FIRST) {
        cr_assert_null(reading->entry);
        memcpy(&reading->entry_bytes, payload, FRAGMENT_TOTAL_BYTES);
        reading->entry = malloc(reading->entry_bytes + 1);
        reading->entry_have = 0;
        payload += FRAGMENT_TOTAL_BYTES;
        size -= FRAGMENT_TOTAL_BYTES;
    }
    cr_assert_not_null(reading->entry);
    cr_assert_leq(size, reading->entry_bytes - reading->entry_have);
    memcpy(reading->entry + reading->entry_have, payload, size);
    reading->entry_have += size;
    if (frame->flags & FRAME_LAST) {
        cr_assert_eq(reading->entry_have, reading->entry_bytes);
        entry_found(reading, frame, reading->entry, reading->entry_bytes, reading->position);
        free(reading->entry);
        reading->entry = NULL;
    }
}

static void frame_found(struct reading *reading, const unsigned char *at)
{
    struct frame_header frame;
    memcpy(&frame, at, sizeof frame);
    const unsigned char *payload = at + sizeof frame;
    const unsigned whole = FRAME_FIRST | FRAME_LAST;
    cr_assert_eq(frame.seq, reading->seq);
    if (frame.flags & FRAME_PAD) {
        cr_assert_null(reading->entry);
    } else if ((frame.flags & whole) == whole) {
        entry_found(reading, &frame, payload, frame.size, reading->position);
    } else {
        fragment_found(reading, &frame, payload);
    }
    reading->position += frame_bytes(frame.size);
}

static void read_by_position(struct reading *reading)
{
    struct topic *topic = reading->topic;
    const uint64_t chunk_bytes = reading->stage->store.chunk_bytes;
    while (reading->position != topic->tail_position) {
        cr_assert_lt(reading->position, topic->tail_position);
        const uint64_t number = chunk_number(reading->position, chunk_bytes);
        const struct chunk *chunk = topic_chunk(topic, number);
        cr_assert_not_null(chunk);
        const uint64_t end = chunk_start(number + 1, chunk_bytes);
        frame_found(reading, stage_image(reading->stage, chunk) + reading->position -
                                 chunk_start(number, chunk_bytes));
        cr_assert_leq(reading->position, end);
        reading->position = frame_settle(reading->position, number, chunk_bytes);
    }
    cr_assert_null(reading->entry, "the tail lies inside an entry");
    cr_assert_eq(reading->seq, topic->next_seq);
}

/* The log may begin within a chunk, and there within a stream: what is below says so. */
static void scan_begin(struct frame_scan *scan, struct stage *stage, const struct topic *topic)
{
    const uint64_t chunk_bytes = stage->store.chunk_bytes;
    const uint64_t number = chunk_number(topic->first_position, chunk_bytes);
    const struct chunk *chunk = topic_chunk(topic, number);
    frame_scan_init(
        scan, chunk_bytes,
        (struct record_place){.position = topic->first_position, .seq = topic->first_seq}, NULL, 0);
    if (chunk == NULL || topic->first_position == topic->tail_position) {
        return;
    }
    const struct frame_chunk place = {
        .topic_id = topic->id, .chunk_no = number, .generation = chunk->generation};
    cr_assert_eq(frame_verify_begin(scan, stage_image(stage, chunk), chunk_bytes, &place), 0);
    struct frame_view view;
    while (scan->position < topic->first_position) {
        cr_assert_eq(frame_scan_next(scan, &view), FRAME_STEP_FRAME);
    }
    cr_assert_eq(scan->position, topic->first_position);
    cr_assert_eq(scan->seq, topic->first_seq);
}

static void read_by_scan(struct stage *stage, struct topic *topic)
{
    const uint64_t chunk_bytes = stage->store.chunk_bytes;
    struct frame_scan scan;
    scan_begin(&scan, stage, topic);
    uint64_t number = chunk_number(topic->first_position, chunk_bytes);
    while (scan.position != topic->tail_position) {
        const struct chunk *chunk = topic_chunk(topic, number);
        cr_assert_not_null(chunk);
        const struct frame_chunk place = {
            .topic_id = topic->id, .chunk_no = number, .generation = chunk->generation};
        const unsigned char *image = stage_image(stage, chunk);
        cr_assert(frame_chunk_header_fits(&place, image), "header of chunk %zu", (size_t)number);
        frame_scan_chunk(&scan, &place, image);
        enum frame_step step = FRAME_STEP_FRAME;
        while (step == FRAME_STEP_FRAME && scan.position != topic->tail_position) {
            struct frame_view view;
            step = frame_scan_next(&scan, &view);
            cr_assert_neq(step, FRAME_STEP_INVALID, "position %zu of %zu", (size_t)scan.position,
                          (size_t)topic->tail_position);
        }
        number++;
    }
    cr_assert_eq(scan.seq, topic->next_seq);
    cr_assert_eq(scan.whole.position, topic->tail_position);
    cr_assert_eq(scan.whole.seq, topic->next_seq);
}

void stage_read(struct stage *stage, struct topic *topic,
                void (*each)(void *context, const struct stage_entry *entry), void *context)
{
    const uint64_t chunk_bytes = stage->store.chunk_bytes;
    const uint64_t tail_chunk = chunk_number(topic->tail_position, chunk_bytes);
    cr_assert_eq(frame_settle(topic->tail_position, tail_chunk, chunk_bytes), topic->tail_position,
                 "the tail is not settled");
    cr_assert_geq(topic->tail_position, chunk_first_frame(tail_chunk, chunk_bytes));
    struct reading reading = {.stage = stage,
                              .topic = topic,
                              .position = topic->first_position,
                              .seq = topic->first_seq,
                              .each = each,
                              .context = context};
    read_by_position(&reading);
    read_by_scan(stage, topic);
}
