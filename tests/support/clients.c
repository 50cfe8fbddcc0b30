/*
 * Clients: see clients.h.
 * Runs on:    the test's main thread and the client processes.
 * Ordering:
 *   [C1] gate_open() -> gate_pass(): what was prepared, then the flag
 *   [C2] gate_pass() -> gate_await(): what the client did before, then its arrival
 *   [C3] shared_set(), shared_add() -> shared_get(): what was done, then the number that tells
 * Not here:   see clients.h.
 */
#include "tests/support/clients.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/deadline.h"
#include "tests/support/program.h"
#include "tests/support/scratch.h"

enum { MESSAGE_BYTES = 1024 };

struct client_report {
    char message[MESSAGE_BYTES];
};

struct clients {
    size_t count;
    pid_t *pids; /* 0: ended */
    struct client_report *reports;
    struct clients *next;
};

static struct clients *all_clients; /* of this process, for its life */

static struct client_report *own_report;

static void client_failed(const char *message)
{
    (void)snprintf(own_report->message, MESSAGE_BYTES, "%s", message);
    _exit(1);
}

static void client_enter(struct client_report *report, pid_t parent)
{
    own_report = report;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);
    }
    check_report_to(client_failed);
    deadline_inherit();
}

struct clients *clients_start(size_t count, client_function *run, void *arg)
{
    struct clients *clients = calloc(1, sizeof *clients);
    check(clients != NULL);
    deadline_default();
    clients->next = all_clients;
    all_clients = clients;
    clients->count = count;
    clients->pids = calloc(count, sizeof *clients->pids);
    check(clients->pids != NULL);
    clients->reports = shared_memory(count * sizeof *clients->reports);
    const pid_t parent = getpid();
    for (size_t i = 0; i < count; i++) {
        clients->pids[i] = fork();
        check(clients->pids[i] >= 0);
        if (clients->pids[i] == 0) {
            client_enter(&clients->reports[i], parent);
            run(i, arg);
            _exit(0);
        }
    }
    return clients;
}

static void client_ended(struct clients *clients, size_t index, int status)
{
    clients->pids[index] = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        for (size_t i = 0; i < clients->count; i++) {
            if (clients->pids[i] > 0) {
                (void)kill(clients->pids[i], SIGKILL);
            }
        }
        check_failed(__FILE__, __LINE__, "client %zu of %zu %s: %s", index, clients->count,
                     program_ending(status), clients->reports[index].message);
    }
}

void clients_join(struct clients *clients)
{
    deadline_doing("client processes to end");
    for (size_t left = clients->count; left > 0;) {
        left = 0;
        for (size_t i = 0; i < clients->count; i++) {
            int status = 0;
            if (clients->pids[i] == 0) {
                continue;
            }
            if (waitpid(clients->pids[i], &status, WNOHANG) == clients->pids[i]) {
                client_ended(clients, i, status);
            } else {
                left++;
            }
        }
        if (left > 0) {
            pause_briefly();
        }
    }
    deadline_doing(NULL);
}

void clients_run(size_t count, client_function *run, void *arg)
{
    clients_join(clients_start(count, run, arg));
}

void clients_kill(struct clients *clients, size_t index)
{
    int status = 0;
    const pid_t pid = clients->pids[index];
    if (pid == 0) {
        return;
    }
    check(kill(pid, SIGKILL) == 0);
    check(waitpid(pid, &status, 0) == pid);
    clients->pids[index] = 0;
    if (!(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)) {
        client_ended(clients, index, status);
    }
}

pid_t clients_pid(const struct clients *clients, size_t index)
{
    return clients->pids[index];
}

void gate_pass(struct gate *gate)
{
    (void)__atomic_add_fetch(&gate->arrived, 1, __ATOMIC_ACQ_REL); /* [C2] release */
    while (__atomic_load_n(&gate->open, __ATOMIC_ACQUIRE) == 0) {  /* [C1] acquire */
        pause_briefly();
    }
}

void gate_await(struct gate *gate, uint32_t count)
{
    deadline_doing("clients to arrive at a gate");
    while (__atomic_load_n(&gate->arrived, __ATOMIC_ACQUIRE) < count) { /* [C2] acquire */
        pause_briefly();
    }
    deadline_doing(NULL);
}

void gate_open(struct gate *gate)
{
    __atomic_store_n(&gate->open, 1, __ATOMIC_RELEASE); /* [C1] release */
}

uint64_t shared_get(const uint64_t *number)
{
    return __atomic_load_n(number, __ATOMIC_ACQUIRE); /* [C3] acquire */
}

void shared_set(uint64_t *number, uint64_t value)
{
    __atomic_store_n(number, value, __ATOMIC_RELEASE); /* [C3] release */
}

uint64_t shared_add(uint64_t *number, uint64_t value)
{
    return __atomic_add_fetch(number, value, __ATOMIC_ACQ_REL); /* [C3] release */
}
