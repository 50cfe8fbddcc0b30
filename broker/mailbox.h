/*
 * Mailbox: where one thread of the broker takes what the others post to it, in order.
 * Runs on:    post on any thread; take, fd and pending on the one thread that owns the mailbox.
 * Invariants: mail is taken in the order in which it was posted, each piece once; the fd is readable
 *             whenever mail waits (and, harmlessly, now and then when none does); posting neither
 *             allocates nor fails nor waits for the owner.
 * Not here:   what mail means and to whom its subject belongs (mail.h).
 */
#ifndef TUSK_BROKER_MAILBOX_H
#define TUSK_BROKER_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>

#include "broker/mail.h"
#include "shm/atom.h"

struct mailbox {
    pthread_mutex_t lock;
    struct mail *first;
    struct mail **last_next; /* where the next piece of mail is hung */
    struct atom pending;     /* 1 while mail waits; written under the lock */
    int fd;                  /* eventfd */
};

/* 0 or -errno. */
int mailbox_init(struct mailbox *mailbox);

/* Accepts a mailbox whose init failed. Mail that still waits is its poster's affair. */
void mailbox_deinit(struct mailbox *mailbox);

/* Hands over mail, whose kind and subject are set; it may be posted again once it was taken. */
void mailbox_post(struct mailbox *mailbox, struct mail *mail);

/* All mail that waits, oldest first, linked by next; NULL when there is none. Makes the fd
 * unreadable until the next post. Read a piece's next before acting on it: its subject may go. */
struct mail *mailbox_take(struct mailbox *mailbox);

/* Readable when mail waits; for poll, epoll or a poll request of a ring. Stays the mailbox's. */
static inline int mailbox_fd(const struct mailbox *mailbox)
{
    return mailbox->fd;
}

/* For a thread that polls. May be stale, which the next look makes good: whoever is about to sleep
 * on the fd needs no such look, and mailbox_take synchronises. */
static inline bool mailbox_pending(const struct mailbox *mailbox)
{
    return atom_load_relaxed(&mailbox->pending) != 0;
}

#endif
