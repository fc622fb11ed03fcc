/* reply.h - what the engine says, as bytes of the API.
 *
 * Each encoder returns a payload of malloc'ed bytes for omen_call_reply() or omen_call_write(),
 * which take it. Without memory for it, the payload has no data and the caller fails the call
 * instead.
 */
#ifndef OMEN_REPLY_H
#define OMEN_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "service/decode.h"
#include "service/fault.h"
#include "service/listener.h"

/* Ends the call with the fault as its status: code, sentence, and google.rpc.Status with ErrorInfo
 * (and BadRequest, if the fault names a field) in the details. */
void omen_reply_fault(omen_call *call, const struct omen_fault *fault);

/* Ends the call with `payload` and OK, or, if that has no data, for want of memory. */
void omen_reply_payload(omen_call *call, struct omen_payload payload);

/* ---- Insert ------------------------------------------------------------------------------- */

struct omen_opened {
    struct omen_stream_state state;
    struct omen_collection_info info;
    uint32_t credit_bytes;
};
struct omen_payload omen_reply_opened(const struct omen_opened *opened);

struct omen_ack {
    uint64_t received_seq;
    uint64_t durable_seq;
    uint64_t searchable_seq;
    uint64_t errors_complete_seq;
    uint64_t log_position;
    uint32_t credit_bytes;
    const struct omen_item_error *errors;
    size_t error_count;
    uint32_t dim; /* of the collection, for the errors' sentences */
};
struct omen_payload omen_reply_ack(const struct omen_ack *ack);

/* The API's numbers. */
enum omen_drain_reason { OMEN_DRAIN_SHUTDOWN = 1, OMEN_DRAIN_MAX_AGE = 2 };
struct omen_drain {
    enum omen_drain_reason reason;
    uint64_t received_seq;
    uint32_t retry_after_ms;
};
struct omen_payload omen_reply_drain(const struct omen_drain *drain);

/* ---- Upsert, Delete, Get ------------------------------------------------------------------ */

struct omen_written {
    const uint8_t *incarnation;
    uint64_t log_position;
    const struct omen_item_error *errors;
    size_t error_count;
    uint32_t dim;
};
/* An UpsertResponse, and a DeleteResponse: they have the same fields. */
struct omen_payload omen_reply_written(const struct omen_written *written);

struct omen_points_got {
    const uint8_t *incarnation;
    uint64_t log_position;
    const struct omen_given_id *ids; /* count of each */
    const struct omen_got *points;
    const float *vectors; /* dim a point; NULL: not wanted */
    uint32_t count;
    uint32_t dim;
};
struct omen_payload omen_reply_get(const struct omen_points_got *got);

/* ---- Search ------------------------------------------------------------------------------- */

struct omen_payload omen_reply_search(const struct omen_search *search, const uint8_t *incarnation,
                                      bool columns);

/* ---- collections -------------------------------------------------------------------------- */

/* The four that answer with collections share one form. */
enum omen_reply_form { OMEN_REPLY_CREATE, OMEN_REPLY_GET, OMEN_REPLY_UPDATE, OMEN_REPLY_LIST };

/* `graph_hash` is hex, or empty. */
struct omen_payload omen_reply_collections(enum omen_reply_form form,
                                           const struct omen_collection_info *infos, size_t count,
                                           const char *graph_hash);

struct omen_estimate_answer {
    struct omen_estimate estimate;
    struct omen_memory_info now; /* of all collections that are there */
};
struct omen_payload omen_reply_estimate(const struct omen_estimate_answer *answer);

struct omen_payload omen_reply_validation(const struct omen_validation *validation);

/* A message without fields. */
struct omen_payload omen_reply_empty(void);

#endif
