/* vnni.c - the AVX-512 VNNI tier: int8 products, and the packing that feeds them.
 *
 * VPDPBUSD multiplies 64 unsigned by 64 signed bytes and adds them up in fours, without saturating:
 * so a code goes in as it is stored (offset binary), and what its offset of 128 adds, the bias of
 * the signed side, is taken off at the end. All sums are exact, in whatever order they are added.
 *
 * The many x many kernel is the one that a build spends its time in. Its tile is 4 points x 64
 * members: 16 registers of sums, 4 of members, 1 for the points' word; every byte that it loads is
 * used four times or more, and the 64 members stay in L1 while all points pass by.
 */
#include "kernels/kernels.h"

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/rows.h"

#define INLINE static inline __attribute__((always_inline))

#define ROWS        4u   /* codes that the 1 x many kernel multiplies at once */
#define LINE        64u  /* bytes of a cache line, and of a register */
#define PREFETCH    512u /* bytes of a code that are prefetched; the hardware follows from there */
#define TILE_POINTS 4u
#define TILE_GROUPS 4u /* of OMEN_PACK_GROUP members */
#define WORD_BYTES  4u

INLINE void prefetch_code(const uint8_t *code, size_t stride)
{
    for (size_t at = 0; at < stride && at < PREFETCH; at += LINE)
        _mm_prefetch((const char *)(code + at), _MM_HINT_T1);
}

/* ---- one x one, one x many ----------------------------------------------------------------- */

INLINE int32_t dot_one(const uint8_t *code, const struct omen_probe *probe, size_t stride)
{
    __m512i sum_a = _mm512_setzero_si512(), sum_b = _mm512_setzero_si512();
    size_t at = 0;

    /* Two chains halve the wait for each other's result; more pay only beyond 1,000 components. */
    for (; at + 2 * LINE <= stride; at += 2 * LINE) {
        sum_a = _mm512_dpbusd_epi32(sum_a, _mm512_loadu_si512(code + at),
                                    _mm512_loadu_si512(probe->values + at));
        sum_b = _mm512_dpbusd_epi32(sum_b, _mm512_loadu_si512(code + at + LINE),
                                    _mm512_loadu_si512(probe->values + at + LINE));
    }
    if (at < stride)
        sum_a = _mm512_dpbusd_epi32(sum_a, _mm512_loadu_si512(code + at),
                                    _mm512_loadu_si512(probe->values + at));
    return _mm512_reduce_add_epi32(_mm512_add_epi32(sum_a, sum_b)) - probe->bias;
}

/* The sums of four registers, as one register of four. */
INLINE __m128i add_up_four(const __m512i sums[ROWS])
{
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(sums[0], sums[1]),
                                  _mm512_unpackhi_epi32(sums[0], sums[1]));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(sums[2], sums[3]),
                                  _mm512_unpackhi_epi32(sums[2], sums[3]));
    __m512i abcd = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i half =
        _mm256_add_epi32(_mm512_castsi512_si256(abcd), _mm512_extracti64x4_epi64(abcd, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* `ahead` (a constant in every call) fetches the next four codes line by line: all lines at once
 * would use up the few misses that a core can have under way. */
INLINE void dot_four(const uint8_t *const *codes, bool ahead, const struct omen_probe *probe,
                     size_t stride, int32_t *dots)
{
    __m512i sums[ROWS];

    for (size_t r = 0; r < ROWS; r++)
        sums[r] = _mm512_setzero_si512();
    for (size_t at = 0; at < stride; at += LINE) {
        __m512i value = _mm512_loadu_si512(probe->values + at);
        if (ahead && at < PREFETCH)
            for (size_t r = 0; r < ROWS; r++)
                _mm_prefetch((const char *)(codes[ROWS + r] + at), _MM_HINT_T1);
        for (size_t r = 0; r < ROWS; r++)
            sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_loadu_si512(codes[r] + at), value);
    }
    _mm_storeu_si128((__m128i_u *)dots,
                     _mm_sub_epi32(add_up_four(sums), _mm_set1_epi32(probe->bias)));
}

INLINE void dot_many(const uint8_t *const *codes, size_t count, const struct omen_probe *probe,
                     size_t stride, int32_t *dots)
{
    size_t j = 0;

    for (; j + 2 * ROWS <= count; j += ROWS)
        dot_four(codes + j, true, probe, stride, dots + j);
    for (size_t last = j + ROWS; last < count; last++)
        prefetch_code(codes[last], stride);
    if (j + ROWS <= count) {
        dot_four(codes + j, false, probe, stride, dots + j);
        j += ROWS;
    }
    if (j + 1 == count) {
        dots[j] = dot_one(codes[j], probe, stride);
    } else if (j < count) { /* two or three: the last one stands for those that are missing */
        const uint8_t *four[ROWS];
        int32_t all[ROWS];
        for (size_t r = 0; r < ROWS; r++)
            four[r] = codes[j + r < count ? j + r : count - 1];
        dot_four(four, false, probe, stride, all);
        memcpy(dots + j, all, (count - j) * sizeof *dots);
    }
}

/* ---- many x many --------------------------------------------------------------------------- */

/* The corner of a product that one tile computes; `members` is the width of all of it. */
struct corner {
    const uint8_t *const *codes;
    const int8_t *packed;
    const int32_t *bias;
    int32_t *dots;
    size_t members;
    size_t stride;
};

/* `points` x `groups` groups of members, in `chains` sums each: all three are constants in every
 * call, so that the loops over them vanish and the sums are registers. Small tiles need several
 * chains, because a product takes four cycles and a new one could begin in each. */
INLINE void tile(const struct corner *c, size_t points, size_t groups, size_t chains)
{
    __m512i sums[4][TILE_POINTS][TILE_GROUPS];
    const size_t group_bytes = OMEN_PACK_GROUP * c->stride;

    for (size_t k = 0; k < chains; k++)
        for (size_t p = 0; p < points; p++)
            for (size_t g = 0; g < groups; g++)
                sums[k][p][g] = _mm512_setzero_si512();

    for (size_t at = 0; at < c->stride; at += chains * WORD_BYTES) {
#pragma GCC unroll 4
        for (size_t k = 0; k < chains; k++) {
            const size_t word = at + k * WORD_BYTES;
            __m512i member[TILE_GROUPS];
#pragma GCC unroll 4
            for (size_t g = 0; g < groups; g++)
                member[g] =
                    _mm512_loadu_si512(c->packed + g * group_bytes + word * OMEN_PACK_GROUP);
#pragma GCC unroll 4
            for (size_t p = 0; p < points; p++) {
                int32_t four;
                memcpy(&four, c->codes[p] + word, sizeof four);
                __m512i point = _mm512_set1_epi32(four);
#pragma GCC unroll 4
                for (size_t g = 0; g < groups; g++)
                    sums[k][p][g] = _mm512_dpbusd_epi32(sums[k][p][g], point, member[g]);
            }
        }
    }

    for (size_t g = 0; g < groups; g++) {
        __m512i bias = _mm512_loadu_si512(c->bias + g * OMEN_PACK_GROUP);
        for (size_t p = 0; p < points; p++) {
            __m512i dot = sums[0][p][g];
            for (size_t k = 1; k < chains; k++)
                dot = _mm512_add_epi32(dot, sums[k][p][g]);
            _mm512_storeu_si512(c->dots + p * c->members + g * OMEN_PACK_GROUP,
                                _mm512_sub_epi32(dot, bias));
        }
    }
}

INLINE void tile_of(const struct corner *c, size_t points, size_t groups)
{
    switch (points * (TILE_GROUPS + 1) + groups) {
#define TILE(p, g, chains)                                                                         \
    case (p) * (TILE_GROUPS + 1) + (g):                                                            \
        tile(c, (p), (g), (chains));                                                               \
        break;
        TILE(1, 1, 4)
        TILE(1, 2, 4)
        TILE(1, 3, 2)
        TILE(1, 4, 2)
        TILE(2, 1, 4)
        TILE(2, 2, 2)
        TILE(2, 3, 1)
        TILE(2, 4, 1)
        TILE(3, 1, 2)
        TILE(3, 2, 1)
        TILE(3, 3, 1)
        TILE(3, 4, 1)
        TILE(4, 1, 2)
        TILE(4, 2, 1)
        TILE(4, 3, 1)
        TILE(4, 4, 1)
#undef TILE
    }
}

void omen_dot_i8_block_any_vnni(const uint8_t *const *codes, size_t points, const int8_t *packed,
                                const int32_t *bias, size_t members, size_t stride, int32_t *dots)
{
    const size_t groups = members / OMEN_PACK_GROUP;

    for (size_t g = 0; g < groups; g += TILE_GROUPS) {
        const size_t tile_groups = groups - g < TILE_GROUPS ? groups - g : TILE_GROUPS;
        for (size_t p = 0; p < points; p += TILE_POINTS) {
            const size_t tile_points = points - p < TILE_POINTS ? points - p : TILE_POINTS;
            const struct corner c = {
                .codes = codes + p,
                .packed = packed + g * OMEN_PACK_GROUP * stride,
                .bias = bias + g * OMEN_PACK_GROUP,
                .dots = dots + p * members + g * OMEN_PACK_GROUP,
                .members = members,
                .stride = stride,
            };
            /* Points lie anywhere in memory; members are a stream that the hardware foresees. */
            for (size_t next = p + TILE_POINTS; next < points && next < p + 2 * TILE_POINTS; next++)
                prefetch_code(codes[next], stride);
            tile_of(&c, tile_points, tile_groups);
        }
    }
}

/* ---- packing ------------------------------------------------------------------------------- */

INLINE __m128i load_quarter(const uint8_t *from)
{
    return _mm_loadu_si128((const __m128i_u *)from);
}

/* Sixteen bytes (four words) at `at` of the codes k, k + 4, k + 8 and k + 12, one in each quarter
 * of a register. A broadcast under a mask is a load and a blend, where an insertion is a shuffle.
 */
INLINE __m512i four_codes(const uint8_t *const *codes, size_t k, size_t at)
{
    __m512i quarters = _mm512_broadcast_i32x4(load_quarter(codes[k] + at));

    quarters = _mm512_mask_broadcast_i32x4(quarters, 0x00f0, load_quarter(codes[k + 4] + at));
    quarters = _mm512_mask_broadcast_i32x4(quarters, 0x0f00, load_quarter(codes[k + 8] + at));
    return _mm512_mask_broadcast_i32x4(quarters, 0xf000, load_quarter(codes[k + 12] + at));
}

/* Writes four words of a group, transposed, and returns `sum` with their bytes added for each
 * member. Loading four codes into the quarters of a register leaves only a 4 x 4 transposition
 * inside the quarters: half the shuffles of a 16 x 16 one. `keep` has a bit for each member that is
 * no filling. */
INLINE __m512i pack_four_words(const uint8_t *const *codes, size_t at, __mmask16 keep, int8_t *out,
                               __m512i sum)
{
    const __m512i ones = _mm512_set1_epi8(1), offset = _mm512_set1_epi8((char)OMEN_CODE_ZERO);
    __m512i a = four_codes(codes, 0, at), b = four_codes(codes, 1, at);
    __m512i c = four_codes(codes, 2, at), d = four_codes(codes, 3, at);
    __m512i ab_low = _mm512_unpacklo_epi32(a, b), ab_high = _mm512_unpackhi_epi32(a, b);
    __m512i cd_low = _mm512_unpacklo_epi32(c, d), cd_high = _mm512_unpackhi_epi32(c, d);
    __m512i words[4] = {
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    };

    for (size_t w = 0; w < 4; w++) {
        __m512i word = _mm512_maskz_xor_epi32(keep, words[w], offset);
        _mm512_storeu_si512(out + w * LINE, word);
        sum = _mm512_dpbusd_epi32(sum, ones, word);
    }
    return sum;
}

/* Packs one group, and fetches line by line the `ahead` codes after it. Not inlined, so that the
 * sixteen pointers stay in memory: there are not enough registers, and the compiler would move them
 * in and out. */
static __attribute__((noinline)) void pack_group(const uint8_t *const *codes, size_t ahead,
                                                 __mmask16 keep, size_t stride, int8_t *out,
                                                 int32_t *bias)
{
    __m512i sum = _mm512_setzero_si512();

    for (size_t line = 0; line < stride; line += LINE) {
        for (size_t quarter = 0; quarter < 4; quarter++) {
            const size_t at = line + quarter * 16;
            for (size_t k = quarter * 4; k < quarter * 4 + 4 && k < ahead; k++)
                _mm_prefetch((const char *)(codes[OMEN_PACK_GROUP + k] + line), _MM_HINT_T1);
            sum = pack_four_words(codes, at, keep, out + at * OMEN_PACK_GROUP, sum);
        }
    }
    _mm512_storeu_si512(bias, _mm512_slli_epi32(sum, 7)); /* times OMEN_CODE_ZERO */
}

void omen_pack_i8_any_vnni(const uint8_t *const *codes, size_t count, size_t stride, int8_t *packed,
                           int32_t *bias)
{
    size_t m = 0;

    for (; m + OMEN_PACK_GROUP <= count; m += OMEN_PACK_GROUP) {
        const size_t left = count - m - OMEN_PACK_GROUP;
        pack_group(codes + m, left < OMEN_PACK_GROUP ? left : OMEN_PACK_GROUP, 0xffff, stride,
                   packed + m * stride, bias + m);
    }
    if (m < count) {
        const uint8_t *last[OMEN_PACK_GROUP];
        for (size_t k = 0; k < OMEN_PACK_GROUP; k++)
            last[k] = codes[m + k < count ? m + k : m]; /* any code will do, `keep` zeroes it */
        pack_group(last, 0, (__mmask16)((1u << (count - m)) - 1), stride, packed + m * stride,
                   bias + m);
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

int32_t omen_dot_i8_one_any_vnni(const uint8_t *code, const struct omen_probe *probe, size_t stride)
{
    return dot_one(code, probe, stride);
}

#define SHELLS(dim)                                                                                \
    void omen_dot_i8_many_##dim##_vnni(const uint8_t *const *codes, size_t count,                  \
                                       const struct omen_probe *probe, size_t stride,              \
                                       int32_t *dots)                                              \
    {                                                                                              \
        dot_many(codes, count, probe, LENGTH_##dim(stride), dots);                                 \
    }

SHELLS(any)
SHELLS(128)
SHELLS(256)
SHELLS(384)
SHELLS(512)
SHELLS(768)
SHELLS(1536)
