/* dotprod.c - the tier of ARM with dot products (Armv8.2-A and later): int8 products.
 *
 * SDOT multiplies 16 signed by 16 signed bytes and adds them up in fours. Codes are unsigned, and
 * there is no mixed product before Armv8.6-A, so a code's top bit is turned over first, which makes
 * it code - 128: the values themselves, as exact in int32 as those of the other tiers, without a
 * bias to take off. The rest of this tier's ops are neon.c's.
 */
#include "kernels/kernels.h"

#include <arm_neon.h>
#include <string.h>

#include "kernels/rows.h"

#define INLINE static inline __attribute__((always_inline))

#define VECTOR_BYTES   16u
#define VECTOR_MEMBERS 4u
#define LINE           64u
#define CODES          4u /* codes that meet a probe at once */
#define POINTS         4u /* points that meet a group of members at once: 16 registers of sums */
#define PARTS          4u /* registers of 4 members that make up a group */
#define WORD_BYTES     4u
#define PREFETCH       512u /* bytes of a code that are prefetched; the hardware follows */

INLINE void prefetch(const uint8_t *code, size_t stride)
{
    for (size_t at = 0; at < stride && at < PREFETCH; at += LINE)
        __builtin_prefetch(code + at);
}

/* The signed values of 16 bytes of a code. */
INLINE int8x16_t load_code(const uint8_t *code)
{
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(code), vdupq_n_u8(OMEN_CODE_ZERO)));
}

/* ---- one x one, one x many ----------------------------------------------------------------- */

INLINE int32_t dot_one(const uint8_t *code, const struct omen_probe *probe, size_t stride)
{
    int32x4_t sums[4];

    for (size_t k = 0; k < 4; k++)
        sums[k] = vdupq_n_s32(0);
    for (size_t at = 0; at < stride; at += LINE)
        for (size_t k = 0; k < 4; k++)
            sums[k] = vdotq_s32(sums[k], load_code(code + at + k * VECTOR_BYTES),
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
            sums[r] = vdotq_s32(sums[r], load_code(codes[r] + at), value);
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

/* ---- many x many --------------------------------------------------------------------------- */

/* `points` (a constant in every call) codes by one group of 16 members. SDOT by lane takes a word
 * of the point for all four members of a register, so four words are loaded at once. */
INLINE void dot_group(const uint8_t *const *codes, size_t points, const int8_t *group,
                      size_t stride, int32_t *dots, size_t members)
{
    int32x4_t sums[POINTS][PARTS];

    for (size_t p = 0; p < points; p++)
        for (size_t part = 0; part < PARTS; part++)
            sums[p][part] = vdupq_n_s32(0);
    for (size_t at = 0; at < stride; at += VECTOR_BYTES) {
        const int8_t *words = group + at * OMEN_PACK_GROUP;
        int8x16_t point[POINTS];
        for (size_t p = 0; p < points; p++)
            point[p] = load_code(codes[p] + at);
#define WORD(w)                                                                                    \
    for (size_t part = 0; part < PARTS; part++) {                                                  \
        int8x16_t member = vld1q_s8(words + (w)*LINE + part * VECTOR_BYTES);                       \
        for (size_t p = 0; p < points; p++)                                                        \
            sums[p][part] = vdotq_laneq_s32(sums[p][part], member, point[p], (w));                 \
    }
        WORD(0)
        WORD(1)
        WORD(2)
        WORD(3)
#undef WORD
    }
    for (size_t p = 0; p < points; p++)
        for (size_t part = 0; part < PARTS; part++)
            vst1q_s32(dots + p * members + part * VECTOR_MEMBERS, sums[p][part]);
}

void omen_dot_i8_block_any_dotprod(const uint8_t *const *codes, size_t points, const int8_t *packed,
                                   const int32_t *bias, size_t members, size_t stride,
                                   int32_t *dots)
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
        for (; p < points; p++)
            dot_group(codes + p, 1, group, stride, dots + p * members + m, members);
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

int32_t omen_dot_i8_one_any_dotprod(const uint8_t *code, const struct omen_probe *probe,
                                    size_t stride)
{
    return dot_one(code, probe, stride);
}

#define SHELLS(dim)                                                                                \
    void omen_dot_i8_many_##dim##_dotprod(const uint8_t *const *codes, size_t count,               \
                                          const struct omen_probe *probe, size_t stride,           \
                                          int32_t *dots)                                           \
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
