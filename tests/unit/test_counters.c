/*
 * Proves that every counter has a name that tools accept, that readers of the directory see exactly
 * what was published, and that two writers do not touch each other's lines.
 * How: a directory in ordinary memory.
 */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>

#include "broker/counters.h"

static struct directory_shm *directory;

static void directory_make(void)
{
    const struct directory_geometry geometry = {
        .chunk_bytes = CHUNK_BYTES_MIN, .arena_bytes = 16 * CHUNK_BYTES_MIN, .topics_max = 1};
    directory = mmap(NULL, directory_bytes(&geometry), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(directory, MAP_FAILED);
    directory_format(directory, &geometry, 1, 1);
    counters_describe(directory);
}

TestSuite(counters, .init = directory_make, .timeout = 600);

static uint64_t shown(enum counter counter)
{
    return atom_load_relaxed(&directory_counter(directory, counter)->value); /* one thread */
}

Test(counters, names_are_unique_and_fit_metrics_tools)
{
    for (size_t at = 0; at < COUNTER_COUNT; at++) {
        const char *name = counter_table[at].name;
        cr_assert_not_null(name, "counter %zu has no entry in the table", at);
        cr_expect_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(name), "%s",
                     name);
        cr_expect_geq(name[0], 'a');
        cr_expect_not_null(counter_table[at].help);
        cr_expect_gt(strlen(counter_table[at].help), 0);
        cr_expect_null(strchr(counter_table[at].help, '\n'));
        for (size_t other = 0; other < at; other++) {
            cr_expect_str_neq(name, counter_table[other].name);
        }
    }
}

Test(counters, directory_describes_each_and_nothing_else)
{
    for (uint32_t at = 0; at < COUNTERS_MAX; at++) {
        const struct counter_shm *shared = directory_counter(directory, at);
        cr_expect_str_eq(shared->name, at < COUNTER_COUNT ? counter_table[at].name : "");
        cr_expect_str_eq(shared->help, at < COUNTER_COUNT ? counter_table[at].help : "");
        cr_expect_eq(atom_load_relaxed(&shared->value), 0);
    }
}

Test(counters, readers_see_what_was_published)
{
    struct counters counters;
    counters_init(&counters, directory, COUNTER_OF_ENGINE);
    counter_add(&counters, COUNTER_ENTRIES_APPENDED, 3);
    counter_add(&counters, COUNTER_ENTRIES_APPENDED, 4);
    counter_set(&counters, COUNTER_TOPICS, 9);
    cr_expect_eq(shown(COUNTER_ENTRIES_APPENDED), 0);
    counters_publish(&counters);
    cr_expect_eq(shown(COUNTER_ENTRIES_APPENDED), 7);
    cr_expect_eq(shown(COUNTER_TOPICS), 9);
    counter_add(&counters, COUNTER_ENTRIES_APPENDED, 1);
    counter_set(&counters, COUNTER_TOPICS, 2);
    counters_publish(&counters);
    cr_expect_eq(shown(COUNTER_ENTRIES_APPENDED), 8);
    cr_expect_eq(shown(COUNTER_TOPICS), 2);
}

Test(counters, first_and_last_have_their_place)
{
    for (size_t at = 0; at < COUNTER_COUNT; at++) {
        struct counters counters;
        counters_init(&counters, directory, counter_table[at].writer);
        counter_set(&counters, (enum counter)at, UINT64_MAX - at);
        counters_publish(&counters);
    }
    for (size_t at = 0; at < COUNTER_COUNT; at++) {
        cr_expect_eq(shown((enum counter)at), UINT64_MAX - at);
    }
}

Test(counters, writers_leave_each_other_alone)
{
    struct counters engine;
    struct counters control;
    counters_init(&engine, directory, COUNTER_OF_ENGINE);
    counters_init(&control, directory, COUNTER_OF_CONTROL);
    counter_add(&engine, COUNTER_SYNCS, 5);
    counter_add(&control, COUNTER_SESSIONS_OPENED, 6);
    counters_publish(&engine);
    counters_publish(&control);
    counters_publish(&engine);
    counters_publish(&control);
    cr_expect_eq(shown(COUNTER_SYNCS), 5);
    cr_expect_eq(shown(COUNTER_SESSIONS_OPENED), 6);
}
