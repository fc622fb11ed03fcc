/* neon.c - the tier of every 64-bit ARM: Advanced SIMD as Armv8.0 has it.
 *
 * int8: a code becomes signed by its top bit. SMULL and SMLAL add two products at 16 bits, at most
 * 2 x 127 x 127 = 32,258 in magnitude (a code is never 0, so none is -128), and SADALP adds pairs
 * of those to sums of 32. All products are of signed values, so the bias is not used.
 *
 * f32: the 32 lanes are eight registers. A register that the last round fills only in part is
 * loaded by way of the stack, and lanes without a component are put back as they were.
 */
#include "kernels/kernels.h"

#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "kernels/rows.h"

#define INLINE static inline __attribute__((always_inline))

#define VECTOR_BYTES  16u
#define VECTOR_FLOATS 4u
#define LINE          64u
#define LANES         32u
#define EIGHTHS       8u /* registers of 4 lanes that make up the 32 */
#define CODES         4u /* codes that meet a probe at once */
#define POINTS        2u /* points that meet a group of members at once */
#define PARTS         4u /* registers of 4 members that make up a group */
#define ROWS          2u /* rows that meet a query at once: 16 registers of sums */
#define WORD_BYTES    4u
#define PREFETCH      512u /* bytes of a code or row that are prefetched; the hardware follows */

INLINE void prefetch(const void *start, size_t bytes)
{
    for (size_t at = 0; at < bytes && at < PREFETCH; at += LINE)
        __builtin_prefetch((const char *)start + at);
}

/* ---- int8 products ------------------------------------------------------------------------- */

/* The signed values of 16 bytes of a code. */
INLINE int8x16_t load_code(const uint8_t *code)
{
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(code), vdupq_n_u8(OMEN_CODE_ZERO)));
}

INLINE int32x4_t step_i8(int32x4_t sum, int8x16_t a, int8x16_t b)
{
    int16x8_t pairs = vmull_s8(vget_low_s8(a), vget_low_s8(b));
    return vpadalq_s16(sum, vmlal_high_s8(pairs, a, b));
}

INLINE int32_t dot_one(const uint8_t *code, const struct omen_probe *probe, size_t stride)
{
    int32x4_t sums[4];

    for (size_t k = 0; k < 4; k++)
        sums[k] = vdupq_n_s32(0);
    for (size_t at = 0; at < stride; at += LINE)
        for (size_t k = 0; k < 4; k++)
            sums[k] = step_i8(sums[k], load_code(code + at + k * VECTOR_BYTES),
                              vld1q_s8(probe->values + at + k * VECTOR_BYTES));
    return vaddvq_s32(vaddq_s32(vaddq_s32(sums[0], sums[1]), vaddq_s32(sums[2], sums[3])));
}

INLINE void dot_four(const uint8_t *const *codes, const struct omen_probe *probe, size_t stride,
                     int32_t *dots)
{
    int32x4_t sums[CODES];

    for (size_t r = 0; r < CODES; r++)
        sums[r] = vdupq_n_s32(0);
    for (size_t at = 0; at < stride; at += VECTOR_BYTES) {
        int8x16_t value = vld1q_s8(probe->values + at);
        for (size_t r = 0; r < CODES; r++)
            sums[r] = step_i8(sums[r], load_code(codes[r] + at), value);
    }
    vst1q_s32(dots, vpaddq_s32(vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3])));
}

INLINE void dot_many(const uint8_t *const *codes, size_t count, const struct omen_probe *probe,
                     size_t stride, int32_t *dots)
{
    size_t j = 0;

    for (; j + CODES <= count; j += CODES) {
        for (size_t next = j + CODES; next < count && next < j + 2 * CODES; next++)
            prefetch(codes[next], stride);
        dot_four(codes + j, probe, stride, dots + j);
    }
    for (; j < count; j++)
        dots[j] = dot_one(codes[j], probe, stride);
}

/* Four members' words by one word of a point, four times over. */
INLINE int32x4_t step_word(int32x4_t sum, int8x16_t members, int8x16_t point)
{
    int16x8_t two = vmull_s8(vget_low_s8(members), vget_low_s8(point));
    return vpadalq_s16(sum, vpaddq_s16(two, vmull_high_s8(members, point)));
}

/* `points` (a constant in every call) codes by one group of 16 members. */
INLINE void dot_group(const uint8_t *const *codes, size_t points, const int8_t *group,
                      size_t stride, int32_t *dots, size_t members)
{
    int32x4_t sums[POINTS][PARTS];

    for (size_t p = 0; p < points; p++)
        for (size_t part = 0; part < PARTS; part++)
            sums[p][part] = vdupq_n_s32(0);
    for (size_t at = 0; at < stride; at += WORD_BYTES) {
        int8x16_t member[PARTS];
        for (size_t part = 0; part < PARTS; part++)
            member[part] = vld1q_s8(group + at * OMEN_PACK_GROUP + part * VECTOR_BYTES);
        for (size_t p = 0; p < points; p++) {
            uint32_t word;
            memcpy(&word, codes[p] + at, sizeof word);
            int8x16_t point = vreinterpretq_s8_u32(vdupq_n_u32(word ^ 0x80808080u));
            for (size_t part = 0; part < PARTS; part++)
                sums[p][part] = step_word(sums[p][part], member[part], point);
        }
    }
    for (size_t p = 0; p < points; p++)
        for (size_t part = 0; part < PARTS; part++)
            vst1q_s32(dots + p * members + part * VECTOR_FLOATS, sums[p][part]);
}

void omen_dot_i8_block_any_neon(const uint8_t *const *codes, size_t points, const int8_t *packed,
                                const int32_t *bias, size_t members, size_t stride, int32_t *dots)
{
    (void)bias;
    for (size_t m = 0; m < members; m += OMEN_PACK_GROUP) {
        const int8_t *group = packed + m * stride;
        size_t p = 0;
        for (; p + POINTS <= points; p += POINTS) {
            for (size_t next = p + POINTS; next < points && next < p + 2 * POINTS; next++)
                prefetch(codes[next], stride);
            dot_group(codes + p, POINTS, group, stride, dots + p * members + m, members);
        }
        if (p < points) dot_group(codes + p, 1, group, stride, dots + p * members + m, members);
    }
}

/* ---- packing ------------------------------------------------------------------------------- */

/* Lane j is all ones if j < count. */
INLINE uint32x4_t first_lanes(size_t count)
{
    static const uint32_t lane[VECTOR_FLOATS] = {0, 1, 2, 3};
    return vcltq_u32(vld1q_u32(lane), vdupq_n_u32(count < VECTOR_FLOATS ? (uint32_t)count : 4));
}

/* Four words of four members, transposed. Returns `sum` with their bytes added for each member. */
INLINE int32x4_t pack_four_words(const uint8_t *const *codes, size_t at, uint32x4_t keep,
                                 int8_t *out, int32x4_t sum)
{
    uint32x4_t row[4], words[4];

    for (size_t k = 0; k < 4; k++)
        row[k] = vreinterpretq_u32_s8(load_code(codes[k] + at));
    uint32x4x2_t even = vzipq_u32(row[0], row[2]), odd = vzipq_u32(row[1], row[3]);
    uint32x4x2_t low = vzipq_u32(even.val[0], odd.val[0]);
    uint32x4x2_t high = vzipq_u32(even.val[1], odd.val[1]);
    words[0] = low.val[0];
    words[1] = low.val[1];
    words[2] = high.val[0];
    words[3] = high.val[1];
    for (size_t w = 0; w < 4; w++) {
        int8x16_t word = vreinterpretq_s8_u32(vandq_u32(words[w], keep));
        vst1q_s8(out + w * LINE, word);
        sum = vpadalq_s16(sum, vpaddlq_s8(word));
    }
    return sum;
}

void omen_pack_i8_any_neon(const uint8_t *const *codes, size_t count, size_t stride, int8_t *packed,
                           int32_t *bias)
{
    const size_t filled = (count + OMEN_PACK_GROUP - 1) / OMEN_PACK_GROUP * OMEN_PACK_GROUP;

    for (size_t m = 0; m < filled; m += 4) {
        const uint32x4_t keep = first_lanes(m < count ? count - m : 0);
        const uint8_t *four[4];
        int8_t *out = packed + m / OMEN_PACK_GROUP * OMEN_PACK_GROUP * stride +
                      m % OMEN_PACK_GROUP * WORD_BYTES;
        int32x4_t sum = vdupq_n_s32(0);

        for (size_t k = 0; k < 4; k++) {
            four[k] = codes[m + k < count ? m + k : 0]; /* any code will do, `keep` zeroes it */
            if (m + 4 + k < count) prefetch(codes[m + 4 + k], stride);
        }
        for (size_t at = 0; at < stride; at += VECTOR_BYTES)
            sum = pack_four_words(four, at, keep, out + at * OMEN_PACK_GROUP, sum);
        vst1q_s32(bias + m, vshlq_n_s32(sum, 7)); /* times OMEN_CODE_ZERO */
    }
}

/* ---- the one distance ---------------------------------------------------------------------- */

/* Returns all ones in the lanes that are near. */
INLINE uint32x4_t near_four(struct omen_code_meta point, const int32_t *dots, const float *scale,
                            const float *norm, float threshold, float *distances)
{
    float32x4_t scales = vmulq_f32(vdupq_n_f32(point.scale), vld1q_f32(scale));
    float32x4_t p = vmulq_f32(scales, vcvtq_f32_s32(vld1q_s32(dots)));
    float32x4_t norms = vaddq_f32(vdupq_n_f32(point.norm), vld1q_f32(norm));
    float32x4_t d = vsubq_f32(norms, vmulq_f32(vdupq_n_f32(2.0f), p));

    /* FMAX would keep a NaN; a comparison does not. */
    uint32x4_t positive = vcgtq_f32(d, vdupq_n_f32(0.0f));
    d = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(d), positive));
    vst1q_f32(distances, d);
    return vcleq_f32(d, vdupq_n_f32(threshold));
}

void omen_near_any_neon(struct omen_code_meta point, const int32_t *dots, const float *scale,
                        const float *norm, size_t count, float threshold, float *distances,
                        uint64_t *marks)
{
    static const uint32_t lane_bits[VECTOR_FLOATS] = {1, 2, 4, 8};
    const uint32x4_t bits = vld1q_u32(lane_bits);

    for (size_t from = 0; from < count; from += 64) {
        const size_t here = count - from < 64 ? count - from : 64;
        uint64_t word = 0;
        for (size_t j = from; j < from + here; j += VECTOR_FLOATS) {
            uint32x4_t near =
                near_four(point, dots + j, scale + j, norm + j, threshold, distances + j);
            word |= (uint64_t)vaddvq_u32(vandq_u32(near, bits)) << (j - from);
        }
        marks[from / 64] = word & (~(uint64_t)0 >> (64 - here));
    }
}

/* ---- codes --------------------------------------------------------------------------------- */

/* The first `count` of four floats, and zeros. */
INLINE float32x4_t load_some(const float *from, size_t count)
{
    float some[VECTOR_FLOATS] = {0};

    if (count >= VECTOR_FLOATS) return vld1q_f32(from);
    memcpy(some, from, count * sizeof *some);
    return vld1q_f32(some);
}

INLINE int32x4_t encode_four(const float *x, size_t count, float inverse)
{
    const float32x4_t max = vdupq_n_f32(127.0f), min = vdupq_n_f32(-127.0f);
    float32x4_t value = vmulq_f32(load_some(x, count), vdupq_n_f32(inverse));

    value = vbslq_f32(vcltq_f32(value, max), value, max);
    value = vbslq_f32(vcgtq_f32(value, min), value, min);
    /* A lane without a component is zero even if `inverse` is infinite. */
    return vandq_s32(vcvtnq_s32_f32(value), vreinterpretq_s32_u32(first_lanes(count)));
}

void omen_encode_i8_any_neon(const float *x, size_t dim, float inverse, uint8_t *code)
{
    for (size_t at = 0; at < omen_code_stride(dim); at += VECTOR_BYTES) {
        int32x4_t words[4];
        for (size_t q = 0; q < 4; q++) {
            size_t from = at + q * VECTOR_FLOATS;
            words[q] = from < dim ? encode_four(x + from, dim - from, inverse) : vdupq_n_s32(0);
        }
        int16x8_t low = vcombine_s16(vmovn_s32(words[0]), vmovn_s32(words[1]));
        int16x8_t high = vcombine_s16(vmovn_s32(words[2]), vmovn_s32(words[3]));
        int8x16_t bytes = vcombine_s8(vmovn_s16(low), vmovn_s16(high));
        vst1q_u8(code + at, veorq_u8(vreinterpretq_u8_s8(bytes), vdupq_n_u8(OMEN_CODE_ZERO)));
    }
}

float omen_max_abs_f32_any_neon(const float *x, size_t dim)
{
    /* Without its sign, a float's bits are ordered like an integer, infinity and NaN on top. */
    const uint32x4_t magnitude = vdupq_n_u32(0x7fffffff);
    const uint32_t infinity = 0x7f800000;
    uint32x4_t max = vdupq_n_u32(0);

    for (size_t at = 0; at < dim; at += VECTOR_FLOATS) {
        uint32x4_t four = vreinterpretq_u32_f32(load_some(x + at, dim - at));
        max = vmaxq_u32(max, vandq_u32(four, magnitude));
    }
    const uint32_t largest = vmaxvq_u32(max);
    float value;
    if (largest >= infinity) return INFINITY;
    memcpy(&value, &largest, sizeof value);
    return value;
}

/* ---- halves -------------------------------------------------------------------------------- */

void omen_widen_f16_any_neon(const uint16_t *half, size_t dim, float *out)
{
    for (size_t at = 0; at < dim; at += VECTOR_FLOATS) {
        size_t count = dim - at < VECTOR_FLOATS ? dim - at : VECTOR_FLOATS;
        uint16_t halves[VECTOR_FLOATS] = {0};
        float values[VECTOR_FLOATS];

        memcpy(halves, half + at, count * sizeof *halves);
        vst1q_f32(values, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves))));
        memcpy(out + at, values, count * sizeof *values);
    }
}

void omen_narrow_f16_any_neon(const float *x, size_t dim, uint16_t *out)
{
    for (size_t at = 0; at < dim; at += VECTOR_FLOATS) {
        size_t count = dim - at < VECTOR_FLOATS ? dim - at : VECTOR_FLOATS;
        uint16_t halves[VECTOR_FLOATS];

        vst1_u16(halves, vreinterpret_u16_f16(vcvt_f16_f32(load_some(x + at, count))));
        memcpy(out + at, halves, count * sizeof *halves);
    }
}

/* ---- f32 sums ------------------------------------------------------------------------------ */

enum metric { DOT, L2SQ };

INLINE float32x4_t step_f32(enum metric metric, float32x4_t query, float32x4_t row, float32x4_t sum)
{
    if (metric == DOT) return vfmaq_f32(sum, query, row);
    float32x4_t t = vsubq_f32(query, row);
    return vfmaq_f32(sum, t, t);
}

/* The components from `at` on, which are fewer than a round. */
INLINE void sum_tail(enum metric metric, const float *query, const float *row, size_t left,
                     float32x4_t sum[EIGHTHS])
{
#pragma GCC unroll 8
    for (size_t q = 0; q < EIGHTHS; q++) {
        if (left <= q * VECTOR_FLOATS) break;
        const size_t here = left - q * VECTOR_FLOATS;
        float32x4_t after = step_f32(metric, load_some(query + q * VECTOR_FLOATS, here),
                                     load_some(row + q * VECTOR_FLOATS, here), sum[q]);
        sum[q] = vbslq_f32(first_lanes(here), after, sum[q]);
    }
}

/* `rows` is a constant in every call. */
INLINE void sum_rows(enum metric metric, const float *query, const float *const *row, size_t rows,
                     size_t dim, float32x4_t sums[ROWS][EIGHTHS])
{
    size_t at = 0;

    for (size_t r = 0; r < rows; r++)
        for (size_t q = 0; q < EIGHTHS; q++)
            sums[r][q] = vdupq_n_f32(0.0f);
    for (; at + LANES <= dim; at += LANES) {
#pragma GCC unroll 8
        for (size_t q = 0; q < EIGHTHS; q++) {
            float32x4_t four = vld1q_f32(query + at + q * VECTOR_FLOATS);
            for (size_t r = 0; r < rows; r++)
                sums[r][q] =
                    step_f32(metric, four, vld1q_f32(row[r] + at + q * VECTOR_FLOATS), sums[r][q]);
        }
    }
    if (at < dim)
        for (size_t r = 0; r < rows; r++)
            sum_tail(metric, query + at, row[r] + at, dim - at, sums[r]);
}

INLINE float add_up_f32(const float32x4_t sum[EIGHTHS])
{
    float32x4_t half[4];

    for (size_t q = 0; q < 4; q++)
        half[q] = vaddq_f32(sum[q], sum[q + 4]);
    float32x4_t four = vaddq_f32(vaddq_f32(half[0], half[2]), vaddq_f32(half[1], half[3]));
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

INLINE float f32_one(enum metric metric, const float *query, const float *row, size_t dim)
{
    float32x4_t sums[ROWS][EIGHTHS];

    sum_rows(metric, query, &row, 1, dim, sums);
    return add_up_f32(sums[0]);
}

INLINE void f32_two(enum metric metric, const float *query, const float *const *rows, size_t dim,
                    float *out)
{
    float32x4_t sums[ROWS][EIGHTHS];

    sum_rows(metric, query, rows, ROWS, dim, sums);
    out[0] = add_up_f32(sums[0]);
    out[1] = add_up_f32(sums[1]);
}

INLINE void f32_many(enum metric metric, const float *query, const float *const *rows, size_t count,
                     size_t dim, float *out)
{
    size_t j = 0;

    for (; j + ROWS <= count; j += ROWS) {
        for (size_t next = j + 2 * ROWS; next < count && next < j + 3 * ROWS; next++)
            prefetch(rows[next], dim * sizeof(float));
        f32_two(metric, query, rows + j, dim, out + j);
    }
    if (j < count) out[j] = f32_one(metric, query, rows[j], dim);
}

/* All queries pass by while two rows stay in L1. */
INLINE void f32_block(enum metric metric, const float *queries, size_t query_count,
                      const float *rows, size_t row_count, size_t row_stride, size_t dim,
                      float *out, size_t out_stride)
{
    size_t r = 0;

    for (; r + ROWS <= row_count; r += ROWS) {
        const float *two[ROWS] = {rows + r * row_stride, rows + (r + 1) * row_stride};
        for (size_t q = 0; q < query_count; q++)
            f32_two(metric, queries + q * dim, two, dim, out + q * out_stride + r);
    }
    if (r < row_count)
        for (size_t q = 0; q < query_count; q++)
            out[q * out_stride + r] =
                f32_one(metric, queries + q * dim, rows + r * row_stride, dim);
}

/* ---- one shell per row of kernels.def ------------------------------------------------------ */

#define LENGTH_any(given)  (given)
#define LENGTH_128(given)  ((void)(given), (size_t)128)
#define LENGTH_256(given)  ((void)(given), (size_t)256)
#define LENGTH_384(given)  ((void)(given), (size_t)384)
#define LENGTH_512(given)  ((void)(given), (size_t)512)
#define LENGTH_768(given)  ((void)(given), (size_t)768)
#define LENGTH_1536(given) ((void)(given), (size_t)1536)

#define F32_ONE_SHELL(op, metric)                                                                  \
    float omen_##op##_f32_one_any_neon(const float *query, const float *row, size_t dim)           \
    {                                                                                              \
        return f32_one((metric), query, row, dim);                                                 \
    }

#define F32_MANY_SHELL(op, metric, length)                                                         \
    void omen_##op##_f32_many_##length##_neon(const float *query, const float *const *rows,        \
                                              size_t count, size_t dim, float *out)                \
    {                                                                                              \
        f32_many((metric), query, rows, count, LENGTH_##length(dim), out);                         \
    }

#define F32_BLOCK_SHELL(op, metric)                                                                \
    void omen_##op##_f32_block_any_neon(const float *queries, size_t query_count,                  \
                                        const float *rows, size_t row_count, size_t row_stride,    \
                                        size_t dim, float *out, size_t out_stride)                 \
    {                                                                                              \
        f32_block((metric), queries, query_count, rows, row_count, row_stride, dim, out,           \
                  out_stride);                                                                     \
    }

int32_t omen_dot_i8_one_any_neon(const uint8_t *code, const struct omen_probe *probe, size_t stride)
{
    return dot_one(code, probe, stride);
}

#define SHELLS(length)                                                                             \
    void omen_dot_i8_many_##length##_neon(const uint8_t *const *codes, size_t count,               \
                                          const struct omen_probe *probe, size_t stride,           \
                                          int32_t *dots)                                           \
    {                                                                                              \
        dot_many(codes, count, probe, LENGTH_##length(stride), dots);                              \
    }                                                                                              \
    F32_MANY_SHELL(dot, DOT, length)                                                               \
    F32_MANY_SHELL(l2sq, L2SQ, length)

SHELLS(any)
SHELLS(128)
SHELLS(256)
SHELLS(384)
SHELLS(512)
SHELLS(768)
SHELLS(1536)
F32_ONE_SHELL(dot, DOT)
F32_ONE_SHELL(l2sq, L2SQ)
F32_BLOCK_SHELL(dot, DOT)
F32_BLOCK_SHELL(l2sq, L2SQ)
