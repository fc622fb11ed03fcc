/* log_file.c - the log in files: append, sync, rotate, read, and mending after a crash.
 *
 * Happy path of an append: encode the header, write header, parts and padding with one gathering
 * write at the end of the last file. A sync is one fdatasync of that file, because a file is synced
 * before the next one is begun; a mark behind the last record then says how far it went. A new file
 * is complete (its own record, and its name in the directory) and synced before a record goes into
 * it.
 *
 * Failure modes:
 *   - There is no room for a record, or for the file that it would begin: what was written of it is
 *     cut off again, and the log goes on as if nobody had asked.
 *   - The file system refuses a write for another reason, or a sync for any: the log is broken from
 *     then on and refuses everything, naming the first failure. What is on disk then is at worst a
 *     torn tail.
 *   - A crash leaves a torn tail: of what was appended since the last sync any part may be there,
 *     whole records behind bad ones among it. Opening cuts it off from the first bad record on.
 *     Nobody was told that it is durable.
 *   - Anything else that is not the next record (a bad one that was synced, as a later record or a
 *     mark proves; a file missing between two others; a bad record in a file that is not the last)
 *     is damage and opening fails: guessing would serve a state that no log describes.
 *   - A trim first makes durable where the log begins from now on (log_trim.h), then removes files.
 *     Opening removes what a crash left of them. Without that note a log begins at 1, so that a
 *     lost first file is seen.
 */
#include "engine/log_file.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/fault_point.h"
#include "engine/log_trim.h"
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
    struct omen_storage *storage; /* borrowed */
    uint64_t file_bytes;
    int dir; /* the directory may be renamed: every file is reached through this */

    /* The log thread's. */
    struct segment *segments; /* ascending; the last one is appended to */
    size_t segment_count;
    size_t segment_room;
    uint64_t first_position; /* 1, or what a trim left */
    uint64_t last_position;
    uint64_t synced_position; /* the last one that a sync has covered */
    int file;                 /* the last segment */
    bool broken;              /* a write or a sync failed */
    omen_error failure;       /* the first one, if broken */

    /* Written by the log thread, read by any. */
    _Atomic(uint64_t) bytes;
};

static omen_code append(omen_log *log, enum omen_record_type type, uint16_t algorithm_version,
                        const struct iovec *parts, int part_count, uint64_t *position,
                        omen_error *err);
static omen_code sync_last(omen_log *log, omen_error *err);
static omen_code read_from(omen_log *log, uint64_t from, omen_log_visit_fn *visit, void *user,
                           omen_error *err);
static omen_code rotate_now(omen_log *log, omen_error *err);
static omen_code trim(omen_log *log, uint64_t before, omen_error *err);
static uint64_t last_position(const omen_log *log);
static uint64_t stored_bytes(const omen_log *log);
static void close_files(omen_log *log);

static const struct omen_log_ops file_ops = {
    .append = append,
    .sync = sync_last,
    .read = read_from,
    .rotate = rotate_now,
    .trim = trim,
    .last_position = last_position,
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

struct listing {
    struct file_log *log;
    omen_error *err;
    omen_code code;
};

static omen_code open_files(struct file_log *log, const char *dir, struct omen_log_report *report,
                            omen_error *err);
static omen_code list_segments(struct file_log *log, omen_error *err);
static omen_code add_segment(struct file_log *log, uint64_t first, omen_error *err);
static omen_code drop_trimmed(struct file_log *log, omen_error *err);
static omen_code remove_segments(struct file_log *log, size_t count, omen_error *err);
static omen_code check_segments(struct file_log *log, struct omen_log_report *report,
                                omen_error *err);
static omen_code check_segment(struct file_log *log, size_t i, struct omen_log_report *report,
                               omen_error *err);
static omen_code mend(struct file_log *log, struct omen_log_walk *walk,
                      struct omen_log_report *report, omen_error *err);
static omen_code begin_segment(struct file_log *log, uint64_t first, omen_error *err);
static omen_code write_own_record(const struct file_log *log, int file, const char *name,
                                  uint64_t first, omen_error *err);
static void write_mark(struct file_log *log);
static uint32_t unsynced(const struct file_log *log);
static omen_code rotate(struct file_log *log, omen_error *err);
static omen_code sync_data(const struct file_log *log, omen_error *err);
static omen_code write_record(struct file_log *log, const struct omen_record_header *header,
                              const struct iovec *parts, int part_count, omen_error *err);
static omen_code read_segment(struct file_log *log, size_t i, const struct reading *reading,
                              omen_error *err);
static omen_code remove_begun(struct file_log *log, const char *name, omen_code code,
                              omen_error *err);
static omen_code take_back(struct file_log *log, omen_code code, const omen_error *failure,
                           omen_error *err);
static omen_code pass_or_break(struct file_log *log, omen_code code, const omen_error *failure,
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

omen_code omen_log_file_open(struct omen_storage *storage, const char *dir, omen_log **out,
                             struct omen_log_report *report, omen_error *err)
{
    return omen_log_file_open_sized(storage, dir, OMEN_LOG_FILE_BYTES, out, report, err);
}

omen_code omen_log_file_open_sized(struct omen_storage *storage, const char *dir,
                                   uint64_t file_bytes, omen_log **out,
                                   struct omen_log_report *report, omen_error *err)
{
    *out = NULL;
    *report = (struct omen_log_report){0};
    struct file_log *log = omen_alloc_zeroed(sizeof *log);
    if (log == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory for the log");
    log->base.ops = &file_ops;
    log->storage = storage == NULL ? omen_storage_files() : storage;
    log->file_bytes = file_bytes;
    log->file = -1;
    atomic_init(&log->bytes, 0);
    log->dir = log->storage->ops->open_dir(log->storage, dir);

    const omen_code code = open_files(log, dir, report, err);
    if (code == OMEN_OK)
        *out = &log->base;
    else
        close_files(&log->base);
    return code;
}

static omen_code open_files(struct file_log *log, const char *dir, struct omen_log_report *report,
                            omen_error *err)
{
    struct omen_storage *storage = log->storage;

    if (log->dir < 0) return omen_fail(err, OMEN_UNAVAILABLE, "open %s: %m", dir);
    omen_code code = list_segments(log, err);
    if (code == OMEN_OK) code = omen_log_trim_load(storage, log->dir, &log->first_position, err);
    if (code == OMEN_OK) code = drop_trimmed(log, err);
    if (code == OMEN_OK) code = check_segments(log, report, err);
    if (code == OMEN_OK && log->segment_count == 0) code = begin_segment(log, 1, err);
    if (code != OMEN_OK) return code;
    /* A process that was killed may have written records, and even a file's name, that no sync has
     * covered. From here on they count as durable, so they must be. */
    if (storage->ops->sync(storage, log->file, false) != 0 ||
        storage->ops->sync(storage, log->dir, true) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "sync the log in %s: %m", dir);
    log->synced_position = log->last_position;
    write_mark(log);
    report->first_position = log->first_position;
    report->last_position = log->last_position;
    return OMEN_OK;
}

static void close_files(omen_log *base)
{
    struct file_log *log = (struct file_log *)base;

    /* Whoever wanted durability has synced. */
    if (log->file >= 0) log->storage->ops->close(log->storage, log->file);
    if (log->dir >= 0) log->storage->ops->close(log->storage, log->dir);
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
static bool note_name(void *user, const char *found)
{
    struct listing *listing = user;
    char name[NAME_BYTES];

    if (strncmp(found, "log-", 4) != 0) return true;
    const uint64_t first = strtoull(found + 4, NULL, 10);
    name_segment(first, name);
    if (strcmp(name, found) != 0) return true;
    listing->code = add_segment(listing->log, first, listing->err);
    return listing->code == OMEN_OK;
}

static omen_code list_segments(struct file_log *log, omen_error *err)
{
    struct listing listing = {log, err, OMEN_OK};

    if (log->storage->ops->list(log->storage, log->dir, note_name, &listing) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "list the log's directory: %m");
    if (listing.code == OMEN_OK && log->segment_count > 0)
        qsort(log->segments, log->segment_count, sizeof *log->segments, compare_segments);
    return listing.code;
}

/* Finishes a trim that a crash cut short: its files count no more. */
static omen_code drop_trimmed(struct file_log *log, omen_error *err)
{
    size_t count = 0;

    while (count < log->segment_count && log->segments[count].first < log->first_position)
        count++;
    return count == 0 ? OMEN_OK : remove_segments(log, count, err);
}

/* Takes the first files out of the log and of the directory. What could not be removed is found
 * again by the next opening. */
static omen_code remove_segments(struct file_log *log, size_t count, omen_error *err)
{
    omen_code code = OMEN_OK;
    char name[NAME_BYTES];

    for (size_t i = 0; i < count; i++) {
        name_segment(log->segments[i].first, name);
        (void)atomic_fetch_sub_explicit(&log->bytes, log->segments[i].bytes, memory_order_relaxed);
        if (log->storage->ops->remove(log->storage, log->dir, name) != 0)
            code = omen_fail(err, OMEN_UNAVAILABLE, "remove %s: %m", name);
    }
    log->segment_count -= count;
    memmove(log->segments, log->segments + count, log->segment_count * sizeof *log->segments);
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

    log->last_position = log->first_position - 1;
    name_segment(log->first_position, missing);
    if (log->segment_count == 0 && log->first_position > 1)
        return omen_fail(err, OMEN_DATA_LOSS, "%s is missing, where a trimmed log begins", missing);
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
    char name[NAME_BYTES];

    name_segment(segment->first, name);
    const int file = log->storage->ops->open(log->storage, log->dir, name, O_RDWR);
    const int64_t size = file < 0 ? -1 : log->storage->ops->size(log->storage, file);
    if (size < 0) {
        code = omen_fail(err, OMEN_UNAVAILABLE, "open %s: %m", name);
        goto done;
    }
    const struct omen_log_source source = {log->storage, file, name, segment->first,
                                           (uint64_t)size};
    code = omen_log_walk_init(&walk, &source, err);
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
        log->file = file;
    else if (file >= 0)
        log->storage->ops->close(log->storage, file);
    return code;
}

/* At a flaw in the last file: cuts a torn tail off, or refuses damage. */
static omen_code mend(struct file_log *log, struct omen_log_walk *walk,
                      struct omen_log_report *report, omen_error *err)
{
    const struct omen_log_source *source = &walk->source;
    bool synced = false;

    omen_code code = omen_log_walk_was_synced(walk, &synced, err);
    if (code != OMEN_OK) return code;
    if (synced)
        return omen_fail(err, OMEN_DATA_LOSS,
                         "%s is damaged at offset %" PRIu64 ": %s, and what follows shows that it "
                         "was synced",
                         source->name, walk->offset, walk->flaw);

    if (log->storage->ops->truncate(log->storage, source->file, walk->offset) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "cut %s at offset %" PRIu64 ": %m", source->name,
                         walk->offset);
    report->torn_bytes = source->end - walk->offset;
    (void)snprintf(report->torn_file, sizeof report->torn_file, "%s", source->name);
    if (walk->offset == 0) {
        code = write_own_record(log, source->file, source->name, source->first, err);
        if (code != OMEN_OK) return code;
        walk->offset = OMEN_RECORD_HEADER_BYTES;
    }
    if (log->storage->ops->sync(log->storage, source->file, true) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "sync %s: %m", source->name);
    return OMEN_OK;
}

/* Makes a new last file, complete and synced, and leaves the one before.
 * Fails: OMEN_RESOURCE_EXHAUSTED DISK_FULL: there is no new file, also not after power loss, and
 * the log may go on with the one before. OMEN_UNAVAILABLE: it may not. */
static omen_code begin_segment(struct file_log *log, uint64_t first, omen_error *err)
{
    struct omen_storage *storage = log->storage;
    char name[NAME_BYTES];

    name_segment(first, name);
    omen_code code = add_segment(log, first, err);
    if (code != OMEN_OK) return code;
    const int file = storage->ops->open(storage, log->dir, name, O_RDWR | O_CREAT | O_EXCL);
    if (file < 0) {
        code = omen_storage_fail(err, "create %s", name);
        log->segment_count--;
        return code;
    }
    code = write_own_record(log, file, name, first, err);
    if (code == OMEN_OK && storage->ops->sync(storage, file, false) != 0)
        code = omen_fail(err, OMEN_UNAVAILABLE, "sync %s: %m", name);
    if (code == OMEN_OK && storage->ops->sync(storage, log->dir, true) != 0)
        code = omen_fail(err, OMEN_UNAVAILABLE, "sync the directory of %s: %m", name);
    if (code != OMEN_OK) {
        storage->ops->close(storage, file);
        log->segment_count--;
        return code == OMEN_RESOURCE_EXHAUSTED ? remove_begun(log, name, code, err) : code;
    }
    if (log->file >= 0) storage->ops->close(storage, log->file);
    log->file = file;
    last_segment(log)->bytes = OMEN_RECORD_HEADER_BYTES;
    (void)atomic_fetch_add_explicit(&log->bytes, OMEN_RECORD_HEADER_BYTES, memory_order_relaxed);
    return OMEN_OK;
}

/* A file that found no room must not come back: the record whose number it has as its name may go
 * into the file before it. */
static omen_code remove_begun(struct file_log *log, const char *name, omen_code code,
                              omen_error *err)
{
    struct omen_storage *storage = log->storage;

    if (storage->ops->remove(storage, log->dir, name) == 0 &&
        storage->ops->sync(storage, log->dir, true) == 0)
        return code;
    return omen_fail(err, OMEN_UNAVAILABLE, "remove %s, for which there was no room: %m", name);
}

static omen_code write_own_record(const struct file_log *log, int file, const char *name,
                                  uint64_t first, omen_error *err)
{
    const struct omen_record_header header = {
        .type = OMEN_RECORD_FILE, .format_version = OMEN_LOG_FORMAT_VERSION, .position = first};
    unsigned char bytes[OMEN_RECORD_HEADER_BYTES];
    struct iovec part = {bytes, sizeof bytes};
    uint64_t offset = 0;
    omen_error failure;

    omen_record_encode(&header, NULL, 0, bytes);
    omen_code code = omen_storage_write_all(log->storage, file, &part, 1, &offset, &failure);
    if (code != OMEN_OK)
        return omen_fail_because(err, code, failure.reason, "begin %s: %s", name, failure.message);
    return OMEN_OK;
}

/* Behind the last record, where the next one will overwrite it: all before it was synced. It need
 * not get to the disk: it only lets opening tell damage from a torn tail. But half a mark, from a
 * disk that is full, would be damage once another file follows. */
static void write_mark(struct file_log *log)
{
    const struct omen_record_header header = {.type = OMEN_RECORD_FILE,
                                              .format_version = OMEN_LOG_FORMAT_VERSION,
                                              .position = log->synced_position};
    unsigned char bytes[OMEN_RECORD_HEADER_BYTES];
    struct iovec part = {bytes, sizeof bytes};
    uint64_t offset = last_segment(log)->bytes;
    omen_code code;

    omen_record_encode(&header, NULL, 0, bytes);
    code = omen_storage_write_all(log->storage, log->file, &part, 1, &offset, NULL);
    if (code == OMEN_OK ||
        log->storage->ops->truncate(log->storage, log->file, last_segment(log)->bytes) == 0)
        return;
    omen_error cut;
    (void)!omen_fail(&cut, OMEN_UNAVAILABLE, "cut off half a mark: %m");
    (void)!break_log(log, &cut, NULL);
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
        if (code != OMEN_OK) return pass_or_break(log, code, &failure, err);
    }
    const struct omen_record_header header = {.type = (uint8_t)type,
                                              .format_version = OMEN_LOG_FORMAT_VERSION,
                                              .algorithm_version = algorithm_version,
                                              .position = log->last_position + 1,
                                              .unsynced = unsynced(log),
                                              .length = (uint32_t)length};
    code = write_record(log, &header, parts, part_count, &failure);
    if (code != OMEN_OK) return take_back(log, code, &failure, err);
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
    code = sync_data(log, &failure);
    if (code != OMEN_OK) return break_log(log, &failure, err);
    log->synced_position = log->last_position;
    write_mark(log);
    return OMEN_OK;
}

/* How many records the next one has before it that no sync has covered. */
static uint32_t unsynced(const struct file_log *log)
{
    const uint64_t count = log->last_position - log->synced_position;

    assert(count < UINT32_MAX); /* they fill a file, and rotating syncs */
    return (uint32_t)count;
}

/* Only the last file can have a torn tail, because the one before is synced first. */
static omen_code rotate(struct file_log *log, omen_error *err)
{
    omen_code code = sync_data(log, err);
    if (code != OMEN_OK) return code;
    log->synced_position = log->last_position;
    return begin_segment(log, log->last_position + 1, err);
}

static omen_code rotate_now(omen_log *base, omen_error *err)
{
    struct file_log *log = (struct file_log *)base;
    omen_error failure;

    omen_code code = refuse_if_broken(log, err);
    if (code != OMEN_OK || last_segment(log)->bytes <= OMEN_RECORD_HEADER_BYTES) return code;
    code = rotate(log, &failure);
    return code == OMEN_OK ? OMEN_OK : pass_or_break(log, code, &failure, err);
}

static omen_code sync_data(const struct file_log *log, omen_error *err)
{
    if (log->storage->ops->sync(log->storage, log->file, false) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "sync the log: %m");
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
            omen_code code =
                omen_storage_write_all(log->storage, log->file, gathered, count, &offset, err);
            if (code != OMEN_OK) return code;
            count = 0;
        }
        gathered[count++] = parts[i];
    }
    const size_t padding = omen_record_stored_bytes(header->length) - sizeof bytes - header->length;
    gathered[count++] = (struct iovec){(void *)(uintptr_t)zeros, padding};
    return omen_storage_write_all(log->storage, log->file, gathered, count, &offset, err);
}

/* No room is no harm, if what was written of the record can be cut off: behind the last record
 * nothing must stand that could be taken for one. */
static omen_code take_back(struct file_log *log, omen_code code, const omen_error *failure,
                           omen_error *err)
{
    omen_error cut;

    if (code != OMEN_RESOURCE_EXHAUSTED ||
        log->storage->ops->truncate(log->storage, log->file, last_segment(log)->bytes) == 0)
        return pass_or_break(log, code, failure, err);
    (void)!omen_fail(&cut, OMEN_UNAVAILABLE, "cut off a record for which there was no room: %m");
    return break_log(log, &cut, err);
}

static omen_code pass_or_break(struct file_log *log, omen_code code, const omen_error *failure,
                               omen_error *err)
{
    if (code != OMEN_RESOURCE_EXHAUSTED) return break_log(log, failure, err);
    if (err != NULL) *err = *failure;
    return code;
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
    if (from < log->first_position)
        return omen_fail(err, OMEN_FAILED_PRECONDITION,
                         "the log begins at record %" PRIu64
                         " since it was trimmed; record %" PRIu64 " is gone",
                         log->first_position, from);
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
    const int file = log->storage->ops->open(log->storage, log->dir, name, O_RDONLY);
    if (file < 0) return omen_fail(err, OMEN_UNAVAILABLE, "open %s: %m", name);
    const struct omen_log_source source = {log->storage, file, name, segment->first,
                                           segment->bytes};
    code = omen_log_walk_init(&walk, &source, err);
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
    log->storage->ops->close(log->storage, file);
    return code;
}

/* ---- trimming ------------------------------------------------------------------------------ */

static omen_code trim(omen_log *base, uint64_t before, omen_error *err)
{
    struct file_log *log = (struct file_log *)base;
    omen_error failure;
    size_t count = 0; /* files to go; the last one stays */

    omen_code code = refuse_if_broken(log, err);
    if (code != OMEN_OK) return code;
    while (count + 1 < log->segment_count && log->segments[count + 1].first <= before)
        count++;
    if (count == 0) return OMEN_OK;
    /* A failure may be one of a sync, after which nobody knows which note will be there. */
    code = omen_log_trim_store(log->storage, log->dir, log->segments[count].first, &failure);
    if (code != OMEN_OK) return pass_or_break(log, code, &failure, err);
    OMEN_FAULT_POINT("trim"); /* the log begins later, and its files are still there */
    log->first_position = log->segments[count].first;
    return remove_segments(log, count, err);
}

static uint64_t last_position(const omen_log *base)
{
    return ((const struct file_log *)base)->last_position;
}

static uint64_t stored_bytes(const omen_log *base)
{
    const struct file_log *log = (const struct file_log *)base;

    return atomic_load_explicit(&log->bytes, memory_order_relaxed);
}
