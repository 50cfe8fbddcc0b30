/*
 * Pins: which chunk images a session's readers hold, one word each, in a file of the session's own.
 * Runs on:    pin_take, pin_holds, pin_release on the client's threads (one thread for each word);
 *             pins_collect on the engine, at eviction.
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

struct pins_shm {
    struct atom pin[PINS_MAX]; /* arena unit + 1; 0 = none */
};
LAYOUT_SIZE(struct pins_shm, 8192);

/*
 * Pins the image in `unit`: 1 and *stamp when the image is held, 0 when it is being evicted or was
 * never complete (the pin is cleared). The caller then compares the image's chunk header, since the
 * unit may hold another chunk than the one it looked for, and releases the pin on a mismatch.
 */
static inline int pin_take(struct atom *pin, struct atom *stamp_word, uint32_t unit,
                           uint64_t *stamp)
{
    atom_store_relaxed(pin, (uint64_t)unit + 1); /* ordered by the fence */
    fence_full();                                /* [P2] */
    const uint64_t seen = chunk_stamp(stamp_word);
    if (seen == 0 || (seen & CHUNK_STAMP_EVICTING) != 0) {
        atom_store_release(pin, 0); /* [P4] release */
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

static inline void pin_release(struct atom *pin)
{
    atom_store_release(pin, 0); /* [P4] release */
}

#endif
