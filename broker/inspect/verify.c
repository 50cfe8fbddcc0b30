/* Verify: see verify.h. The files, byte by byte; what they add up to: verify_topics.c. */
#include "broker/inspect/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "broker/inspect/holdings.h"
#include "broker/inspect/sweep.h"
#include "broker/inspect/verify_topics.h"
#include "broker/segment_header.h"

/* One verification. */
struct verify {
    struct inspection *inspection;
    struct account *account;
    struct verify_gaps gaps;
    struct holdings holdings;
    struct sweep sweep;
    verify_progress_fn progress_fn;
    void *progress_context;
    uint64_t bytes_done;
    uint64_t bytes_total;

    /* The chunk in hand. */
    uint64_t file_offset;
    struct byte_range range;
    uint64_t holding;
};

static void progress(struct verify *verify, uint64_t bytes)
{
    verify->bytes_done += bytes;
    if (verify->progress_fn != NULL) {
        verify->progress_fn(verify->progress_context, verify->bytes_done, verify->bytes_total);
    }
}

static void tell(struct verify *verify, enum byte_class what, uint64_t offset, uint64_t bytes)
{
    const struct byte_range range = {.what = what, .offset = offset, .bytes = bytes};
    account_add(verify->account, &range);
}

static void chunk_bytes_tell(void *context, enum byte_class what, uint64_t offset, uint64_t bytes)
{
    struct verify *verify = context;
    verify->range.what = what;
    verify->range.offset = verify->file_offset + offset;
    verify->range.bytes = bytes;
    account_add(verify->account, &verify->range);
}

static int chunk_gap_note(void *context, const struct chunk_gap *gap)
{
    struct verify *verify = context;
    return verify_gap_add(&verify->gaps, verify->holding, gap);
}

/* The bytes of a chunk that begins at file offset `offset`. */
static int holding_walk(struct verify *verify, struct holding *holding, const uint8_t *image,
                        uint64_t offset)
{
    const struct survey *survey = &verify->inspection->survey;
    const struct recovered_topic *topic = inspection_log(verify->inspection, holding->topic);
    verify->file_offset = offset;
    verify->range = (struct byte_range){
        .in_topic = true, .topic_id = topic->id, .chunk_no = holding->chunk.chunk_no};
    verify->holding = (uint64_t)(holding - verify->holdings.all);
    holding->seen = true;
    if (holding->reserve) {
        chunk_bytes_tell(verify, BYTES_RESERVED, 0,
                         chunk_size(holding->chunk.chunk_no, survey->chunk_bytes));
        return 0;
    }
    const struct chunk_walk walk = {
        .chunk_bytes = survey->chunk_bytes,
        .salt_end = survey->superblock.salt_reserved,
        .bytes_fn = chunk_bytes_tell,
        .gap_fn = chunk_gap_note,
        .context = verify,
    };
    return chunk_walk(&walk, topic, &holding->chunk, image, &holding->walked);
}

static void free_unit_tell(struct verify *verify, const uint8_t *image, uint64_t offset,
                           uint64_t bytes)
{
    const bool known = verify->inspection->recovery.system.chunks_count != 0 ||
                       (verify->inspection->survey.superblock_known &&
                        verify->inspection->survey.superblock.system_slot == SLOT_NONE);
    const enum byte_class used = known ? BYTES_FREE_USED : BYTES_UNASSIGNED;
    tell(verify, bytes_zero(image, bytes) ? BYTES_FREE_ZERO : used, offset, bytes);
}

/* One piece of a segment; its units from `unit` of the store on. */
static int piece_walk(struct verify *verify, const uint8_t *piece, uint64_t bytes, uint64_t offset,
                      uint64_t unit)
{
    const uint64_t unit_bytes = small_chunk_bytes(verify->inspection->survey.chunk_bytes);
    int result = 0;
    uint64_t at = 0;
    if (offset == 0) {
        tell(verify, BYTES_SEGMENT_HEADER, 0, SEGMENT_HEADER_BYTES);
        tell(verify, BYTES_RESERVED, SEGMENT_HEADER_BYTES, unit_bytes - SEGMENT_HEADER_BYTES);
        at = unit_bytes;
        unit++;
    }
    while (at < bytes && result == 0) {
        struct holding *holding = holdings_at(&verify->holdings, unit);
        uint64_t step = unit_bytes;
        if (holding == NULL) {
            free_unit_tell(verify, piece + at, offset + at, unit_bytes);
        } else {
            step = chunk_size(holding->chunk.chunk_no, verify->inspection->survey.chunk_bytes);
            result = holding_walk(verify, holding, piece + at, offset + at);
        }
        at += step;
        unit += step / unit_bytes;
    }
    return result;
}

static int segment_walk(struct verify *verify, const struct survey_file *file)
{
    const struct survey *survey = &verify->inspection->survey;
    const uint64_t units = survey->segment_bytes / small_chunk_bytes(survey->chunk_bytes);
    const uint64_t first_unit = file->number * units;
    const uint8_t *piece;
    uint64_t bytes;
    uint64_t offset = 0;
    int result = 0;
    sweep_begin(&verify->sweep, file, survey->segment_bytes);
    /* To the end even after an error: nothing may be left in flight. */
    while ((bytes = sweep_next(&verify->sweep, &piece)) != 0) {
        if (result == 0) {
            result = piece_walk(verify, piece, bytes, offset,
                                first_unit + offset / small_chunk_bytes(survey->chunk_bytes));
        }
        offset += bytes;
        progress(verify, bytes);
    }
    if (file->bytes > survey->segment_bytes) {
        tell(verify, BYTES_EXCESS, survey->segment_bytes, file->bytes - survey->segment_bytes);
    }
    return result;
}

static int file_walk(struct verify *verify, const struct survey_file *file)
{
    const struct store_path path = survey_path(&verify->inspection->survey, file->name);
    int result = 0;
    account_file_begin(verify->account, path.text, file->bytes);
    if (file->used && verify->inspection->survey.chunk_bytes != 0) {
        result = segment_walk(verify, file);
    } else if (strcmp(file->name, "STORE") == 0) {
        tell(verify, BYTES_SUPERBLOCK, 0, SUPERBLOCK_FILE_BYTES);
        if (file->bytes > SUPERBLOCK_FILE_BYTES) {
            tell(verify, BYTES_EXCESS, SUPERBLOCK_FILE_BYTES, file->bytes - SUPERBLOCK_FILE_BYTES);
        }
    } else if (strcmp(file->name, "NAMESPACE") == 0) {
        tell(verify, BYTES_NAMESPACE, 0, file->bytes);
    } else {
        tell(verify, file->segment ? BYTES_UNASSIGNED : BYTES_OTHER_FILE, 0, file->bytes);
    }
    if (result == 0) {
        account_file_end(verify->account);
    }
    return result;
}

static int files_walk(struct verify *verify)
{
    const struct survey *survey = &verify->inspection->survey;
    int result = 0;
    for (uint32_t i = 0; i < survey->files_count; i++) {
        verify->bytes_total += survey->files[i].used ? survey->segment_bytes : 0;
    }
    for (uint32_t i = 0; i < survey->files_count && result == 0; i++) {
        result = file_walk(verify, &survey->files[i]);
    }
    return result;
}

/* A start knows of damage that nothing here has named. */
static void start_tell(struct inspection *inspection)
{
    if (!inspection->start_accepts && inspection->findings.weights[WEIGHT_DAMAGE] == 0) {
        const int error = inspection->start.error;
        const bool of_store = error == -EBADMSG || error == -EPROTO || error == -EINVAL;
        const struct finding finding = {.kind = of_store ? FINDING_START : FINDING_READ_ERROR,
                                        .weight = WEIGHT_DAMAGE};
        finding_add(&inspection->findings, &finding, "a start refuses the store: %s",
                    inspection->start.text);
    }
}

int verify_run(struct inspection *inspection, struct account *account,
               verify_progress_fn progress_fn, void *context, struct verify_result *result)
{
    struct verify verify = {.inspection = inspection,
                            .account = account,
                            .progress_fn = progress_fn,
                            .progress_context = context};
    int error = holdings_init(&verify.holdings, inspection);
    if (error != 0) {
        return error;
    }
    error = sweep_init(&verify.sweep, &inspection->survey);
    if (error == 0) {
        error = files_walk(&verify);
    }
    if (error == 0) {
        verify_topics(inspection, &verify.holdings, &verify.gaps, result);
        start_tell(inspection);
    }
    sweep_deinit(&verify.sweep);
    holdings_deinit(&verify.holdings);
    verify_gaps_free(&verify.gaps);
    return error == 0 && inspection->findings.short_of_memory ? -ENOMEM : error;
}
