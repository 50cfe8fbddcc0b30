/* Dump: see dump.h. */
#include "broker/inspect/dump.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "broker/inspect/chunk_walk.h"
#include "broker/inspect/json.h"
#include "broker/inspect/record_join.h"
#include "broker/inspect/record_print.h"
#include "broker/inspect/report.h"
#include "shm/cleanup.h"

/* Walks. */

struct walk {
    struct inspection *inspection;
    const struct recovered_topic *topic;
    const struct recovered_chunk *chunk;
    struct store_path path;
    uint64_t offset; /* of the chunk in its file */
    dump_frame_fn frame_fn;
    void *context;
};

static uint64_t offset_of(const struct walk *walk, uint64_t position)
{
    return walk->offset + position -
           chunk_start(walk->chunk->chunk_no, walk->inspection->survey.chunk_bytes);
}

static int frame_pass(void *context, const struct frame_view *frame)
{
    const struct walk *walk = context;
    return walk->frame_fn(walk->context, frame, walk->path.text, offset_of(walk, frame->position));
}

static int gap_note(void *context, const struct chunk_gap *gap)
{
    const struct walk *walk = context;
    const struct finding finding = {
        .kind = FINDING_CHECKSUM,
        .weight = WEIGHT_DAMAGE,
        .file = walk->path.text,
        .offset = offset_of(walk, gap->position),
        .bytes = gap->end - gap->position,
        .in_topic = true,
        .topic_id = walk->topic->id,
        .topic = inspection_topic_name(walk->topic),
        .chunk_no = walk->chunk->chunk_no,
        .loses = gap->seq_end_known && gap->seq < gap->seq_end,
        .seq_first = gap->seq,
        .seq_end = gap->seq_end,
    };
    finding_add(&walk->inspection->findings, &finding, "what is here is not as it was written");
    return 0;
}

int dump_walk(struct inspection *inspection, const struct recovered_topic *topic,
              dump_frame_fn frame_fn, void *context)
{
    struct survey *survey = &inspection->survey;
    struct walk walk = {
        .inspection = inspection, .topic = topic, .frame_fn = frame_fn, .context = context};
    const struct chunk_walk config = {.chunk_bytes = survey->chunk_bytes,
                                      .salt_end = survey->superblock.salt_reserved,
                                      .frame_fn = frame_pass,
                                      .gap_fn = gap_note,
                                      .context = &walk};
    if (topic->chunks_count == 0) {
        return 0;
    }
    cleanup_free uint8_t *image = io_buffer_new(survey->chunk_bytes);
    if (image == NULL) {
        return -ENOMEM;
    }
    int result = 0;
    for (uint32_t i = 0; i < topic->chunks_count && result == 0; i++) {
        walk.chunk = &topic->chunks[i];
        const struct survey_file *file =
            inspection_slot(inspection, walk.chunk->slot, &walk.offset);
        if (file == NULL) {
            continue; /* a finding already */
        }
        walk.path = survey_path(survey, file->name);
        survey_read(survey, file, image, chunk_size(walk.chunk->chunk_no, survey->chunk_bytes),
                    walk.offset);
        struct chunk_walked walked;
        result = chunk_walk(&config, topic, walk.chunk, image, &walked);
    }
    return result;
}

/* Frames. */

struct dump {
    const struct arguments *arguments;
    const char *log; /* of records */
    uint64_t left;
    struct record_join join;
};

enum { DUMP_ENOUGH = -1000 }; /* no errno */

static void time_print(uint64_t time_ns)
{
    const time_t seconds = (time_t)(time_ns / 1000000000);
    struct tm parts;
    char text[32] = "?";
    if (gmtime_r(&seconds, &parts) != NULL) {
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    }
    printf("%s.%09" PRIu64 "Z", text, time_ns % 1000000000);
}

static const struct {
    unsigned flag;
    const char *name;
} flags[] = {{FRAME_FIRST, "first"},         {FRAME_LAST, "last"}, {FRAME_BATCH, "batch"},
             {FRAME_BATCH_END, "batch-end"}, {FRAME_PAD, "pad"},   {FRAME_STREAM, "stream"}};
enum { FLAGS = sizeof flags / sizeof flags[0], FLAGS_BYTES = 64 };

static void flags_name(char text[FLAGS_BYTES], unsigned set)
{
    text[0] = '\0';
    for (unsigned i = 0; i < FLAGS; i++) {
        if (set & flags[i].flag) {
            strcat(strcat(text, text[0] == '\0' ? "" : ","), flags[i].name);
        }
    }
}

static void hex_print(const uint8_t *bytes, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        printf("%02x", bytes[i]);
    }
}

static void payload_print(const struct arguments *arguments, const struct frame_view *frame)
{
    if (arguments->payload == PAYLOAD_NONE) {
        return;
    }
    printf("  ");
    if (arguments->payload == PAYLOAD_HEX) {
        hex_print(frame->payload, frame->header.size);
    } else {
        report_text(frame->payload, frame->header.size);
    }
}

static void frame_text(const struct arguments *arguments, const struct frame_view *frame,
                       const char *file, uint64_t offset)
{
    char names[FLAGS_BYTES];
    flags_name(names, frame->header.flags);
    printf("%" PRIu64 "  ", frame->header.seq);
    time_print(frame->header.time_ns);
    printf("  %" PRIu32 " bytes  %s  ", frame->header.size, names);
    report_text(file, strlen(file));
    printf(":%" PRIu64, offset);
    payload_print(arguments, frame);
    printf("\n");
}

static void payload_json(const struct arguments *arguments, const struct frame_view *frame)
{
    switch (arguments->payload) {
    case PAYLOAD_TEXT:
        json_bytes("payload", frame->payload, frame->header.size);
        break;
    case PAYLOAD_HEX:
        printf(",\"payload_hex\":\"");
        hex_print(frame->payload, frame->header.size);
        printf("\"");
        break;
    case PAYLOAD_NONE:
        break;
    }
}

static void frame_json(const struct arguments *arguments, const struct frame_view *frame,
                       const char *file, uint64_t offset)
{
    char names[FLAGS_BYTES];
    flags_name(names, frame->header.flags);
    json_begin("frame");
    json_number("seq", frame->header.seq);
    json_number("time_ns", frame->header.time_ns);
    json_number("bytes", frame->header.size);
    json_text("flags", names);
    json_number("sync", frame->header.sync);
    json_number("salt", frame->header.salt);
    json_number("position", frame->position);
    json_text("file", file);
    json_number("offset", offset);
    payload_json(arguments, frame);
    json_end();
}

/* Is this frame asked for? Else 0 or DUMP_ENOUGH in *result. */
static bool wanted(struct dump *dump, const struct frame_view *frame, int *result)
{
    *result = dump->left == 0 ? DUMP_ENOUGH : 0;
    if (dump->left == 0 || frame->header.seq < dump->arguments->from) {
        return false;
    }
    dump->left--;
    return true;
}

static int frame_print(void *context, const struct frame_view *frame, const char *file,
                       uint64_t offset)
{
    struct dump *dump = context;
    int result;
    if (wanted(dump, frame, &result)) {
        (dump->arguments->json ? frame_json : frame_text)(dump->arguments, frame, file, offset);
    }
    return result;
}

static int record_frame(void *context, const struct frame_view *frame, const char *file,
                        uint64_t offset)
{
    struct dump *dump = context;
    struct record record;
    int result = record_join(&dump->join, frame, &record);
    (void)file;
    (void)offset;
    if (result != 0) {
        return 0; /* more of it follows, or the verification has a finding */
    }
    if (!wanted(dump, frame, &result)) {
        return result;
    }
    if (dump->arguments->json) {
        json_begin("record");
        json_text("log", dump->log);
        json_number("seq", frame->header.seq);
        json_number("time_ns", frame->header.time_ns);
        record_print_json(&record);
        json_end();
    } else {
        printf("%" PRIu64 "  ", frame->header.seq);
        time_print(frame->header.time_ns);
        printf("  %s  ", dump->log);
        record_print_text(&record);
    }
    return 0;
}

/* Topics. */

static void topic_json(const struct recovered_topic *topic, uint64_t bytes)
{
    json_begin("topic");
    json_text("name", topic->name);
    json_number("topic_id", topic->id);
    json_number("first_seq", topic->first.seq);
    json_number("next_seq", topic->tail.seq);
    json_number("first_position", topic->first.position);
    json_number("tail_position", topic->tail.position);
    json_number("chunks", topic->chunks_count);
    json_number("slot_bytes", bytes);
    json_text("retention", topic->retention == NULL ? "" : topic->retention);
    json_number("created_ns", topic->created_ns);
    if (topic->cursor_exists) {
        json_number("cursor_seq", topic->cursor.seq);
    }
    json_end();
}

static void topic_text(const struct recovered_topic *topic, uint64_t bytes)
{
    printf("%6" PRIu64 " %12" PRIu64 " %12" PRIu64 " ", topic->id, topic->first.seq,
           topic->tail.seq);
    if (topic->cursor_exists) {
        printf("%12" PRIu64, topic->cursor.seq);
    } else {
        printf("%12s", "-");
    }
    printf(" %8" PRIu32 " %14" PRIu64 "  %-10s ", topic->chunks_count, bytes,
           topic->retention == NULL || topic->retention[0] == '\0' ? "-" : topic->retention);
    report_text(topic->name, strlen(topic->name));
    printf("\n");
}

static void topics_print(const struct arguments *arguments, const struct inspection *inspection)
{
    const struct recovery *recovery = &inspection->recovery;
    if (!arguments->json) {
        printf("%6s %12s %12s %12s %8s %14s  %-10s %s\n", "id", "first", "next", "cursor", "chunks",
               "bytes", "retention", "topic");
    }
    for (uint32_t i = 0; i < recovery->topics_count; i++) {
        const struct recovered_topic *topic = &recovery->topics[i];
        uint64_t bytes = 0;
        for (uint32_t j = 0; j < topic->chunks_count; j++) {
            bytes += chunk_size(topic->chunks[j].chunk_no, inspection->survey.chunk_bytes);
        }
        (arguments->json ? topic_json : topic_text)(topic, bytes);
    }
}

static const struct recovered_topic *topic_find(const struct inspection *inspection,
                                                const char *name)
{
    for (uint32_t i = 0; i < inspection->recovery.topics_count; i++) {
        if (strcmp(inspection->recovery.topics[i].name, name) == 0) {
            return &inspection->recovery.topics[i];
        }
    }
    return NULL;
}

/* The records in the order in which a start applies them. */
static int records_print(struct dump *dump, struct inspection *inspection)
{
    dump->log = "snapshot";
    const int result = dump_walk(inspection, &inspection->recovery.snapshot, record_frame, dump);
    dump->log = "system";
    return result == 0 ? dump_walk(inspection, &inspection->recovery.system, record_frame, dump)
                       : result;
}

int dump_run(const struct arguments *arguments, struct inspection *inspection)
{
    struct dump dump = {.arguments = arguments, .left = arguments->count};
    int result = 0;
    if (arguments->topic != NULL) {
        const struct recovered_topic *topic = topic_find(inspection, arguments->topic);
        result = topic == NULL ? -ENOENT : dump_walk(inspection, topic, frame_print, &dump);
    } else if (arguments->frames) {
        result = dump_walk(inspection, &inspection->recovery.system, frame_print, &dump);
    } else if (arguments->records) {
        result = records_print(&dump, inspection);
    } else {
        topics_print(arguments, inspection);
    }
    return result == DUMP_ENOUGH ? 0 : result;
}
