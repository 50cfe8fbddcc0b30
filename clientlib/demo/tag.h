/*
 * Tag: "producer:number " in front of each line.
 * Runs on:    producers write, consumers parse.
 * Trust:      what a consumer parses may be anything; the answer says whether it is a tag.
 */
#ifndef TUSK_DEMO_TAG_H
#define TUSK_DEMO_TAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TAG_BYTES_MAX = 32 };

struct tag {
    uint64_t producer;
    uint64_t number;
    size_t bytes; /* of the tag as text, its blank included */
};

/* Write the tag's text; returns its bytes. */
size_t tag_write(char text[TAG_BYTES_MAX], uint64_t producer, uint64_t number);

/* Parse the tag at the start of a line; false: there is none. */
bool tag_parse(const char *text, size_t bytes, struct tag *tag);

#endif
