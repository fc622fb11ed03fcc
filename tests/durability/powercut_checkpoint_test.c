/* powercut_checkpoint_test.c - an engine that writes checkpoints over a disk that loses power.
 *
 * Histories of inserts, updates, deletes, keys, refusals and a session that resumes, with
 * checkpoints in between, cut at a random change of the disk. After each cut the collection is
 * valid, has exactly the chunks that its session says, no fewer than were acknowledged; and in all
 * that a replay needs it equals a collection that was made of the same log, from its first record
 * on, without any checkpoint.
 */
#include "tests/engine/fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/collection.h"
#include "engine/storage_memory.h"
#include "tests/durability/keeping_storage.h"

#define DIM     4u
#define IDS     60u /* the odd ones are keys */
#define VECTORS 40u
#define LIVES   3u
#define CHUNKS  12u /* in one life */
#define OPS     14u /* in one chunk */

struct op {
    uint32_t id;
    uint32_t vector; /* VECTORS: a delete */
};
struct chunk {
    struct op ops[OPS];
    uint32_t count;
};

struct history {
    uint64_t seed;
    uint64_t random;
    struct omen_storage *memory;
    struct keeping_storage storage;
    struct fixture_engine f;
    char other[64]; /* the data directory of the collection that is compared with */
    struct chunk chunks[LIVES * CHUNKS];
    uint64_t pushed, durable; /* chunks of the session, which are numbered from 1 */
};

static const uint8_t session_id[OMEN_SESSION_ID_BYTES] = "powercut session";
static float set[VECTORS][DIM];

static uint32_t histories(void)
{
    const char *wanted = getenv("OMEN_TEST_LONG");
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    const uint32_t usual = 60;
#else
    const uint32_t usual = 400;
#endif

    return wanted != NULL && strcmp(wanted, "1") == 0 ? 10000 : usual;
}

static uint32_t pick(struct history *h, uint32_t below)
{
    return (uint32_t)(fixture_random(&h->random) % below);
}

static struct omen_id id_of(uint32_t i, char text[12])
{
    if (i % 2 == 0) return omen_id_num(i);
    (void)snprintf(text, 12, "k%u", i);
    return omen_id_key(text, (uint32_t)strlen(text));
}

static void open_engine(const struct history *h, const char *dir, struct omen_storage *storage,
                        omen_engine **out)
{
    const struct omen_engine_options options = {.data_dir = dir,
                                                .ingest_threads = 1,
                                                .search_threads = 1,
                                                .storage = storage,
                                                .replay_ms_max = OMEN_REPLAY_MS_OFF};
    omen_error err = {0};

    if (omen_engine_open(&options, out, &err) != OMEN_OK)
        fail_msg("seed %" PRIu64 ": open: %s", h->seed, err.message);
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Points first, then deletes. */
static void make_chunk(struct history *h, struct chunk *chunk)
{
    const uint32_t points = pick(h, OPS - 4);
    const uint32_t deletes = pick(h, 3) == 0 ? pick(h, 5) : 0;

    chunk->count = points + deletes;
    for (uint32_t i = 0; i < chunk->count; i++)
        chunk->ops[i] = (struct op){pick(h, IDS), i < points ? pick(h, VECTORS) : VECTORS};
}

static bool push(omen_stream *stream, uint64_t seq, const struct chunk *ops)
{
    omen_chunk *chunk = NULL;
    omen_error err;

    if (omen_chunk_create(stream, OPS, &chunk, &err) != OMEN_OK) return false;
    for (uint32_t i = 0; i < ops->count; i++) {
        char text[12];
        const struct omen_id id = id_of(ops->ops[i].id, text);

        if (ops->ops[i].vector == VECTORS)
            omen_chunk_delete(chunk, i, &id);
        else
            fixture_chunk_add(chunk, i, id, set[ops->ops[i].vector], DIM, i % 5 == 0 ? 90000 : 0);
    }
    omen_chunk_refuse(chunk, OPS, NULL, OMEN_REFUSED_ID_MISSING, 0); /* an item error of each */
    return omen_stream_push(stream, seq, chunk, &err) == OMEN_OK;
}

/* By a call, or beside the stream. Whether it succeeds the power decides. */
static void checkpoint(struct history *h, omen_collection *c)
{
    omen_error err;

    if (pick(h, 2) == 0)
        (void)!omen_collection_checkpoint(c, &err);
    else
        omen_checkpointer_want(c);
}

static void write_until_cut(struct history *h, omen_collection *c)
{
    struct omen_stream_options options = {.mode = OMEN_WRITE_UPSERT};
    const struct omen_storage_faults faults = {.cut_at = 1 + pick(h, 250),
                                               .short_transfers = h->seed % 4 == 0};
    struct omen_stream_state state;
    struct fixture_stream *s;

    memcpy(options.session_id, session_id, sizeof session_id);
    s = fixture_stream_open_as(c, options);
    omen_stream_poll(fixture_stream_get(s), &state);
    assert_int_equal(state.next_seq, h->pushed + 1);
    omen_storage_memory_set_faults(h->memory, &faults);
    for (uint32_t i = 0; i < CHUNKS; i++) {
        struct chunk *chunk = &h->chunks[h->pushed];

        make_chunk(h, chunk);
        if (pick(h, 4) == 0) checkpoint(h, c);
        if (!push(fixture_stream_get(s), h->pushed + 1, chunk)) break;
        h->pushed++;
        if (pick(h, 3) == 0) fixture_wait(s, &state);
    }
    fixture_wait(s, &state);
    omen_stream_poll(fixture_stream_get(s), &state);
    if (state.durable_seq > h->durable) h->durable = state.durable_seq;
    fixture_stream_close(s);
}

/* ---- after the cut ------------------------------------------------------------------------- */

static void expect_contents(const struct history *h, omen_collection *c)
{
    uint32_t vectors[IDS];
    struct omen_id ids[IDS];
    char texts[IDS][12];
    struct omen_got got[IDS];
    float found[IDS][DIM];
    uint64_t position = 0;
    omen_error err;

    for (uint32_t i = 0; i < IDS; i++) {
        vectors[i] = VECTORS;
        ids[i] = id_of(i, texts[i]);
    }
    for (uint64_t n = 0; n < h->pushed; n++)
        for (uint32_t i = 0; i < h->chunks[n].count; i++)
            vectors[h->chunks[n].ops[i].id] = h->chunks[n].ops[i].vector;
    assert_int_equal(omen_collection_get_points(c, ids, IDS, got, found[0], &position, &err),
                     OMEN_OK);
    for (uint32_t i = 0; i < IDS; i++) {
        if (got[i].found != (vectors[i] != VECTORS))
            fail_msg("seed %" PRIu64 ": id %u is %sthere", h->seed, i, got[i].found ? "" : "not ");
        if (got[i].found) assert_memory_equal(found[i], set[vectors[i]], sizeof found[i]);
    }
}

static void expect_same_sessions(const struct omen_sessions *a, const struct omen_sessions *b)
{
    const struct omen_session *y = b->oldest;

    assert_int_equal(a->count, b->count);
    assert_int_equal(a->error_count, b->error_count);
    for (const struct omen_session *x = a->oldest; x != NULL; x = x->newer, y = y->newer) {
        assert_memory_equal(x->id, y->id, sizeof x->id);
        assert_int_equal(x->generation, y->generation);
        assert_int_equal(x->last_seq, y->last_seq);
        assert_int_equal(x->last_epoch, y->last_epoch);
        assert_int_equal(x->touched_s, y->touched_s);
        assert_int_equal(x->errors_from_seq, y->errors_from_seq);
        assert_int_equal(x->error_count, y->error_count);
        for (uint32_t i = 0; i < x->error_count; i++) {
            assert_int_equal(x->errors[i].seq, y->errors[i].seq);
            assert_int_equal(x->errors[i].index, y->errors[i].index);
            assert_int_equal(x->errors[i].refusal, y->errors[i].refusal);
        }
    }
}

static void expect_same_slots(struct omen_slots *a, struct omen_slots *b)
{
    assert_int_equal(a->count, b->count);
    omen_slots_sort(a); /* the collections are not used any more */
    omen_slots_sort(b);
    if (a->count > 0) assert_memory_equal(a->slots, b->slots, a->count * sizeof *a->slots);
}

/* All that decides what the next record does. */
static void expect_same(struct omen_admit *a, struct omen_admit *b)
{
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->epoch_number, b->epoch_number);
    assert_int_equal(a->slot_count, b->slot_count);
    assert_int_equal(a->point_count, b->point_count);
    assert_int_equal(a->pivots, b->pivots);
    assert_int_equal(a->living_pivots, b->living_pivots);
    assert_int_equal(a->quiet_boundaries, b->quiet_boundaries);
    assert_int_equal(a->clock_s, b->clock_s);
    assert_int_equal(a->sweep_asked, b->sweep_asked);
    assert_int_equal(a->algorithm, b->algorithm);
    assert_int_equal(a->checkpoint_bytes, b->checkpoint_bytes);
    assert_int_equal(a->checkpoint_epoch, b->checkpoint_epoch);
    assert_true(a->phi_squared == b->phi_squared);
    assert_int_equal(a->codes.count, b->codes.count);
    expect_same_sessions(&a->sessions, &b->sessions);
    expect_same_slots(&a->dead, &b->dead);
    expect_same_slots(&a->swept, &b->swept);
    expect_same_slots(&a->free, &b->free);
    expect_same_slots(&a->unerased, &b->unerased);
    expect_same_slots(&a->erasable, &b->erasable);
}

static void compare_with_undisturbed(struct history *h, omen_collection *c)
{
    const char *name = strrchr(c->dir, '/') + 1;
    struct omen_storage *storage = NULL;
    omen_engine *engine = NULL;
    omen_collection *other = NULL;
    omen_error err;

    assert_int_equal(omen_storage_memory_create(1, &storage, &err), OMEN_OK);
    keeping_storage_copy_log(&h->storage, c->dir, storage, h->other, name);
    open_engine(h, h->other, storage, &engine);
    assert_int_equal(omen_collection_acquire(engine, "cut", &other, &err), OMEN_OK);
    assert_int_equal(other->checkpoints.manifest.count, 0);
    if (omen_collection_graph_hash(c) != omen_collection_graph_hash(other))
        fail_msg("seed %" PRIu64 ": another graph than the log's", h->seed);
    (void)pthread_mutex_lock(&c->admit_mutex);
    expect_same(&c->admit, &other->admit);
    (void)pthread_mutex_unlock(&c->admit_mutex);
    omen_collection_release(other);
    omen_engine_close(engine);
    omen_storage_memory_destroy(storage);
}

static omen_collection *open_collection(struct history *h)
{
    struct omen_validation v;
    omen_error err = {0};

    open_engine(h, h->f.dir, &h->storage.base, &h->f.engine);
    omen_collection *c = fixture_acquire(&h->f, "cut");
    if (omen_collection_validate(c, &v, &err) != OMEN_OK)
        fail_msg("seed %" PRIu64 ": %s", h->seed, err.message);
    return c;
}

/* What the session says that there is. */
static void count_durable(struct history *h, omen_collection *c)
{
    const struct omen_session *session = omen_session_find(&c->admit.sessions, session_id);
    const uint64_t there = session == NULL ? 0 : session->last_seq;

    if (there < h->durable || there > h->pushed)
        fail_msg("seed %" PRIu64 ": %" PRIu64 " chunks; %" PRIu64 " were durable, %" PRIu64
                 " pushed",
                 h->seed, there, h->durable, h->pushed);
    h->pushed = h->durable = there;
}

struct tally {
    uint32_t cuts, from_checkpoint, trimmed;
};

static void one_life(struct history *h, struct tally *tally)
{
    omen_collection *c = open_collection(h);
    omen_error err;

    write_until_cut(h, c);
    omen_collection_release(c);
    omen_engine_close(h->f.engine);
    tally->cuts += omen_storage_memory_is_dead(h->memory);
    assert_int_equal(omen_storage_memory_restart(h->memory, &err), OMEN_OK);

    c = open_collection(h);
    assert_int_equal(c->checkpoints.info.damaged, 0);
    tally->from_checkpoint += c->checkpoints.manifest.count > 0;
    tally->trimmed += h->storage.files != NULL;
    count_durable(h, c);
    expect_contents(h, c);
    compare_with_undisturbed(h, c); /* spoils the lists: */
    omen_collection_release(c);
    omen_engine_close(h->f.engine);
}

static void one_history(uint64_t seed, struct tally *tally, const char *dir, const char *other)
{
    static struct history h;
    const struct omen_collection_settings settings = {.dim = DIM,
                                                      .metric = (omen_metric)(1 + seed % 3),
                                                      .epoch_points = 30,
                                                      .checkpoint_bytes = 4096};
    omen_error err;

    h = (struct history){.seed = seed, .random = seed};
    (void)snprintf(h.f.dir, sizeof h.f.dir, "%s", dir);
    (void)snprintf(h.other, sizeof h.other, "%s", other);
    assert_int_equal(omen_storage_memory_create(seed, &h.memory, &err), OMEN_OK);
    keeping_storage_init(&h.storage, h.memory);
    open_engine(&h, h.f.dir, &h.storage.base, &h.f.engine);
    omen_collection_release(fixture_collection(&h.f, "cut", settings));
    omen_engine_close(h.f.engine);
    for (uint32_t life = 0; life < LIVES; life++)
        one_life(&h, tally);
    keeping_storage_deinit(&h.storage);
    omen_storage_memory_destroy(h.memory);
}

static void no_power_cut_around_a_checkpoint_changes_what_the_log_says(void **state)
{
    char dir[] = "/tmp/omen-test-XXXXXX";
    char other[] = "/tmp/omen-test-XXXXXX";
    const uint32_t count = histories();
    struct tally tally = {0};
    uint64_t seed = 7;
    char command[100];

    (void)state;
    for (uint32_t v = 0; v < VECTORS; v++)
        for (uint32_t d = 0; d < DIM; d++)
            set[v][d] =
                v % 3 == 0 ? (float)(1 + fixture_random(&seed) % 2) : fixture_normal(&seed) + 8.0f;
    assert_non_null(mkdtemp(dir));
    assert_non_null(mkdtemp(other));
    for (uint64_t n = 1; n <= count; n++)
        one_history(n, &tally, dir, other);
    (void)snprintf(command, sizeof command, "rm -r '%s' '%s'", dir, other);
    assert_int_equal(system(command), 0);
    print_message("%u histories, %u power cuts; %u starts from a checkpoint, %u of a trimmed log\n",
                  count, tally.cuts, tally.from_checkpoint, tally.trimmed);
    assert_true(tally.cuts > count && tally.from_checkpoint > count && tally.trimmed > count / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_power_cut_around_a_checkpoint_changes_what_the_log_says),
    };

    return cmocka_run_group_tests_name("power cuts around checkpoints", tests, NULL, NULL);
}
