/*
 * Machine: on what was measured, the cross-core cache-line round trip included.
 * Runs on:    the benchmark's main thread, before and not during a measurement.
 */
#ifndef TUSK_BENCH_MACHINE_H
#define TUSK_BENCH_MACHINE_H

struct machine {
    char cpu[128];
    char kernel[128];
    char clock_source[32];
    char file_system[32]; /* of the data directory */
    unsigned cores;       /* that this process may use */
    double memory_gib;
    double clock_cost_ns; /* of one reading */
    double round_trip_ns; /* of a cache line between two cores: median; 0 with one core */
    double round_trip_best_ns;
};

void machine_measure(struct machine *machine, const char *data_dir);

/* The round trip once more, for results that are held against it. */
void machine_round_trip(double *median_ns, double *best_ns);

#endif
