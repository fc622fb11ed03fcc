/* service.c - see service.h. Puts the parts together and takes them apart in reverse. */
#include "service/service.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "service/health.h"
#include "service/http_listener.h"
#include "service/http_methods.h"
#include "service/listener.h"
#include "service/methods.h"
#include "service/metrics.h"
#include "service/reflection.h"
#include "service/reply.h"
#include "service/workers.h"

struct omen_service {
    /* Fixed at start. */
    struct omen_workers *workers;
    struct omen_health *health;
    struct omen_reflection *reflection;
    struct omen_inserts *inserts;
    omen_listener *listener;
    struct omen_workers *http_workers; /* NULL, like the next, without an HTTP port */
    omen_http_listener *http;

    /* Written once by the main thread (release), read by every method (acquire). */
    _Atomic(omen_engine *) engine;
    _Atomic bool draining;

    struct omen_metrics metrics; /* any thread */
};

static const struct omen_method *const methods[] = {
    &omen_method_insert,
    &omen_method_search,
    &omen_method_create_collection,
    &omen_method_get_collection,
    &omen_method_list_collections,
    &omen_method_delete_collection,
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

    if (config->http_port == OMEN_CONFIG_PORT_OFF) return OMEN_OK;
    service->http_workers = omen_workers_create();
    if (service->http_workers == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory or threads to start");
    return omen_http_listener_open(&options, &service->http, err);
}

omen_code omen_service_open(const struct omen_config *config, omen_service **out, omen_error *err)
{
    omen_service *service = calloc(1, sizeof *service);
    struct omen_listener_options options = {
        .host = config->grpc_host,
        .port = (uint16_t)config->grpc_port,
        .max_connection_age_seconds = config->max_connection_age_seconds,
        .methods = methods,
        .method_count = sizeof methods / sizeof *methods,
        .unknown = &omen_method_unknown,
        .context = service,
    };
    omen_code code = OMEN_OK;

    *out = NULL;
    if (service == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory to start");
    service->workers = omen_workers_create();
    service->health = omen_health_create();
    service->reflection = omen_reflection_create();
    service->inserts = omen_inserts_create();
    if (service->workers == NULL || service->health == NULL || service->reflection == NULL ||
        service->inserts == NULL)
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

void omen_service_serve(omen_service *service, omen_engine *engine)
{
    atomic_store_explicit(&service->engine, engine, memory_order_release);
    omen_health_set(service->health, true);
}

static uint32_t elapsed_ms(const struct timespec *since)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((now.tv_sec - since->tv_sec) * 1000 +
                      (now.tv_nsec - since->tv_nsec) / 1000000);
}

void omen_service_drain(omen_service *service, uint32_t seconds)
{
    struct timespec start;
    uint32_t grace_ms = seconds * 1000;

    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    atomic_store_explicit(&service->draining, true, memory_order_release);
    omen_health_set(service->health, false);
    omen_inserts_drain(service->inserts, grace_ms);
    omen_health_end_watches(service->health);
    uint32_t used_ms = elapsed_ms(&start);
    omen_listener_close(service->listener, used_ms < grace_ms ? grace_ms - used_ms : 0);
    service->listener = NULL;
    used_ms = elapsed_ms(&start);
    omen_http_listener_close(service->http, used_ms < grace_ms ? grace_ms - used_ms : 0);
    service->http = NULL;
}

void omen_service_close(omen_service *service)
{
    if (service == NULL) return;
    omen_http_listener_close(service->http, 0);
    omen_workers_destroy(service->http_workers);
    omen_listener_close(service->listener, 0);
    omen_workers_destroy(service->workers);
    omen_inserts_destroy(service->inserts);
    omen_reflection_destroy(service->reflection);
    omen_health_destroy(service->health);
    free(service);
}

/* ---- for the methods ---------------------------------------------------------------------- */

omen_engine *omen_service_engine(omen_service *service, struct omen_fault *fault)
{
    omen_engine *engine = atomic_load_explicit(&service->engine, memory_order_acquire);

    if (engine == NULL)
        (void)omen_fault_set(fault, OMEN_UNAVAILABLE, "LOADING", NULL,
                             "the server is reading its collections' logs: try again later");
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

struct omen_workers *omen_service_workers(omen_service *service)
{
    return service->workers;
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
