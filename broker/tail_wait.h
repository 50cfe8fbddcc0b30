/*
 * Tail wait: readers that sleep until a topic's tail, or its durable watermark, passes a seq.
 * Runs on:    the engine of the store.
 */
#ifndef TUSK_BROKER_TAIL_WAIT_H
#define TUSK_BROKER_TAIL_WAIT_H

struct pending;
struct topic;

/* A WAIT_TAIL: completes at once if there is what it waits for. */
void tail_wait(struct pending *pending);

/* The topic's tail, watermark or first entry moved, or the store was fenced: completes the waits that
 * this ends, those for something durable with -EIO after a fence. */
void tail_wait_look(struct topic *topic);

/* The schedule has changed, and with it what readers wait for: ends the waits with -ECANCELED. */
void tail_wait_renew(struct topic *topic);

/* The topic was deleted: ends its waits with -ESTALE. */
void tail_wait_delete(struct topic *topic);

#endif
