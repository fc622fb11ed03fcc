/* get_run.c - see get_run.h. */
#include "service/get_run.h"

#include <stdlib.h>
#include <string.h>

#define ANSWER_COPIES 2u /* the vectors, and the answer that they are copied into */

omen_code omen_get_run_init(struct omen_get_run *run, omen_engine *engine,
                            struct omen_budget *budget, struct omen_fault *fault)
{
    const struct omen_points_get *wanted = &run->wanted;
    struct omen_collection_info info;
    size_t floats = 0;

    fault->code =
        omen_collection_acquire(engine, wanted->collection, &run->collection, &fault->error);
    if (fault->code != OMEN_OK) return fault->code;
    omen_collection_get_info(run->collection, &info);
    memcpy(run->incarnation, info.incarnation, sizeof run->incarnation);
    run->got.dim = info.settings.dim;
    if (!wanted->without_vectors) floats = (size_t)wanted->count * info.settings.dim;

    uint64_t bytes = floats * sizeof(float) * ANSWER_COPIES +
                     wanted->count * (sizeof *wanted->ids + sizeof *run->ids + sizeof *run->points);
    if (omen_budget_take(budget, bytes, fault) != OMEN_OK) return fault->code;
    run->budget = budget;
    run->bytes = bytes;
    run->ids = calloc(wanted->count, sizeof *run->ids);
    run->points = calloc(wanted->count, sizeof *run->points);
    if (floats > 0) run->vectors = malloc(floats * sizeof(float));
    if (run->ids == NULL || run->points == NULL || (floats > 0 && run->vectors == NULL))
        return omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                              "no memory for %u points of dimension %u", wanted->count,
                              info.settings.dim);
    for (uint32_t i = 0; i < wanted->count; i++)
        run->ids[i] = wanted->ids[i].id;
    return OMEN_OK;
}

omen_code omen_get_run_go(struct omen_get_run *run, struct omen_fault *fault)
{
    struct omen_points_got *got = &run->got;

    fault->code =
        omen_collection_get_points(run->collection, run->ids, run->wanted.count, run->points,
                                   run->vectors, &got->log_position, &fault->error);
    got->incarnation = run->incarnation;
    got->ids = run->wanted.ids;
    got->points = run->points;
    got->vectors = run->vectors;
    got->count = run->wanted.count;
    return fault->code;
}

void omen_get_run_deinit(struct omen_get_run *run)
{
    free(run->vectors);
    free(run->points);
    free(run->ids);
    free(run->wanted.ids);
    omen_collection_release(run->collection);
    if (run->budget != NULL) omen_budget_give(run->budget, run->bytes);
}
