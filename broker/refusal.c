/* Refusal: see refusal.h. */
#include "broker/refusal.h"

#include <errno.h>
#include <stdlib.h>

struct refusal {
    struct list_node refusals; /* in lane.refusals */
    uint32_t topic;
    uint32_t incarnation;
};

static struct refusal *refusal_find(const struct lane *lane, const struct submission *submission)
{
    list_each(node, &lane->refusals)
    {
        struct refusal *refusal = list_entry(node, struct refusal, refusals);
        if (refusal->topic == submission->topic &&
            refusal->incarnation == submission->incarnation) {
            return refusal;
        }
    }
    return NULL;
}

bool refusal_stands(const struct lane *lane, const struct submission *submission)
{
    return refusal_find(lane, submission) != NULL;
}

int refusal_begin(struct lane *lane, const struct submission *submission)
{
    struct refusal *refusal = calloc(1, sizeof *refusal);
    if (refusal == NULL) {
        return -ENOMEM;
    }
    refusal->topic = submission->topic;
    refusal->incarnation = submission->incarnation;
    list_push_back(&lane->refusals, &refusal->refusals);
    return 0;
}

static void refusal_free(struct refusal *refusal)
{
    list_remove(&refusal->refusals);
    free(refusal);
}

void refusal_end(struct lane *lane, const struct submission *submission)
{
    struct refusal *refusal = refusal_find(lane, submission);
    if (refusal != NULL) {
        refusal_free(refusal);
    }
}

void refusals_free(struct lane *lane)
{
    list_each(node, &lane->refusals)
    {
        refusal_free(list_entry(node, struct refusal, refusals));
    }
}
