/*
 * Cost: see cost.h.
 */
#include "bench/cost.h"

#include "bench/calls.h"
#include "bench/trial.h"

#include <stdio.h>

static void cost_add(struct report *report, const char *row, unsigned column, uint64_t total,
                     uint64_t entries)
{
    if (entries > 0) {
        report_add(report, row, column, (double)total / (double)entries);
    }
}

static uint64_t broker_entries(const struct crew_cost *cost)
{
    return cost->producers.entries > 0 ? cost->producers.entries : cost->consumers.entries;
}

void cost_report_cpu(struct report *report, const char *row, unsigned first,
                     const struct crew_cost *cost)
{
    cost_add(report, row, first + COST_PRODUCER_CPU, cost->producers.cpu_ns,
             cost->producers.entries);
    if (cost->brokered) {
        cost_add(report, row, first + COST_BROKER_CPU, cost->broker.cpu_ns, broker_entries(cost));
    }
    cost_add(report, row, first + COST_CONSUMER_CPU, cost->consumers.cpu_ns,
             cost->consumers.entries);
}

void cost_report_calls(struct report *report, const char *row, unsigned first,
                       const struct crew_cost *cost)
{
    const uint64_t yields =
        cost->producers.calls.yields + cost->broker.calls.yields + cost->consumers.calls.yields;

    cost_add(report, row, first + COST_PRODUCER_CALLS, cost->producers.calls.calls,
             cost->producers.entries);
    if (cost->brokered) {
        cost_add(report, row, first + COST_BROKER_CALLS, cost->broker.calls.calls,
                 broker_entries(cost));
    }
    cost_add(report, row, first + COST_CONSUMER_CALLS, cost->consumers.calls.calls,
             cost->consumers.entries);
    cost_add(report, row, first + COST_YIELDS, yields, broker_entries(cost));
}

static double entry_share(const struct crew_cost *cost, uint64_t total)
{
    const uint64_t entries = broker_entries(cost);

    return entries > 0 ? (double)total / (double)entries : 0;
}

double cost_cpu_ns(const struct crew_cost *cost)
{
    return entry_share(cost, cost->producers.cpu_ns + cost->broker.cpu_ns + cost->consumers.cpu_ns);
}

double cost_calls(const struct crew_cost *cost)
{
    return entry_share(cost, cost->producers.calls.calls + cost->broker.calls.calls +
                                 cost->consumers.calls.calls);
}

int cost_count_trial(struct report *report, const char *row, unsigned first, const char *fsync,
                     const char *idle, struct crew *crew)
{
    if (!cost_counts_calls()) {
        return 0;
    }
    crew->count_calls = true;
    crew->duration_s = crew->duration_s < COST_DURATION_S ? crew->duration_s : COST_DURATION_S;
    const int result = trial_run(report->settings, fsync, idle, crew);
    if (result == 0) {
        const struct crew_cost cost = crew_cost(crew);
        cost_report_calls(report, row, first, &cost);
    }
    crew_deinit(crew);
    return result;
}

bool cost_counts_calls(void)
{
    static bool asked;
    static bool possible;
    const char *why = NULL;

    if (!asked) {
        asked = true;
        possible = calls_possible(&why);
        if (!possible) {
            printf("System calls are not counted: %s (needs root or CAP_PERFMON, and "
                   "/sys/kernel/tracing).\n",
                   why);
        }
    }
    return possible;
}
