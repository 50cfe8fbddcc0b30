/*
 * Demo: several processes append real text to topics of a private broker, others read it as it
 * comes, and each line is checked. Exit status 0 only when every line arrived once and in order.
 * Runs on:    one process that starts, watches and ends all the others.
 * Invariants: whatever happens, no process, directory or shared memory is left; children die with
 *             this process.
 * Not here:   what producers and consumers do (producer.h, consumer.h).
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "clientlib/demo/board.h"
#include "clientlib/demo/consumer.h"
#include "clientlib/demo/host.h"
#include "clientlib/demo/producer.h"
#include "clientlib/demo/report.h"

enum {
    LOAD_SECONDS = 10,
    LOAD_MIB = 1024,
    PRODUCERS = 4,
    CONSUMERS = 2,
    ALL_SECONDS = 50,        /* what takes longer is given up */
    LEAVE_TIMEOUT_MS = 5000, /* for producers and consumers, once they are told to */
    TICK_MS = 20,
    FREE_BYTES_FACTOR = 3, /* of the bytes appended: headers, preallocation and some air */
    EXIT_INTERRUPTED = 130
};

struct demo {
    const char *tuskd;
    const char *data_parent;
    unsigned load_seconds;
    struct plan plan;
    struct corpus corpus;
    struct host host;
    struct report report;
    struct board *board;
    pid_t children[PRODUCERS_MAX + CONSUMERS_MAX];
    unsigned child_count;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void signals_prepare(void)
{
    const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        sigaction(numbers[i], &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
}

static void usage(FILE *out)
{
    fprintf(out,
            "usage: tusk-demo --tuskd PROGRAM [option...] [FILE|DIRECTORY...]\n"
            "  --tuskd PROGRAM   the broker to start\n"
            "  --data-in DIR     where the data goes, in a directory of its own (default /tmp)\n"
            "  --seconds N       how long to append at full speed (default %d)\n"
            "  --mib N           or until so much is appended (default %d)\n"
            "  --producers N     processes that append (default %d)\n"
            "  --consumers N     processes that read, one topic each (default %d)\n"
            "Without files it takes those of /usr/share/common-licenses.\n",
            LOAD_SECONDS, LOAD_MIB, PRODUCERS, CONSUMERS);
}

/* A number from 1 to max, or the program ends with EX_USAGE. */
static unsigned number_option(const char *name, const char *text, unsigned max)
{
    char *end = NULL;
    errno = 0;
    const unsigned long value = strtoul(text, &end, 10);
    if (errno || end == text || *end || value < 1 || value > max) {
        fprintf(stderr, "tusk-demo: --%s is '%s', expected a number from 1 to %u\n", name, text,
                max);
        exit(EX_USAGE);
    }
    return (unsigned)value;
}

static void options_parse(struct demo *demo, int argc, char **argv)
{
    enum { TUSKD = 1, DATA_IN, SECONDS, MIB, PRODUCER_COUNT, CONSUMER_COUNT, HELP };
    static const struct option table[] = {
        {"tuskd", required_argument, NULL, TUSKD},
        {"data-in", required_argument, NULL, DATA_IN},
        {"seconds", required_argument, NULL, SECONDS},
        {"mib", required_argument, NULL, MIB},
        {"producers", required_argument, NULL, PRODUCER_COUNT},
        {"consumers", required_argument, NULL, CONSUMER_COUNT},
        {"help", no_argument, NULL, HELP},
        {0},
    };
    int option = 0;
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        switch (option) {
        case TUSKD:
            demo->tuskd = optarg;
            break;
        case DATA_IN:
            demo->data_parent = optarg;
            break;
        case SECONDS:
            demo->load_seconds = number_option("seconds", optarg, 30);
            break;
        case MIB:
            demo->plan.bytes_max = (uint64_t)number_option("mib", optarg, 1u << 20) << 20;
            break;
        case PRODUCER_COUNT:
            demo->plan.producers = number_option("producers", optarg, PRODUCERS_MAX);
            break;
        case CONSUMER_COUNT:
            demo->plan.consumers = number_option("consumers", optarg, CONSUMERS_MAX);
            break;
        case HELP:
            usage(stdout);
            exit(EX_OK);
        default:
            usage(stderr);
            exit(EX_USAGE);
        }
    }
    if (!demo->tuskd) {
        fprintf(stderr, "tusk-demo: --tuskd is missing: the program of the broker to start\n");
        exit(EX_USAGE);
    }
}

static int corpus_prepare(struct demo *demo, int count, char **paths)
{
    static char licenses[] = "/usr/share/common-licenses";
    char *found[] = {licenses};
    if (count == 0) {
        paths = found;
        count = 1;
    }
    for (int i = 0; i < count; i++) {
        const int error = corpus_add(&demo->corpus, paths[i]);
        if (error && paths != found) {
            fprintf(stderr, "tusk-demo: can't read %s: %s\n", paths[i], strerror(-error));
        }
    }
    if (demo->corpus.line_count == 0) {
        fprintf(stderr, "tusk-demo: found no text to append; name some text files\n");
        return -ENOENT;
    }
    return 0;
}

/* Less data where there is little room. */
static int room_check(struct demo *demo)
{
    const uint64_t room = host_free_bytes(&demo->host) / FREE_BYTES_FACTOR;
    if (room < demo->plan.bytes_max) {
        demo->plan.bytes_max = room;
        printf("There is little room in %s: at most %llu MiB will be appended.\n",
               demo->data_parent, (unsigned long long)(room >> 20));
    }
    if (room < UINT64_C(64) << 20) {
        fprintf(stderr, "tusk-demo: too little room in %s\n", demo->data_parent);
        return -ENOSPC;
    }
    return 0;
}

typedef int role_run(const struct plan *plan, struct board *board, unsigned index);

/* Signals of the terminal are the first process's business; it tells the others. */
static int child_start(struct demo *demo, role_run *run, unsigned index)
{
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid < 0) {
        return -errno;
    }
    if (pid == 0) {
        signal(SIGINT, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        signal(SIGTERM, SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(getppid() == parent ? run(&demo->plan, demo->board, index) : 1);
    }
    demo->children[demo->child_count++] = pid;
    return 0;
}

static int children_start(struct demo *demo)
{
    int error = 0;
    for (unsigned i = 0; i < demo->plan.consumers && !error; i++) {
        error = child_start(demo, consumer_run, i);
    }
    for (unsigned i = 0; i < demo->plan.producers && !error; i++) {
        error = child_start(demo, producer_run, i);
    }
    if (error) {
        board_fail(demo->board, "can't start a process: %s", strerror(-error));
    }
    return error;
}

/* Takes the dead off the list; one that didn't end with status 0 has failed. */
static void children_reap(struct demo *demo)
{
    for (unsigned i = 0; i < demo->child_count;) {
        int status = 0;
        if (waitpid(demo->children[i], &status, WNOHANG) != demo->children[i]) {
            i++;
            continue;
        }
        if (WIFSIGNALED(status)) {
            board_fail(demo->board, "a process was killed by signal %d (%s)", WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
        } else if (status != 0) {
            board_fail(demo->board, "a process gave up");
        }
        demo->children[i] = demo->children[--demo->child_count];
    }
}

static void tick(void)
{
    const struct timespec pause = {.tv_nsec = TICK_MS * 1000000};
    nanosleep(&pause, NULL);
}

/* Watches until everybody has left, or the demo fails or is interrupted. */
static void demo_watch(struct demo *demo)
{
    const uint64_t start_ns = clock_ns();
    while (demo->child_count > 0 && !interrupted && !atomic_load(&demo->board->stop)) {
        const uint64_t seconds = (clock_ns() - start_ns) / 1000000000;
        tick();
        children_reap(demo);
        report_tick(&demo->report);
        if (seconds >= demo->load_seconds) {
            atomic_store(&demo->board->load_over, true);
        }
        if (seconds >= ALL_SECONDS) {
            board_fail(demo->board, "not every line had arrived after %d s", ALL_SECONDS);
        }
        if (host_died(&demo->host)) {
            board_fail(demo->board, "the broker died");
        }
    }
    atomic_store(&demo->board->load_over, true);
    atomic_store(&demo->board->stop, true);
}

static void children_stop(struct demo *demo)
{
    for (int waited_ms = 0; demo->child_count > 0 && waited_ms < LEAVE_TIMEOUT_MS;
         waited_ms += TICK_MS) {
        tick();
        children_reap(demo);
    }
    for (unsigned i = 0; i < demo->child_count; i++) {
        kill(demo->children[i], SIGKILL);
        waitpid(demo->children[i], NULL, 0);
    }
    demo->child_count = 0;
}

static bool all_arrived(const struct demo *demo)
{
    for (unsigned i = 0; i < demo->plan.producers; i++) {
        if (!atomic_load(&demo->board->producers[i].ended)) {
            return false;
        }
    }
    for (unsigned i = 0; i < demo->plan.consumers; i++) {
        if (!atomic_load(&demo->board->consumers[i].ended)) {
            return false;
        }
    }
    return true;
}

/* The exit status, with the last words. */
static int verdict(struct demo *demo, bool broker_ended_well, double seconds)
{
    if (interrupted) {
        printf("Interrupted; everything is cleaned up.\n");
        return EXIT_INTERRUPTED;
    }
    if (atomic_load(&demo->board->failure_written)) {
        printf("FAILED: %s\n", demo->board->failure);
        return EXIT_FAILURE;
    }
    if (!all_arrived(demo) || !broker_ended_well) {
        printf("FAILED: %s\n",
               broker_ended_well ? "not every line arrived" : "the broker didn't end as it should");
        return EXIT_FAILURE;
    }
    report_success(&demo->report, seconds);
    return EXIT_SUCCESS;
}

static int demo_run(struct demo *demo, int count, char **paths)
{
    int error = corpus_prepare(demo, count, paths);
    if (!error) {
        error = host_prepare(&demo->host, demo->data_parent);
    }
    if (!error) {
        error = room_check(demo);
    }
    if (!error) {
        error = host_start(&demo->host, demo->tuskd);
    }
    if (error) {
        host_stop(&demo->host);
        return interrupted ? EXIT_INTERRUPTED : EXIT_FAILURE;
    }
    demo->plan.socket_path = demo->host.socket_path;
    demo->plan.corpus = &demo->corpus;
    report_begin(&demo->report, &demo->plan, demo->board);
    const uint64_t start_ns = clock_ns();
    children_start(demo);
    demo_watch(demo);
    const double seconds = (double)(clock_ns() - start_ns) / 1e9;
    report_end(&demo->report);
    children_stop(demo);
    if (atomic_load(&demo->board->failure_written)) {
        host_log_show(&demo->host);
    }
    const bool broker_ended_well = host_stop(&demo->host) == 0;
    return verdict(demo, broker_ended_well, seconds);
}

int main(int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    struct demo demo = {
        .data_parent = tmp && *tmp ? tmp : "/tmp",
        .load_seconds = LOAD_SECONDS,
        .plan = {.producers = PRODUCERS,
                 .consumers = CONSUMERS,
                 .bytes_max = (uint64_t)LOAD_MIB << 20},
    };
    options_parse(&demo, argc, argv);
    if (demo.plan.consumers > demo.plan.producers) {
        fprintf(stderr, "tusk-demo: there are more consumers than producers; each consumer reads "
                        "a topic that needs a producer\n");
        return EX_USAGE;
    }
    demo.board = board_new();
    if (!demo.board) {
        fprintf(stderr, "tusk-demo: no shared memory: %s\n", strerror(errno));
        return EX_OSERR;
    }
    signals_prepare();
    const int status = demo_run(&demo, argc - optind, argv + optind);
    corpus_free(&demo.corpus);
    return status;
}
