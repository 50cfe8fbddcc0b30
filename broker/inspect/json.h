/*
 * JSON: one object per line on stdout, flat.
 * Runs on:    one thread.
 * Invariants: what is printed is valid JSON whatever bytes texts have: one that is not UTF-8 becomes
 *             base 64, under a name with the suffix _base64, as in the tusk tool.
 */
#ifndef TUSK_BROKER_INSPECT_JSON_H
#define TUSK_BROKER_INSPECT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* {"type":"TYPE" */
void json_begin(const char *type);
void json_bytes(const char *name, const void *bytes, size_t size);
void json_text(const char *name, const char *text);
void json_number(const char *name, uint64_t number);
void json_bool(const char *name, bool value);
/* } and the end of the line. */
void json_end(void);

#endif
