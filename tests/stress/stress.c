/* Stress: see stress.h. */
#include "tests/stress/stress.h"

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "shm/atom.h"
#include "shm/ensure.h"

enum { OTHERS_MAX = 8, HANG_SECONDS = 60, DELAY_PAUSES = 12, SPINS_BEFORE_YIELD = 2000 };

struct start {
    void *(*other)(void *);
    void *context;
    unsigned number;
};

static _Thread_local unsigned number_own;

void stress_failed(const char *file, int line, const char *condition, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s:%d: not true: %s: ", file, line, condition);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    _exit(1);
}

static void *other_main(void *argument)
{
    const struct start *start = argument;
    number_own = start->number;
    return start->other(start->context);
}

void stress_run(void *(*first)(void *), void *(*other)(void *), unsigned others, void *context)
{
    pthread_t threads[OTHERS_MAX];
    struct start starts[OTHERS_MAX];
    ensure(others <= OTHERS_MAX);
    alarm(HANG_SECONDS);
    for (unsigned i = 0; i < others; i++) {
        starts[i] = (struct start){.other = other, .context = context, .number = i};
        ensure(pthread_create(&threads[i], NULL, other_main, &starts[i]) == 0);
    }
    (void)first(context);
    for (unsigned i = 0; i < others; i++) {
        ensure(pthread_join(threads[i], NULL) == 0);
    }
    alarm(0);
}

unsigned stress_number(void)
{
    return number_own;
}

uint64_t stress_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void stress_pause(unsigned *spins)
{
    if (++*spins % SPINS_BEFORE_YIELD == 0) {
        sched_yield();
    }
    spin_pause();
}

uint32_t dice_roll(struct stress_dice *dice, uint32_t below)
{
    if (dice->state == 0) {
        dice->state = (uint64_t)(uintptr_t)dice | 1;
    }
    dice->state ^= dice->state << 13;
    dice->state ^= dice->state >> 7;
    dice->state ^= dice->state << 17;
    return (uint32_t)(((dice->state >> 32) * below) >> 32);
}

void dice_delay(struct stress_dice *dice)
{
    for (uint32_t left = dice_roll(dice, DELAY_PAUSES); left > 0; left--) {
        spin_pause();
    }
}
