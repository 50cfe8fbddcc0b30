/* Slot map: see slot_map.h. */
#include "broker/slot_map.h"

#include <errno.h>
#include <stdlib.h>

#include "shm/ensure.h"

#define ALL_UNITS UINT16_MAX
_Static_assert(GROUP_UNITS == 16, "a group's masks are 16 bits wide");
_Static_assert((uint32_t)GROUP_NONE == (uint32_t)BIT_TREE_NONE, "a set without members says so");

void slot_map_init(struct slot_map *map, uint32_t system_groups, uint32_t written_groups)
{
    *map = (struct slot_map){.system_groups = system_groups, .written_groups = written_groups};
}

void slot_map_deinit(struct slot_map *map)
{
    for (int i = 0; i < SLOT_SETS; i++) {
        bit_tree_deinit(&map->sets[i].groups);
    }
    free(map->groups);
    *map = (struct slot_map){0};
}

static enum slot_set set_of(const struct slot_group *group)
{
    if (group->used == 0) {
        return group->written == ALL_UNITS ? SET_FREE_WRITTEN : SET_FREE_FRESH;
    }
    if (group->used == ALL_UNITS) {
        return SET_NONE;
    }
    return group->written & ~group->used ? SET_PART_WRITTEN : SET_PART_FRESH;
}

static void set_remove(struct slot_map *map, enum slot_set set, uint32_t number)
{
    if (set != SET_NONE) {
        bit_tree_clear(&map->sets[set].groups, number);
        map->sets[set].count--;
    }
}

static void set_add(struct slot_map *map, enum slot_set set, uint32_t number)
{
    if (set != SET_NONE) {
        bit_tree_set(&map->sets[set].groups, number);
        map->sets[set].count++;
    }
}

/* The one place where a group changes. */
static void group_set(struct slot_map *map, uint32_t number, uint16_t used, uint16_t written)
{
    struct slot_group *group = &map->groups[number];
    const enum slot_set before = set_of(group);
    group->used = used;
    group->written = written;
    const enum slot_set after = set_of(group);
    if (before != after) {
        set_remove(map, before, number);
        set_add(map, after, number);
    }
}

int slot_map_grow(struct slot_map *map, uint32_t groups)
{
    ensure(groups > 0 && groups <= UINT32_MAX / GROUP_UNITS - map->groups_count);
    if (map->groups_count + groups > map->groups_max) {
        uint32_t groups_max = map->groups_max * 2;
        if (groups_max < map->groups_count + groups) {
            groups_max = map->groups_count + groups;
        }
        struct slot_group *larger = realloc(map->groups, (size_t)groups_max * sizeof *larger);
        if (larger == NULL) {
            return -ENOMEM;
        }
        map->groups = larger;
        map->groups_max = groups_max;
    }
    for (int i = 0; i < SLOT_SETS; i++) {
        if (bit_tree_grow(&map->sets[i].groups, map->groups_count + groups) != 0) {
            return -ENOMEM;
        }
    }
    for (uint32_t i = 0; i < groups; i++) {
        map->groups[map->groups_count++] = (struct slot_group){.used = ALL_UNITS};
    }
    return 0;
}

void slot_map_open(struct slot_map *map, uint32_t first, uint32_t groups)
{
    for (uint32_t i = 0; i < groups; i++) {
        ensure(map->groups[first + i].used == ALL_UNITS);
        group_set(map, first + i, i == 0 ? 1 : 0, i == 0 ? 1 : 0);
    }
}

void slot_map_close(struct slot_map *map, uint32_t first, uint32_t groups)
{
    for (uint32_t i = 0; i < groups; i++) {
        ensure(map->groups[first + i].used == (i == 0 ? 1 : 0));
        group_set(map, first + i, ALL_UNITS, 0);
    }
}

static uint32_t first_of(const struct slot_map *map, enum slot_set set, bool system)
{
    const bool whole = set == SET_FREE_WRITTEN || set == SET_FREE_FRESH;
    if (whole && !system && slot_map_free_groups(map) <= map->system_groups) {
        return GROUP_NONE;
    }
    return bit_tree_first(&map->sets[set].groups);
}

/* Where slots are looked for, by what is wanted. Overwriting is faster than writing for the first
 * time, so written groups go to everybody as long as enough are left for those that need one. */
static const enum slot_set *sets_to_try(const struct slot_map *map, unsigned flags)
{
    static const enum slot_set big[] = {SET_FREE_FRESH, SET_FREE_WRITTEN, SET_NONE};
    static const enum slot_set big_written[] = {SET_FREE_WRITTEN, SET_FREE_FRESH, SET_NONE};
    static const enum slot_set small[] = {SET_PART_FRESH, SET_PART_WRITTEN, SET_FREE_FRESH,
                                          SET_FREE_WRITTEN, SET_NONE};
    static const enum slot_set small_written[] = {SET_PART_WRITTEN, SET_FREE_WRITTEN,
                                                  SET_PART_FRESH, SET_FREE_FRESH, SET_NONE};
    const bool plenty = slot_map_free_written(map) > map->written_groups;
    if (flags & SLOT_SMALL) {
        return flags & SLOT_WRITTEN ? small_written : small;
    }
    return flags & SLOT_WRITTEN || plenty ? big_written : big;
}

static uint16_t unit_to_take(const struct slot_group *group, unsigned flags)
{
    const unsigned unused = ALL_UNITS & ~(unsigned)group->used;
    const unsigned preferred =
        unused & (flags & SLOT_WRITTEN ? group->written : ~(unsigned)group->written);
    return (uint16_t)__builtin_ctz(preferred != 0 ? preferred : unused);
}

bool slot_map_take(struct slot_map *map, unsigned flags, uint32_t *slot)
{
    uint32_t number = GROUP_NONE;
    for (const enum slot_set *set = sets_to_try(map, flags); *set != SET_NONE; set++) {
        number = first_of(map, *set, flags & SLOT_SYSTEM);
        if (number != GROUP_NONE) {
            break;
        }
    }
    if (number == GROUP_NONE) {
        return false;
    }
    const struct slot_group *group = &map->groups[number];
    if (flags & SLOT_SMALL) {
        const uint16_t unit = unit_to_take(group, flags);
        *slot = number * GROUP_UNITS + unit;
        group_set(map, number, (uint16_t)(group->used | 1u << unit), group->written);
    } else {
        *slot = number * GROUP_UNITS;
        group_set(map, number, ALL_UNITS, group->written);
    }
    return true;
}

static uint16_t slot_mask(uint32_t slot, bool small)
{
    ensure(small || slot % GROUP_UNITS == 0);
    return (uint16_t)(small ? 1u << slot % GROUP_UNITS : ALL_UNITS);
}

void slot_map_release(struct slot_map *map, uint32_t slot, bool small)
{
    const uint32_t number = slot / GROUP_UNITS;
    ensure(number < map->groups_count);
    const struct slot_group *group = &map->groups[number];
    const uint16_t mask = slot_mask(slot, small);
    ensure((group->used & mask) == mask);
    group_set(map, number, (uint16_t)(group->used & ~mask), (uint16_t)(group->written | mask));
}

int slot_map_mark(struct slot_map *map, uint32_t slot, bool small)
{
    const uint32_t number = slot / GROUP_UNITS;
    if (number >= map->groups_count || (!small && slot % GROUP_UNITS != 0)) {
        return -EBADMSG;
    }
    const struct slot_group *group = &map->groups[number];
    const uint16_t mask = slot_mask(slot, small);
    if (group->used & mask) {
        return -EBADMSG;
    }
    group_set(map, number, (uint16_t)(group->used | mask), group->written);
    return 0;
}

uint32_t slot_map_hold_fresh(struct slot_map *map)
{
    const uint32_t number = bit_tree_first(&map->sets[SET_FREE_FRESH].groups);
    if (number != GROUP_NONE) {
        group_set(map, number, ALL_UNITS, map->groups[number].written);
    }
    return number;
}

void slot_map_unhold(struct slot_map *map, uint32_t group, bool written)
{
    ensure(map->groups[group].used == ALL_UNITS);
    group_set(map, group, 0, written ? ALL_UNITS : map->groups[group].written);
}
