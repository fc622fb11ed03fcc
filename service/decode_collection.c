/* decode_collection.c - the requests about collections, by protobuf-c. */
#include "service/decode.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "omendb/v1/collection.pb-c.h"
#include "service/decode_protobuf.h"

static void copy_name(char out[OMEN_REQUEST_NAME_BYTES], const char *name)
{
    (void)snprintf(out, OMEN_REQUEST_NAME_BYTES, "%s", name);
}

uint8_t *omen_message_flatten(const omen_message *message)
{
    uint8_t *bytes = malloc(omen_message_bytes(message) + 1);
    uint8_t *at = bytes;
    const uint8_t *data = NULL;
    size_t length = 0;

    if (bytes == NULL) return NULL;
    for (size_t i = 0; omen_message_slice(message, i, &data, &length); i++) {
        memcpy(at, data, length);
        at += length;
    }
    return bytes;
}

omen_code omen_metric_check(int64_t metric, omen_metric *out, struct omen_fault *fault)
{
    if (metric < OMEN_METRIC_L2 || metric > OMEN_METRIC_INNER_PRODUCT)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_METRIC", "config.metric",
                              "config.metric is %" PRId64 ", it must be 1 (L2), 2 (cosine) or 3 "
                              "(inner product)",
                              metric);
    *out = (omen_metric)metric;
    return OMEN_OK;
}

omen_code omen_originals_check(int64_t originals, omen_originals_format *out,
                               struct omen_fault *fault)
{
    if (originals < 0 || originals > OMEN_ORIGINALS_F16)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_LIMIT", "config.originals",
                              "config.originals is %" PRId64 ", it must be 1 (f32) or 2 (f16)",
                              originals);
    *out = (omen_originals_format)originals;
    return OMEN_OK;
}

omen_code omen_target_recall_read(double value, const char *field, uint32_t *out,
                                  struct omen_fault *fault)
{
    const double min = OMEN_TARGET_RECALL_MIN / 1e6;
    const double max = OMEN_TARGET_RECALL_MAX / 1e6;

    *out = 0;
    if (value == 0) return OMEN_OK;
    if (!(value >= min && value <= max)) /* also what is no number */
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_LIMIT", field,
                              "%s is %g; it is %g to %g", field, value, min, max);
    *out = (uint32_t)(value * 1e6 + 0.5);
    return OMEN_OK;
}

omen_code omen_update_request_check(const struct omen_update_request *request,
                                    struct omen_fault *fault)
{
    if (request->target_recall != 0 || request->calibrate) return OMEN_OK;
    return omen_fault_set(
        fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
        "the request has neither target_recall nor calibrate: there is nothing to "
        "do");
}

omen_code omen_decode_update(const omen_message *message, struct omen_update_request *out,
                             struct omen_fault *fault)
{
    Omendb__V1__UpdateCollectionRequest *request =
        omen_protobuf_unpack(&omendb__v1__update_collection_request__descriptor, message, fault);

    memset(out, 0, sizeof *out);
    if (request == NULL) return fault->code;
    copy_name(out->name, request->name);
    out->calibrate = request->calibrate != 0;
    if (omen_target_recall_read(request->target_recall, "target_recall", &out->target_recall,
                                fault) == OMEN_OK)
        (void)omen_update_request_check(out, fault);
    omendb__v1__update_collection_request__free_unpacked(request, NULL);
    return fault->code;
}

static omen_code read_config(const Omendb__V1__CollectionConfig *config,
                             struct omen_collection_settings *out, struct omen_fault *fault)
{
    if (config == NULL) return omen_fault_no_config(fault);
    if (omen_metric_check(config->metric, &out->metric, fault) != OMEN_OK ||
        omen_originals_check(config->originals, &out->originals, fault) != OMEN_OK ||
        omen_target_recall_read(config->target_recall, "config.target_recall", &out->target_recall,
                                fault) != OMEN_OK)
        return fault->code;
    out->dim = config->dim;
    out->links = config->links;
    out->candidates = config->candidates;
    out->probes = config->probes;
    out->epoch_points = config->epoch_points;
    out->checkpoint_bytes = config->checkpoint_bytes;
    return OMEN_OK;
}

omen_code omen_decode_estimate(const omen_message *message, struct omen_estimate_request *out,
                               struct omen_fault *fault)
{
    Omendb__V1__EstimateMemoryRequest *request =
        omen_protobuf_unpack(&omendb__v1__estimate_memory_request__descriptor, message, fault);

    memset(out, 0, sizeof *out);
    if (request == NULL) return fault->code;
    (void)read_config(request->config, &out->settings, fault);
    out->points = request->points;
    out->keyed = request->keyed_points;
    omendb__v1__estimate_memory_request__free_unpacked(request, NULL);
    return fault->code;
}

omen_code omen_decode_create(const omen_message *message, struct omen_create_request *out,
                             struct omen_fault *fault)
{
    Omendb__V1__CreateCollectionRequest *request =
        omen_protobuf_unpack(&omendb__v1__create_collection_request__descriptor, message, fault);

    memset(out, 0, sizeof *out);
    if (request == NULL) return fault->code;
    copy_name(out->name, request->name);
    (void)read_config(request->config, &out->settings, fault);
    omendb__v1__create_collection_request__free_unpacked(request, NULL);
    return fault->code;
}

omen_code omen_decode_get(const omen_message *message, struct omen_get_request *out,
                          struct omen_fault *fault)
{
    Omendb__V1__GetCollectionRequest *request =
        omen_protobuf_unpack(&omendb__v1__get_collection_request__descriptor, message, fault);

    memset(out, 0, sizeof *out);
    if (request == NULL) return fault->code;
    copy_name(out->name, request->name);
    out->with_graph_hash = request->with_graph_hash != 0;
    omendb__v1__get_collection_request__free_unpacked(request, NULL);
    return OMEN_OK;
}

omen_code omen_decode_list(const omen_message *message, struct omen_fault *fault)
{
    Omendb__V1__ListCollectionsRequest *request =
        omen_protobuf_unpack(&omendb__v1__list_collections_request__descriptor, message, fault);

    if (request == NULL) return fault->code;
    omendb__v1__list_collections_request__free_unpacked(request, NULL);
    return OMEN_OK;
}

omen_code omen_decode_delete(const omen_message *message, struct omen_name_request *out,
                             struct omen_fault *fault)
{
    Omendb__V1__DeleteCollectionRequest *request =
        omen_protobuf_unpack(&omendb__v1__delete_collection_request__descriptor, message, fault);

    memset(out, 0, sizeof *out);
    if (request == NULL) return fault->code;
    copy_name(out->name, request->name);
    omendb__v1__delete_collection_request__free_unpacked(request, NULL);
    return OMEN_OK;
}

omen_code omen_decode_validate(const omen_message *message, struct omen_name_request *out,
                               struct omen_fault *fault)
{
    Omendb__V1__ValidateCollectionRequest *request =
        omen_protobuf_unpack(&omendb__v1__validate_collection_request__descriptor, message, fault);

    memset(out, 0, sizeof *out);
    if (request == NULL) return fault->code;
    copy_name(out->name, request->name);
    omendb__v1__validate_collection_request__free_unpacked(request, NULL);
    return OMEN_OK;
}
