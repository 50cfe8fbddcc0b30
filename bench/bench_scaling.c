/*
 * bench-scaling: how does the rate of appends grow with the number of producer processes?
 * Runs on:    one main thread; the work is done by the processes of a crew.
 */
#include "bench/writing.h"

#include <stdio.h>

static const struct writing shapes[] = {
    {.name = "append", .mode = PRODUCER_APPEND, .latency = true},
    {.name = "submit", .mode = PRODUCER_SUBMIT},
};

int main(void)
{
    static struct report report;
    struct settings settings = SETTINGS_DEFAULT;

    settings.size_min = 500;
    settings.size_max = 1024;
    settings.duration_s = 0.4;
    settings_load_lists(&settings);
    settings_used("FSYNC PROCS THREADS TOPICS SIZE DURATION BACKEND CONSUMERS IDLE");
    settings_vary(&settings, SETTINGS_PROCESSES, "1-10,16,32,64");
    settings_check_space(&settings);
    const struct writing_sweep sweep = {&settings, shapes, sizeof shapes / sizeof *shapes};
    report_open(&report, "bench-scaling",
                "how does the rate of appends grow with the number of producer processes?",
                &settings, writing_columns, WRITING_COLUMNS);
    printf("%u threads per process, %s.\n", settings.threads,
           settings.topics > 0 ? "sharing topics" : "a topic each");
    return writing_main(&report, &sweep, 1);
}
