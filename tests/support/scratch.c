/*
 * Scratch: see scratch.h.
 * Runs on:    the test's main thread; the janitor is a process of its own.
 * Invariants: the janitor holds nothing but its end of a pipe; all other holders of the pipe die
 *             with the test, so end of file means that nobody uses the directories any more.
 * Not here:   see scratch.h.
 */
#include "tests/support/scratch.h"

#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/check.h"
#include "tests/support/deadline.h"

enum { REMOVAL_ATTEMPTS = 100 };

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    (void)remove(path);
    return 0;
}

/* A process that is being killed may still create files: look again until all is gone. */
static void remove_tree(const char *path)
{
    for (int i = 0; i < REMOVAL_ATTEMPTS && access(path, F_OK) == 0; i++) {
        (void)umount2(path, MNT_DETACH);
        (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        if (access(path, F_OK) == 0) {
            pause_briefly();
        }
    }
}

static void janitor_run(int pipe_end, const char *path)
{
    (void)setsid();
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)dup2(pipe_end, 3);
    (void)close_range(4, ~0U, 0);
    for (int i = 0; i < 3; i++) {
        (void)close(i);
    }
    char byte;
    while (read(3, &byte, 1) > 0) {
    }
    remove_tree(path);
    _exit(0);
}

/* The write end stays open in this process for its life: its death is the janitor's signal. */
static void janitor_start(const char *path)
{
    int ends[2];
    check(pipe2(ends, O_CLOEXEC) == 0);
    const pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        janitor_run(ends[0], path);
    }
    (void)close(ends[0]);
}

static void scratch_make(char path[SCRATCH_PATH_BYTES], const char *parent)
{
    const int length = snprintf(path, SCRATCH_PATH_BYTES, "%s/tusk-test-XXXXXX", parent);
    check(length > 0 && length < SCRATCH_PATH_BYTES);
    check_say(mkdtemp(path) != NULL, "cannot make a directory in %s: %m", parent);
    janitor_start(path);
}

void scratch_on_disk(char path[SCRATCH_PATH_BYTES])
{
    const char *parent = getenv("TMPDIR");
    const bool usable = parent != NULL && parent[0] == '/' && strlen(parent) < 64;
    scratch_make(path, usable ? parent : "/var/tmp");
}

void scratch_on_tmpfs(char path[SCRATCH_PATH_BYTES])
{
    scratch_make(path, "/dev/shm");
}

static void map_one(const char *path, unsigned id)
{
    char text[32];
    const int length = snprintf(text, sizeof text, "0 %u 1", id);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    check_say(fd >= 0 && write(fd, text, (size_t)length) == length, "cannot write %s: %m", path);
    (void)close(fd);
}

/* Become root of a user namespace of one's own, where mounting is allowed. */
static bool namespace_enter(void)
{
    const unsigned uid = getuid();
    const unsigned gid = getgid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
        return false;
    }
    scratch_write("/proc/self/setgroups", "deny", 4);
    map_one("/proc/self/uid_map", uid);
    map_one("/proc/self/gid_map", gid);
    return true;
}

int scratch_mount(char path[SCRATCH_PATH_BYTES], uint64_t bytes)
{
    char options[64];
    scratch_on_disk(path);
    (void)snprintf(options, sizeof options, "size=%llu,mode=0700", (unsigned long long)bytes);
    const char *const kind = "tmpfs";
    return mount(kind, path, kind, 0, options) == 0 ||
           (errno == EPERM && namespace_enter() && mount(kind, path, kind, 0, options) == 0);
}

static uint64_t walk_bytes;

static int add_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)path;
    (void)walk;
    walk_bytes += kind == FTW_F ? (uint64_t)info->st_blocks * 512U : 0;
    return 0;
}

uint64_t scratch_disk_bytes(const char *path)
{
    walk_bytes = 0;
    check(nftw(path, add_one, 16, FTW_PHYS) == 0 || errno == ENOENT);
    return walk_bytes;
}

void scratch_write(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "we");
    check_say(file != NULL, "cannot write %s: %m", path);
    check(bytes == 0 || fwrite(data, bytes, 1, file) == 1);
    check(fclose(file) == 0);
}

char *scratch_read(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "re");
    check_say(file != NULL, "cannot read %s: %m", path);
    struct stat info;
    check(fstat(fileno(file), &info) == 0);
    char *data = malloc((size_t)info.st_size + 1);
    check(data != NULL);
    *bytes = fread(data, 1, (size_t)info.st_size, file);
    data[*bytes] = 0;
    (void)fclose(file);
    return data;
}

void *shared_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(memory != MAP_FAILED);
    return memory;
}

void *shared_file(const char *path, size_t bytes)
{
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    check_say(fd >= 0, "cannot open %s: %m", path);
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    check(memory != MAP_FAILED);
    (void)close(fd);
    return memory;
}
