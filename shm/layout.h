/*
 * Layout: how shared and stored layouts are stated, and the digest that both sides compare.
 * A struct that another process can write ends in _shm, one that a crash may have torn in _disk.
 */
#ifndef TUSK_SHM_LAYOUT_H
#define TUSK_SHM_LAYOUT_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/limits.h"

/* Raised whenever the meaning of a shared word changes without its place changing. */
#define LAYOUT_VERSION UINT32_C(1)

#define LAYOUT_AT(type, member, offset)                                                            \
    _Static_assert(offsetof(type, member) == (offset), #type "." #member " moved")
#define LAYOUT_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " changed its size")

/* One line of the layout: a constant that shapes it, a shared struct, or a field of one. */
struct layout_item {
    const char *name; /* "struct" or "struct.field", without the keyword */
    uint64_t value;   /* of a constant; of a field its offset */
    uint64_t bytes;   /* of a struct or a field; 0 for a constant */
};

/* All of them: every field of every shared struct stands behind its struct, in order. */
const struct layout_item *layout_items(size_t *count);

/* FNV-1a over values and sizes of all items: two programs with different digests do not understand
 * each other's memory. */
uint64_t layout_digest(void);

/* Is [offset, offset + length) inside a region of `bytes` bytes? Never wraps. */
static inline bool layout_inside(uint64_t offset, uint64_t length, uint64_t bytes)
{
    return length <= bytes && offset <= bytes - length;
}

static inline uint64_t align_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

static inline uint64_t align_down(uint64_t value, uint64_t alignment)
{
    return value & ~(alignment - 1);
}

static inline bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

#endif
