/*
 * Store directory and segments on a memory disk: a store is made, found again and grown, ahead of
 * need and durably; a power loss or an error at any step leaves nothing that the next start cannot
 * go on with; what does not belong is refused by name.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/fault.h"
#include "broker/io_memory.h"
#include "broker/memory_disk.h"
#include "broker/segment.h"
#include "broker/store_dir.h"

#define CHUNK UINT64_C(65536)
#define SEGMENT (UINT64_C(16) * CHUNK)

struct world {
    struct memory_disk *disk;
    struct io *io;
    struct store_dir store;
    struct superblock superblock;
    struct segment_set set;
    struct fault fault;
    int told; /* by segment_config.changed: how often */
    int result;
};

static void changed(void *context, int result)
{
    struct world *world = context;
    world->told++;
    world->result = result;
}

static int start_with(struct world *world, uint32_t zeroed_groups)
{
    const struct segment_config config = {
        .zeroed_groups = zeroed_groups, .system_groups = 1, .changed = changed, .context = world};
    world->io = io_memory_open(world->disk);
    int result = store_dir_open(&world->store, world->io, "/a/b/data", 0, &world->fault);
    if (result == 0) {
        result = store_dir_load(&world->store, CHUNK, SEGMENT, &world->superblock, &world->fault);
    }
    if (result == 0) {
        result = segment_set_open(&world->set, &world->store, &world->superblock, &config,
                                  &world->fault);
    }
    if (result == 0 && world->set.count == 0) {
        result = segment_set_add_now(&world->set, &world->fault);
    }
    return result;
}

static int start(struct world *world)
{
    return start_with(world, 0);
}

/* Ends as a kill would: what is in flight may or may not happen. */
static void kill_it(struct world *world)
{
    world->set.zeroing = false;
    world->set.growing = NULL;
    io_memory_kill(world->io);
    for (uint32_t i = 0; i < world->set.count; i++) {
        world->set.segments[i]->file = NULL;
    }
    segment_set_close(&world->set);
}

static void stop(struct world *world)
{
    segment_set_stop(&world->set);
    while (segment_set_busy(&world->set)) {
        io_poll(world->io);
    }
    segment_set_close(&world->set);
    store_dir_close(&world->store);
    io_close(world->io);
}

static void settle(struct world *world)
{
    while (io_in_flight(world->io) > 0) {
        io_poll(world->io);
    }
}

Test(segment, a_store_is_made_and_found_again)
{
    struct world world = {.disk = memory_disk_new(1)};
    cr_assert_eq(start(&world), 0, "%s", world.fault.text);
    uint8_t uuid[STORE_UUID_BYTES];
    memcpy(uuid, world.superblock.uuid, sizeof uuid);
    cr_assert_eq(world.superblock.system_slot, SLOT_NONE);
    cr_assert_eq(world.set.count, 1);
    kill_it(&world);
    memory_disk_power_off(world.disk, LOSE_UNSYNCED);
    cr_assert_not_null(memory_disk_find(world.disk, "a/b/data/segments/0000000000000000.seg"));
    cr_assert_eq(start(&world), 0, "%s", world.fault.text);
    cr_assert_eq(memcmp(uuid, world.superblock.uuid, sizeof uuid), 0);
    cr_assert_eq(world.set.count, 1);
    stop(&world);
    memory_disk_free(world.disk);
}

Test(segment, making_a_store_survives_an_error_or_a_power_loss_at_any_step)
{
    bool finished = false;
    for (uint64_t step = 0; !finished; step++) {
        for (uint64_t seed = 1; seed <= 8; seed++) {
            struct world world = {.disk = memory_disk_new(seed)};
            memory_disk_fail(world.disk, step, -EIO, true);
            finished = start(&world) == 0;
            if (finished) {
                cr_assert_gt(step, 10);
                stop(&world);
            } else {
                cr_assert_eq(world.fault.error, -EIO);
                cr_assert_gt(strlen(world.fault.text), 0);
                kill_it(&world);
            }
            memory_disk_power_off(world.disk, LOSE_RANDOM);
            cr_assert_eq(start(&world), 0, "step %d: %s", (int)step, world.fault.text);
            cr_assert_eq(world.set.count, 1);
            stop(&world);
            memory_disk_free(world.disk);
        }
    }
}

Test(segment, slots_have_places_of_their_own)
{
    struct world world = {.disk = memory_disk_new(1)};
    cr_assert_eq(start(&world), 0);
    uint32_t big;
    uint32_t small;
    cr_assert_eq(slot_allocate(&world.set, 0, &big), 0);
    cr_assert_eq(slot_allocate(&world.set, SLOT_SMALL, &small), 0);
    cr_assert_eq(slot_offset(&world.set, big) % CHUNK, 0);
    cr_assert_geq(slot_offset(&world.set, small), BLOCK_BYTES);
    cr_assert_eq(slot_file(&world.set, big), world.set.segments[0]->file);
    cr_assert_not_null(strstr(slot_path(&world.set, big).text, "/0000000000000000.seg"));
    settle(&world);
    stop(&world);
    memory_disk_free(world.disk);
}

Test(segment, the_next_segment_is_ready_before_the_slots_run_out_and_durable_before_it_is_used)
{
    struct world world = {.disk = memory_disk_new(1)};
    cr_assert_eq(start(&world), 0);
    int allocated = 0;
    uint32_t slot = 0;
    while (slot / GROUP_UNITS < 2 * 16) {
        cr_assert_eq(slot_allocate(&world.set, 0, &slot), 0, "after %d", allocated);
        allocated++;
        if (slot / GROUP_UNITS >= 16) {
            struct memory_disk *clone = memory_disk_clone(world.disk, 1);
            memory_disk_power_off(clone, LOSE_UNSYNCED);
            const char *path = slot_path(&world.set, slot).text;
            cr_assert_not_null(memory_disk_find(clone, path));
            memory_disk_free(clone);
        }
        settle(&world);
    }
    cr_assert_geq(world.set.count, 3);
    cr_assert_eq(world.told, (int)world.set.count - 1);
    stop(&world);
    memory_disk_free(world.disk);
}

Test(segment, who_finds_no_slot_waits_for_the_segment_under_way)
{
    struct world world = {.disk = memory_disk_new(1)};
    cr_assert_eq(start(&world), 0);
    uint32_t slot;
    int result;
    while ((result = slot_allocate(&world.set, 0, &slot)) == 0) {
    }
    cr_assert_eq(result, -EAGAIN);
    cr_assert_eq(slot_allocate(&world.set, SLOT_SYSTEM, &slot), 0, "the reserve");
    cr_assert_eq(world.told, 0);
    settle(&world);
    cr_assert_eq(world.told, 1);
    cr_assert_eq(world.result, 0);
    cr_assert_eq(slot_allocate(&world.set, 0, &slot), 0);
    settle(&world);
    stop(&world);
    memory_disk_free(world.disk);
}

Test(segment, a_full_disk_refuses_until_there_is_space)
{
    struct world world = {.disk = memory_disk_new(1)};
    world.disk->capacity = SEGMENT + SEGMENT / 2;
    cr_assert_eq(start(&world), 0);
    uint32_t slot;
    while (slot_allocate(&world.set, 0, &slot) == 0) {
        settle(&world);
    }
    cr_assert_eq(slot_allocate(&world.set, 0, &slot), -ENOSPC);
    cr_assert_eq(world.result, -ENOSPC);
    const int told = world.told;
    segment_set_tick(&world.set, 1);
    segment_set_tick(&world.set, SEGMENT_RETRY_NS);
    settle(&world);
    cr_assert_eq(world.told, told, "not tried again within the second");
    segment_set_tick(&world.set, SEGMENT_RETRY_NS + 1);
    settle(&world);
    cr_assert_eq(world.told, told + 1);
    cr_assert_eq(world.result, -ENOSPC);
    world.disk->capacity = 0;
    segment_set_tick(&world.set, 1);
    segment_set_tick(&world.set, 1 + SEGMENT_RETRY_NS);
    settle(&world);
    cr_assert_eq(world.result, 0);
    cr_assert_eq(slot_allocate(&world.set, 0, &slot), 0);
    settle(&world);
    stop(&world);
    memory_disk_free(world.disk);
}

Test(segment, growing_survives_an_error_or_a_power_loss_at_any_step)
{
    bool finished = false;
    for (uint64_t step = 0; !finished; step++) {
        for (uint64_t seed = 1; seed <= 8; seed++) {
            struct world world = {.disk = memory_disk_new(seed)};
            cr_assert_eq(start(&world), 0);
            uint32_t slot;
            while (world.set.growth == GROWTH_IDLE) {
                cr_assert_eq(slot_allocate(&world.set, 0, &slot), 0);
            }
            memory_disk_fail(world.disk, step, -EIO, true);
            settle(&world);
            finished = world.result == 0;
            cr_assert(finished || world.result == -EIO);
            cr_assert_eq(world.told, 1);
            kill_it(&world);
            memory_disk_power_off(world.disk, LOSE_RANDOM);
            cr_assert_eq(start(&world), 0, "step %d: %s", (int)step, world.fault.text);
            cr_assert(world.set.count == 2 || (!finished && world.set.count == 1));
            stop(&world);
            memory_disk_free(world.disk);
        }
    }
}

Test(segment, zeros_are_written_and_durable_before_a_slot_counts_as_written)
{
    struct world world = {.disk = memory_disk_new(1)};
    cr_assert_eq(start_with(&world, 3), 0);
    struct memory_node *file =
        memory_disk_find(world.disk, "a/b/data/segments/0000000000000000.seg");
    memset(file->bytes + CHUNK, 0xee, SEGMENT - CHUNK);
    segment_set_tick(&world.set, 1);
    settle(&world);
    cr_assert_eq(slot_map_free_written(&world.set.slots), 3);
    uint32_t slot;
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(slot_allocate(&world.set, SLOT_WRITTEN, &slot), 0);
        for (uint64_t at = 0; at < CHUNK; at++) {
            cr_assert_eq(file->durable[slot_offset(&world.set, slot) + at], 0);
            cr_assert_eq(file->bytes[slot_offset(&world.set, slot) + at], 0);
        }
    }
    settle(&world);
    cr_assert_eq(slot_map_free_written(&world.set.slots), 3, "and filled up again");
    memory_disk_fail(world.disk, 0, -EIO, false);
    cr_assert_eq(slot_allocate(&world.set, SLOT_WRITTEN, &slot), 0);
    settle(&world);
    cr_assert_eq(world.result, -EIO, "an error is told");
    stop(&world);
    memory_disk_free(world.disk);
}

Test(segment, each_touched_segment_is_synced_once)
{
    struct world world = {.disk = memory_disk_new(1)};
    cr_assert_eq(start(&world), 0);
    cr_assert_eq(segment_set_add_now(&world.set, NULL), 0);
    cr_assert_null(segment_take_touched(&world.set));
    for (int round = 0; round < 2; round++) {
        segment_touch(&world.set, 16);
        segment_touch(&world.set, 17);
        segment_touch(&world.set, 16 * 16 + 16);
        const struct segment *first = segment_take_touched(&world.set);
        const struct segment *second = segment_take_touched(&world.set);
        cr_assert_not_null(first);
        cr_assert_not_null(second);
        cr_assert_neq(first, second);
        cr_assert_null(segment_take_touched(&world.set));
    }
    stop(&world);
    memory_disk_free(world.disk);
}

/* Passes a second of quiet time at a time. */
static void pass_time(struct world *world, uint64_t *now_ns, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        *now_ns += 1000000000;
        segment_set_tick(&world->set, *now_ns);
        segment_set_give_back(&world->set, *now_ns, true);
        settle(world);
    }
}

enum { BACKLOG = 200 };

/* Takes so many slots of a chunk, growing as it goes. */
static void take_many(struct world *world, uint32_t *slots, int count)
{
    for (int i = 0; i < count;) {
        const int result = slot_allocate(&world->set, 0, &slots[i]);
        cr_assert(result == 0 || result == -EAGAIN, "%d", result);
        i += result == 0;
        settle(world);
    }
}

Test(segment, what_is_not_needed_is_given_back_and_made_again)
{
    struct world world = {.disk = memory_disk_new(1)};
    uint32_t slots[BACKLOG];
    uint64_t now_ns = 1;
    cr_assert_eq(start(&world), 0);
    for (int round = 0; round < 3; round++) {
        take_many(&world, slots, BACKLOG);
        const uint32_t most = world.set.present;
        cr_assert_geq(most, BACKLOG / 16);
        pass_time(&world, &now_ns, 30);
        cr_assert_eq(world.set.present, most, "what is in use went");
        /* One slot in the middle stays in use. */
        for (int i = 1; i < BACKLOG; i++) {
            slot_release(&world.set, slots[i], false);
        }
        pass_time(&world, &now_ns, 4);
        cr_assert_eq(world.set.present, most, "it goes only after some time");
        pass_time(&world, &now_ns, 30);
        cr_assert_leq(world.set.present, 2, "%u are kept", world.set.present);
        cr_assert(segment_has_slot(&world.set, slots[0]));
        cr_assert_null(memory_disk_find(world.disk, "a/b/data/segments/000000000000000b.seg"));
        stop(&world);
        cr_assert_eq(start(&world), 0, "%s", world.fault.text);
        cr_assert_eq(segment_set_mark(&world.set, slots[0], false), 0);
        slot_release(&world.set, slots[0], false);
    }
    stop(&world);
    memory_disk_free(world.disk);
}

/* A load that comes and goes within seconds makes and removes no file. */
Test(segment, a_steady_load_makes_and_removes_no_files)
{
    struct world world = {.disk = memory_disk_new(1)};
    uint32_t slots[BACKLOG];
    uint64_t now_ns = 1;
    cr_assert_eq(start(&world), 0);
    take_many(&world, slots, BACKLOG);
    const uint32_t present = world.set.present;
    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < BACKLOG; i++) {
            slot_release(&world.set, slots[i], false);
        }
        pass_time(&world, &now_ns, 2);
        cr_assert_eq(world.set.present, present, "round %d", round);
        take_many(&world, slots, BACKLOG);
        cr_assert_eq(world.set.present, present, "round %d", round);
        pass_time(&world, &now_ns, 2);
    }
    stop(&world);
    memory_disk_free(world.disk);
}

/* Whatever of removing and making again a power loss undoes: the store opens, and slots in use are
 * there. */
Test(segment, giving_back_survives_power_losses)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct world world = {.disk = memory_disk_new(seed)};
        uint32_t slots[BACKLOG];
        uint64_t now_ns = 1;
        cr_assert_eq(start(&world), 0);
        take_many(&world, slots, BACKLOG);
        for (int i = 20; i < BACKLOG; i++) {
            slot_release(&world.set, slots[i], false);
        }
        pass_time(&world, &now_ns, 6 + (int)(seed % 7));
        world.set.window_ns = 1;
        if (seed % 2 == 0) {
            take_many(&world, slots + 20, (int)(seed % 100));
        }
        kill_it(&world);
        memory_disk_power_off(world.disk, LOSE_RANDOM);
        cr_assert_eq(start(&world), 0, "%s", world.fault.text);
        for (int i = 0; i < 20; i++) {
            cr_assert_eq(segment_set_mark(&world.set, slots[i], false), 0, "slot %u is gone",
                         slots[i]);
        }
        stop(&world);
        memory_disk_free(world.disk);
    }
}

/* What somebody may do to a store's directory, and what the refusal must name. */
static void expect_refusal(struct world *world, int result, const char *words)
{
    cr_assert_eq(start(world), result, "%s", world->fault.text);
    cr_assert_not_null(strstr(world->fault.text, words), "%s", world->fault.text);
    kill_it(world);
}

static struct world two_segments(void)
{
    struct world world = {.disk = memory_disk_new(1)};
    cr_assert_eq(start(&world), 0);
    cr_assert_eq(segment_set_add_now(&world.set, NULL), 0);
    stop(&world);
    return world;
}

static struct memory_node *names(struct world *world, const char *path)
{
    return memory_disk_find(world->disk, path);
}

static const char zero_seg[] = "0000000000000000.seg";
static const char one_seg[] = "0000000000000001.seg";

Test(segment, what_was_done_to_a_store_is_named)
{
    struct world world = two_segments();
    struct memory_node *data = names(&world, "a/b/data");
    struct memory_node *segments = names(&world, "a/b/data/segments");
    struct memory_node *zero = memory_names_find(&segments->names, zero_seg);
    struct memory_node *one = memory_names_find(&segments->names, one_seg);
    struct memory_node *store = memory_names_find(&data->names, "STORE");

    memory_directory_set(segments, zero_seg, NULL);
    cr_assert_eq(start(&world), 0, "one without slots in use may be missing");
    cr_assert_not(segment_has_slot(&world.set, 1));
    cr_assert_eq(segment_set_mark(&world.set, 1, true), -EBADMSG);
    stop(&world);
    memory_directory_set(segments, zero_seg, one);
    memory_directory_set(segments, one_seg, zero);
    expect_refusal(&world, -EBADMSG, "renamed or swapped");
    memory_directory_set(segments, zero_seg, zero);
    memory_directory_set(segments, one_seg, zero);
    expect_refusal(&world, -EBADMSG, "renamed or swapped");
    memory_directory_set(segments, one_seg, segments);
    expect_refusal(&world, -EBADMSG, "not a regular file");
    memory_directory_set(segments, one_seg, one);

    cr_assert_eq(memory_file_resize(world.disk, one, SEGMENT + 1), 0);
    expect_refusal(&world, -EBADMSG, "1048577 bytes");
    cr_assert_eq(memory_file_resize(world.disk, one, SEGMENT - 1), 0);
    expect_refusal(&world, -EBADMSG, "1048575 bytes");
    cr_assert_eq(memory_file_resize(world.disk, one, SEGMENT), 0);

    for (size_t at = 0; at < BLOCK_BYTES; at += 5) {
        one->bytes[at] ^= 1;
        expect_refusal(&world, -EBADMSG, "0000000000000001.seg");
        one->bytes[at] ^= 1;
    }

    memory_directory_set(data, "STORE", NULL);
    expect_refusal(&world, -EBADMSG, "STORE is missing");
    memory_directory_set(data, "STORE", segments);
    expect_refusal(&world, -EBADMSG, "not a regular file");
    memory_directory_set(data, "STORE", store);
    memory_directory_set(data, "segments", store);
    expect_refusal(&world, -EBADMSG, "not a directory");
    memory_directory_set(data, "segments", segments);

    memory_directory_set(segments, "lost+found", segments);
    memory_directory_set(segments, "00000000000000zz.seg", one);
    memory_directory_set(segments, "0000000000000002.seg.new", one);
    cr_assert_eq(start(&world), 0, "%s", world.fault.text);
    cr_assert_eq(world.set.count, 2);
    cr_assert_null(memory_names_find(&segments->names, "0000000000000002.seg.new"));
    stop(&world);
    memory_disk_free(world.disk);
}

Test(segment, another_store_s_segment_is_refused)
{
    struct world world = two_segments();
    struct world other = two_segments();
    struct memory_node *mine = names(&world, "a/b/data/segments/0000000000000001.seg");
    const struct memory_node *its = names(&other, "a/b/data/segments/0000000000000001.seg");
    memcpy(mine->bytes, its->bytes, BLOCK_BYTES);
    expect_refusal(&world, -EBADMSG, "belongs to another store");
    memory_disk_free(world.disk);
    memory_disk_free(other.disk);
}

Test(segment, other_sizes_than_the_store_s_are_refused)
{
    struct world world = two_segments();
    world.io = io_memory_open(world.disk);
    cr_assert_eq(store_dir_open(&world.store, world.io, "/a/b/data", 0, &world.fault), 0);
    cr_assert_eq(store_dir_load(&world.store, 2 * CHUNK, SEGMENT, &world.superblock, &world.fault),
                 -EINVAL);
    cr_assert_not_null(strstr(world.fault.text, "--chunk 65536"), "%s", world.fault.text);
    store_dir_close(&world.store);
    cr_assert_eq(store_dir_open(&world.store, world.io, "/a/b/data", 0, &world.fault), 0);
    cr_assert_eq(store_dir_load(&world.store, CHUNK, 2 * SEGMENT, &world.superblock, &world.fault),
                 -EINVAL);
    cr_assert_not_null(strstr(world.fault.text, "--segment 1048576"), "%s", world.fault.text);
    store_dir_close(&world.store);
    io_close(world.io);
    memory_disk_free(world.disk);
}

Test(segment, a_second_broker_is_refused)
{
    struct world world = {.disk = memory_disk_new(1)};
    cr_assert_eq(start(&world), 0);
    struct store_dir second;
    cr_assert_eq(store_dir_open(&second, world.io, "/a/b/data", 0, &world.fault), -EBUSY);
    cr_assert_not_null(strstr(world.fault.text, "another broker"));
    stop(&world);
    memory_disk_free(world.disk);
}
