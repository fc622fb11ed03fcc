/* insert_search_test.c - what a client may rely on: visibility, order, ties, limits, item errors,
 * sessions.
 */
#include "tests/engine/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fixture_engine f;

static int open_engine(void **state)
{
    (void)state;
    fixture_open(&f, 2, 0);
    return 0;
}

static int close_engine(void **state)
{
    (void)state;
    fixture_close(&f);
    return 0;
}

static omen_collection *plain(const char *name, uint32_t dim, omen_metric metric)
{
    return fixture_collection(&f, name,
                              (struct omen_collection_settings){.dim = dim, .metric = metric});
}

static void a_searchable_ack_means_the_next_search_finds_it(void **state)
{
    omen_collection *c = plain("ack", 3, OMEN_METRIC_L2);
    struct fixture_stream *s = fixture_stream_open(c, NULL);
    struct omen_stream_state end;

    (void)state;
    for (uint64_t id = 1; id <= 50; id++) {
        const float v[3] = {(float)id, 1.0f, -1.0f};
        struct omen_search search;

        fixture_push(s, &id, v, 1);
        fixture_wait(s, &end);
        fixture_search(c, v, 1, 1, 0, &search);
        assert_int_equal(search.results[0].hit_count, 1);
        assert_true(search.results[0].hits[0].id.num == id);
        assert_true(search.results[0].hits[0].distance == 0.0f);
        assert_true(search.log_position >= end.log_position);
        omen_search_deinit(&search);
    }
    fixture_stream_close(s);
    omen_collection_release(c);
}

static void an_empty_collection_answers_with_no_hits_and_says_why(void **state)
{
    omen_collection *c = plain("empty", 8, OMEN_METRIC_COSINE);
    const float q[8] = {1};
    struct omen_search search;

    (void)state;
    fixture_search(c, q, 1, 5, 0, &search);
    assert_int_equal(search.results[0].hit_count, 0);
    assert_int_equal(search.results[0].shortfall, OMEN_SHORTFALL_COLLECTION);
    omen_search_deinit(&search);
    omen_collection_release(c);
}

/* The three metrics' numbers, ascending, ties by id. */
static void distances_are_those_of_the_metric_and_ties_go_by_id(void **state)
{
    static const omen_metric metrics[] = {OMEN_METRIC_L2, OMEN_METRIC_COSINE,
                                          OMEN_METRIC_INNER_PRODUCT};
    static const float rows[5][2] = {{3, 4}, {0, 2}, {3, 4}, {-1, 0}, {0, 5}};
    static const float expected[3][5] = {
        {9.0f + 4.0f, 0.0f + 0.0f, 13.0f, 1.0f + 4.0f, 9.0f},
        {0.2f, 0.0f, 0.2f, 1.0f, 0.0f},
        {-8.0f, -4.0f, -8.0f, 0.0f, -10.0f},
    };
    const float q[2] = {0, 2};

    (void)state;
    for (size_t m = 0; m < 3; m++) {
        char name[16];
        omen_collection *c;
        struct omen_search search;

        (void)snprintf(name, sizeof name, "metric%zu", m);
        c = plain(name, 2, metrics[m]);
        fixture_insert(c, &rows[0][0], 0, 5, 2);
        fixture_search(c, q, 1, 10, 0, &search);
        assert_int_equal(search.results[0].hit_count, 5);
        assert_int_equal(search.results[0].shortfall, OMEN_SHORTFALL_COLLECTION);
        for (uint32_t i = 0; i < 5; i++) {
            struct omen_hit hit = search.results[0].hits[i];

            assert_float_equal(hit.distance, expected[m][hit.id.num], 1e-6);
            if (i == 0) continue;
            assert_true(search.results[0].hits[i - 1].distance <= hit.distance);
            if (search.results[0].hits[i - 1].distance == hit.distance)
                assert_true(search.results[0].hits[i - 1].id.num < hit.id.num);
        }
        omen_search_deinit(&search);
        omen_collection_release(c);
    }
}

static void the_walk_agrees_with_the_scan_in_every_metric(void **state)
{
    static const omen_metric metrics[] = {OMEN_METRIC_L2, OMEN_METRIC_COSINE,
                                          OMEN_METRIC_INNER_PRODUCT};

    (void)state;
    for (size_t m = 0; m < 3; m++) {
        float *rows = fixture_mixture(90 + m, 6200, 40, 70);
        double visited = 0;
        char name[16];
        omen_collection *c;

        (void)snprintf(name, sizeof name, "walk%zu", m);
        c = plain(name, 40, metrics[m]);
        fixture_insert(c, rows, 200, 6000, 300);
        assert_true(fixture_recall(c, rows, 200, 10, 64, &visited) >= 0.97);
        assert_true(visited < 6000 * 0.5);
        omen_collection_release(c);
        free(rows);
    }
}

/* Chains, rejections and order of a chunk with all kinds of bad points in it. */
static void bad_points_become_item_errors_and_the_good_ones_go_in(void **state)
{
    omen_collection *c = plain("items", 2, OMEN_METRIC_COSINE);
    struct fixture_stream *s = fixture_stream_open(c, NULL);
    const float v[8][2] = {{1, 0}, {NAN, 0},   {0, 0},      {0, INFINITY},
                           {2, 0}, {1e16f, 0}, {1e-17f, 0}, {0, 1}};
    const uint64_t ids[8] = {10, 11, 12, 13, 10, 15, 16, 17};
    static const enum omen_refusal expected[6] = {OMEN_REFUSED_NOT_FINITE, OMEN_REFUSED_ZERO,
                                                  OMEN_REFUSED_NOT_FINITE, OMEN_REFUSED_EXISTS,
                                                  OMEN_REFUSED_TOO_LARGE,  OMEN_REFUSED_TOO_SMALL};
    static const uint32_t indexes[6] = {1, 2, 3, 4, 5, 6};
    struct omen_item_error errors[8];
    struct omen_stream_state end;
    struct omen_search search;
    uint64_t complete = 0;
    uint32_t seen = 0;

    (void)state;
    fixture_push(s, ids, &v[0][0], 8);
    fixture_wait(s, &end);
    assert_int_equal(omen_stream_take_errors(fixture_stream_get(s), errors, 8, &complete), 6);
    assert_int_equal(complete, 1);
    for (uint32_t want = 0; want < 6; want++) {
        for (uint32_t i = 0; i < 6; i++) {
            omen_error sentence;

            if (errors[i].index != indexes[want]) continue;
            seen++;
            assert_int_equal(errors[i].refusal, expected[want]);
            assert_true(errors[i].num == ids[indexes[want]]);
            assert_true(errors[i].seq == 1);
            assert_int_not_equal(omen_item_error_describe(&errors[i], 2, &sentence), OMEN_OK);
            assert_true(strlen(sentence.message) > 10 && strlen(sentence.reason) > 3);
        }
    }
    assert_int_equal(seen, 6);
    fixture_search(c, v[0], 1, 10, 0, &search);
    assert_int_equal(search.results[0].hit_count, 2);
    assert_true(search.results[0].hits[0].id.num == 10 && search.results[0].hits[1].id.num == 17);
    omen_search_deinit(&search);
    fixture_stream_close(s);
    omen_collection_release(c);
}

/* An id that was there before, among new ones: the new ones' originals are the right ones. */
static void rejected_rows_leave_no_hole_in_the_originals(void **state)
{
    omen_collection *c = plain("holes", 5, OMEN_METRIC_L2);
    float rows[64 * 5];
    uint64_t ids[64];
    uint64_t seed = 6;
    struct fixture_stream *s = fixture_stream_open(c, NULL);
    struct omen_stream_state end;
    struct omen_search search;

    (void)state;
    for (uint32_t i = 0; i < 64 * 5; i++)
        rows[i] = fixture_normal(&seed);
    for (uint64_t i = 0; i < 64; i++)
        ids[i] = i;
    fixture_push(s, ids + 10, rows + 50, 7);
    fixture_push(s, ids + 30, rows + 150, 1);
    fixture_push(s, ids, rows, 64);
    fixture_wait(s, &end);
    fixture_search(c, rows, 64, 1, FIXTURE_EXACT, &search);
    for (uint32_t i = 0; i < 64; i++) {
        assert_true(search.results[i].hits[0].id.num == i);
        assert_true(search.results[i].hits[0].distance == 0.0f);
    }
    omen_search_deinit(&search);
    fixture_stream_close(s);
    omen_collection_release(c);
}

static void a_gap_is_refused_and_an_old_chunk_is_dropped(void **state)
{
    omen_collection *c = plain("gap", 2, OMEN_METRIC_L2);
    struct fixture_stream *s = fixture_stream_open(c, NULL);
    const float v[2] = {1, 2};
    const uint64_t id = 1;
    struct omen_stream_state end;
    omen_chunk *chunk = NULL;
    omen_error err;
    struct omen_collection_info info;

    (void)state;
    fixture_push(s, &id, v, 1);
    assert_int_equal(omen_chunk_create(fixture_stream_get(s), 1, &chunk, &err), OMEN_OK);
    assert_int_equal(omen_stream_push(fixture_stream_get(s), 3, chunk, &err),
                     OMEN_INVALID_ARGUMENT);
    assert_string_equal(err.reason, "SEQUENCE_GAP");
    assert_non_null(strstr(err.message, "the next one is 2"));
    assert_int_equal(omen_chunk_create(fixture_stream_get(s), 1, &chunk, &err), OMEN_OK);
    memcpy(omen_chunk_row(chunk), v, sizeof v);
    omen_chunk_add(chunk, 0, &(struct omen_id){.num = 99}, 0);
    assert_int_equal(omen_stream_push(fixture_stream_get(s), 1, chunk, &err), OMEN_OK);
    fixture_wait(s, &end);
    omen_collection_get_info(c, &info);
    assert_int_equal(info.points, 1);
    fixture_stream_close(s);
    omen_collection_release(c);
}

static void a_session_goes_on_where_the_log_has_it(void **state)
{
    static const uint8_t session[OMEN_SESSION_ID_BYTES] = "resume-session-1";
    omen_collection *c = plain("resume", 2, OMEN_METRIC_L2);
    struct fixture_stream *s = fixture_stream_open(c, session);
    struct omen_stream_state at;

    (void)state;
    for (uint64_t id = 0; id < 5; id++) {
        const float v[2] = {(float)id, 1};

        fixture_push(s, &id, v, 1);
    }
    fixture_wait(s, &at);
    fixture_stream_close(s);
    omen_collection_release(c);
    fixture_reopen(&f, 2, 0, NULL);
    c = fixture_acquire(&f, "resume");
    s = fixture_stream_open(c, session);
    omen_stream_poll(fixture_stream_get(s), &at);
    assert_int_equal(at.next_seq, 6);
    assert_int_equal(at.durable_seq, 5);
    fixture_wait(s, &at);
    assert_int_equal(at.searchable_seq, 5);
    fixture_stream_close(s);
    omen_collection_release(c);
}

static void a_newer_stream_takes_the_session_over(void **state)
{
    static const uint8_t session[OMEN_SESSION_ID_BYTES] = "taken-session-01";
    omen_collection *c = plain("taken", 2, OMEN_METRIC_L2);
    struct fixture_stream *old = fixture_stream_open(c, session);
    struct fixture_stream *new = fixture_stream_open(c, session);
    struct omen_stream_state at;
    omen_chunk *chunk = NULL;
    omen_error err;

    (void)state;
    omen_stream_poll(fixture_stream_get(old), &at);
    assert_int_equal(at.code, OMEN_ABORTED);
    assert_string_equal(at.error.reason, "SESSION_TAKEN");
    assert_int_equal(omen_chunk_create(fixture_stream_get(old), 1, &chunk, &err), OMEN_OK);
    assert_int_equal(omen_stream_push(fixture_stream_get(old), 1, chunk, &err), OMEN_ABORTED);
    omen_stream_poll(fixture_stream_get(new), &at);
    assert_int_equal(at.code, OMEN_OK);
    fixture_stream_close(old);
    fixture_stream_close(new);
    omen_collection_release(c);
}

static void a_chunk_larger_than_a_record_is_refused_with_both_numbers(void **state)
{
    omen_collection *c = plain("large", 1024, OMEN_METRIC_L2);
    struct fixture_stream *s = fixture_stream_open(c, NULL);
    omen_chunk *chunk = NULL;
    omen_error err;
    uint64_t ids[130];

    (void)state;
    for (uint64_t i = 0; i < 130; i++)
        ids[i] = i;
    assert_int_equal(omen_chunk_create(fixture_stream_get(s), 130, &chunk, &err), OMEN_OK);
    memset(omen_chunk_rows(chunk, 130), 0, 130 * 4096);
    omen_chunk_add_many(chunk, 130, 0, ids, 0);
    assert_int_equal(omen_stream_push(fixture_stream_get(s), 1, chunk, &err),
                     OMEN_INVALID_ARGUMENT);
    assert_string_equal(err.reason, "TOO_LARGE");
    assert_non_null(strstr(err.message, "491520"));
    fixture_stream_close(s);
    omen_collection_release(c);
}

static void a_mode_that_is_none_is_refused(void **state)
{
    omen_collection *c = plain("modes", 2, OMEN_METRIC_L2);
    struct omen_stream_options options = {.mode = 4};
    omen_stream *stream = NULL;
    omen_error err;

    (void)state;
    assert_int_equal(omen_stream_open(c, &options, &stream, &err), OMEN_INVALID_ARGUMENT);
    assert_string_equal(err.reason, "BAD_MODE");
    assert_null(stream);
    omen_collection_release(c);
}

static void bad_requests_are_refused_by_name_value_and_limit(void **state)
{
    omen_collection *c = plain("bad", 2, OMEN_METRIC_COSINE);
    const float good[2] = {1, 0};
    struct omen_search s = {.collection = c, .queries = good, .count = 0};
    omen_error err;

    (void)state;
    assert_int_equal(omen_search_submit(&s, &err), OMEN_INVALID_ARGUMENT);
    assert_string_equal(err.reason, "BAD_LIMIT");
    s.count = 1000;
    s.options.k = 2000;
    assert_int_equal(omen_search_submit(&s, &err), OMEN_INVALID_ARGUMENT);
    assert_string_equal(err.reason, "TOO_LARGE");
    assert_non_null(strstr(err.message, "2000000 hits"));
    omen_collection_release(c);
}

/* Asserts that query i was refused, with this reason and these words. */
static void assert_refused(const struct omen_search *s, uint32_t i, const char *reason,
                           const char *words)
{
    omen_error err;

    assert_int_equal(omen_query_describe(&s->results[i], 2, &err), OMEN_INVALID_ARGUMENT);
    assert_string_equal(err.reason, reason);
    if (strstr(err.message, words) == NULL) fail_msg("'%s' has no '%s'", err.message, words);
    assert_int_equal(s->results[i].hit_count, 0);
}

static void search_done(struct omen_search *search)
{
    atomic_store((_Atomic bool *)search->user, true);
}

static void a_bad_query_is_refused_by_itself_and_the_others_are_answered(void **state)
{
    static const float queries[7][2] = {{1, 0}, {0, 0}, {1, NAN}, {1e20f, 1},
                                        {1, 0}, {1, 0}, {0, 1}};
    static const struct omen_query_options each[7] = {
        {.k = 1}, {.k = 1}, {.k = 1}, {.k = 1}, {.k = 10001}, {.k = 1, .ef = 8193}, {.k = 2}};
    omen_collection *c = plain("bad-queries", 2, OMEN_METRIC_COSINE);
    struct omen_search s = {.collection = c, .queries = queries[0], .count = 7, .each = each};
    _Atomic bool done = false;
    omen_error err;

    (void)state;
    fixture_insert(c, (const float[]){1, 0, 0, 1}, 0, 2, 2);
    s.done = search_done;
    s.user = &done;
    assert_int_equal(omen_search_submit(&s, &err), OMEN_OK);
    while (!atomic_load(&done))
        continue;
    assert_int_equal(s.code, OMEN_OK);
    assert_int_equal(s.results[0].refusal, 0);
    assert_int_equal(s.results[0].hit_count, 1);
    assert_true(s.results[0].hits[0].id.num == 0);
    assert_refused(&s, 1, "ZERO_VECTOR", "zero vector");
    assert_refused(&s, 2, "NOT_FINITE", "component 1");
    assert_refused(&s, 3, "OUT_OF_RANGE", "component 0");
    assert_refused(&s, 4, "BAD_LIMIT", "options.k is 10001; it is 1 to 10000");
    assert_refused(&s, 5, "BAD_LIMIT", "options.ef is 8193");
    assert_int_equal(s.results[6].hit_count, 2);
    assert_true(s.results[6].hits[0].id.num == 1);
    omen_search_deinit(&s);
    omen_collection_release(c);
}

/* ef below k is raised to it; k beyond the largest ef is scanned exactly. */
static void k_decides_over_ef(void **state)
{
    float *rows = fixture_mixture(12, 10000, 8, 10);
    omen_collection *c = plain("k", 8, OMEN_METRIC_L2);
    struct omen_search s;

    (void)state;
    fixture_insert(c, rows, 0, 10000, 1000);
    fixture_search(c, rows, 1, 500, 10, &s);
    assert_int_equal(s.results[0].ef, 500);
    assert_int_equal(s.results[0].hit_count, 500);
    omen_search_deinit(&s);
    fixture_search(c, rows, 1, 9000, 10, &s);
    assert_true(s.results[0].exact);
    assert_int_equal(s.results[0].hit_count, 9000);
    omen_search_deinit(&s);
    omen_collection_release(c);
    free(rows);
}

static void collections_are_made_listed_and_dropped_with_their_files(void **state)
{
    struct omen_collection_settings settings = {.dim = 4, .metric = OMEN_METRIC_L2};
    struct omen_collection_info info;
    struct omen_collection_info *list = NULL;
    omen_collection *held;
    struct fixture_stream *s;
    struct omen_stream_state at;
    size_t before = 0;
    size_t count = 0;
    omen_error err;

    (void)state;
    assert_int_equal(omen_collection_list(f.engine, &list, &before, &err), OMEN_OK);
    omen_collection_list_free(list);
    assert_int_equal(omen_collection_create(f.engine, "one", &settings, &info, &err), OMEN_OK);
    assert_int_equal(info.settings.links, OMEN_LINKS_DEFAULT);
    assert_int_equal(omen_collection_create(f.engine, "one", &settings, NULL, &err),
                     OMEN_ALREADY_EXISTS);
    assert_int_equal(omen_collection_create(f.engine, "a b", &settings, NULL, &err),
                     OMEN_INVALID_ARGUMENT);
    settings.dim = OMEN_DIM_MAX + 1;
    assert_int_equal(omen_collection_create(f.engine, "two", &settings, NULL, &err),
                     OMEN_INVALID_ARGUMENT);
    assert_string_equal(err.message, "config.dim is 4097; it is 1 to 4096");
    assert_int_equal(omen_collection_list(f.engine, &list, &count, &err), OMEN_OK);
    assert_int_equal(count, before + 1);
    omen_collection_list_free(list);

    held = fixture_acquire(&f, "one");
    s = fixture_stream_open(held, NULL);
    assert_int_equal(omen_collection_delete(f.engine, "one", &err), OMEN_OK);
    assert_int_equal(omen_collection_delete(f.engine, "one", &err), OMEN_NOT_FOUND);
    omen_stream_poll(fixture_stream_get(s), &at);
    assert_int_equal(at.code, OMEN_NOT_FOUND);
    fixture_stream_close(s);
    omen_collection_release(held);
    fixture_reopen(&f, 2, 0, NULL);
    assert_int_equal(omen_collection_acquire(f.engine, "one", &held, &err), OMEN_NOT_FOUND);
}

static void a_second_engine_cannot_have_the_directory(void **state)
{
    struct omen_engine_options options = {.data_dir = f.dir};
    omen_engine *second = NULL;
    omen_error err;

    (void)state;
    assert_int_equal(omen_engine_open(&options, &second, &err), OMEN_FAILED_PRECONDITION);
    assert_null(second);
    assert_non_null(strstr(err.message, f.dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_searchable_ack_means_the_next_search_finds_it),
        cmocka_unit_test(an_empty_collection_answers_with_no_hits_and_says_why),
        cmocka_unit_test(distances_are_those_of_the_metric_and_ties_go_by_id),
        cmocka_unit_test(the_walk_agrees_with_the_scan_in_every_metric),
        cmocka_unit_test(bad_points_become_item_errors_and_the_good_ones_go_in),
        cmocka_unit_test(rejected_rows_leave_no_hole_in_the_originals),
        cmocka_unit_test(a_gap_is_refused_and_an_old_chunk_is_dropped),
        cmocka_unit_test(a_session_goes_on_where_the_log_has_it),
        cmocka_unit_test(a_newer_stream_takes_the_session_over),
        cmocka_unit_test(a_chunk_larger_than_a_record_is_refused_with_both_numbers),
        cmocka_unit_test(a_mode_that_is_none_is_refused),
        cmocka_unit_test(bad_requests_are_refused_by_name_value_and_limit),
        cmocka_unit_test(a_bad_query_is_refused_by_itself_and_the_others_are_answered),
        cmocka_unit_test(k_decides_over_ef),
        cmocka_unit_test(collections_are_made_listed_and_dropped_with_their_files),
        cmocka_unit_test(a_second_engine_cannot_have_the_directory),
    };

    return cmocka_run_group_tests(tests, open_engine, close_engine);
}
