/*
 * Frame: the geometry of chunks against the definition in words: sixteen chunks of a sixteenth,
 * then whole ones, without a gap or an overlap, for every chunk size; and where frames may begin.
 */
#include <criterion/criterion.h>

#include "shm/frame.h"

enum { CHUNKS_TRIED = 50 };

Test(shm_frame, chunks_follow_each_other)
{
    for (uint64_t full = CHUNK_BYTES_MIN; full <= CHUNK_BYTES_MAX; full *= 2) {
        uint64_t start = 0;
        for (uint64_t number = 0; number < CHUNKS_TRIED; number++) {
            const uint64_t bytes = number < 16 ? full / 16 : full;
            cr_assert_eq(chunk_start(number, full), start);
            cr_assert_eq(chunk_size(number, full), bytes);
            cr_assert_eq(chunk_first_frame(number, full), start + 64);
            cr_assert_eq(chunk_number(start, full), number);
            cr_assert_eq(chunk_number(start + bytes / 2, full), number);
            cr_assert_eq(chunk_number(start + bytes - 1, full), number);
            start += bytes;
        }
    }
}

Test(shm_frame, big_positions)
{
    const uint64_t full = CHUNK_BYTES_MIN;
    const uint64_t number = (UINT64_C(1) << 39) + 15;
    const uint64_t start = UINT64_C(1) << 55;
    cr_assert_eq(chunk_start(number, full), start);
    cr_assert_eq(chunk_number(start, full), number);
    cr_assert_eq(chunk_number(start - 1, full), number - 1);
}

Test(shm_frame, bytes_are_the_header_the_payload_and_the_alignment)
{
    cr_assert_eq(sizeof(struct frame_header), FRAME_HEADER_BYTES);
    cr_assert_eq(sizeof(struct chunk_header), CHUNK_HEADER_BYTES);
    for (uint64_t payload = 0; payload < 200; payload++) {
        const uint64_t bytes = frame_bytes(payload);
        cr_assert_eq(bytes % 16, 0);
        cr_assert(bytes >= 32 + payload && bytes < 32 + payload + 16);
    }
    cr_assert_eq(frame_bytes(0), 32);
    cr_assert_eq(frame_bytes(16), 48);
    cr_assert_eq(frame_bytes(UINT32_MAX), (UINT64_C(1) << 32) + 32);
}

Test(shm_frame, an_eighth_of_the_chunk_is_not_cut)
{
    cr_assert_not(frame_fragments(8192, 65536));
    cr_assert(frame_fragments(8193, 65536));
    cr_assert_not(frame_fragments(0, 4096));
    cr_assert(frame_fragments(513, 4096));
}

/* A frame begins where its header fits, else at the next chunk's first frame. */
Test(shm_frame, settles_where_a_header_fits)
{
    const uint64_t full = CHUNK_BYTES_MIN;
    for (uint64_t number = 0; number < 18; number++) {
        const uint64_t end = chunk_start(number + 1, full);
        for (uint64_t room = 0; room <= 256; room += FRAME_ALIGNMENT) {
            const uint64_t settled = frame_settle(end - room, number, full);
            cr_assert_eq(settled, room < 32 ? end + 64 : end - room, "chunk %lu, room %lu", number,
                         room);
        }
    }
}

Test(shm_frame, flags_are_distinct)
{
    const unsigned flags[] = {FRAME_FIRST, FRAME_LAST,    FRAME_BATCH, FRAME_BATCH_END,
                              FRAME_PAD,   FRAME_HEADERS, FRAME_STREAM};
    unsigned seen = 0;
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        cr_assert_eq(seen & flags[i], 0);
        cr_assert_eq(flags[i] & (flags[i] - 1), 0);
        seen |= flags[i];
    }
    cr_assert_eq(seen & ~(unsigned)FRAME_HEADERS, FRAME_FLAGS_KNOWN);
}
