/* admit.h - ADMIT: what the log's records do to sessions, ids, duplicates and slots.
 *
 * Serial, in log order, on the log thread (at start-up: the opening thread). Nothing but the
 * records decides, so that a replay repeats it. ADMIT hands out slots and writes their data; the
 * epochs that it collects are later applied to the graph by the applier.
 *
 * Nodes. All points with the same code and scale are one *node* of the graph, carried by the slot
 * of the first of them, its *head*. The node lives as long as any of its points, so a head whose
 * own point is gone goes on carrying the others; nothing has to be linked anew.
 *
 * A slot's end: its point is deleted, replaced or expires (it *died*, and waits in `dead`, with its
 * whole node if it was a head) -> a CHECKPOINT record sweeps what refers to it out of the graph
 * (`swept`) -> from the next CHECKPOINT on it may be used again (`free`, the lowest first). The log
 * thread writes that record only when the sweep is published and no reader from before it is left
 * (grace.h).
 */
#ifndef OMEN_ADMIT_H
#define OMEN_ADMIT_H

#include "engine/chunk.h"
#include "engine/engine.h"
#include "engine/expiry.h"
#include "engine/session.h"
#include "engine/slot_table.h"
#include "engine/slots.h"

/* Who is told when an epoch is searchable. */
struct omen_receipt {
    omen_stream *stream; /* counted; NULL at start-up */
    uint64_t seq;
    uint64_t bytes; /* of the chunk, to be taken from the backlog */
};

struct omen_capture;

/* A run of records that is applied as one step. ADMIT's until it is complete, then the applier's:
 * it passes under the queues' mutex. */
struct omen_epoch {
    struct omen_epoch *next;
    uint32_t number;
    uint32_t algorithm;
    uint32_t slots_end;     /* slots that were ever used, with this epoch */
    uint64_t points_before; /* of the collection, when the epoch began */
    uint64_t points_total;  /* of the collection, with this epoch */
    uint64_t slots_used;    /* points, and dead ones that are not free yet */
    uint64_t position;      /* of the last record */
    float phi_squared;
    uint64_t record_points; /* in its records, refused ones too: what ends an epoch */
    uint64_t record_bytes;
    bool dirty; /* somebody, or a clock, waits for it although there is no receipt */

    struct omen_slots placed;  /* new slots; once complete those that still live, ascending */
    struct omen_slots retired; /* heads of nodes of earlier epochs that died */
    struct omen_slots leavers; /* duplicates of earlier epochs that died; their nodes live on */
    bool boundary;             /* a CHECKPOINT: */
    struct omen_slots swept;   /* slots that nothing may refer to afterwards, ascending */
    /* Of a boundary of which a file is wanted; whoever takes it over sets it to NULL. */
    struct omen_capture *capture;

    struct omen_receipt *receipts;
    uint32_t receipt_count, receipt_capacity;
};

struct omen_epoch_list {
    struct omen_epoch *first, *last;
};

struct omen_admit {
    /* ADMIT's thread only, but for the array of `ids` (slot_table.h). */
    struct omen_sessions sessions;
    struct omen_slot_table ids;   /* external id -> slot, dead ones until they are free */
    struct omen_slot_table codes; /* code and scale -> head of the node, if it lives */
    struct omen_expiry expiry;
    struct omen_slots dead;
    struct omen_slots swept;
    struct omen_slots free; /* descending: the lowest is taken first */
    /* Slots whose points died since the last boundary, and before it: of these no reader is left
     * when the next one comes, and their originals are erased. Heads that carry others are among
     * them. */
    struct omen_slots unerased, erasable;
    uint32_t slot_count; /* ever used */
    uint64_t point_count;
    uint32_t pivots; /* in the graph, dead ones included, and those that live */
    uint32_t living_pivots;
    uint32_t quiet_boundaries; /* since the last sweep */
    uint32_t clock_s;          /* of the last EXPIRE record */
    bool sweep_asked;          /* by a SETTINGS record: the next CHECKPOINT sweeps all dead */
    uint32_t death_s;          /* by that clock: when the first point died since the last file of
                                  a checkpoint; 0: none did */
    uint32_t algorithm;
    uint32_t checkpoint_bytes;
    float phi_squared;
    uint32_t epoch_number;         /* of the open epoch */
    uint64_t position;             /* last record admitted */
    uint64_t checkpoint_log_bytes; /* the log's size when the last CHECKPOINT was admitted */
    uint32_t checkpoint_epoch;     /* its boundary epoch; 0: none yet */
    struct omen_epoch *open;
};

OMEN_CHECKED omen_code omen_admit_init(struct omen_admit *admit, uint32_t algorithm,
                                       const struct omen_collection_settings *settings,
                                       omen_error *err);
/* The open epoch, which is empty, begins where the struct now says: after a checkpoint was read
 * into it. */
void omen_admit_begin_again(struct omen_admit *admit);
/* The collection's graph must still be there: it says which ids are keys. */
void omen_admit_deinit(omen_collection *collection);

/* Each admits one record at `position`. Epochs that it ended are added to `complete`; they are the
 * caller's, release them with omen_epoch_destroy().
 * Fails: OMEN_RESOURCE_EXHAUSTED, OMEN_UNAVAILABLE (originals): the collection must take no more.
 */

/* A session gets a new generation. `stream` (NULL at start-up) is told; an older stream of the
 * session dies. `errors_seen_seq`: the client has the item errors up to here. */
OMEN_CHECKED omen_code omen_admit_open(omen_collection *collection, uint64_t position,
                                       const uint8_t *session_id, uint64_t errors_seen_seq,
                                       omen_stream *stream, omen_error *err);
/* `chunk` is encoded; `stream` is NULL at start-up. A chunk of an old generation, or that is not
 * the session's next, changes nothing, but counts for where the epoch ends, as its record does. A
 * chunk of generation 0 belongs to no session and is always applied. */
OMEN_CHECKED omen_code omen_admit_chunk(omen_collection *collection, uint64_t position,
                                        omen_chunk *chunk, omen_stream *stream,
                                        struct omen_epoch_list *complete, omen_error *err);
OMEN_CHECKED omen_code omen_admit_close(omen_collection *collection, uint64_t position,
                                        struct omen_epoch_list *complete, omen_error *err);
/* The following three end the open epoch before them. */

/* A SETTINGS record but the first. Fails also: OMEN_DATA_LOSS, OMEN_UNIMPLEMENTED. */
OMEN_CHECKED omen_code omen_admit_settings(omen_collection *collection,
                                           const struct omen_record *record,
                                           struct omen_epoch_list *complete, omen_error *err);
/* The clock goes on to `now_s`: points expire, idle sessions are forgotten. */
OMEN_CHECKED omen_code omen_admit_expire(omen_collection *collection, uint64_t position,
                                         uint32_t now_s, struct omen_epoch_list *complete,
                                         omen_error *err);
/* Precondition: the boundary of the last CHECKPOINT was published, and its grace is over. */
OMEN_CHECKED omen_code omen_admit_checkpoint(omen_collection *collection, uint64_t position,
                                             struct omen_epoch_list *complete, omen_error *err);

/* The living slot of an id; the head of the living node of a code. OMEN_SLOT_NONE: there is none.
 */
uint32_t omen_admit_find_id(const omen_collection *collection, const struct omen_id *id);
/* By which the code of a slot is entered in the table of codes. */
uint32_t omen_admit_code_hash(const omen_collection *collection, uint32_t slot);
uint32_t omen_admit_find_code(const omen_collection *collection, const uint8_t *code, float scale);

/* admit_write.c: applies a chunk's points and deletes; its stateful item errors are added to it. */
OMEN_CHECKED omen_code omen_admit_write(omen_collection *collection, omen_chunk *chunk,
                                        omen_error *err);
/* admit_write.c: the point in this slot is gone from the open epoch on. Room for it must have been
 * reserved by omen_admit_reserve_deaths(). */
void omen_admit_kill(omen_collection *collection, uint32_t slot);
OMEN_CHECKED omen_code omen_admit_reserve_deaths(struct omen_admit *admit, uint32_t deaths,
                                                 omen_error *err);

/* admit_write.c: does the entry say when the point in its slot expires? */
bool omen_admit_expires(const omen_collection *collection, const struct omen_expiry_entry *entry);

/* recycle.c: what a CHECKPOINT record means for slots: the swept ones become free, and it is
 * decided which of the dead are swept in the boundary epoch. */
OMEN_CHECKED omen_code omen_admit_recycle(omen_collection *collection, omen_error *err);

void omen_epoch_destroy(struct omen_epoch *epoch); /* NULL is allowed; its streams are released */

/* What holds for a small collection, for one of so many points: `least` x points /
 * OMEN_EPOCH_GROWTH_POINTS, not less than `least`, and OMEN_EPOCH_GROWTH_MAX times that at most. A
 * point costs less in an epoch that has more of them to share a cell, which must be read and packed
 * once an epoch: with the number of cells the points of an epoch have to grow. */
static inline uint64_t omen_epoch_grown(uint64_t least, uint64_t points)
{
    if (points <= OMEN_EPOCH_GROWTH_POINTS) return least;
    if (points >= (uint64_t)OMEN_EPOCH_GROWTH_MAX * OMEN_EPOCH_GROWTH_POINTS)
        return OMEN_EPOCH_GROWTH_MAX * least;
    return least * points / OMEN_EPOCH_GROWTH_POINTS;
}

/* The one rule for how large an epoch gets: it ends with the chunk with which its records have so
 * many points, refused ones and deletes too, or so many bytes. From algorithm version 4 on that is
 * the settings' epoch_points and epoch_bytes as omen_epoch_grown() for the points that lived when
 * the epoch began (points_before: a function of the log, and fixed while the epoch is open, so that
 * whoever asks at any time learns the same). Before, it is the settings' own. */
struct omen_epoch_limit {
    uint64_t points, bytes;
};
struct omen_epoch_limit omen_epoch_limit(const struct omen_collection_settings *settings,
                                         const struct omen_epoch *epoch);

/* Lets go of who waits for the epoch: it will never be searchable. */
void omen_epoch_forget_receipts(struct omen_epoch *epoch);

/* Does anybody wait for the open epoch? */
bool omen_admit_open_dirty(const struct omen_admit *admit);
/* Has nothing happened in the open epoch? */
bool omen_admit_open_empty(const struct omen_admit *admit);

#endif
