/*
 * Fail: how the tool says that something went wrong.
 * Runs on:    the tool's one thread.
 * Invariants: a message goes to stderr, begins with "tusk VERB: ", and comes with an exit status of
 *             sysexits.h.
 * Not here:   what is expected of an option (options.h).
 */
#ifndef TUSK_CLI_FAIL_H
#define TUSK_CLI_FAIL_H

/* The verb that messages begin with; static text, "" for none. */
void fail_verb(const char *verb);

/* Print the message; returns status. */
int fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As fail() for an errno value of the system (positive): appends what it means. */
int fail_system(int status, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The exit status for a negative error of libtusk. */
int fail_status(int error);

/* As fail() for a negative error of libtusk: appends what it means and chooses the status. */
int fail_tusk(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
