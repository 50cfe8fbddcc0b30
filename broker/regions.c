/* Regions: see regions.h. */
#include "broker/regions.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "broker/fault.h"
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
    PINS_NAME_BYTES = sizeof PINS_PREFIX + 16,
    /* Of what directory and ledger leave of a small tmpfs the default arena takes at most this part:
     * pins, other namespaces and other programs want some as well. */
    ARENA_PART_OF_FREE = 4,
};

static bool is_ours(const char *name)
{
    return strcmp(name, DIRECTORY_NAME) == 0 || strcmp(name, ARENA_NAME) == 0 ||
           strcmp(name, LEDGER_NAME) == 0 || strncmp(name, PINS_PREFIX, strlen(PINS_PREFIX)) == 0;
}

static void remove_files(int dir)
{
    const int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
    if (listing == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    for (const struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        if (is_ours(entry->d_name)) {
            unlinkat(dir, entry->d_name, 0);
        }
    }
    closedir(listing);
}

static int dir_open(int run_dir, const char *name)
{
    return openat(run_dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

void regions_remove(int run_dir, const char *name)
{
    cleanup_fd const int fd = dir_open(run_dir, name);
    if (fd >= 0) {
        remove_files(fd);
        unlinkat(run_dir, name, AT_REMOVEDIR);
    }
}

static uint64_t tmpfs_free_bytes(const struct regions *regions)
{
    struct statfs system;
    if (fstatfs(regions->fd, &system) != 0) {
        return 0;
    }
    /* A tmpfs without a limit says 0 blocks in all. */
    return system.f_blocks == 0 ? UINT64_MAX : system.f_bavail * (uint64_t)system.f_bsize;
}

/* How much of a region is used. */
enum region_use {
    REGION_WHOLE,
    REGION_PARTS,     /* more with each topic */
    REGION_FEW_PARTS, /* more with each lane: kilobytes as a rule */
};

static int region_create(const struct regions *regions, struct mapping *mapping, const char *name,
                         uint64_t bytes, enum region_use use)
{
    return use == REGION_WHOLE
               ? mapping_create(mapping, regions->fd, name, bytes)
               : mapping_create_for_parts(mapping, regions->fd, name, bytes, use == REGION_PARTS);
}

static int make_region(const struct regions *regions, struct mapping *mapping, const char *name,
                       uint64_t bytes, enum region_use use, const char *option, struct fault *fault)
{
    const uint64_t free_bytes = tmpfs_free_bytes(regions);
    const int error = region_create(regions, mapping, name, bytes, use);
    if (error == -ENOSPC) {
        return fault_set(fault, error,
                         "no room in %s for the %s: it wants %s and its tmpfs has %" PRIu64
                         " KiB free: make it smaller with %s, or name a larger tmpfs with "
                         "--run-dir",
                         regions->path, name, SIZE_TEXT(bytes), free_bytes / 1024, option);
    }
    if (error != 0) {
        return fault_set(fault, error, "cannot make the %s of %s in %s: %s", name, SIZE_TEXT(bytes),
                         regions->path, strerror(-error));
    }
    return 0;
}

static void fit_arena(const struct regions *regions, struct config *config, struct log *log)
{
    const struct directory_geometry none = {.chunk_bytes = config->chunk_bytes,
                                            .topics_max = config->topics_max};
    const uint64_t others_bytes = directory_bytes(&none) + ledger_bytes(config->lanes_max);
    const uint64_t all_free_bytes = tmpfs_free_bytes(regions);
    const uint64_t free_bytes = all_free_bytes > others_bytes ? all_free_bytes - others_bytes : 0;
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
                bytes, config->arena_bytes, all_free_bytes);
    config->arena_bytes = bytes;
}

static void arena_pages_tell(const struct regions *regions, struct log *log)
{
    if (!regions->arena.huge && regions->arena.bytes >= MAPPING_HUGE_BYTES) {
        log_info(
            log, "arena.small_pages",
            "arena=%s reason=\"the kernel gives no huge pages: it is older than 6.1, its memory "
            "is in pieces, or /sys/kernel/mm/transparent_hugepage/shmem_enabled is deny\" "
            "effect=\"reading from disk is slower\"",
            LOG_QUOTE(regions->path));
    }
}

static int share_region(const struct regions *regions, const char *name, int *share,
                        struct fault *fault)
{
    const int fd = mapping_share(regions->fd, name);
    if (fd < 0) {
        return fault_set(fault, fd, "cannot open the %s in %s: %s", name, regions->path,
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

static void format_regions(struct regions *regions, const struct config *config,
                           const struct directory_geometry *geometry)
{
    const uint64_t epoch = epoch_make();
    struct directory_shm *directory = regions->directory.base;
    directory_format(directory, geometry, epoch, (uint64_t)getpid());
    atom_store_relaxed(&directory->sync_each, config->fsync == FSYNC_EACH); /* nobody has it yet */
    atom_store_relaxed(&directory->strict, config->consistency == READ_STRICTLY_AT_ONCE);
    atom_store_relaxed(&directory->persist_every, config->persist_every);
    ledger_format(regions->ledger.base, config->lanes_max, epoch);
}

static int regions_fill(struct regions *regions, const struct config *config, struct fault *fault)
{
    const struct directory_geometry geometry = {
        .chunk_bytes = config->chunk_bytes,
        .arena_bytes = config->arena_bytes,
        .topics_max = config->topics_max,
    };
    int error = make_region(regions, &regions->directory, DIRECTORY_NAME,
                            directory_bytes(&geometry), REGION_PARTS, "--topics", fault);
    if (error == 0) {
        error = make_region(regions, &regions->ledger, LEDGER_NAME, ledger_bytes(config->lanes_max),
                            REGION_FEW_PARTS, "--lanes", fault);
    }
    if (error == 0) {
        error = make_region(regions, &regions->arena, ARENA_NAME, config->arena_bytes, REGION_WHOLE,
                            "--arena", fault);
    }
    if (error == 0) {
        error = share_region(regions, DIRECTORY_NAME, &regions->directory_share, fault);
    }
    if (error == 0) {
        error = share_region(regions, ARENA_NAME, &regions->arena_share, fault);
    }
    if (error == 0) {
        format_regions(regions, config, &geometry);
    }
    return error;
}

static int regions_dir_make(struct regions *regions, const struct run_dir *run_dir,
                            const char *name, struct fault *fault)
{
    const int length = snprintf(regions->path, sizeof regions->path, "%s/%s", run_dir->path, name);
    if (length >= (int)sizeof regions->path) {
        return fault_set(fault, -ENAMETOOLONG, "the run directory's path is too long: %.200s",
                         run_dir->path);
    }
    regions_remove(run_dir->fd, name);
    regions->fd = mkdirat(run_dir->fd, name, 0700) == 0 ? dir_open(run_dir->fd, name) : -1;
    return regions->fd >= 0 ? 0
                            : fault_set(fault, -errno, "cannot make the directory %s: %s",
                                        regions->path, strerror(errno));
}

int regions_make(struct regions *regions, const struct run_dir *run_dir, const char *name,
                 struct config *config, struct log *log, struct fault *fault)
{
    *regions = (struct regions){.fd = -1, .directory_share = -1, .arena_share = -1};
    int error = regions_dir_make(regions, run_dir, name, fault);
    if (error == 0) {
        fit_arena(regions, config, log);
        error = regions_fill(regions, config, fault);
    }
    if (error != 0) {
        regions_close(regions);
        return error;
    }
    arena_pages_tell(regions, log);
    return 0;
}

static void share_close(int *share)
{
    if (*share >= 0) {
        close(take_fd(share));
    }
}

void regions_close(struct regions *regions)
{
    if (regions->fd < 0 || regions->path[0] == '\0') {
        return;
    }
    share_close(&regions->directory_share);
    share_close(&regions->arena_share);
    mapping_close(&regions->directory);
    mapping_close(&regions->arena);
    mapping_close(&regions->ledger);
    remove_files(regions->fd);
    rmdir(regions->path); /* best effort: the next start removes it */
    close(take_fd(&regions->fd));
    regions->path[0] = '\0';
}

static void pins_name(char name[PINS_NAME_BYTES], uint64_t session_id)
{
    snprintf(name, PINS_NAME_BYTES, PINS_PREFIX "%" PRIx64, session_id);
}

int regions_make_pins(struct regions *regions, uint64_t session_id)
{
    char name[PINS_NAME_BYTES];
    pins_name(name, session_id);
    cleanup_fd int fd =
        openat(regions->fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return -errno;
    }
    /* All its pages now, so that a full tmpfs is an answer here and no SIGBUS in the client. */
    if (fallocate(fd, 0, 0, sizeof(struct pins_shm)) != 0) {
        const int error = -errno;
        unlinkat(regions->fd, name, 0);
        return error;
    }
    return take_fd(&fd);
}

int regions_share_pins(struct regions *regions, uint64_t session_id)
{
    char name[PINS_NAME_BYTES];
    pins_name(name, session_id);
    const int fd = openat(regions->fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 ? fd : -errno;
}

void regions_remove_pins(struct regions *regions, uint64_t session_id)
{
    char name[PINS_NAME_BYTES];
    pins_name(name, session_id);
    unlinkat(regions->fd, name, 0);
}
