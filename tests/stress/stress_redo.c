/*
 * The steps of a unit, watched: an engine makes one unit after the other final; a watcher stands for
 * the next broker, which sees the memory as a kill at that moment would leave it (stores become
 * visible in program order). Whatever a later step shows, all earlier ones show too.
 * Seen to fail with:
 *   [J1] INTENT_VALID stored before the intent's fields; stored relaxed (race with the frames)
 *   [J2] topic_publish() before intent_write()
 *   [J3] intent_finish() before topic_publish()
 *   [J4] INTENT_NONE stored before the ledger's indices; the CQ tail stored relaxed (race)
 *   [J5] lane_engine_publish() before intent_finish()
 * What a restart makes of each of these moments: tests/unit/test_redo.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "shm/lane.h"
#include "shm/ledger.h"
#include "tests/stress/stress.h"

enum {
    WATCHERS = 1,
    UNITS = 400 * 1000,
    ENTRY_BYTES = 64,      /* of log */
    SUBMISSION_BYTES = 96, /* of SQ */
};

/* Unit u (1, 2 ...) has u % 3 + 1 entries, and ends at these places: */
static uint32_t unit_count(uint64_t unit)
{
    return (uint32_t)(unit % 3) + 1;
}

static uint64_t seq_after(uint64_t unit)
{
    return unit / 3 * 6 + (unit % 3 == 0 ? 0 : unit % 3 == 1 ? 2 : 5);
}

static struct lane_map lane;
static struct ledger_shm *ledger;
static struct topic_shm topic;
static uint64_t frames[2 * UNITS + 6]; /* by seq: the entry's frame, complete before its intent */
static struct atom unit_begun; /* the engine works on this unit; nothing of it is done yet */
static struct atom engine_done;

/* The engine's thread: the steps of broker/append.c. */

static void unit_make(struct lane_record_shm *record, uint64_t unit)
{
    const uint64_t first_seq = seq_after(unit - 1);
    const uint64_t head = seq_after(unit) * SUBMISSION_BYTES;
    for (uint64_t seq = first_seq; seq < seq_after(unit); seq++) {
        frames[seq] = ~seq;
        const struct completion_shm completion = {.user_data = seq, .seq = seq};
        lane_engine_complete(&lane, seq, &completion);
    }
    const struct intent intent = {
        .head = head,
        .cq_tail = seq_after(unit),
        .position = seq_after(unit) * ENTRY_BYTES,
        .first_seq = first_seq,
        .topic = 0,
        .count = unit_count(unit),
        .error = -(int)(unit % 100),
    };
    intent_write(record, &intent);                                    /* [J1] [J2] */
    topic_publish(&topic, intent.position, first_seq + intent.count); /* [J2] [J3] */
    intent_finish(record, head, intent.cq_tail);                      /* [J3] [J4] [J5] */
    lane_engine_publish(&lane, head, intent.cq_tail);                 /* [J5] */
}

static void *engine_run(void *context)
{
    struct lane_record_shm *record = context;
    const uint64_t end_ms = stress_now_ms() + STRESS_MS;
    uint64_t unit = 0;
    while (unit < UNITS && (unit % 64 != 0 || stress_now_ms() < end_ms)) {
        unit++;
        for (unsigned spins = 0; seq_after(unit) - lane_engine_cq_head(&lane) > lane.cq_slots;) {
            stress_pause(&spins);
        }
        atom_store_release(&unit_begun, unit);
        unit_make(record, unit);
    }
    atom_store_release(&engine_done, 1);
    printf("units=%lu entries=%lu\n", unit, seq_after(unit));
    return NULL;
}

/* The watcher's thread: each check reads the later step first. */

static void published_check(const struct lane_record_shm *record)
{
    const uint64_t sq_head = lane_room(&lane);
    const uint64_t cq_tail = lane_completions(&lane);
    stress_check(atom_load_acquire(&record->head) >= sq_head, "[J5] SQ head %lu", sq_head);
    stress_check(atom_load_acquire(&record->cq_tail) >= cq_tail, "[J5] CQ tail %lu", cq_tail);
}

static uint64_t record_check(const struct lane_record_shm *record, uint64_t reaped)
{
    const uint64_t cq_tail = atom_load_acquire(&record->cq_tail);
    for (; reaped < cq_tail; reaped++) {
        const struct completion_shm *completion = lane_completion(&lane, reaped);
        stress_check(completion->user_data == reaped && completion->seq == reaped,
                     "[J4] completion %lu is that of %lu", reaped, completion->user_data);
    }
    const uint64_t head = atom_load_acquire(&record->head);
    stress_check(head >= cq_tail * SUBMISSION_BYTES, "[J4] the CQ tail is ahead of the SQ head");
    stress_check(topic_published_seq(&topic) * SUBMISSION_BYTES >= head,
                 "[J3] taken up to %lu, and not in the topic", head);
    lane_reap_to(&lane, reaped);
    return reaped;
}

static void topic_check(const struct lane_record_shm *record)
{
    const uint64_t next_seq = topic_published_seq(&topic);
    struct intent intent;
    (void)intent_read(record, &intent);
    stress_check(intent.first_seq + intent.count >= next_seq,
                 "[J2] the topic has %lu entries, the newest intent ends at %lu", next_seq,
                 intent.first_seq + intent.count);
}

static bool intent_is_of(const struct intent *intent, uint64_t unit)
{
    const uint64_t next_seq = seq_after(unit);
    return intent->first_seq == seq_after(unit - 1) && intent->count == unit_count(unit) &&
           intent->position == next_seq * ENTRY_BYTES && intent->cq_tail == next_seq &&
           intent->head == next_seq * SUBMISSION_BYTES && intent->error == -(int)(unit % 100);
}

/* A record that is valid is complete; one that has ended after its unit was published covers it. */
static void end_check(const struct lane_record_shm *record)
{
    const uint64_t unit = atom_load_acquire(&unit_begun);
    const uint64_t next_seq = topic_published_seq(&topic);
    struct intent intent;
    const enum intent_state state = intent_read(record, &intent);
    const uint64_t cq_tail = atom_load_relaxed(&record->cq_tail); /* after the state, by acquire */
    fence_full();
    if (atom_load_acquire(&unit_begun) != unit || unit == 0) {
        return; /* what was read may be of two units */
    }
    if (state == INTENT_NONE) {
        stress_check(cq_tail >= next_seq, "[J4] the record of unit %lu ended with a CQ tail of %lu",
                     unit, cq_tail);
        return;
    }
    stress_check(intent_is_of(&intent, unit), "[J1] the intent of unit %lu is not complete", unit);
    for (uint64_t seq = intent.first_seq; seq < intent.first_seq + intent.count; seq++) {
        stress_check(frames[seq] == ~seq, "[J1] frame %lu is not complete", seq);
    }
}

static void *watcher_run(void *context)
{
    const struct lane_record_shm *record = context;
    uint64_t reaped = 0;
    for (bool done = false; !done;) {
        done = atom_load_acquire(&engine_done) != 0;
        end_check(record);
        published_check(record);
        topic_check(record);
        reaped = record_check(record, reaped);
    }
    stress_check(reaped > 0, "nothing was seen");
    return NULL;
}

int main(void)
{
    const int fd = lane_create(1, SQ_BYTES_MIN);
    stress_check(fd >= 0 && lane_open(&lane, fd) == 0, "cannot make a lane");
    const uint64_t bytes = ledger_bytes(1);
    ledger = aligned_alloc(BLOCK_BYTES, bytes);
    stress_check(ledger != NULL, "no memory");
    struct lane_record_shm *record = ledger_lane(ledger, 0);
    *record = (struct lane_record_shm){0};
    ledger_format(ledger, 1, 1);
    stress_run(engine_run, watcher_run, WATCHERS, record);
    free(ledger);
    lane_close(&lane);
    close(fd);
    return 0;
}
