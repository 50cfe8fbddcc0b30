/*
 * Proves that a store which is opened and then wanted by no engine, as at a stop that overtakes an
 * opening, leaves no descriptor and no lock behind, on every backend.
 * How: a store in a directory on tmpfs is opened twice, with nothing in between but its being freed.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/engine_store.h"
#include "tests/support/process.h"
#include "tests/support/scratch.h"

static struct engine_store *opened(const struct engine_store_setup *setup)
{
    struct engine_store *store = NULL;
    struct fault fault = {0};
    const int error = engine_store_open(&store, setup, &fault);
    cr_assert_eq(error, 0, "%s", fault.text);
    return store;
}

static void open_and_free(enum io_backend backend)
{
    char scratch[SCRATCH_PATH_BYTES];
    scratch_on_tmpfs(scratch);
    struct config config = {.chunk_bytes = CHUNK_BYTES_MIN,
                            .segment_bytes = 16 * CHUNK_BYTES_MIN,
                            .arena_bytes = CONFIG_ARENA_BYTES_MIN,
                            .topics_max = 8,
                            .fsync = FSYNC_EACH,
                            .backend = backend};
    snprintf(config.data_dir, sizeof config.data_dir, "%s/store", scratch);
    const struct directory_geometry geometry = {.chunk_bytes = config.chunk_bytes,
                                                .arena_bytes = config.arena_bytes,
                                                .topics_max = config.topics_max};
    const uint64_t bytes = align_up(directory_bytes(&geometry), WRITER_STRIDE);
    struct engine_store_setup setup = {
        .config = &config,
        .directory = memset(aligned_alloc(WRITER_STRIDE, bytes), 0, bytes),
        .arena = {.base = aligned_alloc(BLOCK_BYTES, config.arena_bytes),
                  .bytes = config.arena_bytes,
                  .fd = -1},
    };
    directory_format(setup.directory, &geometry, 1, 1);
    const uint64_t before = process_count(getpid()).fds;
    for (int i = 0; i < 2; i++) {
        engine_store_free(opened(&setup));
        cr_expect_eq(process_count(getpid()).fds, before);
    }
    free(setup.directory);
    free(setup.arena.base);
}

Test(engine_store, one_that_no_engine_had_is_closed, .timeout = 600)
{
    open_and_free(IO_BACKEND_PWRITE);
    open_and_free(IO_BACKEND_MMAP);
    open_and_free(IO_BACKEND_AUTO);
}
