/* search_run.h - one search of either front end: the collection, its queries, the engine's struct.
 *
 * Decode the request, init, fill run->rows, submit; then, in `done`, look at run->search.
 */
#ifndef OMEN_SEARCH_RUN_H
#define OMEN_SEARCH_RUN_H

#include "engine/engine.h"
#include "service/budget.h"
#include "service/decode.h"
#include "service/fault.h"

struct omen_search_run {
    omen_collection *collection; /* counted */
    uint8_t incarnation[OMEN_INCARNATION_BYTES];
    struct omen_search_rows rows; /* aligned for the kernels */
    struct omen_search search;
    struct omen_budget *budget;
    uint64_t bytes;
};

/* Acquires the collection, takes memory for queries and results from the budget, and makes room
 * for the queries. `run` is zero before.
 * Owns:  run, also after a failure; release it with omen_search_run_deinit().
 * Fails: OMEN_NOT_FOUND, OMEN_FAILED_PRECONDITION INCARNATION_CHANGED, OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_search_run_init(struct omen_search_run *run, omen_engine *engine,
                                            const struct omen_search_request *wanted,
                                            struct omen_budget *budget, struct omen_fault *fault);

/* Hands the search to the engine; its done(search) comes if and only if this returns OMEN_OK, and
 * may come before it does. `deadline_ns` as in struct omen_search.
 * Fails: as omen_search_submit(), and OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_search_run_submit(struct omen_search_run *run, uint64_t deadline_ns,
                                              void (*done)(struct omen_search *search), void *user,
                                              struct omen_fault *fault);

void omen_search_run_deinit(struct omen_search_run *run);

#endif
