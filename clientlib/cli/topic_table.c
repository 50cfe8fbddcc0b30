/*
 * Topic table: see topic_table.h.
 */
#include "clientlib/cli/topic_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_FIRST 64

static int row_add(const char *name, const struct tusk_topic_stat *stat, void *arg)
{
    struct topic_table *table = arg;

    if (table->count == table->capacity) {
        const size_t capacity = table->capacity ? 2 * table->capacity : ROWS_FIRST;
        struct topic_row *rows = realloc(table->rows, capacity * sizeof *rows);
        if (!rows) {
            return -ENOMEM;
        }
        table->rows = rows;
        table->capacity = capacity;
    }
    char *copy = strdup(name);
    if (!copy) {
        return -ENOMEM;
    }
    table->rows[table->count++] = (struct topic_row){.name = copy, .stat = *stat};
    return 0;
}

static int rows_compare(const void *left, const void *right)
{
    const struct topic_row *a = left;
    const struct topic_row *b = right;

    return strcmp(a->name, b->name);
}

int topic_table_load(struct topic_table *table, struct tusk *tusk)
{
    *table = (struct topic_table){0};
    const int result = tusk_topic_list(tusk, row_add, table);
    if (table->count > 0) {
        qsort(table->rows, table->count, sizeof *table->rows, rows_compare);
    }
    return result;
}

void topic_table_deinit(struct topic_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        free(table->rows[i].name);
    }
    free(table->rows);
    *table = (struct topic_table){0};
}
