/* Finding: see finding.h. */
#include "broker/inspect/finding.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *finding_kind_name(enum finding_kind kind)
{
    static const char *const names[FINDING_KINDS] = {
        [FINDING_CHECKSUM] = "checksum",
        [FINDING_CHUNK_HEADER] = "chunk-header",
        [FINDING_GAP] = "gap",
        [FINDING_MISSING_CHUNK] = "missing-chunk",
        [FINDING_DOUBLE_SLOT] = "double-slot",
        [FINDING_RECORD] = "record",
        [FINDING_SUPERBLOCK] = "superblock",
        [FINDING_NAMESPACE] = "namespace",
        [FINDING_SEGMENT_HEADER] = "segment-header",
        [FINDING_FOREIGN] = "foreign-segment",
        [FINDING_MISPLACED] = "misplaced-segment",
        [FINDING_SIZES] = "segment-sizes",
        [FINDING_MISSING_FILE] = "missing-file",
        [FINDING_FILE_SIZE] = "file-size",
        [FINDING_FILE_KIND] = "file-kind",
        [FINDING_VERSION] = "version",
        [FINDING_READ_ERROR] = "read-error",
        [FINDING_UNKNOWN_FILE] = "unknown-file",
        [FINDING_UNFINISHED] = "unfinished-file",
        [FINDING_TORN_END] = "torn-end",
        [FINDING_START] = "start",
    };
    return names[kind];
}

static bool room_make(struct findings *findings)
{
    if (findings->count < findings->max) {
        return true;
    }
    const size_t max = findings->max == 0 ? 16 : findings->max * 2;
    struct finding *all = realloc(findings->all, max * sizeof *all);
    if (all == NULL) {
        return false;
    }
    findings->all = all;
    findings->max = max;
    return true;
}

static void texts_free(const struct finding *finding)
{
    /* The list's own copies, which nobody else may change. */
    free((void *)(uintptr_t)finding->file);
    free((void *)(uintptr_t)finding->topic);
    free((void *)(uintptr_t)finding->words);
}

void finding_add(struct findings *findings, const struct finding *finding, const char *format, ...)
{
    findings->weights[finding->weight]++;
    findings->unreadable |= finding->kind == FINDING_READ_ERROR;
    char *words = NULL;
    va_list arguments;
    va_start(arguments, format);
    const int length = vasprintf(&words, format, arguments);
    va_end(arguments);
    struct finding copy = *finding;
    copy.words = length < 0 ? NULL : words;
    copy.file = strdup(finding->file == NULL ? "" : finding->file);
    copy.topic = strdup(finding->topic == NULL ? "" : finding->topic);
    if (copy.words == NULL || copy.file == NULL || copy.topic == NULL || !room_make(findings)) {
        texts_free(&copy);
        findings->short_of_memory = true;
        return;
    }
    findings->all[findings->count++] = copy;
}

void findings_free(struct findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        texts_free(&findings->all[i]);
    }
    free(findings->all);
    *findings = (struct findings){0};
}
