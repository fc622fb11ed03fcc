/* methods.h - every method that is served: one object for each RPC. */
#ifndef OMEN_METHODS_H
#define OMEN_METHODS_H

#include "service/decode.h"
#include "service/listener.h"
#include "service/reply.h"

extern const struct omen_method omen_method_insert; /* methods_insert.c */
extern const struct omen_method omen_method_upsert; /* methods_write.c */
extern const struct omen_method omen_method_delete;
extern const struct omen_method omen_method_get;               /* methods_get.c */
extern const struct omen_method omen_method_search;            /* methods_search.c */
extern const struct omen_method omen_method_create_collection; /* methods_collection.c */
extern const struct omen_method omen_method_get_collection;
extern const struct omen_method omen_method_update_collection;
extern const struct omen_method omen_method_list_collections;
extern const struct omen_method omen_method_delete_collection;
extern const struct omen_method omen_method_validate_collection;
extern const struct omen_method omen_method_estimate_memory;
extern const struct omen_method omen_method_create_snapshot; /* methods_snapshot.c */
extern const struct omen_method omen_method_list_snapshots;
extern const struct omen_method omen_method_delete_snapshot;
extern const struct omen_method omen_method_verify_snapshot;
extern const struct omen_method omen_method_download_snapshot; /* methods_download.c */
extern const struct omen_method omen_method_restore_snapshot;  /* methods_restore.c */
extern const struct omen_method omen_method_health_check;      /* health.c */
extern const struct omen_method omen_method_health_watch;
extern const struct omen_method omen_method_reflection; /* reflection.c */
extern const struct omen_method omen_method_reflection_v1alpha;
extern const struct omen_method omen_method_unknown; /* service.c: every other path */

/* ---- for both front ends (methods_collection.c) -------------------------------------------- */

#define OMEN_GRAPH_HASH_BYTES 17u /* hex and a NUL */

/* A collection as it is now. `graph_hash` has OMEN_GRAPH_HASH_BYTES, or is NULL: hashing takes
 * seconds for millions of points. Threads: the workers. Fails: OMEN_NOT_FOUND. */
OMEN_CHECKED omen_code omen_collection_look_up(omen_engine *engine, const char *name,
                                               char *graph_hash, struct omen_collection_info *info,
                                               omen_error *err);

/* Does what the request says, and tells the collection afterwards. Threads: the workers. Fails:
 * OMEN_NOT_FOUND, and those of omen_collection_calibrate(). */
OMEN_CHECKED omen_code omen_collection_update(omen_engine *engine,
                                              const struct omen_update_request *request,
                                              struct omen_collection_info *info, omen_error *err);

/* Checks a collection's invariants. Threads: the workers. Fails: OMEN_NOT_FOUND, and those of
 * omen_collection_validate(). */
OMEN_CHECKED omen_code omen_collection_check(omen_engine *engine, const char *name,
                                             struct omen_validation *out, omen_error *err);

/* What such a collection would take. Any thread. Fails: OMEN_INVALID_ARGUMENT. */
OMEN_CHECKED omen_code omen_memory_estimate(omen_engine *engine,
                                            const struct omen_estimate_request *request,
                                            struct omen_estimate_answer *out, omen_error *err);

#endif
