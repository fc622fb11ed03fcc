/* decode_json.c - the body that creates a collection. See decode_json.h. */
#include "service/decode_json.h"

#include <stdio.h>
#include <string.h>

#include "service/json_tree.h"

static omen_code read_metric(const cJSON *config, omen_metric *out, struct omen_fault *fault)
{
    static const char *const names[] = {"", "l2", "cosine", "inner_product"};
    const cJSON *value = omen_json_find(config, "metric");
    uint32_t metric = 0;

    if (value != NULL && omen_json_is_string(value)) {
        for (metric = OMEN_METRIC_L2; metric <= OMEN_METRIC_INNER_PRODUCT; metric++)
            if (strcmp(names[metric], value->valuestring) == 0) break;
        if (metric > OMEN_METRIC_INNER_PRODUCT)
            return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_METRIC", "config.metric",
                                  "config.metric is \"%.40s\", it must be \"l2\", \"cosine\" or "
                                  "\"inner_product\"",
                                  value->valuestring);
    } else if (omen_json_read_uint32(config, "metric", "config.metric", &metric, fault) !=
               OMEN_OK) {
        return fault->code;
    }
    return omen_metric_check(metric, out, fault);
}

static omen_code read_originals(const cJSON *config, omen_originals_format *out,
                                struct omen_fault *fault)
{
    const cJSON *value = omen_json_find(config, "originals");
    uint32_t number = 0;

    if (value != NULL && omen_json_is_string(value)) {
        if (strcmp(value->valuestring, "f32") == 0)
            number = OMEN_ORIGINALS_F32;
        else if (strcmp(value->valuestring, "f16") == 0)
            number = OMEN_ORIGINALS_F16;
        else
            return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_LIMIT", "config.originals",
                                  "config.originals is \"%.40s\", it must be \"f32\" or \"f16\"",
                                  value->valuestring);
    } else if (omen_json_read_uint32(config, "originals", "config.originals", &number, fault) !=
               OMEN_OK) {
        return fault->code;
    }
    return omen_originals_check(number, out, fault);
}

static omen_code read_target(const cJSON *object, const char *path, uint32_t *out,
                             struct omen_fault *fault)
{
    const cJSON *value = omen_json_find(object, "target_recall");
    double number = 0;

    if (value != NULL && !omen_json_number(value, &number))
        return omen_json_fault_type(fault, path, "a number");
    return omen_target_recall_read(number, path, out, fault);
}

omen_code omen_json_read_create(const omen_json *json, struct omen_create_request *out,
                                struct omen_fault *fault)
{
    static const char *const fields[] = {"name", "config", NULL};
    static const char *const config_fields[] = {
        "dim",          "metric",           "links",         "candidates", "probes",
        "epoch_points", "checkpoint_bytes", "target_recall", "originals",  NULL};
    const cJSON *name = omen_json_find(&json->root, "name");
    const cJSON *config = omen_json_find(&json->root, "config");
    const struct {
        const char *name;
        const char *path;
        uint32_t *out;
    } numbers[] = {
        {"dim", "config.dim", &out->settings.dim},
        {"links", "config.links", &out->settings.links},
        {"candidates", "config.candidates", &out->settings.candidates},
        {"probes", "config.probes", &out->settings.probes},
        {"epoch_points", "config.epoch_points", &out->settings.epoch_points},
        {"checkpoint_bytes", "config.checkpoint_bytes", &out->settings.checkpoint_bytes},
    };

    memset(out, 0, sizeof *out);
    if (omen_json_check_fields(&json->root, "", fields, fault) != OMEN_OK) return fault->code;
    if (name != NULL && !omen_json_is_string(name))
        return omen_json_fault_type(fault, "name", "a string");
    if (name != NULL) (void)snprintf(out->name, sizeof out->name, "%s", name->valuestring);
    if (config == NULL) return omen_fault_no_config(fault);
    if (!cJSON_IsObject(config)) return omen_json_fault_type(fault, "config", "an object");
    if (omen_json_check_fields(config, "config.", config_fields, fault) != OMEN_OK)
        return fault->code;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (omen_json_read_uint32(config, numbers[i].name, numbers[i].path, numbers[i].out,
                                  fault) != OMEN_OK)
            return fault->code;
    if (read_metric(config, &out->settings.metric, fault) != OMEN_OK) return fault->code;
    if (read_originals(config, &out->settings.originals, fault) != OMEN_OK) return fault->code;
    return read_target(config, "config.target_recall", &out->settings.target_recall, fault);
}

omen_code omen_json_read_update(const omen_json *json, struct omen_update_request *out,
                                struct omen_fault *fault)
{
    static const char *const fields[] = {"target_recall", "calibrate", NULL};

    out->target_recall = 0;
    out->calibrate = false;
    if (omen_json_check_fields(&json->root, "", fields, fault) != OMEN_OK ||
        read_target(&json->root, "target_recall", &out->target_recall, fault) != OMEN_OK ||
        omen_json_read_bool(&json->root, "calibrate", "calibrate", &out->calibrate, fault) !=
            OMEN_OK)
        return fault->code;
    return omen_update_request_check(out, fault);
}
