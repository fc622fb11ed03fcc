/* engine_state.h - the inside of an engine: registry, threads, options as used. */
#ifndef OMEN_ENGINE_STATE_H
#define OMEN_ENGINE_STATE_H

#include <pthread.h>

#include "engine/collection.h"
#include "engine/crew.h"
#include "engine/engine.h"
#include "engine/memory_budget.h"
#include "engine/room.h"

struct omen_calibrator;
struct omen_checkpointer;
struct omen_ingest;
struct omen_scrubber;
struct omen_search_pool;
struct omen_step;

struct omen_engine {
    /* Fixed once open. */
    char *data_dir;
    struct omen_storage *storage; /* borrowed */
    int dir;                      /* data_dir in it */
    int lock_fd;
    uint32_t ingest_threads;
    uint32_t shards;
    uint32_t search_threads;
    uint32_t calibrate_seconds;
    uint32_t calibrate_percent;
    uint32_t scrub_mib;
    unsigned isas;
    omen_event_fn *event;
    void *event_user;
    struct omen_step *step; /* who has the crew has it */
    omen_crew *crew;        /* at start-up the opening thread's, then the applier's */
    omen_writes_fn *writes;
    struct omen_ingest *ingest;
    struct omen_checkpointer *checkpointer; /* NULL while collections are loaded */
    uint64_t replay_ns_max;                 /* 0: off */
    void (*loading)(void *user, uint32_t thousandths);
    uint32_t loaded, to_load; /* collections; at start-up */
    struct omen_search_pool *pool;
    struct omen_calibrator *calibrator; /* NULL: calibrations are made when asked for */
    struct omen_scrubber *scrubber;     /* NULL: rows are checked when they are touched */
    struct omen_room room;              /* room.h says whose it is */
    struct omen_memory_budget memory;

    /* What omen_engine_tell_writes() has told, and of whom: under its mutex. */
    pthread_mutex_t writes_mutex;
    uint32_t failed_count; /* collections that take no writes until a restart */
    omen_error failure;    /* of the last of them */

    pthread_mutex_t snapshots_mutex; /* names in the folder of snapshots come and go under it */
    pthread_mutex_t registry_mutex;
    /* Under the mutex: sorted by name, each counted. */
    omen_collection *collections[OMEN_COLLECTIONS_MAX];
    uint32_t collection_count;
};

/* Fails: OMEN_ALREADY_EXISTS COLLECTION_EXISTS, OMEN_RESOURCE_EXHAUSTED COLLECTION_LIMIT. What it
 * says may be otherwise a moment later. */
OMEN_CHECKED omen_code omen_engine_name_is_free(omen_engine *engine, const char *name,
                                                omen_error *err);

/* Registers a collection that was loaded from <incarnation>.making, and renames that directory.
 * `info` may be NULL. Takes: collection, also on failure; the directory is then left.
 * Fails: as omen_engine_name_is_free(), OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_engine_adopt(omen_engine *engine, omen_collection *collection,
                                         struct omen_collection_info *info, omen_error *err);

/* All collections, each counted, into `out`: room for OMEN_COLLECTIONS_MAX. Returns how many. */
uint32_t omen_engine_list(omen_engine *engine, omen_collection **out);

OMEN_PRINTF(3, 4)
void omen_engine_tell(const omen_engine *engine, enum omen_event_level level, const char *format,
                      ...);

/* At start-up: this share of the collection in work is loaded. */
void omen_engine_tell_loading(omen_engine *engine, double share);

/* A collection takes no writes any more, or (`why` is NULL) is one of those no longer. Any thread.
 */
void omen_engine_count_failed(omen_engine *engine, const omen_error *why);

/* Tells whether writes are taken, after something about it has changed. Any thread. */
void omen_engine_tell_writes(omen_engine *engine);

#endif
