/* Run directory: see run_dir.h. */
#include "broker/run_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "broker/fault.h"
#include "broker/lock_file.h"
#include "broker/log.h"
#include "shm/cleanup.h"
#include "shm/directory.h"
#include "shm/ensure.h"
#include "shm/ledger.h"
#include "shm/pins.h"
#include "shm/quantity.h"

#define DIRECTORY_NAME "directory"
#define ARENA_NAME "arena"
#define LEDGER_NAME "ledger"
#define PINS_PREFIX "pins-"

enum {
    RUN_DIR_MODE = 0700,
    PINS_NAME_BYTES = sizeof PINS_PREFIX + 16,
    /* Of a small tmpfs the default arena takes at most this part: lanes, pins and other programs
     * want some as well. */
    ARENA_PART_OF_FREE = 4,
};

static int make_or_find(const char *path, struct fault *fault)
{
    if (mkdir(path, RUN_DIR_MODE) == 0) {
        /* Whatever the umask. */
        return chmod(path, RUN_DIR_MODE) == 0
                   ? 0
                   : fault_set(fault, -errno, "cannot set the mode of the run directory %s: %s",
                               path, strerror(errno));
    }
    if (errno == EEXIST) {
        return 0;
    }
    return fault_set(
        fault, -errno,
        "cannot make the run directory %s: %s; name one that can be made with --run-dir", path,
        strerror(errno));
}

static int check_opened(const struct run_dir *run_dir, struct fault *fault)
{
    struct stat status;
    struct statfs system;
    if (fstat(run_dir->fd, &status) != 0 || fstatfs(run_dir->fd, &system) != 0) {
        return fault_set(fault, -errno, "cannot look at the run directory %s: %s", run_dir->path,
                         strerror(errno));
    }
    if (system.f_type != TMPFS_MAGIC) {
        return fault_set(fault, -EINVAL,
                         "the run directory %s is not on tmpfs: name one that is with --run-dir, "
                         "such as /dev/shm/tusk",
                         run_dir->path);
    }
    if (status.st_uid != geteuid()) {
        return fault_set(fault, -EPERM,
                         "the run directory %s belongs to uid %u, expected this broker's %u: name "
                         "another one with --run-dir",
                         run_dir->path, status.st_uid, geteuid());
    }
    if ((status.st_mode & 07777) != RUN_DIR_MODE) {
        return fault_set(fault, -EPERM,
                         "the run directory %s has mode %04o, expected 0700, as nobody else may "
                         "enter it: chmod it, or name another one with --run-dir",
                         run_dir->path, status.st_mode & 07777);
    }
    return 0;
}

static bool is_ours(const char *name)
{
    return strcmp(name, DIRECTORY_NAME) == 0 || strcmp(name, ARENA_NAME) == 0 ||
           strcmp(name, LEDGER_NAME) == 0 || strncmp(name, PINS_PREFIX, strlen(PINS_PREFIX)) == 0;
}

/* Best effort: what cannot be removed fails, with words, where it is made anew. */
static void remove_files(const struct run_dir *run_dir)
{
    const int fd = openat(run_dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
    if (listing == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    for (const struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        if (is_ours(entry->d_name)) {
            unlinkat(run_dir->fd, entry->d_name, 0);
        }
    }
    closedir(listing);
}

int run_dir_open(struct run_dir *run_dir, const struct config *config, struct fault *fault)
{
    *run_dir = (struct run_dir){.fd = -1, .directory_share = -1, .arena_share = -1};
    memcpy(run_dir->path, config->run_dir, sizeof run_dir->path);
    int error = make_or_find(run_dir->path, fault);
    if (error != 0) {
        return error;
    }
    cleanup_fd int fd = open(run_dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return fault_set(fault, -errno, "cannot open the run directory %s: %s", run_dir->path,
                         strerror(errno));
    }
    run_dir->fd = fd;
    error = check_opened(run_dir, fault);
    run_dir->fd = -1;
    if (error != 0) {
        return error;
    }
    error = lock_file_take(fd);
    if (error != 0) {
        return fault_set(fault, error,
                         "another broker runs with the run directory %s (data directory %s): stop "
                         "it, or choose other directories with --data and --run-dir",
                         run_dir->path, config->data_dir);
    }
    run_dir->fd = take_fd(&fd);
    remove_files(run_dir);
    return 0;
}

static uint64_t tmpfs_free_bytes(const struct run_dir *run_dir)
{
    struct statfs system;
    if (fstatfs(run_dir->fd, &system) != 0) {
        return 0;
    }
    /* A tmpfs without a limit says 0 blocks in all. */
    return system.f_blocks == 0 ? UINT64_MAX : system.f_bavail * (uint64_t)system.f_bsize;
}

static int make_region(const struct run_dir *run_dir, struct mapping *mapping, const char *name,
                       uint64_t bytes, const char *option, struct fault *fault)
{
    const uint64_t free_bytes = tmpfs_free_bytes(run_dir);
    const int error = mapping_create(mapping, run_dir->fd, name, bytes);
    if (error == -ENOSPC) {
        return fault_set(fault, error,
                         "no room in %s for the %s: it wants %s and its tmpfs has %" PRIu64
                         " KiB free: make it smaller with %s, or name a larger tmpfs with "
                         "--run-dir",
                         run_dir->path, name, SIZE_TEXT(bytes), free_bytes / 1024, option);
    }
    if (error != 0) {
        return fault_set(fault, error, "cannot make the %s of %s in %s: %s", name, SIZE_TEXT(bytes),
                         run_dir->path, strerror(-error));
    }
    return 0;
}

static void fit_arena(const struct run_dir *run_dir, struct config *config, struct log *log)
{
    const uint64_t free_bytes = tmpfs_free_bytes(run_dir);
    const uint64_t chunks_min_bytes = CONFIG_ARENA_CHUNKS_MIN * config->chunk_bytes;
    const uint64_t bytes_min =
        chunks_min_bytes > CONFIG_ARENA_BYTES_MIN ? chunks_min_bytes : CONFIG_ARENA_BYTES_MIN;
    uint64_t bytes = align_down(free_bytes / ARENA_PART_OF_FREE, config->chunk_bytes);
    if (bytes < bytes_min) {
        bytes = bytes_min;
    }
    if (config->arena_given || bytes >= config->arena_bytes) {
        return;
    }
    log_warning(log, "arena.cut_down", "bytes=%" PRIu64 " wanted=%" PRIu64 " tmpfs_free=%" PRIu64,
                bytes, config->arena_bytes, free_bytes);
    config->arena_bytes = bytes;
}

static int share_region(const struct run_dir *run_dir, const char *name, int *share,
                        struct fault *fault)
{
    const int fd = mapping_share(run_dir->fd, name);
    if (fd < 0) {
        return fault_set(fault, fd, "cannot open the %s in %s: %s", name, run_dir->path,
                         strerror(-fd));
    }
    *share = fd;
    return 0;
}

static uint64_t epoch_make(void)
{
    uint64_t epoch = 0;
    while (epoch == 0) {
        ensure(getrandom(&epoch, sizeof epoch, 0) == sizeof epoch);
    }
    return epoch;
}

static void format_regions(struct run_dir *run_dir, const struct config *config,
                           const struct directory_geometry *geometry)
{
    const uint64_t epoch = epoch_make();
    struct directory_shm *directory = run_dir->directory.base;
    directory_format(directory, geometry, epoch, (uint64_t)getpid());
    directory->header.sync_each = config->fsync == FSYNC_EACH;
    directory->header.strict = config->consistency == READ_STRICTLY_AT_ONCE;
    directory->header.persist_every = config->persist_every;
    ledger_format(run_dir->ledger.base, config->lanes_max, epoch);
}

int run_dir_make_regions(struct run_dir *run_dir, struct config *config, struct log *log,
                         struct fault *fault)
{
    fit_arena(run_dir, config, log);
    const struct directory_geometry geometry = {
        .chunk_bytes = config->chunk_bytes,
        .arena_bytes = config->arena_bytes,
        .topics_max = config->topics_max,
    };
    int error = make_region(run_dir, &run_dir->directory, DIRECTORY_NAME,
                            directory_bytes(&geometry), "--topics", fault);
    if (error == 0) {
        error = make_region(run_dir, &run_dir->ledger, LEDGER_NAME, ledger_bytes(config->lanes_max),
                            "--lanes", fault);
    }
    if (error == 0) {
        error = make_region(run_dir, &run_dir->arena, ARENA_NAME, config->arena_bytes, "--arena",
                            fault);
    }
    if (error == 0) {
        error = share_region(run_dir, DIRECTORY_NAME, &run_dir->directory_share, fault);
    }
    if (error == 0) {
        error = share_region(run_dir, ARENA_NAME, &run_dir->arena_share, fault);
    }
    if (error == 0) {
        format_regions(run_dir, config, &geometry);
    }
    return error;
}

static void share_close(int *share)
{
    if (*share >= 0) {
        close(take_fd(share));
    }
}

void run_dir_close(struct run_dir *run_dir)
{
    if (run_dir->fd < 0) {
        return;
    }
    share_close(&run_dir->directory_share);
    share_close(&run_dir->arena_share);
    mapping_close(&run_dir->directory);
    mapping_close(&run_dir->arena);
    mapping_close(&run_dir->ledger);
    remove_files(run_dir);
    rmdir(run_dir->path); /* best effort: the next start makes it again, or finds it */
    lock_file_release(take_fd(&run_dir->fd));
}

static void pins_name(char name[PINS_NAME_BYTES], uint64_t session_id)
{
    snprintf(name, PINS_NAME_BYTES, PINS_PREFIX "%" PRIx64, session_id);
}

int run_dir_make_pins(struct run_dir *run_dir, uint64_t session_id)
{
    char name[PINS_NAME_BYTES];
    pins_name(name, session_id);
    cleanup_fd int fd =
        openat(run_dir->fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return -errno;
    }
    /* All its pages now, so that a full tmpfs is an answer here and no SIGBUS in the client. */
    if (fallocate(fd, 0, 0, sizeof(struct pins_shm)) != 0) {
        const int error = -errno;
        unlinkat(run_dir->fd, name, 0);
        return error;
    }
    return take_fd(&fd);
}

int run_dir_share_pins(struct run_dir *run_dir, uint64_t session_id)
{
    char name[PINS_NAME_BYTES];
    pins_name(name, session_id);
    const int fd = openat(run_dir->fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 ? fd : -errno;
}

void run_dir_remove_pins(struct run_dir *run_dir, uint64_t session_id)
{
    char name[PINS_NAME_BYTES];
    pins_name(name, session_id);
    unlinkat(run_dir->fd, name, 0);
}
