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

/* The members of a record, whichever way they are printed. */
struct printer {
    void (*text)(const char *name, struct record_text text);
    void (*number)(const char *name, uint64_t number);
    void (*place)(const char *name, const struct record_place *place);
};

static void assign_print(const struct printer *print, const struct record_assign *assign)
{
    print->number("chunk", assign->chunk_no);
    print->number("slot", assign->slot);
    print->number("generation", assign->generation);
    print->number("base_seq", assign->base_seq);
    print->number("base_time_ns", assign->base_time_ns);
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
    }
}

void record_print_text(const struct record *record)
{
    static const struct printer print = {text_print, number_print, place_print};
    printf("%-12s topic=%" PRIu64, kind_name(record->kind), record->topic_id);
    body_print(&print, record);
    printf("\n");
}

void record_print_json(const struct record *record)
{
    static const struct printer print = {text_json, json_number, place_json};
    json_text("record", kind_name(record->kind));
    json_number("topic_id", record->topic_id);
    body_print(&print, record);
}
