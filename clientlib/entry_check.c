/*
 * Entry check: whether an entry that was used in place was intact all the time.
 * Runs on:    any thread; needs no lane.
 * Invariants: an entry's place is held until the next read call on its handle; what is not held is
 *             said to be gone.
 */
#include <errno.h>

#include "clientlib/topic.h"

int tusk_entry_check(struct tusk_topic *topic, const struct tusk_entry *entry)
{
    if (topic == NULL || entry == NULL) {
        return -EINVAL;
    }
    struct tusk *tusk = topic->tusk;
    if (handle_forked(tusk)) {
        return -EOWNERDEAD;
    }
    /* What the caller has read, it has read before the stamp is looked at. */
    fence_loads();
    return arena_check(&tusk->arena, tusk->directory, entry->data);
}
