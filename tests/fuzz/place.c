/* place.c - see place.h. */
#include "tests/fuzz/place.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "service/reply.h"
#include "tests/fuzz/fuzz.h"

static char engine_dir[PLACE_DIR_BYTES];
static omen_engine *engine;

void place_make_dir(char dir[PLACE_DIR_BYTES])
{
    const char *tmp = getenv("TMPDIR");

    if (tmp == NULL) tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void)snprintf(dir, PLACE_DIR_BYTES, "%s/omen-fuzz-XXXXXX", tmp);
    FUZZ_CHECK(mkdtemp(dir) != NULL, "mkdtemp %s: %m", dir);
}

void place_remove_dir(const char *dir)
{
    char command[PLACE_DIR_BYTES + 16];

    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    FUZZ_CHECK(system(command) == 0, "%s", command);
}

/* ---- the engine --------------------------------------------------------------------------- */

static struct omen_budget budget = {.max = 1u << 30};

struct omen_budget *place_budget(void)
{
    return &budget;
}

static void close_engine(void)
{
    FUZZ_CHECK(budget.used == 0, "%llu bytes of the budget were not given back",
               (unsigned long long)budget.used);
    omen_engine_close(engine);
    engine = NULL;
    place_remove_dir(engine_dir);
}

omen_engine *place_engine(void)
{
    struct omen_engine_options options = {
        .data_dir = engine_dir, .ingest_threads = 1, .shards = 2, .search_threads = 1};
    omen_error err = {0};

    if (engine != NULL) return engine;
    place_make_dir(engine_dir);
    FUZZ_CHECK(omen_engine_open(&options, &engine, &err) == OMEN_OK, "open: %s", err.message);
    (void)atexit(close_engine);
    return engine;
}

omen_collection *place_collection(const char *name, uint32_t dim, omen_metric metric)
{
    struct omen_collection_settings settings = {.dim = dim, .metric = metric};
    omen_collection *collection = NULL;
    omen_error err = {0};
    omen_code code = omen_collection_create(place_engine(), name, &settings, NULL, &err);

    if (code == OMEN_OK) code = omen_collection_acquire(place_engine(), name, &collection, &err);
    FUZZ_CHECK(code == OMEN_OK, "create %s: %s", name, err.message);
    return collection;
}

void place_validate(omen_collection *collection)
{
    struct omen_validation found;
    omen_error err = {0};
    omen_code code = OMEN_FAILED_PRECONDITION;

    for (int i = 0; i < 1000 && code == OMEN_FAILED_PRECONDITION; i++) {
        if (i > 0) (void)usleep(1000); /* a clock may have opened an epoch */
        code = omen_collection_validate(collection, &found, &err);
    }
    FUZZ_CHECK(code == OMEN_OK, "not valid: %s", err.message);
}

/* ---- streams ------------------------------------------------------------------------------ */

static void on_event(void *user)
{
    struct place_stream *s = user;

    (void)pthread_mutex_lock(&s->mutex);
    s->events++;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->mutex);
}

static bool is_at_rest(const struct omen_stream_state *state)
{
    return state->code != OMEN_OK ||
           (state->opened && state->searchable_seq == state->received_seq);
}

void place_stream_wait(struct place_stream *s, struct omen_stream_state *out)
{
    (void)pthread_mutex_lock(&s->mutex);
    for (;;) {
        uint64_t seen = s->events;

        (void)pthread_mutex_unlock(&s->mutex);
        omen_stream_poll(s->stream, out);
        if (is_at_rest(out)) return;
        (void)pthread_mutex_lock(&s->mutex);
        while (s->events == seen)
            (void)pthread_cond_wait(&s->changed, &s->mutex);
    }
}

static void deinit_stream(struct place_stream *s)
{
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->mutex);
}

omen_code place_stream_open(struct place_stream *s, omen_collection *collection,
                            struct omen_stream_options *options, omen_error *err)
{
    struct omen_stream_state state;

    *s = (struct place_stream){.mode = options->mode};
    (void)pthread_mutex_init(&s->mutex, NULL);
    (void)pthread_cond_init(&s->changed, NULL);
    options->event = on_event;
    options->event_user = s;
    omen_code code = omen_stream_open(collection, options, &s->stream, err);
    if (code != OMEN_OK) {
        deinit_stream(s);
        return code;
    }
    place_stream_wait(s, &state);
    FUZZ_CHECK(state.code == OMEN_OK, "a new stream died: %s", state.error.message);
    return OMEN_OK;
}

void place_stream_close(struct place_stream *s)
{
    omen_stream_close(s->stream);
    deinit_stream(s);
}

static void take_errors(struct place_stream *s, struct place_errors *errors, uint64_t seq)
{
    uint64_t complete_seq = 0;
    size_t room = 16;
    size_t taken = 0;

    *errors = (struct place_errors){0};
    do {
        room *= 4;
        errors->items = realloc(errors->items, room * sizeof *errors->items);
        FUZZ_CHECK(errors->items != NULL, "no memory for %zu item errors", room);
        taken = omen_stream_take_errors(s->stream, errors->items + errors->count,
                                        room - errors->count, &complete_seq);
        errors->count += taken;
    } while (taken > 0);
    FUZZ_CHECK(complete_seq == seq, "item errors are complete up to %llu, not %llu",
               (unsigned long long)complete_seq, (unsigned long long)seq);
}

uint64_t place_push(struct place_stream *s, omen_chunk *chunk, struct place_errors *errors)
{
    struct omen_stream_state state;
    omen_error err = {0};

    omen_stream_poll(s->stream, &state);
    uint64_t seq = state.received_seq + 1;
    omen_code code = omen_stream_push(s->stream, seq, chunk, &err);
    FUZZ_CHECK(code == OMEN_OK, "a decoded chunk was refused: %s", err.message);
    place_stream_wait(s, &state);
    FUZZ_CHECK(state.code == OMEN_OK, "a decoded chunk killed its stream: %s", state.error.message);
    FUZZ_CHECK(state.durable_seq == seq && state.log_position > 0, "searchable, but not durable");
    take_errors(s, errors, seq);
    return seq;
}

omen_collection *place_filled(const char *name, uint32_t dim, omen_metric metric, uint32_t points)
{
    omen_collection *collection = place_collection(name, dim, metric);
    struct omen_stream_options options = {.mode = OMEN_WRITE_INSERT_ONLY};
    struct place_stream s;
    struct place_errors errors;
    omen_chunk *chunk = NULL;
    omen_error err = {0};
    uint64_t seed = points;

    FUZZ_CHECK(place_stream_open(&s, collection, &options, &err) == OMEN_OK, "%s", err.message);
    FUZZ_CHECK(omen_chunk_create(s.stream, points, &chunk, &err) == OMEN_OK, "%s", err.message);
    for (uint32_t i = 0; i < points; i++) {
        float *row = omen_chunk_row(chunk);

        for (uint32_t j = 0; j < dim; j++)
            row[j] = (float)(fuzz_random(&seed) >> 40) / 8388608.0f - 1.0f;
        struct omen_id id = omen_id_num(i);
        omen_chunk_add(chunk, i, &id, 0);
    }
    (void)place_push(&s, chunk, &errors);
    FUZZ_CHECK(errors.count == 0, "%zu good points were refused", errors.count);
    free(errors.items);
    place_stream_close(&s);
    return collection;
}

/* ---- searches ----------------------------------------------------------------------------- */

struct finish {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool done;
};

static void on_done(struct omen_search *search)
{
    struct finish *finish = search->user;

    (void)pthread_mutex_lock(&finish->mutex);
    finish->done = true;
    (void)pthread_cond_broadcast(&finish->changed);
    (void)pthread_mutex_unlock(&finish->mutex);
}

static void check_hits(const struct omen_query_result *result, uint32_t k)
{
    FUZZ_CHECK(result->hit_count <= k, "%u hits, k is %u", result->hit_count, k);
    for (uint32_t i = 0; i < result->hit_count; i++) {
        const struct omen_hit *hit = &result->hits[i];
        bool after =
            i == 0 || hit[-1].distance < hit->distance ||
            (!(hit->distance < hit[-1].distance) && omen_id_compare(&hit[-1].id, &hit->id) < 0);

        FUZZ_CHECK(isfinite(hit->distance), "hit %u is no number", i);
        FUZZ_CHECK(after, "hit %u is out of order", i);
    }
    if (result->hit_count < k)
        FUZZ_CHECK(result->shortfall != OMEN_SHORTFALL_NONE, "%u hits of %u, and nobody says why",
                   result->hit_count, k);
}

static void check_results(const struct omen_search_run *run, bool columns)
{
    const struct omen_search *search = &run->search;

    for (uint32_t q = 0; q < search->count; q++) {
        const struct omen_query_result *result = &search->results[q];
        uint32_t k = search->each[q].k == 0 ? OMEN_K_DEFAULT : search->each[q].k;
        omen_error err = {0};

        if (result->refusal == 0) {
            check_hits(result, k);
            continue;
        }
        FUZZ_CHECK(result->hit_count == 0, "query %u was refused and has hits", q);
        omen_code code = omen_query_describe(result, omen_collection_dim(run->collection), &err);
        fuzz_check_error(&err, code);
    }
    struct omen_payload reply = omen_reply_search(search, run->incarnation, columns);
    FUZZ_CHECK(reply.data != NULL && reply.bytes > 0, "no reply for %u queries", search->count);
    free(reply.data);
}

/* Who waits for a record that never comes must not wait long; 0: for ever. */
static uint64_t soon_ns(const struct omen_search_run *run)
{
    struct timespec now;

    if (run->search.min_position == 0) return 0;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + 2000000u;
}

void place_search(struct omen_search_run *run, bool columns)
{
    struct finish finish = {.done = false};
    struct omen_fault fault = {0};

    (void)pthread_mutex_init(&finish.mutex, NULL);
    (void)pthread_cond_init(&finish.changed, NULL);
    fault.code = omen_search_run_submit(run, soon_ns(run), on_done, &finish, &fault);
    if (fault.code != OMEN_OK) {
        fuzz_check_fault(&fault, fault.code);
    } else {
        (void)pthread_mutex_lock(&finish.mutex);
        while (!finish.done)
            (void)pthread_cond_wait(&finish.changed, &finish.mutex);
        (void)pthread_mutex_unlock(&finish.mutex);
        if (run->search.code == OMEN_OK)
            check_results(run, columns);
        else
            fuzz_check_error(&run->search.error, run->search.code);
    }
    omen_search_run_deinit(run);
    (void)pthread_cond_destroy(&finish.changed);
    (void)pthread_mutex_destroy(&finish.mutex);
}
