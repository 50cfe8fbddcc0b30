/*
 * Embedding at full size: brokers that start and stop in one process leave no thread, descriptor,
 * mapping, heap or file behind, and neither do starts that are refused.
 *
 * How: 20 starts and stops to warm up, then TUSK_SOAK_CYCLES on one store, each with a client that
 * appends an entry and finds those of before; as many refused starts as a fifth of that, for several
 * reasons; and a tenth with two brokers at once. What the process holds is counted before and after,
 * and printed on the way.
 *
 * Environment, with the default: TUSK_SOAK_CYCLES 1000. Exit 1: something has grown.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/support/check.h"
#include "tests/support/deadline.h"
#include "tests/support/embedded.h"

enum { STEPS = 10, LOCKED = 5 };

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void footprint_print(const char *what, const struct footprint *footprint)
{
    printf("%-24s threads %" PRIu64 "  fds %" PRIu64 "  mappings %" PRIu64 " (%" PRIu64
           " shared)  heap %" PRIu64 "  run files %" PRIu64 "  store %" PRIu64 " files, %" PRIu64
           " MiB\n",
           what, footprint->threads, footprint->fds, footprint->mappings,
           footprint->shared_mappings, footprint->heap_bytes, footprint->run_files,
           footprint->data_files, footprint->data_bytes >> 20);
    (void)fflush(stdout);
}

static void cycles(struct place *place, uint32_t count)
{
    char what[32];
    uint64_t appended = 0;
    embedded_cycles(place, 20, &appended);
    const struct footprint before = footprint_take(place);
    footprint_print("after 20 starts", &before);
    const double begin = now_s();
    for (uint32_t done = 0; done < count;) {
        const uint32_t step = count / STEPS > 0 ? count / STEPS : 1;
        embedded_cycles(place, step, &appended);
        done += step;
        const struct footprint now = footprint_take(place);
        (void)snprintf(what, sizeof what, "%" PRIu32 " more", done);
        footprint_print(what, &now);
    }
    const struct footprint after = footprint_take(place);
    printf("a start, an append and a stop take %.1f ms\n",
           (now_s() - begin) * 1000 / (double)(appended - 20));
    footprint_expect_flat(
        &before, &after,
        (struct footprint_slack){.heap_bytes = 65536, .mappings = 16, .data_files = 1});
}

static void refuse(struct place *place, const struct place *other)
{
    const struct tusk_broker_options options = place->options;
    place->options.fsync = "sometimes";
    embedded_refused(place, -EINVAL);
    place->options = options;
    place->options.data_dir = "/dev/null/data";
    embedded_refused(place, -ENOTDIR);
    place->options = options;
    place->options.socket_path = other->socket;
    embedded_refused(place, -EADDRINUSE);
    place->options = options;
    place->options.chunk_bytes = 1U << 20;
    embedded_refused(place, -EINVAL);
    place->options = options;
}

static void refusals(struct place *place, struct place *other, uint32_t count)
{
    struct tusk_broker *broker = embedded_start(other);
    refuse(place, other);
    const struct footprint before = footprint_take(place);
    for (uint32_t i = 0; i < count; i++) {
        refuse(place, other);
    }
    for (int i = 0; i < LOCKED; i++) {
        struct place locked = *place;
        locked.options.data_dir = other->data;
        locked.options.error_text = locked.error;
        embedded_refused(&locked, -EBUSY);
    }
    const struct footprint after = footprint_take(place);
    footprint_print("after refused starts", &after);
    footprint_expect_flat(&before, &after,
                          (struct footprint_slack){.heap_bytes = 65536, .mappings = 8});
    check_ok(tusk_broker_stop(broker));
}

static void pairs(struct place *first, struct place *second, uint32_t count)
{
    check_ok(tusk_broker_stop(embedded_start(second)));
    const struct footprint before = footprint_take(first);
    for (uint32_t i = 0; i < count; i++) {
        struct tusk_broker *brokers[] = {embedded_start(first), embedded_start(second)};
        check_ok(tusk_broker_stop(brokers[i % 2]));
        check_ok(tusk_broker_stop(brokers[1 - i % 2]));
    }
    const struct footprint after = footprint_take(first);
    footprint_print("after pairs", &after);
    footprint_expect_flat(
        &before, &after,
        (struct footprint_slack){.heap_bytes = 65536, .mappings = 16, .data_files = 1});
}

int main(void)
{
    static struct place places[2];
    const char *given = getenv("TUSK_SOAK_CYCLES");
    const uint32_t count = given == NULL ? 1000 : (uint32_t)strtoul(given, NULL, 10);
    deadline_set(3600);
    place_make(&places[0]);
    place_make(&places[1]);
    cycles(&places[0], count);
    refusals(&places[0], &places[1], count / 5 + 1);
    pairs(&places[0], &places[1], count / 10 + 1);
    printf("%" PRIu32 " starts and stops left nothing behind\n", count);
    return 0;
}
