/* memory_test.c - each allocation of a short life fails once: nothing crashes, leaks or waits for
 * ever, and what was acknowledged is there after a restart.
 *
 * The allocator is this file's: it stands before engine/memory.c, which the linker then leaves out.
 */
#include "tests/engine/fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/memory.h"

#define DIM    8u
#define POINTS 40u
#define CHUNKS 3u

/* ---- the allocator ------------------------------------------------------------------------ */

static _Atomic int64_t left; /* allocations until the one that fails; 0 or less: none does */

static bool fails(void)
{
    return atomic_load(&left) > 0 && atomic_fetch_sub(&left, 1) == 1;
}

void *omen_alloc(size_t bytes)
{
    return fails() ? NULL : malloc(bytes == 0 ? 1 : bytes);
}

void *omen_alloc_zeroed(size_t bytes)
{
    return fails() ? NULL : calloc(1, bytes == 0 ? 1 : bytes);
}

void *omen_alloc_aligned(size_t bytes)
{
    return fails() ? NULL : aligned_alloc(64, (bytes + 64) / 64 * 64);
}

void *omen_realloc(void *old, size_t bytes)
{
    return fails() ? NULL : realloc(old, bytes == 0 ? 1 : bytes);
}

void omen_free(void *p)
{
    free(p);
}

void *omen_pages_map(size_t bytes)
{
    void *pages = fails() ? MAP_FAILED
                          : mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return pages == MAP_FAILED ? NULL : pages;
}

void omen_pages_unmap(void *pages, size_t bytes)
{
    if (pages != NULL) (void)munmap(pages, bytes);
}

void omen_pages_huge(void *pages, size_t bytes)
{
    (void)pages;
    (void)bytes;
}

/* ---- a short life ------------------------------------------------------------------------- */

struct signal {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t events;
};

static void raise_signal(struct signal *s)
{
    (void)pthread_mutex_lock(&s->mutex);
    s->events++;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->mutex);
}

static uint64_t wait_signal(struct signal *s, uint64_t seen)
{
    (void)pthread_mutex_lock(&s->mutex);
    while (s->events == seen)
        (void)pthread_cond_wait(&s->changed, &s->mutex);
    seen = s->events;
    (void)pthread_mutex_unlock(&s->mutex);
    return seen;
}

static void on_event(void *user)
{
    raise_signal(user);
}

static void on_done(struct omen_search *search)
{
    raise_signal(search->user);
}

/* A push that fails for want of memory may be tried again with the same number. */
static omen_code push(omen_stream *stream, uint64_t seq, const float *rows, omen_error *err)
{
    omen_code code = OMEN_OK;

    for (int attempt = 0; attempt < 2; attempt++) {
        omen_chunk *chunk = NULL;
        struct omen_stream_state state;
        uint64_t ids[POINTS];

        for (uint32_t i = 0; i < POINTS; i++)
            ids[i] = seq * POINTS + i;
        code = omen_chunk_create(stream, POINTS, &chunk, err);
        if (code != OMEN_OK) continue;
        memcpy(omen_chunk_rows(chunk, POINTS), rows, (size_t)POINTS * DIM * sizeof *rows);
        omen_chunk_add_many(chunk, POINTS, 0, ids, 0);
        code = omen_stream_push(stream, seq, chunk, err);
        omen_stream_poll(stream, &state);
        if (state.code != OMEN_OK) break;
        assert_int_equal(state.received_seq, code == OMEN_OK ? seq : seq - 1);
        if (code == OMEN_OK) break;
    }
    return code;
}

/* Returns the points that were acknowledged. */
static uint64_t insert(omen_collection *c, const float *rows, omen_error *err)
{
    struct signal s = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    struct omen_stream_options options = {
        .mode = OMEN_WRITE_INSERT_ONLY, .event = on_event, .event_user = &s};
    struct omen_stream_state state;
    omen_stream *stream = NULL;
    uint64_t seen = 0;
    uint64_t pushed = 0;

    if (omen_stream_open(c, &options, &stream, err) != OMEN_OK) return 0;
    for (omen_stream_poll(stream, &state); !state.opened && state.code == OMEN_OK;
         omen_stream_poll(stream, &state))
        seen = wait_signal(&s, seen);
    while (pushed < CHUNKS &&
           push(stream, pushed + 1, rows + (size_t)pushed * POINTS * DIM, err) == OMEN_OK)
        pushed++;
    for (omen_stream_poll(stream, &state); state.searchable_seq < pushed && state.code == OMEN_OK;
         omen_stream_poll(stream, &state))
        seen = wait_signal(&s, seen);
    omen_stream_close(stream);
    return state.durable_seq * POINTS;
}

/* One chunk of keys, times to live and deletes, all of ids that insert() does not use. */
static omen_code push_mixed(omen_stream *stream, uint64_t seq, const float *rows, omen_error *err)
{
    omen_chunk *chunk = NULL;
    omen_code code = omen_chunk_create(stream, POINTS, &chunk, err);

    if (code != OMEN_OK) return code;
    for (uint32_t i = 0; i < POINTS; i++) {
        const char key[3] = {'k', (char)('a' + i % 20), (char)('a' + seq % 3)};
        struct omen_id id =
            i % 2 == 0 ? omen_id_key(key, sizeof key) : omen_id_num(1000 + (i + seq) % 30);

        memcpy(omen_chunk_row(chunk), rows + (size_t)((i + seq) % 50) * DIM, DIM * sizeof *rows);
        omen_chunk_add(chunk, i, &id, i % 5 == 0 ? 1 : 0);
    }
    for (uint32_t i = 0; i < POINTS; i++) {
        struct omen_id id = omen_id_num(1000 + (i * 7 + seq) % 60);

        omen_chunk_delete(chunk, POINTS + i, &id);
    }
    omen_chunk_refuse(chunk, 2 * POINTS, NULL, OMEN_REFUSED_ID_MISSING, 0);
    return omen_stream_push(stream, seq, chunk, err);
}

/* Enough for several checkpoints; a session of its own, opened twice. */
static void update(omen_collection *c, const float *rows, omen_error *err)
{
    struct signal s = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    struct omen_stream_options options = {
        .session_id = {5}, .mode = OMEN_WRITE_UPSERT, .event = on_event, .event_user = &s};
    struct omen_item_error errors[4];
    struct omen_stream_state state;
    uint64_t complete;

    for (uint32_t round = 0; round < 2; round++) {
        omen_stream *stream = NULL;
        uint64_t seen = 0;

        s.events = 0;
        if (omen_stream_open(c, &options, &stream, err) != OMEN_OK) return;
        for (omen_stream_poll(stream, &state); !state.opened && state.code == OMEN_OK;
             omen_stream_poll(stream, &state))
            seen = wait_signal(&s, seen);
        uint64_t first = state.next_seq;
        for (uint64_t seq = first; state.code == OMEN_OK && seq < first + 4; seq++) {
            if (push_mixed(stream, seq, rows, err) != OMEN_OK) break;
            for (omen_stream_poll(stream, &state);
                 state.searchable_seq < seq && state.code == OMEN_OK;
                 omen_stream_poll(stream, &state))
                seen = wait_signal(&s, seen);
        }
        (void)omen_stream_take_errors(stream, errors, 4, &complete);
        omen_stream_close(stream);
    }
}

static void get(omen_collection *c, omen_error *err)
{
    struct omen_id ids[2] = {omen_id_num(1), omen_id_key("kaa", 3)};
    struct omen_got got[2];
    float vectors[2][DIM];
    uint64_t position;

    if (omen_collection_get_points(c, ids, 2, got, vectors[0], &position, err) == OMEN_OK)
        assert_true(position > 0);
}

static void search(omen_collection *c, const float *rows, bool exact, omen_error *err)
{
    struct signal s = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    struct omen_search request = {.collection = c,
                                  .queries = rows,
                                  .count = POINTS,
                                  .options = {.k = 5, .exact = exact},
                                  .done = on_done,
                                  .user = &s};

    if (omen_search_submit(&request, err) == OMEN_OK) (void)wait_signal(&s, 0);
    omen_search_deinit(&request);
}

/* One that fails for want of memory is given up, and nothing else: the next call makes one, unless
 * the collection failed at the record itself. */
static void checkpoint(omen_collection *c, omen_error *err)
{
    omen_code code = omen_collection_checkpoint(c, err);

    if (code == OMEN_RESOURCE_EXHAUSTED) code = omen_collection_checkpoint(c, err);
    if (code != OMEN_OK && code != OMEN_UNAVAILABLE) fail_msg("a checkpoint: %s", err->message);
}

static uint64_t live(const char *dir, const float *rows)
{
    const struct omen_engine_options options = {
        .data_dir = dir, .ingest_threads = 1, .shards = 1, .search_threads = 1};
    const struct omen_collection_settings settings = {
        .dim = DIM, .metric = OMEN_METRIC_L2, .checkpoint_bytes = OMEN_CHECKPOINT_BYTES_MIN};
    omen_engine *engine = NULL;
    omen_collection *c = NULL;
    omen_error err = {0};
    uint64_t acknowledged = 0;
    omen_code code = omen_engine_open(&options, &engine, &err);

    if (code == OMEN_OK) code = omen_collection_create(engine, "a", &settings, NULL, &err);
    if (code == OMEN_OK) code = omen_collection_acquire(engine, "a", &c, &err);
    if (code == OMEN_OK) {
        acknowledged = insert(c, rows, &err);
        search(c, rows, false, &err);
        search(c, rows, true, &err);
        checkpoint(c, &err);
        update(c, rows, &err);
        checkpoint(c, &err);
        update(c, rows, &err);
        get(c, &err);
    }
    omen_collection_release(c);
    omen_engine_close(engine);
    if (omen_engine_open(&options, &engine, &err) == OMEN_OK) /* the replay's turn to fail */
        omen_engine_close(engine);
    return acknowledged;
}

static void every_allocation_may_fail(void **state)
{
    float *rows = fixture_mixture(6, POINTS * CHUNKS, DIM, 4);
    int64_t nth = 0;
    bool hit = true;

    (void)state;
    while (hit) {
        struct omen_collection_info info = {.points = 0};
        struct fixture_engine f;
        omen_collection *c = NULL;
        omen_error err;
        uint64_t acknowledged;

        fixture_open(&f, 1, 1);
        omen_engine_close(f.engine);
        f.engine = NULL;
        atomic_store(&left, ++nth);
        acknowledged = live(f.dir, rows);
        hit = atomic_exchange(&left, 0) <= 0;

        fixture_reopen(&f, 1, 1, NULL);
        if (omen_collection_acquire(f.engine, "a", &c, &err) == OMEN_OK)
            omen_collection_get_info(c, &info);
        if (c != NULL) fixture_assert_sound(c);
        assert_true(info.points >= acknowledged);
        omen_collection_release(c);
        fixture_close(&f);
    }
    print_message("%lld allocations failed, one at a time\n", (long long)nth - 1);
    assert_true(nth > 100);
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
