/*
 * Pins: a pin is given only on a complete image that is not a candidate of an eviction, a refused
 * one leaves nothing behind, and a stamp tells whether the image is still the same.
 * Both sides at once: tests/stress/stress_pins.c.
 */
#include <criterion/criterion.h>

#include "shm/pins.h"

enum { UNIT = 12, STAMP = 500 };

static struct atom pin;
static struct atom stamp_word;
static uint64_t stamp;

TestSuite(shm_pins);

Test(shm_pins, takes_a_complete_image)
{
    chunk_stamp_set(&stamp_word, STAMP);
    cr_assert_eq(pin_take(&pin, &stamp_word, UNIT, &stamp), 1);
    cr_assert_eq(stamp, STAMP);
    cr_assert_eq(pin_unit_next(atom_load_relaxed(&pin)), UNIT + 1);
    cr_assert(pin_is_of(atom_load_relaxed(&pin), STAMP));
    pin_release(&pin);
    cr_assert_eq(pin_unit_next(atom_load_relaxed(&pin)), 0);
}

Test(shm_pins, unit_zero_is_a_pin)
{
    chunk_stamp_set(&stamp_word, STAMP);
    cr_assert_eq(pin_take(&pin, &stamp_word, 0, &stamp), 1);
    cr_assert_eq(pin_unit_next(atom_load_relaxed(&pin)), 1);
}

Test(shm_pins, refuses_what_is_not_there)
{
    stamp = 99;
    cr_assert_eq(pin_take(&pin, &stamp_word, UNIT, &stamp), 0, "no image");
    cr_assert_eq(atom_load_relaxed(&pin), 0);
    chunk_stamp_set(&stamp_word, STAMP | CHUNK_STAMP_EVICTING);
    cr_assert_eq(pin_take(&pin, &stamp_word, UNIT, &stamp), 0, "a candidate");
    cr_assert_eq(atom_load_relaxed(&pin), 0);
    cr_assert_eq(stamp, 99, "no stamp was given");
}

/* What the pool goes by when it asks who has held on all the time. */
Test(shm_pins, every_pin_is_another_one)
{
    chunk_stamp_set(&stamp_word, STAMP);
    cr_assert_eq(pin_take(&pin, &stamp_word, UNIT, &stamp), 1);
    const uint64_t first = atom_load_relaxed(&pin);
    pin_release(&pin);
    cr_assert_eq(pin_take(&pin, &stamp_word, UNIT, &stamp), 1);
    cr_assert_neq(atom_load_relaxed(&pin), first);
    pin_release(&pin);
    for (int i = 0; i < 70000; i++) { /* the serial number begins anew */
        cr_assert_eq(pin_take(&pin, &stamp_word, UNIT, &stamp), 1);
        cr_assert_eq(pin_unit_next(atom_load_relaxed(&pin)), UNIT + 1);
        cr_assert(pin_is_of(atom_load_relaxed(&pin), STAMP));
        pin_release(&pin);
    }
}

Test(shm_pins, a_pin_left_behind_is_not_of_the_image_that_comes_later)
{
    chunk_stamp_set(&stamp_word, STAMP);
    cr_assert_eq(pin_take(&pin, &stamp_word, UNIT, &stamp), 1);
    cr_assert(pin_is_of(atom_load_relaxed(&pin), STAMP));
    cr_assert_not(pin_is_of(atom_load_relaxed(&pin), STAMP + 1));
}

Test(shm_pins, an_image_is_intact_until_its_stamp_goes)
{
    chunk_stamp_set(&stamp_word, STAMP);
    cr_assert_eq(pin_take(&pin, &stamp_word, UNIT, &stamp), 1);
    cr_assert(pin_intact(&stamp_word, stamp));
    chunk_stamp_set(&stamp_word, STAMP | CHUNK_STAMP_EVICTING);
    cr_assert(pin_intact(&stamp_word, stamp), "a candidate is still there");
    chunk_stamp_set(&stamp_word, STAMP);
    cr_assert(pin_intact(&stamp_word, stamp));
    chunk_stamp_set(&stamp_word, 0);
    cr_assert_not(pin_intact(&stamp_word, stamp));
    chunk_stamp_set(&stamp_word, STAMP + 1);
    cr_assert_not(pin_intact(&stamp_word, stamp), "another image");
}

Test(shm_pins, a_file_of_pins_is_two_pages)
{
    cr_assert_eq(sizeof(struct pins_shm), 2 * BLOCK_BYTES);
    cr_assert_eq(PINS_MAX * sizeof(uint64_t), sizeof(struct pins_shm));
}
