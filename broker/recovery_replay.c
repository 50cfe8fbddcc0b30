/* Replay: see recovery_replay.h. */
#include "broker/recovery_replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/recovery.h"
#include "shm/retention_policy.h"

void recovered_topic_init(struct recovered_topic *topic, uint64_t id, uint64_t chunk_bytes)
{
    const struct record_place begin = {.position = chunk_first_frame(0, chunk_bytes)};
    *topic = (struct recovered_topic){.id = id,
                                      .first = begin,
                                      .durable = begin,
                                      .tail = begin,
                                      .void_from = RECORD_NOTHING_VOID};
}

void recovered_topic_free(struct recovered_topic *topic)
{
    free(topic->name);
    free(topic->retention);
    free(topic->chunks);
    free(topic->floors);
    *topic = (struct recovered_topic){0};
}

/* Where a chunk with this number is, or belongs. */
static uint32_t chunk_index(const struct recovered_topic *topic, uint64_t chunk_no)
{
    uint32_t low = 0;
    uint32_t high = topic->chunks_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (topic->chunks[middle].chunk_no < chunk_no) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct recovered_chunk *recovered_chunk_find(const struct recovered_topic *topic, uint64_t chunk_no)
{
    const uint32_t index = chunk_index(topic, chunk_no);
    return index < topic->chunks_count && topic->chunks[index].chunk_no == chunk_no
               ? &topic->chunks[index]
               : NULL;
}

/* Room for one more item: the new array, or NULL. */
static void *grown(void *array, uint32_t count, uint32_t *max, size_t item_bytes)
{
    if (count < *max) {
        return array;
    }
    const uint32_t more = *max == 0 ? 4 : *max * 2;
    void *larger = realloc(array, (size_t)more * item_bytes);
    if (larger != NULL) {
        *max = more;
    }
    return larger;
}

int recovered_chunk_put(struct recovered_topic *topic, const struct recovered_chunk *chunk)
{
    const bool behind = topic->chunks_count == 0 ||
                        topic->chunks[topic->chunks_count - 1].chunk_no < chunk->chunk_no;
    const uint32_t index = behind ? topic->chunks_count : chunk_index(topic, chunk->chunk_no);
    if (index == topic->chunks_count || topic->chunks[index].chunk_no != chunk->chunk_no) {
        struct recovered_chunk *chunks =
            grown(topic->chunks, topic->chunks_count, &topic->chunks_max, sizeof *chunks);
        if (chunks == NULL) {
            return -ENOMEM;
        }
        topic->chunks = chunks;
        memmove(chunks + index + 1, chunks + index,
                (size_t)(topic->chunks_count - index) * sizeof *chunks);
        topic->chunks_count++;
    }
    topic->chunks[index] = *chunk;
    return 0;
}

bool recovered_chunks_cut(struct recovered_topic *topic, uint64_t chunk_no)
{
    const uint32_t index = chunk_index(topic, chunk_no);
    const bool any = index < topic->chunks_count;
    topic->chunks_count = index;
    return any;
}

void recovered_chunks_trim(struct recovered_topic *topic)
{
    const uint32_t gone = chunk_index(topic, topic->first_chunk);
    if (gone > 0) {
        memmove(topic->chunks, topic->chunks + gone,
                (size_t)(topic->chunks_count - gone) * sizeof *topic->chunks);
        topic->chunks_count -= gone;
    }
}

int salt_floor_add(struct recovered_topic *topic, uint64_t position, uint32_t salt)
{
    while (topic->floors_count > 0 && topic->floors[topic->floors_count - 1].position >= position) {
        topic->floors_count--;
    }
    struct salt_floor *floors =
        grown(topic->floors, topic->floors_count, &topic->floors_max, sizeof *floors);
    if (floors == NULL) {
        return -ENOMEM;
    }
    topic->floors = floors;
    floors[topic->floors_count++] = (struct salt_floor){.position = position, .salt = salt};
    return 0;
}

/* Topics by id: open addressing over indexes. */

static uint32_t bucket_of(const struct recovery *recovery, uint64_t id)
{
    uint32_t bucket = (uint32_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 32);
    bucket &= recovery->buckets_count - 1;
    while (recovery->buckets[bucket] != 0 &&
           recovery->topics[recovery->buckets[bucket] - 1].id != id) {
        bucket = (bucket + 1) & (recovery->buckets_count - 1);
    }
    return bucket;
}

static int buckets_grow(struct recovery *recovery)
{
    if (recovery->topics_count < recovery->buckets_count / 2) {
        return 0;
    }
    const uint32_t count = recovery->buckets_count == 0 ? 64 : recovery->buckets_count * 2;
    uint32_t *buckets = calloc(count, sizeof *buckets);
    if (buckets == NULL) {
        return -ENOMEM;
    }
    free(recovery->buckets);
    recovery->buckets = buckets;
    recovery->buckets_count = count;
    for (uint32_t i = 0; i < recovery->topics_count; i++) {
        recovery->buckets[bucket_of(recovery, recovery->topics[i].id)] = i + 1;
    }
    return 0;
}

/* The topic with this id, which comes into being here; NULL: no memory. */
static struct recovered_topic *topic_of(struct recovery *recovery, uint64_t id,
                                        uint64_t chunk_bytes)
{
    if (buckets_grow(recovery) != 0) {
        return NULL;
    }
    const uint32_t bucket = bucket_of(recovery, id);
    if (recovery->buckets[bucket] != 0) {
        return &recovery->topics[recovery->buckets[bucket] - 1];
    }
    struct recovered_topic *topics =
        grown(recovery->topics, recovery->topics_count, &recovery->topics_max, sizeof *topics);
    if (topics == NULL) {
        return NULL;
    }
    recovery->topics = topics;
    recovery->buckets[bucket] = ++recovery->topics_count;
    struct recovered_topic *topic = &topics[recovery->topics_count - 1];
    recovered_topic_init(topic, id, chunk_bytes);
    if (id >= recovery->next_topic_id) {
        recovery->next_topic_id = id + 1;
    }
    return topic;
}

/* Records. */

static bool place_valid(const struct record_place *place, uint64_t chunk_bytes)
{
    if (place->position % FRAME_ALIGNMENT != 0 || place->position > INT64_MAX) {
        return false;
    }
    const uint64_t chunk_no = chunk_number(place->position, chunk_bytes);
    return place->position >= chunk_first_frame(chunk_no, chunk_bytes) &&
           place->position == frame_settle(place->position, chunk_no, chunk_bytes);
}

/* A higher place is as durable. */
static int durable_raise(struct recovered_topic *topic, const struct record_place *durable,
                         uint64_t chunk_bytes)
{
    if (!place_valid(durable, chunk_bytes)) {
        return -EBADMSG;
    }
    if (durable->position > topic->durable.position) {
        if (durable->seq < topic->durable.seq) {
            return -EBADMSG;
        }
        topic->durable = *durable;
    }
    return 0;
}

static void time_raise(struct recovered_topic *topic, uint64_t time_ns)
{
    if (time_ns > topic->last_time_ns) {
        topic->last_time_ns = time_ns;
    }
}

static void generation_raise(struct recovery *recovery, uint64_t generation)
{
    if (generation >= recovery->next_generation) {
        recovery->next_generation = generation + 1;
    }
}

static int text_set(char **to, struct record_text text)
{
    if (memchr(text.size == 0 ? "" : text.bytes, '\0', text.size) != NULL) {
        return -EBADMSG;
    }
    char *copy = malloc((size_t)text.size + 1);
    if (copy == NULL) {
        return -ENOMEM;
    }
    if (text.size != 0) {
        memcpy(copy, text.bytes, text.size);
    }
    copy[text.size] = '\0';
    free(*to);
    *to = copy;
    return 0;
}

/* Empty: the store's. */
static int retention_set(struct recovered_topic *topic, struct record_text text)
{
    struct retention_policy policy;
    const int result = text_set(&topic->retention, text);
    if (result == 0 && text.size != 0 && retention_policy_parse(topic->retention, &policy) != 0) {
        return -EPROTO;
    }
    return result;
}

static bool text_is(struct record_text text, const char *word)
{
    return text.size == strlen(word) && memcmp(text.bytes, word, text.size) == 0;
}

static int apply_create(struct recovered_topic *topic, const struct record_topic_create *create)
{
    if (create->name.size == 0) {
        return -EBADMSG;
    }
    topic->created = true;
    topic->created_ns = create->time_ns;
    const int result = text_set(&topic->name, create->name);
    return result == 0 ? retention_set(topic, create->retention) : result;
}

static void age_raise(struct recovery *recovery, uint64_t age_ns)
{
    if (age_ns > recovery->age_ns) {
        recovery->age_ns = age_ns;
    }
}

static int apply_assign(struct recovery *recovery, struct recovered_topic *topic,
                        const struct record_assign *assign, uint64_t chunk_bytes)
{
    const struct recovered_chunk *known = recovered_chunk_find(topic, assign->chunk_no);
    if (assign->chunk_no > chunk_number(INT64_MAX, chunk_bytes) ||
        (known != NULL && known->generation > assign->generation)) {
        return -EBADMSG;
    }
    const struct recovered_chunk chunk = {
        .chunk_no = assign->chunk_no,
        .generation = assign->generation,
        .base_seq = assign->base_seq,
        .base_time_ns = assign->base_time_ns,
        .slot = assign->slot,
        .age_ns = assign->age_ns,
    };
    generation_raise(recovery, assign->generation);
    time_raise(topic, assign->base_time_ns);
    age_raise(recovery, assign->age_ns);
    const int result = durable_raise(topic, &assign->durable, chunk_bytes);
    return result == 0 ? recovered_chunk_put(topic, &chunk) : result;
}

static int apply_trim(struct recovered_topic *topic, const struct record_trim *trim,
                      uint64_t chunk_bytes)
{
    if (!place_valid(&trim->first, chunk_bytes) ||
        trim->chunk_no != chunk_number(trim->first.position, chunk_bytes)) {
        return -EBADMSG;
    }
    if (trim->first.position > topic->first.position) {
        topic->first_chunk = trim->chunk_no;
        topic->first = trim->first;
    }
    return 0;
}

static int apply_cursor(struct recovered_topic *topic, const struct record_cursor *cursor,
                        uint64_t chunk_bytes)
{
    if (!place_valid(&cursor->cursor, chunk_bytes)) {
        return -EBADMSG;
    }
    if (text_is(cursor->group, RECORD_GROUP_DEFAULT)) {
        topic->cursor_exists = true;
        topic->cursor = cursor->cursor;
    }
    return durable_raise(topic, &cursor->durable, chunk_bytes);
}

static bool void_valid(const struct record_verdict *verdict, uint64_t chunk_bytes)
{
    const uint64_t chunk_no = chunk_number(verdict->tail.position, chunk_bytes);
    const bool unused = verdict->tail.position == chunk_first_frame(chunk_no, chunk_bytes);
    return verdict->void_from > chunk_no || (unused && verdict->void_from == chunk_no);
}

static int apply_verdict(struct recovered_topic *topic, const struct record_verdict *verdict,
                         uint64_t chunk_bytes)
{
    if (!place_valid(&verdict->tail, chunk_bytes) || !void_valid(verdict, chunk_bytes) ||
        verdict->tail.position < topic->durable.position ||
        verdict->tail.position < topic->first.position) {
        return -EBADMSG;
    }
    recovered_chunks_cut(topic, verdict->void_from);
    if (verdict->tail.seq == topic->first.seq) {
        /* There were no entries then: nothing before the tail is wanted. */
        topic->first = verdict->tail;
        topic->first_chunk = chunk_number(verdict->tail.position, chunk_bytes);
    }
    if (topic->cursor.position > verdict->tail.position) {
        topic->cursor = verdict->tail;
    }
    const int result = durable_raise(topic, &verdict->durable, chunk_bytes);
    return result == 0 ? salt_floor_add(topic, verdict->tail.position, verdict->salt_floor)
                       : result;
}

static int apply_option(struct recovered_topic *topic, const struct record_topic_option *option)
{
    return text_is(option->key, RECORD_KEY_RETENTION) ? retention_set(topic, option->value)
                                                      : -EPROTO;
}

/* What is durable of topics. Those that were deleted since are not in a snapshot. */
static int apply_marks(struct recovery *recovery, const struct record_items *marks,
                       uint64_t position, uint64_t chunk_bytes)
{
    for (uint32_t i = 0; i < marks->count; i++) {
        const struct record_mark_item item = record_mark_item_get(marks, i);
        struct recovered_topic *topic =
            item.topic_id == 0 ? NULL : topic_of(recovery, item.topic_id, chunk_bytes);
        if (topic == NULL) {
            return item.topic_id == 0 ? -EBADMSG : -ENOMEM;
        }
        if (topic->deleted || position < topic->as_of) {
            continue;
        }
        time_raise(topic, item.time_ns);
        const int result = durable_raise(topic, &item.durable, chunk_bytes);
        if (result != 0) {
            return result;
        }
    }
    return 0;
}

int replay_apply(struct recovery *recovery, const struct record *record, uint64_t position,
                 uint64_t chunk_bytes)
{
    if (record->kind == RECORD_MARKS) {
        return apply_marks(recovery, &record->marks, position, chunk_bytes);
    }
    if (record->topic_id == 0) {
        if (record->kind == RECORD_CLOCK) {
            age_raise(recovery, record->clock.age_ns);
            return 0;
        }
        /* The system topic has nothing of this but marks, which its own replay makes superfluous. */
        return record->kind == RECORD_MARK ? 0 : -EBADMSG;
    }
    struct recovered_topic *topic = topic_of(recovery, record->topic_id, chunk_bytes);
    if (topic == NULL) {
        return -ENOMEM;
    }
    if (topic->deleted || position < topic->as_of) {
        return 0;
    }
    switch (record->kind) {
    case RECORD_TOPIC_CREATE:
        return apply_create(topic, &record->topic_create);
    case RECORD_TOPIC_DELETE:
        topic->deleted = true;
        return 0;
    case RECORD_TOPIC_OPTION:
        return apply_option(topic, &record->topic_option);
    case RECORD_ASSIGN:
        return apply_assign(recovery, topic, &record->assign, chunk_bytes);
    case RECORD_TRIM:
        return apply_trim(topic, &record->trim, chunk_bytes);
    case RECORD_CURSOR:
        return apply_cursor(topic, &record->cursor, chunk_bytes);
    case RECORD_MARK:
        return durable_raise(topic, &record->mark.durable, chunk_bytes);
    case RECORD_VERDICT:
        return apply_verdict(topic, &record->verdict, chunk_bytes);
    case RECORD_MARKS:
    case RECORD_TOPIC:
    case RECORD_CHUNKS:
    case RECORD_CLOCK:
        break;
    }
    return -EBADMSG;
}

/* The snapshot. */

static int apply_topic(struct recovered_topic *topic, const struct record_topic *from,
                       uint64_t chunk_bytes)
{
    if (topic->created || from->name.size == 0 || !place_valid(&from->first, chunk_bytes) ||
        !place_valid(&from->durable, chunk_bytes)) {
        return -EBADMSG;
    }
    topic->created = true;
    topic->created_ns = from->created_ns;
    topic->as_of = from->as_of;
    topic->first = from->first;
    topic->first_chunk = chunk_number(from->first.position, chunk_bytes);
    topic->durable = from->durable;
    topic->last_time_ns = from->last_time_ns;
    int result = text_set(&topic->name, from->name);
    if (result == 0) {
        result = retention_set(topic, from->retention);
    }
    return result == 0 ? salt_floor_add(topic, from->floor_position, from->floor_salt) : result;
}

static int apply_chunks(struct recovery *recovery, struct recovered_topic *topic,
                        const struct record_chunks *chunks, uint64_t chunk_bytes)
{
    if (chunks->chunk_no > chunk_number(INT64_MAX, chunk_bytes) - RECORD_ITEMS_MAX) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < chunks->items.count; i++) {
        const struct record_chunk item = record_chunk_get(&chunks->items, i);
        const struct recovered_chunk chunk = {
            .chunk_no = chunks->chunk_no + i,
            .generation = item.generation,
            .base_seq = item.base_seq,
            .base_time_ns = item.base_time_ns,
            .slot = item.slot,
            .age_ns = item.age_ns,
        };
        if (topic->chunks_count > 0 &&
            topic->chunks[topic->chunks_count - 1].chunk_no >= chunk.chunk_no) {
            return -EBADMSG;
        }
        generation_raise(recovery, chunk.generation);
        const int result = recovered_chunk_put(topic, &chunk);
        if (result != 0) {
            return result;
        }
    }
    return 0;
}

int replay_apply_snapshot(struct recovery *recovery, const struct record *record,
                          uint64_t chunk_bytes)
{
    if (record->kind == RECORD_CLOCK) {
        age_raise(recovery, record->clock.age_ns);
        return 0;
    }
    struct recovered_topic *topic =
        record->topic_id == 0 ? NULL : topic_of(recovery, record->topic_id, chunk_bytes);
    if (topic == NULL) {
        return record->topic_id == 0 ? -EBADMSG : -ENOMEM;
    }
    if (record->kind == RECORD_TOPIC) {
        return apply_topic(topic, &record->topic, chunk_bytes);
    }
    if (!topic->created) {
        return -EBADMSG;
    }
    switch (record->kind) {
    case RECORD_CHUNKS:
        return apply_chunks(recovery, topic, &record->chunks, chunk_bytes);
    case RECORD_TOPIC_OPTION:
        return apply_option(topic, &record->topic_option);
    case RECORD_CURSOR:
        return apply_cursor(topic, &record->cursor, chunk_bytes);
    case RECORD_TOPIC:
    case RECORD_TOPIC_CREATE:
    case RECORD_TOPIC_DELETE:
    case RECORD_ASSIGN:
    case RECORD_TRIM:
    case RECORD_MARK:
    case RECORD_MARKS:
    case RECORD_VERDICT:
    case RECORD_CLOCK:
        break;
    }
    return -EBADMSG;
}
