/* reply_json.c - see reply_json.h. Written by hand: an answer may have a million hits, and a tree
 * of them would cost a hundred times their size.
 *
 * An id that is a number is written as its digits, all of them: a string would be a key.
 */
#include "service/reply_json.h"

#include <inttypes.h>
#include <string.h>

#include "service/base64.h"

static void write_num(struct omen_text *text, uint64_t num)
{
    omen_text_add(text, "%" PRIu64, num);
}

/* As a string if it can be one: cJSON's, which reads them, end at a NUL. */
static void write_key(struct omen_text *text, const uint8_t *key, size_t bytes)
{
    char string[OMEN_KEY_BYTES_MAX + 1];
    char base64[OMEN_BASE64_BYTES(OMEN_KEY_BYTES_MAX)];
    size_t at = 0;
    size_t length = 1;

    memcpy(string, key, bytes);
    string[bytes] = '\0';
    while (at < bytes && string[at] != '\0' && (length = omen_utf8_bytes(string + at)) > 0)
        at += length;
    if (at == bytes) {
        omen_text_add_json(text, string);
        return;
    }
    omen_base64_encode(key, bytes, base64);
    omen_text_add(text, "{\"key_base64\":\"%s\"}", base64);
}

static void write_id(struct omen_text *text, const struct omen_id *id)
{
    if (id->key_bytes == 0)
        write_num(text, id->num);
    else
        write_key(text, id->key, id->key_bytes);
}

static void write_token(struct omen_text *text, const uint8_t *incarnation, uint64_t log_position)
{
    omen_text_add(text, "\"log_position\":%" PRIu64 ",\"token\":{\"incarnation\":\"", log_position);
    for (size_t i = 0; i < OMEN_INCARNATION_BYTES; i++)
        omen_text_add(text, "%02x", incarnation[i]);
    omen_text_add(text, "\",\"log_position\":%" PRIu64 "}", log_position);
}

/* Code, reason and message as fields, without the braces. */
static void write_error(struct omen_text *text, omen_code code, const omen_error *error)
{
    omen_error clean = *error;

    omen_make_utf8(clean.message);
    omen_text_add(text, "\"code\":\"%s\",\"reason\":\"%s\",\"message\":", omen_code_name(code),
                  clean.reason);
    omen_text_add_json(text, clean.message);
}

void omen_json_write_fault(struct omen_text *text, const struct omen_fault *fault)
{
    struct omen_fault clean = *fault;

    omen_fault_make_utf8(&clean);
    omen_text_add(text, "{\"error\":{\"code\":\"%s\",\"reason\":\"%s\",\"message\":",
                  omen_code_name(clean.code), omen_fault_reason(&clean));
    omen_text_add_json(text, clean.error.message);
    if (clean.field[0] != '\0') {
        omen_text_add(text, ",\"field\":");
        omen_text_add_json(text, clean.field);
    }
    if (clean.error.figures.limit != 0)
        omen_text_add(text, ",\"used\":%" PRIu64 ",\"limit\":%" PRIu64 ",\"needed\":%" PRIu64,
                      clean.error.figures.used, clean.error.figures.limit,
                      clean.error.figures.needed);
    if (clean.error.retry_ms != 0)
        omen_text_add(text, ",\"retry_after_ms\":%" PRIu32, clean.error.retry_ms);
    omen_text_add(text, "}}\n");
}

static void write_calibration(struct omen_text *text, const struct omen_calibration *c)
{
    omen_text_add(text,
                  ",\"calibration\":{\"ef\":%" PRIu32 ",\"ef_100\":%" PRIu32 ",\"rerank\":%" PRIu32
                  ",\"rerank_100\":%" PRIu32
                  ",\"recall\":%g,\"recall_100\":%g,\"target_recall\":%g",
                  c->ef[0], c->ef[1], c->rerank[0], c->rerank[1], c->recall[0] / 1e6,
                  c->recall[1] / 1e6, c->target / 1e6);
    omen_text_add(text,
                  ",\"live_queries\":%s,\"queries\":%" PRIu32 ",\"points\":%" PRIu32
                  ",\"unix_s\":%" PRIu32 "}",
                  c->live != 0 ? "true" : "false", c->queries, c->points, c->at_s);
}

void omen_json_write_collection(struct omen_text *text, const struct omen_collection_info *info,
                                const char *graph_hash)
{
    static const char *const metrics[] = {"", "l2", "cosine", "inner_product"};
    const struct omen_collection_settings *settings = &info->settings;

    omen_text_add(text, "{\"name\":");
    omen_text_add_json(text, info->name);
    omen_text_add(text, ",\"incarnation\":\"");
    for (size_t i = 0; i < sizeof info->incarnation; i++)
        omen_text_add(text, "%02x", info->incarnation[i]);
    omen_text_add(text,
                  "\",\"config\":{\"dim\":%" PRIu32 ",\"metric\":\"%s\",\"links\":%" PRIu32
                  ",\"candidates\":%" PRIu32 ",\"probes\":%" PRIu32 ",\"epoch_points\":%" PRIu32
                  ",\"checkpoint_bytes\":%" PRIu32 ",\"target_recall\":%g,\"originals\":\"%s\"}",
                  settings->dim, metrics[settings->metric], settings->links, settings->candidates,
                  settings->probes, settings->epoch_points, settings->checkpoint_bytes,
                  settings->target_recall / 1e6,
                  settings->originals == OMEN_ORIGINALS_F16 ? "f16" : "f32");
    write_calibration(text, &info->calibration);
    omen_text_add(text,
                  ",\"points\":%" PRIu64 ",\"log_position\":%" PRIu64
                  ",\"searchable_position\":%" PRIu64 ",\"epoch\":%" PRIu64
                  ",\"memory_bytes\":%" PRIu64 ",\"log_bytes\":%" PRIu64,
                  info->points, info->log_position, info->searchable_position, info->epoch,
                  info->memory_bytes, info->log_bytes);
    omen_text_add(text,
                  ",\"algorithm_version\":%" PRIu32 ",\"slots\":%" PRIu64 ",\"slots_max\":%" PRIu64
                  ",\"checkpoint_position\":%" PRIu64 ",\"kernels\":[",
                  info->algorithm_version, info->slots, info->slots_max, info->checkpoint_position);
    for (size_t i = 0; i < OMEN_KERNEL_NAMES_MAX && info->kernels[i] != NULL; i++) {
        omen_text_add(text, i == 0 ? "" : ",");
        omen_text_add_json(text, info->kernels[i]);
    }
    omen_text_add(text, "]");
    if (graph_hash[0] != '\0') omen_text_add(text, ",\"graph_hash\":\"%s\"", graph_hash);
    if (info->refusal_code != OMEN_OK) {
        omen_text_add(text, ",\"refusal_reason\":\"%s\",\"refusal\":", info->refusal.reason);
        omen_text_add_json(text, info->refusal.message);
    }
    omen_text_add(text, "}");
}

void omen_json_write_estimate(struct omen_text *text, const struct omen_estimate_answer *answer)
{
    const struct omen_estimate *e = &answer->estimate;

    omen_text_add(text,
                  "{\"memory_bytes\":%" PRIu64 ",\"codes_bytes\":%" PRIu64
                  ",\"rows_bytes\":%" PRIu64 ",\"ids_bytes\":%" PRIu64 ",\"tables_bytes\":%" PRIu64
                  ",\"cells_bytes\":%" PRIu64 ",\"fixed_bytes\":%" PRIu64,
                  e->memory, e->codes, e->rows, e->ids, e->tables, e->cells, e->fixed);
    omen_text_add(text,
                  ",\"capture_bytes\":%" PRIu64 ",\"originals_bytes\":%" PRIu64
                  ",\"log_bytes\":%" PRIu64 ",\"checkpoint_bytes\":%" PRIu64
                  ",\"used_bytes\":%" PRIu64 ",\"limit_bytes\":%" PRIu64 "}\n",
                  e->capture, e->originals, e->log, e->checkpoint, answer->now.used,
                  answer->now.limit);
}

void omen_json_write_validation(struct omen_text *text, const struct omen_validation *validation)
{
    omen_text_add(text,
                  "{\"points\":%" PRIu64 ",\"linked\":%" PRIu64 ",\"links\":%" PRIu64
                  ",\"reached_by_links\":%" PRIu64 "}\n",
                  validation->points, validation->linked, validation->links,
                  validation->reached_by_links);
}

/* ---- search ------------------------------------------------------------------------------- */

static void write_result(struct omen_text *text, const struct omen_query_result *result,
                         uint32_t dim)
{
    static const char *const shortfalls[] = {"none", "collection", "ef"};
    omen_error error = {0};

    omen_text_add(text, "{\"hits\":[");
    for (uint32_t i = 0; i < result->hit_count; i++) {
        omen_text_add(text, i == 0 ? "{\"id\":" : ",{\"id\":");
        write_id(text, &result->hits[i].id);
        omen_text_add(text, ",\"distance\":%.9g}", (double)result->hits[i].distance);
    }
    omen_text_add(text, "]");
    if (result->refusal != 0) {
        omen_code code = omen_query_describe(result, dim, &error);

        omen_text_add(text, ",\"error\":{");
        write_error(text, code, &error);
        omen_text_add(text, "}}");
        return;
    }
    omen_text_add(text,
                  ",\"visited\":%" PRIu32 ",\"exact\":%s,\"ef\":%" PRIu32 ",\"shortfall\":\"%s\"}",
                  result->visited, result->exact ? "true" : "false", result->ef,
                  shortfalls[result->shortfall]);
}

void omen_json_write_search(struct omen_text *text, const struct omen_search *search,
                            const uint8_t *incarnation)
{
    uint32_t dim = omen_collection_dim(search->collection);

    omen_text_add(text, "{\"results\":[");
    for (uint32_t i = 0; i < search->count; i++) {
        omen_text_add(text, i == 0 ? "" : ",");
        write_result(text, &search->results[i], dim);
    }
    omen_text_add(text, "],");
    write_token(text, incarnation, search->log_position);
    omen_text_add(text, ",\"duration_us\":%" PRIu64 "}\n", search->duration_us);
}

/* ---- get ---------------------------------------------------------------------------------- */

void omen_json_write_got(struct omen_text *text, const struct omen_points_got *got)
{
    omen_text_add(text, "{\"results\":[");
    for (uint32_t i = 0; i < got->count; i++) {
        const struct omen_got *point = &got->points[i];

        omen_text_add(text, i == 0 ? "{\"id\":" : ",{\"id\":");
        write_id(text, &got->ids[i].id);
        omen_text_add(text, ",\"found\":%s", point->found ? "true" : "false");
        if (point->found && got->vectors != NULL) {
            const float *vector = got->vectors + (size_t)i * got->dim;

            omen_text_add(text, ",\"vector\":[");
            for (uint32_t j = 0; j < got->dim; j++)
                omen_text_add(text, j == 0 ? "%.9g" : ",%.9g", (double)vector[j]);
            omen_text_add(text, "]");
        }
        if (point->expires_s != 0)
            omen_text_add(text, ",\"expires_unix_s\":%" PRIu32, point->expires_s);
        omen_text_add(text, "}");
    }
    omen_text_add(text, "],");
    write_token(text, got->incarnation, got->log_position);
    omen_text_add(text, "}\n");
}

/* ---- writes ------------------------------------------------------------------------------- */

static void write_item_error(struct omen_text *text, const struct omen_json_written *written,
                             const struct omen_item_error *item)
{
    struct omen_id id =
        item->key_bytes > 0 ? omen_id_key(item->key, item->key_bytes) : omen_id_num(item->num);
    omen_error error = {0};
    omen_code code = omen_item_error_describe(item, written->answer.dim, &error);

    omen_text_add(text, "{\"index\":%" PRIu64,
                  (item->seq - 1) * written->chunk_items + item->index);
    if (item->has_id) {
        omen_text_add(text, ",\"id\":");
        write_id(text, &id);
    }
    omen_text_add(text, ",");
    write_error(text, code, &error);
    omen_text_add(text, "}");
}

void omen_json_write_written(struct omen_text *text, const struct omen_json_written *written)
{
    static const char *const done[] = {
        [OMEN_JSON_INSERT] = "inserted", [OMEN_JSON_UPSERT] = "written"};
    const struct omen_written *answer = &written->answer;

    if (written->kind == OMEN_JSON_DELETE)
        omen_text_add(text, "{\"ids\":%" PRIu32 ",", written->items);
    else
        omen_text_add(text, "{\"points\":%" PRIu32 ",\"%s\":%zu,", written->items,
                      done[written->kind], written->items - answer->error_count);
    write_token(text, answer->incarnation, answer->log_position);
    omen_text_add(text, ",\"errors\":[");
    for (size_t i = 0; i < answer->error_count; i++) {
        omen_text_add(text, i == 0 ? "" : ",");
        write_item_error(text, written, &answer->errors[i]);
    }
    omen_text_add(text, "]}\n");
}
