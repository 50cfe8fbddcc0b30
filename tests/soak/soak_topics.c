/*
 * Soak: SOAK_TOPICS (100000) topics are created, written and read again, after a stop and after a
 * kill of the broker; how fast they are made, what they cost in memory, how long starts take.
 * How:        one client opens each topic and appends to it; sizes of a hundredth and a tenth are
 *             measured first, each with a store of its own. One line of figures for each size.
 * Accepts:    every entry read again, 30 s for making them all, 1.5 KiB of the broker's own memory
 *             for each topic: exit status 0, else 1. SOAK_CSV names a file that gets the figures.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/crowd.h"
#include "tests/support/session.h"

enum { TOPIC_BYTES_MAX = 1536, CREATION_MS_MAX = 30000, SECONDS = 3600 };

struct figures {
    uint32_t topics;
    uint64_t created_ms;
    uint64_t empty_bytes;
    uint64_t full_bytes;
    uint64_t shared_bytes;
    uint64_t clean_us;
    uint64_t killed_us;
};

/* Starts the broker again and returns how long its store took to open. */
static uint64_t start_again(const char *options, uint32_t topics)
{
    tuskd_restart(broker, options);
    tusk = attach(broker);
    wait_until(counter_of(tusk, "topics") == topics, 5000);
    return crowd_recovery_us(tusk);
}

static struct figures measure(uint32_t topics)
{
    char options[128];
    snprintf(options, sizeof options, "--arena 32M --topics %u", topics + 16);
    struct figures figures = {.topics = topics};
    broker = tuskd_start(options);
    tusk = attach(broker);
    figures.empty_bytes = crowd_memory(broker).private_bytes;
    const uint64_t begin_ms = now_ms();
    crowd_append(tusk, topics, 0);
    figures.created_ms = now_ms() - begin_ms;
    check_ok(tusk_flush(tusk, TUSK_DURABLE, 60000));
    crowd_check(tusk, topics, 1, 1);
    const struct crowd_memory memory = crowd_memory(broker);
    figures.full_bytes = memory.private_bytes;
    figures.shared_bytes = memory.shared_bytes;
    crowd_append(tusk, topics, 1);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, 60000));
    tusk_disconnect(tusk);
    tuskd_kill(broker);
    figures.killed_us = start_again(options, topics);
    crowd_check(tusk, topics, 1, 2);
    tusk_disconnect(tusk);
    tuskd_stop(broker);
    figures.clean_us = start_again(options, topics);
    crowd_check(tusk, topics, 97, 2);
    session_end();
    return figures;
}

static uint64_t bytes_each(const struct figures *figures)
{
    const uint64_t more =
        figures->full_bytes > figures->empty_bytes ? figures->full_bytes - figures->empty_bytes : 0;
    return more / figures->topics;
}

static void print(FILE *csv, const struct figures *figures)
{
    printf("%7u topics: created in %.1f s (%.0f a second); the broker's own memory %.1f MiB, %llu "
           "bytes a topic; shared %.1f MiB; start after a kill %.0f ms, after a stop %.0f ms\n",
           figures->topics, (double)figures->created_ms / 1e3,
           figures->topics * 1e3 / (double)(figures->created_ms + 1),
           (double)figures->full_bytes / (1 << 20), (unsigned long long)bytes_each(figures),
           (double)figures->shared_bytes / (1 << 20), (double)figures->killed_us / 1e3,
           (double)figures->clean_us / 1e3);
    fflush(stdout);
    if (csv != NULL) {
        fprintf(csv, "%u,%llu,%llu,%llu,%.3f,%.3f,%.3f\n", figures->topics,
                (unsigned long long)figures->full_bytes, (unsigned long long)bytes_each(figures),
                (unsigned long long)figures->shared_bytes, (double)figures->created_ms / 1e3,
                (double)figures->killed_us / 1e3, (double)figures->clean_us / 1e3);
        fflush(csv);
    }
}

int main(void)
{
    const char *text = getenv("SOAK_TOPICS");
    const uint32_t topics = text == NULL ? 100000 : (uint32_t)strtoul(text, NULL, 10);
    const char *path = getenv("SOAK_CSV");
    FILE *csv = path == NULL ? NULL : fopen(path, "we");
    check(topics >= 100 && (path == NULL || csv != NULL));
    deadline_set(SECONDS);
    if (csv != NULL) {
        fprintf(csv,
                "topics,private_bytes,bytes_a_topic,shared_bytes,created_s,killed_ms,clean_ms\n");
    }
    struct figures figures = {0};
    for (uint32_t part = 100; part > 0; part /= 10) {
        figures = measure(topics / part);
        print(csv, &figures);
    }
    if (csv != NULL) {
        fclose(csv);
    }
    const bool good =
        figures.created_ms <= CREATION_MS_MAX && bytes_each(&figures) <= TOPIC_BYTES_MAX;
    puts(good ? "as promised" : "NOT as promised");
    return good ? 0 : 1;
}
