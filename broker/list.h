/*
 * List: intrusive, doubly linked, circular. A node is in at most one list; an unlinked node points
 * to itself (list_node_init) or is zero.
 */
#ifndef TUSK_BROKER_LIST_H
#define TUSK_BROKER_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct list_node {
    struct list_node *previous;
    struct list_node *next;
};

struct list {
    struct list_node head;
};

#define list_entry(node, type, member) ((type *)((uintptr_t)(node)-offsetof(type, member)))

/* The body may unlink the node of this turn. */
#define list_each(node, list)                                                                      \
    for (struct list_node *node = (list)->head.next, *next_##node = node->next;                    \
         node != &(list)->head; node = next_##node, next_##node = node->next)

static inline void list_init(struct list *list)
{
    list->head.previous = &list->head;
    list->head.next = &list->head;
}

static inline bool list_empty(const struct list *list)
{
    return list->head.next == &list->head;
}

static inline bool list_linked(const struct list_node *node)
{
    return node->next != NULL && node->next != node;
}

static inline void list_push_back(struct list *list, struct list_node *node)
{
    node->previous = list->head.previous;
    node->next = &list->head;
    node->previous->next = node;
    list->head.previous = node;
}

static inline void list_push_front(struct list *list, struct list_node *node)
{
    node->previous = &list->head;
    node->next = list->head.next;
    node->next->previous = node;
    list->head.next = node;
}

static inline void list_insert_after(struct list_node *place, struct list_node *node)
{
    node->previous = place;
    node->next = place->next;
    place->next->previous = node;
    place->next = node;
}

/* Accepts a node that is in no list. */
static inline void list_remove(struct list_node *node)
{
    if (node->next != NULL) {
        node->previous->next = node->next;
        node->next->previous = node->previous;
    }
    node->previous = NULL;
    node->next = NULL;
}

static inline struct list_node *list_first(const struct list *list)
{
    return list_empty(list) ? NULL : list->head.next;
}

#endif
