/*
 * Topics by name, descriptor and id: a name has one descriptor at a time, a descriptor is given to
 * another name only when nobody refers to it, and then what meant the old one finds nothing.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/topic_set.h"

enum { TOPICS_MAX = 50 };

static struct directory_shm *directory;
static struct topic_set set;
static struct topic *system_topic;

static void set_up(void)
{
    const struct directory_geometry geometry = {
        .chunk_bytes = CHUNK_BYTES_MIN, .arena_bytes = CHUNK_BYTES_MIN, .topics_max = TOPICS_MAX};
    const uint64_t bytes = directory_bytes(&geometry);
    directory = aligned_alloc(BLOCK_BYTES, bytes);
    cr_assert_not_null(directory);
    memset(directory, 0, bytes);
    directory_format(directory, &geometry, 1, 1);
    cr_assert_eq(topic_set_init(&set, directory), 0);
    cr_assert_eq(topic_set_open_system(&set, &system_topic), 0);
}

static void tear_down(void)
{
    topic_set_deinit(&set);
    free(directory);
}

TestSuite(topic_set, .init = set_up, .fini = tear_down);

static struct topic *open_name(const char *name)
{
    struct topic *topic = NULL;
    cr_assert_eq(topic_set_open(&set, name, strlen(name), &topic), 0);
    cr_assert_not_null(topic);
    return topic;
}

static struct topic *find(const struct topic *topic)
{
    return topic_set_find(&set, topic->index, (uint32_t)topic->incarnation);
}

Test(topic_set, the_system_topic_has_no_name_and_is_not_found)
{
    cr_assert_eq(system_topic->index, SYSTEM_TOPIC_INDEX);
    cr_assert_eq(system_topic->state, TOPIC_PRESENT);
    cr_assert_null(find(system_topic), "a client could append to it");
}

Test(topic_set, a_name_is_opened_once)
{
    struct topic *topic = open_name("orders");
    cr_assert_eq(topic->state, TOPIC_ABSENT);
    cr_assert_eq(open_name("orders"), topic);
    cr_assert_neq(open_name("order"), topic);
    cr_assert_neq(open_name("orders2"), topic);
    cr_assert_neq(open_name("Orders"), topic);
    cr_assert_eq(find(topic), topic);
}

Test(topic_set, the_descriptor_says_what_was_opened)
{
    unsigned char name[TOPIC_NAME_BYTES_MAX];
    memset(name, 0xfe, sizeof name);
    struct topic *topic;
    cr_assert_eq(topic_set_open(&set, name, sizeof name, &topic), 0);
    const struct topic_shm *shm = directory_topic(directory, topic->index);
    cr_assert_eq(topic->shm, shm);
    cr_assert_eq(topic_state(shm), TOPIC_ABSENT);
    cr_assert_eq(shm->name_bytes, sizeof name);
    cr_assert_eq(memcmp(shm->name, name, sizeof name), 0);
    cr_assert_eq(shm->name[TOPIC_NAME_BYTES_MAX], 0);
    cr_assert_eq(atom_load_relaxed(&shm->incarnation), topic->incarnation);
    cr_assert_eq(atom_load_relaxed(&shm->tail_position), CHUNK_HEADER_BYTES);
    cr_assert_eq(topic_published_seq(shm), 0);
    cr_assert_eq(topic_durable_seq(shm), 0);
    cr_assert_eq(topic_first_seq(shm), 0);
    cr_assert_geq(atom_load_relaxed(&directory->topics_used), topic->index + 1);
}

Test(topic_set, numbers_that_are_nobodys_find_nothing)
{
    struct topic *topic = open_name("orders");
    const uint32_t incarnation = (uint32_t)topic->incarnation;
    cr_assert_null(topic_set_find(&set, topic->index, incarnation + 1));
    cr_assert_null(topic_set_find(&set, topic->index, 0));
    cr_assert_null(topic_set_find(&set, topic->index + 1, incarnation));
    cr_assert_null(topic_set_find(&set, TOPICS_MAX, incarnation));
    cr_assert_null(topic_set_find(&set, UINT32_MAX, incarnation));
}

Test(topic_set, a_deleted_name_is_free_while_its_descriptor_is_not)
{
    struct topic *old = open_name("orders");
    old->refs = 1;
    old->state = TOPIC_PRESENT;
    topic_set_unname(&set, old);
    cr_assert_eq(old->state, TOPIC_DELETED);
    cr_assert_eq(topic_state(old->shm), TOPIC_DELETED);
    topic_set_collect(&set, old); /* somebody still refers to it */
    cr_assert_eq(find(old), old);

    struct topic *new = open_name("orders");
    cr_assert_neq(new, old);
    cr_assert_neq(new->index, old->index);
    cr_assert_gt(new->incarnation, old->incarnation);

    const uint32_t index = old->index;
    const uint32_t incarnation = (uint32_t)old->incarnation;
    old->refs = 0;
    topic_set_collect(&set, old);
    cr_assert_null(topic_set_find(&set, index, incarnation));
    cr_assert_eq(topic_state(directory_topic(directory, index)), TOPIC_FREE);
    struct topic *next = open_name("another");
    cr_assert_eq(next->index, index, "the descriptor is used again");
    cr_assert_neq((uint32_t)next->incarnation, incarnation);
    cr_assert_null(topic_set_find(&set, index, incarnation), "an old handle means nothing");
    cr_assert_eq(find(next), next);
}

/* Whatever still points to a topic keeps its descriptor. */
Test(topic_set, is_collected_only_when_nothing_is_left)
{
    struct topic *topic = open_name("orders");
    struct list somewhere;
    list_init(&somewhere);
    const uint32_t index = topic->index;
    const uint32_t incarnation = (uint32_t)topic->incarnation;
    struct list_node *const links[] = {&topic->captured, &topic->dirty, &topic->cursor.undurable};
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        list_push_back(&somewhere, links[i]);
        topic_set_collect(&set, topic);
        cr_assert_eq(topic_set_find(&set, index, incarnation), topic, "link %zu", i);
        list_remove(links[i]);
    }
    topic->pendings = 1;
    topic_set_collect(&set, topic);
    cr_assert_eq(topic_set_find(&set, index, incarnation), topic, "a submission waits for it");
    topic->pendings = 0;
    struct chunk *chunk = chunk_new(topic, 0);
    cr_assert_eq(topic_chunk_push(topic, chunk), 0);
    topic_set_collect(&set, topic);
    cr_assert_eq(topic_set_find(&set, index, incarnation), topic, "it has a chunk");
    chunk_free(topic_chunk_shift(topic));
    topic->state = TOPIC_PRESENT;
    topic_set_collect(&set, topic);
    cr_assert_eq(topic_set_find(&set, index, incarnation), topic, "it exists");
    topic->state = TOPIC_ABSENT;
    topic_set_collect(&set, topic);
    cr_assert_null(topic_set_find(&set, index, incarnation));
    cr_assert_neq(open_name("orders"), NULL, "and its name can be opened again");
}

Test(topic_set, all_descriptors_can_be_used_and_no_more)
{
    char name[16];
    for (int i = 1; i < TOPICS_MAX; i++) {
        snprintf(name, sizeof name, "topic-%d", i);
        open_name(name);
    }
    struct topic *topic;
    cr_assert_eq(topic_set_open(&set, "one more", 8, &topic), -ENOSPC);
    cr_assert_eq(topic_set_open(&set, "topic-7", 7, &topic), 0, "those in use are still found");
    topic_set_collect(&set, topic);
    cr_assert_eq(topic_set_open(&set, "one more", 8, &topic), 0);
    cr_assert_eq(atom_load_relaxed(&directory->topics_used), TOPICS_MAX);
}

/* Names come and go; at any time each of those that are open leads to its own descriptor. */
Test(topic_set, agrees_with_a_model_over_random_use)
{
    enum { NAMES = 70 };
    struct topic *model[NAMES] = {NULL};
    char name[16];
    srand(1);
    for (int round = 0; round < 20000; round++) {
        const int which = rand() % NAMES;
        snprintf(name, sizeof name, "%d", which);
        if (rand() % 2) {
            struct topic *topic;
            const int error = topic_set_open(&set, name, strlen(name), &topic);
            if (error == -ENOSPC) {
                cr_assert_null(model[which]);
                continue;
            }
            cr_assert_eq(error, 0);
            cr_assert(model[which] == NULL || model[which] == topic);
            model[which] = topic;
        } else if (model[which] != NULL) {
            topic_set_collect(&set, model[which]);
            model[which] = NULL;
        }
        for (int i = 0; i < NAMES; i++) {
            cr_assert(model[i] == NULL || find(model[i]) == model[i]);
        }
    }
}
