/*
 * Control loop: what the control thread sleeps on.
 * Runs on:    one thread; adding and removing also before that thread starts and after it ended.
 * Invariants: one step handles at most one source, so that its handler may remove and free any
 *             source, its own included; sources take turns.
 * Not here:   engines, which sleep on their own rings (io.h).
 */
#ifndef TUSK_BROKER_CONTROL_LOOP_H
#define TUSK_BROKER_CONTROL_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct control_loop {
    int epoll;
};

/* Embedded in what it belongs to. Zero, but for fn, until it is added. */
struct control_source {
    int fd;
    /* The fd is readable, has hung up or failed: called again as long as that is so. */
    void (*fn)(struct control_source *source);
    bool added;
};

/* 0 or -errno. */
int control_loop_init(struct control_loop *loop);
void control_loop_deinit(struct control_loop *loop);

/* The fd stays the caller's. 0 or -errno. */
int control_loop_add(struct control_loop *loop, struct control_source *source, int fd);

/* To be called before the fd is closed; accepts a source that is not added. */
void control_loop_remove(struct control_loop *loop, struct control_source *source);

/* Sleeps until a source is ready, at most timeout_ms (-1: for ever), and handles it: 1, or 0 when
 * none was. */
int control_loop_step(struct control_loop *loop, int timeout_ms);

#endif
