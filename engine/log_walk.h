/* log_walk.h - one pass over one log file, from its first record to the first that is not there.
 *
 * It tells three things apart: the end of the file, bytes that are not the next record (a flaw;
 * whether it is a torn tail or damage is the caller's to find out), and records that are whole but
 * not for us (a newer format, an unknown type), which fail.
 */
#ifndef OMEN_LOG_WALK_H
#define OMEN_LOG_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/record.h"
#include "engine/storage.h"

/* What is walked: a file, and as much of it as counts. */
struct omen_log_source {
    struct omen_storage *storage; /* all borrowed */
    int file;
    const char *name; /* for sentences */
    uint64_t first;   /* position of its first record */
    uint64_t end;     /* nothing is read at or after this offset */
};

struct omen_log_walk {
    struct omen_log_source source;

    /* Where the walk stands. */
    uint64_t offset;   /* of the record that comes next */
    uint64_t position; /* that it must have */
    const char *flaw;  /* why it is not there; NULL: no complaint */

    /* The bytes at hand: a window of the file, read in large blocks. */
    unsigned char *window;
    size_t window_room;
    uint64_t window_offset;
    size_t window_bytes;
};

/* Begins before the file's own record, which must have position source->first and is not shown.
 * Owns:  walk, release it with omen_log_walk_deinit() (also after a failure).
 * Fails: OMEN_RESOURCE_EXHAUSTED, and as omen_log_walk_next(). A file without a good record of its
 *        own is a flaw at offset 0. */
OMEN_CHECKED omen_code omen_log_walk_init(struct omen_log_walk *walk,
                                          const struct omen_log_source *source, omen_error *err);
void omen_log_walk_deinit(struct omen_log_walk *walk);

/* Goes one record on. *payload is NULL at the end and at a flaw; else it is borrowed until the next
 * call, and not aligned. A mark at the end of the file is left out: the walk stops before it.
 * Fails: OMEN_UNAVAILABLE    the file cannot be read
 *        OMEN_UNIMPLEMENTED  the record's format is newer than this program
 *        OMEN_DATA_LOSS      the record is whole, but of no known type or version */
OMEN_CHECKED omen_code omen_log_walk_next(struct omen_log_walk *walk,
                                          struct omen_record_header *header,
                                          const unsigned char **payload, omen_error *err);

/* At a flaw: was the record that should be here synced once? Whole records and marks from here to
 * the end of the file tell how far syncs had come when they were written. Then what stands here is
 * no unfinished write. Fails: OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_log_walk_was_synced(struct omen_log_walk *walk, bool *synced,
                                                omen_error *err);

#endif
