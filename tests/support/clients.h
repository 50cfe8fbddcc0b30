/*
 * Clients: a number of real processes, forked before the test has a connection of its own.
 * Runs on:    the test's main thread; each client runs its function and exits.
 * Invariants: a failed check in a client fails the test in clients_join(), in the client's words;
 *             clients die with the test and have its deadline.
 * Trust:      not applicable.
 * Not here:   what clients write down for the checker (diary.h).
 */
#ifndef TUSK_TESTS_SUPPORT_CLIENTS_H
#define TUSK_TESTS_SUPPORT_CLIENTS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct clients;

typedef void client_function(size_t index, void *arg);

/* Start count processes. What arg points to is each one's own copy, unless shared_memory(). */
struct clients *clients_start(size_t count, client_function *run, void *arg);

/* Wait until all have ended; every one that wasn't killed must have succeeded. */
void clients_join(struct clients *clients);

/* clients_start() and clients_join(). */
void clients_run(size_t count, client_function *run, void *arg);

/* SIGKILL one and wait until it is gone; it may have ended by itself. */
void clients_kill(struct clients *clients, size_t index);

pid_t clients_pid(const struct clients *clients, size_t index);

/* A place where processes meet. Lies in shared_memory(). */
struct gate {
    uint32_t arrived;
    uint32_t open;
};

/* Arrive and wait until it is open. */
void gate_pass(struct gate *gate);

/* Wait until so many have arrived; let them through. */
void gate_await(struct gate *gate, uint32_t count);
void gate_open(struct gate *gate);

/* A number that processes share: one writer, any readers. */
uint64_t shared_get(const uint64_t *number);
void shared_set(uint64_t *number, uint64_t value);
uint64_t shared_add(uint64_t *number, uint64_t value);

#endif
