/*
 * Memory: what a broker takes beside its arena, and what each session takes on both sides.
 * How:        64 processes with a lane each and 1,000 topics; what is resident is read from the kernel
 *             (/proc/PID/smaps, the blocks of the lanes' files), after everybody has filled all of
 *             its rings several times over, with entries of all sizes, and read.
 * Not here:   what many topics cost (test_crowd.c), what is left behind (test_long_life.c).
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/clients.h"
#include "tests/support/crowd.h"
#include "tests/support/scratch.h"
#include "tests/support/session.h"

enum { SESSIONS = 64, TOPICS = 1000, LINE_BYTES = 512, SMALL_BYTES = 64, COMPLETIONS = 64 };
#define KIB UINT64_C(1024)
#define BROKER_BYTES_MAX (32 * KIB * KIB)
#define SESSION_BYTES_MAX (512 * KIB)
#define SQ_BYTES (256 * KIB)

/* Of a sanitizer are most of a process's pages. */
#if defined(__SANITIZE_ADDRESS__)
enum { FIGURES_MEAN_NOTHING = 1 };
#else
enum { FIGURES_MEAN_NOTHING = 0 };
#endif

/* Resident bytes of a process in mappings whose file is, or is not, of a name that ends so. The files of
 * the store that the mmap backend maps never count: these pages are the page cache's. */
static uint64_t resident_bytes(pid_t pid, const char *ending, bool wanted)
{
    char line[LINE_BYTES];
    unsigned long long kib = 0;
    uint64_t sum = 0;
    bool counts = false;
    (void)snprintf(line, sizeof line, "/proc/%d/smaps", (int)pid);
    FILE *maps = fopen(line, "re");
    check(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        const char *range = strchr(line, '-');
        if (sscanf(line, "Rss: %llu", &kib) == 1) {
            sum += counts ? kib * KIB : 0;
        } else if (range != NULL && range < strchr(line, ' ')) { /* a mapping begins */
            const size_t length = strlen(line);
            const size_t end = strlen(ending);
            counts = (length >= end && strcmp(line + length - end, ending) == 0) == wanted &&
                     strstr(line, broker->data) == NULL;
        }
    }
    (void)fclose(maps);
    return sum;
}

/* Memory of this process's lanes, which both sides map. */
static uint64_t lanes_bytes(void)
{
    uint64_t sum = 0;
    for (int fd = 0; fd < 64; fd++) {
        char path[32];
        char name[64] = "";
        struct stat status;
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (readlink(path, name, sizeof name - 1) > 0 && strstr(name, "tusk-lane") != NULL) {
            check_ok(fstat(fd, &status));
            sum += (uint64_t)status.st_blocks * 512;
        }
    }
    return sum;
}

/* Private memory and small files of the library: all but lanes and what all processes share. */
static uint64_t own_bytes(void)
{
    char line[LINE_BYTES];
    unsigned long long kib = 0;
    FILE *status = fopen("/proc/self/status", "re");
    check(status != NULL);
    while (fgets(line, sizeof line, status) != NULL && sscanf(line, "RssAnon: %llu", &kib) != 1) {
    }
    (void)fclose(status);
    return kib * KIB + resident_bytes(getpid(), "/pins", true);
}

/* So many bytes of payload, in entries of this size, each with a completion: as many outstanding as
 * the lane takes. */
static void use_rings(struct tusk *connection, struct tusk_topic *topic, size_t size,
                      uint64_t bytes)
{
    static unsigned char payload[SQ_BYTES / 2];
    struct tusk_completion completions[COMPLETIONS];
    const uint64_t count = bytes / size;
    uint64_t submitted = 0;
    for (uint64_t done = 0; done < count;) {
        int result = -EAGAIN;
        if (submitted < count) {
            result = tusk_submit(topic, payload, size, submitted + 1);
            submitted += result == 0;
            check(result == 0 || result == -EAGAIN);
        }
        if (result == -EAGAIN) {
            const int reaped = tusk_reap(connection, completions, COMPLETIONS);
            check(reaped >= 0);
            for (int i = 0; i < reaped; i++) {
                check_is(completions[i].error, 0);
                check(completions[i].user_data == ++done);
            }
            if (reaped == 0) {
                check(tusk_wait(connection, -1) >= 0);
            }
        }
    }
}

/* Every page of its rings, whatever a page is used for: the largest entries lie across the end of
 * the SQ as far as any can. */
static void use_everything(struct tusk *connection, struct tusk_topic *topic)
{
    use_rings(connection, topic, SMALL_BYTES, 3 * SQ_BYTES);
    use_rings(connection, topic, SQ_BYTES / 2 - 5 * KIB, 4 * SQ_BYTES);
    use_rings(connection, topic, SQ_BYTES / 8, 3 * SQ_BYTES);
}

struct shared {
    struct gate gate;
    uint64_t session_bytes_most;
};

static void one_session(size_t index, void *arg)
{
    struct shared *shared = arg;
    struct tusk_entry entry;
    char name[32];
    const uint64_t before_bytes = own_bytes();
    struct tusk *connection = attach(broker);
    (void)snprintf(name, sizeof name, "session-%zu", index);
    struct tusk_topic *topic = topic_of(connection, name);
    struct tusk_reader *reader = reader_of(topic);
    append_text(topic, "x");
    check_is(tusk_reader_next(reader, &entry, -1), 1);
    use_everything(connection, topic);
    const uint64_t lane_bytes = lanes_bytes();
    check(lane_bytes >= SQ_BYTES);
    const uint64_t bytes = lane_bytes + own_bytes() - before_bytes;
    if (index == 0) {
        shared_set(&shared->session_bytes_most, bytes);
    }
    gate_pass(&shared->gate);
    tusk_disconnect(connection);
}

Test(memory, a_broker_of_64_sessions_and_1000_topics_is_small)
{
    deadline_set(120);
    broker = tuskd_start("");
    struct shared *shared = shared_memory(sizeof *shared);
    const uint64_t alone_bytes = resident_bytes(broker->pid, "/arena", false);
    struct clients *clients = clients_start(SESSIONS, one_session, shared);
    gate_await(&shared->gate, SESSIONS);
    const uint64_t lanes_resident = resident_bytes(broker->pid, "tusk-lane (deleted)", true);
    const uint64_t with_bytes = resident_bytes(broker->pid, "/arena", false);
    check(lanes_resident > 0 && with_bytes >= alone_bytes + lanes_resident);
    tusk = attach(broker);
    crowd_append(tusk, TOPICS, 0);
    const uint64_t all_bytes = resident_bytes(broker->pid, "/arena", false);
    const uint64_t private_of_each = (with_bytes - alone_bytes - lanes_resident) / SESSIONS;
    const uint64_t session_bytes = shared_get(&shared->session_bytes_most) + private_of_each;
    cr_log_info(
        "broker without arena: %llu KiB alone, %llu with %d sessions, %llu with %d topics too "
        "(%llu of lanes); a session: %llu KiB on both sides",
        (unsigned long long)(alone_bytes / KIB), (unsigned long long)(with_bytes / KIB), SESSIONS,
        (unsigned long long)(all_bytes / KIB), TOPICS, (unsigned long long)(lanes_resident / KIB),
        (unsigned long long)(session_bytes / KIB));
    check(FIGURES_MEAN_NOTHING || all_bytes < BROKER_BYTES_MAX);
    check(FIGURES_MEAN_NOTHING || session_bytes < SESSION_BYTES_MAX);
    gate_open(&shared->gate);
    clients_join(clients);
    session_end();
}
