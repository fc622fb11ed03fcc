/* tuning.c - see tuning.h. */
#include "engine/tuning.h"

#define DEPTH_BITS 14u
#define DEPTH_MASK ((UINT64_C(1) << DEPTH_BITS) - 1)
_Static_assert(OMEN_EF_MAX <= DEPTH_MASK, "a depth fits its bits");
_Static_assert(4 * DEPTH_BITS <= 64, "four depths fit a word");

void omen_tuned_set(struct omen_tuned *tuned, const struct omen_calibration *calibration)
{
    const struct omen_calibration *c = calibration;
    uint64_t depths = c->rerank[1];

    depths = depths << DEPTH_BITS | c->rerank[0];
    depths = depths << DEPTH_BITS | c->ef[1];
    depths = depths << DEPTH_BITS | c->ef[0];
    atomic_store_explicit(&tuned->points, c->points, memory_order_relaxed);
    atomic_store_explicit(&tuned->depths, depths, memory_order_relaxed);
}

static uint32_t depth_at(uint64_t depths, uint32_t i)
{
    return (uint32_t)(depths >> (i * DEPTH_BITS) & DEPTH_MASK);
}

/* Between the two calibrated k on a straight line, beyond in proportion. */
static uint32_t depth_for(uint32_t k, int64_t low, int64_t high)
{
    const int64_t from = OMEN_CALIBRATED_K_LOW;
    const int64_t to = OMEN_CALIBRATED_K_HIGH;
    int64_t depth = low;

    if (k > to)
        depth = high * k / to;
    else if (k > from)
        depth = low + (high - low) * (k - from) / (to - from);
    if (depth < k) depth = k;
    return depth > OMEN_EF_MAX ? OMEN_EF_MAX : (uint32_t)depth;
}

/* A calibration is good until the collection has doubled; then ef is no less than without one,
 * until the next. */
void omen_tuned_get(const struct omen_tuned *tuned, uint32_t k, uint64_t points, uint32_t *ef,
                    uint32_t *rerank)
{
    uint64_t depths = atomic_load_explicit(&tuned->depths, memory_order_relaxed);
    uint64_t then = atomic_load_explicit(&tuned->points, memory_order_relaxed);

    *ef = OMEN_EF_DEFAULT;
    *rerank = 0;
    if (depths == 0) return;
    uint32_t found = depth_for(k, depth_at(depths, 0), depth_at(depths, 1));
    if (points > 2 * then && found < OMEN_EF_DEFAULT) return;
    *ef = found;
    *rerank = depth_for(k, depth_at(depths, 2), depth_at(depths, 3));
}

bool omen_calibration_may_be(const struct omen_calibration *calibration)
{
    const struct omen_calibration *c = calibration;

    for (uint32_t i = 0; i < OMEN_CALIBRATED_KS; i++) {
        if (c->ef[i] == 0 || c->ef[i] > OMEN_EF_MAX) return false;
        if (c->rerank[i] == 0 || c->rerank[i] > c->ef[i]) return false;
        if (c->recall[i] > 1000000) return false;
    }
    return c->target >= OMEN_TARGET_RECALL_MIN && c->target <= OMEN_TARGET_RECALL_MAX &&
           c->live <= 1 && c->queries > 0 && c->queries <= OMEN_CALIBRATE_QUERIES_MAX &&
           c->points <= OMEN_SLOTS_MAX;
}
