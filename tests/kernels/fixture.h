/* fixture.h - what the kernel tests share: rows to try, seeded values, memory with guards.
 *
 * Memory from guarded_alloc() begins on a cache line and has 64 bytes on either side that must stay
 * as they are; they hold NaNs, so that a read beyond the end that matters shows up as well. The
 * generator is seeded by each test: a failure repeats itself.
 */
#ifndef OMEN_TESTS_KERNELS_FIXTURE_H
#define OMEN_TESTS_KERNELS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/kernels.h"

/* ---- rows --------------------------------------------------------------------------------- */

/* The definition of an op: its row of the ref tier. */
const struct omen_kernel_row *ref_row(const char *op);

/* What this CPU can run and, on top of it, what is emulated (amx_emulator.h). */
unsigned tested_isas(void);

/* Steps through the rows of `op` of the tested tiers, ref apart: `*at` starts at 0; NULL ends. */
const struct omen_kernel_row *next_row(const char *op, size_t *at);

/* The next tested tier, one bit; 0 ends. OMEN_ISA_ref begins. */
unsigned next_tier(unsigned isa);

/* Awkward dimensions, all those with rows of their own among them. */
extern const size_t dims[];
extern const size_t dim_count;

/* True if `row` may be called for `dim`; the row then counts as compared. */
bool row_takes(const struct omen_kernel_row *row, size_t dim);

/* True if row_takes() ever was. `row` is one of the table. */
bool row_was_compared(const struct omen_kernel_row *row);

/* ---- values ------------------------------------------------------------------------------- */

void random_seed(uint64_t seed);
uint64_t random_bits(void);
size_t random_below(size_t bound);
float random_float(float low, float high);

/* Codes of `dim` random values in 1..255 with padding, `count` of them one after the other in
 * guarded memory; code_pointers() puts their addresses in another order. Every fourth or so has
 * nothing but the values at which an instruction may saturate or change sign: 1, 2, 127, 128, ...
 */
uint8_t *random_codes(size_t dim, size_t count);
const uint8_t **code_pointers(const uint8_t *codes, size_t dim, size_t count);

/* A probe made of a code; its values are guarded memory, to be freed. */
struct omen_probe probe_of(const uint8_t *code, size_t dim);

/* ---- memory ------------------------------------------------------------------------------- */

void *guarded_alloc(size_t bytes);

/* Fails the test if a guard was written to. */
void guarded_free(const void *memory);

size_t round_up(size_t value, size_t unit);

/* Fails the test, naming row and shape, unless the bytes are equal. */
void assert_same_bytes(const void *expected, const void *got, size_t bytes, const char *row,
                       size_t dim, size_t count);

/* ---- the tests of each file ---------------------------------------------------------------- */

int run_int8_tests(void);
int run_float_tests(void);
int run_amx_tests(void);

#endif
