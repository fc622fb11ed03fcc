/* search_run.c - see search_run.h. */
#include "service/search_run.h"

#include <stdlib.h>
#include <string.h>

#define ROW_ALIGN 64u
/* A hit as the engine keeps it, and in the answer, when its id is a number. */
#define HIT_BYTES (sizeof(struct omen_hit) + 20u)

static omen_code take(struct omen_search_run *run, uint64_t bytes, struct omen_fault *fault)
{
    if (omen_budget_take(run->budget, bytes, fault) != OMEN_OK) return fault->code;
    run->bytes += bytes;
    return OMEN_OK;
}

static omen_code acquire(struct omen_search_run *run, omen_engine *engine,
                         const struct omen_search_request *wanted, struct omen_fault *fault)
{
    struct omen_collection_info info;

    fault->code =
        omen_collection_acquire(engine, wanted->collection, &run->collection, &fault->error);
    if (fault->code != OMEN_OK) return fault->code;
    omen_collection_get_info(run->collection, &info);
    memcpy(run->incarnation, info.incarnation, sizeof run->incarnation);
    run->rows.dim = info.settings.dim;
    if (wanted->min_read.given &&
        memcmp(wanted->min_read.incarnation, run->incarnation, sizeof run->incarnation) != 0)
        return omen_fault_incarnation(fault, "min_read.incarnation", wanted->collection);
    return OMEN_OK;
}

omen_code omen_search_run_init(struct omen_search_run *run, omen_engine *engine,
                               const struct omen_search_request *wanted, struct omen_budget *budget,
                               struct omen_fault *fault)
{
    run->budget = budget;
    if (acquire(run, engine, wanted, fault) != OMEN_OK) return fault->code;

    size_t bytes = (size_t)wanted->count * run->rows.dim * sizeof(float);
    size_t each_bytes = wanted->count * sizeof *run->rows.each;

    bytes = (bytes + ROW_ALIGN - 1) / ROW_ALIGN * ROW_ALIGN;
    if (take(run, bytes + each_bytes, fault) != OMEN_OK) return fault->code;
    run->rows.rows = aligned_alloc(ROW_ALIGN, bytes);
    run->rows.each = calloc(1, each_bytes);
    if (run->rows.rows == NULL || run->rows.each == NULL)
        return omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                              "no memory for %u queries of dimension %u", wanted->count,
                              run->rows.dim);
    run->search.collection = run->collection;
    run->search.queries = run->rows.rows;
    run->search.count = wanted->count;
    run->search.options = wanted->options;
    run->search.each = run->rows.each;
    run->search.min_position = wanted->min_read.given ? wanted->min_read.log_position : 0;
    return OMEN_OK;
}

/* The engine bounds the sum of all k; what is beyond its limit need not be counted here. */
static uint64_t result_bytes(const struct omen_search_run *run)
{
    uint64_t hits = 0;

    for (uint32_t i = 0; i < run->search.count; i++) {
        const struct omen_query_options *options = &run->rows.each[i];

        if (options->refusal == 0 && options->k <= OMEN_K_MAX)
            hits += options->k == 0 ? OMEN_K_DEFAULT : options->k;
    }
    return (hits > OMEN_SEARCH_HITS_MAX ? OMEN_SEARCH_HITS_MAX : hits) * HIT_BYTES;
}

omen_code omen_search_run_submit(struct omen_search_run *run, uint64_t deadline_ns,
                                 void (*done)(struct omen_search *search), void *user,
                                 struct omen_fault *fault)
{
    if (take(run, result_bytes(run), fault) != OMEN_OK) return fault->code;
    run->search.deadline_ns = deadline_ns;
    run->search.done = done;
    run->search.user = user;
    return omen_search_submit(&run->search, &fault->error);
}

void omen_search_run_deinit(struct omen_search_run *run)
{
    omen_search_deinit(&run->search);
    omen_collection_release(run->collection);
    free(run->rows.rows);
    free(run->rows.each);
    if (run->budget != NULL) omen_budget_give(run->budget, run->bytes);
}
