/*
 * Broker: everything put together: engines, namespaces, listener, sessions and the control thread.
 * Runs on:    start, stop and the rest on one thread, the owner's; it adds the control thread, the
 *             engines' with their helpers, and those of namespaces' jobs. Several brokers may run in
 *             one process.
 * Invariants: there are no globals and no signal handlers; the threads block all signals. After
 *             broker_stop(), or a start that failed, descriptors, mappings, threads and files are as
 *             they were before, but for the store.
 * Not here:   options, signals, readiness (main.c); the store (engine.h).
 */
#ifndef TUSK_BROKER_BROKER_H
#define TUSK_BROKER_BROKER_H

#include "broker/config.h"
#include "broker/fault.h"
#include "broker/log.h"

struct broker;

/* Takes a resolved config, which it copies, and a log, which must outlive it. Returns when clients
 * can connect: 0, or -errno with the words in fault. */
int broker_start(struct broker **broker, const struct config *config, struct log *log,
                 struct fault *fault);

/* Readable once the broker has failed by itself, which its log explains: it serves nobody any more
 * and wants to be stopped. Stays the broker's. */
int broker_wait_fd(const struct broker *broker);

/* Hears no client any more, lets the engines take and flush what clients have published, then closes
 * their sessions and frees everything. 0, or the errno that fenced a store or failed its last flush. */
int broker_stop(struct broker *broker);

#endif
