/* Segments: the files, and slots in use. See segment.h; growing and zeros: segment_ahead.c. */
#include "broker/segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/fault.h"
#include "broker/segment_ahead.h"
#include "broker/segment_header.h"
#include "shm/cleanup.h"
#include "shm/crash_point.h"
#include "shm/ensure.h"

struct segment_name segment_name(uint32_t number)
{
    struct segment_name name;
    snprintf(name.text, sizeof name.text, "%016" PRIx32 ".seg", number);
    return name;
}

static struct segment_path segment_path(const struct segment_set *set, uint32_t number)
{
    struct segment_path path;
    snprintf(path.text, sizeof path.text, "%s/%s", set->path, segment_name(number).text);
    return path;
}

struct segment_path slot_path(const struct segment_set *set, uint32_t slot)
{
    return segment_path(set, slot / GROUP_UNITS / set->segment_groups);
}

/* A place for one more segment, which is missing. */
static int place_add(struct segment_set *set)
{
    if (set->count == set->max) {
        const uint32_t max = set->max == 0 ? 16 : set->max * 2;
        struct segment **larger = realloc(set->segments, (size_t)max * sizeof(struct segment *));
        if (larger == NULL) {
            return -ENOMEM;
        }
        set->segments = larger;
        set->max = max;
    }
    struct segment *segment = calloc(1, sizeof *segment);
    if (segment == NULL || slot_map_grow(&set->slots, set->segment_groups) != 0) {
        free(segment);
        return -ENOMEM;
    }
    segment->number = set->count;
    set->segments[set->count++] = segment;
    return 0;
}

/* Puts an open segment in its place. On failure the file stays the caller's. */
int segment_set_insert(struct segment_set *set, uint32_t number, struct io_file *file)
{
    while (set->count <= number) {
        const int result = place_add(set);
        if (result != 0) {
            return result;
        }
    }
    ensure(set->segments[number]->file == NULL);
    set->segments[number]->file = file;
    set->present++;
    slot_map_open(&set->slots, number * set->segment_groups, set->segment_groups);
    return 0;
}

/* What a directory listing found. */
struct listing {
    struct segment_set *set;
    uint64_t *numbers;
    size_t count;
    size_t max; /* allocated */
};

bool segment_name_parse(const char *name, uint64_t *number, bool *unfinished)
{
    char expected[SEGMENT_NAME_BYTES];
    char *end;
    *number = strtoull(name, &end, 16);
    snprintf(expected, sizeof expected, "%016" PRIx64, *number);
    if (strncmp(name, expected, 16) != 0) {
        return false;
    }
    *unfinished = strcmp(name + 16, ".seg.new") == 0;
    return *unfinished || strcmp(name + 16, ".seg") == 0;
}

static int list_one(void *context, const char *name)
{
    struct listing *listing = context;
    uint64_t number;
    bool unfinished;
    if (!segment_name_parse(name, &number, &unfinished)) {
        return 0;
    }
    if (unfinished) {
        return io_unlink(listing->set->io, listing->set->dir, name);
    }
    if (listing->count == listing->max) {
        const size_t max = listing->max == 0 ? 64 : listing->max * 2;
        uint64_t *larger = realloc(listing->numbers, max * sizeof *larger);
        if (larger == NULL) {
            return -ENOMEM;
        }
        listing->numbers = larger;
        listing->max = max;
    }
    listing->numbers[listing->count++] = number;
    return 0;
}

static int number_order(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left;
    const uint64_t b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

/* So many segments are opened at once: each is synced, and its header read. */
enum { OPENINGS = 32 };

/* A segment that is being opened. */
struct opening {
    struct segment_set *set;
    uint32_t number;
    struct io_file *file; /* NULL: the place is free */
    uint8_t *header;
    struct io_op sync;
    struct io_op read;
    unsigned outstanding;
    int result;
};

static void opening_done(struct io_op *op, int result)
{
    struct opening *opening = op->context;
    opening->outstanding--;
    if (result != 0 && opening->result == 0) {
        opening->result = result;
    }
}

/* Opens the file, and begins to sync it and to read its header. */
static int opening_begin(struct opening *opening, uint32_t number, struct fault *fault)
{
    struct segment_set *set = opening->set;
    const struct segment_path path = segment_path(set, number);
    uint64_t bytes;
    int result =
        io_file_open(set->io, set->dir, segment_name(number).text, IO_OPEN_DIRECT, &opening->file);
    if (result == -ELOOP || result == -EISDIR || result == -EINVAL || result == -ENXIO) {
        return fault_set(fault, -EBADMSG,
                         "%s is not a regular file: something else was put in its place",
                         path.text);
    }
    if (result != 0) {
        return fault_set(fault, result, "%s cannot be opened: %s", path.text, strerror(-result));
    }
    result = io_file_size(set->io, opening->file, &bytes);
    if (result != 0) {
        return fault_set(fault, result, "%s cannot be read: %s", path.text, strerror(-result));
    }
    if (bytes != set->segment_bytes) {
        return fault_set(fault, -EBADMSG,
                         "%s has %" PRIu64 " bytes, %" PRIu64
                         " were expected: it was cut or extended; restore the store from a backup",
                         path.text, bytes, set->segment_bytes);
    }
    opening->number = number;
    opening->result = 0;
    opening->outstanding = 2;
    opening->sync = (struct io_op){
        .kind = IO_FSYNC, .file = opening->file, .done = opening_done, .context = opening};
    opening->read = (struct io_op){.kind = IO_READ,
                                   .file = opening->file,
                                   .buffer = opening->header,
                                   .bytes = SEGMENT_HEADER_BYTES,
                                   .done = opening_done,
                                   .context = opening};
    io_submit(set->io, &opening->sync);
    io_submit(set->io, &opening->read);
    return 0;
}

static void opening_await(struct opening *opening)
{
    while (opening->outstanding > 0) {
        const int outcome = io_wait(opening->set->io, IO_FOREVER);
        if (outcome < 0 && opening->result == 0) {
            opening->result = outcome; /* its operations still have to end */
        }
    }
}

/* The header is checked before the segment takes its place, so that a strange name costs nothing. */
static int opening_finish(struct opening *opening, struct fault *fault)
{
    struct segment_set *set = opening->set;
    opening_await(opening);
    const struct segment_path path = segment_path(set, opening->number);
    if (opening->result != 0) {
        return fault_set(fault, opening->result, "%s cannot be read: %s", path.text,
                         strerror(-opening->result));
    }
    memcpy(set->header, opening->header, SEGMENT_HEADER_BYTES);
    int result = segment_header_check(set, opening->number, path.text, fault);
    if (result == 0) {
        result = segment_set_insert(set, opening->number, opening->file);
        if (result != 0) {
            return fault_set(fault, result, "no memory for %s", path.text);
        }
        opening->file = NULL;
    }
    return result;
}

static int number_check(const struct segment_set *set, uint64_t number, struct fault *fault)
{
    return number < segment_numbers_end(set)
               ? 0
               : fault_set(fault, -EBADMSG,
                           "%s/%016" PRIx64 ".seg is no segment of this store, whose numbers are "
                           "lower: move it elsewhere",
                           set->path, number);
}

/* Opens the segments in the order of their numbers, OPENINGS at once. */
static int open_listed(struct segment_set *set, const struct listing *listing,
                       struct opening *openings, struct fault *fault)
{
    int result = 0;
    for (size_t i = 0; i < listing->count + OPENINGS && result == 0; i++) {
        struct opening *opening = &openings[i % OPENINGS];
        if (opening->file != NULL) {
            result = opening_finish(opening, fault);
        }
        if (result == 0 && i < listing->count) {
            result = number_check(set, listing->numbers[i], fault);
        }
        if (result == 0 && i < listing->count) {
            result = opening_begin(opening, (uint32_t)listing->numbers[i], fault);
        }
    }
    return result;
}

static int open_all(struct segment_set *set, struct fault *fault)
{
    struct listing listing = {.set = set};
    struct opening openings[OPENINGS] = {0};
    cleanup_free uint8_t *headers = io_buffer_new((uint64_t)OPENINGS * SEGMENT_HEADER_BYTES);
    int result = headers == NULL ? -ENOMEM : io_dir_list(set->io, set->dir, list_one, &listing);
    if (result != 0) {
        free(listing.numbers);
        return fault_set(fault, result, "%s cannot be read: %s", set->path, strerror(-result));
    }
    if (listing.count > 0) {
        qsort(listing.numbers, listing.count, sizeof *listing.numbers, number_order);
    }
    for (unsigned i = 0; i < OPENINGS; i++) {
        openings[i].set = set;
        openings[i].header = headers + (size_t)i * SEGMENT_HEADER_BYTES;
    }
    result = open_listed(set, &listing, openings, fault);
    for (unsigned i = 0; i < OPENINGS; i++) {
        opening_await(&openings[i]);
        io_file_close(set->io, openings[i].file);
    }
    free(listing.numbers);
    return result;
}

static int set_init(struct segment_set *set, const struct store_dir *store,
                    const struct superblock *superblock, const struct segment_config *config)
{
    *set = (struct segment_set){
        .config = *config,
        .io = store->io,
        .dir = store->segments,
        .chunk_bytes = superblock->chunk_bytes,
        .window_ns = SEGMENT_WINDOW_NS,
        .segment_bytes = superblock->segment_bytes,
        .segment_groups = (uint32_t)(superblock->segment_bytes / superblock->chunk_bytes),
    };
    const struct store_path path = store_dir_path(store, "segments");
    memcpy(set->path, path.text, sizeof set->path);
    memcpy(set->uuid, superblock->uuid, sizeof set->uuid);
    slot_map_init(&set->slots, config->system_groups, config->zeroed_groups);
    set->header = io_buffer_new(SEGMENT_HEADER_BYTES);
    set->zeros = io_buffer_new(SEGMENT_ZERO_BYTES);
    return set->header == NULL || set->zeros == NULL ? -ENOMEM : 0;
}

int segment_set_open(struct segment_set *set, const struct store_dir *store,
                     const struct superblock *superblock, const struct segment_config *config,
                     struct fault *fault)
{
    int result = set_init(set, store, superblock, config);
    if (result != 0) {
        fault_set(fault, result, "no memory to open the segments of %s", store->path);
    } else {
        result = open_all(set, fault);
    }
    if (result != 0) {
        segment_set_close(set);
    }
    return result;
}

void segment_set_close(struct segment_set *set)
{
    ensure(!segment_set_busy(set));
    for (uint32_t i = 0; i < set->count; i++) {
        if (set->segments[i]->file != NULL) {
            io_file_close(set->io, set->segments[i]->file);
        }
        free(set->segments[i]);
    }
    free(set->segments);
    free(set->header);
    free(set->zeros);
    slot_map_deinit(&set->slots);
    *set = (struct segment_set){0};
}

static uint32_t units_of(bool small)
{
    return small ? 1 : GROUP_UNITS;
}

bool segment_has_slot(const struct segment_set *set, uint32_t slot)
{
    const uint32_t number = slot / GROUP_UNITS / set->segment_groups;
    return number < set->count && set->segments[number]->file != NULL;
}

int segment_set_mark(struct segment_set *set, uint32_t slot, bool small)
{
    const int result = slot_map_mark(&set->slots, slot, small);
    if (result == 0) {
        slot_segment(set, slot)->units_used += units_of(small);
    }
    return result;
}

int slot_allocate(struct segment_set *set, unsigned flags, uint32_t *slot)
{
    const bool taken = slot_map_take(&set->slots, flags, slot);
    if (taken) {
        slot_segment(set, *slot)->units_used += units_of((flags & SLOT_SMALL) != 0);
    }
    segment_ahead(set);
    if (taken) {
        return 0;
    }
    return set->growth == GROWTH_REFUSED || set->growth == GROWTH_FAILED ? -ENOSPC : -EAGAIN;
}

void slot_release(struct segment_set *set, uint32_t slot, bool small)
{
    slot_map_release(&set->slots, slot, small);
    slot_segment(set, slot)->units_used -= units_of(small);
}

void segment_touch(struct segment_set *set, uint32_t slot)
{
    struct segment *segment = slot_segment(set, slot);
    if (!segment->touched) {
        segment->touched = true;
        segment->next_touched = set->touched;
        set->touched = segment;
    }
}

struct segment *segment_take_touched(struct segment_set *set)
{
    struct segment *segment = set->touched;
    if (segment != NULL) {
        set->touched = segment->next_touched;
        segment->touched = false;
    }
    return segment;
}
