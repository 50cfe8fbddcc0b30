/* Run directory: see run_dir.h. */
#include "broker/run_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "broker/fault.h"
#include "broker/lock_file.h"
#include "broker/regions.h"
#include "shm/cleanup.h"

enum { RUN_DIR_MODE = 0700 };

static int make_or_find(const char *path, bool *made, struct fault *fault)
{
    *made = mkdir(path, RUN_DIR_MODE) == 0;
    if (*made) {
        /* Whatever the umask. */
        return chmod(path, RUN_DIR_MODE) == 0
                   ? 0
                   : fault_set(fault, -errno, "cannot set the mode of the run directory %s: %s",
                               path, strerror(errno));
    }
    if (errno == EEXIST) {
        return 0;
    }
    return fault_set(
        fault, -errno,
        "cannot make the run directory %s: %s; name one that can be made with --run-dir", path,
        strerror(errno));
}

static int check_opened(const struct run_dir *run_dir, struct fault *fault)
{
    struct stat status;
    struct statfs system;
    if (fstat(run_dir->fd, &status) != 0 || fstatfs(run_dir->fd, &system) != 0) {
        return fault_set(fault, -errno, "cannot look at the run directory %s: %s", run_dir->path,
                         strerror(errno));
    }
    if (system.f_type != TMPFS_MAGIC) {
        return fault_set(fault, -EINVAL,
                         "the run directory %s is not on tmpfs: name one that is with --run-dir, "
                         "such as /dev/shm/tusk",
                         run_dir->path);
    }
    if (status.st_uid != geteuid()) {
        return fault_set(fault, -EPERM,
                         "the run directory %s belongs to uid %u, expected this broker's %u: name "
                         "another one with --run-dir",
                         run_dir->path, status.st_uid, geteuid());
    }
    if ((status.st_mode & 07777) != RUN_DIR_MODE) {
        return fault_set(fault, -EPERM,
                         "the run directory %s has mode %04o, expected 0700, as nobody else may "
                         "enter it: chmod it, or name another one with --run-dir",
                         run_dir->path, status.st_mode & 07777);
    }
    return 0;
}

/* Every directory in it is one of a namespace's regions. True: there was something. */
static bool remove_all(const struct run_dir *run_dir)
{
    bool any = false;
    const int fd = openat(run_dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
    if (listing == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    for (const struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            regions_remove(run_dir->fd, entry->d_name);
            any = true;
        }
    }
    closedir(listing);
    return any;
}

int run_dir_open(struct run_dir *run_dir, const struct config *config, struct fault *fault)
{
    *run_dir = (struct run_dir){.fd = -1};
    memcpy(run_dir->path, config->run_dir, sizeof run_dir->path);
    bool made;
    int error = make_or_find(run_dir->path, &made, fault);
    if (error != 0) {
        return error;
    }
    cleanup_fd int fd = open(run_dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return fault_set(fault, -errno, "cannot open the run directory %s: %s", run_dir->path,
                         strerror(errno));
    }
    run_dir->fd = fd;
    error = check_opened(run_dir, fault);
    run_dir->fd = -1;
    if (error != 0) {
        return error;
    }
    error = lock_file_take(fd);
    if (error != 0) {
        return fault_set(fault, error,
                         "another broker runs with the run directory %s (data directory %s): stop "
                         "it, or choose other directories with --data and --run-dir",
                         run_dir->path, config->data_dir);
    }
    run_dir->fd = take_fd(&fd);
    run_dir->made = remove_all(run_dir) || made;
    return 0;
}

void run_dir_close(struct run_dir *run_dir)
{
    if (run_dir->fd < 0) {
        return;
    }
    (void)remove_all(run_dir);
    if (run_dir->made) {
        rmdir(run_dir->path); /* best effort: the next start makes it again, or finds it */
    }
    lock_file_release(take_fd(&run_dir->fd));
}
