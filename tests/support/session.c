/*
 * Session: see session.h.
 * Runs on:    the test's main thread, unless said otherwise.
 * Not here:   see session.h.
 */
#include "tests/support/session.h"

#include <stdlib.h>
#include <string.h>
#ifdef TUSK_ASAN
#include <sanitizer/lsan_interface.h>
#endif

#include "tests/support/payload.h"

enum { TAKE_TIMEOUT_MS = 60000 };

struct tuskd *broker;
struct tusk *tusk;

/* With everything closed, the library and the test hold nothing on the heap that nobody knows. */
static bool leaked(void)
{
#ifdef TUSK_ASAN
    return __lsan_do_recoverable_leak_check() != 0;
#else
    return false;
#endif
}

void session_begin_with(const char *options)
{
    broker = tuskd_start(options);
    tusk = attach(broker);
}

void session_begin(void)
{
    session_begin_with("");
}

void session_end(void)
{
    if (check_has_failed()) {
        return; /* the state is unknown; the broker dies with this process */
    }
    check_teardown();
    deadline_doing("tusk_disconnect");
    tusk_disconnect(tusk);
    deadline_doing(NULL);
    tuskd_stop(broker);
    tusk = NULL;
    check(!leaked());
}

void session_restart(const char *options)
{
    tusk_disconnect(tusk);
    tuskd_stop(broker);
    tuskd_restart(broker, options);
    tusk = attach(broker);
}

struct tusk *attach_with(struct tuskd *tuskd, struct tusk_options options)
{
    struct tusk *connection = NULL;
    options.socket_path = tuskd->socket;
    deadline_doing("tusk_connect");
    int result = tusk_connect(&connection, &options);
    while (result == -ENOTCONN && options.timeout_ms > 0) {
        result = tusk_connect(&connection, &options); /* its time-out is for what the test does */
    }
    check_ok(result);
    deadline_doing(NULL);
    check(connection != NULL);
    return connection;
}

struct tusk *attach(struct tuskd *tuskd)
{
    return attach_with(tuskd, TUSK_OPTIONS_INIT);
}

struct tusk_topic *topic_of(struct tusk *connection, const char *name)
{
    struct tusk_topic *topic = NULL;
    deadline_doing("tusk_topic_open");
    int result = tusk_topic_open(connection, name, NULL, &topic);
    while (result == -ETIMEDOUT) { /* of an impatient connection on a busy machine */
        result = tusk_topic_open(connection, name, NULL, &topic);
    }
    deadline_doing(NULL);
    check_ok(result);
    check(topic != NULL);
    return topic;
}

uint64_t append_text(struct tusk_topic *topic, const char *text)
{
    uint64_t seq = TUSK_ANY_SEQ;
    check_ok(tusk_append(topic, text, strlen(text), &seq));
    return seq;
}

void append_numbered(struct tusk_topic *topic, uint32_t producer, uint32_t first, uint32_t count,
                     size_t size)
{
    unsigned char *data = malloc(size);
    check(data != NULL);
    for (uint32_t i = 0; i < count; i++) {
        payload_fill(data, size, producer, first + i);
        check_ok(tusk_append(topic, data, size, NULL));
    }
    free(data);
}

struct tusk_reader *reader_from(struct tusk_topic *topic, enum tusk_from from, uint64_t value)
{
    struct tusk_reader *reader = NULL;
    struct tusk_reader_options options = TUSK_READER_OPTIONS_INIT;
    options.from = from;
    options.from_value = value;
    check_ok(tusk_reader_open(topic, &options, &reader));
    check(reader != NULL);
    return reader;
}

struct tusk_reader *reader_of(struct tusk_topic *topic)
{
    struct tusk_reader *reader = NULL;
    check_ok(tusk_reader_open(topic, NULL, &reader));
    check(reader != NULL);
    return reader;
}

struct tusk_entry reader_take(struct tusk_reader *reader)
{
    struct tusk_entry entry;
    deadline_doing("tusk_reader_next");
    check_is(tusk_reader_next(reader, &entry, TAKE_TIMEOUT_MS * TEST_TIME_FACTOR), 1);
    deadline_doing(NULL);
    return entry;
}

void expect_text(struct tusk_reader *reader, uint64_t seq, const char *text)
{
    const struct tusk_entry entry = reader_take(reader);
    check_is(entry.seq, seq);
    check_bytes(entry.data, entry.size, text, strlen(text));
}

void expect_numbered(const struct tusk_entry *entry, uint32_t producer, uint32_t n, size_t size)
{
    struct payload_id id;
    check_is(entry->size, size);
    check_say(payload_verify(entry->data, entry->size, &id), "entry %llu is damaged",
              (unsigned long long)entry->seq);
    check_is(id.producer, producer);
    check_is(id.n, n);
}

void expect_end(struct tusk_reader *reader)
{
    struct tusk_entry entry;
    check_is(tusk_reader_next(reader, &entry, 0), 0);
}

void expect_next(struct tusk_topic *topic, uint64_t seq, const char *text)
{
    struct tusk_entry entry;
    check_is(tusk_read_next(topic, true, &entry), 1);
    check_is(entry.seq, seq);
    check_bytes(entry.data, entry.size, text, strlen(text));
}

void expect_caught_up(struct tusk_topic *topic)
{
    struct tusk_entry entry;
    check_is(tusk_read_next(topic, true, &entry), 0);
}

struct tusk_topic_stat info_of(struct tusk_topic *topic)
{
    struct tusk_topic_stat stat = TUSK_TOPIC_STAT_INIT;
    check_ok(tusk_topic_info(topic, &stat));
    return stat;
}

void reap_all(struct tusk *connection, struct tusk_completion *completions, size_t count)
{
    deadline_doing("completions");
    for (size_t done = 0; done < count;) {
        const int reaped = tusk_reap(connection, completions + done, count - done);
        check_say(reaped >= 0, "tusk_reap: %s", tusk_strerror(reaped));
        done += (size_t)reaped;
        if (reaped == 0) {
            const int waited = tusk_wait(connection, TAKE_TIMEOUT_MS * TEST_TIME_FACTOR);
            check_say(waited == 1, "tusk_wait is %d with %zu of %zu completions", waited, done,
                      count);
        }
    }
    deadline_doing(NULL);
}

struct process_counts broker_counts(struct tusk *connection)
{
    char value[64];
    check(tusk_namespace_get(connection, "fsync", value, sizeof value) > 0);
    return process_count(broker->pid);
}

struct counter_search {
    const char *name;
    uint64_t value;
    bool found;
};

static int counter_look(const char *name, const char *help, uint64_t value, void *arg)
{
    struct counter_search *search = arg;
    check(help != NULL && help[0] != 0);
    if (strcmp(name, search->name) == 0) {
        search->value = value;
        search->found = true;
    }
    return 0;
}

uint64_t counter_of(struct tusk *connection, const char *name)
{
    struct counter_search search = {.name = name};
    check_ok(tusk_counter_list(connection, counter_look, &search));
    check_say(search.found, "there is no counter \"%s\"", name);
    return search.value;
}

void counters_await(struct tusk *connection, uint64_t appended)
{
    wait_until(counter_of(connection, "entries_appended_total") == appended, 10000);
}
