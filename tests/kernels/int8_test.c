/* int8_test.c - products of codes and the packing that feeds them: exact on every tier. */
#include "fixture.h"

#include <stdio.h>
#include <string.h>

#define COUNT_MAX   70u
#define LARGEST_DIM 65536u /* kernels.h promises exact sums up to here */

static const size_t point_counts[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 17};
static const size_t member_counts[] = {0, 16, 32, 48, 64, 80, 96, 112, 144};

/* More points than the largest block of a tier, and codes longer than it takes at once. */
static const size_t long_dims[] = {1, 65, 384, 1536, 1537};
static const size_t many_point_counts[] = {15, 16, 24, 31, 32, 33, 40, 49, 73};
static const size_t few_member_counts[] = {16, 32, 80};

static int64_t exact_dot(const uint8_t *a, const uint8_t *b, size_t stride)
{
    int64_t dot = 0;

    for (size_t i = 0; i < stride; i++)
        dot += ((int64_t)a[i] - 128) * ((int64_t)b[i] - 128);
    return dot;
}

/* ---- the definition itself ----------------------------------------------------------------- */

static void reference_products_equal_64_bit_arithmetic(void **state)
{
    omen_dot_i8_one_fn *one = (omen_dot_i8_one_fn *)ref_row("dot_i8_one")->fn;
    omen_dot_i8_many_fn *many = (omen_dot_i8_many_fn *)ref_row("dot_i8_many")->fn;

    (void)state;
    random_seed(1);
    for (size_t d = 0; d < dim_count; d++) {
        const size_t stride = omen_code_stride(dims[d]);
        uint8_t *codes = random_codes(dims[d], 4);
        const uint8_t **at = code_pointers(codes, dims[d], 4);
        struct omen_probe probe = probe_of(codes, dims[d]);
        int32_t dots[4];
        many(at, 4, &probe, stride, dots);
        for (size_t c = 0; c < 4; c++) {
            assert_true(dots[c] == exact_dot(at[c], codes, stride));
            assert_int_equal(one(at[c], &probe, stride), dots[c]);
        }
        guarded_free(probe.values);
        guarded_free(at);
        guarded_free(codes);
    }
}

static void reference_packing_and_block_product_equal_64_bit_arithmetic(void **state)
{
    enum { POINTS = 3, MEMBERS = 21, FILLED = 32 };
    omen_pack_i8_fn *pack = (omen_pack_i8_fn *)ref_row("pack_i8")->fn;
    omen_dot_i8_block_fn *block = (omen_dot_i8_block_fn *)ref_row("dot_i8_block")->fn;

    (void)state;
    random_seed(2);
    for (size_t d = 0; d < dim_count; d++) {
        const size_t stride = omen_code_stride(dims[d]);
        uint8_t *codes = random_codes(dims[d], POINTS + MEMBERS);
        const uint8_t **at = code_pointers(codes, dims[d], POINTS + MEMBERS);
        int8_t *packed = guarded_alloc(FILLED * stride);
        int32_t *bias = guarded_alloc(FILLED * sizeof *bias);
        int32_t *dots = guarded_alloc(POINTS * FILLED * sizeof *dots);
        pack(at + POINTS, MEMBERS, stride, packed, bias);
        block(at, POINTS, packed, bias, FILLED, stride, dots);
        for (size_t m = 0; m < FILLED; m++) {
            int64_t sum = 0;
            for (size_t i = 0; i < stride && m < MEMBERS; i++)
                sum += (int64_t)at[POINTS + m][i] - 128;
            assert_true(bias[m] == 128 * sum);
            for (size_t p = 0; p < POINTS; p++)
                assert_true(dots[p * FILLED + m] ==
                            (m < MEMBERS ? exact_dot(at[p], at[POINTS + m], stride) : 0));
        }
        guarded_free(dots);
        guarded_free(bias);
        guarded_free(packed);
        guarded_free(at);
        guarded_free(codes);
    }
}

/* ---- every other row ----------------------------------------------------------------------- */

static void every_one_to_one_product_equals_the_reference(void **state)
{
    omen_dot_i8_one_fn *ref = (omen_dot_i8_one_fn *)ref_row("dot_i8_one")->fn;
    const struct omen_kernel_row *row = NULL;

    (void)state;
    random_seed(3);
    for (size_t at = 0; (row = next_row("dot_i8_one", &at)) != NULL;) {
        omen_dot_i8_one_fn *one = (omen_dot_i8_one_fn *)row->fn;
        for (size_t d = 0; d < dim_count; d++) {
            if (!row_takes(row, dims[d])) continue;
            const size_t stride = omen_code_stride(dims[d]);
            uint8_t *codes = random_codes(dims[d], 2);
            struct omen_probe probe = probe_of(codes, dims[d]);
            int32_t expected = ref(codes + stride, &probe, stride);
            int32_t got = one(codes + stride, &probe, stride);
            assert_same_bytes(&expected, &got, sizeof got, row->name, dims[d], 1);
            guarded_free(probe.values);
            guarded_free(codes);
        }
    }
}

static void check_many(const struct omen_kernel_row *row, size_t dim)
{
    omen_dot_i8_many_fn *ref = (omen_dot_i8_many_fn *)ref_row("dot_i8_many")->fn;
    omen_dot_i8_many_fn *many = (omen_dot_i8_many_fn *)row->fn;
    const size_t stride = omen_code_stride(dim);
    uint8_t *codes = random_codes(dim, COUNT_MAX);
    struct omen_probe probe = probe_of(codes, dim);

    for (size_t count = 0; count <= COUNT_MAX; count++) {
        const uint8_t **at = code_pointers(codes, dim, count);
        int32_t *expected = guarded_alloc(count * sizeof *expected);
        int32_t *got = guarded_alloc(count * sizeof *got);
        ref(at, count, &probe, stride, expected);
        many(at, count, &probe, stride, got);
        assert_same_bytes(expected, got, count * sizeof *got, row->name, dim, count);
        guarded_free(got);
        guarded_free(expected);
        guarded_free(at);
    }
    guarded_free(probe.values);
    guarded_free(codes);
}

static void every_one_to_many_product_equals_the_reference(void **state)
{
    const struct omen_kernel_row *row = NULL;

    (void)state;
    random_seed(4);
    for (size_t at = 0; (row = next_row("dot_i8_many", &at)) != NULL;)
        for (size_t d = 0; d < dim_count; d++)
            if (row_takes(row, dims[d])) check_many(row, dims[d]);
}

static void every_packing_equals_the_reference(void **state)
{
    omen_pack_i8_fn *ref = (omen_pack_i8_fn *)ref_row("pack_i8")->fn;
    const struct omen_kernel_row *row = NULL;

    (void)state;
    random_seed(5);
    for (size_t at = 0; (row = next_row("pack_i8", &at)) != NULL;) {
        omen_pack_i8_fn *pack = (omen_pack_i8_fn *)row->fn;
        for (size_t d = 0; d < dim_count; d++) {
            const size_t stride = omen_code_stride(dims[d]);
            for (size_t count = 0; count <= COUNT_MAX; count++) {
                if (!row_takes(row, dims[d])) continue;
                const size_t filled = round_up(count, OMEN_PACK_GROUP);
                uint8_t *codes = random_codes(dims[d], count);
                const uint8_t **pointers = code_pointers(codes, dims[d], count);
                int8_t *packed[2] = {guarded_alloc(filled * stride),
                                     guarded_alloc(filled * stride)};
                int32_t *bias[2] = {guarded_alloc(filled * sizeof(int32_t)),
                                    guarded_alloc(filled * sizeof(int32_t))};
                ref(pointers, count, stride, packed[0], bias[0]);
                pack(pointers, count, stride, packed[1], bias[1]);
                assert_same_bytes(packed[0], packed[1], filled * stride, row->name, dims[d], count);
                assert_same_bytes(bias[0], bias[1], filled * sizeof(int32_t), row->name, dims[d],
                                  count);
                for (size_t i = 0; i < 2; i++) {
                    guarded_free(packed[i]);
                    guarded_free(bias[i]);
                }
                guarded_free(pointers);
                guarded_free(codes);
            }
        }
    }
}

/* One packed set of members; every shape is a prefix of it. */
static void check_block(const struct omen_kernel_row *row, size_t dim, size_t points,
                        size_t members)
{
    omen_pack_i8_fn *pack = (omen_pack_i8_fn *)ref_row("pack_i8")->fn;
    omen_dot_i8_block_fn *ref = (omen_dot_i8_block_fn *)ref_row("dot_i8_block")->fn;
    omen_dot_i8_block_fn *block = (omen_dot_i8_block_fn *)row->fn;
    const size_t stride = omen_code_stride(dim), bytes = points * members * sizeof(int32_t);
    uint8_t *codes = random_codes(dim, points + members);
    const uint8_t **at = code_pointers(codes, dim, points + members);
    int8_t *packed = guarded_alloc(members * stride);
    int32_t *bias = guarded_alloc(members * sizeof *bias);
    int32_t *expected = guarded_alloc(bytes), *got = guarded_alloc(bytes);

    pack(at + points, members, stride, packed, bias);
    ref(at, points, packed, bias, members, stride, expected);
    block(at, points, packed, bias, members, stride, got);
    assert_same_bytes(expected, got, bytes, row->name, dim, points * 1000 + members);
    guarded_free(got);
    guarded_free(expected);
    guarded_free(bias);
    guarded_free(packed);
    guarded_free(at);
    guarded_free(codes);
}

static void every_block_product_equals_the_reference(void **state)
{
    const struct omen_kernel_row *row = NULL;

    (void)state;
    random_seed(6);
    for (size_t at = 0; (row = next_row("dot_i8_block", &at)) != NULL;)
        for (size_t d = 0; d < dim_count; d++)
            for (size_t p = 0; p < sizeof point_counts / sizeof *point_counts; p++)
                for (size_t m = 0; m < sizeof member_counts / sizeof *member_counts; m++)
                    if (row_takes(row, dims[d]))
                        check_block(row, dims[d], point_counts[p], member_counts[m]);
}

static void every_block_product_of_many_points_equals_the_reference(void **state)
{
    const struct omen_kernel_row *row = NULL;

    (void)state;
    random_seed(7);
    for (size_t at = 0; (row = next_row("dot_i8_block", &at)) != NULL;)
        for (size_t d = 0; d < sizeof long_dims / sizeof *long_dims; d++)
            for (size_t p = 0; p < sizeof many_point_counts / sizeof *many_point_counts; p++)
                for (size_t m = 0; m < sizeof few_member_counts / sizeof *few_member_counts; m++)
                    if (row_takes(row, long_dims[d]))
                        check_block(row, long_dims[d], many_point_counts[p], few_member_counts[m]);
}

/* ---- extremes ------------------------------------------------------------------------------ */

/* All components at one end of the range, where an instruction that saturates would show. */
static void check_extreme(size_t dim, uint8_t a, uint8_t b)
{
    enum { FILLED = 16, POINTS = 9 }; /* enough points for the block kernels of every tier */
    const size_t stride = omen_code_stride(dim);
    const int64_t dot = ((int64_t)a - 128) * ((int64_t)b - 128) * (int64_t)dim;
    struct omen_kernels k;
    uint8_t *codes = random_codes(dim, 2);
    const uint8_t *point[POINTS], *member[1] = {codes + stride};
    int8_t *packed = guarded_alloc(FILLED * stride);
    int32_t *bias = guarded_alloc(FILLED * sizeof *bias);
    int32_t *dots = guarded_alloc(POINTS * FILLED * sizeof *dots);

    for (size_t p = 0; p < POINTS; p++)
        point[p] = codes;
    memset(codes, a, dim);
    memset(codes + stride, b, dim);
    struct omen_probe probe = probe_of(codes + stride, dim);
    for (unsigned top = OMEN_ISA_ref; top != 0; top = next_tier(top)) {
        omen_kernels_pick((uint32_t)dim, top, &k);
        assert_true(k.dot_i8_one(codes, &probe, stride) == dot);
        k.dot_i8_many(point, POINTS, &probe, stride, dots);
        for (size_t j = 0; j < POINTS; j++)
            assert_true(dots[j] == dot);
        k.pack_i8(member, 1, stride, packed, bias);
        assert_true(bias[0] == 128 * ((int64_t)b - 128) * (int64_t)dim);
        k.dot_i8_block(point, POINTS, packed, bias, FILLED, stride, dots);
        for (size_t p = 0; p < POINTS; p++) {
            assert_true(dots[p * FILLED] == dot);
            assert_true(dots[p * FILLED + 1] == 0);
        }
    }
    guarded_free(probe.values);
    guarded_free(dots);
    guarded_free(bias);
    guarded_free(packed);
    guarded_free(codes);
}

static void products_at_the_ends_of_the_range_do_not_saturate(void **state)
{
    /* All that have rows of their own are among them. */
    static const size_t large[] = {63, 64, 128, 256, 384, 512, 768, 769, 1536, 4096, LARGEST_DIM};
    static const uint8_t ends[] = {1, 2, 127, 128, 129, 254, 255};

    (void)state;
    for (size_t d = 0; d < sizeof large / sizeof *large; d++)
        for (size_t a = 0; a < sizeof ends; a++)
            for (size_t b = 0; b < sizeof ends; b++)
                check_extreme(large[d], ends[a], ends[b]);
}

int run_int8_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_products_equal_64_bit_arithmetic),
        cmocka_unit_test(reference_packing_and_block_product_equal_64_bit_arithmetic),
        cmocka_unit_test(every_one_to_one_product_equals_the_reference),
        cmocka_unit_test(every_one_to_many_product_equals_the_reference),
        cmocka_unit_test(every_packing_equals_the_reference),
        cmocka_unit_test(every_block_product_equals_the_reference),
        cmocka_unit_test(every_block_product_of_many_points_equals_the_reference),
        cmocka_unit_test(products_at_the_ends_of_the_range_do_not_saturate),
    };
    return cmocka_run_group_tests_name("int8", tests, NULL, NULL);
}
