/* avx512.c - the AVX-512 tier: f32 reductions, and the float side of codes and of the one distance.
 *
 * The 32 lanes of a reduction are two registers. A last round of fewer components runs under a mask
 * that leaves the other lanes as they are, which is what "left out" means in kernels.h. Without
 * VNNI there is nothing to gain over AVX2 for int8 products, so they have no rows here.
 */
#include "kernels/kernels.h"

#include <immintrin.h>
#include <math.h>

#include "kernels/rows.h"

#define INLINE static inline __attribute__((always_inline))

#define LANES     32u /* components of a round: two registers */
#define LANES_ZMM 16u /* floats of a register */
#define QUERIES   2u  /* a tile of the block kernel: its 2 x 4 pairs need 16 registers of sums */
#define ROWS      4u
#define PREFETCH  128u /* floats of a row that are prefetched; the hardware follows from there */

/* ---- f32 sums ------------------------------------------------------------------------------ */

enum metric { DOT, L2SQ };

/* What a tile multiplies: each of `queries` with each of `rows`. All but the pointers are
 * constants in every call (the length often), so that loops over them vanish. */
struct pairs {
    const float *query[QUERIES];
    const float *row[ROWS];
    size_t queries;
    size_t rows;
    size_t dim;
};

/* The 32 lanes of one pair. */
struct lanes {
    __m512 low_f32x16;
    __m512 high_f32x16;
};

INLINE __m512 step(enum metric metric, __m512 query, __m512 row, __m512 sum)
{
    if (metric == DOT) return _mm512_fmadd_ps(query, row, sum);
    __m512 t = _mm512_sub_ps(query, row);
    return _mm512_fmadd_ps(t, t, sum);
}

INLINE __m512 step_some(enum metric metric, __m512 query, __m512 row, __m512 sum, __mmask16 some)
{
    if (metric == DOT) return _mm512_mask3_fmadd_ps(query, row, sum, some);
    __m512 t = _mm512_sub_ps(query, row);
    return _mm512_mask3_fmadd_ps(t, t, sum, some);
}

/* The components from `at` on, which are fewer than a round. */
INLINE void sum_tail(enum metric metric, const struct pairs *p, size_t at,
                     struct lanes sums[QUERIES][ROWS])
{
    const uint32_t some = (1u << (p->dim - at)) - 1;
    const __mmask16 low = (__mmask16)some, high = (__mmask16)(some >> LANES_ZMM);

    for (size_t q = 0; q < p->queries; q++) {
        const float *query = p->query[q] + at;
        __m512 query_low = _mm512_maskz_loadu_ps(low, query);
        __m512 query_high = _mm512_maskz_loadu_ps(high, query + LANES_ZMM);
        for (size_t r = 0; r < p->rows; r++) {
            const float *row = p->row[r] + at;
            struct lanes *sum = &sums[q][r];
            sum->low_f32x16 =
                step_some(metric, query_low, _mm512_maskz_loadu_ps(low, row), sum->low_f32x16, low);
            sum->high_f32x16 =
                step_some(metric, query_high, _mm512_maskz_loadu_ps(high, row + LANES_ZMM),
                          sum->high_f32x16, high);
        }
    }
}

INLINE void sum_pairs(enum metric metric, const struct pairs *p, struct lanes sums[QUERIES][ROWS])
{
    size_t at = 0;

    for (size_t q = 0; q < p->queries; q++)
        for (size_t r = 0; r < p->rows; r++)
            sums[q][r] = (struct lanes){_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (; at + LANES <= p->dim; at += LANES) {
        struct lanes query[QUERIES];
        for (size_t q = 0; q < p->queries; q++) {
            query[q].low_f32x16 = _mm512_loadu_ps(p->query[q] + at);
            query[q].high_f32x16 = _mm512_loadu_ps(p->query[q] + at + LANES_ZMM);
        }
#pragma GCC unroll 4
        for (size_t r = 0; r < p->rows; r++) {
            __m512 row_low = _mm512_loadu_ps(p->row[r] + at);
            __m512 row_high = _mm512_loadu_ps(p->row[r] + at + LANES_ZMM);
#pragma GCC unroll 2
            for (size_t q = 0; q < p->queries; q++) {
                struct lanes *sum = &sums[q][r];
                sum->low_f32x16 = step(metric, query[q].low_f32x16, row_low, sum->low_f32x16);
                sum->high_f32x16 = step(metric, query[q].high_f32x16, row_high, sum->high_f32x16);
            }
        }
    }
    if (at < p->dim) sum_tail(metric, p, at, sums);
}

/* The tree down to four lanes. */
INLINE __m128 add_to_four(struct lanes sum)
{
    __m512 all = _mm512_add_ps(sum.low_f32x16, sum.high_f32x16);
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

INLINE float add_up(struct lanes sum)
{
    __m128 four = add_to_four(sum);
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* The same tree for four rows at once. */
INLINE __m128 add_up_four(const struct lanes sums[ROWS])
{
    __m128 a = add_to_four(sums[0]), b = add_to_four(sums[1]);
    __m128 c = add_to_four(sums[2]), d = add_to_four(sums[3]);
    __m128 ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
    __m128 cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
    return _mm_add_ps(_mm_shuffle_ps(ab, cd, _MM_SHUFFLE(2, 0, 2, 0)),
                      _mm_shuffle_ps(ab, cd, _MM_SHUFFLE(3, 1, 3, 1)));
}

INLINE float f32_one(enum metric metric, const float *query, const float *row, size_t dim)
{
    const struct pairs p = {{query}, {row}, 1, 1, dim};
    struct lanes sums[QUERIES][ROWS];

    sum_pairs(metric, &p, sums);
    return add_up(sums[0][0]);
}

INLINE void f32_four(enum metric metric, const float *query, const float *const *rows, size_t dim,
                     float *out)
{
    const struct pairs p = {{query}, {rows[0], rows[1], rows[2], rows[3]}, 1, ROWS, dim};
    struct lanes sums[QUERIES][ROWS];

    sum_pairs(metric, &p, sums);
    _mm_storeu_ps(out, add_up_four(sums[0]));
}

INLINE void f32_many(enum metric metric, const float *query, const float *const *rows, size_t count,
                     size_t dim, float *out)
{
    size_t j = 0;

    for (; j + ROWS <= count; j += ROWS) {
        for (size_t next = j + ROWS; next < count && next < j + 2 * ROWS; next++)
            for (size_t at = 0; at < dim && at < PREFETCH; at += LANES_ZMM)
                _mm_prefetch((const char *)(rows[next] + at), _MM_HINT_T1);
        f32_four(metric, query, rows + j, dim, out + j);
    }
    for (; j < count; j++)
        out[j] = f32_one(metric, query, rows[j], dim);
}

/* All queries pass by while four rows stay in L1: rows come from far away, queries from L2. */
INLINE void f32_block(enum metric metric, const float *queries, size_t query_count,
                      const float *rows, size_t row_count, size_t row_stride, size_t dim,
                      float *out, size_t out_stride)
{
    size_t r = 0;

    for (; r + ROWS <= row_count; r += ROWS) {
        const float *four[ROWS] = {rows + r * row_stride, rows + (r + 1) * row_stride,
                                   rows + (r + 2) * row_stride, rows + (r + 3) * row_stride};
        size_t q = 0;
        for (; q + QUERIES <= query_count; q += QUERIES) {
            const struct pairs p = {{queries + q * dim, queries + (q + 1) * dim},
                                    {four[0], four[1], four[2], four[3]},
                                    QUERIES,
                                    ROWS,
                                    dim};
            struct lanes sums[QUERIES][ROWS];
            sum_pairs(metric, &p, sums);
            _mm_storeu_ps(out + q * out_stride + r, add_up_four(sums[0]));
            _mm_storeu_ps(out + (q + 1) * out_stride + r, add_up_four(sums[1]));
        }
        if (q < query_count)
            f32_four(metric, queries + q * dim, four, dim, out + q * out_stride + r);
    }
    for (; r < row_count; r++)
        for (size_t q = 0; q < query_count; q++)
            out[q * out_stride + r] =
                f32_one(metric, queries + q * dim, rows + r * row_stride, dim);
}

/* ---- the one distance ---------------------------------------------------------------------- */

/* Sixteen distances from `at` on; bit j is set if the j-th is near. */
INLINE uint32_t near_sixteen(struct omen_code_meta point, const int32_t *dots, const float *scale,
                             const float *norm, float threshold, float *distances)
{
    __m512 scales = _mm512_mul_ps(_mm512_set1_ps(point.scale), _mm512_loadu_ps(scale));
    __m512 p = _mm512_mul_ps(scales, _mm512_cvtepi32_ps(_mm512_loadu_si512(dots)));
    __m512 norms = _mm512_add_ps(_mm512_set1_ps(point.norm), _mm512_loadu_ps(norm));
    __m512 d = _mm512_sub_ps(norms, _mm512_mul_ps(_mm512_set1_ps(2.0f), p));

    /* MAXPS gives its second operand if the first is a NaN. */
    d = _mm512_max_ps(d, _mm512_setzero_ps());
    _mm512_storeu_ps(distances, d);
    return _mm512_cmp_ps_mask(d, _mm512_set1_ps(threshold), _CMP_LE_OQ);
}

void omen_near_any_avx512(struct omen_code_meta point, const int32_t *dots, const float *scale,
                          const float *norm, size_t count, float threshold, float *distances,
                          uint64_t *marks)
{
    for (size_t from = 0; from < count; from += 64) {
        const size_t here = count - from < 64 ? count - from : 64;
        uint64_t word = 0;
        for (size_t j = 0; j < here; j += LANES_ZMM)
            word |= (uint64_t)near_sixteen(point, dots + from + j, scale + from + j,
                                           norm + from + j, threshold, distances + from + j)
                    << j;
        marks[from / 64] = word & (~(uint64_t)0 >> (64 - here));
    }
}

/* ---- codes --------------------------------------------------------------------------------- */

INLINE __m512i encode_sixteen(const float *x, __mmask16 some, float inverse)
{
    __m512 value = _mm512_mul_ps(_mm512_maskz_loadu_ps(some, x), _mm512_set1_ps(inverse));

    value = _mm512_min_ps(value, _mm512_set1_ps(127.0f));
    value = _mm512_max_ps(value, _mm512_set1_ps(-127.0f));
    /* A lane without a component is zero even if `inverse` is infinite. */
    return _mm512_maskz_cvtps_epi32(some, value);
}

/* 64 components, of which those with a bit in `some` exist. */
INLINE void encode_line(const float *x, uint64_t some, float inverse, uint8_t *code)
{
    /* Packing works in quarters: word q of each of the four registers ends up in quarter q. */
    const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    __m512i a = encode_sixteen(x, (__mmask16)some, inverse);
    __m512i b = encode_sixteen(x + 16, (__mmask16)(some >> 16), inverse);
    __m512i c = encode_sixteen(x + 32, (__mmask16)(some >> 32), inverse);
    __m512i d = encode_sixteen(x + 48, (__mmask16)(some >> 48), inverse);
    __m512i bytes = _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));

    bytes = _mm512_permutexvar_epi32(order, bytes);
    bytes = _mm512_xor_si512(bytes, _mm512_set1_epi8((char)OMEN_CODE_ZERO));
    _mm512_storeu_si512(code, bytes);
}

void omen_encode_i8_any_avx512(const float *x, size_t dim, float inverse, uint8_t *code)
{
    size_t at = 0;

    for (; at + 64 <= dim; at += 64)
        encode_line(x + at, ~(uint64_t)0, inverse, code + at);
    if (at < dim) encode_line(x + at, ~(uint64_t)0 >> (64 - (dim - at)), inverse, code + at);
}

float omen_max_abs_f32_any_avx512(const float *x, size_t dim)
{
    /* Without its sign, a float's bits are ordered like an integer, infinity and NaN on top. */
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    const int32_t infinity = 0x7f800000;
    __m512i max_a = _mm512_setzero_si512(), max_b = _mm512_setzero_si512();
    size_t at = 0;

    for (; at + LANES <= dim; at += LANES) {
        __m512i a = _mm512_loadu_si512(x + at), b = _mm512_loadu_si512(x + at + LANES_ZMM);
        max_a = _mm512_max_epi32(max_a, _mm512_and_si512(a, magnitude));
        max_b = _mm512_max_epi32(max_b, _mm512_and_si512(b, magnitude));
    }
    for (; at < dim; at += LANES_ZMM) {
        __mmask16 some = (__mmask16)(dim - at < LANES_ZMM ? (1u << (dim - at)) - 1 : 0xffffu);
        __m512i a = _mm512_maskz_loadu_epi32(some, x + at);
        max_a = _mm512_max_epi32(max_a, _mm512_and_si512(a, magnitude));
    }
    int32_t max = _mm512_reduce_max_epi32(_mm512_max_epi32(max_a, max_b));
    return max >= infinity ? INFINITY : _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(max)));
}

/* ---- halves -------------------------------------------------------------------------------- */

INLINE __mmask16 first_zmm_lanes(size_t count)
{
    return (__mmask16)(count < LANES_ZMM ? (1u << count) - 1 : 0xffffu);
}

void omen_widen_f16_any_avx512(const uint16_t *half, size_t dim, float *out)
{
    for (size_t at = 0; at < dim; at += LANES_ZMM) {
        __mmask16 some = first_zmm_lanes(dim - at);
        __m256i halves = _mm256_maskz_loadu_epi16(some, half + at);

        _mm512_mask_storeu_ps(out + at, some, _mm512_cvtph_ps(halves));
    }
}

void omen_narrow_f16_any_avx512(const float *x, size_t dim, uint16_t *out)
{
    for (size_t at = 0; at < dim; at += LANES_ZMM) {
        __mmask16 some = first_zmm_lanes(dim - at);
        __m256i halves =
            _mm512_cvtps_ph(_mm512_maskz_loadu_ps(some, x + at), _MM_FROUND_TO_NEAREST_INT);

        _mm256_mask_storeu_epi16(out + at, some, halves);
    }
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
    float omen_##op##_f32_one_any_avx512(const float *query, const float *row, size_t dim)         \
    {                                                                                              \
        return f32_one((metric), query, row, dim);                                                 \
    }

#define F32_MANY_SHELL(op, metric, length)                                                         \
    void omen_##op##_f32_many_##length##_avx512(const float *query, const float *const *rows,      \
                                                size_t count, size_t dim, float *out)              \
    {                                                                                              \
        f32_many((metric), query, rows, count, LENGTH_##length(dim), out);                         \
    }

#define BLOCK_SHELL(op, metric)                                                                    \
    void omen_##op##_f32_block_any_avx512(const float *queries, size_t query_count,                \
                                          const float *rows, size_t row_count, size_t row_stride,  \
                                          size_t dim, float *out, size_t out_stride)               \
    {                                                                                              \
        f32_block((metric), queries, query_count, rows, row_count, row_stride, dim, out,           \
                  out_stride);                                                                     \
    }

#define MANY_SHELLS(length)                                                                        \
    F32_MANY_SHELL(dot, DOT, length)                                                               \
    F32_MANY_SHELL(l2sq, L2SQ, length)

MANY_SHELLS(any)
MANY_SHELLS(128)
MANY_SHELLS(256)
MANY_SHELLS(384)
MANY_SHELLS(512)
MANY_SHELLS(768)
MANY_SHELLS(1536)
F32_ONE_SHELL(dot, DOT)
F32_ONE_SHELL(l2sq, L2SQ)
BLOCK_SHELL(dot, DOT)
BLOCK_SHELL(l2sq, L2SQ)
