/*
 * Pool pins: while the arena is short, a pin that is held for longer than --pin-timeout is ignored,
 * each hold by its own time, only where nothing else helps and no more than is needed; what was
 * revoked pins nothing that comes later; and files of pins that cannot be read are never taken for
 * "nothing is pinned".
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <unistd.h>

#include "tests/unit/pool_stage.h"

TestSuite(pool_pins, .init = pool_stage_begin, .fini = pool_stage_end);

/* Whoever makes its pins unreadable pins everything until its session is closed. */
static void unreadable(off_t bytes, int fault)
{
    for (int i = 0; i < USER_BIGS; i++) {
        chunk_place_clean(i, BIG_NUMBER + (uint64_t)i);
    }
    if (bytes < 0) {
        close(clients[1].pins_fd);
    } else {
        cr_assert_eq(ftruncate(clients[1].pins_fd, bytes), 0);
    }
    struct chunk *more = chunk_make(50, BIG_NUMBER);
    cr_assert_eq(pool_assign(&pool, more, false), POOL_FULL);
    cr_assert(pool.pins_faulty);
    cr_assert_eq(clients[1].pins_fault, fault);
    cr_assert_eq(clients[0].pins_fault, 0);
    for (int i = 0; i < USER_BIGS; i++) {
        cr_assert(is_there(chunks[i]));
        cr_assert_lt(stamp_of(chunks[i]), CHUNK_STAMP_EVICTING, "no mark is left behind");
    }
    list_remove(&clients[1].readers);
    cr_assert_eq(pool_assign(&pool, more, false), POOL_OK);
}

Test(pool_pins, a_file_of_pins_that_was_cut_is_no_answer)
{
    unreadable(12, -EMSGSIZE);
}

Test(pool_pins, a_file_of_pins_that_has_grown_is_no_answer)
{
    unreadable(sizeof(struct pins_shm) + 8, -EMSGSIZE);
}

Test(pool_pins, a_file_of_pins_that_cannot_be_read_is_no_answer)
{
    unreadable(-1, -EBADF);
}

/* What a reader left in its word when its image went says nothing about the next image there. */
Test(pool_pins, a_pin_is_of_one_image)
{
    chunk_place_clean(0, BIG_NUMBER);
    const uint64_t pin = pin_of(chunks[0]);
    const uint32_t unit = chunks[0]->unit;
    for (int i = 1; i < USER_BIGS; i++) {
        chunk_place(i, BIG_NUMBER + (uint64_t)i, false);
    }
    struct chunk *next = chunk_place_clean(50, BIG_NUMBER);
    cr_assert_eq(next->unit, unit);
    pin_write(0, 7, pin);
    cr_assert_eq(pool_assign(&pool, chunk_make(51, BIG_NUMBER), false), POOL_OK);
    cr_assert(is_gone(next));
}

/* Looks at pins while the arena is short. */
enum { TIMEOUT_NS = 1000 };

static void pins_fill_the_arena(int slot)
{
    for (int i = 0; i < USER_BIGS; i++) {
        chunk_place_clean(i, BIG_NUMBER + (uint64_t)i);
        pin_write(0, slot + i, pin_of(chunks[i]));
    }
}

Test(pool_pins, who_holds_on_for_too_long_loses_what_is_needed_and_no_more)
{
    pins_fill_the_arena(10);
    struct chunk *more = chunk_make(50, BIG_NUMBER);
    cr_assert_eq(pool_assign(&pool, more, false), POOL_FULL);
    cr_assert(pool.is_short);
    cr_assert_not(pool_pins_look(&pool, 5000, TIMEOUT_NS));
    cr_assert_not(pool_pins_look(&pool, 5999, TIMEOUT_NS));
    cr_assert_eq(pool_assign(&pool, more, false), POOL_FULL);
    cr_assert(pool_pins_look(&pool, 6000, TIMEOUT_NS));
    cr_assert_eq(pool_assign(&pool, more, false), POOL_OK);
    int gone = 0;
    for (int i = 0; i < USER_BIGS; i++) {
        gone += is_gone(chunks[i]);
        cr_assert(is_gone(chunks[i]) || stamp_of(chunks[i]) < CHUNK_STAMP_EVICTING);
    }
    cr_assert_eq(gone, 1);
    cr_assert_eq(clients[0].pins_revoked, 1);
    cr_assert_eq(pool.revocations, 1);
    cr_assert_eq(pool.evictions, 1);
    /* The stale word pins nothing of what came there. */
    pool_show(&pool, more);
    pool_settle(&pool, more, true);
    for (int i = 0; i < USER_BIGS; i++) {
        pin_write(0, 10 + i, is_there(chunks[i]) ? pin_of(chunks[i]) : 1 + more->unit);
    }
    cr_assert_eq(pool_assign(&pool, chunk_make(51, BIG_NUMBER), false), POOL_OK);
    cr_assert(is_gone(more));
    cr_assert_eq(clients[0].pins_revoked, 1);
}

/* Or the log would tell of it only when the arena is short again. */
Test(pool_pins, a_revocation_is_a_shortage_that_somebody_has_to_tell_of)
{
    pins_fill_the_arena(10);
    cr_assert_eq(pool_assign(&pool, chunk_make(50, BIG_NUMBER), false), POOL_FULL);
    cr_assert_not(pool_pins_look(&pool, 5000, TIMEOUT_NS));
    cr_assert(pool_pins_look(&pool, 6000, TIMEOUT_NS));
    pool.is_short = false; /* who waited has gone */
    cr_assert_eq(pool_assign(&pool, chunks[50], false), POOL_OK);
    cr_assert_eq(clients[0].pins_revoked, 1);
    cr_assert(pool.is_short);
}

Test(pool_pins, who_lets_go_and_pins_again_is_not_revoked)
{
    pins_fill_the_arena(10);
    struct chunk *more = chunk_make(50, BIG_NUMBER);
    for (uint64_t now = 5000; now < 20000; now += 100) {
        for (int i = 0; i < USER_BIGS; i++) { /* another hold of the same word */
            pin_write(0, 10 + i, pin_of(chunks[i]) + (now / 100 << PIN_SERIAL_SHIFT));
        }
        cr_assert_not(pool_pins_look(&pool, now, TIMEOUT_NS));
        cr_assert_eq(pool_assign(&pool, more, false), POOL_FULL);
    }
    cr_assert_eq(clients[0].pins_revoked, 0);
}

Test(pool_pins, each_session_has_its_own_time)
{
    chunk_place_clean(0, BIG_NUMBER);
    chunk_place_clean(1, BIG_NUMBER);
    for (int i = 2; i < USER_BIGS; i++) {
        chunk_place(i, BIG_NUMBER + (uint64_t)i, false);
    }
    pin_write(0, 0, pin_of(chunks[0]));
    pin_write(1, 0, pin_of(chunks[1]));
    pin_write(2, 0, pin_of(chunks[1]));
    cr_assert_eq(pool_assign(&pool, chunk_make(50, BIG_NUMBER), false), POOL_FULL);
    cr_assert_not(pool_pins_look(&pool, 5000, TIMEOUT_NS));
    pin_write(2, 0, pin_of(chunks[1]) + PIN_SERIAL_ONE);
    pin_write(0, 0, 0); /* it has let go, and pins again somewhere else */
    pin_write(0, 1, pin_of(chunks[0]));
    cr_assert_not(pool_pins_look(&pool, 5500, TIMEOUT_NS));
    cr_assert(pool_pins_look(&pool, 6000, TIMEOUT_NS), "session 1 is overdue");
    cr_assert_eq(pool_assign(&pool, chunks[50], false), POOL_FULL, "but not 0 and 2");
    cr_assert(pool_pins_look(&pool, 6500, TIMEOUT_NS));
    cr_assert_eq(pool_assign(&pool, chunks[50], false), POOL_OK);
    cr_assert_eq(clients[0].pins_revoked + clients[1].pins_revoked + clients[2].pins_revoked,
                 is_gone(chunks[0]) ? 1 : 2);
}

Test(pool_pins, a_pause_without_need_begins_the_time_anew)
{
    pins_fill_the_arena(0);
    cr_assert_not(pool_pins_look(&pool, 5000, TIMEOUT_NS));
    cr_assert_not(pool_pins_look(&pool, 5900, TIMEOUT_NS));
    cr_assert_not(pool_pins_look(&pool, 50000, TIMEOUT_NS));
    cr_assert_not(pool_pins_look(&pool, 50500, TIMEOUT_NS));
    cr_assert(pool_pins_look(&pool, 51000, TIMEOUT_NS));
}

Test(pool_pins, pins_of_what_could_not_go_anyway_have_no_time)
{
    pins_fill_the_arena(0);
    for (int i = 0; i < USER_BIGS; i++) {
        pool_settle(&pool, chunks[i], false);
    }
    cr_assert_not(pool_pins_look(&pool, 5000, TIMEOUT_NS));
    cr_assert_not(pool_pins_look(&pool, 6000, TIMEOUT_NS));
    pool_settle(&pool, chunks[3], true);
    cr_assert_not(pool_pins_look(&pool, 7000, TIMEOUT_NS));
    cr_assert(pool_pins_look(&pool, 8000, TIMEOUT_NS));
    cr_assert_eq(pool_assign(&pool, chunk_make(50, BIG_NUMBER), false), POOL_OK);
    cr_assert(is_gone(chunks[3]));
}
