/* recall_curve.h - recall against ef, as measured on some queries, and what is chosen of it. Pure
 * functions.
 *
 * The curve's steps are fixed for a k: k itself, then each a quarter more. At each step there are
 * OMEN_CURVE_DEPTHS depths of re-ranking, the last of which is ef: everything that was found.
 */
#ifndef OMEN_RECALL_CURVE_H
#define OMEN_RECALL_CURVE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"

#define OMEN_CURVE_STEPS_MAX 40u
#define OMEN_CURVE_DEPTHS    3u

struct omen_recall_curve {
    uint32_t k;
    uint32_t steps;
    uint32_t ef[OMEN_CURVE_STEPS_MAX];
    uint32_t rerank[OMEN_CURVE_STEPS_MAX][OMEN_CURVE_DEPTHS]; /* ascending */
    uint32_t queries;
    /* Over the queries, of the share of true neighbours that each has found; and its square. */
    double sum[OMEN_CURVE_STEPS_MAX][OMEN_CURVE_DEPTHS];
    double squares[OMEN_CURVE_STEPS_MAX];
};

/* Steps and depths for this k, and no query yet. */
void omen_recall_curve_init(struct omen_recall_curve *curve, uint32_t k);

/* A query's recall at one step, for each depth. The queries are counted by the caller. */
void omen_recall_curve_add(struct omen_recall_curve *curve, uint32_t step,
                           const double recall[OMEN_CURVE_DEPTHS]);

struct omen_depth {
    uint32_t ef, rerank;
    uint32_t recall; /* there, parts per million */
};

/* The smallest ef whose recall is above the target (parts per million) by what a sample of this
 * size may be off: one standard error, but no more than half of what the target leaves to 1. If
 * none is, the smallest that is as good as any. `previous` is the ef in use, 0 if there is none: it
 * is kept while it meets the target, unless a much smaller one would do, so that chance does not
 * make it flap. Then the least re-ranking that keeps that recall. */
struct omen_depth omen_recall_curve_choose(const struct omen_recall_curve *curve, uint32_t target,
                                           uint32_t previous);

#endif
