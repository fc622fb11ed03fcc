/* checkpoint_scan.h - reading a checkpoint's file that may be damaged, without a collection: a
 * sentence for every section that is bad, and what the originals must be. For who verifies and who
 * recovers.
 */
#ifndef OMEN_CHECKPOINT_SCAN_H
#define OMEN_CHECKPOINT_SCAN_H

#include "engine/storage.h"

struct omen_checkpoint_scanned {
    uint64_t position;
    uint64_t bytes;
    bool whole; /* the rest is valid only then */
    uint32_t slots;
    uint32_t dim;
    bool half;        /* originals are halves */
    uint64_t *hashes; /* of each slot's original (graph.h); of slots that do not live: of no use */
    bool *lives;      /* of each slot */
};

struct omen_checkpoint_scan {
    struct omen_storage *storage; /* all borrowed */
    int dir;
    uint64_t position;
    void (*damage)(void *user, const char *sentence); /* NULL: nobody wants to hear it */
    void *user;
};

/* Owns: what *out points to, release it with omen_checkpoint_scanned_deinit(), also after a
 * failure. Fails: OMEN_UNIMPLEMENTED (of a newer version), OMEN_UNAVAILABLE,
 * OMEN_RESOURCE_EXHAUSTED. Damage is no failure. */
OMEN_CHECKED omen_code omen_checkpoint_scan(const struct omen_checkpoint_scan *scan,
                                            struct omen_checkpoint_scanned *out, omen_error *err);
void omen_checkpoint_scanned_deinit(struct omen_checkpoint_scanned *scanned);

#endif
