/* Topic, chunk: see topic.h. */
#include "broker/topic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/ensure.h"

/* Makes room for one more pointer behind the last: moves them down where at least half of the memory
 * lies unused before them, else doubles it. */
static int chunks_make_room(struct topic *topic)
{
    const size_t gone = (size_t)(topic->chunks - topic->chunk_memory);
    if (gone + topic->chunk_count < topic->chunk_room) {
        return 0;
    }
    if (gone < topic->chunk_room / 2 || topic->chunk_room == 0) {
        const uint32_t room = topic->chunk_room == 0 ? 4 : topic->chunk_room * 2;
        struct chunk **memory = realloc(topic->chunk_memory, room * sizeof(struct chunk *));
        if (memory == NULL) {
            return -ENOMEM;
        }
        topic->chunk_memory = memory;
        topic->chunk_room = room;
        topic->chunks = memory + gone;
    }
    memmove(topic->chunk_memory, topic->chunks, topic->chunk_count * sizeof(struct chunk *));
    topic->chunks = topic->chunk_memory;
    return 0;
}

int topic_chunk_push(struct topic *topic, struct chunk *chunk)
{
    const int error = chunks_make_room(topic);
    if (error != 0) {
        return error;
    }
    ensure(topic->chunk_count == 0 || chunk->number == topic->first_chunk + topic->chunk_count);
    if (topic->chunk_count == 0) {
        topic->first_chunk = chunk->number;
    }
    topic->chunks[topic->chunk_count++] = chunk;
    chunk->topic = topic;
    return 0;
}

struct chunk *topic_chunk_shift(struct topic *topic)
{
    ensure(topic->chunk_count > 0);
    topic->chunk_count--;
    topic->first_chunk++;
    return *topic->chunks++;
}

struct chunk *topic_chunk_pop(struct topic *topic)
{
    ensure(topic->chunk_count > 0);
    return topic->chunks[--topic->chunk_count];
}

/* How many of the topic's chunks have a lower bound at or before the seq. */
static uint32_t chunks_before(const struct topic *topic, uint64_t seq)
{
    uint32_t low = 0;
    uint32_t high = topic->chunk_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (topic->chunks[middle]->base_seq <= seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Those behind it that were assigned together with it begin no earlier: bounds stay in order. */
void topic_chunk_learn(struct chunk *chunk, uint64_t base_seq, uint64_t base_time_ns)
{
    const struct topic *topic = chunk->topic;
    chunk->base_seq = base_seq;
    chunk->base_time_ns = base_time_ns;
    chunk->base_exact = true;
    struct chunk *next = chunk;
    while ((next = topic_chunk(topic, next->number + 1)) != NULL && !next->base_exact &&
           (next->base_seq < base_seq || next->base_time_ns < base_time_ns)) {
        next->base_seq = next->base_seq < base_seq ? base_seq : next->base_seq;
        next->base_time_ns = next->base_time_ns < base_time_ns ? base_time_ns : next->base_time_ns;
    }
}

struct chunk *topic_locate_seq(const struct topic *topic, uint64_t seq)
{
    if (topic->chunk_count == 0) {
        return NULL;
    }
    const uint32_t after = chunks_before(topic, seq);
    uint32_t at = after == 0 ? 0 : after - 1;
    /* Back over chunks whose beginning is only a lower bound that others share. */
    const uint64_t bound = topic->chunks[at]->base_seq;
    while (at > 0 && !topic->chunks[at]->base_exact && topic->chunks[at]->base_seq == bound) {
        at--;
    }
    return topic->chunks[at];
}

struct chunk *chunk_new(struct topic *topic, uint64_t number)
{
    struct chunk *chunk = calloc(1, sizeof *chunk);
    if (chunk == NULL) {
        return NULL;
    }
    chunk->topic = topic;
    chunk->number = number;
    chunk->slot = SLOT_NONE;
    chunk->unit = UNIT_NONE;
    chunk->next_slot = SLOT_NONE;
    list_init(&chunk->waiters);
    return chunk;
}

void chunk_free(struct chunk *chunk)
{
    free(chunk);
}
