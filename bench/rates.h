/*
 * Rates: what RATE asks for: a list of rates, as entries per second or as parts of the rate at
 * which the system is saturated.
 * Runs on:    the benchmark's main thread.
 */
#ifndef TUSK_BENCH_RATES_H
#define TUSK_BENCH_RATES_H

#include <stdbool.h>
#include <stddef.h>

#define RATES_MAX 16
#define RATE_NAME_BYTES 16

struct rate {
    double per_second; /* 0 if it is a part */
    double percent;    /* of the saturation rate */
    char name[RATE_NAME_BYTES];
};

struct rates {
    size_t count;
    struct rate all[RATES_MAX];
};

/* Take a list such as "10K,1.5M,80%" apart: K and M are thousand and million. Whether it is one. */
bool rates_parse(struct rates *rates, const char *text);

/* Entries per second of one of them. */
double rate_per_second(const struct rate *rate, double saturation_per_second);

#endif
