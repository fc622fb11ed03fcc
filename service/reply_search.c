/* reply_search.c - a SearchResponse, written by hand into memory of exactly its size.
 *
 * A batch may have millions of hits, and nanopb would walk a descriptor for every one of them,
 * twice. All that protobuf asks for is that lengths come before contents; they are computed by the
 * same rules that write: a field that is 0 is left out, except inside a hit.
 */
#include "service/reply.h"

#include <stdlib.h>
#include <string.h>

#include "omendb/v1/vector.pb.h"
#include "service/reply_wire.h"

/* Why a query has no hits. */
struct refusal {
    omen_code code;
    omen_error error;
};

static size_t result_bytes(const struct omen_query_result *result, bool columns,
                           const struct refusal *refusal);
static uint8_t *put_result(uint8_t *at, const struct omen_query_result *result, bool columns,
                           const struct refusal *refusal);

static void describe(const struct omen_query_result *result, uint32_t dim, struct refusal *out)
{
    out->code = OMEN_OK;
    out->error.reason[0] = out->error.message[0] = '\0';
    if (result->refusal != 0) out->code = omen_query_describe(result, dim, &out->error);
}

struct omen_payload omen_reply_search(const struct omen_search *search, const uint8_t *incarnation,
                                      bool columns)
{
    struct omen_payload payload = {0};
    uint32_t dim = omen_collection_dim(search->collection);
    struct refusal refusal;
    size_t bytes = omen_number_bytes(search->log_position) +
                   omen_number_bytes(search->duration_us) +
                   omen_bytes_bytes(OMEN_INCARNATION_BYTES);

    for (uint32_t i = 0; i < search->count; i++) {
        describe(&search->results[i], dim, &refusal);
        size_t inner = result_bytes(&search->results[i], columns, &refusal);
        bytes += 1 + omen_varint_bytes(inner) + inner;
    }
    payload.data = malloc(bytes + 1);
    if (payload.data == NULL) return payload;
    payload.bytes = bytes;

    uint8_t *at = payload.data;
    for (uint32_t i = 0; i < search->count; i++) {
        describe(&search->results[i], dim, &refusal);
        at = put_result(at, &search->results[i], columns, &refusal);
    }
    at = omen_put_number(at, omendb_v1_SearchResponse_log_position_tag, search->log_position);
    at = omen_put_number(at, omendb_v1_SearchResponse_duration_us_tag, search->duration_us);
    (void)omen_put_bytes(at, omendb_v1_SearchResponse_incarnation_tag, incarnation,
                         OMEN_INCARNATION_BYTES);
    return payload;
}

/* ---- hits --------------------------------------------------------------------------------- */

/* Both inner lengths are below 128, so their varints are one byte. */
static size_t hit_bytes(const struct omen_hit *hit)
{
    return 2 + omen_id_bytes(&hit->id) + 1 + sizeof hit->distance;
}

static uint8_t *put_hits(uint8_t *at, const struct omen_query_result *result)
{
    for (uint32_t i = 0; i < result->hit_count; i++) {
        const struct omen_hit *hit = &result->hits[i];

        at = omen_put_tag(at, omendb_v1_QueryResult_hits_tag, OMEN_WIRE_LENGTH);
        at = omen_put_varint(at, hit_bytes(hit));
        at = omen_put_id(at, omendb_v1_Hit_id_tag, &hit->id);
        at = omen_put_tag(at, omendb_v1_Hit_distance_tag, OMEN_WIRE_FIXED32);
        memcpy(at, &hit->distance, sizeof hit->distance);
        at += sizeof hit->distance;
    }
    return at;
}

static bool has_key(const struct omen_query_result *result)
{
    for (uint32_t i = 0; i < result->hit_count; i++)
        if (result->hits[i].id.key_bytes > 0) return true;
    return false;
}

static size_t columns_bytes(const struct omen_query_result *result)
{
    size_t bytes = omen_bytes_bytes((size_t)result->hit_count * sizeof(uint64_t)) +
                   omen_bytes_bytes((size_t)result->hit_count * sizeof(float));

    if (!has_key(result)) return bytes;
    for (uint32_t i = 0; i < result->hit_count; i++)
        bytes += 2 + omen_id_bytes(&result->hits[i].id);
    return bytes;
}

static uint8_t *put_columns(uint8_t *at, const struct omen_query_result *result)
{
    if (result->hit_count == 0) return at;
    at = omen_put_tag(at, omendb_v1_QueryResult_ids_le_tag, OMEN_WIRE_LENGTH);
    at = omen_put_varint(at, (uint64_t)result->hit_count * sizeof(uint64_t));
    for (uint32_t i = 0; i < result->hit_count; i++, at += sizeof(uint64_t)) {
        const struct omen_id *id = &result->hits[i].id;
        uint64_t num = id->key_bytes > 0 ? 0 : id->num;

        memcpy(at, &num, sizeof num);
    }
    at = omen_put_tag(at, omendb_v1_QueryResult_distances_le_tag, OMEN_WIRE_LENGTH);
    at = omen_put_varint(at, (uint64_t)result->hit_count * sizeof(float));
    for (uint32_t i = 0; i < result->hit_count; i++, at += sizeof(float))
        memcpy(at, &result->hits[i].distance, sizeof(float));
    for (uint32_t i = 0; has_key(result) && i < result->hit_count; i++)
        at = omen_put_id(at, omendb_v1_QueryResult_keys_tag, &result->hits[i].id);
    return at;
}

/* ---- one query's result ------------------------------------------------------------------- */

static size_t result_bytes(const struct omen_query_result *result, bool columns,
                           const struct refusal *refusal)
{
    size_t bytes = omen_number_bytes(result->visited) + omen_number_bytes(result->exact) +
                   omen_number_bytes(result->ef) + omen_number_bytes((uint64_t)result->shortfall) +
                   omen_number_bytes((uint64_t)refusal->code) +
                   omen_bytes_bytes(strlen(refusal->error.reason)) +
                   omen_bytes_bytes(strlen(refusal->error.message));

    if (columns) return bytes + columns_bytes(result);
    for (uint32_t i = 0; i < result->hit_count; i++)
        bytes += 2 + hit_bytes(&result->hits[i]);
    return bytes;
}

static uint8_t *put_result(uint8_t *at, const struct omen_query_result *result, bool columns,
                           const struct refusal *refusal)
{
    at = omen_put_tag(at, omendb_v1_SearchResponse_results_tag, OMEN_WIRE_LENGTH);
    at = omen_put_varint(at, result_bytes(result, columns, refusal));
    at = columns ? put_columns(at, result) : put_hits(at, result);
    at = omen_put_number(at, omendb_v1_QueryResult_visited_tag, result->visited);
    at = omen_put_number(at, omendb_v1_QueryResult_exact_tag, result->exact);
    at = omen_put_number(at, omendb_v1_QueryResult_ef_tag, result->ef);
    at = omen_put_number(at, omendb_v1_QueryResult_shortfall_tag, (uint64_t)result->shortfall);
    at = omen_put_number(at, omendb_v1_QueryResult_code_tag, (uint64_t)refusal->code);
    at = omen_put_bytes(at, omendb_v1_QueryResult_reason_tag, refusal->error.reason,
                        strlen(refusal->error.reason));
    return omen_put_bytes(at, omendb_v1_QueryResult_message_tag, refusal->error.message,
                          strlen(refusal->error.message));
}
