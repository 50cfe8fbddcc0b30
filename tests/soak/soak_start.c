/*
 * Soak: a store with SOAK_TOPICS (10000) topics and SOAK_BYTES (100 GiB) starts in less than 2 s, after a
 * stop and after a kill of the broker while all topics are written to.
 * How:        the store is made sparse (sparse_store.h); what a start reads of it is all there. The
 *             time is the whole of it, from the start of the process to its readiness. Stores of a
 *             hundredth and a tenth of the bytes are measured first.
 * Accepts:    each start below 2 s: exit status 0, else 1. SOAK_CSV names a file that gets the figures.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/crowd.h"
#include "tests/support/session.h"
#include "tests/support/sparse_store.h"

enum { START_MS_MAX = 2000, SECONDS = 3600, ENTRY_BYTES = 100 };
#define OPTIONS "--arena 128M --topics 16384"

struct figures {
    uint64_t bytes;
    uint64_t clean_ms; /* of the process; the store's part in it: */
    uint64_t clean_us;
    uint64_t killed_ms;
    uint64_t killed_us;
    struct crowd_memory memory;
};

static uint64_t setting(const char *name, uint64_t value)
{
    const char *text = getenv(name);
    return text == NULL ? value : strtoull(text, NULL, 10);
}

static uint64_t start_again(uint32_t topics, uint64_t *store_us)
{
    const uint64_t begin_ms = now_ms();
    tuskd_restart(broker, OPTIONS);
    const uint64_t took_ms = now_ms() - begin_ms;
    tusk = attach(broker);
    wait_until(counter_of(tusk, "topics") == topics, 5000);
    *store_us = crowd_recovery_us(tusk);
    return took_ms;
}

static void ends_append(uint32_t topics, uint64_t seq)
{
    for (uint32_t i = 0; i < topics; i++) {
        char name[32];
        snprintf(name, sizeof name, "crowd-%07u", i);
        struct tusk_topic *topic = topic_of(tusk, name);
        append_numbered(topic, i, (uint32_t)seq, 1, ENTRY_BYTES);
        tusk_topic_close(topic);
    }
}

/* Some topics end where they should; what is appended to them is read behind that. */
static void ends_check(uint32_t topics, uint64_t seq)
{
    for (uint32_t i = 0; i < topics; i += topics / 10) {
        char name[32];
        snprintf(name, sizeof name, "crowd-%07u", i);
        struct tusk_topic *topic = topic_of(tusk, name);
        check_is(info_of(topic).next_seq, seq);
        struct tusk_reader *reader = reader_from(topic, TUSK_FROM_LATEST, 0);
        append_numbered(topic, i, (uint32_t)seq, 1, ENTRY_BYTES);
        const struct tusk_entry entry = reader_take(reader);
        expect_numbered(&entry, i, (uint32_t)seq, ENTRY_BYTES);
        check_is(entry.seq, seq);
        expect_end(reader);
        tusk_reader_close(reader);
        tusk_topic_close(topic);
    }
}

static struct figures measure(uint32_t topics, uint64_t bytes)
{
    struct figures figures = {.bytes = bytes};
    broker = tuskd_new();
    const uint64_t next_seq = sparse_store_make(broker->data, topics, bytes);
    figures.clean_ms = start_again(topics, &figures.clean_us);
    figures.memory = crowd_memory(broker);
    ends_append(topics, next_seq);
    ends_check(topics, next_seq + 1);
    check_ok(tusk_flush(tusk, TUSK_DURABLE, 60000));
    tusk_disconnect(tusk);
    tuskd_kill(broker);
    figures.killed_ms = start_again(topics, &figures.killed_us);
    ends_check(topics, next_seq + 2);
    session_end();
    return figures;
}

int main(void)
{
    const uint32_t topics = (uint32_t)setting("SOAK_TOPICS", 10000);
    const uint64_t bytes = setting("SOAK_BYTES", UINT64_C(100) << 30);
    const char *path = getenv("SOAK_CSV");
    FILE *csv = path == NULL ? NULL : fopen(path, "we");
    check(topics >= 10 && (path == NULL || csv != NULL));
    deadline_set(SECONDS);
    if (csv != NULL) {
        fprintf(csv, "topics,bytes,private_bytes,killed_ms,clean_ms\n");
    }
    bool good = true;
    for (uint64_t part = 100; part > 0; part /= 10) {
        const struct figures figures = measure(topics, bytes / part);
        printf(
            "%u topics, %7.2f GiB: start after a stop %llu ms (the store %.0f), after a kill %llu "
            "ms (the store %.0f); the broker's own memory %.1f MiB\n",
            topics, (double)figures.bytes / (1 << 30), (unsigned long long)figures.clean_ms,
            (double)figures.clean_us / 1e3, (unsigned long long)figures.killed_ms,
            (double)figures.killed_us / 1e3, (double)figures.memory.private_bytes / (1 << 20));
        fflush(stdout);
        if (csv != NULL) {
            fprintf(csv, "%u,%llu,%llu,%llu,%llu\n", topics, (unsigned long long)figures.bytes,
                    (unsigned long long)figures.memory.private_bytes,
                    (unsigned long long)figures.killed_ms, (unsigned long long)figures.clean_ms);
        }
        good = good && figures.clean_ms < START_MS_MAX && figures.killed_ms < START_MS_MAX;
    }
    if (csv != NULL) {
        fclose(csv);
    }
    puts(good ? "as promised" : "NOT as promised");
    return good ? 0 : 1;
}
