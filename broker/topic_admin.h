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
enum submit_outcome topic_admin_set(struct store *store, struct lane *lane,
                                    const struct submission *submission);
void topic_admin_delete(struct pending *pending);

/* The client is going: gives all that it has open back. */
void topic_admin_release(struct store *store, struct client *client);

#endif
