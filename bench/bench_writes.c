/*
 * bench-writes: how many entries per second do producer processes append, waiting for each, not
 * waiting, or in batches; and how many go from one producer process to one that reads them?
 * Runs on:    one main thread; the work is done by the processes of a crew.
 */
#include "bench/writing.h"

#include <stdio.h>
#include <string.h>

static const struct writing shapes[] = {
    {.name = "append", .mode = PRODUCER_APPEND, .latency = true},
    {.name = "submit", .mode = PRODUCER_SUBMIT},
    {.name = "submit, completions reaped", .mode = PRODUCER_COMPLETIONS},
    {.name = "batch append", .mode = PRODUCER_BATCH, .latency = true},
    {.name = "submit batch", .mode = PRODUCER_SUBMIT_BATCH},
};

/* One producer, one follower, small entries, nothing synced. */
static const struct writing pipes[] = {
    {.name = "64 B, process to process", .mode = PRODUCER_SUBMIT, .lead = true},
    {.name = "64 B, process to process, batches", .mode = PRODUCER_SUBMIT_BATCH, .lead = true},
    {.name = "64 B, process to process, unbounded", .mode = PRODUCER_SUBMIT},
};

#define PIPE_SIZE 64
#define PIPE_BATCH 64

static struct settings pipe_settings(const struct settings *all)
{
    struct settings settings = settings_point(all, 0);

    strcpy(settings.fsync, "none");
    settings.procs_min = settings.procs_max = 1;
    settings.threads = 1;
    settings.topics = 1;
    settings.consumers = 1;
    settings.batch = PIPE_BATCH;
    settings.size_min = settings.size_max = PIPE_SIZE;
    return settings;
}

int main(void)
{
    static struct report report;
    struct settings settings = SETTINGS_DEFAULT;

    settings.procs_min = settings.procs_max = 10;
    settings.size_min = 500;
    settings.size_max = 1024;
    settings.batch = 64;
    settings.duration_s = 2;
    settings_load_lists(&settings);
    settings_check_space(&settings);
    const struct settings pipe = pipe_settings(&settings);
    const struct writing_sweep sweeps[] = {
        {&settings, shapes, sizeof shapes / sizeof *shapes},
        {&pipe, pipes, sizeof pipes / sizeof *pipes},
    };
    report_open(&report, "bench-writes",
                "how many entries per second do producer processes append, and how many of 64 "
                "bytes reach a reading process?",
                &settings, writing_columns, WRITING_COLUMNS);
    printf("%u producer processes of %u threads, batches of %u. Process to process: one producer "
           "close to one reader unless unbounded, fsync none, batches of %d.\n",
           settings.procs_max, settings.threads, settings.batch, PIPE_BATCH);
    return writing_main(&report, sweeps, sizeof sweeps / sizeof *sweeps);
}
