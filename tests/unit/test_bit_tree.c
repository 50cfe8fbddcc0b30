/*
 * Bit trees against a plain array: the lowest member, through sets, clears and growth.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "broker/bit_tree.h"

enum { NUMBERS = 300000 };

static uint32_t lowest(const unsigned char *members, uint32_t from)
{
    while (from < NUMBERS && !members[from]) {
        from++;
    }
    return from < NUMBERS ? from : BIT_TREE_NONE;
}

Test(bit_tree, knows_its_lowest)
{
    struct bit_tree tree = {0};
    unsigned char *members = calloc(NUMBERS, 1);
    uint32_t max = 0;
    cr_assert_eq(bit_tree_first(&tree), BIT_TREE_NONE);
    srand(3);
    for (int i = 0; i < 5000; i++) {
        if (i % 100 == 0 && max < NUMBERS) {
            max = max + 1 + (uint32_t)rand() % 5000;
            max = max < NUMBERS ? max : NUMBERS;
            cr_assert_eq(bit_tree_grow(&tree, max), 0);
        }
        const uint32_t number = (uint32_t)rand() % max;
        if (rand() % 3 == 0) {
            bit_tree_set(&tree, number);
            members[number] = 1;
        } else {
            bit_tree_clear(&tree, number);
            members[number] = 0;
        }
        const uint32_t first = bit_tree_first(&tree);
        cr_assert_eq(first, lowest(members, 0));
        if (first != BIT_TREE_NONE && rand() % 2) {
            bit_tree_clear(&tree, first);
            members[first] = 0;
            cr_assert_eq(bit_tree_first(&tree), lowest(members, first));
        }
    }
    bit_tree_deinit(&tree);
    free(members);
}
