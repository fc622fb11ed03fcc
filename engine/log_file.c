/* log_file.c - the log in files: append, sync, rotate, read, and mending after a crash.
 *
 * Happy path of an append: encode the header, write header, parts and padding with one gathering
 * write at the end of the last file. A sync is one fdatasync of that file, because a file is synced
 * before the next one is begun. A new file is complete (its own record, and its name in the
 * directory) and synced before a record goes into it.
 *
 * Failure modes:
 *   - The file system refuses a write or a sync: the log is broken from then on and refuses
 *     everything, naming the first failure. What is on disk then is at worst a torn tail.
 *   - A crash leaves a torn tail: bytes at the end of the last file that are not a whole record,
 *     with no whole record after them. Opening cuts them off. They were never synced, so nobody was
 *     told that they are durable.
 *   - Anything else that is not the next record (a bad record with a good one behind it, a file
 *     missing between two others, a bad record at the end of a file that is not the last) is damage
 *     and opening fails: guessing would serve a state that no log describes.
 */
#include "engine/log_file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/log_walk.h"
#include "engine/memory.h"

#define NAME_BYTES  sizeof "log-01234567890123456789.omen"
#define WRITE_PARTS 64 /* of one gathering write; more parts take more writes */

struct segment {
    uint64_t first; /* position: the file's name */
    uint64_t bytes;
};

struct file_log {
    omen_log base; /* must be first */

    /* Fixed at open. */
    uint64_t file_bytes;
    int dir_fd; /* the directory may be renamed: every file is reached through this */

    /* The log thread's. */
    struct segment *segments; /* ascending; the last one is appended to */
    size_t segment_count;
    size_t segment_room;
    uint64_t last_position;
    int fd;             /* of the last segment */
    bool broken;        /* a write or a sync failed */
    omen_error failure; /* the first one, if broken */

    /* Written by the log thread, read by any. */
    _Atomic(uint64_t) bytes;
};

static omen_code append(omen_log *log, enum omen_record_type type, uint16_t algorithm_version,
                        const struct iovec *parts, int part_count, uint64_t *position,
                        omen_error *err);
static omen_code sync_last(omen_log *log, omen_error *err);
static omen_code read_from(omen_log *log, uint64_t from, omen_log_visit_fn *visit, void *user,
                           omen_error *err);
static uint64_t stored_bytes(const omen_log *log);
static void close_files(omen_log *log);

static const struct omen_log_ops file_ops = {
    .append = append,
    .sync = sync_last,
    .read = read_from,
    .bytes = stored_bytes,
    .close = close_files,
};

/* One omen_log_read(). */
struct reading {
    uint64_t from;
    omen_log_visit_fn *visit;
    void *user;
    unsigned char *payload; /* aligned room for the record that is shown */
};

static omen_code list_segments(struct file_log *log, omen_error *err);
static omen_code add_segment(struct file_log *log, uint64_t first, omen_error *err);
static omen_code check_segments(struct file_log *log, struct omen_log_report *report,
                                omen_error *err);
static omen_code check_segment(struct file_log *log, size_t i, struct omen_log_report *report,
                               omen_error *err);
static omen_code mend(struct file_log *log, struct omen_log_walk *walk,
                      struct omen_log_report *report, omen_error *err);
static omen_code begin_segment(struct file_log *log, uint64_t first, omen_error *err);
static omen_code write_own_record(int fd, const char *name, uint64_t first, omen_error *err);
static omen_code rotate(struct file_log *log, omen_error *err);
static omen_code sync_data(int fd, omen_error *err);
static omen_code write_record(struct file_log *log, const struct omen_record_header *header,
                              const struct iovec *parts, int part_count, omen_error *err);
static omen_code write_all(int fd, struct iovec *parts, int part_count, uint64_t *offset,
                           omen_error *err);
static omen_code read_segment(struct file_log *log, size_t i, const struct reading *reading,
                              omen_error *err);
static omen_code break_log(struct file_log *log, const omen_error *failure, omen_error *err);
static omen_code refuse_if_broken(const struct file_log *log, omen_error *err);

static void name_segment(uint64_t first, char name[NAME_BYTES])
{
    (void)snprintf(name, NAME_BYTES, "log-%020" PRIu64 ".omen", first);
}

static struct segment *last_segment(const struct file_log *log)
{
    return &log->segments[log->segment_count - 1];
}

/* ---- opening and closing ------------------------------------------------------------------- */

omen_code omen_log_file_open(const char *dir, omen_log **out, struct omen_log_report *report,
                             omen_error *err)
{
    return omen_log_file_open_sized(dir, OMEN_LOG_FILE_BYTES, out, report, err);
}

omen_code omen_log_file_open_sized(const char *dir, uint64_t file_bytes, omen_log **out,
                                   struct omen_log_report *report, omen_error *err)
{
    omen_code code = OMEN_OK;

    *out = NULL;
    *report = (struct omen_log_report){0};
    struct file_log *log = omen_alloc_zeroed(sizeof *log);
    if (log == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory for the log");
    log->base.ops = &file_ops;
    log->file_bytes = file_bytes;
    log->fd = -1;
    atomic_init(&log->bytes, 0);

    log->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (log->dir_fd < 0) {
        code = omen_fail(err, OMEN_UNAVAILABLE, "open %s: %m", dir);
        goto done;
    }
    code = list_segments(log, err);
    if (code == OMEN_OK) code = check_segments(log, report, err);
    if (code != OMEN_OK) goto done;
    if (log->segment_count == 0) {
        code = begin_segment(log, 1, err);
        if (code != OMEN_OK) goto done;
    }
    /* A process that was killed may have written records, and even a file's name, that no sync has
     * covered. From here on they count as durable, so they must be. */
    if (fdatasync(log->fd) != 0 || fsync(log->dir_fd) != 0) {
        code = omen_fail(err, OMEN_UNAVAILABLE, "sync the log in %s: %m", dir);
        goto done;
    }
    report->last_position = log->last_position;
    *out = &log->base;
    log = NULL;

done:
    if (log != NULL) close_files(&log->base);
    return code;
}

static void close_files(omen_log *base)
{
    struct file_log *log = (struct file_log *)base;

    if (log->fd >= 0) (void)close(log->fd); /* whoever wanted durability has synced */
    if (log->dir_fd >= 0) (void)close(log->dir_fd);
    omen_free(log->segments);
    omen_free(log);
}

static int compare_segments(const void *a, const void *b)
{
    const struct segment *left = a;
    const struct segment *right = b;

    return (left->first > right->first) - (left->first < right->first);
}

/* Files of other names are not ours and are left alone. */
static omen_code list_segments(struct file_log *log, omen_error *err)
{
    omen_code code = OMEN_OK;
    char name[NAME_BYTES];
    DIR *dir = NULL;
    const int fd = openat(log->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) dir = fdopendir(fd);
    if (dir == NULL) {
        code = omen_fail(err, OMEN_UNAVAILABLE, "list the log's directory: %m");
        if (fd >= 0) (void)close(fd);
        return code;
    }
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) break;
        if (strncmp(entry->d_name, "log-", 4) != 0) continue;
        const uint64_t first = strtoull(entry->d_name + 4, NULL, 10);
        name_segment(first, name);
        if (strcmp(name, entry->d_name) != 0) continue;
        code = add_segment(log, first, err);
        if (code != OMEN_OK) goto done;
    }
    if (errno != 0) code = omen_fail(err, OMEN_UNAVAILABLE, "list the log's directory: %m");
    if (code == OMEN_OK && log->segment_count > 0)
        qsort(log->segments, log->segment_count, sizeof *log->segments, compare_segments);

done:
    (void)closedir(dir);
    return code;
}

static omen_code add_segment(struct file_log *log, uint64_t first, omen_error *err)
{
    if (log->segment_count == log->segment_room) {
        const size_t room = log->segment_room == 0 ? 8 : 2 * log->segment_room;
        struct segment *more = omen_realloc(log->segments, room * sizeof *more);
        if (more == NULL)
            return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory for %zu log files", room);
        log->segments = more;
        log->segment_room = room;
    }
    log->segments[log->segment_count++] = (struct segment){.first = first};
    return OMEN_OK;
}

static omen_code check_segments(struct file_log *log, struct omen_log_report *report,
                                omen_error *err)
{
    char name[NAME_BYTES];
    char missing[NAME_BYTES];

    for (size_t i = 0; i < log->segment_count; i++) {
        if (log->segments[i].first != log->last_position + 1) {
            name_segment(log->segments[i].first, name);
            name_segment(log->last_position + 1, missing);
            return omen_fail(err, OMEN_DATA_LOSS, "%s is missing, and %s is there", missing, name);
        }
        omen_code code = check_segment(log, i, report, err);
        if (code != OMEN_OK) return code;
    }
    return OMEN_OK;
}

/* Reads every record of a file. The last file stays open, to be appended to. */
static omen_code check_segment(struct file_log *log, size_t i, struct omen_log_report *report,
                               omen_error *err)
{
    omen_code code = OMEN_OK;
    struct segment *segment = &log->segments[i];
    const bool last = i + 1 == log->segment_count;
    struct omen_log_walk walk = {0};
    struct omen_record_header header;
    const unsigned char *payload = NULL;
    struct stat status;
    char name[NAME_BYTES];

    name_segment(segment->first, name);
    const int fd = openat(log->dir_fd, name, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0) {
        code = omen_fail(err, OMEN_UNAVAILABLE, "open %s: %m", name);
        goto done;
    }
    code = omen_log_walk_init(&walk, fd, name, segment->first, (uint64_t)status.st_size, err);
    if (code != OMEN_OK) goto done;
    do {
        code = omen_log_walk_next(&walk, &header, &payload, err);
        if (code != OMEN_OK) goto done;
    } while (payload != NULL);

    if (walk.flaw != NULL && !last)
        code = omen_fail(err, OMEN_DATA_LOSS,
                         "%s is damaged at offset %" PRIu64 ": %s, and another file follows", name,
                         walk.offset, walk.flaw);
    else if (walk.flaw != NULL)
        code = mend(log, &walk, report, err);
    if (code != OMEN_OK) goto done;
    segment->bytes = walk.offset;
    log->last_position = walk.position - 1;
    (void)atomic_fetch_add_explicit(&log->bytes, segment->bytes, memory_order_relaxed);

done:
    omen_log_walk_deinit(&walk);
    if (last && code == OMEN_OK)
        log->fd = fd;
    else if (fd >= 0)
        (void)close(fd);
    return code;
}

/* At a flaw in the last file: cuts a torn tail off, or refuses damage. */
static omen_code mend(struct file_log *log, struct omen_log_walk *walk,
                      struct omen_log_report *report, omen_error *err)
{
    bool found = false;

    omen_code code = omen_log_walk_find_later(walk, &found, err);
    if (code != OMEN_OK) return code;
    if (found)
        return omen_fail(err, OMEN_DATA_LOSS,
                         "%s is damaged at offset %" PRIu64 ": %s, and whole records follow",
                         walk->name, walk->offset, walk->flaw);

    if (ftruncate(walk->fd, (off_t)walk->offset) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "cut %s at offset %" PRIu64 ": %m", walk->name,
                         walk->offset);
    report->torn_bytes = walk->end - walk->offset;
    (void)snprintf(report->torn_file, sizeof report->torn_file, "%s", walk->name);
    if (walk->offset == 0) {
        code = write_own_record(walk->fd, walk->name, last_segment(log)->first, err);
        if (code != OMEN_OK) return code;
        walk->offset = OMEN_RECORD_HEADER_BYTES;
    }
    if (fsync(walk->fd) != 0) return omen_fail(err, OMEN_UNAVAILABLE, "sync %s: %m", walk->name);
    return OMEN_OK;
}

/* Makes a new last file, complete and synced, and leaves the one before. */
static omen_code begin_segment(struct file_log *log, uint64_t first, omen_error *err)
{
    char name[NAME_BYTES];

    name_segment(first, name);
    omen_code code = add_segment(log, first, err);
    if (code != OMEN_OK) return code;
    const int fd = openat(log->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0) return omen_fail(err, OMEN_UNAVAILABLE, "create %s: %m", name);
    if (log->fd >= 0) (void)close(log->fd);
    log->fd = fd;
    code = write_own_record(fd, name, first, err);
    if (code != OMEN_OK) return code;
    if (fdatasync(fd) != 0) return omen_fail(err, OMEN_UNAVAILABLE, "sync %s: %m", name);
    if (fsync(log->dir_fd) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "sync the directory of %s: %m", name);
    last_segment(log)->bytes = OMEN_RECORD_HEADER_BYTES;
    (void)atomic_fetch_add_explicit(&log->bytes, OMEN_RECORD_HEADER_BYTES, memory_order_relaxed);
    return OMEN_OK;
}

static omen_code write_own_record(int fd, const char *name, uint64_t first, omen_error *err)
{
    const struct omen_record_header header = {
        .type = OMEN_RECORD_FILE, .format_version = OMEN_LOG_FORMAT_VERSION, .position = first};
    unsigned char bytes[OMEN_RECORD_HEADER_BYTES];
    struct iovec part = {bytes, sizeof bytes};
    uint64_t offset = 0;
    omen_error failure;

    omen_record_encode(&header, NULL, 0, bytes);
    omen_code code = write_all(fd, &part, 1, &offset, &failure);
    if (code != OMEN_OK) return omen_fail(err, code, "begin %s: %s", name, failure.message);
    return OMEN_OK;
}

/* ---- appending ----------------------------------------------------------------------------- */

static omen_code append(omen_log *base, enum omen_record_type type, uint16_t algorithm_version,
                        const struct iovec *parts, int part_count, uint64_t *position,
                        omen_error *err)
{
    struct file_log *log = (struct file_log *)base;
    omen_error failure;
    size_t length = 0;

    assert(type > OMEN_RECORD_FILE && type <= OMEN_RECORD_CHECKPOINT);
    omen_code code = refuse_if_broken(log, err);
    if (code != OMEN_OK) return code;
    for (int i = 0; i < part_count; i++) {
        if (parts[i].iov_len > OMEN_RECORD_PAYLOAD_MAX - length)
            return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "TOO_LARGE",
                                     "a record's payload is longer than %u bytes",
                                     OMEN_RECORD_PAYLOAD_MAX);
        length += parts[i].iov_len;
    }

    const uint64_t stored = omen_record_stored_bytes((uint32_t)length);
    if (last_segment(log)->bytes + stored > log->file_bytes &&
        last_segment(log)->bytes > OMEN_RECORD_HEADER_BYTES) {
        code = rotate(log, &failure);
        if (code != OMEN_OK) return break_log(log, &failure, err);
    }
    const struct omen_record_header header = {.type = (uint8_t)type,
                                              .format_version = OMEN_LOG_FORMAT_VERSION,
                                              .algorithm_version = algorithm_version,
                                              .position = log->last_position + 1,
                                              .length = (uint32_t)length};
    code = write_record(log, &header, parts, part_count, &failure);
    if (code != OMEN_OK) return break_log(log, &failure, err);
    last_segment(log)->bytes += stored;
    (void)atomic_fetch_add_explicit(&log->bytes, stored, memory_order_relaxed);
    *position = ++log->last_position;
    return OMEN_OK;
}

static omen_code sync_last(omen_log *base, omen_error *err)
{
    struct file_log *log = (struct file_log *)base;
    omen_error failure;

    omen_code code = refuse_if_broken(log, err);
    if (code != OMEN_OK) return code;
    code = sync_data(log->fd, &failure);
    return code == OMEN_OK ? code : break_log(log, &failure, err);
}

/* Only the last file can have a torn tail, because the one before is synced first. */
static omen_code rotate(struct file_log *log, omen_error *err)
{
    omen_code code = sync_data(log->fd, err);
    return code == OMEN_OK ? begin_segment(log, log->last_position + 1, err) : code;
}

static omen_code sync_data(int fd, omen_error *err)
{
    if (fdatasync(fd) != 0) return omen_fail(err, OMEN_UNAVAILABLE, "sync the log: %m");
    return OMEN_OK;
}

static omen_code write_record(struct file_log *log, const struct omen_record_header *header,
                              const struct iovec *parts, int part_count, omen_error *err)
{
    static const unsigned char zeros[8];
    unsigned char bytes[OMEN_RECORD_HEADER_BYTES];
    struct iovec gathered[WRITE_PARTS];
    uint64_t offset = last_segment(log)->bytes;
    int count = 1;

    omen_record_encode(header, parts, part_count, bytes);
    gathered[0] = (struct iovec){bytes, sizeof bytes};
    for (int i = 0; i < part_count; i++) {
        if (count == WRITE_PARTS - 1) { /* one is kept for the padding */
            omen_code code = write_all(log->fd, gathered, count, &offset, err);
            if (code != OMEN_OK) return code;
            count = 0;
        }
        gathered[count++] = parts[i];
    }
    const size_t padding = omen_record_stored_bytes(header->length) - sizeof bytes - header->length;
    gathered[count++] = (struct iovec){(void *)(uintptr_t)zeros, padding};
    return write_all(log->fd, gathered, count, &offset, err);
}

/* Writes the parts at *offset and moves it on. Changes the parts. */
static omen_code write_all(int fd, struct iovec *parts, int part_count, uint64_t *offset,
                           omen_error *err)
{
    int next = 0;

    for (;;) {
        while (next < part_count && parts[next].iov_len == 0)
            next++;
        if (next == part_count) return OMEN_OK;
        const ssize_t written = pwritev(fd, parts + next, part_count - next, (off_t)*offset);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0)
            return omen_fail(err, OMEN_UNAVAILABLE, "write at offset %" PRIu64 ": %m", *offset);
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

static omen_code break_log(struct file_log *log, const omen_error *failure, omen_error *err)
{
    log->broken = true;
    log->failure = *failure;
    return omen_fail(err, OMEN_UNAVAILABLE, "%s", failure->message);
}

static omen_code refuse_if_broken(const struct file_log *log, omen_error *err)
{
    if (!log->broken) return OMEN_OK;
    return omen_fail(err, OMEN_UNAVAILABLE, "the log takes nothing more since this failed: %s",
                     log->failure.message);
}

/* ---- reading ------------------------------------------------------------------------------- */

static omen_code read_from(omen_log *base, uint64_t from, omen_log_visit_fn *visit, void *user,
                           omen_error *err)
{
    struct file_log *log = (struct file_log *)base;
    struct reading reading = {.from = from, .visit = visit, .user = user};

    omen_code code = refuse_if_broken(log, err);
    if (code != OMEN_OK) return code;
    reading.payload = omen_alloc_aligned(OMEN_RECORD_BYTES_MAX);
    if (reading.payload == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory for a record of %u bytes",
                         OMEN_RECORD_BYTES_MAX);
    for (size_t i = 0; i < log->segment_count && code == OMEN_OK; i++) {
        if (i + 1 < log->segment_count && log->segments[i + 1].first <= from) continue;
        code = read_segment(log, i, &reading, err);
    }
    omen_free(reading.payload);
    return code;
}

static omen_code read_segment(struct file_log *log, size_t i, const struct reading *reading,
                              omen_error *err)
{
    omen_code code = OMEN_OK;
    const struct segment *segment = &log->segments[i];
    struct omen_log_walk walk = {0};
    struct omen_record_header header;
    const unsigned char *payload = NULL;
    char name[NAME_BYTES];

    name_segment(segment->first, name);
    const int fd = openat(log->dir_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return omen_fail(err, OMEN_UNAVAILABLE, "open %s: %m", name);
    code = omen_log_walk_init(&walk, fd, name, segment->first, segment->bytes, err);
    while (code == OMEN_OK) {
        code = omen_log_walk_next(&walk, &header, &payload, err);
        if (code != OMEN_OK || payload == NULL) break;
        if (header.position < reading->from) continue;
        memcpy(reading->payload, payload, header.length);
        const struct omen_record record = {.type = (enum omen_record_type)header.type,
                                           .algorithm_version = header.algorithm_version,
                                           .position = header.position,
                                           .payload = reading->payload,
                                           .length = header.length};
        code = reading->visit(reading->user, &record, err);
    }
    /* Opening has read all of this and found it good. */
    if (code == OMEN_OK && walk.flaw != NULL)
        code = omen_fail(err, OMEN_DATA_LOSS,
                         "%s was damaged since it was opened, at offset %" PRIu64 ": %s", name,
                         walk.offset, walk.flaw);
    omen_log_walk_deinit(&walk);
    (void)close(fd);
    return code;
}

static uint64_t stored_bytes(const omen_log *base)
{
    const struct file_log *log = (const struct file_log *)base;

    return atomic_load_explicit(&log->bytes, memory_order_relaxed);
}
