/*
 * Cold reads at full size: a reader of data far larger than the arena runs at 0.8 or more of what
 * plain sequential O_DIRECT reading gets from the same segment files in the same run, alone and
 * beside the same producers' load.
 *
 * How: writes TUSK_SOAK_BYTES of 1 KiB entries and a tenth of that of 64-byte entries, starts the
 * broker again with an arena of TUSK_SOAK_ARENA, and then takes turns: a slice of the files read as
 * `dd iflag=direct` does, with the better of 256 KiB and 1 MiB blocks, then a slice by a reader, whose
 * entries are counted and their numbers checked. The figures are medians of the turns. The load is
 * producers that append TUSK_SOAK_LOAD MiB/s in all of 1 KiB entries, trimmed as they go.
 *
 * Environment, with the defaults: TUSK_SOAK_BYTES 20 GiB, TUSK_SOAK_ARENA 64M, TUSK_SOAK_LOAD 100,
 * TUSK_SOAK_TURNS 9. Exit 1: a ratio of 1 KiB entries is below 0.8.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/clients.h"
#include "tests/support/deadline.h"
#include "tests/support/session.h"
#include "tests/support/tuskd.h"

enum {
    TURNS_MAX = 99,
    FILES_MAX = 4096,
    BATCH = 512,
    LARGE = 1024,
    SMALL = 64,
    LOADERS = 2,
    TRIM_ENTRIES = 64 * 1024,
    BLOCK_MAX = 1 << 20,
};

static const double ratio_wanted = 0.8;

/* The segment files as one stream of bytes, read in turns. */
struct plain {
    int fds[FILES_MAX];
    size_t count;
    uint64_t bytes; /* of each file */
    uint64_t at;
    unsigned char *buffer;
};

/* A topic and how far it has been read. */
struct cold {
    const char *name;
    size_t size;
    uint64_t entries;
    struct tusk_reader *reader;
    uint64_t seq;
};

struct turns {
    double rates[TURNS_MAX];
    size_t count;
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

static int double_compare(const void *a, const void *b)
{
    const double left = *(const double *)a;
    const double right = *(const double *)b;
    return left < right ? -1 : left > right;
}

static double median(struct turns *turns)
{
    qsort(turns->rates, turns->count, sizeof turns->rates[0], double_compare);
    return turns->rates[turns->count / 2];
}

static void turn_note(struct turns *turns, uint64_t bytes, uint64_t since_ns)
{
    check(turns->count < TURNS_MAX);
    turns->rates[turns->count++] = (double)bytes / (double)(now_ns() - since_ns) * 1e3; /* MB/s */
}

/* Writing. */

static void topic_write(const struct cold *cold)
{
    struct tusk_topic *topic = topic_of(tusk, cold->name);
    unsigned char data[LARGE] = {0};
    for (uint64_t n = 0; n < cold->entries; n++) {
        memcpy(data, &n, sizeof n);
        memcpy(data + cold->size - sizeof n, &n, sizeof n);
        int result;
        while ((result = tusk_submit(topic, data, cold->size, 0)) == -EAGAIN) {
            check_is(tusk_wait(tusk, 60000), 1);
        }
        check_ok(result);
    }
    check_ok(tusk_flush(tusk, TUSK_DURABLE, -1));
    tusk_topic_close(topic);
}

/* Reading as dd does. */

static void plain_open(struct plain *plain, const char *data)
{
    char path[512];
    snprintf(path, sizeof path, "%s/default/segments", data);
    struct dirent **names;
    const int count = scandir(path, &names, NULL, alphasort);
    check(count > 0);
    for (int i = 0; i < count; i++) {
        if (strstr(names[i]->d_name, ".seg") != NULL && plain->count < FILES_MAX) {
            snprintf(path, sizeof path, "%s/default/segments/%s", data, names[i]->d_name);
            const int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
            struct stat stat;
            check(fd >= 0 && fstat(fd, &stat) == 0);
            plain->bytes = (uint64_t)stat.st_size;
            plain->fds[plain->count++] = fd;
        }
        free(names[i]);
    }
    free(names);
    check(plain->count > 0 && posix_memalign((void **)&plain->buffer, 4096, BLOCK_MAX) == 0);
}

static void plain_close(struct plain *plain)
{
    for (size_t i = 0; i < plain->count; i++) {
        close(plain->fds[i]);
    }
    free(plain->buffer);
}

static void plain_turn(struct plain *plain, uint64_t bytes, size_t block, struct turns *turns)
{
    const uint64_t since_ns = now_ns();
    uint64_t done = 0;
    while (done < bytes) {
        const uint64_t file = plain->at / plain->bytes % plain->count;
        const ssize_t got =
            pread(plain->fds[file], plain->buffer, block, (off_t)(plain->at % plain->bytes));
        check(got > 0);
        plain->at += (uint64_t)got;
        done += (uint64_t)got;
    }
    turn_note(turns, done, since_ns);
}

/* Reading with a reader. */

static void cold_turn(struct cold *cold, uint64_t entries, struct turns *turns)
{
    struct tusk_entry batch[BATCH];
    const uint64_t since_ns = now_ns();
    uint64_t left = entries;
    while (left > 0) {
        const int got = tusk_reader_batch(cold->reader, SIZE_MAX, batch,
                                          left < BATCH ? (size_t)left : BATCH, 60000);
        check_say(got > 0, "%s, entry %" PRIu64 ": %d", cold->name, cold->seq, got);
        for (int i = 0; i < got; i++) {
            uint64_t first;
            uint64_t last;
            memcpy(&first, batch[i].data, sizeof first);
            memcpy(&last, (const unsigned char *)batch[i].data + cold->size - sizeof last,
                   sizeof last);
            check(batch[i].size == cold->size && batch[i].seq == cold->seq && first == cold->seq &&
                  last == cold->seq);
            cold->seq++;
        }
        left -= (uint64_t)got;
    }
    /* As it lies on the disk: payload and header. */
    turn_note(turns, entries * (cold->size + 32), since_ns);
}

/* The load. */

struct load {
    const char *socket;
    uint64_t rate; /* bytes per second of each loader */
    uint64_t *stop;
    uint64_t *appended; /* bytes */
};

static void load_run(size_t index, void *arg)
{
    const struct load *load = arg;
    struct tusk_options options = TUSK_OPTIONS_INIT;
    options.socket_path = load->socket;
    struct tusk *connection;
    struct tusk_topic *topic;
    char name[16];
    snprintf(name, sizeof name, "load%zu", index);
    check_ok(tusk_connect(&connection, &options));
    check_ok(tusk_topic_open(connection, name, NULL, &topic));
    unsigned char data[LARGE] = {0};
    const uint64_t since_ns = now_ns();
    uint64_t n = 0;
    while (shared_get(load->stop) == 0) {
        const uint64_t due = (now_ns() - since_ns) * (load->rate / 1000) / 1000000 / LARGE;
        if (n >= due) {
            usleep(1000);
            continue;
        }
        const int result = tusk_submit(topic, data, sizeof data, 0);
        if (result == -EAGAIN) {
            check_is(tusk_wait(connection, 60000), 1);
            continue;
        }
        check_ok(result);
        shared_add(load->appended, sizeof data);
        if (++n % TRIM_ENTRIES == 0) {
            check_ok(tusk_topic_trim(topic, n - TRIM_ENTRIES));
        }
    }
    check_ok(tusk_flush(connection, TUSK_DURABLE, -1));
    tusk_disconnect(connection);
}

/* One comparison: turns of plain reading and of the reader. */
static double compare(struct cold *cold, struct plain *plain, const char *what, size_t turns,
                      uint64_t entries, const uint64_t *appended)
{
    struct turns by_block[2] = {0};
    struct turns by_reader = {0};
    uint64_t load_plain = 0;
    uint64_t load_reader = 0;
    uint64_t ns_plain = 0;
    uint64_t ns_reader = 0;
    for (size_t i = 0; i < turns; i++) {
        uint64_t at = now_ns();
        uint64_t before = shared_get(appended);
        plain_turn(plain, entries * (cold->size + 32) / 2, 256 * 1024, &by_block[0]);
        plain_turn(plain, entries * (cold->size + 32) / 2, BLOCK_MAX, &by_block[1]);
        load_plain += shared_get(appended) - before;
        ns_plain += now_ns() - at;
        at = now_ns();
        before = shared_get(appended);
        cold_turn(cold, entries, &by_reader);
        load_reader += shared_get(appended) - before;
        ns_reader += now_ns() - at;
    }
    const double small = median(&by_block[0]);
    const double large = median(&by_block[1]);
    const double plainly = small > large ? small : large;
    const double cold_rate = median(&by_reader);
    printf("%5zu B entries, %-12s dd 256K %6.0f MB/s, 1M %6.0f MB/s; reader %6.0f MB/s, "
           "%9.0f entries/s; ratio %.2f; load %4.0f and %4.0f MB/s\n",
           cold->size, what, small, large, cold_rate, cold_rate * 1e6 / (double)(cold->size + 32),
           cold_rate / plainly, (double)load_plain / (double)ns_plain * 1e3,
           (double)load_reader / (double)ns_reader * 1e3);
    fflush(stdout);
    return cold_rate / plainly;
}

static void counters_print(void)
{
    static const char *const names[] = {"fetches_total", "chunks_read_ahead_total",
                                        "read_ahead_hits_total", "read_ahead_wasted_total",
                                        "chunks_evicted_total"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        printf("%s %" PRIu64 "\n", names[i], counter_of(tusk, names[i]));
    }
}

int main(void)
{
    const uint64_t bytes = setting("TUSK_SOAK_BYTES", UINT64_C(20) << 30);
    const uint64_t load_mib = setting("TUSK_SOAK_LOAD", 100);
    const size_t turns = setting("TUSK_SOAK_TURNS", 9);
    const char *arena = getenv("TUSK_SOAK_ARENA");
    char options[64];
    snprintf(options, sizeof options, "--arena %s", arena != NULL ? arena : "64M");
    check(turns > 0 && turns <= TURNS_MAX);
    check_report_to(failed);
    deadline_set(4 * 3600);

    struct cold cold[] = {
        {.name = "large", .size = LARGE, .entries = bytes / (LARGE + 32)},
        {.name = "small", .size = SMALL, .entries = bytes / 10 / (SMALL + 32)},
    };
    broker = tuskd_start("--arena 256M");
    tusk = attach(broker);
    for (size_t i = 0; i < 2; i++) {
        const uint64_t since_ns = now_ns();
        topic_write(&cold[i]);
        printf(
            "wrote %" PRIu64 " entries of %zu bytes at %.0f MB/s\n", cold[i].entries, cold[i].size,
            (double)(cold[i].entries * (cold[i].size + 32)) / (double)(now_ns() - since_ns) * 1e3);
        fflush(stdout);
    }
    tusk_disconnect(tusk);
    tuskd_stop(broker);
    tuskd_restart(broker, options);

    struct plain plain = {0};
    plain_open(&plain, broker->data);
    uint64_t *shared = shared_memory(2 * sizeof *shared);
    struct load load = {.socket = broker->socket,
                        .rate = (load_mib << 20) / LOADERS,
                        .stop = &shared[0],
                        .appended = &shared[1]};
    double alone = 0;
    double beside = 0;
    for (int loaded = 0; loaded < 2; loaded++) {
        struct clients *loaders = loaded ? clients_start(LOADERS, load_run, &load) : NULL;
        tusk = attach(broker);
        for (size_t i = 0; i < 2; i++) {
            /* Each half of the topic is read once: alone, then beside the load. */
            struct tusk_topic *topic = topic_of(tusk, cold[i].name);
            const uint64_t entries = cold[i].entries / turns / 2;
            cold[i].reader = reader_from(topic, TUSK_FROM_SEQ, cold[i].seq);
            const double ratio = compare(&cold[i], &plain, loaded ? "beside load," : "alone,",
                                         turns, entries, load.appended);
            if (i == 0) {
                *(loaded ? &beside : &alone) = ratio;
            }
            tusk_reader_close(cold[i].reader);
        }
        counters_print();
        shared_set(load.stop, 1);
        tusk_disconnect(tusk);
        if (loaders != NULL) {
            clients_join(loaders);
        }
        shared_set(load.stop, 0);
    }
    plain_close(&plain);
    tuskd_stop(broker);
    const bool good = alone >= ratio_wanted && beside >= ratio_wanted;
    printf("%s: 1 KiB entries, alone %.2f, beside load %.2f of plain reading; wanted %.2f\n",
           good ? "ok" : "FAILED", alone, beside, ratio_wanted);
    return good ? 0 : 1;
}
