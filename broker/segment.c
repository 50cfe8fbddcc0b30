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

/* Puts an open segment in its place. On failure the file stays the caller's. */
int segment_set_insert(struct segment_set *set, struct io_file *file)
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
    segment->file = file;
    set->segments[set->count++] = segment;
    return 0;
}

/* What a directory listing found. */
struct listing {
    struct segment_set *set;
    uint64_t count;
    uint64_t end; /* the highest number + 1 */
    int result;
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
    listing->count++;
    if (number >= listing->end) {
        listing->end = number + 1;
    }
    return 0;
}

static int segment_check(struct segment_set *set, uint32_t number, struct io_file *file,
                         struct fault *fault)
{
    const struct segment_path path = segment_path(set, number);
    uint64_t bytes;
    int result = io_file_size(set->io, file, &bytes);
    if (result == 0 && bytes != set->segment_bytes) {
        return fault_set(fault, -EBADMSG,
                         "%s has %" PRIu64 " bytes, %" PRIu64
                         " were expected: it was cut or extended; restore the store from a backup",
                         path.text, bytes, set->segment_bytes);
    }
    if (result == 0) {
        result = io_sync_now(set->io, file);
    }
    if (result == 0) {
        result = io_read_now(set->io, file, set->header, SEGMENT_HEADER_BYTES, 0);
    }
    if (result != 0) {
        return fault_set(fault, result, "%s cannot be read: %s", path.text, strerror(-result));
    }
    return segment_header_check(set, number, path.text, fault);
}

static int segment_open(struct segment_set *set, uint32_t number, struct fault *fault)
{
    struct io_file *file = NULL;
    int result = io_file_open(set->io, set->dir, segment_name(number).text, IO_OPEN_DIRECT, &file);
    if (result == -ENOENT) {
        return fault_set(fault, -EBADMSG,
                         "%s is missing, although later segments are there: restore the store from "
                         "a backup",
                         segment_path(set, number).text);
    }
    if (result == -ELOOP || result == -EISDIR || result == -EINVAL || result == -ENXIO) {
        return fault_set(fault, -EBADMSG,
                         "%s is not a regular file: something else was put in its place",
                         segment_path(set, number).text);
    }
    if (result != 0) {
        return fault_set(fault, result, "%s cannot be opened: %s", segment_path(set, number).text,
                         strerror(-result));
    }
    result = segment_check(set, number, file, fault);
    if (result == 0) {
        result = segment_set_insert(set, file);
        if (result != 0) {
            fault_set(fault, result, "no memory for %s", segment_path(set, number).text);
        }
    }
    if (result != 0) {
        io_file_close(set->io, file);
    }
    return result;
}

static int open_all(struct segment_set *set, struct fault *fault)
{
    struct listing listing = {.set = set};
    const int result = io_dir_list(set->io, set->dir, list_one, &listing);
    if (result != 0) {
        return fault_set(fault, result, "%s cannot be read: %s", set->path, strerror(-result));
    }
    /* Numbers are dense, so a missing one shows; this also bounds what a strange name can cost. */
    const uint64_t end = listing.end > listing.count ? listing.count + 1 : listing.end;
    for (uint64_t number = 0; number < end; number++) {
        const int opened = segment_open(set, (uint32_t)number, fault);
        if (opened != 0) {
            return opened;
        }
    }
    return 0;
}

static int set_init(struct segment_set *set, const struct store_dir *store,
                    const struct superblock *superblock, const struct segment_config *config)
{
    *set = (struct segment_set){
        .config = *config,
        .io = store->io,
        .dir = store->segments,
        .chunk_bytes = superblock->chunk_bytes,
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
        io_file_close(set->io, set->segments[i]->file);
        free(set->segments[i]);
    }
    free(set->segments);
    free(set->header);
    free(set->zeros);
    slot_map_deinit(&set->slots);
    *set = (struct segment_set){0};
}

int segment_set_mark(struct segment_set *set, uint32_t slot, bool small)
{
    return slot_map_mark(&set->slots, slot, small);
}

int slot_allocate(struct segment_set *set, unsigned flags, uint32_t *slot)
{
    const bool taken = slot_map_take(&set->slots, flags, slot);
    segment_ahead(set);
    if (taken) {
        return 0;
    }
    return set->growth == GROWTH_REFUSED || set->growth == GROWTH_FAILED ? -ENOSPC : -EAGAIN;
}

void slot_release(struct segment_set *set, uint32_t slot, bool small)
{
    slot_map_release(&set->slots, slot, small);
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
