/* Layout: see layout.h. */
#include "shm/layout.h"

#include "shm/control.h"
#include "shm/directory.h"
#include "shm/frame.h"
#include "shm/lane.h"
#include "shm/ledger.h"
#include "shm/pins.h"
#include "shm/submission.h"

#define FIELD(type, member) offsetof(struct type, member), sizeof(((struct type *)0)->member)

uint64_t layout_digest(void)
{
    static const uint64_t shape[] = {
        LAYOUT_VERSION,
        WRITER_STRIDE,
        CQ_SLOTS,
        CHUNK_MAP_ENTRIES,
        PINS_MAX,
        CHUNK_UNIT_BITS,
        COUNTERS_MAX,
        SMALL_CHUNKS,
        FRAME_ALIGNMENT,
        SUBMISSION_ALIGNMENT,
        BATCH_ITEM_ALIGNMENT,
        CHUNK_FORMAT_VERSION,
        CONTROL_VERSION,
        sizeof(struct frame_header),
        FIELD(frame_header, seq),
        FIELD(frame_header, flags),
        FIELD(frame_header, salt),
        sizeof(struct chunk_header),
        FIELD(chunk_header, generation),
        FIELD(chunk_header, base_seq),
        sizeof(struct submission_shm),
        FIELD(submission_shm, user_data),
        FIELD(submission_shm, arg),
        sizeof(struct claim_request_shm),
        sizeof(struct completion_shm),
        FIELD(completion_shm, error),
        FIELD(completion_shm, value),
        sizeof(struct lane_shm),
        FIELD(lane_shm, sq_tail),
        FIELD(lane_shm, waiting),
        FIELD(lane_shm, cq_tail),
        FIELD(lane_shm, parked),
        sizeof(struct directory_shm),
        FIELD(directory_shm, durable_flush),
        FIELD(directory_shm, state),
        sizeof(struct topic_shm),
        FIELD(topic_shm, durable_position),
        FIELD(topic_shm, first_position),
        FIELD(topic_shm, state),
        FIELD(topic_shm, chunk_map),
        FIELD(topic_shm, name),
        sizeof(struct counter_shm),
        sizeof(struct pins_shm),
        sizeof(struct lane_record_shm),
        FIELD(lane_record_shm, intent_valid),
        sizeof(struct ledger_shm),
    };
    const unsigned char *byte = (const unsigned char *)shape;
    uint64_t digest = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < sizeof shape; i++) {
        digest = (digest ^ byte[i]) * UINT64_C(0x100000001b3);
    }
    return digest;
}
