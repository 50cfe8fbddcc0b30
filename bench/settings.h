/*
 * Settings: what a benchmark is told through environment variables.
 * Runs on:    the benchmark's main thread, once.
 * Invariants: the program fills in its defaults, settings_load() replaces what the environment
 *             names; a value that is not possible ends the program with EX_USAGE and says what
 *             was expected.
 */
#ifndef TUSK_BENCH_SETTINGS_H
#define TUSK_BENCH_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SETTINGS_LIST_MAX 64
#define SETTINGS_BYTES_MAX (UINT64_C(8) << 30)

/* What may be given as a list, so that a program measures every combination. */
enum settings_dimension {
    SETTINGS_SIZE,
    SETTINGS_BATCH,
    SETTINGS_PROCESSES,
    SETTINGS_CONSUMERS,
    SETTINGS_TOPICS,
    SETTINGS_DIMENSIONS
};

struct settings_list {
    unsigned count; /* 0: not given */
    struct {
        uint64_t low;
        uint64_t high; /* of SIZE: a random size between them; else equal */
    } values[SETTINGS_LIST_MAX];
};

struct settings {
    char fsync[32];     /* FSYNC, as tuskd --fsync wants it */
    char idle[16];      /* IDLE, of broker and clients */
    unsigned procs_min; /* PROCS=N or A-B: producer processes */
    unsigned procs_max;
    bool procs_given;
    unsigned threads;   /* THREADS per process */
    unsigned topics;    /* TOPICS; 0: one per producer */
    unsigned consumers; /* CONSUMERS: processes that read */
    unsigned batch;     /* BATCH: entries per batch */
    unsigned runs;      /* RUNS: repetitions of each measurement */
    uint64_t size_min;  /* SIZE=N or A-B: bytes per entry */
    uint64_t size_max;
    const char *rates;  /* RATE: a list of rates (rates.h) */
    double duration_s;  /* DURATION of one measurement */
    uint64_t bytes_max; /* MAX_BYTES that one measurement may write */
    bool idle_given;
    struct settings_list lists[SETTINGS_DIMENSIONS];
    const char *backend;  /* BACKEND; NULL: the broker's choice */
    const char *data_dir; /* DATA_DIR: parent of the temporary data directories */
    const char *only;     /* ONLY: measure the shapes whose names contain it; NULL: all */
    const char *results;  /* RESULTS: directory for CSV and JSON; NULL: none */
};

#define SETTINGS_DEFAULT                                                                           \
    {                                                                                              \
        .fsync = "200ms", .idle = "adaptive", .procs_min = 1, .procs_max = 1, .threads = 1,        \
        .batch = 1, .runs = 3, .size_min = 64, .size_max = 64, .duration_s = 5,                    \
        .bytes_max = SETTINGS_BYTES_MAX                                                            \
    }

/* Replace what the environment names; ends the program on a value that is not possible, and on a
 * list. */
void settings_load(struct settings *settings);

/* The same for a program that goes through lists: PROCS, BATCH, CONSUMERS, TOPICS and SIZE may be
 * A,B,C, and PROCS=A-B is all of them. */
void settings_load_lists(struct settings *settings);

/* End the program if SIZE or PROCS is a range, for one that takes a single value. */
void settings_single(const struct settings *settings, enum settings_dimension dimension);

/* Say on stderr which of the variables that are given mean nothing to this program; used: the names
 * of those that do, with blanks between them. */
void settings_used(const char *used);

/* "size", "batch", "processes", "consumers", "topics". */
const char *settings_dimension_name(enum settings_dimension dimension);

/* The dimension goes through what the environment names, or through these values. */
void settings_vary(struct settings *settings, enum settings_dimension dimension,
                   const char *values);

/* How many combinations of the lists' values there are: 1 without lists. */
unsigned settings_points(const struct settings *settings);

/* The combination of that number: the settings with one value each and no lists. The first
 * dimensions change fastest. */
struct settings settings_point(const struct settings *settings, unsigned number);

/* ", 1024 B, batches of 16": what a point has of the dimensions that the lists vary. */
void settings_point_name(const struct settings *settings, const struct settings *point, char *text,
                         size_t bytes);

/* The name of the one dimension that the lists vary; NULL if none or several are. */
const char *settings_series(const struct settings *settings);

/* enum tusk_idle for the name in settings->idle or another of the three. */
uint32_t settings_idle(const char *name);

/* Whether ONLY leaves a shape of that name in. */
bool settings_wants(const struct settings *settings, const char *shape);

/* End the program unless the data directory has twice bytes_max free. */
void settings_check_space(const struct settings *settings);

#endif
