/* admit.h - ADMIT: what the log's records do to sessions, ids, duplicates and slots.
 *
 * Serial, in log order, on the log thread (at start-up: the opening thread). Nothing but the
 * records decides, so that a replay repeats it. ADMIT hands out slots and writes their data; the
 * epoch that it collects is later linked by the applier.
 */
#ifndef OMEN_ADMIT_H
#define OMEN_ADMIT_H

#include "engine/chunk.h"
#include "engine/engine.h"
#include "engine/session.h"
#include "engine/slot_table.h"

/* Who is told when an epoch is searchable. */
struct omen_receipt {
    omen_stream *stream; /* counted; NULL at start-up */
    uint64_t seq;
    uint64_t bytes; /* of the chunk, to be taken from the backlog */
};

/* A run of records that is applied as one step. ADMIT's until it is complete, then the applier's:
 * it passes under the queues' mutex. */
struct omen_epoch {
    struct omen_epoch *next;
    uint32_t number;
    uint32_t first_slot, end_slot; /* new slots, duplicates among them */
    uint64_t position;             /* of the last record */
    uint64_t points_total;         /* of the collection, with this epoch */
    float phi_squared;
    uint64_t record_points; /* in its records, refused ones too: what ends an epoch */
    uint64_t record_bytes;
    struct omen_receipt *receipts;
    uint32_t receipt_count, receipt_capacity;
};

struct omen_admit {
    /* ADMIT's thread only. */
    struct omen_sessions sessions;
    struct omen_slot_table ids;   /* external id -> slot */
    struct omen_slot_table codes; /* code and scale -> head of the duplicate chain */
    uint32_t slot_count;
    uint64_t point_count;
    float phi_squared;
    uint32_t epoch_number; /* of the open epoch */
    uint64_t position;     /* last record admitted */
    struct omen_epoch *open;
};

OMEN_CHECKED omen_code omen_admit_init(struct omen_admit *admit, omen_error *err);
void omen_admit_deinit(struct omen_admit *admit);

/* Each admits one record at `position`. *complete is the epoch that it ended, or NULL; it is the
 * caller's, release it with omen_epoch_destroy().
 * Fails: OMEN_RESOURCE_EXHAUSTED, OMEN_UNAVAILABLE (originals): the collection must take no more.
 */

/* A session gets a new generation. `stream` (NULL at start-up) is told; an older stream of the
 * session dies. */
OMEN_CHECKED omen_code omen_admit_open(omen_collection *collection, uint64_t position,
                                       const uint8_t *session_id, omen_stream *stream,
                                       omen_error *err);
/* `chunk` is encoded; `stream` is NULL at start-up. A chunk of an old generation, or that is not
 * the session's next, changes nothing, but counts for where the epoch ends, as its record does. */
OMEN_CHECKED omen_code omen_admit_chunk(omen_collection *collection, uint64_t position,
                                        omen_chunk *chunk, omen_stream *stream,
                                        struct omen_epoch **complete, omen_error *err);
OMEN_CHECKED omen_code omen_admit_close(omen_collection *collection, uint64_t position,
                                        struct omen_epoch **complete, omen_error *err);

/* The slot of an id; the head of the duplicate chain of a code. OMEN_SLOT_NONE: there is none. */
uint32_t omen_admit_find_id(const omen_collection *collection, uint64_t id);
uint32_t omen_admit_find_code(const omen_collection *collection, const uint8_t *code, float scale);

void omen_epoch_destroy(struct omen_epoch *epoch); /* NULL is allowed; its streams are released */

/* Lets go of who waits for the epoch: it will never be searchable. */
void omen_epoch_forget_receipts(struct omen_epoch *epoch);

/* Does anybody wait for the open epoch? */
bool omen_admit_open_dirty(const struct omen_admit *admit);

#endif
