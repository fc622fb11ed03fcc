/* originals_damage_test.c - bits that flip in the file of originals, under a server that is down or
 * up: found, named, and never served.
 */
#include "tests/engine/fixture.h"

#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/collection.h"
#include "engine/storage_memory.h"

#define DIM    16u /* 64 bytes: a row has no padding, which no hash is of */
#define POINTS 1500u
#define ROW    (DIM * sizeof(float))
#define PAGE   4096u

struct world {
    struct omen_storage *storage;
    struct fixture_engine f;
    omen_collection *c;
    float *rows;
    char dir[700];
    sem_t passed; /* once for each pass of the scrubber */
    pthread_mutex_t mutex;
    char told[4096]; /* under the mutex: searches and the scrubber tell */
};

static void on_event(void *user, enum omen_event_level level, const char *message)
{
    struct world *w = user;
    size_t used;

    (void)pthread_mutex_lock(&w->mutex);
    used = strlen(w->told);
    if (level == OMEN_EVENT_ERROR)
        (void)snprintf(w->told + used, sizeof w->told - used, "%s\n", message);
    (void)pthread_mutex_unlock(&w->mutex);
    if (level != OMEN_EVENT_ERROR && strstr(message, "compared with their hashes") != NULL)
        (void)sem_post(&w->passed);
}

static bool was_told(struct world *w, const char *text)
{
    bool told;

    (void)pthread_mutex_lock(&w->mutex);
    told = strstr(w->told, text) != NULL;
    (void)pthread_mutex_unlock(&w->mutex);
    return told;
}

static void start(struct world *w, uint32_t scrub_mib)
{
    const struct omen_engine_options options = {.data_dir = w->f.dir,
                                                .ingest_threads = 1,
                                                .search_threads = 2,
                                                .storage = w->storage,
                                                .scrub_mib = scrub_mib,
                                                .event = on_event,
                                                .event_user = w,
                                                .replay_ms_max = OMEN_REPLAY_MS_OFF};
    omen_error err;

    w->told[0] = '\0';
    if (omen_engine_open(&options, &w->f.engine, &err) != OMEN_OK) fail_msg("%s", err.message);
}

static void stop(struct world *w)
{
    omen_collection_release(w->c);
    omen_engine_close(w->f.engine);
    w->c = NULL;
    w->f.engine = NULL;
}

static void restart(struct world *w, uint32_t scrub_mib)
{
    start(w, scrub_mib);
    w->c = fixture_acquire(&w->f, "rows");
}

/* Points and a checkpoint, and it is down. */
static void set_up(struct world *w, uint32_t halves)
{
    const struct omen_collection_settings settings = {
        .dim = DIM, .metric = OMEN_METRIC_L2, .originals = halves};
    omen_error err;

    *w = (struct world){.storage = NULL};
    (void)sem_init(&w->passed, 0, 0);
    (void)pthread_mutex_init(&w->mutex, NULL);
    (void)snprintf(w->f.dir, sizeof w->f.dir, "/tmp/omen-test-XXXXXX");
    assert_non_null(mkdtemp(w->f.dir));
    assert_int_equal(omen_storage_memory_create(9, &w->storage, &err), OMEN_OK);
    w->rows = fixture_mixture(6, POINTS, DIM, 20);
    start(w, 0);
    w->c = fixture_collection(&w->f, "rows", settings);
    fixture_insert(w->c, w->rows, 0, POINTS, DIM);
    assert_int_equal(omen_collection_checkpoint(w->c, &err), OMEN_OK);
    (void)snprintf(w->dir, sizeof w->dir, "%s", w->c->dir);
    stop(w);
}

static void tear_down(struct world *w)
{
    if (w->c != NULL) stop(w);
    fixture_close(&w->f);
    omen_storage_memory_destroy(w->storage);
    (void)sem_destroy(&w->passed);
    free(w->rows);
}

static void flip(struct world *w, const char *name, size_t where, unsigned bit)
{
    size_t size = 0;
    unsigned char *bytes = omen_storage_memory_bytes(w->storage, w->dir, name, &size);

    assert_non_null(bytes);
    assert_true(where < size);
    bytes[where] ^= (unsigned char)(1u << bit);
}

static omen_code get(struct world *w, uint32_t point, bool *found, float *vector, omen_error *err)
{
    const struct omen_id id = omen_id_num(point);
    struct omen_got got;
    uint64_t position;
    const omen_code code = omen_collection_get_points(w->c, &id, 1, &got, vector, &position, err);

    *found = got.found;
    return code;
}

/* Is the point the nearest to its own vector? */
static bool is_found(struct world *w, uint32_t point, bool exact)
{
    struct omen_search search;
    bool found = false;

    fixture_search(w->c, w->rows + (size_t)point * DIM, 1, 3, exact ? FIXTURE_EXACT : 64, &search);
    assert_int_equal(search.results[0].hit_count, 3);
    for (uint32_t i = 0; i < 3; i++)
        found = found || search.results[0].hits[i].id.num == point;
    omen_search_deinit(&search);
    return found;
}

/* Found by the one that touches the row first, each in its turn; the other one, then, too. */
static void expect_not_served(struct world *w, uint32_t point, uint32_t turn)
{
    const uint32_t neighbour = point == 0 ? 1 : point - 1;
    omen_error err = {0};
    char place[64];
    float vector[DIM];
    bool found;

    for (uint32_t i = 0; i < 3; i++) {
        const uint32_t way = (turn + i) % 3;

        if (way == 0) {
            assert_int_equal(get(w, point, &found, vector, &err), OMEN_DATA_LOSS);
            (void)snprintf(place, sizeof place, "slot %u, offset %zu of originals.f32", point,
                           point * ROW);
            if (strstr(err.message, place) == NULL) fail_msg("%s", err.message);
        } else {
            assert_false(is_found(w, point, way == 1));
        }
        (void)snprintf(place, sizeof place, "originals.f32 is damaged at offset %zu", point * ROW);
        if (!was_told(w, place)) fail_msg("way %u: '%s'", way, w->told);
    }
    assert_int_equal(get(w, neighbour, &found, vector, &err), OMEN_OK);
    assert_memory_equal(vector, w->rows + (size_t)neighbour * DIM, sizeof vector);
    assert_true(is_found(w, neighbour, false) && is_found(w, neighbour, true));
}

static void a_flipped_bit_in_any_page_of_the_originals_is_named_and_never_served(void **state)
{
    uint64_t random = 3;
    uint32_t flips = 0;
    struct world w;

    (void)state;
    set_up(&w, 0);
    for (size_t at = 0; at + PAGE / 2 <= POINTS * ROW; at += PAGE / 2, flips++) {
        const size_t where = at + fixture_random(&random) % (PAGE / 2);
        const unsigned bit = (unsigned)(fixture_random(&random) % 8);
        struct omen_collection_info info;

        flip(&w, "originals.f32", where, bit);
        restart(&w, 0);
        expect_not_served(&w, (uint32_t)(where / ROW), flips);
        omen_collection_get_info(w.c, &info);
        assert_int_equal(info.vectors_damaged, 1);
        stop(&w);
        flip(&w, "originals.f32", where, bit);
    }
    restart(&w, 0);
    assert_true(is_found(&w, 7, false));
    assert_string_equal(w.told, "");
    assert_true(flips > 40);
    tear_down(&w);
}

static void wait_for_pass(struct world *w)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    assert_int_equal(sem_timedwait(&w->passed, &until), 0);
}

/* Beside searches, which meet the same rows. */
static void the_scrubber_finds_what_nobody_touches(void **state)
{
    const uint32_t damaged[] = {3, 700, POINTS - 1};
    struct omen_collection_info info;
    struct world w;
    char place[64];

    (void)state;
    set_up(&w, 0);
    for (uint32_t i = 0; i < 3; i++)
        flip(&w, "originals.f32", damaged[i] * ROW + 5, i);
    restart(&w, 1024);
    for (uint32_t i = 0; i < 50; i++)
        assert_true(is_found(&w, 100 + i, i % 2 == 0));
    wait_for_pass(&w);
    omen_collection_get_info(w.c, &info);
    assert_int_equal(info.vectors_damaged, 3);
    assert_int_equal(info.vectors_unchecked, 3); /* those, and no other */
    assert_true(info.vectors_checked >= POINTS);
    for (uint32_t i = 0; i < 3; i++) {
        (void)snprintf(place, sizeof place, "point %u, slot %u,", damaged[i], damaged[i]);
        assert_true(was_told(&w, place));
        assert_false(is_found(&w, damaged[i], true) || is_found(&w, damaged[i], false));
    }
    tear_down(&w);
}

static void upsert(struct world *w, uint32_t point, const float *vector)
{
    const struct omen_stream_options options = {.mode = OMEN_WRITE_UPSERT, .sessionless = true};
    struct fixture_stream *s = fixture_stream_open_as(w->c, options);
    omen_chunk *chunk = fixture_chunk(s, 1);
    struct omen_stream_state done;

    fixture_chunk_add(chunk, 0, omen_id_num(point), vector, DIM, 0);
    fixture_push_chunk(s, chunk);
    fixture_wait(s, &done);
    fixture_stream_close(s);
    assert_int_equal(done.code, OMEN_OK);
}

/* Also with what was there, which changes nothing else; then it is whole on the disk, too. */
static void a_damaged_point_that_is_written_again_is_whole(void **state)
{
    struct omen_collection_info info;
    omen_error err;
    float vector[DIM];
    bool found;
    struct world w;

    (void)state;
    set_up(&w, 0);
    flip(&w, "originals.f32", 70 * ROW, 1);
    restart(&w, 0);
    assert_int_equal(get(&w, 70, &found, vector, &err), OMEN_DATA_LOSS);
    upsert(&w, 70, w.rows + 70 * DIM);
    assert_int_equal(get(&w, 70, &found, vector, &err), OMEN_OK);
    assert_memory_equal(vector, w.rows + 70 * DIM, sizeof vector);
    assert_true(is_found(&w, 70, false) && is_found(&w, 70, true));
    omen_collection_get_info(w.c, &info);
    assert_int_equal(info.vectors_damaged, 0);
    assert_int_equal(omen_collection_checkpoint(w.c, &err), OMEN_OK);
    stop(&w);
    flip(&w, "originals.f32", 71 * ROW, 1);
    restart(&w, 0);
    assert_int_equal(get(&w, 70, &found, vector, &err), OMEN_OK);
    assert_int_equal(get(&w, 71, &found, vector, &err), OMEN_DATA_LOSS);
    w.rows[71 * DIM] += 50.0f;
    upsert(&w, 71, w.rows + 71 * DIM);
    assert_int_equal(get(&w, 71, &found, vector, &err), OMEN_OK);
    assert_true(is_found(&w, 71, false) && is_found(&w, 71, true));
    /* The old row goes when the second checkpoint erases it, and with it the damage. */
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(omen_collection_checkpoint(w.c, &err), OMEN_OK);
    omen_collection_get_info(w.c, &info);
    assert_int_equal(info.vectors_damaged, 0);
    tear_down(&w);
}

static void a_flipped_bit_of_a_half_is_found_too(void **state)
{
    struct omen_collection_info info;
    omen_error err;
    float vector[DIM];
    bool found;
    struct world w;

    (void)state;
    set_up(&w, OMEN_ORIGINALS_F16);
    flip(&w, "originals.f16", 20 * 64 + 9, 2);
    restart(&w, 1024);
    wait_for_pass(&w);
    omen_collection_get_info(w.c, &info);
    assert_int_equal(info.vectors_damaged, 1);
    assert_true(was_told(&w, "originals.f16 is damaged at offset 1280"));
    assert_int_equal(get(&w, 20, &found, vector, &err), OMEN_DATA_LOSS);
    assert_int_equal(get(&w, 21, &found, vector, &err), OMEN_OK);
    assert_false(is_found(&w, 20, true) || is_found(&w, 20, false));
    tear_down(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flipped_bit_in_any_page_of_the_originals_is_named_and_never_served),
        cmocka_unit_test(the_scrubber_finds_what_nobody_touches),
        cmocka_unit_test(a_damaged_point_that_is_written_again_is_whole),
        cmocka_unit_test(a_flipped_bit_of_a_half_is_found_too),
    };

    return cmocka_run_group_tests_name("damaged originals", tests, NULL, NULL);
}
