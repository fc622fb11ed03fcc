/* amx.c - the AMX tier: the many x many product of int8 codes, by tile registers.
 *
 * TDPBUSD multiplies a tile of 16 codes x 64 unsigned bytes by one of 16 words x 16 members x 4
 * signed bytes, and adds to a tile of 16 x 16 sums without saturating: what VPDPBUSD does (see
 * vnni.c), for 16,384 products at once. A packed group is such a tile of members as it lies in
 * memory, 1 KiB for each line of a code. Codes lie anywhere, and a tile is loaded with one stride:
 * so the codes of a block of points are first copied side by side, once for all members, which each
 * find them there. To copy anew in each step would be as many loads and stores again as the tiles
 * take, for every 32 members.
 *
 * Eight tiles: 2 x 2 of sums, two of points, two of members; four loads for four products. Sums
 * start at minus the bias (a load of stride 0 gives every row the same), so what is stored at the
 * end is the result. A block of fewer points is a configuration of fewer rows.
 *
 * Kernels have no state, so every call configures the tiles and releases them: a caller's own
 * configuration would be one more thing that each thread has to remember, and a thread that is
 * switched out, or gets a signal, while tiles are in use has 8 KiB more to save. It costs two
 * instructions in a call of thousands.
 *
 * The instructions are written out: GCC's intrinsics (12) do not tell the compiler that a tile's
 * load reads memory, and it may drop the stores before it.
 *
 * Not measured: see docs/STATUS.md. The tests run this file's machine code on any x86 with VNNI, by
 * an emulator (tests/kernels/amx_emulator.c).
 */
#include "kernels/kernels.h"

#include <assert.h>
#include <immintrin.h>

#include "kernels/rows.h"

#define INLINE static inline __attribute__((always_inline))

#define LINE          64u /* bytes of a cache line, and of a row of a tile */
#define TILE_ROWS     16u
#define TILE_BYTES    (TILE_ROWS * LINE)
#define BLOCK_POINTS  (2 * TILE_ROWS)
#define CHUNK_BYTES   1536u /* of a code that are copied at once: 48 KiB of stack for a block */
#define POINTS_MIN    8u    /* for fewer, to copy and to configure is a large part of the work */
#define PREFETCH      512u  /* bytes of a code that are prefetched; the hardware goes on */
#define PREFETCH_ROWS 6u    /* codes ahead of the one that is copied */

enum { SUMS_0_0, SUMS_0_1, SUMS_1_0, SUMS_1_1, POINTS_0, POINTS_1, MEMBERS_0, MEMBERS_1 };

/* ---- the instructions ---------------------------------------------------------------------- */

/* As LDTILECFG reads it; tiles from 8 on do not exist. */
struct tile_config {
    uint8_t palette;
    uint8_t start_row;
    uint8_t reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
static_assert(sizeof(struct tile_config) == 64, "LDTILECFG reads 64 bytes");

#define TILE_LOAD(tile, from, pitch)                                                               \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2"                                               \
                     :                                                                             \
                     : "r"(from), "r"((size_t)(pitch)), "i"(tile)                                  \
                     : "memory")
#define TILE_STORE(tile, to, pitch)                                                                \
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)"                                              \
                     :                                                                             \
                     : "r"(to), "r"((size_t)(pitch)), "i"(tile)                                    \
                     : "memory")
#define TILE_MULTIPLY(sums, points, members)                                                       \
    __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0"                                        \
                     :                                                                             \
                     : "i"(sums), "i"(points), "i"(members))

INLINE void set_tile(struct tile_config *config, size_t tile, size_t rows)
{
    config->rows[tile] = (uint8_t)rows;
    config->row_bytes[tile] = rows == 0 ? 0 : LINE; /* a tile has both or neither */
}

/* For `points` points, at most BLOCK_POINTS. All tiles are zero after it. */
static void configure(size_t points)
{
    const size_t first = points < TILE_ROWS ? points : TILE_ROWS, second = points - first;
    struct tile_config config = {.palette = 1};

    set_tile(&config, SUMS_0_0, first);
    set_tile(&config, SUMS_0_1, first);
    set_tile(&config, SUMS_1_0, second);
    set_tile(&config, SUMS_1_1, second);
    set_tile(&config, POINTS_0, first);
    set_tile(&config, POINTS_1, second);
    set_tile(&config, MEMBERS_0, TILE_ROWS);
    set_tile(&config, MEMBERS_1, TILE_ROWS);
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
}

INLINE void release(void)
{
    __asm__ volatile("tilerelease");
}

/* ---- many x many --------------------------------------------------------------------------- */

/* A block of points with the bytes `chunk` .. `chunk + bytes` of their codes, tile by tile: the
 * first 16 points' lines, then the others'. */
struct block {
    uint8_t tiles[2][CHUNK_BYTES / LINE][TILE_BYTES];
    size_t chunk;
    size_t bytes;
    const int8_t *packed;
    const int32_t *bias;
    int32_t *dots; /* the block's first row */
    size_t members;
    size_t stride;
};

/* `known` codes may be prefetched, those after the block among them. */
INLINE void copy_codes(struct block *b, const uint8_t *const *codes, size_t points, size_t known)
{
    for (size_t p = 0; p < points; p++) {
        const uint8_t *code = codes[p] + b->chunk;
        uint8_t(*tiles)[TILE_BYTES] = b->tiles[p / TILE_ROWS];

        if (p + PREFETCH_ROWS < known)
            for (size_t at = 0; at < b->bytes && at < PREFETCH; at += LINE)
                _mm_prefetch((const char *)(codes[p + PREFETCH_ROWS] + b->chunk + at), _MM_HINT_T0);
        for (size_t at = 0; at < b->bytes; at += LINE)
            _mm512_store_si512(tiles[at / LINE] + p % TILE_ROWS * LINE,
                               _mm512_loadu_si512(code + at));
    }
}

/* Minus the bias in every row; or, behind the first chunk, what the one before left. */
INLINE void begin_sums(const struct block *b, size_t halves, size_t groups, size_t member)
{
    int32_t negated[2][OMEN_PACK_GROUP] __attribute__((aligned(LINE)));
    const int32_t *from[2][2] = {{negated[0], negated[1]}, {negated[0], negated[1]}};
    size_t pitch = 0;

    if (b->chunk == 0) {
        for (size_t g = 0; g < groups; g++)
            _mm512_store_si512(
                negated[g],
                _mm512_sub_epi32(_mm512_setzero_si512(),
                                 _mm512_loadu_si512(b->bias + member + g * OMEN_PACK_GROUP)));
    } else {
        pitch = b->members * sizeof *b->dots;
        for (size_t h = 0; h < halves; h++)
            for (size_t g = 0; g < groups; g++)
                from[h][g] = b->dots + h * TILE_ROWS * b->members + member + g * OMEN_PACK_GROUP;
    }
    TILE_LOAD(SUMS_0_0, from[0][0], pitch);
    if (groups == 2) TILE_LOAD(SUMS_0_1, from[0][1], pitch);
    if (halves == 2) TILE_LOAD(SUMS_1_0, from[1][0], pitch);
    if (halves == 2 && groups == 2) TILE_LOAD(SUMS_1_1, from[1][1], pitch);
}

INLINE void end_sums(const struct block *b, size_t halves, size_t groups, size_t member)
{
    int32_t *first = b->dots + member, *second = first + TILE_ROWS * b->members;
    const size_t pitch = b->members * sizeof *b->dots;

    TILE_STORE(SUMS_0_0, first, pitch);
    if (groups == 2) TILE_STORE(SUMS_0_1, first + OMEN_PACK_GROUP, pitch);
    if (halves == 2) TILE_STORE(SUMS_1_0, second, pitch);
    if (halves == 2 && groups == 2) TILE_STORE(SUMS_1_1, second + OMEN_PACK_GROUP, pitch);
}

/* `halves` of the points by `groups` of members from `member` on, one chunk of their codes: both
 * are constants in every call. */
INLINE void multiply(const struct block *b, size_t halves, size_t groups, size_t member)
{
    const int8_t *first = b->packed + member * b->stride + b->chunk * OMEN_PACK_GROUP;
    const int8_t *second = first + OMEN_PACK_GROUP * b->stride;

    begin_sums(b, halves, groups, member);
    for (size_t step = 0; step < b->bytes / LINE; step++) {
        TILE_LOAD(MEMBERS_0, first + step * TILE_BYTES, LINE);
        TILE_LOAD(POINTS_0, b->tiles[0][step], LINE);
        TILE_MULTIPLY(SUMS_0_0, POINTS_0, MEMBERS_0);
        if (halves == 2) {
            TILE_LOAD(POINTS_1, b->tiles[1][step], LINE);
            TILE_MULTIPLY(SUMS_1_0, POINTS_1, MEMBERS_0);
        }
        if (groups == 2) {
            TILE_LOAD(MEMBERS_1, second + step * TILE_BYTES, LINE);
            TILE_MULTIPLY(SUMS_0_1, POINTS_0, MEMBERS_1);
        }
        if (groups == 2 && halves == 2) TILE_MULTIPLY(SUMS_1_1, POINTS_1, MEMBERS_1);
    }
    end_sums(b, halves, groups, member);
}

/* The points of `b` by all members, one chunk of their codes. */
INLINE void multiply_all(const struct block *b, size_t halves)
{
    size_t member = 0;

    for (; member + 2 * OMEN_PACK_GROUP <= b->members; member += 2 * OMEN_PACK_GROUP)
        multiply(b, halves, 2, member);
    if (member < b->members) multiply(b, halves, 1, member);
}

void omen_dot_i8_block_any_amx(const uint8_t *const *codes, size_t points, const int8_t *packed,
                               const int32_t *bias, size_t members, size_t stride, int32_t *dots)
{
    size_t at = 0, configured = 0;

    while (points - at >= POINTS_MIN) {
        const size_t left = points - at, count = left < BLOCK_POINTS ? left : BLOCK_POINTS;
        struct block b __attribute__((aligned(LINE)));

        b.packed = packed;
        b.bias = bias;
        b.dots = dots + at * members;
        b.members = members;
        b.stride = stride;
        if (count != configured) configure(count);
        configured = count;
        for (b.chunk = 0; b.chunk < stride; b.chunk += CHUNK_BYTES) {
            b.bytes = stride - b.chunk < CHUNK_BYTES ? stride - b.chunk : CHUNK_BYTES;
            copy_codes(&b, codes + at, count, left);
            if (count > TILE_ROWS)
                multiply_all(&b, 2);
            else
                multiply_all(&b, 1);
        }
        at += count;
    }
    if (configured != 0) release();
    if (at < points)
        omen_dot_i8_block_any_vnni(codes + at, points - at, packed, bias, members, stride,
                                   dots + at * members);
}
