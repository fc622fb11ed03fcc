/* messages.c - see messages.h.
 *
 * The data plane is written with nanopb's primitives: each message is a function that runs twice,
 * once over a stream that only counts, once over memory of exactly that size. So the vectors are
 * copied once. The control plane is protobuf-c's.
 *
 * Failure modes: no memory gives a payload without data; an answer that does not parse is told by
 * false, and never believed in part.
 */
#include "bench/load/messages.h"

#include <pb_decode.h>
#include <pb_encode.h>

#include <stdlib.h>
#include <string.h>

#include "omendb/v1/collection.pb-c.h"
#include "omendb/v1/vector.pb.h"

#define CLIENT_NAME "omendb-load"

/* What a message is written from: each function knows which members are its own. */
struct source {
    const char *collection;
    const struct omen_load_chunk *chunk;
    const struct omen_load_query *query;
    const struct omen_load_rows *rows;
    uint64_t first; /* row of the first query */
};

typedef bool put_fn(pb_ostream_t *stream, const struct source *source);

static put_fn put_open, put_chunk, put_points, put_ids, put_search, put_queries, put_options;
static bool read_opened(pb_istream_t *stream, struct omen_load_insert_answer *out);
static bool read_ack(pb_istream_t *stream, struct omen_load_insert_answer *out);
static bool read_error(pb_istream_t *stream, struct omen_load_insert_answer *out);
static bool read_result(pb_istream_t *stream, struct omen_load_search_answer *out);

/* ---- writing ------------------------------------------------------------------------------ */

static struct omen_load_payload write_message(put_fn *put, const struct source *source)
{
    pb_ostream_t counted = PB_OSTREAM_SIZING;
    struct omen_load_payload payload = {0};

    if (!put(&counted, source)) return payload;
    payload.bytes = counted.bytes_written;
    payload.data = malloc(payload.bytes + 1);
    if (payload.data == NULL) return payload;
    pb_ostream_t written = pb_ostream_from_buffer(payload.data, payload.bytes);

    if (!put(&written, source) || written.bytes_written != payload.bytes) {
        free(payload.data);
        payload.data = NULL;
    }
    return payload;
}

static bool put_number(pb_ostream_t *stream, uint32_t tag, uint64_t value)
{
    return pb_encode_tag(stream, PB_WT_VARINT, tag) && pb_encode_varint(stream, value);
}

static bool put_text(pb_ostream_t *stream, uint32_t tag, const char *text)
{
    return pb_encode_tag(stream, PB_WT_STRING, tag) &&
           pb_encode_string(stream, (const pb_byte_t *)text, strlen(text));
}

/* A field whose length comes before its contents. */
static bool put_field(pb_ostream_t *stream, uint32_t tag, put_fn *put, const struct source *source)
{
    pb_ostream_t counted = PB_OSTREAM_SIZING;

    return put(&counted, source) && pb_encode_tag(stream, PB_WT_STRING, tag) &&
           pb_encode_varint(stream, counted.bytes_written) && put(stream, source);
}

static bool put_rows(pb_ostream_t *stream, const struct omen_load_rows *rows, uint64_t first,
                     uint64_t count)
{
    return pb_write(stream, (const pb_byte_t *)(rows->values + first * rows->dim),
                    (size_t)count * rows->dim * sizeof(float));
}

struct omen_load_payload omen_load_encode_open(const char *collection)
{
    return write_message(put_open, &(struct source){.collection = collection});
}

static bool put_open_body(pb_ostream_t *stream, const struct source *source)
{
    return put_text(stream, omendb_v1_Open_collection_tag, source->collection) &&
           put_number(stream, omendb_v1_Open_mode_tag,
                      omendb_v1_WriteMode_WRITE_MODE_INSERT_ONLY) &&
           put_text(stream, omendb_v1_Open_client_name_tag, CLIENT_NAME);
}

static bool put_open(pb_ostream_t *stream, const struct source *source)
{
    return put_field(stream, omendb_v1_InsertRequest_open_tag, put_open_body, source);
}

struct omen_load_payload omen_load_encode_chunk(const struct omen_load_chunk *chunk,
                                                const struct omen_load_rows *rows)
{
    return write_message(put_chunk, &(struct source){.chunk = chunk, .rows = rows});
}

static bool put_chunk_body(pb_ostream_t *stream, const struct source *source)
{
    return put_number(stream, omendb_v1_Chunk_seq_tag, source->chunk->seq) &&
           put_field(stream, omendb_v1_Chunk_columns_tag, put_points, source);
}

static bool put_chunk(pb_ostream_t *stream, const struct source *source)
{
    return put_field(stream, omendb_v1_InsertRequest_chunk_tag, put_chunk_body, source);
}

static bool put_points(pb_ostream_t *stream, const struct source *source)
{
    const struct omen_load_chunk *chunk = source->chunk;
    const struct omen_load_rows *rows = source->rows;

    return put_number(stream, omendb_v1_PointColumns_dim_tag, rows->dim) &&
           put_field(stream, omendb_v1_PointColumns_ids_tag, put_ids, source) &&
           pb_encode_tag(stream, PB_WT_STRING, omendb_v1_PointColumns_vectors_f32_le_tag) &&
           pb_encode_varint(stream, (uint64_t)chunk->count * rows->dim * sizeof(float)) &&
           put_rows(stream, rows, chunk->first, chunk->count);
}

static bool put_ids(pb_ostream_t *stream, const struct source *source)
{
    for (uint32_t i = 0; i < source->chunk->count; i++)
        if (!pb_encode_varint(stream, source->chunk->first_id + i)) return false;
    return true;
}

struct omen_load_payload omen_load_encode_search(const struct omen_load_query *query,
                                                 const struct omen_load_rows *rows, uint64_t first)
{
    return write_message(put_search,
                         &(struct source){.query = query, .rows = rows, .first = first});
}

static bool put_search(pb_ostream_t *stream, const struct source *source)
{
    return put_text(stream, omendb_v1_SearchRequest_collection_tag, source->query->collection) &&
           put_field(stream, omendb_v1_SearchRequest_columns_tag, put_queries, source) &&
           put_field(stream, omendb_v1_SearchRequest_options_tag, put_options, source) &&
           put_number(stream, omendb_v1_SearchRequest_layout_tag,
                      omendb_v1_ResultLayout_RESULT_LAYOUT_COLUMNS);
}

static bool put_queries(pb_ostream_t *stream, const struct source *source)
{
    const struct omen_load_rows *rows = source->rows;
    uint64_t left = source->query->batch;
    uint64_t at = source->first % rows->count;

    if (!put_number(stream, omendb_v1_QueryColumns_dim_tag, rows->dim) ||
        !pb_encode_tag(stream, PB_WT_STRING, omendb_v1_QueryColumns_vectors_f32_le_tag) ||
        !pb_encode_varint(stream, left * rows->dim * sizeof(float)))
        return false;
    while (left > 0) {
        uint64_t step = rows->count - at < left ? rows->count - at : left;

        if (!put_rows(stream, rows, at, step)) return false;
        left -= step;
        at = 0;
    }
    return true;
}

static bool put_options(pb_ostream_t *stream, const struct source *source)
{
    return put_number(stream, omendb_v1_SearchOptions_k_tag, source->query->k) &&
           put_number(stream, omendb_v1_SearchOptions_ef_tag, source->query->ef) &&
           put_number(stream, omendb_v1_SearchOptions_exact_tag, source->query->exact);
}

static struct omen_load_payload pack(const ProtobufCMessage *message)
{
    struct omen_load_payload payload = {0};

    payload.data = malloc(protobuf_c_message_get_packed_size(message) + 1);
    if (payload.data != NULL) payload.bytes = protobuf_c_message_pack(message, payload.data);
    return payload;
}

struct omen_load_payload omen_load_encode_create(const char *name, uint32_t dim, omen_metric metric)
{
    Omendb__V1__CreateCollectionRequest request = OMENDB__V1__CREATE_COLLECTION_REQUEST__INIT;
    Omendb__V1__CollectionConfig config = OMENDB__V1__COLLECTION_CONFIG__INIT;

    /* protobuf-c packs from char *, and never writes to it. */
    request.name = (char *)(uintptr_t)name;
    request.config = &config;
    config.dim = dim;
    config.metric = (Omendb__V1__Metric)metric;
    return pack(&request.base);
}

struct omen_load_payload omen_load_encode_delete(const char *name)
{
    Omendb__V1__DeleteCollectionRequest request = OMENDB__V1__DELETE_COLLECTION_REQUEST__INIT;

    request.name = (char *)(uintptr_t)name;
    return pack(&request.base);
}

/* ---- reading ------------------------------------------------------------------------------ */

/* The next field; false at the end, and where the message is broken (`broken` says which). */
static bool next_field(pb_istream_t *stream, uint32_t *tag, pb_wire_type_t *type, bool *broken)
{
    bool end = false;

    if (stream->bytes_left == 0) return false;
    if (pb_decode_tag(stream, type, tag, &end)) return true;
    *broken = true;
    return false;
}

/* Reads a number if the field is one that is wanted; skips it if `out` is NULL. */
static bool take_number(pb_istream_t *stream, pb_wire_type_t type, uint64_t *out)
{
    if (out == NULL) return pb_skip_field(stream, type);
    return type == PB_WT_VARINT && pb_decode_varint(stream, out);
}

bool omen_load_decode_insert(struct omen_load_bytes message, struct omen_load_insert_answer *out)
{
    pb_istream_t stream = pb_istream_from_buffer(message.data, message.bytes);
    pb_wire_type_t type;
    uint32_t tag = 0;
    bool broken = message.data == NULL;

    *out = (struct omen_load_insert_answer){0};
    while (!broken && next_field(&stream, &tag, &type, &broken)) {
        pb_istream_t inner;

        if (type != PB_WT_STRING || !pb_make_string_substream(&stream, &inner)) return false;
        if (tag == omendb_v1_InsertResponse_opened_tag)
            broken = !read_opened(&inner, out);
        else if (tag == omendb_v1_InsertResponse_ack_tag)
            broken = !read_ack(&inner, out);
        if (!pb_close_string_substream(&stream, &inner)) return false;
    }
    return !broken;
}

static bool read_opened(pb_istream_t *stream, struct omen_load_insert_answer *out)
{
    pb_wire_type_t type;
    uint32_t tag = 0;
    uint64_t dim = 0;
    uint64_t credit = 0;
    bool broken = false;

    while (next_field(stream, &tag, &type, &broken)) {
        uint64_t *to = tag == omendb_v1_Opened_dim_tag            ? &dim
                       : tag == omendb_v1_Opened_credit_bytes_tag ? &credit
                                                                  : NULL;
        if (!take_number(stream, type, to)) return false;
    }
    out->opened = true;
    out->dim = (uint32_t)dim;
    out->credit_bytes = (uint32_t)credit;
    return !broken;
}

static bool read_ack(pb_istream_t *stream, struct omen_load_insert_answer *out)
{
    pb_wire_type_t type;
    uint32_t tag = 0;
    uint64_t credit = 0;
    bool broken = false;

    while (!broken && next_field(stream, &tag, &type, &broken)) {
        pb_istream_t inner;

        if (tag == omendb_v1_Ack_errors_tag) {
            if (type != PB_WT_STRING || !pb_make_string_substream(stream, &inner)) return false;
            broken = !read_error(&inner, out);
            if (!pb_close_string_substream(stream, &inner)) return false;
            continue;
        }
        uint64_t *to = tag == omendb_v1_Ack_durable_seq_tag      ? &out->durable_seq
                       : tag == omendb_v1_Ack_searchable_seq_tag ? &out->searchable_seq
                       : tag == omendb_v1_Ack_credit_bytes_tag   ? &credit
                                                                 : NULL;
        if (!take_number(stream, type, to)) return false;
    }
    out->credit_bytes = (uint32_t)credit;
    return !broken;
}

/* Counts it, and keeps the first one's sentence. */
static bool read_error(pb_istream_t *stream, struct omen_load_insert_answer *out)
{
    pb_wire_type_t type;
    uint32_t tag = 0;
    bool broken = false;

    out->errors++;
    while (next_field(stream, &tag, &type, &broken)) {
        pb_istream_t inner;
        size_t room = sizeof out->first_error - 1;

        if (tag != omendb_v1_ItemError_message_tag || out->errors > 1) {
            if (!pb_skip_field(stream, type)) return false;
            continue;
        }
        if (type != PB_WT_STRING || !pb_make_string_substream(stream, &inner)) return false;
        size_t length = inner.bytes_left < room ? inner.bytes_left : room;

        if (!pb_read(&inner, (pb_byte_t *)out->first_error, length)) return false;
        if (!pb_close_string_substream(stream, &inner)) return false;
    }
    return !broken;
}

bool omen_load_decode_search(struct omen_load_bytes message, struct omen_load_search_answer *out)
{
    pb_istream_t stream = pb_istream_from_buffer(message.data, message.bytes);
    pb_wire_type_t type;
    uint32_t tag = 0;
    bool broken = message.data == NULL;

    *out = (struct omen_load_search_answer){0};
    while (!broken && next_field(&stream, &tag, &type, &broken)) {
        pb_istream_t inner;

        if (tag != omendb_v1_SearchResponse_results_tag) {
            uint64_t *to =
                tag == omendb_v1_SearchResponse_duration_us_tag ? &out->duration_us : NULL;
            if (!take_number(&stream, type, to)) return false;
            continue;
        }
        if (type != PB_WT_STRING || !pb_make_string_substream(&stream, &inner)) return false;
        broken = !read_result(&inner, out);
        if (!pb_close_string_substream(&stream, &inner)) return false;
    }
    return !broken;
}

static bool read_result(pb_istream_t *stream, struct omen_load_search_answer *out)
{
    pb_wire_type_t type;
    uint32_t tag = 0;
    uint64_t visited = 0;
    bool broken = false;

    out->results++;
    while (next_field(stream, &tag, &type, &broken)) {
        if (tag == omendb_v1_QueryResult_ids_le_tag && type == PB_WT_STRING) {
            uint32_t length = 0;

            if (!pb_decode_varint32(stream, &length) || !pb_read(stream, NULL, length))
                return false;
            out->hits += length / sizeof(uint64_t);
            continue;
        }
        if (!take_number(stream, type, tag == omendb_v1_QueryResult_visited_tag ? &visited : NULL))
            return false;
    }
    out->visited += visited;
    return !broken;
}
