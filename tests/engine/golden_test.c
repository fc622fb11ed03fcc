/* golden_test.c - a stored log gives the stored graph, for ever.
 *
 * tests/golden/algorithm-1/ holds the log of a collection, written once. Whoever changes what the
 * same records give must give the change a new OMEN_ALGORITHM_VERSION, store a log of its own
 * beside this one, and keep this one's hash: replicas and old data depend on it.
 *
 *     golden_test --make DIR     writes a new log into DIR, and prints its hash
 */
#include "tests/engine/fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN_HASH   UINT64_C(0xd5cdd631a8ce9a42)
#define GOLDEN_POINTS 2600u
#define DIM           8u

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

static int make(const char *dir)
{
    float *rows = make_rows();
    struct fixture_engine f = {.engine = NULL};
    omen_collection *c;

    (void)snprintf(f.dir, sizeof f.dir, "%s", dir);
    fixture_reopen(&f, 1, 0, NULL);
    c = fixture_collection(&f, "golden",
                           (struct omen_collection_settings){
                               .dim = DIM, .metric = OMEN_METRIC_COSINE, .epoch_points = 300});
    fixture_insert(c, rows, 0, 1000, 1000);
    fixture_insert(c, rows, 1000, 300, 10);
    fixture_insert(c, rows, 1300, GOLDEN_POINTS - 1300, 100);
    printf("%016" PRIx64 "\n", omen_collection_graph_hash(c));
    omen_collection_release(c);
    omen_engine_close(f.engine);
    free(rows);
    return 0;
}

static void the_stored_log_gives_the_stored_graph(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        struct fixture_engine stored = {.dir = OMEN_GOLDEN_DIR};
        struct fixture_engine f;
        struct omen_validation v;
        omen_error err = {"", ""};
        omen_collection *c;

        fixture_copy(&stored, &f);
        fixture_reopen(&f, threads, 0, NULL);
        c = fixture_acquire(&f, "golden");
        if (omen_collection_validate(c, &v, &err) != OMEN_OK) fail_msg("%s", err.message);
        assert_int_equal(v.points, GOLDEN_POINTS);
        print_message("threads %u: %016" PRIx64 "\n", threads, omen_collection_graph_hash(c));
        assert_true(omen_collection_graph_hash(c) == GOLDEN_HASH);
        omen_collection_release(c);
        fixture_close(&f);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_stored_log_gives_the_stored_graph),
    };

    if (argc == 3 && strcmp(argv[1], "--make") == 0) return make(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
