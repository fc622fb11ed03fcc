/* tuning.h - what the log says of a collection's recall: the target, and what the last calibration
 * found for it. ADMIT writes it, in log order; it changes no graph, only what searches do that name
 * no ef.
 */
#ifndef OMEN_TUNING_H
#define OMEN_TUNING_H

#include <stdatomic.h>

#include "engine/engine.h"

/* The k that calibrations are made for. */
#define OMEN_CALIBRATED_K_LOW  10u
#define OMEN_CALIBRATED_K_HIGH 100u

/* All of it is state that a restart must find again. */
struct omen_tuning {
    uint32_t target; /* parts per million */
    struct omen_calibration calibration;
};

/* The part that every query reads. The two words are read apart: in between, a search goes by one
 * of the new calibration and one of the old, which is as good as either. */
struct omen_tuned {
    _Atomic uint64_t depths; /* 14 bits each, from the lowest: ef, ef, rerank, rerank; 0: none */
    _Atomic uint32_t points;
};

/* ADMIT's thread. */
void omen_tuned_set(struct omen_tuned *tuned, const struct omen_calibration *calibration);

/* ef and the nodes to re-rank for a query that names no ef, in a collection of so many points.
 * *rerank is 0 where no calibration says it. Any thread. */
void omen_tuned_get(const struct omen_tuned *tuned, uint32_t k, uint64_t points, uint32_t *ef,
                    uint32_t *rerank);

/* Is it one that omen_calibrate() may have made? Anything read from a log is asked. */
OMEN_CHECKED bool omen_calibration_may_be(const struct omen_calibration *calibration);

#endif
