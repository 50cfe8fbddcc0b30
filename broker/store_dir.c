/* Store directory: see store_dir.h. */
#include "broker/store_dir.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "broker/fault.h"
#include "shm/crash_point.h"
#include "shm/frame.h"

static const char lock_name[] = "LOCK";
static const char store_name[] = "STORE";
static const char store_new_name[] = "STORE.new";
static const char segments_name[] = "segments";

struct store_path store_dir_path(const struct store_dir *store, const char *name)
{
    struct store_path path;
    snprintf(path.text, sizeof path.text, "%s/%s", store->path, name);
    return path;
}

static int refuse(const struct store_dir *store, struct fault *fault, int result, const char *name,
                  const char *what)
{
    return fault_set(fault, result, "%s: %s: %s", store_dir_path(store, name).text, what,
                     strerror(-result));
}

/* The words for a file that could not be opened. */
static int refuse_open(const struct store_dir *store, struct fault *fault, int result,
                       const char *name, const char *expected)
{
    switch (result) {
    case -ELOOP:
    case -ENOTDIR:
    case -EISDIR:
    case -EINVAL:
    case -ENXIO:
        return fault_set(fault, -EBADMSG, "%s is not %s: something else was put in its place",
                         store_dir_path(store, name).text, expected);
    case -EOPNOTSUPP:
        return fault_set(fault, result,
                         "%s: its file system cannot bypass the page cache (O_DIRECT), which "
                         "--direct on demands: give --direct auto or off",
                         store_dir_path(store, name).text);
    default:
        return refuse(store, fault, result, name, "cannot be opened");
    }
}

/* Syncs the directory that holds the last component of a path. */
static int sync_parent(struct io *io, char *path)
{
    char *slash = strrchr(path, '/');
    struct io_file *parent = NULL;
    int result;
    if (slash == NULL) {
        result = io_dir_open(io, NULL, ".", &parent);
    } else if (slash == path) {
        result = io_dir_open(io, NULL, "/", &parent);
    } else {
        *slash = '\0';
        result = io_dir_open(io, NULL, path, &parent);
        *slash = '/';
    }
    if (result == 0) {
        result = io_sync_now(io, parent);
        io_file_close(io, parent);
    }
    return result;
}

/* One component; its parents are there. */
static int make_component(struct io *io, char *path)
{
    const int result = io_dir_make(io, NULL, path);
    if (result == -EEXIST) {
        return 0;
    }
    return result == 0 ? sync_parent(io, path) : result;
}

static int make_path(struct io *io, char *path)
{
    struct io_file *dir;
    if (io_dir_open(io, NULL, path, &dir) == 0) {
        io_file_close(io, dir);
        return 0;
    }
    int result = 0;
    for (char *slash = strchr(path + 1, '/'); slash != NULL && result == 0;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        result = make_component(io, path);
        *slash = '/';
    }
    return result == 0 ? make_component(io, path) : result;
}

static int take_lock(struct store_dir *store, int64_t lock_timeout_ns, struct fault *fault)
{
    int result = io_file_open(store->io, store->dir, lock_name, IO_OPEN_CREATE, &store->lock);
    if (result != 0) {
        return refuse_open(store, fault, result, lock_name, "a regular file");
    }
    result = io_file_lock(store->io, store->lock, lock_timeout_ns);
    if (result == -EBUSY) {
        return fault_set(fault, -EBUSY,
                         "another broker is using %s: it held LOCK for more than %" PRId64
                         " s; stop it, or give this one another data directory",
                         store->path, lock_timeout_ns / 1000000000);
    }
    return result == 0 ? 0 : refuse(store, fault, result, lock_name, "cannot be locked");
}

int store_dir_make(struct io *io, const char *path, struct io_file **dir, struct fault *fault)
{
    char made[sizeof((struct store_dir *)NULL)->path];
    if (strlen(path) >= sizeof made) {
        return fault_set(fault, -ENAMETOOLONG, "the data directory's path is too long");
    }
    strcpy(made, path);
    int result = make_path(io, made);
    if (result == 0) {
        result = io_dir_open(io, NULL, path, dir);
    }
    if (result != 0) {
        return fault_set(fault, result, "the data directory %s cannot be made or opened: %s", path,
                         strerror(-result));
    }
    return 0;
}

int store_dir_open(struct store_dir *store, struct io *io, const char *path,
                   int64_t lock_timeout_ns, struct fault *fault)
{
    *store = (struct store_dir){.io = io};
    int result = store_dir_make(io, path, &store->dir, fault);
    if (result != 0) {
        return result;
    }
    strcpy(store->path, path);
    result = take_lock(store, lock_timeout_ns, fault);
    if (result != 0) {
        store_dir_close(store);
    }
    return result;
}

void store_dir_close(struct store_dir *store)
{
    if (store->io == NULL) {
        return;
    }
    io_file_close(store->io, store->segments);
    io_file_close(store->io, store->store);
    io_file_close(store->io, store->dir);
    io_file_close(store->io, store->lock);
    *store = (struct store_dir){0};
}

static int superblock_init(struct superblock *superblock, uint64_t chunk_bytes,
                           uint64_t segment_bytes)
{
    *superblock = (struct superblock){
        .chunk_bytes = chunk_bytes,
        .segment_bytes = segment_bytes,
        .system_slot = SLOT_NONE,
        .salt_reserved = 1,
        .generation_reserved = 1,
        .topic_id_bound = 1,
    };
    const ssize_t bytes = getrandom(superblock->uuid, sizeof superblock->uuid, 0);
    return bytes == (ssize_t)sizeof superblock->uuid ? 0 : -EIO;
}

/* A store without STORE may hold no segments: they would be somebody's data. */
static int find_segment(void *context, const char *name)
{
    bool *found = context;
    *found |= strstr(name, ".seg") != NULL;
    return 0;
}

static int refuse_orphans(struct store_dir *store, struct fault *fault)
{
    struct io_file *segments;
    int result = io_dir_open(store->io, store->dir, segments_name, &segments);
    if (result == -ENOENT) {
        return 0;
    }
    if (result != 0) {
        return refuse_open(store, fault, result, segments_name, "a directory");
    }
    bool found = false;
    result = io_dir_list(store->io, segments, find_segment, &found);
    io_file_close(store->io, segments);
    if (result != 0) {
        return refuse(store, fault, result, segments_name, "cannot be read");
    }
    return found
               ? fault_set(fault, -EBADMSG,
                           "%s is missing, but %s/%s holds segments: restore STORE from a backup, "
                           "or give another data directory",
                           store_dir_path(store, store_name).text, store->path, segments_name)
               : 0;
}

/* Makes STORE under another name and gives it its own when it is complete and durable. */
static int store_make(struct store_dir *store, struct superblock *superblock, struct fault *fault)
{
    int result = refuse_orphans(store, fault);
    if (result != 0) {
        return result;
    }
    result = io_unlink(store->io, store->dir, store_new_name);
    if (result != 0 && result != -ENOENT) {
        return refuse(store, fault, result, store_new_name, "is in the way");
    }
    result = io_file_open(store->io, store->dir, store_new_name,
                          IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE | IO_OPEN_DIRECT, &store->store);
    if (result != 0) {
        return refuse_open(store, fault, result, store_new_name, "a regular file");
    }
    crash_point("store.superblock_made");
    result = superblock_write_now(store->io, store->store,
                                  store_dir_path(store, store_new_name).text, superblock, fault);
    if (result != 0) {
        return result;
    }
    crash_point("store.superblock_written");
    result = io_rename(store->io, store->dir, store_new_name, store_name);
    if (result == 0) {
        crash_point("store.superblock_named");
        result = io_sync_now(store->io, store->dir);
    }
    return result == 0 ? 0 : refuse(store, fault, result, store_name, "cannot be made");
}

static int store_file_open(struct store_dir *store, struct superblock *superblock,
                           struct fault *fault)
{
    int result = io_file_open(store->io, store->dir, store_name, IO_OPEN_DIRECT, &store->store);
    if (result == -ENOENT) {
        return store_make(store, superblock, fault);
    }
    if (result != 0) {
        return refuse_open(store, fault, result, store_name, "a regular file");
    }
    /* What a killed broker wrote last may not be durable yet; what is read here must be. */
    result = io_sync_now(store->io, store->store);
    if (result == 0) {
        result = io_sync_now(store->io, store->dir);
    }
    if (result != 0) {
        return refuse(store, fault, result, store_name, "cannot be synced");
    }
    return superblock_read(store->io, store->store, store_dir_path(store, store_name).text,
                           superblock, fault);
}

static int segments_open(struct store_dir *store, const struct superblock *superblock,
                         struct fault *fault)
{
    int result = io_dir_open(store->io, store->dir, segments_name, &store->segments);
    if (result == -ENOENT && superblock->system_slot == SLOT_NONE) {
        result = io_dir_make(store->io, store->dir, segments_name);
        if (result == 0) {
            crash_point("store.segments_made");
            result = io_sync_now(store->io, store->dir);
        }
        if (result == 0) {
            result = io_dir_open(store->io, store->dir, segments_name, &store->segments);
        }
    }
    if (result == 0) {
        result = io_sync_now(store->io, store->segments);
    }
    return result == 0 ? 0 : refuse_open(store, fault, result, segments_name, "a directory");
}

static int check_size(const struct store_dir *store, uint64_t stored, uint64_t wanted,
                      const char *what, struct fault *fault)
{
    if (stored == wanted) {
        return 0;
    }
    return fault_set(fault, -EINVAL,
                     "the store in %s was made with %ss of %" PRIu64 " bytes, not %" PRIu64
                     "; a store keeps the sizes it was made with: give --%s %" PRIu64
                     ", or another data directory",
                     store->path, what, stored, wanted, what, stored);
}

int store_dir_load(struct store_dir *store, uint64_t chunk_bytes, uint64_t segment_bytes,
                   struct superblock *superblock, struct fault *fault)
{
    int result = superblock_init(superblock, chunk_bytes, segment_bytes);
    if (result != 0) {
        return fault_set(fault, result, "no random numbers for the store's identity");
    }
    result = store_file_open(store, superblock, fault);
    if (result == 0) {
        result = check_size(store, superblock->chunk_bytes, chunk_bytes, "chunk", fault);
    }
    if (result == 0) {
        result = check_size(store, superblock->segment_bytes, segment_bytes, "segment", fault);
    }
    return result == 0 ? segments_open(store, superblock, fault) : result;
}
