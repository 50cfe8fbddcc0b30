/*
 * Load: how much of the machine others used while something was measured.
 * Runs on:    the benchmark's main thread, outside of what is timed.
 * Invariants: own time is that of this process and of its children once they have been waited for,
 *             so a mark is set when no process of a measurement is left. Work that the kernel does
 *             on its own threads is others' time, whoever caused it.
 */
#ifndef TUSK_BENCH_LOAD_H
#define TUSK_BENCH_LOAD_H

#include <stdint.h>

struct load_mark {
    uint64_t wall_ns;
    uint64_t busy_ns;   /* of all cores */
    uint64_t stolen_ns; /* that the hypervisor gave to other machines */
    uint64_t own_ns;
};

struct load {
    double others_cpu; /* cores that others kept busy, on average */
    double stolen_cpu;
    double average; /* of the last minute, as the kernel counts it, this program included */
};

void load_mark(struct load_mark *mark);

/* From one mark to the other. */
struct load load_between(const struct load_mark *begin, const struct load_mark *end);

#endif
