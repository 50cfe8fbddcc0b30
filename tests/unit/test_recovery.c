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
#include "shm/ensure.h"
#include "tests/unit/store_model.h"

/* A position that is the start of a chunk, where no frame can be. */
#define S_OF_MODEL (MODEL_CHUNK / SMALL_CHUNKS)

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

Test(recovery, random_lives_and_power_losses_lose_nothing_durable, .timeout = 600)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        live_and_crash(seed, 12, 3);
    }
}

Test(recovery, a_log_trimmed_within_a_batch_that_is_not_durable_goes_on)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct model *model = model_new(seed);
        started(model);
        model_append(model, 1, 10);
        model_flush(model);
        model_batch(model, 1, 11, 600); /* one of them from chunk 0 to chunk 1 */
        model_trim(model, 1);
        model_flush_begin(model);
        for (uint64_t polls = seed % 8; polls > 0; polls--) {
            io_poll(model->io);
        }
        for (int life = 0; life < 3; life++) {
            restarted(model, LOSE_RANDOM);
            model_flush(model); /* the verdict */
            model_append(model, 1, 50);
            model_flush(model);
        }
        gone(model);
    }
}

/* Three topics with entries of every kind, synced several times; the last sync is the last thing
 * that happened. safe[] is what was durable before it. */
static struct model *store_to_damage(struct record_place *safe)
{
    struct model *model = model_new(1);
    started(model);
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned number = 1; number < MODEL_TOPICS; number++) {
            model_append(model, number, 100);
            model_append(model, number, 700 * number);
            model_batch(model, number, 3, 40);
            model_append(model, number, 0);
        }
        model_cursor(model, 1 + round % 3);
        if (round == 1) {
            model_mark(model, 1);
        }
        model_flush(model);
        for (unsigned number = 0; number < MODEL_TOPICS && round == 2; number++) {
            safe[number] = model->topics[number].durable;
        }
    }
    return model;
}

static const struct recovered_topic *found_topic(const struct model *damaged,
                                                 const struct model *model, unsigned number)
{
    if (number == 0) {
        return &damaged->recovery.system;
    }
    for (uint32_t i = 0; i < damaged->recovery.topics_count; i++) {
        if (damaged->recovery.topics[i].id == model->topics[number].id) {
            return &damaged->recovery.topics[i];
        }
    }
    return NULL;
}

struct damage_counts {
    int refused;
    int cut;      /* within the last sync */
    int detected; /* when the chunk is read */
    int harmless;
};

/*
 * What the rules let pass: the last frame that an older sync covered, if its own header is what is
 * damaged, so that nothing tells that it was not of the last sync.
 */
static bool is_last_header(struct model *model, unsigned number, uint64_t position,
                           struct record_place safe)
{
    const uint64_t start = model_frame_start(model, number, position);
    return model_frame_start(model, number, safe.position - 1) == start &&
           position < start + FRAME_HEADER_BYTES;
}

/* The disk of `damaged` has the byte at a position of a topic damaged. */
static void check_damage(struct model *damaged, struct model *model, unsigned number,
                         uint64_t position, const struct record_place *safe,
                         struct damage_counts *counts)
{
    const bool covered = model_covers(model, number, position);
    const int result = model_recover(damaged);
    if (result != 0) {
        cr_assert_eq(result, -EBADMSG, "%s", damaged->fault.text);
        cr_assert_not_null(strstr(damaged->fault.text, ".seg is damaged at offset "), "%s",
                           damaged->fault.text);
        cr_assert(covered, "position %d of topic %u: %s", (int)position, number,
                  damaged->fault.text);
        counts->refused++;
        return;
    }
    const struct recovered_topic *found = found_topic(damaged, model, number);
    ensure(found != NULL);
    if (!covered) {
        cr_assert_eq(found->tail.position, model->topics[number].tail.position);
        counts->harmless++;
    } else if (position >= found->tail.position ||
               found->tail.position < model->topics[number].tail.position) {
        cr_assert(found->tail.position >= safe[number].position ||
                      is_last_header(model, number, position, safe[number]),
                  "durable entries of topic %u were cut off at %d, damaged at %d", number,
                  (int)found->tail.position, (int)position);
        counts->cut++;
    } else {
        cr_assert_neq(number, 0, "a damaged record at %d was applied", (int)position);
        cr_assert_eq(model_verify(model, damaged->disk, number, position, found->tail.position),
                     -EBADMSG);
        counts->detected++;
    }
    recovery_free(&damaged->recovery);
}

/* The sanitizer makes a start cost a hundred times as much. */
#if defined(__SANITIZE_ADDRESS__)
enum { DAMAGE_STRIDE = 41 };
#else
enum { DAMAGE_STRIDE = 1 };
#endif

static void damage_all(unsigned char mask, struct damage_counts *counts)
{
    struct record_place safe[MODEL_TOPICS];
    struct model *model = store_to_damage(safe);
    struct model *damaged = model_power_loss(model, 1, LOSE_UNSYNCED);
    for (unsigned number = 0; number < MODEL_TOPICS; number++) {
        for (uint64_t position = 0; position < model->topics[number].tail.position;
             position += DAMAGE_STRIDE) {
            uint8_t *byte = model_disk_bytes(model, damaged->disk, number, position);
            const uint8_t before = *byte;
            *byte = mask != 0 ? before ^ mask : (uint8_t)(before == 0 ? 0xff : 0);
            check_damage(damaged, model, number, position, safe, counts);
            *byte = before;
        }
    }
    model_free_all(damaged);
    gone(model);
}

Test(recovery, every_damaged_byte_is_refused_detected_or_of_the_last_sync, .timeout = 600)
{
    struct damage_counts counts = {0};
    damage_all(0x01, &counts);
    damage_all(0x80, &counts);
    damage_all(0, &counts);
    cr_log_info("refused %d, cut %d, detected %d, harmless %d", counts.refused, counts.cut,
                counts.detected, counts.harmless);
    cr_assert_gt(counts.refused, 100);
    cr_assert_gt(counts.detected, 100);
    cr_assert_gt(counts.harmless, 0);
}

/* A store with one topic of two chunks, and then what a test puts into its system topic. */
static struct model *store_to_contradict(void)
{
    struct model *model = model_new(1);
    started(model);
    for (int i = 0; i < 20; i++) {
        model_append(model, 1, 400);
    }
    model_flush(model);
    return model;
}

static void expect_refusal(struct model *model, int error, const char *words)
{
    model_flush(model);
    struct model *copy = model_power_loss(model, 1, LOSE_UNSYNCED);
    cr_assert_eq(model_recover(copy), error, "%s", copy->fault.text);
    cr_assert_not_null(strstr(copy->fault.text, words), "%s", copy->fault.text);
    model_free_all(copy);
    gone(model);
}

Test(recovery, records_that_contradict_what_was_before_are_refused)
{
    struct model *model = store_to_contradict();
    const uint64_t id = model->topics[1].id;
    const uint64_t tail = model->topics[1].tail.position;
    const struct record records[] = {
        {.kind = RECORD_MARK, .topic_id = id, .mark = {.durable = {tail + 8, 20}}},
        {.kind = RECORD_MARK, .topic_id = id, .mark = {.durable = {UINT64_MAX - 15, 20}}},
        {.kind = RECORD_MARK, .topic_id = id, .mark = {.durable = {S_OF_MODEL, 20}}},
        {.kind = RECORD_TRIM, .topic_id = id, .trim = {.chunk_no = 1, .first = {tail, 20}}},
        {.kind = RECORD_ASSIGN,
         .topic_id = id,
         .assign = {.chunk_no = 0, .slot = 40, .durable = model->topics[1].durable}},
        {.kind = RECORD_VERDICT,
         .topic_id = id,
         .verdict = {.tail = model->topics[1].durable,
                     .durable = model->topics[1].durable,
                     .void_from = 0}},
        {.kind = RECORD_CURSOR, .topic_id = 0, .cursor = {.group = {"default", 7}}},
        {.kind = RECORD_TOPIC_CREATE, .topic_id = id + 5},
    };
    gone(model);
    for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
        model = store_to_contradict();
        model_record(model, &records[i]);
        expect_refusal(model, -EBADMSG, "contradicts");
    }
}

Test(recovery, records_of_a_topic_that_was_never_created_are_refused)
{
    struct model *model = store_to_contradict();
    const struct record_place begin = {.position = CHUNK_HEADER_BYTES};
    model_record(model,
                 &(struct record){.kind = RECORD_MARK, .topic_id = 77, .mark = {.durable = begin}});
    expect_refusal(model, -EBADMSG, "topic 77");
}

Test(recovery, two_topics_of_one_name_are_refused)
{
    struct model *model = store_to_contradict();
    model_record(model, &(struct record){
                            .kind = RECORD_TOPIC_CREATE,
                            .topic_id = 77,
                            .topic_create = {.name = {model->topics[1].name,
                                                      (uint16_t)strlen(model->topics[1].name)}}});
    expect_refusal(model, -EBADMSG, "two topics named");
}

Test(recovery, bytes_that_are_no_record_are_refused_and_newer_records_say_so)
{
    struct model *model = store_to_contradict();
    model_raw_record(model, "\003\001", 2);
    expect_refusal(model, -EBADMSG, ".seg is damaged at offset ");
    model = store_to_contradict();
    model_raw_record(model, "\144\001", 2);
    expect_refusal(model, -EPROTO, "does not know");
    model = store_to_contradict();
    uint8_t *long_bytes = calloc(1, 3000);
    model_raw_record(model, long_bytes, 3000);
    free(long_bytes);
    expect_refusal(model, -EBADMSG, ".seg is damaged at offset ");
}

static struct record assign_of(const struct model *model, uint64_t id, uint64_t chunk_no,
                               uint32_t slot)
{
    return (struct record){.kind = RECORD_ASSIGN,
                           .topic_id = id,
                           .assign = {.chunk_no = chunk_no,
                                      .slot = slot,
                                      .generation = model->next_generation,
                                      .durable = {.position = chunk_first_frame(0, MODEL_CHUNK)}}};
}

Test(recovery, slots_outside_the_segments_are_refused)
{
    static const uint32_t slots[] = {UINT32_MAX, 256 * 16, 100000};
    for (size_t i = 0; i < 3; i++) {
        struct model *model = store_to_contradict();
        const struct record record = assign_of(model, model->topics[1].id, 3, slots[i]);
        model_record(model, &record);
        expect_refusal(model, -EBADMSG, "in none of the segments");
    }
}

Test(recovery, the_header_of_a_segment_is_nobody_s_slot)
{
    struct model *model = store_to_contradict();
    const struct record record = assign_of(model, model->topics[1].id, 3, 0);
    model_record(model, &record);
    /* Chunk 3 lies behind the tail, so its assignment is void, whatever it says. */
    model_flush(model);
    restarted(model, LOSE_UNSYNCED);
    cr_assert_eq(model->recovery.topics[0].void_from, 3);
    gone(model);
    model = store_to_contradict();
    const struct record used = assign_of(model, model->topics[1].id, 1, 0);
    model_record(model, &used);
    expect_refusal(model, -EBADMSG, "");
}

Test(recovery, durable_entries_whose_slot_went_to_another_topic_are_missed)
{
    struct model *model = store_to_contradict();
    model_append(model, 2, 10);
    model_mark(model, 1);
    const uint32_t slot = model->topics[1].chunks[0].slot;
    const struct record record = assign_of(model, model->topics[2].id, 1, slot);
    model_record(model, &record);
    expect_refusal(model, -EBADMSG, "has no slot any more");
}

Test(recovery, a_missing_segment_that_holds_chunks_is_refused)
{
    struct model *model = store_to_contradict();
    while (model->segments.count < 3) {
        for (int i = 0; i < 10; i++) {
            model_append(model, 1, 8000);
        }
        model_flush(model);
    }
    model_append(model, 1, 60000);
    model_append(model, 1, 60000);
    model_flush(model);
    struct memory_node *segments = memory_disk_find(model->disk, "data/segments");
    memory_directory_set(segments, segment_name(model->segments.count - 1).text, NULL);
    memory_directory_set(segments, segment_name(model->segments.count - 2).text, NULL);
    memory_node_sync(segments);
    expect_refusal(model, -EBADMSG, "in none of the segments");
}
