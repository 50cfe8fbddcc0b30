/* Verify, topics: see verify_topics.h. */
#include "broker/inspect/verify_topics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "broker/recovery_replay.h"
#include "broker/snapshot.h"

int verify_gap_add(struct verify_gaps *gaps, uint64_t holding, const struct chunk_gap *gap)
{
    if (gaps->count == gaps->max) {
        const uint64_t max = gaps->max == 0 ? 16 : gaps->max * 2;
        struct verify_gap *all = realloc(gaps->all, max * sizeof *all);
        if (all == NULL) {
            return -ENOMEM;
        }
        gaps->all = all;
        gaps->max = max;
    }
    gaps->all[gaps->count++] = (struct verify_gap){.holding = holding, .gap = *gap};
    return 0;
}

void verify_gaps_free(struct verify_gaps *gaps)
{
    free(gaps->all);
    *gaps = (struct verify_gaps){0};
}

static int gap_order(const void *left, const void *right)
{
    const struct verify_gap *a = left;
    const struct verify_gap *b = right;
    if (a->holding != b->holding) {
        return a->holding < b->holding ? -1 : 1;
    }
    return a->gap.position < b->gap.position ? -1 : 1;
}

/* One topic's look: its chunks in order, and where the one before ended. */
struct look {
    struct inspection *inspection;
    struct verify_result *result;
    const struct recovered_topic *topic;
    const struct verify_gap *gaps; /* what is left of them */
    uint64_t gaps_left;
    struct holding *holdings; /* of this topic */
    uint64_t count;
    bool seq_known;
    uint64_t seq;      /* that the next chunk begins with */
    uint64_t lost_end; /* entries below it are counted as lost already */
};

static struct finding finding_at(const struct look *look, enum finding_kind kind,
                                 const struct recovered_chunk *chunk)
{
    return (struct finding){.kind = kind,
                            .weight = WEIGHT_DAMAGE,
                            .in_topic = true,
                            .topic_id = look->topic->id,
                            .topic = inspection_topic_name(look->topic),
                            .chunk_no = chunk->chunk_no};
}

/* Notes what is lost in the finding, and counts each entry once. */
static void lose(struct look *look, struct finding *finding, uint64_t seq_first, uint64_t seq_end)
{
    const uint64_t first = look->topic->first.seq;
    const uint64_t tail = look->topic->tail.seq;
    seq_first = seq_first < first ? first : seq_first;
    seq_end = seq_end > tail ? tail : seq_end;
    if (seq_first >= seq_end || seq_end == UINT64_MAX) {
        return; /* nothing, or nobody knows how many */
    }
    finding->loses = true;
    finding->seq_first = seq_first;
    finding->seq_end = seq_end;
    const uint64_t from = seq_first > look->lost_end ? seq_first : look->lost_end;
    if (from < seq_end) {
        look->lost_end = seq_end;
        look->result->entries_lost += inspection_is_topic(look->topic) ? seq_end - from : 0;
    }
}

/* The seq that the chunk behind the index-th begins with. */
static uint64_t seq_behind(const struct look *look, uint64_t index)
{
    for (uint64_t i = index + 1; i < look->count; i++) {
        if (look->holdings[i].seen && look->holdings[i].walked.header_fits &&
            look->holdings[i].walked.seq_first < look->topic->tail.seq) {
            return look->holdings[i].walked.seq_first;
        }
    }
    return look->topic->tail.seq;
}

/* Is the chunk's absence a finding already, with the segment that it should lie in? */
static bool missing_told(const struct look *look, uint64_t chunk_no)
{
    const struct findings *findings = &look->inspection->findings;
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->all[i];
        if (finding->kind == FINDING_MISSING_CHUNK && finding->topic_id == look->topic->id &&
            finding->chunk_no == chunk_no) {
            return true;
        }
    }
    return false;
}

/* Chunks [chunk_no, end), before the index-th of those that are there. */
static void missing_tell(struct look *look, uint64_t index, uint64_t chunk_no, uint64_t end)
{
    if (chunk_no >= end) {
        return;
    }
    const struct recovered_chunk chunk = {.chunk_no = chunk_no};
    struct finding finding = finding_at(look, FINDING_MISSING_CHUNK, &chunk);
    if (look->seq_known) {
        lose(look, &finding, look->seq, seq_behind(look, index - 1));
    }
    look->seq_known = false;
    while (chunk_no < end && missing_told(look, chunk_no)) {
        chunk_no++;
    }
    if (chunk_no < end) {
        finding_add(&look->inspection->findings, &finding,
                    "%" PRIu64 " chunks from here on have no slot, although entries lie in them",
                    end - chunk_no);
    }
}

struct place {
    struct store_path path;
    uint64_t offset;
};

static struct place place_of(const struct look *look, const struct recovered_chunk *chunk)
{
    struct place place = {.offset = 0};
    const struct survey_file *file = inspection_slot(look->inspection, chunk->slot, &place.offset);
    place.path = survey_path(&look->inspection->survey, file == NULL ? "" : file->name);
    return place;
}

static void header_tell(struct look *look, uint64_t index)
{
    const struct holding *holding = &look->holdings[index];
    const struct place place = place_of(look, &holding->chunk);
    struct finding finding = finding_at(look, FINDING_CHUNK_HEADER, &holding->chunk);
    finding.file = place.path.text;
    finding.offset = place.offset;
    finding.bytes = CHUNK_HEADER_BYTES;
    lose(look, &finding, look->seq_known ? look->seq : holding->walked.seq_first,
         seq_behind(look, index));
    finding_add(&look->inspection->findings, &finding,
                "the chunk's header is not as it was written, so that nothing in it can be read");
}

static void gap_tell(struct look *look, uint64_t index, const struct chunk_gap *gap)
{
    const struct holding *holding = &look->holdings[index];
    const uint64_t start =
        chunk_start(holding->chunk.chunk_no, look->inspection->survey.chunk_bytes);
    const struct place place = place_of(look, &holding->chunk);
    struct finding finding = finding_at(look, FINDING_CHECKSUM, &holding->chunk);
    finding.file = place.path.text;
    finding.offset = place.offset + gap->position - start;
    finding.bytes = gap->end - gap->position;
    lose(look, &finding, gap->seq, gap->seq_end_known ? gap->seq_end : seq_behind(look, index));
    finding_add(&look->inspection->findings, &finding,
                finding.loses ? "entries are not as they were written: their readers get -EBADMSG "
                                "and may seek past them; restore the store from a backup"
                              : "what is here is not as it was written; no entry lies in it");
}

static void break_tell(struct look *look, const struct holding *holding)
{
    const struct place place = place_of(look, &holding->chunk);
    struct finding finding = finding_at(look, FINDING_GAP, &holding->chunk);
    finding.file = place.path.text;
    finding.offset = place.offset;
    lose(look, &finding, look->seq, holding->walked.seq_first);
    finding_add(&look->inspection->findings, &finding,
                "the chunk begins with seq %" PRIu64 ", the one before ends with %" PRIu64,
                holding->walked.seq_first, look->seq);
}

/* The gaps of the index-th chunk; true: the last one reaches to the chunk's end. */
static bool gaps_tell(struct look *look, uint64_t holding, uint64_t index)
{
    bool open = false;
    while (look->gaps_left > 0 && look->gaps->holding == holding) {
        gap_tell(look, index, &look->gaps->gap);
        open = !look->gaps->gap.seq_end_known;
        look->gaps++;
        look->gaps_left--;
    }
    return open;
}

/* Does the chunk say another seq than the one before? The snapshot's chunks say none: a start goes by
 * the chain that they make. */
static bool breaks_off(const struct look *look, const struct holding *holding)
{
    return look->seq_known && look->topic->id != SNAPSHOT_TOPIC_ID &&
           holding->walked.seq_first != look->seq;
}

static void chunk_look(struct look *look, uint64_t first_holding, uint64_t index)
{
    const struct holding *holding = &look->holdings[index];
    const bool used =
        look->topic->tail.position >
        chunk_first_frame(holding->chunk.chunk_no, look->inspection->survey.chunk_bytes);
    look->result->chunks++;
    if (!holding->seen) {
        missing_tell(look, index + 1, holding->chunk.chunk_no, holding->chunk.chunk_no + 1);
        return;
    }
    if (!used) {
        return;
    }
    if (!holding->walked.header_fits) {
        header_tell(look, index);
    } else if (breaks_off(look, holding)) {
        break_tell(look, holding);
    }
    const bool open = gaps_tell(look, first_holding + index, index);
    look->seq = open ? seq_behind(look, index) : holding->walked.seq_end;
    look->seq_known = true;
}

/* The file and offset of a position, if its chunk is there. */
static void torn_tell(struct look *look)
{
    const struct recovered_topic *topic = look->topic;
    const uint64_t chunk_bytes = look->inspection->survey.chunk_bytes;
    if (!topic->gap.claimed && !topic->gap.behind.any) {
        return;
    }
    const uint64_t chunk_no = chunk_number(topic->gap.position, chunk_bytes);
    const struct recovered_chunk none = {.chunk_no = chunk_no, .slot = SLOT_NONE};
    const struct recovered_chunk *chunk = recovered_chunk_find(topic, chunk_no);
    const struct place place = place_of(look, chunk == NULL ? &none : chunk);
    struct finding finding = finding_at(look, FINDING_TORN_END, chunk == NULL ? &none : chunk);
    finding.weight = WEIGHT_NOTE;
    finding.file = place.path.text;
    finding.offset = place.offset + topic->gap.position - chunk_start(chunk_no, chunk_bytes);
    finding_add(&look->inspection->findings, &finding,
                "the log ends with entries that were being written when the broker or the machine "
                "went down, and that were never called durable: the next start leaves them out");
}

static void topic_look(struct look *look, uint64_t first_holding)
{
    const struct recovered_topic *topic = look->topic;
    const uint64_t chunk_bytes = look->inspection->survey.chunk_bytes;
    uint64_t expected = chunk_number(topic->first.position, chunk_bytes);
    look->seq = topic->first.seq;
    look->seq_known = topic->first.position == chunk_first_frame(expected, chunk_bytes);
    for (uint64_t i = 0; i < look->count; i++) {
        const uint64_t chunk_no = look->holdings[i].chunk.chunk_no;
        missing_tell(look, i, expected, chunk_no);
        chunk_look(look, first_holding, i);
        expected = chunk_no + 1;
    }
    const uint64_t last = chunk_number(topic->tail.position, chunk_bytes);
    const bool used = topic->tail.position > chunk_first_frame(last, chunk_bytes);
    missing_tell(look, look->count, expected, last + (used ? 1 : 0));
    torn_tell(look);
    look->result->entries += inspection_is_topic(topic) ? topic->tail.seq - topic->first.seq : 0;
}

void verify_topics(struct inspection *inspection, struct holdings *holdings,
                   struct verify_gaps *gaps, struct verify_result *result)
{
    *result = (struct verify_result){.topics = inspection->recovery.topics_count};
    if (gaps->count != 0) {
        qsort(gaps->all, gaps->count, sizeof *gaps->all, gap_order);
    }
    struct look look = {
        .inspection = inspection, .result = result, .gaps = gaps->all, .gaps_left = gaps->count};
    uint64_t at = 0;
    if (inspection->survey.chunk_bytes == 0) {
        return;
    }
    for (uint32_t i = 0; i < inspection_logs(inspection); i++) {
        const uint64_t first = at;
        while (at < holdings->count && holdings->all[at].topic == i && !holdings->all[at].reserve) {
            at++;
        }
        look.topic = inspection_log(inspection, i);
        look.holdings = holdings->all + first;
        look.count = at - first;
        look.seq_known = false;
        look.lost_end = 0;
        topic_look(&look, first);
    }
    result->entries -= result->entries_lost;
}
