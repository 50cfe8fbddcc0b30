/*
 * What the benchmarks' open loop goes by: lists of rates, and the times at which entries are due.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "bench/rates.h"
#include "bench/schedule.h"

Test(bench_rates, are_counts_and_parts)
{
    struct rates rates;
    cr_assert(rates_parse(&rates, "250,10K,1.5M,80%,120%"));
    cr_assert_eq(rates.count, 5);
    cr_assert_eq(rate_per_second(&rates.all[0], 4e6), 250);
    cr_assert_eq(rate_per_second(&rates.all[1], 4e6), 10000);
    cr_assert_eq(rate_per_second(&rates.all[2], 4e6), 1500000);
    cr_assert_eq(rate_per_second(&rates.all[3], 4e6), 3200000);
    cr_assert_eq(rate_per_second(&rates.all[4], 4e6), 4800000);
    cr_assert_str_eq(rates.all[2].name, "1.5M");
    cr_assert_str_eq(rates.all[3].name, "80%");
}

Test(bench_rates, refuses_what_is_no_list_of_rates)
{
    static const char *const bad[] = {"",    ",",     "10K,",  ",10K",    "K",    "-1",
                                      "0",   "0%",    "10X",   "10 000",  "10KK", "50%%",
                                      "nan", "1001%", "2000M", "10K;20K", "0.5"};
    struct rates rates;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert_not(rates_parse(&rates, bad[i]), "%s", bad[i]);
    }
}

Test(bench_rates, refuses_more_than_there_is_room_for)
{
    struct rates rates;
    char text[4 * RATES_MAX + 4] = "1";
    for (int i = 1; i < RATES_MAX; i++) {
        strcat(text, ",1");
    }
    cr_assert(rates_parse(&rates, text));
    cr_assert_eq(rates.count, RATES_MAX);
    strcat(text, ",1");
    cr_assert_not(rates_parse(&rates, text));
}

Test(bench_schedule, is_as_dense_as_the_rate_for_hours)
{
    const struct schedule schedule = schedule_make(1000, 3e6, 0, 1);
    const uint64_t hour = UINT64_C(3600) * 3000000;
    cr_assert_eq(schedule_due_ns(&schedule, 0), 1000);
    cr_assert_eq(schedule_due_ns(&schedule, 3), 2000);
    cr_assert_eq(schedule_due_ns(&schedule, hour), 1000 + UINT64_C(3600) * 1000000000);
}

Test(bench_schedule, lets_workers_take_turns)
{
    const struct schedule first = schedule_make(0, 1e6, 0, 4);
    const struct schedule last = schedule_make(0, 1e6, 3, 4);
    cr_assert_eq(schedule_due_ns(&first, 0), 0);
    cr_assert_eq(schedule_due_ns(&first, 1), 4000);
    cr_assert_eq(schedule_due_ns(&last, 0), 3000);
    cr_assert_eq(schedule_due_ns(&last, 2), 11000);
}

Test(bench_schedule, counts_what_is_due)
{
    static const double rates[] = {1, 7, 1e3, 3e6, 7e6, 123456789};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        const struct schedule schedule = schedule_make(5000, rates[i], 1, 3);
        cr_assert_eq(schedule_due_count(&schedule, 0), 0);
        for (uint64_t entry = 0; entry < 3000; entry++) {
            const uint64_t due_ns = schedule_due_ns(&schedule, entry);
            const uint64_t count = schedule_due_count(&schedule, due_ns);
            cr_assert_gt(count, entry);
            cr_assert_leq(schedule_due_ns(&schedule, count - 1), due_ns);
            cr_assert_gt(schedule_due_ns(&schedule, count), due_ns);
        }
    }
}
