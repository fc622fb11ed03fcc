/* methods_search.c - VectorService.Search: the request is decoded on the poller into one aligned
 * block of floats, the engine's search threads walk, and the thread that finishes encodes and
 * starts the answer.
 *
 * Failure modes: a request over a limit is answered without touching the engine; a call that was
 * cancelled while it was searched for is finished without encoding anything.
 */
#include "service/methods.h"

#include <stdlib.h>

#include "service/decode.h"
#include "service/metrics.h"
#include "service/reply.h"
#include "service/search_run.h"
#include "service/service.h"

struct search_call {
    omen_call *call;
    bool columns; /* how the results are laid out */
    struct omen_search_run run;
};

static omen_code submit(struct search_call *state, const omen_message *request,
                        struct omen_fault *fault);
static void search_done(struct omen_search *search);
static void destroy(struct search_call *state);

static void start(omen_call *call, omen_message *request)
{
    struct search_call *state = calloc(1, sizeof *state);
    struct omen_fault fault = {0};

    if (state == NULL) {
        (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the search");
    } else {
        state->call = call;
        fault.code = submit(state, request, &fault);
    }
    omen_message_destroy(request);
    if (fault.code == OMEN_OK) return; /* search_done() has the call, or has answered it already */
    omen_reply_fault(call, &fault);
    destroy(state);
}

const struct omen_method omen_method_search = {.path = "/omendb.v1.VectorService/Search",
                                               .start = start};

static omen_code submit(struct search_call *state, const omen_message *request,
                        struct omen_fault *fault)
{
    struct omen_search_request wanted;
    omen_engine *engine = omen_service_engine(omen_call_context(state->call), fault);

    if (engine == NULL) return fault->code;
    if (omen_decode_search(request, &wanted, fault) != OMEN_OK) return fault->code;
    state->columns = wanted.columns;
    omen_code code = omen_search_run_init(&state->run, engine, &wanted, fault);
    if (code != OMEN_OK) return code;
    code = omen_decode_queries(request, omen_collection_dim(state->run.collection),
                               state->run.queries, fault);
    if (code != OMEN_OK) return code;
    return omen_search_run_submit(&state->run, search_done, state, fault);
}

/* On a search thread. */
static void search_done(struct omen_search *search)
{
    struct search_call *state = search->user;
    struct omen_fault fault = {.code = search->code, .error = search->error};

    if (fault.code == OMEN_OK)
        omen_metrics_count_search(omen_service_metrics(omen_call_context(state->call)), search);
    if (omen_call_cancelled(state->call))
        (void)omen_fault_set(&fault, OMEN_CANCELLED, "CANCELLED", NULL, "nobody waits any more");
    if (fault.code != OMEN_OK)
        omen_reply_fault(state->call, &fault);
    else
        omen_reply_payload(state->call, omen_reply_search(search, state->columns));
    destroy(state);
}

static void destroy(struct search_call *state)
{
    if (state == NULL) return;
    omen_search_run_deinit(&state->run);
    free(state);
}
