/*
 * Options: structs that begin with their size, as callers of any age pass them.
 * Runs on:    any thread; pure.
 */
#ifndef TUSK_CLIENTLIB_OPTIONS_H
#define TUSK_CLIENTLIB_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Copies as much of `given` as both sides know; NULL leaves the defaults. false: its size is none. */
static inline bool options_take(void *ours, size_t our_size, const void *given)
{
    size_t size;
    if (given == NULL) {
        return true;
    }
    memcpy(&size, given, sizeof size);
    if (size < sizeof size) {
        return false;
    }
    memcpy(ours, given, size < our_size ? size : our_size);
    return true;
}

#define OPTIONS_TAKE(ours, given) options_take((ours), sizeof *(ours), (given))

#endif
