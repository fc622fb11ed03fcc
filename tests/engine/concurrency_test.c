/* concurrency_test.c - writers and readers at once. The target of ThreadSanitizer.
 *
 * Checks are made by the main thread or counted in atomics: cmocka's asserts belong to one thread.
 */
#include "tests/engine/fixture.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROWS         6000u
#define CHURN_ROUNDS 300u
#else
#define ROWS         30000u
#define CHURN_ROUNDS 2000u
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

/* Counts the searches that find fewer than they ask for. */
static void *short_main(void *arg)
{
    struct reader *r = arg;
    struct done done = {.is = false};

    (void)pthread_mutex_init(&done.mutex, NULL);
    (void)pthread_cond_init(&done.changed, NULL);
    while (!atomic_load(&r->stop)) {
        struct omen_search s = {.collection = r->collection,
                                .queries = r->rows,
                                .count = 1,
                                .options = {.k = 10, .ef = 64},
                                .done = mark_done,
                                .user = &done};
        omen_error err;

        done.is = false;
        if (omen_search_submit(&s, &err) != OMEN_OK) break;
        (void)pthread_mutex_lock(&done.mutex);
        while (!done.is)
            (void)pthread_cond_wait(&done.changed, &done.mutex);
        (void)pthread_mutex_unlock(&done.mutex);
        if (s.results[0].hit_count < 10) atomic_fetch_add(&r->lost, 1);
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

/* ---- updates and deletes beside readers ---------------------------------------------------- */

#define LIVE_IDS 400u /* the first half is never deleted, only updated */
#define KEYED    100u /* of the first half, ids that are keys */

struct churn {
    omen_collection *collection;
    _Atomic bool stop;
    _Atomic uint32_t rounds, reads, missing, twice, torn;
};

static struct omen_id churn_id(uint32_t i, char *text)
{
    if (i >= KEYED) return omen_id_num(i);
    (void)snprintf(text, 16, "key-%u", i % 100000);
    return omen_id_key(text, (uint32_t)strlen(text));
}

/* All components but the first are the version, so a mixture of two shows. */
static void churn_vector(uint32_t i, uint32_t version, float *vector)
{
    vector[0] = (float)(i + 1);
    for (uint32_t d = 1; d < DIM; d++)
        vector[d] = 1.0f + (float)(version % 97);
}

static void *churn_write_main(void *arg)
{
    struct churn *ch = arg;
    struct fixture_stream *s = fixture_stream_open_as(
        ch->collection, (struct omen_stream_options){.mode = OMEN_WRITE_UPSERT});
    uint64_t seed = (uint64_t)(uintptr_t)&seed;
    struct omen_stream_state state;

    while (!atomic_load(&ch->stop)) {
        omen_chunk *chunk = fixture_chunk(s, 20);
        uint32_t version = atomic_fetch_add(&ch->rounds, 1);

        for (uint32_t i = 0; i < 20; i++) {
            uint32_t id = (uint32_t)(fixture_random(&seed) % LIVE_IDS);
            float vector[DIM];
            char text[16];

            churn_vector(id, version, vector);
            fixture_chunk_add(chunk, i, churn_id(id, text), vector, DIM, 0);
        }
        for (uint32_t i = 0; i < 5; i++) {
            struct omen_id id = omen_id_num(LIVE_IDS / 2 + fixture_random(&seed) % (LIVE_IDS / 2));

            omen_chunk_delete(chunk, 20 + i, &id);
        }
        fixture_push_chunk(s, chunk);
        fixture_wait(s, &state);
    }
    fixture_stream_close(s);
    return NULL;
}

static void *churn_get_main(void *arg)
{
    struct churn *ch = arg;
    float(*vectors)[DIM] = calloc(LIVE_IDS, sizeof *vectors);
    struct omen_got got[LIVE_IDS];
    struct omen_id ids[LIVE_IDS];
    char texts[LIVE_IDS][16];

    for (uint32_t i = 0; i < LIVE_IDS; i++)
        ids[i] = churn_id(i, texts[i]);
    while (!atomic_load(&ch->stop)) {
        uint64_t position;
        omen_error err;

        if (omen_collection_get_points(ch->collection, ids, LIVE_IDS, got, vectors[0], &position,
                                       &err) != OMEN_OK)
            break;
        for (uint32_t i = 0; i < LIVE_IDS; i++) {
            if (i < LIVE_IDS / 2 && !got[i].found) atomic_fetch_add(&ch->missing, 1);
            if (!got[i].found) continue;
            for (uint32_t d = 2; d < DIM; d++) {
                if (vectors[i][d] != vectors[i][1] || vectors[i][0] != (float)(i + 1)) {
                    atomic_fetch_add(&ch->torn, 1);
                    break;
                }
            }
        }
        atomic_fetch_add(&ch->reads, 1);
    }
    free(vectors);
    return NULL;
}

static void churn_check(struct churn *ch, const struct omen_query_result *result, bool exact)
{
    char text[16];

    for (uint32_t i = 0; i < result->hit_count; i++) {
        for (uint32_t j = 0; j < i; j++) {
            if (omen_id_compare(&result->hits[i].id, &result->hits[j].id) == 0)
                atomic_fetch_add(&ch->twice, 1);
        }
    }
    for (uint32_t id = 0; id < LIVE_IDS / 2 && exact; id++) {
        struct omen_id name = churn_id(id, text);
        bool found = false;

        for (uint32_t i = 0; i < result->hit_count && !found; i++)
            found = omen_id_compare(&result->hits[i].id, &name) == 0;
        if (!found) atomic_fetch_add(&ch->missing, 1);
    }
}

static void *churn_search_main(void *arg)
{
    struct churn *ch = arg;
    struct done done = {.is = false};
    float query[DIM];
    uint32_t n = 0;

    (void)pthread_mutex_init(&done.mutex, NULL);
    (void)pthread_cond_init(&done.changed, NULL);
    while (!atomic_load(&ch->stop)) {
        bool exact = ++n % 2 == 0;
        struct omen_search s = {
            .collection = ch->collection,
            .queries = query,
            .count = 1,
            .options = {.k = exact ? LIVE_IDS : 20, .ef = exact ? 0 : 50, .exact = exact},
            .done = mark_done,
            .user = &done};
        omen_error err;

        churn_vector(n % LIVE_IDS, n, query);
        done.is = false;
        if (omen_search_submit(&s, &err) != OMEN_OK) break;
        (void)pthread_mutex_lock(&done.mutex);
        while (!done.is)
            (void)pthread_cond_wait(&done.changed, &done.mutex);
        (void)pthread_mutex_unlock(&done.mutex);
        churn_check(ch, &s.results[0], exact);
        atomic_fetch_add(&ch->reads, 1);
        omen_search_deinit(&s);
    }
    (void)pthread_cond_destroy(&done.changed);
    (void)pthread_mutex_destroy(&done.mutex);
    return NULL;
}

/* Every answer is of one epoch: an id that is never deleted is always there, once, and whole. */
static void updates_and_deletes_are_atomic_for_those_who_read_beside_them(void **state)
{
    struct churn ch = {.collection = NULL};
    pthread_t threads[5];
    struct fixture_engine f;
    struct fixture_stream *s;
    struct omen_stream_state end;
    struct omen_collection_info info;
    omen_chunk *chunk;

    (void)state;
    fixture_open(&f, 2, 0);
    ch.collection =
        fixture_collection(&f, "c",
                           (struct omen_collection_settings){
                               .dim = DIM, .metric = OMEN_METRIC_L2, .checkpoint_bytes = 4096});
    s = fixture_stream_open_as(ch.collection,
                               (struct omen_stream_options){.mode = OMEN_WRITE_UPSERT});
    chunk = fixture_chunk(s, LIVE_IDS);
    for (uint32_t i = 0; i < LIVE_IDS; i++) {
        float vector[DIM];
        char text[16];

        churn_vector(i, 0, vector);
        fixture_chunk_add(chunk, i, churn_id(i, text), vector, DIM, 0);
    }
    fixture_push_chunk(s, chunk);
    fixture_wait(s, &end);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(pthread_create(&threads[i], NULL,
                                        i < 2   ? churn_write_main
                                        : i < 3 ? churn_get_main
                                                : churn_search_main,
                                        &ch),
                         0);
    while (atomic_load(&ch.rounds) < 2 * CHURN_ROUNDS || atomic_load(&ch.reads) < CHURN_ROUNDS)
        (void)sched_yield();
    atomic_store(&ch.stop, true);
    for (uint32_t i = 0; i < 5; i++)
        (void)pthread_join(threads[i], NULL);
    omen_collection_get_info(ch.collection, &info);
    print_message("%u chunks beside %u reads: %u missing, %u twice, %u torn; %llu slots at most\n",
                  atomic_load(&ch.rounds), atomic_load(&ch.reads), atomic_load(&ch.missing),
                  atomic_load(&ch.twice), atomic_load(&ch.torn),
                  (unsigned long long)info.slots_max);
    assert_int_equal(atomic_load(&ch.missing), 0);
    assert_int_equal(atomic_load(&ch.twice), 0);
    assert_int_equal(atomic_load(&ch.torn), 0);
    assert_true(info.checkpoint_position > 0);
    fixture_stream_close(s);
    fixture_assert_sound(ch.collection);
    omen_collection_release(ch.collection);
    fixture_close(&f);
}

/* Sweeps take pivots out, and the ways to all others are made again: nobody may look meanwhile and
 * find none. */
static void sweeps_never_leave_a_search_short(void **state)
{
    enum { LIVING = 4000, ROUNDS = CHURN_ROUNDS / 20, CHANGED = 400 };
    float *rows = fixture_mixture(22, LIVING + CHANGED, DIM, 60);
    struct reader r = {.rows = rows};
    struct fixture_engine f;
    struct fixture_stream *s;
    struct omen_stream_state at;
    uint64_t seed = 23;
    pthread_t thread;

    (void)state;
    fixture_open(&f, 2, 0);
    r.collection =
        fixture_collection(&f, "swept",
                           (struct omen_collection_settings){
                               .dim = DIM, .metric = OMEN_METRIC_L2, .checkpoint_bytes = 65536});
    fixture_insert(r.collection, rows, 0, LIVING, 500);
    s = fixture_stream_open_as(r.collection,
                               (struct omen_stream_options){.mode = OMEN_WRITE_UPSERT});
    assert_int_equal(pthread_create(&thread, NULL, short_main, &r), 0);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        omen_chunk *chunk = fixture_chunk(s, CHANGED);

        for (uint32_t i = 0; i < CHANGED; i++)
            fixture_chunk_add(chunk, i, omen_id_num(fixture_random(&seed) % LIVING),
                              rows + (size_t)(fixture_random(&seed) % (LIVING + CHANGED)) * DIM,
                              DIM, 0);
        fixture_push_chunk(s, chunk);
        fixture_wait(s, &at);
    }
    atomic_store(&r.stop, true);
    (void)pthread_join(thread, NULL);
    print_message("%u searches, %u of them short\n", atomic_load(&r.searches),
                  atomic_load(&r.lost));
    assert_true(atomic_load(&r.searches) > 100);
    assert_int_equal(atomic_load(&r.lost), 0);
    fixture_stream_close(s);
    fixture_assert_sound(r.collection);
    omen_collection_release(r.collection);
    fixture_close(&f);
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acknowledged_rows_are_found_while_others_come_in),
        cmocka_unit_test(parallel_streams_into_two_collections_keep_apart),
        cmocka_unit_test(a_collection_can_be_dropped_under_load),
        cmocka_unit_test(sweeps_never_leave_a_search_short),
        cmocka_unit_test(updates_and_deletes_are_atomic_for_those_who_read_beside_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
