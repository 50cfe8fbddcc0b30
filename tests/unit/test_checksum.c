/*
 * Checksums: the known answer of CRC32C, every bit of a frame and its place covered, the image of a
 * frame under test never changed.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "broker/checksum.h"

enum { PAYLOAD = 100 };

struct specimen {
    struct frame_header header;
    unsigned char payload[PAYLOAD];
};

static struct specimen specimen_sealed(uint32_t seed)
{
    struct specimen specimen = {
        .header = {.size = PAYLOAD, .seq = 7, .time_ns = 9, .flags = FRAME_FIRST | FRAME_LAST}};
    for (int i = 0; i < PAYLOAD; i++) {
        specimen.payload[i] = (unsigned char)i;
    }
    frame_seal(&specimen.header, seed);
    return specimen;
}

Test(checksum, is_crc32c)
{
    cr_assert_eq(checksum_bytes("123456789", 9), 0xe3069283);
    cr_assert_eq(checksum_bytes("", 0), 0);
}

Test(checksum, a_sealed_frame_is_intact_and_stays_as_it_is)
{
    const struct specimen specimen = specimen_sealed(1);
    const struct specimen before = specimen;
    cr_assert(frame_intact(&specimen.header, 1));
    cr_assert_eq(memcmp(&specimen, &before, sizeof before), 0);
}

Test(checksum, every_bit_of_header_and_payload_is_covered)
{
    struct specimen specimen = specimen_sealed(1);
    unsigned char *bytes = (unsigned char *)&specimen;
    /* Not the size: it bounds what is read. */
    for (size_t bit = 32; bit < (FRAME_HEADER_BYTES + PAYLOAD) * 8; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        if ((specimen.header.flags & FRAME_PAD) == 0) {
            cr_assert_not(frame_intact(&specimen.header, 1), "bit %zu", bit);
        }
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    cr_assert(frame_intact(&specimen.header, 1));
}

Test(checksum, a_frame_belongs_to_one_topic_chunk_and_generation)
{
    const uint32_t seed = checksum_seed(1, 2, 3);
    const struct specimen specimen = specimen_sealed(seed);
    cr_assert(frame_intact(&specimen.header, checksum_seed(1, 2, 3)));
    cr_assert_not(frame_intact(&specimen.header, checksum_seed(2, 2, 3)));
    cr_assert_not(frame_intact(&specimen.header, checksum_seed(1, 3, 3)));
    cr_assert_not(frame_intact(&specimen.header, checksum_seed(1, 2, 4)));
    cr_assert_not(frame_intact(&specimen.header, checksum_seed(2, 1, 3)));
}

Test(checksum, of_a_pad_only_the_header_is_covered)
{
    struct specimen specimen = {.header = {.size = PAYLOAD, .flags = FRAME_PAD}};
    frame_seal(&specimen.header, 5);
    specimen.payload[0] ^= 1;
    cr_assert(frame_intact(&specimen.header, 5));
    specimen.header.seq ^= 1;
    cr_assert_not(frame_intact(&specimen.header, 5));
}

Test(checksum, zeros_are_no_frame)
{
    const struct specimen zeros = {0};
    cr_assert_not(frame_intact(&zeros.header, checksum_seed(1, 2, 3)));
}

Test(checksum, every_bit_of_a_chunk_header_is_covered)
{
    struct chunk_header header = {.magic = CHUNK_MAGIC,
                                  .version = CHUNK_FORMAT_VERSION,
                                  .topic_id = 3,
                                  .chunk_no = 4,
                                  .generation = 5,
                                  .next_slot = SLOT_NONE};
    chunk_header_seal(&header);
    cr_assert(chunk_header_intact(&header));
    unsigned char *bytes = (unsigned char *)&header;
    for (size_t bit = 0; bit < sizeof header * 8; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        cr_assert_not(chunk_header_intact(&header), "bit %zu", bit);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}
