/*
 * Frame scan on images built by hand: what is a frame, an entry, a batch and the end of a log, and
 * that nothing else is, for each rule one image that breaks it and no other.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/checksum.h"
#include "broker/frame_scan.h"

#define C UINT64_C(65536)
#define S UINT64_C(4096)

static const struct frame_chunk place = {.topic_id = 7, .chunk_no = 2, .generation = 9};

/* The image of chunk 2, allocated to its size so that a read beyond it shows. */
struct image {
    uint8_t *bytes;
    uint64_t at; /* offset of the next frame */
};

static struct image image;

static void set_up(void)
{
    image.bytes = calloc(1, S);
    image.at = CHUNK_HEADER_BYTES;
    struct chunk_header header = {.magic = CHUNK_MAGIC,
                                  .version = CHUNK_FORMAT_VERSION,
                                  .topic_id = place.topic_id,
                                  .chunk_no = place.chunk_no,
                                  .generation = place.generation,
                                  .base_seq = 10,
                                  .next_slot = SLOT_NONE};
    chunk_header_seal(&header);
    memcpy(image.bytes, &header, sizeof header);
}

static void tear_down(void)
{
    free(image.bytes);
}

TestSuite(frame_scan, .init = set_up, .fini = tear_down);

static uint64_t position_of(uint64_t offset)
{
    return 2 * S + offset;
}

static struct frame_header *put(uint64_t seq, uint16_t flags, uint32_t size)
{
    struct frame_header *frame = (struct frame_header *)(image.bytes + image.at);
    *frame = (struct frame_header){.size = size, .seq = seq, .flags = flags, .salt = 5, .sync = 3};
    image.at += frame_bytes(size);
    return frame;
}

static void seal(struct frame_header *frame)
{
    frame_seal(frame, checksum_seed(place.topic_id, place.chunk_no, place.generation));
}

static void put_sealed(uint64_t seq, uint16_t flags, uint32_t size)
{
    seal(put(seq, flags, size));
}

/* The first fragment of an entry of `total` bytes. */
static void put_first(uint64_t seq, uint16_t flags, uint32_t size, uint64_t total)
{
    struct frame_header *frame = put(seq, flags, size);
    memcpy(frame + 1, &total, sizeof total);
    seal(frame);
}

enum { WHOLE = FRAME_FIRST | FRAME_LAST };

static struct frame_scan scan_begin(uint64_t seq)
{
    const struct record_place from = {.position = position_of(CHUNK_HEADER_BYTES), .seq = seq};
    struct frame_scan scan;
    frame_scan_init(&scan, C, from, NULL, 0);
    frame_scan_chunk(&scan, &place, image.bytes);
    return scan;
}

/* Walks to the end or the first invalid frame. */
static enum frame_step scan_all(struct frame_scan *scan, int *frames)
{
    struct frame_view view;
    enum frame_step step;
    *frames = 0;
    while ((step = frame_scan_next(scan, &view)) == FRAME_STEP_FRAME) {
        (*frames)++;
    }
    return step;
}

static void expect(uint64_t whole_offset, uint64_t seq, int frames)
{
    struct frame_scan scan = scan_begin(10);
    int found;
    cr_assert_eq(scan_all(&scan, &found), FRAME_STEP_INVALID);
    cr_assert_eq(found, frames);
    cr_assert_eq(scan.whole.position, position_of(whole_offset));
    cr_assert_eq(scan.whole.seq, seq);
}

Test(frame_scan, entries_follow_each_other_until_there_is_no_frame)
{
    put_sealed(10, WHOLE, 0);
    put_sealed(11, WHOLE, 1);
    put_sealed(12, WHOLE, 1000);
    expect(image.at, 13, 3);
}

Test(frame_scan, a_chunk_ends_with_a_pad_or_where_no_header_fits)
{
    put_sealed(10, WHOLE, 100);
    put_sealed(11, FRAME_PAD, (uint32_t)(S - image.at - 32));
    struct frame_scan scan = scan_begin(10);
    int frames;
    cr_assert_eq(scan_all(&scan, &frames), FRAME_STEP_END);
    cr_assert_eq(frames, 1);
    cr_assert_eq(scan.whole.position, 3 * S + CHUNK_HEADER_BYTES);
    cr_assert_eq(scan.whole.seq, 11);

    for (uint32_t room = 0; room <= 16; room += 16) {
        tear_down();
        set_up();
        put_sealed(10, WHOLE, (uint32_t)(S - image.at - 32 - room));
        scan = scan_begin(10);
        cr_assert_eq(scan_all(&scan, &frames), FRAME_STEP_END);
        cr_assert_eq(scan.whole.position, 3 * S + CHUNK_HEADER_BYTES);
    }
}

Test(frame_scan, a_pad_that_does_not_end_with_the_chunk_is_none)
{
    put_sealed(10, FRAME_PAD, (uint32_t)(S - image.at - 48));
    expect(CHUNK_HEADER_BYTES, 10, 0);
}

Test(frame_scan, sizes_that_lead_out_of_the_chunk_are_not_followed)
{
    static const uint32_t sizes[] = {(uint32_t)S, UINT32_MAX, UINT32_MAX - 31, 4096 - 64 - 31};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        put(10, WHOLE, 0)->size = sizes[i];
        image.at = CHUNK_HEADER_BYTES;
        expect(CHUNK_HEADER_BYTES, 10, 0);
    }
}

Test(frame_scan, a_frame_of_another_seq_salt_flag_or_place_ends_the_log)
{
    put_sealed(10, WHOLE, 10);
    const uint64_t at = image.at;
    put_sealed(12, WHOLE, 10);
    expect(at, 11, 1);
    image.at = at;
    struct frame_header *frame = put(11, WHOLE, 10);
    frame->salt = 4;
    seal(frame);
    expect(at, 11, 1);
    image.at = at;
    put_sealed(11, WHOLE | FRAME_HEADERS, 10);
    expect(at, 11, 1);
    image.at = at;
    put_sealed(11, WHOLE | FRAME_BATCH_END, 10);
    expect(at, 11, 1);
    image.at = at;
    frame = put(11, WHOLE, 10);
    frame_seal(frame, checksum_seed(place.topic_id, place.chunk_no, place.generation + 1));
    expect(at, 11, 1);
}

Test(frame_scan, salts_below_the_floor_of_their_position_do_not_count)
{
    put_sealed(10, WHOLE, 10);
    const uint64_t second = image.at;
    put_sealed(11, WHOLE, 10);
    const struct record_place from = {.position = position_of(CHUNK_HEADER_BYTES), .seq = 10};
    const struct salt_floor floors[] = {{position_of(CHUNK_HEADER_BYTES), 5},
                                        {position_of(second), 6}};
    struct frame_scan scan;
    int frames;
    frame_scan_init(&scan, C, from, floors, 2);
    frame_scan_chunk(&scan, &place, image.bytes);
    cr_assert_eq(scan_all(&scan, &frames), FRAME_STEP_INVALID);
    cr_assert_eq(frames, 1);
    frame_scan_init(&scan, C, from, floors, 1);
    frame_scan_chunk(&scan, &place, image.bytes);
    scan_all(&scan, &frames);
    cr_assert_eq(frames, 2);
    frame_scan_init(&scan, C, from, NULL, 0);
    scan.salt_end = 5;
    frame_scan_chunk(&scan, &place, image.bytes);
    scan_all(&scan, &frames);
    cr_assert_eq(frames, 0);
}

Test(frame_scan, a_batch_counts_when_its_end_is_there)
{
    put_sealed(10, WHOLE, 10);
    const uint64_t begin = image.at;
    put_sealed(11, WHOLE | FRAME_BATCH, 10);
    put_sealed(12, WHOLE | FRAME_BATCH, 10);
    expect(begin, 11, 3);
    put_sealed(13, WHOLE | FRAME_BATCH | FRAME_BATCH_END, 10);
    expect(image.at, 14, 4);
    put_sealed(14, WHOLE, 10);
    expect(image.at, 15, 5);
}

Test(frame_scan, the_end_of_a_streamed_batch_is_a_frame_of_its_own)
{
    put_sealed(10, WHOLE | FRAME_BATCH, 10);
    put_sealed(11, FRAME_PAD | FRAME_BATCH | FRAME_BATCH_END, 0);
    put_sealed(11, WHOLE, 10);
    expect(image.at, 12, 3);
}

Test(frame_scan, an_end_without_a_batch_ends_the_log)
{
    put_sealed(10, WHOLE, 10);
    const uint64_t at = image.at;
    put_sealed(11, FRAME_PAD | FRAME_BATCH_END, 0);
    expect(at, 11, 1);
}

Test(frame_scan, a_batch_of_mixed_frames_or_salts_ends_the_log)
{
    put_sealed(10, WHOLE | FRAME_BATCH, 10);
    const uint64_t at = image.at;
    put_sealed(11, WHOLE, 10);
    expect(CHUNK_HEADER_BYTES, 10, 1);
    image.at = at;
    struct frame_header *frame = put(11, WHOLE | FRAME_BATCH | FRAME_BATCH_END, 10);
    frame->salt = 6;
    seal(frame);
    expect(CHUNK_HEADER_BYTES, 10, 1);
}

Test(frame_scan, fragments_add_up_to_their_entry)
{
    put_first(10, FRAME_FIRST, 108, 300);
    put_sealed(10, 0, 150);
    expect(CHUNK_HEADER_BYTES, 10, 2);
    put_sealed(10, FRAME_LAST, 50);
    expect(image.at, 11, 3);
}

Test(frame_scan, fragments_that_do_not_add_up_end_the_log)
{
    put_first(10, FRAME_FIRST, 108, 300);
    const uint64_t at = image.at;
    put_sealed(10, FRAME_LAST, 199);
    expect(CHUNK_HEADER_BYTES, 10, 1);
    image.at = at;
    put_sealed(10, FRAME_LAST, 201);
    expect(CHUNK_HEADER_BYTES, 10, 1);
    image.at = at;
    put_sealed(10, 0, 200);
    expect(CHUNK_HEADER_BYTES, 10, 1);
    image.at = at;
    put_sealed(10, FRAME_FIRST | FRAME_LAST, 200);
    expect(CHUNK_HEADER_BYTES, 10, 1);
    image.at = at;
    put_sealed(10, FRAME_LAST | FRAME_BATCH, 200);
    expect(CHUNK_HEADER_BYTES, 10, 1);
}

Test(frame_scan, a_first_fragment_must_say_a_total_that_needs_more)
{
    static const uint64_t totals[] = {0, 99, 100, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++) {
        image.at = CHUNK_HEADER_BYTES;
        put_first(10, FRAME_FIRST, 108, totals[i]);
        expect(CHUNK_HEADER_BYTES, 10, 0);
    }
    image.at = CHUNK_HEADER_BYTES;
    put_sealed(10, FRAME_FIRST, 7);
    expect(CHUNK_HEADER_BYTES, 10, 0);
}

Test(frame_scan, a_middle_without_a_beginning_ends_the_log)
{
    put_sealed(10, FRAME_LAST, 100);
    expect(CHUNK_HEADER_BYTES, 10, 0);
    image.at = CHUNK_HEADER_BYTES;
    put_sealed(10, 0, 100);
    expect(CHUNK_HEADER_BYTES, 10, 0);
}

static int verify(uint64_t upto_offset)
{
    return frame_scan_verify(image.bytes, C, place.topic_id, place.chunk_no, place.generation,
                             position_of(upto_offset));
}

Test(frame_scan, a_chunk_that_begins_within_an_entry_can_be_verified)
{
    put_sealed(10, 0, 500);
    put_sealed(10, FRAME_LAST, 77);
    put_sealed(11, WHOLE | FRAME_BATCH, 10);
    put_sealed(12, WHOLE | FRAME_BATCH | FRAME_BATCH_END, 10);
    cr_assert_eq(verify(image.at), 0);
    const uint64_t at = image.at;
    put_sealed(13, FRAME_PAD, (uint32_t)(S - image.at - 32));
    cr_assert_eq(verify(S), 0);
    cr_assert_eq(verify(at), 0);
    cr_assert_eq(verify(at - 16), -EBADMSG);
    cr_assert_eq(verify(at + 16), -EBADMSG);
}

Test(frame_scan, verifying_notices_every_bit_that_is_covered)
{
    put_sealed(10, WHOLE, 48);
    put_first(11, FRAME_FIRST | FRAME_BATCH, 208, 1000);
    put_sealed(11, FRAME_BATCH, 16);
    const uint64_t end = image.at;
    cr_assert_eq(verify(end), 0);
    for (uint64_t bit = 0; bit < end * 8; bit++) {
        image.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_eq(verify(end), -EBADMSG, "bit %d", (int)bit);
        image.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    cr_assert_eq(frame_scan_verify(image.bytes, C, 8, 2, 9, position_of(end)), -EBADMSG);
    cr_assert_eq(frame_scan_verify(image.bytes, C, 7, 3, 9, 3 * S + end), -EBADMSG);
    cr_assert_eq(frame_scan_verify(image.bytes, C, 7, 2, 8, position_of(end)), -EBADMSG);
}

Test(frame_scan, an_unfinished_chunk_without_its_last_entry_is_noticed)
{
    put_sealed(10, WHOLE, 48);
    const uint64_t end = image.at;
    cr_assert_eq(verify(end + 80), -EBADMSG);
    cr_assert_eq(verify(S), -EBADMSG);
}

Test(frame_scan, frames_behind_a_gap_are_found_wherever_they_begin)
{
    for (uint64_t at = CHUNK_HEADER_BYTES + 32; at + 64 <= S; at += FRAME_ALIGNMENT) {
        tear_down();
        set_up();
        image.at = at;
        put_sealed(15, WHOLE, 32);
        struct frame_scan scan = scan_begin(10);
        struct frame_view view;
        cr_assert_eq(frame_scan_next(&scan, &view), FRAME_STEP_INVALID);
        const uint64_t from = frame_scan_gap_end(&scan);
        cr_assert(frame_scan_search(&scan, from, scan.end, &view));
        cr_assert_eq(view.position, position_of(at));
        cr_assert_not(frame_scan_search(&scan, view.position + 16, scan.end, &view));
        cr_assert_not(frame_scan_search(&scan, from, position_of(at), &view));
        scan.salt = 6;
        cr_assert_not(frame_scan_search(&scan, from, scan.end, &view));
        scan.salt = 0;
        scan.seq = 16;
        cr_assert_not(frame_scan_search(&scan, from, scan.end, &view));
    }
}

Test(frame_scan, what_a_torn_frame_claims_as_its_payload_is_not_searched)
{
    struct frame_header *torn = put(10, WHOLE, 500);
    const uint64_t behind = image.at;
    seal(torn);
    image.at = CHUNK_HEADER_BYTES + 128;
    put_sealed(11, WHOLE, 16); /* as a client might write it into its payload */
    struct frame_scan scan = scan_begin(10);
    struct frame_view view;
    cr_assert_eq(frame_scan_next(&scan, &view), FRAME_STEP_INVALID);
    cr_assert(frame_scan_claim(&scan, &view));
    cr_assert_eq(view.header.sync, 3);
    cr_assert_eq(frame_scan_gap_end(&scan), position_of(behind));
    scan.seq = 9;
    cr_assert_not(frame_scan_claim(&scan, &view));
}

Test(frame_scan, random_images_are_walked_without_harm)
{
    uint32_t random = 1;
    for (int round = 0; round < 20000; round++) {
        image.at = CHUNK_HEADER_BYTES;
        uint64_t seq = 10;
        while (image.at + 32 <= S) {
            random = random * 1664525 + 1013904223;
            const uint64_t room = S - image.at - 32;
            uint32_t size = (random >> 8) % 400;
            size = size > room ? (uint32_t)room : size;
            struct frame_header *frame = put(seq, (uint16_t)(random >> 26), size);
            if (random % 3 == 0 && size >= 8) {
                const uint64_t total = random % 5 == 0 ? UINT64_MAX : random % 1000;
                memcpy(frame + 1, &total, sizeof total);
            }
            seal(frame);
            seq += frame->flags & FRAME_LAST ? 1 : 0;
        }
        struct frame_scan scan = scan_begin(10);
        int frames;
        const enum frame_step step = scan_all(&scan, &frames);
        if (step == FRAME_STEP_INVALID) {
            struct frame_view view;
            (void)frame_scan_search(&scan, frame_scan_gap_end(&scan), scan.end, &view);
        }
        cr_assert_leq(scan.whole.position, scan.position);
    }
}
