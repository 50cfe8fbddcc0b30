/*
 * Program: run a program with bytes on stdin and collect what it prints.
 * Runs on:    the test's main thread.
 * Invariants: stdin is fed and both outputs are drained at once, so neither side blocks for ever;
 *             the program dies with the test; what a sanitizer prints on its stderr fails the test.
 * Trust:      the programs are $TUSKD, $TUSK_CLI and $TUSK_INSPECT.
 * Not here:   the broker's life (tuskd.h).
 */
#ifndef TUSK_TESTS_SUPPORT_PROGRAM_H
#define TUSK_TESTS_SUPPORT_PROGRAM_H

#include <stddef.h>
#include <sys/types.h>

#include "tests/support/tuskd.h"

/* How a program ended and what it printed; zero-terminated as well. */
struct program_result {
    int status; /* exit status, or 128 + signal */
    char *out;
    size_t out_bytes;
    char *err;
    size_t err_bytes;
};

/* A program that runs. */
struct program {
    pid_t pid;
    int in;  /* write to its stdin; -1: closed */
    int out; /* read its stdout */
    int err; /* read its stderr */
};

/* The paths of the programs under test. */
const char *program_tuskd(void);
const char *program_cli(void);
const char *program_inspect(void);

/* "exited with status 1", "was killed by signal 11 (Segmentation fault)". */
const char *program_ending(int wait_status);

/* Become arguments[0]; returns only if that fails. */
void program_replace(const char *const arguments[]);

/* Start arguments[0] with $TUSK_SOCKET set to the broker's (none if NULL). */
struct program program_start(struct tuskd *tuskd, const char *const arguments[]);

/* Write to its stdin; read one line of its stdout (without the newline) into line. */
void program_write(struct program *program, const void *data, size_t bytes);
void program_line(struct program *program, char *line, size_t line_bytes);

/* Feed the input, close stdin, collect all output and wait for the end. */
struct program_result program_finish(struct program *program, const void *input, size_t bytes);

/* program_start() and program_finish(). */
struct program_result program_run(struct tuskd *tuskd, const char *const arguments[],
                                  const void *input, size_t bytes);

/* Run the tool: words of one text, separated by spaces, after the program's own name. */
struct program_result cli(struct tuskd *tuskd, const char *words, const void *input, size_t bytes);

void program_free(struct program_result *result);

#endif
