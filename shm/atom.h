/*
 * Atom: the word that two sides share. The only includer of <atomic_ops.h>.
 * The struct refuses plain access; the name of each verb says its order. A pair of a release and
 * an acquire is cited by a tag, such as [R1], that the module's contract comment declares.
 * Every word has one writer, so there is no compare-and-swap here.
 */
#ifndef TUSK_SHM_ATOM_H
#define TUSK_SHM_ATOM_H

#include <atomic_ops.h>
#include <stdint.h>

struct atom {
    AO_t value;
};
_Static_assert(sizeof(struct atom) == 8, "an atom is a 64-bit word");

/* May be stale: for the writer's own copy, and where the caller says why staleness is harmless. */
static inline uint64_t atom_load_relaxed(const struct atom *atom)
{
    return AO_load(&atom->value);
}

static inline uint64_t atom_load_acquire(const struct atom *atom)
{
    return AO_load_acquire(&atom->value);
}

static inline void atom_store_relaxed(struct atom *atom, uint64_t value)
{
    AO_store(&atom->value, value);
}

static inline void atom_store_release(struct atom *atom, uint64_t value)
{
    AO_store_release(&atom->value, value);
}

/* The writer's own increment of a counter that only it writes. */
static inline void atom_add_relaxed(struct atom *atom, uint64_t value)
{
    atom_store_relaxed(atom, atom_load_relaxed(atom) + value);
}

/* Keeps the compiler, not the processor, from moving accesses across. */
static inline void fence_compiler(void)
{
    AO_compiler_barrier();
}

/* Orders all earlier loads before all later ones: of bytes that somebody may change meanwhile, and then
 * of the word that tells. ThreadSanitizer refuses it. */
static inline void fence_loads(void)
{
#ifdef TUSK_TSAN
    fence_compiler();
#else
    AO_nop_read();
#endif
}

/*
 * Orders all earlier stores before all later loads (Dekker): both sides of a sleep handshake need
 * it. ThreadSanitizer does not follow bare fences, so its build uses a read-modify-write of one
 * word that all fences share.
 */
#ifdef TUSK_TSAN
extern AO_t fence_word_tsan;
static inline void fence_full(void)
{
    (void)AO_fetch_and_add_full(&fence_word_tsan, 1);
}
#else
static inline void fence_full(void)
{
    AO_nop_full();
}
#endif

/* A hint to the processor inside a spin loop. */
static inline void spin_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#else
    fence_compiler();
#endif
}

#endif
