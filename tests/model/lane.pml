/*
 * lane: the words of a lane and of its record in the ledger, for commit.pml and repeat.pml. An SQ
 * has RING slots, a CQ twice as many; what follows the LANES lanes begins at AFTER.
 */
#define OF(l, w)     ((l) * (13 + 3 * RING) + (w))
#define SQ_TAIL(l)   OF(l, 0)           /* lane: the client's word */
#define SQ_HEAD(l)   OF(l, 1)           /* lane: the engine's words */
#define CQ_TAIL(l)   OF(l, 2)
#define L_HEAD(l)    OF(l, 3)           /* ledger.lane */
#define L_CQ_TAIL(l) OF(l, 4)
#define VALID(l)     OF(l, 5)           /* ledger.lane.intent: 1 made, 2 the topic has its part */
#define I_HEAD(l)    OF(l, 6)
#define I_CQ_TAIL(l) OF(l, 7)
#define I_SEQ(l)     OF(l, 8)
#define I_TAIL(l)    OF(l, 9)
#define I_LANE(l)    OF(l, 10)
#define EPOCH(l)     OF(l, 11)          /* socket: a hand-back was answered, ... */
#define HANDED(l)    OF(l, 12)          /* ... and with which head */
#define SLOT(l, i)   OF(l, 13 + (i) % RING)
#define CQ(l, i)     OF(l, 13 + RING + (i) % (2 * RING))
#define AFTER        OF(LANES, 0)
#define PROCESSES    (LANES + 1)
#define ENGINE       LANES
#define put(w, value) store(ENGINE, w, value)
