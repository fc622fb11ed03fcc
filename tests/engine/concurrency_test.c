/* concurrency_test.c - writers and readers at once. The target of ThreadSanitizer.
 *
 * Checks are made by the main thread or counted in atomics: cmocka's asserts belong to one thread.
 */
#include "tests/engine/fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROWS 6000u
#else
#define ROWS 30000u
#endif
#define DIM 64u

struct reader {
    omen_collection *collection;
    const float *rows;
    _Atomic uint32_t searchable; /* rows below this must be found */
    _Atomic bool stop;
    _Atomic uint32_t searches, lost, unsorted, ghosts;
};

struct done {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is;
};

static void mark_done(struct omen_search *search)
{
    struct done *done = search->user;

    (void)pthread_mutex_lock(&done->mutex);
    done->is = true;
    (void)pthread_cond_broadcast(&done->changed);
    (void)pthread_mutex_unlock(&done->mutex);
}

/* Searches rows that are acknowledged as searchable, for as long as the writer writes. */
static void *read_main(void *arg)
{
    struct reader *r = arg;
    struct done done = {.is = false};
    uint64_t seed = (uint64_t)(uintptr_t)&done;

    (void)pthread_mutex_init(&done.mutex, NULL);
    (void)pthread_cond_init(&done.changed, NULL);
    while (!atomic_load(&r->stop)) {
        uint32_t searchable = atomic_load(&r->searchable);
        uint32_t row = searchable == 0 ? 0 : (uint32_t)(fixture_random(&seed) % searchable);
        bool exact = fixture_random(&seed) % 16 == 0;
        struct omen_search s = {.collection = r->collection,
                                .queries = r->rows + (size_t)row * DIM,
                                .count = 1,
                                .options = {.k = 10, .ef = 128, .exact = exact},
                                .done = mark_done,
                                .user = &done};
        omen_error err;
        bool found = searchable == 0;

        done.is = false;
        if (omen_search_submit(&s, &err) != OMEN_OK) break;
        (void)pthread_mutex_lock(&done.mutex);
        while (!done.is)
            (void)pthread_cond_wait(&done.changed, &done.mutex);
        (void)pthread_mutex_unlock(&done.mutex);
        for (uint32_t i = 0; i < s.results[0].hit_count; i++) {
            const struct omen_hit *hit = &s.results[0].hits[i];

            found |= hit->id.num == row;
            if (hit->id.num >= ROWS) atomic_fetch_add(&r->ghosts, 1);
            if (i > 0 && hit[-1].distance > hit->distance) atomic_fetch_add(&r->unsorted, 1);
        }
        if (!found) atomic_fetch_add(&r->lost, 1);
        atomic_fetch_add(&r->searches, 1);
        omen_search_deinit(&s);
    }
    (void)pthread_cond_destroy(&done.changed);
    (void)pthread_mutex_destroy(&done.mutex);
    return NULL;
}

/* Every row that a searchable ack covers is found by every search that starts after the ack, while
 * the graph is being rewritten. */
static void acknowledged_rows_are_found_while_others_come_in(void **state)
{
    float *rows = fixture_mixture(21, ROWS, DIM, 100);
    struct reader r = {.rows = rows};
    struct fixture_engine f;
    pthread_t threads[3];

    (void)state;
    fixture_open(&f, 2, 0);
    r.collection = fixture_collection(
        &f, "busy", (struct omen_collection_settings){.dim = DIM, .metric = OMEN_METRIC_L2});
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_main, &r), 0);
    for (uint32_t at = 0; at < ROWS; at += 500) {
        fixture_insert(r.collection, rows, at, 500, 100);
        atomic_store(&r.searchable, at + 500);
    }
    while (atomic_load(&r.searches) < 200)
        ; /* at least so many saw the finished collection or what led to it */
    atomic_store(&r.stop, true);
    for (size_t i = 0; i < 3; i++)
        (void)pthread_join(threads[i], NULL);
    print_message("%u searches beside the writer: %u lost, %u unsorted, %u ghosts\n",
                  atomic_load(&r.searches), atomic_load(&r.lost), atomic_load(&r.unsorted),
                  atomic_load(&r.ghosts));
    assert_int_equal(atomic_load(&r.lost), 0);
    assert_int_equal(atomic_load(&r.unsorted), 0);
    assert_int_equal(atomic_load(&r.ghosts), 0);
    omen_collection_release(r.collection);
    fixture_close(&f);
    free(rows);
}

struct writer {
    omen_collection *collection;
    const float *rows;
    uint32_t first, count;
};

static void *write_main(void *arg)
{
    struct writer *w = arg;

    fixture_insert(w->collection, w->rows, w->first, w->count, 64);
    return NULL;
}

/* Several streams into each of two collections: nothing is lost, nothing lands in the other. */
static void parallel_streams_into_two_collections_keep_apart(void **state)
{
    enum { WRITERS = 6 };
    const uint32_t each = ROWS / 12;
    float *rows = fixture_mixture(22, ROWS, DIM, 100);
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    omen_collection *c[2];
    struct fixture_engine f;

    (void)state;
    fixture_open(&f, 2, 0);
    for (uint32_t i = 0; i < 2; i++)
        c[i] = fixture_collection(
            &f, i == 0 ? "left" : "right",
            (struct omen_collection_settings){.dim = DIM, .metric = OMEN_METRIC_L2});
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){c[i % 2], rows, i * each, each};
        assert_int_equal(pthread_create(&threads[i], NULL, write_main, &writers[i]), 0);
    }
    for (uint32_t i = 0; i < WRITERS; i++)
        (void)pthread_join(threads[i], NULL);
    for (uint32_t i = 0; i < 2; i++) {
        struct omen_collection_info info;

        omen_collection_get_info(c[i], &info);
        assert_int_equal(info.points, each * WRITERS / 2);
    }
    for (uint32_t i = 0; i < WRITERS; i++) {
        struct omen_search s;

        fixture_search(c[i % 2], rows + (size_t)i * each * DIM, 100, 1, 64, &s);
        for (uint32_t q = 0; q < 100; q++)
            assert_true(s.results[q].hits[0].id.num == i * each + q);
        omen_search_deinit(&s);
    }
    omen_collection_release(c[0]);
    omen_collection_release(c[1]);
    fixture_close(&f);
    free(rows);
}

/* Dropping a collection under its writers and readers ends them, and touches nothing freed. */
static void a_collection_can_be_dropped_under_load(void **state)
{
    float *rows = fixture_mixture(23, 4000, DIM, 20);
    struct fixture_engine f;
    omen_error err;

    (void)state;
    fixture_open(&f, 2, 0);
    for (uint32_t round = 0; round < 5; round++) {
        struct reader r = {.rows = rows};
        struct fixture_stream *s;
        struct omen_stream_state end;
        uint64_t ids[50];
        pthread_t thread;

        r.collection = fixture_collection(
            &f, "doomed", (struct omen_collection_settings){.dim = DIM, .metric = OMEN_METRIC_L2});
        fixture_insert(r.collection, rows, 0, 2000, 100);
        atomic_store(&r.searchable, 2000);
        assert_int_equal(pthread_create(&thread, NULL, read_main, &r), 0);
        s = fixture_stream_open(r.collection, NULL);
        for (uint32_t at = 2000; at < 4000; at += 50) {
            for (uint32_t i = 0; i < 50; i++)
                ids[i] = at + i;
            fixture_push(s, ids, rows + (size_t)at * DIM, 50);
        }
        assert_int_equal(omen_collection_delete(f.engine, "doomed", &err), OMEN_OK);
        fixture_wait(s, &end);
        assert_true(end.code == OMEN_NOT_FOUND || end.searchable_seq == end.received_seq);
        fixture_stream_close(s);
        atomic_store(&r.stop, true);
        (void)pthread_join(thread, NULL);
        assert_int_equal(atomic_load(&r.lost), 0);
        omen_collection_release(r.collection);
    }
    fixture_close(&f);
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acknowledged_rows_are_found_while_others_come_in),
        cmocka_unit_test(parallel_streams_into_two_collections_keep_apart),
        cmocka_unit_test(a_collection_can_be_dropped_under_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
