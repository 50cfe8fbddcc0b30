/*
 * Readers pin chunk images and read every byte of them while the chunk pool evicts images and puts
 * others into their units: what a reader holds never changes, whether it found the unit in the
 * topic's map or was told it; and pin_intact() is true of it until it lets go.
 * Seen to fail, in each run but for [P2], which took up to three:
 *   [P1] the stamp stored or loaded relaxed (race), or set before the image is complete
 *   [P2] pin_take() with a compiler fence for its full one
 *   [P3] pool_evict() with a compiler fence for its full one, or with the pins read before the marks
 *   [P4] pin_release() relaxed (race), or before the last byte is read
 *   [T4] orders nothing here that [P1] does not: see stress_topic.c
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "broker/chunk_pool.h"
#include "broker/lane.h"
#include "shm/pins.h"
#include "tests/stress/stress.h"

enum {
    READERS = 2,
    READER_PINS = 2, /* that a reader holds at a time */
    CHUNKS = 24,     /* sixteen small ones, then big ones; more than the arena holds */
    ARENA_BIGS = 2,  /* few, so that nearly every image that comes evicts others */
    TOPIC_ID = 9,
    PINS_TAKEN_MIN = 100,
};

static struct directory_shm *directory;
static struct chunk_pool pool;
static struct topic topic;
static struct chunk *chunks[CHUNKS];
static struct client clients[READERS];
static struct pins_shm *pins[READERS];
static struct atom engine_done;
static struct atom pins_taken[READERS]; /* each by its reader */

#ifdef TUSK_TSAN
enum { BY_KERNEL = 0 }; /* its reads of what threads have mapped are not seen */
#else
enum { BY_KERNEL = 1 };
#endif

/* How the pool reads pins: now and then as always, else from the mapping, without the time and the
 * barriers of a system call, so that the fences alone must do. */
ssize_t pread(int fd, void *buffer, size_t bytes, off_t offset)
{
    static struct stress_dice dice;
    uint64_t *words = buffer;
    unsigned reader = 0;
    while (reader < READERS && clients[reader].pins_fd != fd) {
        reader++;
    }
    stress_check(reader < READERS && offset == 0, "fd %d holds no pins", fd);
    if (BY_KERNEL && dice_roll(&dice, 8) == 0) {
        return syscall(SYS_pread64, fd, buffer, bytes, offset);
    }
    stress_check(bytes >= sizeof *pins[0], "%zu bytes are not all pins", bytes);
    for (size_t word = 0; word < PINS_MAX; word++) {
        words[word] = atom_load_acquire(&pins[reader]->pin[word]); /* [P4] */
    }
    return sizeof *pins[0];
}

/* A life of a chunk in the arena fills its image with one word, which its header tells. */
static uint64_t *image_words(struct chunk_header *header, uint64_t number, uint64_t *count)
{
    *count = (chunk_size(number, CHUNK_BYTES_MIN) - sizeof *header) / sizeof(uint64_t);
    return (uint64_t *)(header + 1);
}

/* The engine's thread. */

static void image_fill(const struct chunk *chunk, uint64_t life)
{
    struct chunk_header *header = (struct chunk_header *)(void *)pool_image(&pool, chunk);
    *header = (struct chunk_header){
        .magic = CHUNK_MAGIC, .topic_id = TOPIC_ID, .chunk_no = chunk->number, .generation = life};
    uint64_t count;
    uint64_t *words = image_words(header, chunk->number, &count);
    for (uint64_t i = 0; i < count; i++) {
        words[i] = life;
    }
}

static bool everybody_has_read(void)
{
    for (unsigned i = 0; i < READERS; i++) {
        if (atom_load_relaxed(&pins_taken[i]) < PINS_TAKEN_MIN) { /* seen later, if stale */
            return false;
        }
    }
    return true;
}

static void *engine_run(void *context)
{
    struct stress_dice dice = {0};
    const uint64_t end_ms = stress_now_ms() + 2 * STRESS_MS;
    uint64_t life = 0;
    uint64_t full = 0;
    (void)context;
    while (stress_now_ms() < end_ms || !everybody_has_read()) {
        struct chunk *chunk = chunks[dice_roll(&dice, CHUNKS)];
        if (chunk->state == CHUNK_RESIDENT) {
            pool_touch(&pool, chunk);
        } else if (pool_assign(&pool, chunk, true) == POOL_OK) {
            image_fill(chunk, ++life);
            pool_show(&pool, chunk);
            pool_settle(&pool, chunk, true);
        } else {
            full++; /* everything that could go is pinned */
        }
    }
    atom_store_release(&engine_done, 1);
    printf("lives=%lu evictions=%lu full=%lu\n", life, pool.evictions, full);
    stress_check(pool.evictions > 0, "nothing was evicted");
    return NULL;
}

/* A reader's thread. */

struct hold {
    struct atom *pin;
    uint32_t unit;
    uint64_t stamp;
};

/* Looks a chunk up, or guesses a unit as if it had been told it before. */
static bool unit_find(struct stress_dice *dice, uint32_t *unit)
{
    if (dice_roll(dice, 2) == 0) {
        *unit = dice_roll(dice, (uint32_t)directory->header.units);
        return true;
    }
    return topic_chunk_unit(topic.shm, dice_roll(dice, CHUNKS), unit) == 1; /* [T4] */
}

static void image_check(const struct hold *hold)
{
    struct chunk_header *header =
        (struct chunk_header *)(void *)(pool.arena +
                                        hold->unit * small_chunk_bytes(CHUNK_BYTES_MIN));
    const struct chunk_header seen = *header;
    stress_check(seen.magic == CHUNK_MAGIC && seen.topic_id == TOPIC_ID && seen.chunk_no < CHUNKS,
                 "unit %u is pinned and holds no chunk", hold->unit);
    uint64_t count;
    const uint64_t *words = image_words(header, seen.chunk_no, &count);
    for (uint64_t i = 0; i < count; i++) {
        stress_check(words[i] == seen.generation, "unit %u changed while it was pinned",
                     hold->unit);
    }
    stress_check(memcmp(header, &seen, sizeof seen) == 0, "unit %u got another header", hold->unit);
    stress_check(pin_intact(directory_stamp(directory, hold->unit), hold->stamp),
                 "unit %u is pinned and not intact", hold->unit);
}

static void *reader_run(void *context)
{
    struct stress_dice dice = {0};
    struct hold holds[READER_PINS];
    const unsigned own = stress_number();
    (void)context;
    for (unsigned i = 0; i < READER_PINS; i++) {
        holds[i] = (struct hold){.pin = &pins[own]->pin[i * 300], .unit = UNIT_NONE};
    }
    while (atom_load_acquire(&engine_done) == 0) {
        struct hold *hold = &holds[dice_roll(&dice, READER_PINS)];
        if (hold->unit != UNIT_NONE) {
            image_check(hold);
            pin_release(hold->pin); /* [P4] */
            hold->unit = UNIT_NONE;
            dice_delay(&dice);
        }
        uint32_t unit;
        if (unit_find(&dice, &unit) &&
            pin_take(hold->pin, directory_stamp(directory, unit), unit, &hold->stamp) == 1) {
            hold->unit = unit;
            atom_add_relaxed(&pins_taken[own], 1);
        }
    }
    for (unsigned i = 0; i < READER_PINS; i++) {
        if (holds[i].unit != UNIT_NONE) {
            image_check(&holds[i]);
            pin_release(holds[i].pin);
        }
    }
    printf("reader=%u pins=%lu\n", own, atom_load_relaxed(&pins_taken[own])); /* own word */
    return NULL;
}

static void *memory_make(uint64_t bytes)
{
    void *memory = aligned_alloc(BLOCK_BYTES, bytes);
    stress_check(memory != NULL, "no memory");
    memset(memory, 0, bytes);
    return memory;
}

static void client_make(unsigned index)
{
    struct client *client = &clients[index];
    client->pins_fd = memfd_create("pins", MFD_CLOEXEC);
    stress_check(client->pins_fd >= 0, "no memfd");
    stress_check(ftruncate(client->pins_fd, sizeof(struct pins_shm)) == 0, "no memory");
    pins[index] =
        mmap(NULL, sizeof(struct pins_shm), PROT_READ | PROT_WRITE, MAP_SHARED, client->pins_fd, 0);
    stress_check(pins[index] != MAP_FAILED, "no memory");
    list_push_back(&pool.readers, &client->readers);
}

int main(void)
{
    const struct directory_geometry geometry = {.chunk_bytes = CHUNK_BYTES_MIN,
                                                .arena_bytes = ARENA_BIGS * CHUNK_BYTES_MIN,
                                                .topics_max = 1};
    directory = memory_make(directory_bytes(&geometry));
    directory_format(directory, &geometry, 1, 1);
    topic.shm = directory_topic(directory, 0);
    unsigned char *arena = memory_make(geometry.arena_bytes);
    stress_check(pool_init(&pool, directory, arena) == 0, "no memory");
    for (unsigned i = 0; i < READERS; i++) {
        client_make(i);
    }
    for (uint64_t number = 0; number < CHUNKS; number++) {
        chunks[number] = chunk_new(&topic, number);
        stress_check(chunks[number] != NULL, "no memory");
    }
    stress_run(engine_run, reader_run, READERS, NULL);
    for (unsigned i = 0; i < CHUNKS; i++) {
        chunk_free(chunks[i]);
    }
    for (unsigned i = 0; i < READERS; i++) {
        munmap(pins[i], sizeof(struct pins_shm));
        close(clients[i].pins_fd);
    }
    pool_deinit(&pool);
    free(arena);
    free(directory);
    return 0;
}
