/* A power cut, as far as one process can be made to feel it.
 *
 * Loaded with LD_PRELOAD. What the process writes to a file whose path ends with
 * UNSYNCED_SUFFIX (default "events.jsonl") stays in memory, in the place of the
 * page cache, and reaches the file only when fsync or fdatasync is called on it,
 * through whichever descriptor. SIGKILL then leaves exactly what a power cut
 * would have left: what was synced.
 *
 * - The process itself sees its own writes: read, pread, lseek and the size in
 *   stat, through every descriptor of the file, also after close. Other
 *   processes see only what was synced.
 * - close does not sync, as in the real world. An orderly exit writes everything,
 *   because a page cache outlives its process; _exit and signals do not.
 * - ftruncate takes effect at once, in the file and in what is held back.
 * - With UNSYNCED_DELAY_MS a sync takes that long, as on a slow disk: what is
 *   done too early, before a sync is over, then shows.
 * - A file opened with O_SYNC or O_DSYNC is written through.
 * - copy_file_range and sendfile say EINVAL for such a file; callers fall back
 *   to read and write. sync_file_range promises nothing and does nothing.
 *
 * Not covered: mmap, stdio's own buffers (glibc does not call the public write),
 * io_uring, renames and folders, an exec of the process itself.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* One write that has not been synced; neighbours are joined. */
struct held {
    struct held *next;
    off_t at;
    size_t length, room;
    char *bytes;
};

/* A file with the suffix that has been written to. Lives as long as the process,
 * and its own descriptor keeps the inode from being used again. */
struct file {
    struct file *next;
    dev_t device;
    ino_t inode;
    int fd;
    struct held *first, *last;
};

static struct file *files;
static atomic_int holding; /* files is not empty: the quick way out for readers */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(result, name, ...)                               \
    static result (*real_##name)(__VA_ARGS__);                \
    static result (*get_##name(void))(__VA_ARGS__)            \
    {                                                         \
        if (!real_##name)                                     \
            real_##name = dlsym(RTLD_NEXT, #name);            \
        return real_##name;                                   \
    }
#define CALL(name) get_##name()

REAL(ssize_t, write, int, const void *, size_t)
REAL(ssize_t, writev, int, const struct iovec *, int)
REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t)
REAL(ssize_t, read, int, void *, size_t)
REAL(ssize_t, readv, int, const struct iovec *, int)
REAL(ssize_t, pread64, int, void *, size_t, off64_t)
REAL(off64_t, lseek64, int, off64_t, int)
REAL(int, ftruncate64, int, off64_t)
REAL(int, fsync, int)
REAL(int, fdatasync, int)
REAL(int, sync_file_range, int, off64_t, off64_t, unsigned int)
REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned int)
REAL(ssize_t, sendfile64, int, int, off64_t *, size_t)
REAL(int, fstat64, int, struct stat64 *)
REAL(int, stat64, const char *, struct stat64 *)
REAL(int, lstat64, const char *, struct stat64 *)
REAL(int, fstatat64, int, const char *, struct stat64 *, int)
REAL(int, statx, int, const char *, int, unsigned int, struct statx *)

static int has_suffix(int fd)
{
    char link[64], path[4096];
    const char *suffix = getenv("UNSYNCED_SUFFIX");
    ssize_t length;
    size_t wanted;

    if (!suffix || !*suffix)
        suffix = "events.jsonl";
    wanted = strlen(suffix);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path);
    return length >= (ssize_t)wanted && !memcmp(path + length - wanted, suffix, wanted);
}

static struct file *known(dev_t device, ino_t inode)
{
    struct file *file;

    for (file = files; file; file = file->next)
        if (file->device == device && file->inode == inode)
            return file;
    return NULL;
}

/* The file behind a descriptor, NULL if it is none of ours. `adopt`: it is about
 * to be written to, so it becomes one of ours if its name says so. */
static struct file *file_of(int fd, int adopt)
{
    struct stat64 status;
    struct file *file;
    char link[64];

    if (!adopt && !atomic_load(&holding))
        return NULL;
    if (CALL(fstat64)(fd, &status) || !S_ISREG(status.st_mode))
        return NULL;
    file = known(status.st_dev, status.st_ino);
    if (file || !adopt || !has_suffix(fd))
        return file;
    file = calloc(1, sizeof *file);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    /* A description of its own: no O_APPEND, no shared offset. */
    file->fd = open(link, O_RDWR | O_CLOEXEC);
    if (file->fd < 0) {
        free(file);
        return NULL;
    }
    file->device = status.st_dev;
    file->inode = status.st_ino;
    file->next = files;
    files = file;
    atomic_store(&holding, 1);
    return file;
}

/* The descriptor's file, locked, or NULL, not locked. */
static struct file *take(int fd, int adopt)
{
    struct file *file;
    int error = errno;

    if (!adopt && !atomic_load(&holding))
        return NULL;
    pthread_mutex_lock(&lock);
    file = file_of(fd, adopt);
    if (!file)
        pthread_mutex_unlock(&lock);
    errno = error;
    return file;
}

static void give_back(void) { pthread_mutex_unlock(&lock); }

static off_t held_end(const struct file *file)
{
    const struct held *held;
    off_t end = 0;

    for (held = file->first; held; held = held->next)
        if (held->at + (off_t)held->length > end)
            end = held->at + held->length;
    return end;
}

static off_t size_of(const struct file *file)
{
    struct stat64 status = {0};
    off_t end = held_end(file);

    CALL(fstat64)(file->fd, &status);
    return status.st_size > end ? status.st_size : end;
}

static void hold(struct file *file, off_t at, const void *bytes, size_t length)
{
    struct held *held = file->last;

    if (!length)
        return;
    if (!held || held->at + (off_t)held->length != at) {
        held = calloc(1, sizeof *held);
        held->at = at;
        if (file->last)
            file->last->next = held;
        else
            file->first = held;
        file->last = held;
    }
    if (held->length + length > held->room) {
        held->room = 2 * (held->length + length);
        held->bytes = realloc(held->bytes, held->room);
    }
    memcpy(held->bytes + held->length, bytes, length);
    held->length += length;
}

static void forget(struct file *file)
{
    struct held *held, *next;

    for (held = file->first; held; held = next) {
        next = held->next;
        free(held->bytes);
        free(held);
    }
    file->first = file->last = NULL;
}

/* Gives the file what was held back. What is already there stays there; the rest
 * is kept, so that the next sync tries again. */
static int flush(struct file *file)
{
    struct held *held;
    size_t done;
    ssize_t n;

    for (held = file->first; held; held = held->next)
        for (done = 0; done < held->length; done += n) {
            n = CALL(pwrite64)(file->fd, held->bytes + done, held->length - done, held->at + done);
            if (n < 0 && errno == EINTR)
                n = 0;
            else if (n < 0)
                return -1;
        }
    forget(file);
    return 0;
}

static ssize_t held_pread(struct file *file, char *to, size_t length, off_t at)
{
    const struct held *held;
    off_t size = size_of(file), from, until;
    ssize_t n, got = 0;

    if (at >= size)
        return 0;
    if ((off_t)length > size - at)
        length = size - at;
    memset(to, 0, length);
    while (got < (ssize_t)length) {
        n = CALL(pread64)(file->fd, to + got, length - got, at + got);
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += n;
    }
    for (held = file->first; held; held = held->next) {
        from = held->at > at ? held->at : at;
        until = held->at + (off_t)held->length;
        if (until > at + (off_t)length)
            until = at + length;
        if (from < until)
            memcpy(to + (from - at), held->bytes + (from - held->at), until - from);
    }
    return length;
}

/* Writing. The kernel keeps the offset of the descriptor, also beyond the end. */

static int writes_through(int flags) { return (flags & O_DSYNC) != 0; }

static ssize_t hold_vector(struct file *file, int fd, const struct iovec *parts, int count)
{
    int i, flags = fcntl(fd, F_GETFL);
    off_t at = flags & O_APPEND ? size_of(file) : CALL(lseek64)(fd, 0, SEEK_CUR);
    ssize_t total = 0;

    if ((flags & O_ACCMODE) == O_RDONLY) {
        errno = EBADF;
        return -1;
    }
    for (i = 0; i < count; i++) {
        hold(file, at + total, parts[i].iov_base, parts[i].iov_len);
        total += parts[i].iov_len;
    }
    CALL(lseek64)(fd, at + total, SEEK_SET);
    if (writes_through(flags) && (flush(file) || CALL(fdatasync)(file->fd)))
        return -1;
    return total;
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    struct iovec part = {(void *)bytes, length};
    struct file *file = take(fd, 1);
    ssize_t n;

    if (!file)
        return CALL(write)(fd, bytes, length);
    n = hold_vector(file, fd, &part, 1);
    give_back();
    return n;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    struct file *file = take(fd, 1);
    ssize_t n;

    if (!file)
        return CALL(writev)(fd, parts, count);
    n = hold_vector(file, fd, parts, count);
    give_back();
    return n;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at)
{
    struct file *file = take(fd, 1);
    int flags;
    ssize_t n = length;

    if (!file)
        return CALL(pwrite64)(fd, bytes, length, at);
    flags = fcntl(fd, F_GETFL);
    if ((flags & O_ACCMODE) == O_RDONLY) {
        errno = EBADF;
        n = -1;
    } else {
        /* Linux: with O_APPEND even pwrite appends. */
        hold(file, flags & O_APPEND ? size_of(file) : at, bytes, length);
        if (writes_through(flags) && (flush(file) || CALL(fdatasync)(file->fd)))
            n = -1;
    }
    give_back();
    return n;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at)
{
    return pwrite64(fd, bytes, length, at);
}

int ftruncate64(int fd, off64_t length)
{
    struct file *file = take(fd, 1);
    struct stat64 status = {0};
    struct held *held;
    off_t size;
    int result = 0;

    if (!file)
        return CALL(ftruncate64)(fd, length);
    size = size_of(file);
    for (held = file->first; held; held = held->next)
        if (held->at >= length)
            held->length = 0;
        else if (held->at + (off_t)held->length > length)
            held->length = length - held->at;
    /* Not the file's business when only held bytes were cut off. */
    CALL(fstat64)(file->fd, &status);
    if (length < status.st_size || length > size)
        result = CALL(ftruncate64)(fd, length);
    give_back();
    return result;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

/* Syncing. */

static void delay(void)
{
    const char *milliseconds = getenv("UNSYNCED_DELAY_MS");

    if (milliseconds)
        usleep(1000 * atoi(milliseconds));
}

static int sync_file(int fd, int (*sync)(int))
{
    struct file *file = take(fd, 0);
    int result = 0;

    if (file && file->first) {
        give_back();
        delay();
        file = take(fd, 0);
    }
    if (file) {
        result = flush(file);
        give_back();
    }
    return result ? result : sync(fd);
}

int fsync(int fd) { return sync_file(fd, CALL(fsync)); }

int fdatasync(int fd) { return sync_file(fd, CALL(fdatasync)); }

int sync_file_range(int fd, off64_t at, off64_t length, unsigned int flags)
{
    if (take(fd, 0)) {
        give_back();
        return 0;
    }
    return CALL(sync_file_range)(fd, at, length, flags);
}

/* Reading what this process has written. */

static ssize_t read_at_offset(struct file *file, int fd, void *to, size_t length)
{
    off_t at = CALL(lseek64)(fd, 0, SEEK_CUR);
    ssize_t n = held_pread(file, to, length, at);

    if (n > 0)
        CALL(lseek64)(fd, at + n, SEEK_SET);
    return n;
}

ssize_t read(int fd, void *to, size_t length)
{
    struct file *file = take(fd, 0);
    ssize_t n;

    if (!file)
        return CALL(read)(fd, to, length);
    n = file->first ? read_at_offset(file, fd, to, length) : CALL(read)(fd, to, length);
    give_back();
    return n;
}

ssize_t readv(int fd, const struct iovec *parts, int count)
{
    struct file *file = take(fd, 0);
    ssize_t n = 0;
    int i;

    if (!file)
        return CALL(readv)(fd, parts, count);
    /* A short read is allowed: the first part that is not empty will do. */
    for (i = 0; i < count && !parts[i].iov_len; i++)
        ;
    if (!file->first)
        n = CALL(readv)(fd, parts, count);
    else if (i < count)
        n = read_at_offset(file, fd, parts[i].iov_base, parts[i].iov_len);
    give_back();
    return n;
}

ssize_t pread64(int fd, void *to, size_t length, off64_t at)
{
    struct file *file = take(fd, 0);
    ssize_t n;

    if (!file)
        return CALL(pread64)(fd, to, length, at);
    n = file->first ? held_pread(file, to, length, at) : CALL(pread64)(fd, to, length, at);
    give_back();
    return n;
}

ssize_t pread(int fd, void *to, size_t length, off_t at) { return pread64(fd, to, length, at); }

off64_t lseek64(int fd, off64_t offset, int whence)
{
    struct file *file = whence == SEEK_END ? take(fd, 0) : NULL;
    off64_t result;

    if (!file)
        return CALL(lseek64)(fd, offset, whence);
    result = CALL(lseek64)(fd, size_of(file) + offset, SEEK_SET);
    give_back();
    return result;
}

off_t lseek(int fd, off_t offset, int whence) { return lseek64(fd, offset, whence); }

static int not_this_way(int fd)
{
    int ours = take(fd, 1) != NULL;

    if (ours) {
        give_back();
        errno = EINVAL;
    }
    return ours;
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t length, unsigned int flags)
{
    if (not_this_way(from) || not_this_way(to))
        return -1;
    return CALL(copy_file_range)(from, from_at, to, to_at, length, flags);
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t length)
{
    if (not_this_way(from) || not_this_way(to))
        return -1;
    return CALL(sendfile64)(to, from, at, length);
}

ssize_t sendfile(int to, int from, off_t *at, size_t length) { return sendfile64(to, from, at, length); }

/* The size that this process would see. */

static off_t seen_size(dev_t device, ino_t inode, off_t size)
{
    struct file *file;

    if (!atomic_load(&holding))
        return size;
    pthread_mutex_lock(&lock);
    file = known(device, inode);
    if (file && held_end(file) > size)
        size = held_end(file);
    pthread_mutex_unlock(&lock);
    return size;
}

static int seen(int result, struct stat64 *status)
{
    if (!result)
        status->st_size = seen_size(status->st_dev, status->st_ino, status->st_size);
    return result;
}

int fstat64(int fd, struct stat64 *status) { return seen(CALL(fstat64)(fd, status), status); }

int stat64(const char *path, struct stat64 *status) { return seen(CALL(stat64)(path, status), status); }

int lstat64(const char *path, struct stat64 *status) { return seen(CALL(lstat64)(path, status), status); }

int fstatat64(int folder, const char *path, struct stat64 *status, int flags)
{
    return seen(CALL(fstatat64)(folder, path, status, flags), status);
}

/* On 64-bit Linux struct stat and struct stat64 are the same. */
_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "64-bit files only");

int fstat(int fd, struct stat *status) { return fstat64(fd, (struct stat64 *)status); }

int stat(const char *path, struct stat *status) { return stat64(path, (struct stat64 *)status); }

int lstat(const char *path, struct stat *status) { return lstat64(path, (struct stat64 *)status); }

int fstatat(int folder, const char *path, struct stat *status, int flags)
{
    return fstatat64(folder, path, (struct stat64 *)status, flags);
}

int statx(int folder, const char *path, int flags, unsigned int mask, struct statx *status)
{
    int result = CALL(statx)(folder, path, flags, mask, status);

    if (!result)
        status->stx_size = seen_size(makedev(status->stx_dev_major, status->stx_dev_minor), status->stx_ino,
                                     status->stx_size);
    return result;
}

/* Life and death. */

static void before_fork(void) { pthread_mutex_lock(&lock); }

static void after_fork_in_parent(void) { pthread_mutex_unlock(&lock); }

/* The parent still holds its writes; a child that wrote them too would do it twice. */
static void after_fork_in_child(void)
{
    struct file *file;

    for (file = files; file; file = file->next)
        forget(file);
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void begin(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

__attribute__((destructor)) static void end(void)
{
    struct file *file;

    pthread_mutex_lock(&lock);
    for (file = files; file; file = file->next)
        flush(file);
    pthread_mutex_unlock(&lock);
}
