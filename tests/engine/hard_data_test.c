/* hard_data_test.c - data that breaks other graphs: sorted order, thousands of copies, odd
 * dimensions, norms across the whole range.
 */
#include "tests/engine/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OTHERS      4000u
#define COPIES      2000u
#define MANY_COPIES 20000u
#else
#define OTHERS      20000u
#define COPIES      10000u
#define MANY_COPIES 100000u
#endif
#define DIM 48u

/* Walks miss single points whatever the data: of rows that look for themselves, so many. A group
 * that is cut off would be hundreds. */
#define MISSED(of) ((of) / 1000)

/* Searches each row with its own vector: is the row itself, or (exact
 * copies) one at distance 0 with a smaller id, the first? */
static uint32_t rows_not_found(omen_collection *c, const float *rows, uint32_t first,
                               uint32_t count)
{
    uint32_t dim = omen_collection_dim(c);
    uint32_t lost = 0;

    for (uint32_t at = 0; at < count; at += 500) {
        uint32_t n = count - at < 500 ? count - at : 500;
        struct omen_search s;

        fixture_search(c, rows + (size_t)(first + at) * dim, n, 10, 128, &s);
        for (uint32_t q = 0; q < n; q++) {
            bool found = false;

            for (uint32_t i = 0; i < s.results[q].hit_count && !found; i++)
                found = s.results[q].hits[i].id.num == first + at + q;
            lost += !found;
        }
        omen_search_deinit(&s);
    }
    return lost;
}

static int by_first_component(const void *a, const void *b)
{
    float x = *(const float *)a;
    float y = *(const float *)b;

    return x < y ? -1 : x > y;
}

static void rows_in_sorted_order_all_find_themselves(void **state)
{
    float *rows = fixture_mixture(3, OTHERS, DIM, 40);
    struct fixture_engine f;
    omen_collection *c;

    (void)state;
    qsort(rows, OTHERS, DIM * sizeof *rows, by_first_component);
    fixture_open(&f, 2, 0);
    c = fixture_collection(&f, "sorted",
                           (struct omen_collection_settings){.dim = DIM, .metric = OMEN_METRIC_L2});
    fixture_insert(c, rows, 0, OTHERS, 256);
    assert_int_equal(rows_not_found(c, rows, 0, OTHERS), 0);
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
}

/* One tight cluster after the other: each epoch sees one corner of the space only, and most
 * clusters are older than the first pivot in them. Here a walk may miss single points, one in a
 * thousand; links alone missed one cluster in forty. */
static void rows_in_clustered_order_nearly_all_find_themselves(void **state)
{
    uint64_t seed = 31;
    float *rows = calloc((size_t)OTHERS * DIM, sizeof *rows);
    struct fixture_engine f;
    omen_collection *c;
    uint32_t lost;

    (void)state;
    for (uint32_t r = 0; r < OTHERS; r++) {
        uint64_t cluster = 1000 + r / 500;

        for (uint32_t i = 0; i < DIM; i++)
            rows[(size_t)r * DIM + i] = fixture_normal(&cluster) + 0.3f * fixture_normal(&seed);
    }
    fixture_open(&f, 2, 0);
    c = fixture_collection(
        &f, "clustered",
        (struct omen_collection_settings){.dim = DIM, .metric = OMEN_METRIC_COSINE});
    fixture_insert(c, rows, 0, OTHERS, 256);
    lost = rows_not_found(c, rows, 0, OTHERS);
    print_message("clustered order: %u of %u not found\n", lost, OTHERS);
    assert_true(lost <= MISSED(OTHERS));
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
}

/* Others of unit length, as embeddings have (2e-9 is then about the last bit of a component), and
 * after them copies of row ORIGINAL, each plus up to `jitter` in every component. */
#define ORIGINAL 11u
static float *make_copies(uint32_t dim, double jitter)
{
    float *rows = fixture_mixture(4, OTHERS + COPIES, dim, 50);
    const float *original = rows + (size_t)ORIGINAL * dim;
    uint64_t seed = 5;

    for (uint32_t r = 0; r < OTHERS; r++) {
        double length = 0;

        for (uint32_t i = 0; i < dim; i++)
            length += (double)rows[(size_t)r * dim + i] * (double)rows[(size_t)r * dim + i];
        for (uint32_t i = 0; i < dim; i++)
            rows[(size_t)r * dim + i] = (float)((double)rows[(size_t)r * dim + i] / sqrt(length));
    }
    for (uint32_t r = OTHERS; r < OTHERS + COPIES; r++) {
        for (uint32_t i = 0; i < dim; i++) {
            double u = (double)(fixture_random(&seed) >> 40) / 8388608.0 - 1.0;

            rows[(size_t)r * dim + i] = (float)((double)original[i] + u * jitter);
        }
    }
    return rows;
}

/* Inserts the rows in a seeded order of their own, so that copies come among the others. */
static void insert_shuffled(omen_collection *c, const float *rows, uint32_t count)
{
    uint32_t dim = omen_collection_dim(c);
    uint64_t *ids = calloc(count, sizeof *ids);
    float *mixed = calloc((size_t)count * dim, sizeof *mixed);
    struct fixture_stream *stream = fixture_stream_open(c, NULL);
    struct omen_stream_state end;
    uint64_t seed = 6;

    for (uint32_t i = 0; i < count; i++)
        ids[i] = i;
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = (uint32_t)(fixture_random(&seed) % i);
        uint64_t t = ids[i - 1];

        ids[i - 1] = ids[j];
        ids[j] = t;
    }
    for (uint32_t i = 0; i < count; i++)
        memcpy(mixed + (size_t)i * dim, rows + ids[i] * dim, dim * sizeof *mixed);
    for (uint32_t at = 0; at < count; at += 250)
        fixture_push(stream, ids + at, mixed + (size_t)at * dim,
                     count - at < 250 ? count - at : 250);
    fixture_wait(stream, &end);
    assert_int_equal(end.code, OMEN_OK);
    fixture_stream_close(stream);
    free(mixed);
    free(ids);
}

static void check_copies(double jitter, uint32_t dim)
{
    float *rows = make_copies(dim, jitter);
    const float *original = rows + (size_t)ORIGINAL * dim;
    struct fixture_engine f;
    struct omen_search s;
    omen_collection *c;
    uint32_t lost;

    fixture_open(&f, 2, 0);
    c = fixture_collection(&f, "copies",
                           (struct omen_collection_settings){.dim = dim, .metric = OMEN_METRIC_L2});
    insert_shuffled(c, rows, OTHERS + COPIES);

    assert_int_equal(rows_not_found(c, rows, 0, ORIGINAL), 0);
    lost = rows_not_found(c, rows, ORIGINAL + 1, OTHERS - ORIGINAL - 1);
    print_message("beside copies: %u of %u not found\n", lost, OTHERS);
    assert_true(lost <= MISSED(OTHERS));
    if (jitter > 0) /* exact copies share one place: the lowest ids stand for all */
        assert_true(rows_not_found(c, rows, OTHERS, COPIES) <= MISSED(COPIES));
    fixture_search(c, original, 1, COPIES, 0, &s);
    assert_int_equal(s.results[0].hit_count, COPIES);
    for (uint32_t i = 0; i < COPIES; i++) {
        uint64_t id = s.results[0].hits[i].id.num;

        assert_true(id >= OTHERS || id == ORIGINAL);
    }
    omen_search_deinit(&s);
    /* And through the graph: the chain is scanned, so any k of them come back. */
    fixture_search(c, original, 1, 1000, 1000, &s);
    assert_false(s.results[0].exact);
    assert_int_equal(s.results[0].hit_count, 1000);
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(s.results[0].hits[i].distance < 1e-12f);
    omen_search_deinit(&s);
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
}

static void exact_copies_are_all_returned_and_hide_nobody(void **state)
{
    (void)state;
    check_copies(0.0, 384);
}

static void copies_with_a_jitter_of_2e_9_each_return_themselves(void **state)
{
    (void)state;
    check_copies(2e-9, 384);
}

/* As when a broken model gives everybody the same vector. Whoever is near them has a chain of all
 * copies behind one node to be compared with, and still an answer. */
static void a_hundred_thousand_copies_of_one_row_hide_no_other(void **state)
{
    const uint32_t dim = 16;
    const uint32_t others = 3000;
    float *rows = fixture_mixture(14, others + MANY_COPIES, dim, 20);
    struct fixture_engine f;
    struct omen_validation v;
    struct omen_search s;
    omen_error err = {0};
    omen_collection *c;

    (void)state;
    for (uint32_t r = others; r < others + MANY_COPIES; r++)
        memcpy(rows + (size_t)r * dim, rows, dim * sizeof *rows);
    fixture_open(&f, 2, 0);
    c = fixture_collection(
        &f, "copies", (struct omen_collection_settings){.dim = dim, .metric = OMEN_METRIC_COSINE});
    insert_shuffled(c, rows, others + MANY_COPIES);
    assert_int_equal(omen_collection_validate(c, &v, &err), OMEN_OK);
    assert_true(v.linked <= others); /* all copies are one node */
    assert_int_equal(rows_not_found(c, rows, 1, others - 1), 0);
    fixture_search(c, rows, 1, 500, 0, &s);
    assert_int_equal(s.results[0].hit_count, 500);
    for (uint32_t i = 0; i < 500; i++) {
        assert_true(s.results[0].hits[i].distance < 1e-6f);
        /* Of equals the lowest ids: row 0, and the first of the copies. */
        assert_true(s.results[0].hits[i].id.num == (i == 0 ? 0 : others + i - 1));
    }
    omen_search_deinit(&s);
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
}

/* 24 powers of ten apart: what is far is no reason to lose what is near. */
static void tiny_rows_beside_huge_ones_find_themselves(void **state)
{
    static const omen_metric metrics[] = {OMEN_METRIC_L2, OMEN_METRIC_COSINE};
    float *rows = fixture_mixture(15, 3200, 24, 20);

    (void)state;
    for (size_t i = 0; i < (size_t)3200 * 24; i++)
        rows[i] *= i / 24 % 2 == 0 ? 1e-12f : 1e12f;
    for (size_t m = 0; m < 2; m++) {
        struct fixture_engine f;
        omen_collection *c;
        double recall;

        fixture_open(&f, 2, 0);
        c = fixture_collection(&f, "mixed",
                               (struct omen_collection_settings){.dim = 24, .metric = metrics[m]});
        fixture_insert(c, rows, 200, 3000, 100);
        recall = fixture_recall(c, rows, 200, 10, 128, NULL);
        print_message("tiny beside huge, metric %d: recall %.4f\n", (int)metrics[m], recall);
        assert_true(recall >= 0.95);
        assert_true(rows_not_found(c, rows, 200, 3000) <= MISSED(3000));
        omen_collection_release(c);
        fixture_close(&f);
    }
    free(rows);
}

static void check_shape(uint32_t dim, uint32_t count, float magnitude, omen_metric metric)
{
    float *rows = fixture_mixture(dim, count, dim, 20);
    struct fixture_engine f;
    omen_collection *c;
    double visited = 0;
    double recall;

    for (size_t i = 0; i < (size_t)count * dim; i++)
        rows[i] *= magnitude;
    fixture_open(&f, 2, 0);
    c = fixture_collection(&f, "shape",
                           (struct omen_collection_settings){.dim = dim, .metric = metric});
    fixture_insert(c, rows, 200, count - 200, 29);
    recall = fixture_recall(c, rows, 200, 10, 128, &visited);
    print_message("dim %u, magnitude %g, metric %d: recall %.4f, visited %.0f of %u\n", dim,
                  (double)magnitude, (int)metric, recall, visited, count - 200);
    assert_true(recall >= 0.95);
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
}

static void odd_dimensions_are_searched_as_well_as_round_ones(void **state)
{
    (void)state;
    check_shape(1, 3000, 1.0f, OMEN_METRIC_L2);
    check_shape(2, 3000, 1.0f, OMEN_METRIC_L2);
    check_shape(17, 3000, 1.0f, OMEN_METRIC_COSINE);
    check_shape(100, 3000, 1.0f, OMEN_METRIC_L2);
    check_shape(4096, 1500, 1.0f, OMEN_METRIC_COSINE);
}

static void tiny_and_huge_magnitudes_are_searched_as_well_as_common_ones(void **state)
{
    (void)state;
    check_shape(24, 3000, 1e-12f, OMEN_METRIC_L2);
    check_shape(24, 3000, 1e12f, OMEN_METRIC_L2);
    check_shape(24, 3000, 1e-12f, OMEN_METRIC_COSINE);
    check_shape(24, 3000, 1e12f, OMEN_METRIC_INNER_PRODUCT);
}

/* Raw inner product leaves most nodes of other graphs unreachable when norms differ. */
static void inner_product_finds_long_vectors_among_short_ones(void **state)
{
    float *rows = fixture_mixture(77, 8200, 64, 60);
    uint64_t seed = 78;
    struct fixture_engine f;
    omen_collection *c;
    double visited = 0;
    double recall;

    (void)state;
    for (uint32_t r = 200; r < 8200; r++) {
        float factor = 0.1f + 3.0f * (float)(fixture_random(&seed) % 1000) / 1000.0f;

        for (uint32_t i = 0; i < 64; i++)
            rows[(size_t)r * 64 + i] *= factor;
    }
    fixture_open(&f, 2, 0);
    c = fixture_collection(
        &f, "ip",
        (struct omen_collection_settings){.dim = 64, .metric = OMEN_METRIC_INNER_PRODUCT});
    fixture_insert(c, rows, 200, 8000, 200);
    recall = fixture_recall(c, rows, 200, 10, 256, &visited);
    print_message("inner product: recall %.4f, visited %.0f\n", recall, visited);
    assert_true(recall >= 0.95);
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
}

/* Only the direction of a query counts, however short it is beside the rows. */
static void inner_product_finds_huge_rows_with_tiny_queries(void **state)
{
    const uint32_t queries = 100;
    float *rows = fixture_mixture(12, OTHERS + queries, DIM, 40);
    struct fixture_engine f;
    omen_collection *c;
    double recall;

    (void)state;
    for (size_t i = 0; i < (size_t)(OTHERS + queries) * DIM; i++)
        rows[i] *= i < (size_t)OTHERS * DIM ? 1e12f : 1e-12f;
    fixture_open(&f, 2, 8);
    c = fixture_collection(
        &f, "ip",
        (struct omen_collection_settings){.dim = DIM, .metric = OMEN_METRIC_INNER_PRODUCT});
    fixture_insert(c, rows, 0, OTHERS, 500);
    recall = fixture_recall(c, rows + (size_t)OTHERS * DIM, queries, 10, 128, NULL);
    print_message("recall@10 %.3f\n", recall);
    assert_true(recall >= 0.9);
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_in_sorted_order_all_find_themselves),
        cmocka_unit_test(rows_in_clustered_order_nearly_all_find_themselves),
        cmocka_unit_test(exact_copies_are_all_returned_and_hide_nobody),
        cmocka_unit_test(copies_with_a_jitter_of_2e_9_each_return_themselves),
        cmocka_unit_test(a_hundred_thousand_copies_of_one_row_hide_no_other),
        cmocka_unit_test(tiny_rows_beside_huge_ones_find_themselves),
        cmocka_unit_test(odd_dimensions_are_searched_as_well_as_round_ones),
        cmocka_unit_test(tiny_and_huge_magnitudes_are_searched_as_well_as_common_ones),
        cmocka_unit_test(inner_product_finds_long_vectors_among_short_ones),
        cmocka_unit_test(inner_product_finds_huge_rows_with_tiny_queries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
