/* index.c - see index.h.
 *
 * The stream is filled from this thread; the engine's event wakes it when there is room again or a
 * watermark has moved. Both waits are on one condition, and no event is lost between a poll and
 * the wait because events are counted.
 *
 * Failure modes: what the engine refuses is returned with its sentence; a refused row is counted.
 */
#include "bench/engine/index.h"

#include <pthread.h>
#include <string.h>

#include "bench/load/clock.h"

#define NAME       "bench"
#define ERROR_ROOM 64u

/* What an engine thread tells and this one waits for. */
struct bell {
    pthread_mutex_t mutex;
    pthread_cond_t rung;
    uint64_t count;
};

/* One fill under way. */
struct filling {
    omen_stream *stream;
    struct bell bell;
    struct omen_stream_state state; /* as last polled */
    uint64_t rows;
    uint64_t first_seq; /* of the first chunk */
    uint32_t chunk;
    uint32_t dim;
    int64_t begin;
    uint32_t tenths; /* reached so far */
    bool all_durable;
    struct omen_bench_fill *told;
};

static omen_code open_stream(struct omen_bench_index *index, struct filling *f, omen_error *err);
static omen_code push(struct filling *f, const float *rows, uint64_t first, omen_error *err);
static omen_code wait_for(struct filling *f, bool (*reached)(const struct filling *),
                          omen_error *err);
static void note_progress(struct filling *f);
static void count_refused(struct filling *f);

static void bell_init(struct bell *bell)
{
    (void)pthread_mutex_init(&bell->mutex, NULL);
    (void)pthread_cond_init(&bell->rung, NULL);
    bell->count = 0;
}

static void bell_deinit(struct bell *bell)
{
    (void)pthread_cond_destroy(&bell->rung);
    (void)pthread_mutex_destroy(&bell->mutex);
}

static void bell_ring(struct bell *bell)
{
    (void)pthread_mutex_lock(&bell->mutex);
    bell->count++;
    (void)pthread_cond_signal(&bell->rung);
    (void)pthread_mutex_unlock(&bell->mutex);
}

static uint64_t bell_count(struct bell *bell)
{
    (void)pthread_mutex_lock(&bell->mutex);
    uint64_t count = bell->count;

    (void)pthread_mutex_unlock(&bell->mutex);
    return count;
}

/* Returns once the bell rang after `count` was read. */
static void bell_wait(struct bell *bell, uint64_t count)
{
    (void)pthread_mutex_lock(&bell->mutex);
    while (bell->count == count)
        (void)pthread_cond_wait(&bell->rung, &bell->mutex);
    (void)pthread_mutex_unlock(&bell->mutex);
}

/* ---- open and close ----------------------------------------------------------------------- */

omen_code omen_bench_index_open(const struct omen_bench_index_options *options,
                                struct omen_bench_index *index, omen_error *err)
{
    struct omen_engine_options wanted = {.data_dir = options->dir,
                                         .ingest_threads = options->ingest_threads,
                                         .search_threads = options->search_threads,
                                         .simd = options->simd};
    omen_code code = OMEN_OK;

    *index = (struct omen_bench_index){.options = *options};
    code = omen_engine_open(&wanted, &index->engine, err);
    if (code != OMEN_OK) return code;
    code = omen_collection_acquire(index->engine, NAME, &index->collection, err);
    if (code != OMEN_NOT_FOUND) return code;
    code = omen_collection_create(index->engine, NAME, &options->settings, NULL, err);
    if (code != OMEN_OK) return code;
    return omen_collection_acquire(index->engine, NAME, &index->collection, err);
}

void omen_bench_index_close(struct omen_bench_index *index)
{
    omen_collection_release(index->collection);
    omen_engine_close(index->engine);
    index->collection = NULL;
    index->engine = NULL;
}

/* ---- fill --------------------------------------------------------------------------------- */

static void on_event(void *user)
{
    bell_ring(user);
}

static bool is_opened(const struct filling *f)
{
    return f->state.opened;
}

static bool has_room(const struct filling *f)
{
    return f->state.room;
}

static bool is_searchable(const struct filling *f)
{
    return f->told->searchable_seconds > 0;
}

omen_code omen_bench_index_fill(struct omen_bench_index *index, const float *rows, uint64_t count,
                                uint32_t chunk, struct omen_bench_fill *fill, omen_error *err)
{
    omen_code code = OMEN_OK;
    struct filling f = {
        .rows = count, .chunk = chunk, .dim = omen_collection_dim(index->collection), .told = fill};

    *fill = (struct omen_bench_fill){0};
    while (f.chunk > 1 && omen_chunk_record_bytes(f.chunk, f.dim) > OMEN_RECORD_BYTES_MAX)
        f.chunk--;
    bell_init(&f.bell);
    code = open_stream(index, &f, err);
    f.begin = omen_load_clock_now();
    for (uint64_t first = 0; code == OMEN_OK && first < count; first += f.chunk) {
        code = wait_for(&f, has_room, err);
        if (code == OMEN_OK) code = push(&f, rows, first, err);
    }
    if (code == OMEN_OK) code = wait_for(&f, is_searchable, err);
    if (f.stream != NULL) count_refused(&f);
    omen_stream_close(f.stream);
    bell_deinit(&f.bell);
    return code;
}

static omen_code open_stream(struct omen_bench_index *index, struct filling *f, omen_error *err)
{
    struct omen_stream_options options = {
        .mode = OMEN_WRITE_INSERT_ONLY, .event = on_event, .event_user = &f->bell};
    omen_code code = omen_stream_open(index->collection, &options, &f->stream, err);

    if (code == OMEN_OK) code = wait_for(f, is_opened, err);
    f->first_seq = f->state.next_seq;
    return code;
}

static omen_code push(struct filling *f, const float *rows, uint64_t first, omen_error *err)
{
    uint64_t left = f->rows - first;
    uint32_t points = left < f->chunk ? (uint32_t)left : f->chunk;
    uint64_t ids[OMEN_BENCH_CHUNK_MAX];
    omen_chunk *chunk = NULL;
    omen_code code = omen_chunk_create(f->stream, points, &chunk, err);

    if (code != OMEN_OK) return code;
    float *room = omen_chunk_rows(chunk, points);

    if (room == NULL) {
        omen_chunk_destroy(chunk);
        return omen_fail(err, OMEN_INTERNAL, "a new chunk has no room for %u points", points);
    }
    memcpy(room, rows + first * f->dim, (size_t)points * f->dim * sizeof *rows);
    for (uint32_t i = 0; i < points; i++)
        ids[i] = first + i;
    omen_chunk_add_many(chunk, points, 0, ids, 0);
    return omen_stream_push(f->stream, f->first_seq + first / f->chunk, chunk, err);
}

/* Polls until `reached` is true or the stream has died. */
static omen_code wait_for(struct filling *f, bool (*reached)(const struct filling *),
                          omen_error *err)
{
    for (;;) {
        uint64_t heard = bell_count(&f->bell);

        omen_stream_poll(f->stream, &f->state);
        if (f->state.code != OMEN_OK)
            return omen_fail(err, f->state.code, "the stream died: %s", f->state.error.message);
        note_progress(f);
        if (reached(f)) return OMEN_OK;
        bell_wait(&f->bell, heard);
    }
}

static uint64_t rows_up_to(const struct filling *f, uint64_t seq)
{
    uint64_t chunks = seq < f->first_seq ? 0 : seq - f->first_seq + 1;

    return chunks * f->chunk < f->rows ? chunks * f->chunk : f->rows;
}

static void note_progress(struct filling *f)
{
    if (f->begin == 0) return;
    double seconds = (double)(omen_load_clock_now() - f->begin) / 1e9;
    uint64_t searchable = rows_up_to(f, f->state.searchable_seq);

    if (!f->all_durable && rows_up_to(f, f->state.durable_seq) == f->rows) {
        f->all_durable = true;
        f->told->durable_seconds = seconds;
    }
    while (f->tenths < OMEN_BENCH_DECILES &&
           searchable * OMEN_BENCH_DECILES >= f->rows * (f->tenths + 1))
        f->told->deciles[f->tenths++] = seconds;
    if (searchable == f->rows && f->told->searchable_seconds <= 0)
        f->told->searchable_seconds = seconds;
}

static void count_refused(struct filling *f)
{
    struct omen_item_error errors[ERROR_ROOM];
    uint64_t complete = 0;
    size_t taken = 0;

    do {
        taken = omen_stream_take_errors(f->stream, errors, ERROR_ROOM, &complete);
        f->told->refused += taken;
    } while (taken > 0);
}

/* ---- search ------------------------------------------------------------------------------- */

static void on_done(struct omen_search *search)
{
    bell_ring(search->user);
}

static void take_ids(const struct omen_search *search, uint32_t k, int64_t *ids)
{
    for (uint32_t q = 0; q < search->count; q++) {
        const struct omen_query_result *result = &search->results[q];

        for (uint32_t i = 0; i < k; i++)
            ids[(size_t)q * k + i] = i < result->hit_count ? (int64_t)result->hits[i].id.num : -1;
    }
}

/* Fails: the code of the first query that was refused. */
static omen_code count_visited(const struct omen_search *search, uint32_t dim, uint64_t *visited,
                               omen_error *err)
{
    for (uint32_t q = 0; q < search->count; q++) {
        if (search->results[q].refusal != 0)
            return omen_query_describe(&search->results[q], dim, err);
        *visited += search->results[q].visited;
    }
    return OMEN_OK;
}

omen_code omen_bench_index_search(struct omen_bench_index *index,
                                  const struct omen_bench_asked *asked, int64_t *ids,
                                  uint64_t *visited, struct omen_load_histogram *latency,
                                  omen_error *err)
{
    uint32_t dim = omen_collection_dim(index->collection);
    omen_code code = OMEN_OK;
    struct bell bell;

    bell_init(&bell);
    for (uint64_t first = 0; code == OMEN_OK && first < asked->count; first += asked->batch) {
        uint64_t left = asked->count - first;
        struct omen_search search = {
            .collection = index->collection,
            .queries = asked->queries + first * dim,
            .count = left < asked->batch ? (uint32_t)left : asked->batch,
            .options = {.k = asked->k, .ef = asked->ef, .exact = asked->exact},
            .done = on_done,
            .user = &bell};
        uint64_t heard = bell_count(&bell);
        int64_t begin = omen_load_clock_now();

        code = omen_search_submit(&search, err);
        if (code != OMEN_OK) break;
        bell_wait(&bell, heard);
        omen_load_histogram_add(latency, omen_load_clock_now() - begin);
        code = search.code;
        if (code != OMEN_OK)
            code = omen_fail(err, code, "%s", search.error.message);
        else
            code = count_visited(&search, dim, visited, err);
        if (code == OMEN_OK && ids != NULL) take_ids(&search, asked->k, ids + first * asked->k);
        omen_search_deinit(&search);
    }
    bell_deinit(&bell);
    return code;
}
