/* Record join: see record_join.h. */
#include "broker/inspect/record_join.h"

#include <errno.h>
#include <string.h>

int record_join(struct record_join *join, const struct frame_view *frame, struct record *record)
{
    const unsigned flags = frame->header.flags;
    if (flags & FRAME_PAD) {
        return RECORD_JOIN_MORE;
    }
    if (flags & FRAME_FIRST) {
        join->open = true;
        join->size = 0;
        join->skip = flags & FRAME_LAST ? 0 : FRAGMENT_TOTAL_BYTES;
    }
    if (!join->open) {
        return RECORD_JOIN_MORE; /* its beginning was lost */
    }
    const size_t skip = join->skip < frame->header.size ? join->skip : frame->header.size;
    const size_t bytes = frame->header.size - skip;
    join->skip -= skip;
    if (bytes > sizeof join->bytes - join->size) {
        join->open = false;
        return -EBADMSG;
    }
    memcpy(join->bytes + join->size, frame->payload + skip, bytes);
    join->size += bytes;
    if (!(flags & FRAME_LAST)) {
        return RECORD_JOIN_MORE;
    }
    join->open = false;
    return record_decode(record, join->bytes, join->size);
}
