/*
 * bench-pingpong: how long does a round trip of two processes take that sleep while they wait for
 * each other: through two topics, through two pipes, and through a bare relay?
 * Runs on:    one main thread; the two players and the relay are processes of a crew.
 * Invariants: both kinds are played on the same cores, one after the other in each run. Through a
 *             topic a ball wakes two processes on its way (the broker, the other player), through a
 *             pipe one: so one round trip of the one is held against two of the other.
 *             The relay is what any broker does at least: it sleeps, copies a ball and wakes a
 *             player. Each side has an eventfd, which costs the least of what wakes a process: polled
 *             on edges, it is never read.
 */
#include "bench/clock.h"
#include "bench/report.h"
#include "bench/trial.h"

#include <errno.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sysexits.h>
#include <unistd.h>

enum column { COLUMN_TOPICS, COLUMN_PIPES, COLUMN_RATIO, COLUMN_CPU, COLUMNS };

static const struct report_column columns[COLUMNS] = {
    [COLUMN_TOPICS] = {"topics, p50", REPORT_TIME},
    [COLUMN_PIPES] = {"2 x pipes, p50", REPORT_TIME},
    [COLUMN_RATIO] = {"ratio", REPORT_RATIO},
    [COLUMN_CPU] = {"broker's CPU time", REPORT_TIME}};

#define BALL_BYTES_MAX 4096
#define LAST_BALL 1 /* first byte of the ball that ends the game */
#define NO_CORE (-1)

/* How the players send. */
enum stroke { STROKE_SUBMIT, STROKE_APPEND, STROKE_PIPE, STROKE_RELAY };

/* Whose bell it is. */
enum bell { BELL_SERVER, BELL_RECEIVER, BELL_RELAY, BELLS };

/* A ball on its way, by one writer to one reader. */
struct flight {
    alignas(128) _Atomic uint64_t balls; /* so many so far */
    char ball[BALL_BYTES_MAX];           /* the last one */
};

/* What the players and the relay share. */
struct flights {
    struct flight sent[2];    /* [player] to the relay */
    struct flight relayed[2]; /* [player] from it */
};

struct game {
    enum stroke stroke;
    int cores[2];    /* of the players, or NO_CORE */
    int relay_core;  /* or NO_CORE */
    int pipes[2][2]; /* [player] reads from pipes[player][0] */
    int bells[BELLS];
    struct flights *flights;
    uint64_t size; /* of the ball */
};

struct player {
    const struct game *game;
    unsigned number; /* 0 serves */
    struct tusk_topic *topics[2];
    struct tusk_reader *reader;
    uint64_t taken; /* balls from the relay */
    int epoll;
    char ball[BALL_BYTES_MAX];
};

/* 0 or a negative error. */
static int core_choose(int core)
{
    cpu_set_t set;

    if (core == NO_CORE) {
        return 0;
    }
    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : -errno;
}

/* ---- Flights --------------------------------------------------------------------------------- */

static void flight_begin(struct flight *flight, const char *ball, uint64_t size)
{
    memcpy(flight->ball, ball, size);
    atomic_fetch_add(&flight->balls, 1);
}

static bool flight_take(const struct flight *flight, uint64_t *taken, char *ball, uint64_t size)
{
    if (atomic_load(&flight->balls) == *taken) {
        return false;
    }
    memcpy(ball, flight->ball, size);
    (*taken)++;
    return true;
}

/* An epoll set that tells each time that the bell is rung. It or a negative error. */
static int bell_watch(int bell)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    const int epoll = epoll_create1(EPOLL_CLOEXEC);

    return epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, bell, &event) == 0 ? epoll : -errno;
}

static int bell_await(int epoll)
{
    struct epoll_event event;

    return epoll_wait(epoll, &event, 1, -1) >= 0 || errno == EINTR ? 0 : -errno;
}

static int bell_ring(int bell)
{
    return eventfd_write(bell, 1) == 0 ? 0 : -errno;
}

static int relay_work(struct worker *worker)
{
    const struct game *game = worker->arg;
    uint64_t taken[2] = {0, 0};
    char ball[BALL_BYTES_MAX] = {0};
    const int epoll = bell_watch(game->bells[BELL_RELAY]);
    int result = epoll < 0 ? epoll : core_choose(game->relay_core);
    bool ended = false;

    while (result == 0 && !ended) {
        bool any = false;
        for (unsigned from = 0; from < 2 && result == 0; from++) {
            if (flight_take(&game->flights->sent[from], &taken[from], ball, game->size)) {
                flight_begin(&game->flights->relayed[!from], ball, game->size);
                result = bell_ring(game->bells[!from]);
                ended = from == 1 && ball[0] == LAST_BALL;
                any = true;
            }
        }
        if (!any) {
            result = bell_await(epoll);
        }
    }
    close(epoll);
    return result < 0 ? worker_fail(worker, result, "passing balls on") : 0;
}

/* ---- The players ----------------------------------------------------------------------------- */

static int player_prepare(struct worker *worker, unsigned number)
{
    struct player *player = calloc(1, sizeof *player);
    char name[16];
    int result = 0;

    if (!player) {
        return worker_fail(worker, -ENOMEM, "making a player");
    }
    worker->state = player;
    player->game = worker->arg;
    player->number = number;
    result = core_choose(player->game->cores[number]);
    if (result < 0) {
        return worker_fail(worker, result, "choosing a core");
    }
    if (player->game->stroke == STROKE_PIPE) {
        return 0;
    }
    if (player->game->stroke == STROKE_RELAY) {
        player->epoll = bell_watch(player->game->bells[number]);
        return player->epoll < 0 ? worker_fail(worker, player->epoll, "watching a bell") : 0;
    }
    for (unsigned i = 0; i < 2 && result == 0; i++) {
        snprintf(name, sizeof name, "to-%u", i);
        result = tusk_topic_open(worker->tusk, name, NULL, &player->topics[i]);
    }
    if (result == 0) {
        result = tusk_reader_open(player->topics[number], NULL, &player->reader);
    }
    return result < 0 ? worker_fail(worker, result, "opening topics") : 0;
}

static int server_prepare(struct worker *worker)
{
    return player_prepare(worker, 0);
}

static int receiver_prepare(struct worker *worker)
{
    return player_prepare(worker, 1);
}

static void player_finish(struct worker *worker)
{
    struct player *player = worker->state;

    tusk_reader_close(player->reader);
    tusk_topic_close(player->topics[0]);
    tusk_topic_close(player->topics[1]);
    free(player);
}

static int ball_send(struct player *player)
{
    const struct game *game = player->game;
    struct tusk_topic *topic = player->topics[!player->number];

    switch (game->stroke) {
    case STROKE_SUBMIT:
        return tusk_submit(topic, player->ball, game->size, 0);
    case STROKE_APPEND:
        return tusk_append(topic, player->ball, game->size, NULL);
    case STROKE_RELAY:
        flight_begin(&game->flights->sent[player->number], player->ball, game->size);
        return bell_ring(game->bells[BELL_RELAY]);
    case STROKE_PIPE:
        break;
    }
    const ssize_t sent = write(game->pipes[!player->number][1], player->ball, game->size);
    return sent == (ssize_t)game->size ? 0 : -EPIPE;
}

static int ball_take(struct player *player)
{
    const struct game *game = player->game;
    struct tusk_entry entry;

    if (game->stroke == STROKE_PIPE) {
        const ssize_t taken = read(game->pipes[player->number][0], player->ball, game->size);
        return taken == (ssize_t)game->size ? 0 : -EPIPE;
    }
    if (game->stroke == STROKE_RELAY) {
        int result = 0;
        while (result == 0 && !flight_take(&game->flights->relayed[player->number], &player->taken,
                                           player->ball, game->size)) {
            result = bell_await(player->epoll);
        }
        return result;
    }
    const int result = tusk_reader_next(player->reader, &entry, -1);
    if (result == 1) {
        memcpy(player->ball, entry.data, game->size);
    }
    return result < 0 ? result : 0;
}

static int server_work(struct worker *worker)
{
    struct player *player = worker->state;

    while (player->ball[0] != LAST_BALL) {
        const uint64_t before_ns = clock_now_ns();
        player->ball[0] = worker_stopped(worker) ? LAST_BALL : 0;
        int result = ball_send(player);
        if (result == 0) {
            result = ball_take(player);
        }
        if (result < 0) {
            return worker_fail(worker, result, "playing");
        }
        histogram_add(&worker->result->latency_ns, clock_now_ns() - before_ns);
        worker->result->operations++;
    }
    return 0;
}

static int receiver_work(struct worker *worker)
{
    struct player *player = worker->state;

    while (player->ball[0] != LAST_BALL) {
        int result = ball_take(player);
        if (result == 0) {
            result = ball_send(player);
        }
        if (result < 0) {
            return worker_fail(worker, result, "playing");
        }
    }
    return 0;
}

/* ---- Runs ------------------------------------------------------------------------------------ */

struct court {
    const char *name;
    int broker; /* its core, or NO_CORE */
    int cores[2];
};

static const struct court courts[] = {
    {"all on one core", 0, {0, 0}},
    {"players on two cores", NO_CORE, {0, 1}},
    {"not pinned", NO_CORE, {NO_CORE, NO_CORE}},
};

#define COURTS_COUNT (sizeof courts / sizeof *courts)

/* p50 of a game's round trips. 0 or a negative error. */
static int game_play(struct game *game, struct crew *crew, double *p50_ns)
{
    const bool offline = game->stroke == STROKE_PIPE || game->stroke == STROKE_RELAY;
    const struct role roles[] = {
        {.processes = 1,
         .threads = 1,
         .offline = offline,
         .prepare = server_prepare,
         .work = server_work,
         .finish = player_finish,
         .arg = game},
        {.processes = 1,
         .threads = 1,
         .offline = offline,
         .prepare = receiver_prepare,
         .work = receiver_work,
         .finish = player_finish,
         .arg = game},
        {.processes = 1, .threads = 1, .offline = true, .work = relay_work, .arg = game}};

    crew->roles = roles;
    crew->roles_count = game->stroke == STROKE_RELAY ? 3 : 2;
    const int result = crew_run(crew);
    if (result == 0) {
        *p50_ns = (double)histogram_quantile(&crew_results(crew, 0)->latency_ns, 0.5);
    }
    return result;
}

static int pipes_play(const struct settings *settings, const struct court *court, double *p50_ns)
{
    struct game game = {.stroke = STROKE_PIPE,
                        .cores = {court->cores[0], court->cores[1]},
                        .size = settings->size_max};
    struct crew crew = {.duration_s = settings->duration_s};

    if (pipe(game.pipes[0]) != 0 || pipe(game.pipes[1]) != 0) {
        perror("making pipes");
        return -EMFILE;
    }
    const int result = game_play(&game, &crew, p50_ns);
    for (unsigned i = 0; i < 4; i++) {
        close(game.pipes[i / 2][i % 2]);
    }
    crew_deinit(&crew);
    return result;
}

static void result_begin(struct report *report, const struct settings *settings, const char *row,
                         const char *mode)
{
    report_begin(report, row,
                 &(struct result_shape){.mode = mode,
                                        .processes = 2,
                                        .threads = 1,
                                        .topics = 2,
                                        .consumers = 2,
                                        .batch = 1,
                                        .size_min = settings->size_max,
                                        .size_max = settings->size_max,
                                        .fsync = settings->fsync,
                                        .idle = settings->idle});
}

static void result_add(struct report *report, const char *row, const struct crew *crew,
                       double p50_ns, double pipes_ns)
{
    report_add(report, row, COLUMN_TOPICS, p50_ns);
    report_add(report, row, COLUMN_PIPES, 2 * pipes_ns);
    report_add(report, row, COLUMN_RATIO, p50_ns / (2 * pipes_ns));
    report_histogram(report, row, "round trip", &crew_results(crew, 0)->latency_ns);
}

static int relay_play(struct report *report, const struct settings *settings,
                      const struct court *court, double pipes_ns)
{
    struct game game = {.stroke = STROKE_RELAY,
                        .cores = {court->cores[0], court->cores[1]},
                        .relay_core = court->broker,
                        .size = settings->size_max};
    struct crew crew = {.duration_s = settings->duration_s};
    double p50_ns = 0;
    char row[64];
    int result = 0;

    snprintf(row, sizeof row, "%s, bare relay", court->name);
    result_begin(report, settings, row, "relay");
    game.flights =
        mmap(NULL, sizeof *game.flights, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (game.flights == MAP_FAILED) {
        perror("mapping what players and relay share");
        return -ENOMEM;
    }
    for (unsigned i = 0; i < BELLS; i++) {
        game.bells[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (game.bells[i] < 0) {
            perror("making an eventfd");
            result = -EMFILE;
        }
    }
    if (result == 0) {
        result = game_play(&game, &crew, &p50_ns);
    }
    if (result == 0) {
        result_add(report, row, &crew, p50_ns, pipes_ns);
    }
    crew_deinit(&crew);
    for (unsigned i = 0; i < BELLS; i++) {
        close(game.bells[i]);
    }
    munmap(game.flights, sizeof *game.flights);
    return result;
}

static int topics_play(struct report *report, const struct settings *settings,
                       const struct court *court, enum stroke stroke, double pipes_ns)
{
    struct game game = {
        .stroke = stroke, .cores = {court->cores[0], court->cores[1]}, .size = settings->size_max};
    struct private_broker broker;
    struct crew crew = {.duration_s = settings->duration_s};
    const bool submits = stroke == STROKE_SUBMIT;
    cpu_set_t all;
    double p50_ns = 0;
    char row[64];

    snprintf(row, sizeof row, "%s, %s", court->name, submits ? "tusk_submit" : "tusk_append");
    result_begin(report, settings, row, submits ? "submit" : "append");
    sched_getaffinity(0, sizeof all, &all);
    int result = core_choose(court->broker);
    if (result < 0) {
        fprintf(stderr, "core %d: %s\n", court->broker, strerror(-result));
        return result;
    }
    result = private_broker_start(&broker, settings, settings->fsync, settings->idle);
    sched_setaffinity(0, sizeof all, &all);
    if (result == 0) {
        const uint64_t cpu_before_ns = private_broker_cpu_ns(&broker);
        crew.socket = broker.socket;
        crew.idle = settings_idle(settings->idle);
        result = game_play(&game, &crew, &p50_ns);
        const uint64_t cpu_ns = private_broker_cpu_ns(&broker) - cpu_before_ns;
        if (result == 0) {
            result_add(report, row, &crew, p50_ns, pipes_ns);
            report_add(report, row, COLUMN_CPU,
                       (double)cpu_ns / (double)crew_results(&crew, 0)->operations);
        }
        crew_deinit(&crew);
    }
    private_broker_stop(&broker);
    return result;
}

static int court_play(struct report *report, const struct settings *settings,
                      const struct court *court)
{
    double pipes_ns = 0;

    int result = pipes_play(settings, court, &pipes_ns);
    if (result == 0) {
        result = relay_play(report, settings, court, pipes_ns);
    }
    if (result == 0) {
        result = topics_play(report, settings, court, STROKE_SUBMIT, pipes_ns);
    }
    if (result == 0) {
        result = topics_play(report, settings, court, STROKE_APPEND, pipes_ns);
    }
    return result;
}

static unsigned measurements_count(const struct settings *settings)
{
    unsigned courts_wanted = 0;

    for (size_t i = 0; i < COURTS_COUNT; i++) {
        courts_wanted += settings_wants(settings, courts[i].name);
    }
    return 3 * courts_wanted * settings->runs;
}

int main(void)
{
    static struct report report;
    struct settings settings = SETTINGS_DEFAULT;

    strcpy(settings.fsync, "none");
    strcpy(settings.idle, "block");
    settings.duration_s = 1;
    settings.runs = 5;
    settings_load(&settings);
    settings_used("FSYNC SIZE DURATION BACKEND IDLE");
    settings_single(&settings, SETTINGS_SIZE);
    settings_check_space(&settings);
    if (settings.size_max > BALL_BYTES_MAX || settings.size_max == 0) {
        fprintf(stderr, "SIZE=%llu: expected 1 to %d\n", (unsigned long long)settings.size_max,
                BALL_BYTES_MAX);
        return EX_USAGE;
    }
    report_open(&report, "bench-pingpong",
                "how long does a round trip of two processes take that sleep while they wait for "
                "each other: through two topics or a bare relay, and, twice, through two pipes?",
                &settings, columns, COLUMNS);
    printf("%llu bytes; the broker's CPU time is per round trip.\n",
           (unsigned long long)settings.size_max);
    report_expect(&report, measurements_count(&settings));
    for (unsigned run = 0; run < settings.runs; run++) {
        for (size_t i = 0; i < COURTS_COUNT; i++) {
            if (!settings_wants(&settings, courts[i].name)) {
                continue;
            }
            const int result = court_play(&report, &settings, &courts[i]);
            if (result < 0) {
                return report_close(&report, result);
            }
        }
    }
    return report_close(&report, 0);
}
