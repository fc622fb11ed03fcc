/* reply_json.c - see reply_json.h. Written by hand: an answer may have a million hits, and a tree
 * of them would cost a hundred times their size.
 *
 * An id above 2^53 is written as a string, since most readers of JSON would round the number.
 */
#include "service/reply_json.h"

#include <inttypes.h>

#define EXACT_INTEGER_MAX (UINT64_C(1) << 53)

static void write_id(struct omen_text *text, uint64_t id)
{
    const char *quote = id > EXACT_INTEGER_MAX ? "\"" : "";

    omen_text_add(text, "%s%" PRIu64 "%s", quote, id, quote);
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
    omen_text_add(text, "}}\n");
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
                  "}",
                  settings->dim, metrics[settings->metric], settings->links, settings->candidates,
                  settings->probes, settings->epoch_points);
    omen_text_add(text,
                  ",\"points\":%" PRIu64 ",\"log_position\":%" PRIu64
                  ",\"searchable_position\":%" PRIu64 ",\"epoch\":%" PRIu64
                  ",\"memory_bytes\":%" PRIu64 ",\"log_bytes\":%" PRIu64 ",\"kernels\":[",
                  info->points, info->log_position, info->searchable_position, info->epoch,
                  info->memory_bytes, info->log_bytes);
    for (size_t i = 0; i < OMEN_KERNEL_NAMES_MAX && info->kernels[i] != NULL; i++) {
        omen_text_add(text, i == 0 ? "" : ",");
        omen_text_add_json(text, info->kernels[i]);
    }
    omen_text_add(text, "]");
    if (graph_hash[0] != '\0') omen_text_add(text, ",\"graph_hash\":\"%s\"", graph_hash);
    omen_text_add(text, "}");
}

/* ---- search ------------------------------------------------------------------------------- */

static void write_result(struct omen_text *text, const struct omen_query_result *result)
{
    static const char *const shortfalls[] = {"none", "collection", "ef"};

    omen_text_add(text, "{\"hits\":[");
    for (uint32_t i = 0; i < result->hit_count; i++) {
        omen_text_add(text, i == 0 ? "{\"id\":" : ",{\"id\":");
        write_id(text, result->hits[i].id);
        omen_text_add(text, ",\"distance\":%.9g}", (double)result->hits[i].distance);
    }
    omen_text_add(text,
                  "],\"visited\":%" PRIu32 ",\"exact\":%s,\"ef\":%" PRIu32 ",\"shortfall\":\"%s\"}",
                  result->visited, result->exact ? "true" : "false", result->ef,
                  shortfalls[result->shortfall]);
}

void omen_json_write_search(struct omen_text *text, const struct omen_search *search)
{
    omen_text_add(text, "{\"results\":[");
    for (uint32_t i = 0; i < search->count; i++) {
        omen_text_add(text, i == 0 ? "" : ",");
        write_result(text, &search->results[i]);
    }
    omen_text_add(text, "],\"log_position\":%" PRIu64 ",\"duration_us\":%" PRIu64 "}\n",
                  search->log_position, search->duration_us);
}

/* ---- insert ------------------------------------------------------------------------------- */

void omen_json_write_inserted(struct omen_text *text, const struct omen_json_inserted *inserted)
{
    omen_text_add(text, "{\"points\":%" PRIu32 ",\"inserted\":%zu,\"log_position\":%" PRIu64,
                  inserted->points, inserted->points - inserted->error_count,
                  inserted->log_position);
    omen_text_add(text, ",\"errors\":[");
    for (size_t i = 0; i < inserted->error_count; i++) {
        const struct omen_item_error *item = &inserted->errors[i];
        uint64_t chunk = item->seq - inserted->first_seq;
        omen_error sentence = {0};
        omen_code code = omen_item_error_describe(item, inserted->dim, &sentence);

        omen_text_add(text, "%s{\"index\":%" PRIu64, i == 0 ? "" : ",",
                      chunk * inserted->chunk_points + item->index);
        if (item->refusal != OMEN_REFUSED_ID_MISSING && item->refusal != OMEN_REFUSED_ID_KIND) {
            omen_text_add(text, ",\"id\":");
            write_id(text, item->id);
        }
        omen_text_add(text, ",\"code\":\"%s\",\"reason\":\"%s\",\"message\":", omen_code_name(code),
                      sentence.reason);
        omen_text_add_json(text, sentence.message);
        omen_text_add(text, "}");
    }
    omen_text_add(text, "]}\n");
}
