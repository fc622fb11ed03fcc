/* search_run.h - one search of either front end: the collection, its queries, the engine's struct.
 *
 * Decode the request, init, fill run->queries, submit; then, in `done`, look at run->search.
 */
#ifndef OMEN_SEARCH_RUN_H
#define OMEN_SEARCH_RUN_H

#include "engine/engine.h"
#include "service/decode.h"
#include "service/fault.h"

struct omen_search_run {
    omen_collection *collection; /* counted */
    float *queries;              /* count x dim, aligned for the kernels */
    struct omen_search search;
};

/* Acquires the collection and makes room for the queries. `run` is zero before.
 * Owns:  run, also after a failure; release it with omen_search_run_deinit().
 * Fails: OMEN_NOT_FOUND, OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_search_run_init(struct omen_search_run *run, omen_engine *engine,
                                            const struct omen_search_request *wanted,
                                            struct omen_fault *fault);

/* Hands the search to the engine; its done(search) comes if and only if this returns OMEN_OK, and
 * may come before it does. Fails: as omen_search_submit(). */
OMEN_CHECKED omen_code omen_search_run_submit(struct omen_search_run *run,
                                              void (*done)(struct omen_search *search), void *user,
                                              struct omen_fault *fault);

void omen_search_run_deinit(struct omen_search_run *run);

#endif
