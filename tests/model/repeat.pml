/*
 * repeat: requests that pend (WAIT_DURABLE, WAIT_TAIL, FETCH, CLAIM), with SIGKILL of the broker
 * between any two of its stores: the broker forgets what was pending, the library repeats it.
 * Proves:   every request gets exactly one completion; none is lost, none is answered twice.
 * Actors:   one client with N requests through an SQ of RING slots; the engine, which takes them in
 *           order, completes them in any order and is killed at any time.
 * Abstract: the answer to a hand-back is two words of the engine's (the number of the hand-back and
 *           the head it began with) that the client may look at late.
 */
mtype = { none, head_before_ledger, completion_after_ledger, completion_after_publish,
    publish_before_ledger, answer_before_publish, not_repeated, repeat_before_reap,
    repeat_by_sq_head, repeat_everything };
#ifndef N                               /* bounds: give all or none */
#define N 3
#define RING 1
#define KILLS 2
#endif
#define LANES 1
#define WORDS AFTER
#define DEPTH 2
#include "lane.pml"
#include "tso.pml"

byte asked;
bit completed[N + 1], finished;

active proctype client()
{
    byte made, sent, reaped, outstanding, epoch, c, at[N + 1]; /* at: where a request lies */
    bit again[N + 1];

    do
    :: sent - mem[SQ_HEAD(0)] < RING && outstanding < 2 * RING && made < N ->
        atomic {
            made++; at[made] = sent; sent++; outstanding++; store(0, SLOT(0, at[made]), made)
        };
        store(0, SQ_TAIL(0), sent)
    :: reaped < mem[CQ_TAIL(0)] ->
        atomic {
            c = mem[CQ(0, reaped)];
            assert(c && !completed[c]);
            completed[c] = 1; reaped++; outstanding--; c = 0
        }
    :: atomic { asked != kills -> asked = kills; epoch = mem[EPOCH(0)] } /* end of file: ask */
    :: atomic {
            epoch != mem[EPOCH(0)] && (reaped == mem[CQ_TAIL(0)] || M(repeat_before_reap)) ->
            epoch = mem[EPOCH(0)];
            c = 1;
            do
            :: c > made -> break
            :: c <= made && !completed[c] && !M(not_repeated) && (M(repeat_everything) ||
                at[c] < mem[(M(repeat_by_sq_head) -> SQ_HEAD(0) : HANDED(0))]) -> again[c] = 1; c++
            :: else -> c++
            od;
            c = 0
        }
    :: sent - mem[SQ_HEAD(0)] < RING && (again[1] || again[N - 1] || again[N]) ->
        atomic {
            if :: again[1] -> c = 1 :: again[N - 1] -> c = N - 1 :: again[N] -> c = N fi;
            again[c] = 0; at[c] = sent; sent++; store(0, SLOT(0, at[c]), c); c = 0
        };
        store(0, SQ_TAIL(0), sent)
    :: made == N && reaped == mem[CQ_TAIL(0)] && !outstanding -> break
    od;
    finished = 1
}

inline take()
{
    c = mem[SLOT(0, head)];
    atomic { pending[c] = 1; head++; c = 0 };
    when(!M(head_before_ledger), put(L_HEAD(0), head));
    put(SQ_HEAD(0), head);
    when(M(head_before_ledger), put(L_HEAD(0), head))
}

inline complete(c)
{
    pending[c] = 0;
    when(!M(completion_after_ledger) && !M(completion_after_publish), put(CQ(0, cq_tail), c));
    when(M(publish_before_ledger), put(CQ_TAIL(0), cq_tail + 1));
    put(L_CQ_TAIL(0), cq_tail + 1);
    when(M(completion_after_ledger), put(CQ(0, cq_tail), c));
    when(!M(publish_before_ledger), put(CQ_TAIL(0), cq_tail + 1));
    when(M(completion_after_publish), put(CQ(0, cq_tail), c));
    cq_tail++
}

inline hand_back()
{
    atomic { head = mem[L_HEAD(0)]; cq_tail = mem[L_CQ_TAIL(0)] };
    when(!M(answer_before_publish), put(CQ_TAIL(0), cq_tail); put(SQ_HEAD(0), head));
    put(HANDED(0), head); put(EPOCH(0), kills);
    when(M(answer_before_publish), put(CQ_TAIL(0), cq_tail); put(SQ_HEAD(0), head))
}

active proctype engine()
{
    byte c, head, cq_tail;
    bit pending[N + 1];

    do
    ::  {
            asked == kills || finished;
            when(kills, hand_back());
end:        do
            :: mem[SQ_TAIL(0)] > head -> take()
            :: pending[1] -> complete(1)
            :: pending[2] -> complete(2)
            :: N > 2 && pending[N] -> complete(N)
            od
        } unless { killed -> empty(buffer[ENGINE]);
            atomic { killed = 0; kills++; c = 0; head = 0; cq_tail = 0;
                pending[1] = 0; pending[2] = 0; pending[N] = 0 } }
    od
}

/* Quiescence: the client has everything. */
active proctype monitor()
{
    timeout -> assert(finished && completed[1] && completed[2] && completed[N])
}
