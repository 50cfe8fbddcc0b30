/*
 * Pins: which chunk images a session's readers hold, one word each, in a file of the session's own.
 * Runs on:    pin_take, pin_intact, pin_release on the client's threads (one thread for each word);
 *             the pool reads the words on the engine, at eviction.
 * Word:       names a unit, the image that is in it (the low bits of its stamp), and which hold of
 *             this word it is (a serial number that every pin raises). So a word says what it means
 *             for ever: left behind by a reader whose pin was revoked, or who stood still between
 *             its two looks, it pins nothing of what comes into the unit later, and needs no
 *             clearing by the broker, which could not tell it from a new pin. And a pin that was
 *             let go and taken again between two looks of the pool is seen to be another one, so
 *             only who really holds on for --pin-timeout is revoked.
 * Trust:      the engine reads words that a client may have filled with anything: a bad index is
 *             ignored, a bogus pin only delays an eviction. Never mapped by the broker.
 * Ordering:
 *   [P2] pin_take(): the pin, then a full fence, then the second look at the chunk's stamp
 *   [P3] pool_evict(): CHUNK_STAMP_EVICTING in the stamps, then a full fence, then the pins
 *   One of the two sides sees the other (tests/model/pin.pml).
 *   [P4] pin_release() -> the pool's pread: the reader's last access, then the cleared word
 */
#ifndef TUSK_SHM_PINS_H
#define TUSK_SHM_PINS_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/atom.h"
#include "shm/directory.h"

/* Set in a stamp while the pool looks whether the chunk is pinned. */
#define CHUNK_STAMP_EVICTING (UINT64_C(1) << 63)

/* Of a pin word. */
enum { PIN_STAMP_SHIFT = 32, PIN_SERIAL_SHIFT = 48 };
#define PIN_UNIT_MASK UINT64_C(0xffffffff)
#define PIN_STAMP_MASK (UINT64_C(0xffff) << PIN_STAMP_SHIFT)
#define PIN_SERIAL_ONE (UINT64_C(1) << PIN_SERIAL_SHIFT)
#define PIN_SERIAL_MASK (UINT64_C(0xffff) << PIN_SERIAL_SHIFT)

struct pins_shm {
    struct atom pin[PINS_MAX]; /* serial << 48 | stamp << 32 | unit + 1; the low half 0 = none */
};
LAYOUT_SIZE(struct pins_shm, 8192);

/* The unit that a word names, plus 1; 0: none. */
static inline uint32_t pin_unit_next(uint64_t word)
{
    return (uint32_t)(word & PIN_UNIT_MASK);
}

/* Does the word, which names the stamp's unit, pin the image with this stamp? */
static inline bool pin_is_of(uint64_t word, uint64_t stamp)
{
    return (word & PIN_STAMP_MASK) == (stamp << PIN_STAMP_SHIFT & PIN_STAMP_MASK);
}

static inline void pin_release(struct atom *pin)
{
    const uint64_t serial = atom_load_relaxed(pin) & PIN_SERIAL_MASK; /* own word */
    atom_store_release(pin, serial);                                  /* [P4] release */
}

/*
 * Pins the image in `unit`: 1 and *stamp when the image is held, 0 when it is being evicted or was
 * never complete (the word pins nothing). The caller then compares the image's chunk header, since
 * the unit may hold another chunk than the one it looked for, and releases the pin on a mismatch.
 */
static inline int pin_take(struct atom *pin, struct atom *stamp_word, uint32_t unit,
                           uint64_t *stamp)
{
    const uint64_t seen = chunk_stamp(stamp_word);
    if (seen == 0 || (seen & CHUNK_STAMP_EVICTING) != 0) {
        return 0;
    }
    const uint64_t serial = (atom_load_relaxed(pin) & PIN_SERIAL_MASK) + PIN_SERIAL_ONE; /* own */
    atom_store_relaxed(pin, serial | (seen << PIN_STAMP_SHIFT & PIN_STAMP_MASK) |
                                ((uint64_t)unit + 1)); /* ordered by the fence */
    fence_full();                                      /* [P2] */
    if (chunk_stamp(stamp_word) != seen) {
        pin_release(pin);
        return 0;
    }
    *stamp = seen;
    return 1;
}

/* Was the image intact since pin_take gave this stamp? Also without a pin. */
static inline bool pin_intact(const struct atom *stamp_word, uint64_t stamp)
{
    return (chunk_stamp(stamp_word) & ~CHUNK_STAMP_EVICTING) == stamp;
}

#endif
