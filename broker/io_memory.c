/* I/O in memory: see io_memory.h. */
#include "broker/io_memory.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/io.h"
#include "broker/memory_disk.h"
#include "shm/layout.h"

struct memory_file {
    struct io_file file;
    struct memory_node *node;
    struct memory_file *next; /* all open ones */
};

struct memory_io {
    struct io io;
    struct memory_disk *disk;
    bool shuffle;
    struct io_op *first; /* queued, oldest first */
    struct io_op **end;
    struct io_watch *watches;
    struct memory_file *files;
};

static struct memory_io *memory_of(struct io *io)
{
    return (struct memory_io *)io;
}

static struct memory_node *node_of(struct io_file *file)
{
    return ((struct memory_file *)file)->node;
}

/* Counts an operation; not 0: it is to fail with that. */
static int operation(struct memory_disk *disk)
{
    disk->operations++;
    if (disk->fail_at == 0 || disk->operations < disk->fail_at ||
        (disk->operations > disk->fail_at && !disk->fail_sticky)) {
        return 0;
    }
    return disk->fail_error;
}

static int perform_read(struct memory_node *node, const struct io_op *op)
{
    if (!layout_inside(op->offset, op->bytes, node->size)) {
        return -ENODATA;
    }
    memcpy(op->buffer, node->bytes + op->offset, op->bytes);
    return 0;
}

static int perform_write(struct memory_disk *disk, struct memory_node *node, const struct io_op *op,
                         int failure)
{
    const uint64_t bytes = failure == 0 ? op->bytes : align_down(op->bytes / 2, SECTOR_BYTES);
    if (bytes != 0) {
        const int result = memory_file_write(disk, node, op->buffer, bytes, op->offset);
        if (result != 0) {
            return result;
        }
        if (op->dsync && failure == 0) {
            memory_file_sync_range(node, op->offset, bytes);
        }
    }
    return failure;
}

static bool is_aligned(const struct io_op *op)
{
    return ((uintptr_t)op->buffer | op->bytes | op->offset) % IO_ALIGNMENT == 0;
}

static int perform(struct memory_disk *disk, const struct io_op *op)
{
    struct memory_node *node = node_of(op->file);
    const int failure = operation(disk);
    switch (op->kind) {
    case IO_READ:
        if (op->file->direct && !is_aligned(op)) {
            return -EINVAL;
        }
        return failure != 0 ? failure : perform_read(node, op);
    case IO_WRITE:
        if (op->file->direct && !is_aligned(op)) {
            return -EINVAL;
        }
        return perform_write(disk, node, op, failure);
    case IO_SYNC:
    case IO_FSYNC:
        if (failure != 0) {
            memory_node_doom(node);
            return failure;
        }
        memory_node_sync(node);
        return 0;
    case IO_ALLOCATE:
        if (failure != 0 || op->offset + op->bytes <= node->size) {
            return failure;
        }
        return memory_file_resize(disk, node, op->offset + op->bytes);
    }
    return -EINVAL;
}

static int memory_now(struct io *io, struct io_op *op)
{
    return perform(memory_of(io)->disk, op);
}

/* Asynchronous operations. */

static int memory_start(struct io *io)
{
    (void)io;
    return 0;
}

static void memory_submit(struct io *io, struct io_op *op)
{
    struct memory_io *memory = memory_of(io);
    *memory->end = op;
    memory->end = &op->next;
}

static void memory_kick(struct io *io)
{
    (void)io;
}

static struct io_op *take_queued(struct memory_io *memory)
{
    struct io_op **link = &memory->first;
    if (memory->shuffle) {
        uint32_t skip = (uint32_t)memory_disk_random(memory->disk, memory->io.in_flight);
        while (skip-- > 0 && (*link)->next != NULL) {
            link = &(*link)->next;
        }
    }
    struct io_op *op = *link;
    *link = op->next;
    if (op->next == NULL) {
        memory->end = link;
    }
    return op;
}

static unsigned complete_queued(struct memory_io *memory)
{
    unsigned handled = 0;
    unsigned limit = memory->io.in_flight; /* what done() submits waits for the next poll */
    if (memory->shuffle && limit > 1) {
        limit = 1 + (unsigned)memory_disk_random(memory->disk, limit);
    }
    while (handled < limit && memory->first != NULL) {
        struct io_op *op = take_queued(memory);
        const int result = perform(memory->disk, op);
        memory->io.in_flight--;
        handled++;
        op->done(op, result);
    }
    return handled;
}

/* Watches on real descriptors: one poll() for each, tests have few. */
static unsigned tell_watches(struct memory_io *memory)
{
    unsigned handled = 0;
    for (struct io_watch *watch = memory->watches, *next; watch != NULL; watch = next) {
        next = watch->next;
        struct pollfd one = {.fd = watch->fd, .events = POLLIN | POLLRDHUP};
        if (!watch->removing && poll(&one, 1, 0) > 0) {
            watch->fn(watch);
            handled++;
        }
    }
    struct io_watch **link = &memory->watches;
    while (*link != NULL) {
        struct io_watch *watch = *link;
        if (watch->removing) {
            *link = watch->next;
            watch->removed(watch);
            handled++;
        } else {
            link = &watch->next;
        }
    }
    return handled;
}

static unsigned memory_poll(struct io *io)
{
    struct memory_io *memory = memory_of(io);
    return complete_queued(memory) + tell_watches(memory);
}

/* The time until a descriptor is readable passes; operations complete at once. */
static int memory_wait(struct io *io, int64_t timeout_ns)
{
    struct memory_io *memory = memory_of(io);
    const unsigned handled = memory_poll(io);
    if (handled != 0 || memory->first != NULL) {
        return (int)handled;
    }
    nfds_t count = 0;
    for (const struct io_watch *watch = memory->watches; watch != NULL; watch = watch->next) {
        count++;
    }
    struct pollfd *all = calloc(count + 1, sizeof *all);
    ensure(all != NULL);
    count = 0;
    for (const struct io_watch *watch = memory->watches; watch != NULL; watch = watch->next) {
        all[count++] = (struct pollfd){.fd = watch->fd, .events = POLLIN | POLLRDHUP};
    }
    const int64_t timeout_ms = (timeout_ns + 999999) / 1000000;
    poll(all, count, timeout_ns < 0 ? -1 : timeout_ms > INT_MAX ? INT_MAX : (int)timeout_ms);
    free(all);
    return (int)memory_poll(io);
}

static void memory_watch(struct io *io, struct io_watch *watch)
{
    struct memory_io *memory = memory_of(io);
    watch->removing = false;
    watch->next = memory->watches;
    memory->watches = watch;
}

static void memory_unwatch(struct io *io, struct io_watch *watch)
{
    (void)io;
    ensure(!watch->removing);
    watch->removing = true;
}

static int memory_register_buffers(struct io *io, const struct iovec *regions, unsigned count)
{
    (void)io;
    (void)regions;
    (void)count;
    return 0;
}

static int memory_register_lock(struct io *io, struct io_file *lock)
{
    (void)io;
    (void)lock;
    return 0;
}

/* The cold path. */

/* Splits a path of the operator's into its directory and last name; a name in dir is just that. */
static struct memory_node *parent_of(struct memory_io *memory, struct io_file *dir,
                                     const char **name)
{
    if (dir != NULL) {
        return node_of(dir);
    }
    const char *slash = strrchr(*name, '/');
    if (slash == NULL) {
        return memory->disk->root;
    }
    char path[4096];
    snprintf(path, sizeof path, "%.*s", (int)(slash - *name), *name);
    *name = slash + 1;
    return memory_disk_find(memory->disk, path);
}

static struct memory_node *lookup(struct memory_io *memory, struct io_file *dir, const char *name)
{
    return dir == NULL ? memory_disk_find(memory->disk, name)
                       : memory_names_find(&node_of(dir)->names, name);
}

static struct io_file *file_new(struct memory_io *memory, struct memory_node *node, bool direct)
{
    struct memory_file *file = calloc(1, sizeof *file);
    ensure(file != NULL);
    file->file.direct = direct;
    file->node = node;
    file->next = memory->files;
    memory->files = file;
    return &file->file;
}

static int memory_dir_make(struct io *io, struct io_file *dir, const char *name)
{
    struct memory_io *memory = memory_of(io);
    const int failure = operation(memory->disk);
    if (failure != 0) {
        return failure;
    }
    if (lookup(memory, dir, name) != NULL) {
        return -EEXIST;
    }
    struct memory_node *parent = parent_of(memory, dir, &name);
    if (parent == NULL) {
        return -ENOENT;
    }
    memory_directory_set(parent, name, memory_node_new(memory->disk, true));
    return 0;
}

static int memory_dir_open(struct io *io, struct io_file *dir, const char *name,
                           struct io_file **out)
{
    struct memory_io *memory = memory_of(io);
    const int failure = operation(memory->disk);
    struct memory_node *node = lookup(memory, dir, name);
    if (failure != 0 || node == NULL || !node->directory) {
        return failure != 0 ? failure : node == NULL ? -ENOENT : -ENOTDIR;
    }
    *out = file_new(memory, node, false);
    return 0;
}

static int memory_dir_list(struct io *io, struct io_file *dir, io_list_fn fn, void *context)
{
    int result = operation(memory_of(io)->disk);
    const struct memory_names *names = &node_of(dir)->names;
    /* From the end, so that fn may unlink what it is shown. */
    for (size_t i = names->count; i-- > 0 && result == 0;) {
        char name[MEMORY_NAME_BYTES]; /* the entry may become another's meanwhile */
        memcpy(name, names->entries[i].name, sizeof name);
        result = fn(context, name);
    }
    return result;
}

static int memory_file_open(struct io *io, struct io_file *dir, const char *name, unsigned flags,
                            struct io_file **out)
{
    struct memory_io *memory = memory_of(io);
    const int failure = operation(memory->disk);
    if (failure != 0) {
        return failure;
    }
    struct memory_node *node = lookup(memory, dir, name);
    if (node == NULL) {
        struct memory_node *parent = parent_of(memory, dir, &name);
        if (!(flags & IO_OPEN_CREATE) || parent == NULL) {
            return -ENOENT;
        }
        node = memory_node_new(memory->disk, false);
        memory_directory_set(parent, name, node);
    } else if (flags & IO_OPEN_EXCLUSIVE) {
        return -EEXIST;
    } else if (node->directory) {
        return -EISDIR;
    }
    *out = file_new(memory, node, flags & IO_OPEN_DIRECT);
    return 0;
}

static void memory_file_close(struct io *io, struct io_file *file)
{
    struct memory_file **link = &memory_of(io)->files;
    while (&(*link)->file != file) {
        link = &(*link)->next;
    }
    struct memory_file *gone = *link;
    *link = gone->next;
    if (gone->node->locked_by == gone) {
        gone->node->locked_by = NULL;
    }
    free(gone);
}

static int memory_file_size(struct io *io, struct io_file *file, uint64_t *bytes)
{
    *bytes = node_of(file)->size;
    return operation(memory_of(io)->disk);
}

static int memory_file_lock(struct io *io, struct io_file *file, int64_t timeout_ns)
{
    (void)timeout_ns; /* nobody else runs meanwhile */
    const int failure = operation(memory_of(io)->disk);
    struct memory_node *node = node_of(file);
    if (failure != 0 || (node->locked_by != NULL && node->locked_by != file)) {
        return failure != 0 ? failure : -EBUSY;
    }
    node->locked_by = file;
    return 0;
}

static int memory_rename(struct io *io, struct io_file *dir, const char *from, const char *to)
{
    const int failure = operation(memory_of(io)->disk);
    struct memory_node *directory = node_of(dir);
    struct memory_node *node = memory_names_find(&directory->names, from);
    if (failure != 0 || node == NULL) {
        return failure != 0 ? failure : -ENOENT;
    }
    memory_directory_set(directory, to, node);
    memory_directory_set(directory, from, NULL);
    return 0;
}

static int memory_unlink(struct io *io, struct io_file *dir, const char *name)
{
    const int failure = operation(memory_of(io)->disk);
    struct memory_node *node = memory_names_find(&node_of(dir)->names, name);
    if (failure != 0 || node == NULL) {
        return failure != 0 ? failure : -ENOENT;
    }
    memory_directory_set(node_of(dir), name, NULL);
    return 0;
}

static int memory_dir_remove(struct io *io, struct io_file *dir, const char *name)
{
    const struct memory_node *node = memory_names_find(&node_of(dir)->names, name);
    if (node != NULL && (!node->directory || node->names.count != 0)) {
        return node->directory ? -ENOTEMPTY : -ENOTDIR;
    }
    return memory_unlink(io, dir, name);
}

static void memory_close(struct io *io)
{
    ensure(memory_of(io)->files == NULL);
    free(io);
}

static const struct io_ops memory_ops = {
    .name = "memory",
    .close = memory_close,
    .start = memory_start,
    .submit = memory_submit,
    .kick = memory_kick,
    .poll = memory_poll,
    .wait = memory_wait,
    .watch = memory_watch,
    .unwatch = memory_unwatch,
    .register_buffers = memory_register_buffers,
    .register_lock = memory_register_lock,
    .dir_make = memory_dir_make,
    .dir_open = memory_dir_open,
    .dir_list = memory_dir_list,
    .file_open = memory_file_open,
    .file_close = memory_file_close,
    .file_size = memory_file_size,
    .file_lock = memory_file_lock,
    .rename = memory_rename,
    .unlink = memory_unlink,
    .dir_remove = memory_dir_remove,
    .now = memory_now,
};

struct io *io_memory_open(struct memory_disk *disk)
{
    struct memory_io *memory = calloc(1, sizeof *memory);
    ensure(memory != NULL);
    memory->io.ops = &memory_ops;
    memory->disk = disk;
    memory->end = &memory->first;
    return &memory->io;
}

void io_memory_shuffle(struct io *io)
{
    memory_of(io)->shuffle = true;
}

void io_memory_kill(struct io *io)
{
    struct memory_io *memory = memory_of(io);
    for (struct io_op *op = memory->first; op != NULL; op = op->next) {
        if (memory_disk_random(memory->disk, 2) == 0) {
            (void)perform(memory->disk, op);
        }
    }
    while (memory->files != NULL) {
        memory_file_close(io, &memory->files->file);
    }
    free(memory);
}
