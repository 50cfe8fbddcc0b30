/*
 * Tuskd: a real broker process in private directories, started, stopped and killed by a test.
 * Runs on:    the test's main thread (the broker dies with the thread that started it).
 * Invariants: a stop is SIGTERM and must end with exit status 0; what a sanitizer has printed in
 *             the broker's log fails the test; the log is printed when a check fails.
 * Trust:      the program is $TUSKD.
 * Not here:   connecting to it (session.h).
 */
#ifndef TUSK_TESTS_SUPPORT_TUSKD_H
#define TUSK_TESTS_SUPPORT_TUSKD_H

#include <sys/types.h>

#include "tests/support/scratch.h"

struct tuskd {
    char dir[SCRATCH_PATH_BYTES]; /* on disk: data, socket and log are below it */
    char data[SCRATCH_PATH_BYTES + 16];
    char socket[SCRATCH_PATH_BYTES + 16];
    char log[SCRATCH_PATH_BYTES + 16];
    char run_dir[SCRATCH_PATH_BYTES]; /* on tmpfs */
    pid_t pid;                        /* 0 while none runs */
    long forbidden_call;              /* a system call that fails in it */
    int forbidden_error;              /* with this errno; 0: none does */
};

/* What a broker is started with besides, unless the test chooses an arena. $TUSK_TEST_BACKEND and
 * $TUSK_TEST_DIRECT are given to each broker that is not told otherwise. */
#define TUSKD_OPTIONS_DEFAULT "--arena 32M"

/* Directories for a broker that isn't started yet. */
struct tuskd *tuskd_new(void);

/* New directories, and a broker in them that is ready. Options are separated by spaces. */
struct tuskd *tuskd_start(const char *options);

/* Start a broker in the same directories, after a stop or a kill; it must get ready. */
void tuskd_restart(struct tuskd *tuskd, const char *options);

/* Start one that is expected to refuse: returns its exit status, its log is in *text until the
 * next call. It fails the test if the broker gets ready. */
int tuskd_refusal(struct tuskd *tuskd, const char *options, const char **text);

/* Start one that may get ready or refuse: whether it got ready. */
int tuskd_try(struct tuskd *tuskd, const char *options);

/* SIGTERM; exit status 0 is asserted. */
void tuskd_stop(struct tuskd *tuskd);

/* SIGKILL, and wait until the process is gone. */
void tuskd_kill(struct tuskd *tuskd);

/* Start one and SIGKILL it that many microseconds later, ready or not. */
void tuskd_restart_killed(struct tuskd *tuskd, const char *options, uint64_t life_us);

/* Whether the process still runs. */
int tuskd_alive(struct tuskd *tuskd);

/* The log so far; valid until the next call. */
const char *tuskd_log(struct tuskd *tuskd);

/* Write the end of the log of each broker of this process to stderr. Async-signal-safe. */
void tuskd_print_logs(void);

#endif
