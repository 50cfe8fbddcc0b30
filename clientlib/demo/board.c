/* Board: see board.h. */
#include "clientlib/demo/board.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

struct board *board_new(void)
{
    struct board *board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    return board == MAP_FAILED ? NULL : board;
}

void board_fail(struct board *board, const char *format, ...)
{
    if (atomic_fetch_add(&board->failures, 1) == 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(board->failure, sizeof board->failure, format, arguments);
        va_end(arguments);
        atomic_store(&board->failure_written, true);
    }
    atomic_store(&board->stop, true);
}

void board_stamp(struct producer_slot *slot, uint64_t number)
{
    if (number % STAMP_EVERY != 0) {
        return;
    }
    struct stamp *stamp = &slot->stamps[number / STAMP_EVERY % STAMP_SLOTS];
    atomic_store_explicit(&stamp->number, 0, memory_order_relaxed);
    atomic_store_explicit(&stamp->time_ns, clock_ns(), memory_order_release);
    atomic_store_explicit(&stamp->number, number + 1, memory_order_release);
}

uint64_t board_age(struct producer_slot *slot, uint64_t number)
{
    if (number % STAMP_EVERY != 0) {
        return 0;
    }
    struct stamp *stamp = &slot->stamps[number / STAMP_EVERY % STAMP_SLOTS];
    if (atomic_load_explicit(&stamp->number, memory_order_acquire) != number + 1) {
        return 0;
    }
    const uint64_t time_ns = atomic_load_explicit(&stamp->time_ns, memory_order_acquire);
    if (atomic_load_explicit(&stamp->number, memory_order_acquire) != number + 1) {
        return 0;
    }
    return clock_ns() - time_ns;
}

uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
