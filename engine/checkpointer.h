/* checkpointer.h - when checkpoints become files, and the thread that writes them.
 *
 * Whether there is a boundary the log says; whether its state is written to a file is nobody's
 * business but the disk's. The way of a file: somebody wants it (`wanted`: the tail would take too
 * long to replay, points died too long ago, a call) -> this thread has memory ready for the copies
 * (`ready`) -> the log thread writes a CHECKPOINT record as soon as it may, and copies ADMIT's part
 * (omen_checkpointer_begin) -> the applier copies the graph's part (omen_checkpointer_take) -> this
 * thread writes the file and the manifest -> the log thread trims the log. One file of a collection
 * at a time; until it is there the log thread writes no other CHECKPOINT record, so that no slot
 * that is in it is used again (capture.h).
 *
 * A file that cannot be made costs nothing but a longer replay: it is told, and tried again later.
 */
#ifndef OMEN_CHECKPOINTER_H
#define OMEN_CHECKPOINTER_H

#include <stdatomic.h>

#include "engine/engine.h"
#include "engine/manifest.h"

struct omen_capture;
struct omen_capture_room;
struct omen_checkpointer;
struct omen_epoch;

/* Of each collection. */
struct omen_checkpoints {
    /* Any thread. */
    _Atomic bool wanted; /* the next record shall become a file */
    _Atomic bool ready;  /* and there is memory for it; set by this thread, cleared by the log\'s */
    _Atomic bool busy;   /* set by the log thread, until the file is there or given up */
    _Atomic uint64_t tail_ns;       /* what replaying the records since the last file would take */
    _Atomic uint64_t trim_before;   /* for the log thread; 0: nothing to do */
    _Atomic uint32_t death_s;       /* ADMIT's (admit.h), as of the last group */
    _Atomic uint64_t file_position; /* of the newest file; 0: there is none */

    /* The checkpointer's mutex; at start-up the opening thread's. */
    struct omen_manifest manifest;
    uint64_t begun, ended; /* files */
    uint64_t made;         /* the last one that is there; 0: none is */
    omen_code code;        /* of the last one that came to nothing: why */
    omen_error error;
    uint64_t begun_tail_ns; /* what the one that was begun has taken off tail_ns */
    /* When the first point died of those that no file leaves out, because one failed, that the one
     * that was begun is the first to leave out, and that only the newest file leaves out. */
    uint32_t failed_death_s, begun_death_s, older_death_s;
    uint64_t not_before_ns; /* CLOCK_MONOTONIC: the next one of itself */
    struct omen_checkpoint_info info;
    struct omen_capture_room *room; /* while it is ready; then the log thread's */
    struct omen_capture *capture;   /* waits to be written */
    omen_collection *next;          /* in the queue; counted */
};

/* Owns: *out, release it with omen_checkpointer_destroy(). Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_checkpointer_create(omen_engine *engine, struct omen_checkpointer **out,
                                                omen_error *err);
/* Starts the thread, once the ingest threads run. Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_checkpointer_start(struct omen_checkpointer *checkpointer,
                                               omen_error *err);
/* Ends the thread, and a file half-way; later ones come to nothing. Before the ingest threads end.
 */
void omen_checkpointer_stop(struct omen_checkpointer *checkpointer); /* NULL is allowed */
/* After the ingest threads have ended. NULL is allowed. */
void omen_checkpointer_destroy(struct omen_checkpointer *checkpointer);

/* Wants a file, for whatever reason. Any thread that holds no lock of the ingest. */
void omen_checkpointer_want(omen_collection *collection);

/* Some work was done, which took so long: is a file due now? Ingest threads. */
void omen_checkpointer_worked(omen_collection *collection, uint64_t ns);

/* The CHECKPOINT record of this boundary was admitted, and a file is wanted. Log thread. */
void omen_checkpointer_begin(omen_collection *collection, struct omen_epoch *boundary);

/* The boundary, which has a capture, was applied or not. Applier. */
void omen_checkpointer_take(omen_collection *collection, struct omen_epoch *boundary, bool applied);

/* The log was trimmed as trim_before said, or could not be. Log thread. */
void omen_checkpointer_trimmed(omen_collection *collection, uint64_t before);

/* The collection takes no writes any more: nobody need wait for a file. Any thread. */
void omen_checkpointer_give_up(omen_collection *collection);

/* Frees what is ready for a collection that is being destroyed. */
void omen_checkpointer_forget(omen_collection *collection);

void omen_checkpointer_get_info(omen_collection *collection, struct omen_checkpoint_info *out);

#endif
