/* histogram_test.c - the load generator's percentiles against a sorted list of the same values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "bench/load/histogram.h"

#define VALUES 20000u

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static struct omen_load_histogram *create(void)
{
    struct omen_load_histogram *histogram = calloc(1, sizeof *histogram);

    assert_non_null(histogram);
    return histogram;
}

/* Durations of every size from 1 ns to half an hour are told at most 0.8 % too large, never too
 * small, and none is lost. */
static void percentiles_are_those_of_the_sorted_values(void **state)
{
    static const double parts[] = {0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0};
    static uint64_t values[VALUES];
    struct omen_load_histogram *histogram = create();
    uint64_t seed = 11;

    (void)state;
    for (uint32_t i = 0; i < VALUES; i++) {
        values[i] = next_random(&seed) >> (23 + next_random(&seed) % 40);
        omen_load_histogram_add(histogram, (int64_t)values[i]);
    }
    qsort(values, VALUES, sizeof *values, ascending);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        double rank = ceil(parts[i] * VALUES);
        uint64_t exact = values[rank < 1 ? 0 : (size_t)rank - 1];
        uint64_t told = omen_load_histogram_percentile(histogram, parts[i]);

        assert_true(told >= exact);
        assert_true((double)told <= (double)exact * (1 + 1.0 / 128) + 1);
    }
    assert_int_equal(histogram->count, VALUES);
    assert_int_equal(histogram->max, values[VALUES - 1]);
    assert_int_equal(omen_load_histogram_percentile(histogram, 1.0), values[VALUES - 1]);
    free(histogram);
}

static void the_edges_have_a_bucket_each(void **state)
{
    struct omen_load_histogram *histogram = create();

    (void)state;
    assert_int_equal(omen_load_histogram_percentile(histogram, 0.5), 0);
    omen_load_histogram_add(histogram, -5);
    assert_int_equal(omen_load_histogram_percentile(histogram, 1.0), 0);
    omen_load_histogram_add(histogram, 1);
    omen_load_histogram_add(histogram, 127);
    omen_load_histogram_add(histogram, 128);
    assert_int_equal(omen_load_histogram_percentile(histogram, 0.5), 1);
    assert_int_equal(omen_load_histogram_percentile(histogram, 0.75), 127);
    omen_load_histogram_add(histogram, INT64_MAX);
    assert_int_equal(omen_load_histogram_percentile(histogram, 0.8), 128);
    assert_int_equal(histogram->max, INT64_MAX);
    free(histogram);
}

static void merging_is_the_same_as_adding_to_one(void **state)
{
    struct omen_load_histogram *one = create();
    struct omen_load_histogram *left = create();
    struct omen_load_histogram *right = create();
    uint64_t seed = 5;

    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        int64_t value = (int64_t)(next_random(&seed) % 100000000);

        omen_load_histogram_add(one, value);
        omen_load_histogram_add(i % 3 == 0 ? left : right, value);
    }
    omen_load_histogram_merge(left, right);
    assert_int_equal(left->count, one->count);
    assert_int_equal(left->max, one->max);
    assert_memory_equal(left->buckets, one->buckets, sizeof one->buckets);
    free(one);
    free(left);
    free(right);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_those_of_the_sorted_values),
        cmocka_unit_test(the_edges_have_a_bucket_each),
        cmocka_unit_test(merging_is_the_same_as_adding_to_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
