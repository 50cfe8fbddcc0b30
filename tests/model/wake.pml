/*
 * wake: the sleep handshake of a lane, both directions, on x86-TSO store buffers.
 * Proves:   no lost wakeup: once nothing can move any more, every submission was taken and every
 *           wait has ended; and (-DNP) no endless spinning: work is finite, so a cycle is an error.
 *           The engine is rung at most once for each time that it parks a lane.
 * Actors:   LANES clients with N submissions each, one engine.
 * Modes:    MODE = asymmetric (membarrier; clients only keep their program order), fencing (it is
 *           refused: everybody fences), mixed (client 0 could not register: it fences by itself).
 *           EDGE: the engine polls edge-triggered, as io_uring's multishot poll does: one event for
 *           a byte that the socket accepted, none when it was full. Default: level-triggered.
 * Sockets:  a byte that was accepted is seen after the sender's earlier stores (the socket's lock);
 *           a send that fails because the socket is full orders nothing.
 * Abstract: one completion per submission, indices do not wrap, nobody dies.
 */
mtype = { none, asymmetric, fencing, mixed, engine_no_membarrier, engine_membarrier_before_parked,
    engine_no_park_fence, engine_look_before_parked, engine_no_look, engine_drain_after_membarrier,
    engine_drain_after_look, engine_no_drain, engine_no_publish_fence,
    engine_waiting_before_publish, client_no_append_fence, client_parked_before_publish,
    client_no_ring, client_no_fence, client_look_before_waiting, client_no_look,
    client_drain_after_look, client_clears_late, engine_drain_at_parking,
    engine_same_parking, client_rings_again };
#ifndef MODE
#define MODE asymmetric
#endif
#ifndef LANES
#define LANES 1
#endif
#ifndef N
#define N 2
#endif
#define PROCESSES  (LANES + 1)
#define WORDS      (4 * LANES)
#define ENGINE     LANES
#define SQ_TAIL(c) (c)                  /* the client's words */
#define WAITING(c) (LANES + (c))        /* the CQ tail it sleeps for; 0: awake */
#define CQ_TAIL(c) (2 * LANES + (c))    /* the engine's words */
#define PARKED(c)  (3 * LANES + (c))    /* the number of the parking; 0: awake */
#ifdef EDGE
#define READY(c)   event[c]
#else
#define READY(c)   to_engine[c]
#endif

#include "tso.pml"

bit to_engine[LANES], to_client[LANES]; /* wake bytes in the sockets, which hold one */
bit event[LANES];                       /* poll events that the engine has not reaped */
byte taken[LANES], finished;
byte rings[LANES];                      /* the parking that was rung for last */
#define NOTHING(c) (mem[SQ_TAIL(c)] == taken[c])
#define FENCES(c)  (MODE == fencing || (MODE == mixed && c == 0))

proctype client(byte c)
{
    byte sent, target, parked, rung;
    bit stale;

    do
    :: sent < N ->                      /* append: publish, then see whether the engine is parked */
        sent++;
        when(M(client_parked_before_publish), parked = mem[PARKED(c)]);
        store(c, SQ_TAIL(c), sent);
        fence_unless(!FENCES(c) || M(client_no_append_fence), c);
        when(!M(client_parked_before_publish), parked = mem[PARKED(c)]);
        when(parked == rung && !M(client_rings_again), parked = 0);
        when(parked,
            assert(parked != rings[c]);
            rung = parked; rings[c] = parked);
        if
        :: parked && !to_engine[c] && !M(client_no_ring) ->
            empty(buffer[c]) -> d_step { to_engine[c] = 1; event[c] = 1 }
        :: !parked || to_engine[c] || M(client_no_ring)
        fi;
        parked = 0
    :: sent > target ->                 /* sleep until the CQ tail has reached target */
        if :: target++ :: target = sent fi;
        when(M(client_look_before_waiting) && mem[CQ_TAIL(c)] >= target, goto awake);
        store(c, WAITING(c), target);
        when(stale, store(c, WAITING(c), 0));
        fence_unless(M(client_no_fence), c);
        when(M(client_look_before_waiting) || M(client_no_look), goto asleep);
look:   when(!M(client_drain_after_look), to_client[c] = 0);
        when(mem[CQ_TAIL(c)] >= target, goto awake);
        when(M(client_drain_after_look), to_client[c] = 0);
asleep: to_client[c] -> goto look;      /* poll() */
awake:  if :: M(client_clears_late) -> stale = 1 :: else -> store(c, WAITING(c), 0) fi
    :: sent == N -> break
    od;
    finished++
}

inline drain(c) { when(!M(engine_no_drain), to_engine[c] = 0) }
inline membarrier() { each(c, LANES, fence_unless(FENCES(c) || M(engine_no_membarrier), c)) }

proctype engine()
{
    byte c, waiting, parkings[LANES];
    bit idle[LANES], asleep[LANES];

    do
    ::  /* reap: a lane that was rung is polled directly again */
        each(c, LANES, when(READY(c),
            event[c] = 0; drain(c); asleep[c] = 0; store(ENGINE, PARKED(c), 0)));
        /* take what the awake lanes hold, publish all of it, fence once, then wake */
        each(c, LANES, atomic {
            idle[c] = !asleep[c];
            when(idle[c] && mem[SQ_TAIL(c)] > taken[c],
                idle[c] = 0;
                taken[c] = mem[SQ_TAIL(c)];
                when(!M(engine_waiting_before_publish), store(ENGINE, CQ_TAIL(c), taken[c]))) });
        fence_unless(M(engine_no_publish_fence), ENGINE);
        each(c, LANES, when(!asleep[c] && !idle[c],
            waiting = mem[WAITING(c)];
            when(M(engine_waiting_before_publish), store(ENGINE, CQ_TAIL(c), taken[c]));
            when(waiting && waiting <= taken[c], to_client[c] = 1);
            waiting = 0));
        /* park the lanes that had nothing: word, barrier, second look */
        when(M(engine_membarrier_before_parked), membarrier());
        when(M(engine_look_before_parked), each(c, LANES, idle[c] = idle[c] && NOTHING(c)));
        atomic { each(c, LANES, when(idle[c],
            parkings[c] = (M(engine_same_parking) -> 1 : parkings[c] + 1);
            store(ENGINE, PARKED(c), parkings[c]))) };
        each(c, LANES, when(idle[c] && M(engine_drain_at_parking), drain(c)));
        fence_unless(M(engine_no_park_fence), ENGINE);
        when(!M(engine_membarrier_before_parked), membarrier());
        each(c, LANES, when(idle[c] && M(engine_drain_after_membarrier), drain(c)));
        each(c, LANES, atomic { if
            :: !idle[c]
            :: idle[c] && (NOTHING(c) || M(engine_no_look) || M(engine_look_before_parked)) ->
                asleep[c] = 1
            :: else -> store(ENGINE, PARKED(c), 0)
            fi });
        each(c, LANES, when(asleep[c] && M(engine_drain_after_look), drain(c)));
        if :: !asleep[0] || !asleep[LANES - 1] :: else ->
end:        (READY(0) || READY(LANES - 1)) /* io_uring_enter */
        fi
    od
}

init { byte c; atomic { each(c, LANES, run client(c)); run engine() } }

/* Quiescence: nobody else can take a step. */
active proctype monitor()
{
    timeout -> assert(finished == LANES && taken[0] == N && taken[LANES - 1] == N)
}
