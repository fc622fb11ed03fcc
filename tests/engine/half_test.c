/* half_test.c - originals in f16: what is stored is the rounded vector, and everything is exact of
 * it, on every tier and after every start.
 */
#include "tests/engine/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DIM  50u /* no multiple of a register */
#define ROWS 3000u
#define K    10u

static omen_collection *make(struct fixture_engine *f, const char *name, omen_metric metric,
                             omen_originals_format originals)
{
    return fixture_collection(
        f, name,
        (struct omen_collection_settings){.dim = DIM, .metric = metric, .originals = originals});
}

/* The float that the nearest half is, by the definition: a step of 2^-10 of the power of two. */
static float rounded(float x)
{
    int exponent = 0;

    if (x == 0) return x;
    (void)frexpf(x, &exponent);
    if (exponent < -13) exponent = -13; /* the small ones have one step */
    return ldexpf(rintf(ldexpf(x, 11 - exponent)), exponent - 11);
}

static void get_one(omen_collection *c, uint64_t num, float *out)
{
    struct omen_id id = omen_id_num(num);
    struct omen_got got;
    uint64_t position = 0;
    omen_error err;

    assert_int_equal(omen_collection_get_points(c, &id, 1, &got, out, &position, &err), OMEN_OK);
    assert_true(got.found);
}

static void get_returns_the_components_rounded_to_the_nearest_half(void **state)
{
    float *rows = fixture_mixture(7, ROWS, DIM, 30);
    struct fixture_engine f;
    omen_collection *c;
    float got[DIM];

    (void)state;
    for (uint32_t i = 0; i < ROWS * DIM; i++)
        rows[i] = ldexpf(rows[i], -(int)(i % 26)); /* small ones, too */
    fixture_open(&f, 2, 0);
    c = make(&f, "half", OMEN_METRIC_L2, OMEN_ORIGINALS_F16);
    fixture_insert(c, rows, 0, ROWS, 250);
    for (uint32_t r = 0; r < ROWS; r++) {
        get_one(c, r, got);
        for (uint32_t i = 0; i < DIM; i++)
            assert_true(got[i] == rounded(rows[r * DIM + i]));
    }
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
}

/* A collection of the rounded vectors themselves, in f32, is its double. */
static void a_collection_in_f16_answers_as_one_of_the_rounded_vectors(void **state)
{
    static const omen_metric metrics[] = {OMEN_METRIC_L2, OMEN_METRIC_COSINE,
                                          OMEN_METRIC_INNER_PRODUCT};
    float *rows = fixture_mixture(8, ROWS, DIM, 30);
    float *halves = calloc(ROWS * DIM, sizeof *halves);
    struct fixture_engine f;

    (void)state;
    assert_non_null(halves);
    for (uint32_t i = 0; i < ROWS * DIM; i++)
        halves[i] = rounded(rows[i]);
    fixture_open(&f, 2, 0);
    for (size_t m = 0; m < sizeof metrics / sizeof *metrics; m++) {
        char name[] = "f160";
        omen_collection *half;
        omen_collection *wide;

        name[3] = (char)('0' + m);
        half = make(&f, name, metrics[m], OMEN_ORIGINALS_F16);
        name[1] = '3';
        wide = make(&f, name, metrics[m], OMEN_ORIGINALS_F32);
        fixture_insert(half, rows, 0, ROWS, 250);
        fixture_insert(wide, halves, 0, ROWS, 250);
        struct omen_search a;
        struct omen_search b;

        fixture_search(half, rows, 200, K, FIXTURE_EXACT, &a);
        fixture_search(wide, rows, 200, K, FIXTURE_EXACT, &b);
        for (uint32_t q = 0; q < 200; q++) {
            assert_int_equal(a.results[q].hit_count, K);
            for (uint32_t i = 0; i < K; i++) {
                assert_true(a.results[q].hits[i].id.num == b.results[q].hits[i].id.num);
                assert_true(a.results[q].hits[i].distance == b.results[q].hits[i].distance);
            }
        }
        omen_search_deinit(&a);
        omen_search_deinit(&b);
        assert_true(fixture_recall(half, rows, 200, K, 128, NULL) >= 0.97);
        fixture_assert_sound(half);
        omen_collection_release(half);
        omen_collection_release(wide);
    }
    fixture_close(&f);
    free(halves);
    free(rows);
}

static void every_tier_and_every_start_gives_the_same_bits(void **state)
{
    float *rows = fixture_mixture(9, ROWS, DIM, 30);
    struct fixture_engine f;
    struct omen_search first;
    omen_collection *c;
    uint64_t hash;
    struct omen_collection_info info;

    (void)state;
    fixture_open(&f, 2, 0);
    c = make(&f, "half", OMEN_METRIC_COSINE, OMEN_ORIGINALS_F16);
    fixture_insert(c, rows, 0, ROWS, 250);
    hash = omen_collection_graph_hash(c);
    omen_collection_release(c);
    struct omen_hit hits[20][K] = {0};
    for (int tier = 0; tier < 2; tier++) {

        fixture_reopen(&f, 1, 3, tier == 0 ? NULL : "ref");
        c = fixture_acquire(&f, "half");
        omen_collection_get_info(c, &info);
        assert_int_equal(info.settings.originals, OMEN_ORIGINALS_F16);
        assert_true(omen_collection_graph_hash(c) == hash);
        fixture_search(c, rows, 20, K, 64, &first);
        for (uint32_t q = 0; q < 20; q++) {
            if (tier == 0) memcpy(hits[q], first.results[q].hits, sizeof hits[q]);
            for (uint32_t i = 0; i < K && tier == 1; i++)
                assert_memory_equal(&hits[q][i].distance, &first.results[q].hits[i].distance, 4);
        }
        omen_search_deinit(&first);
        omen_collection_release(c);
    }
    fixture_close(&f);
    free(rows);
}

static off_t file_bytes(const struct fixture_engine *f, omen_collection *c, const char *name)
{
    struct omen_collection_info info;
    struct stat file;
    char path[700];
    size_t used = (size_t)snprintf(path, sizeof path, "%s/", f->dir);

    omen_collection_get_info(c, &info);
    for (size_t i = 0; i < sizeof info.incarnation; i++)
        used += (size_t)snprintf(path + used, sizeof path - used, "%02x", info.incarnation[i]);
    (void)snprintf(path + used, sizeof path - used, "/%s", name);
    assert_int_equal(stat(path, &file), 0);
    return file.st_size;
}

static void originals_in_f16_take_half_the_disk(void **state)
{
    const uint32_t dim = 64;
    const uint32_t rows = 4096;
    float *vectors = fixture_mixture(10, rows, dim, 30);
    struct fixture_engine f;
    off_t bytes[2];

    (void)state;
    fixture_open(&f, 2, 0);
    for (int half = 0; half < 2; half++) {
        omen_collection *c =
            fixture_collection(&f, half ? "half" : "wide",
                               (struct omen_collection_settings){
                                   .dim = dim,
                                   .metric = OMEN_METRIC_L2,
                                   .originals = half ? OMEN_ORIGINALS_F16 : OMEN_ORIGINALS_F32});

        fixture_insert(c, vectors, 0, rows, 256);
        bytes[half] = file_bytes(&f, c, half ? "originals.f16" : "originals.f32");
        omen_collection_release(c);
    }
    print_message("%lld and %lld bytes\n", (long long)bytes[0], (long long)bytes[1]);
    assert_true(bytes[0] >= (off_t)rows * dim * 4);
    assert_true(bytes[1] >= (off_t)rows * dim * 2);
    assert_true(bytes[1] < bytes[0] * 6 / 10);
    fixture_close(&f);
    free(vectors);
}

static void what_a_half_cannot_hold_is_refused_and_the_others_go_in(void **state)
{
    /* The largest component of each; 0: the zero vector. */
    static const float largest[] = {1,      65504, 65519.9f, 65520, 1e9f,
                                    -70000, 6e-8f, 0x1p-25f, 1e-9f, 0};
    static const bool good[] = {true, true, true, false, false, false, true, false, false, true};
    const uint32_t count = sizeof largest / sizeof *largest;
    struct fixture_engine f;
    struct fixture_stream *s;
    struct omen_stream_state end;
    struct omen_item_error errors[16];
    uint64_t complete = 0;
    omen_collection *c;
    omen_chunk *chunk;
    float got[DIM];
    uint32_t refused = 0;

    (void)state;
    fixture_open(&f, 1, 0);
    c = make(&f, "half", OMEN_METRIC_L2, OMEN_ORIGINALS_F16);
    s = fixture_stream_open(c, NULL);
    chunk = fixture_chunk(s, count);
    for (uint32_t i = 0; i < count; i++) {
        float x[DIM] = {[3] = largest[i]};

        fixture_chunk_add(chunk, i, omen_id_num(i), x, DIM, 0);
    }
    fixture_push_chunk(s, chunk);
    fixture_wait(s, &end);
    assert_int_equal(end.code, OMEN_OK);
    size_t taken = omen_stream_take_errors(fixture_stream_get(s), errors, 16, &complete);
    for (uint32_t i = 0; i < count; i++) {
        omen_error told;
        char wanted[200];

        if (good[i]) {
            get_one(c, i, got);
            assert_true(got[3] == (i == 2 ? 65504 : rounded(largest[i])));
            continue;
        }
        assert_true(refused < taken && errors[refused].index == i);
        assert_int_equal(omen_item_error_describe(&errors[refused++], DIM, &told),
                         OMEN_INVALID_ARGUMENT);
        assert_string_equal(told.reason, "OUT_OF_RANGE");
        (void)snprintf(wanted, sizeof wanted,
                       "vector's largest component is %g; originals in f16 hold magnitudes of "
                       "6e-08 to 65504",
                       fabs((double)largest[i]));
        assert_string_equal(told.message, wanted);
    }
    assert_int_equal(refused, taken);
    fixture_stream_close(s);
    omen_collection_release(c);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(get_returns_the_components_rounded_to_the_nearest_half),
        cmocka_unit_test(a_collection_in_f16_answers_as_one_of_the_rounded_vectors),
        cmocka_unit_test(every_tier_and_every_start_gives_the_same_bits),
        cmocka_unit_test(originals_in_f16_take_half_the_disk),
        cmocka_unit_test(what_a_half_cannot_hold_is_refused_and_the_others_go_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
