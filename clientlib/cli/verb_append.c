/*
 * tusk append: lines, records or whole files become entries of a topic.
 * Runs on:    the tool's one thread.
 * Invariants: memory grows with the largest entry, never with the input; what could not be appended is
 *             named by file and line, and the count that is printed is of entries known to be appended.
 */
#include "clientlib/cli/appender.h"
#include "clientlib/cli/connection.h"
#include "clientlib/cli/fail.h"
#include "clientlib/cli/options.h"
#include "clientlib/cli/source.h"
#include "clientlib/cli/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

/* A lane larger than the default: half of it bounds what is not waited for. */
#define LANE_BYTES ((size_t)1 << 20)
#define ENTRY_BYTES_MAX ((size_t)1 << 30) /* tusk.h, Limits */

struct append_options {
    struct connection_options connection;
    bool whole;
    bool durable;
    bool quiet;
    uint64_t record_bytes;
    const char *at;
};

/* One run of the verb. */
struct append_job {
    const struct append_options *options;
    const char *topic_name;
    char **names;    /* of the sources; "-" is stdin */
    uint64_t *first; /* by source: the number of its first entry */
    int names_count;
    int current; /* source being read */
    struct appender appender;
    uint64_t at_seq; /* with --at: what the next entry's seq must be */
};

static const char *source_name(const char *name)
{
    return strcmp(name, "-") == 0 ? "stdin" : name;
}

/* "FILE:LINE" or the like for the entry with that number. */
static void place_describe(const struct append_job *job, uint64_t number, char *text, size_t bytes)
{
    int source = 0;

    while (source < job->current && job->first[source + 1] <= number) {
        source++;
    }
    const char *name = source_name(job->names[source]);
    if (job->options->whole) {
        snprintf(text, bytes, "%s", name);
    } else {
        snprintf(text, bytes, "%s:%" PRIu64, name, number - job->first[source] + 1);
    }
}

static int entry_fail(const struct append_job *job, uint64_t number, int error)
{
    char place[512];

    place_describe(job, number, place, sizeof place);
    if (error == -EMSGSIZE) {
        return fail(EX_DATAERR, "%s: longer than an entry may be (%zu GiB)", place,
                    ENTRY_BYTES_MAX >> 30);
    }
    if (error == -EAGAIN) {
        return fail(EX_TEMPFAIL,
                    "%s: not appended to topic '%s': the broker took nothing for %" PRIu64 " ms",
                    place, job->topic_name, job->options->connection.timeout_ms);
    }
    if (error == -ECANCELED) {
        return fail(
            EX_TEMPFAIL,
            "%s: not appended to topic '%s': the broker gave it up, because nothing of it came "
            "for longer than its --stream-timeout",
            place, job->topic_name);
    }
    if (error == -ETIMEDOUT) {
        return fail(EX_TEMPFAIL,
                    "%s: the broker took nothing for %" PRIu64
                    " ms; what was submitted may still be "
                    "appended when it goes on",
                    place, job->options->connection.timeout_ms);
    }
    return fail_tusk(error, "%s: not appended to topic '%s'", place, job->topic_name);
}

static int entry_append_at(struct append_job *job, const void *data, size_t size)
{
    struct appender *appender = &job->appender;
    const uint64_t seq = job->at_seq;
    const int result = appender_add_now(appender, seq, data, size);

    if (result == -EILSEQ) {
        struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;
        char place[512];
        place_describe(job, appender->submitted, place, sizeof place);
        tusk_topic_info(appender->topic, &stat);
        return fail(EX_DATAERR,
                    "--at: %s would not get the sequence number %" PRIu64 ": the next of topic "
                    "'%s' is %" PRIu64,
                    place, seq, job->topic_name, stat.next_seq);
    }
    if (result < 0) {
        return entry_fail(job, appender->submitted, result);
    }
    job->at_seq++;
    return EX_OK;
}

static int entry_append(struct append_job *job, const void *data, size_t size)
{
    struct appender *appender = &job->appender;

    if (job->options->at) {
        return entry_append_at(job, data, size);
    }
    const int result = appender_add(appender, data, size);
    if (result == 0) {
        return EX_OK;
    }
    if (appender->failed_error != 0) {
        return entry_fail(job, appender->failed_number, appender->failed_error);
    }
    return entry_fail(job, appender->submitted, result);
}

static int source_append(struct append_job *job, struct source *source, const char *name)
{
    for (;;) {
        const char *data = NULL;
        size_t size = 0;
        const int outcome = source_next(source, &data, &size);
        if (outcome < 0) {
            return fail_system(outcome == -ENOMEM ? EX_OSERR : EX_IOERR, -outcome, "reading %s",
                               source_name(name));
        }
        if (outcome == SOURCE_END) {
            return EX_OK;
        }
        if (outcome == SOURCE_TOO_LONG) {
            return entry_fail(job, job->appender.submitted, -EMSGSIZE);
        }
        if (outcome == SOURCE_PARTIAL) {
            return fail(EX_DATAERR,
                        "%s ends with %zu bytes, expected records of %" PRIu64
                        " bytes; the records before were appended",
                        source_name(name), size, job->options->record_bytes);
        }
        const int status = entry_append(job, data, size);
        if (status != EX_OK) {
            return status;
        }
    }
}

static int file_append(struct append_job *job, const char *name)
{
    const struct append_options *options = job->options;
    const enum source_cut cut = options->whole          ? SOURCE_WHOLE
                                : options->record_bytes ? SOURCE_RECORDS
                                                        : SOURCE_LINES;
    const bool is_stdin = strcmp(name, "-") == 0;
    const int fd = is_stdin ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
    struct source source;

    if (fd < 0) {
        return fail_system(EX_NOINPUT, errno, "%s: cannot open it for reading", name);
    }
    int status = source_init(&source, fd, cut, options->record_bytes, ENTRY_BYTES_MAX);
    status = status < 0 ? fail_system(EX_OSERR, -status, "making room for %s", source_name(name))
                        : source_append(job, &source, name);
    source_deinit(&source);
    if (!is_stdin) {
        close(fd);
    }
    return status;
}

static void rate_print(const struct append_job *job, double seconds)
{
    const struct appender *appender = &job->appender;

    fprintf(stderr, "appended %" PRIu64 " entries", appender->completed);
    if (appender->completed == appender->submitted) {
        fprintf(stderr, ", %" PRIu64 " bytes", appender->bytes);
    }
    fprintf(stderr, " in %.3f s: %.0f entries/s\n", seconds,
            seconds > 0 ? (double)appender->completed / seconds : 0.0);
}

static int job_run(struct append_job *job)
{
    const enum tusk_level level = job->options->durable ? TUSK_DURABLE : TUSK_COMMITTED;
    struct timespec begin;
    struct timespec end;
    int status = EX_OK;

    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (; job->current < job->names_count && status == EX_OK; job->current++) {
        job->first[job->current] = job->appender.submitted;
        status = file_append(job, job->names[job->current]);
    }
    job->current--;
    const int result = appender_finish(&job->appender, level);
    if (result < 0 && status == EX_OK) {
        status = job->appender.failed_error != 0
                     ? entry_fail(job, job->appender.failed_number, result)
                     : fail_tusk(result, "waiting until topic '%s' has %s everything",
                                 job->topic_name, job->options->durable ? "made durable" : "taken");
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (!job->options->quiet) {
        rate_print(job, (double)(end.tv_sec - begin.tv_sec) +
                            (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
    }
    return status;
}

static int job_open_and_run(struct append_job *job)
{
    CONNECTION_CLOSED struct tusk *tusk = NULL;
    struct appender *appender = &job->appender;

    int status = connection_open(&job->options->connection, LANE_BYTES, &tusk);
    if (status != EX_OK) {
        return status;
    }
    status = connection_topic(tusk, job->topic_name, &appender->topic);
    if (status != EX_OK) {
        return status;
    }
    appender->tusk = tusk;
    appender->timeout_ms = (int)job->options->connection.timeout_ms;
    job->first = calloc((size_t)job->names_count, sizeof *job->first);
    status = job->first ? job_run(job) : fail(EX_OSERR, "out of memory");
    free(job->first);
    return status;
}

int verb_append(int argc, char **argv)
{
    static const struct option_page page = {
        .verb = "append",
        .operands = "TOPIC [FILE...]",
        .summary = "Append each line of the files, or of stdin, as an entry of TOPIC.",
        .details =
            "FILE - is stdin. The count and the rate are printed on stderr.\n"
            "An entry has at most 1 GiB. Those of more than some 500 KiB are waited for one by one.\n",
        .operands_min = 1,
        .operands_max = -1,
    };
    char dash[] = "-";
    char *stdin_only[] = {dash};
    struct append_options options = {.connection = CONNECTION_OPTIONS_DEFAULT};
    const struct option_spec specs[] = {
        FLAG_ROW(0, "whole", &options.whole, "each file is one entry"),
        SIZE_ROW(0, "size", "N", &options.record_bytes, 1, ENTRY_BYTES_MAX,
                 "entries of N bytes each"),
        TEXT_ROW(0, "at", "SEQ", &options.at,
                 "only if the first entry gets this sequence number, the next the next"),
        FLAG_ROW(0, "durable", &options.durable, "end when all is on stable storage"),
        FLAG_ROW('q', "quiet", &options.quiet, "don't print the rate"),
        CONNECTION_OPTIONS(&options.connection),
    };
    struct verb_call call;

    if (!VERB_BEGIN(&call, &page, specs, argc, argv)) {
        return call.status;
    }
    struct append_job job = {.options = &options,
                             .topic_name = call.operands[0],
                             .names = call.count > 1 ? call.operands + 1 : stdin_only,
                             .names_count = call.count > 1 ? call.count - 1 : 1};
    if (options.whole && options.record_bytes) {
        return fail(EX_USAGE, "--whole and --size exclude each other");
    }
    if (options.at && number_parse(options.at, 0, TUSK_ANY_SEQ - 1, &job.at_seq) < 0) {
        return fail(EX_USAGE, "--at: '%s' is not a sequence number (0, 1, 2 ...)", options.at);
    }
    return job_open_and_run(&job);
}
