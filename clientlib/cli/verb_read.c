/*
 * tusk read: entries of a topic to stdout, by an independent reader or by the topic's cursor.
 * Runs on:    the tool's one thread.
 * Invariants: without --follow it ends at what was the topic's end when it began; stdout is written
 *             out before every wait, so that what follows a slow producer comes as it comes.
 */
#include "clientlib/cli/connection.h"
#include "clientlib/cli/fail.h"
#include "clientlib/cli/options.h"
#include "clientlib/cli/output.h"
#include "clientlib/cli/read_from.h"
#include "clientlib/cli/verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define BATCH_ENTRIES_MAX 1024
#define BATCH_BYTES_MAX ((size_t)1 << 20)
#define DEFAULT_GROUP "default"

struct read_options {
    struct connection_options connection;
    const char *from_text;
    const char *group;
    uint64_t count; /* entries to print at most; 0: all */
    bool raw;
    bool json;
    bool follow;
    bool peek;
};

struct read_job {
    const struct read_options *options;
    const char *topic_name;
    struct read_from from;
    struct tusk *tusk;
    struct tusk_topic *topic;
    uint64_t left;     /* entries that may still be printed */
    uint64_t end_seq;  /* stop before this one */
    uint64_t next_seq; /* of the reader, once it has read anything */
    struct tusk_entry entries[BATCH_ENTRIES_MAX];
};

static void entry_print(const struct read_options *options, const struct tusk_entry *entry)
{
    if (!options->json) {
        output_bytes(entry->data, entry->size);
        if (!options->raw) {
            output_bytes("\n", 1);
        }
        return;
    }
    char head[128];
    snprintf(head, sizeof head, "{\"seq\":%" PRIu64 ",\"time_ns\":%" PRIu64 ",\"size\":%zu,",
             entry->seq, entry->time_ns, entry->size);
    output_text(head);
    output_json_member("data", entry->data, entry->size);
    output_text("}\n");
}

static void entries_print(struct read_job *job, int count)
{
    for (int i = 0; i < count; i++) {
        entry_print(job->options, &job->entries[i]);
    }
    job->left -= (uint64_t)count;
}

static size_t batch_max(const struct read_job *job, uint64_t available)
{
    const uint64_t most = job->left < available ? job->left : available;

    return most < BATCH_ENTRIES_MAX ? (size_t)most : BATCH_ENTRIES_MAX;
}

static int read_fail(const struct read_job *job, int error)
{
    struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;

    if (error == -ENODATA && tusk_topic_info(job->topic, &stat) == 0) {
        return fail(EX_DATAERR,
                    "topic '%s': the entries before %" PRIu64 " have been given up; read on with "
                    "--from %" PRIu64 " or --from earliest",
                    job->topic_name, stat.first_seq, stat.first_seq);
    }
    return fail_tusk(error, "reading topic '%s'", job->topic_name);
}

/* stdout is gone or broken: the exit status. */
static int output_status(enum output_outcome outcome)
{
    return outcome == OUTPUT_FAILED ? EX_IOERR : EX_OK;
}

/* ---- An independent reader ------------------------------------------------------------------- */

/* The commit time of the entry before end_seq, so that a --from TIME after it finds nothing instead
 * of waiting for an entry that is not to come. */
static int last_time_get(struct read_job *job, uint64_t *time_ns)
{
    struct tusk_reader_options options = TUSK_READER_OPTIONS_INIT;
    struct tusk_reader *reader = NULL;

    options.from = TUSK_FROM_SEQ;
    options.from_value = job->end_seq - 1;
    int result = tusk_reader_open(job->topic, &options, &reader);
    if (result == 0) {
        result = tusk_reader_next(reader, job->entries, (int)job->options->connection.timeout_ms);
        *time_ns = result == 1 ? job->entries[0].time_ns : 0;
        tusk_reader_close(reader);
    }
    return result < 0 ? result : 0;
}

/* Where the topic ends now and whether there is anything between --from and there. */
static int end_find(struct read_job *job, bool *empty)
{
    struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;
    uint64_t last_ns = 0;

    *empty = false;
    if (job->options->follow) {
        job->end_seq = TUSK_ANY_SEQ;
        return 0;
    }
    int result = tusk_topic_info(job->topic, &stat);
    if (result < 0) {
        return result;
    }
    job->end_seq = stat.next_seq;
    *empty = stat.next_seq == stat.first_seq || job->from.from == TUSK_FROM_LATEST ||
             (job->from.from == TUSK_FROM_SEQ && job->from.value >= stat.next_seq);
    if (!*empty && job->from.from == TUSK_FROM_TIME) {
        result = last_time_get(job, &last_ns);
        *empty = result == 0 && last_ns < job->from.value;
    }
    return result;
}

/* How many of the entries lie before end_seq. */
static int entries_before_end(const struct read_job *job, int count)
{
    while (count > 0 && job->entries[count - 1].seq >= job->end_seq) {
        count--;
    }
    return count;
}

/* The next batch, waiting for it only once stdout has what came before. */
static int reader_fetch(struct read_job *job, struct tusk_reader *reader,
                        enum output_outcome *outcome)
{
    const size_t most = batch_max(job, job->end_seq - job->next_seq);
    const int timeout_ms = job->options->follow ? -1 : (int)job->options->connection.timeout_ms;

    const int count = tusk_reader_batch(reader, BATCH_BYTES_MAX, job->entries, most, 0);
    if (count != 0) {
        return count;
    }
    *outcome = output_flush();
    if (*outcome != OUTPUT_FINE) {
        return 0;
    }
    return tusk_reader_batch(reader, BATCH_BYTES_MAX, job->entries, most, timeout_ms);
}

static int reader_copy(struct read_job *job, struct tusk_reader *reader)
{
    enum output_outcome outcome = OUTPUT_FINE;

    while (job->left > 0 && job->next_seq < job->end_seq) {
        const int count = reader_fetch(job, reader, &outcome);
        if (outcome != OUTPUT_FINE) {
            return output_status(outcome);
        }
        if (count < 0) {
            return read_fail(job, count);
        }
        const int wanted = entries_before_end(job, count);
        if (wanted > 0) {
            job->next_seq = job->entries[wanted - 1].seq + 1;
        }
        entries_print(job, wanted);
        if (wanted < count) {
            break;
        }
        if (ferror(stdout)) {
            break;
        }
    }
    return output_status(output_flush());
}

static int read_independently(struct read_job *job)
{
    struct tusk_reader_options options = TUSK_READER_OPTIONS_INIT;
    struct tusk_reader *reader = NULL;
    bool empty = false;

    options.from = (uint32_t)job->from.from;
    options.from_value = job->from.value;
    int result = end_find(job, &empty);
    if (result == 0 && empty) {
        return EX_OK;
    }
    if (result == 0) {
        result = tusk_reader_open(job->topic, &options, &reader);
    }
    if (result < 0) {
        return read_fail(job, result);
    }
    const int status = reader_copy(job, reader);
    tusk_reader_close(reader);
    return status;
}

/* ---- The topic's cursor ---------------------------------------------------------------------- */

static int cursor_peek(struct read_job *job)
{
    const int count = tusk_batch_read(job->topic, SIZE_MAX, false, job->entries,
                                      batch_max(job, BATCH_ENTRIES_MAX));
    if (count < 0) {
        return read_fail(job, count);
    }
    entries_print(job, count);
    return output_status(output_flush());
}

/* What has been consumed is gone for others: if it could not be written, say so. */
static int consumed_status(const struct read_job *job, int count, enum output_outcome outcome)
{
    if (outcome == OUTPUT_FINE) {
        return EX_OK;
    }
    return fail(EX_IOERR,
                "up to %d entries of topic '%s', to seq %" PRIu64
                ", were consumed and not all of them could be written to stdout",
                count, job->topic_name, job->entries[count - 1].seq);
}

static int cursor_consume(struct read_job *job)
{
    while (job->left > 0) {
        const int count = tusk_batch_read(job->topic, BATCH_BYTES_MAX, true, job->entries,
                                          batch_max(job, BATCH_ENTRIES_MAX));
        if (count < 0) {
            return read_fail(job, count);
        }
        if (count > 0) {
            entries_print(job, count);
            const int status = consumed_status(job, count, output_flush());
            if (status != EX_OK) {
                return status;
            }
            continue;
        }
        if (!job->options->follow) {
            return EX_OK;
        }
        const int result = tusk_wait(job->tusk, -1);
        if (result < 0) {
            return read_fail(job, result);
        }
    }
    return EX_OK;
}

/* ---- The verb -------------------------------------------------------------------------------- */

static int job_run(struct read_job *job)
{
    CONNECTION_CLOSED struct tusk *tusk = NULL;

    int status = connection_open(&job->options->connection, 0, &tusk);
    if (status == EX_OK) {
        job->tusk = tusk;
        status = connection_topic(tusk, job->topic_name, &job->topic);
    }
    if (status != EX_OK) {
        return status;
    }
    if (job->options->peek) {
        return cursor_peek(job);
    }
    return job->options->group ? cursor_consume(job) : read_independently(job);
}

static int options_check(const struct read_options *options)
{
    if (options->group && strcmp(options->group, DEFAULT_GROUP) != 0) {
        return fail(EX_UNAVAILABLE,
                    "--group: '%s' is not available; the one group of a topic is '" DEFAULT_GROUP
                    "'",
                    options->group);
    }
    if (options->from_text && (options->group || options->peek)) {
        return fail(EX_USAGE, "--from: the topic's cursor says where to read from; leave out "
                              "--group and --peek to read from elsewhere");
    }
    if (options->raw && options->json) {
        return fail(EX_USAGE, "--raw and --json exclude each other");
    }
    if (options->peek && options->follow) {
        return fail(EX_USAGE, "--peek and --follow exclude each other: a peek doesn't move on");
    }
    if (options->peek && options->count > BATCH_ENTRIES_MAX) {
        return fail(EX_USAGE, "-n: a peek sees at most %d entries, got %" PRIu64, BATCH_ENTRIES_MAX,
                    options->count);
    }
    return EX_OK;
}

static int read_run(const struct read_options *options, const char *topic_name)
{
    static struct read_job job;
    const uint64_t most = options->peek ? 1 : UINT64_MAX;

    int status = options_check(options);
    if (status != EX_OK) {
        return status;
    }
    job = (struct read_job){.options = options,
                            .topic_name = topic_name,
                            .left = options->count ? options->count : most};
    if (options->from_text && read_from_parse(options->from_text, &job.from) < 0) {
        return fail(EX_USAGE, "--from: '%s' is none of %s", options->from_text, READ_FROM_FORMS);
    }
    return job_run(&job);
}

int verb_read(int argc, char **argv)
{
    static const struct option_page page = {
        .verb = "read",
        .operands = "TOPIC",
        .summary = "Write the entries of TOPIC to stdout, one per line.",
        .details = "WHERE is " READ_FROM_FORMS "\n"
                   "(a sequence number, seconds since the epoch, or a local or universal time).\n"
                   "Reading changes nothing, except with --group, which consumes.\n",
        .operands_min = 1,
        .operands_max = 1,
    };
    struct read_options options = {.connection = CONNECTION_OPTIONS_DEFAULT};
    const struct option_spec specs[] = {
        TEXT_ROW(0, "from", "WHERE", &options.from_text, "where to begin (default earliest)"),
        FLAG_ROW('f', "follow", &options.follow, "go on with what is appended from now on"),
        NUMBER_ROW('n', "count", "N", &options.count, 1, UINT64_MAX, "at most N entries"),
        FLAG_ROW(0, "raw", &options.raw, "no newline after each entry"),
        FLAG_ROW(0, "json", &options.json, "one JSON object per entry"),
        TEXT_ROW(0, "group", "G", &options.group,
                 "consume by the cursor of group G, which is '" DEFAULT_GROUP "'"),
        FLAG_ROW(0, "peek", &options.peek,
                 "show what the cursor comes to next (one entry, or N), consuming nothing"),
        CONNECTION_OPTIONS(&options.connection),
    };
    struct verb_call call;

    if (!VERB_BEGIN(&call, &page, specs, argc, argv)) {
        return call.status;
    }
    return read_run(&options, call.operands[0]);
}
