/* storage.c - see storage.h: the file system's calls, and what is made of any storage's calls. */
#include "engine/storage.h"

#include "engine/fault_point.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define NAME_BYTES 128u

static int open_dir(struct omen_storage *storage, const char *path);
static int list(struct omen_storage *storage, int dir, omen_storage_name_fn *visit, void *user);
static int open_file(struct omen_storage *storage, int dir, const char *name, int flags);
static int64_t size_of(struct omen_storage *storage, int file);
static ssize_t read_at(struct omen_storage *storage, int file, void *bytes, size_t count,
                       uint64_t offset);
static ssize_t write_at(struct omen_storage *storage, int file, const struct iovec *parts,
                        int part_count, uint64_t offset);
static int truncate_file(struct omen_storage *storage, int file, uint64_t size);
static int sync_file(struct omen_storage *storage, int file_or_dir, bool whole);
static int rename_file(struct omen_storage *storage, int dir, const char *from, const char *to);
static int remove_file(struct omen_storage *storage, int dir, const char *name);
static int make_dir(struct omen_storage *storage, int dir, const char *name);
static int remove_dir(struct omen_storage *storage, int dir, const char *name);
static int allocate(struct omen_storage *storage, int file, uint64_t offset, uint64_t count);
static int punch(struct omen_storage *storage, int file, uint64_t offset, uint64_t count);
static void *map(struct omen_storage *storage, int file, uint64_t offset, size_t count);
static void unmap(struct omen_storage *storage, void *at, size_t count);
static int64_t free_bytes(struct omen_storage *storage, int dir);
static void close_file(struct omen_storage *storage, int file_or_dir);

static const struct omen_storage_ops files_ops = {
    .open_dir = open_dir,
    .list = list,
    .open = open_file,
    .size = size_of,
    .read = read_at,
    .write = write_at,
    .truncate = truncate_file,
    .sync = sync_file,
    .rename = rename_file,
    .remove = remove_file,
    .make_dir = make_dir,
    .remove_dir = remove_dir,
    .allocate = allocate,
    .punch = punch,
    .map = map,
    .unmap = unmap,
    .free_bytes = free_bytes,
    .close = close_file,
};

struct omen_storage *omen_storage_files(void)
{
    static struct omen_storage files = {.ops = &files_ops};

    return &files;
}

/* ---- what is made of the calls ------------------------------------------------------------- */

omen_code omen_storage_fail(omen_error *err, const char *format, ...)
{
    const int failure = errno;
    char what[OMEN_ERROR_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    errno = failure;
    if (failure == ENOSPC || failure == EDQUOT)
        return omen_fail_because(err, OMEN_RESOURCE_EXHAUSTED, OMEN_REASON_DISK_FULL, "%.200s: %m",
                                 what);
    return omen_fail(err, OMEN_UNAVAILABLE, "%.200s: %m", what);
}

int omen_storage_read_all(struct omen_storage *storage, int file, void *bytes, size_t *count,
                          uint64_t offset)
{
    const size_t wanted = *count;

    *count = 0;
    while (*count < wanted) {
        const ssize_t got = storage->ops->read(storage, file, (char *)bytes + *count,
                                               wanted - *count, offset + *count);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        *count += (size_t)got;
    }
    return 0;
}

omen_code omen_storage_write_all(struct omen_storage *storage, int file, struct iovec *parts,
                                 int part_count, uint64_t *offset, omen_error *err)
{
    int next = 0;

    for (;;) {
        while (next < part_count && parts[next].iov_len == 0)
            next++;
        if (next == part_count) return OMEN_OK;
        const ssize_t written =
            storage->ops->write(storage, file, parts + next, part_count - next, *offset);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return omen_storage_fail(err, "write at offset %" PRIu64, *offset);
        if (written == 0)
            return omen_fail(err, OMEN_UNAVAILABLE, "write at offset %" PRIu64 ": nothing written",
                             *offset);
        *offset += (uint64_t)written;
        for (size_t left = (size_t)written; left > 0;) {
            const size_t step = left < parts[next].iov_len ? left : parts[next].iov_len;
            parts[next].iov_base = (unsigned char *)parts[next].iov_base + step;
            parts[next].iov_len -= step;
            left -= step;
            if (parts[next].iov_len == 0) next++;
        }
    }
}

omen_code omen_storage_replace(struct omen_storage *storage, int dir, const char *name,
                               const void *bytes, size_t count, omen_error *err)
{
    char beside[NAME_BYTES];
    struct iovec part = {(void *)(uintptr_t)bytes, count};
    omen_error failure;
    uint64_t offset = 0;
    omen_code code = OMEN_OK;

    (void)snprintf(beside, sizeof beside, "%s.new", name);
    const int file = storage->ops->open(storage, dir, beside, O_RDWR | O_CREAT | O_TRUNC);
    if (file < 0) return omen_storage_fail(err, "create %s", beside);
    code = omen_storage_write_all(storage, file, &part, 1, &offset, &failure);
    if (code != OMEN_OK)
        code = omen_fail_because(err, code, failure.reason, "%s: %s", beside, failure.message);
    if (code == OMEN_OK && storage->ops->sync(storage, file, true) != 0)
        code = omen_fail(err, OMEN_UNAVAILABLE, "sync %s: %m", beside);
    storage->ops->close(storage, file);
    if (code == OMEN_OK && storage->ops->rename(storage, dir, beside, name) != 0)
        code = omen_storage_fail(err, "rename %s", beside);
    if (code != OMEN_OK) (void)storage->ops->remove(storage, dir, beside);
    if (code == OMEN_OK && storage->ops->sync(storage, dir, true) != 0)
        code = omen_fail(err, OMEN_UNAVAILABLE, "sync the directory of %s: %m", name);
    return code;
}

/* ---- the file system ----------------------------------------------------------------------- */

static int open_dir(struct omen_storage *storage, const char *path)
{
    (void)storage;
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int list(struct omen_storage *storage, int dir, omen_storage_name_fn *visit, void *user)
{
    DIR *names = NULL;
    const int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)storage;
    if (fd < 0) return -1;
    names = fdopendir(fd);
    if (names == NULL) {
        (void)close(fd);
        return -1;
    }
    int failure = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(names);
        if (entry == NULL) failure = errno;
        if (entry == NULL || !visit(user, entry->d_name)) break;
    }
    (void)closedir(names);
    errno = failure;
    return failure == 0 ? 0 : -1;
}

static int open_file(struct omen_storage *storage, int dir, const char *name, int flags)
{
    (void)storage;
    return openat(dir, name, flags | O_CLOEXEC, 0640);
}

static int64_t size_of(struct omen_storage *storage, int file)
{
    struct stat status;

    (void)storage;
    return fstat(file, &status) == 0 ? (int64_t)status.st_size : -1;
}

static ssize_t read_at(struct omen_storage *storage, int file, void *bytes, size_t count,
                       uint64_t offset)
{
    (void)storage;
    return pread(file, bytes, count, (off_t)offset);
}

static ssize_t write_at(struct omen_storage *storage, int file, const struct iovec *parts,
                        int part_count, uint64_t offset)
{
    (void)storage;
    return pwritev(file, parts, part_count, (off_t)offset);
}

static int truncate_file(struct omen_storage *storage, int file, uint64_t size)
{
    (void)storage;
    return ftruncate(file, (off_t)size);
}

static int sync_file(struct omen_storage *storage, int file_or_dir, bool whole)
{
    (void)storage;
    if (!OMEN_FAULT_SYNC()) return 0;
    return whole ? fsync(file_or_dir) : fdatasync(file_or_dir);
}

static int rename_file(struct omen_storage *storage, int dir, const char *from, const char *to)
{
    (void)storage;
    return renameat(dir, from, dir, to);
}

static int remove_file(struct omen_storage *storage, int dir, const char *name)
{
    (void)storage;
    return unlinkat(dir, name, 0);
}

static int make_dir(struct omen_storage *storage, int dir, const char *name)
{
    (void)storage;
    return mkdirat(dir, name, 0700);
}

static int remove_dir(struct omen_storage *storage, int dir, const char *name)
{
    (void)storage;
    return unlinkat(dir, name, AT_REMOVEDIR);
}

static int allocate(struct omen_storage *storage, int file, uint64_t offset, uint64_t count)
{
    (void)storage;
    return fallocate(file, 0, (off_t)offset, (off_t)count);
}

static int punch(struct omen_storage *storage, int file, uint64_t offset, uint64_t count)
{
    (void)storage;
    return fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)count);
}

static void *map(struct omen_storage *storage, int file, uint64_t offset, size_t count)
{
    void *at = mmap(NULL, count, PROT_READ, MAP_SHARED, file, (off_t)offset);

    (void)storage;
    return at == MAP_FAILED ? NULL : at;
}

static void unmap(struct omen_storage *storage, void *at, size_t count)
{
    (void)storage;
    (void)munmap(at, count);
}

static int64_t free_bytes(struct omen_storage *storage, int dir)
{
    struct statvfs status;

    (void)storage;
    if (fstatvfs(dir, &status) != 0) return -1;
    return (int64_t)(status.f_bavail * status.f_frsize);
}

static void close_file(struct omen_storage *storage, int file_or_dir)
{
    (void)storage;
    (void)close(file_or_dir);
}
