/*
 * JSON: a strict reader of one value, for what programs print.
 * Runs on:    anywhere.
 * Invariants: what is accepted is JSON (RFC 8259) of at most 64 levels.
 * Trust:      the text is what is under test.
 * Not here:   changing values, keeping them.
 */
#ifndef TUSK_TESTS_SUPPORT_JSON_H
#define TUSK_TESTS_SUPPORT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is the text one value, and nothing but white space around it? */
bool json_valid(const char *text, size_t bytes);

/* The raw text of a member of the object that the line is: NULL, or where it begins. */
const char *json_member(const char *object, const char *name);

/* The members, which must be there: a number; a text without escapes, into a buffer. */
uint64_t json_member_number(const char *object, const char *name);
const char *json_member_text(const char *object, const char *name, char *buffer, size_t bytes);

#endif
