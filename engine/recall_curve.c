/* recall_curve.c - see recall_curve.h. */
#include "engine/recall_curve.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Recalls that are no farther apart are as good as each other. */
#define SAME 0.002
/* So many steps smaller, a quarter each, is much smaller. */
#define MUCH_STEPS 3u

void omen_recall_curve_init(struct omen_recall_curve *curve, uint32_t k)
{
    uint32_t ef = k;

    memset(curve, 0, sizeof *curve);
    curve->k = k;
    while (curve->steps < OMEN_CURVE_STEPS_MAX) {
        uint32_t *rerank = curve->rerank[curve->steps];

        rerank[0] = k + (ef - k) / 4;
        rerank[1] = k + (ef - k) / 2;
        rerank[2] = ef;
        curve->ef[curve->steps++] = ef;
        if (ef == OMEN_EF_MAX) return;
        ef += ef / 4 > 0 ? ef / 4 : 1;
        if (ef > OMEN_EF_MAX) ef = OMEN_EF_MAX;
    }
    assert(false); /* there are not so many steps */
}

void omen_recall_curve_add(struct omen_recall_curve *curve, uint32_t step,
                           const double recall[OMEN_CURVE_DEPTHS])
{
    const double full = recall[OMEN_CURVE_DEPTHS - 1];

    for (uint32_t d = 0; d < OMEN_CURVE_DEPTHS; d++)
        curve->sum[step][d] += recall[d];
    curve->squares[step] += full * full;
}

static double mean_at(const struct omen_recall_curve *curve, uint32_t step, uint32_t depth)
{
    return curve->sum[step][depth] / curve->queries;
}

static double full_at(const struct omen_recall_curve *curve, uint32_t step)
{
    return mean_at(curve, step, OMEN_CURVE_DEPTHS - 1);
}

static double margin_at(const struct omen_recall_curve *curve, uint32_t step, double target)
{
    double mean = full_at(curve, step);
    double variance = curve->squares[step] / curve->queries - mean * mean;
    double error = variance > 0 ? sqrt(variance / curve->queries) : 0;

    return error < (1 - target) / 2 ? error : (1 - target) / 2;
}

/* Without a look at what is in use. */
static uint32_t smallest_step(const struct omen_recall_curve *curve, double target)
{
    double best = 0;
    uint32_t step = 0;

    for (; step < curve->steps; step++) {
        if (full_at(curve, step) >= target + margin_at(curve, step, target)) return step;
        if (full_at(curve, step) > best) best = full_at(curve, step);
    }
    for (step = 0; step + 1 < curve->steps; step++)
        if (full_at(curve, step) >= best - SAME) break;
    return step;
}

struct omen_depth omen_recall_curve_choose(const struct omen_recall_curve *curve, uint32_t target,
                                           uint32_t previous)
{
    const double wanted = target / 1e6;
    uint32_t step = smallest_step(curve, wanted);
    uint32_t kept = 0;
    uint32_t depth = 0;

    while (kept + 1 < curve->steps && curve->ef[kept] < previous)
        kept++;
    if (previous != 0 && full_at(curve, kept) >= wanted && kept < step + MUCH_STEPS) step = kept;
    double enough = full_at(curve, step);
    if (enough - SAME >= wanted + margin_at(curve, step, wanted))
        enough = wanted + margin_at(curve, step, wanted);
    else
        enough -= SAME / 2;
    while (depth + 1 < OMEN_CURVE_DEPTHS && mean_at(curve, step, depth) < enough)
        depth++;
    return (struct omen_depth){.ef = curve->ef[step],
                               .rerank = curve->rerank[step][depth],
                               .recall = (uint32_t)(mean_at(curve, step, depth) * 1e6 + 0.5)};
}
