/*
 * Recovery on a memory disk, against a plain model of what was written: after a power loss at any
 * moment, with any subset of what was not synced, everything durable is there, what is beyond is a
 * prefix that ends with a whole entry or batch, and nothing undamaged is called corrupt. What is
 * damaged below that is refused with its place, never dropped and never served.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/io_memory.h"
#include "tests/unit/store_model.h"

static void started(struct model *model)
{
    cr_assert_eq(model_start(model), 0, "%s", model->fault.text);
}

static void restarted(struct model *model, enum memory_loss loss)
{
    model_kill(model);
    memory_disk_power_off(model->disk, loss);
    started(model);
}

static void gone(struct model *model)
{
    model_kill(model);
    model_free_all(model);
}

Test(recovery, a_new_store_is_empty_and_stays_one_store)
{
    struct model *model = model_new(1);
    started(model);
    cr_assert_eq(model->recovery.topics_count, 0);
    cr_assert_eq(model->recovery.system.chunks_count, 1);
    cr_assert_eq(model->recovery.system_next_slot, SLOT_NONE);
    const uint32_t salt = model->salt;
    restarted(model, LOSE_UNSYNCED);
    cr_assert_gt(model->salt, salt);
    cr_assert_eq(model->recovery.topics_count, 0);
    gone(model);
}

Test(recovery, making_a_store_survives_an_error_and_a_power_loss_at_any_step)
{
    bool finished = false;
    for (uint64_t step = 0; !finished; step++) {
        for (uint64_t seed = 1; seed <= 4; seed++) {
            struct model *model = model_new(seed);
            memory_disk_fail(model->disk, step, -EIO, true);
            finished = model_start(model) == 0;
            cr_assert(finished || model->fault.error == -EIO);
            restarted(model, LOSE_RANDOM);
            model_append(model, 1, 10);
            model_flush(model);
            restarted(model, LOSE_UNSYNCED);
            gone(model);
        }
        cr_assert(!finished || step > 20);
    }
}

Test(recovery, a_clean_stop_loses_nothing)
{
    struct model *model = model_new(1);
    started(model);
    for (uint32_t i = 0; i < 400; i++) {
        model_append(model, 1 + i % 3, i * 7 % 900);
    }
    model_batch(model, 1, 10, 100);
    model_cursor(model, 2);
    const uint64_t seq = model->topics[1].tail.seq;
    model_stop(model);
    memory_disk_power_off(model->disk, LOSE_UNSYNCED);
    started(model);
    cr_assert_eq(model->topics[1].tail.seq, seq);
    cr_assert(model->topics[2].cursor_exists);
    cr_assert_eq(model->topics[2].cursor.seq, model->topics[2].tail.seq);
    for (uint32_t i = 0; i < model->recovery.topics_count; i++) {
        cr_assert_leq(model->recovery.topics[i].last_time_ns, model->time_ns);
        cr_assert_gt(model->recovery.topics[i].last_time_ns, 0);
    }
    gone(model);
}

Test(recovery, entries_larger_than_chunks_come_back)
{
    struct model *model = model_new(1);
    started(model);
    model_append(model, 1, 100);
    model_append(model, 1, 150000);
    model_append(model, 1, 0);
    model_batch(model, 1, 3, 40000);
    model_flush(model);
    restarted(model, LOSE_UNSYNCED);
    cr_assert_eq(model->topics[1].tail.seq, 6);
    gone(model);
}

static void do_something(struct model *model)
{
    const unsigned number = 1 + (unsigned)model_random(model, MODEL_TOPICS - 1);
    static const uint32_t sizes[] = {0, 8, 100, 400, 600, 1500, 5000, 20000};
    const uint32_t size = sizes[model_random(model, 8)];
    switch (model_random(model, 16)) {
    case 0:
        model_cursor(model, number);
        break;
    case 1:
        model_mark(model, number);
        break;
    case 2:
        model_trim(model, number);
        break;
    case 3:
        model_batch(model, number, 1 + (uint32_t)model_random(model, 12), size / 8);
        break;
    case 4:
        if (model_random(model, 8) == 0) {
            model_delete(model, number);
        }
        break;
    case 5:
        model_aborted_stream(model, number, 1 + (uint32_t)model_random(model, 6), size);
        break;
    case 6:
    case 7:
        if (!model->flushing) {
            model_flush_begin(model);
        }
        break;
    case 8:
    case 9:
        io_poll(model->io);
        break;
    default:
        model_append(model, number, size);
    }
}

static bool room_is_left(const struct model *model)
{
    for (unsigned i = 0; i < MODEL_TOPICS; i++) {
        if (model->topics[i].tail.seq > MODEL_ENTRIES_MAX - 64 ||
            model->topics[i].chunks_count > MODEL_CHUNKS_MAX - 16) {
            return false;
        }
    }
    return true;
}

/* One life after another, each begun where a power loss ended the one before, each loss looked at
 * several times with other subsets. */
static void live_and_crash(uint64_t seed, unsigned lives, unsigned losses)
{
    struct model *model = model_new(seed);
    started(model);
    for (unsigned life = 0; life < lives && room_is_left(model); life++) {
        if (model_random(model, 4) != 0) {
            model_flush(model); /* the verdict; else the next loss meets it half written */
            const uint64_t steps = 1 + model_random(model, 60);
            for (uint64_t step = 0; step < steps && room_is_left(model); step++) {
                do_something(model);
            }
        }
        if (!model->flushing && model_random(model, 2) == 0) {
            model_flush_begin(model);
        }
        for (uint64_t polls = model_random(model, 4); polls > 0; polls--) {
            io_poll(model->io);
        }
        for (unsigned loss = 0; loss < losses; loss++) {
            struct model *other =
                model_power_loss(model, seed * 1000 + life * 10 + loss, LOSE_RANDOM);
            started(other);
            model_flush(other);
            model_append(other, 1, 50);
            model_flush(other);
            restarted(other, LOSE_UNSYNCED);
            gone(other);
        }
        restarted(model, LOSE_RANDOM);
    }
    gone(model);
}

Test(recovery, random_lives_and_power_losses_lose_nothing_durable, .timeout = 100)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        live_and_crash(seed, 12, 3);
    }
}
