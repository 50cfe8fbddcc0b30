/*
 * The chunk pool: units are given out, shared by small chunks and taken back without a leak; what
 * goes when room is needed is what was used longest ago and is clean, held by nobody and pinned by
 * nobody, as real files of pins say; the system topic's reserve is kept; and over random use the
 * pool agrees with a model of who owns which unit.
 * Pins that are held for too long or cannot be read: test_pool_pins.c.
 * Readers and the pool at once: tests/stress/stress_pins.c.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/pool_stage.h"

TestSuite(chunk_pool, .init = pool_stage_begin, .fini = pool_stage_end);

Test(chunk_pool, sixteen_small_chunks_share_a_place)
{
    bool used[UNITS] = {false};
    for (int i = 0; i < 40; i++) {
        const struct chunk *chunk = chunk_place(i, (uint64_t)i % SMALL_CHUNKS, false);
        cr_assert_lt(chunk->unit, UNITS);
        cr_assert_not(used[chunk->unit]);
        used[chunk->unit] = true;
        cr_assert_eq(chunk->unit / SMALL_CHUNKS, chunks[i / 16 * 16]->unit / SMALL_CHUNKS);
        cr_assert_eq(pool.free_big_count, BIGS - i / SMALL_CHUNKS - 1);
    }
}

Test(chunk_pool, a_big_chunk_has_a_place_of_its_own)
{
    bool used[BIGS] = {false};
    const struct chunk *small = chunk_place(0, 3, false);
    used[small->unit / SMALL_CHUNKS] = true;
    for (int i = 1; i < USER_BIGS; i++) {
        const struct chunk *chunk = chunk_place(i, BIG_NUMBER + (uint64_t)i, false);
        cr_assert_eq(chunk->unit % SMALL_CHUNKS, 0);
        cr_assert_not(used[chunk->unit / SMALL_CHUNKS]);
        used[chunk->unit / SMALL_CHUNKS] = true;
    }
}

Test(chunk_pool, images_lie_apart_in_the_arena)
{
    const struct chunk *small = chunk_place(0, 15, false);
    const struct chunk *big = chunk_place(1, 16, false);
    const uint64_t small_bytes = CHUNK_BYTES_MIN / SMALL_CHUNKS;
    cr_assert_eq(pool_image(&pool, small), pool.arena + small->unit * small_bytes);
    cr_assert_eq(pool_image(&pool, big), pool.arena + big->unit * small_bytes);
    cr_assert_leq(pool_image(&pool, big) + CHUNK_BYTES_MIN, pool.arena + BIGS * CHUNK_BYTES_MIN);
    cr_assert_eq(pool_at(&pool, small, 15 * small_bytes + 100), pool_image(&pool, small) + 100);
    cr_assert_eq(pool_at(&pool, big, CHUNK_BYTES_MIN + 64), pool_image(&pool, big) + 64);
}

Test(chunk_pool, a_place_is_whole_again_when_its_last_small_chunk_goes)
{
    for (int i = 0; i < SMALL_CHUNKS; i++) {
        chunk_place(i, (uint64_t)i, false);
    }
    cr_assert_eq(pool.free_big_count, BIGS - 1);
    for (int i = SMALL_CHUNKS - 1; i >= 0; i--) {
        cr_assert_eq(pool.free_big_count, BIGS - 1);
        pool_unassign(&pool, chunks[i]);
        cr_assert(is_gone(chunks[i]));
    }
    cr_assert_eq(pool.free_big_count, BIGS);
    for (int i = 0; i < USER_BIGS; i++) {
        chunk_place(20 + i, BIG_NUMBER, false);
    }
}

Test(chunk_pool, holes_between_small_chunks_are_used_before_a_new_place)
{
    for (int i = 0; i < 3 * SMALL_CHUNKS; i++) {
        chunk_place(i, 0, false);
    }
    const uint32_t hole = chunks[5]->unit;
    pool_unassign(&pool, chunks[5]);
    pool_unassign(&pool, chunks[20]);
    chunk_place(100, 0, false);
    chunk_place(101, 0, false);
    cr_assert(chunks[100]->unit == hole || chunks[101]->unit == hole);
    cr_assert_eq(pool.free_big_count, BIGS - 3);
}

Test(chunk_pool, keeps_a_reserve_for_the_system_topic)
{
    for (int i = 0; i < USER_BIGS; i++) {
        chunk_place(i, BIG_NUMBER, false);
    }
    struct chunk *more = chunk_make(100, BIG_NUMBER);
    cr_assert_eq(pool_assign(&pool, more, false), POOL_FULL);
    cr_assert(is_gone(more));
    cr_assert_eq(pool_assign(&pool, chunk_make(101, 0), false), POOL_FULL);
    cr_assert_eq(pool_assign(&pool, chunk_make(105, BIG_NUMBER), POOL_READ), POOL_OK);
    cr_assert_eq(pool_assign(&pool, chunk_make(106, BIG_NUMBER), POOL_READ), POOL_FULL);
    chunk_place(102, BIG_NUMBER, true);
    chunk_place(103, 0, true);
    for (int i = 0; i < SMALL_CHUNKS - 1; i++) {
        chunk_place(110 + i, 1, true);
    }
    cr_assert_eq(pool_assign(&pool, chunk_make(104, BIG_NUMBER), true), POOL_FULL);
    cr_assert_eq(pool.free_big_count, 0);
}

Test(chunk_pool, shows_an_image_only_when_it_is_said_to_be_complete)
{
    struct chunk *chunk = chunk_place(0, 3, false);
    uint32_t unit;
    cr_assert_eq(stamp_of(chunk), 0);
    cr_assert_eq(topic_chunk_unit(pool_topic.shm, 3, &unit), 0);
    pool_show(&pool, chunk);
    cr_assert(is_there(chunk));
    cr_assert_eq(topic_chunk_unit(pool_topic.shm, 3, &unit), 1);
    cr_assert_eq(unit, chunk->unit);
}

Test(chunk_pool, what_was_used_longest_ago_goes_first)
{
    enum { TOUCHED = 10, GONE = UNITS / 16 };
    for (int i = 0; i < USER_UNITS; i++) {
        chunk_place_clean(i, (uint64_t)i % SMALL_CHUNKS);
    }
    for (int i = 0; i < TOUCHED; i++) {
        pool_touch(&pool, chunks[i]);
    }
    cr_assert_eq(pool.evictions, 0);
    chunk_place(USER_UNITS, 0, false);
    cr_assert_eq(pool.evictions, GONE, "one look at the pins serves so many");
    for (int i = 0; i < USER_UNITS; i++) {
        const bool goes = i >= TOUCHED && i < TOUCHED + GONE;
        cr_assert(goes ? is_gone(chunks[i]) : is_there(chunks[i]), "chunk %d", i);
    }
    cr_assert_eq(pool.clean_count, USER_UNITS - GONE);
}

Test(chunk_pool, an_evicted_image_is_nowhere_to_be_found)
{
    const struct chunk *chunk = chunk_place_clean(0, BIG_NUMBER);
    struct atom *stamp = directory_stamp(pool.directory, chunk->unit);
    uint32_t unit;
    for (int i = 1; i <= USER_BIGS; i++) {
        chunk_place(i, BIG_NUMBER + 1, false);
    }
    cr_assert(is_gone(chunk));
    cr_assert_eq(chunk_stamp(stamp), 0);
    cr_assert_eq(topic_chunk_unit(pool_topic.shm, BIG_NUMBER, &unit), 0);
}

Test(chunk_pool, eviction_leaves_what_the_map_says_of_another_chunk)
{
    const struct chunk *old = chunk_place_clean(0, BIG_NUMBER);
    struct chunk *new = chunk_place(1, BIG_NUMBER + CHUNK_MAP_ENTRIES, false);
    pool_show(&pool, new); /* takes the other's place in the map */
    for (int i = 2; i <= USER_BIGS; i++) {
        chunk_place(i, BIG_NUMBER, false);
    }
    uint32_t unit;
    cr_assert(is_gone(old));
    cr_assert_eq(topic_chunk_unit(pool_topic.shm, new->number, &unit), 1);
    cr_assert_eq(unit, new->unit);
}

Test(chunk_pool, what_is_dirty_or_held_stays)
{
    for (int i = 0; i < USER_BIGS; i++) {
        chunk_place_clean(i, BIG_NUMBER + (uint64_t)i);
    }
    pool_settle(&pool, chunks[0], false);
    chunks[1]->holds = 1;
    pool_settle(&pool, chunks[1], true);
    cr_assert_eq(pool.clean_count, USER_BIGS - 2);
    for (int i = 0; i < USER_BIGS - 2; i++) {
        chunk_place(50 + i, BIG_NUMBER, false);
    }
    cr_assert(is_there(chunks[0]));
    cr_assert(is_there(chunks[1]));
    cr_assert_eq(pool_assign(&pool, chunk_make(100, BIG_NUMBER), false), POOL_FULL);
    chunks[1]->holds = 0;
    pool_settle(&pool, chunks[1], true);
    cr_assert_eq(pool_assign(&pool, chunks[100], false), POOL_OK);
    cr_assert(is_gone(chunks[1]));
    cr_assert(is_there(chunks[0]));
}

/* A chunk that was loaded and may go. */
static struct chunk *chunk_load(int index, enum pool_use use)
{
    struct chunk *chunk = chunk_make(index, BIG_NUMBER + (uint64_t)index);
    cr_assert_eq(pool_assign(&pool, chunk, use), POOL_OK, "chunk %d", index);
    pool_show(&pool, chunk);
    pool_settle(&pool, chunk, true);
    return chunk;
}

/* A scan through cold chunks goes round in its own part of the arena. */
Test(chunk_pool, a_scan_leaves_what_was_appended)
{
    enum { APPENDED = 5, SCANNED = 100 };
    for (int i = 0; i < APPENDED; i++) {
        chunk_place_clean(i, BIG_NUMBER + (uint64_t)i);
    }
    for (int i = APPENDED; i < APPENDED + SCANNED; i++) {
        (void)chunk_load(i, POOL_READ);
    }
    for (int i = 0; i < APPENDED; i++) {
        cr_assert(is_there(chunks[i]), "chunk %d", i);
    }
}

/* However much is appended and cannot go, readers of cold chunks get on; and appends do, too. */
Test(chunk_pool, appends_leave_readers_an_eighth)
{
    for (int i = 0; i < USER_BIGS; i++) {
        chunk_place(i, BIG_NUMBER, false);
    }
    cr_assert_eq(pool_assign(&pool, chunk_make(50, BIG_NUMBER), POOL_APPEND), POOL_FULL);
    for (int i = 100; i < 150; i++) {
        (void)chunk_load(i, POOL_READ);
        cr_assert_eq(pool_assign(&pool, chunks[50], POOL_APPEND), POOL_FULL);
        cr_assert(is_there(chunks[i]), "the last eighth is not taken from readers");
    }
    pool_unassign(&pool, chunks[0]);
    cr_assert_eq(pool_assign(&pool, chunks[50], POOL_APPEND), POOL_OK);
}

/* What was read ahead goes last, never for more of its kind, and counts as wasted or used once. */
Test(chunk_pool, what_was_read_ahead_waits_for_its_reader)
{
    struct chunk *ahead[3];
    for (int i = 0; i < 3; i++) {
        ahead[i] = chunk_load(i, POOL_AHEAD);
        ahead[i]->ahead_ns = (uint64_t)i;
    }
    for (int i = 10; i < 60; i++) {
        (void)chunk_load(i, POOL_READ);
        cr_assert(is_there(ahead[0]) && is_there(ahead[1]) && is_there(ahead[2]));
    }
    pool_touch(&pool, ahead[1]);
    pool_touch(&pool, ahead[1]);
    cr_assert_eq(pool.ahead_hits, 1);
    cr_assert_eq(pool.ahead_count, 2);
    for (int i = 60; i < 110; i++) {
        (void)chunk_load(i, POOL_READ);
    }
    cr_assert(is_there(ahead[0]) && is_gone(ahead[1]) && is_there(ahead[2]));
    pool_ahead_expire(&pool, 2); /* nobody came for the first one */
    cr_assert_eq(pool.ahead_wasted, 1);
    cr_assert_eq(pool.ahead_count, 1);
    for (int i = 110; i < 160; i++) {
        (void)chunk_load(i, POOL_READ);
    }
    cr_assert(is_gone(ahead[0]) && is_there(ahead[2]));
    for (int i = 200; pool_assign(&pool, chunk_make(i, BIG_NUMBER), POOL_AHEAD) == POOL_OK; i++) {
        cr_assert_lt(i, 200 + BIGS);
    }
    cr_assert(is_there(ahead[2]), "it does not go for others of its kind");
    cr_assert_eq(pool_assign(&pool, chunk_make(300, BIG_NUMBER), POOL_READ), POOL_OK);
    cr_assert(is_gone(ahead[2]));
    cr_assert_eq(pool.ahead_wasted, 2);
}

/* Old chunks are not in the map, though its place is free: readers of them ask. */
Test(chunk_pool, the_map_is_for_tails)
{
    uint32_t unit;
    pool_topic.tail_position = chunk_start(BIG_NUMBER + 20, CHUNK_BYTES_MIN);
    (void)chunk_load(12, POOL_READ);
    (void)chunk_load(13, POOL_READ);
    cr_assert_eq(topic_chunk_unit(pool_topic.shm, BIG_NUMBER + 12, &unit), 0);
    cr_assert_eq(topic_chunk_unit(pool_topic.shm, BIG_NUMBER + 13, &unit), 1);
}

Test(chunk_pool, settling_twice_is_settling_once)
{
    struct chunk *chunk = chunk_place_clean(0, 1);
    pool_settle(&pool, chunk, true);
    cr_assert_eq(pool.clean_count, 1);
    pool_settle(&pool, chunk, false);
    pool_settle(&pool, chunk, false);
    pool_touch(&pool, chunk);
    cr_assert_eq(pool.clean_count, 0);
    chunk->state = CHUNK_LOADING;
    pool_settle(&pool, chunk, true);
    cr_assert_eq(pool.clean_count, 0, "an image that is being loaded is no image");
}

Test(chunk_pool, what_any_session_has_pinned_stays)
{
    uint64_t stamps[READERS];
    for (int i = 0; i < USER_BIGS; i++) {
        chunk_place_clean(i, BIG_NUMBER + (uint64_t)i);
    }
    const int slots[READERS] = {0, 500, PINS_MAX - 1};
    for (int i = 0; i < READERS; i++) {
        pin_write(i, slots[i], pin_of(chunks[i]));
        stamps[i] = stamp_of(chunks[i]);
    }
    for (int i = READERS; i < USER_BIGS; i++) {
        chunk_place(50 + i, BIG_NUMBER, false);
    }
    struct chunk *more = chunk_make(100, BIG_NUMBER);
    cr_assert_eq(pool_assign(&pool, more, false), POOL_FULL);
    for (int i = 0; i < READERS; i++) {
        cr_assert(is_there(chunks[i]), "pinned by session %d", i);
        cr_assert_eq(stamp_of(chunks[i]), stamps[i], "its stamp is as it was");
    }
    pin_write(1, slots[1], 0);
    cr_assert_eq(pool_assign(&pool, more, false), POOL_OK);
    cr_assert(is_there(chunks[0]));
    cr_assert(is_gone(chunks[1]));
    cr_assert(is_there(chunks[2]));
    list_remove(&clients[0].readers); /* its process is gone, and its pins with it */
    cr_assert_eq(pool_assign(&pool, chunk_make(101, BIG_NUMBER), false), POOL_OK);
    cr_assert(is_gone(chunks[0]));
}

Test(chunk_pool, everything_pinned_is_full_and_nothing_changes)
{
    for (int i = 0; i < USER_UNITS; i++) {
        chunk_place_clean(i, (uint64_t)i % SMALL_CHUNKS);
        pin_write(i % READERS, i, pin_of(chunks[i]));
    }
    struct chunk *small = chunk_make(USER_UNITS, 0);
    struct chunk *big = chunk_make(USER_UNITS + 1, BIG_NUMBER);
    cr_assert_eq(pool_assign(&pool, small, false), POOL_FULL);
    cr_assert_eq(pool_assign(&pool, big, false), POOL_FULL);
    for (int i = 0; i < USER_UNITS; i++) {
        cr_assert(is_there(chunks[i]));
        cr_assert_lt(stamp_of(chunks[i]), CHUNK_STAMP_EVICTING, "no mark is left behind");
    }
    cr_assert_eq(pool.clean_count, USER_UNITS);
    cr_assert_eq(pool.evictions, 0);
    const int last = USER_UNITS - 7; /* far from the front: every clean chunk is looked at */
    pin_write(last % READERS, last, 0);
    cr_assert_eq(pool_assign(&pool, small, false), POOL_OK);
    cr_assert(is_gone(chunks[last]));
    cr_assert_eq(pool.evictions, 1);
}

/* A pins file is the client's to write: what makes no sense says nothing. */
Test(chunk_pool, nonsense_in_the_pins_only_harms_its_writer)
{
    const uint64_t nonsense[] = {UNITS + 1, UINT32_MAX, UINT64_C(1) << 32, UINT64_MAX};
    for (int i = 0; i < USER_BIGS; i++) {
        chunk_place_clean(i, BIG_NUMBER + (uint64_t)i);
    }
    for (int i = 0; i < PINS_MAX; i++) {
        pin_write(0, i, nonsense[i % 4]);
    }
    for (int i = 0; i < USER_BIGS; i++) {
        chunk_place(50 + i, BIG_NUMBER, false);
    }
    cr_assert_not(pool.pins_faulty);
}

/* A chunk of a trimmed topic: nobody but the pool knows it, unless its slot is still to be freed. */
Test(chunk_pool, a_forgotten_chunk_goes_with_its_image)
{
    struct chunk *forgotten = chunk_place_clean(0, BIG_NUMBER);
    struct chunk *slotted = chunk_place_clean(1, BIG_NUMBER);
    forgotten->topic = NULL;
    slotted->topic = NULL;
    slotted->slot = 5;
    chunks[0] = NULL; /* the pool's now */
    for (int i = 0; i < USER_BIGS; i++) {
        chunk_place(50 + i, BIG_NUMBER, false);
    }
    cr_assert(is_gone(slotted));
    cr_assert_eq(pool.clean_count, 0);
}

Test(chunk_pool, a_pool_that_goes_frees_what_only_it_knows)
{
    chunk_place_clean(0, BIG_NUMBER)->topic = NULL;
    chunks[0] = NULL; /* the pool's now */
    chunk_place_clean(1, BIG_NUMBER);
    pool_free_forgotten(&pool);
    cr_assert_eq(pool.clean_count, 1);
}

/* Who owns which unit, as the test sees it. */
struct model {
    struct chunk *owner[UNITS];
    uint64_t stamp_max;
    bool pinned[CHUNKS]; /* by slot i of session i % READERS */
};

static uint32_t units_of(const struct chunk *chunk)
{
    return chunk->number < SMALL_CHUNKS ? 1 : SMALL_CHUNKS;
}

/* Every unit that the pool counts as taken belongs to exactly one chunk. */
static void agree(struct model *model)
{
    uint32_t clean = 0;
    uint32_t whole = 0;
    memset(model->owner, 0, sizeof model->owner);
    for (int i = 0; i < CHUNKS; i++) {
        clean += chunks[i] != NULL && list_linked(&chunks[i]->clean) ? 1 : 0;
        if (chunks[i] == NULL || chunks[i]->unit == UNIT_NONE) {
            continue;
        }
        for (uint32_t j = 0; j < units_of(chunks[i]); j++) {
            cr_assert_null(model->owner[chunks[i]->unit + j], "two chunks own one unit");
            model->owner[chunks[i]->unit + j] = chunks[i];
        }
    }
    for (uint32_t place = 0; place < BIGS; place++) {
        uint16_t used = 0;
        for (uint32_t j = 0; j < SMALL_CHUNKS; j++) {
            used |= (uint16_t)((model->owner[place * SMALL_CHUNKS + j] != NULL) << j);
        }
        cr_assert_eq(pool.used[place], used, "place %u: a unit is leaked", place);
        whole += used == 0 ? 1 : 0;
    }
    cr_assert_eq(pool.free_big_count, whole);
    cr_assert_eq(pool.clean_count, clean);
}

/* POOL_FULL is true: there is no room, and nothing that could go. */
static void full_is_true(const struct model *model, const struct chunk *wanted, bool system)
{
    cr_assert_leq(pool.free_big_count, system ? 0 : POOL_SYSTEM_BIGS + READING_BIGS);
    for (uint32_t place = 0; place < BIGS && units_of(wanted) == 1; place++) {
        cr_assert(pool.used[place] == 0 || pool.used[place] == 0xffff, "a small unit is free");
    }
    for (int i = 0; i < CHUNKS; i++) {
        cr_assert(!list_linked(&chunks[i]->clean) || model->pinned[i], "chunk %d could go", i);
    }
}

static void use_assign(struct model *model, struct chunk *chunk)
{
    const bool system = rand() % 8 == 0;
    if (pool_assign(&pool, chunk, system) == POOL_FULL) {
        full_is_true(model, chunk, system);
        cr_assert_eq(chunk->unit, UNIT_NONE);
        return;
    }
    if (rand() % 10 == 0) {
        pool_unassign(&pool, chunk);
        return;
    }
    pool_show(&pool, chunk);
    cr_assert_gt(stamp_of(chunk), model->stamp_max, "a stamp was given before");
    model->stamp_max = stamp_of(chunk);
    pool_settle(&pool, chunk, rand() % 2);
}

static void use_resident(struct model *model, int index)
{
    struct chunk *chunk = chunks[index];
    switch (rand() % 5) {
    case 0:
        model->pinned[index] = !model->pinned[index];
        pin_write(index % READERS, index, model->pinned[index] ? pin_of(chunk) : 0);
        break;
    case 1:
        chunk->holds = chunk->holds == 0 && rand() % 8 == 0 ? 1 : 0;
        pool_settle(&pool, chunk, rand() % 4 != 0);
        break;
    case 2:
        pool_touch(&pool, chunk);
        break;
    default:
        pool_settle(&pool, chunk, true);
        break;
    }
}

Test(chunk_pool, agrees_with_a_model_over_random_use)
{
    struct model model = {.stamp_max = 0};
    srand(1);
    for (int i = 0; i < CHUNKS; i++) {
        chunk_make(i, (uint64_t)(i % 20)); /* one in five is big */
    }
    for (int round = 0; round < 60000; round++) {
        const int index = rand() % CHUNKS;
        if (chunks[index]->state == CHUNK_RESIDENT) {
            use_resident(&model, index);
        } else {
            use_assign(&model, chunks[index]);
        }
        agree(&model);
        for (int i = 0; i < CHUNKS; i++) {
            cr_assert(!model.pinned[i] || is_there(chunks[i]), "chunk %d was pinned and went", i);
        }
        if (round % 5000 == 0) { /* else all units end up held or pinned */
            for (int i = 0; i < CHUNKS; i++) {
                pin_write(i % READERS, i, 0);
                model.pinned[i] = false;
                chunks[i]->holds = 0;
            }
        }
    }
    cr_assert_gt(pool.evictions, 1000);
}
