/* float_test.c - f32 sums, codes and the one distance: the same bits on every tier. */
#include "fixture.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define COUNT_MAX 70u

/* ---- values -------------------------------------------------------------------------------- */

/* Ordinary; so large that sums reach 1e34; so small that products underflow, also to -0; sparse. */
enum kind { ORDINARY, HUGE_VALUES, TINY, SPARSE, KINDS };

static float random_component(enum kind kind)
{
    switch (kind) {
    case HUGE_VALUES:
        return random_float(-1e15f, 1e15f);
    case TINY:
        return random_float(-1.0f, 1.0f) * (random_below(2) == 0 ? 1e-30f : 1e-39f);
    case SPARSE:
        return random_below(4) != 0 ? (random_below(2) == 0 ? 0.0f : -0.0f)
                                    : random_float(-1.0f, 1.0f);
    case ORDINARY:
    case KINDS:
        break;
    }
    return random_float(-1.0f, 1.0f);
}

/* `count` values that do not begin on a cache line; free with free_unaligned(). What lies beyond
 * the last one is NaN. */
static float *unaligned_floats(enum kind kind, size_t count)
{
    float *memory = guarded_alloc((count + 1) * sizeof *memory);

    for (size_t i = 0; i < count; i++)
        memory[1 + i] = random_component(kind);
    return memory + 1;
}

static void free_unaligned(const float *floats)
{
    guarded_free(floats - 1);
}

/* ---- f32 sums: the definition --------------------------------------------------------------- */

static void check_against_double(const char *op, bool squared_distance, size_t dim)
{
    omen_f32_one_fn *one = (omen_f32_one_fn *)ref_row(op)->fn;
    float *query = unaligned_floats(ORDINARY, dim), *row = unaligned_floats(ORDINARY, dim);
    double exact = 0, magnitude = 0;

    for (size_t i = 0; i < dim; i++) {
        double t = (double)query[i] - (double)row[i];
        double term = squared_distance ? t * t : (double)query[i] * (double)row[i];
        exact += term;
        magnitude += fabs(term);
    }
    /* A lane rounds once per component, the tree five times, a difference and its square thrice. */
    double bound = ((double)dim / 32 + 9) * (double)FLT_EPSILON * magnitude;
    double error = fabs((double)one(query, row, dim) - exact);
    if (error > bound) fail_msg("%s, dim %zu: off by %g, allowed %g", op, dim, error, bound);
    free_unaligned(row);
    free_unaligned(query);
}

static void reference_sums_are_close_to_double_arithmetic(void **state)
{
    (void)state;
    random_seed(11);
    for (size_t d = 0; d < dim_count; d++)
        for (int repeat = 0; repeat < 10; repeat++) {
            check_against_double("dot_f32_one", false, dims[d]);
            check_against_double("l2sq_f32_one", true, dims[d]);
        }
}

/* Component 32 joins lane 0, which lies at 1e8 by then, so its 1 is lost; component 1 has a lane of
 * its own, and 1e8 + 1 - 1e8 keeps what one sum after the other would lose. */
static void reference_sums_run_in_32_lanes(void **state)
{
    omen_f32_one_fn *dot = (omen_f32_one_fn *)ref_row("dot_f32_one")->fn;
    float query[64] = {0}, ones[64];

    (void)state;
    for (size_t i = 0; i < 64; i++)
        ones[i] = 1.0f;
    query[0] = 1e8f;
    query[32] = 1.0f;
    query[16] = -1e8f;
    assert_true(dot(query, ones, 64) == 0.0f);
    query[32] = 0.0f;
    query[1] = 1.0f;
    assert_true(dot(query, ones, 64) == 1.0f);
}

/* ---- f32 sums: every other row ------------------------------------------------------------- */

static void check_one(const struct omen_kernel_row *row, size_t dim, enum kind kind)
{
    omen_f32_one_fn *ref = (omen_f32_one_fn *)ref_row(row->op)->fn;
    omen_f32_one_fn *one = (omen_f32_one_fn *)row->fn;
    float *query = unaligned_floats(kind, dim), *other = unaligned_floats(kind, dim);
    float expected = ref(query, other, dim), got = one(query, other, dim);

    assert_same_bytes(&expected, &got, sizeof got, row->name, dim, (size_t)kind);
    free_unaligned(other);
    free_unaligned(query);
}

static void check_many(const struct omen_kernel_row *row, size_t dim, enum kind kind)
{
    omen_f32_many_fn *ref = (omen_f32_many_fn *)ref_row(row->op)->fn;
    omen_f32_many_fn *many = (omen_f32_many_fn *)row->fn;
    float *query = unaligned_floats(kind, dim), *memory = unaligned_floats(kind, dim * COUNT_MAX);
    const float *rows[COUNT_MAX];

    for (size_t r = 0; r < COUNT_MAX; r++)
        rows[r] = memory + (COUNT_MAX - 1 - r) * dim;
    for (size_t count = 0; count <= COUNT_MAX; count += count < 11 ? 1 : 59) {
        float *expected = guarded_alloc(count * sizeof *expected);
        float *got = guarded_alloc(count * sizeof *got);
        ref(query, rows, count, dim, expected);
        many(query, rows, count, dim, got);
        assert_same_bytes(expected, got, count * sizeof *got, row->name, dim, count);
        guarded_free(got);
        guarded_free(expected);
    }
    free_unaligned(memory);
    free_unaligned(query);
}

static void check_block_shape(const struct omen_kernel_row *row, size_t dim, size_t query_count,
                              size_t row_count)
{
    omen_f32_block_fn *ref = (omen_f32_block_fn *)ref_row(row->op)->fn;
    omen_f32_block_fn *block = (omen_f32_block_fn *)row->fn;
    const size_t row_stride = dim + 5, out_stride = row_count + 3;
    const size_t bytes = query_count * out_stride * sizeof(float);
    float *queries = unaligned_floats(ORDINARY, query_count * dim);
    float *rows = unaligned_floats(ORDINARY, row_count * row_stride);
    float *expected = guarded_alloc(bytes), *got = guarded_alloc(bytes);

    /* The three columns between the lines are compared too: nobody may write there. */
    ref(queries, query_count, rows, row_count, row_stride, dim, expected, out_stride);
    block(queries, query_count, rows, row_count, row_stride, dim, got, out_stride);
    assert_same_bytes(expected, got, bytes, row->name, dim, query_count * 1000 + row_count);
    guarded_free(got);
    guarded_free(expected);
    free_unaligned(rows);
    free_unaligned(queries);
}

static void check_block(const struct omen_kernel_row *row, size_t dim, enum kind kind)
{
    if (kind != ORDINARY) return;
    for (size_t query_count = 0; query_count <= 5; query_count++)
        for (size_t row_count = 0; row_count <= 9; row_count++)
            check_block_shape(row, dim, query_count, row_count);
}

static void check_rows(const char *op,
                       void (*check)(const struct omen_kernel_row *row, size_t dim, enum kind kind))
{
    const struct omen_kernel_row *row = NULL;

    random_seed(12);
    for (size_t at = 0; (row = next_row(op, &at)) != NULL;)
        for (size_t d = 0; d < dim_count; d++)
            for (int kind = 0; kind < KINDS; kind++)
                if (row_takes(row, dims[d])) check(row, dims[d], (enum kind)kind);
}

static void every_one_to_one_sum_has_the_bits_of_the_reference(void **state)
{
    (void)state;
    check_rows("dot_f32_one", check_one);
    check_rows("l2sq_f32_one", check_one);
}

static void every_one_to_many_sum_has_the_bits_of_the_reference(void **state)
{
    (void)state;
    check_rows("dot_f32_many", check_many);
    check_rows("l2sq_f32_many", check_many);
}

static void every_block_of_sums_has_the_bits_of_the_reference(void **state)
{
    (void)state;
    check_rows("dot_f32_block", check_block);
    check_rows("l2sq_f32_block", check_block);
}

/* A negative product that underflows leaves -0 in its lane. If all lanes end like that, so does the
 * sum, unless a tier adds zeros for the components that the last round lacks. */
static void lanes_that_underflow_to_minus_zero_keep_their_sign(void **state)
{
    float query[64], row[64];

    (void)state;
    for (size_t i = 0; i < 64; i++) {
        query[i] = 1e-30f;
        row[i] = -1e-30f;
    }
    for (unsigned isa = OMEN_ISA_ref; isa != 0; isa = next_tier(isa)) {
        struct omen_kernels k;
        omen_kernels_pick(63, isa, &k);
        for (size_t dim = 32; dim <= 64; dim++) {
            float sum = k.dot_f32_one(query, row, dim);
            if (sum != 0.0f || !signbit(sum)) fail_msg("%s, dim %zu", k.dot_f32_one_name, dim);
        }
    }
}

/* ---- the one distance ---------------------------------------------------------------------- */

struct near_case {
    struct omen_code_meta point;
    size_t count;
    int32_t *dots;
    float *scale;
    float *norm;
};

/* What lies beyond `count` is distance 0, near anything: its marks must be cut off. */
static struct near_case near_case_random(size_t count)
{
    const size_t filled = round_up(count, 16);
    struct near_case c = {
        .point = {random_float(0.0f, 0.01f), random_float(0.0f, 2.0f)},
        .count = count,
        .dots = guarded_alloc(filled * sizeof(int32_t)),
        .scale = guarded_alloc(filled * sizeof(float)),
        .norm = guarded_alloc(filled * sizeof(float)),
    };

    for (size_t j = 0; j < filled; j++) {
        c.dots[j] = j < count ? (int32_t)random_below(400000) - 200000 : INT32_MAX;
        c.scale[j] = random_float(0.0f, 0.001f);
        c.norm[j] = j < count ? random_float(0.0f, 2.0f) : 0.0f;
        if (j < count && random_below(16) == 0) c.norm[j] = random_below(2) == 0 ? NAN : INFINITY;
        if (j < count && random_below(16) == 0) c.scale[j] = random_below(2) == 0 ? NAN : INFINITY;
        if (j < count && random_below(16) == 0) c.dots[j] = 0; /* infinity times that is a NaN */
        if (random_below(16) == 0) c.scale[j] *= 1e-37f;       /* denormal, as its product is */
        if (random_below(16) == 0) c.norm[j] *= 1e-39f;
    }
    return c;
}

static void near_case_free(const struct near_case *c)
{
    guarded_free(c->norm);
    guarded_free(c->scale);
    guarded_free(c->dots);
}

static void check_near(const struct omen_kernel_row *row, const struct near_case *c,
                       float threshold)
{
    omen_near_fn *ref = (omen_near_fn *)ref_row("near")->fn;
    omen_near_fn *near = (omen_near_fn *)row->fn;
    const size_t filled = round_up(c->count, 16), words = round_up(c->count, 64) / 64;
    float *distances[2] = {guarded_alloc(filled * sizeof(float)),
                           guarded_alloc(filled * sizeof(float))};
    uint64_t *marks[2] = {guarded_alloc(words * 8), guarded_alloc(words * 8)};

    ref(c->point, c->dots, c->scale, c->norm, c->count, threshold, distances[0], marks[0]);
    near(c->point, c->dots, c->scale, c->norm, c->count, threshold, distances[1], marks[1]);
    assert_same_bytes(distances[0], distances[1], c->count * sizeof(float), row->name, 0, c->count);
    assert_same_bytes(marks[0], marks[1], words * 8, row->name, 0, c->count);
    for (size_t j = 0; j < words * 64; j++) {
        bool marked = (marks[1][j / 64] >> j % 64 & 1) != 0;
        bool near_enough = j < c->count && distances[1][j] <= threshold;
        if (marked != near_enough) fail_msg("%s: mark %zu of %zu", row->name, j, c->count);
    }
    for (size_t i = 0; i < 2; i++) {
        guarded_free(marks[i]);
        guarded_free(distances[i]);
    }
}

static void every_near_has_the_distances_and_marks_of_the_reference(void **state)
{
    const struct omen_kernel_row *row = NULL;
    omen_near_fn *ref = (omen_near_fn *)ref_row("near")->fn;

    (void)state;
    random_seed(13);
    for (size_t at = 0; (row = next_row("near", &at)) != NULL;) {
        assert_true(row_takes(row, 0)); /* knows no dimension */
        for (size_t count = 0; count <= 200; count += count < COUNT_MAX ? 1 : 26) {
            struct near_case c = near_case_random(count);
            float distances[208];
            uint64_t marks[4];
            ref(c.point, c.dots, c.scale, c.norm, count, 0.0f, distances, marks);
            /* Exactly on a distance, and as little below it as a float can be. */
            float hit = count == 0 ? 1.0f : distances[random_below(count)];
            const float thresholds[] = {
                hit, nextafterf(hit, -1.0f), 0.0f, -0.0f, INFINITY, -INFINITY, NAN, 0.5f};
            for (size_t t = 0; t < sizeof thresholds / sizeof *thresholds; t++)
                check_near(row, &c, thresholds[t]);
            near_case_free(&c);
        }
    }
}

/* kernels.h: equal codes and scales give exactly 0, because norm is the same expression. */
static void a_code_is_at_distance_zero_from_itself(void **state)
{
    (void)state;
    random_seed(14);
    for (unsigned isa = OMEN_ISA_ref; isa != 0; isa = next_tier(isa)) {
        struct omen_kernels k;
        omen_kernels_pick(384, isa, &k);
        for (int repeat = 0; repeat < 10000; repeat++) {
            int32_t *dots = guarded_alloc(16 * sizeof *dots);
            _Alignas(64) float scale[16] = {0}, norm[16] = {0}, distances[16];
            uint64_t mark = 0;
            dots[0] = (int32_t)random_below(384 * 127 * 127);
            scale[0] = random_float(1e-6f, 1.0f);
            norm[0] = (scale[0] * scale[0]) * (float)dots[0];
            k.near((struct omen_code_meta){scale[0], norm[0]}, dots, scale, norm, 1, 0.0f,
                   distances, &mark);
            assert_true(distances[0] == 0.0f && mark == 1);
            guarded_free(dots);
        }
    }
}

/* ---- codes --------------------------------------------------------------------------------- */

static void reference_codes_are_the_nearest_of_the_grid(void **state)
{
    omen_encode_i8_fn *encode = (omen_encode_i8_fn *)ref_row("encode_i8")->fn;

    (void)state;
    random_seed(15);
    for (size_t d = 0; d < dim_count; d++) {
        const size_t stride = omen_code_stride(dims[d]);
        float *x = unaligned_floats(ORDINARY, dims[d]);
        uint8_t *code = guarded_alloc(stride);
        encode(x, dims[d], 127.0f, code);
        for (size_t i = 0; i < stride; i++) {
            double wanted = i < dims[d] ? (double)x[i] * 127.0 : 0.0;
            assert_true(fabs((double)code[i] - 128.0 - wanted) <= 0.50001);
        }
        guarded_free(code);
        free_unaligned(x);
    }
}

static void check_encode(const struct omen_kernel_row *row, const float *x, size_t dim,
                         float inverse)
{
    omen_encode_i8_fn *ref = (omen_encode_i8_fn *)ref_row("encode_i8")->fn;
    omen_encode_i8_fn *encode = (omen_encode_i8_fn *)row->fn;
    const size_t stride = omen_code_stride(dim);
    uint8_t *expected = guarded_alloc(stride), *got = guarded_alloc(stride);

    ref(x, dim, inverse, expected);
    encode(x, dim, inverse, got);
    assert_same_bytes(expected, got, stride, row->name, dim, 1);
    guarded_free(got);
    guarded_free(expected);
}

static void every_encoding_equals_the_reference(void **state)
{
    static const float inverses[] = {127.0f, 1.0f, 0.0f, 1e-30f, 3e38f, INFINITY};
    const struct omen_kernel_row *row = NULL;

    (void)state;
    random_seed(16);
    for (size_t at = 0; (row = next_row("encode_i8", &at)) != NULL;)
        for (size_t d = 0; d < dim_count; d++)
            for (int kind = 0; kind < KINDS && row_takes(row, dims[d]); kind++) {
                float *x = unaligned_floats((enum kind)kind, dims[d]);
                for (size_t i = 0; i < sizeof inverses / sizeof *inverses; i++)
                    check_encode(row, x, dims[d], inverses[i]);
                free_unaligned(x);
            }
}

static void halves_go_to_the_even_neighbour_and_large_values_to_the_end(void **state)
{
    static const float x[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 126.5f, 127.5f, -1e30f, 1e30f};
    static const uint8_t code[] = {128, 130, 130, 128, 126, 126, 254, 255, 1, 255};

    (void)state;
    for (unsigned isa = OMEN_ISA_ref; isa != 0; isa = next_tier(isa)) {
        struct omen_kernels k;
        uint8_t got[64];
        omen_kernels_pick(10, isa, &k);
        k.encode_i8(x, 10, 1.0f, got);
        assert_same_bytes(code, got, sizeof code, k.encode_i8_name, 10, 1);
        for (size_t i = sizeof code; i < sizeof got; i++)
            assert_int_equal(got[i], 128);
    }
}

/* ---- the largest magnitude ----------------------------------------------------------------- */

static void check_max_abs(omen_max_abs_f32_fn *max_abs, size_t dim, enum kind kind)
{
    float *x = unaligned_floats(kind, dim);
    float largest = 0.0f;

    for (size_t i = 0; i < dim; i++)
        if (fabsf(x[i]) > largest) largest = fabsf(x[i]);
    float got = max_abs(x, dim);
    assert_true(got == largest && !signbit(got));
    for (size_t i = 0; i<dim; i += dim> 200 ? 37 : 1) {
        static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
        const float was = x[i];
        x[i] = bad[i % 4];
        assert_true(max_abs(x, dim) == INFINITY);
        x[i] = FLT_MAX;
        assert_true(max_abs(x, dim) == FLT_MAX);
        x[i] = -FLT_MAX;
        assert_true(max_abs(x, dim) == FLT_MAX);
        x[i] = was;
    }
    free_unaligned(x);
}

static void check_max_abs_row(const struct omen_kernel_row *row)
{
    omen_max_abs_f32_fn *max_abs = (omen_max_abs_f32_fn *)row->fn;

    assert_true(max_abs(NULL, 0) == 0.0f);
    for (size_t d = 0; d < dim_count; d++)
        for (int kind = 0; kind < KINDS; kind++)
            if (row_takes(row, dims[d])) check_max_abs(max_abs, dims[d], (enum kind)kind);
}

static void the_largest_magnitude_is_found_anywhere_and_bad_values_are_infinite(void **state)
{
    const struct omen_kernel_row *row = NULL;

    (void)state;
    random_seed(17);
    check_max_abs_row(ref_row("max_abs_f32"));
    for (size_t at = 0; (row = next_row("max_abs_f32", &at)) != NULL;)
        check_max_abs_row(row);
}

/* ---- halves --------------------------------------------------------------------------------- */

/* Its value by the definition of the format. */
static double half_value(uint16_t half)
{
    const int exponent = half >> 10 & 0x1f;
    const int mantissa = half & 0x3ff;
    double value = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);

    return half & 0x8000 ? -value : value;
}

#define HALVES 0x7c00u /* that are finite and not negative */

static void every_half_widens_to_its_value_and_narrows_back(void **state)
{
    (void)state;
    for (unsigned isa = OMEN_ISA_ref; isa != 0; isa = next_tier(isa)) {
        struct omen_kernels k;

        omen_kernels_pick(16, isa, &k);
        for (uint32_t half = 0; half < HALVES; half++) {
            for (uint32_t sign = 0; sign <= 0x8000; sign += 0x8000) {
                const uint16_t in = (uint16_t)(half | sign);
                uint16_t out = 0;
                float value = 0;

                k.widen_f16(&in, 1, &value);
                assert_true((double)value == half_value(in) && !signbit(value) == !sign);
                k.narrow_f16(&value, 1, &out);
                assert_int_equal(out, in);
            }
        }
    }
}

/* What lies between two halves goes to the nearer, the middle to the even one. */
static void a_float_narrows_to_the_nearest_half_and_the_middle_to_the_even_one(void **state)
{
    (void)state;
    for (unsigned isa = OMEN_ISA_ref; isa != 0; isa = next_tier(isa)) {
        struct omen_kernels k;

        omen_kernels_pick(16, isa, &k);
        for (uint16_t half = 0; half < HALVES; half++) {
            /* Beyond the largest half stands infinity, as if it were 65536. */
            double above = half + 1 == HALVES ? 65536 : half_value((uint16_t)(half + 1));
            float middle = (float)((half_value(half) + above) / 2);
            const float x[] = {nextafterf(middle, 0), middle, nextafterf(middle, INFINITY)};
            const uint16_t wanted[] = {half, (uint16_t)(half + (half & 1)), (uint16_t)(half + 1)};
            uint16_t got[3];

            k.narrow_f16(x, 3, got);
            assert_same_bytes(wanted, got, sizeof got, k.narrow_f16_name, 3, half);
        }
    }
}

static void check_halves_row(const struct omen_kernel_row *widen,
                             const struct omen_kernel_row *narrow, size_t dim)
{
    float *x = unaligned_floats(ORDINARY, dim);
    uint16_t *half = guarded_alloc((dim + 1) * sizeof *half);
    uint16_t *wanted = guarded_alloc((dim + 1) * sizeof *wanted);
    float *wide = guarded_alloc((dim + 1) * sizeof *wide);
    float *wanted_wide = guarded_alloc((dim + 1) * sizeof *wanted_wide);

    for (size_t i = 0; i < dim; i++)
        x[i] = ldexpf(x[i], (int)random_below(44) - 28);
    wanted[dim] = half[dim] = 0x1234;
    wanted_wide[dim] = wide[dim] = 7;
    ((omen_narrow_f16_fn *)ref_row("narrow_f16")->fn)(x, dim, wanted);
    ((omen_narrow_f16_fn *)narrow->fn)(x, dim, half);
    assert_same_bytes(wanted, half, (dim + 1) * sizeof *half, narrow->name, dim, 1);
    ((omen_widen_f16_fn *)ref_row("widen_f16")->fn)(half, dim, wanted_wide);
    ((omen_widen_f16_fn *)widen->fn)(half, dim, wide);
    assert_same_bytes(wanted_wide, wide, (dim + 1) * sizeof *wide, widen->name, dim, 1);
    guarded_free(wanted_wide);
    guarded_free(wide);
    guarded_free(wanted);
    guarded_free(half);
    free_unaligned(x);
}

static void every_row_of_halves_equals_the_reference_and_stays_in_its_bounds(void **state)
{
    const struct omen_kernel_row *widen = NULL;
    size_t at_narrow = 0;

    (void)state;
    random_seed(23);
    for (size_t at = 0; (widen = next_row("widen_f16", &at)) != NULL;) {
        const struct omen_kernel_row *narrow = next_row("narrow_f16", &at_narrow);

        assert_non_null(narrow);
        for (size_t d = 0; d < dim_count; d++)
            if (row_takes(widen, dims[d]) && row_takes(narrow, dims[d]))
                check_halves_row(widen, narrow, dims[d]);
    }
}

int run_float_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_sums_are_close_to_double_arithmetic),
        cmocka_unit_test(reference_sums_run_in_32_lanes),
        cmocka_unit_test(every_one_to_one_sum_has_the_bits_of_the_reference),
        cmocka_unit_test(every_one_to_many_sum_has_the_bits_of_the_reference),
        cmocka_unit_test(every_block_of_sums_has_the_bits_of_the_reference),
        cmocka_unit_test(lanes_that_underflow_to_minus_zero_keep_their_sign),
        cmocka_unit_test(every_near_has_the_distances_and_marks_of_the_reference),
        cmocka_unit_test(a_code_is_at_distance_zero_from_itself),
        cmocka_unit_test(reference_codes_are_the_nearest_of_the_grid),
        cmocka_unit_test(every_encoding_equals_the_reference),
        cmocka_unit_test(halves_go_to_the_even_neighbour_and_large_values_to_the_end),
        cmocka_unit_test(the_largest_magnitude_is_found_anywhere_and_bad_values_are_infinite),
        cmocka_unit_test(every_half_widens_to_its_value_and_narrows_back),
        cmocka_unit_test(a_float_narrows_to_the_nearest_half_and_the_middle_to_the_even_one),
        cmocka_unit_test(every_row_of_halves_equals_the_reference_and_stays_in_its_bounds),
    };
    return cmocka_run_group_tests_name("float", tests, NULL, NULL);
}
