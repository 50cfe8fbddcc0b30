/*
 * Both rings of a lane, a client's thread against an engine's: every submission and every completion
 * arrives once, in order, with all its bytes, while both rings turn many times and are often full.
 * Seen to fail, under ThreadSanitizer as a race with the store or the load of a pair made relaxed
 * (x86-64 itself keeps the order of stores), and in any build where it says so:
 *   [L1] the SQ's tail   [L3] the CQ's tail
 *   [L2] the SQ's head; any build: published before the bodies are read
 *   [L4] the CQ's head; any build: published before the completions are read
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shm/lane.h"
#include "tests/stress/stress.h"

enum { BODY_BYTES_MAX = 2000, BODY_BYTES_SMALL = 60 };

static struct lane_map lane;
static struct atom client_done; /* what the client has submitted in all, plus one */

/* Most are small, so that the CQ is full as often as the SQ. */
static uint64_t body_bytes(uint64_t number)
{
    return number * 2654435761U % (number % 64 == 0 ? BODY_BYTES_MAX : BODY_BYTES_SMALL);
}

/* The client's thread. */

static void submission_write(uint64_t number, uint64_t tail)
{
    unsigned char *at = lane_at(&lane, tail);
    const uint64_t bytes = body_bytes(number);
    const struct submission_shm header = {
        .bytes = (uint32_t)bytes, .kind = SUBMIT_APPEND, .user_data = number, .arg = ~number};
    memcpy(at, &header, sizeof header);
    memset(at + sizeof header, (int)(number & 0xff), bytes);
}

static uint64_t completions_reap(uint64_t reaped)
{
    const uint64_t posted = lane_completions(&lane); /* [L3] */
    for (; reaped < posted; reaped++) {
        const struct completion_shm *completion = lane_completion(&lane, reaped);
        stress_check(completion->user_data == reaped && completion->seq == reaped + 7 &&
                         completion->value == ~reaped,
                     "completion %lu is that of %lu", reaped, completion->user_data);
    }
    lane_reap_to(&lane, reaped); /* [L4] */
    return reaped;
}

static void *client_run(void *context)
{
    struct stress_dice dice = {0};
    const uint64_t end_ms = stress_now_ms() + STRESS_MS;
    uint64_t tail = 0;
    uint64_t sent = 0;
    uint64_t reaped = 0;
    (void)context;
    while (stress_now_ms() < end_ms) {
        for (uint32_t burst = dice_roll(&dice, 1000); burst > 0; burst--) {
            const uint64_t bytes = submission_bytes(body_bytes(sent));
            for (unsigned spins = 0; tail + bytes - lane_room(&lane) > lane.sq_bytes;) { /* [L2] */
                if (lane_completions(&lane) - reaped == lane.cq_slots) {
                    reaped = completions_reap(reaped); /* the engine waits for that */
                }
                stress_pause(&spins);
            }
            submission_write(sent++, tail);
            tail += bytes;
            lane_publish(&lane, tail); /* [L1] */
        }
        if (dice_roll(&dice, 16) == 0) {
            reaped = completions_reap(reaped);
        }
    }
    atom_store_release(&client_done, sent + 1);
    while (reaped < sent) {
        reaped = completions_reap(reaped);
    }
    printf("submissions=%lu bytes=%lu\n", sent, tail);
    return NULL;
}

/* The engine's thread. */

static void submission_check(uint64_t number, const struct submission *copy, uint64_t head)
{
    const unsigned char *body = lane_at(&lane, head + SUBMISSION_HEADER_BYTES);
    stress_check(copy->user_data == number && copy->arg == ~number &&
                     copy->bytes == body_bytes(number),
                 "submission %lu is that of %lu", number, copy->user_data);
    for (uint64_t i = 0; i < copy->bytes; i++) {
        stress_check(body[i] == (number & 0xff), "submission %lu: byte %lu is another's", number,
                     i);
    }
}

static void *engine_run(void *context)
{
    struct stress_dice dice = {0};
    uint64_t head = 0;
    uint64_t taken = 0;
    (void)context;
    while (taken + 1 != atom_load_acquire(&client_done)) {
        const uint64_t tail = lane_engine_tail(&lane); /* [L1] */
        for (uint32_t run = dice_roll(&dice, 300); head < tail && run > 0; run--) {
            const struct submission copy = submission_copy(&lane, head);
            submission_check(taken, &copy, head);
            for (unsigned spins = 0; taken - lane_engine_cq_head(&lane) >= lane.cq_slots;) {
                lane_engine_publish(&lane, head, taken);
                stress_pause(&spins);
            }
            const struct completion_shm completion = {
                .user_data = taken, .seq = taken + 7, .value = ~taken};
            lane_engine_complete(&lane, taken, &completion);
            head += submission_bytes(copy.bytes);
            taken++;
        }
        lane_engine_publish(&lane, head, taken); /* [L2] [L3] */
    }
    return NULL;
}

int main(void)
{
    const int fd = lane_create(1, SQ_BYTES_MIN);
    stress_check(fd >= 0 && lane_open(&lane, fd) == 0, "cannot make a lane");
    stress_run(client_run, engine_run, 1, NULL);
    lane_close(&lane);
    close(fd);
    return 0;
}
