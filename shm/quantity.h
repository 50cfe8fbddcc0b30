/*
 * Quantity: sizes and durations as people write them, "64KiB", "200 ms".
 * Runs on:    any thread.
 * Invariants: what quantity_size_format() writes, quantity_size_parse() reads back.
 * Trust:      texts come from operators and clients; every text is answered, none is assumed to be
 *             good.
 * Not here:   which values an option accepts (broker/options_table.h).
 */
#ifndef TUSK_SHM_QUANTITY_H
#define TUSK_SHM_QUANTITY_H

#include <stdint.h>

#define NS_PER_MS UINT64_C(1000000)

enum { QUANTITY_BYTES = 32 }; /* the longest text, its end included */

struct quantity_text {
    char text[QUANTITY_BYTES];
};

/* Decimal digits only. 0; -EINVAL: something else; -ERANGE: above UINT64_MAX. */
int quantity_integer_parse(const char *text, uint64_t *value);

/* Digits and B, K, M, G, T, KiB, MiB, GiB or TiB in any case; without a unit, bytes. As above. */
int quantity_size_parse(const char *text, uint64_t *bytes);

/* Digits and ms, s, min, h or d; without a unit, milliseconds. As above. */
int quantity_duration_parse(const char *text, uint64_t *ns);

/* In the largest unit that divides it; returns quantity->text. */
const char *quantity_size_format(struct quantity_text *quantity, uint64_t bytes);
const char *quantity_duration_format(struct quantity_text *quantity, uint64_t ns);
#define SIZE_TEXT(bytes) quantity_size_format(&(struct quantity_text){{0}}, bytes)
#define DURATION_TEXT(ns) quantity_duration_format(&(struct quantity_text){{0}}, ns)

#endif
