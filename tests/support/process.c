/*
 * Process: see process.h.
 * Runs on:    anywhere.
 * Not here:   see process.h.
 */
#include "tests/support/process.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/check.h"

/* A file of the store is open or not as the store likes; all else is held for somebody. */
static uint64_t fds_of(pid_t pid)
{
    char path[64];
    uint64_t count = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *directory = opendir(path);
    check_say(directory != NULL, "cannot read %s: %m", path);
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        char target[512] = "";
        if (entry->d_name[0] != '.' &&
            readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1) > 0) {
            count += strstr(target, ".seg") == NULL;
        }
    }
    (void)closedir(directory);
    /* one's own look at itself is not counted */
    return pid == getpid() ? count - 1 : count;
}

static FILE *proc_open(pid_t pid, const char *what)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, what);
    FILE *file = fopen(path, "re");
    check_say(file != NULL, "cannot read %s: %m", path);
    return file;
}

/* The kernel's flags of a task, PF_... in its include/linux/sched.h, are field 9 of its stat. */
enum { TASK_EXITING = 0x4, TASK_IO_WORKER = 0x10 };

static bool task_counts(FILE *stat)
{
    char line[1024];
    unsigned flags = TASK_EXITING;
    const char *fields = fgets(line, sizeof line, stat) != NULL ? strrchr(line, ')') : NULL;
    return fields != NULL && sscanf(fields, ") %*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
           (flags & (TASK_EXITING | TASK_IO_WORKER)) == 0;
}

/* Threads but those that the kernel adds to a process for its io_uring work, as it likes, and those
 * that it has not removed yet: one that was joined is listed for a moment more. */
static uint64_t threads_of(pid_t pid)
{
    char path[64];
    uint64_t count = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *directory = opendir(path);
    check_say(directory != NULL, "cannot read %s: %m", path);
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        (void)snprintf(path, sizeof path, "/proc/%d/task/%.16s/stat", (int)pid, entry->d_name);
        FILE *file = entry->d_name[0] != '.' ? fopen(path, "re") : NULL;
        if (file != NULL) {
            count += task_counts(file);
            (void)fclose(file);
        }
    }
    (void)closedir(directory);
    return count;
}

struct process_counts process_count(pid_t pid)
{
    struct process_counts counts = {
        .fds = fds_of(pid),
        .threads = threads_of(pid),
    };
    char line[1024];
    FILE *maps = proc_open(pid, "maps");
    while (fgets(line, sizeof line, maps) != NULL) {
        uint64_t begin = 0;
        uint64_t end = 0;
        char kind = 0;
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*3c%c", &begin, &end, &kind) == 3) {
            counts.mappings += kind == 's';
            counts.mapped_bytes += end - begin;
        }
    }
    (void)fclose(maps);
    FILE *stat = proc_open(pid, "stat");
    check(fgets(line, sizeof line, stat) != NULL);
    (void)fclose(stat);
    uint64_t user = 0;
    uint64_t system = 0;
    const char *fields = strrchr(line, ')');
    check(fields != NULL);
    check(sscanf(fields, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
                 &user, &system) == 2);
    counts.cpu_ms = (user + system) * 1000U / (uint64_t)sysconf(_SC_CLK_TCK);
    return counts;
}

uint64_t process_signals_caught(pid_t pid)
{
    char line[256];
    uint64_t mask = 0;
    FILE *status = proc_open(pid, "status");
    while (fgets(line, sizeof line, status) != NULL) {
        (void)sscanf(line, "SigCgt: %" SCNx64, &mask);
    }
    (void)fclose(status);
    return mask;
}
