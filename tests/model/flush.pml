/*
 * flush: group commit, durable watermarks and the sync numbers of frames, under write and sync
 * errors, SIGKILL of the broker, and power loss at any moment.
 * Proves:   recovery finds what the watermarks called durable, and never takes a torn flush for
 *           corruption (a gap before a valid frame whose number is not the highest found).
 * Actors:   an engine that appends and flushes; a device, whose cache takes the place of the store
 *           buffer: writes not covered by a successful sync are lost or kept frame by frame.
 * Layout:   topic X is frames 0 1 2, Y 3 4, the system topic 5. Frames 1 and 2 lie in a chunk that
 *           frame 5 assigns. Blocks and files: 0, 3 4 in A; 1 2 in B; 5 in C.
 */
mtype = { none, watermark_at_completion, write_not_awaited, sync_not_awaited, system_not_awaited,
    ack_in_completion_order, block_not_zeroed, next_flush_overlaps, collects_one_topic_less,
    short_write_accepted, write_error_ignored, sync_error_ignored, sync_retried, restart_one_flush,
    restart_reuses_number, restart_no_rewrite, restart_no_lock };
#ifndef MUTANT
#define MUTANT none
#endif
#ifndef KILLS                           /* bounds: give all or none */
#define KILLS 1
#define ERRORS 1
#endif
#define M(name)         (MUTANT == name)
#define FIRST(t)        (t == 0 -> 0 : (t == 1 -> 3 : 5))
#define TOPIC(f)        (f < 3 -> 0 : (f < 5 -> 1 : 2))
#define POSITION(f)     (f - FIRST(TOPIC(f)))
#define FILE(f)         (f == 5 -> 2 : (f == 1 || f == 2 -> 1 : 0))
#define APPENDED(f)     (POSITION(f) < tail[TOPIC(f)])
#define CAPTURED(f)     (POSITION(f) < captured[TOPIC(f)])
#define DIRTY(t)        (tail[t] > durable[t])
#define UP              (!lost && !fenced)
#define FINISHED(k)     (file[k] == idle || file[k] == done)
#define when(c, body)   if :: c -> body :: else fi
#define each(i, n, body) i = 0; do :: i < n -> body; i++ :: else -> i = 0; break od
#define move(k, from, to) each(f, 6, when(FILE(f) == k && disk[f] == from, disk[f] = to))

mtype = { absent, flying, cached, covered, synced, doubtful };  /* a frame on the device */
mtype = { idle, writing, written, syncing, done };              /* a file in a flush */
mtype disk[6] = absent, file[3] = idle;
byte number[6];                         /* of frames: the sync that is to cover them */
byte tail[3], captured[3], durable[3];  /* of topics; durable is what was acknowledged */
byte current = 1, last;                 /* number for new frames; of the last sync that succeeded */
byte kills, errors;
bit flushing, fenced, lost, one_flush, late_write; /* late_write: it will yet zero frame 4 */

inline capture()
{
    each(f, 6, when(APPENDED(f) && !CAPTURED(f) && (number[f] <= last + 1 || one_flush) &&
            !(M(collects_one_topic_less) && TOPIC(f) == 1 && last == 0), captured[TOPIC(f)]++));
    when(current == last + 1, current++);
    each(f, 6, when(CAPTURED(f) && POSITION(f) >= durable[TOPIC(f)],
        file[FILE(f)] = writing;
        when(disk[f] == absent || disk[f] != synced && !M(restart_no_rewrite), disk[f] = flying)));
    flushing = 1; one_flush = 0
}

inline acknowledge()
{
    each(k, 3, durable[k] = (M(watermark_at_completion) -> tail[k] : captured[k]));
    each(k, 3, file[k] = idle);
    last++; flushing = 0
}

/* One write or sync of file k ends well, or not. */
inline advance(k)
{
    if
    :: file[k] == writing -> move(k, flying, cached); file[k] = written
    :: file[k] == writing && errors < ERRORS ->         /* short: the last frame is missing */
        errors++;
        each(f, 6, when(FILE(f) == k && disk[f] == flying && f % 3 == k, disk[f] = cached));
        if :: M(short_write_accepted) -> file[k] = written :: else -> fenced = 1 fi
    :: file[k] == writing && errors < ERRORS ->
        errors++;
        if :: M(write_error_ignored) -> file[k] = written :: else -> fenced = 1 fi
    :: file[k] == written || file[k] == writing && M(write_not_awaited) ->
        move(k, cached, covered); file[k] = syncing
    :: file[k] == syncing ->
        move(k, covered, synced); file[k] = done;
        when(M(ack_in_completion_order), each(f, 6, when(CAPTURED(f) && FILE(f) == k &&
            POSITION(f) >= durable[TOPIC(f)], durable[TOPIC(f)] = POSITION(f) + 1)))
    :: file[k] == syncing && errors < ERRORS ->
        errors++;
        move(k, covered, doubtful);
        if
        :: M(sync_error_ignored) -> file[k] = done
        :: M(sync_retried) -> file[k] = written
        :: else -> fenced = 1
        fi
    fi
}

/* Frames that the flush under way does not cover reach the device with it. */
inline write_early()
{
    each(f, 6, when(APPENDED(f) && !CAPTURED(f) && disk[f] == absent && (M(next_flush_overlaps) ||
        (f == 2 || f == 4) && CAPTURED((f - 1)) && file[FILE(f)] == writing), disk[f] = flying))
}

/* SIGKILL and a new broker: arena, directory and ledger stay, and writes under way still happen. */
inline restart()
{
    kills++;
    late_write = M(restart_no_lock) && file[0] == writing && captured[1] == 1 && durable[1] == 0;
    each(k, 3,
        move(k, flying, cached); move(k, covered, cached);
        file[k] = idle; captured[k] = durable[k]);
    when(M(restart_reuses_number), current = last + 1);
    flushing = 0; fenced = 0; one_flush = M(restart_one_flush)
}

inline power_loss()
{
    lost = 1;
    each(f, 6, if
        :: disk[f] != synced -> disk[f] = absent
        :: disk[f] != absent -> disk[f] = synced
        fi);
    each(f, 6, when(disk[5] == absent && FILE(f) == 1, disk[f] = absent)); /* an unknown chunk */
    each(f, 6, when(disk[f] == synced && number[f] > highest, highest = number[f]));
    each(f, 6,
        assert(disk[f] == synced || POSITION(f) >= durable[TOPIC(f)]);
        when(POSITION(f) == 0, gap = 0);
        if
        :: disk[f] == absent -> gap = 1
        :: else -> assert(!gap || number[f] == highest)
        fi)
}

active proctype engine()
{
    byte f, k, highest;
    bit gap;
    do
    :: atomic { UP && tail[0] < 3 && tail[0] <= 2 * tail[2] ->
            number[tail[0]] = current; tail[0]++ }
    :: atomic { UP && tail[1] < 2 -> number[3 + tail[1]] = current; tail[1]++ }
    :: atomic { UP && tail[2] < 1 -> number[5] = current; tail[2]++ }
    :: atomic { UP && !flushing && (DIRTY(0) || DIRTY(1) || DIRTY(2)) -> capture() }
    :: atomic { UP && !FINISHED(0) -> advance(0) }
    :: atomic { UP && !FINISHED(1) -> advance(1) }
    :: atomic { UP && !FINISHED(2) -> advance(2) }
    :: atomic { UP && flushing && FINISHED(0) && (FINISHED(2) || M(system_not_awaited)) &&
            (FINISHED(1) || M(sync_not_awaited) && file[1] == syncing) -> acknowledge() }
    :: atomic { !lost && kills < KILLS -> restart() }
    :: atomic { !lost -> power_loss() }
    :: atomic { UP && flushing && (M(next_flush_overlaps) || M(block_not_zeroed)) -> write_early() }
    :: atomic { !lost && late_write && disk[4] != absent -> late_write = 0; disk[4] = doubtful }
    :: lost -> break
    od
}
