/* fixture.c - see fixture.h. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include "amx_emulator.h"
#endif

#define GUARD      64u
#define GUARD_BYTE 0xff /* four of them are a NaN */
#define ROWS_MAX   512u

const size_t dims[] = {1,   3,   7,   15,  16,  17,  31,  33,  63,   64,   65,
                       100, 127, 128, 200, 256, 384, 512, 768, 1000, 1536, 4096};
const size_t dim_count = sizeof dims / sizeof *dims;

static uint64_t random_state;
static bool compared[ROWS_MAX]; /* by place in the table */

const struct omen_kernel_row *ref_row(const char *op)
{
    size_t count = 0;
    const struct omen_kernel_row *rows = omen_kernel_rows(&count);

    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].op, op) == 0 && rows[i].isa == OMEN_ISA_ref) return &rows[i];
    fail_msg("no row of the ref tier for %s", op);
    return NULL;
}

unsigned tested_isas(void)
{
#if defined(__x86_64__)
    return omen_cpu_isas() | amx_emulated_isas();
#else
    return omen_cpu_isas();
#endif
}

const struct omen_kernel_row *next_row(const char *op, size_t *at)
{
    size_t count = 0;
    const struct omen_kernel_row *rows = omen_kernel_rows(&count);
    const unsigned isas = tested_isas();

    while (*at < count) {
        const struct omen_kernel_row *row = &rows[(*at)++];
        if (strcmp(row->op, op) == 0 && row->isa != OMEN_ISA_ref &&
            ((unsigned)row->isa & isas) != 0)
            return row;
    }
    return NULL;
}

unsigned next_tier(unsigned isa)
{
    const unsigned isas = tested_isas();

    do
        isa <<= 1;
    while (isa != 0 && (isa & isas) == 0);
    return isa;
}

static size_t place_of(const struct omen_kernel_row *row)
{
    size_t count = 0;
    const size_t place = (size_t)(row - omen_kernel_rows(&count));

    assert_true(place < count && count <= ROWS_MAX);
    return place;
}

bool row_takes(const struct omen_kernel_row *row, size_t dim)
{
    if (row->dim != OMEN_DIM_any && row->dim != dim) return false;
    compared[place_of(row)] = true;
    return true;
}

bool row_was_compared(const struct omen_kernel_row *row)
{
    return compared[place_of(row)];
}

void random_seed(uint64_t seed)
{
    random_state = seed;
}

/* splitmix64: any seed will do, zero too. */
uint64_t random_bits(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

size_t random_below(size_t bound)
{
    return (size_t)(random_bits() % bound);
}

float random_float(float low, float high)
{
    return low + (high - low) * ((float)(random_bits() >> 40) / (float)(1 << 24));
}

uint8_t *random_codes(size_t dim, size_t count)
{
    static const uint8_t ends[] = {1, 2, 127, 128, 129, 254, 255};
    const size_t stride = omen_code_stride(dim);
    uint8_t *codes = guarded_alloc(count * stride);

    memset(codes, (int)OMEN_CODE_ZERO, count * stride);
    for (size_t c = 0; c < count; c++) {
        const bool only_ends = random_below(4) == 0;
        for (size_t i = 0; i < dim; i++)
            codes[c * stride + i] =
                only_ends ? ends[random_below(sizeof ends)] : (uint8_t)(1 + random_below(255));
    }
    return codes;
}

const uint8_t **code_pointers(const uint8_t *codes, size_t dim, size_t count)
{
    const uint8_t **pointers = guarded_alloc(count * sizeof *pointers);

    for (size_t c = 0; c < count; c++)
        pointers[c] = codes + (count - 1 - c) * omen_code_stride(dim);
    return pointers;
}

struct omen_probe probe_of(const uint8_t *code, size_t dim)
{
    const size_t stride = omen_code_stride(dim);
    int8_t *values = guarded_alloc(stride);
    int32_t sum = 0;

    for (size_t i = 0; i < stride; i++) {
        values[i] = (int8_t)((int)code[i] - (int)OMEN_CODE_ZERO);
        sum += values[i];
    }
    return (struct omen_probe){values, (int32_t)OMEN_CODE_ZERO * sum};
}

/* The size stands in a line of its own before the first guard. */
void *guarded_alloc(size_t bytes)
{
    uint8_t *start = aligned_alloc(GUARD, GUARD + round_up(GUARD + bytes + GUARD, GUARD));

    assert_non_null(start);
    memset(start, GUARD_BYTE, GUARD + GUARD + bytes + GUARD);
    memcpy(start, &bytes, sizeof bytes);
    return start + 2 * GUARD;
}

void guarded_free(const void *memory)
{
    const uint8_t *body = memory;
    size_t bytes = 0;

    memcpy(&bytes, body - 2 * GUARD, sizeof bytes);
    for (size_t i = 0; i < GUARD; i++) {
        if (body[i - GUARD] != GUARD_BYTE) fail_msg("byte %zu before the start written", GUARD - i);
        if (body[bytes + i] != GUARD_BYTE) fail_msg("byte %zu beyond the end written", i);
    }
    free((void *)(uintptr_t)(body - 2 * GUARD));
}

size_t round_up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

void assert_same_bytes(const void *expected, const void *got, size_t bytes, const char *row,
                       size_t dim, size_t count)
{
    const uint8_t *a = expected, *b = got;

    for (size_t i = 0; i < bytes; i++)
        if (a[i] != b[i])
            fail_msg("%s, dim %zu, count %zu: byte %zu of %zu is %02x instead of %02x", row, dim,
                     count, i, bytes, b[i], a[i]);
}
