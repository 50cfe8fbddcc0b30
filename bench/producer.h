/*
 * Producer: a role that appends entries of random size until it is told to stop or its share of
 * the bytes is written.
 * Runs on:    the threads of a crew.
 * Invariants: everything counted has been COMMITTED when the verb ends (under `each`: is durable).
 */
#ifndef TUSK_BENCH_PRODUCER_H
#define TUSK_BENCH_PRODUCER_H

#include "bench/crew.h"

#define PRODUCER_TOPIC_FORMAT "bench-%u"

enum producer_mode {
    PRODUCER_APPEND,      /* tusk_append: waits for each entry */
    PRODUCER_SUBMIT,      /* tusk_submit without completions, tusk_flush at the end */
    PRODUCER_COMPLETIONS, /* tusk_submit with completions, reaped */
    PRODUCER_BATCH,       /* tusk_batch_append: waits for each batch */
    PRODUCER_SUBMIT_BATCH /* tusk_submit_batch without completions */
};

struct producer_plan {
    enum producer_mode mode;
    unsigned
        topics; /* worker i appends to topic i % topics; if there are more topics than workers, */
    unsigned workers; /* in turn to i, i + workers …; 0: to one topic all the same */
    unsigned batch;   /* entries per batch */
    uint64_t size_min;
    uint64_t size_max;
    uint64_t log_bytes_max;  /* of each worker, headers included */
    uint64_t operations_max; /* of each worker; 0: no limit */
    bool latency;            /* record that of each call */
    bool warm_up;            /* append one entry before the start, which makes the topic */
    uint64_t lead_entries;   /* the one worker stays so close to the followers; 0: goes ahead */
    unsigned followers;      /* who those are */
};

/* What an entry of that size takes in the log. */
uint64_t producer_log_bytes(uint64_t size);

int producer_prepare(struct worker *worker);
int producer_work(struct worker *worker);
void producer_finish(struct worker *worker);

/* A role of producers; arg is the plan, which stays the caller's. */
struct role producer_role(unsigned processes, unsigned threads, const struct producer_plan *plan);

#endif
