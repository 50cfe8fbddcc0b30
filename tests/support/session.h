/*
 * Session: a broker and a connection for a test, and short ways to append and to look.
 * Runs on:    the test's main thread, unless said otherwise.
 * Invariants: every helper checks what it calls; a test reads as what it proves.
 * Trust:      not applicable.
 * Not here:   several processes (clients.h), the broker's life (tuskd.h).
 */
#ifndef TUSK_TESTS_SUPPORT_SESSION_H
#define TUSK_TESTS_SUPPORT_SESSION_H

#include <tusk/tusk.h>

#include "tests/support/check.h"
#include "tests/support/deadline.h"
#include "tests/support/process.h"
#include "tests/support/tuskd.h"

/* Of the test that runs, between session_begin() and session_end(). */
extern struct tuskd *broker;
extern struct tusk *tusk;

/* Suite fixtures: a broker with the default options and a connection to it. */
void session_begin(void);
void session_end(void);

/* The same with options for the broker. */
void session_begin_with(const char *options);

/* Disconnect, stop the broker cleanly, start it again and connect. */
void session_restart(const char *options);

/* A connection; options may be NULL, the socket is filled in. */
struct tusk *attach(struct tuskd *tuskd);
struct tusk *attach_with(struct tuskd *tuskd, struct tusk_options options);

struct tusk_topic *topic_of(struct tusk *connection, const char *name);

/* Append a text, without its zero; returns its seq. */
uint64_t append_text(struct tusk_topic *topic, const char *text);

/* Append entries payload_fill(producer, n) for n in [first, first + count). */
void append_numbered(struct tusk_topic *topic, uint32_t producer, uint32_t first, uint32_t count,
                     size_t size);

struct tusk_reader *reader_of(struct tusk_topic *topic);
struct tusk_reader *reader_from(struct tusk_topic *topic, enum tusk_from from, uint64_t value);

/* The reader's next entry, which must come within the default time. */
struct tusk_entry reader_take(struct tusk_reader *reader);

/* The next entry is that one. */
void expect_text(struct tusk_reader *reader, uint64_t seq, const char *text);
void expect_numbered(const struct tusk_entry *entry, uint32_t producer, uint32_t n, size_t size);

/* There is no further entry now. */
void expect_end(struct tusk_reader *reader);

/* The default cursor's next entry, checkpointed, is that one; there is none. */
void expect_next(struct tusk_topic *topic, uint64_t seq, const char *text);
void expect_caught_up(struct tusk_topic *topic);

struct tusk_topic_stat info_of(struct tusk_topic *topic);

/* Fill the array with so many completions of this thread, in the order in which they come. */
void reap_all(struct tusk *connection, struct tusk_completion *completions, size_t count);

/* What the broker holds when it has finished what was asked of it so far. It answers before it closes
 * its own copies of the descriptors that it has sent, so a count of the moment of an answer may be
 * too high; a further request is answered behind that. */
struct process_counts broker_counts(struct tusk *connection);

/* A counter of the broker; it must exist. */
uint64_t counter_of(struct tusk *connection, const char *name);

/* Counters are published a little later, all at once: waits until they show so many entries that were
 * appended to the namespace since the broker's start, and so everything that it did before. */
void counters_await(struct tusk *connection, uint64_t appended);

#endif
