/*
 * Forbid: a system call that fails, as under a container's seccomp profile.
 * Runs on:    a process of its own, before it starts what is to be tested; for ever.
 * Invariants: the call does nothing and fails with the error; all others work as before. The program
 *             that the process becomes, and its children, are under it too.
 * Not here:   profiles that end the process.
 */
#ifndef TUSK_TESTS_SUPPORT_FORBID_H
#define TUSK_TESTS_SUPPORT_FORBID_H

/* 0, or -1 with errno where filters cannot be set. error is a positive errno. */
int forbid_call(long number, int error);

#endif
