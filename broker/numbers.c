/* Numbers: see numbers.h. */
#include "broker/numbers.h"

#include "broker/store.h"

int numbers_open(struct store *store, struct fault *fault)
{
    struct superblock *superblock = &store->superblock;
    struct numbers *numbers = &store->numbers;
    numbers->salt = superblock->salt_reserved;
    superblock->salt_reserved += SALT_STRIDE;
    if (numbers->next_generation < superblock->generation_reserved) {
        numbers->next_generation = superblock->generation_reserved;
    }
    superblock->generation_reserved = numbers->next_generation + GENERATION_STRIDE;
    const int error = superblock_write_now(
        store->io, store->dir.store, store_dir_path(&store->dir, "STORE").text, superblock, fault);
    if (error != 0) {
        return error;
    }
    return superblock_writer_init(&numbers->writer, store->io, store->dir.store);
}

void numbers_close(struct store *store)
{
    superblock_writer_deinit(&store->numbers.writer);
}

static void stride_done(void *context, int result)
{
    struct store *store = context;
    if (result != 0) {
        store_fence(store, result, "a write of the superblock");
    }
    store->freed = true;
}

/* Begins to set a stride aside, or would if it could. */
static void stride_begin(struct store *store)
{
    superblock_write(&store->numbers.writer, &store->superblock, stride_done, store);
}

int numbers_take_salt(struct store *store)
{
    struct numbers *numbers = &store->numbers;
    struct superblock *superblock = &store->superblock;
    const uint32_t left = superblock->salt_reserved - numbers->salt;
    const bool busy = superblock_writer_busy(&numbers->writer);
    const uint32_t usable = busy ? (left > SALT_STRIDE ? left - SALT_STRIDE : 0) : left;
    if (!busy && left < SALT_STRIDE / 2) {
        superblock->salt_reserved += SALT_STRIDE;
        stride_begin(store);
    }
    if (usable < 2) {
        return STORE_WAIT;
    }
    numbers->salt++;
    return STORE_READY;
}

int numbers_take_generation(struct store *store, uint64_t *generation)
{
    struct numbers *numbers = &store->numbers;
    struct superblock *superblock = &store->superblock;
    const uint64_t left = superblock->generation_reserved - numbers->next_generation;
    const bool busy = superblock_writer_busy(&numbers->writer);
    /* While a stride is being set aside only the numbers before it may be used. */
    const uint64_t usable = busy ? (left > GENERATION_STRIDE ? left - GENERATION_STRIDE : 0) : left;
    if (!busy && left < GENERATION_STRIDE / 2) {
        superblock->generation_reserved += GENERATION_STRIDE;
        stride_begin(store);
    }
    if (usable == 0) {
        return STORE_WAIT;
    }
    *generation = numbers->next_generation++;
    return STORE_READY;
}
