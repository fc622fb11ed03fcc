/* golden_checkpoint_test.c - a stored checkpoint opens, for ever.
 *
 * tests/golden/checkpoint-N/ is the data directory of one collection, stopped when checkpoint
 * format version N was the newest: its log was trimmed, so what it has can come from the checkpoint
 * alone. Whoever changes the format raises OMEN_CHECKPOINT_VERSION, stores another directory beside
 * these, and goes on reading them.
 *
 *     golden_checkpoint_test --make DIR     writes a new one into DIR, and prints its hash
 */
#include "tests/engine/fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/collection.h"

#define DIM    8u
#define POINTS 90u
#define GONE   20u /* of the first ones every second was deleted */
#define TTL_S  1000000000u
#define HASH_1 UINT64_C(0x2814650ae0f01552)

static const uint8_t session_id[OMEN_SESSION_ID_BYTES] = "golden session!";

static struct omen_id id_of(uint32_t i, char text[24])
{
    if (i % 3 != 0) return omen_id_num(i);
    (void)snprintf(text, 24, "golden key %u", i);
    return omen_id_key(text, (uint32_t)strlen(text));
}

/* Copies among them, which stand in chains. */
static float *make_rows(void)
{
    float *rows = fixture_mixture(1755, POINTS, DIM, 6);

    for (uint32_t r = 40; r < POINTS; r += 10)
        memcpy(rows + (size_t)r * DIM, rows + 39 * DIM, DIM * sizeof *rows);
    return rows;
}

/* One chunk of all points, with a refused item, and one of deletes. */
static void write_points(omen_collection *c, const float *rows)
{
    struct omen_stream_options options = {.mode = OMEN_WRITE_INSERT_ONLY};
    struct omen_stream_state state;
    struct fixture_stream *s;
    omen_chunk *chunk;
    char text[24];

    memcpy(options.session_id, session_id, sizeof session_id);
    s = fixture_stream_open_as(c, options);
    chunk = fixture_chunk(s, POINTS);
    for (uint32_t i = 0; i < POINTS; i++)
        fixture_chunk_add(chunk, i, id_of(i, text), rows + (size_t)i * DIM, DIM,
                          i % 7 == 0 ? TTL_S : 0);
    omen_chunk_refuse(chunk, POINTS, NULL, OMEN_REFUSED_ID_MISSING, 0);
    fixture_push_chunk(s, chunk);
    fixture_wait(s, &state);
    chunk = fixture_chunk(s, 0);
    for (uint32_t i = 0; i < GONE; i += 2) {
        const struct omen_id id = id_of(i, text);

        omen_chunk_delete(chunk, i, &id);
    }
    fixture_push_chunk(s, chunk);
    fixture_wait(s, &state);
    fixture_stream_close(s);
}

static int make(const char *dir)
{
    const struct omen_collection_settings settings = {.dim = DIM, .metric = OMEN_METRIC_COSINE};
    struct fixture_engine f = {.engine = NULL};
    float *rows = make_rows();
    omen_error err;

    (void)snprintf(f.dir, sizeof f.dir, "%s", dir);
    fixture_reopen(&f, 1, 0, NULL);
    omen_collection *c = fixture_collection(&f, "golden", settings);
    write_points(c, rows);
    for (uint32_t i = 0; i < 2; i++)
        if (omen_collection_checkpoint(c, &err) != OMEN_OK) fail_msg("%s", err.message);
    fixture_assert_sound(c);
    printf("%016" PRIx64 "\n", omen_collection_graph_hash(c));
    omen_collection_release(c);
    omen_engine_close(f.engine);
    free(rows);
    return 0;
}

static void expect_points(omen_collection *c)
{
    float *rows = make_rows();
    char text[24];

    for (uint32_t i = 0; i < POINTS; i++) {
        const struct omen_id id = id_of(i, text);
        struct omen_got got;
        float vector[DIM];
        uint64_t position;

        assert_int_equal(omen_collection_get_points(c, &id, 1, &got, vector, &position, NULL),
                         OMEN_OK);
        assert_int_equal(got.found, i >= GONE || i % 2 != 0);
        if (!got.found) continue;
        assert_memory_equal(vector, rows + (size_t)i * DIM, sizeof vector);
        assert_int_equal(got.expires_s != 0, i % 7 == 0);
    }
    free(rows);
}

static void expect_session(omen_collection *c)
{
    const struct omen_session *session = omen_session_find(&c->admit.sessions, session_id);

    assert_non_null(session);
    assert_int_equal(session->last_seq, 2);
    assert_int_equal(session->error_count, 1);
    assert_int_equal(session->errors[0].refusal, OMEN_REFUSED_ID_MISSING);
    assert_int_equal(session->errors[0].seq, 1);
}

/* What is written to it afterwards, and a checkpoint of now, are no less good. */
static void go_on(struct fixture_engine *f, omen_collection *c)
{
    float *rows = fixture_mixture(1756, 200, DIM, 6);
    omen_error err;
    uint64_t hash;

    fixture_insert(c, rows, 0, 200, 50); /* of ids that are there already some are refused */
    fixture_assert_sound(c);
    if (omen_collection_checkpoint(c, &err) != OMEN_OK) fail_msg("%s", err.message);
    hash = omen_collection_graph_hash(c);
    omen_collection_release(c);
    fixture_reopen(f, 2, 0, NULL);
    c = fixture_acquire(f, "golden");
    assert_true(omen_collection_graph_hash(c) == hash);
    fixture_assert_sound(c);
    omen_collection_release(c);
    free(rows);
}

static void the_stored_checkpoint_of_format_1_opens(void **state)
{
    struct fixture_engine stored;
    struct fixture_engine f;
    struct omen_collection_info info;
    omen_collection *c;

    (void)state;
    (void)snprintf(stored.dir, sizeof stored.dir, "%s/checkpoint-1", OMEN_GOLDEN_DIR);
    fixture_copy(&stored, &f);
    fixture_reopen(&f, 1, 0, NULL);
    c = fixture_acquire(&f, "golden");
    omen_collection_get_info(c, &info);
    assert_true(info.checkpoint.position > 0);
    assert_int_equal(info.checkpoint.damaged, 0);
    assert_int_equal(info.points, POINTS - GONE / 2);
    if (omen_collection_graph_hash(c) != HASH_1)
        fail_msg("its graph has hash %016" PRIx64, omen_collection_graph_hash(c));
    fixture_assert_sound(c);
    expect_points(c);
    expect_session(c);
    go_on(&f, c);
    fixture_close(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_stored_checkpoint_of_format_1_opens),
    };

    if (argc == 3 && strcmp(argv[1], "--make") == 0) return make(argv[2]);
    return cmocka_run_group_tests_name("stored checkpoints", tests, NULL, NULL);
}
