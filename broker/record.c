/* Record: see record.h. */
#include "broker/record.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "shm/ensure.h"

enum { RECORD_VERSION = 1 };

/*
 * One walk over the fields serves both directions, so they cannot differ: `decoding` says which.
 * Once a field did not fit, `broken` is set and the rest of the walk does nothing.
 */
struct walk {
    uint8_t *bytes; /* written only when encoding */
    size_t size;    /* room or content */
    size_t at;
    bool decoding;
    bool broken;
};

static uint8_t *walk_take(struct walk *walk, size_t size)
{
    if (walk->broken || size > walk->size - walk->at) {
        walk->broken = true;
        return NULL;
    }
    uint8_t *field = walk->bytes + walk->at;
    walk->at += size;
    return field;
}

static void walk_number(struct walk *walk, uint64_t *number, size_t size)
{
    uint8_t *field = walk_take(walk, size);
    if (field == NULL) {
        return;
    }
    if (!walk->decoding) {
        for (size_t i = 0; i < size; i++) {
            field[i] = (uint8_t)(*number >> (8 * i));
        }
        return;
    }
    *number = 0;
    for (size_t i = 0; i < size; i++) {
        *number |= (uint64_t)field[i] << (8 * i);
    }
}

static void walk_u64(struct walk *walk, uint64_t *number)
{
    walk_number(walk, number, sizeof *number);
}

static void walk_u32(struct walk *walk, uint32_t *number)
{
    uint64_t wide = *number;
    walk_number(walk, &wide, sizeof *number);
    *number = (uint32_t)wide;
}

static void walk_text(struct walk *walk, struct record_text *text, size_t size_max)
{
    uint64_t size = text->size;
    walk_number(walk, &size, sizeof text->size);
    if (size > size_max) {
        walk->broken = true;
    }
    uint8_t *field = walk_take(walk, size);
    if (field == NULL) {
        return;
    }
    if (walk->decoding) {
        *text = (struct record_text){.bytes = field, .size = (uint16_t)size};
    } else if (size != 0) {
        memcpy(field, text->bytes, size);
    }
}

static void walk_items(struct walk *walk, struct record_items *items, size_t item_bytes)
{
    uint64_t count = items->count;
    walk_number(walk, &count, sizeof items->count);
    if (count > RECORD_ITEMS_MAX) {
        walk->broken = true;
    }
    uint8_t *field = walk_take(walk, (size_t)count * item_bytes);
    if (field == NULL) {
        return;
    }
    if (walk->decoding) {
        *items = (struct record_items){.bytes = field, .count = (uint16_t)count};
    } else if (count != 0) {
        memcpy(field, items->bytes, (size_t)count * item_bytes);
    }
}

static void walk_place(struct walk *walk, struct record_place *place)
{
    walk_u64(walk, &place->position);
    walk_u64(walk, &place->seq);
}

static void walk_assign(struct walk *walk, struct record_assign *assign)
{
    walk_u64(walk, &assign->chunk_no);
    walk_u64(walk, &assign->generation);
    walk_u64(walk, &assign->base_seq);
    walk_u64(walk, &assign->base_time_ns);
    walk_u32(walk, &assign->slot);
    walk_u64(walk, &assign->age_ns);
    walk_place(walk, &assign->durable);
}

static void walk_verdict(struct walk *walk, struct record_verdict *verdict)
{
    walk_place(walk, &verdict->tail);
    walk_place(walk, &verdict->durable);
    walk_u64(walk, &verdict->void_from);
    walk_u32(walk, &verdict->salt_floor);
}

static void walk_topic(struct walk *walk, struct record_topic *topic)
{
    walk_u64(walk, &topic->created_ns);
    walk_text(walk, &topic->name, TOPIC_NAME_BYTES_MAX);
    walk_text(walk, &topic->retention, RECORD_TEXT_BYTES_MAX);
    walk_u64(walk, &topic->as_of);
    walk_place(walk, &topic->first);
    walk_place(walk, &topic->durable);
    walk_u64(walk, &topic->last_time_ns);
    walk_u64(walk, &topic->floor_position);
    walk_u32(walk, &topic->floor_salt);
}

/* Items have a fixed size, so each is a walk of its own. */

static void walk_mark_item(struct walk *walk, struct record_mark_item *item)
{
    walk_u64(walk, &item->topic_id);
    walk_place(walk, &item->durable);
    walk_u64(walk, &item->time_ns);
}

static void walk_chunk(struct walk *walk, struct record_chunk *chunk)
{
    walk_u64(walk, &chunk->generation);
    walk_u64(walk, &chunk->base_seq);
    walk_u64(walk, &chunk->base_time_ns);
    walk_u64(walk, &chunk->age_ns);
    walk_u32(walk, &chunk->slot);
}

static struct walk item_walk(const uint8_t *bytes, uint32_t i, size_t item_bytes, bool decoding)
{
    union {
        const uint8_t *from;
        uint8_t *bytes;
    } either = {.from = bytes};
    return (struct walk){
        .bytes = either.bytes + i * item_bytes, .size = item_bytes, .decoding = decoding};
}

void record_mark_item_put(uint8_t *bytes, uint32_t i, const struct record_mark_item *item)
{
    struct record_mark_item copy = *item;
    struct walk walk = item_walk(bytes, i, RECORD_MARK_ITEM_BYTES, false);
    walk_mark_item(&walk, &copy);
}

struct record_mark_item record_mark_item_get(const struct record_items *items, uint32_t i)
{
    struct record_mark_item item;
    struct walk walk = item_walk(items->bytes, i, RECORD_MARK_ITEM_BYTES, true);
    walk_mark_item(&walk, &item);
    return item;
}

void record_chunk_put(uint8_t *bytes, uint32_t i, const struct record_chunk *chunk)
{
    struct record_chunk copy = *chunk;
    struct walk walk = item_walk(bytes, i, RECORD_CHUNK_ITEM_BYTES, false);
    walk_chunk(&walk, &copy);
}

struct record_chunk record_chunk_get(const struct record_items *items, uint32_t i)
{
    struct record_chunk chunk;
    struct walk walk = item_walk(items->bytes, i, RECORD_CHUNK_ITEM_BYTES, true);
    walk_chunk(&walk, &chunk);
    return chunk;
}

/* False: the kind is unknown. */
static bool walk_body(struct walk *walk, struct record *record)
{
    walk_u64(walk, &record->topic_id);
    switch (record->kind) {
    case RECORD_TOPIC_CREATE:
        walk_u64(walk, &record->topic_create.time_ns);
        walk_text(walk, &record->topic_create.name, TOPIC_NAME_BYTES_MAX);
        walk_text(walk, &record->topic_create.retention, RECORD_TEXT_BYTES_MAX);
        return true;
    case RECORD_TOPIC_DELETE:
        return true;
    case RECORD_TOPIC_OPTION:
        walk_text(walk, &record->topic_option.key, RECORD_TEXT_BYTES_MAX);
        walk_text(walk, &record->topic_option.value, RECORD_VALUE_BYTES_MAX);
        return true;
    case RECORD_ASSIGN:
        walk_assign(walk, &record->assign);
        return true;
    case RECORD_TRIM:
        walk_u64(walk, &record->trim.chunk_no);
        walk_place(walk, &record->trim.first);
        return true;
    case RECORD_CURSOR:
        walk_text(walk, &record->cursor.group, RECORD_TEXT_BYTES_MAX);
        walk_place(walk, &record->cursor.cursor);
        walk_place(walk, &record->cursor.durable);
        return true;
    case RECORD_MARK:
        walk_place(walk, &record->mark.durable);
        return true;
    case RECORD_VERDICT:
        walk_verdict(walk, &record->verdict);
        return true;
    case RECORD_MARKS:
        walk_items(walk, &record->marks, RECORD_MARK_ITEM_BYTES);
        return true;
    case RECORD_TOPIC:
        walk_topic(walk, &record->topic);
        return true;
    case RECORD_CHUNKS:
        walk_u64(walk, &record->chunks.chunk_no);
        walk_items(walk, &record->chunks.items, RECORD_CHUNK_ITEM_BYTES);
        return true;
    case RECORD_CLOCK:
        walk_u64(walk, &record->clock.age_ns);
        return true;
    default:
        return false;
    }
}

size_t record_encode(const struct record *record, uint8_t bytes[RECORD_BYTES_MAX])
{
    struct record copy = *record;
    bytes[0] = (uint8_t)record->kind;
    bytes[1] = RECORD_VERSION;
    struct walk walk = {.bytes = bytes, .size = RECORD_BYTES_MAX, .at = 2};
    const bool known = walk_body(&walk, &copy);
    ensure(known && !walk.broken);
    return walk.at;
}

int record_decode(struct record *record, const void *bytes, size_t size)
{
    *record = (struct record){0};
    if (size < 2) {
        return -EBADMSG;
    }
    union {
        const void *from;
        uint8_t *bytes;
    } either = {.from = bytes};
    struct walk walk = {.bytes = either.bytes, .size = size, .at = 2, .decoding = true};
    record->kind = (enum record_kind)walk.bytes[0];
    if (walk.bytes[1] > RECORD_VERSION) {
        return -EPROTO;
    }
    if (!walk_body(&walk, record)) {
        return walk.bytes[0] == 0 ? -EBADMSG : -EPROTO;
    }
    return walk.broken || walk.at != size || walk.bytes[1] == 0 ? -EBADMSG : 0;
}
