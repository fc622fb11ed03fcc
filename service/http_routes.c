/* http_routes.c - see http_methods.h: which path is served by whom, probes, metrics, and faults as
 * HTTP statuses.
 *
 * Probes answer on the listener's thread. Everything else goes to the HTTP port's own workers,
 * which parse, call the engine, and write the answer; a connection has one request there at most,
 * so their queue has room for all of them.
 */
#include "service/http_methods.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "service/metrics.h"
#include "service/reply_json.h"
#include "service/workers.h"

#define JSON_TYPE    "application/json"
#define TEXT_TYPE    "text/plain; charset=utf-8"
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define ALLOW_BYTES  64u

_Static_assert(OMEN_HTTP_CONNECTIONS_MAX <= OMEN_WORKERS_QUEUE_MAX, "a request always finds room");

static omen_http_handler answer_livez;
static omen_http_handler answer_readyz;
static omen_http_handler answer_startupz;
static omen_http_handler answer_metrics;

struct route {
    const char *method;
    const char *pattern; /* '*' is a collection's name */
    omen_http_handler *handler;
    bool on_worker;
};

static const struct route routes[] = {
    {"GET", "/livez", answer_livez, false},
    {"GET", "/readyz", answer_readyz, false},
    {"GET", "/startupz", answer_startupz, false},
    {"GET", "/metrics", answer_metrics, true},
    {"GET", "/v1/estimate", omen_http_estimate_memory, true},
    {"GET", "/v1/collections", omen_http_list_collections, true},
    {"POST", "/v1/collections", omen_http_create_collection, true},
    {"GET", "/v1/collections/*", omen_http_get_collection, true},
    {"DELETE", "/v1/collections/*", omen_http_delete_collection, true},
    {"POST", "/v1/collections/*/update", omen_http_update_collection, true},
    {"POST", "/v1/collections/*/search", omen_http_search, true},
    {"POST", "/v1/collections/*/insert", omen_http_insert, true},
    {"POST", "/v1/collections/*/upsert", omen_http_upsert, true},
    {"POST", "/v1/collections/*/delete", omen_http_delete, true},
    {"POST", "/v1/collections/*/get", omen_http_get, true},
    {"POST", "/v1/collections/*/validate", omen_http_validate_collection, true},
};
#define ROUTE_COUNT (sizeof routes / sizeof *routes)

/* ---- answers ------------------------------------------------------------------------------ */

static unsigned status_of(const struct omen_fault *fault)
{
    switch (fault->code) {
    case OMEN_OK:
        return 200;
    case OMEN_INVALID_ARGUMENT:
    case OMEN_FAILED_PRECONDITION:
        return 400;
    case OMEN_NOT_FOUND:
        return 404;
    case OMEN_ALREADY_EXISTS:
    case OMEN_ABORTED:
        return 409;
    case OMEN_RESOURCE_EXHAUSTED:
        return 429;
    case OMEN_CANCELLED:
        return 499;
    case OMEN_UNIMPLEMENTED:
        return 501;
    case OMEN_UNAVAILABLE:
        return 503;
    case OMEN_DEADLINE_EXCEEDED:
        return 504;
    case OMEN_INTERNAL:
    case OMEN_DATA_LOSS:
        return 500;
    }
    return 500;
}

static void reply_fault(omen_http_call *call, const struct omen_fault *fault, unsigned status,
                        const char *allow)
{
    struct omen_http_answer answer = {.status = status, .content_type = JSON_TYPE, .allow = allow};
    struct omen_text text = {0};

    omen_json_write_fault(&text, fault);
    answer.body = omen_text_take(&text);
    omen_http_call_reply(call, &answer);
}

void omen_http_reply_fault(omen_http_call *call, const struct omen_fault *fault)
{
    reply_fault(call, fault, status_of(fault), NULL);
}

static void reply_text(omen_http_call *call, unsigned status, const char *type,
                       struct omen_text *text)
{
    struct omen_http_answer answer = {
        .status = status, .content_type = type, .body = omen_text_take(text)};
    struct omen_fault fault = {0};

    if (answer.body.data != NULL) {
        omen_http_call_reply(call, &answer);
        return;
    }
    (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                         "no memory for the answer");
    omen_http_reply_fault(call, &fault);
}

void omen_http_reply_json(omen_http_call *call, struct omen_text *text)
{
    reply_text(call, 200, JSON_TYPE, text);
}

/* ---- probes and metrics ------------------------------------------------------------------- */

static void reply_probe(const struct omen_http_task *task, const char *trouble)
{
    struct omen_text text = {0};

    omen_text_add(&text, "%s\n", trouble == NULL ? "ok" : trouble);
    reply_text(task->call, trouble == NULL ? 200 : 503, TEXT_TYPE, &text);
}

static void reply_loading(const struct omen_http_task *task)
{
    char loading[OMEN_LOADING_BYTES];
    char trouble[OMEN_LOADING_BYTES + 16];

    omen_service_describe_loading(task->service, loading);
    (void)snprintf(trouble, sizeof trouble, "loading: %s", loading);
    reply_probe(task, trouble);
}

static void answer_livez(const struct omen_http_task *task)
{
    reply_probe(task, NULL);
}

static void answer_readyz(const struct omen_http_task *task)
{
    switch (omen_service_phase_now(task->service)) {
    case OMEN_PHASE_LOADING:
        reply_loading(task);
        return;
    case OMEN_PHASE_DRAINING:
        reply_probe(task, "draining: the server shuts down");
        return;
    case OMEN_PHASE_SERVING:
        break;
    }
    reply_probe(task, NULL);
}

static void answer_startupz(const struct omen_http_task *task)
{
    struct omen_fault fault = {0};

    if (omen_service_engine(task->service, &fault) == NULL)
        reply_loading(task);
    else
        reply_probe(task, NULL);
}

static void answer_metrics(const struct omen_http_task *task)
{
    struct omen_collection_info *infos = NULL;
    struct omen_fault fault = {0};
    struct omen_text text = {0};
    size_t count = 0;
    omen_engine *engine = omen_service_engine(task->service, &fault);

    /* While loading there is nothing to say of collections; the counters are there. */
    if (engine != NULL) fault.code = omen_collection_list(engine, &infos, &count, &fault.error);
    if (engine != NULL && fault.code != OMEN_OK) {
        omen_http_reply_fault(task->call, &fault);
        return;
    }
    struct omen_metrics_levels levels = omen_service_levels(task->service);
    if (engine != NULL) {
        omen_engine_get_disk(engine, &levels.disk);
        omen_engine_get_memory(engine, &levels.memory);
    }
    omen_metrics_write(omen_service_metrics(task->service), &levels, infos, count, &text);
    omen_collection_list_free(infos);
    reply_text(task->call, 200, METRICS_TYPE, &text);
}

/* ---- dispatch ----------------------------------------------------------------------------- */

/* Copies what stands for the pattern's '*' to `name`. */
static bool match(const char *path, const char *pattern, char name[OMEN_REQUEST_NAME_BYTES])
{
    const char *star = strchr(pattern, '*');
    size_t head = star == NULL ? strlen(pattern) : (size_t)(star - pattern);
    size_t length = 0;

    if (strncmp(path, pattern, head) != 0) return false;
    if (star == NULL) return path[head] == '\0';
    length = strcspn(path + head, "/");
    if (length == 0 || strcmp(path + head + length, star + 1) != 0) return false;
    if (length >= OMEN_REQUEST_NAME_BYTES) length = OMEN_REQUEST_NAME_BYTES - 1;
    memcpy(name, path + head, length);
    name[length] = '\0';
    return true;
}

/* HEAD is GET without the body, which the listener leaves out by itself. */
static const struct route *find_route(omen_http_call *call, char name[OMEN_REQUEST_NAME_BYTES],
                                      char allow[ALLOW_BYTES])
{
    const char *method = omen_http_call_method(call);
    size_t used = 0;

    allow[0] = '\0';
    if (strcmp(method, "HEAD") == 0) method = "GET";
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        if (!match(omen_http_call_path(call), routes[i].pattern, name)) continue;
        if (strcmp(method, routes[i].method) == 0) return &routes[i];
        int added = snprintf(allow + used, ALLOW_BYTES - used, "%s%s", used == 0 ? "" : ", ",
                             routes[i].method);
        used += (size_t)added;
    }
    return NULL;
}

static void refuse_unknown(omen_http_call *call, const char *allow)
{
    struct omen_fault fault = {0};

    if (allow[0] == '\0') {
        (void)omen_fault_set(&fault, OMEN_NOT_FOUND, "UNKNOWN_PATH", NULL,
                             "there is no path %.128s", omen_http_call_path(call));
        omen_http_reply_fault(call, &fault);
        return;
    }
    (void)omen_fault_set(&fault, OMEN_UNIMPLEMENTED, "UNKNOWN_METHOD", NULL,
                         "there is no method %s for %.128s, only %s", omen_http_call_method(call),
                         omen_http_call_path(call), allow);
    reply_fault(call, &fault, 405, allow);
}

static void refuse_body(omen_http_call *call)
{
    struct omen_fault fault = {0};

    if (omen_http_call_trouble(call) == OMEN_HTTP_TOO_LARGE) {
        (void)omen_fault_set(&fault, OMEN_INVALID_ARGUMENT, "TOO_LARGE", NULL,
                             "the body has more than %u bytes, which is the limit",
                             OMEN_HTTP_BODY_BYTES_MAX);
        reply_fault(call, &fault, 413, NULL);
        return;
    }
    (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                         "too many requests are being read: try again later");
    omen_http_reply_fault(call, &fault);
}

struct job {
    struct omen_http_task task;
    omen_http_handler *handler;
};

static void run_job(void *user)
{
    struct job *job = user;

    job->handler(&job->task);
    free(job);
}

void omen_http_route(omen_http_call *call)
{
    omen_service *service = omen_http_call_context(call);
    struct job job = {.task = {.call = call, .service = service}};
    struct job *queued = NULL;
    struct omen_fault fault = {0};
    char allow[ALLOW_BYTES];
    const struct route *route = find_route(call, job.task.name, allow);

    if (route == NULL) {
        refuse_unknown(call, allow);
        return;
    }
    if (omen_http_call_trouble(call) != OMEN_HTTP_WHOLE) {
        refuse_body(call);
        return;
    }
    const char *hash = omen_http_call_argument(call, "with_graph_hash");
    job.task.with_graph_hash = hash != NULL && strcmp(hash, "true") == 0;
    job.handler = route->handler;
    if (!route->on_worker) {
        route->handler(&job.task);
        return;
    }
    queued = malloc(sizeof *queued);
    if (queued != NULL) {
        *queued = job;
        if (omen_workers_submit(omen_service_http_workers(service), run_job, queued)) return;
    }
    free(queued);
    (void)omen_fault_set(&fault, OMEN_RESOURCE_EXHAUSTED, "RATE", NULL,
                         "too many requests are waiting: try again later");
    omen_http_reply_fault(call, &fault);
}
