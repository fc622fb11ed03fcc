/* get_run.h - one look-up of points, of either front end.
 *
 * Decode into run->wanted, init, go, look at run->got.
 */
#ifndef OMEN_GET_RUN_H
#define OMEN_GET_RUN_H

#include "engine/engine.h"
#include "service/budget.h"
#include "service/decode.h"
#include "service/reply.h"

struct omen_get_run {
    struct omen_points_get wanted; /* freed with the run */
    struct omen_points_got got;    /* valid after a good go */

    /* get_run.c's */
    omen_collection *collection;
    struct omen_budget *budget;
    uint64_t bytes;
    uint8_t incarnation[OMEN_INCARNATION_BYTES];
    struct omen_id *ids;
    struct omen_got *points;
    float *vectors;
};

/* Acquires the collection and takes memory for the answer from the budget. `run` is zero but for
 * `wanted`.
 * Owns:  run, also after a failure; release it with omen_get_run_deinit().
 * Fails: OMEN_NOT_FOUND, OMEN_RESOURCE_EXHAUSTED. */
omen_code omen_get_run_init(struct omen_get_run *run, omen_engine *engine,
                            struct omen_budget *budget, struct omen_fault *fault);

/* May block. Fails: as omen_collection_get_points(). */
omen_code omen_get_run_go(struct omen_get_run *run, struct omen_fault *fault);

void omen_get_run_deinit(struct omen_get_run *run); /* also of a zeroed one */

#endif
