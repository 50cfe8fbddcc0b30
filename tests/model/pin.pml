/*
 * pin: readers pin chunk images that the pool evicts and reuses, on x86-TSO store buffers.
 * Proves:   a reader with a validated pin sees its chunk until it unpins, whatever the pool does
 *           and wherever a SIGKILL stops the broker (KILLS=1); and no candidate bit is left behind.
 *           With REVOKE=1 a pin is overdue when two looks of the pool in a row have found the same
 *           word: then only who held on all the time is revoked, a read that tusk_entry_check calls
 *           intact was, and a word left behind never pins what comes into the frame later.
 * Actors:   READERS readers with N pins each; one pool (an engine) that must bring LOADS images to
 *           FRAMES frames, made by itself or read from disk; the disk.
 * Stamps:   the number of the load, CANDIDATE as top bit, 0 = no image. A chunk is its own data.
 * Pins:     serial number, stamp and frame + 1 in one word; without the frame it pins nothing.
 * Abstract: a reader guesses frame and chunk (what it looked up may be stale); no reader dies.
 */
mtype = { none, reader_no_fence, reader_no_second_look, reader_any_second_look, reader_no_stamp,
    reader_no_header, reader_header_before_stamp, reader_takes_candidate, reader_unpins_early,
    reader_moves_pin, reader_no_serial, pool_no_fence, pool_no_bit, pool_pins_before_bit,
    pool_frees_pinned, pool_frees_unnoted, pool_counts_stale, pool_keeps_bit, pool_zero_late, pool_stamp_before_image, pool_stamp_not_unique, restart_frees_candidates,
    restart_forgets_candidates, restart_ignores_late_reads };
#ifndef READERS                         /* bounds: give all or none */
#define READERS 1
#define N 1
#define FRAMES 1
#define LOADS 3
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef REVOKE
#define REVOKE 0
#endif
#define PROCESSES  (READERS + 1)
#define WORDS      (2 * READERS + 4 * FRAMES)
#define POOL       READERS
#define CANDIDATE  128
#define SLOTS      (M(reader_moves_pin) -> 2 * READERS : READERS)
#define PIN(i)     (i)                                  /* frame + 1; reader r has r */
#define HELD(r)    (M(reader_moves_pin) -> r + READERS : r)
#define STAMP(f)   (2 * READERS + (f))
#define HEADER(f)  (2 * READERS + FRAMES + (f))         /* the image: which chunk it is ... */
#define DATA(f)    (2 * READERS + 2 * FRAMES + (f))     /* ... and its entries */
#define READ(f)    (2 * READERS + 3 * FRAMES + (f))     /* a disk read that is on its way */
#define WORD(f, stamp, serial)  ((f) + 1 + 4 * ((stamp) % 4) + 16 * (serial))
#define FRAME(word)             ((word) % 4 - 1)
#define IS_OF(word, stamp)      ((stamp) && (word) / 4 % 4 == (stamp) % 4)
/* How many pins each word has seen: which hold it is, whatever it says. */
byte holds[2 * READERS], revoked[2 * READERS];
#define RETIRE(word, value) \
    if :: (word) < SLOTS && (value) % 4 -> holds[word]++ :: else fi
#include "tso.pml"

byte loads; bit done;                   /* loads: in the ledger */

active [FRAMES] proctype disk()
{
    byte f = _pid - PROCESSES - 1;
end:
    do
    :: mem[READ(f)] ->
        mem[HEADER(f)] = mem[READ(f)];
        d_step { mem[DATA(f)] = mem[READ(f)]; mem[READ(f)] = 0 }
    od
}

proctype reader(byte r)
{
    byte f, chunk, stamp, again, serial, hold, seen, round;

    do
    :: round == N -> break
    :: round < N ->
        round++;
        if :: f = 0 :: FRAMES > 1 -> f = 1 fi;
        if :: chunk = 1 :: chunk = 2 fi;
        when(M(reader_header_before_stamp) && mem[HEADER(f)] != chunk, goto next);
        stamp = mem[STAMP(f)];
        when(M(reader_takes_candidate), stamp = stamp % CANDIDATE);
        when((stamp == 0 || stamp >= CANDIDATE) && !M(reader_no_stamp), goto next);
        when(!M(reader_no_serial), serial++);
        hold++;
        store(r, PIN(HELD(r)), WORD(f, stamp, serial));
        fence_unless(M(reader_no_fence), r);
        again = mem[STAMP(f)];
        when(M(reader_takes_candidate), again = again % CANDIDATE);
        when(M(reader_any_second_look) && again && again < CANDIDATE, stamp = again);
        when(again != stamp && !M(reader_no_second_look) && !M(reader_no_stamp), goto unpin);
        when(mem[HEADER(f)] != chunk && !M(reader_header_before_stamp) && !M(reader_no_header),
            goto unpin);
        when(M(reader_moves_pin),
            store(r, PIN(r), WORD(f, stamp, serial)); store(r, PIN(HELD(r)), 0));
        when(M(reader_unpins_early), store(r, PIN(r), 16 * serial));
        seen = mem[DATA(f)];
        assert(seen == chunk || REVOKE && revoked[r] == hold);
        assert(seen == chunk || REVOKE && mem[STAMP(f)] % CANDIDATE != stamp); /* entry_check */
unpin:  store(r, PIN(r), 16 * serial);
        when(M(reader_moves_pin), store(r, PIN(HELD(r)), 0));
next:   skip;
        d_step { f = 0; chunk = 0; stamp = 0; again = 0; seen = 0 }
    od
}

/* A look at the pins: whom the images belong to, and who has held on since the look before. */
inline read_pins()
{
    each(i, SLOTS, atomic {
        word = mem[PIN(i)];
        when(word % 4 && (IS_OF(word, own[FRAME(word)]) || M(pool_counts_stale)),
            if
            :: REVOKE && (word == noted[i] || M(pool_frees_unnoted)) ->
                assert(noted_hold[i] == holds[i]);
                overdue[i] = 1
            :: else ->
                assert(!REVOKE || revoked[i] != holds[i]); /* it lost that */
                pinned[FRAME(word)] = 1
            fi);
        noted[i] = word; noted_hold[i] = holds[i]; word = 0
    })
}

/* The frame goes, and with it the claims of those who are overdue there. */
inline revoke(f)
{
    d_step { each(i, SLOTS, when(overdue[i] && FRAME(noted[i]) == f,
        revoked[i] = holds[i]; noted[i] = 0; noted_hold[i] = 0; overdue[i] = 0)) }
}

inline evict()
{
    each(f, FRAMES, pinned[f] = 0);
    each(i, SLOTS, overdue[i] = 0);
    when(M(pool_pins_before_bit), read_pins());
    atomic { each(f, FRAMES, when(own[f] && !M(pool_no_bit),
        store(POOL, STAMP(f), own[f] + CANDIDATE))) };
    fence_unless(M(pool_no_fence), POOL);
    when(!M(pool_pins_before_bit), read_pins());
    atomic { each(f, FRAMES, if
        :: own[f] && pinned[f] && !M(pool_keeps_bit) -> store(POOL, STAMP(f), own[f])
        :: own[f] && (!pinned[f] || M(pool_frees_pinned)) ->
            own[f] = 0;
            revoke(f);
            when(!M(pool_zero_late), store(POOL, STAMP(f), 0))
        :: !own[f] || M(pool_keeps_bit)
        fi) }
}

/* Brings the other chunk into a free frame and publishes its stamp. */
inline load(f)
{
    atomic { loads++; i = (mem[HEADER(f)] == 1 -> 2 : 1) };
    if
    :: atomic { store(POOL, HEADER(f), i); store(POOL, DATA(f), i) }
    :: store(POOL, READ(f), i); M(pool_stamp_before_image) || (empty(buffer[POOL]) && !mem[READ(f)])
    fi;
    when(M(pool_zero_late), store(POOL, STAMP(f), 0));
    atomic {
        own[f] = (M(pool_stamp_not_unique) -> 1 : loads);
        store(POOL, STAMP(f), own[f]); i = 0
    }
}

active proctype pool()
{
    byte i, f, word, own[FRAMES], noted[2 * READERS], noted_hold[2 * READERS];
    bit pinned[FRAMES], overdue[2 * READERS], restarted;

    do
    :: done -> break
    :: else ->
        {
            each(f, FRAMES, M(restart_ignores_late_reads) || !mem[READ(f)]);
            each(f, FRAMES, own[f] = mem[STAMP(f)] % CANDIDATE;
                when(M(restart_frees_candidates) && mem[STAMP(f)] > CANDIDATE,
                    own[f] = 0; store(POOL, STAMP(f), 0)));
            when(!M(restart_forgets_candidates), evict());
            do
            :: loads == LOADS || restarted -> break
            :: loads < LOADS ->
                each(f, FRAMES, when(!own[f] && loads < LOADS, load(f)));
                when(loads < LOADS, evict())
            od;
            done = 1
        } unless { killed -> empty(buffer[POOL]);
            atomic {
                killed = 0; kills++; restarted = 1; i = 0; word = 0;
                each(f, SLOTS, noted[f] = 0; noted_hold[f] = 0)
            } }
    od
}

init { byte i; atomic { each(i, READERS, run reader(i)) } }

/* Quiescence: nobody else can take a step. */
active proctype monitor()
{
    byte f;
    timeout -> each(f, FRAMES, assert(done && mem[STAMP(f)] < CANDIDATE))
}
