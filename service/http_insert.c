/* http_insert.c - POST /v1/collections/NAME/insert: one engine stream for each request.
 *
 * Happy path, all on workers: the body becomes chunks, the stream is opened, the chunks are pushed
 * while there is room, and when the last is durable or searchable, as was asked, the item errors
 * are taken, the stream is closed, and the answer goes out.
 *
 * Events of the stream come on engine threads, where a stream cannot be closed and should not be
 * worked on; they only see to it that a worker runs advance(). It runs once at a time: an event
 * that comes while it runs makes it go round again.
 */
#include "service/http_methods.h"

#include <pthread.h>
#include <stdlib.h>

#include "service/decode_json.h"
#include "service/metrics.h"
#include "service/reply_json.h"
#include "service/workers.h"

struct http_insert {
    /* Fixed before the first push. */
    omen_http_call *call;
    omen_service *service;
    omen_collection *collection;
    omen_stream *stream;
    struct omen_json_insert wanted;
    struct omen_json_chunks chunks;

    /* Of whoever runs. */
    uint32_t pushed;
    uint64_t log_position;
    uint64_t first_seq;
    struct omen_fault fault;

    /* Under `lock`. */
    pthread_mutex_t lock;
    bool running; /* a worker is at it, or will be */
    bool again;   /* something has changed since it looked */
};

static void advance(void *user);

static void on_engine_event(void *user)
{
    struct http_insert *insert = user;
    bool idle = false;

    (void)pthread_mutex_lock(&insert->lock);
    idle = !insert->running;
    insert->running = true;
    insert->again = true;
    /* Under the lock, so that the worker cannot be done with the insert before this returns. A full
     * queue cannot be (http_routes.c). */
    if (idle)
        insert->running =
            omen_workers_submit(omen_service_http_workers(insert->service), advance, insert);
    (void)pthread_mutex_unlock(&insert->lock);
}

/* ---- the request -------------------------------------------------------------------------- */

static omen_code open_stream(struct http_insert *insert, omen_engine *engine, const char *name,
                             struct omen_fault *fault)
{
    struct omen_stream_options options = {
        .mode = OMEN_WRITE_INSERT_ONLY, .event = on_engine_event, .event_user = insert};
    struct omen_json_chunks *chunks = &insert->chunks;
    omen_code code = omen_collection_acquire(engine, name, &insert->collection, &fault->error);

    if (code == OMEN_OK)
        code = omen_stream_open(insert->collection, &options, &insert->stream, &fault->error);
    if (code != OMEN_OK) return code;
    omen_metrics_open_stream(omen_service_metrics(insert->service));
    chunks->stream = insert->stream;
    chunks->dim = omen_collection_dim(insert->collection);
    chunks->chunk_points = omen_chunk_points_max(chunks->dim);
    if (chunks->chunk_points > insert->wanted.points) chunks->chunk_points = insert->wanted.points;
    chunks->count = (insert->wanted.points + chunks->chunk_points - 1) / chunks->chunk_points;
    chunks->chunks = calloc(chunks->count, sizeof(omen_chunk *));
    if (chunks->chunks == NULL)
        return omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                              "no memory for %u chunks", chunks->count);
    return OMEN_OK;
}

static omen_code read_request(struct http_insert *insert, const struct omen_http_task *task,
                              struct omen_fault *fault)
{
    size_t bytes = 0;
    const char *body = omen_http_call_body(task->call, &bytes);
    omen_engine *engine = omen_service_engine(task->service, fault);
    omen_json *json = NULL;

    if (engine == NULL) return fault->code;
    if (omen_service_phase_now(task->service) == OMEN_PHASE_DRAINING)
        return omen_fault_draining(fault);
    json = omen_json_parse(body, bytes, fault);
    if (json == NULL) return fault->code;
    fault->code = omen_json_read_insert(json, &insert->wanted, fault);
    if (fault->code == OMEN_OK) fault->code = open_stream(insert, engine, task->name, fault);
    if (fault->code == OMEN_OK) fault->code = omen_json_read_points(json, &insert->chunks, fault);
    omen_json_destroy(json);
    return fault->code;
}

void omen_http_insert(const struct omen_http_task *task)
{
    struct http_insert *insert = calloc(1, sizeof *insert);
    struct omen_fault fault = {0};

    if (insert == NULL) {
        (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the stream");
        omen_http_reply_fault(task->call, &fault);
        return;
    }
    insert->call = task->call;
    insert->service = task->service;
    insert->running = true;
    (void)pthread_mutex_init(&insert->lock, NULL);
    insert->fault.code = read_request(insert, task, &insert->fault);
    advance(insert);
}

/* ---- the stream --------------------------------------------------------------------------- */

/* Does what can be done now; true when there is nothing more to wait for. */
static bool step(struct http_insert *insert)
{
    const struct omen_json_chunks *chunks = &insert->chunks;
    struct omen_fault *fault = &insert->fault;
    struct omen_stream_state state;

    if (fault->code != OMEN_OK) return true;
    for (;;) {
        omen_stream_poll(insert->stream, &state);
        if (state.code != OMEN_OK) {
            fault->code = state.code;
            fault->error = state.error;
            return true;
        }
        if (!state.opened || !state.room || insert->pushed == chunks->count) break;
        omen_chunk *chunk = chunks->chunks[insert->pushed];
        uint32_t points = insert->pushed + 1 < chunks->count
                              ? chunks->chunk_points
                              : insert->wanted.points - insert->pushed * chunks->chunk_points;

        chunks->chunks[insert->pushed] = NULL;
        fault->code =
            omen_stream_push(insert->stream, state.next_seq + insert->pushed, chunk, &fault->error);
        if (fault->code != OMEN_OK) return true;
        insert->pushed++;
        omen_metrics_count_chunk(omen_service_metrics(insert->service), points);
    }
    uint64_t done = insert->wanted.wait_durable ? state.durable_seq : state.searchable_seq;
    insert->first_seq = state.next_seq;
    insert->log_position = state.log_position;
    return state.opened && insert->pushed == chunks->count &&
           done >= state.next_seq + chunks->count - 1;
}

static omen_code write_answer(struct http_insert *insert, struct omen_text *text)
{
    struct omen_json_inserted inserted = {
        .points = insert->wanted.points,
        .log_position = insert->log_position,
        .first_seq = insert->first_seq,
        .chunk_points = insert->chunks.chunk_points,
        .dim = insert->chunks.dim,
    };
    struct omen_item_error *errors = malloc(inserted.points * sizeof *errors);
    uint64_t complete_seq = 0;

    if (errors == NULL)
        return omen_fault_set(&insert->fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                              "no memory for the item errors; the points that fit are in");
    inserted.errors = errors;
    inserted.error_count =
        omen_stream_take_errors(insert->stream, errors, inserted.points, &complete_seq);
    omen_metrics_count_item_errors(omen_service_metrics(insert->service), inserted.error_count);
    omen_json_write_inserted(text, &inserted);
    free(errors);
    return OMEN_OK;
}

static void finish(struct http_insert *insert)
{
    struct omen_text text = {0};

    if (insert->fault.code == OMEN_OK) (void)write_answer(insert, &text);
    if (insert->stream != NULL) omen_metrics_close_stream(omen_service_metrics(insert->service));
    for (uint32_t i = 0; insert->chunks.chunks != NULL && i < insert->chunks.count; i++)
        omen_chunk_destroy(insert->chunks.chunks[i]);
    free(insert->chunks.chunks);
    omen_stream_close(insert->stream); /* after this no event comes */
    omen_collection_release(insert->collection);
    if (insert->fault.code == OMEN_OK)
        omen_http_reply_json(insert->call, &text);
    else
        omen_http_reply_fault(insert->call, &insert->fault);
    (void)pthread_mutex_destroy(&insert->lock);
    free(insert);
}

/* On a worker. */
static void advance(void *user)
{
    struct http_insert *insert = user;
    bool again = true;

    while (again) {
        (void)pthread_mutex_lock(&insert->lock);
        insert->again = false;
        (void)pthread_mutex_unlock(&insert->lock);
        if (step(insert)) {
            finish(insert);
            return;
        }
        (void)pthread_mutex_lock(&insert->lock);
        again = insert->again;
        insert->running = again;
        (void)pthread_mutex_unlock(&insert->lock);
    }
}
