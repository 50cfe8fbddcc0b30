/*
 * Topic name: what the topics of the demo are called.
 */
#ifndef TUSK_DEMO_TOPIC_NAME_H
#define TUSK_DEMO_TOPIC_NAME_H

#include <stdio.h>

enum { TOPIC_NAME_BYTES = 16 };

static inline void topic_name(char name[TOPIC_NAME_BYTES], unsigned index)
{
    snprintf(name, TOPIC_NAME_BYTES, "lines-%u", index % 1000);
}

#endif
