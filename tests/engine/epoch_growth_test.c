/* epoch_growth_test.c - epochs grow with the collection: the rule, and that the log thread, a
 * replay and the rule agree. */
#include "tests/engine/fixture.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "engine/collection.h"
#include "engine/settings.h"

#define DIM    2u
#define CHUNK  4096u
#define POINTS (94u * CHUNK) /* 385,024: epochs of 12,160 points and more instead of 8,192 */

#define WIDE      1024u
#define WIDE_ROWS 119u /* of a chunk of nearly OMEN_RECORD_BYTES_MAX */

static const struct omen_collection_settings cheap = {
    .dim = DIM, .metric = OMEN_METRIC_L2, .links = 4, .candidates = 16, .probes = 1};

static struct omen_epoch_limit limit_at(uint64_t points, uint32_t algorithm)
{
    const struct omen_collection_settings settings = {.epoch_points = 8192,
                                                      .epoch_bytes = 16u << 20};
    const struct omen_epoch epoch = {.algorithm = algorithm, .points_before = points};

    return omen_epoch_limit(&settings, &epoch);
}

static void an_epoch_grows_from_262144_points_on_and_up_to_eight_times(void **state)
{
    const struct {
        uint64_t points, limit, bytes;
    } cases[] = {{0, 8192, 16777216},         {262144, 8192, 16777216},
                 {262175, 8192, 16779200},    {262176, 8193, 16779264},
                 {1000000, 31250, 64000000},  {2097151, 65535, 134217664},
                 {2097152, 65536, 134217728}, {UINT64_C(1) << 40, 65536, 134217728}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct omen_epoch_limit limit = limit_at(cases[i].points, 4);

        assert_int_equal(limit.points, cases[i].limit);
        assert_int_equal(limit.bytes, cases[i].bytes);
    }
}

static void an_epoch_of_an_older_version_never_grows(void **state)
{
    (void)state;
    for (uint32_t algorithm = OMEN_ALGORITHM_VERSION_MIN; algorithm < 4; algorithm++) {
        assert_int_equal(limit_at(UINT64_C(1) << 28, algorithm).points, 8192);
        assert_int_equal(limit_at(UINT64_C(1) << 28, algorithm).bytes, 16u << 20);
    }
}

static float *make_rows(uint32_t count)
{
    float *rows = malloc((size_t)count * DIM * sizeof *rows);
    uint64_t seed = 4004;

    assert_non_null(rows);
    for (size_t i = 0; i < (size_t)count * DIM; i++)
        rows[i] = fixture_normal(&seed);
    return rows;
}

static void push(struct fixture_stream *s, const float *rows, uint32_t first, uint32_t count)
{
    uint64_t *ids = malloc(count * sizeof *ids);

    assert_non_null(ids);
    for (uint32_t i = 0; i < count; i++)
        ids[i] = first + i;
    fixture_push(s, ids, rows + (size_t)first * DIM, count);
    free(ids);
}

/* The open epoch's number. */
static uint32_t open_epoch(omen_collection *c)
{
    (void)pthread_mutex_lock(&c->admit_mutex);
    const uint32_t number = c->admit.epoch_number;
    (void)pthread_mutex_unlock(&c->admit_mutex);
    return number;
}

static void wait_for_epoch(omen_collection *c, uint32_t number)
{
    const struct timespec moment = {.tv_nsec = 1000000};

    while (open_epoch(c) < number)
        (void)nanosleep(&moment, NULL);
    assert_int_equal(open_epoch(c), number);
}

/* Keeps the applier from one epoch, with another one complete behind it: from then on epochs end by
 * their size alone. Uses CHUNK + 1 rows. Returns the number of the open epoch, which is empty. */
static uint32_t hold_applier(omen_collection *c, struct fixture_stream *s, const float *rows,
                             uint32_t first)
{
    const uint32_t number = open_epoch(c);

    (void)pthread_mutex_lock(&c->apply_mutex);
    push(s, rows, first, 1);
    wait_for_epoch(c, number + 1);
    push(s, rows, first + 1, CHUNK);
    wait_for_epoch(c, number + 2);
    return number + 2;
}

/* Three chunks are what an epoch of 12,160 points takes, and two more are more than the 8,192 that
 * it had in a smaller collection: still they must be closed when the applier has time for them. */
static void a_large_collection_has_large_epochs_and_none_waits_for_ever(void **state)
{
    const uint32_t all = POINTS + 1 + CHUNK + 5 * CHUNK;
    float *rows = make_rows(all);
    struct omen_stream_state now;
    struct fixture_engine f;
    struct fixture_stream *s;
    omen_collection *c;
    uint64_t hash;

    (void)state;
    fixture_open(&f, 2, 8);
    c = fixture_collection(&f, "large", cheap);
    fixture_insert(c, rows, 0, POINTS, CHUNK);
    s = fixture_stream_open(c, NULL);
    const uint32_t open = hold_applier(c, s, rows, POINTS);
    for (uint32_t first = POINTS + 1 + CHUNK; first < all; first += CHUNK)
        push(s, rows, first, CHUNK);
    fixture_stream_close(fixture_stream_open(c, NULL)); /* opened behind what was pushed */
    assert_int_equal(open_epoch(c), open + 1);
    (void)pthread_mutex_lock(&c->admit_mutex);
    assert_int_equal(c->admit.open->record_points, 2 * CHUNK);
    (void)pthread_mutex_unlock(&c->admit_mutex);
    (void)pthread_mutex_unlock(&c->apply_mutex);
    fixture_wait(s, &now);
    assert_int_equal(now.searchable_seq, 7);
    fixture_stream_close(s);
    hash = omen_collection_graph_hash(c);
    omen_collection_release(c);

    fixture_reopen(&f, 1, 3, NULL);
    c = fixture_acquire(&f, "large");
    assert_true(omen_collection_graph_hash(c) == hash);
    fixture_assert_sound(c);
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
}

/* Pushes chunks until the stream is told to stop, and waits until they are admitted. Returns what
 * is not searchable. */
static uint64_t fill(omen_collection *c, struct fixture_stream *s, const float *rows, uint32_t dim)
{
    struct omen_stream_state now;
    omen_stream *stream = fixture_stream_get(s);

    for (omen_stream_poll(stream, &now); now.room; omen_stream_poll(stream, &now)) {
        omen_chunk *chunk = fixture_chunk(s, WIDE_ROWS);

        for (uint32_t i = 0; i < WIDE_ROWS; i++)
            fixture_chunk_add(chunk, i, omen_id_num(now.received_seq * WIDE_ROWS + i), rows, dim,
                              0);
        fixture_push_chunk(s, chunk);
        fixture_stream_close(
            fixture_stream_open(c, NULL)); /* behind the chunk, which is admitted */
    }
    assert_int_equal(now.queued_bytes, 0);
    assert_int_equal(now.durable_seq, now.received_seq);
    return now.pending_bytes;
}

/* A collection of 2^19 points is only said to be one: of a real one this would push 128 MiB. */
static void a_stream_may_be_as_far_behind_as_epochs_are_large(void **state)
{
    static const float row[WIDE] = {1.0f};
    const struct omen_collection_settings wide = {.dim = WIDE, .metric = OMEN_METRIC_L2};
    const uint64_t half = OMEN_BACKLOG_BYTES_MAX / 2;
    struct omen_stream_state now;
    struct fixture_engine f;
    struct fixture_stream *s;
    omen_collection *c;
    uint64_t pending;

    (void)state;
    fixture_open(&f, 1, 1);
    c = fixture_collection(&f, "wide", wide);
    s = fixture_stream_open(c, NULL);
    (void)pthread_mutex_lock(&c->apply_mutex);
    pending = fill(c, s, row, WIDE);
    assert_in_range(pending, half, half + OMEN_RECORD_BYTES_MAX);
    atomic_store(&c->published.points, UINT64_C(2) * OMEN_EPOCH_GROWTH_POINTS);
    pending = fill(c, s, row, WIDE);
    assert_in_range(pending, 2 * half, 2 * half + OMEN_RECORD_BYTES_MAX);
    atomic_store(&c->published.points, 0);
    (void)pthread_mutex_unlock(&c->apply_mutex);
    fixture_wait(s, &now);
    assert_int_equal(now.searchable_seq, now.received_seq);
    assert_int_equal(now.pending_bytes, 0);
    assert_true(now.room);
    fixture_stream_close(s);
    omen_collection_release(c);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_epoch_grows_from_262144_points_on_and_up_to_eight_times),
        cmocka_unit_test(an_epoch_of_an_older_version_never_grows),
        cmocka_unit_test(a_large_collection_has_large_epochs_and_none_waits_for_ever),
        cmocka_unit_test(a_stream_may_be_as_far_behind_as_epochs_are_large),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
