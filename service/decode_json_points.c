/* decode_json_points.c - bodies with points and ids: insert, upsert, delete, get. See
 * decode_json.h.
 */
#include <stdio.h>
#include <string.h>

#include "service/json_tree.h"

/* What a key and a time to live add to a point of a record, at most. */
#define POINT_EXTRA_BYTES 96u
#define DELETES_OF_CHUNK  4096u

static omen_code read_mode(const cJSON *value, omen_write_mode *out, struct omen_fault *fault)
{
    static const char *const names[] = {"", "insert_only", "upsert", "update_only"};

    for (unsigned i = OMEN_WRITE_INSERT_ONLY; i <= OMEN_WRITE_UPDATE_ONLY; i++)
        if (omen_json_is_string(value) && strcmp(value->valuestring, names[i]) == 0) {
            *out = (omen_write_mode)i;
            return OMEN_OK;
        }
    return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MODE", "mode",
                          "mode must be \"insert_only\", \"upsert\" or \"update_only\"");
}

omen_code omen_json_read_write(const omen_json *json, enum omen_json_write_kind kind,
                               struct omen_json_write *out, struct omen_fault *fault)
{
    static const char *const fields[][4] = {[OMEN_JSON_INSERT] = {"points", "wait", NULL},
                                            [OMEN_JSON_UPSERT] = {"points", "wait", "mode", NULL},
                                            [OMEN_JSON_DELETE] = {"ids", "wait", NULL}};
    const char *items = fields[kind][0];
    const cJSON *wait = omen_json_find(&json->root, "wait");
    const cJSON *mode = omen_json_find(&json->root, "mode");
    const cJSON *array = NULL;

    memset(out, 0, sizeof *out);
    out->kind = kind;
    out->mode = kind == OMEN_JSON_INSERT ? OMEN_WRITE_INSERT_ONLY : OMEN_WRITE_UPSERT;
    if (omen_json_check_fields(&json->root, "", fields[kind], fault) != OMEN_OK ||
        omen_json_find_array(json, items, &array, fault) != OMEN_OK)
        return fault->code;
    if (mode != NULL && read_mode(mode, &out->mode, fault) != OMEN_OK) return fault->code;
    out->wait_durable =
        wait != NULL && omen_json_is_string(wait) && strcmp(wait->valuestring, "durable") == 0;
    if (wait != NULL && !out->wait_durable &&
        (!omen_json_is_string(wait) || strcmp(wait->valuestring, "searchable") != 0))
        return omen_json_fault_type(fault, "wait", "\"durable\" or \"searchable\"");
    out->items = omen_json_count(array);
    if (out->items == 0)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_LIMIT", items,
                              "there are 0 %s, it must be 1 to %u", items, OMEN_JSON_POINTS_MAX);
    if (out->items > OMEN_JSON_POINTS_MAX)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "TOO_LARGE", items,
                              "there are %u %s, the limit is %u", out->items, items,
                              OMEN_JSON_POINTS_MAX);
    return OMEN_OK;
}

uint32_t omen_json_chunk_items(const struct omen_json_write *write, uint32_t dim)
{
    uint32_t items = omen_chunk_points_max(dim);

    if (write->kind == OMEN_JSON_DELETE)
        items = DELETES_OF_CHUNK;
    else
        while (items > 1 && omen_chunk_record_bytes(items, dim) + items * POINT_EXTRA_BYTES >
                                OMEN_RECORD_BYTES_MAX)
            items -= 1 + items / 64;
    return items < write->items ? items : write->items;
}

static omen_code read_point(const cJSON *point, uint32_t index, const struct omen_json_chunks *out,
                            struct omen_fault *fault)
{
    static const char *const fields[] = {"id", "vector", "ttl_s", NULL};
    omen_chunk *chunk = out->chunks[index / out->chunk_items];
    uint32_t in_chunk = index % out->chunk_items;
    uint32_t dim = out->target->dim;
    struct omen_json_vector vector = {
        .owner = "points", .index = index, .dim = dim, .row = omen_chunk_row(chunk)};
    struct omen_given_id id;
    char path[OMEN_FIELD_MAX];
    uint32_t ttl_s = 0;

    if (omen_json_check_item(point, "points", index, fields, fault) != OMEN_OK) return fault->code;
    (void)snprintf(path, sizeof path, "points[%u].id", index);
    if (omen_json_read_id(omen_json_find(point, "id"), path, &id, fault) != OMEN_OK)
        return fault->code;
    (void)snprintf(path, sizeof path, "points[%u].ttl_s", index);
    if (omen_json_read_uint32(point, "ttl_s", path, &ttl_s, fault) != OMEN_OK ||
        omen_json_read_vector(point, &vector, fault) != OMEN_OK)
        return fault->code;
    if (id.refusal != 0)
        omen_chunk_refuse(chunk, in_chunk, NULL, id.refusal, id.detail);
    else if (vector.components != dim)
        omen_chunk_refuse(chunk, in_chunk, &id.id, OMEN_REFUSED_DIMENSION,
                          (uint32_t)vector.components);
    else
        omen_chunk_add(chunk, in_chunk, &id.id, ttl_s);
    return OMEN_OK;
}

static omen_code read_delete(const cJSON *value, uint32_t index, const struct omen_json_chunks *out,
                             struct omen_fault *fault)
{
    omen_chunk *chunk = out->chunks[index / out->chunk_items];
    uint32_t in_chunk = index % out->chunk_items;
    struct omen_given_id id;
    char path[OMEN_FIELD_MAX];

    (void)snprintf(path, sizeof path, "ids[%u]", index);
    if (omen_json_read_id(value, path, &id, fault) != OMEN_OK) return fault->code;
    if (id.refusal != 0)
        omen_chunk_refuse(chunk, in_chunk, NULL, id.refusal, id.detail);
    else
        omen_chunk_delete(chunk, in_chunk, &id.id);
    return OMEN_OK;
}

omen_code omen_json_read_items(const omen_json *json, const struct omen_json_write *write,
                               const struct omen_json_chunks *out, struct omen_fault *fault)
{
    bool deletes = write->kind == OMEN_JSON_DELETE;
    uint32_t index = 0;

    for (const cJSON *item = omen_json_find(&json->root, deletes ? "ids" : "points")->child;
         item != NULL; item = item->next, index++) {
        omen_chunk **chunk = &out->chunks[index / out->chunk_items];

        if (*chunk == NULL)
            fault->code = omen_chunk_create(out->target->stream, deletes ? 1 : out->chunk_items,
                                            chunk, &fault->error);
        if (fault->code != OMEN_OK) return fault->code;
        if (deletes ? read_delete(item, index, out, fault) : read_point(item, index, out, fault))
            return fault->code;
    }
    return OMEN_OK;
}

/* ---- get ---------------------------------------------------------------------------------- */

omen_code omen_json_read_get(const omen_json *json, struct omen_points_get *out,
                             struct omen_fault *fault)
{
    static const char *const fields[] = {"ids", "without_vectors", NULL};
    const cJSON *ids = NULL;
    uint32_t index = 0;

    if (omen_json_check_fields(&json->root, "", fields, fault) != OMEN_OK ||
        omen_json_find_array(json, "ids", &ids, fault) != OMEN_OK ||
        omen_json_read_bool(&json->root, "without_vectors", "without_vectors",
                            &out->without_vectors, fault) != OMEN_OK ||
        omen_points_get_check(out, omen_json_count(ids), fault) != OMEN_OK)
        return fault->code;
    for (const cJSON *value = ids->child; value != NULL; value = value->next, index++) {
        struct omen_given_id *id = &out->ids[index];
        char path[OMEN_FIELD_MAX];

        (void)snprintf(path, sizeof path, "ids[%u]", index);
        if (omen_json_read_id(value, path, id, fault) != OMEN_OK) return fault->code;
        if (id->refusal != 0) return omen_fault_id(fault, path, id->refusal, id->detail);
    }
    return OMEN_OK;
}
