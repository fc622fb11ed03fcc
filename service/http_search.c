/* http_search.c - POST /v1/collections/NAME/search: parsed on a worker, searched for by the engine,
 * written on a worker again, so that neither the listener nor a search thread spends time on JSON.
 *
 * Nobody tells when a client of this port goes away while it waits; a search that nobody wants any
 * more ends at search_seconds_max.
 */
#include "service/http_methods.h"

#include <stdio.h>
#include <stdlib.h>

#include "service/clock.h"
#include "service/decode_json.h"
#include "service/metrics.h"
#include "service/reply_json.h"
#include "service/search_run.h"
#include "service/workers.h"

struct http_search {
    omen_http_call *call;
    omen_service *service;
    struct omen_search_run run;
};

static void destroy(struct http_search *state)
{
    if (state == NULL) return;
    omen_search_run_deinit(&state->run);
    free(state);
}

/* On a worker. */
static void answer(void *user)
{
    struct http_search *state = user;
    const struct omen_search *search = &state->run.search;
    struct omen_fault fault = {.code = search->code, .error = search->error};
    struct omen_text text = {0};

    if (fault.code != OMEN_OK) {
        omen_http_reply_fault(state->call, &fault);
    } else {
        omen_metrics_count_search(omen_service_metrics(state->service), search);
        omen_json_write_search(&text, search, state->run.incarnation);
        omen_http_reply_json(state->call, &text);
    }
    destroy(state);
}

/* On a search thread. A full queue cannot be (http_routes.c); answering here would be right too. */
static void search_done(struct omen_search *search)
{
    struct http_search *state = search->user;

    if (!omen_workers_submit(omen_service_http_workers(state->service), answer, state))
        answer(state);
}

static omen_code read_request(struct http_search *state, const struct omen_http_task *task,
                              struct omen_fault *fault)
{
    struct omen_search_request wanted = {0};
    size_t bytes = 0;
    const char *body = omen_http_call_body(task->call, &bytes);
    omen_engine *engine = omen_service_engine(task->service, fault);
    omen_json *json = NULL;

    if (engine == NULL) return fault->code;
    json = omen_json_parse(body, bytes, fault);
    if (json == NULL) return fault->code;
    (void)snprintf(wanted.collection, sizeof wanted.collection, "%s", task->name);
    fault->code = omen_json_read_search(json, &wanted, fault);
    if (fault->code == OMEN_OK)
        fault->code = omen_search_run_init(&state->run, engine, &wanted,
                                           omen_service_requests(task->service), fault);
    if (fault->code == OMEN_OK)
        fault->code = omen_json_read_queries(json, &wanted, &state->run.rows, fault);
    omen_json_destroy(json);
    return fault->code;
}

void omen_http_search(const struct omen_http_task *task)
{
    struct http_search *state = calloc(1, sizeof *state);
    struct omen_fault fault = {0};

    if (state == NULL) {
        (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the search");
    } else {
        state->call = task->call;
        state->service = task->service;
        fault.code = read_request(state, task, &fault);
        if (fault.code == OMEN_OK)
            fault.code = omen_search_run_submit(
                &state->run, omen_clock_ns() + omen_service_search_ns_max(task->service),
                search_done, state, &fault);
    }
    if (fault.code == OMEN_OK) return; /* search_done() has the state, or has freed it already */
    omen_http_reply_fault(task->call, &fault);
    destroy(state);
}
