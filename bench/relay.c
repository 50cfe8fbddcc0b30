/*
 * Relay: see relay.h. It is made as one would make it for speed: each side publishes an index once
 * for many frames and keeps a copy of the other's, checksums follow the copies some KiB later, both
 * rings are mapped twice so that no frame wraps, and all memory is faulted in before the start.
 */
#include "bench/relay.h"

#include "bench/clock.h"

#include <errno.h>
#include <isa-l/crc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define HEADER_BYTES 32
#define ALIGNMENT 16
#define KIND_ENTRY 1
#define PUBLISH_FRAMES 32               /* submitted between two publications of the tail */
#define UNIT_FRAMES 256                 /* relayed between two publications of the log's end */
#define UNIT_BYTES (UINT64_C(64) << 10) /* the same */
#define UNSEALED_BYTES (UINT64_C(16) << 10)
#define READ_FRAMES 512 /* between two reports of the reader's place */
#define LEAD_LOOK_EVERY 64
#define SPINS 50           /* pauses of one who waits before it yields */
#define SPINS_ALONE 100000 /* the same in a round trip: only so that two on one core get apart */
#define COMPLETIONS 4096
#define PAYLOAD_SPREAD 4096
#define AHEAD_BYTES 2048 /* so far ahead lines of the log are asked for */
#define LINE_BYTES 64

struct submission_header {
    uint32_t bytes; /* of the payload */
    uint16_t kind;
    uint16_t flags;
    uint64_t topic;
    uint64_t user_data;
    uint64_t arg;
};

struct log_header {
    uint32_t size;
    uint32_t checksum;
    uint64_t seq;
    uint64_t time_ns;
    uint64_t flags;
};
_Static_assert(sizeof(struct submission_header) == HEADER_BYTES, "as Tusk's");
_Static_assert(sizeof(struct log_header) == HEADER_BYTES, "as Tusk's");

struct completion {
    uint64_t user_data;
    uint64_t seq;
    uint64_t error;
    uint64_t value;
};

/* Words of different writers lie two cache lines apart. */
struct relay_words {
    alignas(128) _Atomic uint64_t tail;        /* producer: bytes submitted */
    alignas(128) _Atomic uint64_t head;        /* relay: bytes taken */
    alignas(128) _Atomic uint64_t seq;         /* relay: entries in the log */
    alignas(128) _Atomic uint64_t completions; /* relay */
    alignas(128) struct completion ring[COMPLETIONS];
};

struct relay {
    struct relay_words *words;
    unsigned char *ring; /* RELAY_RING_BYTES, twice */
    unsigned char *log;  /* log_bytes, twice */
    uint64_t log_bytes;  /* a power of two */
};

uint64_t relay_log_bytes(uint64_t size)
{
    return (HEADER_BYTES + size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static unsigned char *log_at(const struct relay *relay, uint64_t position)
{
    return relay->log + (position & (relay->log_bytes - 1));
}

/* ---- Memory ---------------------------------------------------------------------------------- */

/* Shared memory of so many bytes, mapped twice back to back. */
static unsigned char *twice_map(uint64_t bytes)
{
    const int fd = memfd_create("relay", MFD_CLOEXEC);
    unsigned char *base = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, (off_t)bytes) == 0) {
        base = mmap(NULL, 2 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    for (int half = 0; half < 2 && base != MAP_FAILED; half++) {
        if (mmap(base + (uint64_t)half * bytes, bytes, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0) == MAP_FAILED) {
            munmap(base, 2 * bytes);
            base = MAP_FAILED;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return base == MAP_FAILED ? NULL : base;
}

struct relay *relay_new(uint64_t log_bytes)
{
    struct relay *relay = calloc(1, sizeof *relay);

    if (relay) {
        relay->log_bytes = log_bytes;
        relay->words = mmap(NULL, sizeof *relay->words, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        relay->words = relay->words == MAP_FAILED ? NULL : relay->words;
        relay->ring = twice_map(RELAY_RING_BYTES);
        relay->log = twice_map(log_bytes);
    }
    if (!relay || !relay->words || !relay->ring || !relay->log) {
        perror("mapping memory for the bare relay");
        relay_free(relay);
        return NULL;
    }
    return relay;
}

void relay_free(struct relay *relay)
{
    if (!relay) {
        return;
    }
    if (relay->words) {
        munmap(relay->words, sizeof *relay->words);
    }
    if (relay->ring) {
        munmap(relay->ring, 2 * RELAY_RING_BYTES);
    }
    if (relay->log) {
        munmap(relay->log, 2 * relay->log_bytes);
    }
    free(relay);
}

/* Page tables are not inherited for shared memory: each process faults them in before it begins. */
static int memory_prepare(struct worker *worker)
{
    const struct relay_plan *plan = worker->arg;
    const struct relay *relay = plan->relay;

    if (madvise(relay->ring, 2 * RELAY_RING_BYTES, MADV_POPULATE_WRITE) != 0 ||
        madvise(relay->log, 2 * relay->log_bytes, MADV_POPULATE_WRITE) != 0) {
        return worker_fail(worker, -errno, "faulting memory in");
    }
    return 0;
}

/* ---- Waiting --------------------------------------------------------------------------------- */

/* One look found nothing: pauses, then gives the core away. Not inlined: bench-profile tells it from
 * work by its name. */
static __attribute__((noinline)) void wait_step(const struct relay_plan *plan, unsigned *looks)
{
    ++*looks;
    if (plan->round_trip ? *looks % SPINS_ALONE != 0 : *looks < SPINS) {
        __builtin_ia32_pause();
    } else {
        sched_yield();
    }
}

/* ---- The producer ---------------------------------------------------------------------------- */

struct submitter {
    const struct relay_plan *plan;
    struct relay *relay;
    char *payload;
    uint64_t random;
    uint64_t tail;
    uint64_t published;
    uint64_t head_seen;
};

static int submitter_prepare(struct worker *worker)
{
    const struct relay_plan *plan = worker->arg;
    struct submitter *submitter = calloc(1, sizeof *submitter);

    if (!submitter || !(submitter->payload = malloc(plan->size + PAYLOAD_SPREAD))) {
        return worker_fail(worker, -ENOMEM, "making a producer");
    }
    worker->state = submitter;
    submitter->plan = plan;
    submitter->relay = plan->relay;
    submitter->random = 1;
    memset(submitter->payload, 'x', plan->size + PAYLOAD_SPREAD);
    return memory_prepare(worker);
}

static void submitter_finish(struct worker *worker)
{
    struct submitter *submitter = worker->state;

    free(submitter->payload);
    free(submitter);
}

static void ring_publish(struct submitter *submitter)
{
    submitter->published = submitter->tail;
    atomic_store_explicit(&submitter->relay->words->tail, submitter->tail,
                          memory_order_release); /* [Y1] release */
}

static bool ring_fits(struct submitter *submitter, uint64_t bytes)
{
    if (submitter->tail + bytes - submitter->head_seen <= RELAY_RING_BYTES) {
        return true;
    }
    submitter->head_seen = atomic_load_explicit(&submitter->relay->words->head,
                                                memory_order_acquire); /* [Y2] acquire */
    return submitter->tail + bytes - submitter->head_seen <= RELAY_RING_BYTES;
}

/* The payload of the next entry: as the producers of other benchmarks choose it. */
static const char *payload_next(struct submitter *submitter)
{
    submitter->random ^= submitter->random >> 12;
    submitter->random ^= submitter->random << 25;
    submitter->random ^= submitter->random >> 27;
    return submitter->payload + submitter->random * UINT64_C(0x2545f4914f6cdd1d) % PAYLOAD_SPREAD;
}

static void entry_submit(struct submitter *submitter, uint64_t number)
{
    const uint64_t size = submitter->plan->size;
    unsigned char *at = submitter->relay->ring + submitter->tail % RELAY_RING_BYTES;
    const struct submission_header header = {
        .bytes = (uint32_t)size, .kind = KIND_ENTRY, .user_data = number};

    memcpy(at, &header, sizeof header);
    memcpy(at + HEADER_BYTES, payload_next(submitter), size);
    submitter->tail += relay_log_bytes(size);
}

static void lead_limit(const struct worker *worker, const struct relay_plan *plan, uint64_t entries)
{
    while (!worker_stopped(worker) &&
           entries > plan->lead_entries +
                         atomic_load_explicit(&worker->shared->followed, memory_order_relaxed)) {
        sched_yield();
    }
}

static int submitter_work(struct worker *worker)
{
    struct submitter *submitter = worker->state;
    const struct relay_plan *plan = submitter->plan;
    const uint64_t bytes = relay_log_bytes(plan->size);
    uint64_t entries = 0;
    unsigned looks = 0;

    while (entries < plan->entries_max && !worker_stopped(worker)) {
        if (!ring_fits(submitter, bytes)) {
            ring_publish(submitter);
            wait_step(plan, &looks);
            continue;
        }
        looks = 0;
        entry_submit(submitter, entries++);
        if (entries % PUBLISH_FRAMES == 0) {
            ring_publish(submitter);
        }
        if (entries % LEAD_LOOK_EVERY == 0) {
            lead_limit(worker, plan, entries);
        }
    }
    ring_publish(submitter);
    while (atomic_load_explicit(&submitter->relay->words->head, memory_order_acquire) !=
           submitter->tail) { /* [Y2] acquire */
        wait_step(plan, &looks);
    }
    worker->result->entries = worker->result->operations = entries;
    worker->result->bytes = entries * plan->size;
    return 0;
}

/* One entry after the other, each until its completion is there. */
static int caller_work(struct worker *worker)
{
    struct submitter *submitter = worker->state;
    struct relay_words *words = submitter->relay->words;
    struct worker_result *sum = worker->result;
    uint64_t before_ns = clock_now_ns();
    unsigned looks = 0;

    while (!worker_stopped(worker)) {
        entry_submit(submitter, sum->entries);
        ring_publish(submitter);
        while (atomic_load_explicit(&words->completions, memory_order_acquire) ==
               sum->entries) { /* [Y4] acquire */
            wait_step(submitter->plan, &looks);
        }
        const struct completion *completion = &words->ring[sum->entries % COMPLETIONS];
        if (completion->user_data != sum->entries || completion->seq != sum->entries) {
            return worker_fail(worker, -EBADMSG, "a completion is another entry's");
        }
        const uint64_t now_ns = clock_now_ns();
        histogram_add(&sum->latency_ns, now_ns - before_ns);
        before_ns = now_ns;
        sum->entries++;
    }
    sum->operations = sum->entries;
    return 0;
}

/* ---- The relay ------------------------------------------------------------------------------- */

struct relaying {
    const struct relay_plan *plan;
    struct relay *relay;
    uint64_t head;
    uint64_t head_published;
    uint64_t position;
    uint64_t unsealed;
    uint64_t seq;
    uint64_t time_ns;
};

/* ISA-L leaves the vector registers' upper halves in use, which slows what follows. */
__attribute__((target("avx"))) static void uppers_clear(void)
{
    __builtin_ia32_vzeroupper();
}

static uint32_t checksum(unsigned char *bytes, uint64_t count)
{
    const uint32_t sum = crc32_iscsi(bytes, (int)count, UINT32_MAX);

    if (__builtin_cpu_supports("avx")) {
        uppers_clear();
    }
    return ~sum;
}

static void log_seal(struct relaying *relaying)
{
    while (relaying->unsealed < relaying->position) {
        unsigned char *at = log_at(relaying->relay, relaying->unsealed);
        struct log_header *header = (struct log_header *)(void *)at;
        header->checksum = checksum(at, HEADER_BYTES + header->size);
        relaying->unsealed += relay_log_bytes(header->size);
    }
}

static void log_ask(const struct relaying *relaying, uint64_t bytes)
{
    const unsigned char *ahead = log_at(relaying->relay, relaying->position) + AHEAD_BYTES;

    for (uint64_t offset = 0; offset < bytes; offset += LINE_BYTES) {
        __builtin_prefetch(ahead + offset, 1, 2); /* into the second cache */
    }
}

/* Copies an entry behind the log's end; its checksum follows. */
static void log_append(struct relaying *relaying, const unsigned char *payload, uint32_t size)
{
    unsigned char *at = log_at(relaying->relay, relaying->position);
    const struct log_header header = {
        .size = size, .seq = relaying->seq++, .time_ns = relaying->time_ns, .flags = KIND_ENTRY};
    const uint64_t bytes = relay_log_bytes(size);

    if (relaying->plan->ahead) {
        log_ask(relaying, bytes);
    }
    memset(at + bytes - ALIGNMENT, 0, ALIGNMENT);
    memcpy(at, &header, sizeof header);
    memcpy(at + HEADER_BYTES, payload, size);
    relaying->position += bytes;
    if (relaying->position - relaying->unsealed >= UNSEALED_BYTES) {
        log_seal(relaying);
    }
}

static void log_publish(struct relaying *relaying)
{
    log_seal(relaying);
    atomic_store_explicit(&relaying->relay->words->seq, relaying->seq,
                          memory_order_release); /* [Y3] release */
}

static void completion_post(struct relaying *relaying, const struct submission_header *header)
{
    struct relay_words *words = relaying->relay->words;

    words->ring[(relaying->seq - 1) % COMPLETIONS] =
        (struct completion){.user_data = header->user_data, .seq = relaying->seq - 1};
    atomic_store_explicit(&words->completions, relaying->seq,
                          memory_order_release); /* [Y4] release */
}

/* Takes a run of entries: so many bytes of the ring, or -EPROTO. */
static int64_t unit_take(struct relaying *relaying, uint64_t tail)
{
    const uint64_t begin = relaying->head;
    const uint64_t seq = relaying->seq;
    struct submission_header header = {0};

    while (relaying->head != tail && relaying->seq - seq < UNIT_FRAMES &&
           relaying->head - begin < UNIT_BYTES) {
        const unsigned char *at = relaying->relay->ring + relaying->head % RELAY_RING_BYTES;
        memcpy(&header, at, sizeof header);
        if (header.kind != KIND_ENTRY || header.flags != 0 ||
            relay_log_bytes(header.bytes) > tail - relaying->head) {
            return -EPROTO;
        }
        log_append(relaying, at + HEADER_BYTES, header.bytes);
        relaying->head += relay_log_bytes(header.bytes);
    }
    log_publish(relaying);
    if (relaying->plan->round_trip) {
        completion_post(relaying, &header);
    }
    return (int64_t)(relaying->head - begin);
}

static void ring_release(struct relaying *relaying)
{
    relaying->head_published = relaying->head;
    atomic_store_explicit(&relaying->relay->words->head, relaying->head,
                          memory_order_release); /* [Y2] release */
}

static int relay_work(struct worker *worker)
{
    const struct relay_plan *plan = worker->arg;
    struct relaying relaying = {.plan = plan, .relay = plan->relay};
    unsigned looks = 0;

    for (;;) {
        const bool last = atomic_load(&worker->shared->producing) == 0;
        const uint64_t tail = atomic_load_explicit(&plan->relay->words->tail,
                                                   memory_order_acquire); /* [Y1] acquire */
        if (tail == relaying.head) {
            if (relaying.head_published != relaying.head) {
                ring_release(&relaying);
            } else if (last) {
                return 0;
            }
            wait_step(plan, &looks);
            continue;
        }
        looks = 0;
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        relaying.time_ns = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
        const int64_t taken = unit_take(&relaying, tail);
        if (taken < 0) {
            return worker_fail(worker, (int)taken, "relaying");
        }
        if (relaying.head - relaying.head_published >= RELAY_RING_BYTES / 4) {
            ring_release(&relaying);
        }
    }
}

/* ---- The reader ------------------------------------------------------------------------------ */

static int reader_work(struct worker *worker)
{
    const struct relay_plan *plan = worker->arg;
    const struct relay *relay = plan->relay;
    struct worker_result *sum = worker->result;
    volatile uint64_t touched = 0;
    uint64_t looked_at = 0; /* a consumer looks at what it gets */
    uint64_t position = 0;
    uint64_t seen = 0;
    unsigned looks = 0;

    for (;;) {
        const bool last = atomic_load(&worker->shared->producing) == 0;
        seen = atomic_load_explicit(&relay->words->seq, memory_order_acquire); /* [Y3] acquire */
        if (seen == sum->entries) {
            if (last && sum->entries >= atomic_load(&worker->shared->produced)) {
                break;
            }
            wait_step(plan, &looks);
            continue;
        }
        looks = 0;
        const uint64_t end = seen - sum->entries < READ_FRAMES ? seen : sum->entries + READ_FRAMES;
        while (sum->entries != end) {
            const unsigned char *at = log_at(relay, position);
            struct log_header header;
            memcpy(&header, at, sizeof header);
            if (header.seq != sum->entries) {
                return worker_fail(worker, -EBADMSG, "an entry is missing or came twice");
            }
            looked_at += at[HEADER_BYTES];
            sum->bytes += header.size;
            position += relay_log_bytes(header.size);
            sum->entries++;
        }
        atomic_store_explicit(&worker->shared->followed, sum->entries, memory_order_relaxed);
    }
    touched = looked_at;
    (void)touched;
    return 0;
}

void relay_roles(struct role roles[RELAY_ROLES], const struct relay_plan *plan)
{
    roles[0] = (struct role){.processes = 1,
                             .threads = 1,
                             .offline = true,
                             .produces = true,
                             .prepare = submitter_prepare,
                             .work = plan->round_trip ? caller_work : submitter_work,
                             .finish = submitter_finish,
                             .arg = plan};
    roles[1] = (struct role){.processes = 1,
                             .threads = 1,
                             .offline = true,
                             .relays = true,
                             .prepare = memory_prepare,
                             .work = relay_work,
                             .arg = plan};
    roles[2] = roles[1];
    roles[2].relays = false;
    roles[2].work = reader_work;
}
