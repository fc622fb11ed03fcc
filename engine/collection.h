/* collection.h - the inside of a collection: who writes what.
 *
 * Three threads of work meet here: the log thread (append, sync, ADMIT), the applier with its crew
 * (PROPOSE, LINK, PUBLISH), and searches. Fields are grouped by writer. What passes from the log
 * thread to the applier passes under the queues' mutex; what searches read is atomic or fixed
 * before it can be reached (graph.h, and the essay at `published` below).
 */
#ifndef OMEN_COLLECTION_H
#define OMEN_COLLECTION_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/admit.h"
#include "engine/cells.h"
#include "engine/regions.h"
#include "engine/checkpointer.h"
#include "engine/engine.h"
#include "engine/grace.h"
#include "engine/graph.h"
#include "engine/log.h"
#include "engine/memory_budget.h"
#include "engine/originals.h"
#include "engine/tuning.h"

struct omen_query_sample;

/* What searches see, published by the applier at the end of an epoch.
 *
 * The applier stores everything else first, then `epoch` (release), then `position` (release).
 * A search loads `position` first, then `epoch` (both acquire), then the rest: so its epoch covers
 * at least its position, and the tables cover at least its epoch. Being ahead is harmless: slots
 * born later than the pinned epoch are dropped from the answer by their visibility word, and a
 * count of points that is ahead can only make a search that finds fewer than k look once more.
 * Staleness costs freshness only: a search may miss an epoch that was published while it started.
 */
struct omen_published {
    /* Written by the applier (release), read by searches and anyone else (acquire). */
    _Atomic uint32_t slots; /* ever used */
    _Atomic uint64_t slots_used;
    _Atomic uint64_t checkpoint_position;
    _Atomic uint64_t points;
    _Atomic float phi_squared;
    _Atomic uint32_t epoch;
    _Atomic uint64_t position;
};

struct omen_collection {
    /* Fixed once it is opened. */
    omen_engine *engine;
    char name[OMEN_NAME_BYTES_MAX + 1];
    uint8_t incarnation[OMEN_INCARNATION_BYTES];
    char *dir;
    struct omen_collection_settings settings;
    struct omen_kernels kernels;

    /* Written by ADMIT's thread under the mutex, and read by it without; read by anyone under it.
     * Searches read `tuned`, which is made of it. */
    pthread_mutex_t tuning_mutex;
    struct omen_tuning tuning;
    struct omen_tuned tuned;

    /* Queries that came in (query_sample.h); NULL: none are kept. And whoever calibrates. */
    struct omen_query_sample *sample;
    pthread_mutex_t calibrate_mutex;
    _Atomic uint32_t calibrate_waiting; /* clients that wait for the mutex: hurry */
    uint64_t calibrate_after_ns;        /* calibrator's thread only (calibrator.c), like the next */
    bool calibrate_failed;
    uint64_t scrub_after_ns; /* scrubber's thread only */

    /* Any thread. */
    _Atomic uint32_t references;
    _Atomic bool gone;              /* it was deleted: background work on it may end */
    _Atomic uint64_t backlog_bytes; /* chunks between push and publish */
    struct omen_grace grace;

    /* Log thread; at start-up the opening thread. The mutex is held while a group is written and
     * admitted; whoever wants ADMIT's state at rest (validate) takes it, before apply_mutex. */
    pthread_mutex_t admit_mutex;
    struct omen_log *log;
    struct omen_admit admit;
    _Atomic uint64_t hash_bytes;       /* of ADMIT's two tables; written there, read by anyone */
    _Atomic uint64_t durable_position; /* written there, read by anyone */
    _Atomic uint32_t algorithm;        /* written there, read by anyone */

    /* ADMIT writes new slots; the applier links them (graph.h says which array is whose). */
    struct omen_graph graph;
    struct omen_originals originals;

    /* Applier and crew. The mutex is held through an epoch and its publication; whoever wants the
     * graph at rest (its hash) takes it. */
    pthread_mutex_t apply_mutex;
    struct omen_cells cells;
    struct omen_regions regions;  /* from algorithm version 3 on */
    _Atomic uint64_t table_bytes; /* cells and graph; written by the applier, read by anyone */

    struct omen_published published;

    struct omen_checkpoints checkpoints; /* checkpointer.h says what is whose */

    /* Under the queues' mutex (ingest.c). */
    struct omen_collection *next_to_log; /* in the engine's list of logs with work */
    struct omen_collection *next_to_apply;
    struct omen_collection *next_to_expire;
    uint32_t next_expiry_s; /* of its first point that expires; UINT32_MAX: none does */
    bool in_log_list;
    bool in_apply_list;
    bool applying;
    bool dropped;
    bool failed; /* the log or an allocation failed: writes are refused, searches go on */
    omen_error failure;
    struct omen_memory_share memory_share;
    struct omen_pending *pending_first, *pending_last;
    struct omen_epoch *complete_first, *complete_last; /* admitted epochs that wait */
    uint32_t open_points; /* of the epoch that is still open, as of the last group */
    bool open_dirty;      /* somebody waits for that epoch */
    omen_stream *streams; /* all open ones */
    uint64_t notify_round;
};

/* Opens what is in `dir` and replays its log; name and settings are in there. Uses the engine's
 * crew: start-up, or a collection just made (whose log has nothing to apply). Takes: dir, a heap
 * string, also on failure. Owns: *out, one reference. Fails: as omen_engine_open. */
OMEN_CHECKED omen_code omen_collection_load(omen_engine *engine, char *dir, omen_collection **out,
                                            omen_error *err);

/* Makes the files of a new collection in `dir` (which exists and is empty), and closes them: a log
 * with its SETTINGS record. */
OMEN_CHECKED omen_code omen_collection_make(omen_engine *engine, const char *dir, const char *name,
                                            const uint8_t *incarnation,
                                            const struct omen_collection_settings *settings,
                                            omen_error *err);

/* The log says so. ADMIT's thread. */
void omen_collection_tune(omen_collection *collection, const struct omen_tuning *tuning);

/* Makes the empty parts of a collection whose settings are known; the originals keep the rows of
 * the first `keep` slots. At start-up. Fails: as omen_engine_open. */
struct omen_settings_made;
OMEN_CHECKED omen_code omen_collection_begin(omen_collection *collection,
                                             const struct omen_settings_made *made,
                                             uint32_t algorithm, uint32_t keep, omen_error *err);

/* Takes all of that away again; what is in the files stays. No reader and no writer may be left. */
void omen_collection_empty(omen_collection *collection);

/* load_checkpoint.c: the newest checkpoint that is whole becomes the collection's state, or none
 * does if the log has everything. A damaged one is told, and counted. At start-up. Fails: as
 * omen_engine_open. */
OMEN_CHECKED omen_code omen_collection_load_checkpoint(omen_collection *collection,
                                                       const struct omen_log_report *log,
                                                       omen_error *err);

/* Tells how much of a collection's checkpoint was read. */
void omen_collection_tell_loading(const omen_collection *collection, uint64_t done, uint64_t all);

/* Where its log and its checkpoints are. */
struct omen_storage *omen_collection_storage(const omen_collection *collection);

/* A counted reference more. */
void omen_collection_retain(omen_collection *collection);

#endif
