/*
 * Output: stdout, with the forms that more than one verb writes.
 * Runs on:    the tool's one thread.
 * Invariants: nothing is lost in silence: output_flush() tells of every failed write since the last.
 *             A reader that closed its end of a pipe has had enough, which is no error.
 * Not here:   messages (fail.h).
 */
#ifndef TUSK_CLI_OUTPUT_H
#define TUSK_CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

enum output_outcome {
    OUTPUT_FINE = 0,
    OUTPUT_CLOSED = 1, /* nobody reads any more: stop, quietly */
    OUTPUT_FAILED = 2  /* the message has been printed: exit with EX_IOERR */
};

/* Give stdout its buffer; once, before anything is written. */
void output_init(void);

/* Write out what is buffered. */
enum output_outcome output_flush(void);

void output_bytes(const void *data, size_t size);
void output_text(const char *text);

bool output_is_utf8(const void *bytes, size_t size);

/* One JSON member, `"name":"value"`, in which value is data; if it isn't UTF-8: in base 64, and
 * the name gets the suffix _base64. */
void output_json_member(const char *name, const void *data, size_t size);

/* A name with what a terminal would not show as itself as \xNN. */
void output_name(const char *name);

/* How many columns output_name() takes. */
size_t output_name_columns(const char *name);

#endif
