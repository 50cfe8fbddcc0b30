/* Bit tree: see bit_tree.h. */
#include "broker/bit_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/ensure.h"

static size_t words_of(uint32_t max, unsigned level)
{
    return ((size_t)max >> 6 * (level + 1)) + 1;
}

void bit_tree_deinit(struct bit_tree *tree)
{
    for (unsigned level = 0; level < BIT_TREE_LEVELS; level++) {
        free(tree->levels[level]);
    }
    *tree = (struct bit_tree){0};
}

int bit_tree_grow(struct bit_tree *tree, uint32_t max)
{
    ensure(max >= tree->max && max <= UINT32_C(1) << 6 * BIT_TREE_LEVELS);
    for (unsigned level = 0; level < BIT_TREE_LEVELS; level++) {
        const size_t had = tree->levels[level] == NULL ? 0 : words_of(tree->max, level);
        const size_t words = words_of(max, level);
        if (words == had) {
            continue;
        }
        uint64_t *larger = realloc(tree->levels[level], words * sizeof *larger);
        if (larger == NULL) {
            return -ENOMEM; /* levels that are larger already do no harm */
        }
        memset(larger + had, 0, (words - had) * sizeof *larger);
        tree->levels[level] = larger;
    }
    tree->max = max;
    return 0;
}

void bit_tree_set(struct bit_tree *tree, uint32_t number)
{
    ensure(number < tree->max);
    for (unsigned level = 0; level < BIT_TREE_LEVELS; level++) {
        tree->levels[level][number >> 6] |= UINT64_C(1) << (number & 63);
        number >>= 6;
    }
}

void bit_tree_clear(struct bit_tree *tree, uint32_t number)
{
    ensure(number < tree->max);
    for (unsigned level = 0; level < BIT_TREE_LEVELS; level++) {
        uint64_t *word = &tree->levels[level][number >> 6];
        *word &= ~(UINT64_C(1) << (number & 63));
        if (*word != 0) {
            return;
        }
        number >>= 6;
    }
}

uint32_t bit_tree_first(const struct bit_tree *tree)
{
    if (tree->max == 0 || tree->levels[BIT_TREE_LEVELS - 1][0] == 0) {
        return BIT_TREE_NONE;
    }
    uint32_t number = 0;
    for (unsigned level = BIT_TREE_LEVELS; level-- > 0;) {
        number = number << 6 | (uint32_t)__builtin_ctzll(tree->levels[level][number]);
    }
    return number;
}
