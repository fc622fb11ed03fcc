/* ref.c - the reference tier: what every kernel means, in plain C at the baseline.
 *
 * Every other tier must give the same bits as these functions; the tests compare them row by row.
 * They are written to be read. Two things decide the bits of an f32 sum: the 32 lanes with their
 * tree, and that a component which does not exist is left out instead of added as a zero (adding
 * +0 would turn a lane that underflowed to -0 into +0).
 */
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

#include "kernels/rows.h"

#define LANES      32u
#define WORD_BYTES 4u /* consecutive bytes of one member in a packed block */
#define CODE_MAX   127.0f

/* ---- int8 --------------------------------------------------------------------------------- */

int32_t omen_dot_i8_one_any_ref(const uint8_t *code, const struct omen_probe *probe, size_t stride)
{
    int32_t dot = 0;

    for (size_t i = 0; i < stride; i++)
        dot += ((int32_t)code[i] - (int32_t)OMEN_CODE_ZERO) * probe->values[i];
    return dot;
}

void omen_dot_i8_many_any_ref(const uint8_t *const *codes, size_t count,
                              const struct omen_probe *probe, size_t stride, int32_t *dots)
{
    for (size_t j = 0; j < count; j++)
        dots[j] = omen_dot_i8_one_any_ref(codes[j], probe, stride);
}

/* Signed values need no correction, so the reference does without `bias`. */
void omen_dot_i8_block_any_ref(const uint8_t *const *codes, size_t points, const int8_t *packed,
                               const int32_t *bias, size_t members, size_t stride, int32_t *dots)
{
    (void)bias;
    for (size_t p = 0; p < points; p++) {
        for (size_t m = 0; m < members; m++) {
            const int8_t *member = packed + m / OMEN_PACK_GROUP * OMEN_PACK_GROUP * stride +
                                   m % OMEN_PACK_GROUP * WORD_BYTES;
            int32_t dot = 0;
            for (size_t i = 0; i < stride; i++) {
                int32_t value =
                    member[i / WORD_BYTES * WORD_BYTES * OMEN_PACK_GROUP + i % WORD_BYTES];
                dot += ((int32_t)codes[p][i] - (int32_t)OMEN_CODE_ZERO) * value;
            }
            dots[p * members + m] = dot;
        }
    }
}

void omen_pack_i8_any_ref(const uint8_t *const *codes, size_t count, size_t stride, int8_t *packed,
                          int32_t *bias)
{
    size_t filled = (count + OMEN_PACK_GROUP - 1) / OMEN_PACK_GROUP * OMEN_PACK_GROUP;

    for (size_t m = 0; m < filled; m++) {
        int8_t *member = packed + m / OMEN_PACK_GROUP * OMEN_PACK_GROUP * stride +
                         m % OMEN_PACK_GROUP * WORD_BYTES;
        int32_t sum = 0;
        for (size_t i = 0; i < stride; i++) {
            int32_t value = m < count ? (int32_t)codes[m][i] - (int32_t)OMEN_CODE_ZERO : 0;
            member[i / WORD_BYTES * WORD_BYTES * OMEN_PACK_GROUP + i % WORD_BYTES] = (int8_t)value;
            sum += value;
        }
        bias[m] = (int32_t)OMEN_CODE_ZERO * sum;
    }
}

void omen_near_any_ref(struct omen_code_meta point, const int32_t *dots, const float *scale,
                       const float *norm, size_t count, float threshold, float *distances,
                       uint64_t *marks)
{
    for (size_t word = 0; word < (count + 63) / 64; word++)
        marks[word] = 0;
    for (size_t j = 0; j < count; j++) {
        float p = (point.scale * scale[j]) * (float)dots[j];
        float d = (point.norm + norm[j]) - 2.0f * p;
        distances[j] = d > 0.0f ? d : 0.0f;
        if (distances[j] <= threshold) marks[j / 64] |= (uint64_t)1 << j % 64;
    }
}

/* The comparisons are the instructions MINPS and MAXPS: a NaN, which finite input and a finite
 * `inverse` cannot make, would become 127 on every tier. */
void omen_encode_i8_any_ref(const float *x, size_t dim, float inverse, uint8_t *code)
{
    for (size_t i = 0; i < dim; i++) {
        float value = x[i] * inverse;
        value = value < CODE_MAX ? value : CODE_MAX;
        value = value > -CODE_MAX ? value : -CODE_MAX;
        code[i] = (uint8_t)((int32_t)OMEN_CODE_ZERO + (int32_t)rintf(value));
    }
    memset(code + dim, (int)OMEN_CODE_ZERO, omen_code_stride(dim) - dim);
}

/* ---- f32 ---------------------------------------------------------------------------------- */

float omen_max_abs_f32_any_ref(const float *x, size_t dim)
{
    float max = 0.0f;

    for (size_t i = 0; i < dim; i++) {
        if (!isfinite(x[i])) return INFINITY;
        if (fabsf(x[i]) > max) max = fabsf(x[i]);
    }
    return max;
}

/* ---- halves ------------------------------------------------------------------------------- */

static float widen_one(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t exponent = half >> 10 & 0x1fu;
    const uint32_t mantissa = half & 0x3ffu;
    uint32_t bits = sign | (exponent + 112) << 23 | mantissa << 13;
    float value;

    if (exponent == 0x1f) bits = sign | 0x7f800000u | mantissa << 13;
    if (exponent == 0) { /* the small ones have one step */
        value = (float)mantissa * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint16_t narrow_one(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* 65536 */
    if (bits < 0x38800000u) { /* 2^-14: a float from 0.5 on has the step that small halves have */
        const float shifted = fabsf(value) + 0.5f;

        memcpy(&bits, &shifted, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    bits += 0xfffu + (bits >> 13 & 1u);
    return (uint16_t)(sign | (bits - 0x38000000u) >> 13);
}

void omen_widen_f16_any_ref(const uint16_t *half, size_t dim, float *out)
{
    for (size_t i = 0; i < dim; i++)
        out[i] = widen_one(half[i]);
}

void omen_narrow_f16_any_ref(const float *x, size_t dim, uint16_t *out)
{
    for (size_t i = 0; i < dim; i++)
        out[i] = narrow_one(x[i]);
}

/* ---- f32 sums ----------------------------------------------------------------------------- */

static float add_lanes(float lanes[LANES])
{
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            lanes[j] += lanes[j + half];
    return lanes[0];
}

float omen_dot_f32_one_any_ref(const float *query, const float *row, size_t dim)
{
    float lanes[LANES] = {0};

    for (size_t i = 0; i < dim; i++)
        lanes[i % LANES] = fmaf(query[i], row[i], lanes[i % LANES]);
    return add_lanes(lanes);
}

float omen_l2sq_f32_one_any_ref(const float *query, const float *row, size_t dim)
{
    float lanes[LANES] = {0};

    for (size_t i = 0; i < dim; i++) {
        float t = query[i] - row[i];
        lanes[i % LANES] = fmaf(t, t, lanes[i % LANES]);
    }
    return add_lanes(lanes);
}

#define MANY_AND_BLOCK(metric)                                                                     \
    void omen_##metric##_f32_many_any_ref(const float *query, const float *const *rows,            \
                                          size_t count, size_t dim, float *out)                    \
    {                                                                                              \
        for (size_t j = 0; j < count; j++)                                                         \
            out[j] = omen_##metric##_f32_one_any_ref(query, rows[j], dim);                         \
    }                                                                                              \
    void omen_##metric##_f32_block_any_ref(const float *queries, size_t query_count,               \
                                           const float *rows, size_t row_count, size_t row_stride, \
                                           size_t dim, float *out, size_t out_stride)              \
    {                                                                                              \
        for (size_t q = 0; q < query_count; q++)                                                   \
            for (size_t r = 0; r < row_count; r++)                                                 \
                out[q * out_stride + r] = omen_##metric##_f32_one_any_ref(                         \
                    queries + q * dim, rows + r * row_stride, dim);                                \
    }

MANY_AND_BLOCK(dot)
MANY_AND_BLOCK(l2sq)
