/*
 * Atom: the verbs keep all 64 bits, and an increment is the writer's own read and write.
 * What the orders promise is proved by the stress programs (tests/stress).
 */
#include <criterion/criterion.h>

#include "shm/atom.h"

Test(shm_atom, keeps_all_bits)
{
    const uint64_t values[] = {0, 1, UINT32_MAX, UINT64_C(1) << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct atom atom = {0};
        atom_store_relaxed(&atom, values[i]);
        cr_assert_eq(atom_load_relaxed(&atom), values[i]);
        atom_store_release(&atom, ~values[i]);
        cr_assert_eq(atom_load_acquire(&atom), ~values[i]);
    }
}

Test(shm_atom, adds_and_wraps)
{
    struct atom atom = {0};
    atom_add_relaxed(&atom, 41);
    atom_add_relaxed(&atom, 1);
    cr_assert_eq(atom_load_relaxed(&atom), 42);
    atom_add_relaxed(&atom, UINT64_MAX);
    cr_assert_eq(atom_load_relaxed(&atom), 41);
}

Test(shm_atom, is_one_aligned_word)
{
    struct atom atoms[2];
    cr_assert_eq(sizeof atoms, 16);
    cr_assert_eq(_Alignof(struct atom), 8);
}
