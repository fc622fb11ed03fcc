/* decode_json.c - see decode_json.h. The only door to cJSON.
 *
 * Failure modes: what is not one JSON object, has a field that nobody knows, or a value of the
 * wrong type fails as a whole with BAD_MESSAGE and the path of the field; so nothing that was
 * misspelt is silently ignored. A number that a vector cannot hold becomes an infinity, which the
 * engine refuses as it refuses any other.
 */
#include "service/decode_json.h"

#include <cjson/cJSON.h>

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXACT_INTEGER_MAX 9007199254740992.0 /* 2^53: above, JSON's numbers skip some */

struct omen_json {
    cJSON root; /* never made: an omen_json is cJSON's own root under another name */
};

static omen_code fault_type(struct omen_fault *fault, const char *field, const char *wanted)
{
    return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", field, "%s must be %s",
                          field, wanted);
}

/* ---- trees -------------------------------------------------------------------------------- */

static bool holds_nul(const char *body, size_t bytes)
{
    static const char escaped[] = "\\u0000";

    return memchr(body, '\0', bytes) != NULL ||
           memmem(body, bytes, escaped, sizeof escaped - 1) != NULL;
}

omen_json *omen_json_parse(const char *body, size_t bytes, struct omen_fault *fault)
{
    const char *end = body;
    cJSON *root = NULL;

    fault->code = OMEN_OK;
    if (holds_nul(body, bytes)) {
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
                             "the body holds a NUL character, which no field may have");
        return NULL;
    }
    root = cJSON_ParseWithLengthOpts(body, bytes + 1, &end, 1);
    if (root == NULL) {
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
                             "the body is not valid JSON: see byte %zu of %zu",
                             (size_t)(end - body), bytes);
    } else if (!cJSON_IsObject(root)) {
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
                             "the body must be a JSON object");
        cJSON_Delete(root);
        root = NULL;
    }
    return (omen_json *)root;
}

void omen_json_destroy(omen_json *json)
{
    if (json != NULL) cJSON_Delete(&json->root);
}

/* Refuses fields of `object` that are not in the list, which NULL ends, or come twice. */
static omen_code check_fields(const cJSON *object, const char *path, const char *const *known,
                              struct omen_fault *fault)
{
    unsigned seen = 0;

    for (const cJSON *field = object->child; field != NULL; field = field->next) {
        char name[OMEN_FIELD_MAX];
        unsigned i = 0;

        while (known[i] != NULL && strcmp(known[i], field->string) != 0)
            i++;
        (void)snprintf(name, sizeof name, "%s%.40s", path, field->string);
        if (known[i] == NULL)
            return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", name,
                                  "%s is no field of this request", name);
        if ((seen & 1u << i) != 0)
            return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", name,
                                  "%s is there twice", name);
        seen |= 1u << i;
    }
    return OMEN_OK;
}

static const cJSON *find(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* Leaves *out alone if the field is missing. */
static omen_code read_uint32(const cJSON *object, const char *name, const char *path, uint32_t *out,
                             struct omen_fault *fault)
{
    const cJSON *value = find(object, name);

    if (value == NULL) return OMEN_OK;
    if (!cJSON_IsNumber(value) || !(value->valuedouble >= 0) ||
        !(value->valuedouble <= (double)UINT32_MAX) ||
        value->valuedouble != floor(value->valuedouble))
        return fault_type(fault, path, "an integer from 0 to 4294967295");
    *out = (uint32_t)value->valuedouble;
    return OMEN_OK;
}

static uint32_t count_of(const cJSON *array)
{
    uint32_t count = 0;

    for (const cJSON *at = array->child; at != NULL; at = at->next)
        count++;
    return count;
}

/* ---- collections -------------------------------------------------------------------------- */

static omen_code read_metric(const cJSON *config, omen_metric *out, struct omen_fault *fault)
{
    static const char *const names[] = {"", "l2", "cosine", "inner_product"};
    const cJSON *value = find(config, "metric");
    uint32_t metric = 0;

    if (value != NULL && cJSON_IsString(value)) {
        for (metric = OMEN_METRIC_L2; metric <= OMEN_METRIC_INNER_PRODUCT; metric++)
            if (strcmp(names[metric], value->valuestring) == 0) break;
        if (metric > OMEN_METRIC_INNER_PRODUCT)
            return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_METRIC", "config.metric",
                                  "config.metric is \"%.40s\", it must be \"l2\", \"cosine\" or "
                                  "\"inner_product\"",
                                  value->valuestring);
    } else if (read_uint32(config, "metric", "config.metric", &metric, fault) != OMEN_OK) {
        return fault->code;
    }
    return omen_metric_check(metric, out, fault);
}

omen_code omen_json_read_create(const omen_json *json, struct omen_create_request *out,
                                struct omen_fault *fault)
{
    static const char *const fields[] = {"name", "config", NULL};
    static const char *const config_fields[] = {"dim",    "metric",       "links", "candidates",
                                                "probes", "epoch_points", NULL};
    const cJSON *name = find(&json->root, "name");
    const cJSON *config = find(&json->root, "config");
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
    };

    memset(out, 0, sizeof *out);
    if (check_fields(&json->root, "", fields, fault) != OMEN_OK) return fault->code;
    if (name != NULL && !cJSON_IsString(name)) return fault_type(fault, "name", "a string");
    if (name != NULL) (void)snprintf(out->name, sizeof out->name, "%s", name->valuestring);
    if (config == NULL) return omen_fault_no_config(fault);
    if (!cJSON_IsObject(config)) return fault_type(fault, "config", "an object");
    if (check_fields(config, "config.", config_fields, fault) != OMEN_OK) return fault->code;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (read_uint32(config, numbers[i].name, numbers[i].path, numbers[i].out, fault) != OMEN_OK)
            return fault->code;
    return read_metric(config, &out->settings.metric, fault);
}

/* ---- vectors ------------------------------------------------------------------------------ */

/* Where a vector goes, and what its sentences call it: owner[index].vector. */
struct vector_slot {
    const char *owner;
    uint32_t index;
    uint32_t dim;
    float *row;
    uint64_t components; /* that were given */
};

/* Fills up to slot->dim floats and counts all components; a missing vector has none. */
static omen_code read_vector(const cJSON *holder, struct vector_slot *slot,
                             struct omen_fault *fault)
{
    const cJSON *vector = find(holder, "vector");
    char path[OMEN_FIELD_MAX];

    if (vector == NULL) return OMEN_OK;
    (void)snprintf(path, sizeof path, "%s[%u].vector", slot->owner, slot->index);
    if (!cJSON_IsArray(vector)) return fault_type(fault, path, "an array of numbers");
    for (const cJSON *at = vector->child; at != NULL; at = at->next) {
        uint64_t i = slot->components++;
        double value = at->valuedouble;

        if (!cJSON_IsNumber(at)) {
            (void)snprintf(path, sizeof path, "%s[%u].vector[%" PRIu64 "]", slot->owner,
                           slot->index, i);
            return fault_type(fault, path, "a number");
        }
        if (i >= slot->dim) continue;
        if (fabs(value) > (double)FLT_MAX)
            slot->row[i] = value > 0 ? INFINITY : -INFINITY;
        else
            slot->row[i] = (float)value;
    }
    return OMEN_OK;
}

static omen_code find_array(const omen_json *json, const char *name, const cJSON **out,
                            struct omen_fault *fault)
{
    *out = find(&json->root, name);
    if (*out != NULL && !cJSON_IsArray(*out)) return fault_type(fault, name, "an array");
    return OMEN_OK;
}

static omen_code check_item(const cJSON *item, const char *owner, uint32_t index,
                            const char *const *known, struct omen_fault *fault)
{
    char path[OMEN_FIELD_MAX];

    (void)snprintf(path, sizeof path, "%s[%u]", owner, index);
    if (!cJSON_IsObject(item)) return fault_type(fault, path, "an object");
    (void)snprintf(path, sizeof path, "%s[%u].", owner, index);
    return check_fields(item, path, known, fault);
}

/* ---- search ------------------------------------------------------------------------------- */

omen_code omen_json_read_search(const omen_json *json, struct omen_search_request *out,
                                struct omen_fault *fault)
{
    static const char *const fields[] = {"queries", "k", "ef", "exact", NULL};
    const cJSON *exact = find(&json->root, "exact");
    const cJSON *queries = NULL;

    if (check_fields(&json->root, "", fields, fault) != OMEN_OK ||
        find_array(json, "queries", &queries, fault) != OMEN_OK ||
        read_uint32(&json->root, "k", "k", &out->k, fault) != OMEN_OK ||
        read_uint32(&json->root, "ef", "ef", &out->ef, fault) != OMEN_OK)
        return fault->code;
    if (exact != NULL && !cJSON_IsBool(exact)) return fault_type(fault, "exact", "true or false");
    out->exact = exact != NULL && cJSON_IsTrue(exact);
    return omen_search_request_check(out, queries == NULL ? 0 : count_of(queries), fault);
}

omen_code omen_json_read_queries(const omen_json *json, uint32_t dim, float *rows,
                                 struct omen_fault *fault)
{
    static const char *const fields[] = {"vector", NULL};
    uint32_t index = 0;

    for (const cJSON *query = find(&json->root, "queries")->child; query != NULL;
         query = query->next, index++) {
        struct vector_slot slot = {
            .owner = "queries", .index = index, .dim = dim, .row = rows + (size_t)index * dim};

        if (check_item(query, "queries", index, fields, fault) != OMEN_OK ||
            read_vector(query, &slot, fault) != OMEN_OK)
            return fault->code;
        if (slot.components != dim)
            return omen_fault_query_dimension(fault, index, slot.components, dim);
    }
    return OMEN_OK;
}

/* ---- insert ------------------------------------------------------------------------------- */

omen_code omen_json_read_insert(const omen_json *json, struct omen_json_insert *out,
                                struct omen_fault *fault)
{
    static const char *const fields[] = {"points", "wait", NULL};
    const cJSON *wait = find(&json->root, "wait");
    const cJSON *points = NULL;

    memset(out, 0, sizeof *out);
    if (check_fields(&json->root, "", fields, fault) != OMEN_OK ||
        find_array(json, "points", &points, fault) != OMEN_OK)
        return fault->code;
    out->wait_durable =
        wait != NULL && cJSON_IsString(wait) && strcmp(wait->valuestring, "durable") == 0;
    if (wait != NULL && !out->wait_durable &&
        (!cJSON_IsString(wait) || strcmp(wait->valuestring, "searchable") != 0))
        return fault_type(fault, "wait", "\"durable\" or \"searchable\"");
    out->points = points == NULL ? 0 : count_of(points);
    if (out->points == 0)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_LIMIT", "points",
                              "there are 0 points, it must be 1 to %u", OMEN_JSON_POINTS_MAX);
    if (out->points > OMEN_JSON_POINTS_MAX)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "TOO_LARGE", "points",
                              "there are %u points, the limit is %u", out->points,
                              OMEN_JSON_POINTS_MAX);
    return OMEN_OK;
}

/* An id is an integer that JSON's numbers hold exactly, or a string of digits. */
static omen_code read_id(const cJSON *value, uint32_t index, uint64_t *id, struct omen_fault *fault)
{
    char path[OMEN_FIELD_MAX];
    char *end = NULL;

    if (cJSON_IsNumber(value) && value->valuedouble >= 0 &&
        value->valuedouble <= EXACT_INTEGER_MAX &&
        value->valuedouble == floor(value->valuedouble)) {
        *id = (uint64_t)value->valuedouble;
        return OMEN_OK;
    }
    if (cJSON_IsString(value) && value->valuestring[0] >= '0' && value->valuestring[0] <= '9') {
        errno = 0;
        *id = strtoull(value->valuestring, &end, 10);
        if (*end == '\0' && errno == 0) return OMEN_OK;
    }
    (void)snprintf(path, sizeof path, "points[%u].id", index);
    return fault_type(fault, path,
                      "an integer from 0 to 9007199254740992, or the digits of one up to "
                      "18446744073709551615 as a string");
}

static omen_code read_point(const cJSON *point, uint32_t index, const struct omen_json_chunks *out,
                            struct omen_fault *fault)
{
    static const char *const fields[] = {"id", "vector", NULL};
    omen_chunk *chunk = out->chunks[index / out->chunk_points];
    uint32_t in_chunk = index % out->chunk_points;
    struct vector_slot slot = {
        .owner = "points", .index = index, .dim = out->dim, .row = omen_chunk_row(chunk)};
    const cJSON *id_value = NULL;
    uint64_t id = 0;

    if (check_item(point, "points", index, fields, fault) != OMEN_OK) return fault->code;
    id_value = find(point, "id");
    if (id_value != NULL && read_id(id_value, index, &id, fault) != OMEN_OK) return fault->code;
    if (read_vector(point, &slot, fault) != OMEN_OK) return fault->code;
    if (id_value == NULL)
        omen_chunk_refuse(chunk, in_chunk, 0, OMEN_REFUSED_ID_MISSING, 0);
    else if (slot.components != out->dim)
        omen_chunk_refuse(chunk, in_chunk, id, OMEN_REFUSED_DIMENSION, (uint32_t)slot.components);
    else
        omen_chunk_add(chunk, in_chunk, id);
    return OMEN_OK;
}

omen_code omen_json_read_points(const omen_json *json, const struct omen_json_chunks *out,
                                struct omen_fault *fault)
{
    uint32_t index = 0;

    for (const cJSON *point = find(&json->root, "points")->child; point != NULL;
         point = point->next, index++) {
        omen_chunk **chunk = &out->chunks[index / out->chunk_points];

        if (*chunk == NULL)
            fault->code = omen_chunk_create(out->stream, out->chunk_points, chunk, &fault->error);
        if (fault->code != OMEN_OK || read_point(point, index, out, fault) != OMEN_OK)
            return fault->code;
    }
    return OMEN_OK;
}
