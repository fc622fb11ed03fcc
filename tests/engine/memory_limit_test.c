/* memory_limit_test.c - at the memory limit points are refused before they are logged, with
 * figures; searches and deletes go on, and what was deleted makes room again.
 */
#include "tests/engine/fixture.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIM   16u
#define PIECE 100u
#define MIB   (UINT64_C(1) << 20)

static void open_limited(struct fixture_engine *f, uint64_t limit)
{
    struct omen_engine_options options = {.ingest_threads = 2,
                                          .search_threads = 1,
                                          .memory_limit = limit,
                                          .replay_ms_max = OMEN_REPLAY_MS_OFF};
    omen_error err = {0};

    if (f->dir[0] == '\0') {
        (void)snprintf(f->dir, sizeof f->dir, "/tmp/omen-test-XXXXXX");
        assert_non_null(mkdtemp(f->dir));
    }
    options.data_dir = f->dir;
    if (omen_engine_open(&options, &f->engine, &err) != OMEN_OK) fail_msg("open: %s", err.message);
}

static uint64_t used(struct fixture_engine *f)
{
    struct omen_memory_info info;

    omen_engine_get_memory(f->engine, &info);
    return info.used;
}

/* PIECE points with ids from `first` on; waits until they are searchable. */
static omen_code push(struct fixture_stream *s, uint64_t *seq, uint64_t first, const float *rows,
                      omen_error *err)
{
    struct omen_stream_state state;
    omen_chunk *chunk = NULL;
    uint64_t ids[PIECE];

    for (uint32_t i = 0; i < PIECE; i++)
        ids[i] = first + i;
    assert_int_equal(omen_chunk_create(fixture_stream_get(s), PIECE, &chunk, err), OMEN_OK);
    memcpy(omen_chunk_rows(chunk, PIECE), rows, sizeof(float) * PIECE * DIM);
    omen_chunk_add_many(chunk, PIECE, 0, ids, 0);
    const omen_code code = omen_stream_push(fixture_stream_get(s), *seq + 1, chunk, err);
    if (code != OMEN_OK) return code;
    ++*seq;
    fixture_wait(s, &state);
    assert_int_equal(state.code, OMEN_OK);
    return OMEN_OK;
}

static void delete_some(struct fixture_stream *s, uint64_t *seq, uint64_t first, uint32_t count)
{
    struct omen_stream_state state;
    omen_chunk *chunk = fixture_chunk(s, 0);
    omen_error err;

    for (uint32_t i = 0; i < count; i++) {
        const struct omen_id id = omen_id_num(first + i);
        omen_chunk_delete(chunk, i, &id);
    }
    assert_int_equal(omen_stream_push(fixture_stream_get(s), ++*seq, chunk, &err), OMEN_OK);
    fixture_wait(s, &state);
    assert_int_equal(state.code, OMEN_OK);
}

static void expect_limit(omen_code code, const omen_error *err, uint64_t limit)
{
    if (code != OMEN_RESOURCE_EXHAUSTED || strcmp(err->reason, "MEMORY_LIMIT") != 0)
        fail_msg("code %d, reason '%s': %s", (int)code, err->reason, err->message);
    assert_true(err->figures.used <= limit);
    assert_int_equal(err->figures.limit, limit);
    assert_true(err->figures.used + err->figures.needed > limit);
    assert_true(err->retry_ms > 0);
}

/* Returns how many points there are then. */
static uint64_t fill(struct fixture_engine *f, struct fixture_stream *s, uint64_t *seq,
                     const float *rows, uint64_t limit)
{
    uint64_t count = 0;
    omen_error err;
    omen_code code;

    do {
        code = push(s, seq, count, rows + count * DIM, &err);
        if (code == OMEN_OK) count += PIECE;
        assert_true(used(f) <= limit);
    } while (code == OMEN_OK);
    expect_limit(code, &err, limit);
    return count;
}

static void points_beyond_the_limit_are_refused_and_deletes_make_room(void **state)
{
    const uint64_t limit = 4 * MIB;
    float *rows = fixture_mixture(1, 10000, DIM, 10);
    struct omen_stream_options options = {.mode = OMEN_WRITE_UPSERT};
    struct fixture_engine f = {.engine = NULL};
    struct omen_collection_info info;
    struct omen_search found;
    uint64_t seq = 0;
    omen_error err;

    (void)state;
    open_limited(&f, limit);
    omen_collection *c = fixture_collection(
        &f, "limited", (struct omen_collection_settings){.dim = DIM, .metric = OMEN_METRIC_L2});
    struct fixture_stream *s = fixture_stream_open_as(c, options);
    const uint64_t count = fill(&f, s, &seq, rows, limit);
    assert_in_range(count, 2000, 9000);

    /* The stream is alive, searches go on, a version anew needs a slot, too. */
    fixture_search(c, rows, 1, 1, 32, &found);
    assert_int_equal(found.results[0].hits[0].id.num, 0);
    omen_search_deinit(&found);
    expect_limit(push(s, &seq, 0, rows + PIECE * DIM, &err), &err, limit);
    fixture_stream_close(fixture_stream_open(c, NULL));

    /* Nobody writes enough for a checkpoint record: it comes because room is wanted. */
    delete_some(s, &seq, 0, 5 * PIECE);
    while (push(s, &seq, 0, rows, &err) != OMEN_OK) {
        expect_limit(OMEN_RESOURCE_EXHAUSTED, &err, limit);
        (void)sched_yield();
    }
    for (uint32_t i = 1; i < 5; i++)
        assert_int_equal(push(s, &seq, i * PIECE, rows + (size_t)i * PIECE * DIM, &err), OMEN_OK);
    expect_limit(push(s, &seq, count, rows, &err), &err, limit);
    omen_collection_get_info(c, &info);
    assert_int_equal(info.points, count);
    assert_true(info.slots_max <= count);
    fixture_assert_sound(c);
    fixture_stream_close(s);
    omen_collection_release(c);
    omen_engine_close(f.engine);

    /* What was acknowledged is loaded, whatever the limit. */
    open_limited(&f, MIB);
    c = fixture_acquire(&f, "limited");
    omen_collection_get_info(c, &info);
    assert_int_equal(info.points, count);
    assert_true(used(&f) > MIB);
    s = fixture_stream_open_as(c, options);
    seq = 0;
    assert_int_equal(push(s, &seq, count, rows, &err), OMEN_RESOURCE_EXHAUSTED);
    assert_string_equal(err.reason, "MEMORY_LIMIT");
    delete_some(s, &seq, 0, PIECE);
    fixture_stream_close(s);
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
}

/* Two servers that hold the same log reckon the same; and what a dropped collection had is free. */
static void the_limit_is_a_function_of_the_log(void **state)
{
    const uint64_t limit = 3 * MIB;
    float *rows = fixture_mixture(2, 10000, DIM, 10);
    struct fixture_engine f[2] = {{.engine = NULL}, {.engine = NULL}};
    uint64_t counts[2];
    uint64_t bytes[2];
    omen_error err;

    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t seq = 0;

        open_limited(&f[i], limit);
        const uint64_t before = used(&f[i]);
        omen_collection *c = fixture_collection(
            &f[i], "a", (struct omen_collection_settings){.dim = DIM, .metric = OMEN_METRIC_L2});
        struct fixture_stream *s = fixture_stream_open(c, NULL);
        counts[i] = fill(&f[i], s, &seq, rows, limit);
        bytes[i] = used(&f[i]);
        fixture_stream_close(s);
        omen_collection_release(c);
        if (i == 0) { /* the other one is that with a past */
            omen_engine_close(f[i].engine);
            open_limited(&f[i], limit);
            assert_int_equal(used(&f[i]), bytes[i]);
        }
        assert_int_equal(omen_collection_delete(f[i].engine, "a", &err), OMEN_OK);
        while (used(&f[i]) != before)
            (void)sched_yield();
        fixture_close(&f[i]);
    }
    assert_int_equal(counts[0], counts[1]);
    assert_int_equal(bytes[0], bytes[1]);
    free(rows);
}

static void an_estimate_is_the_sum_of_its_parts_and_grows(void **state)
{
    const struct omen_collection_settings settings = {.dim = 384, .metric = OMEN_METRIC_COSINE};
    struct omen_collection_settings bad = settings;
    struct omen_estimate e, before = {0};
    omen_error err;

    (void)state;
    for (uint64_t points = 0; points <= OMEN_SLOTS_MAX; points = points == 0 ? 1 : points * 4) {
        assert_int_equal(omen_estimate(&settings, points, points / 2, &e, &err), OMEN_OK);
        assert_int_equal(e.memory, e.codes + e.rows + e.ids + e.tables + e.cells + e.fixed);
        assert_true(e.memory >= before.memory && e.log >= before.log);
        assert_int_equal(e.originals, points * 384 * 4);
        assert_true(e.log >= points * (384 * 4 + 8) && e.log < points * (384 * 4 + 64) + 4096);
        before = e;
    }
    assert_int_equal(omen_estimate(&settings, (uint64_t)OMEN_SLOTS_MAX + 1, 0, &e, &err),
                     OMEN_INVALID_ARGUMENT);
    assert_int_equal(omen_estimate(&settings, 10, 11, &e, &err), OMEN_INVALID_ARGUMENT);
    bad.originals = OMEN_ORIGINALS_F16;
    assert_int_equal(omen_estimate(&bad, 1000, 0, &e, &err), OMEN_OK);
    assert_int_equal(e.originals, 1000 * 384 * 2);
    bad.dim = 0;
    assert_int_equal(omen_estimate(&bad, 10, 0, &e, &err), OMEN_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(points_beyond_the_limit_are_refused_and_deletes_make_room),
        cmocka_unit_test(the_limit_is_a_function_of_the_log),
        cmocka_unit_test(an_estimate_is_the_sum_of_its_parts_and_grows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
