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

enum wire_type { VARINT = 0, LENGTH = 2, FIXED32 = 5 };

static size_t result_bytes(const struct omen_query_result *result, bool columns);
static uint8_t *put_result(uint8_t *at, const struct omen_query_result *result, bool columns);
static uint8_t *put_hits(uint8_t *at, const struct omen_query_result *result);
static uint8_t *put_columns(uint8_t *at, const struct omen_query_result *result);

static size_t varint_bytes(uint64_t value)
{
    return (size_t)(70 - __builtin_clzll(value | 1)) / 7; /* 7 bits to a byte */
}

static uint8_t *put_varint(uint8_t *at, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *at++ = (uint8_t)(value | 0x80);
    *at++ = (uint8_t)value;
    return at;
}

/* Every field number of these messages is below 16: a tag is one byte. */
static uint8_t *put_tag(uint8_t *at, unsigned number, enum wire_type type)
{
    *at++ = (uint8_t)(number << 3 | (unsigned)type);
    return at;
}

static size_t number_bytes(uint64_t value)
{
    return value == 0 ? 0 : 1 + varint_bytes(value);
}

static uint8_t *put_number(uint8_t *at, unsigned number, uint64_t value)
{
    if (value == 0) return at;
    return put_varint(put_tag(at, number, VARINT), value);
}

struct omen_payload omen_reply_search(const struct omen_search *search, bool columns)
{
    struct omen_payload payload = {0};
    size_t bytes = number_bytes(search->log_position) + number_bytes(search->duration_us);

    for (uint32_t i = 0; i < search->count; i++) {
        size_t inner = result_bytes(&search->results[i], columns);
        bytes += 1 + varint_bytes(inner) + inner;
    }
    payload.data = malloc(bytes + 1);
    if (payload.data == NULL) return payload;
    payload.bytes = bytes;

    uint8_t *at = payload.data;
    for (uint32_t i = 0; i < search->count; i++)
        at = put_result(at, &search->results[i], columns);
    at = put_number(at, omendb_v1_SearchResponse_log_position_tag, search->log_position);
    (void)put_number(at, omendb_v1_SearchResponse_duration_us_tag, search->duration_us);
    return payload;
}

/* ---- one query's result ------------------------------------------------------------------- */

/* A PointId of a number: its tag stays even when the number is 0, because that is an id too. */
static size_t id_bytes(uint64_t id)
{
    return 1 + varint_bytes(id);
}

/* Both inner lengths are below 128, so their varints are one byte. */
static size_t hit_bytes(const struct omen_hit *hit)
{
    return 2 + id_bytes(hit->id) + 1 + sizeof hit->distance;
}

static size_t result_bytes(const struct omen_query_result *result, bool columns)
{
    size_t bytes = number_bytes(result->visited) + number_bytes(result->exact) +
                   number_bytes(result->ef) + number_bytes((uint64_t)result->shortfall);

    if (!columns) {
        for (uint32_t i = 0; i < result->hit_count; i++)
            bytes += 2 + hit_bytes(&result->hits[i]);
    } else if (result->hit_count > 0) {
        size_t ids = (size_t)result->hit_count * sizeof(uint64_t);
        size_t distances = (size_t)result->hit_count * sizeof(float);
        bytes += 1 + varint_bytes(ids) + ids + 1 + varint_bytes(distances) + distances;
    }
    return bytes;
}

static uint8_t *put_result(uint8_t *at, const struct omen_query_result *result, bool columns)
{
    at = put_tag(at, omendb_v1_SearchResponse_results_tag, LENGTH);
    at = put_varint(at, result_bytes(result, columns));
    at = columns ? put_columns(at, result) : put_hits(at, result);
    at = put_number(at, omendb_v1_QueryResult_visited_tag, result->visited);
    at = put_number(at, omendb_v1_QueryResult_exact_tag, result->exact);
    at = put_number(at, omendb_v1_QueryResult_ef_tag, result->ef);
    return put_number(at, omendb_v1_QueryResult_shortfall_tag, (uint64_t)result->shortfall);
}

static uint8_t *put_hits(uint8_t *at, const struct omen_query_result *result)
{
    for (uint32_t i = 0; i < result->hit_count; i++) {
        const struct omen_hit *hit = &result->hits[i];

        at = put_tag(at, omendb_v1_QueryResult_hits_tag, LENGTH);
        at = put_varint(at, hit_bytes(hit));
        at = put_tag(at, omendb_v1_Hit_id_tag, LENGTH);
        at = put_varint(at, id_bytes(hit->id));
        at = put_varint(put_tag(at, omendb_v1_PointId_num_tag, VARINT), hit->id);
        at = put_tag(at, omendb_v1_Hit_distance_tag, FIXED32);
        memcpy(at, &hit->distance, sizeof hit->distance);
        at += sizeof hit->distance;
    }
    return at;
}

static uint8_t *put_columns(uint8_t *at, const struct omen_query_result *result)
{
    if (result->hit_count == 0) return at;
    at = put_tag(at, omendb_v1_QueryResult_ids_le_tag, LENGTH);
    at = put_varint(at, (uint64_t)result->hit_count * sizeof(uint64_t));
    for (uint32_t i = 0; i < result->hit_count; i++, at += sizeof(uint64_t))
        memcpy(at, &result->hits[i].id, sizeof(uint64_t));
    at = put_tag(at, omendb_v1_QueryResult_distances_le_tag, LENGTH);
    at = put_varint(at, (uint64_t)result->hit_count * sizeof(float));
    for (uint32_t i = 0; i < result->hit_count; i++, at += sizeof(float))
        memcpy(at, &result->hits[i].distance, sizeof(float));
    return at;
}
