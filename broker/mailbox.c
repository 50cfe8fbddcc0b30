/* Mailbox: see mailbox.h. */
#include "broker/mailbox.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "shm/ensure.h"

int mailbox_init(struct mailbox *mailbox)
{
    *mailbox = (struct mailbox){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    mailbox->last_next = &mailbox->first;
    if (mailbox->fd < 0) {
        return -errno;
    }
    ensure(pthread_mutex_init(&mailbox->lock, NULL) == 0); /* cannot fail with default attributes */
    return 0;
}

void mailbox_deinit(struct mailbox *mailbox)
{
    if (mailbox->fd < 0) {
        return;
    }
    pthread_mutex_destroy(&mailbox->lock);
    close(mailbox->fd);
    *mailbox = (struct mailbox){.fd = -1};
}

void mailbox_post(struct mailbox *mailbox, struct mail *mail)
{
    const uint64_t one = 1;
    mail->next = NULL;
    pthread_mutex_lock(&mailbox->lock);
    const bool first = mailbox->first == NULL;
    *mailbox->last_next = mail;
    mailbox->last_next = &mail->next;
    atom_store_relaxed(&mailbox->pending, 1); /* a hint; the lock orders the mail */
    /* Rung under the lock: once its mail was taken, a poster no longer touches the mailbox. */
    if (first) {
        ensure(write(mailbox->fd, &one, sizeof one) == sizeof one);
    }
    pthread_mutex_unlock(&mailbox->lock);
}

struct mail *mailbox_take(struct mailbox *mailbox)
{
    uint64_t rings;
    /* Cleared before the look: mail posted after the look rings again. */
    ensure(read(mailbox->fd, &rings, sizeof rings) == sizeof rings || errno == EAGAIN);
    pthread_mutex_lock(&mailbox->lock);
    struct mail *taken = mailbox->first;
    mailbox->first = NULL;
    mailbox->last_next = &mailbox->first;
    atom_store_relaxed(&mailbox->pending, 0);
    pthread_mutex_unlock(&mailbox->lock);
    return taken;
}
