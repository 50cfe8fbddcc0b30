/*
 * Bit tree: a set of numbers that knows its lowest: each bit of a level says whether a word of the
 * level below has any.
 * Runs on:    one thread; every call but growing takes as many steps as there are levels.
 * Invariants: a bit of level n + 1 is set exactly when the word of level n that it stands for is not 0.
 */
#ifndef TUSK_BROKER_BIT_TREE_H
#define TUSK_BROKER_BIT_TREE_H

#include <stdbool.h>
#include <stdint.h>

/* Six bits each: numbers below 2^30. */
enum { BIT_TREE_LEVELS = 5, BIT_TREE_NONE = UINT32_MAX };

struct bit_tree {
    uint64_t *levels[BIT_TREE_LEVELS];
    uint32_t max; /* numbers below it have a place */
};

void bit_tree_deinit(struct bit_tree *tree);

/* Room for numbers below max; the set stays what it is. 0 or -ENOMEM. */
int bit_tree_grow(struct bit_tree *tree, uint32_t max);

void bit_tree_set(struct bit_tree *tree, uint32_t number);
void bit_tree_clear(struct bit_tree *tree, uint32_t number);

/* The lowest number in the set, or BIT_TREE_NONE. */
uint32_t bit_tree_first(const struct bit_tree *tree);

#endif
