/* Segments ahead of need: see segment_ahead.h. */
#include "broker/segment_ahead.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "broker/fault.h"
#include "broker/segment.h"
#include "broker/segment_header.h"
#include "shm/crash_point.h"

_Static_assert(CHUNK_BYTES_MIN % SEGMENT_ZERO_BYTES == 0, "a chunk is zeroed in whole pieces");

static struct segment_name unfinished_name(uint32_t number)
{
    struct segment_name name;
    snprintf(name.text, sizeof name.text, "%016x.seg.new", number);
    return name;
}

static void tell(struct segment_set *set, int result)
{
    if (set->config.changed != NULL) {
        set->config.changed(set->config.context, result);
    }
}

/* Errors that pass: what is lacking may be given back. */
static bool is_refusal(int result)
{
    return result == -ENOSPC || result == -EDQUOT || result == -EFBIG || result == -EMFILE ||
           result == -ENFILE || result == -ENOMEM;
}

/* Growing. */

/* Gives up the file being made; a full disk is asked again later, anything else is for the
 * caller. */
static void growth_fail(struct segment_set *set, int result)
{
    if (set->growing != NULL) {
        io_file_close(set->io, set->growing);
        set->growing = NULL;
        (void)io_unlink(set->io, set->dir, unfinished_name(set->growing_number).text);
    }
    set->growth = is_refusal(result) ? GROWTH_REFUSED : GROWTH_FAILED;
    set->retry_ns = 0;
    tell(set, is_refusal(result) ? -ENOSPC : result);
}

/* Fills the operation that a state of growth waits for. */
static struct io_op growth_op(const struct segment_set *set)
{
    struct io_op op = {.file = set->growing};
    switch (set->growth) {
    case GROWTH_ALLOCATING:
        op.kind = IO_ALLOCATE;
        op.bytes = set->segment_bytes;
        break;
    case GROWTH_WRITING:
        op.kind = IO_WRITE;
        op.buffer = set->header;
        op.bytes = SEGMENT_HEADER_BYTES;
        break;
    case GROWTH_SYNCING:
        op.kind = IO_FSYNC;
        break;
    case GROWTH_NAMING:
        op.kind = IO_FSYNC;
        op.file = set->dir;
        break;
    case GROWTH_IDLE:
    case GROWTH_REFUSED:
    case GROWTH_FAILED:
        ensure(!"growth waits for no operation");
    }
    return op;
}

static void growth_done(struct io_op *op, int result);

static void growth_enter(struct segment_set *set, enum segment_growth growth)
{
    set->growth = growth;
    set->grow = growth_op(set);
    set->grow.done = growth_done;
    set->grow.context = set;
    io_submit(set->io, &set->grow);
}

/* The lowest segment that is not there. */
static uint32_t missing_number(const struct segment_set *set)
{
    uint32_t number = 0;
    while (set->present < set->count && number < set->count &&
           set->segments[number]->file != NULL) {
        number++;
    }
    return set->present < set->count ? number : set->count;
}

static int growth_begin(struct segment_set *set)
{
    set->growing_number = missing_number(set);
    if (set->growing_number >= segment_numbers_end(set)) {
        return -ENOSPC;
    }
    segment_header_fill(set, set->growing_number);
    return io_file_open(set->io, set->dir, unfinished_name(set->growing_number).text,
                        IO_OPEN_CREATE | IO_OPEN_DIRECT, &set->growing);
}

static int growth_name(struct segment_set *set)
{
    return io_rename(set->io, set->dir, unfinished_name(set->growing_number).text,
                     segment_name(set->growing_number).text);
}

static int growth_end(struct segment_set *set)
{
    const int result = segment_set_insert(set, set->growing_number, set->growing);
    if (result == 0) {
        set->growing = NULL;
        set->growth = GROWTH_IDLE;
    }
    return result;
}

static void growth_done(struct io_op *op, int result)
{
    struct segment_set *set = op->context;
    if (result != 0) {
        growth_fail(set, result);
        return;
    }
    switch (set->growth) {
    case GROWTH_ALLOCATING:
        crash_point("segment.allocated");
        growth_enter(set, GROWTH_WRITING);
        return;
    case GROWTH_WRITING:
        crash_point("segment.header_written");
        growth_enter(set, GROWTH_SYNCING);
        return;
    case GROWTH_SYNCING:
        result = growth_name(set);
        if (result == 0) {
            crash_point("segment.named");
            growth_enter(set, GROWTH_NAMING);
        }
        break;
    case GROWTH_NAMING:
        result = growth_end(set);
        if (result == 0) {
            segment_ahead(set);
            tell(set, 0);
        }
        break;
    case GROWTH_IDLE:
    case GROWTH_REFUSED:
    case GROWTH_FAILED:
        ensure(!"growth waits for no operation");
    }
    if (result != 0) {
        growth_fail(set, result);
    }
}

/* Free groups below which another segment is made. */
static uint32_t groups_wanted(const struct segment_set *set)
{
    return set->slots.system_groups + set->segment_groups / 4;
}

static void grow_ahead(struct segment_set *set)
{
    if (set->stopped || set->growth != GROWTH_IDLE ||
        slot_map_free_groups(&set->slots) >= groups_wanted(set)) {
        return;
    }
    const int result = growth_begin(set);
    if (result == 0) {
        growth_enter(set, GROWTH_ALLOCATING);
    } else {
        growth_fail(set, result);
    }
}

int segment_set_add_now(struct segment_set *set, struct fault *fault)
{
    ensure(set->growth == GROWTH_IDLE);
    static const enum segment_growth steps[] = {GROWTH_ALLOCATING, GROWTH_WRITING, GROWTH_SYNCING,
                                                GROWTH_NAMING};
    int result = growth_begin(set);
    for (size_t i = 0; i < sizeof steps / sizeof *steps && result == 0; i++) {
        set->growth = steps[i];
        if (steps[i] == GROWTH_NAMING) {
            result = growth_name(set);
            crash_point("segment.named");
        }
        if (result == 0) {
            struct io_op op = growth_op(set);
            result = io_now(set->io, &op);
            crash_point("segment.step");
        }
    }
    if (result == 0) {
        result = growth_end(set);
    }
    if (result == 0) {
        return 0;
    }
    io_file_close(set->io, set->growing);
    set->growing = NULL;
    set->growth = GROWTH_IDLE;
    (void)io_unlink(set->io, set->dir, unfinished_name(set->growing_number).text);
    return fault_set(fault, result, "a segment of %llu bytes cannot be made in %s: %s%s",
                     (unsigned long long)set->segment_bytes, set->path, strerror(-result),
                     result == -EOPNOTSUPP ? "; its file system cannot preallocate files" : "");
}

/* The zero-written reserve. */

static void zero_done(struct io_op *op, int result);

static void zero_next(struct segment_set *set)
{
    const uint32_t slot = set->zeroed_group * GROUP_UNITS;
    set->zero = (struct io_op){
        .kind = IO_WRITE,
        .dsync = true,
        .file = slot_file(set, slot),
        .buffer = set->zeros,
        .bytes = SEGMENT_ZERO_BYTES,
        .offset = slot_offset(set, slot) + set->zeroed_bytes,
        .done = zero_done,
        .context = set,
    };
    io_submit(set->io, &set->zero);
}

static void zero_done(struct io_op *op, int result)
{
    struct segment_set *set = op->context;
    set->zeroed_bytes += SEGMENT_ZERO_BYTES;
    if (result == 0 && set->zeroed_bytes < set->chunk_bytes && !set->stopped) {
        zero_next(set);
        return;
    }
    set->zeroing = false;
    slot_map_unhold(&set->slots, set->zeroed_group,
                    result == 0 && set->zeroed_bytes == set->chunk_bytes);
    if (result != 0) {
        tell(set, result);
        return;
    }
    segment_ahead(set);
}

static void zero_ahead(struct segment_set *set)
{
    if (set->stopped || set->zeroing || set->growth == GROWTH_FAILED ||
        slot_map_free_written(&set->slots) >= set->slots.written_groups ||
        slot_map_free_groups(&set->slots) <= set->slots.system_groups + 1) {
        return;
    }
    const uint32_t group = slot_map_hold_fresh(&set->slots);
    if (group != GROUP_NONE) {
        set->zeroing = true;
        set->zeroed_group = group;
        set->zeroed_bytes = 0;
        zero_next(set);
    }
}

void segment_ahead(struct segment_set *set)
{
    grow_ahead(set);
    zero_ahead(set);
}

void segment_set_tick(struct segment_set *set, uint64_t now_ns)
{
    if (set->growth == GROWTH_REFUSED) {
        if (set->retry_ns == 0) {
            set->retry_ns = now_ns + SEGMENT_RETRY_NS;
        } else if (now_ns >= set->retry_ns) {
            set->growth = GROWTH_IDLE;
        }
    }
    segment_ahead(set);
}

/* Giving back. */

static bool segment_is_free(const struct segment_set *set, const struct segment *segment)
{
    const bool zeroed = set->zeroing && set->zeroed_group / set->segment_groups == segment->number;
    return segment->file != NULL && segment->units_used == 0 && !segment->touched && !zeroed;
}

/* False: it stays, free; the next window tries again. */
static bool segment_remove(struct segment_set *set, struct segment *segment)
{
    if (io_unlink(set->io, set->dir, segment_name(segment->number).text) != 0) {
        return false;
    }
    crash_point("segment.removed");
    slot_map_close(&set->slots, segment->number * set->segment_groups, set->segment_groups);
    io_file_close(set->io, segment->file);
    segment->file = NULL;
    set->present--;
    return true;
}

/* A new window begins where one has ended. */
static void peak_note(struct segment_set *set, uint64_t now_ns)
{
    const uint32_t used = set->present * set->segment_groups - slot_map_free_groups(&set->slots);
    if (used > set->peak) {
        set->peak = used;
    }
    if (now_ns >= set->window_end_ns) {
        set->peak_before = set->window_end_ns == 0 ? UINT32_MAX : set->peak;
        set->peak = used;
        set->window_end_ns = now_ns + set->window_ns;
    }
}

/* Would what was in use at the most, and a quarter more of a segment than what makes one grow, fit
 * into one segment less? */
static bool segment_is_spare(const struct segment_set *set)
{
    const uint64_t peak = set->peak > set->peak_before ? set->peak : set->peak_before;
    const uint64_t wanted = peak + groups_wanted(set) + set->segment_groups / 4;
    return (set->present - 1) * (uint64_t)set->segment_groups >= wanted;
}

void segment_set_give_back(struct segment_set *set, uint64_t now_ns, bool quiet)
{
    peak_note(set, now_ns);
    if (now_ns < set->remove_ns || (!quiet && !set->removing)) {
        return;
    }
    set->remove_ns = now_ns + set->window_ns / SEGMENT_REMOVALS_PER_WINDOW;
    if (!quiet) {
        return;
    }
    set->removing = false;
    if (set->stopped || set->growth != GROWTH_IDLE || !segment_is_spare(set)) {
        return;
    }
    for (uint32_t number = set->count; number-- > 0 && !set->removing;) {
        if (segment_is_free(set, set->segments[number])) {
            set->removing = segment_remove(set, set->segments[number]);
        }
    }
    set->kept = !set->removing;
}

void segment_set_stop(struct segment_set *set)
{
    set->stopped = true;
}

void segment_set_resume(struct segment_set *set)
{
    set->stopped = false;
}

void segment_set_reserve(struct segment_set *set, uint32_t zeroed_groups)
{
    set->slots.written_groups = zeroed_groups;
    segment_ahead(set);
}

bool segment_set_busy(const struct segment_set *set)
{
    return set->zeroing || set->growing != NULL;
}
