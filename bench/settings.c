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

static const char *text_load(const char *name, const char *otherwise)
{
    const char *text = getenv(name);

    return text && *text ? text : otherwise;
}

/* ---- Lists ----------------------------------------------------------------------------------- */

static const struct dimension {
    const char *variable;
    const char *name;
    uint64_t min;
    uint64_t max;
    bool random; /* A-B is one value: random between them; else all of them, one after the other */
} dimensions[SETTINGS_DIMENSIONS] = {
    [SETTINGS_SIZE] = {"SIZE", "size", 0, SIZE_MAX_BYTES, true},
    [SETTINGS_BATCH] = {"BATCH", "batch", 1, BATCH_MAX, false},
    [SETTINGS_PROCESSES] = {"PROCS", "processes", 1, PROCS_MAX, false},
    [SETTINGS_CONSUMERS] = {"CONSUMERS", "consumers", 0, PROCS_MAX, false},
    [SETTINGS_TOPICS] = {"TOPICS", "topics", 0, TOPICS_MAX, false},
};

const char *settings_dimension_name(enum settings_dimension dimension)
{
    return dimensions[dimension].name;
}

static _Noreturn void list_refuse(const struct dimension *dimension, const char *text)
{
    char expected[128];

    snprintf(expected, sizeof expected,
             "numbers from %" PRIu64 " to %" PRIu64 ", N or A-B, and where a program goes through "
             "them at most %d, A,B,C",
             dimension->min, dimension->max, SETTINGS_LIST_MAX);
    value_refuse(dimension->variable, text, expected);
}

static bool value_add(struct settings_list *list, uint64_t low, uint64_t high)
{
    if (list->count == SETTINGS_LIST_MAX) {
        return false;
    }
    list->values[list->count].low = low;
    list->values[list->count++].high = high;
    return true;
}

/* One N or A-B of a list; *rest is what follows. */
static bool item_take(const struct dimension *dimension, const char *text,
                      struct settings_list *list, const char **rest)
{
    uint64_t low = 0;

    if (!number_take(text, &low, rest)) {
        return false;
    }
    uint64_t high = low;
    if (**rest == '-' && !number_take(*rest + 1, &high, rest)) {
        return false;
    }
    if (low < dimension->min || high > dimension->max || low > high) {
        return false;
    }
    if (dimension->random) {
        return value_add(list, low, high);
    }
    for (; low < high; low++) {
        if (!value_add(list, low, low)) {
            return false;
        }
    }
    return value_add(list, high, high);
}

/* What the environment says, else what the program does by default, which may be NULL. */
static void list_load(const struct dimension *dimension, const char *otherwise,
                      struct settings_list *list)
{
    const char *text = text_load(dimension->variable, otherwise);
    const char *rest = text;

    list->count = 0;
    if (!text) {
        return;
    }
    bool taken;
    while ((taken = item_take(dimension, rest, list, &rest)) && *rest == ',') {
        rest++;
    }
    if (!taken || *rest) {
        list_refuse(dimension, text);
    }
}

static void value_set(struct settings *settings, enum settings_dimension dimension, uint64_t low,
                      uint64_t high)
{
    switch (dimension) {
    case SETTINGS_SIZE:
        settings->size_min = low;
        settings->size_max = high;
        return;
    case SETTINGS_BATCH:
        settings->batch = (unsigned)low;
        return;
    case SETTINGS_PROCESSES:
        settings->procs_min = (unsigned)low;
        settings->procs_max = (unsigned)high;
        return;
    case SETTINGS_CONSUMERS:
        settings->consumers = (unsigned)low;
        return;
    case SETTINGS_TOPICS:
        settings->topics = (unsigned)low;
        return;
    case SETTINGS_DIMENSIONS:
        return;
    }
}

void settings_vary(struct settings *settings, enum settings_dimension dimension, const char *values)
{
    list_load(&dimensions[dimension], values, &settings->lists[dimension]);
}

unsigned settings_points(const struct settings *settings)
{
    unsigned points = 1;

    for (unsigned i = 0; i < SETTINGS_DIMENSIONS; i++) {
        points *= settings->lists[i].count > 0 ? settings->lists[i].count : 1;
    }
    return points;
}

struct settings settings_point(const struct settings *settings, unsigned number)
{
    struct settings point = *settings;

    for (unsigned i = 0; i < SETTINGS_DIMENSIONS; i++) {
        const struct settings_list *list = &settings->lists[i];
        point.lists[i].count = 0;
        if (list->count > 0) {
            const unsigned index = number % list->count;
            number /= list->count;
            value_set(&point, (enum settings_dimension)i, list->values[index].low,
                      list->values[index].high);
        }
    }
    return point;
}

void settings_point_name(const struct settings *settings, const struct settings *point, char *text,
                         size_t bytes)
{
    const struct settings_list *lists = settings->lists;
    size_t used = 0;

    text[0] = '\0';
    if (lists[SETTINGS_SIZE].count > 1 && point->size_min == point->size_max) {
        used += (size_t)snprintf(text, bytes, ", %" PRIu64 " B", point->size_max);
    } else if (lists[SETTINGS_SIZE].count > 1) {
        used += (size_t)snprintf(text, bytes, ", %" PRIu64 " to %" PRIu64 " B", point->size_min,
                                 point->size_max);
    }
    const struct {
        enum settings_dimension dimension;
        unsigned value;
    } counts[] = {{SETTINGS_BATCH, point->batch},
                  {SETTINGS_PROCESSES, point->procs_max},
                  {SETTINGS_CONSUMERS, point->consumers},
                  {SETTINGS_TOPICS, point->topics}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts && used < bytes; i++) {
        if (lists[counts[i].dimension].count > 1) {
            used += (size_t)snprintf(text + used, bytes - used, ", %s %u",
                                     dimensions[counts[i].dimension].name, counts[i].value);
        }
    }
}

const char *settings_series(const struct settings *settings)
{
    const char *name = NULL;
    unsigned varied = 0;

    for (unsigned i = 0; i < SETTINGS_DIMENSIONS; i++) {
        if (settings->lists[i].count > 1) {
            name = dimensions[i].name;
            varied++;
        }
    }
    return varied == 1 ? name : NULL;
}

/* ---- Single values --------------------------------------------------------------------------- */

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

static void backend_load(struct settings *settings)
{
    static const char *const known[] = {"auto", "uring", "pwrite", "mmap"};
    const char *text = text_load("BACKEND", NULL);
    bool found = !text;

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        found = found || strcmp(text, known[i]) == 0;
    }
    if (!found) {
        value_refuse("BACKEND", text, "auto, uring, pwrite or mmap");
    }
    settings->backend = text;
}

void settings_load_lists(struct settings *settings)
{
    for (unsigned i = 0; i < SETTINGS_DIMENSIONS; i++) {
        struct settings_list *list = &settings->lists[i];
        const bool given = text_load(dimensions[i].variable, NULL) != NULL;
        if (given) {
            list_load(&dimensions[i], NULL, list);
            value_set(settings, (enum settings_dimension)i, list->values[0].low,
                      list->values[list->count - 1].high);
        }
    }
    settings->procs_given = text_load("PROCS", NULL) != NULL;
    count_load("THREADS", 1, THREADS_MAX, &settings->threads);
    count_load("RUNS", 1, RUNS_MAX, &settings->runs);
    number_load("MAX_BYTES", 1, UINT64_MAX / 4, &settings->bytes_max);
    fsync_load(settings);
    idle_load(settings);
    duration_load(settings);
    backend_load(settings);
    settings->rates = text_load("RATE", settings->rates);
    settings->data_dir = text_load("DATA_DIR", text_load("TMPDIR", "/tmp"));
    settings->results = text_load("RESULTS", NULL);
    settings->only = text_load("ONLY", NULL);
}

void settings_single(const struct settings *settings, enum settings_dimension dimension)
{
    const bool range = dimension == SETTINGS_SIZE ? settings->size_min != settings->size_max
                                                  : settings->procs_min != settings->procs_max;

    if (range) {
        value_refuse(dimensions[dimension].variable, getenv(dimensions[dimension].variable),
                     "one value: this program takes no range");
    }
}

void settings_load(struct settings *settings)
{
    settings_load_lists(settings);
    for (unsigned i = 0; i < SETTINGS_DIMENSIONS; i++) {
        const char *text = getenv(dimensions[i].variable);
        if (settings->lists[i].count > 1 && (i != SETTINGS_PROCESSES || strchr(text, ','))) {
            value_refuse(dimensions[i].variable, text, "one value: this program takes no lists");
        }
        settings->lists[i].count = 0;
    }
}

/* Those that the benchmarks share. */
static const char *const variables[] = {"FSYNC", "PROCS",    "THREADS", "TOPICS",    "SIZE",
                                        "BATCH", "DURATION", "BACKEND", "CONSUMERS", "IDLE"};

static bool word_in(const char *word, const char *words)
{
    const size_t length = strlen(word);

    while (*(words += strspn(words, " "))) {
        const size_t next = strcspn(words, " ");
        if (next == length && memcmp(words, word, length) == 0) {
            return true;
        }
        words += next;
    }
    return false;
}

void settings_used(const char *used)
{
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *text = text_load(variables[i], NULL);
        if (text && !word_in(variables[i], used)) {
            fprintf(stderr, "%s=%s: means nothing to this program, which goes by %s\n",
                    variables[i], text, used);
        }
    }
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
