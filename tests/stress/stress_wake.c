/*
 * The sleep handshake of a lane in both directions, with a real socketpair: an engine and a client
 * sleep at every chance, and neither ever sleeps on while the other has something for it. Once with
 * membarrier (where the kernel has it) and once with a fence in the client.
 * Seen to fail, each as a lost wakeup, on a machine that is not busy otherwise:
 *   [W1] wake_fence_engine() empty, or the second look before `parked` is set
 *   [W2] client fences asked for and wake_fence_client() a compiler fence
 *   [W3] the client's full fence a compiler fence
 *   [W4] the engine's full fence a compiler fence
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shm/lane.h"
#include "shm/wake.h"
#include "tests/stress/stress.h"

/* A sleep that outlasts this, twice, has missed its wake. */
enum { SLEEP_MS_MAX = 5000, LOOKS_BEFORE_SLEEP = 20 };

enum { LAST = UINT16_MAX }; /* kind of the submission that ends the run */

struct handshake {
    struct lane_map lane;
    int client_socket;
    int engine_socket;
    bool membarrier;
    uint64_t parkings;      /* the engine's own */
    uint64_t rung;          /* the client's own */
    uint64_t engine_sleeps; /* the engine's own */
    uint64_t client_sleeps; /* the client's own */
};

/*
 * Sleeps until the other side has brought the index to `target` and has rung; false: it has not rung.
 * Nearly always awake, as a sleeper that is woken at once, so that the two sides meet more often than
 * a scheduler would let them.
 */
static bool doze(int socket, const struct atom *index, uint64_t target, struct stress_dice *dice)
{
    struct pollfd fd = {.fd = socket, .events = POLLIN};
    if (dice_roll(dice, 32) != 0) {
        for (unsigned spins = 0; atom_load_acquire(index) < target;) {
            stress_pause(&spins);
        }
        for (unsigned looks = 0; looks < LOOKS_BEFORE_SLEEP; looks++) {
            if (poll(&fd, 1, 0) == 1) {
                return true;
            }
        }
    }
    return poll(&fd, 1, SLEEP_MS_MAX) == 1 || poll(&fd, 1, SLEEP_MS_MAX) == 1;
}

/* The client's thread. */

static void completion_await(struct handshake *shake, uint64_t count, struct stress_dice *dice)
{
    const struct lane_map *lane = &shake->lane;
    const bool sleeps = dice_roll(dice, 2) == 0;
    unsigned spins = 0;
    while (lane_completions(lane) < count) {
        if (!sleeps) {
            stress_pause(&spins);
            continue;
        }
        dice_delay(dice);
        atom_store_relaxed(&lane->shm->waiting, count); /* ordered by the fence */
        fence_full();                                   /* [W3] */
        if (lane_completions(lane) < count) {
            stress_check(doze(shake->client_socket, &lane->shm->cq_tail, count, dice),
                         "the client is asleep, completion %lu is there", count);
            shake->client_sleeps++;
        }
        atom_store_relaxed(&lane->shm->waiting, 0); /* a late wake is only a spurious one */
        stress_check(wake_drain(shake->client_socket) == 0, "the engine is gone");
    }
}

static void *client_run(void *context)
{
    struct handshake *shake = context;
    struct stress_dice dice = {0};
    const uint64_t end_ms = stress_now_ms() + STRESS_MS;
    uint64_t count = 0;
    for (bool last = false; !last;) {
        last = stress_now_ms() >= end_ms;
        const struct submission_shm submission = {.kind = (uint16_t)(last ? LAST : SUBMIT_APPEND),
                                                  .user_data = count};
        memcpy(lane_at(&shake->lane, count * sizeof submission), &submission, sizeof submission);
        dice_delay(&dice);
        lane_publish(&shake->lane, ++count * sizeof submission);
        if (wake_engine_parked(&shake->lane, !shake->membarrier, &shake->rung)) { /* [W2] */
            stress_check(wake_ring(shake->client_socket) == 0, "the engine is gone");
        }
        completion_await(shake, count, &dice);
        stress_check(lane_completion(&shake->lane, count - 1)->user_data == count - 1,
                     "completion %lu is another's", count - 1);
        lane_reap_to(&shake->lane, count);
    }
    return NULL;
}

/* The engine's thread. */

static void engine_park(struct handshake *shake, uint64_t head, struct stress_dice *dice)
{
    const struct lane_map *lane = &shake->lane;
    dice_delay(dice);
    atom_store_relaxed(&lane->shm->parked, ++shake->parkings); /* ordered by [W1] */
    wake_fence_engine(shake->membarrier);                      /* [W1] */
    if (lane_engine_tail(lane) == head) {
        stress_check(doze(shake->engine_socket, &lane->shm->sq_tail, head + 1, dice),
                     "the engine is asleep, submission %lu is there", head);
        shake->engine_sleeps++;
    }
    atom_store_relaxed(&lane->shm->parked, 0);
    stress_check(wake_drain(shake->engine_socket) == 0, "the client is gone");
}

static void engine_answer(const struct handshake *shake, uint64_t count)
{
    const struct lane_map *lane = &shake->lane;
    const struct completion_shm completion = {.user_data = count - 1};
    lane_engine_complete(lane, count - 1, &completion);
    lane_engine_publish(lane, count * sizeof(struct submission_shm), count);
    fence_full(); /* [W4] */
    const uint64_t waiting = atom_load_relaxed(&lane->shm->waiting);
    if (waiting != 0 && waiting <= count) {
        stress_check(wake_ring(shake->engine_socket) == 0, "the client is gone");
    }
}

static void *engine_run(void *context)
{
    struct handshake *shake = context;
    struct stress_dice dice = {0};
    uint64_t head = 0;
    for (bool last = false; !last;) {
        const bool parks = dice_roll(&dice, 2) == 0;
        unsigned spins = 0;
        while (lane_engine_tail(&shake->lane) == head) {
            if (parks) {
                engine_park(shake, head, &dice);
            } else {
                stress_pause(&spins);
            }
        }
        const struct submission copy = submission_copy(&shake->lane, head);
        const uint64_t count = head / sizeof(struct submission_shm) + 1;
        stress_check(copy.user_data == count - 1, "submission %lu is another's", count - 1);
        last = copy.kind == LAST;
        head += sizeof(struct submission_shm);
        dice_delay(&dice);
        engine_answer(shake, count);
    }
    return NULL;
}

static void handshake_run(bool membarrier)
{
    struct handshake shake = {.membarrier = membarrier};
    int sockets[2];
    const int fd = lane_create(1, SQ_BYTES_MIN);
    stress_check(fd >= 0 && lane_open(&shake.lane, fd) == 0, "cannot make a lane");
    stress_check(wake_pair(sockets) == 0, "cannot make a socketpair");
    shake.client_socket = sockets[0];
    shake.engine_socket = sockets[1];
    stress_run(client_run, engine_run, 1, &shake);
    printf("membarrier=%d rounds=%lu engine_sleeps=%lu client_sleeps=%lu\n", membarrier,
           lane_completions(&shake.lane), shake.engine_sleeps, shake.client_sleeps);
    stress_check(shake.engine_sleeps > 0 && shake.client_sleeps > 0, "one side never slept");
    close(sockets[0]);
    close(sockets[1]);
    lane_close(&shake.lane);
    close(fd);
}

int main(void)
{
    if (wake_membarrier_available() && wake_register() == 0) {
        handshake_run(true);
    }
    handshake_run(false);
    return 0;
}
