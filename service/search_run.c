/* search_run.c - see search_run.h. */
#include "service/search_run.h"

#include <stdlib.h>

#define ROW_ALIGN 64u

omen_code omen_search_run_init(struct omen_search_run *run, omen_engine *engine,
                               const struct omen_search_request *wanted, struct omen_fault *fault)
{
    omen_code code =
        omen_collection_acquire(engine, wanted->collection, &run->collection, &fault->error);
    if (code != OMEN_OK) return code;

    uint32_t dim = omen_collection_dim(run->collection);
    size_t bytes = (size_t)wanted->count * dim * sizeof(float);

    run->queries = aligned_alloc(ROW_ALIGN, (bytes + ROW_ALIGN - 1) / ROW_ALIGN * ROW_ALIGN);
    if (run->queries == NULL)
        return omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                              "no memory for %u queries of dimension %u", wanted->count, dim);
    run->search.collection = run->collection;
    run->search.queries = run->queries;
    run->search.count = wanted->count;
    run->search.k = wanted->k;
    run->search.ef = wanted->ef;
    run->search.exact = wanted->exact;
    return OMEN_OK;
}

omen_code omen_search_run_submit(struct omen_search_run *run,
                                 void (*done)(struct omen_search *search), void *user,
                                 struct omen_fault *fault)
{
    run->search.done = done;
    run->search.user = user;
    return omen_search_submit(&run->search, &fault->error);
}

void omen_search_run_deinit(struct omen_search_run *run)
{
    omen_search_deinit(&run->search);
    omen_collection_release(run->collection);
    free(run->queries);
}
