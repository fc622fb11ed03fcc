/* churn_test.c - a collection that is rewritten again and again stays as good, as small and as
 * sound as a new one: recall, memory, slots; down to nothing and up again.
 */
#include "tests/engine/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/collection.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROWS      3000u
#define SANITIZED true
#else
#define ROWS      20000u
#define SANITIZED false
#endif
#define DIM     64u
#define ROUNDS  10u
#define PART    (ROWS / 5) /* replaced in each round */
#define QUERIES 1000u
#define CENTRES 10u

static double rss_mib(void)
{
    unsigned long total = 0;
    unsigned long resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu %lu", &total, &resident), 2);
    (void)fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

/* Points ids[i] -> rows + i * DIM as upserts, then deletes; waits until they are searchable. */
static void upsert(omen_collection *c, const uint64_t *ids, const float *rows, uint32_t count)
{
    struct fixture_stream *s =
        fixture_stream_open_as(c, (struct omen_stream_options){.mode = OMEN_WRITE_UPSERT});
    struct omen_stream_state state;

    for (uint32_t at = 0; at < count; at += 250) {
        uint32_t n = count - at < 250 ? count - at : 250;

        for (omen_stream_poll(fixture_stream_get(s), &state); !state.room;
             omen_stream_poll(fixture_stream_get(s), &state))
            fixture_wait(s, &state);
        fixture_push(s, ids + at, rows + (size_t)at * DIM, n);
    }
    fixture_wait(s, &state);
    if (state.code != OMEN_OK) fail_msg("upsert: %s", state.error.message);
    fixture_stream_close(s);
}

static void delete (omen_collection *c, const uint64_t *ids, uint32_t count)
{
    struct fixture_stream *s =
        fixture_stream_open_as(c, (struct omen_stream_options){.mode = OMEN_WRITE_UPSERT});
    struct omen_stream_state state;

    for (uint32_t at = 0; at < count; at += 250) {
        omen_chunk *chunk = fixture_chunk(s, 0);

        for (uint32_t i = 0; i < 250 && at + i < count; i++) {
            struct omen_id id = omen_id_num(ids[at + i]);

            omen_chunk_delete(chunk, i, &id);
        }
        fixture_push_chunk(s, chunk);
    }
    fixture_wait(s, &state);
    if (state.code != OMEN_OK) fail_msg("delete: %s", state.error.message);
    fixture_stream_close(s);
}

/* Chunks without points, until the log has grown by `checkpoints` CHECKPOINT records. */
static void pass_checkpoints(omen_collection *c, uint32_t checkpoints)
{
    struct fixture_stream *s =
        fixture_stream_open_as(c, (struct omen_stream_options){.mode = OMEN_WRITE_UPSERT});
    struct omen_collection_info info;
    uint64_t last;

    omen_collection_get_info(c, &info);
    last = info.checkpoint_position;
    for (uint32_t i = 0; i < 200000 && checkpoints > 0; i++) {
        struct omen_stream_state state;
        omen_chunk *chunk = fixture_chunk(s, 0);

        for (uint32_t j = 0; j < 500; j++) {
            struct omen_id nobody = omen_id_num(1u << 30 | j);

            omen_chunk_delete(chunk, j, &nobody);
        }
        fixture_push_chunk(s, chunk);
        fixture_wait(s, &state);
        assert_int_equal(state.code, OMEN_OK);
        omen_collection_get_info(c, &info);
        checkpoints -= info.checkpoint_position != last;
        last = info.checkpoint_position;
    }
    assert_int_equal(checkpoints, 0);
    fixture_stream_close(s);
}

/* A permutation's first `count` of 0..n-1. */
static void draw(uint64_t *seed, uint64_t *ids, uint32_t n, uint32_t count)
{
    for (uint32_t i = 0; i < n; i++)
        ids[i] = i;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t j = i + (uint32_t)(fixture_random(seed) % (n - i));
        uint64_t t = ids[i];

        ids[i] = ids[j];
        ids[j] = t;
    }
}

static double mean_degree(omen_collection *c)
{
    struct omen_validation v;
    omen_error err = {0};

    if (omen_collection_validate(c, &v, &err) != OMEN_OK) fail_msg("%s", err.message);
    return (double)v.links / (double)v.linked;
}

/* Ten rounds of replacing a fifth: recall within half a point of a fresh build at the same ef, and
 * memory after the last round at most a tenth above the second's. */
static void ten_rounds_of_replacing_a_fifth_cost_neither_recall_nor_memory(void **state)
{
    float *pool = fixture_mixture(77, ROWS + ROUNDS * PART + QUERIES, DIM, CENTRES);
    const float *queries = pool + (size_t)(ROWS + ROUNDS * PART) * DIM;
    float *content = calloc((size_t)ROWS * DIM, sizeof *content);
    uint64_t *ids = calloc(ROWS, sizeof *ids);
    struct omen_collection_settings settings = {
        .dim = DIM, .metric = OMEN_METRIC_L2, .checkpoint_bytes = 1u << 18};
    struct omen_collection_info info;
    struct fixture_engine f;
    omen_collection *churned;
    omen_collection *fresh;
    double rss_second = 0.0;
    double rss_last;
    double visited[2];
    double recall[2];
    uint64_t seed = 78;

    (void)state;
    assert_non_null(content);
    assert_non_null(ids);
    memcpy(content, pool, (size_t)ROWS * DIM * sizeof *content);
    fixture_open(&f, 2, 0);
    churned = fixture_collection(&f, "churned", settings);
    fixture_insert(churned, content, 0, ROWS, 250);
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        const float *rows = pool + (size_t)(ROWS + (round - 1) * PART) * DIM;

        draw(&seed, ids, ROWS, PART);
        for (uint32_t i = 0; i < PART; i++)
            memcpy(content + ids[i] * DIM, rows + (size_t)i * DIM, DIM * sizeof *content);
        upsert(churned, ids, rows, PART);
        if (round == 2) rss_second = rss_mib();
    }
    rss_last = rss_mib();
    fixture_assert_sound(churned);
    omen_collection_get_info(churned, &info);
    assert_int_equal(info.points, ROWS);
    fresh = fixture_collection(&f, "fresh", settings);
    fixture_insert(fresh, content, 0, ROWS, 250);
    for (uint32_t ef = 40; ef <= 100; ef += 60) {
        recall[0] = fixture_recall(churned, queries, QUERIES, 10, ef, &visited[0]);
        recall[1] = fixture_recall(fresh, queries, QUERIES, 10, ef, &visited[1]);
        print_message("ef %u: churned %.4f (%.0f visited), fresh %.4f (%.0f visited)\n", ef,
                      recall[0], visited[0], recall[1], visited[1]);
        assert_true(recall[0] >= recall[1] - 0.005);
    }
    print_message("mean degree %.1f, fresh %.1f\n", mean_degree(churned), mean_degree(fresh));
    print_message("rss %.1f MiB after round 2, %.1f after round 10; %llu slots at most for %llu "
                  "points\n",
                  rss_second, rss_last, (unsigned long long)info.slots_max,
                  (unsigned long long)info.points);
    assert_true(SANITIZED || rss_last <= 1.1 * rss_second);
    assert_true(info.slots_max <= 2 * ROWS);
    omen_collection_release(fresh);
    omen_collection_release(churned);
    fixture_close(&f);
    free(ids);
    free(content);
    free(pool);
}

/* Recall of what is left, and every invariant, while nine tenths go, then all; then all come back
 * into the slots that were there. */
static void deleting_down_to_nothing_and_filling_up_again_keeps_the_graph_sound(void **state)
{
    float *rows = fixture_mixture(79, ROWS, DIM, CENTRES);
    uint64_t *ids = calloc(ROWS, sizeof *ids);
    struct omen_collection_info info;
    struct fixture_engine f;
    omen_collection *c;
    uint64_t seed = 80;
    uint64_t hash;

    (void)state;
    assert_non_null(ids);
    fixture_open(&f, 2, 0);
    c = fixture_collection(&f, "c",
                           (struct omen_collection_settings){.dim = DIM,
                                                             .metric = OMEN_METRIC_COSINE,
                                                             .checkpoint_bytes = 1u << 16});
    fixture_insert(c, rows, 0, ROWS, 250);
    draw(&seed, ids, ROWS, ROWS);
    for (uint32_t gone = 0; gone < ROWS; gone += ROWS / 10) {
        double visited;

        delete (c, ids + gone, ROWS / 10);
        fixture_assert_sound(c);
        omen_collection_get_info(c, &info);
        assert_int_equal(info.points, ROWS - gone - ROWS / 10);
        if (info.points <= OMEN_SMALL_COLLECTION) continue;
        double recall = fixture_recall(c, rows, 200, 10, 100, &visited);
        print_message("%llu points left: recall %.4f, %.0f visited, %llu slots\n",
                      (unsigned long long)info.points, recall, visited,
                      (unsigned long long)info.slots);
        assert_true(recall >= 0.97);
    }
    pass_checkpoints(c, 10);
    fixture_assert_sound(c);
    omen_collection_get_info(c, &info);
    assert_int_equal(info.points, 0);
    assert_true(info.slots <= 1); /* the last pivot goes on routing */
    fixture_insert(c, rows, 0, ROWS, 250);
    fixture_assert_sound(c);
    omen_collection_get_info(c, &info);
    print_message("filled again: %llu slots, %llu at most\n", (unsigned long long)info.slots,
                  (unsigned long long)info.slots_max);
    assert_int_equal(info.points, ROWS);
    assert_true(info.slots_max <= ROWS + 1);
    double recall = fixture_recall(c, rows, 200, 10, 100, NULL);
    print_message("filled again: recall %.4f\n", recall);
    assert_true(recall >= 0.98);
    hash = omen_collection_graph_hash(c);
    omen_collection_release(c);
    fixture_reopen(&f, 1, 3, NULL);
    c = fixture_acquire(&f, "c");
    assert_true(omen_collection_graph_hash(c) == hash);
    fixture_assert_sound(c);
    omen_collection_release(c);
    fixture_close(&f);
    free(ids);
    free(rows);
}

/* All pivots die, others live: the last dead one routes, until a new point becomes one. */
static void a_collection_that_lost_all_pivots_still_finds_its_points(void **state)
{
    enum { COUNT = 2000 };
    float *rows = fixture_mixture(81, COUNT + 1000, DIM, 20);
    struct omen_collection_info info;
    struct fixture_engine f;
    omen_collection *c;
    uint64_t ids[COUNT];
    uint32_t pivots;

    (void)state;
    fixture_open(&f, 2, 0);
    c = fixture_collection(&f, "c",
                           (struct omen_collection_settings){
                               .dim = DIM, .metric = OMEN_METRIC_L2, .checkpoint_bytes = 4096});
    fixture_insert(c, rows, 0, COUNT, 250);
    pivots = c->cells.count;
    assert_in_range(pivots, 5, 100);
    for (uint32_t i = 0; i < pivots; i++)
        ids[i] = omen_graph_id_of(&c->graph, omen_cells_pivot(&c->cells, i)).num;
    delete (c, ids, pivots);
    fixture_assert_sound(c);
    assert_int_equal(c->admit.living_pivots, 0);
    pass_checkpoints(c, 12);
    fixture_assert_sound(c);
    assert_int_equal(c->cells.count, 1);
    omen_collection_get_info(c, &info);
    assert_int_equal(info.points, COUNT - pivots);
    assert_int_equal(info.slots, COUNT - pivots + 1);
    double recall = fixture_recall(c, rows, 200, 10, 100, NULL);
    print_message("without a living pivot: recall %.4f\n", recall);
    assert_true(recall >= 0.95);
    fixture_insert(c, rows, COUNT, 1000, 100);
    pass_checkpoints(c, 12);
    fixture_assert_sound(c);
    assert_true(c->admit.living_pivots > 0);
    assert_int_equal(c->admit.living_pivots, c->admit.pivots);
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_rounds_of_replacing_a_fifth_cost_neither_recall_nor_memory),
        cmocka_unit_test(deleting_down_to_nothing_and_filling_up_again_keeps_the_graph_sound),
        cmocka_unit_test(a_collection_that_lost_all_pivots_still_finds_its_points),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
