/* methods_search.c - VectorService.Search: the request is decoded on the poller into one aligned
 * block of floats, the engine's search threads walk, and the thread that finishes encodes and
 * starts the answer.
 *
 * A call's state has two users, the engine until `done` and the listener until `closed`, in either
 * order: the last frees it. Between the two lies `finished`, under the lock: a client that goes
 * away cancels only a search that is not deinited, and the results go as soon as they are encoded,
 * however slowly the client reads them.
 *
 * Failure modes: a request over a limit is answered without touching the engine; a search that was
 * cancelled, or has met its deadline, is finished without encoding anything.
 */
#include "service/methods.h"

#include <pthread.h>
#include <stdlib.h>

#include "service/clock.h"
#include "service/decode.h"
#include "service/metrics.h"
#include "service/reply.h"
#include "service/search_run.h"
#include "service/service.h"

struct search_call {
    omen_call *call;
    omen_service *service;
    bool columns; /* how the results are laid out */
    struct omen_search_run run;

    /* Under `lock`. */
    pthread_mutex_t lock;
    uint32_t users;
    bool finished; /* run is deinited, or is about to be */
};

static omen_code submit(struct search_call *state, const omen_message *request,
                        struct omen_fault *fault);
static void search_done(struct omen_search *search);
static void finish(struct search_call *state);
static void release(struct search_call *state);

static void start(omen_call *call, omen_message *request)
{
    struct search_call *state = calloc(1, sizeof *state);
    struct omen_fault fault = {0};

    omen_call_set_user(call, state);
    if (state == NULL) {
        (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the search");
    } else {
        state->call = call;
        state->service = omen_call_context(call);
        state->users = 2;
        (void)pthread_mutex_init(&state->lock, NULL);
        fault.code = submit(state, request, &fault);
    }
    omen_message_destroy(request);
    if (fault.code == OMEN_OK) return; /* search_done() has the state, or has answered already */
    omen_reply_fault(call, &fault);
    if (state != NULL) finish(state);
}

/* On the poller. */
static void closed(omen_call *call)
{
    struct search_call *state = omen_call_user(call);

    if (state == NULL) return;
    (void)pthread_mutex_lock(&state->lock);
    if (!state->finished) omen_search_cancel(&state->run.search);
    (void)pthread_mutex_unlock(&state->lock);
    release(state);
}

const struct omen_method omen_method_search = {
    .path = "/omendb.v1.VectorService/Search", .start = start, .closed = closed};

static omen_code submit(struct search_call *state, const omen_message *request,
                        struct omen_fault *fault)
{
    struct omen_search_request wanted;
    struct omen_search_run *run = &state->run;
    uint64_t latest_ns = omen_clock_ns() + omen_service_search_ns_max(state->service);
    uint64_t deadline_ns = omen_call_deadline_ns(state->call);
    omen_engine *engine = omen_service_engine(state->service, fault);

    if (engine == NULL) return fault->code;
    if (omen_decode_search(request, &wanted, fault) != OMEN_OK) return fault->code;
    state->columns = wanted.columns;
    omen_code code =
        omen_search_run_init(run, engine, &wanted, omen_service_requests(state->service), fault);
    if (code != OMEN_OK) return code;
    if (omen_decode_queries(request, &wanted, &run->rows, fault) != OMEN_OK) return fault->code;
    return omen_search_run_submit(run, deadline_ns < latest_ns ? deadline_ns : latest_ns,
                                  search_done, state, fault);
}

/* On a search thread. */
static void search_done(struct omen_search *search)
{
    struct search_call *state = search->user;
    struct omen_fault fault = {.code = search->code, .error = search->error};

    if (fault.code == OMEN_OK)
        omen_metrics_count_search(omen_service_metrics(state->service), search);
    else if (fault.code == OMEN_CANCELLED || fault.code == OMEN_DEADLINE_EXCEEDED)
        omen_metrics_count_abandoned(omen_service_metrics(state->service));
    if (omen_call_cancelled(state->call))
        (void)omen_fault_set(&fault, OMEN_CANCELLED, "CANCELLED", NULL, "nobody waits any more");
    if (fault.code != OMEN_OK)
        omen_reply_fault(state->call, &fault);
    else
        omen_reply_payload(state->call,
                           omen_reply_search(search, state->run.incarnation, state->columns));
    finish(state);
}

static void finish(struct search_call *state)
{
    (void)pthread_mutex_lock(&state->lock);
    state->finished = true;
    (void)pthread_mutex_unlock(&state->lock);
    omen_search_run_deinit(&state->run);
    release(state);
}

static void release(struct search_call *state)
{
    bool last = false;

    (void)pthread_mutex_lock(&state->lock);
    last = --state->users == 0;
    (void)pthread_mutex_unlock(&state->lock);
    if (!last) return;
    (void)pthread_mutex_destroy(&state->lock);
    free(state);
}
