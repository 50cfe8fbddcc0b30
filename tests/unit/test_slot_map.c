/*
 * The slot map against a plain model: no unit is ever handed out twice, and what is written, kept
 * back for the system topic or split is found as it should be.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/slot_map.h"

enum { GROUPS = 8, UNITS = GROUPS * GROUP_UNITS };

static struct slot_map map;

static void tear_down(void)
{
    slot_map_deinit(&map);
}

TestSuite(slot_map, .fini = tear_down);

static void grow(uint32_t groups)
{
    const uint32_t first = map.groups_count;
    cr_assert_eq(slot_map_grow(&map, groups), 0);
    slot_map_open(&map, first, groups);
}

static uint32_t take(unsigned flags)
{
    uint32_t slot = UINT32_MAX;
    cr_assert(slot_map_take(&map, flags, &slot));
    return slot;
}

Test(slot_map, never_hands_out_the_header)
{
    slot_map_init(&map, 0, 0);
    grow(GROUPS);
    uint32_t slot;
    int big = 0;
    while (slot_map_take(&map, 0, &slot)) {
        cr_assert_eq(slot % GROUP_UNITS, 0);
        cr_assert_neq(slot, 0);
        big++;
    }
    cr_assert_eq(big, GROUPS - 1);
    int small = 0;
    while (slot_map_take(&map, SLOT_SMALL, &slot)) {
        cr_assert(slot > 0 && slot < GROUP_UNITS);
        small++;
    }
    cr_assert_eq(small, GROUP_UNITS - 1);
}

Test(slot_map, agrees_with_a_model_over_random_use)
{
    slot_map_init(&map, 1, 2);
    grow(GROUPS / 2);
    grow(GROUPS / 2);
    bool used[UNITS] = {[0] = true, [UNITS / 2] = true};
    struct {
        uint32_t slot;
        bool small;
    } held[UNITS];
    int count = 0;
    srand(1);
    for (int round = 0; round < 200000; round++) {
        if (rand() % 2) {
            const unsigned flags = (unsigned)rand() % 8;
            const bool small = flags & SLOT_SMALL;
            uint32_t slot;
            if (!slot_map_take(&map, flags, &slot)) {
                continue;
            }
            for (uint32_t i = 0; i < (small ? 1 : GROUP_UNITS); i++) {
                cr_assert_not(used[slot + i]);
                used[slot + i] = true;
            }
            held[count].slot = slot;
            held[count++].small = small;
        } else if (count > 0) {
            const int which = rand() % count;
            slot_map_release(&map, held[which].slot, held[which].small);
            memset(used + held[which].slot, 0, held[which].small ? 1 : GROUP_UNITS);
            held[which] = held[--count];
        }
    }
    while (count > 0) {
        count--;
        slot_map_release(&map, held[count].slot, held[count].small);
    }
    cr_assert_eq(slot_map_free_groups(&map), GROUPS - 2);
}

Test(slot_map, small_slots_share_a_group_and_give_it_back_whole)
{
    slot_map_init(&map, 0, 0);
    grow(GROUPS);
    uint32_t slots[GROUP_UNITS - 1];
    for (int i = 0; i < GROUP_UNITS - 1; i++) {
        slots[i] = take(SLOT_SMALL);
        cr_assert_lt(slots[i], GROUP_UNITS, "the header's group is used up first");
    }
    const uint32_t next = take(SLOT_SMALL);
    cr_assert_eq(slot_map_free_groups(&map), GROUPS - 2);
    slot_map_release(&map, next, true);
    cr_assert_eq(slot_map_free_groups(&map), GROUPS - 1);
}

Test(slot_map, who_asks_for_written_slots_gets_them_and_others_leave_them)
{
    slot_map_init(&map, 0, 2);
    grow(GROUPS);
    const uint32_t group = slot_map_hold_fresh(&map);
    cr_assert_neq(group, GROUP_NONE);
    slot_map_unhold(&map, group, true);
    cr_assert_eq(slot_map_free_written(&map), 1);
    cr_assert_neq(take(0) / GROUP_UNITS, group);
    cr_assert_eq(take(SLOT_WRITTEN) / GROUP_UNITS, group);
    cr_assert_eq(slot_map_free_written(&map), 0);
    cr_assert_neq(take(SLOT_WRITTEN), UINT32_MAX, "any slot is better than none");
}

Test(slot_map, written_slots_beyond_what_is_kept_go_to_everybody)
{
    slot_map_init(&map, 0, 1);
    grow(GROUPS);
    const uint32_t first = take(0);
    const uint32_t second = take(0);
    slot_map_release(&map, first, false);
    cr_assert_neq(take(0), first);
    slot_map_release(&map, second, false);
    cr_assert_eq(take(0), first);
    cr_assert_neq(take(0), second);
}

Test(slot_map, small_written_slots_come_from_written_groups)
{
    slot_map_init(&map, 0, 1);
    grow(GROUPS);
    const uint32_t group = slot_map_hold_fresh(&map);
    slot_map_unhold(&map, group, true);
    for (int i = 0; i < GROUP_UNITS; i++) {
        cr_assert_eq(take(SLOT_SMALL | SLOT_WRITTEN) / GROUP_UNITS, group);
    }
}

Test(slot_map, the_last_groups_are_the_system_topic_s)
{
    slot_map_init(&map, 2, 0);
    grow(4);
    take(0);
    uint32_t slot;
    cr_assert_not(slot_map_take(&map, 0, &slot));
    for (int i = 0; i < GROUP_UNITS - 1; i++) {
        take(SLOT_SMALL);
    }
    cr_assert_not(slot_map_take(&map, SLOT_SMALL, &slot));
    take(SLOT_SYSTEM);
    take(SLOT_SYSTEM | SLOT_SMALL);
    cr_assert_not(slot_map_take(&map, SLOT_SYSTEM, &slot));
}

Test(slot_map, slots_from_disk_are_checked)
{
    slot_map_init(&map, 0, 0);
    grow(GROUPS);
    cr_assert_eq(slot_map_mark(&map, 0, true), -EBADMSG);
    cr_assert_eq(slot_map_mark(&map, 0, false), -EBADMSG);
    cr_assert_eq(slot_map_mark(&map, UNITS, true), -EBADMSG);
    cr_assert_eq(slot_map_mark(&map, UINT32_MAX, true), -EBADMSG);
    cr_assert_eq(slot_map_mark(&map, 17, false), -EBADMSG);
    cr_assert_eq(slot_map_mark(&map, 16, false), 0);
    cr_assert_eq(slot_map_mark(&map, 17, true), -EBADMSG);
    cr_assert_eq(slot_map_mark(&map, 33, true), 0);
    cr_assert_eq(slot_map_mark(&map, 33, true), -EBADMSG);
    cr_assert_eq(slot_map_mark(&map, 32, false), -EBADMSG);
    slot_map_release(&map, 33, true);
    cr_assert_eq(slot_map_mark(&map, 32, false), 0);
}

/* Nothing of a closed segment is handed out or accepted; opened again it counts as never written. */
Test(slot_map, segments_come_and_go)
{
    slot_map_init(&map, 0, 0);
    grow(GROUPS);
    cr_assert_eq(slot_map_grow(&map, GROUPS), 0);
    grow(GROUPS);
    cr_assert_eq(slot_map_mark(&map, UNITS + GROUP_UNITS, false), -EBADMSG);
    cr_assert_eq(slot_map_free_groups(&map), 2 * (GROUPS - 1));
    for (int i = 0; i < GROUPS - 1; i++) {
        cr_assert_lt(take(0), UNITS, "the lowest come first");
    }
    const uint32_t last = take(0);
    cr_assert_geq(last, 2 * UNITS);
    slot_map_release(&map, last, false);
    slot_map_close(&map, 2 * GROUPS, GROUPS);
    cr_assert_eq(slot_map_free_groups(&map), 0);
    cr_assert_eq(slot_map_free_written(&map), 0);
    slot_map_open(&map, GROUPS, GROUPS);
    cr_assert_eq(slot_map_free_written(&map), 0);
    for (int i = 0; i < GROUPS - 1; i++) {
        const uint32_t slot = take(0);
        cr_assert(slot > UNITS && slot < 2 * UNITS);
    }
}
