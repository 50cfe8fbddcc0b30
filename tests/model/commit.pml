/*
 * commit: the redo record of an append, with SIGKILL of the broker between any two of its stores.
 * Proves:   nothing published is lost, doubled, reordered or changed; every submission gets its one
 *           completion, with its seq, and still lies in its lane where that is recomputed.
 * Actors:   LANES clients that append N entries each to one topic through SQs of RING slots; the
 *           readers (see); the engine, killed at any time, also while it restarts; lanes come back
 *           in any order, any time after. RESET=1: the topic is deleted and made again once.
 *           EARLY=1: completions come with the frames; 2: and a restart does the lane's part, too.
 * Abstract: a position is a seq; a unit is 1 to RING entries; requests that pend: repeat.pml.
 */
mtype = { none, frames_after_intent, frames_after_tail, no_intent, valid_before_fields, clear_late,
    intent_after_tail, seq_before_tail, completions_after_ledger, completions_after_publish,
    no_ledger, clear_before_ledger, publish_before_ledger, one_intent, no_topic_part, no_lane_part,
    lane_part_early, redo_twice, no_valid_2, seq_not_redone };
#ifndef LANES                           /* bounds: give all or none */
#define LANES 2
#define N 1
#define RING 1
#define KILLS 2
#define RESET 0
#define EARLY 0
#endif
#include "lane.pml"
#define TAIL         AFTER              /* directory */
#define SEQ          (AFTER + 1)
#define FRAME(p)     (AFTER + 2 + (p))  /* arena */
#define WORDS        FRAME(LANES * N + RING)
#define DEPTH        2
#define RETIRE(w, v) see(w, v)
#define ENTRY(l, i)  ((l) * 16 + (i) + 1)
#define I(l)         (M(one_intent) -> 0 : l)
#define LAST         (LANES - 1)
#define AT_ONCE      (EARLY == 2 || M(lane_part_early))
#define BUSY(l)      (!attached[l] || mem[SQ_TAIL(l)] > head[l])
byte finished, final, resets;           /* final: the tail up to which units were made final */
byte next[LANES]; hidden byte entry;    /* next: what readers have not seen yet of each lane */

/* A store becomes visible: what readers may see must be whole, new and unchanging. */
inline see(word, value)
{
    assert(resets || word < FRAME(0) || word >= FRAME(mem[SEQ]) || value == mem[word]);
    assert(word != SEQ || value <= final && (resets || value >= mem[SEQ] && value <= mem[TAIL]));
    do
    :: word == SEQ && !resets && mem[SEQ] < value ->
        entry = mem[FRAME(mem[SEQ])] - 1;
        assert(entry / 16 < LANES && entry % 16 == next[entry / 16]);
        next[entry / 16]++; mem[SEQ]++
    :: else -> break
    od
}
#include "tso.pml"

proctype client(byte l)
{
    byte sent, reaped;
    do
    :: sent < N && sent - mem[SQ_HEAD(l)] < RING && sent - reaped < RING ->
        atomic { store(l, SLOT(l, sent), ENTRY(l, sent)); sent++; store(l, SQ_TAIL(l), sent) }
    :: reaped < mem[CQ_TAIL(l)] ->
        assert(resets || mem[FRAME(mem[CQ(l, reaped)])] == ENTRY(l, reaped));
        reaped++
    :: reaped == N -> break
    od;
    finished++
}

inline frames(l)      { each(k, n, put(FRAME(tail + k), mem[SLOT(l, head[l] + k)])) }
inline completions(l) { each(k, n, put(CQ(l, cq_tail[l] + k), first + k)) }
inline ledger(l)      { put(L_HEAD(l), head[l] + n); put(L_CQ_TAIL(l), cq_tail[l] + n) }
inline publish(l)     { put(CQ_TAIL(l), cq_tail[l] + n); put(SQ_HEAD(l), head[l] + n) }
inline advance(l)     { head[l] = head[l] + n; cq_tail[l] = cq_tail[l] + n; n = 0; first = 0 }
inline intent(l)
{
    when(M(valid_before_fields), put(VALID(I(l)), 1));
    put(I_HEAD(I(l)), head[l] + n);
    when(M(clear_late), put(VALID(l), 0));
    put(I_CQ_TAIL(I(l)), cq_tail[l] + n); put(I_SEQ(I(l)), tail); put(I_TAIL(I(l)), tail + n);
    when(M(one_intent), put(I_LANE(0), l));
    when(!M(valid_before_fields), put(VALID(I(l)), 1))
}
inline append(l)                        /* steps 1 to 6 */
{
    atomic { first = tail; final = tail + n };
    when(!M(frames_after_intent) && !M(frames_after_tail), frames(l)); when(EARLY, completions(l));
    when(!M(no_intent) && !M(intent_after_tail), intent(l));
    when(M(frames_after_intent), frames(l));
    when(M(seq_before_tail), put(SEQ, tail + n));
    put(TAIL, tail + n);
    when(!M(seq_before_tail), put(SEQ, tail + n));
    when(M(frames_after_tail), frames(l)); when(M(intent_after_tail), intent(l));
    when(!EARLY && !M(completions_after_ledger) && !M(completions_after_publish), completions(l));
    when(M(publish_before_ledger), publish(l)); when(M(clear_before_ledger), put(VALID(I(l)), 0));
    when(!M(no_ledger), ledger(l));
    when(!M(clear_late), put(VALID(I(l)), 0));
    when(M(completions_after_ledger), completions(l)); publish(l);
    when(M(completions_after_publish), completions(l));
    atomic { tail = tail + n; advance(l) }
}
/* A new broker, before it serves anybody: the topic's part of every intent. */
inline restart()
{
    tail = mem[TAIL];
    each(l, LANES, when(mem[VALID(l)] == 1,
        when(!M(no_topic_part) && (mem[I_TAIL(l)] >= tail + M(seq_not_redone) || M(redo_twice)),
            tail = mem[I_TAIL(l)]; put(TAIL, tail); put(SEQ, tail));
        when(AT_ONCE, put(L_HEAD(l), mem[I_HEAD(l)]); put(L_CQ_TAIL(l), mem[I_CQ_TAIL(l)]));
        when(!M(redo_twice) && !M(no_valid_2), put(VALID(l), (AT_ONCE -> 0 : 2)))));
    empty(buffer[ENGINE])
}

/* A lane comes, or comes back: its part of the intent, then the published words. */
inline hand_back(l)
{
    atomic { head[l] = mem[L_HEAD(l)]; cq_tail[l] = mem[L_CQ_TAIL(l)] };
    when(mem[VALID(I(l))] && (!M(one_intent) || mem[I_LANE(0)] == l),
        when(!M(no_lane_part),
            atomic { first = mem[I_SEQ(I(l))]; n = mem[I_TAIL(I(l))] - first };
            atomic { head[l] = mem[I_HEAD(I(l))] - n; cq_tail[l] = mem[I_CQ_TAIL(I(l))] - n };
            each(k, n, assert(resets || mem[SLOT(l, head[l] + k)] == mem[FRAME(first + k)]));
            completions(l);
            ledger(l));
        put(VALID(I(l)), 0));
    publish(l);
    atomic { attached[l] = 1; advance(l) }
}

active proctype engine()
{
    byte l, k, n, first, tail, head[LANES], cq_tail[LANES];
    bit attached[LANES];
    do
    ::  {
            restart();
end:        if :: BUSY(0) -> l = 0 :: BUSY(LAST) -> l = LAST :: RESET > resets -> l = LANES fi;
            if
            :: l == LANES -> empty(buffer[ENGINE]);
                atomic { mem[TAIL] = 0; mem[SEQ] = 0; tail = 0; final = 0; resets = 1 }
            :: l < LANES && !attached[l] -> hand_back(l)
            :: else -> if :: n = 1 :: n = mem[SQ_TAIL(l)] - head[l] fi; append(l)
            fi;
            goto end
        } unless { killed -> empty(buffer[ENGINE]);
            atomic { killed = 0; kills++; k = 0; n = 0; attached[0] = 0; attached[LAST] = 0 } }
    od
}
init { byte l; atomic { each(l, LANES, run client(l)) } }
active proctype monitor()               /* quiescence: every entry is in the log, once */
{
    timeout -> assert(finished == LANES && (resets || mem[SEQ] == LANES * N))
}
