/*
 * I/O by helper threads: an engine submits, polls and sleeps at every chance while operations end on
 * other threads and another one rings sockets that it watches: each operation is done once, with its
 * bytes, and no sleep outlasts what it waits for. The first half of the time nobody rings, or the
 * rings would end sleeps that operations should.
 * Seen to fail, each as a hang: helpers_sleep() that does not look at what is done already, a bell
 * that is not rung, a sleep that leaves out the watches.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/fault.h"
#include "broker/io.h"
#include "shm/atom.h"
#include "tests/stress/stress.h"

enum { PLACES = 12, PLACE_BYTES = 16384, BELLS = 4, FILE_BYTES = 1 << 20 };

struct place {
    struct io_op op;
    bool busy;
    uint8_t value; /* what the file holds there */
    uint8_t *buffer;
    struct shared *shared;
};

struct bell {
    struct io_watch watch;
    int sockets[2];
    bool removed;
    struct shared *shared;
    struct atom heard; /* by the engine; the ringer waits for it before it rings again */
};

struct shared {
    enum io_backend backend;
    struct io *io;
    struct io_file *file;
    struct place places[PLACES];
    struct bell bells[BELLS];
    struct atom ringing; /* the second half */
    struct atom stop;
    uint64_t operations;
    uint64_t sleeps;
    uint64_t rings;
};

static void operation_done(struct io_op *op, int result)
{
    struct place *place = op->context;
    stress_check(result == 0, "an operation ended with %d", result);
    stress_check(place->busy, "an operation was done twice");
    if (op->kind == IO_READ) {
        for (unsigned i = 0; i < PLACE_BYTES; i += 509) {
            stress_check(place->buffer[i] == place->value, "read %u, expected %u", place->buffer[i],
                         place->value);
        }
    }
    place->busy = false;
    place->shared->operations++;
}

static void operation_begin(struct shared *shared, unsigned number, struct stress_dice *dice)
{
    static const enum io_kind kinds[] = {IO_WRITE, IO_WRITE, IO_READ, IO_READ, IO_SYNC};
    struct place *place = &shared->places[number];
    if (place->busy) {
        return;
    }
    place->op = (struct io_op){.kind = kinds[dice_roll(dice, 5)],
                               .dsync = dice_roll(dice, 16) == 0,
                               .file = shared->file,
                               .buffer = place->buffer,
                               .bytes = PLACE_BYTES,
                               .offset = (uint64_t)number * PLACE_BYTES,
                               .done = operation_done,
                               .context = place};
    if (place->op.kind == IO_WRITE) {
        place->value++;
        memset(place->buffer, place->value, PLACE_BYTES);
    } else if (place->op.kind == IO_SYNC && dice_roll(dice, 8) != 0) {
        return; /* most of the time would be spent there */
    }
    place->busy = true;
    io_submit(shared->io, &place->op);
}

static void bell_heard(struct io_watch *watch)
{
    struct bell *bell = watch->context;
    char bytes[16];
    ssize_t count;
    while ((count = recv(watch->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
        atom_add_relaxed(&bell->heard, (uint64_t)count); /* the engine alone; told by its socket */
        bell->shared->rings += (uint64_t)count;
    }
}

static void bell_removed(struct io_watch *watch)
{
    struct bell *bell = watch->context;
    bell->removed = true;
}

/* Rings a bell, waits until it is heard, and so on. */
static void *ring(void *context)
{
    struct shared *shared = context;
    struct stress_dice dice = {0};
    uint64_t rung[BELLS] = {0};
    while (atom_load_relaxed(&shared->ringing) == 0) { /* a moment later is soon enough */
        usleep(1000);
    }
    while (atom_load_relaxed(&shared->stop) == 0) { /* a moment later is soon enough */
        const uint32_t number = dice_roll(&dice, BELLS);
        struct bell *bell = &shared->bells[number];
        unsigned spins = 0;
        stress_check(send(bell->sockets[1], "x", 1, 0) == 1, "send: %s", strerror(errno));
        rung[number]++;
        while (atom_load_relaxed(&bell->heard) < rung[number] && /* only grows */
               atom_load_relaxed(&shared->stop) == 0) {
            stress_pause(&spins);
        }
        dice_delay(&dice);
    }
    /* The engine may be asleep, and is to see that it ends. */
    stress_check(send(shared->bells[0].sockets[1], "x", 1, 0) == 1, "send: %s", strerror(errno));
    return NULL;
}

static void *serve(void *context)
{
    struct shared *shared = context;
    struct stress_dice dice = {0};
    const uint64_t half_ms = stress_now_ms() + STRESS_MS / 2;
    bool ringing = false;
    while (!ringing || stress_now_ms() < half_ms + STRESS_MS / 2) {
        if (!ringing && stress_now_ms() >= half_ms) {
            ringing = true;
            atom_store_relaxed(&shared->ringing, 1); /* alone */
        }
        for (uint32_t i = dice_roll(&dice, 4); i > 0; i--) {
            operation_begin(shared, dice_roll(&dice, PLACES), &dice);
        }
        /* For ever: what is in flight, or the other thread, must end it. */
        if ((ringing || io_in_flight(shared->io) > 0) && dice_roll(&dice, 2) == 0) {
            stress_check(io_wait(shared->io, IO_FOREVER) >= 0, "waiting failed");
            shared->sleeps++;
        } else {
            (void)io_poll(shared->io);
        }
        dice_delay(&dice);
    }
    atom_store_relaxed(&shared->stop, 1); /* alone */
    while (io_in_flight(shared->io) > 0) {
        stress_check(io_wait(shared->io, IO_FOREVER) >= 0, "waiting failed");
    }
    return NULL;
}

static void bells_remove(struct shared *shared)
{
    for (unsigned i = 0; i < BELLS; i++) {
        io_unwatch(shared->io, &shared->bells[i].watch);
    }
    for (unsigned i = 0; i < BELLS; i++) {
        while (!shared->bells[i].removed) {
            stress_check(io_wait(shared->io, IO_FOREVER) >= 0, "waiting failed");
        }
        close(shared->bells[i].sockets[0]);
        close(shared->bells[i].sockets[1]);
    }
}

static void shared_open(struct shared *shared, struct io_file *dir)
{
    struct fault fault = {0};
    stress_check(io_open(&shared->io, shared->backend, IO_DIRECT_AUTO, &fault) == 0, "%s",
                 fault.text);
    stress_check(io_start(shared->io) == 0, "no start");
    stress_check(
        io_file_open(shared->io, dir, "file", IO_OPEN_CREATE | IO_OPEN_DIRECT, &shared->file) == 0,
        "no file");
    struct io_op allocate = {.kind = IO_ALLOCATE, .file = shared->file, .bytes = FILE_BYTES};
    stress_check(io_now(shared->io, &allocate) == 0, "no space");
    for (unsigned i = 0; i < PLACES; i++) {
        shared->places[i] = (struct place){.buffer = io_buffer_new(PLACE_BYTES), .shared = shared};
    }
    for (unsigned i = 0; i < BELLS; i++) {
        struct bell *bell = &shared->bells[i];
        stress_check(socketpair(AF_UNIX, SOCK_STREAM, 0, bell->sockets) == 0, "no sockets");
        bell->shared = shared;
        bell->watch = (struct io_watch){
            .fd = bell->sockets[0], .fn = bell_heard, .removed = bell_removed, .context = bell};
        io_watch(shared->io, &bell->watch);
    }
}

static void backend_run(const char *path, enum io_backend backend)
{
    struct shared shared = {.backend = backend};
    struct io *opener = NULL;
    struct io_file *dir = NULL;
    struct fault fault = {0};
    stress_check(io_open(&opener, backend, IO_DIRECT_AUTO, &fault) == 0, "%s", fault.text);
    stress_check(io_dir_open(opener, NULL, path, &dir) == 0, "no directory");
    shared_open(&shared, dir);
    stress_run(serve, ring, 1, &shared);
    bells_remove(&shared);
    printf("%s: operations=%lu sleeps=%lu rings=%lu\n", shared.io->ops->name, shared.operations,
           shared.sleeps, shared.rings);
    stress_check(shared.operations > 100 && shared.sleeps > 100 && shared.rings > 100,
                 "too little happened");
    io_file_close(shared.io, shared.file);
    stress_check(io_unlink(opener, dir, "file") == 0, "no unlink");
    io_file_close(opener, dir);
    io_close(opener);
    io_close(shared.io);
    for (unsigned i = 0; i < PLACES; i++) {
        free(shared.places[i].buffer);
    }
}

int main(void)
{
    char path[] = "/var/tmp/tusk-stress-io-XXXXXX";
    stress_check(mkdtemp(path) != NULL, "no directory: %s", strerror(errno));
    backend_run(path, IO_BACKEND_PWRITE);
    backend_run(path, IO_BACKEND_MMAP);
    stress_check(rmdir(path) == 0, "the directory is not empty");
    return 0;
}
