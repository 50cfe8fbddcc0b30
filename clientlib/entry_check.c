/*
 * Entry check: whether an entry that was used in place was intact all the time.
 * Runs on:    any thread; needs no lane.
 * Invariants: entry.reserved[0] is the arena unit + 1 and reserved[1] the stamp under which it was
 *             pinned; 0 means a copy in a buffer of the handle, which nobody takes back.
 */
#include <errno.h>

#include "clientlib/topic.h"
#include "shm/pins.h"

int tusk_entry_check(struct tusk_topic *topic, const struct tusk_entry *entry)
{
    if (topic == NULL || entry == NULL) {
        return -EINVAL;
    }
    const struct tusk *tusk = topic->tusk;
    if (handle_forked(tusk)) {
        return -EOWNERDEAD;
    }
    const uint64_t unit = entry->reserved[0];
    if (unit == 0) {
        return 0;
    }
    if (unit > tusk->directory->header.units) {
        return -EINVAL;
    }
    /* What the caller has read, it has read before the stamp is looked at. */
    atomic_thread_fence(memory_order_acquire);
    return pin_intact(directory_stamp(tusk->directory, (uint32_t)(unit - 1)), entry->reserved[1])
               ? 0
               : -ESTALE;
}
