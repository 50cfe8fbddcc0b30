/* Survey: see survey.h; segments: survey_segments.c. */
#include "broker/inspect/survey.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/fault.h"
#include "broker/inspect/survey_segments.h"
#include "broker/segment.h"
#include "shm/cleanup.h"
#include "shm/layout.h"

struct store_path survey_path(const struct survey *survey, const char *name)
{
    return store_dir_path(&survey->dir, name);
}

bool survey_is_store(struct io *io, const char *path)
{
    static const char *const names[] = {"STORE", "LOCK"};
    struct io_file *dir;
    if (io_dir_open(io, NULL, path, &dir) != 0) {
        return false;
    }
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++) {
        struct io_file *file = NULL;
        found = io_file_open(io, dir, names[i], IO_OPEN_READ, &file) != -ENOENT;
        io_file_close(io, file);
    }
    struct io_file *segments = NULL;
    found |= io_dir_open(io, dir, "segments", &segments) == 0;
    io_file_close(io, segments);
    io_file_close(io, dir);
    return found;
}

static bool is_other_kind(int result)
{
    return result == -ELOOP || result == -EISDIR || result == -EINVAL || result == -ENXIO ||
           result == -ENOTDIR;
}

struct survey_file *survey_file_add(struct survey *survey, const char *dir, const char *name)
{
    if (survey->files_count == survey->files_max) {
        const uint32_t max = survey->files_max == 0 ? 64 : survey->files_max * 2;
        struct survey_file *files = realloc(survey->files, max * sizeof *files);
        if (files == NULL) {
            return NULL;
        }
        survey->files = files;
        survey->files_max = max;
    }
    struct survey_file *file = &survey->files[survey->files_count++];
    *file = (struct survey_file){0};
    (void)snprintf(file->name, sizeof file->name, "%s%s", dir, name);
    return file;
}

/* Direct transfers need whole blocks, which a file that was cut need not have. */
static int open_sized(struct survey *survey, struct io_file *dir, const char *name,
                      struct survey_file *file)
{
    int result = io_file_open(survey->io, dir, name, IO_OPEN_READ | IO_OPEN_DIRECT, &file->file);
    if (result == 0) {
        result = io_file_size(survey->io, file->file, &file->bytes);
    }
    if (result == 0 && file->bytes % IO_ALIGNMENT != 0) {
        io_file_close(survey->io, file->file);
        file->file = NULL;
        result = io_file_open(survey->io, dir, name, IO_OPEN_READ, &file->file);
    }
    return result;
}

int survey_file_open(struct survey *survey, struct io_file *dir, const char *name,
                     struct survey_file *file)
{
    const int result = open_sized(survey, dir, name, file);
    if (result == 0) {
        return 0;
    }
    io_file_close(survey->io, file->file);
    file->file = NULL;
    file->bytes = 0;
    const struct store_path path = survey_path(survey, file->name);
    struct finding finding = {
        .kind = FINDING_FILE_KIND, .weight = WEIGHT_DAMAGE, .file = path.text};
    if (is_other_kind(result)) {
        finding_add(survey->findings, &finding,
                    "it is not a regular file: something else was put in its place");
    } else {
        finding.kind = FINDING_READ_ERROR;
        finding_add(survey->findings, &finding, "it cannot be opened: %s", strerror(-result));
    }
    return result;
}

static void read_blocks(struct survey *survey, const struct survey_file *file, uint8_t *buffer,
                        uint64_t bytes, uint64_t offset)
{
    uint64_t bad = 0; /* bytes before `at` that can't be read */
    int error = 0;
    for (uint64_t at = 0; at <= bytes; at += IO_ALIGNMENT) {
        const uint64_t piece = bytes - at < IO_ALIGNMENT ? bytes - at : IO_ALIGNMENT;
        const int result =
            piece == 0 ? 0 : io_read_now(survey->io, file->file, buffer + at, piece, offset + at);
        if (result != 0) {
            memset(buffer + at, 0, piece);
            bad += piece;
            error = result;
            continue;
        }
        if (bad != 0) {
            const struct store_path path = survey_path(survey, file->name);
            const struct finding finding = {.kind = FINDING_READ_ERROR,
                                            .weight = WEIGHT_DAMAGE,
                                            .file = path.text,
                                            .offset = offset + at - bad,
                                            .bytes = bad};
            finding_add(survey->findings, &finding, "the disk cannot read it: %s",
                        strerror(-error));
            bad = 0;
        }
        if (piece == 0) {
            break;
        }
    }
}

void survey_read(struct survey *survey, const struct survey_file *file, void *buffer,
                 uint64_t bytes, uint64_t offset)
{
    const uint64_t left = offset < file->bytes ? file->bytes - offset : 0;
    const uint64_t there = bytes < left ? bytes : left;
    memset((uint8_t *)buffer + there, 0, bytes - there);
    if (there == 0) {
        return;
    }
    if (file->file == NULL) {
        memset(buffer, 0, there);
    } else if (io_read_now(survey->io, file->file, buffer, there, offset) != 0) {
        read_blocks(survey, file, buffer, there, offset);
    }
}

/* STORE. */

static void copy_damaged(struct survey *survey, const char *path, unsigned copy, int result,
                         bool other)
{
    const struct finding finding = {
        .kind = result == -EPROTO ? FINDING_VERSION : FINDING_SUPERBLOCK,
        .weight = result == -EPROTO || !other ? WEIGHT_DAMAGE : WEIGHT_MENDED,
        .file = path,
        .offset = (uint64_t)copy * SUPERBLOCK_BYTES,
        .bytes = SUPERBLOCK_BYTES,
    };
    if (result == -EPROTO) {
        finding_add(survey->findings, &finding,
                    "copy %u was written by a newer version of Tusk: use that one", copy);
    } else if (other) {
        finding_add(survey->findings, &finding,
                    "copy %u of the superblock is damaged; the other one is whole, and the next "
                    "start writes both",
                    copy);
    } else {
        finding_add(survey->findings, &finding,
                    "copy %u of the superblock is damaged, and so is the other one: restore the "
                    "store from a backup",
                    copy);
    }
}

static void copies_read(struct survey *survey, const char *path, const uint8_t *blocks)
{
    struct superblock copies[SUPERBLOCK_COPIES];
    int results[SUPERBLOCK_COPIES];
    for (unsigned i = 0; i < SUPERBLOCK_COPIES; i++) {
        results[i] = superblock_decode(&copies[i], blocks + (size_t)i * SUPERBLOCK_BYTES);
        if (results[i] == 0 &&
            (!survey->superblock_known || copies[i].sequence > survey->superblock.sequence)) {
            survey->superblock_known = true;
            survey->superblock = copies[i];
        }
    }
    for (unsigned i = 0; i < SUPERBLOCK_COPIES; i++) {
        if (results[i] != 0) {
            copy_damaged(survey, path, i, results[i], survey->superblock_known);
        }
    }
}

static int store_look(struct survey *survey, struct survey_file *file)
{
    const struct store_path path = survey_path(survey, file->name);
    if (survey_file_open(survey, survey->dir.dir, "STORE", file) != 0) {
        return 0;
    }
    if (file->bytes != SUPERBLOCK_FILE_BYTES) {
        const struct finding finding = {
            .kind = FINDING_FILE_SIZE, .weight = WEIGHT_DAMAGE, .file = path.text};
        finding_add(survey->findings, &finding,
                    "it has %" PRIu64 " bytes, %d were expected: it was cut or extended",
                    file->bytes, SUPERBLOCK_FILE_BYTES);
    }
    cleanup_free uint8_t *blocks = io_buffer_new(SUPERBLOCK_FILE_BYTES);
    if (blocks == NULL) {
        return -ENOMEM;
    }
    survey_read(survey, file, blocks, SUPERBLOCK_FILE_BYTES, 0);
    copies_read(survey, path.text, blocks);
    if (survey->superblock_known) {
        survey->chunk_bytes = survey->superblock.chunk_bytes;
        survey->segment_bytes = survey->superblock.segment_bytes;
    }
    return 0;
}

/* NAMESPACE. */

static void namespace_look(struct survey *survey, struct survey_file *file)
{
    const struct store_path path = survey_path(survey, file->name);
    struct fault fault = {0, ""};
    if (survey_file_open(survey, survey->dir.dir, file->name, file) != 0) {
        return;
    }
    if (namespace_file_read(survey->io, survey->dir.dir, survey->dir.path, &survey->facts,
                            &fault) == 0) {
        survey->namespace_known = true;
        return;
    }
    const struct finding finding = {
        .kind = FINDING_NAMESPACE, .weight = WEIGHT_DAMAGE, .file = path.text};
    finding_add(survey->findings, &finding, "%s", fault.text);
}

/* The directory. */

static int name_add(void *context, const char *name)
{
    struct survey *survey = context;
    return survey_file_add(survey, "", name) == NULL ? -ENOMEM : 0;
}

static int other_look(struct survey *survey, struct survey_file *file)
{
    const struct store_path path = survey_path(survey, file->name);
    struct finding finding = {
        .kind = FINDING_UNKNOWN_FILE, .weight = WEIGHT_NOTE, .file = path.text};
    if (open_sized(survey, survey->dir.dir, file->name, file) != 0) {
        file->bytes = 0;
    }
    io_file_close(survey->io, file->file);
    file->file = NULL;
    if (strcmp(file->name, "STORE.new") == 0 || strcmp(file->name, "NAMESPACE.new") == 0) {
        finding.kind = FINDING_UNFINISHED;
        finding_add(survey->findings, &finding, "the making of a file was cut short here");
    } else {
        finding_add(survey->findings, &finding, "no store has a file of this name; it is ignored");
    }
    return 0;
}

static int name_look(struct survey *survey, uint32_t index)
{
    struct survey_file *file = &survey->files[index];
    if (strcmp(file->name, "STORE") == 0) {
        return store_look(survey, file);
    }
    if (strcmp(file->name, "LOCK") == 0) {
        (void)survey_file_open(survey, survey->dir.dir, "LOCK", file);
        return 0;
    }
    if (strcmp(file->name, "NAMESPACE") == 0) {
        survey->namespace_there = true;
        namespace_look(survey, file);
        return 0;
    }
    if (strcmp(file->name, "segments") == 0) {
        return 0;
    }
    return other_look(survey, file);
}

static int name_order(const void *left, const void *right)
{
    const struct survey_file *a = left;
    const struct survey_file *b = right;
    return strcmp(a->name, b->name);
}

static int directory_look(struct survey *survey, struct fault *fault)
{
    int result = io_dir_list(survey->io, survey->dir.dir, name_add, survey);
    const uint32_t count = survey->files_count;
    if (count != 0) {
        qsort(survey->files, count, sizeof *survey->files, name_order);
    }
    for (uint32_t i = 0; i < count && result == 0; i++) {
        result = name_look(survey, i);
    }
    /* The directory of the segments is no file itself. */
    for (uint32_t i = 0; i < survey->files_count; i++) {
        if (strcmp(survey->files[i].name, "segments") == 0) {
            memmove(&survey->files[i], &survey->files[i + 1],
                    (survey->files_count - i - 1) * sizeof *survey->files);
            survey->files_count--;
            break;
        }
    }
    return result == 0 ? 0
                       : fault_set(fault, result, "%s cannot be read: %s", survey->dir.path,
                                   strerror(-result));
}

/* No LOCK: no broker was ever here, or somebody removed it, which harms nothing. */
static int lock_take(struct survey *survey, struct fault *fault)
{
    struct store_dir *dir = &survey->dir;
    int result = io_file_open(survey->io, dir->dir, "LOCK", IO_OPEN_READ, &dir->lock);
    if (result == -ENOENT || is_other_kind(result)) {
        return 0;
    }
    if (result == 0) {
        result = io_file_lock(survey->io, dir->lock, SURVEY_LOCK_TIMEOUT_NS);
    }
    if (result == -EBUSY) {
        return fault_set(fault, -EBUSY,
                         "a broker is using %s: what it holds changes all the time; stop the "
                         "broker, or inspect a copy",
                         dir->path);
    }
    return result == 0 ? 0
                       : fault_set(fault, result, "%s/LOCK cannot be locked: %s", dir->path,
                                   strerror(-result));
}

static bool has_file(const struct survey *survey, const char *name)
{
    for (uint32_t i = 0; i < survey->files_count; i++) {
        if (strcmp(survey->files[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static int store_missing(struct survey *survey, struct fault *fault)
{
    bool segments = false;
    for (uint32_t i = 0; i < survey->files_count; i++) {
        segments |= survey->files[i].segment;
    }
    if (!segments) {
        return fault_set(fault, -ENOENT,
                         "there is no store in %s: it has no file STORE, and no segments",
                         survey->dir.path);
    }
    const struct store_path path = survey_path(survey, "STORE");
    const struct finding finding = {
        .kind = FINDING_MISSING_FILE, .weight = WEIGHT_DAMAGE, .file = path.text};
    finding_add(survey->findings, &finding,
                "it is missing, but there are segments: restore it from a backup");
    return 0;
}

int survey_open(struct survey *survey, struct io *io, const char *path, struct findings *findings,
                struct fault *fault)
{
    *survey = (struct survey){.io = io, .findings = findings, .dir = {.io = io}};
    if (strlen(path) >= sizeof survey->dir.path) {
        return fault_set(fault, -ENAMETOOLONG, "the directory's path is too long");
    }
    strcpy(survey->dir.path, path);
    int result = io_dir_open(io, NULL, path, &survey->dir.dir);
    if (result != 0) {
        result = fault_set(fault, result, "the directory %s cannot be opened: %s", path,
                           strerror(-result));
    }
    if (result == 0) {
        result = lock_take(survey, fault);
    }
    if (result == 0) {
        result = directory_look(survey, fault);
    }
    if (result == 0) {
        result = survey_segments(survey, fault);
    }
    if (result == 0 && !has_file(survey, "STORE")) {
        result = store_missing(survey, fault);
    }
    if (result != 0) {
        survey_close(survey);
    }
    return result;
}

void survey_close(struct survey *survey)
{
    for (uint32_t i = 0; i < survey->files_count; i++) {
        io_file_close(survey->io, survey->files[i].file);
    }
    free(survey->files);
    free(survey->segments);
    store_dir_close(&survey->dir);
    *survey = (struct survey){0};
}
