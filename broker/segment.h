/*
 * Segments: the preallocated files of a store, their slots, and both ahead of need.
 * Runs on:    segment_set_open() and _add_now() on the thread that opens the store; the rest on the
 *             engine's thread.
 * Invariants: segment n is segments/%016x.seg, of segment_bytes, all allocated; its header takes
 *             the first S bytes, so slot 0 of a segment is never handed out. A file gets its .seg
 *             name when it is complete and synced, and its slots are handed out once the name is
 *             durable too. Slots of the zero-written reserve are durable zeros before they are
 *             handed out. A segment of which no slot is in use may be missing. One that is not
 *             needed goes, the last first: what is in use, what was at the most in the last
 *             seconds, and the reserve fit into the others. A segment that only the system topic's
 *             log keeps from going is the snapshot's to free (snapshot.h). No record names its
 *             slots, since slots are free only once that is durable; if the removal is lost in a
 *             crash, the file is there again and free. No space for a new segment is a refusal,
 *             tried again by segment_set_tick(); any other error is told to `changed`, and the
 *             caller fences the store.
 * Trust:      headers and slot numbers from disk are checked; -EBADMSG names file and offset.
 * Not here:   who uses a slot (topics, recovery.h); writing chunks (flush).
 */
#ifndef TUSK_BROKER_SEGMENT_H
#define TUSK_BROKER_SEGMENT_H

#include "broker/io.h"
#include "broker/slot_map.h"
#include "broker/store_dir.h"
#include "broker/superblock.h"

struct fault;

enum {
    SEGMENT_NAME_BYTES = 32,
    SEGMENT_DIR_BYTES = STORE_PATH_BYTES,
    /* Chunks of the zero-written reserve, unless told otherwise. */
    SEGMENT_ZEROED_DEFAULT = 16,
    /* Chunks that only the system topic may take: two snapshots and the chunks of one flush. */
    SEGMENT_SYSTEM_DEFAULT = 4,
};
#define SEGMENT_RETRY_NS UINT64_C(1000000000)
/* A segment goes when it was not needed for one to two of these. */
#define SEGMENT_WINDOW_NS UINT64_C(5000000000)
/* And this part of a window after another one at the earliest, as removing a file holds up the
 * engine. */
#define SEGMENT_REMOVALS_PER_WINDOW UINT64_C(100)

struct segment {
    uint32_t number;
    struct io_file *file; /* NULL: the segment is missing, none of its slots is in use */
    uint32_t units_used;  /* of its slots */
    uint32_t units_log;   /* of these, what a snapshot would free: for who looks for that */
    bool touched;
    struct segment *next_touched;
};

/* How far the making of the next segment is. */
enum segment_growth {
    GROWTH_IDLE,
    GROWTH_ALLOCATING,
    GROWTH_WRITING,
    GROWTH_SYNCING,
    GROWTH_NAMING, /* the directory is being synced */
    GROWTH_REFUSED,
    GROWTH_FAILED,
};

struct segment_config {
    uint32_t zeroed_groups; /* the zero-written reserve; 0: none */
    uint32_t system_groups;
    /* Slots became available (0), a segment was refused (-ENOSPC), or an error: fence. May be
     * NULL. */
    void (*changed)(void *context, int result);
    void *context;
};

struct segment_set {
    struct segment_config config;
    struct io *io;
    struct io_file *dir;
    char path[SEGMENT_DIR_BYTES]; /* of the directory, for words */
    uint8_t uuid[STORE_UUID_BYTES];
    uint64_t chunk_bytes;
    uint64_t segment_bytes;
    uint32_t segment_groups;
    struct slot_map slots;

    struct segment **segments; /* by number */
    uint32_t count;
    uint32_t present; /* those with a file */
    uint32_t max;     /* allocated */
    struct segment *touched;

    enum segment_growth growth;
    uint64_t retry_ns; /* of GROWTH_REFUSED; 0: not set yet */
    struct io_file *growing;
    uint32_t growing_number;
    struct io_op grow;
    uint8_t *header; /* a block */

    bool zeroing;
    uint32_t zeroed_group;
    uint64_t zeroed_bytes;
    struct io_op zero;
    uint8_t *zeros;

    /* Groups in use at the most in this window of time, and in the one before. */
    uint32_t peak;
    uint32_t peak_before;
    uint64_t window_ns;     /* SEGMENT_WINDOW_NS, unless a test wants less */
    uint64_t window_end_ns; /* 0: none has begun */
    uint64_t remove_ns;     /* none goes before */
    bool removing;          /* another one may go then */
    bool kept;              /* one is not needed, but of each a slot is in use */

    bool stopped;
};

/*
 * Opens all segments of a loaded store, syncs and checks them, and removes what was never finished.
 * All slots are free until segment_set_mark() says otherwise. On failure the set is closed.
 */
int segment_set_open(struct segment_set *set, const struct store_dir *store,
                     const struct superblock *superblock, const struct segment_config *config,
                     struct fault *fault);

/* Nothing of the set is in flight: segment_set_stop(), then wait until segment_set_busy() is
 * false. */
void segment_set_close(struct segment_set *set);
void segment_set_stop(struct segment_set *set);
void segment_set_resume(struct segment_set *set);
bool segment_set_busy(const struct segment_set *set);

/* So many chunks of zero-written reserve from now on. */
void segment_set_reserve(struct segment_set *set, uint32_t zeroed_groups);

/* Makes one more segment, blocking. For a new store, and for recovery without a free slot. */
int segment_set_add_now(struct segment_set *set, struct fault *fault);

/* Takes a slot that a record names: -EBADMSG if it lies outside the segments or is taken. */
int segment_set_mark(struct segment_set *set, uint32_t slot, bool small);

/* Begins to grow and to write zeros ahead, and tries again what was refused a second ago. Cheap;
 * called about every second, and by slot_allocate() and slot_release() where needed. */
void segment_set_tick(struct segment_set *set, uint64_t now_ns);

/* Once per pass, cheap: removes a segment that is not needed; `quiet`: no sync is in flight. */
void segment_set_give_back(struct segment_set *set, uint64_t now_ns, bool quiet);

/* Once after each look at which one could have gone, had it not held a slot that is in use. */
static inline bool segment_set_take_kept(struct segment_set *set)
{
    const bool kept = set->kept;
    set->kept = false;
    return kept;
}

/* When that may do something, or UINT64_MAX. */
static inline uint64_t segment_set_next_ns(const struct segment_set *set)
{
    return set->removing ? set->remove_ns : UINT64_MAX;
}

/* Numbers of segments are below this: their slots' numbers have 32 bits. */
static inline uint64_t segment_numbers_end(const struct segment_set *set)
{
    return UINT32_MAX / GROUP_UNITS / set->segment_groups - 1;
}

/* Is the slot one of a segment that is there? For numbers from disk. */
bool segment_has_slot(const struct segment_set *set, uint32_t slot);

/* flags: enum slot_flag. 0; -EAGAIN: a segment is being made, `changed` follows; -ENOSPC:
 * refused. */
int slot_allocate(struct segment_set *set, unsigned flags, uint32_t *slot);
void slot_release(struct segment_set *set, uint32_t slot, bool small);

static inline struct segment *slot_segment(const struct segment_set *set, uint32_t slot)
{
    return set->segments[slot / GROUP_UNITS / set->segment_groups];
}

static inline struct io_file *slot_file(const struct segment_set *set, uint32_t slot)
{
    return slot_segment(set, slot)->file;
}

/* Where the slot begins in its file. */
static inline uint64_t slot_offset(const struct segment_set *set, uint32_t slot)
{
    const uint32_t segment_units = set->segment_groups * GROUP_UNITS;
    return (uint64_t)(slot % segment_units) * (set->chunk_bytes / GROUP_UNITS);
}

/* Notes that the slot's segment needs an fdatasync. */
void segment_touch(struct segment_set *set, uint32_t slot);

/* A touched segment, which counts as untouched from now on, or NULL: there is none left. */
struct segment *segment_take_touched(struct segment_set *set);

struct segment_name {
    char text[SEGMENT_NAME_BYTES];
};

struct segment_name segment_name(uint32_t number);

/* The number in "%016x.seg", or in "%016x.seg.new" of an unfinished one; false: the name is none of
 * ours. */
bool segment_name_parse(const char *name, uint64_t *number, bool *unfinished);

/* "DIR/%016x.seg", for words. */
struct segment_path {
    char text[SEGMENT_DIR_BYTES + SEGMENT_NAME_BYTES];
};
struct segment_path slot_path(const struct segment_set *set, uint32_t slot);

/* What the files take. */
static inline uint64_t segment_set_bytes(const struct segment_set *set)
{
    return (uint64_t)set->present * set->segment_bytes;
}

#endif
