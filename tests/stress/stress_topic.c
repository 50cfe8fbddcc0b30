/*
 * What the engine publishes of topics, against readers: whoever sees a seq finds everything that it
 * covers, and a position at least as new.
 * Seen to fail, as races under ThreadSanitizer, with the store or the load made relaxed of
 *   [T1] next_seq       [T2] durable_seq     [T3] state
 *   [T4] chunk_map      [T5] first_seq
 * A seq that is stored before its position fails here now and then (x86-64 shows it for a moment
 * only), and always in tests/unit/test_shm_directory.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/directory.h"
#include "shm/frame.h"
#include "tests/stress/stress.h"

enum {
    READERS = 3,      /* the first looks at nothing but positions */
    ENTRY_BYTES = 32, /* of an entry in this log: position = seq * ENTRY_BYTES */
    ENTRIES = 2 * 1000 * 1000,
    ENTRIES_PER_CHUNK = 1000,
    CHUNKS = ENTRIES / ENTRIES_PER_CHUNK,
    TOPICS = 2000,
};

static struct topic_shm topic;
static struct topic_shm named[TOPICS];      /* each announced once */
static uint64_t entries[ENTRIES];           /* written before the tail covers them */
static unsigned char synced[ENTRIES];       /* written before the watermark covers them */
static unsigned char trimmed[ENTRIES];      /* written before the first seq passes them */
static struct chunk_header headers[CHUNKS]; /* written before the map names them */
static struct atom writer_done;

/* The engine's thread. */

static void topic_name(uint32_t index)
{
    struct topic_shm *shm = &named[index];
    memset(shm->name, (int)(index % 255) + 1, TOPIC_NAME_BYTES_MAX);
    shm->name_bytes = index % TOPIC_NAME_BYTES_MAX + 1;
    atom_store_relaxed(&shm->incarnation, index + 1); /* [T3] orders it */
    atom_store_relaxed(&shm->topic_id, index + 2);    /* [T3] orders it */
    topic_announce(shm, TOPIC_PRESENT);
}

static void chunk_begin(uint64_t chunk_no)
{
    headers[chunk_no] = (struct chunk_header){.magic = CHUNK_MAGIC, .chunk_no = chunk_no};
    topic_map_chunk(&topic, chunk_no, (uint32_t)chunk_no);
}

static void *engine_run(void *context)
{
    struct stress_dice dice = {0};
    const uint64_t end_ms = stress_now_ms() + STRESS_MS;
    uint64_t seq = 0;
    uint64_t durable = 0;
    uint64_t first = 0;
    uint32_t topics = 0;
    (void)context;
    while (seq < ENTRIES && stress_now_ms() < end_ms) {
        for (uint32_t count = 1 + dice_roll(&dice, 20); count > 0 && seq < ENTRIES; count--) {
            if (seq % ENTRIES_PER_CHUNK == 0) {
                chunk_begin(seq / ENTRIES_PER_CHUNK);
            }
            entries[seq] = ~seq;
            seq++;
        }
        topic_publish(&topic, seq * ENTRY_BYTES, seq); /* [T1] */
        if (dice_roll(&dice, 2) == 0) {
            memset(synced + durable, 1, seq - durable);
            durable = seq;
            topic_publish_durable(&topic, durable * ENTRY_BYTES, durable); /* [T2] */
        }
        if (dice_roll(&dice, 3) == 0) {
            memset(trimmed + first, 1, durable - first);
            first = durable;
            topic_publish_first(&topic, first * ENTRY_BYTES, first); /* [T5] */
        }
        if (topics < TOPICS) {
            topic_name(topics++);
        }
        dice_delay(&dice);
    }
    atom_store_release(&writer_done, 1);
    printf("entries=%lu durable=%lu first=%lu topics=%u\n", seq, durable, first, topics);
    return NULL;
}

/* A reader's thread. */

/* Up to which entry this reader has looked at what a seq covers. */
struct looked {
    uint64_t tail;
    uint64_t durable;
    uint64_t first;
    uint32_t topics;
};

/* The position stored with a seq, or a newer one. */
static void position_check(uint64_t seq, const struct atom *position, const char *what)
{
    const uint64_t at = atom_load_relaxed(position); /* ordered by the acquire of the seq */
    stress_check(at >= seq * ENTRY_BYTES, "%s seq %lu, position %lu", what, seq, at);
}

static uint64_t published_seq(void)
{
    const uint64_t seq = topic_published_seq(&topic); /* [T1] */
    position_check(seq, &topic.tail_position, "published");
    return seq;
}

static uint64_t durable_seq(void)
{
    const uint64_t seq = topic_durable_seq(&topic); /* [T2] */
    position_check(seq, &topic.durable_position, "durable");
    return seq;
}

static uint64_t first_seq(void)
{
    const uint64_t seq = topic_first_seq(&topic); /* [T5] */
    position_check(seq, &topic.first_position, "first");
    return seq;
}

static void entries_check(struct looked *looked)
{
    for (const uint64_t seq = published_seq(); looked->tail < seq; looked->tail++) {
        stress_check(entries[looked->tail] == ~looked->tail, "entry %lu", looked->tail);
    }
    for (const uint64_t seq = durable_seq(); looked->durable < seq; looked->durable++) {
        stress_check(synced[looked->durable] == 1, "entry %lu is not synced", looked->durable);
    }
    for (const uint64_t seq = first_seq(); looked->first < seq; looked->first++) {
        stress_check(trimmed[looked->first] == 1, "entry %lu is not trimmed", looked->first);
    }
}

/* What comes later in an entry's life is never ahead of what comes earlier. */
static void order_check(void)
{
    const uint64_t first = first_seq();
    const uint64_t durable = durable_seq();
    stress_check(durable >= first, "trimmed up to %lu, durable up to %lu", first, durable);
    stress_check(published_seq() >= durable, "durable up to %lu before it is committed", durable);
}

static void map_check(struct stress_dice *dice)
{
    const uint64_t newest = topic_published_seq(&topic) / ENTRIES_PER_CHUNK;
    const uint64_t chunk_no = newest + 1 - dice_roll(dice, 3);
    uint32_t unit;
    if (chunk_no < CHUNKS && topic_chunk_unit(&topic, chunk_no, &unit) == 1) { /* [T4] */
        stress_check(unit == chunk_no && headers[unit].chunk_no == chunk_no &&
                         headers[unit].magic == CHUNK_MAGIC,
                     "chunk %lu in unit %u has the header of %lu", chunk_no, unit,
                     headers[unit].chunk_no);
    }
}

static void names_check(struct looked *looked)
{
    while (looked->topics < TOPICS &&
           topic_state(&named[looked->topics]) != TOPIC_FREE) { /* [T3] */
        const uint32_t index = looked->topics++;
        const struct topic_shm *shm = &named[index];
        stress_check(shm->name_bytes == index % TOPIC_NAME_BYTES_MAX + 1 &&
                         shm->name[0] == index % 255 + 1 &&
                         shm->name[TOPIC_NAME_BYTES_MAX - 1] == index % 255 + 1,
                     "descriptor %u has another's name", index);
        stress_check(atom_load_relaxed(&shm->incarnation) == index + 1 &&
                         atom_load_relaxed(&shm->topic_id) == index + 2,
                     "descriptor %u has another's numbers", index);
    }
}

static void *reader_run(void *context)
{
    struct stress_dice dice = {0};
    struct looked looked = {0};
    (void)context;
    for (bool done = false; !done;) {
        done = atom_load_acquire(&writer_done) != 0;
        if (stress_number() == 0) {
            order_check();
            continue;
        }
        map_check(&dice);
        names_check(&looked);
        entries_check(&looked);
    }
    stress_check(stress_number() == 0 || (looked.tail > 0 && looked.first > 0 && looked.topics > 0),
                 "nothing was seen");
    return NULL;
}

int main(void)
{
    stress_run(engine_run, reader_run, READERS, NULL);
    return 0;
}
