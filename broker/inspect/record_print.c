/* Record print: see record_print.h. */
#include "broker/inspect/record_print.h"

#include <inttypes.h>
#include <stdio.h>

#include "broker/inspect/json.h"
#include "broker/inspect/report.h"
#include "broker/record.h"

static void text_print(const char *name, struct record_text text)
{
    printf(" %s=\"", name);
    report_text(text.bytes, text.size);
    printf("\"");
}

static void number_print(const char *name, uint64_t number)
{
    printf(" %s=%" PRIu64, name, number);
}

static void place_print(const char *name, const struct record_place *place)
{
    printf(" %s=%" PRIu64 "@%" PRIu64, name, place->seq, place->position);
}

static void text_json(const char *name, struct record_text text)
{
    json_bytes(name, text.bytes, text.size);
}

static void place_json(const char *name, const struct record_place *place)
{
    char member[64];
    (void)snprintf(member, sizeof member, "%s_position", name);
    json_number(member, place->position);
    (void)snprintf(member, sizeof member, "%s_seq", name);
    json_number(member, place->seq);
}

static void marks_print(const struct record_items *marks)
{
    for (uint32_t i = 0; i < marks->count; i++) {
        const struct record_mark_item item = record_mark_item_get(marks, i);
        printf(" topic=%" PRIu64, item.topic_id);
        place_print("durable", &item.durable);
    }
}

static void marks_json(const struct record_items *marks)
{
    printf(",\"marks\":[");
    for (uint32_t i = 0; i < marks->count; i++) {
        const struct record_mark_item item = record_mark_item_get(marks, i);
        printf("%s{\"topic_id\":%" PRIu64, i == 0 ? "" : ",", item.topic_id);
        place_json("durable", &item.durable);
        json_number("time_ns", item.time_ns);
        printf("}");
    }
    printf("]");
}

static void chunks_print(const struct record_chunks *chunks)
{
    for (uint32_t i = 0; i < chunks->items.count; i++) {
        const struct record_chunk chunk = record_chunk_get(&chunks->items, i);
        printf(" chunk=%" PRIu64 " slot=%" PRIu32 " generation=%" PRIu64 " base_seq=%" PRIu64,
               chunks->chunk_no + i, chunk.slot, chunk.generation, chunk.base_seq);
    }
}

static void chunks_json(const struct record_chunks *chunks)
{
    printf(",\"chunks\":[");
    for (uint32_t i = 0; i < chunks->items.count; i++) {
        const struct record_chunk chunk = record_chunk_get(&chunks->items, i);
        printf("%s{\"chunk\":%" PRIu64, i == 0 ? "" : ",", chunks->chunk_no + i);
        json_number("slot", chunk.slot);
        json_number("generation", chunk.generation);
        json_number("base_seq", chunk.base_seq);
        json_number("base_time_ns", chunk.base_time_ns);
        json_number("age_ns", chunk.age_ns);
        printf("}");
    }
    printf("]");
}

/* The members of a record, whichever way they are printed. */
struct printer {
    void (*text)(const char *name, struct record_text text);
    void (*number)(const char *name, uint64_t number);
    void (*place)(const char *name, const struct record_place *place);
    void (*marks)(const struct record_items *marks);
    void (*chunks)(const struct record_chunks *chunks);
};

static void topic_print(const struct printer *print, const struct record_topic *topic)
{
    print->text("name", topic->name);
    print->text("retention", topic->retention);
    print->number("created_ns", topic->created_ns);
    print->number("as_of", topic->as_of);
    print->place("first", &topic->first);
    print->place("durable", &topic->durable);
    print->number("last_time_ns", topic->last_time_ns);
    print->number("floor_position", topic->floor_position);
    print->number("salt_floor", topic->floor_salt);
}

static void assign_print(const struct printer *print, const struct record_assign *assign)
{
    print->number("chunk", assign->chunk_no);
    print->number("slot", assign->slot);
    print->number("generation", assign->generation);
    print->number("base_seq", assign->base_seq);
    print->number("base_time_ns", assign->base_time_ns);
    print->number("age_ns", assign->age_ns);
    print->place("durable", &assign->durable);
}

static void verdict_print(const struct printer *print, const struct record_verdict *verdict)
{
    print->place("tail", &verdict->tail);
    print->place("durable", &verdict->durable);
    if (verdict->void_from != RECORD_NOTHING_VOID) {
        print->number("void_from_chunk", verdict->void_from);
    }
    print->number("salt_floor", verdict->salt_floor);
}

static const char *kind_name(enum record_kind kind)
{
    switch (kind) {
    case RECORD_TOPIC_CREATE:
        return "topic-create";
    case RECORD_TOPIC_DELETE:
        return "topic-delete";
    case RECORD_TOPIC_OPTION:
        return "topic-option";
    case RECORD_ASSIGN:
        return "assign";
    case RECORD_TRIM:
        return "trim";
    case RECORD_CURSOR:
        return "cursor";
    case RECORD_MARK:
        return "mark";
    case RECORD_VERDICT:
        return "verdict";
    case RECORD_MARKS:
        return "marks";
    case RECORD_TOPIC:
        return "topic";
    case RECORD_CHUNKS:
        return "chunks";
    case RECORD_CLOCK:
        return "clock";
    }
    return "unknown";
}

static void body_print(const struct printer *print, const struct record *record)
{
    switch (record->kind) {
    case RECORD_TOPIC_CREATE:
        print->text("name", record->topic_create.name);
        print->text("retention", record->topic_create.retention);
        print->number("created_ns", record->topic_create.time_ns);
        break;
    case RECORD_TOPIC_DELETE:
        break;
    case RECORD_TOPIC_OPTION:
        print->text("key", record->topic_option.key);
        print->text("value", record->topic_option.value);
        break;
    case RECORD_ASSIGN:
        assign_print(print, &record->assign);
        break;
    case RECORD_TRIM:
        print->number("chunk", record->trim.chunk_no);
        print->place("first", &record->trim.first);
        break;
    case RECORD_CURSOR:
        print->text("group", record->cursor.group);
        print->place("cursor", &record->cursor.cursor);
        print->place("durable", &record->cursor.durable);
        break;
    case RECORD_MARK:
        print->place("durable", &record->mark.durable);
        break;
    case RECORD_VERDICT:
        verdict_print(print, &record->verdict);
        break;
    case RECORD_MARKS:
        print->marks(&record->marks);
        break;
    case RECORD_TOPIC:
        topic_print(print, &record->topic);
        break;
    case RECORD_CHUNKS:
        print->chunks(&record->chunks);
        break;
    case RECORD_CLOCK:
        print->number("age_ns", record->clock.age_ns);
        break;
    }
}

void record_print_text(const struct record *record)
{
    static const struct printer print = {text_print, number_print, place_print, marks_print,
                                         chunks_print};
    printf("%-12s topic=%" PRIu64, kind_name(record->kind), record->topic_id);
    body_print(&print, record);
    printf("\n");
}

void record_print_json(const struct record *record)
{
    static const struct printer print = {text_json, json_number, place_json, marks_json,
                                         chunks_json};
    json_text("record", kind_name(record->kind));
    json_number("topic_id", record->topic_id);
    body_print(&print, record);
}
