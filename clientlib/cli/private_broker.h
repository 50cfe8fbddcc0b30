/*
 * Private broker: a tuskd for the life of one command, in directories of its own.
 * Runs on:    the tool's one thread, with SIGCHLD blocked.
 * Invariants: private_broker_stop() leaves no process and no file, however far the start came.
 * Not here:   the command and its signals (verb_run.c).
 */
#ifndef TUSK_CLI_PRIVATE_BROKER_H
#define TUSK_CLI_PRIVATE_BROKER_H

#include <limits.h>
#include <sys/types.h>

struct private_broker {
    pid_t pid;                    /* 0: not running */
    int ready_fd;                 /* turns readable when it serves, or has died; -1: closed */
    char directory[PATH_MAX];     /* data and socket; "" if not made */
    char run_directory[PATH_MAX]; /* shared memory; "" if not made */
    char socket[PATH_MAX];
};

/* Make the directories and start the process. 0, or an exit status; stop it in both cases. */
int private_broker_start(struct private_broker *broker);

/* Once ready_fd is readable: 0 if the broker serves, or an exit status. */
int private_broker_ready(struct private_broker *broker);

/* Note that the process has ended if it has. */
void private_broker_reap(struct private_broker *broker);

/* End the process, in order and then by force, and remove the directories. */
void private_broker_stop(struct private_broker *broker);

#endif
