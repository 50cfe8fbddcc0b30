/*
 * Topic admin: opening, closing, deleting, trimming and configuring topics on a client's request.
 * Runs on:    the engine of the store.
 * Trust:      names and option texts are copied out of the lane before they are looked at.
 */
#ifndef TUSK_BROKER_TOPIC_ADMIN_H
#define TUSK_BROKER_TOPIC_ADMIN_H

#include "broker/submit.h"

struct pending;

enum submit_outcome topic_admin_open(struct store *store, struct lane *lane,
                                     const struct submission *submission);
enum submit_outcome topic_admin_close(struct store *store, struct lane *lane,
                                      const struct submission *submission);
enum submit_outcome topic_admin_get(struct store *store, struct lane *lane,
                                    const struct submission *submission);

/* What the body of a TOPIC_SET asks for. */
struct topic_setting {
    bool own; /* false: back to the store's policy */
    struct retention_policy retention;
};

/* Reads it. 0, or -EINVAL: no such option, or not a value of it. */
int topic_setting_read(const struct lane *lane, const struct submission *submission,
                       struct topic_setting *setting);
void topic_admin_set(struct pending *pending, const struct topic_setting *setting);
void topic_admin_delete(struct pending *pending);

/* The client is going: gives all that it has open back. */
void topic_admin_release(struct store *store, struct client *client);

#endif
