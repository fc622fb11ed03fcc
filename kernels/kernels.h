/* kernels.h - the kernels' door: distances and what feeds them, one table of function pointers.
 *
 * Pure functions: no allocation, no threads, no errors, no state. Every row of kernels.def gives
 * THE SAME BITS on every tier:
 *   - integer kernels return exact int32 (a code is at most 127 in magnitude, a dimension at most
 *     65,536, so a dot product stays below 2^31);
 *   - f32 reductions run in 32 lanes: lane j sums components j, j+32, j+64, ... with fmaf, from +0;
 *     the missing components of the last round are left out (an fma of zeros is not the same: it
 *     turns a lane that underflowed to -0 into +0). The lanes are then added as a tree: lane j +=
 *     lane j+16 (j < 16), then j+8, j+4, j+2, j+1. Two zmm, four ymm or eight NEON registers do
 *     that alike;
 *   - `near` and `encode` use no fma at all, and the compiler may not make one: every file is built
 *     with -ffp-contract=off (without it GCC contracts even the intrinsics for * and +).
 *
 * int8 codes. A vector x of `dim` components is stored as a *code*: `stride` bytes (dim rounded up
 * to 64), byte i = 128 + round(x[i] / scale), in 1..255; padding bytes are 128 (zero). Offset
 * binary because VNNI and AMX multiply u8 by s8; the other side of a product is a *probe*.
 * Codes, probes, packed blocks and f32 rows that the engine owns are 64-byte aligned; `query`
 * pointers of f32 kernels may be unaligned.
 */
#ifndef OMEN_KERNELS_H
#define OMEN_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* ---- instruction-set tiers; a set is an OR of these --------------------------------------- */

typedef enum omen_isa {
    OMEN_ISA_ref = 1u << 0,    /* plain C at the baseline: the definition */
    OMEN_ISA_avx2 = 1u << 1,   /* AVX2, FMA, F16C, BMI */
    OMEN_ISA_avx512 = 1u << 2, /* AVX-512 F, BW, VL, DQ */
    OMEN_ISA_vnni = 1u << 3,   /* avx512 and AVX-512 VNNI */
    OMEN_ISA_amx = 1u << 4,    /* vnni, AMX-TILE and AMX-INT8 */
    OMEN_ISA_neon = 1u << 5,   /* Armv8-A at its baseline, which has Advanced SIMD */
    OMEN_ISA_dotprod = 1u << 6 /* neon and SDOT, UDOT (Armv8.2-A and later) */
} omen_isa;

/* What this CPU and operating system can run; always contains ref. Where there is AMX it asks
 * Linux for it (ARCH_REQ_XCOMP_PERM), for all threads of the process and what they fork: so call it
 * before a kernel runs. A no, or a Linux that knows no such question (before 5.16), leaves amx out.
 * Linux says no while a thread has an alternative signal stack that is too small for tiles
 * (sigaltstack; AT_MINSIGSTKSZ says how large), and refuses such stacks after a yes. Asking again
 * is harmless. Any thread. */
unsigned omen_cpu_isas(void);

/* The tiers that `name` allows: itself and everything below it. The names are those of the
 * architecture that this was compiled for ("ref", "avx2", "avx512", "vnni", "amx"; "ref",
 * "neon", "dotprod"). 0 when the name is unknown. */
unsigned omen_isas_named(const char *name);

/* "amx", "vnni", ...: the highest tier in the set. */
const char *omen_isas_top(unsigned isas);

/* Every tier's name (of this architecture), lowest first, separated by ", ": for messages. */
const char *omen_isas_list(void);

/* ---- shapes ------------------------------------------------------------------------------- */

#define OMEN_CODE_ZERO  128u
#define OMEN_CODE_ALIGN 64u
#define OMEN_PACK_GROUP 16u /* members of a packed block come in groups of so many */
#define OMEN_DIM_any    0u

/* dim rounded up to a whole cache line. */
static inline size_t omen_code_stride(size_t dim)
{
    return (dim + OMEN_CODE_ALIGN - 1) / OMEN_CODE_ALIGN * OMEN_CODE_ALIGN;
}

/* The signed side of a product: `values` holds stride int8 (code byte - 128, padding 0), 64-byte
 * aligned; bias = 128 * sum(values), what the u8 offset of the other side adds to the product. */
struct omen_probe {
    const int8_t *values;
    int32_t bias;
};

/* dot = sum over i of (code[i] - 128) * probe->values[i]. */
typedef int32_t omen_dot_i8_one_fn(const uint8_t *code, const struct omen_probe *probe,
                                   size_t stride);

/* dots[j] = the same for codes[j], j < count. Prefetches ahead of itself within `codes`. */
typedef void omen_dot_i8_many_fn(const uint8_t *const *codes, size_t count,
                                 const struct omen_probe *probe, size_t stride, int32_t *dots);

/* A block of members, packed for the many x many kernel: groups of 16 members; within a group,
 * for each 4-byte word w of the code, the 16 members' 4 signed bytes one after the other
 * (so group g starts at g * 16 * stride, word w of it at + w * 64, member m of that at + m * 4).
 * The last group is filled up with zeros. bias[m] = 128 * sum of member m (0 for filling).
 * packed has room for roundup(count, 16) * stride bytes, bias for roundup(count, 16). */
typedef void omen_pack_i8_fn(const uint8_t *const *codes, size_t count, size_t stride,
                             int8_t *packed, int32_t *bias);

/* dots[p * members + m] = product of point p (a code) and packed member m, for p < points and
 * m < members; members is a multiple of 16; dots is 64-byte aligned. */
typedef void omen_dot_i8_block_fn(const uint8_t *const *codes, size_t points, const int8_t *packed,
                                  const int32_t *bias, size_t members, size_t stride,
                                  int32_t *dots);

/* What belongs to a code: the step of its grid, and its squared length as the one distance sees
 * it: norm = (scale * scale) * (float)dot(code, code). */
struct omen_code_meta {
    float scale;
    float norm;
};

/* The one distance (squared L2 of codes) of a point to `count` members, and which are near:
 *     p = (point.scale * scale[j]) * (float)dots[j];
 *     d = (point.norm + norm[j]) - 2 * p;  distances[j] = d > 0 ? d : 0   (a NaN becomes 0)
 * Returns nothing but marks: bit j % 64 of marks[j / 64] is set if distances[j] <= threshold.
 * No fma. scale, norm, dots, distances are 64-byte aligned and readable (distances: writable) up
 * to roundup(count, 16); bits at and beyond count are 0; marks has room for roundup(count, 64) / 64
 * words, all written. */
typedef void omen_near_fn(struct omen_code_meta point, const int32_t *dots, const float *scale,
                          const float *norm, size_t count, float threshold, float *distances,
                          uint64_t *marks);

/* code[i] = 128 + rint(x[i] * inverse), round to nearest even, clamped to 128 - 127 .. 128 + 127;
 * bytes dim..stride-1 become 128. x may be unaligned; all of it is finite. */
typedef void omen_encode_i8_fn(const float *x, size_t dim, float inverse, uint8_t *code);

/* max |x[i]|; +infinity if any component is NaN or infinite. x may be unaligned. 0 for dim 0. */
typedef float omen_max_abs_f32_fn(const float *x, size_t dim);

/* out[i] = the IEEE half in half[i], exactly. Neither pointer need be aligned. */
typedef void omen_widen_f16_fn(const uint16_t *half, size_t dim, float *out);

/* out[i] = the half nearest to x[i], to even between two; from 65520 on, infinity. No NaN. */
typedef void omen_narrow_f16_fn(const float *x, size_t dim, uint16_t *out);

/* Inner product, and squared L2 distance, of query and row: 32 lanes (see above).
 * For l2sq each lane does t = query[i] - row[i]; lane = fmaf(t, t, lane). */
typedef float omen_f32_one_fn(const float *query, const float *row, size_t dim);

/* out[j] = the same for rows[j], j < count; bit-equal to `one`. Prefetches ahead. */
typedef void omen_f32_many_fn(const float *query, const float *const *rows, size_t count,
                              size_t dim, float *out);

/* out[q * out_stride + r] = the same for queries + q * dim and rows + r * row_stride, q < queries,
 * r < row_count; bit-equal to `one`. row_stride and out_stride are in floats. */
typedef void omen_f32_block_fn(const float *queries, size_t query_count, const float *rows,
                               size_t row_count, size_t row_stride, size_t dim, float *out,
                               size_t out_stride);

/* ---- the table ---------------------------------------------------------------------------- */

/* OP(field, function type): what a collection needs. kernels.def has rows for each. */
#define OMEN_KERNEL_OPS(OP)                                                                        \
    OP(dot_i8_one, omen_dot_i8_one_fn)                                                             \
    OP(dot_i8_many, omen_dot_i8_many_fn)                                                           \
    OP(dot_i8_block, omen_dot_i8_block_fn)                                                         \
    OP(pack_i8, omen_pack_i8_fn)                                                                   \
    OP(near, omen_near_fn)                                                                         \
    OP(encode_i8, omen_encode_i8_fn)                                                               \
    OP(max_abs_f32, omen_max_abs_f32_fn)                                                           \
    OP(widen_f16, omen_widen_f16_fn)                                                               \
    OP(narrow_f16, omen_narrow_f16_fn)                                                             \
    OP(dot_f32_one, omen_f32_one_fn)                                                               \
    OP(dot_f32_many, omen_f32_many_fn)                                                             \
    OP(dot_f32_block, omen_f32_block_fn)                                                           \
    OP(l2sq_f32_one, omen_f32_one_fn)                                                              \
    OP(l2sq_f32_many, omen_f32_many_fn)                                                            \
    OP(l2sq_f32_block, omen_f32_block_fn)

/* One function per op, picked once for a dimension; the pointers are never NULL. */
struct omen_kernels {
    uint32_t dim;
    unsigned isas; /* what it was picked from */
#define OP(field, type) type *field;
    OMEN_KERNEL_OPS(OP)
#undef OP
    /* Which row each op got, "dot_i8_many_384_vnni", in the order of OMEN_KERNEL_OPS. */
#define OP(field, type) const char *field##_name;
    OMEN_KERNEL_OPS(OP)
#undef OP
};

/* Fills `out` with the last row of kernels.def that fits, for each op. `isas` is the OR of the
 * tiers allowed; ref is always added. Any thread. */
void omen_kernels_pick(uint32_t dim, unsigned isas, struct omen_kernels *out);

/* Every row, for tests and benchmarks. `fn` has the type that OMEN_KERNEL_OPS gives `op`. */
struct omen_kernel_row {
    const char *op; /* "dot_i8_one" */
    uint32_t dim;   /* or OMEN_DIM_any */
    omen_isa isa;
    const char *name; /* "dot_i8_one_384_vnni" */
    void (*fn)(void);
};
const struct omen_kernel_row *omen_kernel_rows(size_t *count);

#endif
