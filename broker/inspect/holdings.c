/* Holdings: see holdings.h. */
#include "broker/inspect/holdings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "broker/slot_map.h"

static bool units_take(struct holdings *holdings, const struct holding *holding, uint32_t index)
{
    const uint64_t count = holding->chunk.chunk_no < SMALL_CHUNKS ? 1 : GROUP_UNITS;
    const uint64_t slot = holding->chunk.slot;
    if (slot + count > holdings->units_count || slot % count != 0) {
        return false;
    }
    for (uint64_t unit = slot; unit < slot + count; unit++) {
        if (holdings->units[unit] != 0) {
            return false;
        }
    }
    for (uint64_t unit = slot; unit < slot + count; unit++) {
        holdings->units[unit] = index + 1;
    }
    return true;
}

static void conflict_tell(struct inspection *inspection, const struct holding *holding)
{
    const struct recovered_topic *topic = inspection_log(inspection, holding->topic);
    uint64_t offset = 0;
    const struct survey_file *file = inspection_slot(inspection, holding->chunk.slot, &offset);
    const struct store_path path =
        survey_path(&inspection->survey, file == NULL ? "segments" : file->name);
    const struct finding finding = {
        .kind = FINDING_DOUBLE_SLOT,
        .weight = WEIGHT_DAMAGE,
        .file = path.text,
        .offset = offset,
        .bytes = chunk_size(holding->chunk.chunk_no, inspection->survey.chunk_bytes),
        .in_topic = true,
        .topic_id = topic->id,
        .topic = inspection_topic_name(topic),
        .chunk_no = holding->chunk.chunk_no};
    finding_add(&inspection->findings, &finding,
                "slot %" PRIu32 " is recorded for this chunk and for another one, or is no slot",
                holding->chunk.slot);
}

static void hold(struct holdings *holdings, struct inspection *inspection,
                 const struct holding *holding)
{
    struct holding *held = &holdings->all[holdings->count];
    *held = *holding;
    held->refused = !units_take(holdings, holding, (uint32_t)holdings->count);
    if (held->refused) {
        conflict_tell(inspection, held);
    }
    holdings->count++;
}

static uint64_t chunks_count(struct inspection *inspection)
{
    uint64_t count = 1; /* the reserve */
    for (uint32_t i = 0; i < inspection_logs(inspection); i++) {
        count += inspection_log(inspection, i)->chunks_count;
    }
    return count;
}

static void hold_all(struct holdings *holdings, struct inspection *inspection)
{
    for (uint32_t i = 0; i < inspection_logs(inspection); i++) {
        const struct recovered_topic *topic = inspection_log(inspection, i);
        for (uint32_t j = 0; j < topic->chunks_count; j++) {
            hold(holdings, inspection, &(struct holding){.topic = i, .chunk = topic->chunks[j]});
        }
    }
    const struct recovery *recovery = &inspection->recovery;
    const struct recovered_topic *system = &recovery->system;
    if (recovery->system_next_slot != SLOT_NONE && system->chunks_count != 0) {
        const struct recovered_chunk next = {
            .chunk_no = system->chunks[system->chunks_count - 1].chunk_no + 1,
            .slot = recovery->system_next_slot,
            .generation = recovery->system_next_generation};
        hold(holdings, inspection,
             &(struct holding){.topic = recovery->topics_count, .chunk = next, .reserve = true});
    }
}

int holdings_init(struct holdings *holdings, struct inspection *inspection)
{
    const struct survey *survey = &inspection->survey;
    *holdings = (struct holdings){0};
    if (survey->chunk_bytes != 0) {
        const uint64_t unit_bytes = small_chunk_bytes(survey->chunk_bytes);
        holdings->units_count = survey->segments_end * (survey->segment_bytes / unit_bytes);
    }
    holdings->units = calloc(holdings->units_count + 1, sizeof *holdings->units);
    holdings->all = calloc(chunks_count(inspection), sizeof *holdings->all);
    if (holdings->units == NULL || holdings->all == NULL) {
        holdings_deinit(holdings);
        return -ENOMEM;
    }
    hold_all(holdings, inspection);
    return 0;
}

void holdings_deinit(struct holdings *holdings)
{
    free(holdings->units);
    free(holdings->all);
    *holdings = (struct holdings){0};
}
