/* log.h - the log of one collection: an interface, and its implementation in files.
 *
 * The files are a file system's, or those of storage_memory.h, which has no disk and fails as it is
 * told: the same code reads, checks and mends both.
 *
 * A log is a sequence of records; a record's *position* is its number, 1, 2, 3, ... Appending does
 * not make durable, omen_log_sync() does: what was appended before it returns OK survives power
 * loss. One thread appends, syncs and trims; reading happens before the first append (start-up).
 *
 * On disk (log_file.c, format version 2), little-endian, every record 8-byte aligned:
 *
 *     offset size
 *      0     4    payload length in bytes
 *      4     4    CRC32C of bytes 8.. of the header and of the payload
 *      8     8    position
 *     16     1    type
 *     17     1    format version (2)
 *     18     2    algorithm version
 *     20     4    unsynced: how many records before this one no sync had covered (format 1: zero)
 *     24     n    payload, then zeros up to a multiple of 8
 *
 * Files <dir>/log-<first position, 20 digits>.omen, each starting with a 24-byte record of type 0
 * (the file's own header: length 0, position = first position). <dir>/log.trimmed says where a
 * trimmed log begins (log_trim.h).
 *
 * The mark: after a sync a 24-byte record of type 0 with the last synced position is written behind
 * the last record, and not synced; the next record overwrites it. `unsynced` and the mark tell a
 * torn tail from damage: of a group (what is appended between two syncs) power loss may keep any
 * sectors, so a bad record with whole ones behind it is still a torn tail, unless a record or a
 * mark behind it says that it had been synced before. Format 1 (no mark, `unsynced` zero) is read;
 * there whatever is whole counts as synced.
 */
#ifndef OMEN_LOG_H
#define OMEN_LOG_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "engine/engine.h"
#include "engine/storage.h"

enum omen_record_type {
    OMEN_RECORD_FILE = 0, /* a log file's own first record and mark; never seen by readers */
    OMEN_RECORD_OPEN = 1,
    OMEN_RECORD_CHUNK = 2,
    OMEN_RECORD_CLOSE = 3,
    OMEN_RECORD_SETTINGS = 4,
    OMEN_RECORD_EXPIRE = 5,
    OMEN_RECORD_CHECKPOINT = 6
};

#define OMEN_RECORD_HEADER_BYTES 24u
#define OMEN_LOG_FORMAT_VERSION  2u

struct omen_record {
    enum omen_record_type type;
    uint16_t algorithm_version;
    uint64_t position;
    const void *payload; /* 64-byte aligned when handed to a visitor */
    uint32_t length;
};

typedef struct omen_log omen_log;

/* Called for each record in order; `record` is borrowed until the return. A code other than OMEN_OK
 * ends the reading and is what omen_log_read returns. */
typedef omen_code omen_log_visit_fn(void *user, const struct omen_record *record, omen_error *err);

struct omen_log_ops {
    omen_code (*append)(omen_log *log, enum omen_record_type type, uint16_t algorithm_version,
                        const struct iovec *parts, int part_count, uint64_t *position,
                        omen_error *err);
    omen_code (*sync)(omen_log *log, omen_error *err);
    omen_code (*read)(omen_log *log, uint64_t from, omen_log_visit_fn *visit, void *user,
                      omen_error *err);
    omen_code (*rotate)(omen_log *log, omen_error *err);
    omen_code (*trim)(omen_log *log, uint64_t before, omen_error *err);
    uint64_t (*last_position)(const omen_log *log);
    uint64_t (*bytes)(const omen_log *log);
    void (*close)(omen_log *log);
};
struct omen_log {
    const struct omen_log_ops *ops; /* an implementation's struct starts with this */
};

/* Appends one record, gathered from `parts`. Its position (last + 1) goes to *position.
 * Fails: OMEN_UNAVAILABLE (the file system said no; the log takes nothing more after that),
 *        OMEN_RESOURCE_EXHAUSTED DISK_FULL (nothing of the record is in the log, which goes on),
 *        OMEN_INVALID_ARGUMENT (longer than OMEN_RECORD_BYTES_MAX). */
OMEN_CHECKED omen_code omen_log_append(omen_log *log, enum omen_record_type type,
                                       uint16_t algorithm_version, const struct iovec *parts,
                                       int part_count, uint64_t *position, omen_error *err);

/* Makes everything appended so far durable. A failure is final: a sync is never tried again, since
 * the kernel may have dropped the dirty pages. */
OMEN_CHECKED omen_code omen_log_sync(omen_log *log, omen_error *err);

/* Visits the records at positions >= from.
 * Fails: OMEN_FAILED_PRECONDITION (`from` was trimmed away), OMEN_UNAVAILABLE, OMEN_DATA_LOSS,
 *        OMEN_RESOURCE_EXHAUSTED, and as visit does. */
OMEN_CHECKED omen_code omen_log_read(omen_log *log, uint64_t from, omen_log_visit_fn *visit,
                                     void *user, omen_error *err);

/* Lets go of whole files in which every record is below `before`; what is below it in other files
 * stays, and the last file always does. Durable when it returns OMEN_OK; after a crash in between
 * it is done or not, and opening finishes it.
 * Fails: OMEN_UNAVAILABLE: the log takes nothing more if it is unknown where it will begin; if a
 *        file could not be removed it goes on, and the next opening tries again.
 *        OMEN_RESOURCE_EXHAUSTED DISK_FULL: nothing was done. */
OMEN_CHECKED omen_code omen_log_trim(omen_log *log, uint64_t before, omen_error *err);

/* Begins a new file, so that a trim can let go of all that was appended before, and makes that
 * durable. Nothing happens if the last file has no record yet. Fails: OMEN_UNAVAILABLE, as a sync.
 */
OMEN_CHECKED omen_code omen_log_rotate(omen_log *log, omen_error *err);

uint64_t omen_log_last_position(const omen_log *log); /* appended; the log thread's. 0: none */
uint64_t omen_log_bytes(const omen_log *log);         /* on disk, without the mark; any thread */
void omen_log_close(omen_log *log);                   /* NULL is allowed */

/* What opening found and mended. */
struct omen_log_report {
    uint64_t first_position; /* 1, or more: the log was trimmed */
    uint64_t last_position;  /* first_position - 1: empty */
    uint64_t torn_bytes;     /* cut from the end: the unfinished write of a crash */
    char torn_file[64];
};

/* Opens the log in `dir` (which exists), creating its first file if there is none. Reads and checks
 * every record. A bad record in the last file that no sync is known to have covered is a torn tail:
 * it is cut off with all behind it, synced, and reported. Any other is damage, and so is a first
 * file that is not where the log begins.
 * Owns:  *out. Borrows `storage` until it is closed; NULL is the file system.
 * Fails: OMEN_DATA_LOSS (names file and offset), OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED,
 *        OMEN_UNIMPLEMENTED (a newer format version). */
OMEN_CHECKED omen_code omen_log_file_open(struct omen_storage *storage, const char *dir,
                                          omen_log **out, struct omen_log_report *report,
                                          omen_error *err);

#endif
