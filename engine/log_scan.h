/* log_scan.h - reading a log that may be damaged, without changing it: every whole record, and a
 * sentence for all that is not there. For who verifies and who recovers; a server opens a log with
 * log.h, and refuses a damaged one.
 */
#ifndef OMEN_LOG_SCAN_H
#define OMEN_LOG_SCAN_H

#include "engine/record.h"
#include "engine/storage.h"

struct omen_log_scan {
    struct omen_storage *storage; /* all borrowed */
    int dir;
    const char *title; /* of the directory, in sentences */

    /* Called with each whole record, by position; NULL: nobody wants them. `payload` is borrowed
     * until the return, and not aligned. */
    omen_code (*record)(void *user, const struct omen_record_header *header,
                        const unsigned char *payload, omen_error *err);
    /* Called with a sentence for each damage: file, offset, what is lost. */
    void (*damage)(void *user, const char *sentence);
    void *user;
};

struct omen_log_scanned {
    uint64_t first_position; /* where the log begins */
    uint64_t last_position;  /* of the last whole record; first_position - 1: there is none */
    uint64_t records;        /* whole ones */
    uint64_t bytes;          /* of its files */
    uint64_t torn_bytes;     /* at the end: an unfinished write, which the next start cuts off */
    uint32_t files;
    uint32_t damages;
};

/* Fails: OMEN_UNIMPLEMENTED (a newer format), OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED, and as
 * record() does. Damage is no failure. */
OMEN_CHECKED omen_code omen_log_scan(const struct omen_log_scan *scan, struct omen_log_scanned *out,
                                     omen_error *err);

#endif
