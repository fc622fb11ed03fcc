/* service.c - see service.h. Puts the parts together and takes them apart in reverse. */
#include "service/service.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "service/budget.h"
#include "service/clock.h"
#include "service/health.h"
#include "service/http_listener.h"
#include "service/http_methods.h"
#include "service/inserts.h"
#include "service/listener.h"
#include "service/methods.h"
#include "service/metrics.h"
#include "service/reflection.h"
#include "service/reply.h"
#include "service/workers.h"

struct omen_service {
    /* Fixed at start. */
    struct omen_workers *workers;
    struct omen_workers *point_workers;
    struct omen_workers *snapshot_workers;
    uint64_t search_ns_max;
    struct omen_health *health;
    struct omen_reflection *reflection;
    struct omen_inserts *inserts;
    omen_listener *listener;
    struct omen_workers *http_workers; /* NULL, like the next, without an HTTP port */
    omen_http_listener *http;

    /* Written once by the main thread (release), read by every method (acquire). */
    _Atomic(omen_engine *) engine;
    _Atomic bool draining;
    _Atomic bool writes_refused; /* written by engine threads */
    _Atomic uint32_t loading;    /* thousandths; written by the loading thread */

    /* Any thread. */
    struct omen_metrics metrics;
    struct omen_budget requests;
};

static const struct omen_method *const methods[] = {
    &omen_method_insert,
    &omen_method_upsert,
    &omen_method_delete,
    &omen_method_get,
    &omen_method_search,
    &omen_method_create_collection,
    &omen_method_get_collection,
    &omen_method_update_collection,
    &omen_method_list_collections,
    &omen_method_delete_collection,
    &omen_method_validate_collection,
    &omen_method_estimate_memory,
    &omen_method_create_snapshot,
    &omen_method_list_snapshots,
    &omen_method_delete_snapshot,
    &omen_method_verify_snapshot,
    &omen_method_download_snapshot,
    &omen_method_restore_snapshot,
    &omen_method_health_check,
    &omen_method_health_watch,
    &omen_method_reflection,
    &omen_method_reflection_v1alpha,
};

static omen_code open_http(omen_service *service, const struct omen_config *config, omen_error *err)
{
    struct omen_http_options options = {
        .host = config->http_host,
        .port = (uint16_t)config->http_port,
        .handle = omen_http_route,
        .context = service,
    };

    if (config->http_port == OMEN_CONFIG_OFF) return OMEN_OK;
    service->http_workers = omen_workers_create();
    if (service->http_workers == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory or threads to start");
    return omen_http_listener_open(&options, &service->http, err);
}

omen_code omen_service_open(const struct omen_config *config, omen_service **out, omen_error *err)
{
    omen_service *service = calloc(1, sizeof *service);
    struct omen_listener_options options = {
        .config = config,
        .methods = methods,
        .method_count = sizeof methods / sizeof *methods,
        .unknown = &omen_method_unknown,
        .context = service,
    };
    omen_code code = OMEN_OK;

    *out = NULL;
    if (service == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory to start");
    service->search_ns_max = config->search_seconds_max * OMEN_NS_PER_S;
    service->requests.max = (uint64_t)config->request_memory_mib << 20;
    service->workers = omen_workers_create();
    service->point_workers = omen_workers_create();
    service->snapshot_workers = omen_workers_create();
    service->health = omen_health_create();
    service->reflection = omen_reflection_create();
    service->inserts = omen_inserts_create(config);
    if (service->workers == NULL || service->point_workers == NULL ||
        service->snapshot_workers == NULL || service->health == NULL ||
        service->reflection == NULL || service->inserts == NULL)
        code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory or threads to start");
    else
        code = omen_listener_open(&options, &service->listener, err);
    if (code == OMEN_OK) code = open_http(service, config, err);
    if (code != OMEN_OK) {
        omen_service_close(service);
        return code;
    }
    *out = service;
    return OMEN_OK;
}

uint16_t omen_service_port(const omen_service *service)
{
    return omen_listener_port(service->listener);
}

uint16_t omen_service_http_port(const omen_service *service)
{
    return service->http == NULL ? 0 : omen_http_listener_port(service->http);
}

void omen_service_set_loading(omen_service *service, uint32_t thousandths)
{
    atomic_store_explicit(&service->loading, thousandths, memory_order_relaxed);
}

void omen_service_serve(omen_service *service, omen_engine *engine)
{
    atomic_store_explicit(&service->engine, engine, memory_order_release);
    omen_health_set(service->health, true);
}

static uint32_t left_ms(uint64_t end_ns)
{
    uint64_t now = omen_clock_ns();

    return now < end_ns ? (uint32_t)((end_ns - now) / 1000000) : 0;
}

void omen_service_drain(omen_service *service, uint32_t seconds)
{
    uint64_t end_ns = omen_clock_ns() + seconds * OMEN_NS_PER_S;

    atomic_store_explicit(&service->draining, true, memory_order_release);
    omen_health_set(service->health, false);
    omen_inserts_drain(service->inserts, left_ms(end_ns));
    omen_health_end_watches(service->health);
    omen_listener_close(service->listener, left_ms(end_ns));
    service->listener = NULL;
    omen_http_listener_close(service->http, left_ms(end_ns));
    service->http = NULL;
}

void omen_service_close(omen_service *service)
{
    if (service == NULL) return;
    omen_http_listener_close(service->http, 0);
    omen_workers_destroy(service->http_workers);
    omen_listener_close(service->listener, 0);
    omen_workers_destroy(service->snapshot_workers);
    omen_workers_destroy(service->point_workers);
    omen_workers_destroy(service->workers);
    omen_inserts_destroy(service->inserts);
    omen_reflection_destroy(service->reflection);
    omen_health_destroy(service->health);
    free(service);
}

/* ---- for the methods ---------------------------------------------------------------------- */

void omen_service_describe_loading(omen_service *service, char out[OMEN_LOADING_BYTES])
{
    uint32_t thousandths = atomic_load_explicit(&service->loading, memory_order_relaxed);

    (void)snprintf(out, OMEN_LOADING_BYTES, "the server loads its collections, %u.%u %% are done",
                   thousandths / 10, thousandths % 10);
}

omen_engine *omen_service_engine(omen_service *service, struct omen_fault *fault)
{
    omen_engine *engine = atomic_load_explicit(&service->engine, memory_order_acquire);

    if (engine == NULL) {
        char loading[OMEN_LOADING_BYTES];

        omen_service_describe_loading(service, loading);
        (void)omen_fault_set(fault, OMEN_UNAVAILABLE, "LOADING", NULL, "%s: try again later",
                             loading);
    }
    return engine;
}

enum omen_phase omen_service_phase_now(omen_service *service)
{
    if (atomic_load_explicit(&service->draining, memory_order_acquire)) return OMEN_PHASE_DRAINING;
    if (atomic_load_explicit(&service->engine, memory_order_acquire) == NULL)
        return OMEN_PHASE_LOADING;
    return OMEN_PHASE_SERVING;
}

struct omen_workers *omen_service_http_workers(omen_service *service)
{
    return service->http_workers;
}

struct omen_metrics *omen_service_metrics(omen_service *service)
{
    return &service->metrics;
}

void omen_service_set_writes(omen_service *service, bool taken)
{
    atomic_store_explicit(&service->writes_refused, !taken, memory_order_relaxed);
    omen_health_set_writes(service->health, taken);
}

struct omen_metrics_levels omen_service_levels(omen_service *service)
{
    return (struct omen_metrics_levels){
        .ingest_bytes = omen_inserts_bytes(service->inserts),
        .ingest_bytes_max = omen_inserts_bytes_max(service->inserts),
        .request_bytes = atomic_load_explicit(&service->requests.used, memory_order_relaxed),
        .request_bytes_max = service->requests.max,
        .writes_refused = atomic_load_explicit(&service->writes_refused, memory_order_relaxed),
        .serving = omen_service_phase_now(service) == OMEN_PHASE_SERVING,
    };
}

struct omen_workers *omen_service_workers(omen_service *service)
{
    return service->workers;
}

struct omen_workers *omen_service_point_workers(omen_service *service)
{
    return service->point_workers;
}

struct omen_workers *omen_service_snapshot_workers(omen_service *service)
{
    return service->snapshot_workers;
}

struct omen_budget *omen_service_requests(omen_service *service)
{
    return &service->requests;
}

uint64_t omen_service_search_ns_max(const omen_service *service)
{
    return service->search_ns_max;
}

struct omen_health *omen_service_health(omen_service *service)
{
    return service->health;
}

const struct omen_reflection *omen_service_reflection(const omen_service *service)
{
    return service->reflection;
}

struct omen_inserts *omen_service_inserts(omen_service *service)
{
    return service->inserts;
}

/* ---- every other path --------------------------------------------------------------------- */

static void start_unknown(omen_call *call, omen_message *request)
{
    struct omen_fault fault = {0};

    (void)request;
    (void)omen_fault_set(&fault, OMEN_UNIMPLEMENTED, "UNKNOWN_METHOD", NULL,
                         "there is no method %.128s", omen_call_path(call));
    omen_reply_fault(call, &fault);
}

static void closed_unknown(omen_call *call)
{
    (void)call;
}

const struct omen_method omen_method_unknown = {
    .path = "?", .stream = true, .start = start_unknown, .closed = closed_unknown};
