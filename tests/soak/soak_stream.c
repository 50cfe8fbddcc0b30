/*
 * Streams at full size: one entry of 1 GiB and one batch of 10 GiB, through an arena of 256 MiB and
 * lanes of 1 MiB, all or nothing for whoever looks meanwhile, and byte for byte afterwards.
 *
 * How: a client process appends the entry, then the batch, whose entries are pieces of a pool of
 * mixed bytes, so that it needs no memory of the batch's size itself; this process looks at the
 * topic's counts all the while and appends to another topic; a reader process compares every byte.
 * Memory is each process's peak: the client's, beyond what it had before the call; the broker's.
 *
 * Environment, with the defaults: TUSK_SOAK_ENTRY 1 GiB, TUSK_SOAK_BATCH 10 GiB (bytes),
 * TUSK_SOAK_ARENA 256M, TUSK_SOAK_LANE 1 MiB (bytes). Exit 1: anything was seen early, or differs,
 * or the client or the broker took more than 64 MiB besides data, lane and arena.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/clients.h"
#include "tests/support/deadline.h"
#include "tests/support/payload.h"
#include "tests/support/scratch.h"
#include "tests/support/session.h"
#include "tests/support/tuskd.h"

#define MIB ((uint64_t)1 << 20)
#define POOL_BYTES (64 * MIB)

enum { PIECE_MAX = 32 * 1024, RESERVE_MIB = 64 };

struct soak {
    uint64_t entry_bytes;
    uint64_t batch_bytes;
    uint64_t batch_entries;
    size_t lane_bytes;
    uint64_t stage; /* 1: the entry, 2: the batch, 3: done */
    uint64_t ns[3];
    uint64_t grown_kib[3]; /* the client's peak beyond what it had before */
};

static void failed(const char *message)
{
    fprintf(stderr, "%s\n", message);
    exit(1);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL && *text != '\0' ? strtoull(text, NULL, 0) : otherwise;
}

static uint64_t peak_kib(void)
{
    struct rusage usage;
    check_is(getrusage(RUSAGE_SELF, &usage), 0);
    return (uint64_t)usage.ru_maxrss;
}

static uint64_t broker_peak_kib(void)
{
    char path[64];
    char line[256];
    uint64_t kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)broker->pid);
    FILE *file = fopen(path, "re");
    check(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        (void)sscanf(line, "VmHWM: %" SCNu64, &kib);
    }
    fclose(file);
    return kib;
}

static unsigned char *pool_new(void)
{
    unsigned char *pool = malloc(POOL_BYTES);
    check(pool != NULL);
    for (uint64_t i = 0; i < POOL_BYTES; i += 8) {
        const uint64_t word = payload_mix(i);
        memcpy(pool + i, &word, sizeof word);
    }
    return pool;
}

static size_t piece_bytes(uint64_t n)
{
    return payload_mix(n) % (PIECE_MAX + 1);
}

static const unsigned char *piece(const unsigned char *pool, uint64_t n)
{
    return pool + payload_mix(~n) % (POOL_BYTES - PIECE_MAX);
}

static struct tusk *attach_wide(const struct soak *soak)
{
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.lane_bytes = soak->lane_bytes;
    return attach_with(broker, options);
}

static void step_begin(struct soak *soak, uint64_t stage)
{
    soak->grown_kib[stage] = peak_kib();
    soak->ns[stage] = now_ns();
    shared_set(&soak->stage, stage);
}

static void step_end(struct soak *soak, uint64_t stage)
{
    soak->ns[stage] = now_ns() - soak->ns[stage];
    soak->grown_kib[stage] = peak_kib() - soak->grown_kib[stage];
}

static void append_run(size_t index, void *arg)
{
    (void)index;
    struct soak *soak = arg;
    struct tusk *own = attach_wide(soak);
    struct tusk_topic *topic = topic_of(own, "t");
    unsigned char *entry = malloc(soak->entry_bytes);
    check(entry != NULL);
    payload_fill(entry, soak->entry_bytes, 1, 0);
    uint64_t seq = 0;
    step_begin(soak, 1);
    check_ok(tusk_append(topic, entry, soak->entry_bytes, &seq));
    step_end(soak, 1);
    check_is(seq, 0);
    free(entry);
    unsigned char *pool = pool_new();
    struct iovec *entries = calloc(soak->batch_entries, sizeof *entries);
    check(entries != NULL);
    for (uint64_t n = 0; n < soak->batch_entries; n++) {
        entries[n] = (struct iovec){.iov_base = (void *)(uintptr_t)piece(pool, n),
                                    .iov_len = piece_bytes(n)};
    }
    step_begin(soak, 2);
    check_ok(tusk_batch_append(topic, entries, soak->batch_entries, &seq));
    step_end(soak, 2);
    check_is(seq, 1);
    shared_set(&soak->stage, 3);
    tusk_disconnect(own);
    free(entries);
    free(pool);
}

static void read_run(size_t index, void *arg)
{
    (void)index;
    struct soak *soak = arg;
    struct tusk *own = attach_wide(soak);
    struct tusk_reader *reader = reader_of(topic_of(own, "t"));
    unsigned char *pool = pool_new();
    const uint64_t since = now_ns();
    struct tusk_entry entry = reader_take(reader);
    expect_numbered(&entry, 1, 0, soak->entry_bytes);
    for (uint64_t n = 0; n < soak->batch_entries; n++) {
        entry = reader_take(reader);
        check_is(entry.seq, n + 1);
        check_bytes(entry.data, entry.size, piece(pool, n), piece_bytes(n));
    }
    expect_end(reader);
    soak->ns[0] = now_ns() - since;
    tusk_disconnect(own);
    free(pool);
}

static bool has_ended(pid_t pid)
{
    siginfo_t info = {0};
    check_is(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    return info.si_pid == pid;
}

/* What others see meanwhile; returns how many appends another topic took. */
static uint64_t look(struct soak *soak, pid_t writer)
{
    tusk = attach(broker);
    struct tusk_topic *topic = topic_of(tusk, "t");
    struct tusk_topic *elsewhere = topic_of(tusk, "elsewhere");
    uint64_t appends = 0;
    uint64_t stage = 0;
    while (stage < 3 && !has_ended(writer)) {
        stage = shared_get(&soak->stage);
        const uint64_t next = info_of(topic).next_seq;
        check_say(next == 0 || next == 1 || next == soak->batch_entries + 1,
                  "a part of a stream can be seen: the next seq is %" PRIu64, next);
        check(next == 0 || stage >= 1);
        append_text(elsewhere, "x");
        appends++;
        usleep(1000);
    }
    tusk_disconnect(tusk);
    return appends;
}

static double rate(uint64_t bytes, uint64_t ns)
{
    return (double)bytes / (double)ns * 1e3; /* MB/s */
}

int main(void)
{
    struct soak *soak = shared_memory(sizeof *soak);
    const char *arena = getenv("TUSK_SOAK_ARENA");
    char options[64];
    check_report_to(failed);
    deadline_set(4 * 3600);
    soak->entry_bytes = setting("TUSK_SOAK_ENTRY", 1024 * MIB);
    soak->lane_bytes = setting("TUSK_SOAK_LANE", MIB);
    const uint64_t wanted = setting("TUSK_SOAK_BATCH", 10 * 1024 * MIB);
    while (soak->batch_bytes < wanted) {
        soak->batch_bytes += piece_bytes(soak->batch_entries++);
    }
    snprintf(options, sizeof options, "--arena %s", arena != NULL ? arena : "256M");
    broker = tuskd_start(options);
    const uint64_t before_kib = broker_peak_kib();
    struct clients *writer = clients_start(1, append_run, soak);
    const uint64_t appends = look(soak, clients_pid(writer, 0));
    clients_join(writer);
    const uint64_t broker_kib = broker_peak_kib() - before_kib;
    printf("entry of %" PRIu64 " MiB: %.0f MB/s; batch of %" PRIu64 " MiB in %" PRIu64
           " entries: %.0f MB/s\n",
           soak->entry_bytes / MIB, rate(soak->entry_bytes, soak->ns[1]), soak->batch_bytes / MIB,
           soak->batch_entries, rate(soak->batch_bytes, soak->ns[2]));
    printf("another topic took %" PRIu64 " appends meanwhile, one at a time, 1 ms apart\n",
           appends);
    fflush(stdout);
    clients_run(1, read_run, soak);
    printf("read back and compared: %.0f MB/s\n",
           rate(soak->entry_bytes + soak->batch_bytes, soak->ns[0]));
    printf("peak memory beyond what there was: client %" PRIu64 " KiB (entry), %" PRIu64
           " KiB (batch); broker %" PRIu64 " KiB over %" PRIu64 " KiB\n",
           soak->grown_kib[1], soak->grown_kib[2], broker_kib, before_kib);
    tuskd_stop(broker);
    const uint64_t most = RESERVE_MIB * 1024;
    const bool good = soak->grown_kib[1] < most + soak->lane_bytes / 1024 &&
                      soak->grown_kib[2] < most + soak->lane_bytes / 1024 && broker_kib < most;
    printf("%s: at most %d MiB besides data, lane and arena\n", good ? "ok" : "FAILED",
           RESERVE_MIB);
    return good ? 0 : 1;
}
