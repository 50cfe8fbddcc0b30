/* Pin watch: see pin_watch.h. */
#include "broker/pin_watch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "broker/fetch.h"
#include "broker/pool_pins.h"
#include "shm/pins.h"
#include "shm/quantity.h"

/* Looks per --pin-timeout: a pin is revoked at most one part of it late; and their bounds. */
enum { LOOKS_PER_TIMEOUT = 8 };
#define LOOK_INTERVAL_NS_MIN UINT64_C(1000000)
#define LOOK_INTERVAL_NS_MAX UINT64_C(1000000000)

static uint64_t look_interval_ns(const struct store *store)
{
    const uint64_t part = store->config->pin_timeout_ns / LOOKS_PER_TIMEOUT;
    return part < LOOK_INTERVAL_NS_MIN   ? LOOK_INTERVAL_NS_MIN
           : part > LOOK_INTERVAL_NS_MAX ? LOOK_INTERVAL_NS_MAX
                                         : part;
}

/* Its pins say nothing that can be relied on: it has made its file larger or smaller, or the kernel
 * cannot read it. What it pins may go once it is told. */
static void faulty_expel(struct lane_set *lanes)
{
    struct chunk_pool *pool = &lanes->store->pool;
    pool->pins_faulty = false;
    list_each(node, &pool->readers)
    {
        struct client *client = list_entry(node, struct client, readers);
        if (client->pins_fault == 0) {
            continue;
        }
        char what[80];
        snprintf(what, sizeof what, "its pins cannot be read: %s",
                 client->pins_fault == -EMSGSIZE ? "it has changed the size of their file"
                                                 : strerror(-client->pins_fault));
        if (ftruncate(client->pins_fd, sizeof(struct pins_shm)) != 0) {
            snprintf(what, sizeof what, "its pins cannot be read or cut");
        }
        list_remove(&client->readers);
        lane_set_expel(lanes, client, what);
        lanes->store->freed = true;
    }
}

static void revocation_say(struct store *store, const struct client *client, const char *what,
                           uint64_t count)
{
    log_warning(store->log, "pins.revoked",
                "session=%" PRIu64 " pid=%d uid=%u %s=%" PRIu64 " pin_timeout_ms=%" PRIu64
                " action=\"the arena is short: its readers get ESTALE; let it read faster, or give "
                "the broker a larger --arena\"",
                client->session_id, (int)client->pid, (unsigned)client->uid, what, count,
                store->config->pin_timeout_ns / NS_PER_MS);
}

static void revoked_say(struct store *store)
{
    list_each(node, &store->pool.readers)
    {
        struct client *client = list_entry(node, struct client, readers);
        if (client->pins_revoked > 0) {
            revocation_say(store, client, "pins", client->pins_revoked);
            client->pins_revoked = 0;
        }
    }
}

/* Chunks that a client was told of and has not asked after since. */
static bool fetched_look(struct lane_set *lanes)
{
    struct store *store = lanes->store;
    bool any = false;
    list_each(client_node, &lanes->clients)
    {
        struct client *client = list_entry(client_node, struct client, clients);
        uint64_t count = 0;
        list_each(node, &client->lanes)
        {
            count += fetch_revoke(store, list_entry(node, struct lane, siblings),
                                  store->config->pin_timeout_ns);
        }
        if (count > 0) {
            revocation_say(store, client, "answers_unread", count);
            store->pool.revocations += count;
            any = true;
        }
    }
    return any;
}

void pin_watch_step(struct lane_set *lanes, bool wanted)
{
    struct store *store = lanes->store;
    struct chunk_pool *pool = &store->pool;
    if (pool->pins_faulty) {
        faulty_expel(lanes);
    }
    if (pool->is_short && !wanted) {
        pool->is_short = false;
        revoked_say(store);
    }
    if (store->now_ns < pin_watch_next_ns(store)) {
        return;
    }
    revoked_say(store); /* since the last look */
    const bool overdue = pool_pins_look(pool, store->now_ns, store->config->pin_timeout_ns);
    if (fetched_look(lanes) || overdue) {
        store->freed = true;
    }
}

uint64_t pin_watch_next_ns(const struct store *store)
{
    return store->pool.is_short ? store->pool.looked_ns + look_interval_ns(store) : UINT64_MAX;
}
