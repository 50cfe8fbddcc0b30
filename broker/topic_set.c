/* Topic set: see topic_set.h. */
#include "broker/topic_set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/checksum.h"
#include "shm/ensure.h"

int topic_set_init(struct topic_set *set, struct directory_shm *directory)
{
    const uint64_t topics_max = directory->header.topics_max;
    *set = (struct topic_set){.directory = directory, .next_incarnation = 1};
    list_init(&set->all);
    set->bucket_count = 1024;
    while (set->bucket_count < topics_max) {
        set->bucket_count *= 2;
    }
    set->by_index = calloc(topics_max, sizeof(struct topic *));
    set->free_indexes = calloc(topics_max, sizeof *set->free_indexes);
    set->buckets = calloc(set->bucket_count, sizeof *set->buckets);
    if (set->by_index == NULL || set->free_indexes == NULL || set->buckets == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < set->bucket_count; i++) {
        list_init(&set->buckets[i]);
    }
    return 0;
}

static void topic_free(struct topic *topic)
{
    for (uint32_t i = 0; i < topic->chunk_count; i++) {
        chunk_free(topic->chunks[i]);
    }
    free(topic->chunk_memory);
    free(topic);
}

void topic_set_deinit(struct topic_set *set)
{
    if (set->all.head.next != NULL) {
        list_each(node, &set->all)
        {
            topic_free(list_entry(node, struct topic, topics));
        }
    }
    free(set->by_index);
    free(set->free_indexes);
    free(set->buckets);
    *set = (struct topic_set){0};
}

static struct list *bucket_of(const struct topic_set *set, const void *name, uint64_t name_bytes)
{
    return &set->buckets[checksum_bytes(name, name_bytes) & (set->bucket_count - 1)];
}

static struct topic *topic_by_name(const struct topic_set *set, const void *name,
                                   uint64_t name_bytes)
{
    list_each(node, bucket_of(set, name, name_bytes))
    {
        struct topic *topic = list_entry(node, struct topic, hash_next);
        if (topic->shm->name_bytes == name_bytes &&
            memcmp(topic->shm->name, name, name_bytes) == 0) {
            return topic;
        }
    }
    return NULL;
}

static int index_take(struct topic_set *set, uint32_t *index)
{
    if (set->free_count > 0) {
        *index = set->free_indexes[--set->free_count];
        return 0;
    }
    if (set->used == set->directory->header.topics_max) {
        return -ENOSPC;
    }
    *index = set->used++;
    /* A reader that sees it early finds TOPIC_FREE: each descriptor is ordered by its state [T3]. */
    atom_store_relaxed(&set->directory->topics_used, set->used);
    return 0;
}

/* A topic on a new descriptor, without a name. */
static int topic_make(struct topic_set *set, struct topic **made)
{
    struct topic *topic = calloc(1, sizeof *topic);
    if (topic == NULL) {
        return -ENOMEM;
    }
    const int error = index_take(set, &topic->index);
    if (error != 0) {
        free(topic);
        return error;
    }
    topic->shm = directory_topic(set->directory, topic->index);
    topic->incarnation = set->next_incarnation++;
    topic->tail_position = CHUNK_HEADER_BYTES;
    topic->durable_position = CHUNK_HEADER_BYTES;
    topic->marked_position = CHUNK_HEADER_BYTES;
    topic->first_position = CHUNK_HEADER_BYTES;
    list_init(&topic->tail_waiters);
    list_init(&topic->claims);
    set->by_index[topic->index] = topic;
    list_push_back(&set->all, &topic->topics);
    topic_announce(topic->shm, TOPIC_FREE);
    topic_publish_first(topic->shm, topic->first_position, 0);
    topic_publish_durable(topic->shm, topic->durable_position, 0);
    topic_publish(topic->shm, topic->tail_position, 0);
    atom_store_relaxed(&topic->shm->incarnation, topic->incarnation); /* [T3] orders it */
    atom_store_relaxed(&topic->shm->topic_id, 0);
    atom_store_relaxed(&topic->shm->cursor_seq, 0);
    atom_store_relaxed(&topic->shm->cursor_exists, 0);
    *made = topic;
    return 0;
}

int topic_set_open(struct topic_set *set, const void *name, uint64_t name_bytes,
                   struct topic **topic)
{
    ensure(name_bytes >= 1 && name_bytes <= TOPIC_NAME_BYTES_MAX);
    *topic = topic_by_name(set, name, name_bytes);
    if (*topic != NULL) {
        return 0;
    }
    const int error = topic_make(set, topic);
    if (error != 0) {
        return error;
    }
    struct topic_shm *shm = (*topic)->shm;
    memset(shm->name, 0, sizeof shm->name);
    memcpy(shm->name, name, name_bytes);
    shm->name_bytes = name_bytes;
    list_push_back(bucket_of(set, name, name_bytes), &(*topic)->hash_next);
    (*topic)->state = TOPIC_ABSENT;
    topic_announce(shm, TOPIC_ABSENT);
    return 0;
}

int topic_set_open_system(struct topic_set *set, struct topic **topic)
{
    const int error = topic_make(set, topic);
    if (error != 0) {
        return error;
    }
    ensure((*topic)->index == SYSTEM_TOPIC_INDEX);
    (*topic)->state = TOPIC_PRESENT;
    (*topic)->refs = 1;
    return 0;
}

struct topic *topic_set_find(const struct topic_set *set, uint32_t index, uint32_t incarnation)
{
    if (index >= set->used || index == SYSTEM_TOPIC_INDEX || set->by_index[index] == NULL ||
        (uint32_t)set->by_index[index]->incarnation != incarnation) {
        return NULL;
    }
    return set->by_index[index];
}

void topic_set_unname(struct topic_set *set, struct topic *topic)
{
    (void)set;
    list_remove(&topic->hash_next);
    topic->state = TOPIC_DELETED;
    topic_announce(topic->shm, TOPIC_DELETED);
}

static bool topic_is_idle(const struct topic *topic)
{
    return topic->refs == 0 && topic->pendings == 0 && topic->state != TOPIC_PRESENT &&
           topic->chunk_count == 0 && !list_linked(&topic->captured) &&
           !list_linked(&topic->dirty) && !list_linked(&topic->unmarked) &&
           !list_linked(&topic->cursor.undurable);
}

void topic_set_collect(struct topic_set *set, struct topic *topic)
{
    if (!topic_is_idle(topic)) {
        return;
    }
    list_remove(&topic->hash_next);
    list_remove(&topic->topics);
    list_remove(&topic->moved);
    topic_announce(topic->shm, TOPIC_FREE);
    set->by_index[topic->index] = NULL;
    set->free_indexes[set->free_count++] = topic->index;
    topic_free(topic);
}
