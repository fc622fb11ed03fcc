/* methods_collection.c - CollectionService: decode, call the engine, reply. */
#include "service/methods.h"

#include <inttypes.h>
#include <stdio.h>

#include "service/control_call.h"
#include "service/decode.h"
#include "service/reply.h"
#include "service/service.h"

static void hand_over(omen_call *call, omen_message *request, omen_control_fn *run)
{
    omen_control_call(call, request, run, omen_service_workers(omen_call_context(call)));
}

/* ---- CreateCollection --------------------------------------------------------------------- */

static omen_code create(omen_engine *engine, const omen_message *request,
                        struct omen_payload *reply, struct omen_fault *fault)
{
    struct omen_create_request create_request;
    struct omen_collection_info info;

    if (omen_decode_create(request, &create_request, fault) != OMEN_OK) return fault->code;
    omen_code code = omen_collection_create(engine, create_request.name, &create_request.settings,
                                            &info, &fault->error);
    if (code == OMEN_OK) *reply = omen_reply_collections(OMEN_REPLY_CREATE, &info, 1, "");
    return code;
}

static void start_create(omen_call *call, omen_message *request)
{
    hand_over(call, request, create);
}

const struct omen_method omen_method_create_collection = {
    .path = "/omendb.v1.CollectionService/CreateCollection", .start = start_create};

/* ---- GetCollection ------------------------------------------------------------------------ */

omen_code omen_collection_look_up(omen_engine *engine, const char *name, char *graph_hash,
                                  struct omen_collection_info *info, omen_error *err)
{
    omen_collection *collection = NULL;
    omen_code code = omen_collection_acquire(engine, name, &collection, err);

    if (code != OMEN_OK) return code;
    if (graph_hash != NULL)
        (void)snprintf(graph_hash, OMEN_GRAPH_HASH_BYTES, "%016" PRIx64,
                       omen_collection_graph_hash(collection));
    omen_collection_get_info(collection, info);
    omen_collection_release(collection);
    return OMEN_OK;
}

static omen_code get(omen_engine *engine, const omen_message *request, struct omen_payload *reply,
                     struct omen_fault *fault)
{
    struct omen_get_request get_request;
    struct omen_collection_info info;
    char hash[OMEN_GRAPH_HASH_BYTES] = "";

    if (omen_decode_get(request, &get_request, fault) != OMEN_OK) return fault->code;
    omen_code code = omen_collection_look_up(
        engine, get_request.name, get_request.with_graph_hash ? hash : NULL, &info, &fault->error);
    if (code != OMEN_OK) return code;
    *reply = omen_reply_collections(OMEN_REPLY_GET, &info, 1, hash);
    return OMEN_OK;
}

static void start_get(omen_call *call, omen_message *request)
{
    hand_over(call, request, get);
}

const struct omen_method omen_method_get_collection = {
    .path = "/omendb.v1.CollectionService/GetCollection", .start = start_get};

/* ---- UpdateCollection --------------------------------------------------------------------- */

omen_code omen_collection_update(omen_engine *engine, const struct omen_update_request *request,
                                 struct omen_collection_info *info, omen_error *err)
{
    omen_collection *collection = NULL;
    omen_code code = omen_collection_acquire(engine, request->name, &collection, err);

    if (code != OMEN_OK) return code;
    if (request->target_recall != 0)
        code = omen_collection_set_target_recall(collection, request->target_recall, err);
    if (code == OMEN_OK && request->calibrate) code = omen_collection_calibrate(collection, err);
    omen_collection_get_info(collection, info);
    omen_collection_release(collection);
    return code;
}

static omen_code update(omen_engine *engine, const omen_message *request,
                        struct omen_payload *reply, struct omen_fault *fault)
{
    struct omen_update_request update_request;
    struct omen_collection_info info;

    if (omen_decode_update(request, &update_request, fault) != OMEN_OK) return fault->code;
    omen_code code = omen_collection_update(engine, &update_request, &info, &fault->error);
    if (code == OMEN_OK) *reply = omen_reply_collections(OMEN_REPLY_UPDATE, &info, 1, "");
    return code;
}

static void start_update(omen_call *call, omen_message *request)
{
    hand_over(call, request, update);
}

const struct omen_method omen_method_update_collection = {
    .path = "/omendb.v1.CollectionService/UpdateCollection", .start = start_update};

/* ---- ListCollections ---------------------------------------------------------------------- */

static omen_code list(omen_engine *engine, const omen_message *request, struct omen_payload *reply,
                      struct omen_fault *fault)
{
    struct omen_collection_info *infos = NULL;
    size_t count = 0;

    if (omen_decode_list(request, fault) != OMEN_OK) return fault->code;
    omen_code code = omen_collection_list(engine, &infos, &count, &fault->error);
    if (code != OMEN_OK) return code;
    *reply = omen_reply_collections(OMEN_REPLY_LIST, infos, count, "");
    omen_collection_list_free(infos);
    return OMEN_OK;
}

static void start_list(omen_call *call, omen_message *request)
{
    hand_over(call, request, list);
}

const struct omen_method omen_method_list_collections = {
    .path = "/omendb.v1.CollectionService/ListCollections", .start = start_list};

/* ---- DeleteCollection --------------------------------------------------------------------- */

static omen_code drop(omen_engine *engine, const omen_message *request, struct omen_payload *reply,
                      struct omen_fault *fault)
{
    struct omen_name_request delete_request;

    if (omen_decode_delete(request, &delete_request, fault) != OMEN_OK) return fault->code;
    omen_code code = omen_collection_delete(engine, delete_request.name, &fault->error);
    if (code == OMEN_OK) *reply = omen_reply_empty();
    return code;
}

static void start_delete(omen_call *call, omen_message *request)
{
    hand_over(call, request, drop);
}

const struct omen_method omen_method_delete_collection = {
    .path = "/omendb.v1.CollectionService/DeleteCollection", .start = start_delete};

/* ---- ValidateCollection ------------------------------------------------------------------- */

omen_code omen_collection_check(omen_engine *engine, const char *name, struct omen_validation *out,
                                omen_error *err)
{
    omen_collection *collection = NULL;
    omen_code code = omen_collection_acquire(engine, name, &collection, err);

    if (code != OMEN_OK) return code;
    code = omen_collection_validate(collection, out, err);
    omen_collection_release(collection);
    return code;
}

static omen_code validate(omen_engine *engine, const omen_message *request,
                          struct omen_payload *reply, struct omen_fault *fault)
{
    struct omen_name_request validate_request;
    struct omen_validation validation;

    if (omen_decode_validate(request, &validate_request, fault) != OMEN_OK) return fault->code;
    omen_code code =
        omen_collection_check(engine, validate_request.name, &validation, &fault->error);
    if (code == OMEN_OK) *reply = omen_reply_validation(&validation);
    return code;
}

static void start_validate(omen_call *call, omen_message *request)
{
    hand_over(call, request, validate);
}

const struct omen_method omen_method_validate_collection = {
    .path = "/omendb.v1.CollectionService/ValidateCollection", .start = start_validate};

/* ---- EstimateMemory ----------------------------------------------------------------------- */

omen_code omen_memory_estimate(omen_engine *engine, const struct omen_estimate_request *request,
                               struct omen_estimate_answer *out, omen_error *err)
{
    omen_engine_get_memory(engine, &out->now);
    return omen_estimate(&request->settings, request->points, request->keyed, &out->estimate, err);
}

static omen_code estimate(omen_engine *engine, const omen_message *request,
                          struct omen_payload *reply, struct omen_fault *fault)
{
    struct omen_estimate_request estimate_request;
    struct omen_estimate_answer answer;

    if (omen_decode_estimate(request, &estimate_request, fault) != OMEN_OK) return fault->code;
    omen_code code = omen_memory_estimate(engine, &estimate_request, &answer, &fault->error);
    if (code == OMEN_OK) *reply = omen_reply_estimate(&answer);
    return code;
}

static void start_estimate(omen_call *call, omen_message *request)
{
    hand_over(call, request, estimate);
}

const struct omen_method omen_method_estimate_memory = {
    .path = "/omendb.v1.CollectionService/EstimateMemory", .start = start_estimate};
