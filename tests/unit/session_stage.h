/*
 * Session stage: the control thread's side without the thread, and clients that talk to it: real
 * sockets, real regions on tmpfs, the control loop stepped by hand, a clock that the test moves, and
 * an engine that only answers mail (fake_engine.h).
 * Runs on:    the test's thread; one stage in a process.
 * Invariants: stage_end() finds the descriptors, mappings and files of stage_begin() again, or fails
 *             the test.
 * Not here:   threads and listening (test_broker.c).
 */
#ifndef TUSK_TESTS_UNIT_SESSION_STAGE_H
#define TUSK_TESTS_UNIT_SESSION_STAGE_H

#include "broker/session_set.h"
#include "shm/control.h"
#include "shm/directory.h"
#include "tests/unit/fake_engine.h"

enum { LANES_MAX = 4 };

extern struct config config;
extern struct run_dir run_dir;
extern struct namespace_set namespaces;
extern struct namespace *space; /* `default` */
extern struct control_loop loop;
extern struct mailbox mailbox; /* from the engine */
extern struct fake_engine engine;
extern struct session_set set;
extern uint64_t stage_now_ns; /* for session_set_accept() */

void stage_begin(void);
void stage_end(void);

/* Everything but what is on disk begins anew. */
void stage_restart(void);

/* What was logged since the last time. */
const char *log_take(void);

/* The control thread and the engine do all they can; the control thread alone does. */
void pump(void);
void pump_control(void);

/* As pump(), until no job of a namespace runs. */
void pump_jobs(void);

const struct directory_shm *directory(void);

/* A client's end of a new connection; of one that has been welcomed. */
int client_connect(void);
int client_open(void);

struct client_lane {
    uint64_t lane_id;
    int fd;
    int socket;
};
struct client_lane client_lane_open(int client);
void client_lane_drop(const struct client_lane *lane);

/* HELLO, with id 41; a request about lanes, whose lane_id and sq_bytes are the value. */
union control_message hello_make(const char *namespace_key);
union control_message lane_message(enum control_kind kind, uint64_t id, uint64_t value);
void say(int client, const union control_message *message);

/* The answer of that kind and id, with its descriptors. */
union control_message answer_take(int client, enum control_kind kind, uint64_t id, int *fds,
                                  size_t fd_count);

/* An error of that number whose text contains that part. */
void error_take(int client, uint64_t id, int error, const char *part);

/* Has the broker closed the connection? Takes a message that is there. */
bool has_ended(int client);

void fds_close(int *fds, size_t count);

/* Lane records of the ledger. */
unsigned records_in_use(void);

bool pins_exist(uint64_t session_id);

#endif
