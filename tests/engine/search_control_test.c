/* search_control_test.c - searches that wait, end early, mix options, and outlive what they
 * found. */
#include "tests/engine/fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/collection.h"

#define DIM  32u
#define ROWS 4000u

struct done {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is;
};

static struct fixture_engine f;
static omen_collection *c;
static float *rows;
static struct done done = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};

static void mark_done(struct omen_search *search)
{
    struct done *d = search->user;

    (void)pthread_mutex_lock(&d->mutex);
    d->is = true;
    (void)pthread_cond_broadcast(&d->changed);
    (void)pthread_mutex_unlock(&d->mutex);
}

static void submit(struct omen_search *s)
{
    omen_error err = {0};

    done.is = false;
    s->collection = c;
    s->done = mark_done;
    s->user = &done;
    if (omen_search_submit(s, &err) != OMEN_OK) fail_msg("%s", err.message);
}

static bool is_done(void)
{
    bool is;

    (void)pthread_mutex_lock(&done.mutex);
    is = done.is;
    (void)pthread_mutex_unlock(&done.mutex);
    return is;
}

static void wait_done(void)
{
    (void)pthread_mutex_lock(&done.mutex);
    while (!done.is)
        (void)pthread_cond_wait(&done.changed, &done.mutex);
    (void)pthread_mutex_unlock(&done.mutex);
}

static uint64_t in_ns(uint64_t ns)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec + ns;
}

static int build(void **state)
{
    (void)state;
    rows = fixture_mixture(31, ROWS + 10, DIM, 20);
    fixture_open(&f, 2, 0);
    c = fixture_collection(&f, "c",
                           (struct omen_collection_settings){
                               .dim = DIM, .metric = OMEN_METRIC_L2, .checkpoint_bytes = 4096});
    fixture_insert(c, rows, 0, ROWS, 200);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
    return 0;
}

static uint64_t position_now(void)
{
    struct omen_collection_info info;

    fixture_assert_sound(c); /* at rest */
    omen_collection_get_info(c, &info);
    return info.searchable_position;
}

static void a_search_waits_for_its_position_and_sees_it(void **state)
{
    struct omen_search s = {.queries = rows + (size_t)ROWS * DIM,
                            .count = 1,
                            .options = {.k = 1},
                            .min_position = position_now() + 2}; /* an OPEN and a CHUNK at least */

    (void)state;
    submit(&s);
    assert_false(is_done());
    fixture_insert(c, rows, ROWS, 1, 1);
    wait_done();
    assert_int_equal(s.code, OMEN_OK);
    assert_true(s.log_position >= s.min_position);
    assert_int_equal(s.results[0].hits[0].id.num, ROWS);
    omen_search_deinit(&s);
}

static void a_search_that_waits_ends_by_its_deadline_or_when_it_is_cancelled(void **state)
{
    struct omen_search s = {.queries = rows,
                            .count = 1,
                            .options = {.k = 1},
                            .min_position = UINT64_MAX,
                            .deadline_ns = in_ns(30000000)};
    struct omen_search other = {
        .queries = rows, .count = 1, .options = {.k = 1}, .min_position = UINT64_MAX};

    (void)state;
    submit(&s);
    wait_done();
    assert_int_equal(s.code, OMEN_DEADLINE_EXCEEDED);
    assert_true(in_ns(0) >= s.deadline_ns);
    omen_search_deinit(&s);
    submit(&other);
    assert_false(is_done());
    omen_search_cancel(&other);
    wait_done();
    assert_int_equal(other.code, OMEN_CANCELLED);
    omen_search_deinit(&other);
}

/* 1,024 exact queries would take long; both kinds of end come far earlier, and say so. */
static void a_running_search_ends_early(void **state)
{
    float *queries = fixture_mixture(32, OMEN_SEARCH_QUERIES_MAX, DIM, 20);
    struct omen_search s = {.queries = queries,
                            .count = OMEN_SEARCH_QUERIES_MAX,
                            .options = {.k = 10, .exact = true},
                            .deadline_ns = in_ns(1)};
    struct omen_search other = {
        .queries = queries, .count = OMEN_SEARCH_QUERIES_MAX, .options = {.k = 10, .exact = true}};

    (void)state;
    submit(&s);
    wait_done();
    assert_int_equal(s.code, OMEN_DEADLINE_EXCEEDED);
    omen_search_deinit(&s);
    submit(&other);
    omen_search_cancel(&other);
    wait_done();
    assert_int_equal(other.code, OMEN_CANCELLED);
    omen_search_deinit(&other);
    free(queries);
}

static void each_query_of_a_batch_has_its_own_options(void **state)
{
    enum { COUNT = 100 };
    struct omen_query_options each[COUNT];
    struct omen_search s = {.queries = rows, .count = COUNT, .each = each};

    (void)state;
    for (uint32_t i = 0; i < COUNT; i++) {
        each[i] = (struct omen_query_options){.k = 1 + i % 7, .ef = 64, .exact = i % 3 == 1};
        if (i % 11 == 5) each[i].k = OMEN_K_MAX + 1;
        if (i % 11 == 6) each[i].ef = OMEN_EF_MAX + 1;
        if (i % 11 == 7) each[i].refusal = OMEN_REFUSED_DIMENSION;
    }
    submit(&s);
    wait_done();
    assert_int_equal(s.code, OMEN_OK);
    for (uint32_t i = 0; i < COUNT; i++) {
        const struct omen_query_result *r = &s.results[i];

        if (i % 11 >= 5 && i % 11 <= 7) {
            assert_int_equal(r->refusal, i % 11 == 5   ? OMEN_REFUSED_K
                                         : i % 11 == 6 ? OMEN_REFUSED_EF
                                                       : OMEN_REFUSED_DIMENSION);
            assert_int_equal(r->hit_count, 0);
            continue;
        }
        assert_int_equal(r->refusal, 0);
        assert_int_equal(r->exact, i % 3 == 1);
        assert_int_equal(r->hit_count, 1 + i % 7);
        assert_int_equal(r->hits[0].id.num, i);
    }
    omen_search_deinit(&s);
}

/* The search holds its pin, so what it found is not used again, however much is written. */
static void the_keys_of_hits_stay_while_their_points_are_deleted(void **state)
{
    enum { KEYS = 50 };
    struct fixture_stream *s =
        fixture_stream_open_as(c, (struct omen_stream_options){.mode = OMEN_WRITE_UPSERT});
    float vectors[KEYS][DIM];
    char texts[KEYS][24];
    struct omen_stream_state end;
    struct omen_search search = {
        .queries = vectors[0], .count = KEYS, .options = {.k = 1, .exact = true}};
    omen_chunk *chunk = fixture_chunk(s, KEYS);

    (void)state;
    for (uint32_t i = 0; i < KEYS; i++) {
        memset(vectors[i], 0, sizeof vectors[i]);
        vectors[i][i % DIM] = 1000.0f + (float)i;
        (void)snprintf(texts[i], sizeof texts[i], "a key of some length %u", i % 100);
        fixture_chunk_add(chunk, i, omen_id_key(texts[i], (uint32_t)strlen(texts[i])), vectors[i],
                          DIM, 0);
    }
    fixture_push_chunk(s, chunk);
    fixture_wait(s, &end);
    submit(&search);
    wait_done();
    for (uint32_t round = 0; round < 40; round++) {
        chunk = fixture_chunk(s, 40);
        for (uint32_t i = 0; i < 40; i++)
            fixture_chunk_add(chunk, i, omen_id_num(100000 + i), rows + (size_t)(i + round) * DIM,
                              DIM, 0);
        for (uint32_t i = 0; i < KEYS; i++) {
            struct omen_id id = omen_id_key(texts[i], (uint32_t)strlen(texts[i]));

            omen_chunk_delete(chunk, 40 + i, &id);
        }
        fixture_push_chunk(s, chunk);
        fixture_wait(s, &end);
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        const struct omen_id *id = &search.results[i].hits[0].id;

        assert_int_equal(id->key_bytes, strlen(texts[i]));
        assert_memory_equal(id->key, texts[i], id->key_bytes);
    }
    omen_search_deinit(&search);
    fixture_stream_close(s);
    fixture_assert_sound(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_search_waits_for_its_position_and_sees_it),
        cmocka_unit_test(a_search_that_waits_ends_by_its_deadline_or_when_it_is_cancelled),
        cmocka_unit_test(a_running_search_ends_early),
        cmocka_unit_test(each_query_of_a_batch_has_its_own_options),
        cmocka_unit_test(the_keys_of_hits_stay_while_their_points_are_deleted),
    };

    return cmocka_run_group_tests(tests, build, tear_down);
}
