/* Crowd: see crowd.h. */
#include "tests/support/crowd.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/session.h"

enum { NAME_BYTES = 32, ENTRY_BYTES = 100 };

static struct tusk_topic *crowd_topic(struct tusk *connection, uint32_t index)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "crowd-%07u", index);
    return topic_of(connection, name);
}

void crowd_append(struct tusk *connection, uint32_t count, uint32_t n)
{
    for (uint32_t i = 0; i < count; i++) {
        struct tusk_topic *topic = crowd_topic(connection, i);
        append_numbered(topic, i, n, 1, ENTRY_BYTES);
        tusk_topic_close(topic);
    }
}

void crowd_check(struct tusk *connection, uint32_t count, uint32_t step, uint32_t entries)
{
    for (uint32_t i = 0; i < count; i += step) {
        struct tusk_topic *topic = crowd_topic(connection, i);
        struct tusk_reader *reader = reader_of(topic);
        for (uint32_t n = 0; n < entries; n++) {
            const struct tusk_entry entry = reader_take(reader);
            expect_numbered(&entry, i, n, ENTRY_BYTES);
        }
        expect_end(reader);
        tusk_reader_close(reader);
        tusk_topic_close(topic);
    }
}

struct crowd_memory crowd_memory(const struct tuskd *tuskd)
{
    char path[64];
    char line[256];
    struct crowd_memory memory = {0};
    snprintf(path, sizeof path, "/proc/%d/status", tuskd->pid);
    FILE *file = fopen(path, "re");
    check(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned long kib;
        if (sscanf(line, "RssAnon: %lu", &kib) == 1) {
            memory.private_bytes = kib * 1024;
        } else if (sscanf(line, "RssShmem: %lu", &kib) == 1) {
            memory.shared_bytes = kib * 1024;
        }
    }
    fclose(file);
    return memory;
}

uint64_t crowd_recovery_us(struct tusk *connection)
{
    return counter_of(connection, "recovery_ns") / 1000;
}
