/*
 * Corpus: the lines of real text files, in memory, and which of them a producer sends as its n-th.
 * Runs on:    the demo's first process before it forks; the others share the pages.
 * Invariants: at least one line; a line has at most CORPUS_LINE_BYTES bytes and no newline.
 * Trust:      any regular file will do, also one that isn't text.
 * Not here:   the tag in front of a line (tag.h).
 */
#ifndef TUSK_DEMO_CORPUS_H
#define TUSK_DEMO_CORPUS_H

#include <stddef.h>
#include <stdint.h>

enum { CORPUS_LINE_BYTES = 4096 };

struct corpus_line {
    const char *text;
    size_t bytes;
};

struct corpus {
    struct corpus_line *lines;
    size_t line_count;
    size_t line_capacity;
    size_t file_count;
    size_t bytes;
};

/* Add a file, or the regular files of a directory (not below it). 0 or -errno. */
int corpus_add(struct corpus *corpus, const char *path);

/* Free the table of lines; the texts stay mapped. */
void corpus_free(struct corpus *corpus);

/* The line that producer number `producer` of `producers` sends as its n-th. */
struct corpus_line corpus_pick(const struct corpus *corpus, unsigned producer, unsigned producers,
                               uint64_t n);

#endif
