/* Month: see month.h. */
#include "tests/support/month.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/scratch.h"
#include "tests/support/session.h"

enum { ENTRY_BYTES = 16000, BATCH_MAX = 1024 };

static const struct month *plan;
static struct month_report report;
static uint64_t appended; /* entries of the topic "data" */
static uint64_t consumed;

static void disk_look(const char *when)
{
    const uint64_t bytes = scratch_disk_bytes(broker->data);
    report.disk_bytes_max = bytes > report.disk_bytes_max ? bytes : report.disk_bytes_max;
    check_say(bytes <= plan->disk_bytes, "%s the disk has %llu bytes, %llu are allowed", when,
              (unsigned long long)bytes, (unsigned long long)plan->disk_bytes);
}

/* Topics are made, hold a little, are read, and go. */
static void topics_live(uint32_t day)
{
    for (uint32_t i = 0; i < plan->topics; i++) {
        char name[48];
        (void)snprintf(name, sizeof name, "day %u, topic %u", day, i);
        struct tusk_topic *topic = topic_of(tusk, name);
        append_text(topic, "one");
        append_text(topic, "two");
        if (i % 10 == 0) {
            expect_next(topic, 0, "one");
        }
        tusk_topic_close(topic);
    }
    for (uint32_t i = 0; i < plan->topics; i++) {
        char name[48];
        (void)snprintf(name, sizeof name, "day %u, topic %u", day, i);
        check_ok(tusk_topic_delete(tusk, name));
    }
    report.topics += plan->topics;
}

/* A cursor moves by one entry at a time, each move durable before the call returns. */
static void cursor_live(void)
{
    struct tusk_topic *topic = topic_of(tusk, "cursor");
    struct tusk_entry entry;
    for (uint32_t i = 0; i < plan->cursor_moves; i++) {
        append_text(topic, "move");
        check_is(tusk_read_next(topic, true, &entry), 1);
    }
    tusk_topic_close(topic);
    report.cursor_moves += plan->cursor_moves;
}

static void entry_check(const struct tusk_entry *entry)
{
    uint64_t number;
    check_is(entry->size, ENTRY_BYTES);
    memcpy(&number, entry->data, sizeof number);
    check_is(number, consumed);
    check_is(entry->seq, consumed);
    consumed++;
}

static void step_live(struct tusk_topic *topic)
{
    static unsigned char data[ENTRY_BYTES];
    static struct tusk_entry entries[BATCH_MAX];
    for (uint64_t bytes = 0; bytes < plan->step_bytes; bytes += sizeof data) {
        memcpy(data, &appended, sizeof appended);
        check_ok(tusk_append(topic, data, sizeof data, NULL));
        appended++;
    }
    int count;
    while ((count = tusk_batch_read(topic, 1 << 20, true, entries, BATCH_MAX)) > 0) {
        for (int i = 0; i < count; i++) {
            entry_check(&entries[i]);
        }
    }
    check_is(count, 0);
    check_is(consumed, appended);
    report.bytes += plan->step_bytes;
}

static void data_live(void)
{
    struct tusk_topic *topic = topic_of(tusk, "data");
    for (uint64_t bytes = 0; bytes < plan->bytes; bytes += plan->step_bytes) {
        step_live(topic);
        disk_look("while data goes through");
    }
    tusk_topic_close(topic);
}

static void restart(bool kill)
{
    if (kill) {
        tusk_disconnect(tusk);
        tuskd_kill(broker);
        tuskd_restart(broker, plan->options);
        tusk = attach(broker);
    } else {
        session_restart(plan->options);
    }
    report.restarts++;
    disk_look("after a restart");
    check_is(info_of(topic_of(tusk, "data")).next_seq, appended);
    check_is(info_of(topic_of(tusk, "data")).unread, 0);
}

struct month_report month_live(const struct month *month)
{
    plan = month;
    report = (struct month_report){0};
    appended = consumed = 0;
    for (uint32_t day = 0; day < month->days; day++) {
        topics_live(day);
        disk_look("after topics came and went");
        cursor_live();
        disk_look("after a cursor moved");
        data_live();
        check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
        if ((day + 1) % month->restart_every == 0) {
            restart(day / month->restart_every % 2 == 1);
        }
    }
    report.disk_bytes_end = scratch_disk_bytes(broker->data);
    return report;
}
