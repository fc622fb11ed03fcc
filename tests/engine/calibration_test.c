/* calibration_test.c - the target recall: what is chosen of a curve, which queries are remembered,
 * and that a collection's searches meet the target, whatever is asked of it.
 */
#include "tests/engine/fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/collection.h"
#include "engine/query_sample.h"
#include "engine/recall_curve.h"
#include "engine/settings.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROWS 4000u
#else
#define ROWS 20000u
#endif
#define DIM     48u
#define QUERIES 400u
#define CENTRES 200u

/* ---- the choice --------------------------------------------------------------------------- */

/* A curve of 100 queries that all have the recall 1 - 1 / (ef / scale + 1), whatever is re-ranked.
 */
static void make_curve(struct omen_recall_curve *curve, double scale)
{
    omen_recall_curve_init(curve, 10);
    curve->queries = 100;
    for (uint32_t step = 0; step < curve->steps; step++) {
        double recall = 1 - 1 / (curve->ef[step] / scale + 1);

        for (uint32_t q = 0; q < curve->queries; q++)
            omen_recall_curve_add(curve, step, (const double[]){recall, recall, recall});
    }
}

static double recall_at(const struct omen_recall_curve *curve, uint32_t ef)
{
    for (uint32_t step = 0; step < curve->steps; step++)
        if (curve->ef[step] == ef) return curve->sum[step][2] / curve->queries;
    fail_msg("ef %u is not on the curve", ef);
    return 0;
}

static void the_smallest_ef_that_meets_the_target_is_chosen(void **state)
{
    struct omen_recall_curve curve;
    struct omen_depth chosen;
    uint32_t before = 0;

    (void)state;
    make_curve(&curve, 2);
    chosen = omen_recall_curve_choose(&curve, 970000, 0);
    assert_true(recall_at(&curve, chosen.ef) >= 0.97);
    for (uint32_t step = 0; curve.ef[step] < chosen.ef; step++)
        before = curve.ef[step];
    assert_true(recall_at(&curve, before) < 0.97);
    assert_int_equal(chosen.recall, (uint32_t)(recall_at(&curve, chosen.ef) * 1e6 + 0.5));
    assert_int_equal(chosen.rerank, curve.k + (chosen.ef - curve.k) / 4); /* no more is of use */
}

static void the_ef_of_a_sample_that_varies_has_a_margin(void **state)
{
    struct omen_recall_curve sure;
    struct omen_recall_curve unsure;

    (void)state;
    make_curve(&sure, 2);
    unsure = sure;
    for (uint32_t step = 0; step < unsure.steps; step++) /* the same means of more or less */
        unsure.squares[step] += unsure.queries * 0.01;
    assert_true(omen_recall_curve_choose(&unsure, 970000, 0).ef >
                omen_recall_curve_choose(&sure, 970000, 0).ef);
}

static void an_ef_that_meets_the_target_is_kept_unless_much_less_would_do(void **state)
{
    struct omen_recall_curve curve;
    uint32_t best;
    uint32_t at = 0;

    (void)state;
    make_curve(&curve, 2);
    best = omen_recall_curve_choose(&curve, 970000, 0).ef;
    while (curve.ef[at] != best)
        at++;
    assert_int_equal(omen_recall_curve_choose(&curve, 970000, curve.ef[at + 1]).ef,
                     curve.ef[at + 1]);
    assert_int_equal(omen_recall_curve_choose(&curve, 970000, curve.ef[at + 2]).ef,
                     curve.ef[at + 2]);
    assert_int_equal(omen_recall_curve_choose(&curve, 970000, curve.ef[at + 3]).ef, best);
    assert_int_equal(omen_recall_curve_choose(&curve, 970000, OMEN_EF_MAX).ef, best);
    assert_int_equal(omen_recall_curve_choose(&curve, 970000, curve.ef[at - 1]).ef, best);
}

static void a_target_that_no_ef_reaches_costs_no_more_than_what_helps(void **state)
{
    struct omen_recall_curve curve;
    struct omen_depth chosen;

    (void)state;
    omen_recall_curve_init(&curve, 10);
    curve.queries = 1;
    for (uint32_t step = 0; step < curve.steps; step++) {
        double recall = curve.ef[step] < 100 ? 0.5 : 0.9;

        omen_recall_curve_add(&curve, step, (const double[]){recall, recall, recall});
    }
    chosen = omen_recall_curve_choose(&curve, 970000, 0);
    assert_true(chosen.ef >= 100 && chosen.ef < 125);
    assert_int_equal(chosen.recall, 900000);
}

static void re_ranking_is_as_deep_as_it_must_be(void **state)
{
    struct omen_recall_curve curve;
    struct omen_depth chosen;

    (void)state;
    omen_recall_curve_init(&curve, 10);
    curve.queries = 1;
    for (uint32_t step = 0; step < curve.steps; step++)
        omen_recall_curve_add(&curve, step,
                              curve.ef[step] < 40 ? (const double[]){0.5, 0.5, 0.5}
                                                  : (const double[]){0.8, 0.98, 0.981});
    chosen = omen_recall_curve_choose(&curve, 970000, 0);
    assert_true(chosen.ef >= 40 && chosen.ef < 50);
    assert_int_equal(chosen.rerank, 10 + (chosen.ef - 10) / 2);
    assert_int_equal(chosen.recall, 980000);
}

/* ---- the sample --------------------------------------------------------------------------- */

static void offer(struct omen_query_sample *sample, float from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        omen_query_sample_offer(sample, &(const float){from + (float)i});
}

static void old_queries_fade_from_the_sample_and_each_is_in_it_once(void **state)
{
    struct omen_query_sample *samples[2];
    float kept[OMEN_CALIBRATE_QUERIES_MAX];
    float again[OMEN_CALIBRATE_QUERIES_MAX];
    uint32_t old = OMEN_CALIBRATE_QUERIES_MAX;
    omen_error err = {0};

    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(omen_query_sample_create(1, &samples[i], &err), OMEN_OK);
    offer(samples[0], 0, 100);
    assert_int_equal(omen_query_sample_copy(samples[0], kept), 100);
    offer(samples[1], 0, 100);
    for (int window = 0; window < 12; window++) {
        for (int i = 0; i < 2; i++) {
            offer(samples[i], 1000.0f + 300.0f * (float)window, 300);
            assert_int_equal(omen_query_sample_fresh(samples[i]), window == 0 ? 400 : 300);
            omen_query_sample_turn(samples[i]);
            assert_int_equal(omen_query_sample_fresh(samples[i]), 0);
        }
    }
    assert_int_equal(omen_query_sample_copy(samples[0], kept), OMEN_CALIBRATE_QUERIES_MAX);
    (void)omen_query_sample_copy(samples[1], again);
    assert_memory_equal(kept, again, sizeof kept); /* by the order of queries alone */
    for (uint32_t i = 0; i < OMEN_CALIBRATE_QUERIES_MAX; i++) {
        old -= kept[i] >= 1000.0f + 6 * 300.0f;
        for (uint32_t j = 0; j < i; j++)
            assert_true(kept[i] != kept[j]);
    }
    assert_true(old < OMEN_CALIBRATE_QUERIES_MAX / 16); /* of the first half: 2^-6 of them */
    for (int i = 0; i < 2; i++)
        omen_query_sample_destroy(samples[i]);
}

/* ---- a collection ------------------------------------------------------------------------- */

static struct omen_calibration calibration_of(omen_collection *c)
{
    struct omen_collection_info info;

    omen_collection_get_info(c, &info);
    return info.calibration;
}

static void calibrate(omen_collection *c)
{
    omen_error err = {0};

    if (omen_collection_calibrate(c, &err) != OMEN_OK) fail_msg("%s", err.message);
}

/* Rows around centres; the first QUERIES are not inserted. */
static omen_collection *make_collection(struct fixture_engine *f, float **rows)
{
    omen_collection *c;

    *rows = fixture_mixture(91, QUERIES + ROWS, DIM, CENTRES);
    c = fixture_collection(
        f, "target", (struct omen_collection_settings){.dim = DIM, .metric = OMEN_METRIC_COSINE});
    fixture_insert(c, *rows + (size_t)QUERIES * DIM, 0, ROWS, 250);
    return c;
}

/* Queries from between the centres, where the graph has no clusters to lead to. */
static float *make_strangers(void)
{
    float *rows = calloc((size_t)QUERIES * DIM, sizeof *rows);
    uint64_t seed = 17;

    assert_non_null(rows);
    for (uint32_t i = 0; i < QUERIES * DIM; i++)
        rows[i] = fixture_normal(&seed);
    return rows;
}

static void ask(omen_collection *c, const float *queries, uint32_t count, uint32_t times)
{
    for (uint32_t i = 0; i < times; i++) {
        struct omen_search s;

        fixture_search(c, queries, count, 10, 0, &s);
        omen_search_deinit(&s);
    }
}

static uint32_t ef_used(omen_collection *c, const float *query, uint32_t k, uint32_t ef)
{
    struct omen_search s;
    uint32_t used;

    fixture_search(c, query, 1, k, ef, &s);
    used = s.results[0].ef;
    omen_search_deinit(&s);
    return used;
}

static void
searches_without_an_ef_meet_the_target_after_a_calibration_on_stored_points(void **state)
{
    struct fixture_engine f;
    float *rows;
    omen_collection *c;
    struct omen_calibration found;

    (void)state;
    fixture_open(&f, 2, 0);
    c = make_collection(&f, &rows);
    assert_int_equal(calibration_of(c).ef[0], 0);
    assert_int_equal(ef_used(c, rows, 10, 0), OMEN_EF_DEFAULT);
    calibrate(c);
    found = calibration_of(c);
    assert_int_equal(found.target, OMEN_TARGET_RECALL_DEFAULT);
    assert_int_equal(found.live, 0);
    assert_int_equal(found.queries, OMEN_CALIBRATE_QUERIES_MAX);
    assert_int_equal(found.points, ROWS);
    assert_true(found.at_s > 0);
    assert_true(found.recall[0] >= 970000 && found.recall[1] >= 970000);
    assert_true(found.ef[1] >= 100 && found.rerank[0] <= found.ef[0]);
    double low = fixture_recall(c, rows, QUERIES, 10, 0, NULL);
    double between = fixture_recall(c, rows, QUERIES, 40, 0, NULL);
    double high = fixture_recall(c, rows, QUERIES, 100, 0, NULL);
    print_message("ef %u and %u: recall %.4f at 10, %.4f at 40, %.4f at 100\n", found.ef[0],
                  found.ef[1], low, between, high);
    assert_true(low >= 0.965 && between >= 0.965 && high >= 0.965);
    assert_int_equal(ef_used(c, rows, 10, 0), found.ef[0]);
    assert_int_equal(ef_used(c, rows, 1, 0), found.ef[0]);
    assert_int_equal(ef_used(c, rows, 100, 0), found.ef[1]);
    assert_int_equal(ef_used(c, rows, 300, 0), 3 * found.ef[1]);
    assert_int_equal(ef_used(c, rows, 10, 33), 33); /* an explicit ef overrides it */
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
}

static void queries_of_another_distribution_raise_ef_until_they_meet_the_target(void **state)
{
    struct fixture_engine f;
    float *rows;
    float *strangers = make_strangers();
    omen_collection *c;
    struct omen_calibration usual;
    struct omen_calibration strange;
    double before;
    double after;

    (void)state;
    fixture_calibrate_seconds = OMEN_CALIBRATE_SECONDS_MAX;
    fixture_open(&f, 2, 0);
    fixture_calibrate_seconds = 0;
    c = make_collection(&f, &rows);
    ask(c, rows, QUERIES, 1);
    calibrate(c);
    usual = calibration_of(c);
    assert_int_equal(usual.live, 1);
    assert_true(fixture_recall(c, rows, QUERIES, 10, 0, NULL) >= 0.965);
    before = fixture_recall(c, strangers, QUERIES, 10, 0, NULL);
    ask(c, strangers, QUERIES, 4);
    calibrate(c);
    strange = calibration_of(c);
    assert_int_equal(omen_query_sample_fresh(c->sample), 0); /* a new window */
    after = fixture_recall(c, strangers, QUERIES, 10, 0, NULL);
    print_message("ef %u -> %u, recall of the strangers %.4f -> %.4f\n", usual.ef[0], strange.ef[0],
                  before, after);
    assert_true(before < 0.95);
    assert_true(strange.ef[0] > usual.ef[0] && strange.ef[0] <= OMEN_EF_MAX);
    assert_true(after >= 0.955); /* a fifth of the sample is of the usual ones */
    ask(c, rows, QUERIES, 20);   /* and back again */
    calibrate(c);
    assert_true(calibration_of(c).ef[0] < strange.ef[0]);
    omen_collection_release(c);
    fixture_close(&f);
    free(strangers);
    free(rows);
}

static void a_restart_finds_the_calibration_the_target_and_the_graph(void **state)
{
    struct fixture_engine f;
    float *rows;
    omen_collection *c;
    omen_error err = {0};
    struct omen_collection_info before;
    struct omen_collection_info after;
    struct omen_calibration first;
    uint64_t hash;

    (void)state;
    fixture_open(&f, 2, 0);
    c = make_collection(&f, &rows);
    assert_int_equal(omen_collection_set_target_recall(c, 999000, &err), OMEN_OK);
    calibrate(c);
    first = calibration_of(c);
    assert_int_equal(omen_collection_set_target_recall(c, 900000, &err), OMEN_OK);
    calibrate(c);
    fixture_insert(c, rows, 0, QUERIES, 100); /* its ids are taken, but it ends an epoch or two */
    fixture_assert_sound(c);
    omen_collection_get_info(c, &before);
    assert_int_equal(before.settings.target_recall, 900000);
    assert_int_equal(before.calibration.target, 900000);
    assert_true(before.calibration.ef[1] < first.ef[1]); /* less is asked for */
    assert_int_equal(before.log_position, before.searchable_position);
    hash = omen_collection_graph_hash(c);
    omen_collection_release(c);
    fixture_reopen(&f, 1, 8, NULL);
    c = fixture_acquire(&f, "target");
    omen_collection_get_info(c, &after);
    assert_memory_equal(&before.calibration, &after.calibration, sizeof before.calibration);
    assert_int_equal(after.settings.target_recall, 900000);
    assert_int_equal(after.log_position, before.log_position);
    assert_true(omen_collection_graph_hash(c) == hash);
    assert_int_equal(ef_used(c, rows, 10, 0), before.calibration.ef[0]);
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
}

static void a_target_of_its_own_is_in_a_collection_s_first_record(void **state)
{
    struct omen_collection_settings settings = {
        .dim = 8, .metric = OMEN_METRIC_L2, .target_recall = 999000};
    struct fixture_engine f;
    struct omen_collection_info info;
    omen_collection *c;
    omen_error err = {0};

    (void)state;
    fixture_open(&f, 1, 0);
    c = fixture_collection(&f, "own", settings);
    omen_collection_release(c);
    fixture_reopen(&f, 1, 0, NULL);
    c = fixture_acquire(&f, "own");
    omen_collection_get_info(c, &info);
    assert_int_equal(info.settings.target_recall, 999000);
    assert_int_equal(omen_collection_set_target_recall(c, 999001, &err), OMEN_INVALID_ARGUMENT);
    assert_string_equal(err.message, "target_recall is 0.999001; it is 0.5 to 0.999");
    settings.target_recall = 1;
    assert_int_equal(omen_collection_create(f.engine, "bad", &settings, NULL, &err),
                     OMEN_INVALID_ARGUMENT);
    calibrate(c); /* nothing is walked in an empty collection, so there is nothing to choose */
    assert_int_equal(calibration_of(c).ef[0], 0);
    omen_collection_release(c);
    fixture_close(&f);
}

/* Until it has doubled, what was found when it was small is good enough. */
static void a_collection_that_outgrew_its_calibration_goes_by_the_default_at_least(void **state)
{
    struct fixture_engine f;
    float *rows = fixture_mixture(5, 4000, 16, 20);
    omen_collection *c;
    uint32_t found;

    (void)state;
    fixture_open(&f, 2, 0);
    c = fixture_collection(&f, "grows",
                           (struct omen_collection_settings){.dim = 16, .metric = OMEN_METRIC_L2});
    fixture_insert(c, rows, 0, 1500, 250);
    calibrate(c);
    found = calibration_of(c).ef[0];
    assert_true(found < OMEN_EF_DEFAULT);
    fixture_insert(c, rows, 1500, 1500, 250);
    assert_int_equal(ef_used(c, rows, 10, 0), found);
    fixture_insert(c, rows, 3000, 1000, 250);
    assert_int_equal(ef_used(c, rows, 10, 0), OMEN_EF_DEFAULT);
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
}

static void the_background_calibrates_a_collection_that_is_worth_it(void **state)
{
    const struct timespec moment = {.tv_nsec = 2000000};
    const time_t deadline = time(NULL) + 120;
    struct fixture_engine f;
    float *rows;
    omen_collection *c;

    (void)state;
    fixture_calibrate_seconds = 1;
    fixture_open(&f, 2, 0);
    fixture_calibrate_seconds = 0;
    c = make_collection(&f, &rows);
    ask(c, rows, QUERIES, 1);
    while (calibration_of(c).points != ROWS || calibration_of(c).live == 0) {
        assert_true(time(NULL) < deadline);
        (void)nanosleep(&moment, NULL); /* a poll, not a guess: the deadline above decides */
    }
    assert_true(calibration_of(c).recall[0] >= 970000);
    fixture_assert_sound(c);
    assert_int_equal(omen_collection_delete(f.engine, "target", NULL), OMEN_OK);
    omen_collection_release(c);
    fixture_close(&f); /* whatever it was about to do */
    free(rows);
}

/* ---- the record --------------------------------------------------------------------------- */

static omen_code change(const uint32_t *pairs, size_t count)
{
    struct omen_settings_state settings = {.algorithm = 2, .checkpoint_bytes = 4096};
    omen_error err = {0};
    bool tuned = false;

    return omen_settings_change((const uint8_t *)pairs, count * sizeof *pairs, &settings, &tuned,
                                &err);
}

static void a_record_with_half_a_calibration_or_a_wrong_one_is_damage(void **state)
{
    const struct omen_calibration good = {.ef = {40, 200},
                                          .rerank = {20, 100},
                                          .recall = {975000, 1000000},
                                          .target = 970000,
                                          .live = 1,
                                          .queries = 256,
                                          .points = 5000,
                                          .at_s = 1};
    uint32_t pairs[OMEN_SETTINGS_CHANGE_BYTES / sizeof(uint32_t)];
    const struct {
        uint32_t field, value;
    } wrong[] = {{0, 0},       {0, 8193},   {1, 0}, {2, 0}, {2, 41},  {3, 201},
                 {4, 1000001}, {6, 499999}, {7, 2}, {8, 0}, {8, 257}, {9, OMEN_SLOTS_MAX + 1}};

    (void)state;
    assert_int_equal(omen_settings_write_calibration((uint8_t *)pairs, &good),
                     2 * OMEN_CALIBRATION_FIELDS * sizeof *pairs);
    assert_int_equal(change(pairs, 2 * OMEN_CALIBRATION_FIELDS), OMEN_OK);
    for (size_t fields = 1; fields < OMEN_CALIBRATION_FIELDS; fields++)
        assert_int_equal(change(pairs, 2 * fields), OMEN_DATA_LOSS);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        uint32_t kept = pairs[2 * wrong[i].field + 1];

        pairs[2 * wrong[i].field + 1] = wrong[i].value;
        assert_int_equal(change(pairs, 2 * OMEN_CALIBRATION_FIELDS), OMEN_DATA_LOSS);
        pairs[2 * wrong[i].field + 1] = kept;
    }
    const struct omen_tuning tuning = {.target = 990000, .calibration = good};
    uint8_t all[OMEN_SETTINGS_CHANGE_BYTES];
    struct omen_settings_state read = {.algorithm = 2};
    bool tuned = false;
    assert_int_equal(
        omen_settings_change(all, omen_settings_write_tuning(all, &tuning), &read, &tuned, NULL),
        OMEN_OK);
    assert_true(tuned);
    assert_memory_equal(&read.tuning, &tuning, sizeof tuning);
    assert_int_equal(change((const uint32_t[]){OMEN_SETTING_TARGET_RECALL, 999001}, 2),
                     OMEN_DATA_LOSS);
    assert_int_equal(change((const uint32_t[]){9, 1}, 2), OMEN_UNIMPLEMENTED);
    assert_int_equal(
        change((const uint32_t[]){OMEN_SETTING_CALIBRATION + OMEN_CALIBRATION_FIELDS, 1}, 2),
        OMEN_UNIMPLEMENTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smallest_ef_that_meets_the_target_is_chosen),
        cmocka_unit_test(the_ef_of_a_sample_that_varies_has_a_margin),
        cmocka_unit_test(an_ef_that_meets_the_target_is_kept_unless_much_less_would_do),
        cmocka_unit_test(a_target_that_no_ef_reaches_costs_no_more_than_what_helps),
        cmocka_unit_test(re_ranking_is_as_deep_as_it_must_be),
        cmocka_unit_test(old_queries_fade_from_the_sample_and_each_is_in_it_once),
        cmocka_unit_test(
            searches_without_an_ef_meet_the_target_after_a_calibration_on_stored_points),
        cmocka_unit_test(queries_of_another_distribution_raise_ef_until_they_meet_the_target),
        cmocka_unit_test(a_restart_finds_the_calibration_the_target_and_the_graph),
        cmocka_unit_test(a_target_of_its_own_is_in_a_collection_s_first_record),
        cmocka_unit_test(a_collection_that_outgrew_its_calibration_goes_by_the_default_at_least),
        cmocka_unit_test(the_background_calibrates_a_collection_that_is_worth_it),
        cmocka_unit_test(a_record_with_half_a_calibration_or_a_wrong_one_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
