/* golden_churn_test.c - a stored log gives the stored graph, for ever.
 *
 * tests/golden/algorithm-N/ holds the log of a collection, written once under algorithm version N.
 * Whoever changes what the same records give must give the change a new OMEN_ALGORITHM_VERSION,
 * store a log of its own beside these, and keep their hashes: replicas and old data depend on them.
 * CMake builds this file a second time against an engine whose repairs were changed without a new
 * version (OMEN_PLANT_REPAIR_BUG); that one must fail.
 *
 *     golden_churn_test --make DIR     writes a new log into DIR, and prints its hash
 */
#include "tests/engine/fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/collection.h"
#include "engine/settings.h"

#define GOLDEN_HASH_1   UINT64_C(0xd5cdd631a8ce9a42)
#define GOLDEN_POINTS_1 2600u
#define GOLDEN_HASH_2   UINT64_C(0x2d0b0e37afe46ad9)
#define GOLDEN_POINTS_2 562u
#define GOLDEN_HASH_3   UINT64_C(0xdf32dd8bf91abe15)
#define GOLDEN_POINTS_3 562u
#define GOLDEN_HASH_4   UINT64_C(0xd0afe4b3544b17e4)
#define GOLDEN_POINTS_4 562u
#define ROWS            2600u
#define MADE_ROWS       1100u /* of which the logs of algorithms 2 and later are made */
#define DIM             8u

/* Clusters, a grid with ties, and copies: what selection, ties and chains have to decide on. */
static float *make_rows(void)
{
    float *rows = fixture_mixture(1729, ROWS, DIM, 40);
    uint64_t seed = 1730;

    for (uint32_t r = 0; r < ROWS; r += 3) {
        for (uint32_t i = 0; i < DIM; i++)
            rows[(size_t)r * DIM + i] = (float)(fixture_random(&seed) % 5) - 2.0f;
    }
    for (uint32_t r = 100; r < ROWS; r += 50)
        memcpy(rows + (size_t)r * DIM, rows + 7 * DIM, DIM * sizeof *rows);
    for (uint32_t r = 0; r < ROWS; r++)
        rows[(size_t)r * DIM] += 0.125f; /* the grid has the zero vector */
    return rows;
}

/* Numbers and keys, the one half of each. */
static struct omen_id id_of(uint32_t i, char *text)
{
    if (i % 2 == 0) return omen_id_num(i);
    (void)snprintf(text, 12, "%u", i);
    return omen_id_key(text, (uint32_t)strlen(text));
}

/* One chunk of random updates and deletes, a few points expire after a second. */
static void churn(struct fixture_stream *s, const float *rows, uint64_t *seed)
{
    omen_chunk *chunk = fixture_chunk(s, 25);
    struct omen_stream_state state;
    char text[12];

    for (uint32_t i = 0; i < 25; i++) {
        uint32_t id = (uint32_t)(fixture_random(seed) % 900);
        uint32_t row = (uint32_t)(fixture_random(seed) % MADE_ROWS);

        fixture_chunk_add(chunk, i, id_of(id, text), rows + (size_t)row * DIM, DIM,
                          i % 8 == 0 ? 1 : 0);
    }
    for (uint32_t i = 0; i < 12; i++) {
        struct omen_id id = id_of((uint32_t)(fixture_random(seed) % 900), text);

        omen_chunk_delete(chunk, 25 + i, &id);
    }
    fixture_push_chunk(s, chunk);
    fixture_wait(s, &state);
}

static void insert(struct fixture_stream *s, const float *rows, uint32_t first, uint32_t count)
{
    omen_chunk *chunk = fixture_chunk(s, count);
    struct omen_stream_state state;
    char text[12];

    for (uint32_t i = 0; i < count; i++)
        fixture_chunk_add(chunk, i, id_of(first + i, text), rows + (size_t)(first + i) * DIM, DIM,
                          0);
    fixture_push_chunk(s, chunk);
    fixture_wait(s, &state);
}

/* Until every point that expires has. */
static void wait_for_clock(omen_collection *c)
{
    const struct timespec moment = {.tv_nsec = 20000000};
    uint32_t left = 1;

    while (left > 0) {
        (void)pthread_mutex_lock(&c->admit_mutex);
        left = c->admit.expiry.count;
        (void)pthread_mutex_unlock(&c->admit_mutex);
        (void)nanosleep(&moment, NULL);
    }
}

static int make(const char *dir)
{
    float *rows = make_rows();
    struct fixture_engine f = {.engine = NULL};
    struct omen_collection_info info;
    struct fixture_stream *s;
    uint64_t seed = 1731;
    omen_collection *c;

    (void)snprintf(f.dir, sizeof f.dir, "%s", dir);
    fixture_reopen(&f, 1, 0, NULL);
    c = fixture_collection(&f, "golden",
                           (struct omen_collection_settings){.dim = DIM,
                                                             .metric = OMEN_METRIC_COSINE,
                                                             .epoch_points = 200,
                                                             .checkpoint_bytes = 6000});
    s = fixture_stream_open_as(c, (struct omen_stream_options){.mode = OMEN_WRITE_UPSERT});
    for (uint32_t first = 0; first < 800; first += 200)
        insert(s, rows, first, 200);
    for (uint32_t i = 0; i < 30; i++)
        churn(s, rows, &seed);
    wait_for_clock(c);
    for (uint32_t i = 0; i < 6; i++)
        churn(s, rows, &seed);
    wait_for_clock(c);
    fixture_stream_close(s);
    fixture_assert_sound(c);
    omen_collection_get_info(c, &info);
    printf("%016" PRIx64 ", %llu points, %llu slots of %llu, checkpoint at %llu, %llu bytes\n",
           omen_collection_graph_hash(c), (unsigned long long)info.points,
           (unsigned long long)info.slots, (unsigned long long)info.slots_max,
           (unsigned long long)info.checkpoint_position, (unsigned long long)info.log_bytes);
    omen_collection_release(c);
    omen_engine_close(f.engine);
    free(rows);
    return 0;
}

static void check_stored(const char *name, uint32_t points, uint64_t hash)
{
    for (uint32_t threads = 1; threads <= 3; threads++) {
        struct fixture_engine stored;
        struct fixture_engine f;
        struct omen_validation v;
        omen_error err = {0};
        omen_collection *c;

        (void)snprintf(stored.dir, sizeof stored.dir, "%s/%s", OMEN_GOLDEN_DIR, name);
        fixture_copy(&stored, &f);
        fixture_reopen(&f, threads, 0, NULL);
        c = fixture_acquire(&f, "golden");
        if (omen_collection_validate(c, &v, &err) != OMEN_OK) fail_msg("%s", err.message);
        assert_int_equal(v.points, points);
        print_message("%s, threads %u: %016" PRIx64 "\n", name, threads,
                      omen_collection_graph_hash(c));
        assert_true(omen_collection_graph_hash(c) == hash);
        omen_collection_release(c);
        fixture_close(&f);
    }
}

static void the_stored_log_of_algorithm_1_gives_the_stored_graph(void **state)
{
    (void)state;
    check_stored("algorithm-1", GOLDEN_POINTS_1, GOLDEN_HASH_1);
}

static void the_stored_log_of_algorithm_2_gives_the_stored_graph(void **state)
{
    (void)state;
    check_stored("algorithm-2", GOLDEN_POINTS_2, GOLDEN_HASH_2);
}

static void the_stored_log_of_algorithm_3_gives_the_stored_graph(void **state)
{
    (void)state;
    check_stored("algorithm-3", GOLDEN_POINTS_3, GOLDEN_HASH_3);
}

static void the_stored_log_of_algorithm_4_gives_the_stored_graph(void **state)
{
    (void)state;
    check_stored("algorithm-4", GOLDEN_POINTS_4, GOLDEN_HASH_4);
}

/* An old collection was switched when it was opened: it takes what its own algorithm could not. */
static void goes_on(const char *name, uint32_t points, uint64_t old_hash)
{
    float *rows = make_rows();
    struct fixture_engine stored;
    struct fixture_engine f;
    struct fixture_stream *s;
    struct omen_collection_info info;
    omen_collection *c;
    uint64_t seed = 1732;
    uint64_t hash;

    (void)snprintf(stored.dir, sizeof stored.dir, "%s/%s", OMEN_GOLDEN_DIR, name);
    fixture_copy(&stored, &f);
    fixture_reopen(&f, 2, 0, NULL);
    c = fixture_acquire(&f, "golden");
    omen_collection_get_info(c, &info);
    assert_int_equal(info.algorithm_version, OMEN_ALGORITHM_VERSION);
    s = fixture_stream_open_as(c, (struct omen_stream_options){.mode = OMEN_WRITE_UPSERT});
    for (uint32_t i = 0; i < 20; i++)
        churn(s, rows, &seed);
    fixture_stream_close(s);
    wait_for_clock(c);
    fixture_assert_sound(c);
    omen_collection_get_info(c, &info);
    assert_true(info.points < points + 20 * 25);
    hash = omen_collection_graph_hash(c);
    assert_true(hash != old_hash);
    omen_collection_release(c);
    fixture_reopen(&f, 1, 5, NULL);
    c = fixture_acquire(&f, "golden");
    assert_true(omen_collection_graph_hash(c) == hash);
    fixture_assert_sound(c);
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
}

static void a_collection_of_an_older_algorithm_goes_on_under_the_present_one(void **state)
{
    (void)state;
    goes_on("algorithm-1", GOLDEN_POINTS_1, GOLDEN_HASH_1);
    goes_on("algorithm-2", GOLDEN_POINTS_2, GOLDEN_HASH_2);
    goes_on("algorithm-3", GOLDEN_POINTS_3, GOLDEN_HASH_3);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_stored_log_of_algorithm_1_gives_the_stored_graph),
        cmocka_unit_test(the_stored_log_of_algorithm_2_gives_the_stored_graph),
        cmocka_unit_test(the_stored_log_of_algorithm_3_gives_the_stored_graph),
        cmocka_unit_test(the_stored_log_of_algorithm_4_gives_the_stored_graph),
        cmocka_unit_test(a_collection_of_an_older_algorithm_goes_on_under_the_present_one),
    };

    if (argc == 3 && strcmp(argv[1], "--make") == 0) return make(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
