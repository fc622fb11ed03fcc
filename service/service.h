/* service.h - the server's life: listening, loading, serving, draining, gone.
 *
 * The listener starts before the engine is there, so that probes and clients hear LOADING instead
 * of a refused connection. Methods get at the engine through omen_service_engine() alone.
 */
#ifndef OMEN_SERVICE_H
#define OMEN_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "service/config.h"
#include "service/fault.h"

typedef struct omen_service omen_service;

/* Listens, and answers UNAVAILABLE LOADING.
 * Owns:  *out, release it with omen_service_close().
 * Fails: OMEN_UNAVAILABLE the address cannot be had, OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_service_open(const struct omen_config *config, omen_service **out,
                                         omen_error *err);

uint16_t omen_service_port(const omen_service *service);
uint16_t omen_service_http_port(const omen_service *service); /* 0: there is none */

/* How much of the loading is done, in thousandths: those who are refused hear it. Any thread. */
void omen_service_set_loading(omen_service *service, uint32_t thousandths);

/* From here on the engine is used, and health says SERVING. Borrows: engine until
 * omen_service_close() returns. */
void omen_service_serve(omen_service *service, omen_engine *engine);

/* The engine takes writes, or does not: health and metrics say so. Any thread. */
void omen_service_set_writes(omen_service *service, bool taken);

/* Health says NOT_SERVING, new insert streams are refused, open ones take no more chunks and end
 * when what they took is searchable; then every other call may end. What is left after `seconds`
 * is cancelled. Returns when no call is left. */
void omen_service_drain(omen_service *service, uint32_t seconds);

/* NULL is allowed. Cancels what was not drained. */
void omen_service_close(omen_service *service);

/* ---- for the methods: `service` is a call's context --------------------------------------- */

enum omen_phase { OMEN_PHASE_LOADING, OMEN_PHASE_SERVING, OMEN_PHASE_DRAINING };
enum omen_phase omen_service_phase_now(omen_service *service);

/* "loading: ...", for as long as that is the phase. */
#define OMEN_LOADING_BYTES 128u
void omen_service_describe_loading(omen_service *service, char out[OMEN_LOADING_BYTES]);

/* NULL, with the fault LOADING, until there is one. */
omen_engine *omen_service_engine(omen_service *service, struct omen_fault *fault);

struct omen_workers *omen_service_workers(omen_service *service);
struct omen_workers *omen_service_point_workers(omen_service *service);    /* admit first */
struct omen_workers *omen_service_snapshot_workers(omen_service *service); /* admit first */
struct omen_budget *omen_service_requests(omen_service *service);          /* their memory */
uint64_t omen_service_search_ns_max(const omen_service *service);
struct omen_health *omen_service_health(omen_service *service);
const struct omen_reflection *omen_service_reflection(const omen_service *service);
struct omen_inserts *omen_service_inserts(omen_service *service);
struct omen_workers *omen_service_http_workers(omen_service *service);
struct omen_metrics *omen_service_metrics(omen_service *service);
struct omen_metrics_levels omen_service_levels(omen_service *service);

#endif
