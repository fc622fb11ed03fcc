/* amx_test.c - AMX instructions one by one, beside plain C: the emulator where the CPU has none.
 *
 * The encodings come from the assembler, which shares no code with the decoder; those that an
 * assembler would refuse are written as bytes. On a CPU with AMX the same tests show that CPU and
 * model agree, except for what the emulator refuses.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fixture.h"

#include "amx_emulator.h"

#define ROWS   16u
#define ROW    64u
#define TILE   (ROWS * ROW)
#define ARENA  65536u
#define MIDDLE 32768u
#define LOW    0x20000000u /* an address that fits into a displacement */
#define STRIDE 96u         /* of the forms of addresses */
#define TRIALS 400u
#define CODE   4096u

struct config {
    uint8_t palette;
    uint8_t start_row;
    uint8_t reserved[14];
    uint16_t colsb[16];
    uint8_t rows[16];
};

static void skip_without_amx(void)
{
    if (!amx_runs()) skip();
}

/* ---- instructions by their mnemonics -------------------------------------------------------- */

static void load_config(const struct config *config)
{
    __asm__ volatile("ldtilecfg %0" : : "m"(*config));
}

static void release(void)
{
    __asm__ volatile("tilerelease");
}

#define EACH_TILE(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define ONE_TILE(n)                                                                                \
    static void load_##n(const void *from, size_t stride)                                          \
    {                                                                                              \
        __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #n : : "r"(from), "r"(stride) : "memory");   \
    }                                                                                              \
    static void load_t1_##n(const void *from, size_t stride)                                       \
    {                                                                                              \
        __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm" #n : : "r"(from), "r"(stride) : "memory"); \
    }                                                                                              \
    static void store_##n(void *to, size_t stride)                                                 \
    {                                                                                              \
        __asm__ volatile("tilestored %%tmm" #n ", (%0,%1,1)" : : "r"(to), "r"(stride) : "memory"); \
    }                                                                                              \
    static void zero_##n(void)                                                                     \
    {                                                                                              \
        __asm__ volatile("tilezero %tmm" #n);                                                      \
    }
EACH_TILE(ONE_TILE)
#undef ONE_TILE

static const struct tile_functions {
    void (*load)(const void *from, size_t stride);
    void (*load_t1)(const void *from, size_t stride);
    void (*store)(void *to, size_t stride);
    void (*zero)(void);
} tiles[] = {
#define ONE_TILE(n) {load_##n, load_t1_##n, store_##n, zero_##n},
    EACH_TILE(ONE_TILE)
#undef ONE_TILE
};

#define EACH_PRODUCT(DO) DO(0, 1, 2) DO(7, 5, 6) DO(2, 7, 0) DO(4, 3, 7) DO(1, 0, 5)
#define ONE_PRODUCT(c, a, b)                                                                       \
    static void multiply_##c##_##a##_##b(void)                                                     \
    {                                                                                              \
        __asm__ volatile("tdpbusd %tmm" #b ", %tmm" #a ", %tmm" #c);                               \
    }
EACH_PRODUCT(ONE_PRODUCT)
#undef ONE_PRODUCT

static const struct product {
    size_t sums, points, members;
    void (*multiply)(void);
} products[] = {
#define ONE_PRODUCT(c, a, b) {c, a, b, multiply_##c##_##a##_##b},
    EACH_PRODUCT(ONE_PRODUCT)
#undef ONE_PRODUCT
};

/* ---- forms of addresses --------------------------------------------------------------------- */

/* Loads and stores of tile 3; base and index are in the registers that are named. */
#define FORM(name, base_register, index_register, operand)                                         \
    static void load_by_##name(const uint8_t *base, size_t index)                                  \
    {                                                                                              \
        register uint64_t b __asm__(base_register) = (uint64_t)(uintptr_t)base;                    \
        register uint64_t i __asm__(index_register) = index;                                       \
        __asm__ volatile("tileloadd " operand ", %%tmm3" : : "r"(b), "r"(i) : "memory");           \
    }                                                                                              \
    static void store_by_##name(const uint8_t *base, size_t index)                                 \
    {                                                                                              \
        register uint64_t b __asm__(base_register) = (uint64_t)(uintptr_t)base;                    \
        register uint64_t i __asm__(index_register) = index;                                       \
        __asm__ volatile("tilestored %%tmm3, " operand : : "r"(b), "r"(i) : "memory");             \
    }
FORM(plain, "rdi", "rsi", "(%0,%1,1)")
FORM(no_index, "rax", "rcx", "(%0)")
FORM(no_index_far, "r12", "rcx", "0x1234(%0)")
FORM(twice, "rdx", "rax", "(%0,%1,2)")
FORM(four_times, "rbx", "rdx", "-0x40(%0,%1,4)")
FORM(eight_times, "rsi", "rdi", "0x7f(%0,%1,8)")
FORM(far, "rcx", "rbx", "0x1234(%0,%1,1)")
FORM(far_below, "r8", "r9", "-0x1234(%0,%1,2)")
FORM(base_12, "r12", "r10", "(%0,%1,1)")
FORM(base_13, "r13", "r11", "(%0,%1,1)")
FORM(base_13_near, "r13", "r12", "0x11(%0,%1,1)")
FORM(index_12, "r9", "r12", "(%0,%1,4)")
FORM(index_15, "r14", "r15", "-0x80(%0,%1,1)")
FORM(base_15, "r15", "r14", "0x80(%0,%1,1)")
FORM(no_base, "rdi", "rsi", "0x20008000(,%1,1)")
FORM(no_base_scaled, "rdi", "r13", "0x20008000(,%1,8)")
#undef FORM

/* The last but one with VEX.B, which changes nothing where there is no base; nor would an assembler
 * write it. */
static void load_by_no_base_extended(const uint8_t *base, size_t index)
{
    (void)base;
    __asm__ volatile(".byte 0xc4, 0xc2, 0x7b, 0x4b, 0x1c, 0x35, 0x00, 0x80, 0x00, 0x20"
                     :
                     : "S"(index)
                     : "memory");
}

static void store_by_no_base_extended(const uint8_t *base, size_t index)
{
    (void)base;
    __asm__ volatile(".byte 0xc4, 0xc2, 0x7a, 0x4b, 0x1c, 0x35, 0x00, 0x80, 0x00, 0x20"
                     :
                     : "S"(index)
                     : "memory");
}

static const struct form {
    const char *name;
    void (*load)(const uint8_t *base, size_t index);
    void (*store)(const uint8_t *base, size_t index);
    int64_t displacement;
    int64_t scale;
    bool absolute; /* the displacement says the middle of the arena, not the base */
} forms[] = {
    {"plain", load_by_plain, store_by_plain, 0, 1, false},
    {"no_index", load_by_no_index, store_by_no_index, 0, 0, false},
    {"no_index_far", load_by_no_index_far, store_by_no_index_far, 0x1234, 0, false},
    {"twice", load_by_twice, store_by_twice, 0, 2, false},
    {"four_times", load_by_four_times, store_by_four_times, -0x40, 4, false},
    {"eight_times", load_by_eight_times, store_by_eight_times, 0x7f, 8, false},
    {"far", load_by_far, store_by_far, 0x1234, 1, false},
    {"far_below", load_by_far_below, store_by_far_below, -0x1234, 2, false},
    {"base_12", load_by_base_12, store_by_base_12, 0, 1, false},
    {"base_13", load_by_base_13, store_by_base_13, 0, 1, false},
    {"base_13_near", load_by_base_13_near, store_by_base_13_near, 0x11, 1, false},
    {"index_12", load_by_index_12, store_by_index_12, 0, 4, false},
    {"index_15", load_by_index_15, store_by_index_15, -0x80, 1, false},
    {"base_15", load_by_base_15, store_by_base_15, 0x80, 1, false},
    {"no_base", load_by_no_base, store_by_no_base, 0, 1, true},
    {"no_base_scaled", load_by_no_base_scaled, store_by_no_base_scaled, 0, 8, true},
    {"no_base_extended", load_by_no_base_extended, store_by_no_base_extended, 0, 1, true},
};

static struct config one_tile_config(size_t rows, size_t colsb)
{
    struct config config = {.palette = 1};

    config.rows[3] = (uint8_t)rows;
    config.colsb[3] = (uint16_t)colsb;
    return config;
}

/* Loads by the form and stores plainly, then the other way round. */
static void check_form(const struct form *form, uint8_t *arena, int64_t index)
{
    enum { HEIGHT = 15, WIDTH = 60 };
    const struct config config = one_tile_config(HEIGHT, WIDTH);
    const size_t base = MIDDLE + (form->absolute ? 0 : 0x100);
    uint8_t *tile = guarded_alloc(TILE), *expected = guarded_alloc(ARENA);

    for (size_t i = 0; i < ARENA; i++)
        arena[i] = (uint8_t)random_bits();
    load_config(&config);
    form->load(arena + base, (size_t)index);
    tiles[3].store(tile, ROW);
    for (int64_t row = 0; row < HEIGHT; row++)
        assert_same_bytes(arena + (int64_t)base + form->displacement + row * form->scale * index,
                          tile + row * ROW, WIDTH, form->name, (size_t)row, (size_t)index);

    for (size_t i = 0; i < TILE; i++)
        tile[i] = (uint8_t)random_bits();
    memcpy(expected, arena, ARENA);
    for (int64_t row = 0; row < HEIGHT; row++)
        memcpy(expected + (int64_t)base + form->displacement + row * form->scale * index,
               tile + row * ROW, WIDTH);
    tiles[3].load(tile, ROW);
    form->store(arena + base, (size_t)index);
    assert_same_bytes(expected, arena, ARENA, form->name, 0, (size_t)index);
    release();
    guarded_free(tile);
    guarded_free(expected);
}

static void every_form_of_an_address_reaches_its_rows(void **state)
{
    (void)state;
    skip_without_amx();
    random_seed(21);
    uint8_t *arena = mmap((void *)(uintptr_t)LOW, ARENA, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    assert_ptr_equal(arena, (void *)(uintptr_t)LOW);
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        check_form(&forms[f], arena, STRIDE);
        check_form(&forms[f], arena, -(int64_t)STRIDE);
        check_form(&forms[f], arena, 0);
    }
    assert_int_equal(munmap(arena, ARENA), 0);
}

/* Two rows of 8 bytes, or something else was loaded. */
static void check_that_configured(void)
{
    uint8_t from[TILE], got[TILE] = {0}, expected[TILE] = {0};

    for (size_t i = 0; i < TILE; i++)
        from[i] = (uint8_t)(i % 251 + 1);
    tiles[3].load(from, ROW);
    tiles[3].store(got, ROW);
    memcpy(expected, from, 8);
    memcpy(expected + ROW, from + ROW, 8);
    assert_memory_equal(expected, got, TILE);
    release();
}

static void a_configuration_is_found_by_every_form_of_an_address(void **state)
{
    static const struct config fixed = {.palette = 1, .colsb = {[3] = 8}, .rows = {[3] = 2}};
    uint8_t bytes[1024] = {0};
    register uint8_t *base __asm__("r13") = bytes;
    register size_t index __asm__("r14") = 16;

    (void)state;
    skip_without_amx();
    load_config(&fixed); /* from where the instruction is */
    check_that_configured();
    memcpy(bytes, &fixed, sizeof fixed);
    __asm__ volatile("ldtilecfg (%0)" : : "r"(base), "r"(index) : "memory");
    check_that_configured();
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes + 32, &fixed, sizeof fixed);
    __asm__ volatile("ldtilecfg 32(%0)" : : "r"(base), "r"(index) : "memory");
    check_that_configured();
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes + 512 + 8 * 16, &fixed, sizeof fixed);
    __asm__ volatile("ldtilecfg 512(%0,%1,8)" : : "r"(base), "r"(index) : "memory");
    check_that_configured();
}

/* ---- tiles ---------------------------------------------------------------------------------- */

static struct config full_config(void)
{
    struct config config = {.palette = 1};

    for (size_t t = 0; t < 8; t++) {
        config.rows[t] = ROWS;
        config.colsb[t] = ROW;
    }
    return config;
}

static void fill_random(uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)random_bits();
}

static void every_tile_is_another_and_zero_when_configured(void **state)
{
    static const uint8_t zeros[TILE];
    const struct config config = full_config();
    uint8_t from[8][TILE], got[TILE];

    (void)state;
    skip_without_amx();
    random_seed(22);
    fill_random(&from[0][0], sizeof from);
    load_config(&config);
    for (size_t t = 0; t < 8; t++)
        (t % 2 == 0 ? tiles[t].load : tiles[t].load_t1)(from[t], ROW);
    tiles[5].zero();
    memset(from[5], 0, TILE);
    for (size_t t = 0; t < 8; t++) {
        tiles[t].store(got, ROW);
        assert_memory_equal(from[t], got, TILE);
    }
    load_config(&config);
    for (size_t t = 0; t < 8; t++) {
        tiles[t].store(got, ROW);
        assert_memory_equal(zeros, got, TILE);
    }
    release();
}

static void a_start_row_holds_for_one_instruction(void **state)
{
    enum { START = 5 };
    struct config config = full_config();
    uint8_t from[TILE], got[TILE], expected[TILE];

    (void)state;
    skip_without_amx();
    random_seed(23);
    fill_random(from, TILE);
    config.start_row = START;
    load_config(&config);
    tiles[2].load(from, ROW);
    memset(expected, 0, TILE);
    memcpy(expected + START * ROW, from + START * ROW, TILE - START * ROW);
    tiles[2].store(got, ROW);
    assert_memory_equal(expected, got, TILE);
    tiles[2].load(from, ROW);
    tiles[2].store(got, ROW);
    assert_memory_equal(from, got, TILE);

    load_config(&config); /* a zeroing uses it up, too */
    tiles[2].zero();
    tiles[2].load(from, ROW);
    tiles[2].store(got, ROW);
    assert_memory_equal(from, got, TILE);

    load_config(&config); /* zeroes the tile, and the first rows of memory stay */
    tiles[2].store(got, ROW);
    memset(from + START * ROW, 0, TILE - START * ROW);
    assert_memory_equal(from, got, TILE);
    release();
}

/* ---- products ------------------------------------------------------------------------------- */

/* As tiles lie in memory, each row 64 bytes behind the one before. */
struct matrices {
    size_t rows, words, columns; /* of points, of both, of members */
    uint8_t points[TILE];
    int8_t members[TILE];
    uint32_t sums[TILE / 4];
};

static void fill_matrices(struct matrices *m)
{
    const bool ends = random_below(4) == 0;

    m->rows = 1 + random_below(16);
    m->words = 1 + random_below(16);
    m->columns = 1 + random_below(16);
    for (size_t i = 0; i < TILE; i++) {
        m->points[i] = ends ? 255 : (uint8_t)random_bits();
        m->members[i] = ends ? (random_below(2) == 0 ? -128 : 127) : (int8_t)random_bits();
    }
    for (size_t i = 0; i < TILE / 4; i++)
        m->sums[i] = ends ? (uint32_t)INT32_MAX : (uint32_t)random_bits();
}

/* What the products are by the textbook, in 64 bits, cut to 32. */
static void multiply_plainly(const struct matrices *m, uint32_t *out)
{
    for (size_t r = 0; r < m->rows; r++) {
        for (size_t c = 0; c < m->columns; c++) {
            int64_t sum = (int64_t)m->sums[r * 16 + c];
            for (size_t i = 0; i < m->words * 4; i++)
                sum += (int64_t)m->points[r * ROW + i] *
                       (int64_t)m->members[i / 4 * ROW + c * 4 + i % 4];
            out[r * 16 + c] = (uint32_t)sum;
        }
    }
}

static void check_product(const struct product *p)
{
    struct config config = full_config();
    struct matrices m;
    uint32_t *expected = guarded_alloc(TILE), *got = guarded_alloc(TILE);

    fill_matrices(&m);
    config.rows[p->sums] = config.rows[p->points] = (uint8_t)m.rows;
    config.rows[p->members] = (uint8_t)m.words;
    config.colsb[p->points] = (uint16_t)(m.words * 4);
    config.colsb[p->sums] = config.colsb[p->members] = (uint16_t)(m.columns * 4);
    memset(expected, 0xaa, TILE); /* what is beyond the configuration is not written */
    memset(got, 0xaa, TILE);
    multiply_plainly(&m, expected);

    load_config(&config);
    tiles[p->sums].load(m.sums, ROW);
    tiles[p->points].load(m.points, ROW);
    tiles[p->members].load(m.members, ROW);
    p->multiply();
    tiles[p->sums].store(got, ROW);
    assert_same_bytes(expected, got, TILE, "tdpbusd", m.rows * 10000 + m.columns * 100 + m.words,
                      p->sums);
    release();
    guarded_free(expected);
    guarded_free(got);
}

static void products_of_every_shape_equal_plain_arithmetic(void **state)
{
    (void)state;
    skip_without_amx();
    random_seed(24);
    for (size_t trial = 0; trial < TRIALS; trial++)
        check_product(&products[trial % (sizeof products / sizeof *products)]);
}

/* ---- what the emulator refuses -------------------------------------------------------------- */

/* Tiles 0 = 1 x 2 can be multiplied; 3 is full, 4 has a row of 6 bytes, 5 is not configured, 6 has
 * one row more than 2. */
static const struct config mixed = {
    .palette = 1,
    .colsb = {20, 16, 20, 64, 6, 0, 20, 64},
    .rows = {3, 3, 4, 16, 2, 0, 5, 16},
};

/* Called with an arena in RDI and a stride in RSI. */
static const struct refused {
    const char *why;
    size_t length;
    uint8_t bytes[12];
} refused[] = {
    /* tdpbusd %tmm2, %tmm1, %tmm0 is c4 e2 69 5e c1 */
    {"#UD, VEX.W:", 5, {0xc4, 0xe2, 0xe9, 0x5e, 0xc1}},
    {"#UD, VEX.L:", 5, {0xc4, 0xe2, 0x6d, 0x5e, 0xc1}},
    {"not of the map 0F38:", 5, {0xc4, 0xe5, 0x69, 0x5e, 0xc1}},
    {"not an instruction of the model:", 5, {0xc4, 0xe2, 0x68, 0x5e, 0xc1}}, /* tdpbuud */
    {"not an instruction of the model:", 5, {0xc4, 0xe2, 0x6a, 0x5e, 0xc1}}, /* tdpbsud */
    {"not an instruction of the model:", 5, {0xc4, 0xe2, 0x6b, 0x5e, 0xc1}}, /* tdpbssd */
    {"not an instruction of the model:", 5, {0xc4, 0xe2, 0x69, 0x5e, 0x01}},
    {"VEX.X without SIB:", 5, {0xc4, 0xa2, 0x69, 0x5e, 0xc1}},
    {"#UD, no such tile:", 5, {0xc4, 0x62, 0x69, 0x5e, 0xc1}},
    {"#UD, no such tile:", 5, {0xc4, 0xc2, 0x69, 0x5e, 0xc1}},
    {"#UD, no such tile:", 5, {0xc4, 0xe2, 0x29, 0x5e, 0xc1}},
    {"#UD, a tile twice:", 5, {0xc4, 0xe2, 0x69, 0x5e, 0xc0}},
    {"#UD, a tile twice:", 5, {0xc4, 0xe2, 0x79, 0x5e, 0xc1}},
    {"#UD, a tile twice:", 5, {0xc4, 0xe2, 0x69, 0x5e, 0xc2}},
    {"#UD, a tile that is not configured:", 5, {0xc4, 0xe2, 0x69, 0x5e, 0xc5}},
    {"#UD, colsb is no multiple of 4:", 5, {0xc4, 0xe2, 0x69, 0x5e, 0xc4}},
    {"#UD, columns of sums and members:", 5, {0xc4, 0xe2, 0x61, 0x5e, 0xc1}},
    {"#UD, rows of sums and points:", 5, {0xc4, 0xe2, 0x49, 0x5e, 0xc2}},
    {"#UD, words of points and members:", 5, {0xc4, 0xe2, 0x49, 0x5e, 0xc1}},
    /* tileloadd (%rdi,%rsi,1), %tmm3 is c4 e2 7b 4b 1c 37 */
    {"#UD, VEX.vvvv:", 6, {0xc4, 0xe2, 0x73, 0x4b, 0x1c, 0x37}},
    {"not an instruction of the model:", 5, {0xc4, 0xe2, 0x7b, 0x4b, 0x1f}},
    {"not an instruction of the model:", 6, {0xc4, 0xe2, 0x78, 0x4b, 0x1c, 0x37}},
    {"#UD, no such tile:", 6, {0xc4, 0x62, 0x7b, 0x4b, 0x1c, 0x37}},
    {"#UD, a tile that is not configured:", 6, {0xc4, 0xe2, 0x7b, 0x4b, 0x2c, 0x37}},
    {"#UD, colsb is no multiple of 4:", 6, {0xc4, 0xe2, 0x7b, 0x4b, 0x24, 0x37}},
    {"#UD, colsb is no multiple of 4:", 6, {0xc4, 0xe2, 0x7a, 0x4b, 0x24, 0x37}},
    /* tilerelease is c4 e2 78 49 c0, tilezero %tmm3 c4 e2 7b 49 d8 */
    {"#UD, no configuration:", 10, {0xc4, 0xe2, 0x78, 0x49, 0xc0, 0xc4, 0xe2, 0x7b, 0x49, 0xd8}},
    {"#UD, no configuration:", 10, {0xc4, 0xe2, 0x78, 0x49, 0xc0, 0xc4, 0xe2, 0x69, 0x5e, 0xc1}},
    {"#UD, no configuration:",
     11,
     {0xc4, 0xe2, 0x78, 0x49, 0xc0, 0xc4, 0xe2, 0x7b, 0x4b, 0x1c, 0x37}},
    {"#UD, a tile that is not configured:", 5, {0xc4, 0xe2, 0x7b, 0x49, 0xe8}},
    {"not an instruction of the model:", 5, {0xc4, 0xe2, 0x7b, 0x49, 0xd9}},
    {"not an instruction of the model:", 5, {0xc4, 0xe2, 0x78, 0x49, 0xc1}},
    /* ldtilecfg (%rdi) is c4 e2 78 49 07 */
    {"not an instruction of the model:", 5, {0xc4, 0xe2, 0x78, 0x49, 0x0f}},
    {"not an instruction of the model:", 5, {0xc4, 0xe2, 0x79, 0x49, 0x07}}, /* sttilecfg */
    {"VEX.X without SIB:", 5, {0xc4, 0xa2, 0x78, 0x49, 0x07}},
    {"no VEX prefix of three bytes:", 6, {0x66, 0xc4, 0xe2, 0x69, 0x5e, 0xc1}},
    {"no VEX prefix of three bytes:", 2, {0x0f, 0x0b}}, /* ud2 */
};

/* Puts the bytes where they can be run, with a return behind them, and runs them. */
static void run_code(const uint8_t *bytes, size_t length, void *arena)
{
    uint8_t *code = mmap(NULL, CODE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void (*function)(void *base, size_t stride) = NULL;

    if (code == MAP_FAILED) _exit(2);
    memcpy(code, bytes, length);
    code[length] = 0xc3;
    if (mprotect(code, CODE, PROT_READ | PROT_EXEC) != 0) _exit(2);
    memcpy(&function, &code, sizeof function);
    function(arena, ROW);
}

/* In a process of its own: the code under the configuration. It never comes back. */
static void run_in_child(const struct config *config, const uint8_t *bytes, size_t length,
                         int output)
{
    static uint8_t arena[TILE];
    const struct rlimit no_core = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &no_core);
    if (dup2(output, STDERR_FILENO) < 0) _exit(2);
    load_config(config);
    if (bytes != NULL) run_code(bytes, length, arena);
    _exit(0);
}

/* Fails the test unless the process ends by abort(), with a line that begins with the reason. */
static void check_refused(const struct config *config, const uint8_t *bytes, size_t length,
                          const char *why)
{
    char said[512] = "", expected[128];
    size_t at = 0;
    int ends[2], status = 0;
    ssize_t got = 0;

    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) run_in_child(config, bytes, length, ends[1]);
    (void)close(ends[1]);
    while (at + 1 < sizeof said && (got = read(ends[0], said + at, sizeof said - 1 - at)) > 0)
        at += (size_t)got;
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    (void)snprintf(expected, sizeof expected, "AMX emulator: %s", why);
    if (strncmp(said, expected, strlen(expected)) != 0)
        fail_msg("said '%s' instead of '%s'", said, expected);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void what_the_manual_forbids_ends_the_process(void **state)
{
    (void)state;
    if (amx_emulated_isas() == 0) skip();
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        check_refused(&mixed, refused[i].bytes, refused[i].length, refused[i].why);
}

static void a_refusal_shows_the_bytes(void **state)
{
    static const uint8_t bytes[] = {0xc4, 0xe2, 0x69, 0x5e, 0xc0};

    (void)state;
    if (amx_emulated_isas() == 0) skip();
    check_refused(&mixed, bytes, sizeof bytes, "#UD, a tile twice: c4 e2 69 5e c0\n");
}

static void a_start_row_beyond_the_tile_ends_the_process(void **state)
{
    static const uint8_t load[] = {0xc4, 0xe2, 0x7b, 0x4b, 0x04, 0x37}; /* of tile 0: 3 rows */
    struct config config = mixed;

    (void)state;
    if (amx_emulated_isas() == 0) skip();
    config.start_row = 3;
    check_refused(&config, load, sizeof load, "#UD, start_row:");
}

static void a_malformed_configuration_ends_the_process(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
        const char *why;
    } wrong[] = {
        {0, 2, "#GP, palette:"},
        {2, 1, "#GP, reserved bytes 2 to 15:"},
        {15, 1, "#GP, reserved bytes 2 to 15:"},
        {16, 65, "#GP, colsb:"},
        {31, 1, "#GP, colsb:"},
        {48, 17, "#GP, rows:"},
        {53, 1, "#GP, rows without colsb or the reverse:"},
        {26, 4, "#GP, rows without colsb or the reverse:"},
        {32, 1, "#GP, colsb of a tile beyond the palette:"},
        {47, 1, "#GP, colsb of a tile beyond the palette:"},
        {56, 1, "#GP, rows of a tile beyond the palette:"},
        {63, 1, "#GP, rows of a tile beyond the palette:"},
    };

    (void)state;
    if (amx_emulated_isas() == 0) skip();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        uint8_t bytes[sizeof(struct config)];
        struct config config;
        memcpy(bytes, &mixed, sizeof bytes);
        bytes[wrong[i].at] = wrong[i].value;
        memcpy(&config, bytes, sizeof config);
        check_refused(&config, NULL, 0, wrong[i].why);
    }
}

int run_amx_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_an_address_reaches_its_rows),
        cmocka_unit_test(a_configuration_is_found_by_every_form_of_an_address),
        cmocka_unit_test(every_tile_is_another_and_zero_when_configured),
        cmocka_unit_test(a_start_row_holds_for_one_instruction),
        cmocka_unit_test(products_of_every_shape_equal_plain_arithmetic),
        cmocka_unit_test(what_the_manual_forbids_ends_the_process),
        cmocka_unit_test(a_refusal_shows_the_bytes),
        cmocka_unit_test(a_start_row_beyond_the_tile_ends_the_process),
        cmocka_unit_test(a_malformed_configuration_ends_the_process),
    };
    return cmocka_run_group_tests_name("amx", tests, NULL, NULL);
}
