/*
 * How the client library finds its way through chunks: fragments, padding, eviction, batches,
 * trimming, times, deletion; and that what it pins is not taken away.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "clientlib/handle.h"
#include "shm/frame.h"
#include "tests/support/deadline.h"
#include "tests/unit/client_stage.h"

static struct stage stage;
static struct tusk *tusk;
static struct tusk_topic *topic;

static void begin(void)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.timeout_ms = 5000;
    options.lane_bytes = 1 << 20;
    stage_begin(&stage, false);
    tusk = stage_connect(&stage, &options);
    cr_assert_eq(tusk_topic_open(tusk, "t", NULL, &topic), 0);
}

static void end(void)
{
    tusk_disconnect(tusk);
    stage_end(&stage);
}

TestSuite(read, .init = begin, .fini = end, .timeout = 600);

static unsigned char payload[300000];

/* Entry n: a size that walks through small, padded and fragmented ones, filled with its number. */
static size_t entry_size(uint64_t n)
{
    static const size_t sizes[] = {0, 1, 64, 500, 3000, 20000, 17, 90000, 4000, 33};
    return sizes[n % 10];
}

static void append_some(uint64_t first, uint64_t count)
{
    for (uint64_t n = first; n < first + count; n++) {
        memset(payload, (int)(n % 251), entry_size(n));
        uint64_t seq;
        cr_assert_eq(tusk_append(topic, payload, entry_size(n), &seq), 0);
        cr_assert_eq(seq, n);
    }
}

static void expect_entry(const struct tusk_entry *entry, uint64_t n)
{
    cr_assert_eq(entry->seq, n);
    cr_assert_eq(entry->size, entry_size(n));
    cr_assert_not_null(entry->data);
    const unsigned char *bytes = entry->data;
    for (size_t i = 0; i < entry->size; i++) {
        cr_assert_eq(bytes[i], n % 251);
    }
    cr_assert_eq(tusk_entry_check(topic, entry), 0);
}

static struct tusk_reader *reader_at(enum tusk_from from, uint64_t value)
{
    struct tusk_reader_options options = TUSK_READER_OPTIONS_INIT;
    options.from = from;
    options.from_value = value;
    struct tusk_reader *reader;
    cr_assert_eq(tusk_reader_open(topic, &options, &reader), 0);
    return reader;
}

Test(read, every_entry_in_order_over_chunks)
{
    struct tusk_reader *reader = reader_at(TUSK_FROM_EARLIEST, 0);
    struct tusk_entry entry;
    cr_assert_eq(tusk_reader_next(reader, &entry, 0), 0);
    append_some(0, 200);
    for (uint64_t n = 0; n < 200; n++) {
        cr_assert_eq(tusk_reader_next(reader, &entry, 0), 1);
        expect_entry(&entry, n);
    }
    cr_assert_eq(tusk_reader_next(reader, &entry, 0), 0);
    cr_assert_eq(tusk_reader_next(reader, &entry, 20), -ETIMEDOUT);
    tusk_reader_close(reader);
}

Test(read, from_any_seq_and_after_eviction)
{
    append_some(0, 150);
    stage_evict(&stage, stage_topic(&stage, "t"));
    struct tusk_reader *reader = reader_at(TUSK_FROM_SEQ, 149);
    struct tusk_entry entry;
    for (uint64_t n = 150; n-- > 0;) {
        cr_assert_eq(tusk_reader_seek(reader, TUSK_FROM_SEQ, n), 0);
        cr_assert_eq(tusk_reader_next(reader, &entry, 0), 1, "seq %lu", n);
        expect_entry(&entry, n);
    }
    cr_assert_gt(atomic_load(&stage.fetches), 0);
    tusk_reader_close(reader);
}

Test(read, pinned_chunks_stay_and_go_with_the_next_call)
{
    append_some(0, 60);
    struct stage_topic *log = stage_topic(&stage, "t");
    struct tusk_reader *reader = reader_at(TUSK_FROM_EARLIEST, 0);
    struct tusk_entry entries[60];
    const int count = tusk_reader_batch(reader, SIZE_MAX, entries, 60, 0);
    cr_assert_gt(count, 10);
    cr_assert_gt(stage_evict(&stage, log), 1);
    for (int i = 0; i < count; i++) {
        expect_entry(&entries[i], (uint64_t)i);
    }
    uint64_t n = (uint64_t)count;
    while (n < 60) {
        const int more = tusk_reader_batch(reader, SIZE_MAX, entries, 60, 0);
        cr_assert_gt(more, 0);
        for (int i = 0; i < more; i++) {
            expect_entry(&entries[i], n++);
        }
    }
    tusk_reader_close(reader);
    cr_assert_eq(stage_evict(&stage, log), 0);
}

Test(read, a_place_that_was_taken_back_is_noticed)
{
    append_some(0, 4);
    struct tusk_reader *reader = reader_at(TUSK_FROM_EARLIEST, 0);
    struct tusk_entry entry;
    cr_assert_eq(tusk_reader_next(reader, &entry, 0), 1);
    cr_assert_eq(tusk_reader_next(reader, &entry, 0), 1);
    cr_assert_eq(tusk_entry_check(topic, &entry), 0);
    struct stage_topic *log = stage_topic(&stage, "t");
    chunk_stamp_set(directory_stamp(stage.directory, log->chunks[0].unit), 0);
    cr_assert_eq(tusk_entry_check(topic, &entry), -ESTALE);
    tusk_reader_close(reader);
}

Test(read, budgets)
{
    unsigned char hundred[100] = {0};
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(tusk_append(topic, hundred, sizeof hundred, NULL), 0);
    }
    struct tusk_reader *reader = reader_at(TUSK_FROM_EARLIEST, 0);
    struct tusk_entry entries[20];
    cr_assert_eq(tusk_reader_batch(reader, 300, entries, 20, 0), 3);
    cr_assert_eq(tusk_reader_batch(reader, 500, entries, 20, 0), 5);
    cr_assert_eq(tusk_reader_batch(reader, 1, entries, 20, 0), 1);
    cr_assert_eq(tusk_reader_batch(reader, 350, entries, 20, 0), 3);
    cr_assert_eq(entries[2].seq, 11);
    cr_assert_eq(tusk_reader_batch(reader, SIZE_MAX, entries, 5, 0), 5);
    cr_assert_eq(tusk_reader_batch(reader, SIZE_MAX, entries, 20, 0), 3);
    tusk_reader_close(reader);
    cr_assert_eq(tusk_batch_read(topic, 300, true, entries, 20), 3);
    cr_assert_eq(tusk_batch_read(topic, 1, false, entries, 20), 1);
    cr_assert_eq(tusk_batch_read(topic, 350, false, entries, 20), 3);
    cr_assert_eq(entries[0].seq, 3);
    cr_assert_eq(tusk_batch_read(topic, SIZE_MAX, true, entries, 20), 17);
    cr_assert_eq(tusk_batch_read(topic, SIZE_MAX, true, entries, 20), 0);
    cr_assert_eq(tusk_batch_read(topic, 1, true, entries, 0), -EINVAL);
}

Test(read, cursor_peeks_and_moves_over_chunks)
{
    struct tusk_entry entry;
    cr_assert_eq(tusk_read_next(topic, true, &entry), 0);
    cr_assert_eq(tusk_read_next(topic, false, &entry), 0);
    append_some(0, 120);
    for (uint64_t n = 0; n < 120; n++) {
        cr_assert_eq(tusk_read_next(topic, false, &entry), 1);
        expect_entry(&entry, n);
        cr_assert_eq(tusk_read_next(topic, false, &entry), 1);
        expect_entry(&entry, n);
        if (n % 7 == 0) {
            stage_evict(&stage, stage_topic(&stage, "t"));
        }
        cr_assert_eq(tusk_read_next(topic, true, &entry), 1);
        expect_entry(&entry, n);
    }
    cr_assert_eq(tusk_read_next(topic, true, &entry), 0);
    append_some(120, 30);
    struct tusk_entry entries[30];
    uint64_t n = 120;
    while (n < 150) {
        const int count = tusk_batch_read(topic, SIZE_MAX, true, entries, 30);
        cr_assert_gt(count, 0);
        for (int i = 0; i < count; i++) {
            expect_entry(&entries[i], n++);
        }
    }
}

Test(read, what_is_claimed_is_held_until_it_is_pinned)
{
    struct tusk_entry entries[8];
    uint64_t n = 0;
    append_some(0, 200);
    atomic_store(&stage.trims, true);
    while (n < 200) {
        cr_assert_eq(tusk_submit(topic, "another", 7, n + 1),
                     0); /* completions around the claim's */
        const int count = tusk_batch_read(topic, 30000, true, entries, 8);
        cr_assert_gt(count, 0);
        for (int i = 0; i < count && n < 200; i++) {
            expect_entry(&entries[i], n++);
        }
    }
    cr_assert_gt(atomic_load(&stage.trimmed), 5);
}

Test(read, more_readers_than_pin_words_still_read)
{
    enum { READERS = PINS_MAX + 100 };
    static struct tusk_reader *readers[READERS];
    struct tusk_entry entries[READERS];
    append_some(0, 20);
    for (int i = 0; i < READERS; i++) {
        readers[i] = reader_at(TUSK_FROM_EARLIEST, 0);
        cr_assert_eq(tusk_reader_next(readers[i], &entries[i], 0), 1);
        cr_assert_eq(tusk_reader_next(readers[i], &entries[i], 0), 1);
    }
    for (int i = 0; i < READERS; i++) {
        expect_entry(&entries[i], 1);
    }
    struct tusk_entry several[20];
    cr_assert_eq(tusk_reader_batch(readers[READERS - 1], SIZE_MAX, several, 3, 0), 3);
    for (uint64_t i = 0; i < 3; i++) {
        expect_entry(&several[i], 2 + i);
    }
    for (uint64_t i = 0; i < 10; i++) {
        cr_assert_eq(tusk_read_next(topic, true, several), 1);
        expect_entry(several, i);
    }
    for (int i = 0; i < READERS; i++) {
        tusk_reader_close(readers[i]);
    }
    cr_assert_eq(tusk_read_next(topic, false, several), 1);
    expect_entry(several, 10);
}

static void *cursor_drain(void *arg)
{
    unsigned char *seen = arg;
    struct tusk_entry entries[3];
    int count;
    while ((count = tusk_batch_read(topic, 5000, true, entries, 3)) > 0) {
        for (int i = 0; i < count; i++) {
            expect_entry(&entries[i], entries[i].seq);
            __atomic_fetch_add(&seen[entries[i].seq], 1, __ATOMIC_RELAXED);
        }
    }
    cr_assert_eq(count, 0);
    return NULL;
}

Test(read, threads_share_the_cursor_exactly)
{
    unsigned char seen[200] = {0};
    append_some(0, 200);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, cursor_drain, seen), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < 200; i++) {
        cr_assert_eq(seen[i], 1);
    }
}

Test(read, trimmed_positions)
{
    append_some(0, 50);
    struct tusk_reader *reader = reader_at(TUSK_FROM_EARLIEST, 0);
    struct tusk_reader *earliest = reader_at(TUSK_FROM_EARLIEST, 0);
    struct tusk_entry entry;
    cr_assert_eq(tusk_reader_next(reader, &entry, 0), 1);
    stage_trim(&stage, "t", 30);
    cr_assert_eq(tusk_reader_next(reader, &entry, 0), -ENODATA);
    cr_assert_eq(tusk_reader_next(reader, &entry, 0), -ENODATA, "stays there");
    struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;
    cr_assert_eq(tusk_topic_info(topic, &stat), 0);
    cr_assert_eq(stat.first_seq, 30);
    cr_assert_eq(tusk_reader_seek(reader, TUSK_FROM_SEQ, stat.first_seq), 0);
    cr_assert_eq(tusk_reader_next(reader, &entry, 0), 1);
    expect_entry(&entry, 30);
    cr_assert_eq(tusk_reader_next(earliest, &entry, 0), 1);
    expect_entry(&entry, 30);
    tusk_reader_close(reader);
    tusk_reader_close(earliest);
}

/* A frame as the broker has it mapped. */
static struct frame_header *frame_of(uint64_t seq)
{
    const uint64_t chunk_bytes = tusk->directory->header.chunk_bytes;
    const struct stage_topic *log = stage_topic(&stage, "t");
    const uint64_t number = chunk_number(log->positions[seq], chunk_bytes);
    const uint64_t at = log->chunks[number].unit * tusk->arena.unit_bytes;
    const uint64_t offset = log->positions[seq] - chunk_start(number, chunk_bytes);
    return (void *)((unsigned char *)stage.arena_map.base + at + offset);
}

Test(read, a_batch_ends_before_a_frame_that_cannot_be)
{
    unsigned char hundred[100] = {0};
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(tusk_append(topic, hundred, sizeof hundred, NULL), 0);
    }
    struct frame_header *frame = frame_of(5);
    const struct frame_header right = *frame;
    struct frame_header wrong[] = {right, right, right, right};
    wrong[0].size = UINT32_MAX;
    wrong[1].size = (uint32_t)tusk->directory->header.chunk_bytes;
    wrong[2].seq = 1000;
    wrong[3].flags = FRAME_DAMAGED;
    struct tusk_reader *reader = reader_at(TUSK_FROM_EARLIEST, 0);
    struct tusk_entry entries[10];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        *frame = wrong[i];
        cr_assert_eq(tusk_reader_batch(reader, SIZE_MAX, entries, 10, 0), 5, "%zu", i);
        cr_assert_eq(tusk_reader_batch(reader, SIZE_MAX, entries, 10, 0), -EBADMSG, "%zu", i);
        *frame = right;
        cr_assert_eq(tusk_reader_batch(reader, SIZE_MAX, entries, 10, 0), 5, "%zu", i);
        for (int n = 0; n < 5; n++) {
            cr_assert_eq(entries[n].seq, 5 + n);
            cr_assert_eq(entries[n].size, sizeof hundred);
            cr_assert_eq(entries[n].deliveries, 0);
        }
        cr_assert_eq(tusk_reader_seek(reader, TUSK_FROM_SEQ, 0), 0);
    }
    tusk_reader_close(reader);
    cr_assert_eq(tusk_batch_read(topic, SIZE_MAX, true, entries, 10), 10);
    for (int n = 0; n < 10; n++) {
        cr_assert_eq(entries[n].deliveries, 1);
    }
}

/* A chunk that is reused for something else when the reader has looked at its first pages, and comes
 * back when it is looked at for the second time. */
static struct {
    unsigned char *image; /* as the reader has it mapped */
    size_t bytes;
    size_t first_bytes; /* whole pages */
    struct atom *stamp;
    struct frame_header *frame; /* behind the first pages; as the broker has it mapped */
    struct frame_header saved;
    struct frame_header other; /* what lies there meanwhile */
    volatile sig_atomic_t looks;
} reused;

enum { PAGE = 4096 };

static void reused_look(int signal, siginfo_t *info, void *context)
{
    const uintptr_t offset = (uintptr_t)info->si_addr - (uintptr_t)reused.image;
    (void)signal;
    (void)context;
    if (offset >= reused.bytes) {
        abort();
    }
    if (reused.looks++ == 0) {
        *reused.frame = reused.other;
        chunk_stamp_set(reused.stamp, chunk_stamp(reused.stamp) + 1000);
        mprotect(reused.image + reused.first_bytes, reused.bytes - reused.first_bytes, PROT_READ);
        mprotect(reused.image, PAGE, PROT_NONE);
    } else {
        *reused.frame = reused.saved;
        mprotect(reused.image, PAGE, PROT_READ);
    }
}

/* Up to a big chunk whose first pages are an entry that began before; then a small entry. Its seq. */
static uint64_t append_to_big_chunk(void)
{
    const struct stage_topic *log = stage_topic(&stage, "t");
    uint64_t seq;
    do {
        cr_assert_eq(tusk_append(topic, payload, 90000, &seq), 0);
    } while (log->chunk_count <= SMALL_CHUNKS ||
             log->position -
                     chunk_start(log->chunk_count - 1, tusk->directory->header.chunk_bytes) <
                 2 * PAGE);
    cr_assert_eq(tusk_append(topic, payload, 100, &seq), 0);
    return seq;
}

/* The chunk of an entry will be reused when the page of its frame, or a later one, is looked at. */
static const struct stage_chunk *reuse_at(uint64_t seq, struct sigaction *before)
{
    const uint64_t chunk_bytes = tusk->directory->header.chunk_bytes;
    const struct stage_topic *log = stage_topic(&stage, "t");
    const uint64_t number = chunk_number(log->positions[seq], chunk_bytes);
    const struct stage_chunk *chunk = &log->chunks[number];
    const uint64_t offset = log->positions[seq] - chunk_start(number, chunk_bytes);
    cr_assert_geq(offset, PAGE);
    reused.image =
        (unsigned char *)tusk->arena.images_mapping.base + chunk->unit * tusk->arena.unit_bytes;
    reused.bytes = chunk_bytes;
    reused.stamp = directory_stamp(stage.directory, chunk->unit);
    reused.frame = frame_of(seq);
    reused.saved = reused.other = *reused.frame;
    reused.first_bytes = align_down(offset, PAGE);
    struct sigaction action = {.sa_sigaction = reused_look, .sa_flags = SA_SIGINFO};
    cr_assert_eq(sigaction(SIGSEGV, &action, before), 0);
    return chunk;
}

static void reused_protect(void)
{
    cr_assert_eq(
        mprotect(reused.image + reused.first_bytes, reused.bytes - reused.first_bytes, PROT_NONE),
        0);
}

Test(read, a_chunk_that_goes_while_a_time_is_looked_for_is_looked_at_again)
{
    const uint64_t seq = append_to_big_chunk();
    struct tusk_reader *reader = reader_at(TUSK_FROM_EARLIEST, 0);
    struct tusk_entry entry;
    cr_assert_eq(tusk_reader_next(reader, &entry, 0), 1);
    struct sigaction before;
    const struct stage_chunk *chunk = reuse_at(seq, &before);
    reused.first_bytes = PAGE;
    reused.other.seq = 1000000;
    reused_protect();
    cr_assert_eq(tusk_reader_seek(reader, TUSK_FROM_TIME, chunk->base_time_ns), 0);
    cr_assert_eq(tusk_reader_next(reader, &entry, 0), 1, "it was sought in another chunk's bytes");
    cr_assert_eq(entry.seq, seq);
    cr_assert_eq(reused.looks, 2);
    cr_assert_eq(sigaction(SIGSEGV, &before, NULL), 0);
    tusk_reader_close(reader);
}

Test(read, what_a_batch_finds_in_a_chunk_that_goes_meanwhile_is_not_given)
{
    enum { COUNT = 80 }; /* more than two pages of them */
    const uint64_t first = append_to_big_chunk();
    uint64_t behind = 0; /* the first that begins in another page than the one before it */
    for (uint64_t seq = first + 1; seq < first + COUNT; seq++) {
        cr_assert_eq(tusk_append(topic, payload, 100, NULL), 0);
        if (seq > first + 3 && behind == 0 &&
            (uintptr_t)frame_of(seq) / PAGE != (uintptr_t)frame_of(seq - 1) / PAGE) {
            behind = seq;
        }
    }
    cr_assert_gt(behind, 0);
    struct tusk_reader *reader = reader_at(TUSK_FROM_SEQ, first);
    static struct tusk_entry entries[COUNT];
    cr_assert_eq(tusk_reader_next(reader, entries, 0), 1);
    struct sigaction before;
    (void)reuse_at(behind, &before);
    reused.other.time_ns = 1;
    reused_protect();
    cr_assert_eq(tusk_reader_batch(reader, SIZE_MAX, entries, COUNT, 0), COUNT - 1);
    for (uint64_t i = 0; i < COUNT - 1; i++) {
        cr_assert_eq(entries[i].seq, first + 1 + i);
        cr_assert_gt(entries[i].time_ns, 1, "entry %lu was of another chunk", i);
    }
    cr_assert_eq(reused.looks, 2);
    cr_assert_eq(sigaction(SIGSEGV, &before, NULL), 0);
    tusk_reader_close(reader);
}

/* A frame's header of which another thread writes now the one word, now the other. */
static struct {
    struct atom *word; /* the first of the header: its size and checksum */
    uint64_t right;
    uint64_t wrong;
    _Atomic bool stop;
} flipped;

static void *flip(void *arg)
{
    (void)arg;
    while (!atomic_load(&flipped.stop)) {
        atom_store_relaxed(flipped.word, flipped.wrong); /* no order: at any time */
        atom_store_relaxed(flipped.word, flipped.right); /* the same */
    }
    return NULL;
}

Test(read, a_size_that_changes_under_the_reader_never_leads_outside_of_the_chunk)
{
    enum { READS = 400 };
    const uint64_t total = 4 * stage.directory->header.arena_bytes; /* it says of itself */
    cr_assert_eq(tusk_append(topic, payload, 90000, NULL), 0);
    struct frame_header *frame = frame_of(0);
    cr_assert_eq(frame->flags, FRAME_FIRST);
    memcpy(frame + 1, &total, sizeof total);
    flipped.word = (struct atom *)(void *)frame;
    flipped.right = atom_load_relaxed(flipped.word); /* nobody else writes it */
    flipped.wrong = (flipped.right & ~(uint64_t)UINT32_MAX) | total;
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, flip, NULL), 0);
    for (int i = 0; i < READS; i++) {
        struct tusk_reader *reader = reader_at(TUSK_FROM_EARLIEST, 0);
        struct tusk_entry entry;
        cr_assert_eq(tusk_reader_next(reader, &entry, 0), -EBADMSG);
        tusk_reader_close(reader);
    }
    atomic_store(&flipped.stop, true);
    pthread_join(thread, NULL);
}

Test(read, from_a_time_and_from_the_latest)
{
    append_some(0, 40);
    struct tusk_reader *all = reader_at(TUSK_FROM_EARLIEST, 0);
    struct tusk_reader *latest = reader_at(TUSK_FROM_LATEST, 0);
    struct tusk_entry entry;
    uint64_t times[40];
    for (int n = 0; n < 40; n++) {
        cr_assert_eq(tusk_reader_next(all, &entry, 0), 1);
        times[n] = entry.time_ns;
    }
    for (uint64_t n = 0; n < 40; n += 13) {
        struct tusk_reader *reader = reader_at(TUSK_FROM_TIME, times[n]);
        cr_assert_eq(tusk_reader_next(reader, &entry, 0), 1);
        cr_assert_geq(entry.time_ns, times[n]);
        cr_assert(entry.seq <= n && times[entry.seq] == times[n]);
        tusk_reader_close(reader);
    }
    struct tusk_reader *later = reader_at(TUSK_FROM_TIME, times[39] + 1);
    cr_assert_eq(tusk_reader_next(later, &entry, 0), 0);
    cr_assert_eq(tusk_reader_next(latest, &entry, 0), 0);
    append_some(40, 1);
    cr_assert_eq(tusk_reader_next(later, &entry, TEST_LONG_MS), 1);
    expect_entry(&entry, 40);
    cr_assert_eq(tusk_reader_next(latest, &entry, TEST_LONG_MS), 1);
    expect_entry(&entry, 40);
    struct tusk_reader *ever = reader_at(TUSK_FROM_TIME, 0);
    cr_assert_eq(tusk_reader_next(ever, &entry, 0), 1);
    expect_entry(&entry, 0);
    tusk_reader_close(all);
    tusk_reader_close(latest);
    tusk_reader_close(later);
    tusk_reader_close(ever);
}

Test(read, deleted_topics)
{
    append_some(0, 3);
    struct tusk_reader *reader = reader_at(TUSK_FROM_EARLIEST, 0);
    struct tusk_entry entry;
    cr_assert_eq(tusk_reader_next(reader, &entry, 0), 1);
    cr_assert_eq(tusk_topic_delete(tusk, "t"), 0);
    cr_assert_eq(tusk_topic_delete(tusk, "t"), -ENOENT);
    cr_assert_eq(tusk_reader_next(reader, &entry, 100), -ESTALE);
    cr_assert_eq(tusk_read_next(topic, true, &entry), -ESTALE);
    cr_assert_eq(tusk_append(topic, "x", 1, NULL), -ESTALE);
    tusk_topic_close(topic);
    tusk_reader_close(reader);
    cr_assert_eq(tusk_topic_open(tusk, "t", NULL, &topic), 0);
    append_some(0, 3);
}

static void *append_soon(void *arg)
{
    const struct timespec pause = {.tv_nsec = 30 * 1000 * 1000};
    nanosleep(&pause, NULL);
    append_some(*(const uint64_t *)arg, 1);
    return NULL;
}

Test(read, a_sleeping_reader_is_woken_holding_nothing)
{
    append_some(0, 1);
    struct tusk_reader *reader = reader_at(TUSK_FROM_EARLIEST, 0);
    struct tusk_entry entry;
    uint64_t next = 1;
    cr_assert_eq(tusk_reader_next(reader, &entry, 0), 1);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, append_soon, &next), 0);
    cr_assert_eq(tusk_reader_next(reader, &entry, TEST_LONG_MS), 1);
    expect_entry(&entry, 1);
    pthread_join(thread, NULL);
    cr_assert_eq(tusk_reader_next(reader, &entry, 10), -ETIMEDOUT);
    cr_assert_eq(stage_evict(&stage, stage_topic(&stage, "t")), 0);
    append_some(2, 1);
    cr_assert_eq(tusk_reader_next(reader, &entry, TEST_LONG_MS), 1);
    expect_entry(&entry, 2);
    tusk_reader_close(reader);
}
