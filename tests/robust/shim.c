/* Stands between a program and libc (LD_PRELOAD). For files below ROBUST_DATA it
 *
 *  - appends every change to the log ROBUST_LOG: writes with their bytes, truncations, syncs, names given and taken;
 *  - makes writes fail while a file ROBUST_CONTROL/enospc, /eio (syncs, too) or /eio-sync (only those) exists, after as
 *    many more as that file says.
 *
 * A record is: kind (1 byte), length of the path (2), of the data (4), offset (8), all little-endian; path; data.
 * Kinds: W write, T truncate to offset, S sync, C created, R renamed (data is the new path), U unlinked, D directory made,
 * M mapped shared and writable. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST 4096
static char *names[MOST]; /* by file descriptor: the path, for files below ROBUST_DATA */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *data, *control;
static size_t data_length;
static int out = -1;
static long passed;

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
    data = getenv("ROBUST_DATA");
    control = getenv("ROBUST_CONTROL");
    data_length = data ? strlen(data) : 0;
    const char *log = getenv("ROBUST_LOG");
    if (log) out = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int ours(const char *path) {
    return data && path && !strncmp(path, data, data_length) && (path[data_length] == '/' || !path[data_length]);
}

static const char *name_of(int fd) { return fd >= 0 && fd < MOST ? names[fd] : NULL; }

static void put(char kind, const char *path, const void *bytes, uint32_t length, uint64_t offset) {
    if (out < 0) return;
    unsigned char head[15];
    uint16_t path_length = strlen(path);
    head[0] = kind;
    memcpy(head + 1, &path_length, 2);
    memcpy(head + 3, &length, 4);
    memcpy(head + 7, &offset, 8);
    struct iovec parts[] = {{head, 15}, {(void *)path, path_length}, {(void *)bytes, length}};
    if (syscall(SYS_writev, out, parts, 3) != 15 + path_length + (long)length) abort(); /* a log with holes proves nothing */
}

/* Whether this write is to fail, and how. Called with the lock held. */
static int fault(int is_sync) {
    if (!control) return 0;
    static const struct { const char *name; int error; } kinds[] = {{"enospc", ENOSPC}, {"eio", EIO}, {"eio-sync", EIO}};
    for (int n = 0; n < 3; n++) {
        char path[PATH_MAX], text[24] = {0};
        snprintf(path, sizeof path, "%s/%s", control, kinds[n].name);
        int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue;
        syscall(SYS_read, fd, text, sizeof text - 1);
        syscall(SYS_close, fd);
        if ((is_sync && n == 0) || (!is_sync && n == 2)) return 0;
        return passed++ >= atol(text) ? kinds[n].error : 0;
    }
    passed = 0;
    return 0;
}

static void opened(int fd, const char *path, int flags, int existed) {
    if (fd < 0 || fd >= MOST || !ours(path)) return;
    pthread_mutex_lock(&lock);
    free(names[fd]);
    names[fd] = strdup(path);
    if ((flags & O_CREAT) && !existed) put('C', path, "", 0, 0);
    else if (flags & O_TRUNC) put('T', path, "", 0, 0);
    pthread_mutex_unlock(&lock);
}

#define OPEN(name, parameters, arguments, path)                                  \
    int name parameters {                                                        \
        mode_t mode = 0;                                                         \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                   \
            va_list rest;                                                        \
            va_start(rest, flags);                                               \
            mode = va_arg(rest, mode_t);                                         \
            va_end(rest);                                                        \
        }                                                                        \
        int existed = (flags & O_CREAT) && ours(path) && !access(path, F_OK);    \
        int fd = NEXT(name) arguments;                                           \
        int error = errno;                                                       \
        opened(fd, path, flags, existed);                                        \
        errno = error;                                                           \
        return fd;                                                               \
    }

OPEN(open, (const char *path, int flags, ...), (path, flags, mode), path)
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode), path)
OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode), path)
OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode), path)

int close(int fd) {
    if (name_of(fd)) {
        pthread_mutex_lock(&lock);
        free(names[fd]);
        names[fd] = NULL;
        pthread_mutex_unlock(&lock);
    }
    return NEXT(close)(fd);
}

#define WRITE(result, call, at)                                                  \
    const char *name = name_of(fd);                                              \
    if (!name) return call;                                                      \
    pthread_mutex_lock(&lock);                                                   \
    int error = fault(0);                                                        \
    uint64_t where = at;                                                         \
    result done = error ? -1 : call;                                             \
    if (!error) error = errno;                                                   \
    if (done > 0) put('W', name, bytes, done, where);                            \
    pthread_mutex_unlock(&lock);                                                 \
    if (done < 0) errno = error;                                                 \
    return done;

ssize_t write(int fd, const void *bytes, size_t length) {
    WRITE(ssize_t, NEXT(write)(fd, bytes, length), lseek(fd, 0, SEEK_CUR))
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    WRITE(ssize_t, NEXT(pwrite)(fd, bytes, length, offset), offset)
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    WRITE(ssize_t, NEXT(pwrite64)(fd, bytes, length, offset), offset)
}
/* Nothing here is known to use these on our files: to be told, rather than to miss writes. */
ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (name_of(fd)) abort();
    return NEXT(writev)(fd, parts, count);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    if (name_of(fd)) abort();
    return NEXT(pwritev)(fd, parts, count, offset);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    if (name_of(fd)) abort();
    return NEXT(pwritev64)(fd, parts, count, offset);
}

#define CHANGE(call, kind, sync, offset)                                         \
    const char *name = name_of(fd);                                              \
    if (!name) return call;                                                      \
    pthread_mutex_lock(&lock);                                                   \
    int error = fault(sync);                                                     \
    int done = error ? -1 : call;                                                \
    if (!error) error = errno;                                                   \
    if (!done) put(kind, name, "", 0, offset);                                   \
    pthread_mutex_unlock(&lock);                                                 \
    if (done < 0) errno = error;                                                 \
    return done;

int ftruncate(int fd, off_t length) { CHANGE(NEXT(ftruncate)(fd, length), 'T', 0, length) }
int ftruncate64(int fd, off64_t length) { CHANGE(NEXT(ftruncate64)(fd, length), 'T', 0, length) }
int fsync(int fd) { CHANGE(NEXT(fsync)(fd), 'S', 1, 0) }
int fdatasync(int fd) { CHANGE(NEXT(fdatasync)(fd), 'S', 1, 0) }

#define NAMED(call, kind, path, to)                                              \
    if (!ours(path)) return call;                                                \
    pthread_mutex_lock(&lock);                                                   \
    int done = call;                                                             \
    int error = errno;                                                           \
    if (!done) put(kind, path, to, strlen(to), 0);                               \
    pthread_mutex_unlock(&lock);                                                 \
    errno = error;                                                               \
    return done;

int rename(const char *from, const char *to) { NAMED(NEXT(rename)(from, to), 'R', from, to) }
int renameat(int a, const char *from, int b, const char *to) { NAMED(NEXT(renameat)(a, from, b, to), 'R', from, to) }
int unlink(const char *path) { NAMED(NEXT(unlink)(path), 'U', path, "") }
int unlinkat(int at, const char *path, int flags) { NAMED(NEXT(unlinkat)(at, path, flags), 'U', path, "") }
int mkdir(const char *path, mode_t mode) { NAMED(NEXT(mkdir)(path, mode), 'D', path, "") }
int mkdirat(int at, const char *path, mode_t mode) { NAMED(NEXT(mkdirat)(at, path, mode), 'D', path, "") }

#define MAP(call)                                                                \
    void *made = call;                                                           \
    const char *name = name_of(fd);                                              \
    if (name && made != MAP_FAILED && (protection & PROT_WRITE) && (flags & MAP_SHARED)) { \
        pthread_mutex_lock(&lock);                                               \
        put('M', name, "", 0, offset);                                           \
        pthread_mutex_unlock(&lock);                                             \
    }                                                                            \
    return made;

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset) {
    MAP(NEXT(mmap)(at, length, protection, flags, fd, offset))
}
void *mmap64(void *at, size_t length, int protection, int flags, int fd, off64_t offset) {
    MAP(NEXT(mmap64)(at, length, protection, flags, fd, offset))
}

/* A disk that takes no more writes also says so. */
#define SPACE(type, call)                                                        \
    int done = call;                                                             \
    char full[PATH_MAX];                                                         \
    snprintf(full, sizeof full, "%s/enospc", control ? control : "");            \
    if (!done && control && ours(path) && !access(full, F_OK)) space->f_bavail = 0; \
    return done;

int statvfs(const char *path, struct statvfs *space) { SPACE(statvfs, NEXT(statvfs)(path, space)) }
int statvfs64(const char *path, struct statvfs64 *space) { SPACE(statvfs64, NEXT(statvfs64)(path, space)) }
