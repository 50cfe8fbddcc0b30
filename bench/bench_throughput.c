/*
 * bench-throughput: how does the rate depend on the size of the entries, on batches, and on how
 * many producers, consumers and topics there are? One of them is varied at a time.
 * Runs on:    one main thread; the work is done by the processes of a crew.
 */
#include "bench/writing.h"

#include <stdio.h>

static const struct series {
    enum settings_dimension dimension;
    const char *values;
    unsigned topics;    /* 0: one per producer */
    unsigned consumers; /* where CONSUMERS doesn't say */
    struct writing writing;
} series[] = {
    {SETTINGS_SIZE,
     "16,64,256,1K,4K,16K,64K",
     1,
     1,
     {.name = "submit", .mode = PRODUCER_SUBMIT, .lead = true}},
    {SETTINGS_BATCH,
     "1,4,16,64,256,1000",
     1,
     1,
     {.name = "submit batch", .mode = PRODUCER_SUBMIT_BATCH, .lead = true}},
    {SETTINGS_PROCESSES,
     "1,2,4,8,16,32,64",
     0,
     0,
     {.name = "submit, own topics", .mode = PRODUCER_SUBMIT}},
    {SETTINGS_PROCESSES,
     "1,2,4,8,16,32,64",
     1,
     0,
     {.name = "submit, one topic", .mode = PRODUCER_SUBMIT}},
    {SETTINGS_CONSUMERS,
     "0,1,2,4,8",
     1,
     0,
     {.name = "submit", .mode = PRODUCER_SUBMIT, .lead = true}},
    {SETTINGS_TOPICS, "1,4,16,64,256,1000", 1, 0, {.name = "submit", .mode = PRODUCER_SUBMIT}},
};

#define SERIES_COUNT (sizeof series / sizeof *series)

/* What one of them goes through. */
static struct settings series_settings(const struct settings *all, const struct series *one)
{
    struct settings settings = settings_point(all, 0);

    settings.topics = all->lists[SETTINGS_TOPICS].count > 0 ? settings.topics : one->topics;
    settings.consumers =
        all->lists[SETTINGS_CONSUMERS].count > 0 ? settings.consumers : one->consumers;
    settings_vary(&settings, one->dimension, one->values);
    return settings;
}

int main(void)
{
    static struct report report;
    static struct settings varied[SERIES_COUNT];
    struct writing_sweep sweeps[SERIES_COUNT];
    struct settings settings = SETTINGS_DEFAULT;

    settings.batch = 64;
    settings.duration_s = 0.4;
    settings_load_lists(&settings);
    settings_check_space(&settings);
    for (size_t i = 0; i < SERIES_COUNT; i++) {
        varied[i] = series_settings(&settings, &series[i]);
        sweeps[i] = (struct writing_sweep){&varied[i], &series[i].writing, 1};
    }
    report_open(&report, "bench-throughput",
                "how does the rate depend on size, batch, producers, consumers and topics?",
                &settings, writing_columns, WRITING_COLUMNS);
    printf("One is varied at a time: the rest is one producer, 64 B, one topic, and one reader "
           "for sizes and batches.\n");
    return writing_main(&report, sweeps, SERIES_COUNT);
}
