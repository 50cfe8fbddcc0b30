/*
 * Directory: its parts lie apart inside the region, a header that is not exactly of this layout is
 * refused whatever it holds, and a topic's words and chunk map say what the engine published.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/directory.h"
#include "shm/frame.h"
#include "tests/support/scratch.h"
#include "tests/unit/single_step.h"

static const struct directory_geometry geometry = {
    .chunk_bytes = CHUNK_BYTES_MIN,
    .arena_bytes = 16 * CHUNK_BYTES_MIN,
    .topics_max = 10,
};
static struct directory_shm *directory;
static uint64_t bytes;

static void set_up(void)
{
    bytes = directory_bytes(&geometry);
    directory = aligned_alloc(BLOCK_BYTES, bytes);
    cr_assert_not_null(directory);
    memset(directory, 0, bytes);
    directory_format(directory, &geometry, 5, 1234);
}

static void tear_down(void)
{
    free(directory);
}

TestSuite(shm_directory, .init = set_up, .fini = tear_down);

Test(shm_directory, says_what_it_was_made_with)
{
    cr_assert_eq(directory_check(directory, bytes), 0);
    cr_assert_eq(bytes % BLOCK_BYTES, 0);
    cr_assert_eq(directory->header.epoch, 5);
    cr_assert_eq(directory->header.pid, 1234);
    cr_assert_eq(directory->header.chunk_bytes, geometry.chunk_bytes);
    cr_assert_eq(directory->header.arena_bytes, geometry.arena_bytes);
    cr_assert_eq(directory->header.topics_max, geometry.topics_max);
    cr_assert_eq(directory->header.units, 16 * SMALL_CHUNKS);
}

Test(shm_directory, parts_lie_apart)
{
    const unsigned char *base = (const unsigned char *)directory;
    const unsigned char *counters = (const unsigned char *)directory_counter(directory, 0);
    const unsigned char *counters_end =
        (const unsigned char *)directory_counter(directory, COUNTERS_MAX);
    const unsigned char *stamps = (const unsigned char *)directory_stamp(directory, 0);
    const unsigned char *stamps_end =
        (const unsigned char *)directory_stamp(directory, (uint32_t)directory->header.units);
    const unsigned char *topics = (const unsigned char *)directory_topic(directory, 0);
    const unsigned char *topics_end =
        (const unsigned char *)directory_topic(directory, (uint32_t)geometry.topics_max);
    cr_assert_geq(counters, base + sizeof *directory);
    cr_assert_geq(stamps, counters_end);
    cr_assert_geq(topics, stamps_end);
    cr_assert_leq(topics_end, base + bytes);
    cr_assert_eq((topics - base) % WRITER_STRIDE, 0);
    cr_assert_eq((counters - base) % WRITER_STRIDE, 0);
}

Test(shm_directory, refuses_a_region_of_another_size)
{
    cr_assert_eq(directory_check(directory, bytes - BLOCK_BYTES), -EPROTO);
    cr_assert_eq(directory_check(directory, bytes + BLOCK_BYTES), -EPROTO);
    cr_assert_eq(directory_check(directory, sizeof *directory - 1), -EPROTO);
    cr_assert_eq(directory_check(directory, 0), -EPROTO);
}

/* Every word of the header that gives it its shape, with values chosen to wrap sums and products. */
Test(shm_directory, refuses_a_changed_header)
{
    struct directory_header_shm *header = &directory->header;
    uint64_t *words[] = {&header->magic,         &header->digest,         &header->bytes,
                         &header->chunk_bytes,   &header->arena_bytes,    &header->topics_max,
                         &header->topics_offset, &header->stamps_offset,  &header->units,
                         &header->counters_max,  &header->counters_offset};
    const uint64_t changes[] = {7, /* topics that do not fit what rounds the region up */
                                CHUNK_BYTES_MIN,
                                UINT64_C(1) << 32,
                                UINT64_C(1)
                                    << 57, /* topics of 896 bytes: adds a multiple of 2^64 */
                                UINT64_C(1) << 63,
                                UINT64_MAX - 6}; /* minus 7 */
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        const uint64_t good = *words[i];
        for (size_t j = 0; j < sizeof changes / sizeof changes[0]; j++) {
            *words[i] = good + changes[j];
            cr_assert_eq(directory_check(directory, bytes), -EPROTO, "word %zu + %lx", i,
                         changes[j]);
        }
        *words[i] = 0;
        cr_assert_eq(directory_check(directory, bytes), -EPROTO, "word %zu zeroed", i);
        *words[i] = good;
    }
    cr_assert_eq(directory_check(directory, bytes), 0);
}

Test(shm_directory, topic_words)
{
    struct topic_shm *topic = directory_topic(directory, 9);
    cr_assert_eq(topic_state(topic), TOPIC_FREE, "zeroed memory names no topic");
    topic_publish(topic, 1000, 10);
    topic_publish_durable(topic, 900, 9);
    topic_publish_first(topic, 64, 1);
    topic_announce(topic, TOPIC_PRESENT);
    cr_assert_eq(topic_published_seq(topic), 10);
    cr_assert_eq(atom_load_relaxed(&topic->tail_position), 1000);
    cr_assert_eq(topic_durable_seq(topic), 9);
    cr_assert_eq(atom_load_relaxed(&topic->durable_position), 900);
    cr_assert_eq(topic_first_seq(topic), 1);
    cr_assert_eq(atom_load_relaxed(&topic->first_position), 64);
    cr_assert_eq(topic_state(topic), TOPIC_PRESENT);
    cr_assert_eq(topic_state(directory_topic(directory, 8)), TOPIC_FREE);
}

/* A position and the seq that is published after it. */
struct place {
    size_t position;
    size_t seq;
};

#define PLACE(position, seq) offsetof(struct topic_shm, position), offsetof(struct topic_shm, seq)

static uint64_t word_at(const struct topic_shm *topic, size_t offset)
{
    return atom_load_relaxed((const struct atom *)((const void *)((const char *)topic + offset)));
}

static void publish_all(void *memory, void *context)
{
    (void)context;
    topic_publish(memory, 1000, 10);
    topic_publish_durable(memory, 900, 9);
    topic_publish_first(memory, 64, 1);
}

/* [T1] [T2] [T5]: at no instruction is there a seq whose position is still to come. */
Test(shm_directory, positions_come_before_their_seqs)
{
    static const struct place places[] = {{PLACE(tail_position, next_seq)},
                                          {PLACE(durable_position, durable_seq)},
                                          {PLACE(first_position, first_seq)}};
    struct topic_shm *topic = shared_memory(sizeof *topic);
    struct images images;
    images_record(&images, topic, sizeof *topic, publish_all, NULL);
    cr_assert_eq(images.count, 7, "six stores");
    for (size_t i = 0; i < images.count; i++) {
        for (size_t j = 0; j < sizeof places / sizeof places[0]; j++) {
            const uint64_t seq = word_at(images.image[i], places[j].seq);
            const uint64_t position = word_at(images.image[i], places[j].position);
            cr_assert(seq == 0 || position != 0, "state %zu, pair %zu: the seq is first", i, j);
        }
    }
    images_free(&images);
}

static void map_names(struct topic_shm *topic, uint64_t chunk_no, uint32_t expected)
{
    uint32_t unit = UINT32_MAX;
    cr_assert_eq(topic_chunk_unit(topic, chunk_no, &unit), 1);
    cr_assert_eq(unit, expected);
}

Test(shm_directory, the_map_names_the_newest_chunk_of_each_place)
{
    struct topic_shm *topic = directory_topic(directory, 0);
    uint32_t unit;
    cr_assert_eq(topic_chunk_unit(topic, 0, &unit), 0, "chunk 0 in unit 0 is not 'nothing'");
    topic_map_chunk(topic, 0, 0);
    map_names(topic, 0, 0);
    cr_assert_eq(topic_chunk_unit(topic, CHUNK_MAP_ENTRIES, &unit), 0);

    topic_map_chunk(topic, CHUNK_MAP_ENTRIES, 32);
    map_names(topic, CHUNK_MAP_ENTRIES, 32);
    cr_assert_eq(topic_chunk_unit(topic, 0, &unit), 0, "its place is another chunk's now");
    topic_map_chunk(topic, 1, 5);
    map_names(topic, CHUNK_MAP_ENTRIES, 32);
    map_names(topic, 1, 5);
}

Test(shm_directory, the_map_forgets_only_what_it_names)
{
    struct topic_shm *topic = directory_topic(directory, 0);
    uint32_t unit;
    topic_map_chunk(topic, 3, 7);
    topic_unmap_chunk(topic, 3 + CHUNK_MAP_ENTRIES, 7);
    topic_unmap_chunk(topic, 3, 8);
    topic_unmap_chunk(topic, 4, 7);
    map_names(topic, 3, 7);
    topic_unmap_chunk(topic, 3, 7);
    cr_assert_eq(topic_chunk_unit(topic, 3, &unit), 0);
}

Test(shm_directory, the_map_takes_the_largest_numbers)
{
    struct topic_shm *topic = directory_topic(directory, 0);
    const uint32_t unit_max = (UINT32_C(1) << CHUNK_UNIT_BITS) - 1;
    const uint64_t chunk_max = (UINT64_C(1) << (64 - CHUNK_UNIT_BITS)) - 2;
    topic_map_chunk(topic, chunk_max, unit_max);
    map_names(topic, chunk_max, unit_max);
    uint32_t unit;
    cr_assert_eq(topic_chunk_unit(topic, chunk_max - CHUNK_MAP_ENTRIES, &unit), 0);
    topic_map_chunk(topic, 8, unit_max);
    map_names(topic, 8, unit_max);
}

Test(shm_directory, stamps)
{
    struct atom *stamp = directory_stamp(directory, 3);
    cr_assert_eq(chunk_stamp(stamp), 0);
    chunk_stamp_set(stamp, UINT64_C(1) << 40);
    cr_assert_eq(chunk_stamp(stamp), UINT64_C(1) << 40);
    cr_assert_eq(chunk_stamp(directory_stamp(directory, 2)), 0);
    cr_assert_eq(chunk_stamp(directory_stamp(directory, 4)), 0);
}
