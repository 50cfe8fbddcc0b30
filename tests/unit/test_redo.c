/*
 * The redo record of a lane: a broker that dies after any single instruction of a unit leaves memory
 * from which the next one goes on as if nothing had happened. One unit is made final with the calls
 * of broker/append.c, an instruction at a time; from every state in between, a restart must bring the
 * topic to the unit's tail if the intent was valid and leave it alone if not, once, however often the
 * restart itself dies; and the unit's completions, recomputed from the lane and the intent or written
 * by taking the submissions again, must be those of the undisturbed run, bit for bit.
 *
 * Seen to fail with: INTENT_VALID before the intent's fields; topic_publish() before intent_write();
 * intent_finish() before topic_publish(), or ending the record before its indices are stored;
 * lane_engine_publish() before intent_finish(); a redo that does not mark the record, that marks it
 * before the topic is done, that sets the tail instead of raising it, or that ignores the position.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/frame.h"
#include "shm/lane.h"
#include "shm/ledger.h"
#include "tests/support/scratch.h"
#include "tests/unit/single_step.h"

enum {
    LANES = 2,
    TOPICS = 2,
    SQ_BYTES = 2048,
    CQ_COUNT = 32,
    LOG_BYTES = 4096,
    BODY_BYTES = 24,
    DIRECTORY_BYTES = 32 * 1024,
    SUBMISSIONS_MAX = 4,
};

/* Where lanes and topic stand before a test; big, so that the low halves alone would not do. */
static const uint64_t head_before = (UINT64_C(5) << 32) + SQ_BYTES * 7;
static const uint64_t cq_before = (UINT64_C(3) << 32) + CQ_COUNT - 2; /* the CQ turns */
static const uint64_t position_before = (UINT64_C(9) << 32) + 64;
static const uint64_t seq_before = (UINT64_C(2) << 32) - 1;

struct lane_memory {
    struct lane_shm shm;
    unsigned char sq[SQ_BYTES];
    struct completion_shm cq[CQ_COUNT];
};

/* Everything that outlives a broker. */
struct world {
    alignas(BLOCK_BYTES) unsigned char directory[DIRECTORY_BYTES];
    struct ledger_shm ledger;
    struct lane_record_shm records[LANES]; /* as ledger_lane() finds them */
    struct lane_memory lanes[LANES];
    unsigned char log[TOPICS][LOG_BYTES]; /* the arena: frames from position_before on */
};
_Static_assert(offsetof(struct world, records) ==
                   offsetof(struct world, ledger) + sizeof(struct ledger_shm),
               "records follow the ledger's header");

struct unit_case {
    const char *name;
    uint32_t lane;
    uint32_t topic;
    int error; /* refused with it */
    uint32_t count;
    struct {
        uint16_t kind;
        uint16_t flags;
        uint64_t entries;
    } submissions[SUBMISSIONS_MAX];
};

static const struct unit_case cases[] = {
    {.name = "one append", .count = 1, .submissions = {{SUBMIT_APPEND, 0, 1}}},
    {.name = "a run with quiet ones",
     .topic = 1,
     .count = 4,
     .submissions = {{SUBMIT_APPEND, SUBMIT_QUIET, 1},
                     {SUBMIT_APPEND, 0, 1},
                     {SUBMIT_APPEND, SUBMIT_QUIET, 1},
                     {SUBMIT_APPEND, 0, 1}}},
    {.name = "a quiet append", .count = 1, .submissions = {{SUBMIT_APPEND, SUBMIT_QUIET, 1}}},
    {.name = "a batch", .lane = 1, .count = 5, .submissions = {{SUBMIT_BATCH, 0, 5}}},
    {.name = "a refusal", .error = -EILSEQ, .submissions = {{SUBMIT_APPEND, SUBMIT_AT, 1}}},
    {.name = "a quiet refusal",
     .error = -ENOENT,
     .submissions = {{SUBMIT_APPEND, SUBMIT_QUIET | SUBMIT_NO_CREATE, 1}}},
};

static struct world *world;

static struct directory_shm *directory_of(struct world *at)
{
    return (struct directory_shm *)(void *)at->directory;
}

static struct topic_shm *topic_of(struct world *at, uint32_t index)
{
    return directory_topic(directory_of(at), index);
}

static struct lane_map lane_of(struct world *at, uint32_t index)
{
    struct lane_memory *memory = &at->lanes[index];
    return (struct lane_map){.shm = &memory->shm,
                             .sq = memory->sq,
                             .cq = memory->cq,
                             .sq_bytes = SQ_BYTES,
                             .cq_slots = CQ_COUNT};
}

static void set_up(void)
{
    const struct directory_geometry geometry = {
        .chunk_bytes = CHUNK_BYTES_MIN, .arena_bytes = CHUNK_BYTES_MIN, .topics_max = TOPICS};
    cr_assert_leq(directory_bytes(&geometry), DIRECTORY_BYTES);
    world = shared_memory(sizeof *world);
    directory_format(directory_of(world), &geometry, 1, 1);
    ledger_format(&world->ledger, LANES, 1);
    for (uint32_t i = 0; i < TOPICS; i++) {
        topic_publish(topic_of(world, i), position_before, seq_before);
    }
    for (uint32_t i = 0; i < LANES; i++) {
        const struct lane_map lane = lane_of(world, i);
        cr_assert_eq(ledger_lane(&world->ledger, i), &world->records[i]);
        intent_finish(&world->records[i], head_before, cq_before);
        lane_engine_publish(&lane, head_before, cq_before);
    }
}

TestSuite(redo, .init = set_up);

/* The client's part: the submissions of a unit lie in its lane. */
static void unit_submit(struct world *at, const struct unit_case *unit)
{
    const struct lane_map lane = lane_of(at, unit->lane);
    uint64_t tail = atom_load_relaxed(&at->records[unit->lane].head);
    for (int i = 0; i < SUBMISSIONS_MAX && unit->submissions[i].kind != 0; i++) {
        const struct submission_shm header = {
            .bytes = BODY_BYTES,
            .kind = unit->submissions[i].kind,
            .flags = unit->submissions[i].flags,
            .topic = unit->topic,
            .user_data = tail * 3 + unit->lane,
            .arg = unit->submissions[i].entries,
        };
        unsigned char *place = lane_at(&lane, tail);
        memcpy(place, &header, sizeof header);
        memset(place + sizeof header, 0x40 + i, BODY_BYTES);
        tail += submission_bytes(BODY_BYTES);
    }
    lane_publish(&lane, tail);
}

/* Where an engine has got to in a unit. */
struct walk {
    struct lane_map lane;
    uint64_t head;
    uint64_t cq_tail;
    uint64_t seq;
    uint64_t position;
};

static void walk_frames(struct world *at, uint32_t topic, struct walk *walk, uint64_t entries)
{
    const unsigned char *body = lane_at(&walk->lane, walk->head + SUBMISSION_HEADER_BYTES);
    for (uint64_t i = 0; i < entries; i++) {
        unsigned char *place = at->log[topic] + (walk->position - position_before);
        const struct frame_header frame = {.size = BODY_BYTES, .seq = walk->seq++};
        memcpy(place, &frame, sizeof frame);
        memcpy(place + sizeof frame, body, BODY_BYTES);
        walk->position += frame_bytes(BODY_BYTES);
    }
}

/* One submission: its completion, if it wants one, and behind it in the lane. */
static void walk_submission(struct walk *walk, uint64_t seq, int error)
{
    const struct submission copy = submission_copy(&walk->lane, walk->head);
    if ((copy.flags & SUBMIT_QUIET) == 0) {
        const struct completion_shm completion = {
            .user_data = copy.user_data, .seq = error == 0 ? seq : 0, .error = error};
        lane_engine_complete(&walk->lane, walk->cq_tail++, &completion);
    }
    walk->head += submission_bytes(copy.bytes);
}

/* The engine's part, as broker/append.c has it: what lies in the lane becomes a unit, up to step 6. */
static void unit_take(void *memory, void *context)
{
    struct world *at = memory;
    const struct unit_case *unit = context;
    struct lane_record_shm *record = &at->records[unit->lane];
    struct topic_shm *topic = topic_of(at, unit->topic);
    struct walk walk = {.lane = lane_of(at, unit->lane),
                        .head = atom_load_relaxed(&record->head),
                        .cq_tail = atom_load_relaxed(&record->cq_tail),
                        .seq = atom_load_relaxed(&topic->next_seq),
                        .position = atom_load_relaxed(&topic->tail_position)};
    const uint64_t first_seq = walk.seq;
    for (int i = 0; i < SUBMISSIONS_MAX && unit->submissions[i].kind != 0; i++) {
        const uint64_t seq = walk.seq;
        if (unit->error == 0) {
            walk_frames(at, unit->topic, &walk, unit->submissions[i].entries);
        }
        walk_submission(&walk, seq, unit->error);
    }
    const bool accepted = unit->error == 0;
    const struct intent intent = {.head = walk.head,
                                  .cq_tail = walk.cq_tail,
                                  .position = accepted ? walk.position : 0,
                                  .first_seq = accepted ? first_seq : 0,
                                  .topic = accepted ? unit->topic : 0,
                                  .count = unit->count,
                                  .error = unit->error};
    intent_write(record, &intent);
    if (accepted) {
        topic_publish(topic, walk.position, walk.seq);
    }
    intent_finish(record, walk.head, walk.cq_tail);
    lane_engine_publish(&walk.lane, walk.head, walk.cq_tail);
}

/* What a restarted broker does first. */
static void restart(void *memory, void *context)
{
    struct world *at = memory;
    (void)context;
    for (uint32_t i = 0; i < LANES; i++) {
        intent_redo_topic(&at->records[i], directory_of(at));
    }
}

/*
 * What it does when the lane is handed back: the lane's part of an applied intent. Where the ledger
 * has the unit's head already, its completions were complete before that [J4].
 */
static void hand_back(struct world *at, uint32_t index)
{
    struct lane_record_shm *record = &at->records[index];
    struct walk walk = {.lane = lane_of(at, index), .head = atom_load_relaxed(&record->head)};
    struct intent intent;
    if (intent_read(record, &intent) == INTENT_APPLIED) {
        walk.cq_tail = atom_load_relaxed(&record->cq_tail);
        uint64_t seq = intent.first_seq;
        const bool due = walk.head != intent.head;
        while (walk.head < intent.head) {
            const struct submission copy = submission_copy(&walk.lane, walk.head);
            walk_submission(&walk, seq, intent.error);
            seq += copy.kind == SUBMIT_BATCH ? copy.arg : 1;
        }
        cr_assert_eq(walk.head, intent.head, "the lane does not yield the intent's unit");
        cr_assert(!due || walk.cq_tail == intent.cq_tail);
        cr_assert(!due || intent.error != 0 || seq == intent.first_seq + intent.count);
        intent_finish(record, intent.head, intent.cq_tail);
    }
    lane_engine_publish(&walk.lane, atom_load_relaxed(&record->head),
                        atom_load_relaxed(&record->cq_tail));
}

/* The same for clients and for the next broker: intents that have ended may differ. */
static void worlds_equal(struct world *actual, struct world *expected, const char *what)
{
    cr_assert_eq(memcmp(actual->directory, expected->directory, sizeof actual->directory), 0,
                 "%s: another directory", what);
    cr_assert_eq(memcmp(actual->lanes, expected->lanes, sizeof actual->lanes), 0,
                 "%s: clients see something else", what);
    cr_assert_eq(memcmp(actual->log, expected->log, sizeof actual->log), 0, "%s: another log",
                 what);
    for (uint32_t i = 0; i < LANES; i++) {
        cr_assert_eq(atom_load_relaxed(&actual->records[i].head),
                     atom_load_relaxed(&expected->records[i].head), "%s", what);
        cr_assert_eq(atom_load_relaxed(&actual->records[i].cq_tail),
                     atom_load_relaxed(&expected->records[i].cq_tail), "%s", what);
    }
}

static void tail_is(struct world *at, struct world *expected, uint32_t topic, const char *what)
{
    struct topic_shm *actual = topic_of(at, topic);
    struct topic_shm *wanted = topic_of(expected, topic);
    cr_assert_eq(atom_load_relaxed(&actual->tail_position),
                 atom_load_relaxed(&wanted->tail_position), "%s: position", what);
    cr_assert_eq(atom_load_relaxed(&actual->next_seq), atom_load_relaxed(&wanted->next_seq),
                 "%s: seq", what);
}

/* The restart dies after each of its own steps, and the next one does it over. */
static void restart_dies(const struct world *died, const struct world *restarted)
{
    if (memcmp(died, restarted, sizeof *died) == 0) {
        return; /* it had nothing to do */
    }
    struct world *at = shared_memory(sizeof *at);
    struct images images;
    *at = *died;
    images_record(&images, at, sizeof *at, restart, NULL);
    cr_assert_eq(memcmp(at, restarted, sizeof *at), 0);
    for (size_t i = 0; i < images.count; i++) {
        *at = *(struct world *)images.image[i];
        restart(at, NULL);
        cr_assert_eq(memcmp(at, restarted, sizeof *at), 0, "a second stop after step %zu", i);
        restart(at, NULL);
        cr_assert_eq(memcmp(at, restarted, sizeof *at), 0, "a third restart changes something");
    }
    images_free(&images);
}

/* A client must be able to lose its broker here: what it has been told is in the ledger. */
static void nothing_is_told_too_early(const struct world *died, uint32_t lane)
{
    const struct lane_record_shm *record = &died->records[lane];
    const struct lane_shm *shm = &died->lanes[lane].shm;
    cr_assert_leq(atom_load_relaxed(&shm->sq_head), atom_load_relaxed(&record->head));
    cr_assert_leq(atom_load_relaxed(&shm->cq_tail), atom_load_relaxed(&record->cq_tail));
}

/* The broker died in this state of a unit that leads from `before` to `after`. */
static void state_check(struct world *died, struct world *before, struct world *after,
                        const struct unit_case *unit, bool was_valid)
{
    struct world *at = shared_memory(sizeof *at);
    struct lane_record_shm *record = &at->records[unit->lane];
    struct intent intent;
    nothing_is_told_too_early(died, unit->lane);
    *at = *died;
    restart(at, NULL);
    tail_is(at, was_valid ? after : before, unit->topic, unit->name);
    tail_is(at, before, 1 - unit->topic, unit->name);
    cr_assert_neq(intent_read(record, &intent), INTENT_VALID);
    restart_dies(died, at);

    hand_back(at, unit->lane);
    if (!was_valid) {
        cr_assert_eq(atom_load_relaxed(&record->head), head_before, "taken, and nowhere");
        unit_take(at, (void *)(uintptr_t)unit);
    }
    worlds_equal(at, after, unit->name);
}

/* All states of a unit; the world is behind it afterwards. */
static void unit_check(const struct unit_case *unit)
{
    struct images images;
    unit_submit(world, unit);
    images_record(&images, world, sizeof *world, unit_take, (void *)(uintptr_t)unit);
    cr_assert_gt(images.count, 5, "%s: %zu states", unit->name, images.count);
    bool was_valid = false;
    for (size_t i = 0; i < images.count; i++) {
        struct world *died = images.image[i];
        struct intent intent;
        was_valid = was_valid || intent_read(&died->records[unit->lane], &intent) == INTENT_VALID;
        state_check(died, images.image[0], images.image[images.count - 1], unit, was_valid);
    }
    cr_assert(was_valid);
    images_free(&images);
}

Test(redo, a_death_at_any_instruction_of_a_unit)
{
    const struct world *fresh = world;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        world = shared_memory(sizeof *world);
        *world = *fresh;
        unit_check(&cases[i]);
        const struct topic_shm *topic = topic_of(world, cases[i].topic);
        cr_assert_eq(atom_load_relaxed(&topic->next_seq), seq_before + cases[i].count, "%s",
                     cases[i].name);
        cr_assert_eq(atom_load_relaxed(&topic->tail_position),
                     position_before + cases[i].count * frame_bytes(BODY_BYTES), "%s",
                     cases[i].name);
    }
}

/* The world after a death of lane 0's unit in step 2, restarted: its lane is not handed back yet. */
static void world_with_an_applied_intent(const struct unit_case *unit)
{
    struct images images;
    unit_submit(world, unit);
    images_record(&images, world, sizeof *world, unit_take, (void *)(uintptr_t)unit);
    for (size_t i = 0; i < images.count; i++) {
        struct world *died = images.image[i];
        struct intent intent;
        if (intent_read(&died->records[unit->lane], &intent) == INTENT_VALID) {
            *world = *died;
            break;
        }
    }
    images_free(&images);
    struct intent intent;
    restart(world, NULL);
    cr_assert_eq(intent_read(&world->records[unit->lane], &intent), INTENT_APPLIED);
}

/* An intent that was applied says nothing about its topic any more. */
Test(redo, an_applied_intent_is_never_applied_again)
{
    world_with_an_applied_intent(&cases[1]);
    struct topic_shm *topic = topic_of(world, cases[1].topic);
    topic_publish(topic, CHUNK_HEADER_BYTES, 0); /* another topic has the descriptor now */
    restart(world, NULL);
    cr_assert_eq(atom_load_relaxed(&topic->tail_position), CHUNK_HEADER_BYTES);
    cr_assert_eq(atom_load_relaxed(&topic->next_seq), 0);
}

/* Nothing that was published is taken back. */
Test(redo, a_topic_that_is_ahead_stays_there)
{
    struct topic_shm *topic = topic_of(world, 0);
    const struct intent intent = {
        .position = position_before + 64, .first_seq = seq_before, .topic = 0, .count = 1};
    intent_write(&world->records[0], &intent);
    topic_publish(topic, position_before + 128, seq_before + 2);
    restart(world, NULL);
    cr_assert_eq(atom_load_relaxed(&topic->tail_position), position_before + 128);
    cr_assert_eq(atom_load_relaxed(&topic->next_seq), seq_before + 2);
}

/* Lane 0 waits for its client with an applied intent; lane 1 appends to the same topic and its broker
 * dies anywhere: neither disturbs the other, and each client gets its own completions. */
Test(redo, two_lanes_of_one_topic)
{
    static const struct unit_case first = {
        .name = "lane 0",
        .count = 2,
        .submissions = {{SUBMIT_APPEND, 0, 1}, {SUBMIT_APPEND, 0, 1}}};
    static const struct unit_case second = {
        .name = "lane 1", .lane = 1, .count = 3, .submissions = {{SUBMIT_BATCH, 0, 3}}};
    world_with_an_applied_intent(&first);
    unit_check(&second);
    hand_back(world, 0);
    hand_back(world, 1);

    const struct lane_map lanes[LANES] = {lane_of(world, 0), lane_of(world, 1)};
    cr_assert_eq(lane_completions(&lanes[0]), cq_before + 2);
    cr_assert_eq(lane_completions(&lanes[1]), cq_before + 1);
    cr_assert_eq(lane_completion(&lanes[0], cq_before)->seq, seq_before);
    cr_assert_eq(lane_completion(&lanes[0], cq_before + 1)->seq, seq_before + 1);
    cr_assert_eq(lane_completion(&lanes[1], cq_before)->seq, seq_before + 2);
    cr_assert_eq(topic_published_seq(topic_of(world, 0)), seq_before + 5);
    for (uint32_t i = 0; i < 5; i++) {
        const struct frame_header *frame =
            (const struct frame_header *)(void *)(world->log[0] + i * frame_bytes(BODY_BYTES));
        cr_assert_eq(frame->seq, seq_before + i, "entries of the two lanes overlap");
    }
}

static void redo_leaves_topics_alone(const struct intent *intent)
{
    struct world *at = shared_memory(sizeof *at);
    *at = *world;
    intent_write(&at->records[0], intent);
    restart(at, NULL);
    cr_assert_eq(memcmp(at->directory, world->directory, sizeof at->directory), 0);
    struct intent read;
    cr_assert_eq(intent_read(&at->records[0], &read), INTENT_APPLIED);
}

/* The ledger is the broker's own, but a descriptor that is none must not be written to. */
Test(redo, what_means_no_topic_is_left_alone)
{
    const struct intent outside = {
        .position = UINT64_MAX, .first_seq = 1, .topic = TOPICS, .count = 1};
    const struct intent empty = {.position = UINT64_MAX, .first_seq = UINT64_MAX};
    redo_leaves_topics_alone(&outside);
    redo_leaves_topics_alone(&empty);
}

/* The steps of a stream: where it stands behind the topic's tail is in the ledger alone, until its end
 * moves the tail. */
struct stream_step {
    const char *name;
    struct intent intent;
};

static void stream_step_take(void *memory, void *context)
{
    struct world *at = memory;
    const struct stream_step *step = context;
    struct lane_record_shm *record = &at->records[0];
    const struct intent *intent = &step->intent;
    const struct lane_map lane = lane_of(at, 0);
    intent_write(record, intent);
    if (intent->count > 0) {
        topic_publish(topic_of(at, 0), intent->position, intent->first_seq + intent->count);
    }
    intent_publish_stream(record, intent);
    intent_finish(record, intent->head, intent->cq_tail);
    lane_engine_publish(&lane, intent->head, intent->cq_tail);
}

static void stream_is(const struct world *actual, const struct world *expected, const char *what)
{
    const struct lane_record_shm *record = &actual->records[0];
    const struct lane_record_shm *wanted = &expected->records[0];
    const uint64_t topic = atom_load_relaxed(&wanted->stream_topic);
    cr_assert_eq(atom_load_relaxed(&record->stream_topic), topic, "%s: stream", what);
    cr_assert(topic == 0 || atom_load_relaxed(&record->stream_position) ==
                                atom_load_relaxed(&wanted->stream_position),
              "%s: position of the stream", what);
    cr_assert(topic == 0 ||
                  atom_load_relaxed(&record->stream_seq) == atom_load_relaxed(&wanted->stream_seq),
              "%s: seq of the stream", what);
}

/* A stream without an intent under way may be in the middle of nothing: its words are whole. */
static void stream_step_check(const struct stream_step *step)
{
    struct images images;
    images_record(&images, world, sizeof *world, stream_step_take, (void *)(uintptr_t)step);
    struct world *before = images.image[0];
    struct world *after = images.image[images.count - 1];
    bool was_valid = false;
    for (size_t i = 0; i < images.count; i++) {
        struct world *died = images.image[i];
        struct world *at = shared_memory(sizeof *at);
        struct intent intent;
        was_valid = was_valid || intent_read(&died->records[0], &intent) == INTENT_VALID;
        nothing_is_told_too_early(died, 0);
        *at = *died;
        restart(at, NULL);
        stream_is(at, was_valid ? after : before, step->name);
        tail_is(at, was_valid ? after : before, 0, step->name);
        tail_is(at, before, 1, step->name);
        restart_dies(died, at);
    }
    cr_assert(was_valid);
    images_free(&images);
}

Test(redo, a_death_at_any_instruction_of_a_stream)
{
    const uint64_t end = position_before + 640;
    const struct stream_step steps[] = {
        {"open",
         {.kind = INTENT_STREAM,
          .head = head_before + 64,
          .cq_tail = cq_before,
          .position = position_before,
          .first_seq = seq_before,
          .salt = 7}},
        {"data",
         {.kind = INTENT_STREAM,
          .head = head_before + 512,
          .cq_tail = cq_before,
          .position = position_before + 320,
          .first_seq = seq_before + 4,
          .salt = 7}},
        {"commit",
         {.kind = INTENT_STREAM_END,
          .head = head_before + 544,
          .cq_tail = cq_before + 1,
          .position = end,
          .first_seq = seq_before,
          .count = 9}},
        {"open again",
         {.kind = INTENT_STREAM,
          .head = head_before + 608,
          .cq_tail = cq_before + 1,
          .position = end,
          .first_seq = seq_before + 9,
          .salt = 8}},
        {"abort",
         {.kind = INTENT_STREAM_END,
          .head = head_before + 640,
          .cq_tail = cq_before + 2,
          .error = -ECANCELED}},
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        stream_step_check(&steps[i]);
    }
    cr_assert_eq(atom_load_relaxed(&topic_of(world, 0)->tail_position), end);
    cr_assert_eq(atom_load_relaxed(&topic_of(world, 0)->next_seq), seq_before + 9);
    cr_assert_eq(atom_load_relaxed(&world->records[0].stream_topic), 0);
}
