/* codes.h - int8 codes of vectors, and THE ONE DISTANCE that builds and walks the graph.
 *
 * A vector becomes a code on a symmetric grid of its own (no training, no mean):
 *
 *     scale = max|x| / 127, rounded UP to 12 bits of mantissa;  code[i] = rint(x[i] / scale)
 *     norm  = (scale * scale) * (float)dot(code, code)
 *
 * Under cosine, x stands for x / |x|. Rounding the scale costs at most 1/4096 of its resolution and
 * makes copies that differ by one ulp (a row through a float round trip, a jitter of 2e-9) equal in
 * codes and scale, so that they join one duplicate chain instead of forming a clique in the graph.
 *
 *     p = (a.scale * b.scale) * (float)dot;  d = max(0, (a.norm + b.norm) - 2 * p)
 *
 * dot is an exact integer on every tier and nothing here is contracted into an fma (the build says
 * -ffp-contract=off), so d has the same bits everywhere, and equal codes and scales give exactly 0.
 *
 * Inner product is augmented to L2 so that every point stays reachable (Bachrach et al., RecSys
 * 2014): with Phi^2 >= every norm, t = sqrt(Phi^2 - norm), d adds (ta - tb)^2.
 */
#ifndef OMEN_CODES_H
#define OMEN_CODES_H

#include <math.h>

#include "engine/engine.h"
#include "kernels/kernels.h"

/* A vector made ready to be the signed side of products. */
struct omen_prepared {
    int8_t *values; /* stride bytes, 64-byte aligned, owned by whoever made room */
    int32_t bias;
    struct omen_code_meta meta;
};

static inline struct omen_probe omen_prepared_probe(const struct omen_prepared *p)
{
    return (struct omen_probe){p->values, p->bias};
}

static inline float omen_code_distance(struct omen_code_meta a, struct omen_code_meta b,
                                       int32_t dot)
{
    float p = (a.scale * b.scale) * (float)dot;
    float d = (a.norm + b.norm) - 2.0f * p;

    return d > 0.0f ? d : 0.0f;
}

/* What (ta - tb)^2 adds under inner product; phi_squared 0 = another metric: nothing. */
static inline float omen_code_augment(float phi_squared, float norm_a, float norm_b)
{
    float t;

    if (phi_squared <= 0.0f) return 0.0f;
    t = sqrtf(phi_squared - norm_a) - sqrtf(phi_squared - norm_b);
    return t * t;
}

/* The smallest power of two that is >= norm, and >= `old`: Phi^2 only grows, and seldom. */
float omen_code_phi_squared(float old, float norm);

/* What encoding one vector gives. */
struct omen_encoded {
    struct omen_code_meta meta;
    float inverse_length; /* 1 / |x| under cosine, else 1 */
    uint32_t detail;      /* of a refusal: the component */
};

/* Checks and encodes one vector; `code` has room for stride bytes, 64-byte aligned. Returns 0, or
 * the omen_refusal. */
int omen_code_encode(const struct omen_kernels *kernels, omen_metric metric, const float *x,
                     uint8_t *code, struct omen_encoded *out);

/* Why a vector with this largest magnitude, which is none that codes can have, is refused: the
 * omen_refusal, and its component. */
int omen_code_refuse_magnitude(const float *x, uint32_t dim, float max, uint32_t *detail);

/* Turns a stored code into the signed side. out->values has room for stride bytes. */
void omen_code_prepare(const struct omen_kernels *kernels, const uint8_t *code,
                       struct omen_code_meta meta, struct omen_prepared *out);

/* Candidates travel as one integer, (distance, slot): the order of the integers is the total order
 * "by distance, ties by slot", because the bits of non-negative floats are ordered as they are. */
typedef uint64_t omen_key;

static inline omen_key omen_key_make(float distance, uint32_t slot)
{
    uint32_t bits;

    __builtin_memcpy(&bits, &distance, sizeof bits);
    return (omen_key)bits << 32 | slot;
}
static inline uint32_t omen_key_slot(omen_key key)
{
    return (uint32_t)key;
}
static inline float omen_key_distance(omen_key key)
{
    uint32_t bits = (uint32_t)(key >> 32);
    float distance;

    __builtin_memcpy(&distance, &bits, sizeof distance);
    return distance;
}
#define OMEN_KEY_NONE UINT64_MAX

#endif
