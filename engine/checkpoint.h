/* checkpoint.h - a collection as of one CHECKPOINT record, in a file: what is in it, writing
 * it, reading it. Which files count the manifest says (manifest.h).
 *
 * A file <dir>/checkpoint-<position, 20 digits>.omen consists of sections (sections.h), all of
 * version 1, all with the record's position as their stamp, in this order:
 *
 *     type  name      payload
 *      1    STATE     struct omen_checkpoint_state
 *      2    SETTINGS  as in a collection's first record (settings.h); its version is the algorithm
 *                     version under which it is written
 *      8    TUNING    as in a later SETTINGS record: target recall, calibration
 *      3    LIST      slots (u32 each); index says which list (enum omen_checkpoint_list); long
 *                     ones come in several sections
 *      4    EXPIRY    struct omen_expiry_entry, as in the heap; in several
 *      5    SESSIONS  each session, oldest first, with its item errors (capture.c)
 *     256+n ARRAY     array n of a segment (graph.c), of all its slots; index is the segment
 *      6    KEYS      of each slot of a segment whose id is a key: slot (u32), length (u8), bytes;
 *                     behind the segment's arrays, if it has keys
 *      7    CELLS     of each pivot, by number: its slot, the number of members, the members (u32
 *                     each); in several, behind all segments
 *      0    END
 *
 * Left out, because it follows from the rest: the tables of ids and codes, the pivots' packed
 * codes. Left out, because nothing of a dead point shall stay: ids of dead points, and all that
 * stands in slots that are swept or free (zeros are in their place).
 */
#ifndef OMEN_CHECKPOINT_H
#define OMEN_CHECKPOINT_H

#include <stdatomic.h>

#include "engine/capture.h"
#include "engine/collection.h"
#include "engine/manifest.h"

#define OMEN_CHECKPOINT_VERSION 1u

enum omen_checkpoint_section {
    OMEN_CHECKPOINT_STATE = 1,
    OMEN_CHECKPOINT_SETTINGS = 2,
    OMEN_CHECKPOINT_LIST = 3,
    OMEN_CHECKPOINT_EXPIRY = 4,
    OMEN_CHECKPOINT_SESSIONS = 5,
    OMEN_CHECKPOINT_KEYS = 6,
    OMEN_CHECKPOINT_CELLS = 7,
    OMEN_CHECKPOINT_TUNING = 8,
    OMEN_CHECKPOINT_ARRAY = 256
};

/* Makes the file of a complete capture, durable under its name, after the originals. `stop` ends
 * the writing early (OMEN_CANCELLED). Any thread; while it runs no slot that the capture has in use
 * may be used again, so no CHECKPOINT record may be admitted.
 * Fails: OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED, OMEN_CANCELLED; no file of this name is left,
 * if the storage lets us remove it. */
OMEN_CHECKED omen_code omen_checkpoint_write(omen_collection *collection, int dir,
                                             struct omen_capture *capture, const _Atomic bool *stop,
                                             uint64_t *bytes, omen_error *err);

/* Makes of an empty collection what the file has: everything but the log's tail. At start-up.
 * Fails: OMEN_DATA_LOSS (damaged, or missing), OMEN_UNIMPLEMENTED (of a newer server),
 *        OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED; then the collection is to be emptied. */
OMEN_CHECKED omen_code omen_checkpoint_read(omen_collection *collection, int dir, uint64_t position,
                                            omen_error *err);

#endif
