/*
 * Soak: a month of a store's life in minutes leaves its disk as it was.
 * How:        SOAK_DAYS (30) days, in each of which SOAK_TOPICS (500) topics come and go, a cursor moves
 *             SOAK_MOVES (1000) times, each time durably, and data is produced and consumed, SOAK_BYTES
 *             (12800M) in all: 100 times what the disk may have. SOAK_STEP (16M) of it wait to be
 *             consumed at a time. Every fifth day the broker is restarted, every second time after a
 *             kill. SOAK_OPTIONS are the options of tuskd.
 * Accepts:    never more than SOAK_DISK (128M) in the data directory: exit status 0, else 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/deadline.h"
#include "tests/support/month.h"
#include "tests/support/session.h"

enum { SECONDS = 3600 };

static uint64_t setting(const char *name, uint64_t value)
{
    const char *text = getenv(name);
    if (text == NULL) {
        return value;
    }
    char *end = NULL;
    value = strtoull(text, &end, 10);
    const char *units = "KMG";
    const char *unit = *end != 0 ? strchr(units, *end) : NULL;
    check_say(end != text && (*end == 0 || unit != NULL), "%s=%s is no number", name, text);
    return unit != NULL ? value << 10 * (unit - units + 1) : value;
}

int main(void)
{
    const char *options = getenv("SOAK_OPTIONS");
    const uint64_t days = setting("SOAK_DAYS", 30);
    const struct month month = {
        .days = (uint32_t)days,
        .topics = (uint32_t)setting("SOAK_TOPICS", 500),
        .cursor_moves = (uint32_t)setting("SOAK_MOVES", 1000),
        .bytes = setting("SOAK_BYTES", UINT64_C(12800) << 20) / days,
        .step_bytes = setting("SOAK_STEP", UINT64_C(16) << 20),
        .disk_bytes = setting("SOAK_DISK", UINT64_C(128) << 20),
        .restart_every = 5,
        .options = options != NULL ? options : "--chunk 64K --segment 8M --arena 64M --fsync 50ms",
    };
    deadline_set(SECONDS);
    session_begin_with(month.options);
    const uint64_t begin = now_ms();
    const struct month_report report = month_live(&month);
    printf(
        "%llu MiB, %llu topics, %llu cursor moves and %llu restarts in %llu s: at most %llu MiB of "
        "disk (%llu allowed), %llu MiB in the end\n",
        (unsigned long long)(report.bytes >> 20), (unsigned long long)report.topics,
        (unsigned long long)report.cursor_moves, (unsigned long long)report.restarts,
        (unsigned long long)((now_ms() - begin) / 1000),
        (unsigned long long)(report.disk_bytes_max >> 20),
        (unsigned long long)(month.disk_bytes >> 20),
        (unsigned long long)(report.disk_bytes_end >> 20));
    session_end();
    return check_has_failed() ? 1 : 0;
}
