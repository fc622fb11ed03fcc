/* methods_write.c - VectorService.Upsert and Delete: one record of the log for each call.
 *
 * The request is decoded on the poller, straight into the engine's chunk; the rest is
 * write_run.c's, and the answer goes out on the worker that sees it through.
 *
 * Failure modes: a client that goes away does not take its write back: it is answered, to nobody,
 * when it is done.
 */
#include "service/methods.h"

#include <stdlib.h>

#include "service/budget.h"
#include "service/decode.h"
#include "service/metrics.h"
#include "service/reply.h"
#include "service/service.h"
#include "service/workers.h"
#include "service/write_run.h"

/* A chunk holds the floats of the message once more, their codes, and what a record needs. */
#define BYTES_FOR_EACH 3u

struct write_call {
    omen_call *call;
    omen_service *service;
    enum omen_write_kind kind;
    uint64_t bytes; /* of the budget */
    bool admitted;
    bool opened;
    omen_chunk *chunk;
    struct omen_write_run run;
};

static void destroy(struct write_call *state)
{
    if (state == NULL) return;
    if (state->opened) omen_write_run_deinit(&state->run);
    omen_budget_give(omen_service_requests(state->service), state->bytes);
    if (state->admitted) omen_workers_leave(omen_service_point_workers(state->service));
    free(state);
}

/* On a worker. */
static void written(struct omen_write_run *run)
{
    struct write_call *state = run->user;
    struct omen_written answer = {.incarnation = run->incarnation,
                                  .log_position = run->log_position,
                                  .errors = run->errors,
                                  .error_count = run->error_count,
                                  .dim = run->target.dim};

    if (run->fault.code != OMEN_OK) {
        omen_reply_fault(state->call, &run->fault);
    } else {
        omen_metrics_count_write(omen_service_metrics(state->service),
                                 state->kind == OMEN_WRITE_DELETES, run->items, run->error_count);
        omen_reply_payload(state->call, omen_reply_written(&answer));
    }
    destroy(state);
}

static omen_code admit(struct write_call *state, size_t message_bytes, struct omen_fault *fault)
{
    uint64_t bytes = message_bytes * BYTES_FOR_EACH;

    if (omen_service_phase_now(state->service) == OMEN_PHASE_DRAINING)
        return omen_fault_draining(fault);
    state->admitted = omen_workers_admit(omen_service_point_workers(state->service));
    if (!state->admitted)
        return omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "RATE", NULL,
                              "%u calls that read or write points are under way, which is the "
                              "limit: try again later, or use Insert",
                              OMEN_WORKERS_QUEUE_MAX);
    if (omen_budget_take(omen_service_requests(state->service), bytes, fault) != OMEN_OK)
        return fault->code;
    state->bytes = bytes;
    return OMEN_OK;
}

static omen_code open_run(struct write_call *state, omen_engine *engine,
                          const omen_message *request, struct omen_fault *fault)
{
    struct omen_write_request wanted;
    struct omen_write_items items;
    struct omen_write_run *run = &state->run;

    if (omen_decode_write(request, state->kind, &wanted, fault) != OMEN_OK) return fault->code;
    run->workers = omen_service_point_workers(state->service);
    run->done = written;
    run->user = state;
    run->wait_durable = wanted.wait_durable;
    state->opened = true;
    if (omen_write_run_open(run, engine, wanted.collection, wanted.mode) != OMEN_OK) {
        *fault = run->fault;
        return fault->code;
    }
    if (omen_decode_write_items(request, state->kind, &run->target, &items, fault) != OMEN_OK)
        return fault->code;
    state->chunk = items.chunk;
    run->chunks = &state->chunk;
    run->chunk_count = 1;
    run->items = items.points + items.deletes;
    return OMEN_OK;
}

static void start(omen_call *call, omen_message *request, enum omen_write_kind kind)
{
    omen_service *service = omen_call_context(call);
    struct write_call *state = calloc(1, sizeof *state);
    struct omen_fault fault = {0};
    omen_engine *engine = omen_service_engine(service, &fault);

    if (state == NULL) {
        (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the call");
    } else {
        state->call = call;
        state->service = service;
        state->kind = kind;
        if (engine != NULL && admit(state, omen_message_bytes(request), &fault) == OMEN_OK)
            fault.code = open_run(state, engine, request, &fault);
    }
    omen_message_destroy(request);
    if (fault.code == OMEN_OK) {
        omen_write_run_start(&state->run);
        return;
    }
    omen_reply_fault(call, &fault);
    destroy(state);
}

static void start_upsert(omen_call *call, omen_message *request)
{
    start(call, request, OMEN_WRITE_POINTS);
}

static void start_delete(omen_call *call, omen_message *request)
{
    start(call, request, OMEN_WRITE_DELETES);
}

const struct omen_method omen_method_upsert = {.path = "/omendb.v1.VectorService/Upsert",
                                               .start = start_upsert};
const struct omen_method omen_method_delete = {.path = "/omendb.v1.VectorService/Delete",
                                               .start = start_delete};
