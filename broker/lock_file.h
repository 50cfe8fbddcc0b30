/*
 * Lock file: what only one broker at a time may use.
 * Runs on:    the thread that starts the broker.
 * Invariants: held by the open file and so by the process: the kernel lets go of it when the
 *             process ends, however it ends (and any child that it forked). Never handed out.
 * Not here:   the store's LOCK, which also waits for a dead broker's writes (io.h).
 */
#ifndef TUSK_BROKER_LOCK_FILE_H
#define TUSK_BROKER_LOCK_FILE_H

/* Locks an open file or directory. Waits a little for a broker that is about to be gone: killed, but
 * not yet taken apart by the kernel. 0, -EBUSY when another one holds it, or -errno. */
int lock_file_take(int fd);

/* Makes the file if it is missing, and locks it: a descriptor, or as above. */
int lock_file_open(const char *path);

/* Lets go, also where a forked child has the descriptor as well, and closes it. */
void lock_file_release(int fd);

/* Unlinks the file, and as above; whoever waits for it then makes a new one. */
void lock_file_remove(const char *path, int fd);

#endif
