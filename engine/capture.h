/* capture.h - a collection's state at a CHECKPOINT record, copied aside while work goes on.
 *
 * In two parts, because two threads own the state and are not at the same record at the same time:
 *   - ADMIT's part is copied by the log thread when it has admitted the record: sessions, lists,
 *     clocks, and the arrays of slots that ADMIT changes;
 *   - the graph's part is copied by the applier and its crew when they have applied the record's
 *     boundary epoch: rows, distances, states, homes, chains, cells.
 * What is fixed for as long as a slot is in use (codes, ids, keys) is not copied at all: no slot
 * that is in use at the record can be used again before the next CHECKPOINT record, and the log
 * thread writes none until the file is there. Slots that are free at the record may be used again
 * at once, by ADMIT, while the other two read: so those go by runs of slots that are in use.
 *
 * The cost is memory: all that is copied, about 420 bytes for each slot, until it is written.
 */
#ifndef OMEN_CAPTURE_H
#define OMEN_CAPTURE_H

#include <stdint.h>

#include "engine/collection.h"

struct omen_step;

enum omen_checkpoint_list {
    OMEN_LIST_DEAD,
    OMEN_LIST_SWEPT,
    OMEN_LIST_FREE,
    OMEN_LIST_ERASABLE,
    OMEN_LISTS
};

/* As on disk. Counts are of what follows in other sections. */
struct omen_checkpoint_state {
    uint64_t position; /* of the CHECKPOINT record */
    uint64_t points;
    uint64_t created_s; /* Unix time */
    uint32_t algorithm;
    uint32_t checkpoint_bytes;
    uint32_t slots; /* ever used */
    uint32_t epoch; /* the boundary's */
    uint32_t pivots, living_pivots;
    uint32_t quiet_boundaries;
    uint32_t clock_s;
    float phi_squared;
    uint32_t
        death_s;     /* when the first point died that no older file leaves out; 0: there is none */
    uint32_t stride; /* of codes, in bytes */
    uint32_t arrays; /* of each segment */
    uint32_t lists[OMEN_LISTS];
    uint32_t expiry;
    uint32_t sessions;
    uint32_t keys;
    uint32_t cells;
    uint32_t reserved[2]; /* zero */
};

/* A session as in a checkpoint, then its item errors, each with its key behind it. */
struct omen_stored_session {
    uint8_t id[OMEN_SESSION_ID_BYTES];
    uint64_t generation;
    uint64_t last_seq;
    uint64_t errors_from_seq;
    uint32_t last_epoch;
    uint32_t touched_s;
    uint32_t error_count;
    uint32_t reserved; /* zero */
};
struct omen_stored_error {
    uint64_t seq;
    uint64_t num;
    uint32_t detail;
    uint16_t refusal;
    uint16_t index;
    uint8_t has_id;
    uint8_t key_bytes;
    uint8_t reserved[6]; /* zero */
};

/* Bytes that were put together. */
struct omen_captured_bytes {
    void *bytes;
    uint64_t count;
};

struct omen_capture {
    struct omen_checkpoint_state state;

    /* ADMIT's. */
    struct omen_slots lists[OMEN_LISTS]; /* state.lists has the counts, too */
    struct omen_captured_bytes expiry, sessions;
    struct omen_tuning tuning;

    /* Of each segment the arrays that ADMIT or the graph changes; the others' pointers are NULL.
     * Slots that are free are zero in the graph's. */
    struct omen_segment *segments;
    uint32_t segment_count;
    size_t segment_bytes; /* of its pages */

    /* The graph's. */
    struct omen_captured_bytes cells;
    omen_code code; /* not OMEN_OK: the graph's part could not be copied */
    omen_error error;

    uint64_t admit_ns, graph_ns; /* how long it took */
};

/* Memory for the copies of segments: of their own pages, already there when they are written to. */
struct omen_capture_room {
    void **pages;
    uint32_t count;
    size_t segment_bytes;
};
/* Makes room for what the collection has now, and what is likely to come meanwhile. Taking pages
 * from the kernel is most of the work of a copy, and nobody waits for it here. Any thread. Without
 * memory there is less room, or none: whoever copies then makes up for it. */
void omen_capture_room_init(struct omen_capture_room *room, const omen_collection *collection);
void omen_capture_room_deinit(struct omen_capture_room *room); /* a zeroed one is allowed */

/* ADMIT's part, right after its CHECKPOINT record. Log thread. Owns: *out. Takes: what is in the
 * room, also on failure. Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_capture_create(omen_collection *collection,
                                           struct omen_capture_room *room,
                                           struct omen_capture **out, omen_error *err);
void omen_capture_destroy(struct omen_capture *capture); /* NULL is allowed */

/* The graph's part, when the step has applied the boundary. Without memory capture->code says so,
 * and the step goes on. */
void omen_capture_graph(struct omen_step *step, struct omen_capture *capture);

/* The runs of slots of a segment that are in use and follow each other, ascending: each call gives
 * the next one's first slot and its length, 0 at the end. */
struct omen_capture_runs {
    const struct omen_capture *capture;
    uint32_t next, end; /* of the slots to go over */
    uint32_t free_left; /* of the list of free ones (descending): those not passed */
};
void omen_capture_runs_init(struct omen_capture_runs *runs, const struct omen_capture *capture,
                            uint32_t segment);
uint32_t omen_capture_runs_next(struct omen_capture_runs *runs, uint32_t *first);

/* The slots of a segment that the capture has. */
uint32_t omen_capture_slots(const struct omen_capture *capture, uint32_t segment);

/* Frees what was copied of a segment, once it is written. */
void omen_capture_drop_segment(struct omen_capture *capture, uint32_t segment);

#endif
