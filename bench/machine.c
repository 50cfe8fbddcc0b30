/*
 * Machine: see machine.h. The round trip is two threads on two cores that answer each other
 * through one word each, on cache lines of their own: the least that anything which hands work to
 * another core and waits for the answer can take.
 */
#include "bench/machine.h"

#include "bench/clock.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#define BATCHES 101
#define BATCH_TURNS 1000
#define WARM_UP 10
#define PING_LIMIT_NS (250 * NS_PER_MS) /* others may want the two cores: then fewer batches do */
#define LAST_TURN UINT_MAX

struct ping_pong {
    alignas(128) _Atomic unsigned ping;
    alignas(128) _Atomic unsigned pong;
    int cpu;
};

static void cpu_pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

static void *pong_run(void *arg)
{
    struct ping_pong *shared = arg;

    cpu_pin(shared->cpu);
    for (unsigned turn = 1;; turn++) {
        unsigned ping;
        while ((ping = atomic_load_explicit(&shared->ping, memory_order_acquire)) != turn) {
            if (ping == LAST_TURN) {
                return NULL;
            }
        }
        atomic_store_explicit(&shared->pong, turn, memory_order_release);
    }
}

static int doubles_compare(const void *left, const void *right)
{
    const double a = *(const double *)left;
    const double b = *(const double *)right;

    return (a > b) - (a < b);
}

/* How many batches were measured, at least one. */
static int ping_run(struct ping_pong *shared, double *samples)
{
    const uint64_t limit_ns = clock_now_ns() + PING_LIMIT_NS;
    unsigned turn = 0;
    int batch = 0;

    for (; batch < BATCHES + WARM_UP; batch++) {
        const uint64_t begin = clock_now_ns();
        if (batch > 0 && begin > limit_ns) {
            break;
        }
        for (int i = 0; i < BATCH_TURNS; i++) {
            turn++;
            atomic_store_explicit(&shared->ping, turn, memory_order_release);
            while (atomic_load_explicit(&shared->pong, memory_order_acquire) != turn) {
            }
        }
        samples[batch] = (double)(clock_now_ns() - begin) / BATCH_TURNS;
    }
    atomic_store_explicit(&shared->ping, LAST_TURN, memory_order_release);
    return batch;
}

/* The first two CPUs that may be used; whether there are two. */
static int cpus_choose(const cpu_set_t *allowed, int *cpus)
{
    int found = 0;

    for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++) {
        if (CPU_ISSET((size_t)cpu, allowed)) {
            cpus[found++] = cpu;
        }
    }
    return found == 2;
}

void machine_round_trip(double *median_ns, double *best_ns)
{
    static struct ping_pong shared;
    static double samples[BATCHES + WARM_UP];
    cpu_set_t allowed;
    pthread_t thread;
    int cpus[2];

    *median_ns = 0;
    *best_ns = 0;
    memset(&shared, 0, sizeof shared);
    sched_getaffinity(0, sizeof allowed, &allowed);
    if (!cpus_choose(&allowed, cpus)) {
        return;
    }
    shared.cpu = cpus[1];
    if (pthread_create(&thread, NULL, pong_run, &shared) != 0) {
        return;
    }
    cpu_pin(cpus[0]);
    const int batches = ping_run(&shared, samples);
    pthread_join(thread, NULL);
    pthread_setaffinity_np(pthread_self(), sizeof allowed, &allowed);
    const int first = batches > WARM_UP ? WARM_UP : batches - 1;
    qsort(samples + first, (size_t)(batches - first), sizeof *samples, doubles_compare);
    *best_ns = samples[first];
    *median_ns = samples[first + (batches - first) / 2];
}

/* The rest of the first line that begins with key, after its colon; or the whole first line. */
static void line_find(const char *path, const char *key, char *text, size_t bytes)
{
    FILE *file = fopen(path, "re");
    char line[256];

    snprintf(text, bytes, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) == 0) {
            char *colon = *key ? strchr(line, ':') : NULL;
            char *begin = colon ? colon + 1 + strspn(colon + 1, " \t") : line;
            begin[strcspn(begin, "\n")] = '\0';
            snprintf(text, bytes, "%.*s", (int)bytes - 1, begin);
            break;
        }
    }
    if (file) {
        fclose(file);
    }
}

static void file_system_name(const char *path, char *name, size_t bytes)
{
    static const struct {
        long magic;
        const char *name;
    } known[] = {{0xef53, "ext4"},      {0x58465342, "xfs"},       {0x9123683e, "btrfs"},
                 {0x01021994, "tmpfs"}, {0x794c7630, "overlayfs"}, {0x2fc12fc1, "zfs"}};
    struct statfs stat;

    snprintf(name, bytes, "unknown");
    if (statfs(path, &stat) < 0) {
        return;
    }
    snprintf(name, bytes, "0x%lx", (unsigned long)stat.f_type);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if ((long)stat.f_type == known[i].magic) {
            snprintf(name, bytes, "%s", known[i].name);
        }
    }
}

void machine_measure(struct machine *machine, const char *data_dir)
{
    struct utsname name;
    cpu_set_t allowed;

    uname(&name);
    snprintf(machine->kernel, sizeof machine->kernel, "%s", name.release);
    line_find("/proc/cpuinfo", "model name", machine->cpu, sizeof machine->cpu);
    line_find("/sys/devices/system/clocksource/clocksource0/current_clocksource", "",
              machine->clock_source, sizeof machine->clock_source);
    file_system_name(data_dir, machine->file_system, sizeof machine->file_system);
    sched_getaffinity(0, sizeof allowed, &allowed);
    machine->cores = (unsigned)CPU_COUNT(&allowed);
    machine->memory_gib =
        (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (double)(1 << 30);
    machine->clock_cost_ns = clock_cost_ns();
    machine_round_trip(&machine->round_trip_ns, &machine->round_trip_best_ns);
}
