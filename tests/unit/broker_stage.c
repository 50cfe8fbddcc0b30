/* Broker stage: see broker_stage.h. */
#include "tests/unit/broker_stage.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/deadline.h"

char scratch[SCRATCH_PATH_BYTES];
static char data[SCRATCH_PATH_BYTES];
struct config config;
struct log quiet_log;
struct fault fault;
struct broker *broker;

void config_init(struct config *fresh, const char *name)
{
    *fresh = (struct config){
        .socket_mode = 0660,
        .socket_group = CONFIG_GROUP_UNCHANGED,
        .chunk_bytes = CHUNK_BYTES_MIN,
        .arena_bytes = CONFIG_ARENA_BYTES_MIN,
        .arena_given = true,
        .topics_max = 8,
        .lanes_max = 2048,
        .engines = 1,
        .quiet = true,
    };
    snprintf(fresh->data_dir, sizeof fresh->data_dir, "%s/%s-data", data, name);
    snprintf(fresh->run_dir, sizeof fresh->run_dir, "%s/%s-run", scratch, name);
    snprintf(fresh->socket_path, sizeof fresh->socket_path, "%.80s/%.8s.sock", scratch, name);
}

void stage_begin(void)
{
    scratch_on_tmpfs(scratch);
    scratch_on_disk(data);
    config_init(&config, "a");
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    log_init(&quiet_log, null, false);
    fault = (struct fault){0};
    fake_script = (struct fake_script){0};
}

void start(void)
{
    const int error = broker_start(&broker, &config, &quiet_log, &fault);
    cr_assert_eq(error, 0, "%s", fault.text);
}

int client_open_to(const struct config *to)
{
    union control_message answer;
    int fds[2];
    const int client = control_client_connect(to->socket_path);
    cr_assert_geq(client, 0, "cannot connect: %s", strerror(-client));
    cr_assert_eq(control_client_hello(client, &answer, fds), 0);
    close(fds[0]);
    close(fds[1]);
    return client;
}

int client_open(void)
{
    return client_open_to(&config);
}

void client_lane_open(int client, int fds[2])
{
    union control_message answer;
    cr_assert_eq(control_client_lane(client, &answer, fds), 0);
    cr_assert_eq(answer.header.kind, CONTROL_LANE_OPENED);
}

struct mapping directory_map(void)
{
    union control_message answer;
    struct mapping mapping;
    int fds[2];
    const int client = control_client_connect(config.socket_path);
    cr_assert_eq(control_client_hello(client, &answer, fds), 0);
    cr_assert_eq(mapping_open(&mapping, fds[0], answer.welcome.directory_bytes, false), 0);
    close(fds[0]);
    close(fds[1]);
    close(client);
    /* A figure may be behind what the client has already been told, but not for long. */
    wait_until(counter_in(&mapping, COUNTER_SESSIONS_OPENED) == 1 &&
                   counter_in(&mapping, COUNTER_SESSIONS) == 0,
               ANSWER_MS);
    return mapping;
}

uint64_t counter_in(const struct mapping *directory, enum counter counter)
{
    return atom_load_relaxed(&directory_counter(directory->base, counter)->value);
}
