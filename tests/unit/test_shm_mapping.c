/*
 * Mapping: a region is a private file with all its memory, in huge pages where this kernel gives any,
 * a new one never touches an older one's readers, a full tmpfs is an error and leaves nothing, and
 * what is shared cannot be written.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/mapping.h"
#include "tests/support/scratch.h"
#include "tests/unit/maps.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { BYTES = 64 * 1024, HUGE = 2 * 1024 * 1024 };

static char path[SCRATCH_PATH_BYTES];
static int directory_fd;

static void set_up(void)
{
    scratch_on_tmpfs(path);
    directory_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cr_assert_geq(directory_fd, 0);
}

static void tear_down(void)
{
    close(directory_fd);
}

TestSuite(shm_mapping, .init = set_up, .fini = tear_down);

Test(shm_mapping, makes_a_private_file_with_all_its_memory)
{
    struct mapping mapping = {.fd = -1};
    cr_assert_eq(mapping_create(&mapping, directory_fd, "region", BYTES), 0);
    struct stat status;
    cr_assert_eq(fstatat(directory_fd, "region", &status, AT_SYMLINK_NOFOLLOW), 0);
    cr_assert_eq(status.st_mode & 07777, 0600);
    cr_assert_eq(status.st_size, BYTES);
    cr_assert_geq(status.st_blocks * 512, BYTES, "not all allocated");
    cr_assert_eq(mapping.bytes, BYTES);
    const unsigned char *bytes = mapping.base;
    for (int i = 0; i < BYTES; i++) {
        cr_assert_eq(bytes[i], 0);
    }
    mapping_close(&mapping);
}

/* Does this kernel give a huge page to who asks for one? */
static bool huge_pages_are_given(void)
{
    const int fd = openat(directory_fd, "probe", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(fallocate(fd, 0, 0, 2 * HUGE), 0);
    unsigned char *base = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    unsigned char *room = mmap(NULL, 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(base != MAP_FAILED && room != MAP_FAILED);
    room += HUGE - (uintptr_t)room % HUGE;
    cr_assert(mmap(room, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == room);
    const bool given = madvise(room, HUGE, MADV_COLLAPSE) == 0;
    munmap(room, HUGE);
    munmap(base, 2 * HUGE);
    close(fd);
    unlinkat(directory_fd, "probe", 0);
    return given;
}

Test(shm_mapping, what_is_large_lies_in_huge_pages_and_the_rest_in_small_ones)
{
    const uint64_t bytes = 3 * HUGE + BYTES;
    struct mapping mine = {.fd = -1};
    cr_assert_eq(mapping_create(&mine, directory_fd, "region", bytes), 0);
    for (int tries = 1; !mine.huge && tries < 10; tries++) {
        if (!huge_pages_are_given()) {
            cr_skip_test("this kernel gives no huge pages, or has none now");
        }
        mapping_close(&mine);
        cr_assert_eq(mapping_create(&mine, directory_fd, "region", bytes), 0);
    }
    cr_assert(mine.huge, "small pages where huge ones are given");
    cr_assert_eq(maps_huge_bytes(path), 3 * HUGE);
    struct stat status;
    cr_assert_eq(fstat(mine.fd, &status), 0);
    cr_assert_eq(status.st_size, bytes);
    cr_assert_eq(status.st_blocks * 512, bytes, "not exactly what was asked for");
    for (uint64_t i = 0; i < bytes; i++) {
        cr_assert_eq(((unsigned char *)mine.base)[i], 0);
    }
    struct mapping theirs = {.fd = -1};
    cr_assert_eq(mapping_open(&theirs, mine.fd, bytes, false), 0);
    cr_assert_eq(maps_huge_bytes(path), 6 * HUGE, "a reader's in small pieces");
    memset(mine.base, 7, bytes);
    cr_assert_eq(((unsigned char *)theirs.base)[bytes - 1], 7);
    mapping_close(&theirs);
    mapping_close(&mine);
    cr_assert_eq(mapping_create(&mine, directory_fd, "region", HUGE - 4096), 0);
    cr_assert_not(mine.huge);
    mapping_close(&mine);
}

Test(shm_mapping, replaces_an_older_file_and_leaves_its_readers_alone)
{
    struct mapping old = {.fd = -1};
    struct mapping new = {.fd = -1};
    cr_assert_eq(mapping_create(&old, directory_fd, "region", BYTES), 0);
    memset(old.base, 1, BYTES);
    cr_assert_eq(mapping_create(&new, directory_fd, "region", 2 * BYTES), 0);
    cr_assert_eq(*(unsigned char *)new.base, 0);
    memset(new.base, 2, 2 * BYTES);
    cr_assert_eq(*((unsigned char *)old.base + BYTES - 1), 1);
    mapping_close(&old);
    mapping_close(&new);
}

Test(shm_mapping, replaces_a_symbolic_link_and_leaves_its_target_alone)
{
    const int target = openat(directory_fd, "target", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_eq(pwrite(target, "precious", 8, 0), 8);
    cr_assert_eq(symlinkat("target", directory_fd, "region"), 0);
    struct mapping mapping = {.fd = -1};
    cr_assert_eq(mapping_create(&mapping, directory_fd, "region", BYTES), 0);
    struct stat status;
    cr_assert_eq(fstat(target, &status), 0);
    cr_assert_eq(status.st_size, 8);
    mapping_close(&mapping);
    close(target);

    cr_assert_eq(unlinkat(directory_fd, "region", 0), 0);
    cr_assert_eq(symlinkat("target", directory_fd, "region"), 0);
    cr_assert_eq(mapping_share(directory_fd, "region"), -ELOOP);
}

Test(shm_mapping, what_is_shared_can_only_be_read)
{
    struct mapping mine = {.fd = -1};
    cr_assert_eq(mapping_create(&mine, directory_fd, "region", BYTES), 0);
    const int fd = mapping_share(directory_fd, "region");
    cr_assert_geq(fd, 0);
    cr_assert_neq(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    struct mapping theirs = {.fd = -1};
    cr_assert_eq(mapping_open(&theirs, fd, BYTES, true), -EACCES);
    cr_assert_eq(mapping_open(&theirs, fd, BYTES, false), 0);
    cr_assert_neq(mprotect(theirs.base, BYTES, PROT_READ | PROT_WRITE), 0);
    cr_assert_neq(ftruncate(fd, 0), 0);
    memset(mine.base, 7, BYTES);
    cr_assert_eq(*((unsigned char *)theirs.base + BYTES - 1), 7);
    mapping_close(&theirs);
    cr_assert_neq(fcntl(fd, F_GETFD), -1, "the fd stays the caller's");
    close(fd);
    mapping_close(&mine);
}

Test(shm_mapping, opens_only_what_has_the_size)
{
    struct mapping mine = {.fd = -1};
    struct mapping other = {.fd = -1};
    cr_assert_eq(mapping_create(&mine, directory_fd, "region", BYTES), 0);
    cr_assert_eq(mapping_open(&other, mine.fd, BYTES - 1, true), -EPROTO);
    cr_assert_eq(mapping_open(&other, mine.fd, BYTES + 1, true), -EPROTO);
    cr_assert_eq(mapping_open(&other, mine.fd, 0, true), -EPROTO);
    cr_assert_eq(mapping_open(&other, -1, BYTES, true), -EBADF);
    cr_assert_null(other.base);
    mapping_close(&mine);
}

Test(shm_mapping, errors_are_answers)
{
    struct mapping mapping = {.fd = -1};
    cr_assert_eq(mapping_share(directory_fd, "nothing"), -ENOENT);
    cr_assert_eq(mapping_create(&mapping, directory_fd, "no/such/directory", BYTES), -ENOENT);
    cr_assert_eq(mkdirat(directory_fd, "region", 0700), 0);
    cr_assert_eq(mapping_create(&mapping, directory_fd, "region", BYTES), -EISDIR);
    cr_assert_null(mapping.base);
}

Test(shm_mapping, a_full_tmpfs_is_an_error_and_leaves_nothing)
{
    char small[SCRATCH_PATH_BYTES];
    if (!scratch_mount(small, HUGE + HUGE / 2)) {
        cr_skip_test("mounting a tmpfs is not allowed");
    }
    const int fd = open(small, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    struct mapping mapping = {.fd = -1};
    for (uint64_t bytes = HUGE + HUGE / 2 + 4096; bytes <= 4 * HUGE; bytes += HUGE / 2) {
        cr_assert_eq(mapping_create(&mapping, fd, "region", bytes), -ENOSPC);
        cr_assert_null(mapping.base);
        cr_assert_eq(faccessat(fd, "region", F_OK, 0), -1, "the file stays");
        cr_assert_eq(scratch_disk_bytes(small), 0);
    }
    cr_assert_eq(mapping_create(&mapping, fd, "region", HUGE + HUGE / 2), 0);
    mapping_close(&mapping);
    close(fd);
}

Test(shm_mapping, close_gives_everything_back)
{
    struct mapping mapping = {0};
    mapping_close(&mapping); /* accepts what was never opened, and does not close fd 0 */
    cr_assert_neq(fcntl(0, F_GETFD), -1);
    cr_assert_eq(mapping_create(&mapping, directory_fd, "region", BYTES), 0);
    const int fd = mapping.fd;
    cr_assert_eq(maps_of(path), 1);
    mapping_close(&mapping);
    cr_assert_eq(maps_of(path), 0);
    cr_assert_eq(fcntl(fd, F_GETFD), -1);
    mapping_close(&mapping);
}
