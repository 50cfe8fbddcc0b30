/* Config: see config.h for the contract. */
#include "broker/config.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "broker/fault.h"
#include "shm/directory.h"
#include "shm/quantity.h"

#define SHARED_MEMORY_DIR "/dev/shm"

_Static_assert(CONFIG_PATH_BYTES >= PATH_MAX, "realpath() writes up to PATH_MAX bytes");

/* Copies text and says whether it fitted. */
static int path_copy(char *path, size_t bytes, const char *text)
{
    const size_t length = strlen(text);
    if (length >= bytes) {
        return -ENAMETOOLONG;
    }
    memcpy(path, text, length + 1);
    return 0;
}

/* Puts the working directory before a relative path and takes out empty and "." components. */
static int path_absolute(char *path, size_t bytes)
{
    char base[CONFIG_PATH_BYTES] = "";
    char whole[2 * CONFIG_PATH_BYTES];
    if (path[0] != '/' && getcwd(base, sizeof base) == NULL) {
        return -errno;
    }
    snprintf(whole, sizeof whole, "%s/%s", base, path);
    size_t length = 0;
    char *rest;
    for (char *part = strtok_r(whole, "/", &rest); part != NULL;
         part = strtok_r(NULL, "/", &rest)) {
        const size_t part_bytes = strlen(part);
        if (strcmp(part, ".") == 0) {
            continue;
        }
        if (length + 1 + part_bytes >= bytes) {
            return -ENAMETOOLONG;
        }
        path[length++] = '/';
        memcpy(path + length, part, part_bytes);
        length += part_bytes;
    }
    if (length == 0) {
        path[length++] = '/';
    }
    path[length] = '\0';
    return 0;
}

/* The path without its last component; "/" at the end. */
static void path_cut(char *path)
{
    char *const slash = strrchr(path, '/');
    slash[slash == path ? 1 : 0] = '\0';
}

/*
 * Resolves the links of an absolute path as far as it exists, so that a directory has one name
 * even before it is made. What cannot be looked at stays as it is: who opens it will say why.
 */
static int path_canonical(char *path, size_t bytes)
{
    char known[CONFIG_PATH_BYTES];
    char real[CONFIG_PATH_BYTES];
    char joined[2 * CONFIG_PATH_BYTES];
    memcpy(known, path, strlen(path) + 1);
    while (realpath(known, real) == NULL) {
        if (errno != ENOENT || strcmp(known, "/") == 0) {
            return 0;
        }
        path_cut(known);
    }
    const char *const rest = path + (strcmp(known, "/") == 0 ? 0 : strlen(known));
    snprintf(joined, sizeof joined, "%s%s", strcmp(real, "/") == 0 ? "" : real, rest);
    return path_copy(path, bytes, joined);
}

/* Whether the absolute path lies, or would lie once it is made, in memory. */
static bool path_on_tmpfs(const char *path)
{
    char known[CONFIG_PATH_BYTES];
    struct statfs status;
    memcpy(known, path, strlen(path) + 1);
    while (statfs(known, &status) != 0) {
        if (errno != ENOENT || strcmp(known, "/") == 0) {
            return false;
        }
        path_cut(known);
    }
    return status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC;
}

/* FNV-1a: tells stores apart in names, nothing rests on it. */
static uint64_t path_hash(const char *path)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *path != '\0'; path++) {
        hash = (hash ^ (unsigned char)*path) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* The XDG rules count a relative path as none. */
static const char *environment_dir(const char *name)
{
    const char *dir = getenv(name);
    return dir != NULL && dir[0] == '/' ? dir : NULL;
}

/* Says what path_absolute() and path_copy() have against a path that holds so many bytes at most. */
static int path_fault(struct fault *fault, int error, const char *path, size_t bytes)
{
    if (error == -ENAMETOOLONG) {
        return fault_set(fault, error, "the path is too long, at most %zu bytes fit: %.200s",
                         bytes - 1, path);
    }
    return fault_set(fault, error, "the path is relative and the working directory is gone: %s",
                     path);
}

static int data_dir_default(struct config *config, struct fault *fault)
{
    const char *const state = environment_dir("XDG_STATE_HOME");
    const char *const home = environment_dir("HOME");
    char path[2 * CONFIG_PATH_BYTES];
    if (geteuid() == 0) {
        snprintf(path, sizeof path, "/var/lib/tusk");
    } else if (state != NULL) {
        snprintf(path, sizeof path, "%s/tusk", state);
    } else if (home != NULL) {
        snprintf(path, sizeof path, "%s/.local/state/tusk", home);
    } else {
        return fault_set(fault, -ENOENT,
                         "no directory was given, and neither XDG_STATE_HOME nor HOME says where "
                         "the default is");
    }
    if (path_copy(config->data_dir, sizeof config->data_dir, path) < 0) {
        return path_fault(fault, -ENAMETOOLONG, path, sizeof config->data_dir);
    }
    return 0;
}

static int data_dir_resolve(struct config *config, struct fault *fault)
{
    if (config->data_dir[0] == '\0') {
        const int result = data_dir_default(config, fault);
        if (result < 0) {
            return result;
        }
    }
    int result = path_absolute(config->data_dir, sizeof config->data_dir);
    if (result == 0) {
        result = path_canonical(config->data_dir, sizeof config->data_dir);
    }
    return result < 0 ? path_fault(fault, result, config->data_dir, sizeof config->data_dir) : 0;
}

static int socket_path_resolve(struct config *config, struct fault *fault)
{
    char path[2 * CONFIG_PATH_BYTES];
    const char *const runtime = environment_dir("XDG_RUNTIME_DIR");
    if (config->socket_path[0] != '\0') {
        snprintf(path, sizeof path, "%s", config->socket_path);
    } else if (geteuid() == 0) {
        snprintf(path, sizeof path, "/run/tusk/tusk.sock");
    } else if (runtime != NULL) {
        snprintf(path, sizeof path, "%s/tusk/tusk.sock", runtime);
    } else {
        return fault_set(
            fault, -ENOENT,
            "no path was given, and XDG_RUNTIME_DIR does not say where the default is");
    }
    int result = path_absolute(path, sizeof path);
    if (result == 0) {
        result = path_copy(config->socket_path, sizeof config->socket_path, path);
    }
    return result < 0 ? path_fault(fault, result, path, sizeof config->socket_path) : 0;
}

static int run_dir_resolve(struct config *config, struct fault *fault)
{
    const unsigned long long hash = path_hash(config->data_dir);
    if (config->run_dir[0] == '\0') {
        char dir[CONFIG_SOCKET_PATH_BYTES];
        memcpy(dir, config->socket_path, sizeof dir);
        path_cut(dir);
        if (path_on_tmpfs(dir)) {
            snprintf(config->run_dir, sizeof config->run_dir, "%s/regions-%016llx", dir, hash);
        } else {
            snprintf(config->run_dir, sizeof config->run_dir, SHARED_MEMORY_DIR "/tusk-%u-%016llx",
                     (unsigned)geteuid(), hash);
        }
    }
    const int result = path_absolute(config->run_dir, sizeof config->run_dir);
    if (result < 0) {
        return path_fault(fault, result, config->run_dir, sizeof config->run_dir);
    }
    if (!path_on_tmpfs(config->run_dir)) {
        return fault_set(fault, -EINVAL,
                         "'%.200s' is not on a tmpfs, and the memory shared with clients must be; "
                         "give a directory on one, such as below " SHARED_MEMORY_DIR,
                         config->run_dir);
    }
    return 0;
}

/* Whether bytes is so many whole chunks. */
static int chunks_check(const struct config *config, uint64_t bytes, uint64_t chunks_min,
                        struct fault *fault)
{
    if (bytes % config->chunk_bytes == 0 && bytes / config->chunk_bytes >= chunks_min) {
        return 0;
    }
    return fault_set(fault, -EINVAL,
                     "%s is not a multiple of --chunk %s, or less than %llu of them (%s)",
                     SIZE_TEXT(bytes), SIZE_TEXT(config->chunk_bytes),
                     (unsigned long long)chunks_min, SIZE_TEXT(chunks_min * config->chunk_bytes));
}

static int arena_check(const struct config *config, struct fault *fault)
{
    const uint64_t unit_bytes = config->chunk_bytes / SMALL_CHUNKS;
    const uint64_t arena_bytes_max = unit_bytes << CHUNK_UNIT_BITS;
    if (config->arena_bytes > arena_bytes_max) {
        return fault_set(fault, -EINVAL, "%s is too much for --chunk %s, it can use at most %s",
                         SIZE_TEXT(config->arena_bytes), SIZE_TEXT(config->chunk_bytes),
                         SIZE_TEXT(arena_bytes_max));
    }
    return chunks_check(config, config->arena_bytes, CONFIG_ARENA_CHUNKS_MIN, fault);
}

static int direct_check(const struct config *config, struct fault *fault)
{
    if (config->backend == IO_BACKEND_MMAP && config->direct == IO_DIRECT_ON) {
        return fault_set(fault, -EINVAL,
                         "--backend mmap is the page cache and cannot bypass it; give auto or "
                         "off, or another backend");
    }
    return 0;
}

int config_resolve(struct config *config, const char **option, struct fault *fault)
{
    *option = "direct";
    int result = direct_check(config, fault);
    if (result == 0) {
        *option = "segment";
        result = chunks_check(config, config->segment_bytes, CONFIG_SEGMENT_CHUNKS_MIN, fault);
    }
    if (result == 0) {
        *option = "arena";
        result = arena_check(config, fault);
    }
    if (result == 0) {
        *option = "data";
        result = data_dir_resolve(config, fault);
    }
    if (result == 0) {
        *option = "socket";
        result = socket_path_resolve(config, fault);
    }
    if (result == 0) {
        *option = "run-dir";
        result = run_dir_resolve(config, fault);
    }
    return result;
}

const char *config_fsync_name(enum fsync_schedule schedule)
{
    static const char *const names[] = {
        [FSYNC_EACH] = "each", [FSYNC_INTERVAL] = "interval", [FSYNC_NONE] = "none"};
    return names[schedule];
}

const char *config_idle_name(enum idle_strategy strategy)
{
    static const char *const names[] = {
        [IDLE_ADAPTIVE] = "adaptive", [IDLE_SPIN] = "spin", [IDLE_BLOCK] = "block"};
    return names[strategy];
}
