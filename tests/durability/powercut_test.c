/* powercut_test.c - an engine over a disk that loses power: whatever was acknowledged as durable is
 * there afterwards, and of what was on its way no more than a beginning.
 *
 * Everything is in the storage in memory, but the lock of the data directory.
 */
#include "tests/engine/fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/storage_memory.h"

#define DIM 4u
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HISTORIES 50u
#else
#define HISTORIES 200u
#endif
#define LIVES  4u
#define POINTS 1000u /* at most, in one history */
#define CHUNKS 14u   /* in one life */
#define NAMES  4u

struct history {
    uint64_t seed;
    uint64_t random;
    struct omen_storage *storage;
    struct fixture_engine f;
    float rows[POINTS][DIM];
    uint32_t points; /* that must be there; the ids are 0.. */
    uint32_t chunk_points[CHUNKS];
    uint32_t chunks;
};

static void open_engine(struct history *h)
{
    const struct omen_engine_options options = {
        .data_dir = h->f.dir, .ingest_threads = 1, .search_threads = 1, .storage = h->storage};
    omen_error err = {0};

    if (omen_engine_open(&options, &h->f.engine, &err) != OMEN_OK)
        fail_msg("seed %" PRIu64 ": open: %s", h->seed, err.message);
}

/* Every point is found at distance 0 under its own id. */
static void expect_points(omen_collection *c, const struct history *h)
{
    struct omen_search found;

    if (h->points == 0) return;
    fixture_search(c, &h->rows[0][0], h->points, 1, FIXTURE_EXACT, &found);
    for (uint32_t i = 0; i < h->points; i++) {
        assert_int_equal(found.results[i].hit_count, 1);
        assert_int_equal(found.results[i].hits[0].id.num, i);
        assert_true(found.results[i].hits[0].distance == 0.0f);
    }
    omen_search_deinit(&found);
}

/* After a power cut: what was acknowledged, and perhaps some of the chunks behind it. */
static omen_collection *reopen(struct history *h, uint32_t durable_chunks)
{
    struct omen_validation v;
    omen_error err = {0};
    uint32_t expected = h->points;
    uint32_t chunk = 0;

    open_engine(h);
    omen_collection *c = fixture_acquire(&h->f, "cut");
    if (omen_collection_validate(c, &v, &err) != OMEN_OK)
        fail_msg("seed %" PRIu64 ": %s", h->seed, err.message);
    while (chunk < durable_chunks || (chunk < h->chunks && expected < v.points))
        expected += h->chunk_points[chunk++];
    if (v.points != expected)
        fail_msg("seed %" PRIu64 ": %" PRIu64 " points; %u were durable, with chunk %u it is %u",
                 h->seed, (uint64_t)v.points, h->points, chunk, expected);
    h->points = expected;
    expect_points(c, h);
    return c;
}

static bool push(struct history *h, omen_stream *stream, uint64_t seq, uint32_t first,
                 uint32_t count)
{
    omen_chunk *chunk = NULL;
    uint64_t ids[32];
    omen_error err;

    for (uint32_t i = 0; i < count; i++)
        ids[i] = first + i;
    if (omen_chunk_create(stream, count, &chunk, &err) != OMEN_OK) return false;
    float *rows = omen_chunk_rows(chunk, count);
    assert_non_null(rows);
    memcpy(rows, h->rows[first], (size_t)count * sizeof h->rows[0]);
    omen_chunk_add_many(chunk, count, 0, ids, 0);
    return omen_stream_push(stream, seq, chunk, &err) == OMEN_OK;
}

/* Streams chunks until the power goes, or until all are searchable. How many were acknowledged. */
static uint32_t stream_until_cut(struct history *h, omen_collection *c)
{
    struct fixture_stream *s = fixture_stream_open(c, NULL);
    struct omen_stream_state state;
    const struct omen_storage_faults faults = {.cut_at = 1 + fixture_random(&h->random) % 40,
                                               .short_transfers = h->seed % 2 == 0};
    uint32_t first = h->points;

    omen_stream_poll(fixture_stream_get(s), &state);
    const uint64_t first_seq = state.next_seq;
    omen_storage_memory_set_faults(h->storage, &faults);
    for (h->chunks = 0; h->chunks < CHUNKS;) {
        const uint32_t count = 1 + (uint32_t)(fixture_random(&h->random) % 16);
        h->chunk_points[h->chunks] = count;
        if (!push(h, fixture_stream_get(s), first_seq + h->chunks, first, count)) break;
        h->chunks++;
        first += count;
        if (fixture_random(&h->random) % 3 == 0) fixture_wait(s, &state);
    }
    fixture_wait(s, &state);
    omen_stream_poll(fixture_stream_get(s), &state);
    const uint64_t durable = state.durable_seq < first_seq ? 0 : state.durable_seq - first_seq + 1;
    fixture_stream_close(s);
    return (uint32_t)durable;
}

static void no_power_cut_loses_an_acknowledged_chunk(void **state)
{
    static struct history h;
    const struct omen_collection_settings settings = {
        .dim = DIM, .metric = OMEN_METRIC_L2, .epoch_points = 40};
    uint32_t cuts = 0;
    uint32_t lost = 0; /* chunks that were not acknowledged, and are gone */
    omen_error err;

    (void)state;
    for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
        h = (struct history){.seed = seed, .random = seed};
        for (uint32_t i = 0; i < POINTS; i++)
            for (uint32_t d = 0; d < DIM; d++)
                h.rows[i][d] = fixture_normal(&h.random) + 8.0f;
        (void)snprintf(h.f.dir, sizeof h.f.dir, "/tmp/omen-test-XXXXXX");
        assert_non_null(mkdtemp(h.f.dir));
        assert_int_equal(omen_storage_memory_create(seed, &h.storage, &err), OMEN_OK);
        open_engine(&h);
        omen_collection *c = fixture_collection(&h.f, "cut", settings);
        for (uint32_t life = 0; life < LIVES; life++) {
            const uint32_t before = h.points;
            const uint32_t durable = stream_until_cut(&h, c);
            omen_collection_release(c);
            omen_engine_close(h.f.engine);
            cuts += omen_storage_memory_is_dead(h.storage);
            assert_int_equal(omen_storage_memory_restart(h.storage, &err), OMEN_OK);
            uint32_t pushed = before;
            for (uint32_t i = 0; i < h.chunks; i++)
                pushed += h.chunk_points[i];
            c = reopen(&h, durable);
            lost += h.points < pushed;
        }
        omen_collection_release(c);
        fixture_close(&h.f);
        omen_storage_memory_destroy(h.storage);
    }
    print_message("%u power cuts, %u of them lost what nobody was told of\n", cuts, lost);
    assert_true(cuts > HISTORIES && lost > HISTORIES / 4);
}

/* What the engine was told of a collection. */
enum fate { ABSENT, THERE, UNKNOWN };

/* Creates and deletes until the power goes. */
static void create_and_delete(struct history *h, enum fate fates[NAMES])
{
    const struct omen_collection_settings settings = {.dim = DIM, .metric = OMEN_METRIC_L2};
    const struct omen_storage_faults faults = {.cut_at = 1 + fixture_random(&h->random) % 60};
    omen_error err;

    omen_storage_memory_set_faults(h->storage, &faults);
    for (uint32_t i = 0; i < 30 && !omen_storage_memory_is_dead(h->storage); i++) {
        const uint32_t n = (uint32_t)(fixture_random(&h->random) % NAMES);
        const char name[2] = {(char)('a' + n), '\0'};
        const bool create = fates[n] == ABSENT;
        const omen_code code =
            create ? omen_collection_create(h->f.engine, name, &settings, NULL, &err)
                   : omen_collection_delete(h->f.engine, name, &err);

        fates[n] = code != OMEN_OK ? UNKNOWN : create ? THERE : ABSENT;
    }
}

/* Every collection is as it was acknowledged, or, where the power went, whole or gone. */
static void expect_fates(const struct history *h, enum fate fates[NAMES])
{
    omen_error err;

    for (uint32_t n = 0; n < NAMES; n++) {
        const char name[2] = {(char)('a' + n), '\0'};
        omen_collection *c = NULL;
        const omen_code code = omen_collection_acquire(h->f.engine, name, &c, &err);

        if ((fates[n] == THERE && code != OMEN_OK) || (fates[n] == ABSENT && code == OMEN_OK))
            fail_msg("seed %" PRIu64 ": '%s' is %sthere", h->seed, name,
                     code == OMEN_OK ? "" : "not ");
        fates[n] = code == OMEN_OK ? THERE : ABSENT;
        omen_collection_release(c);
    }
}

static void no_power_cut_leaves_half_a_collection(void **state)
{
    static struct history h;
    uint32_t unknown = 0;
    omen_error err;

    (void)state;
    for (uint64_t seed = 1; seed <= HISTORIES; seed++) {
        enum fate fates[NAMES] = {ABSENT};

        h = (struct history){.seed = seed, .random = seed};
        (void)snprintf(h.f.dir, sizeof h.f.dir, "/tmp/omen-test-XXXXXX");
        assert_non_null(mkdtemp(h.f.dir));
        assert_int_equal(omen_storage_memory_create(seed, &h.storage, &err), OMEN_OK);
        open_engine(&h);
        for (uint32_t life = 0; life < LIVES; life++) {
            create_and_delete(&h, fates);
            omen_engine_close(h.f.engine);
            assert_int_equal(omen_storage_memory_restart(h.storage, &err), OMEN_OK);
            for (uint32_t n = 0; n < NAMES; n++)
                unknown += fates[n] == UNKNOWN;
            open_engine(&h);
            expect_fates(&h, fates);
        }
        fixture_close(&h.f);
        omen_storage_memory_destroy(h.storage);
    }
    assert_true(unknown > HISTORIES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_power_cut_loses_an_acknowledged_chunk),
        cmocka_unit_test(no_power_cut_leaves_half_a_collection),
    };

    return cmocka_run_group_tests_name("power cuts under the engine", tests, NULL, NULL);
}
