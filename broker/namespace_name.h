/*
 * Namespace name: from a namespace's key, which is any bytes, to the name of its directory.
 * Runs on:    any thread; pure functions.
 * Invariants: a name is 1 to NAMESPACE_NAME_BYTES_MAX bytes of ASCII letters, digits, '-', '_' and '.',
 *             neither "." nor ".."; the same key and attempt make the same name.
 * Not here:   whether another key has the name already (namespace_set.h).
 */
#ifndef TUSK_BROKER_NAMESPACE_NAME_H
#define TUSK_BROKER_NAMESPACE_NAME_H

#include <stddef.h>
#include <stdint.h>

enum {
    /* Of a name without a suffix. */
    NAMESPACE_NAME_PLAIN_BYTES_MAX = 200,
    /* With "-" and 16 digits behind it. */
    NAMESPACE_NAME_BYTES_MAX = NAMESPACE_NAME_PLAIN_BYTES_MAX + 17,
};

struct namespace_name {
    char text[NAMESPACE_NAME_BYTES_MAX + 1];
};

/*
 * Each UTF-8 character but ASCII letters, digits, '-', '_' and '.' becomes '_', and so does each byte
 * that belongs to none. If only '_' remain, or the result is ".", ".." or longer than
 * NAMESPACE_NAME_PLAIN_BYTES_MAX, the name is "ns_" and a hash of the key in hex. `attempt` counts the
 * other keys that were found to have the name: from 1 on it has a hash as a suffix.
 */
struct namespace_name namespace_name(const void *key, size_t bytes, unsigned attempt);

#endif
