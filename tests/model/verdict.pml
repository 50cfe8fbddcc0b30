/*
 * verdict: what a recovery decides about torn ends, salts and sync numbers, with power loss at any
 * moment, also while it decides.
 * Proves:   no torn end is ever taken for corruption; what was served is found again; and a frame
 *           that a recovery gave up never comes back.
 * Actors:   two topics of PLACES frames. Flush 1 was torn: any of its frames are there. Then ROUNDS
 *           times: recovery, a verdict for each topic in the system topic (X's before Y's), their
 *           sync, one flush of new frames; power loss after any of these.
 * Rules:    a frame counts at or above the salt floor. The log ends where no frame counts or the
 *           salt falls. What counts behind must have the highest number found, else: corruption.
 * Abstract: the superblock holds the system topic's own verdict, so its torn ends never count.
 */
mtype = { none, verdict_takes_next_number, verdict_without_floor, verdict_without_tail,
    served_before_verdict, salt_used_again, numbers_of_tails_only };
#ifndef MUTANT
#define MUTANT none
#endif
#ifndef ROUNDS                          /* bounds: give all or none */
#define ROUNDS 3
#define PLACES 2
#endif
#define M(name)  (MUTANT == name)
#define AT(t, p) ((t) * PLACES + (p))
#define TOPIC(f) ((f) / PLACES)
#define each(i, n, body) i = 0; do :: i < n -> body; i++ :: else -> i = 0; break od
#define when(c, body) if :: c -> body :: else fi

typedef frame { byte salt, number, life };      /* salt 0: not valid; life: when it was appended */
typedef verdict { byte tail, floor, number, life }; /* number 0: none; life: nothing older counts */
frame disk[2 * PLACES], cache[2 * PLACES];      /* cache: written, no sync has covered it */
verdict bound[2], due[2];                       /* of X and Y: on disk; written, not synced */
byte tail[2], served[2], salt = 1;
byte life[2 * PLACES];                          /* the log: of the frame in each place */
byte round, number, highest, stray;             /* stray: of a verdict that cannot be read */

inline frame_copy(to, from)
{
    to.salt = from.salt; to.number = from.number; to.life = from.life; from.salt = 0
}
inline verdict_copy(to, from)
{
    to.tail = from.tail; to.floor = from.floor; to.number = from.number; to.life = from.life;
    from.number = 0
}

inline power_loss()
{
    each(f, 2 * PLACES, if
        :: cache[f].salt -> frame_copy(disk[f], cache[f])
        :: cache[f].salt -> disk[f].salt = 0; cache[f].salt = 0 /* torn */
        :: cache[f].salt = 0                                    /* as it was */
        fi);
    stray = 0; gap = 0;
    each(t, 2, if
        :: due[t].number && !gap -> verdict_copy(bound[t], due[t])
        :: due[t].number && gap -> stray = due[t].number; due[t].number = 0
        :: due[t].number -> gap = 1; due[t].number = 0
        :: !due[t].number
        fi)
}

#define COUNTS(f) (disk[f].salt && disk[f].salt >= bound[TOPIC(f)].floor && \
    (f) % PLACES >= bound[TOPIC(f)].tail)

inline recover()
{
    highest = stray;
    each(t, 2,
        when(bound[t].number > highest, highest = bound[t].number);
        tail[t] = bound[t].tail;
        last = 0;
        do
        :: tail[t] < PLACES && COUNTS(AT(t, tail[t])) && disk[AT(t, tail[t])].salt >= last ->
            last = disk[AT(t, tail[t])].salt;
            assert(disk[AT(t, tail[t])].life >= bound[t].life);
            assert(tail[t] >= served[t] || disk[AT(t, tail[t])].life == life[AT(t, tail[t])]);
            life[AT(t, tail[t])] = disk[AT(t, tail[t])].life;
            tail[t]++
        :: else -> break
        od;
        assert(tail[t] >= served[t]));
    each(f, 2 * PLACES, when(COUNTS(f) && disk[f].number > highest &&
        (f % PLACES < tail[TOPIC(f)] || !M(numbers_of_tails_only)), highest = disk[f].number));
    each(f, 2 * PLACES,
        assert(f % PLACES < tail[TOPIC(f)] || !COUNTS(f) || disk[f].number == highest));
    last = 0
}

inline judge()
{
    when(!M(salt_used_again), salt++);
    number = highest + M(verdict_takes_next_number);
    when(number == 0, number = 1);
    each(t, 2,
        due[t].tail = (M(verdict_without_tail) -> bound[t].tail : tail[t]);
        due[t].floor = (M(verdict_without_floor) -> bound[t].floor : salt);
        due[t].number = number;
        due[t].life = round + 1)
}

/* New frames, one flush; a frame that was given up may still lie where they go, or behind. */
inline append()
{
    each(t, 2, do
        :: tail[t] < PLACES ->
            cache[AT(t, tail[t])].salt = salt; cache[AT(t, tail[t])].number = number + 1;
            cache[AT(t, tail[t])].life = round + 1; life[AT(t, tail[t])] = round + 1;
            tail[t]++
        :: break
        od)
}

inline sync()
{
    each(f, 2 * PLACES, when(cache[f].salt, frame_copy(disk[f], cache[f])));
    each(t, 2, served[t] = tail[t])
}

active proctype store()
{
    byte f, t, last;
    bit gap;

    each(f, 2 * PLACES, cache[f].salt = 1; cache[f].number = 1);
    do
    :: round < ROUNDS ->
        atomic { power_loss(); recover(); judge() };
        if :: goto lost :: true fi;
        atomic { when(!M(served_before_verdict),
            each(t, 2, verdict_copy(bound[t], due[t]); served[t] = tail[t])) };
        atomic { append() };
        if :: goto lost :: true fi;
        atomic { sync() };
lost:   round++
    :: else -> break
    od;
    power_loss();
    recover()
}
