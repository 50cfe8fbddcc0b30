/* Pool pins: see pool_pins.h. */
#include "broker/pool_pins.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/chunk_pool.h"
#include "broker/lane.h"
#include "shm/pins.h"

/* One word more than there are, to see a file that was grown. */
struct pins_copy {
    uint64_t words[PINS_MAX + 1];
};

static bool pins_read(struct chunk_pool *pool, struct client *client, struct pins_copy *pins)
{
    const ssize_t bytes = pread(client->pins_fd, pins, sizeof *pins, 0); /* [P4] acquire */
    if (bytes == sizeof(struct pins_shm)) {
        return true;
    }
    client->pins_fault = bytes < 0 ? -errno : -EMSGSIZE;
    pool->pins_faulty = true;
    return false;
}

static uint64_t stamp_at(const struct chunk_pool *pool, uint32_t unit)
{
    return atom_load_relaxed(directory_stamp(pool->directory, unit)); /* own word */
}

/* The unit whose image the word pins, or UNIT_NONE. */
static uint32_t word_unit(const struct chunk_pool *pool, uint64_t word)
{
    const uint32_t next = pin_unit_next(word);
    if (next == 0 || next > pool->units || !pin_is_of(word, stamp_at(pool, next - 1))) {
        return UNIT_NONE;
    }
    return next - 1;
}

static bool word_is_overdue(const struct client *client, uint32_t index, uint64_t word)
{
    return client->pin_notes != NULL && client->pin_notes[index].word == word &&
           client->pin_notes[index].since_ns == PIN_OVERDUE;
}

static void marks_clear(struct chunk_pool *pool)
{
    memset(pool->marks, 0, (pool->units + 63) / 64 * sizeof *pool->marks);
}

static void mark_set(struct chunk_pool *pool, uint32_t unit)
{
    pool->marks[unit / 64] |= UINT64_C(1) << (unit % 64);
}

bool pool_pins_collect(struct chunk_pool *pool, bool revoking)
{
    bool all = true;
    marks_clear(pool);
    list_each(node, &pool->readers)
    {
        struct client *client = list_entry(node, struct client, readers);
        struct pins_copy pins;
        if (!pins_read(pool, client, &pins)) {
            all = false;
            continue;
        }
        for (uint32_t i = 0; i < PINS_MAX; i++) {
            const uint64_t word = pins.words[i];
            const uint32_t unit = word == 0 ? UNIT_NONE : word_unit(pool, word);
            if (unit != UNIT_NONE && !(revoking && word_is_overdue(client, i, word))) {
                mark_set(pool, unit);
            }
        }
    }
    return all;
}

/* After a pause without looks, which is one without need, the time begins anew. */
static void note_take(struct chunk_pool *pool, struct pin_note *note, uint64_t word,
                      uint64_t now_ns, uint64_t timeout_ns)
{
    if (note->word != word || now_ns - pool->looked_ns > timeout_ns) {
        *note = (struct pin_note){.word = word, .since_ns = now_ns};
    } else if (note->since_ns != PIN_OVERDUE && now_ns - note->since_ns >= timeout_ns) {
        note->since_ns = PIN_OVERDUE;
    }
}

static bool stands_in_the_way(const struct chunk_pool *pool, uint64_t word)
{
    const uint32_t unit = word_unit(pool, word);
    return unit != UNIT_NONE && unit_is_marked(pool->marks, unit);
}

/* Notes what the session pins of the marked units; true: some of it is overdue. */
static bool client_look(struct chunk_pool *pool, struct client *client, uint64_t now_ns,
                        uint64_t timeout_ns)
{
    struct pins_copy pins;
    bool overdue = false;
    if (!pins_read(pool, client, &pins)) {
        return false;
    }
    if (client->pin_notes == NULL) {
        client->pin_notes = calloc(PINS_MAX, sizeof *client->pin_notes);
    }
    for (uint32_t i = 0; client->pin_notes != NULL && i < PINS_MAX; i++) {
        struct pin_note *note = &client->pin_notes[i];
        if (stands_in_the_way(pool, pins.words[i])) {
            note_take(pool, note, pins.words[i], now_ns, timeout_ns);
            overdue = overdue || note->since_ns == PIN_OVERDUE;
        } else {
            *note = (struct pin_note){0};
        }
    }
    return overdue;
}

bool pool_pins_look(struct chunk_pool *pool, uint64_t now_ns, uint64_t timeout_ns)
{
    bool overdue = false;
    marks_clear(pool);
    for (int rank = 0; rank < CHUNK_RANKS; rank++) {
        list_each(chunk_node, &pool->clean[rank])
        {
            mark_set(pool, list_entry(chunk_node, struct chunk, clean)->unit);
        }
    }
    list_each(node, &pool->readers)
    {
        struct client *client = list_entry(node, struct client, readers);
        overdue = client_look(pool, client, now_ns, timeout_ns) || overdue;
    }
    pool->looked_ns = now_ns;
    pool->pins_overdue = overdue;
    return overdue;
}

void pool_pins_revoke(struct chunk_pool *pool, uint32_t unit)
{
    list_each(node, &pool->readers)
    {
        struct client *client = list_entry(node, struct client, readers);
        for (uint32_t i = 0; client->pin_notes != NULL && i < PINS_MAX; i++) {
            struct pin_note *note = &client->pin_notes[i];
            if (note->since_ns == PIN_OVERDUE && word_unit(pool, note->word) == unit) {
                *note = (struct pin_note){0};
                client->pins_revoked++;
                pool->revocations++;
            }
        }
    }
}
