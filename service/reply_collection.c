/* reply_collection.c - collections as the control plane shows them, by protobuf-c. */
#include "service/reply.h"

#include <stdlib.h>
#include <string.h>

#include "omendb/v1/collection.pb-c.h"
#include "service/reply_protobuf.h"

/* A Collection and all that it points to. */
struct shown {
    Omendb__V1__Collection collection;
    Omendb__V1__CollectionConfig config;
    Omendb__V1__Calibration calibration;
    struct omen_collection_info info;
    char *kernels[OMEN_KERNEL_NAMES_MAX];
    char graph_hash[32];
};

struct omen_payload omen_protobuf_pack(const ProtobufCMessage *message)
{
    struct omen_payload payload = {0};

    payload.data = malloc(protobuf_c_message_get_packed_size(message) + 1);
    if (payload.data != NULL) payload.bytes = protobuf_c_message_pack(message, payload.data);
    return payload;
}

void omen_reply_config(Omendb__V1__CollectionConfig *out,
                       const struct omen_collection_settings *settings)
{
    omendb__v1__collection_config__init(out);
    out->dim = settings->dim;
    out->metric = (Omendb__V1__Metric)settings->metric;
    out->links = settings->links;
    out->candidates = settings->candidates;
    out->probes = settings->probes;
    out->epoch_points = settings->epoch_points;
    out->checkpoint_bytes = settings->checkpoint_bytes;
    out->target_recall = settings->target_recall / 1e6;
    out->originals = (Omendb__V1__Originals)settings->originals;
}

static void show_calibration(struct shown *shown, const struct omen_calibration *calibration)
{
    Omendb__V1__Calibration *out = &shown->calibration;

    omendb__v1__calibration__init(out);
    shown->collection.calibration = out;
    out->ef = calibration->ef[0];
    out->ef_100 = calibration->ef[1];
    out->rerank = calibration->rerank[0];
    out->rerank_100 = calibration->rerank[1];
    out->recall = calibration->recall[0] / 1e6;
    out->recall_100 = calibration->recall[1] / 1e6;
    out->target_recall = calibration->target / 1e6;
    out->live_queries = calibration->live != 0;
    out->queries = calibration->queries;
    out->points = calibration->points;
    out->unix_s = calibration->at_s;
}

static void show(struct shown *shown, const struct omen_collection_info *info,
                 const char *graph_hash)
{
    Omendb__V1__Collection *out = &shown->collection;

    shown->info = *info;
    omendb__v1__collection__init(out);
    omen_reply_config(&shown->config, &info->settings);
    show_calibration(shown, &info->calibration);
    out->name = shown->info.name;
    out->incarnation.data = shown->info.incarnation;
    out->incarnation.len = sizeof shown->info.incarnation;
    out->config = &shown->config;
    out->points = info->points;
    out->log_position = info->log_position;
    out->searchable_position = info->searchable_position;
    out->epoch = info->epoch;
    out->memory_bytes = info->memory_bytes;
    out->log_bytes = info->log_bytes;
    out->algorithm_version = info->algorithm_version;
    out->slots = info->slots;
    out->slots_max = info->slots_max;
    out->checkpoint_position = info->checkpoint_position;
    out->kernels = shown->kernels;
    while (out->n_kernels < OMEN_KERNEL_NAMES_MAX && info->kernels[out->n_kernels] != NULL) {
        /* protobuf-c packs from char *, and never writes to it. */
        shown->kernels[out->n_kernels] = (char *)(uintptr_t)info->kernels[out->n_kernels];
        out->n_kernels++;
    }
    (void)strncpy(shown->graph_hash, graph_hash, sizeof shown->graph_hash - 1);
    out->graph_hash = shown->graph_hash;
    if (info->refusal_code == OMEN_OK) return;
    out->refusal_reason = shown->info.refusal.reason;
    out->refusal = shown->info.refusal.message;
}

struct omen_payload omen_reply_collections(enum omen_reply_form form,
                                           const struct omen_collection_info *infos, size_t count,
                                           const char *graph_hash)
{
    struct shown *shown = calloc(count + 1, sizeof *shown);
    Omendb__V1__Collection **list = calloc(count + 1, sizeof(Omendb__V1__Collection *));
    struct omen_payload payload = {0};

    if (shown == NULL || list == NULL) goto done;
    for (size_t i = 0; i < count; i++) {
        show(&shown[i], &infos[i], graph_hash);
        list[i] = &shown[i].collection;
    }
    if (form == OMEN_REPLY_CREATE) {
        Omendb__V1__CreateCollectionResponse response =
            OMENDB__V1__CREATE_COLLECTION_RESPONSE__INIT;
        response.collection = list[0];
        payload = omen_protobuf_pack(&response.base);
    } else if (form == OMEN_REPLY_GET) {
        Omendb__V1__GetCollectionResponse response = OMENDB__V1__GET_COLLECTION_RESPONSE__INIT;
        response.collection = list[0];
        payload = omen_protobuf_pack(&response.base);
    } else if (form == OMEN_REPLY_UPDATE) {
        Omendb__V1__UpdateCollectionResponse response =
            OMENDB__V1__UPDATE_COLLECTION_RESPONSE__INIT;
        response.collection = list[0];
        payload = omen_protobuf_pack(&response.base);
    } else {
        Omendb__V1__ListCollectionsResponse response = OMENDB__V1__LIST_COLLECTIONS_RESPONSE__INIT;
        response.collections = list;
        response.n_collections = count;
        payload = omen_protobuf_pack(&response.base);
    }

done:
    free(list);
    free(shown);
    return payload;
}

struct omen_payload omen_reply_validation(const struct omen_validation *validation)
{
    Omendb__V1__ValidateCollectionResponse response =
        OMENDB__V1__VALIDATE_COLLECTION_RESPONSE__INIT;

    response.points = validation->points;
    response.linked = validation->linked;
    response.links = validation->links;
    response.reached_by_links = validation->reached_by_links;
    return omen_protobuf_pack(&response.base);
}

struct omen_payload omen_reply_empty(void)
{
    return (struct omen_payload){malloc(1), 0};
}

struct omen_payload omen_reply_estimate(const struct omen_estimate_answer *answer)
{
    const struct omen_estimate *e = &answer->estimate;
    Omendb__V1__EstimateMemoryResponse response = OMENDB__V1__ESTIMATE_MEMORY_RESPONSE__INIT;

    response.memory_bytes = e->memory;
    response.codes_bytes = e->codes;
    response.rows_bytes = e->rows;
    response.ids_bytes = e->ids;
    response.tables_bytes = e->tables;
    response.cells_bytes = e->cells;
    response.fixed_bytes = e->fixed;
    response.capture_bytes = e->capture;
    response.originals_bytes = e->originals;
    response.log_bytes = e->log;
    response.checkpoint_bytes = e->checkpoint;
    response.used_bytes = answer->now.used;
    response.limit_bytes = answer->now.limit;
    return omen_protobuf_pack(&response.base);
}
