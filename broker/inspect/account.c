/* Account: see account.h. */
#include "broker/inspect/account.h"

#include <stddef.h>

#include "shm/ensure.h"

const char *byte_class_name(enum byte_class what)
{
    static const char *const names[BYTE_CLASSES] = {
        [BYTES_SUPERBLOCK] = "superblock",
        [BYTES_NAMESPACE] = "namespace",
        [BYTES_SEGMENT_HEADER] = "segment-headers",
        [BYTES_CHUNK_HEADER] = "chunk-headers",
        [BYTES_FRAME_HEADER] = "frame-headers",
        [BYTES_PAYLOAD] = "payload",
        [BYTES_DAMAGED] = "damaged",
        [BYTES_PAD] = "pad",
        [BYTES_ALIGNMENT] = "alignment",
        [BYTES_TRIMMED] = "trimmed",
        [BYTES_REST] = "rest",
        [BYTES_BEHIND_TAIL] = "behind-tail",
        [BYTES_RESERVED] = "reserved",
        [BYTES_FREE_ZERO] = "free",
        [BYTES_FREE_USED] = "free-used",
        [BYTES_EXCESS] = "excess",
        [BYTES_UNASSIGNED] = "unassigned",
        [BYTES_OTHER_FILE] = "other-files",
    };
    return names[what];
}

bool byte_class_dead(enum byte_class what)
{
    switch (what) {
    case BYTES_PAD:
    case BYTES_ALIGNMENT:
    case BYTES_TRIMMED:
    case BYTES_REST:
    case BYTES_BEHIND_TAIL:
    case BYTES_RESERVED:
    case BYTES_FREE_ZERO:
    case BYTES_FREE_USED:
    case BYTES_EXCESS:
    case BYTES_OTHER_FILE:
        return true;
    case BYTES_SUPERBLOCK:
    case BYTES_NAMESPACE:
    case BYTES_SEGMENT_HEADER:
    case BYTES_CHUNK_HEADER:
    case BYTES_FRAME_HEADER:
    case BYTES_PAYLOAD:
    case BYTES_DAMAGED:
    case BYTES_UNASSIGNED:
        break;
    }
    return false;
}

static void pending_tell(struct account *account)
{
    if (account->pending.bytes != 0 && account->range_fn != NULL) {
        account->range_fn(account->context, account->file, &account->pending);
    }
    account->pending.bytes = 0;
}

void account_file_begin(struct account *account, const char *file, uint64_t bytes)
{
    account->file = file;
    account->file_bytes = bytes;
    account->told = 0;
    account->files++;
    account->files_bytes += bytes;
}

static bool continues(const struct byte_range *before, const struct byte_range *range)
{
    return before->bytes != 0 && before->what == range->what &&
           before->in_topic == range->in_topic && before->topic_id == range->topic_id &&
           before->chunk_no == range->chunk_no;
}

void account_add(struct account *account, const struct byte_range *range)
{
    ensure(range->offset >= account->told || range->bytes == 0);
    const uint64_t left =
        range->offset < account->file_bytes ? account->file_bytes - range->offset : 0;
    const uint64_t bytes = range->bytes < left ? range->bytes : left;
    if (bytes == 0) {
        return;
    }
    ensure(range->offset == account->told);
    account->told += bytes;
    account->bytes[range->what] += bytes;
    if (account->range_fn == NULL) {
        return;
    }
    if (continues(&account->pending, range)) {
        account->pending.bytes += bytes;
        return;
    }
    pending_tell(account);
    account->pending = *range;
    account->pending.bytes = bytes;
}

void account_file_end(struct account *account)
{
    pending_tell(account);
    ensure(account->told == account->file_bytes);
    uint64_t sum = 0;
    for (unsigned what = 0; what < BYTE_CLASSES; what++) {
        sum += account->bytes[what];
    }
    ensure(sum == account->files_bytes);
}
