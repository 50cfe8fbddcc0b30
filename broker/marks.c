/* Marks: see marks.h. */
#include "broker/marks.h"

#include "broker/group.h"
#include "broker/retention.h"
#include "broker/store.h"
#include "broker/system_topic.h"

void marks_init(struct marks *marks)
{
    *marks = (struct marks){0};
    list_init(&marks->unmarked);
    list_init(&marks->due);
}

void marks_note(struct store *store, struct topic *topic)
{
    if (topic != store->system && topic->state == TOPIC_PRESENT && !list_linked(&topic->unmarked) &&
        topic->durable_position > topic->marked_position) {
        list_push_back(&store->marks.unmarked, &topic->unmarked);
    }
}

void marks_begin(struct store *store, bool periodic)
{
    retention_record_clock(store);
    struct marks *marks = &store->marks;
    while (!list_empty(&marks->unmarked)) {
        struct list_node *node = list_first(&marks->unmarked);
        list_remove(node);
        list_push_back(&marks->due, node);
    }
    marks->running = true;
    marks->periodic |= periodic;
    marks->index = 0;
}

/* Looks for the next cursor to record. STORE_READY, STORE_WAIT or -errno. */
static int cursor_step(struct store *store)
{
    struct marks *marks = &store->marks;
    const struct topic_set *set = &store->topics;
    for (int i = 0; i < MARKS_STEP_TOPICS && marks->index < set->used; i++) {
        struct topic *topic = set->by_index[marks->index];
        if (topic != NULL && group_needs_record(topic)) {
            const int outcome = group_record(store, topic);
            if (outcome == STORE_READY) {
                marks->index++;
            }
            return outcome;
        }
        marks->index++;
    }
    return STORE_READY;
}

/* One record of as many topics as it holds. */
static int topics_step(struct store *store)
{
    struct marks *marks = &store->marks;
    const int outcome = system_topic_prepare(store);
    if (outcome != STORE_READY) {
        return outcome;
    }
    uint8_t items[RECORD_ITEMS_MAX * RECORD_MARK_ITEM_BYTES];
    uint16_t count = 0;
    while (count < RECORD_ITEMS_MAX && !list_empty(&marks->due)) {
        struct topic *topic = list_entry(list_first(&marks->due), struct topic, unmarked);
        const struct record_mark_item item = {
            .topic_id = topic->id,
            .durable = {.position = topic->durable_position, .seq = topic->durable_seq},
            .time_ns = topic->last_time_ns};
        record_mark_item_put(items, count++, &item);
        topic->marked_position = topic->durable_position;
        list_remove(&topic->unmarked);
    }
    const struct record record = {.kind = RECORD_MARKS, .marks = {.bytes = items, .count = count}};
    system_topic_append(store, &record);
    return STORE_READY;
}

static int system_step(struct store *store)
{
    const struct topic *system = store->system;
    const int outcome = system_topic_prepare(store);
    if (outcome != STORE_READY) {
        return outcome;
    }
    const struct record record = {
        .kind = RECORD_MARK,
        .mark = {.durable = {.position = system->durable_position, .seq = system->durable_seq}},
    };
    system_topic_append(store, &record);
    store->marks.periodic = false;
    return STORE_READY;
}

bool marks_step(struct store *store)
{
    struct marks *marks = &store->marks;
    if (!marks->running || store->fenced != 0) {
        return false;
    }
    for (int i = 0; i < MARKS_STEP_RECORDS; i++) {
        int outcome = STORE_READY;
        if (marks->index < store->topics.used) {
            outcome = cursor_step(store);
        } else if (!list_empty(&marks->due)) {
            outcome = topics_step(store);
        } else if (marks->periodic) {
            outcome = system_step(store);
        } else {
            marks->running = false;
            return true;
        }
        if (outcome < 0) {
            marks->running = false; /* the next start looks a little further */
        }
        if (outcome != STORE_READY) {
            return i > 0;
        }
    }
    return true;
}
