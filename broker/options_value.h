/*
 * Options' values: one text of one option, read, checked and stored.
 * Runs on:    any thread.
 * Trust:      the text comes from the operator, or from a client for its namespace: it is stored only
 *             when it is within the option's bounds.
 * Not here:   where texts come from (options.h).
 */
#ifndef TUSK_BROKER_OPTIONS_VALUE_H
#define TUSK_BROKER_OPTIONS_VALUE_H

#include <stddef.h>

struct option_spec;
struct options;

/* 0, or -EINVAL and nothing is stored. */
int option_value_store(const struct option_spec *spec, const char *text, struct options *options);

/* Says what the option accepts, as "a size from 4MiB to 1TiB"; returns text. */
const char *option_value_expected(const struct option_spec *spec, char *text, size_t bytes);

#endif
