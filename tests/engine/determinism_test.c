/* determinism_test.c - the graph is a function of the log alone: not of threads, shards, SIMD tier,
 * or of being live or replayed.
 *
 * The log has inserts in large epochs, then updates, deletes, keys, expiry and checkpoints. The
 * data is half clustered and half on a small integer grid, where distances tie all the time: a
 * tie that is broken by who came first shows in the hash. CMake builds this file a second time
 * against an engine with such a bug planted (OMEN_PLANT_TIE_BUG); that one must fail.
 */
#include "tests/engine/fixture.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/collection.h"
#include "kernels/kernels.h"

#if defined(OMEN_TEST_EMULATED)
#define ROWS 5000u
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROWS 5000u
#else
#define ROWS 40000u
#endif
#define DIM          32u
#define EPOCH_POINTS 2048u

static struct fixture_engine recorded;
static uint64_t recorded_hash;

/* Rows from a grid of {-1, 0, 1}, most components 0, and clustered ones, alternating. */
static float *make_rows(void)
{
    float *rows = fixture_mixture(7, ROWS, DIM, 300);
    uint64_t seed = 8;

    for (uint32_t r = 0; r < ROWS; r += 2) {
        for (uint32_t i = 0; i < DIM; i++) {
            uint64_t x = fixture_random(&seed) % 8;

            rows[(size_t)r * DIM + i] = x == 0 ? 1.0f : x == 1 ? -1.0f : 0.0f;
        }
    }
    return rows;
}

/* Updates, deletes, keys and times to live among what was inserted, with many checkpoints. */
static void churn(omen_collection *c, const float *rows)
{
    struct fixture_stream *s =
        fixture_stream_open_as(c, (struct omen_stream_options){.mode = OMEN_WRITE_UPSERT});
    struct omen_stream_state state;
    uint64_t seed = 9;

    for (uint32_t n = 0; n < ROWS / 600; n++) {
        omen_chunk *chunk = fixture_chunk(s, 200);

        for (uint32_t i = 0; i < 200; i++) {
            uint32_t row = (uint32_t)(fixture_random(&seed) % ROWS);
            struct omen_id id = omen_id_num(fixture_random(&seed) % ROWS);

            if (i % 4 == 0) id = omen_id_key(&id.num, 2);
            fixture_chunk_add(chunk, i, id, rows + (size_t)row * DIM, DIM, i % 9 == 0 ? 1 : 0);
        }
        for (uint32_t i = 0; i < 150; i++) {
            struct omen_id id = omen_id_num(fixture_random(&seed) % ROWS);

            omen_chunk_delete(chunk, 200 + i, &id);
        }
        fixture_push_chunk(s, chunk);
        if (n % 8 == 0) fixture_wait(s, &state);
    }
    fixture_wait(s, &state);
    assert_int_equal(state.code, OMEN_OK);
    fixture_stream_close(s);
    for (uint32_t left = 1; left > 0;) { /* until all that expires has: a replay adds no record */
        (void)pthread_mutex_lock(&c->admit_mutex);
        left = c->admit.expiry.count;
        (void)pthread_mutex_unlock(&c->admit_mutex);
        (void)sched_yield();
    }
    fixture_assert_sound(c);
}

static int record_a_log(void **state)
{
    float *rows = make_rows();
    struct omen_collection_info info;
    omen_collection *c;

    (void)state;
    fixture_open(&recorded, 2, 4);
    c = fixture_collection(&recorded, "recorded",
                           (struct omen_collection_settings){.dim = DIM,
                                                             .metric = OMEN_METRIC_L2,
                                                             .epoch_points = EPOCH_POINTS,
                                                             .checkpoint_bytes = 1u << 18});
    fixture_insert(c, rows, 0, ROWS, 512);
    omen_collection_get_info(c, &info);
    assert_true(info.points / info.epoch >= 500);
    churn(c, rows);
    recorded_hash = omen_collection_graph_hash(c);
    omen_collection_get_info(c, &info);
    print_message("recorded: %llu points in %llu epochs, hash %016llx\n",
                  (unsigned long long)info.points, (unsigned long long)info.epoch,
                  (unsigned long long)recorded_hash);
    assert_true(info.checkpoint_position > 0);
    assert_true(info.slots_max > info.points);
    omen_collection_release(c);
    omen_engine_close(recorded.engine);
    recorded.engine = NULL;
    free(rows);
    return 0;
}

static int forget_the_log(void **state)
{
    (void)state;
    fixture_close(&recorded);
    return 0;
}

static uint64_t replay(uint32_t threads, uint32_t shards, const char *simd)
{
    struct fixture_engine copy;
    omen_collection *c;
    uint64_t hash;

    fixture_copy(&recorded, &copy);
    fixture_reopen(&copy, threads, shards, simd);
    c = fixture_acquire(&copy, "recorded");
    hash = omen_collection_graph_hash(c);
    omen_collection_release(c);
    fixture_close(&copy);
    return hash;
}

/* Threads 1, 2 and 4, shards 4 and 16: the replayed graph is the one that was built live. */
static void replay_gives_the_live_graph_for_any_threads_and_shards(void **state)
{
    static const uint32_t threads[] = {1, 2, 4};
    static const uint32_t shards[] = {4, 16};

    (void)state;
    for (size_t t = 0; t < 3; t++) {
        for (size_t s = 0; s < 2; s++) {
            uint64_t hash = replay(threads[t], shards[s], NULL);

            print_message("threads %u, shards %u: %016llx\n", threads[t], shards[s],
                          (unsigned long long)hash);
            assert_true(hash == recorded_hash);
        }
    }
}

/* Every tier that this machine runs gives the same graph. */
static void replay_gives_the_same_graph_on_every_simd_tier(void **state)
{
    char list[128];
    char *rest = list;

    (void)state;
    assert_true(snprintf(list, sizeof list, "%s", omen_isas_list()) < (int)sizeof list);
    for (char *tier = strtok_r(list, ", ", &rest); tier != NULL;
         tier = strtok_r(NULL, ", ", &rest)) {
        if ((omen_isas_named(tier) & ~omen_cpu_isas()) != 0) {
            print_message("skipped: tier %s, which this machine does not run\n", tier);
            continue;
        }
        const uint64_t hash = replay(2, 0, tier);
        print_message("tier %s: %016llx\n", tier, (unsigned long long)hash);
        assert_true(hash == recorded_hash);
    }
}

/* A second start adds nothing to the log and changes nothing in the graph. */
static void a_second_restart_changes_nothing(void **state)
{
    struct fixture_engine copy;
    struct omen_collection_info before;
    struct omen_collection_info after;
    omen_collection *c;

    (void)state;
    fixture_copy(&recorded, &copy);
    fixture_reopen(&copy, 2, 0, NULL);
    c = fixture_acquire(&copy, "recorded");
    omen_collection_get_info(c, &before);
    omen_collection_release(c);
    fixture_reopen(&copy, 1, 0, NULL);
    c = fixture_acquire(&copy, "recorded");
    omen_collection_get_info(c, &after);
    assert_true(after.log_position == before.log_position);
    assert_true(after.log_bytes == before.log_bytes);
    assert_true(omen_collection_graph_hash(c) == recorded_hash);
    omen_collection_release(c);
    fixture_close(&copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replay_gives_the_live_graph_for_any_threads_and_shards),
        cmocka_unit_test(replay_gives_the_same_graph_on_every_simd_tier),
        cmocka_unit_test(a_second_restart_changes_nothing),
    };

    return cmocka_run_group_tests(tests, record_a_log, forget_the_log);
}
