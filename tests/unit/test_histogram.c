/*
 * The benchmarks' histogram against a sorted list of the same values: buckets leave no value out and
 * are as narrow as promised, quantiles are those of the list rounded up, merging is adding.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "bench/histogram.h"

enum { VALUES = 20000 };

static struct histogram one;
static struct histogram other;
static uint64_t values[VALUES];

/* Values of all magnitudes: as many of 3 bits as of 50. */
static uint64_t value_make(void)
{
    const uint64_t value = ((uint64_t)rand() << 32) ^ ((uint64_t)rand() << 16) ^ (uint64_t)rand();
    return value >> (rand() % 64);
}

static int values_compare(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left;
    const uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void values_count(struct histogram *histogram, int from, int to)
{
    for (int i = from; i < to; i++) {
        histogram_add(histogram, values[i]);
    }
}

static void values_fill(unsigned seed)
{
    srand(seed);
    for (int i = 0; i < VALUES; i++) {
        values[i] = value_make();
    }
}

/* The smallest of the sorted values that at least `part` of every `of` do not exceed. */
static uint64_t true_quantile(uint64_t part, uint64_t of)
{
    const uint64_t wanted = (part * VALUES + of - 1) / of;
    return values[wanted == 0 ? 0 : wanted - 1];
}

Test(histogram, buckets_follow_each_other_without_gaps)
{
    cr_assert_eq(histogram_bucket_bottom(0), 0);
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        const uint64_t bottom = histogram_bucket_bottom(bucket);
        const uint64_t top = histogram_bucket_top(bucket);
        cr_assert_leq(bottom, top);
        cr_assert_eq(histogram_bucket(bottom), bucket);
        cr_assert_eq(histogram_bucket(top), bucket);
        cr_assert_leq(top - bottom, bottom >> HISTOGRAM_SUB_BITS, "bucket %u is too wide", bucket);
        if (bucket + 1 < HISTOGRAM_BUCKETS) {
            cr_assert_eq(histogram_bucket(top + 1), bucket + 1);
        }
    }
}

Test(histogram, has_a_bucket_for_the_largest_value)
{
    cr_assert_eq(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
    cr_assert_eq(histogram_bucket_top(HISTOGRAM_BUCKETS - 1), UINT64_MAX);
    histogram_add(&one, UINT64_MAX);
    histogram_add(&one, 0);
    cr_assert_eq(histogram_quantile(&one, 1), UINT64_MAX);
    cr_assert_eq(histogram_quantile(&one, 0.5), 0);
}

Test(histogram, counts_small_values_exactly)
{
    for (uint64_t value = 1; value <= 100; value++) {
        histogram_add(&one, value);
    }
    for (unsigned percent = 1; percent <= 100; percent++) {
        cr_assert_eq(histogram_quantile(&one, percent / 100.0), percent);
    }
    cr_assert_eq(histogram_quantile(&one, 0), 1);
    cr_assert_eq(histogram_quantile(&one, 0.001), 1);
    cr_assert_eq(histogram_quantile(&one, 0.999), 100);
}

Test(histogram, has_no_quantile_without_values)
{
    struct histogram_step step;
    unsigned bucket = 0;
    cr_assert_eq(histogram_quantile(&one, 0.5), 0);
    cr_assert_eq(histogram_next(&one, &bucket, &step), 0);
}

Test(histogram, never_exceeds_the_largest_value)
{
    histogram_add_many(&one, 1000000, 99);
    histogram_add(&one, 1000001);
    cr_assert_eq(histogram_quantile(&one, 0.5), 1000001);
    cr_assert_eq(histogram_quantile(&one, 1), 1000001);
}

Test(histogram, tells_quantiles_within_a_64th)
{
    static const struct {
        double fraction;
        uint64_t part;
        uint64_t of;
    } quantiles[] = {{0.001, 1, 1000}, {0.07, 7, 100},     {0.5, 1, 2},           {0.9, 9, 10},
                     {0.99, 99, 100},  {0.999, 999, 1000}, {0.9999, 9999, 10000}, {1, 1, 1}};
    for (unsigned seed = 1; seed <= 10; seed++) {
        memset(&one, 0, sizeof one);
        values_fill(seed);
        values_count(&one, 0, VALUES);
        qsort(values, VALUES, sizeof values[0], values_compare);
        for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++) {
            const uint64_t exact = true_quantile(quantiles[i].part, quantiles[i].of);
            const uint64_t told = histogram_quantile(&one, quantiles[i].fraction);
            cr_assert_geq(told, exact);
            cr_assert_leq(told - exact, exact >> HISTOGRAM_SUB_BITS, "%g: %lu told for %lu",
                          quantiles[i].fraction, (unsigned long)told, (unsigned long)exact);
        }
        cr_assert_eq(histogram_quantile(&one, 1), values[VALUES - 1]);
    }
}

Test(histogram, merges_as_if_one_had_counted_all)
{
    static struct histogram both;
    values_fill(7);
    values_count(&one, 0, VALUES / 3);
    values_count(&other, VALUES / 3, VALUES);
    values_count(&both, 0, VALUES);
    histogram_merge(&one, &other);
    cr_assert_eq(memcmp(&one, &both, sizeof one), 0);
}

Test(histogram, steps_through_all_values_once)
{
    struct histogram_step step;
    uint64_t count = 0;
    uint64_t last = 0;
    unsigned bucket = 0;
    values_fill(3);
    values_count(&one, 0, VALUES);
    while (histogram_next(&one, &bucket, &step)) {
        count += step.count;
        cr_assert_gt(step.count, 0);
        cr_assert_eq(step.below, count);
        cr_assert(step.value > last || count == step.count);
        last = step.value;
    }
    cr_assert_eq(count, VALUES);
    cr_assert_eq(last, one.max);
}
