/*
 * unpin: the pool sleeps as every frame is pinned; an unpin, a plain store, must still wake it.
 * Proves:   no lost wakeup: once nothing can move any more, the pool has got its frame LOADS times;
 *           and (-DNP) no endless spinning.
 * Actors:   READERS readers that pin the one frame N times each; one pool (an engine). Whether a
 *           pin is good is pin.pml's matter.
 * Modes:    MODE = asymmetric (membarrier) or fencing (refused: readers fence after each unpin).
 * Sockets:  as in wake.pml: a send that finds the socket full orders nothing. The pool issues its
 *           membarrier only when it sets arena_short, so a reader fences before it sends.
 */
mtype = { none, asymmetric, fencing, reader_no_ring, reader_no_ring_fence,
    reader_failed_pin_no_look, reader_short_before_unpin, reader_no_unpin_fence,
    pool_no_membarrier, pool_membarrier_before_short, pool_no_look, pool_drain_after_look,
    pool_no_short };
#ifndef MODE
#define MODE asymmetric
#endif
#ifndef READERS
#define READERS 1
#endif
#ifndef N
#define N 3
#endif
#ifndef LOADS
#define LOADS 2
#endif
#define PROCESSES (READERS + 1)
#define WORDS     (READERS + 1)
#define POOL      READERS
#define PIN(r)    (r)
#define SHORT     READERS               /* directory.arena_short */
#include "tso.pml"

bit bell;                               /* wake bytes: the socket holds one */
byte loads;

proctype reader(byte r)
{
    byte round;
    bit rings;

    do
    :: round == N -> break
    :: round < N ->
        round++;
        store(r, PIN(r), 1);
        fence_unless(false, r);
        when(M(reader_short_before_unpin), rings = mem[SHORT]);
        store(r, PIN(r), 0);            /* an unpin, or a pin that failed: for the pool the same */
        if :: M(reader_failed_pin_no_look) -> goto next :: true fi;
        fence_unless(MODE != fencing || M(reader_no_unpin_fence), r);
        when(!M(reader_short_before_unpin), rings = mem[SHORT]);
        when(rings, fence_unless(M(reader_no_ring_fence), r));
        when(rings && !bell && !M(reader_no_ring), empty(buffer[r]) -> bell = 1);
        rings = 0;
next:   skip
    od
}

inline look() { pinned = 0; each(r, READERS, pinned = pinned || mem[PIN(r)]) }

inline membarrier()
{
    empty(buffer[POOL]);
    each(r, READERS, fence_unless(MODE == fencing || M(pool_no_membarrier), r))
}

active proctype pool()
{
    byte r;
    bit pinned, told;

    do
    :: loads == LOADS -> break
    :: loads < LOADS ->
        look();
        if
        :: !pinned ->                   /* taken, and filled with what readers pin again */
            loads++; told = 0;
            store(POOL, SHORT, 0)
        :: pinned && !told ->           /* tell, and look once more */
            told = 1;
            when(M(pool_membarrier_before_short), membarrier());
            when(!M(pool_no_short), store(POOL, SHORT, 1));
            when(!M(pool_membarrier_before_short), membarrier());
            when(M(pool_no_look), bell -> bell = 0)
        :: pinned && told ->
            when(M(pool_drain_after_look), bell = 0);
            bell -> bell = 0            /* io_uring_enter */
        fi
    od
}

init { byte r; atomic { each(r, READERS, run reader(r)) } }

/* Quiescence: nobody else can take a step. */
active proctype monitor()
{
    timeout -> assert(loads == LOADS)
}
