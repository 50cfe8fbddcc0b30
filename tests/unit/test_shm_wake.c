/*
 * Wake: rings are never lost and never block, drains take all of them, a dead peer is told from a
 * silent one, and a kernel that refuses membarrier is noticed.
 * That no wake is lost between two threads: tests/stress/stress_wake.c.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shm/wake.h"

static int sockets[2];

static void set_up(void)
{
    cr_assert_eq(wake_pair(sockets), 0);
}

static void tear_down(void)
{
    close(sockets[0]);
    close(sockets[1]);
}

TestSuite(shm_wake, .init = set_up, .fini = tear_down);

static bool is_rung(int socket)
{
    struct pollfd fd = {.fd = socket, .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

Test(shm_wake, neither_end_blocks_or_is_inherited)
{
    for (int i = 0; i < 2; i++) {
        cr_assert_neq(fcntl(sockets[i], F_GETFL) & O_NONBLOCK, 0);
        cr_assert_neq(fcntl(sockets[i], F_GETFD) & FD_CLOEXEC, 0);
    }
}

Test(shm_wake, a_ring_is_heard_on_the_other_side)
{
    cr_assert_eq(wake_drain(sockets[1]), 0, "nothing to drain is nothing wrong");
    cr_assert_not(is_rung(sockets[1]));
    cr_assert_eq(wake_ring(sockets[0]), 0);
    cr_assert(is_rung(sockets[1]));
    cr_assert_not(is_rung(sockets[0]));
    cr_assert_eq(wake_drain(sockets[1]), 0);
    cr_assert_not(is_rung(sockets[1]));
}

Test(shm_wake, drains_any_number_of_rings)
{
    const int counts[] = {1, 2, 63, 64, 65, 128, 200};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        for (int ring = 0; ring < counts[i]; ring++) {
            cr_assert_eq(wake_ring(sockets[0]), 0);
        }
        cr_assert_eq(wake_drain(sockets[1]), 0);
        cr_assert_not(is_rung(sockets[1]), "%d rings", counts[i]);
    }
}

Test(shm_wake, a_full_socket_is_already_rung)
{
    const unsigned char byte = 1;
    while (send(sockets[0], &byte, 1, MSG_DONTWAIT) == 1) {
    }
    cr_assert_eq(errno, EAGAIN);
    cr_assert_eq(wake_ring(sockets[0]), 0);
    cr_assert_eq(wake_drain(sockets[1]), 0);
    cr_assert_not(is_rung(sockets[1]));
    cr_assert_eq(wake_ring(sockets[0]), 0);
    cr_assert(is_rung(sockets[1]));
}

Test(shm_wake, a_dead_peer_is_told)
{
    cr_assert_eq(wake_ring(sockets[0]), 0);
    close(sockets[0]);
    cr_assert_eq(wake_ring(sockets[1]), -EPIPE, "and no SIGPIPE");
    while (is_rung(sockets[1]) && wake_drain(sockets[1]) == 0) {
        /* the ring that it left */
    }
    cr_assert_eq(wake_drain(sockets[1]), -EPIPE);
    sockets[0] = -1;
}

/* A lane's `parked` decides whether its client rings. */
Test(shm_wake, a_client_rings_once_for_each_parking)
{
    struct lane_shm shm = {0};
    const struct lane_map map = {.shm = &shm};
    uint64_t rung = 0;
    for (uint64_t parking = 1; parking < 4; parking++) {
        const bool fences = parking % 2 == 0;
        cr_assert_not(wake_engine_parked(&map, fences, &rung), "it is awake");
        atom_store_release(&shm.parked, parking);
        cr_assert(wake_engine_parked(&map, fences, &rung));
        cr_assert_not(wake_engine_parked(&map, fences, &rung), "that has been rung for");
        atom_store_release(&shm.parked, 0);
    }
    atom_store_release(&shm.parked, 4);
    cr_assert(wake_engine_parked(&map, false, &rung));
    atom_store_release(&shm.parked, 5);
    cr_assert(wake_engine_parked(&map, false, &rung), "it was awake in between");
}

/* membarrier answers `error` from now on, for this process. */
static void membarrier_refuse(int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

Test(shm_wake, a_kernel_without_membarrier_is_noticed)
{
    membarrier_refuse(ENOSYS);
    cr_assert_not(wake_membarrier_available());
    cr_assert_eq(wake_register(), -ENOSYS);
    wake_fence_engine(true);
    wake_fence_engine(false);
}

Test(shm_wake, registering_can_be_repeated)
{
    const bool available = wake_membarrier_available();
    cr_assert_eq(wake_register() == 0, available);
    cr_assert_eq(wake_register() == 0, available);
    wake_fence_engine(available);
}
