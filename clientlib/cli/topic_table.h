/*
 * Topic table: all topics of the broker, sorted by name.
 * Runs on:    the tool's one thread.
 * Invariants: names are owned by the table.
 */
#ifndef TUSK_CLI_TOPIC_TABLE_H
#define TUSK_CLI_TOPIC_TABLE_H

#include <stddef.h>
#include <tusk/tusk.h>

struct topic_row {
    char *name;
    struct tusk_topic_stat stat;
};

struct topic_table {
    struct topic_row *rows;
    size_t count;
    size_t capacity;
};

/* Ask the broker. 0, or a negative error of libtusk. */
int topic_table_load(struct topic_table *table, struct tusk *tusk);
void topic_table_deinit(struct topic_table *table);

#endif
