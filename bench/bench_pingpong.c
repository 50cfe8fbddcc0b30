/*
 * bench-pingpong: how long does a round trip of two processes take that sleep while they wait for
 * each other: through two topics, and through two pipes?
 * Runs on:    one main thread; the two players are processes of a crew.
 * Invariants: both kinds are played on the same cores, one after the other in each run. Through a
 *             topic a ball wakes two processes on its way (the broker, the other player), through a
 *             pipe one: so one round trip of the one is held against two of the other.
 */
#include "bench/clock.h"
#include "bench/report.h"
#include "bench/trial.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
enum stroke { STROKE_SUBMIT, STROKE_APPEND, STROKE_PIPE };

struct game {
    enum stroke stroke;
    int cores[2];    /* of the players, or NO_CORE */
    int pipes[2][2]; /* [player] reads from pipes[player][0] */
    uint64_t size;   /* of the ball */
};

struct player {
    const struct game *game;
    unsigned number; /* 0 serves */
    struct tusk_topic *topics[2];
    struct tusk_reader *reader;
    char ball[BALL_BYTES_MAX];
};

static void core_choose(int core)
{
    cpu_set_t set;

    if (core != NO_CORE) {
        CPU_ZERO(&set);
        CPU_SET((size_t)core, &set);
        sched_setaffinity(0, sizeof set, &set);
    }
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
    core_choose(player->game->cores[number]);
    if (player->game->stroke == STROKE_PIPE) {
        return 0;
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
    const bool offline = game->stroke == STROKE_PIPE;
    const struct role roles[] = {{.processes = 1,
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
                                  .arg = game}};

    crew->roles = roles;
    crew->roles_count = 2;
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
    report_begin(report, row,
                 &(struct result_shape){.mode = submits ? "submit" : "append",
                                        .processes = 2,
                                        .threads = 1,
                                        .topics = 2,
                                        .consumers = 2,
                                        .batch = 1,
                                        .size_min = settings->size_max,
                                        .size_max = settings->size_max,
                                        .fsync = settings->fsync,
                                        .idle = settings->idle});
    sched_getaffinity(0, sizeof all, &all);
    core_choose(court->broker);
    int result = private_broker_start(&broker, settings, settings->fsync, settings->idle);
    sched_setaffinity(0, sizeof all, &all);
    if (result == 0) {
        const uint64_t cpu_before_ns = private_broker_cpu_ns(&broker);
        crew.socket = broker.socket;
        crew.idle = settings_idle(settings->idle);
        result = game_play(&game, &crew, &p50_ns);
        const uint64_t cpu_ns = private_broker_cpu_ns(&broker) - cpu_before_ns;
        if (result == 0) {
            report_add(report, row, COLUMN_TOPICS, p50_ns);
            report_add(report, row, COLUMN_PIPES, 2 * pipes_ns);
            report_add(report, row, COLUMN_RATIO, p50_ns / (2 * pipes_ns));
            report_add(report, row, COLUMN_CPU,
                       (double)cpu_ns / (double)crew_results(&crew, 0)->operations);
            report_histogram(report, row, "round trip", &crew_results(&crew, 0)->latency_ns);
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
    return 2 * courts_wanted * settings->runs;
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
    settings_check_space(&settings);
    if (settings.size_max > BALL_BYTES_MAX || settings.size_max == 0) {
        fprintf(stderr, "SIZE=%llu: expected 1 to %d\n", (unsigned long long)settings.size_max,
                BALL_BYTES_MAX);
        return EX_USAGE;
    }
    report_open(&report, "bench-pingpong",
                "how long does a round trip of two processes take that sleep while they wait for "
                "each other: through two topics, and, twice, through two pipes?",
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
