/*
 * Stress: two or more threads of a program that runs for a moment and ends on its own.
 * Runs on:    each thread with a struct stress_dice of its own.
 * Invariants: a check that fails ends the program with a line on stderr; so does a hang, by SIGALRM.
 * Not here:   Criterion, which does not start under ThreadSanitizer.
 */
#ifndef TUSK_TESTS_STRESS_STRESS_H
#define TUSK_TESTS_STRESS_STRESS_H

#include <stdint.h>

/* How long a program stresses one thing. ms. */
enum { STRESS_MS = 1200 };

/* The condition holds; what is wrong otherwise is said in the caller's words. */
#define stress_check(condition, ...)                                                               \
    ((condition) ? (void)0 : stress_failed(__FILE__, __LINE__, #condition, __VA_ARGS__))

void stress_failed(const char *file, int line, const char *condition, const char *format, ...)
    __attribute__((format(printf, 4, 5), noreturn));

/* Runs `first` and `others` of them at once, each with the context, until all have returned. */
void stress_run(void *(*first)(void *), void *(*other)(void *), unsigned others, void *context);

/* Which of the others the calling thread is: 0, 1 ... */
unsigned stress_number(void);

uint64_t stress_now_ms(void);

/* Between two looks at a condition: most are short, and a processor may be all there is. */
void stress_pause(unsigned *spins);

struct stress_dice {
    uint64_t state;
};

/* A number below `below`, not the same for any two dice. */
uint32_t dice_roll(struct stress_dice *dice, uint32_t below);

/* Passes from no time to some hundred nanoseconds, so that threads meet at every point. */
void dice_delay(struct stress_dice *dice);

#endif
