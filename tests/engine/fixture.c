/* fixture.c - see fixture.h. */
#include "tests/engine/fixture.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct fixture_stream {
    omen_stream *stream;
    uint32_t dim;
    uint64_t next_seq;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t events;
};

struct waiter {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool done;
};

uint32_t fixture_calibrate_seconds;

static void start(struct fixture_engine *f, uint32_t threads, uint32_t shards, const char *simd);
static void on_event(void *user);
static void on_done(struct omen_search *search);

/* Memory, if there is room: most of these tests are about what is written, not about the disk. */
static void make_directory(char *dir, size_t room)
{
    struct statvfs shm;
    bool fits = statvfs("/dev/shm", &shm) == 0 && access("/dev/shm", W_OK) == 0 &&
                (uint64_t)shm.f_bavail * shm.f_frsize >= (uint64_t)2 << 30;

    (void)snprintf(dir, room, "%s/omen-test-XXXXXX", fits ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(dir));
}

void fixture_open(struct fixture_engine *f, uint32_t threads, uint32_t shards)
{
    make_directory(f->dir, sizeof f->dir);
    start(f, threads, shards, NULL);
}

void fixture_reopen(struct fixture_engine *f, uint32_t threads, uint32_t shards, const char *simd)
{
    omen_engine_close(f->engine);
    start(f, threads, shards, simd);
}

void fixture_close(struct fixture_engine *f)
{
    char command[600];

    omen_engine_close(f->engine);
    f->engine = NULL;
    (void)snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
    assert_int_equal(system(command), 0);
}

void fixture_copy(const struct fixture_engine *from, struct fixture_engine *to)
{
    char command[1200];

    make_directory(to->dir, sizeof to->dir);
    (void)snprintf(command, sizeof command, "cp -r '%s/.' '%s'", from->dir, to->dir);
    assert_int_equal(system(command), 0);
    to->engine = NULL;
}

omen_collection *fixture_collection(struct fixture_engine *f, const char *name,
                                    struct omen_collection_settings settings)
{
    omen_error err = {0};
    omen_code code = omen_collection_create(f->engine, name, &settings, NULL, &err);

    if (code != OMEN_OK) fail_msg("create %s: %s", name, err.message);
    return fixture_acquire(f, name);
}

omen_collection *fixture_acquire(struct fixture_engine *f, const char *name)
{
    omen_collection *c = NULL;
    omen_error err = {0};

    if (omen_collection_acquire(f->engine, name, &c, &err) != OMEN_OK)
        fail_msg("acquire %s: %s", name, err.message);
    return c;
}

struct fixture_stream *fixture_stream_open(omen_collection *c, const uint8_t *session_id)
{
    struct omen_stream_options options = {.mode = OMEN_WRITE_INSERT_ONLY};

    if (session_id != NULL) memcpy(options.session_id, session_id, sizeof options.session_id);
    return fixture_stream_open_as(c, options);
}

struct fixture_stream *fixture_stream_open_as(omen_collection *c,
                                              struct omen_stream_options options)
{
    struct fixture_stream *s = calloc(1, sizeof *s);
    struct omen_stream_state state;
    omen_error err = {0};

    assert_non_null(s);
    options.event = on_event;
    options.event_user = s;
    (void)pthread_mutex_init(&s->mutex, NULL);
    (void)pthread_cond_init(&s->changed, NULL);
    s->dim = omen_collection_dim(c);
    if (omen_stream_open(c, &options, &s->stream, &err) != OMEN_OK)
        fail_msg("open a stream: %s", err.message);
    for (;;) {
        uint64_t seen;

        (void)pthread_mutex_lock(&s->mutex);
        seen = s->events;
        (void)pthread_mutex_unlock(&s->mutex);
        omen_stream_poll(s->stream, &state);
        assert_int_equal(state.code, OMEN_OK);
        if (state.opened) break;
        (void)pthread_mutex_lock(&s->mutex);
        while (s->events == seen)
            (void)pthread_cond_wait(&s->changed, &s->mutex);
        (void)pthread_mutex_unlock(&s->mutex);
    }
    s->next_seq = state.next_seq;
    return s;
}

omen_stream *fixture_stream_get(struct fixture_stream *s)
{
    return s->stream;
}

void fixture_push(struct fixture_stream *s, const uint64_t *ids, const float *vectors,
                  uint32_t count)
{
    omen_chunk *chunk = NULL;
    omen_error err = {0};

    assert_int_equal(omen_chunk_create(s->stream, count, &chunk, &err), OMEN_OK);
    if (count > 0) {
        float *rows = omen_chunk_rows(chunk, count);

        assert_non_null(rows);
        memcpy(rows, vectors, (size_t)count * s->dim * sizeof *rows);
        omen_chunk_add_many(chunk, count, 0, ids, 0);
    }
    fixture_push_chunk(s, chunk);
}

omen_chunk *fixture_chunk(struct fixture_stream *s, uint32_t points)
{
    omen_chunk *chunk = NULL;
    omen_error err = {0};

    assert_int_equal(omen_chunk_create(s->stream, points, &chunk, &err), OMEN_OK);
    return chunk;
}

void fixture_push_chunk(struct fixture_stream *s, omen_chunk *chunk)
{
    omen_error err = {0};

    if (omen_stream_push(s->stream, s->next_seq, chunk, &err) != OMEN_OK)
        fail_msg("push %llu: %s", (unsigned long long)s->next_seq, err.message);
    s->next_seq++;
}

void fixture_chunk_add(omen_chunk *chunk, uint32_t index, struct omen_id id, const float *vector,
                       uint32_t dim, uint32_t ttl_s)
{
    float *row = omen_chunk_row(chunk);

    assert_non_null(row);
    memcpy(row, vector, dim * sizeof *row);
    omen_chunk_add(chunk, index, &id, ttl_s);
}

void fixture_assert_sound(omen_collection *c)
{
    struct omen_validation v;
    omen_error err = {0};
    omen_code code = OMEN_FAILED_PRECONDITION;

    /* Searchable comes before the epoch's receipts are all told: a moment of patience. */
    for (uint32_t i = 0; i < 100000 && code == OMEN_FAILED_PRECONDITION; i++)
        code = omen_collection_validate(c, &v, &err);
    if (code != OMEN_OK) fail_msg("%s", err.message);
}

void fixture_wait(struct fixture_stream *s, struct omen_stream_state *out)
{
    for (;;) {
        uint64_t seen;

        (void)pthread_mutex_lock(&s->mutex);
        seen = s->events;
        (void)pthread_mutex_unlock(&s->mutex);
        omen_stream_poll(s->stream, out);
        if (out->code != OMEN_OK || out->searchable_seq == out->received_seq) return;
        (void)pthread_mutex_lock(&s->mutex);
        while (s->events == seen)
            (void)pthread_cond_wait(&s->changed, &s->mutex);
        (void)pthread_mutex_unlock(&s->mutex);
    }
}

void fixture_stream_close(struct fixture_stream *s)
{
    omen_stream_close(s->stream);
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->mutex);
    free(s);
}

void fixture_insert(omen_collection *c, const float *vectors, uint32_t first, uint32_t count,
                    uint32_t chunk)
{
    struct fixture_stream *s = fixture_stream_open(c, NULL);
    struct omen_stream_state state;
    uint64_t *ids = calloc(chunk, sizeof *ids);

    assert_non_null(ids);
    for (uint32_t at = 0; at < count; at += chunk) {
        uint32_t n = count - at < chunk ? count - at : chunk;

        for (uint32_t i = 0; i < n; i++)
            ids[i] = first + at + i;
        /* As the service does: wait while there is no room. */
        for (omen_stream_poll(s->stream, &state); !state.room; omen_stream_poll(s->stream, &state))
            fixture_wait(s, &state);
        fixture_push(s, ids, vectors + (size_t)(first + at) * s->dim, n);
    }
    fixture_wait(s, &state);
    if (state.code != OMEN_OK) fail_msg("insert: %s", state.error.message);
    fixture_stream_close(s);
    free(ids);
}

void fixture_search(omen_collection *c, const float *queries, uint32_t count, uint32_t k,
                    uint32_t ef, struct omen_search *out)
{
    struct waiter w = {.done = false};
    omen_error err = {0};

    (void)pthread_mutex_init(&w.mutex, NULL);
    (void)pthread_cond_init(&w.changed, NULL);
    *out = (struct omen_search){
        .collection = c,
        .queries = queries,
        .count = count,
        .options = {.k = k, .ef = ef == FIXTURE_EXACT ? 0 : ef, .exact = ef == FIXTURE_EXACT},
        .done = on_done,
        .user = &w};
    if (omen_search_submit(out, &err) != OMEN_OK) fail_msg("search: %s", err.message);
    (void)pthread_mutex_lock(&w.mutex);
    while (!w.done)
        (void)pthread_cond_wait(&w.changed, &w.mutex);
    (void)pthread_mutex_unlock(&w.mutex);
    if (out->code != OMEN_OK) fail_msg("search: %s", out->error.message);
    (void)pthread_cond_destroy(&w.changed);
    (void)pthread_mutex_destroy(&w.mutex);
}

uint64_t fixture_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* The sum of 12 uniform numbers less 6: near enough, and free of log and cos. */
float fixture_normal(uint64_t *state)
{
    float sum = -6.0f;

    for (int i = 0; i < 12; i++)
        sum += (float)(fixture_random(state) >> 40) / 16777216.0f;
    return sum;
}

float *fixture_mixture(uint64_t seed, uint32_t count, uint32_t dim, uint32_t centres)
{
    float *middle = calloc((size_t)centres * dim, sizeof *middle);
    float *rows = calloc((size_t)count * dim, sizeof *rows);

    assert_non_null(middle);
    assert_non_null(rows);
    for (size_t i = 0; i < (size_t)centres * dim; i++)
        middle[i] = fixture_normal(&seed);
    for (uint32_t r = 0; r < count; r++) {
        const float *m = middle + (fixture_random(&seed) % centres) * dim;

        for (uint32_t i = 0; i < dim; i++)
            rows[(size_t)r * dim + i] = m[i] + 0.7f * fixture_normal(&seed);
    }
    free(middle);
    return rows;
}

double fixture_recall(omen_collection *c, const float *queries, uint32_t count, uint32_t k,
                      uint32_t ef, double *visited)
{
    uint32_t dim = omen_collection_dim(c);
    uint64_t hits = 0;
    uint64_t seen = 0;

    for (uint32_t first = 0; first < count; first += 200) {
        uint32_t n = count - first < 200 ? count - first : 200;
        struct omen_search exact;
        struct omen_search found;

        fixture_search(c, queries + (size_t)first * dim, n, k, FIXTURE_EXACT, &exact);
        fixture_search(c, queries + (size_t)first * dim, n, k, ef, &found);
        for (uint32_t q = 0; q < n; q++) {
            float kth = exact.results[q].hits[exact.results[q].hit_count - 1].distance;

            assert_false(found.results[q].exact);
            for (uint32_t i = 0; i < found.results[q].hit_count; i++)
                hits += found.results[q].hits[i].distance <= kth;
            seen += found.results[q].visited;
        }
        omen_search_deinit(&exact);
        omen_search_deinit(&found);
    }
    if (visited != NULL) *visited = (double)seen / count;
    return (double)hits / ((double)count * k);
}

/* Without checkpoints of its own, which come by time: on a slow machine they would make restarts
 * that shall replay a log read a checkpoint instead. */
static void start(struct fixture_engine *f, uint32_t threads, uint32_t shards, const char *simd)
{
    struct omen_engine_options options = {.data_dir = f->dir,
                                          .ingest_threads = threads,
                                          .shards = shards,
                                          .search_threads = 2,
                                          .replay_ms_max = OMEN_REPLAY_MS_OFF,
                                          .simd = simd,
                                          .calibrate_seconds = fixture_calibrate_seconds,
                                          .calibrate_percent = 100};
    omen_error err = {0};

    f->engine = NULL;
    if (omen_engine_open(&options, &f->engine, &err) != OMEN_OK)
        fail_msg("open %s: %s", f->dir, err.message);
}

static void on_event(void *user)
{
    struct fixture_stream *s = user;

    (void)pthread_mutex_lock(&s->mutex);
    s->events++;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->mutex);
}

static void on_done(struct omen_search *search)
{
    struct waiter *w = search->user;

    (void)pthread_mutex_lock(&w->mutex);
    w->done = true;
    (void)pthread_cond_broadcast(&w->changed);
    (void)pthread_mutex_unlock(&w->mutex);
}
