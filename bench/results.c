/*
 * Results: see results.h.
 */
#include "bench/results.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <tusk/tusk.h>
#include <unistd.h>

extern char **environ;

/* The variables of settings.h; those of the broker begin with TUSK_. */
static const char *const options[] = {
    "FSYNC", "PROCS", "THREADS", "TOPICS",   "CONSUMERS", "SIZE", "BATCH", "DURATION",
    "RUNS",  "IDLE",  "BACKEND", "DATA_DIR", "MAX_BYTES", "ONLY", "RATE",  "PEERS"};

static const struct {
    const char *name;
    double fraction;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}};

/* ---- Opening --------------------------------------------------------------------------------- */

static FILE *file_create(char *path, const char *directory, const char *bench, const char *suffix)
{
    char stamp[32];
    const time_t now = time(NULL);
    struct tm parts;

    gmtime_r(&now, &parts);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &parts);
    snprintf(path, PATH_MAX, "%s/%s-%s.%s", directory, bench, stamp, suffix);
    FILE *file = fopen(path, "we");
    if (!file) {
        fprintf(stderr, "RESULTS: %s: %s\n", path, strerror(errno));
    }
    return file;
}

int results_open(struct results *results, const char *directory, const char *bench)
{
    *results = (struct results){0};
    if (!directory) {
        return EX_OK;
    }
    if (mkdir(directory, 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "RESULTS: %s: %s\n", directory, strerror(errno));
        return EX_CANTCREAT;
    }
    results->csv = file_create(results->csv_path, directory, bench, "csv");
    results->json = file_create(results->json_path, directory, bench, "jsonl");
    if (!results->csv || !results->json) {
        return EX_CANTCREAT;
    }
    fprintf(results->csv, "bench,shape,metric,unit,run,value,system,mode,series,processes,threads,"
                          "topics,consumers,batch,size_min,size_max,fsync,idle,backend\n");
    fflush(results->csv);
    return EX_OK;
}

/* ---- CSV ------------------------------------------------------------------------------------- */

/* What means nothing for a shape is an empty field. */
static void csv_number(FILE *file, uint64_t number)
{
    if (number > 0) {
        fprintf(file, ",%" PRIu64, number);
    } else {
        fputc(',', file);
    }
}

static const char *text_or(const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

void results_add(struct results *results, const struct result *result, unsigned metric,
                 const struct settings *settings)
{
    const struct result_metric *sample = &result->metrics[metric];
    const struct result_shape *shape = result->shape;
    FILE *file = results->csv;

    if (!file) {
        return;
    }
    fprintf(file, "%s,\"%s\",\"%s\",%s,%u,%.6g,%s,\"%s\",%s", result->bench, result->name,
            sample->name, sample->unit, result->run, sample->value, text_or(shape->system, "tusk"),
            text_or(shape->mode, ""), text_or(shape->series, ""));
    csv_number(file, shape->processes);
    csv_number(file, shape->threads);
    csv_number(file, shape->topics);
    csv_number(file, shape->consumers);
    csv_number(file, shape->batch);
    csv_number(file, shape->size_min);
    csv_number(file, shape->size_max);
    fprintf(file, ",%s,%s,%s\n", text_or(shape->fsync, ""), text_or(shape->idle, ""),
            text_or(settings->backend, "auto"));
    fflush(file);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void json_string(FILE *file, const char *text)
{
    fputc('"', file);
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        if (*at == '"' || *at == '\\') {
            fprintf(file, "\\%c", *at);
        } else if (*at < ' ') {
            fprintf(file, "\\u%04x", *at);
        } else {
            fputc(*at, file);
        }
    }
    fputc('"', file);
}

/* A member that is not the first of its object. */
static void json_text(FILE *file, const char *name, const char *text)
{
    fprintf(file, ",\"%s\":", name);
    json_string(file, text);
}

static void json_text_given(FILE *file, const char *name, const char *text)
{
    if (text) {
        json_text(file, name, text);
    }
}

static void json_count_given(FILE *file, const char *name, uint64_t count)
{
    if (count > 0) {
        fprintf(file, ",\"%s\":%" PRIu64, name, count);
    }
}

static void json_shape(FILE *file, const struct result_shape *shape,
                       const struct settings *settings)
{
    json_text(file, "system", text_or(shape->system, "tusk"));
    json_text_given(file, "mode", shape->mode);
    json_text_given(file, "series", shape->series);
    json_count_given(file, "processes", shape->processes);
    json_count_given(file, "threads", shape->threads);
    json_count_given(file, "topics", shape->topics);
    json_count_given(file, "consumers", shape->consumers);
    json_count_given(file, "batch", shape->batch);
    json_count_given(file, "size_min", shape->size_min);
    json_count_given(file, "size_max", shape->size_max);
    json_text_given(file, "fsync", shape->fsync);
    json_text_given(file, "idle", shape->idle);
    json_text(file, "backend", text_or(settings->backend, "auto"));
    fprintf(file, ",\"duration_s\":%g", settings->duration_s);
}

static void json_metrics(FILE *file, const struct result *result)
{
    const char *comma = "";

    fprintf(file, ",\"metrics\":{");
    for (unsigned i = 0; i < result->metrics_count; i++, comma = ",") {
        fputs(comma, file);
        json_string(file, result->metrics[i].name);
        fprintf(file, ":%.6g", result->metrics[i].value);
    }
    comma = "";
    fprintf(file, "},\"units\":{");
    for (unsigned i = 0; i < result->metrics_count; i++, comma = ",") {
        fputs(comma, file);
        json_string(file, result->metrics[i].name);
        fputc(':', file);
        json_string(file, result->metrics[i].unit);
    }
    fputc('}', file);
}

static void json_histogram(FILE *file, const struct histogram *histogram)
{
    const char *comma = "";

    fprintf(file, "{\"unit\":\"ns\",\"count\":%" PRIu64, histogram->count);
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        fprintf(file, ",\"%s\":%" PRIu64, quantiles[i].name,
                histogram_quantile(histogram, quantiles[i].fraction));
    }
    fprintf(file, ",\"max\":%" PRIu64 ",\"buckets\":[", histogram->max);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (histogram->buckets[i] > 0) {
            fprintf(file, "%s[%" PRIu64 ",%" PRIu64 "]", comma, histogram_bucket_top(i),
                    histogram->buckets[i]);
            comma = ",";
        }
    }
    fprintf(file, "]}");
}

static void json_histograms(FILE *file, const struct result *result)
{
    if (result->histograms_count == 0) {
        return;
    }
    fprintf(file, ",\"percentiles\":{");
    for (unsigned i = 0; i < result->histograms_count; i++) {
        fputs(i > 0 ? "," : "", file);
        json_string(file, result->histogram_names[i]);
        fputc(':', file);
        json_histogram(file, &result->histograms[i]);
    }
    fputc('}', file);
}

/* The variables that were given. */
static void json_options(FILE *file)
{
    const char *comma = "";

    fprintf(file, ",\"options\":{");
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const char *value = getenv(options[i]);
        if (value && *value) {
            fprintf(file, "%s\"%s\":", comma, options[i]);
            json_string(file, value);
            comma = ",";
        }
    }
    for (char **entry = environ; *entry; entry++) {
        const size_t name = strcspn(*entry, "=");
        if (strncmp(*entry, "TUSK_", 5) == 0 && (*entry)[name] == '=') {
            fprintf(file, "%s\"%.*s\":", comma, (int)name, *entry);
            json_string(file, *entry + name + 1);
            comma = ",";
        }
    }
    fputc('}', file);
}

static void json_machine(FILE *file, const struct result *result, const struct machine *machine)
{
    json_text(file, "cpu", machine->cpu);
    fprintf(file, ",\"cores\":%u,\"memory_gib\":%.1f", machine->cores, machine->memory_gib);
    json_text(file, "kernel", machine->kernel);
    json_text(file, "clock", machine->clock_source);
    json_text(file, "file_system", machine->file_system);
    fprintf(file,
            ",\"clock_cost_ns\":%.1f,\"round_trip_ns\":%.1f,\"round_trip_best_ns\":%.1f,"
            "\"load_average\":%.2f,\"others_cpu\":%.3f,\"stolen_cpu\":%.3f",
            machine->clock_cost_ns, result->round_trip_ns, result->round_trip_best_ns,
            result->load.average, result->load.others_cpu, result->load.stolen_cpu);
}

void results_end(struct results *results, const struct result *result,
                 const struct settings *settings, const struct machine *machine)
{
    char date[32];
    const time_t now = time(NULL);
    const char *commit = getenv("COMMIT");
    struct tm parts;
    FILE *file = results->json;

    if (!file) {
        return;
    }
    gmtime_r(&now, &parts);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &parts);
    fprintf(file, "{\"bench\":\"%s\"", result->bench);
    json_text(file, "shape", result->name);
    fprintf(file, ",\"run\":%u", result->run);
    json_text(file, "date", date);
    json_shape(file, result->shape, settings);
    json_metrics(file, result);
    json_histograms(file, result);
    json_options(file);
    json_text(file, "version", tusk_version());
    json_text(file, "commit", text_or(commit, "unknown"));
    json_machine(file, result, machine);
    fprintf(file, "}\n");
    fflush(file);
}

/* ---- Closing --------------------------------------------------------------------------------- */

static int file_close(FILE *file, const char *path)
{
    if (!file) {
        return EX_OK;
    }
    const int failed = ferror(file);
    if (fclose(file) != 0 || failed) {
        fprintf(stderr, "RESULTS: %s could not be written\n", path);
        return EX_IOERR;
    }
    printf("Written: %s\n", path);
    return EX_OK;
}

int results_close(struct results *results)
{
    const int csv = file_close(results->csv, results->csv_path);
    const int json = file_close(results->json, results->json_path);

    *results = (struct results){0};
    return csv != EX_OK ? csv : json;
}
