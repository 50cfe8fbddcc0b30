/* Pool stage: see pool_stage.h. */
#include "tests/unit/pool_stage.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct directory_shm *directory;
static unsigned char *arena;
struct chunk_pool pool;
struct topic pool_topic;
struct client clients[READERS];
struct chunk *chunks[CHUNKS];

static void *memory_make(uint64_t bytes)
{
    void *memory = aligned_alloc(BLOCK_BYTES, bytes);
    cr_assert_not_null(memory);
    memset(memory, 0, bytes);
    return memory;
}

void pool_stage_begin(void)
{
    const struct directory_geometry geometry = {
        .chunk_bytes = CHUNK_BYTES_MIN, .arena_bytes = BIGS * CHUNK_BYTES_MIN, .topics_max = 1};
    directory = memory_make(directory_bytes(&geometry));
    directory_format(directory, &geometry, 1, 1);
    arena = memory_make(geometry.arena_bytes);
    pool_topic = (struct topic){.shm = directory_topic(directory, 0)};
    cr_assert_eq(pool_init(&pool, directory, arena), 0);
    for (int i = 0; i < READERS; i++) {
        clients[i].pins_fd = memfd_create("pins", MFD_CLOEXEC);
        cr_assert_geq(clients[i].pins_fd, 0);
        cr_assert_eq(ftruncate(clients[i].pins_fd, sizeof(struct pins_shm)), 0);
        list_push_back(&pool.readers, &clients[i].readers);
    }
}

void pool_stage_end(void)
{
    for (int i = 0; i < CHUNKS; i++) {
        chunk_free(chunks[i]);
    }
    for (int i = 0; i < READERS; i++) {
        close(clients[i].pins_fd);
        free(clients[i].pin_notes);
    }
    pool_deinit(&pool);
    free(arena);
    free(directory);
}

struct chunk *chunk_make(int index, uint64_t number)
{
    chunks[index] = chunk_new(&pool_topic, number);
    cr_assert_not_null(chunks[index]);
    return chunks[index];
}

struct chunk *chunk_place(int index, uint64_t number, bool system)
{
    struct chunk *chunk = chunk_make(index, number);
    cr_assert_eq(pool_assign(&pool, chunk, system), POOL_OK, "chunk %d", index);
    return chunk;
}

struct chunk *chunk_place_clean(int index, uint64_t number)
{
    struct chunk *chunk = chunk_place(index, number, false);
    pool_show(&pool, chunk);
    pool_settle(&pool, chunk, true);
    return chunk;
}

uint64_t stamp_of(const struct chunk *chunk)
{
    return chunk_stamp(directory_stamp(directory, chunk->unit));
}

void pin_write(int reader, int slot, uint64_t value)
{
    cr_assert_eq(
        pwrite(clients[reader].pins_fd, &value, sizeof value, (off_t)((size_t)slot * sizeof value)),
        (ssize_t)sizeof value);
}

uint64_t pin_of(const struct chunk *chunk)
{
    return (stamp_of(chunk) << PIN_STAMP_SHIFT & PIN_STAMP_MASK) | ((uint64_t)chunk->unit + 1);
}

bool is_there(const struct chunk *chunk)
{
    return chunk->state == CHUNK_RESIDENT && chunk->unit != UNIT_NONE && stamp_of(chunk) != 0;
}

bool is_gone(const struct chunk *chunk)
{
    return chunk->state == CHUNK_COLD && chunk->unit == UNIT_NONE;
}
