/*
 * room: a client that sleeps for room in its SQ and for a completion, whichever comes first.
 * Proves:   no lost wakeup: once nothing can move any more, the client has put all its submissions
 *           and has its completion, though each may come only after it has dealt with the other.
 * Actors:   a client with one request that pends and N submissions without a completion, through an
 *           SQ of one slot; an engine that is always awake (wake.pml has the other direction).
 *           ROOM_FIRST=1: the request ends only when all submissions are through (a reader at the
 *           tail of a quiet topic), else they are held back until the client has taken its
 *           completion (an arena that only a reader frees).
 *           In the middle of a turn the engine tells of room without looking who sleeps; it does so
 *           at the turn's end, where what it told then counts as news.
 * Words:    waiting = 0 awake; ANY: at whatever is published next; else: at that CQ tail.
 */
mtype = { none, engine_no_fence, engine_waiting_before_publish, client_no_fence, client_no_look,
    client_looks_at_tail_only, client_names_last_tail, client_names_next_tail,
    engine_rings_on_head_only, engine_ends_turn_unseen };
#ifndef N                               /* bounds: give all or none */
#define N 2
#define ROOM_FIRST 0
#endif
#define PROCESSES 2
#define CLIENT    0
#define ENGINE    1
#define SQ_TAIL   0                     /* the client's words */
#define WAITING   1
#define CQ_TAIL   2                     /* the engine's words */
#define SQ_HEAD   3
#define WORDS     4
#define ANY       255
#include "tso.pml"

bit bell, used, finished;               /* used: the completion, by the client */

#define TARGET (M(client_names_last_tail) -> (drained -> drained : 1) : \
    (M(client_names_next_tail) -> drained + 1 : ANY))
#define ROOM   (mem[SQ_HEAD] != seen)
#define NEWS   (mem[CQ_TAIL] != drained || ROOM && !M(client_looks_at_tail_only))

active proctype client()
{
    byte sent, seen, drained;

    do
    :: sent == N + 1 && drained -> break
    :: mem[CQ_TAIL] != drained -> drained = mem[CQ_TAIL]; used = 1
    :: ROOM -> seen = mem[SQ_HEAD]
    :: sent <= N && sent == seen -> sent++; store(CLIENT, SQ_TAIL, sent)
    :: else ->
        store(CLIENT, WAITING, TARGET);
        fence_unless(M(client_no_fence), CLIENT);
        bell = 0;
        when(M(client_no_look) || !NEWS, bell);         /* poll() */
        store(CLIENT, WAITING, 0)
    od;
    finished = 1
}

inline publish(word, value)
{
    when(!M(engine_waiting_before_publish), store(ENGINE, word, value));
    fence_unless(M(engine_no_fence), ENGINE);
    waiting = mem[WAITING];
    when(M(engine_waiting_before_publish), store(ENGINE, word, value));
    when(waiting == ANY && (word == SQ_HEAD || !M(engine_rings_on_head_only)) ||
        waiting && waiting <= cq_tail, bell = 1);
    waiting = 0
}

active proctype engine()
{
    byte head, cq_tail, waiting;
    bit due;
end:
    do
    :: mem[SQ_TAIL] > head && (ROOM_FIRST || head < N || used) ->
        head++;
        if
        :: store(ENGINE, SQ_HEAD, head); due = 1
        :: due = 0; publish(SQ_HEAD, head)
        fi
    :: due -> due = 0; when(!M(engine_ends_turn_unseen), publish(SQ_HEAD, head))
    :: head && !cq_tail && (!ROOM_FIRST || head == N + 1) ->
        cq_tail = 1;
        publish(CQ_TAIL, cq_tail)
    od
}

active proctype monitor() { timeout -> assert(finished) } /* quiescence */
