/* property_test.c - thousands of seeded write sequences give the same reads as a naive model,
 * before and after a restart.
 *
 * A sequence writes chunks of random mode into a small collection whose epochs and checkpoints are
 * tiny, so that tombstones, sweeps, slots that are used again and nodes whose head died all come
 * up. The model is an array. Vectors come from a small set, so there are many duplicates.
 */
#include "tests/engine/fixture.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

#define DIM       5u
#define IDS       30u /* half numbers, half keys of the same digits */
#define VECTORS   24u
#define QUERIES   3u
#define SEQUENCES 40u /* in one engine's life; each is a collection */

/* What a collection should hold. */
struct model {
    bool there[IDS];
    float vectors[IDS][DIM];
    omen_metric metric;
    uint64_t hash;
};

static float set[VECTORS][DIM];
static struct omen_kernels kernels;

static uint32_t lives_of_test(void)
{
    const char *wanted = getenv("OMEN_TEST_LONG");
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    const uint32_t usual = 10;
#else
    const uint32_t usual = 50;
#endif

    return wanted != NULL && strcmp(wanted, "1") == 0 ? 250 : usual;
}

static struct omen_id id_of(uint32_t i)
{
    static char texts[IDS][12];

    if (i < IDS / 2) return omen_id_num(i);
    (void)snprintf(texts[i], sizeof texts[i], "%u", i - IDS / 2);
    return omen_id_key(texts[i], (uint32_t)strlen(texts[i]));
}

static uint32_t pick(uint64_t *seed, uint32_t below)
{
    return (uint32_t)(fixture_random(seed) % below);
}

/* The item errors that the model expects of one chunk. */
struct expected {
    uint32_t count;
    uint32_t indexes[64];
    enum omen_refusal refusals[64];
};

static void expect(struct expected *e, uint32_t index, enum omen_refusal refusal)
{
    e->indexes[e->count] = index;
    e->refusals[e->count++] = refusal;
}

static omen_chunk *random_chunk(struct fixture_stream *s, struct model *m, omen_write_mode mode,
                                uint64_t *seed, struct expected *stateless,
                                struct expected *stateful)
{
    uint32_t points = pick(seed, 12);
    uint32_t deletes = pick(seed, 3) == 0 ? pick(seed, 8) : 0;
    omen_chunk *chunk = fixture_chunk(s, points);

    for (uint32_t i = 0; i < points; i++) {
        uint32_t id = pick(seed, IDS);
        float vector[DIM];

        memcpy(vector, set[pick(seed, 3) == 0 ? pick(seed, 4) : pick(seed, VECTORS)],
               sizeof vector);
        if (pick(seed, 40) == 0) {
            vector[1] = NAN;
            expect(stateless, i, OMEN_REFUSED_NOT_FINITE);
        } else if (mode == OMEN_WRITE_INSERT_ONLY && m->there[id]) {
            expect(stateful, i, OMEN_REFUSED_EXISTS);
        } else if (mode == OMEN_WRITE_UPDATE_ONLY && !m->there[id]) {
            expect(stateful, i, OMEN_REFUSED_UNKNOWN);
        } else {
            m->there[id] = true;
            memcpy(m->vectors[id], vector, sizeof vector);
        }
        fixture_chunk_add(chunk, i, id_of(id), vector, DIM, 0);
    }
    for (uint32_t i = 0; i < deletes; i++) {
        uint32_t id = pick(seed, IDS);
        struct omen_id name = id_of(id);

        m->there[id] = false;
        omen_chunk_delete(chunk, points + i, &name);
    }
    return chunk;
}

static void check_errors(struct fixture_stream *s, const struct expected *stateless,
                         const struct expected *stateful)
{
    struct omen_item_error errors[128];
    uint64_t complete = 0;
    size_t count = omen_stream_take_errors(fixture_stream_get(s), errors, 128, &complete);

    assert_int_equal(count, stateless->count + stateful->count);
    for (uint32_t i = 0; i < count; i++) {
        const struct expected *e = i < stateless->count ? stateless : stateful;
        uint32_t j = i < stateless->count ? i : i - stateless->count;

        assert_int_equal(errors[i].index, e->indexes[j]);
        assert_int_equal(errors[i].refusal, e->refusals[j]);
        assert_true(errors[i].has_id);
    }
}

static void write_some(omen_collection *c, struct model *m, uint64_t *seed)
{
    uint32_t streams = 1 + pick(seed, 3);

    for (uint32_t i = 0; i < streams; i++) {
        omen_write_mode mode = (omen_write_mode)(1 + pick(seed, 3));
        struct omen_stream_options options = {.mode = mode, .sessionless = pick(seed, 4) == 0};
        struct fixture_stream *s = fixture_stream_open_as(c, options);
        uint32_t chunks = 1 + pick(seed, 6);

        for (uint32_t n = 0; n < chunks; n++) {
            struct expected stateless = {.count = 0};
            struct expected stateful = {.count = 0};
            struct omen_stream_state state;

            fixture_push_chunk(s, random_chunk(s, m, mode, seed, &stateless, &stateful));
            if (pick(seed, 2) == 0 || stateless.count + stateful.count > 0) {
                fixture_wait(s, &state);
                assert_int_equal(state.code, OMEN_OK);
                check_errors(s, &stateless, &stateful);
            }
        }
        struct omen_stream_state end;
        fixture_wait(s, &end);
        assert_int_equal(end.code, OMEN_OK);
        fixture_stream_close(s);
    }
}

static float distance_of(const struct model *m, const float *query, const float *row)
{
    if (m->metric == OMEN_METRIC_L2) return kernels.l2sq_f32_one(query, row, DIM);
    if (m->metric == OMEN_METRIC_INNER_PRODUCT) return -kernels.dot_f32_one(query, row, DIM);
    float d = 1.0f - (kernels.dot_f32_one(query, row, DIM) *
                      (1.0f / sqrtf(kernels.dot_f32_one(query, query, DIM)))) *
                         (1.0f / sqrtf(kernels.dot_f32_one(row, row, DIM)));
    return d > 0.0f ? d : 0.0f;
}

static void check_get(omen_collection *c, const struct model *m)
{
    struct omen_id ids[IDS];
    struct omen_got got[IDS];
    float vectors[IDS][DIM];
    uint64_t position = 0;
    omen_error err;

    for (uint32_t i = 0; i < IDS; i++)
        ids[i] = id_of(i);
    assert_int_equal(omen_collection_get_points(c, ids, IDS, got, vectors[0], &position, &err),
                     OMEN_OK);
    for (uint32_t i = 0; i < IDS; i++) {
        if (got[i].found != m->there[i])
            fail_msg("id %u is %s", i, got[i].found ? "there" : "not there");
        if (got[i].found) assert_memory_equal(vectors[i], m->vectors[i], sizeof vectors[i]);
    }
}

/* By distance, ties by id. */
static bool is_before(const struct model *m, const float *query, uint32_t a, uint32_t b)
{
    float da = distance_of(m, query, m->vectors[a]);
    float db = distance_of(m, query, m->vectors[b]);
    struct omen_id x = id_of(a);
    struct omen_id y = id_of(b);

    return da < db || (da == db && omen_id_compare(&x, &y) < 0);
}

static void check_search(omen_collection *c, const struct model *m, uint64_t *seed)
{
    for (uint32_t q = 0; q < QUERIES; q++) {
        const float *query = set[pick(seed, VECTORS)];
        uint32_t k = 1 + pick(seed, IDS);
        struct omen_search s;
        bool used[IDS] = {false};
        uint32_t wanted = 0;

        for (uint32_t i = 0; i < IDS; i++)
            wanted += m->there[i];
        if (wanted > k) wanted = k;
        fixture_search(c, query, 1, k, FIXTURE_EXACT, &s);
        assert_int_equal(s.code, OMEN_OK);
        assert_int_equal(s.results[0].hit_count, wanted);
        for (uint32_t h = 0; h < wanted; h++) {
            uint32_t best = IDS;

            for (uint32_t i = 0; i < IDS; i++) {
                if (!m->there[i] || used[i]) continue;
                if (best == IDS || is_before(m, query, i, best)) best = i;
            }
            struct omen_id name = id_of(best);
            used[best] = true;
            assert_int_equal(omen_id_compare(&s.results[0].hits[h].id, &name), 0);
            assert_true(s.results[0].hits[h].distance == distance_of(m, query, m->vectors[best]));
        }
        omen_search_deinit(&s);
    }
}

static void check(omen_collection *c, const struct model *m, uint64_t *seed)
{
    check_get(c, m);
    check_search(c, m, seed);
    fixture_assert_sound(c);
}

static void one_life(uint64_t seed, uint32_t *swept)
{
    struct model *models = calloc(SEQUENCES, sizeof *models);
    struct fixture_engine f;

    assert_non_null(models);
    fixture_open(&f, 1 + pick(&seed, 2), 0);
    for (uint32_t i = 0; i < SEQUENCES; i++) {
        char name[16];
        struct omen_collection_settings settings = {.dim = DIM,
                                                    .metric = (omen_metric)(1 + i % 3),
                                                    .epoch_points = 1 + pick(&seed, 20),
                                                    .checkpoint_bytes = OMEN_CHECKPOINT_BYTES_MIN};
        omen_collection *c;

        (void)snprintf(name, sizeof name, "c%u", i);
        c = fixture_collection(&f, name, settings);
        models[i].metric = settings.metric;
        for (uint32_t round = 0; round < 3; round++)
            write_some(c, &models[i], &seed);
        check(c, &models[i], &seed);
        models[i].hash = omen_collection_graph_hash(c);
        omen_collection_release(c);
    }
    fixture_reopen(&f, 1 + pick(&seed, 2), 0, NULL);
    for (uint32_t i = 0; i < SEQUENCES; i++) {
        char name[16];
        struct omen_collection_info info;
        omen_collection *c;

        (void)snprintf(name, sizeof name, "c%u", i);
        c = fixture_acquire(&f, name);
        assert_true(omen_collection_graph_hash(c) == models[i].hash);
        check(c, &models[i], &seed);
        write_some(c, &models[i], &seed);
        check(c, &models[i], &seed);
        omen_collection_get_info(c, &info);
        *swept += info.checkpoint_position > 0;
        omen_collection_release(c);
    }
    fixture_close(&f);
    free(models);
}

static void any_sequence_of_writes_reads_like_the_model_before_and_after_a_restart(void **state)
{
    uint64_t seed = 20261124;
    uint32_t swept = 0;
    uint32_t lives = lives_of_test();

    (void)state;
    omen_kernels_pick(DIM, OMEN_ISA_ref, &kernels);
    for (uint32_t v = 0; v < VECTORS; v++) {
        for (uint32_t i = 0; i < DIM; i++)
            set[v][i] = v < VECTORS / 2 ? (float)(1 + pick(&seed, 3)) : fixture_normal(&seed);
    }
    for (uint32_t life = 0; life < lives; life++)
        one_life(seed + life * 1000003, &swept);
    print_message("%u sequences, %u of them with checkpoints\n", lives * SEQUENCES, swept);
    assert_true(swept > lives * SEQUENCES / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_sequence_of_writes_reads_like_the_model_before_and_after_a_restart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
