/*
 * Payload: see payload.h.
 * Runs on:    anywhere.
 * Not here:   see payload.h.
 */
#include "tests/support/payload.h"

#include <string.h>

/* splitmix64's finaliser */
uint64_t payload_mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t payload_word(const struct payload_id *id, size_t size, size_t index)
{
    const uint64_t key = (uint64_t)id->producer << 32 | id->n;
    return payload_mix(key ^ payload_mix(size) ^ (uint64_t)index * UINT64_C(0x2545f4914f6cdd1d));
}

void payload_fill(void *data, size_t size, uint32_t producer, uint32_t n)
{
    const struct payload_id id = {.producer = producer, .n = n};
    const uint64_t total = size;
    unsigned char *bytes = data;
    memcpy(bytes, &id, sizeof id);
    memcpy(bytes + sizeof id, &total, sizeof total);
    for (size_t at = PAYLOAD_BYTES_MIN; at < size; at += sizeof total) {
        const uint64_t word = payload_word(&id, size, at);
        memcpy(bytes + at, &word, size - at < sizeof word ? size - at : sizeof word);
    }
}

bool payload_verify(const void *data, size_t size, struct payload_id *id)
{
    const unsigned char *bytes = data;
    uint64_t total = 0;
    if (size < PAYLOAD_BYTES_MIN) {
        return false;
    }
    memcpy(id, bytes, sizeof *id);
    memcpy(&total, bytes + sizeof *id, sizeof total);
    bool right = total == size;
    for (size_t at = PAYLOAD_BYTES_MIN; right && at < size; at += sizeof total) {
        const uint64_t word = payload_word(id, size, at);
        right = memcmp(bytes + at, &word, size - at < sizeof word ? size - at : sizeof word) == 0;
    }
    return right;
}

size_t payload_size(uint32_t producer, uint32_t n, size_t min, size_t max)
{
    return min + payload_mix((uint64_t)producer << 32 | n) % (max - min + 1);
}
