/*
 * Load: see load.h.
 */
#include "bench/load.h"

#include "bench/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t usage_ns(int who)
{
    struct rusage usage;

    getrusage(who, &usage);
    return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * NS_PER_S +
           ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * NS_PER_US;
}

void load_mark(struct load_mark *mark)
{
    /* of /proc/stat: user nice system idle iowait irq softirq steal */
    uint64_t ticks[8] = {0};
    FILE *file = fopen("/proc/stat", "re");

    if (file) {
        if (fscanf(file,
                   "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
                   " %" SCNu64 " %" SCNu64,
                   &ticks[0], &ticks[1], &ticks[2], &ticks[3], &ticks[4], &ticks[5], &ticks[6],
                   &ticks[7]) != 8) {
            memset(ticks, 0, sizeof ticks);
        }
        fclose(file);
    }
    const uint64_t tick_ns = NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
    mark->busy_ns = (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]) * tick_ns;
    mark->stolen_ns = ticks[7] * tick_ns;
    mark->own_ns = usage_ns(RUSAGE_SELF) + usage_ns(RUSAGE_CHILDREN);
    mark->wall_ns = clock_now_ns();
}

struct load load_between(const struct load_mark *begin, const struct load_mark *end)
{
    const double wall_ns = (double)(end->wall_ns - begin->wall_ns);
    const double busy_ns = (double)(end->busy_ns - begin->busy_ns);
    const double own_ns = (double)(end->own_ns - begin->own_ns);
    struct load load = {0};
    FILE *file = fopen("/proc/loadavg", "re");

    if (wall_ns > 0) {
        load.others_cpu = busy_ns > own_ns ? (busy_ns - own_ns) / wall_ns : 0;
        load.stolen_cpu = (double)(end->stolen_ns - begin->stolen_ns) / wall_ns;
    }
    if (file) {
        if (fscanf(file, "%lf", &load.average) != 1) {
            load.average = 0;
        }
        fclose(file);
    }
    return load;
}
