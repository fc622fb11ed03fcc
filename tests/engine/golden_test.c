/* golden_test.c - a stored log gives the stored graph, for ever.
 *
 * tests/golden/algorithm-N/ hold the logs of two collections, written once under algorithm version
 * N (version 2 builds as 1 does: golden_churn_test.c has its log); inner product has one of its
 * own, because its distance is longer. Whoever changes what the same records give must give the
 * change a new OMEN_ALGORITHM_VERSION, store logs of its own beside these, and keep the hashes of
 * these: replicas and old data depend on them. They hold on every thread count, SIMD tier and
 * architecture.
 *
 *     golden_test --make DIR NAME     writes a new log of that name into DIR, and prints its hash
 */
#include "tests/engine/fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

#define GOLDEN_POINTS 2600u
#define DIM           8u

static const struct golden {
    const char *dir;
    const char *name;
    omen_metric metric;
    uint64_t hash;
} goldens[] = {
    {"algorithm-1", "golden", OMEN_METRIC_COSINE, UINT64_C(0xd5cdd631a8ce9a42)},
    {"algorithm-1", "inner-product", OMEN_METRIC_INNER_PRODUCT, UINT64_C(0x683ba725bafe540d)},
    {"algorithm-3", "plain", OMEN_METRIC_COSINE, UINT64_C(0x72ce7da9de8c5ef9)},
    {"algorithm-3", "inner-product", OMEN_METRIC_INNER_PRODUCT, UINT64_C(0xd49175e5686a4137)},
    {"algorithm-4", "plain", OMEN_METRIC_COSINE, UINT64_C(0xf9834d3a4e0c16da)},
    {"algorithm-4", "inner-product", OMEN_METRIC_INNER_PRODUCT, UINT64_C(0x64e9d8ade95b60d9)},
};
#define GOLDENS (sizeof goldens / sizeof *goldens)

/* Clusters, a grid with ties, and copies: what selection, ties and chains have to decide on. */
static float *make_rows(void)
{
    float *rows = fixture_mixture(1729, GOLDEN_POINTS, DIM, 40);
    uint64_t seed = 1730;

    for (uint32_t r = 0; r < GOLDEN_POINTS; r += 3) {
        for (uint32_t i = 0; i < DIM; i++)
            rows[(size_t)r * DIM + i] = (float)(fixture_random(&seed) % 5) - 2.0f;
    }
    for (uint32_t r = 100; r < GOLDEN_POINTS; r += 50)
        memcpy(rows + (size_t)r * DIM, rows + 7 * DIM, DIM * sizeof *rows);
    for (uint32_t r = 0; r < GOLDEN_POINTS; r++)
        rows[(size_t)r * DIM] += 0.125f; /* the grid has the zero vector */
    return rows;
}

static int make(const char *dir, const char *name)
{
    float *rows = make_rows();
    struct fixture_engine f = {.engine = NULL};
    omen_metric metric = OMEN_METRIC_COSINE;
    omen_collection *c;

    for (size_t g = 0; g < GOLDENS; g++)
        if (strcmp(goldens[g].name, name) == 0) metric = goldens[g].metric;
    (void)snprintf(f.dir, sizeof f.dir, "%s", dir);
    fixture_reopen(&f, 1, 0, NULL);
    c = fixture_collection(
        &f, name,
        (struct omen_collection_settings){.dim = DIM, .metric = metric, .epoch_points = 300});
    fixture_insert(c, rows, 0, 1000, 1000);
    fixture_insert(c, rows, 1000, 300, 10);
    fixture_insert(c, rows, 1300, GOLDEN_POINTS - 1300, 100);
    printf("%016" PRIx64 "\n", omen_collection_graph_hash(c));
    omen_collection_release(c);
    omen_engine_close(f.engine);
    free(rows);
    return 0;
}

static void check_golden(struct fixture_engine *f, const struct golden *golden)
{
    struct omen_validation v;
    omen_error err = {0};
    omen_collection *c = fixture_acquire(f, golden->name);

    if (omen_collection_validate(c, &v, &err) != OMEN_OK) fail_msg("%s", err.message);
    assert_int_equal(v.points, GOLDEN_POINTS);
    print_message("%s: %016" PRIx64 "\n", golden->name, omen_collection_graph_hash(c));
    assert_true(omen_collection_graph_hash(c) == golden->hash);
    omen_collection_release(c);
}

static void replay_and_check(uint32_t threads, const char *tier)
{
    print_message("threads %u, tier %s\n", threads, tier == NULL ? "the best" : tier);
    for (size_t g = 0; g < GOLDENS; g++) {
        struct fixture_engine stored;
        struct fixture_engine f;

        (void)snprintf(stored.dir, sizeof stored.dir, "%s/%s", OMEN_GOLDEN_DIR, goldens[g].dir);
        fixture_copy(&stored, &f);
        fixture_reopen(&f, threads, 0, tier);
        check_golden(&f, &goldens[g]);
        fixture_close(&f);
    }
}

static void the_stored_log_gives_the_stored_graph(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 3; threads++)
        replay_and_check(threads, NULL);
}

static void the_stored_log_gives_the_stored_graph_on_every_simd_tier(void **state)
{
    char list[128];
    char *rest = list;

    (void)state;
    assert_true(snprintf(list, sizeof list, "%s", omen_isas_list()) < (int)sizeof list);
    for (char *tier = strtok_r(list, ", ", &rest); tier != NULL; tier = strtok_r(NULL, ", ", &rest))
        if ((omen_isas_named(tier) & ~omen_cpu_isas()) == 0) replay_and_check(2, tier);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_stored_log_gives_the_stored_graph),
        cmocka_unit_test(the_stored_log_gives_the_stored_graph_on_every_simd_tier),
    };

    if (argc == 4 && strcmp(argv[1], "--make") == 0) return make(argv[2], argv[3]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
