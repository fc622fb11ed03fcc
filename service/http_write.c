/* http_write.c - POST /v1/collections/NAME/insert, /upsert and /delete: the body becomes chunks on
 * a worker, write_run.c writes them, and the worker that sees them through writes the answer.
 */
#include "service/http_methods.h"

#include <stdlib.h>

#include "service/decode_json.h"
#include "service/metrics.h"
#include "service/reply_json.h"
#include "service/workers.h"
#include "service/write_run.h"

struct http_write {
    omen_http_call *call;
    omen_service *service;
    struct omen_json_write wanted;
    uint32_t chunk_items;
    bool opened;
    struct omen_write_run run;
};

static void destroy(struct http_write *state)
{
    omen_chunk **chunks = state->run.chunks;

    if (state->opened) omen_write_run_deinit(&state->run);
    free(chunks);
    free(state);
}

/* On a worker. */
static void written(struct omen_write_run *run)
{
    struct http_write *state = run->user;
    struct omen_json_written answer = {
        .kind = state->wanted.kind,
        .items = run->items,
        .chunk_items = state->chunk_items,
        .answer = {.incarnation = run->incarnation,
                   .log_position = run->log_position,
                   .errors = run->errors,
                   .error_count = run->error_count,
                   .dim = run->target.dim},
    };
    struct omen_text text = {0};

    if (run->fault.code != OMEN_OK) {
        omen_http_reply_fault(state->call, &run->fault);
    } else {
        omen_metrics_count_write(omen_service_metrics(state->service),
                                 state->wanted.kind == OMEN_JSON_DELETE, run->items,
                                 run->error_count);
        omen_json_write_written(&text, &answer);
        omen_http_reply_json(state->call, &text);
    }
    destroy(state);
}

static omen_code read_items(struct http_write *state, const omen_json *json,
                            struct omen_fault *fault)
{
    struct omen_write_run *run = &state->run;
    struct omen_json_chunks chunks = {.target = &run->target};

    state->chunk_items = omen_json_chunk_items(&state->wanted, run->target.dim);
    run->items = state->wanted.items;
    run->chunk_count = (run->items + state->chunk_items - 1) / state->chunk_items;
    run->chunks = calloc(run->chunk_count, sizeof(omen_chunk *));
    if (run->chunks == NULL) {
        uint32_t count = run->chunk_count;

        run->chunk_count = 0;
        return omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                              "no memory for %u chunks", count);
    }
    chunks.chunk_items = state->chunk_items;
    chunks.chunks = run->chunks;
    return omen_json_read_items(json, &state->wanted, &chunks, fault);
}

static omen_code read_request(struct http_write *state, const struct omen_http_task *task,
                              enum omen_json_write_kind kind, struct omen_fault *fault)
{
    size_t bytes = 0;
    const char *body = omen_http_call_body(task->call, &bytes);
    omen_engine *engine = omen_service_engine(task->service, fault);
    struct omen_write_run *run = &state->run;
    omen_json *json = NULL;

    if (engine == NULL) return fault->code;
    if (omen_service_phase_now(task->service) == OMEN_PHASE_DRAINING)
        return omen_fault_draining(fault);
    json = omen_json_parse(body, bytes, fault);
    if (json == NULL) return fault->code;
    fault->code = omen_json_read_write(json, kind, &state->wanted, fault);
    if (fault->code == OMEN_OK) {
        run->workers = omen_service_http_workers(task->service); /* room for all: http_routes.c */
        run->done = written;
        run->user = state;
        run->wait_durable = state->wanted.wait_durable;
        state->opened = true;
        if (omen_write_run_open(run, engine, task->name, state->wanted.mode) != OMEN_OK)
            *fault = run->fault;
        else
            fault->code = read_items(state, json, fault);
    }
    omen_json_destroy(json);
    return fault->code;
}

static void start(const struct omen_http_task *task, enum omen_json_write_kind kind)
{
    struct http_write *state = calloc(1, sizeof *state);
    struct omen_fault fault = {0};

    if (state == NULL) {
        (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the call");
        omen_http_reply_fault(task->call, &fault);
        return;
    }
    state->call = task->call;
    state->service = task->service;
    if (read_request(state, task, kind, &fault) == OMEN_OK) {
        omen_write_run_start(&state->run);
        return;
    }
    omen_http_reply_fault(task->call, &fault);
    destroy(state);
}

void omen_http_insert(const struct omen_http_task *task)
{
    start(task, OMEN_JSON_INSERT);
}

void omen_http_upsert(const struct omen_http_task *task)
{
    start(task, OMEN_JSON_UPSERT);
}

void omen_http_delete(const struct omen_http_task *task)
{
    start(task, OMEN_JSON_DELETE);
}
