/*
 * bench-peers: how does Tusk compare with other ways to bring entries from one process to another,
 * or onto stable storage, each used as its users would for speed?
 * Runs on:    one main thread; the work is done by the processes of a crew, and by the servers of
 *             peers that have one.
 * Invariants: all peers are asked the same in the same run, one after the other; each run begins
 *             with another one of them. A peer that fails is said to and costs only its own
 *             figures.
 */
#include "bench/cost.h"
#include "bench/peer_trial.h"
#include "bench/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum column {
    COLUMN_ENTRIES,
    COLUMN_BYTES,
    COLUMN_P50,
    COLUMN_P99,
    COLUMN_P999,
    COLUMN_LOST,
    COLUMN_CPU,
    COLUMN_CALLS,
    COLUMN_COST,
    COLUMNS = COLUMN_COST + COST_COLUMNS
};

static const struct report_column columns[COLUMNS] = {
    [COLUMN_ENTRIES] = {"entries/s", REPORT_RATE, false},
    [COLUMN_BYTES] = {"payload B/s", REPORT_BYTES, true},
    [COLUMN_P50] = {"p50", REPORT_TIME, false},
    [COLUMN_P99] = {"p99", REPORT_TIME, false},
    [COLUMN_P999] = {"p99.9", REPORT_TIME, true},
    [COLUMN_LOST] = {"lost", REPORT_COUNT, true},
    [COLUMN_CPU] = {"CPU", REPORT_TIME, true},
    [COLUMN_CALLS] = {"calls", REPORT_FRACTION, true},
    [COLUMN_COST] = COST_COLUMNS_OF("sender", "server", "receiver")};

struct question {
    const char *name;
    const char *mode;
    enum peer_shape shape;
    size_t size;
    bool batches;
};

static const struct question questions[] = {
    {"64 B one by one", "relay", PEER_RELAY, 64, false},
    {"64 B in batches", "relay batches", PEER_RELAY, 64, true},
    {"1 KiB one by one", "relay", PEER_RELAY, 1024, false},
    {"16 KiB one by one", "relay", PEER_RELAY, 16384, false},
    {"256 B durable", "durable", PEER_DURABLE, 256, false},
    {"64 B there and back", "ping-pong", PEER_PING, 64, false},
};

#define QUESTIONS_COUNT (sizeof questions / sizeof *questions)
#define SENDERS_STEP 4 /* from one number of durable senders to the next */
#define PEERS_MAX 64
#define REASON_BYTES 160

/* The peers that are measured. */
struct selection {
    const struct peer *peers[PEERS_MAX];
    size_t count;
    bool counting; /* how many measurements there are, only */
    unsigned measurements;
    bool failed; /* one of them, in one measurement */
};

/* ---- Which peers ----------------------------------------------------------------------------- */

/* Whether PEERS names it, or names none. */
static bool peer_wanted(const char *name)
{
    const char *text = getenv("PEERS");
    const size_t length = strlen(name);

    if (!text || text[strspn(text, " ,")] == '\0' || strcmp(name, "tusk") == 0) {
        return true;
    }
    while (*(text += strspn(text, " ,"))) {
        const size_t word = strcspn(text, " ,");
        if (word == length && memcmp(text, name, length) == 0) {
            return true;
        }
        text += word;
    }
    return false;
}

static bool peer_known(const char *word, size_t length)
{
    for (size_t i = 0; i < peers_built_count; i++) {
        if (strlen(peers_built[i]->name) == length &&
            memcmp(peers_built[i]->name, word, length) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < peers_absent_count; i++) {
        if (strlen(peers_absent[i].name) == length &&
            memcmp(peers_absent[i].name, word, length) == 0) {
            return true;
        }
    }
    return false;
}

/* End the program if PEERS names one that there isn't. */
static void peers_check(void)
{
    const char *text = getenv("PEERS");

    while (text && *(text += strspn(text, " ,"))) {
        const size_t length = strcspn(text, " ,");
        if (!peer_known(text, length)) {
            fprintf(stderr, "PEERS: there is no '%.*s'; expected some of", (int)length, text);
            for (size_t i = 0; i < peers_built_count; i++) {
                fprintf(stderr, " %s", peers_built[i]->name);
            }
            for (size_t i = 0; i < peers_absent_count; i++) {
                fprintf(stderr, " %s", peers_absent[i].name);
            }
            fprintf(stderr, "\n");
            exit(EX_USAGE);
        }
        text += length;
    }
}

static void peers_select(struct selection *selection)
{
    char reason[REASON_BYTES];

    for (size_t i = 0; i < peers_built_count && selection->count < PEERS_MAX; i++) {
        const struct peer *peer = peers_built[i];
        if (!peer_wanted(peer->name)) {
            continue;
        }
        if (peer->missing && peer->missing(reason, sizeof reason)) {
            printf("Skipped: %s, %s.\n", peer->name, reason);
            continue;
        }
        selection->peers[selection->count++] = peer;
    }
    for (size_t i = 0; i < peers_absent_count; i++) {
        if (peer_wanted(peers_absent[i].name)) {
            printf("Skipped: %s, %s.\n", peers_absent[i].name, peers_absent[i].reason);
        }
    }
}

/* ---- Measurements ---------------------------------------------------------------------------- */

static bool peer_can(const struct peer *peer, const struct question *question)
{
    if (peer->send_max > 0 && question->size > peer->send_max) {
        return false;
    }
    return question->shape == PEER_DURABLE ? peer->syncs != NULL
           : question->shape == PEER_PING  ? peer->pings
                                           : true;
}

static void row_name(const struct peer *peer, const struct question *question, unsigned senders,
                     char *row, size_t bytes)
{
    if (question->shape == PEER_DURABLE) {
        snprintf(row, bytes, "%s by %u sender%s: %s [%s]", question->name, senders,
                 senders == 1 ? "" : "s", peer->name, peer->syncs);
    } else {
        snprintf(row, bytes, "%s: %s [%s]", question->name, peer->name,
                 peer->keeps ? peer->keeps : "not kept");
    }
}

static void figures_report(struct report *report, const struct question *question, const char *row,
                           const struct peer_figures *figures)
{
    const struct histogram *latency_ns = &figures->latency_ns;

    report_add(report, row, COLUMN_ENTRIES, figures->per_s);
    if (question->shape == PEER_RELAY) {
        report_add(report, row, COLUMN_BYTES, figures->per_s * (double)question->size);
        report_add(report, row, COLUMN_LOST, (double)figures->lost);
    } else {
        report_add(report, row, COLUMN_P50, (double)histogram_quantile(latency_ns, 0.5));
        report_add(report, row, COLUMN_P99, (double)histogram_quantile(latency_ns, 0.99));
        report_add(report, row, COLUMN_P999, (double)histogram_quantile(latency_ns, 0.999));
        report_histogram(report, row, question->mode, latency_ns);
    }
    report_add(report, row, COLUMN_CPU, cost_cpu_ns(&figures->cost));
    cost_report_cpu(report, row, COLUMN_COST, &figures->cost);
}

static void calls_report(struct report *report, const char *row, const struct crew_cost *cost)
{
    report_add(report, row, COLUMN_CALLS, cost_calls(cost));
    cost_report_calls(report, row, COLUMN_COST, cost);
}

static size_t batch_choose(const struct settings *settings, const struct peer *peer,
                           const struct question *question)
{
    const size_t most = peer->send_max > 0 ? peer->send_max / question->size : SIZE_MAX;

    return !question->batches ? 1 : settings->batch <= most ? settings->batch : most;
}

static struct result_shape shape_get(const struct settings *settings, const struct peer *peer,
                                     const struct question *question, unsigned senders)
{
    const bool durable = question->shape == PEER_DURABLE;
    const bool sizes = question->shape == PEER_RELAY && !question->batches;

    return (struct result_shape){.system = peer->name,
                                 .mode = question->mode,
                                 .series = durable ? "processes"
                                           : sizes ? "size"
                                                   : NULL,
                                 .processes = senders, /* or threads, where peer->threads */
                                 .threads = 1,
                                 .topics = 1,
                                 .consumers = durable ? 0 : 1,
                                 .batch = (unsigned)batch_choose(settings, peer, question),
                                 .size_min = question->size,
                                 .size_max = question->size,
                                 .fsync = durable ? "each" : "none",
                                 .idle = strcmp(peer->name, "tusk") == 0 ? settings->idle : NULL};
}

/* One trial: timed, or with its calls counted. */
static int question_ask(struct report *report, const struct peer *peer,
                        const struct question *question, unsigned senders, bool count_calls,
                        struct peer_figures *figures)
{
    static struct peer_job job;

    job = (struct peer_job){.settings = report->settings,
                            .shape = question->shape,
                            .size = question->size,
                            .batch = batch_choose(report->settings, peer, question),
                            .senders = senders};
    return peer_trial_run(peer, &job, count_calls, figures);
}

/* 0, also if the peer failed; -EINTR. The first run counts calls as well. */
static int peer_measure(struct report *report, struct selection *selection, const struct peer *peer,
                        const struct question *question, unsigned senders, bool first)
{
    static struct peer_figures figures;
    const struct result_shape shape = shape_get(report->settings, peer, question, senders);
    char row[64];

    row_name(peer, question, senders, row, sizeof row);
    if (!peer_can(peer, question) || !settings_wants(report->settings, row)) {
        return 0;
    }
    selection->measurements++;
    if (selection->counting) {
        return 0;
    }
    report_begin(report, row, &shape);
    int result = question_ask(report, peer, question, senders, false, &figures);
    if (result == 0) {
        figures_report(report, question, row, &figures);
    }
    if (result == 0 && first && cost_counts_calls()) {
        result = question_ask(report, peer, question, senders, true, &figures);
        if (result == 0) {
            calls_report(report, row, &figures.cost);
        }
    }
    if (result < 0 && result != -EINTR) {
        fprintf(stderr, "%s failed; the others go on\n", row);
        selection->failed = true;
    }
    return result == -EINTR ? result : 0;
}

/* All peers, beginning with another one in each run. */
static int peers_measure(struct report *report, struct selection *selection,
                         const struct question *question, unsigned senders, unsigned run)
{
    int result = 0;

    for (size_t i = 0; i < selection->count && result == 0; i++) {
        const struct peer *peer = selection->peers[(i + run) % selection->count];
        result = peer_measure(report, selection, peer, question, senders, run == 0);
    }
    return result;
}

static int run_measure(struct report *report, struct selection *selection, unsigned run)
{
    const struct settings *settings = report->settings;
    int result = 0;

    for (size_t i = 0; i < QUESTIONS_COUNT && result == 0; i++) {
        const struct question *question = &questions[i];
        if (question->shape != PEER_DURABLE) {
            result = peers_measure(report, selection, question, 1, run);
            continue;
        }
        for (unsigned senders = settings->procs_min; senders <= settings->procs_max && result == 0;
             senders *= SENDERS_STEP) {
            result = peers_measure(report, selection, question, senders, run);
        }
    }
    return result;
}

int main(void)
{
    static struct report report;
    static struct selection selection;
    struct settings settings = SETTINGS_DEFAULT;
    int result = 0;

    strcpy(settings.fsync, "none");
    settings.size_max = 16384;
    settings.procs_max = 64;
    settings.batch = 64;
    settings.duration_s = 0.15;
    settings_load(&settings);
    settings_used("PROCS BATCH DURATION BACKEND IDLE");
    settings_check_space(&settings);
    peers_check();
    report_open(&report, "bench-peers",
                "how does Tusk compare with other ways to bring entries from one process to "
                "another, or onto stable storage?",
                &settings, columns, COLUMNS);
    printf("One sender, one receiver in another process; durable: %u to %u senders. Batches of %u. "
           "In [brackets]: where entries are kept.\n",
           settings.procs_min, settings.procs_max, settings.batch);
    peers_select(&selection);
    selection.counting = true;
    run_measure(&report, &selection, 0);
    report_expect(&report, selection.measurements * settings.runs);
    selection.counting = false;
    for (unsigned run = 0; run < settings.runs && result == 0; run++) {
        result = run_measure(&report, &selection, run);
    }
    const int status = report_close(&report, result);
    return status == EX_OK && selection.failed ? EX_SOFTWARE : status;
}
