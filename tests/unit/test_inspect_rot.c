/*
 * Bit rot: a byte of a store that changes is named, with its file and offset, or lies where no byte
 * matters; entries that are dumped nevertheless are the ones that were appended.
 * How:        a small store of all kinds on a memory disk: entries in one and in several chunks,
 *             batches, a trim, a cursor, a deleted topic, several lives, a snapshot. Each byte of STORE
 *             and of what is in use, and samples of what is not, are changed in several ways; after each
 *             the store is verified and dumped in this process, and of some a broker's store is opened,
 *             which must say what the verification said.
 *
 * TEST_ROT_STEP says of how many bytes of payloads one is changed (32; 1: all of them); of dead bytes it
 * is one of 64 times as many, and of headers after a kill, one of an eighth of that.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/checksum.h"
#include "broker/inspect/dump.h"
#include "broker/inspect/verify.h"
#include "broker/recovery_replay.h"
#include "tests/support/deadline.h"
#include "tests/unit/store_stage.h"

enum { FILES_MAX = 8, PATTERNS = 3, START_EACH = 61 };

/* What the clean store has, by file and byte. */
struct image {
    char path[128];
    uint64_t bytes;
    uint8_t *classes;
    uint8_t *content;
};

static struct stage stage;
static struct image images[FILES_MAX];
static unsigned images_count;
static bool was_killed; /* so that what was written last may pass for torn */
static uint64_t behind_tail;
static uint64_t states;

static void end(void)
{
    stage_deinit(&stage);
}

TestSuite(inspect_rot, .fini = end, .timeout = 600);

static struct image *image_of(const char *path)
{
    for (unsigned i = 0; i < images_count; i++) {
        if (strcmp(images[i].path, path) == 0) {
            return &images[i];
        }
    }
    return NULL;
}

/* One look at the store as it is. */
struct look {
    struct inspection inspection;
    struct account account;
    struct verify_result result;
};

static void look_open(struct look *look, struct io *io, account_range_fn range_fn)
{
    struct fault fault = {0, ""};
    *look = (struct look){.account = {.range_fn = range_fn}};
    const int result = inspection_open(&look->inspection, io, "/data", &fault);
    cr_assert_eq(result, 0, "%s", fault.text);
    cr_assert_eq(verify_run(&look->inspection, &look->account, NULL, NULL, &look->result), 0);
}

static void look_close(struct look *look)
{
    inspection_close(&look->inspection);
}

/* The store. */

static void entries_append(struct stage_lane *lane, const char *name, uint32_t count, uint32_t size)
{
    const struct stage_topic topic = stage_topic_open(lane, name);
    for (uint32_t i = 0; i < count; i++) {
        (void)stage_append(lane, topic, size + i, i, 0);
    }
    stage_settle(&stage);
}

static void life(unsigned number, bool killed)
{
    static const uint32_t sizes[] = {0, 1, 100, 700};
    stage_open(&stage);
    struct stage_lane *lane = stage_lane_open(&stage);
    const struct stage_topic batches = stage_topic_open(lane, "batches");
    const struct stage_topic gone = stage_topic_open(lane, "gone");
    const struct stage_topic small = stage_topic_open(lane, "small");
    entries_append(lane, "small", 12, 30);
    entries_append(lane, "big", 2, 9000);
    (void)stage_batch(lane, batches, sizes, 4, 7, 0);
    (void)stage_append(lane, gone, 50, 1, 0);
    stage_settle(&stage);
    (void)stage_claim(lane, small, UINT64_MAX, 3, 1, 0);
    (void)stage_ask(lane, SUBMIT_TOPIC_TRIM, small, 2 + 4 * (uint64_t)number, 0);
    (void)stage_ask(lane, SUBMIT_TOPIC_DELETE, gone, 0, 0);
    stage_settle(&stage);
    if (killed) {
        stage_power_off(&stage, LOSE_NOTHING);
    } else {
        stage_close(&stage);
    }
}

static void store_make(bool killed)
{
    stage_init(&stage, 5);
    stage.snapshot_log_bytes = 1; /* one as soon as there is anything to write down */
    for (unsigned number = 0; number < 3; number++) {
        life(number, killed && number == 2);
    }
}

/* What is clean. */

static void range_note(void *context, const char *file, const struct byte_range *range)
{
    (void)context;
    struct image *image = image_of(file);
    if (image == NULL) {
        cr_assert_lt(images_count, FILES_MAX);
        image = &images[images_count++];
        (void)snprintf(image->path, sizeof image->path, "%s", file);
    }
    cr_assert_eq(range->offset, image->bytes);
    image->bytes += range->bytes;
    image->classes = realloc(image->classes, image->bytes);
    memset(image->classes + range->offset, (int)range->what, range->bytes);
}

/* What is dumped is what was written there. */
static int payload_compare(void *context, const struct frame_view *frame, const char *file,
                           uint64_t offset)
{
    uint64_t *frames = context;
    const uint8_t *content = image_of(file)->content + offset;
    cr_assert(memcmp(content, &frame->header, FRAME_HEADER_BYTES) == 0 &&
                  memcmp(content + FRAME_HEADER_BYTES, frame->payload, frame->header.size) == 0,
              "%s offset %lu: a frame is dumped that was never written", file,
              (unsigned long)offset);
    (*frames)++;
    return 0;
}

static uint64_t frames_walk(struct look *look)
{
    uint64_t frames = 0;
    for (uint32_t i = 0; i < look->inspection.recovery.topics_count; i++) {
        cr_assert_eq(dump_walk(&look->inspection, &look->inspection.recovery.topics[i],
                               payload_compare, &frames),
                     0);
    }
    return frames;
}

static uint64_t clean_note(void)
{
    struct look look;
    struct io *io = io_memory_open(stage.disk);
    look_open(&look, io, range_note);
    cr_assert_not(findings_damage(&look.inspection.findings), "%s: %s",
                  look.inspection.findings.all[0].file, look.inspection.findings.all[0].words);
    cr_assert(look.inspection.start_accepts, "%s", look.inspection.start.text);
    cr_assert_gt(look.inspection.recovery.snapshot.chunks_count, 0);
    /* small: 36 but for the 10 that were trimmed; big: 6; batches: 12 */
    cr_assert_eq(look.result.entries, 36 - 10 + 6 + 12, "%lu", (unsigned long)look.result.entries);
    for (unsigned i = 0; i < images_count; i++) {
        images[i].content = malloc(images[i].bytes);
        memcpy(images[i].content, memory_disk_find(stage.disk, images[i].path)->bytes,
               images[i].bytes);
    }
    const uint64_t frames = frames_walk(&look);
    behind_tail = look.account.bytes[BYTES_BEHIND_TAIL];
    look_close(&look);
    io_close(io);
    return frames;
}

/* Rot. */

static bool named(const struct findings *findings, const struct image *image, uint64_t offset)
{
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->all[i];
        if (strcmp(finding->file, image->path) == 0 && offset >= finding->offset &&
            (finding->bytes == 0 || offset < finding->offset + finding->bytes) &&
            finding->weight != WEIGHT_NOTE) {
            return true;
        }
    }
    return false;
}

/* A frame that only the last sync covered may have been in flight when the broker died. */
static bool torn(const struct look *look)
{
    bool told = look->account.bytes[BYTES_BEHIND_TAIL] > behind_tail;
    for (size_t i = 0; i < look->inspection.findings.count; i++) {
        told |= look->inspection.findings.all[i].kind == FINDING_TORN_END;
    }
    return was_killed && told;
}

static void expect_start(bool accepts, const struct image *image, uint64_t offset)
{
    struct memory_disk *disk = stage.disk;
    stage.disk = memory_disk_clone(disk, 1);
    const int error = stage_try_open(&stage);
    cr_assert_eq(error == 0, accepts, "%s offset %lu: a start %s", image->path,
                 (unsigned long)offset, error == 0 ? "accepts it" : stage.fault.text);
    if (error == 0) {
        stage_close(&stage);
    }
    memory_disk_free(stage.disk);
    stage.disk = disk;
}

static void expect(const struct image *image, uint64_t offset, uint64_t clean_frames)
{
    const enum byte_class what = (enum byte_class)image->classes[offset];
    struct look look;
    struct io *io = io_memory_open(stage.disk);
    look_open(&look, io, NULL);
    const struct findings *findings = &look.inspection.findings;
    if (byte_class_dead(what)) {
        cr_assert_not(findings_damage(findings), "%s offset %lu, %s: \"%s\", %s; start: %s",
                      image->path, (unsigned long)offset, byte_class_name(what),
                      findings->all[0].topic, findings->all[0].words, look.inspection.start.text);
        cr_assert(look.inspection.start_accepts, "%s", look.inspection.start.text);
    } else {
        cr_assert(named(findings, image, offset) || torn(&look),
                  "%s offset %lu, %s: not named; start: %s", image->path, (unsigned long)offset,
                  byte_class_name(what), look.inspection.start.text);
    }
    const uint64_t frames = frames_walk(&look);
    cr_assert(frames == clean_frames || !byte_class_dead(what));
    const bool accepts = look.inspection.start_accepts;
    look_close(&look);
    io_close(io);
    if (states++ % START_EACH == 0) {
        expect_start(accepts, image, offset);
    }
}

static void byte_try(struct image *image, uint64_t offset, uint64_t clean_frames)
{
    uint8_t *byte = &memory_disk_find(stage.disk, image->path)->bytes[offset];
    const uint8_t was = *byte;
    const uint8_t patterns[PATTERNS] = {(uint8_t)(was ^ 1 << offset % 8), 0x00, 0xff};
    for (unsigned i = 0; i < PATTERNS; i++) {
        if (patterns[i] != was) {
            *byte = patterns[i];
            expect(image, offset, clean_frames);
        }
    }
    *byte = was;
}

static uint64_t step_of(enum byte_class what, uint64_t step)
{
    if (byte_class_dead(what)) {
        return step * 64 + 1;
    }
    const uint64_t fewer = (step + 7) / 8;
    return what == BYTES_PAYLOAD ? step : what == BYTES_SUPERBLOCK || was_killed ? fewer : 1;
}

static void every_byte(bool killed)
{
    const char *given = getenv("TEST_ROT_STEP");
    const uint64_t step = given == NULL ? 32 * TEST_TIME_FACTOR : strtoull(given, NULL, 10);
    /* The same large buffers again and again: not to be given back each time. */
    (void)mallopt(M_MMAP_THRESHOLD, 64 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 256 << 20);
    was_killed = killed;
    store_make(killed);
    const uint64_t frames = clean_note();
    for (unsigned i = 0; i < images_count; i++) {
        uint64_t seen[BYTE_CLASSES] = {0};
        for (uint64_t offset = 0; offset < images[i].bytes; offset++) {
            const enum byte_class what = (enum byte_class)images[i].classes[offset];
            if (seen[what]++ % step_of(what, step) == 0) {
                byte_try(&images[i], offset, frames);
            }
        }
    }
    cr_assert_gt(states, 1000);
    fprintf(stderr, "%lu states\n", (unsigned long)states);
}

Test(inspect_rot, every_byte_is_named_or_dead)
{
    every_byte(false);
}

Test(inspect_rot, every_byte_is_named_dead_or_torn_after_a_kill)
{
    every_byte(true);
}

/* A crowd of topics, whose snapshot takes several chunks. */
Test(inspect_rot, a_long_snapshot_is_clean)
{
    enum { TOPICS = 300 };
    stage_init(&stage, 5);
    stage.config.topics_max = 1024;
    stage.snapshot_log_bytes = 1;
    stage_open(&stage);
    struct stage_lane *lane = stage_lane_open(&stage);
    for (unsigned i = 0; i < TOPICS; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%u", i);
        (void)stage_append(lane, stage_topic_open(lane, name), 10, i, 0);
        stage_settle(&stage);
        stage_reap(lane);
    }
    stage_close(&stage);
    struct look look;
    struct io *io = io_memory_open(stage.disk);
    look_open(&look, io, NULL);
    cr_assert_gt(look.inspection.recovery.snapshot.chunks_count, 2);
    cr_assert_not(findings_damage(&look.inspection.findings), "%s: %s",
                  look.inspection.findings.all[0].file, look.inspection.findings.all[0].words);
    cr_assert(look.inspection.start_accepts, "%s", look.inspection.start.text);
    cr_assert_eq(look.result.entries, TOPICS);
    look_close(&look);
    io_close(io);
}

/* Reads that fail: the outcome is words or a finding, never a clean store where bytes went unseen. */
Test(inspect_rot, a_disk_that_fails_is_told_from_damage)
{
    enum { OPERATIONS = 150 };
    unsigned refused = 0;
    unsigned unreadable = 0;
    store_make(false);
    for (uint64_t n = 0; n < OPERATIONS; n++) {
        struct fault fault = {0, ""};
        struct look look = {.account = {.range_fn = NULL}};
        struct io *io = io_memory_open(stage.disk);
        memory_disk_fail(stage.disk, n, -EIO, n % 2 == 1);
        const int result = inspection_open(&look.inspection, io, "/data", &fault);
        if (result != 0) {
            cr_assert_neq(fault.text[0], '\0');
            refused++;
        } else {
            cr_assert_eq(verify_run(&look.inspection, &look.account, NULL, NULL, &look.result), 0);
            const bool failed = stage.disk->operations >= stage.disk->fail_at;
            unreadable += look.inspection.findings.unreadable;
            cr_assert(!failed || findings_damage(&look.inspection.findings) ||
                          look.inspection.start_accepts,
                      "operation %lu", (unsigned long)n);
            look_close(&look);
        }
        stage.disk->fail_at = 0;
        io_close(io);
    }
    cr_assert_gt(refused, 0);
    cr_assert_gt(unreadable, 10, "%u", unreadable);
}

/* Records that lie: intact frames whose records were changed. */

enum { RECORDS_MAX = 512, LIES = 3000 };

struct lie {
    uint8_t *frame; /* on the disk */
    uint32_t size;
    uint32_t seed;
};

struct lies {
    const struct recovered_topic *log;
    struct lie all[RECORDS_MAX];
    unsigned count;
};

static int lie_note(void *context, const struct frame_view *frame, const char *file,
                    uint64_t offset)
{
    struct lies *lies = context;
    const uint64_t chunk_no = chunk_number(frame->position, STAGE_CHUNK);
    const struct recovered_chunk *chunk = recovered_chunk_find(lies->log, chunk_no);
    if (lies->count < RECORDS_MAX && frame->header.size != 0) {
        lies->all[lies->count++] =
            (struct lie){.frame = memory_disk_find(stage.disk, file)->bytes + offset,
                         .size = frame->header.size,
                         .seed = checksum_seed(lies->log->id, chunk_no, chunk->generation)};
    }
    return 0;
}

static void lies_collect(struct lies *lies)
{
    struct look look;
    struct io *io = io_memory_open(stage.disk);
    look_open(&look, io, NULL);
    lies->log = &look.inspection.recovery.snapshot;
    cr_assert_eq(dump_walk(&look.inspection, lies->log, lie_note, lies), 0);
    lies->log = &look.inspection.recovery.system;
    cr_assert_eq(dump_walk(&look.inspection, lies->log, lie_note, lies), 0);
    look_close(&look);
    io_close(io);
}

static void lie_try(const struct lie *lie)
{
    static const uint8_t bytes[] = {0, 1, 0x7f, 0x80, 0xff};
    uint8_t was[FRAME_HEADER_BYTES + 2048];
    memcpy(was, lie->frame, FRAME_HEADER_BYTES + lie->size);
    const uint64_t changes = 1 + stage_random(&stage, 8);
    const uint64_t from = stage_random(&stage, lie->size);
    for (uint64_t i = 0; i < changes && from + i < lie->size; i++) {
        lie->frame[FRAME_HEADER_BYTES + from + i] = bytes[stage_random(&stage, sizeof bytes)];
    }
    frame_seal((struct frame_header *)(void *)lie->frame, lie->seed);
    struct look look;
    struct io *io = io_memory_open(stage.disk);
    look_open(&look, io, NULL);
    (void)frames_walk(&look);
    look_close(&look);
    io_close(io);
    memcpy(lie->frame, was, FRAME_HEADER_BYTES + lie->size);
}

Test(inspect_rot, records_that_lie_are_survived)
{
    static struct lies lies;
    store_make(false);
    (void)clean_note();
    lies_collect(&lies);
    cr_assert_gt(lies.count, 10);
    for (unsigned i = 0; i < LIES; i++) {
        lie_try(&lies.all[stage_random(&stage, lies.count)]);
    }
}
