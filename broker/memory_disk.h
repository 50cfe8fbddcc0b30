/*
 * Memory disk: files and directories as bytes, which know what a power loss may take.
 * Runs on:    one thread; for tests.
 * Invariants: a file's content exists twice: as the running system sees it, and as it is on stable
 *             storage; between the two lie the sectors written since the last sync, in order. Changes
 *             of a directory wait the same way for its sync.
 * Power loss: any subset of the unsynced sectors may be there, old or new each by itself; of a
 *             directory's unsynced changes any number of the first ones.
 * Not here:   operations and their failures (io_memory.h).
 */
#ifndef TUSK_BROKER_MEMORY_DISK_H
#define TUSK_BROKER_MEMORY_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SECTOR_BYTES = 512, /* what a device writes whole */
    MEMORY_NAME_BYTES = 64,
};

enum memory_loss {
    LOSE_UNSYNCED, /* everything that no sync covered */
    LOSE_NOTHING,
    LOSE_RANDOM, /* some of it, by the disk's random numbers */
};

struct sector_write {
    uint64_t sector;
    bool doomed; /* a sync of it failed: no later one makes it durable */
    uint8_t bytes[SECTOR_BYTES];
};

struct memory_entry {
    char name[MEMORY_NAME_BYTES];
    struct memory_node *node; /* of a change: NULL means the name went */
};

struct memory_names {
    struct memory_entry *entries;
    size_t count;
    size_t max;
};

struct memory_node {
    struct memory_node *next; /* all nodes of the disk */
    struct memory_node *copy; /* while the disk is cloned */
    bool directory;
    const void *locked_by;

    /* A file. */
    uint8_t *bytes;
    uint64_t size;
    uint8_t *durable;
    uint64_t durable_size;
    struct sector_write *writes;
    size_t writes_count;
    size_t writes_max;

    /* A directory. */
    struct memory_names names;
    struct memory_names durable_names;
    struct memory_names changes; /* unsynced, oldest first */
};

struct memory_disk {
    struct memory_node *root;
    struct memory_node *nodes;
    uint64_t random;     /* the state of its random numbers */
    uint64_t capacity;   /* bytes that all files together may have; 0: no limit */
    uint64_t operations; /* done so far, asynchronous or not */
    /* The operation with this number fails, and the ones behind it if it is sticky. 0: none. */
    uint64_t fail_at;
    int fail_error;
    bool fail_sticky;
};

struct memory_disk *memory_disk_new(uint64_t seed);
void memory_disk_free(struct memory_disk *disk);

/* A disk with the same content, durable or not, and random numbers of its own. */
struct memory_disk *memory_disk_clone(const struct memory_disk *disk, uint64_t seed);

/* After it the disk holds only what is durable. Nothing of it may be open. */
void memory_disk_power_off(struct memory_disk *disk, enum memory_loss loss);

/* The next operation but n fails with this negative errno; n = 0: the next one. */
void memory_disk_fail(struct memory_disk *disk, uint64_t n, int error, bool sticky);

uint64_t memory_disk_random(struct memory_disk *disk, uint64_t below);

/* By path from the root; NULL: there is no such file or directory. */
struct memory_node *memory_disk_find(struct memory_disk *disk, const char *path);

/* What io_memory.c does with nodes. 0 or a negative errno. */
struct memory_node *memory_node_new(struct memory_disk *disk, bool directory);
struct memory_node *memory_names_find(const struct memory_names *names, const char *name);
/* The directory now has `name` for node; NULL takes the name away. */
void memory_directory_set(struct memory_node *directory, const char *name,
                          struct memory_node *node);
int memory_file_resize(struct memory_disk *disk, struct memory_node *file, uint64_t size);
int memory_file_write(struct memory_disk *disk, struct memory_node *file, const void *bytes,
                      uint64_t count, uint64_t offset);
/* As if all that was written to [offset, offset + count) were durable. */
void memory_file_sync_range(struct memory_node *file, uint64_t offset, uint64_t count);
void memory_node_sync(struct memory_node *node);
/* What a failed sync leaves behind. */
void memory_node_doom(struct memory_node *node);

#endif
