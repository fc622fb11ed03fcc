/* checkpoint_test.c - a collection that was read from a checkpoint is the one that its log makes.
 *
 * Histories of random chunks, checkpoints and restarts over a small collection. Beside each the
 * whole log is kept, also what was trimmed; its undisturbed replay is what everything is compared
 * with.
 */
#include "tests/engine/fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/collection.h"

#define DIM      6u
#define IDS      120u /* half numbers, half keys */
#define VECTORS  90u
#define STEPS    30u
#define KEY_ROOM 24u
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HISTORIES 12u
#else
#define HISTORIES 60u
#endif

struct history {
    uint64_t seed;
    uint64_t random;
    struct fixture_engine f;
    char whole_log[500]; /* a data directory with the log of before any trim */
    omen_collection *c;
    uint8_t session[OMEN_SESSION_ID_BYTES];
    uint64_t next_seq;
    bool there[IDS];
    uint32_t expires[IDS];
    float vectors[IDS][DIM];
};

static float set[VECTORS][DIM];

static uint32_t pick(struct history *h, uint32_t below)
{
    return (uint32_t)(fixture_random(&h->random) % below);
}

static struct omen_id id_of(uint32_t i, char text[KEY_ROOM])
{
    if (i < IDS / 2) return omen_id_num(i);
    (void)snprintf(text, KEY_ROOM, "key of %u", i);
    return omen_id_key(text, (uint32_t)strlen(text));
}

static void run(const char *command)
{
    assert_int_equal(system(command), 0);
}

/* Before any step that may trim: a file that has grown is copied once more. */
static void keep_log(struct history *h)
{
    char command[2000];

    (void)snprintf(command, sizeof command, "cd '%s' && cp -r --parents */log-*.omen '%s'",
                   h->f.dir, h->whole_log);
    run(command);
}

static uint32_t random_chunk(struct history *h, omen_chunk *chunk, uint32_t points)
{
    const uint32_t deletes = pick(h, 3) == 0 ? pick(h, 20) : 0;
    char text[KEY_ROOM];

    for (uint32_t i = 0; i < points; i++) {
        const uint32_t id = pick(h, IDS);
        const float *vector = set[pick(h, 3) == 0 ? pick(h, 5) : pick(h, VECTORS)];
        const uint32_t ttl = pick(h, 6) == 0 ? 100000 + pick(h, 1000) : 0;

        fixture_chunk_add(chunk, i, id_of(id, text), vector, DIM, ttl);
        h->there[id] = true;
        h->expires[id] = ttl;
        memcpy(h->vectors[id], vector, sizeof h->vectors[id]);
    }
    for (uint32_t i = 0; i < deletes; i++) {
        const uint32_t id = pick(h, IDS);
        struct omen_id name = id_of(id, text);

        omen_chunk_delete(chunk, points + i, &name);
        h->there[id] = false;
    }
    return deletes;
}

/* Resumes the one session, and writes some chunks. */
static void write_some(struct history *h)
{
    struct omen_stream_options options = {.mode = OMEN_WRITE_UPSERT, .errors_seen_seq = 0};
    struct omen_stream_state state;
    struct fixture_stream *s;

    memcpy(options.session_id, h->session, sizeof options.session_id);
    s = fixture_stream_open_as(h->c, options);
    omen_stream_poll(fixture_stream_get(s), &state);
    assert_int_equal(state.next_seq, h->next_seq);
    memcpy(h->session, state.session_id, sizeof h->session);
    for (uint32_t n = 1 + pick(h, 4); n > 0; n--) {
        const uint32_t points = pick(h, 30);
        omen_chunk *chunk = fixture_chunk(s, points);

        (void)random_chunk(h, chunk, points);
        fixture_push_chunk(s, chunk);
        h->next_seq++;
        if (pick(h, 2) == 0) fixture_wait(s, &state);
    }
    fixture_wait(s, &state);
    assert_int_equal(state.code, OMEN_OK);
    fixture_stream_close(s);
}

static void checkpoint(struct history *h)
{
    struct omen_collection_info info;
    omen_error err;

    keep_log(h);
    if (omen_collection_checkpoint(h->c, &err) != OMEN_OK)
        fail_msg("seed %" PRIu64 ": %s", h->seed, err.message);
    omen_collection_get_info(h->c, &info);
    assert_int_equal(info.checkpoint.position, info.log_position);
}

static void expect_points(struct history *h, omen_collection *c)
{
    struct omen_id ids[IDS];
    char texts[IDS][KEY_ROOM];
    struct omen_got got[IDS];
    float vectors[IDS][DIM];
    uint64_t position = 0;
    omen_error err;

    for (uint32_t i = 0; i < IDS; i++)
        ids[i] = id_of(i, texts[i]);
    assert_int_equal(omen_collection_get_points(c, ids, IDS, got, vectors[0], &position, &err),
                     OMEN_OK);
    for (uint32_t i = 0; i < IDS; i++) {
        if (got[i].found != h->there[i])
            fail_msg("seed %" PRIu64 ": id %u is %s", h->seed, i,
                     got[i].found ? "there" : "not there");
        if (!got[i].found) continue;
        assert_memory_equal(vectors[i], h->vectors[i], sizeof vectors[i]);
        assert_int_equal(got[i].expires_s != 0, h->expires[i] != 0);
    }
}

static void expect_same(struct history *h, omen_collection *c, uint64_t hash)
{
    fixture_assert_sound(c);
    if (omen_collection_graph_hash(c) != hash)
        fail_msg("seed %" PRIu64 ": the graph is another", h->seed);
    expect_points(h, c);
}

static void restart(struct history *h)
{
    const uint64_t hash = omen_collection_graph_hash(h->c);
    struct omen_collection_info before;
    struct omen_collection_info after;

    omen_collection_get_info(h->c, &before);
    omen_collection_release(h->c);
    fixture_reopen(&h->f, 1 + pick(h, 2), pick(h, 3), NULL);
    h->c = fixture_acquire(&h->f, "kept");
    omen_collection_get_info(h->c, &after);
    assert_int_equal(after.checkpoint.position, before.checkpoint.position);
    assert_int_equal(after.checkpoint.damaged, 0);
    assert_int_equal(after.points, before.points);
    assert_int_equal(after.slots, before.slots);
    assert_int_equal(after.epoch, before.epoch);
    expect_same(h, h->c, hash);
}

/* The whole log, from its first record, without a checkpoint. */
static void compare_with_replay(struct history *h)
{
    const uint64_t hash = omen_collection_graph_hash(h->c);
    struct fixture_engine whole = {.engine = NULL};
    struct omen_collection_info info;
    omen_collection *c;

    keep_log(h);
    (void)snprintf(whole.dir, sizeof whole.dir, "%s", h->whole_log);
    fixture_reopen(&whole, 1, 0, NULL);
    c = fixture_acquire(&whole, "kept");
    omen_collection_get_info(c, &info);
    assert_int_equal(info.checkpoint.position, 0);
    expect_same(h, c, hash);
    omen_collection_release(c);
    fixture_close(&whole);
}

static void one_history(uint64_t seed, uint32_t *trims)
{
    static struct history h;
    const struct omen_collection_settings settings = {.dim = DIM,
                                                      .metric = (omen_metric)(1 + seed % 3),
                                                      .epoch_points = 40,
                                                      .checkpoint_bytes = 8192};
    char first_file[1200];

    h = (struct history){.seed = seed, .random = seed, .next_seq = 1};
    fixture_open(&h.f, 1, 0);
    (void)snprintf(h.whole_log, sizeof h.whole_log, "%.400s-whole", h.f.dir);
    assert_int_equal(mkdir(h.whole_log, 0700), 0);
    h.c = fixture_collection(&h.f, "kept", settings);
    for (uint32_t step = 0; step < STEPS; step++) {
        const uint32_t what = pick(&h, 10);

        if (what < 6) write_some(&h);
        if (what >= 6 && what < 8) checkpoint(&h);
        if (what >= 8) restart(&h);
    }
    expect_points(&h, h.c);
    compare_with_replay(&h);
    (void)snprintf(first_file, sizeof first_file,
                   "ls '%s'/*/log-00000000000000000001.omen >/dev/null 2>&1", h.f.dir);
    *trims += system(first_file) != 0;
    omen_collection_release(h.c);
    fixture_close(&h.f);
}

static void make_set(void)
{
    uint64_t seed = 20261125;

    for (uint32_t v = 0; v < VECTORS; v++)
        for (uint32_t i = 0; i < DIM; i++)
            set[v][i] =
                v < VECTORS / 3 ? (float)(1 + fixture_random(&seed) % 3) : fixture_normal(&seed);
}

static void a_restart_from_a_checkpoint_gives_what_the_whole_log_gives(void **state)
{
    uint32_t trims = 0;

    (void)state;
    make_set();
    for (uint64_t seed = 1; seed <= HISTORIES; seed++)
        one_history(seed, &trims);
    print_message("%u histories, the log of %u was trimmed\n", HISTORIES, trims);
    assert_true(trims > HISTORIES / 2);
}

/* Writes until there is a checkpoint, or so many chunks are written. */
static uint32_t chunks_until_checkpoint(uint32_t replay_ms_max, uint32_t chunks_max)
{
    const struct omen_collection_settings settings = {.dim = DIM, .metric = OMEN_METRIC_L2};
    float *rows = fixture_mixture(8, 40 * 200, DIM, 20);
    struct fixture_engine f;
    struct omen_engine_options options = {
        .ingest_threads = 1, .search_threads = 1, .replay_ms_max = replay_ms_max};
    struct omen_collection_info info = {.points = 0};
    uint32_t chunks = 0;
    omen_error err;

    fixture_open(&f, 1, 0);
    omen_engine_close(f.engine);
    options.data_dir = f.dir;
    assert_int_equal(omen_engine_open(&options, &f.engine, &err), OMEN_OK);
    omen_collection *c = fixture_collection(&f, "due", settings);
    for (; chunks < chunks_max && info.checkpoint.position == 0; chunks++) {
        fixture_insert(c, rows, chunks % 40 * 200, 200, 200); /* again: refused, but logged */
        omen_collection_get_info(c, &info);
    }
    assert_int_equal(info.checkpoint.failures, 0);
    omen_collection_release(c);
    fixture_close(&f);
    free(rows);
    return chunks;
}

static void a_checkpoint_comes_when_the_tail_takes_too_long_to_replay(void **state)
{
    (void)state;
    assert_true(chunks_until_checkpoint(1, 10000) < 10000);
    assert_int_equal(chunks_until_checkpoint(1000000, 40), 40);
    assert_int_equal(chunks_until_checkpoint(OMEN_REPLAY_MS_OFF, 40), 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restart_from_a_checkpoint_gives_what_the_whole_log_gives),
        cmocka_unit_test(a_checkpoint_comes_when_the_tail_takes_too_long_to_replay),
    };

    return cmocka_run_group_tests_name("checkpoints", tests, NULL, NULL);
}
