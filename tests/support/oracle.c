/*
 * Oracle: see oracle.h.
 * Runs on:    the checker.
 * Not here:   see oracle.h.
 */
#include "tests/support/oracle.h"

#include <stdlib.h>

#include "tests/support/check.h"
#include "tests/support/session.h"

struct oracle {
    struct diary *const *diaries;
    size_t count;
    uint32_t *next_n;     /* per diary: lowest n that may come next */
    unsigned char **seen; /* per diary and n: it is in the log */
};

static size_t diary_index(const struct oracle *oracle, uint32_t producer)
{
    for (size_t i = 0; i < oracle->count; i++) {
        if (oracle->diaries[i]->producer == producer) {
            return i;
        }
    }
    check_failed(__FILE__, __LINE__, "an entry of producer %u, which never was", producer);
}

/* One entry of the log, in the log's order. */
static void oracle_saw(struct oracle *oracle, const struct tusk_entry *entry)
{
    struct payload_id id;
    check_say(payload_verify(entry->data, entry->size, &id), "seq %llu has wrong bytes",
              (unsigned long long)entry->seq);
    const size_t index = diary_index(oracle, id.producer);
    const struct diary *diary = oracle->diaries[index];
    check_say(id.n < diary_intents(diary), "seq %llu: entry %u of producer %u was never submitted",
              (unsigned long long)entry->seq, id.n, id.producer);
    check_say(id.n >= oracle->next_n[index],
              "seq %llu: entry %u of producer %u is there twice or out of order (expected %u)",
              (unsigned long long)entry->seq, id.n, id.producer, oracle->next_n[index]);
    oracle->next_n[index] = id.n + 1;
    oracle->seen[index][id.n] = 1;
    const struct diary_append *append = &diary->appends[id.n];
    check_is(entry->size, append->size);
    if (append->state >= DIARY_COMMITTED) {
        check_say(append->seq == entry->seq,
                  "entry %u of producer %u was acknowledged as seq %llu and is %llu", id.n,
                  id.producer, (unsigned long long)append->seq, (unsigned long long)entry->seq);
    }
}

static bool was_given(const struct oracle *oracle, uint64_t seq)
{
    for (size_t i = 0; i < oracle->count; i++) {
        const struct diary *diary = oracle->diaries[i];
        const uint32_t readings = diary_readings(diary);
        for (uint32_t r = 0; r < readings; r++) {
            if (diary->read[r].seq == seq) {
                return true;
            }
        }
    }
    return false;
}

/* An acknowledged entry lies in the log at its seq, or was consumed and trimmed. */
static void append_check(const struct oracle *oracle, const struct oracle_report *report,
                         size_t index, uint32_t n)
{
    const struct diary *diary = oracle->diaries[index];
    const struct diary_append *append = &diary->appends[n];
    if (append->seq < report->first_seq) {
        check_say(was_given(oracle, append->seq), "seq %llu was trimmed and nobody was given it",
                  (unsigned long long)append->seq);
    } else {
        check_say(oracle->seen[index][n] != 0, "entry %u of producer %u (seq %llu) is lost", n,
                  diary->producer, (unsigned long long)append->seq);
    }
}

/* Entries acknowledged at the level are all there; of lesser ones those before the log's end. */
static uint64_t acked_check(const struct oracle *oracle, const struct oracle_report *report,
                            enum diary_state level)
{
    uint64_t acked = 0;
    for (size_t i = 0; i < oracle->count; i++) {
        const struct diary *diary = oracle->diaries[i];
        const uint32_t intents = diary_intents(diary);
        for (uint32_t n = 0; n < intents; n++) {
            const struct diary_append *append = &diary->appends[n];
            const bool bound = append->state >= level;
            check_say(!bound || append->seq < report->next_seq,
                      "entry %u of producer %u (state %u) was acknowledged as seq %llu; the log "
                      "ends at %llu",
                      n, diary->producer, append->state, (unsigned long long)append->seq,
                      (unsigned long long)report->next_seq);
            if (append->state >= DIARY_COMMITTED && append->seq < report->next_seq) {
                append_check(oracle, report, i, n);
            }
            acked += bound;
        }
    }
    return acked;
}

struct oracle_report oracle_check(struct tusk_topic *topic, struct diary *const diaries[],
                                  size_t count, enum diary_state level)
{
    struct oracle oracle = {.diaries = diaries, .count = count};
    oracle.next_n = calloc(count, sizeof *oracle.next_n);
    oracle.seen = calloc(count, sizeof *oracle.seen);
    check(oracle.next_n != NULL && oracle.seen != NULL);
    for (size_t i = 0; i < count; i++) {
        oracle.seen[i] = calloc(diary_intents(diaries[i]) + 1U, 1);
        check(oracle.seen[i] != NULL);
    }
    const struct tusk_topic_stat stat = info_of(topic);
    struct oracle_report report = {.first_seq = stat.first_seq, .next_seq = stat.next_seq};
    struct tusk_reader *reader = reader_from(topic, TUSK_FROM_SEQ, stat.first_seq);
    for (uint64_t seq = stat.first_seq; seq < stat.next_seq; seq++) {
        const struct tusk_entry entry = reader_take(reader);
        check_is(entry.seq, seq);
        oracle_saw(&oracle, &entry);
    }
    tusk_reader_close(reader);
    report.acked = acked_check(&oracle, &report, level);
    for (size_t i = 0; i < count; i++) {
        free(oracle.seen[i]);
    }
    free(oracle.seen);
    free(oracle.next_n);
    return report;
}

static int seq_compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

uint64_t oracle_check_cursor(struct diary *const diaries[], size_t count, uint64_t repeats_max)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += diary_readings(diaries[i]);
    }
    uint64_t *seqs = malloc((total + 1) * sizeof *seqs);
    check(seqs != NULL);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t readings = diary_readings(diaries[i]);
        for (uint32_t r = 0; r < readings; r++) {
            const struct diary_reading *reading = &diaries[i]->read[r];
            check_say(repeats_max > 0 || r == 0 || reading->seq > reading[-1].seq,
                      "reader %u was given seq %llu after %llu", diaries[i]->producer,
                      (unsigned long long)reading->seq, (unsigned long long)reading[-1].seq);
            seqs[used++] = reading->seq;
        }
    }
    qsort(seqs, used, sizeof *seqs, seq_compare);
    uint64_t repeats = 0;
    for (size_t i = 1; i < used; i++) {
        repeats += seqs[i] == seqs[i - 1];
        check_say(repeats <= repeats_max, "seq %llu was given twice", (unsigned long long)seqs[i]);
    }
    free(seqs);
    return total;
}
