/*
 * UTF-8: which bytes are one character.
 * Runs on:    any thread; a pure function.
 * Trust:      the bytes may be anything.
 */
#ifndef TUSK_BROKER_UTF8_H
#define TUSK_BROKER_UTF8_H

#include <stddef.h>

/* How many bytes the character at the beginning of `bytes` has; 0: there is none that is well-formed. */
size_t utf8_length(const void *bytes, size_t size);

#endif
