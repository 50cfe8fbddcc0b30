/*
 * Proves, under ThreadSanitizer too, that the owner's thread, the control thread and the engine's
 * share nothing but mail: clients come and go at every point of the conversation while brokers start
 * and stop, some with clients in them, and namespaces are opened, changed and removed. The engine only answers mail (fake_engine.h).
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/config.h"
#include "shm/ensure.h"
#include "tests/unit/control_client.h"
#include "tests/unit/fake_engine.h"

enum { ROUNDS = 10, VISITORS = 4, VISITS = 500 };

static struct config config;

/* A visitor whom the stop has overtaken is not served. */
static bool may_happen(int error, bool stopping)
{
    return error == 0 || (stopping && (error == -EPIPE || error == -ENOENT ||
                                       error == -ECONNREFUSED || error == -ECONNRESET));
}

struct visitor {
    pthread_t thread;
    unsigned seed;
    bool stopping; /* the broker stops while it visits */
};

static void *visit(void *argument)
{
    struct visitor *visitor = argument;
    for (int i = 0; i < VISITS; i++) {
        const int error = control_client_roam(config.socket_path, &visitor->seed);
        if (!may_happen(error, visitor->stopping)) {
            fprintf(stderr, "a client got %s\n", strerror(-error));
            exit(1);
        }
    }
    return NULL;
}

static void round_run(unsigned round)
{
    struct visitor visitors[VISITORS];
    struct broker *broker;
    struct fault fault;
    if (broker_start(&broker, &config, NULL, &fault) != 0) {
        fprintf(stderr, "%s\n", fault.text);
        exit(1);
    }
    const bool stopping = round % 2 == 1;
    for (unsigned i = 0; i < VISITORS; i++) {
        visitors[i] = (struct visitor){.seed = round * VISITORS + i + 1, .stopping = stopping};
        ensure(pthread_create(&visitors[i].thread, NULL, visit, &visitors[i]) == 0);
    }
    for (unsigned i = 0; i < VISITORS && !stopping; i++) {
        pthread_join(visitors[i].thread, NULL);
    }
    ensure(broker_stop(broker) == 0);
    for (unsigned i = 0; i < VISITORS && stopping; i++) {
        pthread_join(visitors[i].thread, NULL);
    }
}

int main(void)
{
    char directory[] = "/dev/shm/tusk-stress-XXXXXX";
    ensure(mkdtemp(directory) != NULL);
    config = (struct config){
        .socket_mode = 0600,
        .socket_group = CONFIG_GROUP_UNCHANGED,
        .chunk_bytes = CHUNK_BYTES_MIN,
        .arena_bytes = CONFIG_ARENA_BYTES_MIN,
        .arena_given = true,
        .topics_max = 8,
        .lanes_max = 64,
        .engines = 2,
        /* liburing maps and unmaps rings by system calls that ThreadSanitizer does not see: it takes
         * two rings that lie in the same place one after the other for one. */
        .backend = IO_BACKEND_PWRITE,
    };
    snprintf(config.data_dir, sizeof config.data_dir, "%s/data", directory);
    snprintf(config.run_dir, sizeof config.run_dir, "%s/run", directory);
    snprintf(config.socket_path, sizeof config.socket_path, "%s/t.sock", directory);
    for (unsigned round = 0; round < ROUNDS; round++) {
        round_run(round);
    }
    /* Nothing is left in it but the namespaces, which the fake stores have left empty. */
    static const char *const left[] = {"data/default/NAMESPACE", "data/default",
                                       "data/a/NAMESPACE",       "data/a",
                                       "data/b_c/NAMESPACE",     "data/b_c"};
    char path[128];
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, left[i]);
        ensure(remove(path) == 0 || errno == ENOENT);
    }
    snprintf(path, sizeof path, "%s/data", directory);
    ensure(rmdir(path) == 0 && rmdir(directory) == 0);
    return 0;
}
