/* methods_get.c - VectorService.Get: decoded on the poller, looked up and answered on a worker,
 * since the originals may have to be read from the disk.
 */
#include "service/methods.h"

#include <stdlib.h>

#include "service/decode.h"
#include "service/get_run.h"
#include "service/metrics.h"
#include "service/reply.h"
#include "service/service.h"
#include "service/workers.h"

struct get_call {
    omen_call *call;
    omen_service *service;
    bool admitted;
    struct omen_get_run run;
};

static void destroy(struct get_call *state)
{
    if (state == NULL) return;
    omen_get_run_deinit(&state->run);
    if (state->admitted) omen_workers_leave(omen_service_point_workers(state->service));
    free(state);
}

/* On a worker. */
static void answer(void *user)
{
    struct get_call *state = user;
    struct omen_fault fault = {0};

    if (omen_call_cancelled(state->call))
        (void)omen_fault_set(&fault, OMEN_CANCELLED, "CANCELLED", NULL, "nobody waits any more");
    else
        (void)omen_get_run_go(&state->run, &fault);
    if (fault.code != OMEN_OK) {
        omen_reply_fault(state->call, &fault);
    } else {
        omen_metrics_count_get(omen_service_metrics(state->service), state->run.got.count);
        omen_reply_payload(state->call, omen_reply_get(&state->run.got));
    }
    destroy(state);
}

static omen_code open_run(struct get_call *state, const omen_message *request,
                          struct omen_fault *fault)
{
    omen_engine *engine = omen_service_engine(state->service, fault);

    if (engine == NULL) return fault->code;
    state->admitted = omen_workers_admit(omen_service_point_workers(state->service));
    if (!state->admitted)
        return omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "RATE", NULL,
                              "%u calls that read or write points are under way, which is the "
                              "limit: try again later",
                              OMEN_WORKERS_QUEUE_MAX);
    if (omen_decode_points_get(request, &state->run.wanted, fault) != OMEN_OK) return fault->code;
    return omen_get_run_init(&state->run, engine, omen_service_requests(state->service), fault);
}

static void start(omen_call *call, omen_message *request)
{
    omen_service *service = omen_call_context(call);
    struct get_call *state = calloc(1, sizeof *state);
    struct omen_fault fault = {0};

    if (state == NULL) {
        (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the call");
    } else {
        state->call = call;
        state->service = service;
        (void)open_run(state, request, &fault);
    }
    omen_message_destroy(request);
    if (fault.code == OMEN_OK &&
        omen_workers_submit(omen_service_point_workers(service), answer, state))
        return;
    omen_reply_fault(call, &fault);
    destroy(state);
}

const struct omen_method omen_method_get = {.path = "/omendb.v1.VectorService/Get", .start = start};
