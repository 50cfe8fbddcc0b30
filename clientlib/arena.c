/* Arena: see arena.h. */
#include "clientlib/arena.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clientlib/cancel.h"
#include "clientlib/handle.h"
#include "shm/cleanup.h"
#include "shm/frame.h"

enum {
    WORD_BITS = 64,
    TRANSIENT_FIRST = (PINS_MAX - PINS_TRANSIENT) / WORD_BITS, /* of words_taken */
};
_Static_assert(PINS_TRANSIENT % WORD_BITS == 0, "a bitmap word is one kind or the other");

void arena_init(struct arena *arena)
{
    *arena = (struct arena){.fd = -1, .images_mapping = {.fd = -1}, .pins_mapping = {.fd = -1}};
    pthread_mutex_init(&arena->lock, NULL);
}

void arena_deinit(struct arena *arena, bool forked)
{
    mapping_close(&arena->images_mapping);
    if (!forked) { /* MADV_DONTFORK: in a child that address may be anything */
        mapping_close(&arena->pins_mapping);
    }
    if (arena->fd >= 0) {
        close(arena->fd);
    }
    pthread_mutex_destroy(&arena->lock);
}

static int pins_map(struct tusk *tusk, struct arena *arena)
{
    cleanup_fd int fd = -1;
    int error = client_session_pins_open(&tusk->session, &fd);
    if (error == 0) {
        error = mapping_open(&arena->pins_mapping, fd, sizeof(struct pins_shm), true);
    }
    if (error != 0) {
        return error;
    }
    if (madvise(arena->pins_mapping.base, arena->pins_mapping.bytes, MADV_DONTFORK) != 0) {
        mapping_close(&arena->pins_mapping);
        return -ENOMEM;
    }
    return 0;
}

static int arena_map(struct tusk *tusk, struct arena *arena)
{
    const struct directory_header_shm *header = &tusk->directory->header;
    if (arena->pins_mapping.base == NULL) {
        const int error = pins_map(tusk, arena);
        if (error == -EPIPE || error == -ETIMEDOUT) {
            return handle_kill(tusk);
        }
        if (error != 0) {
            return resource_error(error);
        }
    }
    const int error = mapping_open(&arena->images_mapping, arena->fd, header->arena_bytes, false);
    if (error != 0) {
        return error;
    }
    close(take_fd(&arena->fd));
    arena->pins = arena->pins_mapping.base;
    arena->bytes = header->arena_bytes;
    arena->chunk_bytes = header->chunk_bytes;
    arena->unit_bytes = small_chunk_bytes(header->chunk_bytes);
    arena->images = arena->images_mapping.base;
    return 0;
}

int arena_open(struct tusk *tusk)
{
    CANCEL_OFF;
    struct arena *arena = &tusk->arena;
    pthread_mutex_lock(&arena->lock);
    const int error = arena->images != NULL ? 0 : arena_map(tusk, arena);
    pthread_mutex_unlock(&arena->lock);
    return error;
}

/* A free word among the bits of words_taken from the first to before the end. */
static struct atom *word_take(struct arena *arena, unsigned first, unsigned end)
{
    for (unsigned i = first; i < end; i++) {
        const uint64_t free_bits = ~arena->words_taken[i];
        if (free_bits != 0) {
            const unsigned bit = (unsigned)__builtin_ctzll(free_bits);
            const uint64_t index = i * WORD_BITS + bit;
            arena->words_taken[i] |= UINT64_C(1) << bit;
            if (atom_load_relaxed(&arena->words_end) <= index) {  /* written under the lock */
                atom_store_relaxed(&arena->words_end, index + 1); /* the taker itself sees it */
            }
            return &arena->pins->pin[index];
        }
    }
    return NULL;
}

struct atom *pin_word_transient_take(struct arena *arena)
{
    pthread_mutex_lock(&arena->lock);
    struct atom *word = word_take(arena, TRANSIENT_FIRST, PINS_MAX / WORD_BITS);
    pthread_mutex_unlock(&arena->lock);
    return word;
}

uint32_t pin_words_take(struct arena *arena, struct atom **words, uint32_t count)
{
    uint32_t taken = 0;
    pthread_mutex_lock(&arena->lock);
    while (taken < count && (words[taken] = word_take(arena, 0, TRANSIENT_FIRST)) != NULL) {
        taken++;
    }
    pthread_mutex_unlock(&arena->lock);
    return taken;
}

void pin_words_give(struct arena *arena, struct atom *const *words, uint32_t count)
{
    pthread_mutex_lock(&arena->lock);
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t index = (uint64_t)(words[i] - arena->pins->pin);
        arena->words_taken[index / WORD_BITS] &= ~(UINT64_C(1) << index % WORD_BITS);
    }
    pthread_mutex_unlock(&arena->lock);
}

void pin_word_holds(struct arena *arena, const struct atom *word, uint32_t unit, uint64_t units,
                    uint64_t stamp)
{
    /* Relaxed: who asks about an entry is who holds it. What others hold at the same place can at
     * worst make the answer too careful. */
    struct pinned *pinned = &arena->pinned[word - arena->pins->pin];
    atom_store_relaxed(&pinned->unit, unit);
    atom_store_relaxed(&pinned->stamp, stamp);
    atom_store_relaxed(&pinned->units, units);
}

void pin_word_holds_nothing(struct arena *arena, const struct atom *word)
{
    atom_store_relaxed(&arena->pinned[word - arena->pins->pin].units, 0); /* see above */
}

int arena_check(const struct arena *arena, struct directory_shm *directory, const void *place)
{
    /* Of the frame's header: behind it an empty payload may begin where its chunk ends. */
    const uint64_t offset = (uint64_t)((uintptr_t)place - 1 - (uintptr_t)arena->images);
    if (arena->images == NULL || offset >= arena->bytes) {
        return 0;
    }
    const uint64_t at = offset / arena->unit_bytes;
    const uint64_t end = atom_load_relaxed(&arena->words_end); /* relaxed: see pin_word_holds() */
    int answer = -ESTALE;
    for (uint64_t i = 0; i < end; i++) {
        const struct pinned *pinned = &arena->pinned[i];
        const uint64_t units = atom_load_relaxed(&pinned->units);
        const uint64_t unit = atom_load_relaxed(&pinned->unit);
        if (at - unit >= units) {
            continue;
        }
        const uint64_t stamp = atom_load_relaxed(&pinned->stamp);
        if (!pin_intact(directory_stamp(directory, (uint32_t)unit), stamp)) {
            return -ESTALE;
        }
        answer = 0;
    }
    return answer;
}
