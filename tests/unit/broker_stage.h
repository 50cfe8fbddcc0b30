/*
 * Broker stage: a whole broker in this process, with an engine that only answers mail (fake_engine.h),
 * and clients that speak the control protocol to it (control_client.h).
 * Runs on:    the test's thread; one stage in a process.
 * Not here:   the control thread's side without the thread (session_stage.h).
 */
#ifndef TUSK_TESTS_UNIT_BROKER_STAGE_H
#define TUSK_TESTS_UNIT_BROKER_STAGE_H

#include "broker/broker.h"
#include "broker/counters.h"
#include "shm/mapping.h"
#include "tests/support/scratch.h"
#include "tests/unit/control_client.h"
#include "tests/unit/fake_engine.h"

extern char scratch[SCRATCH_PATH_BYTES]; /* on tmpfs; all directories but data are below */
extern struct config config;             /* of the broker that start() starts */
extern struct log quiet_log;
extern struct fault fault;
extern struct broker *broker;

void stage_begin(void);

/* A small broker whose files begin with that name. */
void config_init(struct config *fresh, const char *name);

void start(void);

/* A connection that has been welcomed. */
int client_open(void);
int client_open_to(const struct config *to);

/* A lane for it: memory and socket. */
void client_lane_open(int client, int fds[2]);

/* The directory of a broker just started, as a client maps it that is gone again; a counter in it. */
struct mapping directory_map(void);
uint64_t counter_in(const struct mapping *directory, enum counter counter);

#endif
