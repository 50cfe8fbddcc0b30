/*
 * Info: what the directory tells about topics and the broker.
 * Runs on:    any thread; needs no lane and asks nobody.
 * Invariants: what is told of one topic is of one incarnation; its numbers are each true, but not of
 *             one moment, and never contradict first <= next, durable <= next.
 */
#include <errno.h>
#include <string.h>

#include "clientlib/handle.h"
#include "clientlib/topic.h"
#include "shm/directory.h"

static struct tusk_topic_stat stat_read(const struct topic_shm *topic)
{
    struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;
    /* In this order, since all only grow: what is read later is never below what was read first. */
    stat.first_seq = topic_first_seq(topic);
    const uint64_t first_position = atom_load_relaxed(&topic->first_position); /* at least [T5] */
    const bool cursor_exists = atom_load_relaxed(&topic->cursor_exists) != 0;
    const uint64_t cursor_seq = atom_load_relaxed(&topic->cursor_seq); /* any age will do */
    stat.durable_seq = topic_durable_seq(topic);
    stat.next_seq = topic_published_seq(topic);
    const uint64_t tail_position = atom_load_relaxed(&topic->tail_position); /* at least [T1] */
    const uint64_t from =
        cursor_exists && cursor_seq > stat.first_seq ? cursor_seq : stat.first_seq;
    stat.unread = stat.next_seq > from ? stat.next_seq - from : 0;
    stat.bytes = tail_position > first_position ? tail_position - first_position : 0;
    fence_loads(); /* and what is looked at next is not older: is it still the same topic? */
    return stat;
}

int tusk_topic_info(struct tusk_topic *topic, struct tusk_topic_stat *stat)
{
    if (topic == NULL || stat == NULL || stat->size < sizeof stat->size) {
        return -EINVAL;
    }
    int error = handle_check(topic->tusk);
    if (error == 0) {
        error = topic_check(topic);
    }
    if (error != 0) {
        return error;
    }
    struct tusk_topic_stat seen = {0};
    if (topic_state(topic->shm) == TOPIC_PRESENT) {
        seen = stat_read(topic->shm);
    }
    error = topic_check(topic);
    if (error != 0) {
        return error;
    }
    const size_t size = stat->size;
    seen.size = size;
    memcpy(stat, &seen, size < sizeof seen ? size : sizeof seen);
    return 0;
}

/* Copies a descriptor that names a topic. false: it doesn't, or has changed meanwhile. */
static bool topic_copy(const struct topic_shm *topic, char name[TOPIC_NAME_BYTES_MAX + 1],
                       struct tusk_topic_stat *stat)
{
    if (topic_state(topic) != TOPIC_PRESENT) {
        return false;
    }
    const uint64_t incarnation = atom_load_relaxed(&topic->incarnation);   /* [T3] */
    const uint64_t bytes = *(const volatile uint64_t *)&topic->name_bytes; /* once */
    if (bytes > TOPIC_NAME_BYTES_MAX) {
        return false;
    }
    memcpy(name, topic->name, bytes);
    name[bytes] = '\0';
    *stat = stat_read(topic);
    return topic_state(topic) == TOPIC_PRESENT &&
           atom_load_relaxed(&topic->incarnation) == incarnation; /* [T3] */
}

int tusk_topic_list(struct tusk *tusk,
                    int (*each)(const char *name, const struct tusk_topic_stat *stat, void *arg),
                    void *arg)
{
    if (tusk == NULL || each == NULL) {
        return -EINVAL;
    }
    const int error = handle_check(tusk);
    if (error != 0) {
        return error;
    }
    struct directory_shm *directory = tusk->directory;
    const uint64_t used = atom_load_relaxed(&directory->topics_used); /* a later topic may miss */
    for (uint64_t i = 0; i < used && i < directory->header.topics_max; i++) {
        char name[TOPIC_NAME_BYTES_MAX + 1];
        struct tusk_topic_stat stat;
        if (topic_copy(directory_topic(directory, (uint32_t)i), name, &stat)) {
            const int answer = each(name, &stat, arg);
            if (answer != 0) {
                return answer;
            }
        }
    }
    return 0;
}

int tusk_counter_list(struct tusk *tusk,
                      int (*each)(const char *name, const char *help, uint64_t value, void *arg),
                      void *arg)
{
    if (tusk == NULL || each == NULL) {
        return -EINVAL;
    }
    const int error = handle_check(tusk);
    if (error != 0) {
        return error;
    }
    struct directory_shm *directory = tusk->directory;
    for (uint64_t i = 0; i < directory->header.counters_max; i++) {
        const struct counter_shm *counter = directory_counter(directory, (uint32_t)i);
        char name[sizeof counter->name + 1] = {0};
        char help[sizeof counter->help + 1] = {0};
        memcpy(name, counter->name, sizeof counter->name);
        memcpy(help, counter->help, sizeof counter->help);
        if (name[0] == '\0') {
            continue;
        }
        const uint64_t value = atom_load_relaxed(&counter->value); /* any age will do */
        const int answer = each(name, help, value, arg);
        if (answer != 0) {
            return answer;
        }
    }
    return 0;
}
