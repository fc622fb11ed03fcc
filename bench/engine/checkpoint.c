/* checkpoint.c - omen_checkpoint_bench: what a checkpoint costs, and what it saves.
 *
 *     omen_checkpoint_bench DIR build ROWS DIM   makes a collection of seeded rows, then closes
 *     omen_checkpoint_bench DIR pause ROWS       opens it, streams so many rows more while queries
 *                                                are asked, with a checkpoint in the midst
 *     omen_checkpoint_bench DIR load             opens and closes it
 *
 * Each says on standard output, as JSON, how long what took. Remove the files checkpoint*.omen
 * after `build`, and `load` replays the whole log (which one checkpoint does not trim). `pause`
 * tells the longest time between two acknowledgements and the longest query, both before and during
 * the checkpoint, and for how long the threads themselves stood still.
 *
 * Failure modes: whatever fails ends the program with status 1 and a sentence.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load/clock.h"
#include "engine/engine.h"

#define CENTRES 1000u
#define CHUNK   200u

struct writer {
    omen_collection *collection;
    omen_stream *stream;
    uint32_t dim;
    uint64_t random;
    float *centres;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

struct asking {
    omen_collection *collection;
    const float *query;
    _Atomic bool stop;
    _Atomic uint64_t longest_ns; /* since it was last set to 0 */
    pthread_mutex_t mutex;
    pthread_cond_t done;
    bool answered;
};

static void fail(const char *what, const omen_error *err)
{
    (void)fprintf(stderr, "omen_checkpoint_bench: %s: %s\n", what, err->message);
    exit(EXIT_FAILURE);
}

static uint64_t now_ns(void)
{
    return (uint64_t)omen_load_clock_now();
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static float next_uniform(uint64_t *state)
{
    return (float)(next_random(state) >> 40) / 8388608.0f - 1.0f;
}

static void open_engine(const char *dir, omen_engine **out)
{
    const struct omen_engine_options options = {.data_dir = dir,
                                                .replay_ms_max = OMEN_REPLAY_MS_OFF};
    omen_error err;

    if (omen_engine_open(&options, out, &err) != OMEN_OK) fail("open", &err);
}

/* ---- writing ------------------------------------------------------------------------------- */

static void on_event(void *user)
{
    struct writer *w = user;

    (void)pthread_mutex_lock(&w->mutex);
    (void)pthread_cond_signal(&w->changed);
    (void)pthread_mutex_unlock(&w->mutex);
}

static void begin_writing(struct writer *w, omen_collection *c)
{
    const struct omen_stream_options options = {
        .mode = OMEN_WRITE_UPSERT, .sessionless = true, .event = on_event, .event_user = w};
    uint64_t seed = 20261125;
    omen_error err;

    w->collection = c;
    w->dim = omen_collection_dim(c);
    (void)pthread_mutex_init(&w->mutex, NULL);
    (void)pthread_cond_init(&w->changed, NULL);
    w->centres = malloc((size_t)CENTRES * w->dim * sizeof *w->centres);
    if (w->centres == NULL) exit(EXIT_FAILURE);
    for (size_t i = 0; i < (size_t)CENTRES * w->dim; i++)
        w->centres[i] = next_uniform(&seed);
    if (omen_stream_open(c, &options, &w->stream, &err) != OMEN_OK) fail("stream", &err);
}

static void push(struct writer *w, uint64_t seq, uint64_t first_id)
{
    omen_chunk *chunk = NULL;
    uint64_t ids[CHUNK];
    omen_error err;

    if (omen_chunk_create(w->stream, CHUNK, &chunk, &err) != OMEN_OK) fail("chunk", &err);
    float *rows = omen_chunk_rows(chunk, CHUNK);
    for (uint32_t r = 0; r < CHUNK; r++) {
        const float *centre = w->centres + next_random(&w->random) % CENTRES * w->dim;

        ids[r] = first_id + r;
        for (uint32_t i = 0; i < w->dim; i++)
            *rows++ = centre[i] + 0.5f * next_uniform(&w->random);
    }
    omen_chunk_add_many(chunk, CHUNK, 0, ids, 0);
    if (omen_stream_push(w->stream, seq, chunk, &err) != OMEN_OK) fail("push", &err);
}

/* Waits until there is room, or, all of it, until everything is searchable. */
static void wait_for(struct writer *w, bool all, struct omen_stream_state *state)
{
    (void)pthread_mutex_lock(&w->mutex);
    for (;;) {
        omen_stream_poll(w->stream, state);
        if (state->code != OMEN_OK) fail("stream", &state->error);
        if (all ? state->searchable_seq == state->received_seq : state->room) break;
        (void)pthread_cond_wait(&w->changed, &w->mutex);
    }
    (void)pthread_mutex_unlock(&w->mutex);
}

/* ---- asking -------------------------------------------------------------------------------- */

static void on_done(struct omen_search *search)
{
    struct asking *a = search->user;

    (void)pthread_mutex_lock(&a->mutex);
    a->answered = true;
    (void)pthread_cond_signal(&a->done);
    (void)pthread_mutex_unlock(&a->mutex);
}

static void *ask(void *user)
{
    struct asking *a = user;

    while (!atomic_load(&a->stop)) {
        struct omen_search search = {.collection = a->collection,
                                     .queries = a->query,
                                     .count = 1,
                                     .options = {.k = 10, .ef = 64},
                                     .done = on_done,
                                     .user = a};
        const uint64_t begin = now_ns();
        omen_error err;

        a->answered = false;
        if (omen_search_submit(&search, &err) != OMEN_OK) fail("search", &err);
        (void)pthread_mutex_lock(&a->mutex);
        while (!a->answered)
            (void)pthread_cond_wait(&a->done, &a->mutex);
        (void)pthread_mutex_unlock(&a->mutex);
        const uint64_t took = now_ns() - begin;
        if (took > atomic_load(&a->longest_ns)) atomic_store(&a->longest_ns, took);
        omen_search_deinit(&search);
    }
    return NULL;
}

/* ---- the commands -------------------------------------------------------------------------- */

static void build(const char *dir, uint64_t rows, uint32_t dim)
{
    const struct omen_collection_settings settings = {.dim = dim, .metric = OMEN_METRIC_L2};
    struct omen_collection_info info;
    struct omen_stream_state state;
    struct writer w = {.random = 1};
    omen_engine *engine = NULL;
    omen_collection *c = NULL;
    omen_error err;

    open_engine(dir, &engine);
    if (omen_collection_create(engine, "bench", &settings, NULL, &err) != OMEN_OK ||
        omen_collection_acquire(engine, "bench", &c, &err) != OMEN_OK)
        fail("create", &err);
    begin_writing(&w, c);
    const uint64_t begin = now_ns();
    for (uint64_t n = 0; n * CHUNK < rows; n++) {
        wait_for(&w, false, &state);
        push(&w, n + 1, n * CHUNK);
    }
    wait_for(&w, true, &state);
    const double seconds = (double)(now_ns() - begin) / 1e9;
    omen_stream_close(w.stream);
    if (omen_collection_checkpoint(c, &err) != OMEN_OK) fail("checkpoint", &err);
    omen_collection_get_info(c, &info);
    (void)printf("{\"rows\": %" PRIu64 ", \"dim\": %u, \"build_s\": %.3f, \"file_bytes\": %" PRIu64
                 ", \"write_ms\": %.1f, \"admit_ms\": %.1f, \"graph_ms\": %.1f}\n",
                 rows, dim, seconds, info.checkpoint.bytes, (double)info.checkpoint.write_us / 1e3,
                 (double)info.checkpoint.admit_us / 1e3, (double)info.checkpoint.graph_us / 1e3);
    omen_collection_release(c);
    omen_engine_close(engine);
}

static void *make_checkpoint(void *user)
{
    omen_error err;

    if (omen_collection_checkpoint(user, &err) != OMEN_OK) fail("checkpoint", &err);
    return NULL;
}

struct gaps {
    uint64_t durable_ns, searchable_ns; /* the longest times without a step */
};

/* Streams rows until `end`; each step of a watermark is looked at. */
static void stream_on(struct writer *w, uint64_t *seq, uint64_t end, struct gaps *gaps)
{
    struct omen_stream_state state;
    uint64_t durable = 0;
    uint64_t searchable = 0;
    uint64_t durable_at = now_ns();
    uint64_t searchable_at = durable_at;

    while (*seq < end) {
        wait_for(w, false, &state);
        ++*seq;
        push(w, *seq, ((uint64_t)1 << 40) + *seq * CHUNK);
        omen_stream_poll(w->stream, &state);
        const uint64_t now = now_ns();
        if (state.durable_seq != durable) {
            if (now - durable_at > gaps->durable_ns) gaps->durable_ns = now - durable_at;
            durable = state.durable_seq;
            durable_at = now;
        }
        if (state.searchable_seq != searchable) {
            if (now - searchable_at > gaps->searchable_ns)
                gaps->searchable_ns = now - searchable_at;
            searchable = state.searchable_seq;
            searchable_at = now;
        }
    }
}

static void pause_of_writes(const char *dir, uint64_t rows)
{
    struct omen_collection_info info;
    struct omen_stream_state state;
    struct writer w = {.random = 2};
    struct asking asking = {.longest_ns = 0};
    struct gaps before = {0};
    struct gaps during = {0};
    pthread_t asker, maker;
    omen_engine *engine = NULL;
    omen_collection *c = NULL;
    omen_error err;
    uint64_t seq = 0;

    open_engine(dir, &engine);
    if (omen_collection_acquire(engine, "bench", &c, &err) != OMEN_OK) fail("acquire", &err);
    begin_writing(&w, c);
    asking.collection = c;
    asking.query = w.centres;
    (void)pthread_mutex_init(&asking.mutex, NULL);
    (void)pthread_cond_init(&asking.done, NULL);
    if (pthread_create(&asker, NULL, ask, &asking) != 0) exit(EXIT_FAILURE);
    stream_on(&w, &seq, rows / CHUNK / 2, &before);
    const uint64_t query_before = atomic_exchange(&asking.longest_ns, 0);
    if (pthread_create(&maker, NULL, make_checkpoint, c) != 0) exit(EXIT_FAILURE);
    stream_on(&w, &seq, rows / CHUNK, &during);
    (void)pthread_join(maker, NULL);
    const uint64_t query_during = atomic_load(&asking.longest_ns);
    atomic_store(&asking.stop, true);
    (void)pthread_join(asker, NULL);
    wait_for(&w, true, &state);
    omen_collection_get_info(c, &info);
    (void)printf("{\"points\": %" PRIu64 ", \"admit_ms\": %.1f, \"graph_ms\": %.1f, "
                 "\"write_ms\": %.1f, \"file_bytes\": %" PRIu64 ", "
                 "\"durable_gap_ms\": [%.1f, %.1f], \"searchable_gap_ms\": [%.1f, %.1f], "
                 "\"longest_query_ms\": [%.1f, %.1f]}\n",
                 info.points, (double)info.checkpoint.admit_us / 1e3,
                 (double)info.checkpoint.graph_us / 1e3, (double)info.checkpoint.write_us / 1e3,
                 info.checkpoint.bytes, (double)before.durable_ns / 1e6,
                 (double)during.durable_ns / 1e6, (double)before.searchable_ns / 1e6,
                 (double)during.searchable_ns / 1e6, (double)query_before / 1e6,
                 (double)query_during / 1e6);
    omen_stream_close(w.stream);
    omen_collection_release(c);
    omen_engine_close(engine);
}

static void load(const char *dir)
{
    struct omen_collection_info info;
    omen_engine *engine = NULL;
    omen_collection *c = NULL;
    omen_error err;
    const uint64_t begin = now_ns();

    open_engine(dir, &engine);
    const double seconds = (double)(now_ns() - begin) / 1e9;
    if (omen_collection_acquire(engine, "bench", &c, &err) != OMEN_OK) fail("acquire", &err);
    omen_collection_get_info(c, &info);
    (void)printf("{\"points\": %" PRIu64 ", \"load_s\": %.3f, \"checkpoint\": %" PRIu64
                 ", \"records\": %" PRIu64 ", \"graph_hash\": \"%016" PRIx64 "\"}\n",
                 info.points, seconds, info.checkpoint.position, info.log_position,
                 omen_collection_graph_hash(c));
    omen_collection_release(c);
    omen_engine_close(engine);
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[2], "build") == 0)
        build(argv[1], strtoull(argv[3], NULL, 10), (uint32_t)strtoul(argv[4], NULL, 10));
    else if (argc == 4 && strcmp(argv[2], "pause") == 0)
        pause_of_writes(argv[1], strtoull(argv[3], NULL, 10));
    else if (argc == 3 && strcmp(argv[2], "load") == 0)
        load(argv[1]);
    else {
        (void)fputs("usage: omen_checkpoint_bench DIR build ROWS DIM | pause ROWS | load\n",
                    stderr);
        return 2;
    }
    return 0;
}
