/*
 * Settings: see settings.h.
 */
#include "bench/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sysexits.h>
#include <tusk/tusk.h>

#define PROCS_MAX 4096
#define THREADS_MAX 256
#define TOPICS_MAX 100000
#define BATCH_MAX 1048576
#define RUNS_MAX 16
#define SIZE_MAX_BYTES (UINT64_C(1) << 30)

static _Noreturn void value_refuse(const char *name, const char *value, const char *expected)
{
    fprintf(stderr, "%s=%s: expected %s\n", name, value, expected);
    exit(EX_USAGE);
}

/* A number, perhaps with K, M or G; *rest is what follows. */
static bool number_take(const char *text, uint64_t *number, const char **rest)
{
    char *end = NULL;

    if (*text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    *number = strtoull(text, &end, 10);
    const char *suffix = *end ? strchr("KMG", *end) : NULL;
    if (suffix) {
        const unsigned shift = 10 * (unsigned)(4 - strlen(suffix));
        if (*number > UINT64_MAX >> shift) {
            return false;
        }
        *number <<= shift;
        end++;
    }
    *rest = end;
    return errno == 0;
}

static void number_load(const char *name, uint64_t min, uint64_t max, uint64_t *number)
{
    const char *text = getenv(name);
    const char *rest = NULL;
    uint64_t value = 0;
    char expected[80];

    if (!text || !*text) {
        return;
    }
    if (!number_take(text, &value, &rest) || *rest || value < min || value > max) {
        snprintf(expected, sizeof expected, "a number from %" PRIu64 " to %" PRIu64, min, max);
        value_refuse(name, text, expected);
    }
    *number = value;
}

static void count_load(const char *name, unsigned min, unsigned max, unsigned *count)
{
    uint64_t value = *count;

    number_load(name, min, max, &value);
    *count = (unsigned)value;
}

/* N or A-B; whether it was given. */
static bool range_load(const char *name, uint64_t max, uint64_t *low, uint64_t *high)
{
    const char *text = getenv(name);
    const char *rest = NULL;
    char expected[80];

    if (!text || !*text) {
        return false;
    }
    bool good = number_take(text, low, &rest);
    *high = *low;
    if (good && *rest == '-') {
        good = number_take(rest + 1, high, &rest);
    }
    if (!good || *rest || *low > *high || *high > max) {
        snprintf(expected, sizeof expected, "N or A-B, at most %" PRIu64, max);
        value_refuse(name, text, expected);
    }
    return true;
}

/* sync-each, none, async, <n>ms or <n>: the words of the benchmarks that these are compared to. */
static void fsync_load(struct settings *settings)
{
    const char *text = getenv("FSYNC");
    const char *rest = NULL;
    uint64_t ms = 0;

    if (!text || !*text) {
        return;
    }
    if (strcmp(text, "sync-each") == 0 || strcmp(text, "each") == 0) {
        strcpy(settings->fsync, "each");
    } else if (strcmp(text, "none") == 0) {
        strcpy(settings->fsync, "none");
    } else if (strcmp(text, "async") == 0) {
        strcpy(settings->fsync, "1000ms");
    } else if (number_take(text, &ms, &rest) && (!*rest || strcmp(rest, "ms") == 0)) {
        snprintf(settings->fsync, sizeof settings->fsync, "%" PRIu64 "ms", ms);
    } else {
        value_refuse("FSYNC", text, "sync-each, none, async (1000ms), <n>ms or <n>");
    }
}

static void idle_load(struct settings *settings)
{
    const char *text = getenv("IDLE");

    if (!text || !*text) {
        return;
    }
    if (strcmp(text, "spin") != 0 && strcmp(text, "adaptive") != 0 && strcmp(text, "block") != 0) {
        value_refuse("IDLE", text, "spin, adaptive or block");
    }
    snprintf(settings->idle, sizeof settings->idle, "%s", text);
    settings->idle_given = true;
}

static void duration_load(struct settings *settings)
{
    const char *text = getenv("DURATION");
    char *end = NULL;

    if (!text || !*text) {
        return;
    }
    settings->duration_s = strtod(text, &end);
    if (*end == 's') {
        end++;
    }
    if (*end || !(settings->duration_s > 0 && settings->duration_s <= 86400)) {
        value_refuse("DURATION", text, "seconds, more than 0 and at most 86400");
    }
}

static const char *text_load(const char *name, const char *otherwise)
{
    const char *text = getenv(name);

    return text && *text ? text : otherwise;
}

void settings_load(struct settings *settings)
{
    uint64_t low = settings->procs_min;
    uint64_t high = settings->procs_max;

    settings->procs_given = range_load("PROCS", PROCS_MAX, &low, &high);
    if (low == 0) {
        value_refuse("PROCS", "0", "at least one process");
    }
    settings->procs_min = (unsigned)low;
    settings->procs_max = (unsigned)high;
    range_load("SIZE", SIZE_MAX_BYTES, &settings->size_min, &settings->size_max);
    count_load("THREADS", 1, THREADS_MAX, &settings->threads);
    count_load("TOPICS", 0, TOPICS_MAX, &settings->topics);
    count_load("CONSUMERS", 0, PROCS_MAX, &settings->consumers);
    count_load("BATCH", 1, BATCH_MAX, &settings->batch);
    count_load("RUNS", 1, RUNS_MAX, &settings->runs);
    number_load("MAX_BYTES", 1, UINT64_MAX / 4, &settings->bytes_max);
    fsync_load(settings);
    idle_load(settings);
    duration_load(settings);
    settings->backend = text_load("BACKEND", NULL);
    settings->rates = text_load("RATE", settings->rates);
    settings->data_dir = text_load("DATA_DIR", text_load("TMPDIR", "/tmp"));
    settings->results = text_load("RESULTS", NULL);
    settings->only = text_load("ONLY", NULL);
}

uint32_t settings_idle(const char *name)
{
    return strcmp(name, "spin") == 0    ? TUSK_IDLE_SPIN
           : strcmp(name, "block") == 0 ? TUSK_IDLE_BLOCK
                                        : TUSK_IDLE_ADAPTIVE;
}

bool settings_wants(const struct settings *settings, const char *shape)
{
    return !settings->only || strstr(shape, settings->only);
}

void settings_check_space(const struct settings *settings)
{
    struct statvfs space;

    if (statvfs(settings->data_dir, &space) < 0) {
        fprintf(stderr, "DATA_DIR=%s: %s\n", settings->data_dir, strerror(errno));
        exit(EX_NOINPUT);
    }
    const uint64_t free_bytes = (uint64_t)space.f_bavail * space.f_frsize;
    if (free_bytes / 2 < settings->bytes_max) {
        fprintf(stderr,
                "%s has %" PRIu64 " MiB free, expected twice the %" PRIu64 " MiB that this may "
                "write; lower MAX_BYTES or name another place with DATA_DIR\n",
                settings->data_dir, free_bytes >> 20, settings->bytes_max >> 20);
        exit(EX_IOERR);
    }
}
