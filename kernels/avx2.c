/* avx2.c - the AVX2 tier (with FMA): every op, for machines without AVX-512.
 *
 * int8: VPMADDUBSW multiplies unsigned by signed bytes, adds pairs and saturates at 16 bits, so a
 * code (up to 255) must not go in as it is. Instead |a| is multiplied by b with a's sign: both are
 * at most 127 in magnitude (a code is never 0), a pair at most 32,258, and nothing saturates. The
 * products are those of signed values, so the bias is not used.
 *
 * f32: the 32 lanes are four registers. Components beyond the last full round are loaded under a
 * mask, and lanes without one are put back as they were.
 */
#include "kernels/kernels.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/rows.h"

#define INLINE static inline __attribute__((always_inline))

#define YMM_BYTES  32u
#define YMM_FLOATS 8u
#define LINE       64u
#define LANES      32u
#define QUARTERS   4u /* registers of 8 lanes that make up the 32 */
#define CODES      4u /* codes that meet a probe at once, and points that meet a group */
#define ROWS       2u /* rows that meet a query at once: 8 registers of sums */
#define WORD_BYTES 4u
#define PREFETCH   512u /* bytes of a code or row that are prefetched; the hardware follows */

INLINE void prefetch(const void *start, size_t bytes)
{
    for (size_t at = 0; at < bytes && at < PREFETCH; at += LINE)
        _mm_prefetch((const char *)start + at, _MM_HINT_T1);
}

/* ---- int8 products ------------------------------------------------------------------------- */

INLINE __m256i load_bytes(const void *from)
{
    return _mm256_loadu_si256((const __m256i_u *)from);
}

/* The signed values of 32 bytes of a code. */
INLINE __m256i load_code(const uint8_t *code)
{
    return _mm256_xor_si256(load_bytes(code), _mm256_set1_epi8((char)OMEN_CODE_ZERO));
}

/* sum += a * b by fours; `magnitude` is |a|. */
INLINE __m256i step_i8(__m256i sum, __m256i a, __m256i magnitude, __m256i b)
{
    __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(b, a));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

INLINE int32_t add_up_i8(__m256i sum)
{
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    four = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 1)));
}

INLINE int32_t dot_one(const uint8_t *code, const struct omen_probe *probe, size_t stride)
{
    __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};

    for (size_t at = 0; at < stride; at += 2 * YMM_BYTES) {
        for (size_t half = 0; half < 2; half++) {
            __m256i value = load_bytes(probe->values + at + half * YMM_BYTES);
            sums[half] = step_i8(sums[half], value, _mm256_abs_epi8(value),
                                 load_code(code + at + half * YMM_BYTES));
        }
    }
    return add_up_i8(_mm256_add_epi32(sums[0], sums[1]));
}

INLINE void dot_four(const uint8_t *const *codes, const struct omen_probe *probe, size_t stride,
                     int32_t *dots)
{
    __m256i sums[CODES];

    for (size_t r = 0; r < CODES; r++)
        sums[r] = _mm256_setzero_si256();
    for (size_t at = 0; at < stride; at += YMM_BYTES) {
        __m256i value = load_bytes(probe->values + at), magnitude = _mm256_abs_epi8(value);
        for (size_t r = 0; r < CODES; r++)
            sums[r] = step_i8(sums[r], value, magnitude, load_code(codes[r] + at));
    }
    __m256i four =
        _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
    _mm_storeu_si128((__m128i_u *)dots, _mm_add_epi32(_mm256_castsi256_si128(four),
                                                      _mm256_extracti128_si256(four, 1)));
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

/* `points` (a constant in every call) codes by one group of 16 members. */
INLINE void dot_group(const uint8_t *const *codes, size_t points, const int8_t *group,
                      size_t stride, int32_t *dots, size_t members)
{
    __m256i sums[CODES][2];

    for (size_t p = 0; p < points; p++)
        sums[p][0] = sums[p][1] = _mm256_setzero_si256();
    for (size_t at = 0; at < stride; at += WORD_BYTES) {
        __m256i low = load_bytes(group + at * OMEN_PACK_GROUP);
        __m256i high = load_bytes(group + at * OMEN_PACK_GROUP + YMM_BYTES);
        for (size_t p = 0; p < points; p++) {
            int32_t word;
            memcpy(&word, codes[p] + at, sizeof word);
            __m256i point =
                _mm256_xor_si256(_mm256_set1_epi32(word), _mm256_set1_epi8((char)OMEN_CODE_ZERO));
            __m256i magnitude = _mm256_abs_epi8(point);
            sums[p][0] = step_i8(sums[p][0], point, magnitude, low);
            sums[p][1] = step_i8(sums[p][1], point, magnitude, high);
        }
    }
    for (size_t p = 0; p < points; p++) {
        _mm256_storeu_si256((__m256i_u *)(dots + p * members), sums[p][0]);
        _mm256_storeu_si256((__m256i_u *)(dots + p * members + YMM_FLOATS), sums[p][1]);
    }
}

void omen_dot_i8_block_any_avx2(const uint8_t *const *codes, size_t points, const int8_t *packed,
                                const int32_t *bias, size_t members, size_t stride, int32_t *dots)
{
    (void)bias;
    for (size_t m = 0; m < members; m += OMEN_PACK_GROUP) {
        const int8_t *group = packed + m * stride;
        size_t p = 0;
        for (; p + CODES <= points; p += CODES) {
            for (size_t next = p + CODES; next < points && next < p + 2 * CODES; next++)
                prefetch(codes[next], stride);
            dot_group(codes + p, CODES, group, stride, dots + p * members + m, members);
        }
        for (; p < points; p++)
            dot_group(codes + p, 1, group, stride, dots + p * members + m, members);
    }
}

/* ---- packing ------------------------------------------------------------------------------- */

/* Sixteen bytes at `at` of the codes k and k + 4, one in each half, as signed bytes. */
INLINE __m256i two_codes(const uint8_t *const *codes, size_t k, size_t at)
{
    __m128i low = _mm_loadu_si128((const __m128i_u *)(codes[k] + at));
    __m128i high = _mm_loadu_si128((const __m128i_u *)(codes[k + 4] + at));
    return _mm256_xor_si256(_mm256_set_m128i(high, low), _mm256_set1_epi8((char)OMEN_CODE_ZERO));
}

/* Four words of eight members: a 4 x 4 transposition in each half. Returns `sum` with their bytes
 * added for each member. */
INLINE __m256i pack_four_words(const uint8_t *const *codes, size_t at, __m256i keep, int8_t *out,
                               __m256i sum)
{
    __m256i a = two_codes(codes, 0, at), b = two_codes(codes, 1, at);
    __m256i c = two_codes(codes, 2, at), d = two_codes(codes, 3, at);
    __m256i ab_low = _mm256_unpacklo_epi32(a, b), ab_high = _mm256_unpackhi_epi32(a, b);
    __m256i cd_low = _mm256_unpacklo_epi32(c, d), cd_high = _mm256_unpackhi_epi32(c, d);
    __m256i words[4] = {
        _mm256_unpacklo_epi64(ab_low, cd_low),
        _mm256_unpackhi_epi64(ab_low, cd_low),
        _mm256_unpacklo_epi64(ab_high, cd_high),
        _mm256_unpackhi_epi64(ab_high, cd_high),
    };

    for (size_t w = 0; w < 4; w++) {
        __m256i word = _mm256_and_si256(words[w], keep);
        __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), word);
        _mm256_storeu_si256((__m256i_u *)(out + w * LINE), word);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    return sum;
}

/* Lane j is all ones if j < count. */
INLINE __m256i first_lanes(size_t count)
{
    const __m256i lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count < YMM_FLOATS ? (int)count : 8), lane);
}

void omen_pack_i8_any_avx2(const uint8_t *const *codes, size_t count, size_t stride, int8_t *packed,
                           int32_t *bias)
{
    const size_t filled = (count + OMEN_PACK_GROUP - 1) / OMEN_PACK_GROUP * OMEN_PACK_GROUP;

    for (size_t m = 0; m < filled; m += YMM_FLOATS) {
        const __m256i keep = first_lanes(m < count ? count - m : 0);
        const uint8_t *eight[YMM_FLOATS];
        int8_t *out = packed + m / OMEN_PACK_GROUP * OMEN_PACK_GROUP * stride +
                      m % OMEN_PACK_GROUP * WORD_BYTES;
        __m256i sum = _mm256_setzero_si256();

        for (size_t k = 0; k < YMM_FLOATS; k++) {
            eight[k] = codes[m + k < count ? m + k : 0];
            if (m + YMM_FLOATS + k < count) prefetch(codes[m + YMM_FLOATS + k], stride);
        }
        for (size_t at = 0; at < stride; at += 16)
            sum = pack_four_words(eight, at, keep, out + at * OMEN_PACK_GROUP, sum);
        _mm256_storeu_si256((__m256i_u *)(bias + m),
                            _mm256_slli_epi32(sum, 7)); /* times OMEN_CODE_ZERO */
    }
}

/* ---- the one distance ---------------------------------------------------------------------- */

INLINE uint32_t near_eight(struct omen_code_meta point, const int32_t *dots, const float *scale,
                           const float *norm, float threshold, float *distances)
{
    __m256 scales = _mm256_mul_ps(_mm256_set1_ps(point.scale), _mm256_loadu_ps(scale));
    __m256 p = _mm256_mul_ps(scales, _mm256_cvtepi32_ps(load_bytes(dots)));
    __m256 norms = _mm256_add_ps(_mm256_set1_ps(point.norm), _mm256_loadu_ps(norm));
    __m256 d = _mm256_sub_ps(norms, _mm256_mul_ps(_mm256_set1_ps(2.0f), p));

    /* MAXPS gives its second operand if the first is a NaN. */
    d = _mm256_max_ps(d, _mm256_setzero_ps());
    _mm256_storeu_ps(distances, d);
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(d, _mm256_set1_ps(threshold), _CMP_LE_OQ));
}

void omen_near_any_avx2(struct omen_code_meta point, const int32_t *dots, const float *scale,
                        const float *norm, size_t count, float threshold, float *distances,
                        uint64_t *marks)
{
    for (size_t from = 0; from < count; from += 64) {
        const size_t here = count - from < 64 ? count - from : 64;
        uint64_t word = 0;
        for (size_t j = 0; j < here; j += YMM_FLOATS)
            word |= (uint64_t)near_eight(point, dots + from + j, scale + from + j, norm + from + j,
                                         threshold, distances + from + j)
                    << j;
        marks[from / 64] = word & (~(uint64_t)0 >> (64 - here));
    }
}

/* ---- codes --------------------------------------------------------------------------------- */

INLINE __m256i encode_eight(const float *x, size_t count, float inverse)
{
    __m256i some = first_lanes(count);
    __m256 value = _mm256_mul_ps(_mm256_maskload_ps(x, some), _mm256_set1_ps(inverse));

    value = _mm256_min_ps(value, _mm256_set1_ps(127.0f));
    value = _mm256_max_ps(value, _mm256_set1_ps(-127.0f));
    /* A lane without a component is zero even if `inverse` is infinite. */
    return _mm256_and_si256(_mm256_cvtps_epi32(value), some);
}

void omen_encode_i8_any_avx2(const float *x, size_t dim, float inverse, uint8_t *code)
{
    /* Packing works in halves: word h of each of the four registers ends up in half h. */
    const __m256i order = _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0);

    for (size_t at = 0; at < omen_code_stride(dim); at += YMM_BYTES) {
        __m256i words[QUARTERS];
        for (size_t q = 0; q < QUARTERS; q++) {
            size_t from = at + q * YMM_FLOATS;
            words[q] =
                from < dim ? encode_eight(x + from, dim - from, inverse) : _mm256_setzero_si256();
        }
        __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(words[0], words[1]),
                                           _mm256_packs_epi32(words[2], words[3]));
        bytes = _mm256_permutevar8x32_epi32(bytes, order);
        bytes = _mm256_xor_si256(bytes, _mm256_set1_epi8((char)OMEN_CODE_ZERO));
        _mm256_storeu_si256((__m256i_u *)(code + at), bytes);
    }
}

float omen_max_abs_f32_any_avx2(const float *x, size_t dim)
{
    /* Without its sign, a float's bits are ordered like an integer, infinity and NaN on top. */
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    const int32_t infinity = 0x7f800000;
    __m256i max = _mm256_setzero_si256();
    size_t at = 0;

    for (; at + YMM_FLOATS <= dim; at += YMM_FLOATS)
        max = _mm256_max_epi32(max, _mm256_and_si256(load_bytes(x + at), magnitude));
    if (at < dim) {
        __m256i rest = _mm256_castps_si256(_mm256_maskload_ps(x + at, first_lanes(dim - at)));
        max = _mm256_max_epi32(max, _mm256_and_si256(rest, magnitude));
    }
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(max), _mm256_extracti128_si256(max, 1));
    four = _mm_max_epi32(four, _mm_unpackhi_epi64(four, four));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 1));
    if (_mm_cvtsi128_si32(four) >= infinity) return INFINITY;
    return _mm_cvtss_f32(_mm_castsi128_ps(four));
}

/* ---- halves -------------------------------------------------------------------------------- */

void omen_widen_f16_any_avx2(const uint16_t *half, size_t dim, float *out)
{
    size_t at = 0;

    for (; at + YMM_FLOATS <= dim; at += YMM_FLOATS)
        _mm256_storeu_ps(out + at,
                         _mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)(half + at))));
    if (at < dim) {
        uint16_t rest[YMM_FLOATS] = {0};

        memcpy(rest, half + at, (dim - at) * sizeof *rest);
        _mm256_maskstore_ps(out + at, first_lanes(dim - at),
                            _mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)rest)));
    }
}

void omen_narrow_f16_any_avx2(const float *x, size_t dim, uint16_t *out)
{
    size_t at = 0;

    for (; at + YMM_FLOATS <= dim; at += YMM_FLOATS)
        _mm_storeu_si128((__m128i_u *)(out + at),
                         _mm256_cvtps_ph(_mm256_loadu_ps(x + at), _MM_FROUND_TO_NEAREST_INT));
    if (at < dim) {
        uint16_t rest[YMM_FLOATS];
        __m256 some = _mm256_maskload_ps(x + at, first_lanes(dim - at));

        _mm_storeu_si128((__m128i_u *)rest, _mm256_cvtps_ph(some, _MM_FROUND_TO_NEAREST_INT));
        memcpy(out + at, rest, (dim - at) * sizeof *rest);
    }
}

/* ---- f32 sums ------------------------------------------------------------------------------ */

enum metric { DOT, L2SQ };

INLINE __m256 step_f32(enum metric metric, __m256 query, __m256 row, __m256 sum)
{
    if (metric == DOT) return _mm256_fmadd_ps(query, row, sum);
    __m256 t = _mm256_sub_ps(query, row);
    return _mm256_fmadd_ps(t, t, sum);
}

/* The components from `at` on, which are fewer than a round. */
INLINE void sum_tail(enum metric metric, const float *query, const float *row, size_t left,
                     __m256 sum[QUARTERS])
{
    for (size_t q = 0; q < QUARTERS; q++) {
        if (left <= q * YMM_FLOATS) break;
        __m256i some = first_lanes(left - q * YMM_FLOATS);
        __m256 after = step_f32(metric, _mm256_maskload_ps(query + q * YMM_FLOATS, some),
                                _mm256_maskload_ps(row + q * YMM_FLOATS, some), sum[q]);
        sum[q] = _mm256_blendv_ps(sum[q], after, _mm256_castsi256_ps(some));
    }
}

/* `rows` is a constant in every call. */
INLINE void sum_rows(enum metric metric, const float *query, const float *const *row, size_t rows,
                     size_t dim, __m256 sums[ROWS][QUARTERS])
{
    size_t at = 0;

    for (size_t r = 0; r < rows; r++)
        for (size_t q = 0; q < QUARTERS; q++)
            sums[r][q] = _mm256_setzero_ps();
    for (; at + LANES <= dim; at += LANES) {
        for (size_t q = 0; q < QUARTERS; q++) {
            __m256 eight = _mm256_loadu_ps(query + at + q * YMM_FLOATS);
            for (size_t r = 0; r < rows; r++)
                sums[r][q] = step_f32(metric, eight, _mm256_loadu_ps(row[r] + at + q * YMM_FLOATS),
                                      sums[r][q]);
        }
    }
    if (at < dim)
        for (size_t r = 0; r < rows; r++)
            sum_tail(metric, query + at, row[r] + at, dim - at, sums[r]);
}

INLINE float add_up_f32(const __m256 sum[QUARTERS])
{
    __m256 half = _mm256_add_ps(_mm256_add_ps(sum[0], sum[2]), _mm256_add_ps(sum[1], sum[3]));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

INLINE float f32_one(enum metric metric, const float *query, const float *row, size_t dim)
{
    __m256 sums[ROWS][QUARTERS];

    sum_rows(metric, query, &row, 1, dim, sums);
    return add_up_f32(sums[0]);
}

INLINE void f32_two(enum metric metric, const float *query, const float *const *rows, size_t dim,
                    float *out)
{
    __m256 sums[ROWS][QUARTERS];

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
    float omen_##op##_f32_one_any_avx2(const float *query, const float *row, size_t dim)           \
    {                                                                                              \
        return f32_one((metric), query, row, dim);                                                 \
    }

#define F32_MANY_SHELL(op, metric, length)                                                         \
    void omen_##op##_f32_many_##length##_avx2(const float *query, const float *const *rows,        \
                                              size_t count, size_t dim, float *out)                \
    {                                                                                              \
        f32_many((metric), query, rows, count, LENGTH_##length(dim), out);                         \
    }

#define F32_BLOCK_SHELL(op, metric)                                                                \
    void omen_##op##_f32_block_any_avx2(const float *queries, size_t query_count,                  \
                                        const float *rows, size_t row_count, size_t row_stride,    \
                                        size_t dim, float *out, size_t out_stride)                 \
    {                                                                                              \
        f32_block((metric), queries, query_count, rows, row_count, row_stride, dim, out,           \
                  out_stride);                                                                     \
    }

int32_t omen_dot_i8_one_any_avx2(const uint8_t *code, const struct omen_probe *probe, size_t stride)
{
    return dot_one(code, probe, stride);
}

#define SHELLS(length)                                                                             \
    void omen_dot_i8_many_##length##_avx2(const uint8_t *const *codes, size_t count,               \
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
