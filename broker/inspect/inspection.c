/* Inspection: see inspection.h. */
#include "broker/inspect/inspection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/inspect/salvage.h"
#include "broker/segment.h"
#include "broker/snapshot.h"
#include "shm/cleanup.h"

const char *inspection_topic_name(const struct recovered_topic *topic)
{
    return topic->name != NULL              ? topic->name
           : topic->id == SNAPSHOT_TOPIC_ID ? "(the snapshot of the system topic)"
                                            : "(the system topic)";
}

bool inspection_is_topic(const struct recovered_topic *log)
{
    return log->id != 0 && log->id != SNAPSHOT_TOPIC_ID;
}

const struct survey_file *inspection_slot(const struct inspection *inspection, uint32_t slot,
                                          uint64_t *offset)
{
    const struct survey *survey = &inspection->survey;
    const uint64_t unit_bytes = small_chunk_bytes(survey->chunk_bytes);
    const uint64_t units = survey->segment_bytes / unit_bytes;
    if (slot / units >= survey->segments_end) {
        return NULL;
    }
    *offset = slot % units * unit_bytes;
    return survey->segments[slot / units];
}

/* A store that was made and never used: what a start looks at is STORE and the segments' headers. */
static bool never_used(const struct survey *survey)
{
    return survey->superblock_known && survey->superblock.system_slot == SLOT_NONE;
}

static int rehearse_recovery(struct inspection *inspection, const struct store_dir *dir,
                             struct superblock *superblock)
{
    struct segment_set segments;
    const struct segment_config config = {0};
    int result = segment_set_open(&segments, dir, superblock, &config, &inspection->start);
    if (result != 0) {
        return result;
    }
    if (superblock->system_slot != SLOT_NONE) {
        result =
            recovery_run(&inspection->recovery, dir, &segments, superblock, &inspection->start);
        /* Recovery has no use for where the snapshot ends. */
        inspection->recovery.snapshot.tail =
            (struct record_place){.position = superblock->snapshot.end, .seq = UINT64_MAX};
    }
    segment_set_close(&segments);
    return result;
}

/* What a start does up to the point where it would write. */
static int rehearse(struct inspection *inspection)
{
    struct survey *survey = &inspection->survey;
    struct superblock superblock;
    struct store_dir dir = {.io = inspection->io};
    strcpy(dir.path, survey->dir.path);
    if (never_used(survey) && survey->dir.segments == NULL) {
        return 0;
    }
    int result = io_dir_open(dir.io, NULL, dir.path, &dir.dir);
    if (result != 0) {
        return fault_set(&inspection->start, result, "%s cannot be opened: %s", dir.path,
                         strerror(-result));
    }
    struct io_file *lock = NULL;
    result = io_file_open(dir.io, dir.dir, "LOCK", IO_OPEN_READ, &lock);
    io_file_close(dir.io, lock);
    if (result != 0 && result != -ENOENT) {
        result = fault_set(&inspection->start, -EBADMSG, "%s is not a regular file",
                           store_dir_path(&dir, "LOCK").text);
    } else if (!survey->namespace_known && survey->namespace_there) {
        result = fault_set(&inspection->start, -EBADMSG, "%s is damaged",
                           store_dir_path(&dir, "NAMESPACE").text);
    } else {
        result = store_dir_load(&dir, survey->chunk_bytes, survey->segment_bytes, &superblock,
                                &inspection->start);
    }
    if (result == 0) {
        result = rehearse_recovery(inspection, &dir, &superblock);
    }
    store_dir_close(&dir);
    return result;
}

int inspection_open(struct inspection *inspection, struct io *io, const char *path,
                    struct fault *fault)
{
    *inspection = (struct inspection){.io = io};
    inspection->recovery.system_next_slot = SLOT_NONE;
    guard_put(&inspection->guard, io);
    int result = survey_open(&inspection->survey, io, path, &inspection->findings, fault);
    if (result != 0) {
        guard_remove(&inspection->guard, io);
        findings_free(&inspection->findings);
        return result;
    }
    result = rehearse(inspection);
    inspection->start_accepts = result == 0;
    if (result == -ENOMEM) {
        fault_set(fault, result, "%s", inspection->start.text);
    } else {
        result = 0;
    }
    if (result == 0 && !inspection->start_accepts) {
        result = salvage_run(inspection, fault);
    }
    if (result != 0) {
        inspection_close(inspection);
    }
    return result;
}

void inspection_close(struct inspection *inspection)
{
    recovery_free(&inspection->recovery);
    survey_close(&inspection->survey);
    guard_remove(&inspection->guard, inspection->io);
    findings_free(&inspection->findings);
}
