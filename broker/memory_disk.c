/* Memory disk: see memory_disk.h. */
#include "broker/memory_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/ensure.h"

/* Tests need no answer to lack of memory. */
static void *must(void *memory)
{
    ensure(memory != NULL);
    return memory;
}

static void *grow(void *array, size_t *max, size_t count, size_t item_bytes)
{
    if (count < *max) {
        return array;
    }
    *max = *max == 0 ? 16 : *max * 2;
    return must(realloc(array, *max * item_bytes));
}

/* xorshift64*: any state but 0. */
uint64_t memory_disk_random(struct memory_disk *disk, uint64_t below)
{
    disk->random ^= disk->random >> 12;
    disk->random ^= disk->random << 25;
    disk->random ^= disk->random >> 27;
    return disk->random * UINT64_C(0x2545f4914f6cdd1d) % below;
}

struct memory_node *memory_node_new(struct memory_disk *disk, bool directory)
{
    struct memory_node *node = must(calloc(1, sizeof *node));
    node->directory = directory;
    node->next = disk->nodes;
    disk->nodes = node;
    return node;
}

static struct memory_disk *disk_empty(uint64_t seed)
{
    struct memory_disk *disk = must(calloc(1, sizeof *disk));
    disk->random = seed * 2 + 1;
    return disk;
}

struct memory_disk *memory_disk_new(uint64_t seed)
{
    struct memory_disk *disk = disk_empty(seed);
    disk->root = memory_node_new(disk, true);
    return disk;
}

void memory_disk_free(struct memory_disk *disk)
{
    for (struct memory_node *node = disk->nodes; node != NULL;) {
        struct memory_node *next = node->next;
        free(node->bytes);
        free(node->durable);
        free(node->writes);
        free(node->names.entries);
        free(node->durable_names.entries);
        free(node->changes.entries);
        free(node);
        node = next;
    }
    free(disk);
}

static void *copy_bytes(const void *bytes, size_t count)
{
    if (count == 0) {
        return NULL;
    }
    return memcpy(must(malloc(count)), bytes, count);
}

static struct memory_names names_copy(const struct memory_names *names)
{
    struct memory_names copy = {
        .entries = copy_bytes(names->entries, names->count * sizeof *names->entries),
        .count = names->count,
        .max = names->count,
    };
    return copy;
}

static void names_translate(struct memory_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        if (names->entries[i].node != NULL) {
            names->entries[i].node = names->entries[i].node->copy;
        }
    }
}

struct memory_disk *memory_disk_clone(const struct memory_disk *disk, uint64_t seed)
{
    struct memory_disk *clone = disk_empty(seed);
    clone->capacity = disk->capacity;
    for (struct memory_node *node = disk->nodes; node != NULL; node = node->next) {
        struct memory_node *copy = memory_node_new(clone, node->directory);
        node->copy = copy;
        copy->bytes = copy_bytes(node->bytes, node->size);
        copy->size = node->size;
        copy->durable = copy_bytes(node->durable, node->durable_size);
        copy->durable_size = node->durable_size;
        copy->writes = copy_bytes(node->writes, node->writes_count * sizeof *node->writes);
        copy->writes_count = node->writes_count;
        copy->writes_max = node->writes_count;
        copy->names = names_copy(&node->names);
        copy->durable_names = names_copy(&node->durable_names);
        copy->changes = names_copy(&node->changes);
    }
    clone->root = disk->root->copy;
    for (struct memory_node *node = clone->nodes; node != NULL; node = node->next) {
        names_translate(&node->names);
        names_translate(&node->durable_names);
        names_translate(&node->changes);
    }
    return clone;
}

/* Directories. */

struct memory_node *memory_names_find(const struct memory_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->entries[i].name, name) == 0) {
            return names->entries[i].node;
        }
    }
    return NULL;
}

static void names_append(struct memory_names *names, const char *name, struct memory_node *node)
{
    ensure(strlen(name) < MEMORY_NAME_BYTES);
    names->entries = grow(names->entries, &names->max, names->count, sizeof *names->entries);
    struct memory_entry *entry = &names->entries[names->count++];
    strcpy(entry->name, name);
    entry->node = node;
}

static void names_set(struct memory_names *names, const char *name, struct memory_node *node)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->entries[i].name, name) == 0) {
            names->entries[i] = names->entries[--names->count];
            break;
        }
    }
    if (node != NULL) {
        names_append(names, name, node);
    }
}

void memory_directory_set(struct memory_node *directory, const char *name, struct memory_node *node)
{
    names_set(&directory->names, name, node);
    names_append(&directory->changes, name, node);
}

struct memory_node *memory_disk_find(struct memory_disk *disk, const char *path)
{
    struct memory_node *node = disk->root;
    while (node != NULL && *path != '\0') {
        char name[MEMORY_NAME_BYTES];
        const size_t length = strcspn(path, "/");
        ensure(length < sizeof name);
        memcpy(name, path, length);
        name[length] = '\0';
        if (length != 0 && strcmp(name, ".") != 0) {
            node = node->directory ? memory_names_find(&node->names, name) : NULL;
        }
        path += path[length] == '/' ? length + 1 : length;
    }
    return node;
}

/* Files. */

static uint64_t disk_bytes(const struct memory_disk *disk)
{
    uint64_t bytes = 0;
    for (const struct memory_node *node = disk->nodes; node != NULL; node = node->next) {
        bytes += node->size;
    }
    return bytes;
}

static uint8_t *resized(uint8_t *bytes, uint64_t from, uint64_t to)
{
    uint8_t *result = must(realloc(bytes, to == 0 ? 1 : to));
    if (to > from) {
        memset(result + from, 0, to - from);
    }
    return result;
}

/* The new size itself needs no sync here: what lies behind the durable one reads as zeros anyway. */
int memory_file_resize(struct memory_disk *disk, struct memory_node *file, uint64_t size)
{
    if (size > file->size && disk->capacity != 0 &&
        disk_bytes(disk) + size - file->size > disk->capacity) {
        return -ENOSPC;
    }
    file->bytes = resized(file->bytes, file->size, size);
    file->size = size;
    return 0;
}

/* A sector of the running system's content, zeros behind the end. */
static void sector_read(const struct memory_node *file, uint64_t sector,
                        uint8_t bytes[SECTOR_BYTES])
{
    memset(bytes, 0, SECTOR_BYTES);
    const uint64_t offset = sector * SECTOR_BYTES;
    const uint64_t rest = file->size - offset;
    memcpy(bytes, file->bytes + offset, rest < SECTOR_BYTES ? rest : SECTOR_BYTES);
}

int memory_file_write(struct memory_disk *disk, struct memory_node *file, const void *bytes,
                      uint64_t count, uint64_t offset)
{
    if (offset + count > file->size) {
        const int result = memory_file_resize(disk, file, offset + count);
        if (result != 0) {
            return result;
        }
    }
    memcpy(file->bytes + offset, bytes, count);
    for (uint64_t sector = offset / SECTOR_BYTES; sector * SECTOR_BYTES < offset + count;
         sector++) {
        file->writes =
            grow(file->writes, &file->writes_max, file->writes_count, sizeof *file->writes);
        struct sector_write *write = &file->writes[file->writes_count++];
        write->sector = sector;
        write->doomed = false;
        sector_read(file, sector, write->bytes);
    }
    return 0;
}

static void sector_apply(struct memory_node *file, const struct sector_write *write)
{
    const uint64_t end = (write->sector + 1) * SECTOR_BYTES;
    if (end > file->durable_size) {
        file->durable = resized(file->durable, file->durable_size, end);
        file->durable_size = end;
    }
    memcpy(file->durable + end - SECTOR_BYTES, write->bytes, SECTOR_BYTES);
}

/* Makes the newest undoomed content of the sectors in [first, last] durable and forgets their
 * older writes. */
static void sync_sectors(struct memory_node *file, uint64_t first, uint64_t last)
{
    size_t kept = 0;
    for (size_t i = 0; i < file->writes_count; i++) {
        const struct sector_write *write = &file->writes[i];
        const bool inside = write->sector >= first && write->sector <= last;
        if (inside && !write->doomed) {
            sector_apply(file, write);
        } else {
            file->writes[kept++] = *write;
        }
    }
    file->writes_count = kept;
}

void memory_file_sync_range(struct memory_node *file, uint64_t offset, uint64_t count)
{
    sync_sectors(file, offset / SECTOR_BYTES, (offset + count - 1) / SECTOR_BYTES);
}

void memory_node_sync(struct memory_node *node)
{
    if (node->directory) {
        for (size_t i = 0; i < node->changes.count; i++) {
            names_set(&node->durable_names, node->changes.entries[i].name,
                      node->changes.entries[i].node);
        }
        node->changes.count = 0;
        return;
    }
    sync_sectors(node, 0, UINT64_MAX);
    node->durable = resized(node->durable, node->durable_size, node->size);
    node->durable_size = node->size;
}

void memory_node_doom(struct memory_node *node)
{
    for (size_t i = 0; i < node->writes_count; i++) {
        node->writes[i].doomed = true;
    }
}

static bool keeps(struct memory_disk *disk, enum memory_loss loss)
{
    return loss == LOSE_NOTHING || (loss == LOSE_RANDOM && memory_disk_random(disk, 2) == 0);
}

static void node_power_off(struct memory_disk *disk, struct memory_node *node,
                           enum memory_loss loss)
{
    node->locked_by = NULL;
    for (size_t i = 0; i < node->writes_count; i++) {
        if (keeps(disk, loss)) {
            sector_apply(node, &node->writes[i]);
        }
    }
    node->writes_count = 0;
    if (!node->directory && node->size > node->durable_size && keeps(disk, loss)) {
        node->durable = resized(node->durable, node->durable_size, node->size);
        node->durable_size = node->size;
    }
    free(node->bytes);
    node->bytes = copy_bytes(node->durable, node->durable_size);
    node->size = node->durable_size;

    size_t changes = loss == LOSE_NOTHING ? node->changes.count : 0;
    if (loss == LOSE_RANDOM) {
        changes = memory_disk_random(disk, node->changes.count + 1);
    }
    for (size_t i = 0; i < changes; i++) {
        names_set(&node->durable_names, node->changes.entries[i].name,
                  node->changes.entries[i].node);
    }
    node->changes.count = 0;
    free(node->names.entries);
    node->names = names_copy(&node->durable_names);
}

void memory_disk_power_off(struct memory_disk *disk, enum memory_loss loss)
{
    for (struct memory_node *node = disk->nodes; node != NULL; node = node->next) {
        node_power_off(disk, node, loss);
    }
    disk->fail_at = 0;
}

void memory_disk_fail(struct memory_disk *disk, uint64_t n, int error, bool sticky)
{
    disk->fail_at = disk->operations + 1 + n;
    disk->fail_error = error;
    disk->fail_sticky = sticky;
}
