/*
 * Lane: a lane is a sealed memfd of one exact shape, whose SQ lies twice in a row in memory, and
 * anything else is refused; both rings keep order and content over many turns of their indices.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/lane.h"
#include "tests/unit/maps.h"

enum { LANE_ID = 77 };

static int lane_fd;
static struct lane_map client;
static struct lane_map engine;

static void set_up(void)
{
    lane_fd = lane_create(LANE_ID, SQ_BYTES_MIN);
    cr_assert_geq(lane_fd, 0);
    cr_assert_eq(lane_open(&client, lane_fd), 0);
    cr_assert_eq(lane_open(&engine, lane_fd), 0);
}

static void tear_down(void)
{
    lane_close(&client);
    lane_close(&engine);
    close(lane_fd);
}

TestSuite(shm_lane, .init = set_up, .fini = tear_down);

Test(shm_lane, refuses_sizes)
{
    const uint64_t sizes[] = {0,         1, SQ_BYTES_MIN / 2, SQ_BYTES_MIN + 4096, 2 * SQ_BYTES_MAX,
                              UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        cr_assert_eq(lane_create(1, sizes[i]), -EINVAL, "%lu bytes", sizes[i]);
    }
}

Test(shm_lane, accepts_sizes)
{
    const uint64_t sizes[] = {SQ_BYTES_MIN, SQ_BYTES_DEFAULT, SQ_BYTES_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const int fd = lane_create(1, sizes[i]);
        struct lane_map map;
        cr_assert_geq(fd, 0);
        cr_assert_eq(lane_open(&map, fd), 0);
        cr_assert_eq(map.sq_bytes, sizes[i]);
        cr_assert_eq(map.cq_slots, CQ_SLOTS);
        lane_close(&map);
        close(fd);
    }
}

Test(shm_lane, the_engine_maps_little_twice)
{
    struct lane_map map;
    cr_assert_eq(lane_open_engine(&map, lane_fd), 0);
    cr_assert_eq(map.mirror_bytes, SQ_BYTES_MIN / LANE_MIRROR_PART);
    cr_assert_eq(lane_engine_piece(&map, 0), SQ_BYTES_MIN + map.mirror_bytes);
    cr_assert_eq(lane_engine_piece(&map, 3 * SQ_BYTES_MIN - 16), 16 + map.mirror_bytes);
    const uint64_t piece = lane_engine_piece(&map, SQ_BYTES_MIN - 16);
    unsigned char *last = lane_at(&map, SQ_BYTES_MIN - 16);
    last[16] = 1;
    last[piece - 1] = 2;
    cr_assert_eq(*(unsigned char *)lane_at(&client, 0), 1);
    cr_assert_eq(*(unsigned char *)lane_at(&client, map.mirror_bytes - 1), 2);
    lane_close(&map);
}

Test(shm_lane, cannot_change_its_size)
{
    struct stat status;
    cr_assert_eq(fstat(lane_fd, &status), 0);
    cr_assert_neq(ftruncate(lane_fd, status.st_size - 1), 0);
    cr_assert_eq(errno, EPERM);
    cr_assert_neq(ftruncate(lane_fd, status.st_size + 1), 0);
    cr_assert_eq(errno, EPERM);
    cr_assert_neq(fcntl(lane_fd, F_ADD_SEALS, F_SEAL_WRITE), 0, "the set of seals is sealed");
    cr_assert_geq((uint64_t)status.st_blocks * 512, (uint64_t)status.st_size, "not all allocated");
    cr_assert_neq(fcntl(lane_fd, F_GETFD) & FD_CLOEXEC, 0);
}

Test(shm_lane, begins_as_nothing)
{
    cr_assert_eq(client.shm->header.magic, LANE_MAGIC);
    cr_assert_eq(client.shm->header.lane_id, LANE_ID);
    cr_assert_eq(client.shm->header.digest, layout_digest());
    const unsigned char *bytes = (const unsigned char *)client.shm;
    for (uint64_t i = sizeof client.shm->header; i < client.shm->header.bytes; i++) {
        cr_assert_eq(bytes[i], 0);
    }
}

Test(shm_lane, no_submission_wraps)
{
    unsigned char *last = lane_at(&client, SQ_BYTES_MIN - 1);
    last[0] = 1;
    last[1] = 2;
    cr_assert_eq(*(unsigned char *)lane_at(&client, 0), 2, "the second half is the first again");
    unsigned char *middle = lane_at(&client, SQ_BYTES_MIN / 2);
    memset(middle, 0x5a, SQ_BYTES_MIN); /* as long as the ring, from its middle */
    for (uint64_t i = 0; i < SQ_BYTES_MIN; i++) {
        cr_assert_eq(*(unsigned char *)lane_at(&engine, i), 0x5a);
    }
    cr_assert_eq(client.shm->header.magic, LANE_MAGIC, "written beyond the ring");
    cr_assert_eq(lane_at(&client, 3 * SQ_BYTES_MIN + 64), lane_at(&client, 64));
}

/* Submits one more, with a body that its number tells, if there is room. */
static bool submit_next(uint64_t number, uint64_t *tail)
{
    const uint64_t body = number * 37 % 3000;
    if (*tail + submission_bytes(body) - lane_room(&client) > SQ_BYTES_MIN) {
        return false;
    }
    const struct submission_shm header = {
        .bytes = (uint32_t)body, .kind = SUBMIT_APPEND, .arg = number};
    unsigned char *at = lane_at(&client, *tail);
    memcpy(at, &header, sizeof header);
    memset(at + sizeof header, (int)(number & 0xff), body);
    *tail += submission_bytes(body);
    lane_publish(&client, *tail);
    return true;
}

static void take_next(uint64_t number, uint64_t *head)
{
    const struct submission copy = submission_copy(&engine, *head);
    cr_assert_eq(copy.arg, number);
    cr_assert_eq(copy.bytes, number * 37 % 3000);
    const unsigned char *at = lane_at(&engine, *head + SUBMISSION_HEADER_BYTES);
    for (uint64_t i = 0; i < copy.bytes; i++) {
        cr_assert_eq(at[i], number & 0xff);
    }
    *head += submission_bytes(copy.bytes);
}

/* The ring is filled to its last byte and emptied in turn, through two mappings. */
Test(shm_lane, submissions_arrive_over_many_turns)
{
    uint64_t head = 0;
    uint64_t tail = 0;
    uint64_t sent = 0;
    uint64_t taken = 0;
    while (taken < 20000) {
        while (submit_next(sent, &tail)) {
            sent++;
        }
        while (head < lane_engine_tail(&engine)) {
            take_next(taken++, &head);
        }
        lane_engine_publish(&engine, head, 0);
    }
    cr_assert_gt(head, 100 * SQ_BYTES_MIN);
}

Test(shm_lane, completions_arrive_over_many_turns)
{
    uint64_t posted = 0;
    for (uint64_t reaped = 0; reaped < 3 * CQ_SLOTS + 5; reaped++) {
        while (posted - lane_engine_cq_head(&engine) < CQ_SLOTS) {
            const struct completion_shm completion = {
                .user_data = posted, .seq = ~posted, .error = -(int)(posted % 100), .value = 3};
            lane_engine_complete(&engine, posted++, &completion);
        }
        lane_engine_publish(&engine, 0, posted);
        cr_assert_eq(lane_completions(&client), posted);
        const struct completion_shm *completion = lane_completion(&client, reaped);
        cr_assert_eq(completion->user_data, reaped);
        cr_assert_eq(completion->seq, ~reaped);
        cr_assert_eq(completion->error, -(int)(reaped % 100));
        cr_assert_eq(completion->value, 3);
        lane_reap_to(&client, reaped + 1);
    }
}

Test(shm_lane, publishes_both_indices)
{
    lane_engine_publish(&engine, 4096, 17);
    cr_assert_eq(lane_room(&client), 4096);
    cr_assert_eq(lane_completions(&client), 17);
}

/* A memfd with this header, size and seals. */
static int forged(const struct lane_header_shm *header, uint64_t bytes, int seals)
{
    const int fd = memfd_create("forged", MFD_ALLOW_SEALING);
    cr_assert_geq(fd, 0);
    cr_assert_eq(ftruncate(fd, (off_t)bytes), 0);
    cr_assert_eq(pwrite(fd, header, sizeof *header, 0), (ssize_t)sizeof *header);
    cr_assert_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void refuse_and_close(int fd, const char *what)
{
    struct lane_map map = {0};
    const unsigned maps = maps_of(MAPS_LANE);
    cr_assert_eq(lane_open(&map, fd), -EPROTO, "%s", what);
    cr_assert_null(map.shm);
    cr_assert_eq(maps_of(MAPS_LANE), maps, "%s: left a mapping", what);
    close(fd);
}

Test(shm_lane, refuses_other_shapes)
{
    enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };
    const struct lane_header_shm good = client.shm->header;
    struct lane_map map;
    const int same = forged(&good, good.bytes, SEALS);
    cr_assert_eq(lane_open(&map, same), 0, "what is damaged below would be accepted");
    lane_close(&map);
    close(same);

    refuse_and_close(forged(&good, good.bytes, F_SEAL_SHRINK | F_SEAL_SEAL), "can grow");
    refuse_and_close(forged(&good, good.bytes, F_SEAL_GROW | F_SEAL_SEAL), "can shrink");
    refuse_and_close(forged(&good, good.bytes + 4096, SEALS), "is too large");
    refuse_and_close(forged(&good, good.bytes - 4096, SEALS), "is too small");
    refuse_and_close(forged(&good, sizeof good - 8, SEALS & ~F_SEAL_SHRINK), "has no header");

    struct lane_header_shm bad;
    uint64_t *words[] = {&bad.magic,    &bad.digest,    &bad.sq_bytes, &bad.sq_offset,
                         &bad.cq_slots, &bad.cq_offset, &bad.bytes};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        const uint64_t changes[] = {0, 1, 4096, UINT64_C(1) << 63};
        for (size_t j = 0; j < sizeof changes / sizeof changes[0]; j++) {
            bad = good;
            *words[i] = changes[j] == 0 ? 0 : *words[i] + changes[j];
            refuse_and_close(forged(&bad, good.bytes, SEALS), "has a word changed");
        }
    }
}

Test(shm_lane, refuses_what_is_no_memfd)
{
    const int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    refuse_and_close(fd, "is a device");
    int pipes[2];
    cr_assert_eq(pipe(pipes), 0);
    refuse_and_close(pipes[0], "is a pipe");
    close(pipes[1]);
    struct lane_map map;
    cr_assert_eq(lane_open(&map, -1), -EPROTO);
}

Test(shm_lane, close_gives_everything_back)
{
    struct lane_map map;
    const unsigned before = maps_of(MAPS_LANE);
    cr_assert_eq(lane_open(&map, lane_fd), 0);
    cr_assert_gt(maps_of(MAPS_LANE), before);
    lane_close(&map);
    cr_assert_eq(maps_of(MAPS_LANE), before);
    cr_assert_null(map.shm);
    lane_close(&map); /* accepts what is closed */
    cr_assert_eq(fcntl(lane_fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC, "the fd stays the caller's");
}
