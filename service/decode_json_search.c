/* decode_json_search.c - the body of a search. See decode_json.h. */
#include <stdio.h>
#include <string.h>

#include "service/json_tree.h"

static omen_code read_options(const cJSON *object, const char *path, struct omen_query_options *out,
                              struct omen_fault *fault)
{
    char name[OMEN_FIELD_MAX];

    (void)snprintf(name, sizeof name, "%sk", path);
    if (omen_json_read_uint32(object, "k", name, &out->k, fault) != OMEN_OK) return fault->code;
    (void)snprintf(name, sizeof name, "%sef", path);
    if (omen_json_read_uint32(object, "ef", name, &out->ef, fault) != OMEN_OK) return fault->code;
    (void)snprintf(name, sizeof name, "%sexact", path);
    return omen_json_read_bool(object, "exact", name, &out->exact, fault);
}

/* {"incarnation": hex, "log_position": number} */
static omen_code read_token(const cJSON *token, struct omen_given_token *out,
                            struct omen_fault *fault)
{
    static const char *const fields[] = {"incarnation", "log_position", NULL};
    const cJSON *incarnation = NULL;
    const cJSON *position = NULL;
    const char *hex = "";

    if (!cJSON_IsObject(token)) return omen_json_fault_type(fault, "min_read", "an object");
    if (omen_json_check_fields(token, "min_read.", fields, fault) != OMEN_OK) return fault->code;
    incarnation = omen_json_find(token, "incarnation");
    position = omen_json_find(token, "log_position");
    if (incarnation != NULL && !omen_json_is_string(incarnation))
        return omen_json_fault_type(fault, "min_read.incarnation", "a string");
    if (position != NULL && !omen_json_integer(position, &out->log_position))
        return omen_json_fault_type(fault, "min_read.log_position", "an integer of 64 bits");
    if (incarnation != NULL) hex = incarnation->valuestring;
    size_t digits = strspn(hex, "0123456789abcdefABCDEF");
    if (digits != 2 * OMEN_INCARNATION_BYTES || hex[digits] != '\0')
        return omen_fault_token(fault, "min_read.incarnation", digits / 2);
    for (size_t i = 0; i < OMEN_INCARNATION_BYTES; i++) {
        unsigned byte = 0;

        (void)sscanf(hex + 2 * i, "%2x", &byte);
        out->incarnation[i] = (uint8_t)byte;
    }
    out->given = true;
    return OMEN_OK;
}

omen_code omen_json_read_search(const omen_json *json, struct omen_search_request *out,
                                struct omen_fault *fault)
{
    static const char *const fields[] = {"queries", "k", "ef", "exact", "min_read", NULL};
    const cJSON *min_read = omen_json_find(&json->root, "min_read");
    const cJSON *queries = NULL;

    if (omen_json_check_fields(&json->root, "", fields, fault) != OMEN_OK ||
        omen_json_find_array(json, "queries", &queries, fault) != OMEN_OK ||
        read_options(&json->root, "", &out->options, fault) != OMEN_OK)
        return fault->code;
    if (min_read != NULL && read_token(min_read, &out->min_read, fault) != OMEN_OK)
        return fault->code;
    return omen_search_request_check(out, omen_json_count(queries), fault);
}

static omen_code read_own_options(const cJSON *query, uint32_t index,
                                  struct omen_query_options *out, struct omen_fault *fault)
{
    static const char *const fields[] = {"k", "ef", "exact", NULL};
    const cJSON *own = omen_json_find(query, "options");
    char path[OMEN_FIELD_MAX];

    if (own == NULL) return OMEN_OK;
    *out = (struct omen_query_options){0};
    (void)snprintf(path, sizeof path, "queries[%u].options", index);
    if (!cJSON_IsObject(own)) return omen_json_fault_type(fault, path, "an object");
    (void)snprintf(path, sizeof path, "queries[%u].options.", index);
    if (omen_json_check_fields(own, path, fields, fault) != OMEN_OK) return fault->code;
    return read_options(own, path, out, fault);
}

omen_code omen_json_read_queries(const omen_json *json, const struct omen_search_request *request,
                                 const struct omen_search_rows *out, struct omen_fault *fault)
{
    static const char *const fields[] = {"vector", "options", NULL};
    uint32_t index = 0;

    for (const cJSON *query = omen_json_find(&json->root, "queries")->child; query != NULL;
         query = query->next, index++) {
        struct omen_json_vector vector = {.owner = "queries",
                                          .index = index,
                                          .dim = out->dim,
                                          .row = out->rows + (size_t)index * out->dim};

        out->each[index] = request->options;
        if (omen_json_check_item(query, "queries", index, fields, fault) != OMEN_OK ||
            read_own_options(query, index, &out->each[index], fault) != OMEN_OK ||
            omen_json_read_vector(query, &vector, fault) != OMEN_OK)
            return fault->code;
        omen_query_options_set_given(&out->each[index], vector.components, out->dim);
    }
    return OMEN_OK;
}
