/* Ledger: see ledger.h. */
#include "shm/ledger.h"

#include <errno.h>

uint64_t ledger_bytes(uint64_t lanes_max)
{
    return align_up(sizeof(struct ledger_shm) + lanes_max * sizeof(struct lane_record_shm),
                    BLOCK_BYTES);
}

void ledger_format(struct ledger_shm *ledger, uint64_t lanes_max, uint64_t epoch)
{
    *ledger = (struct ledger_shm){
        .magic = LEDGER_MAGIC,
        .digest = layout_digest(),
        .bytes = ledger_bytes(lanes_max),
        .lanes_max = lanes_max,
        .epoch = epoch,
    };
}

int ledger_check(const struct ledger_shm *ledger, uint64_t bytes)
{
    if (bytes < sizeof *ledger || ledger->magic != LEDGER_MAGIC ||
        ledger->digest != layout_digest() || ledger->bytes != bytes ||
        ledger->lanes_max > bytes / sizeof(struct lane_record_shm) ||
        ledger_bytes(ledger->lanes_max) != bytes) {
        return -EPROTO;
    }
    return 0;
}

void intent_write(struct lane_record_shm *record, const struct intent *intent)
{
    fence_compiler(); /* [J1] frames and completions before the record */
    atom_store_relaxed(&record->intent_head, intent->head);
    atom_store_relaxed(&record->intent_cq_tail, intent->cq_tail);
    atom_store_relaxed(&record->intent_position, intent->position);
    atom_store_relaxed(&record->intent_first_seq, intent->first_seq);
    atom_store_relaxed(&record->intent_topic_count,
                       (uint64_t)intent->topic | (uint64_t)intent->count << 32);
    atom_store_relaxed(&record->intent_error,
                       (uint64_t)(uint32_t)intent->error | (uint64_t)intent->salt << 32);
    atom_store_relaxed(&record->intent_kind, intent->kind);
    atom_store_release(&record->intent_valid, INTENT_VALID); /* [J1] release */
    fence_compiler();                                        /* [J2] */
}

void intent_publish_stream(struct lane_record_shm *record, const struct intent *intent)
{
    if (intent->kind == INTENT_STREAM) {
        atom_store_relaxed(&record->stream_position, intent->position); /* ours alone: a ... */
        atom_store_relaxed(&record->stream_seq, intent->first_seq); /* ... redo stores it again */
        atom_store_relaxed(&record->stream_topic,
                           ((uint64_t)intent->topic + 1) | (uint64_t)intent->salt << 32);
    } else {
        atom_store_relaxed(&record->stream_topic, 0); /* as above */
    }
    fence_compiler(); /* [J3] */
}

void intent_finish(struct lane_record_shm *record, uint64_t head, uint64_t cq_tail)
{
    fence_compiler(); /* [J3] the topic, [J4] completions before the indices that cover them */
    atom_store_release(&record->head, head);
    atom_store_release(&record->cq_tail, cq_tail);
    atom_store_release(&record->intent_valid, INTENT_NONE); /* [J4] */
    fence_compiler();                                       /* [J5] */
}

enum intent_state intent_read(const struct lane_record_shm *record, struct intent *intent)
{
    const uint64_t state = atom_load_acquire(&record->intent_valid);             /* [J1] acquire */
    const uint64_t topic_count = atom_load_relaxed(&record->intent_topic_count); /* after it */
    intent->head = atom_load_relaxed(&record->intent_head);
    intent->cq_tail = atom_load_relaxed(&record->intent_cq_tail);
    intent->position = atom_load_relaxed(&record->intent_position);
    intent->first_seq = atom_load_relaxed(&record->intent_first_seq);
    intent->topic = (uint32_t)topic_count;
    intent->count = (uint32_t)(topic_count >> 32);
    const uint64_t error_salt = atom_load_relaxed(&record->intent_error);
    intent->error = (int32_t)(uint32_t)error_salt;
    intent->salt = (uint32_t)(error_salt >> 32);
    intent->kind = (enum intent_kind)atom_load_relaxed(&record->intent_kind);
    return (enum intent_state)state;
}

void intent_redo_topic(struct lane_record_shm *record, struct directory_shm *directory)
{
    struct intent intent;
    if (intent_read(record, &intent) != INTENT_VALID) {
        return;
    }
    if (intent.kind != INTENT_UNIT) {
        intent_publish_stream(record, &intent);
    }
    if (intent.kind != INTENT_STREAM && intent.count > 0 &&
        intent.topic < directory->header.topics_max) {
        struct topic_shm *topic = directory_topic(directory, intent.topic);
        const uint64_t next_seq = intent.first_seq + intent.count;
        if (atom_load_relaxed(&topic->tail_position) < intent.position) { /* sole writer */
            atom_store_release(&topic->tail_position, intent.position);   /* [T1] release */
        }
        if (atom_load_relaxed(&topic->next_seq) < next_seq) { /* sole writer */
            atom_store_release(&topic->next_seq, next_seq);   /* [T1] release */
        }
    }
    fence_compiler();                                          /* [J3] */
    atom_store_release(&record->intent_valid, INTENT_APPLIED); /* topic part done, never again */
}
