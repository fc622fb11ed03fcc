/* log_trim.h - the note of where a trimmed log begins: a small file beside the log's own.
 *
 * Without it a log begins at position 1, and a first file that has another name means that one is
 * lost. It is 24 bytes, a record of type OMEN_RECORD_FILE whose position is the first that the log
 * keeps, in <dir>/log.trimmed, and is replaced as a whole (as log.trimmed.new, renamed).
 */
#ifndef OMEN_LOG_TRIM_H
#define OMEN_LOG_TRIM_H

#include "engine/storage.h"

/* *first is the note's position, 1 if there is none.
 * Fails: OMEN_DATA_LOSS (the note is damaged), OMEN_UNIMPLEMENTED (a newer format),
 *        OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_log_trim_load(struct omen_storage *storage, int dir, uint64_t *first,
                                          omen_error *err);

/* Durable when it returns OMEN_OK; else the old note or this one is there. Fails: OMEN_UNAVAILABLE.
 */
OMEN_CHECKED omen_code omen_log_trim_store(struct omen_storage *storage, int dir, uint64_t first,
                                           omen_error *err);

/* Makes, in a directory without one, a log that has no record and begins at `first`. Durable when
 * it returns OMEN_OK. Fails: OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_log_trim_begin(struct omen_storage *storage, int dir, uint64_t first,
                                           omen_error *err);

#endif
