/* Store pass: see store_pass.h. */
#include "broker/store_pass.h"

#include "broker/fetch.h"
#include "broker/pending.h"
#include "broker/retention.h"
#include "broker/store.h"
#include "broker/stream.h"
#include "broker/tail_wait.h"

void store_retry(struct store *store)
{
    struct list stalled;
    store->freed = false;
    list_init(&stalled);
    if (store->fenced != 0) {
        pending_synced(store);
    }
    while (!list_empty(&store->stalled)) {
        struct list_node *node = list_first(&store->stalled);
        list_remove(node);
        list_push_back(&stalled, node);
    }
    while (!list_empty(&stalled)) {
        struct pending *pending = list_entry(list_first(&stalled), struct pending, queue);
        list_remove(&pending->queue);
        pending->resume(pending);
    }
}

bool store_work(struct store *store)
{
    const bool verified = fetch_verify(store);
    const bool marked = marks_step(store);
    const bool listed = snapshot_step(store);
    stream_tick(store);
    segment_set_give_back(&store->segments, store->now_ns, flush_idle(&store->flush));
    flush_tick(store);
    return verified || marked || listed;
}

void store_topics_look(struct store *store)
{
    while (!list_empty(&store->moved)) {
        struct topic *topic = list_entry(list_first(&store->moved), struct topic, moved);
        list_remove(&topic->moved);
        tail_wait_look(topic);
        retention_look(store, topic);
        topic_set_collect(&store->topics, topic);
    }
}
