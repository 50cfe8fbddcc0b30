/*
 * Source: see source.h. Pieces are given from the buffer itself; only a piece that is cut by the
 * buffer's end is moved, to its front.
 */
#include "clientlib/cli/source.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES                                                                               \
    ((size_t)1 << 20) /* to begin with, and what is read beyond the largest entry */

int source_init(struct source *source, int fd, enum source_cut cut, size_t record_bytes,
                size_t entry_bytes_max)
{
    *source = (struct source){.fd = fd,
                              .cut = cut,
                              .record_bytes = record_bytes,
                              .entry_bytes_max = entry_bytes_max,
                              .capacity = BUFFER_BYTES};
    source->buffer = malloc(source->capacity);
    return source->buffer ? 0 : -ENOMEM;
}

void source_deinit(struct source *source)
{
    free(source->buffer);
    source->buffer = NULL;
}

/* A piece that is not complete fills the buffer: twice as much. */
static int source_grow(struct source *source)
{
    const size_t most = source->entry_bytes_max + BUFFER_BYTES;
    const size_t capacity = 2 * source->capacity < most ? 2 * source->capacity : most;
    char *buffer = realloc(source->buffer, capacity);

    if (!buffer) {
        return -ENOMEM;
    }
    source->buffer = buffer;
    source->capacity = capacity;
    return 0;
}

static int source_fill(struct source *source)
{
    if (source->begin > 0) {
        memmove(source->buffer, source->buffer + source->begin, source->end - source->begin);
        source->end -= source->begin;
        source->scanned -= source->begin;
        source->begin = 0;
    }
    if (source->end == source->capacity) {
        const int result = source_grow(source);
        if (result < 0) {
            return result;
        }
    }
    for (;;) {
        const ssize_t got =
            read(source->fd, source->buffer + source->end, source->capacity - source->end);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -errno;
        }
        source->end += (size_t)got;
        source->at_end = got == 0;
        return 0;
    }
}

static int source_give(struct source *source, size_t size, size_t skip, const char **data,
                       size_t *size_given)
{
    *data = source->buffer + source->begin;
    *size_given = size;
    source->begin += size + skip;
    source->scanned = source->begin;
    return SOURCE_GIVEN;
}

/* The bytes of the next piece if it is in the buffer as a whole, and how many follow that are
 * part of no piece. */
static bool piece_find(struct source *source, size_t *size, size_t *skip)
{
    *skip = 0;
    if (source->cut == SOURCE_RECORDS) {
        *size = source->record_bytes;
        return source->end - source->begin >= source->record_bytes;
    }
    if (source->cut == SOURCE_WHOLE) {
        return false;
    }
    const char *newline =
        memchr(source->buffer + source->scanned, '\n', source->end - source->scanned);
    source->scanned = source->end;
    if (!newline) {
        return false;
    }
    *size = (size_t)(newline - source->buffer) - source->begin;
    *skip = 1;
    return true;
}

static int source_last(struct source *source, const char **data, size_t *size)
{
    const size_t left = source->end - source->begin;
    const bool whole = source->cut == SOURCE_WHOLE && !source->whole_given;

    source->whole_given = true;
    if (left == 0 && !whole) {
        return SOURCE_END;
    }
    source_give(source, left, 0, data, size);
    return source->cut == SOURCE_RECORDS ? SOURCE_PARTIAL : SOURCE_GIVEN;
}

/* Saves reading a file that is known to be too large to be one entry. */
static bool file_too_long(const struct source *source)
{
    struct stat file;

    return source->cut == SOURCE_WHOLE && source->end == 0 && fstat(source->fd, &file) == 0 &&
           S_ISREG(file.st_mode) && (uint64_t)file.st_size > source->entry_bytes_max;
}

int source_next(struct source *source, const char **data, size_t *size)
{
    if (file_too_long(source)) {
        return SOURCE_TOO_LONG;
    }
    for (;;) {
        size_t piece = 0;
        size_t skip = 0;
        if (piece_find(source, &piece, &skip)) {
            if (piece > source->entry_bytes_max) {
                return SOURCE_TOO_LONG;
            }
            return source_give(source, piece, skip, data, size);
        }
        if (source->end - source->begin > source->entry_bytes_max) {
            return SOURCE_TOO_LONG;
        }
        if (source->at_end) {
            return source_last(source, data, size);
        }
        const int result = source_fill(source);
        if (result < 0) {
            return result;
        }
    }
}
