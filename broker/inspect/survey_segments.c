/* Survey of segments: see survey_segments.h. */
#include "broker/inspect/survey_segments.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "broker/fault.h"
#include "broker/inspect/survey.h"
#include "broker/segment.h"
#include "broker/segment_header.h"
#include "shm/cleanup.h"

/* Segments beside those that are there: given back, or counted by a strange name. */
enum { SEGMENTS_SPARE = 65536 };

static const char prefix[] = "segments/";

static const char *base_name(const struct survey_file *file)
{
    return file->name + sizeof prefix - 1;
}

static int segment_name_add(void *context, const char *name)
{
    struct survey *survey = context;
    return survey_file_add(survey, prefix, name) == NULL ? -ENOMEM : 0;
}

static void note(struct survey *survey, const struct survey_file *file, enum finding_kind kind,
                 const char *words)
{
    const struct store_path path = survey_path(survey, file->name);
    const struct finding finding = {.kind = kind, .weight = WEIGHT_NOTE, .file = path.text};
    finding_add(survey->findings, &finding, "%s", words);
}

/* A name that is no segment's. */
static void other_look(struct survey *survey, struct survey_file *file, bool unfinished)
{
    struct io_file *opened = NULL;
    if (io_file_open(survey->io, survey->dir.segments, base_name(file), IO_OPEN_READ, &opened) ==
        0) {
        (void)io_file_size(survey->io, opened, &file->bytes);
    }
    io_file_close(survey->io, opened);
    if (unfinished) {
        note(survey, file, FINDING_UNFINISHED,
             "the making of a segment was cut short here; the next start removes it");
    } else {
        note(survey, file, FINDING_UNKNOWN_FILE, "no segment has such a name; it is ignored");
    }
}

/* A damaged header costs nothing by itself: the name says which segment it is. */
static void header_damaged(struct survey *survey, const char *path, int result)
{
    const struct finding finding = {.kind = result == -EPROTO ? FINDING_VERSION
                                                              : FINDING_SEGMENT_HEADER,
                                    .weight = WEIGHT_DAMAGE,
                                    .file = path,
                                    .bytes = SEGMENT_HEADER_BYTES};
    if (result == -EPROTO) {
        finding_add(survey->findings, &finding, "it was written by a newer version of Tusk");
    } else {
        finding_add(survey->findings, &finding,
                    "the segment's header is damaged, or it is no segment of a Tusk store; what "
                    "follows is taken for the segment that its name says");
    }
}

/* Whose is it, by its header? */
static void header_apply(struct survey *survey, struct survey_file *file,
                         const struct segment_header *header)
{
    const struct store_path path = survey_path(survey, file->name);
    struct finding finding = {.kind = FINDING_FOREIGN, .weight = WEIGHT_DAMAGE, .file = path.text};
    if (survey->superblock_known &&
        memcmp(header->uuid, survey->superblock.uuid, sizeof header->uuid) != 0) {
        finding_add(survey->findings, &finding,
                    "it belongs to another store: put the store's own segment back");
        return;
    }
    file->used = true;
    if (survey->chunk_bytes == 0) {
        survey->chunk_bytes = header->chunk_bytes;
        survey->segment_bytes = header->segment_bytes;
    }
    if (header->chunk_bytes != survey->chunk_bytes ||
        header->segment_bytes != survey->segment_bytes) {
        finding.kind = FINDING_SIZES;
        finding_add(survey->findings, &finding, "it has other sizes than its store");
    }
    if (header->number != file->number) {
        finding.kind = FINDING_MISPLACED;
        finding_add(survey->findings, &finding,
                    "it holds segment %" PRIx64
                    ": segments were renamed or swapped; give each its own name back",
                    header->number);
        file->number = header->number;
    }
}

static int segment_look(struct survey *survey, uint32_t index, uint8_t *block)
{
    struct survey_file *file = &survey->files[index];
    bool unfinished = false;
    uint64_t number;
    if (!segment_name_parse(base_name(file), &number, &unfinished) || unfinished) {
        other_look(survey, file, unfinished);
        return 0;
    }
    file->segment = true;
    file->number = number;
    if (survey_file_open(survey, survey->dir.segments, base_name(file), file) != 0) {
        return 0;
    }
    survey_read(survey, file, block, SEGMENT_HEADER_BYTES, 0);
    struct segment_header header;
    const int result = segment_header_decode(&header, block);
    if (result == 0) {
        header_apply(survey, file, &header);
    } else {
        header_damaged(survey, survey_path(survey, file->name).text, result);
        file->used = true;
    }
    return 0;
}

static void size_check(struct survey *survey, const struct survey_file *file)
{
    if (!file->segment || file->file == NULL || file->bytes == survey->segment_bytes) {
        return;
    }
    const struct store_path path = survey_path(survey, file->name);
    const uint64_t less = file->bytes < survey->segment_bytes ? file->bytes : survey->segment_bytes;
    const struct finding finding = {
        .kind = FINDING_FILE_SIZE, .weight = WEIGHT_DAMAGE, .file = path.text, .offset = less};
    finding_add(survey->findings, &finding,
                "it has %" PRIu64 " bytes, %" PRIu64 " were expected: it was %s", file->bytes,
                survey->segment_bytes, file->bytes < survey->segment_bytes ? "cut" : "extended");
}

/* Puts a segment in its place; of two that claim it, the one that has its name. */
static void segment_place(struct survey *survey, struct survey_file *file)
{
    struct survey_file **place = &survey->segments[file->number];
    if (*place == NULL) {
        *place = file;
        return;
    }
    uint64_t number;
    bool unfinished;
    const bool named =
        segment_name_parse(base_name(file), &number, &unfinished) && number == file->number;
    (named ? *place : file)->used = false;
    if (named) {
        *place = file;
    }
}

/* Segments that are not needed are missing, and a strange name must not cost much. */
static int segments_place(struct survey *survey)
{
    uint64_t count = 0;
    uint64_t end = 0;
    for (uint32_t i = 0; i < survey->files_count; i++) {
        const struct survey_file *file = &survey->files[i];
        count += file->used;
        end = file->used && file->number >= end ? file->number + 1 : end;
    }
    survey->segments_end = end > 2 * count + SEGMENTS_SPARE ? 2 * count + SEGMENTS_SPARE : end;
    survey->segments = calloc(survey->segments_end + 1, sizeof(struct survey_file *));
    if (survey->segments == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < survey->files_count; i++) {
        struct survey_file *file = &survey->files[i];
        size_check(survey, file);
        if (file->used && file->number < survey->segments_end) {
            segment_place(survey, file);
        } else {
            file->used = false;
        }
    }
    return 0;
}

static int file_order(const void *left, const void *right)
{
    const struct survey_file *a = left;
    const struct survey_file *b = right;
    return strcmp(a->name, b->name);
}

int survey_segments(struct survey *survey, struct fault *fault)
{
    const struct store_path path = survey_path(survey, "segments");
    int result = io_dir_open(survey->io, survey->dir.dir, "segments", &survey->dir.segments);
    const bool unused = !survey->superblock_known || survey->superblock.system_slot == SLOT_NONE;
    if (result != 0 && !(result == -ENOENT && unused)) {
        const struct finding finding = {.kind = result == -ENOENT ? FINDING_MISSING_FILE
                                                                  : FINDING_FILE_KIND,
                                        .weight = WEIGHT_DAMAGE,
                                        .file = path.text};
        finding_add(survey->findings, &finding,
                    "the directory of the segments cannot be opened: %s", strerror(-result));
    }
    const uint32_t first = survey->files_count;
    cleanup_free uint8_t *block = io_buffer_new(SEGMENT_HEADER_BYTES);
    if (block == NULL) {
        result = -ENOMEM;
    } else if (survey->dir.segments == NULL) {
        result = 0;
    } else {
        result = io_dir_list(survey->io, survey->dir.segments, segment_name_add, survey);
    }
    if (survey->files_count > first) {
        qsort(survey->files + first, survey->files_count - first, sizeof *survey->files,
              file_order);
    }
    for (uint32_t i = first; i < survey->files_count && result == 0; i++) {
        result = segment_look(survey, i, block);
    }
    if (result == 0) {
        result = segments_place(survey);
    }
    return result == 0
               ? 0
               : fault_set(fault, result, "%s cannot be read: %s", path.text, strerror(-result));
}
