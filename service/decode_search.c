/* decode_search.c - a SearchRequest into limits that hold and one block of floats.
 *
 * The message is walked twice: the collection's name may stand anywhere in it, and without the
 * collection nobody knows how long a query must be. The first walk reads all but the vectors and
 * refuses what the limits refuse, before anything is allocated; the second fills the block.
 */
#include "service/decode.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "omendb/v1/vector.pb.h"
#include "service/wire.h"

struct scan {
    struct omen_search_request *out;
    struct omen_fault *fault;
    uint64_t queries; /* counted; checked at the end */
};

struct queries_reader {
    struct omen_fault *fault;
    float *rows;
    uint32_t dim;
    uint32_t index; /* of the next query */
};

static bool scan_field(pb_istream_t *stream, const struct omen_field *field, struct scan *scan);
static bool scan_options(pb_istream_t *stream, struct omen_search_request *out);
static bool scan_columns(pb_istream_t *stream, struct scan *scan);
static bool read_query(pb_istream_t *stream, struct queries_reader *reader);
static bool read_columns(pb_istream_t *stream, struct queries_reader *reader);

static void fault_broken(struct omen_fault *fault, const pb_istream_t *stream, size_t total)
{
    if (fault->code != OMEN_OK) return; /* somebody has said it better */
    (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
                         "not a valid SearchRequest: %s near byte %zu of %zu", PB_GET_ERROR(stream),
                         total - stream->bytes_left, total);
}

omen_code omen_decode_search(const omen_message *message, struct omen_search_request *out,
                             struct omen_fault *fault)
{
    struct omen_cursor cursor;
    pb_istream_t stream = omen_wire_open(&cursor, message);
    size_t total = stream.bytes_left;
    struct scan scan = {.out = out, .fault = fault};
    struct omen_field field;
    bool ok = true;

    memset(out, 0, sizeof *out);
    fault->code = OMEN_OK;
    while (ok && omen_wire_next(&stream, &field))
        ok = scan_field(&stream, &field, &scan);
    if (!ok || field.broken) {
        fault_broken(fault, &stream, total);
        return fault->code;
    }
    return omen_search_request_check(out, scan.queries, fault);
}

static bool scan_field(pb_istream_t *stream, const struct omen_field *field, struct scan *scan)
{
    struct omen_search_request *out = scan->out;
    pb_istream_t inner;
    size_t length = 0;
    uint32_t layout = 0;

    switch (field->tag) {
    case omendb_v1_SearchRequest_collection_tag:
        if (!omen_wire_bytes(stream, field, out->collection, sizeof out->collection - 1, &length))
            return false;
        if (length < sizeof out->collection) out->collection[length] = '\0';
        if (strlen(out->collection) == length) return true;
        (void)omen_fault_set(scan->fault, OMEN_INVALID_ARGUMENT, "BAD_NAME", "collection",
                             "collection is a name of %zu bytes, the limit is %u, without NUL",
                             length, OMEN_NAME_BYTES_MAX);
        return false;
    case omendb_v1_SearchRequest_queries_tag:
        scan->queries++;
        return omen_wire_skip(stream, field);
    case omendb_v1_SearchRequest_columns_tag:
        return omen_wire_enter(stream, field, &inner) &&
               omen_wire_leave(stream, &inner, scan_columns(&inner, scan));
    case omendb_v1_SearchRequest_options_tag:
        return omen_wire_enter(stream, field, &inner) &&
               omen_wire_leave(stream, &inner, scan_options(&inner, out));
    case omendb_v1_SearchRequest_layout_tag:
        if (!omen_wire_uint32(stream, field, &layout)) return false;
        out->columns = layout == omendb_v1_ResultLayout_RESULT_LAYOUT_COLUMNS;
        if (layout <= omendb_v1_ResultLayout_RESULT_LAYOUT_COLUMNS) return true;
        (void)omen_fault_set(scan->fault, OMEN_INVALID_ARGUMENT, "BAD_LIMIT", "layout",
                             "layout is %u, it must be 0, 1 or 2", layout);
        return false;
    default:
        return omen_wire_skip(stream, field);
    }
}

static bool scan_options(pb_istream_t *stream, struct omen_search_request *out)
{
    struct omen_field field;
    bool ok = true;

    while (ok && omen_wire_next(stream, &field)) {
        switch (field.tag) {
        case omendb_v1_SearchOptions_k_tag:
            ok = omen_wire_uint32(stream, &field, &out->k);
            break;
        case omendb_v1_SearchOptions_ef_tag:
            ok = omen_wire_uint32(stream, &field, &out->ef);
            break;
        case omendb_v1_SearchOptions_exact_tag:
            ok = omen_wire_bool(stream, &field, &out->exact);
            break;
        default:
            ok = omen_wire_skip(stream, &field);
        }
    }
    return ok && !field.broken;
}

static bool scan_columns(pb_istream_t *stream, struct scan *scan)
{
    struct omen_field field;
    uint64_t bytes = 0;
    uint32_t dim = 0;
    bool ok = true;

    while (ok && omen_wire_next(stream, &field)) {
        size_t length = 0;

        switch (field.tag) {
        case omendb_v1_QueryColumns_dim_tag:
            ok = omen_wire_uint32(stream, &field, &dim);
            break;
        case omendb_v1_QueryColumns_vectors_f32_le_tag:
            ok = omen_wire_bytes(stream, &field, NULL, 0, &length);
            bytes += length;
            break;
        default:
            ok = omen_wire_skip(stream, &field);
        }
    }
    if (!ok || field.broken) return false;
    if (bytes == 0) return true;
    if (dim < OMEN_DIM_MIN || dim > OMEN_DIM_MAX) {
        (void)omen_fault_set(scan->fault, OMEN_INVALID_ARGUMENT, "DIMENSION_MISMATCH",
                             "columns.dim", "columns.dim is %u, it must be %u to %u", dim,
                             OMEN_DIM_MIN, OMEN_DIM_MAX);
        return false;
    }
    if (bytes % (dim * sizeof(float)) != 0) {
        (void)omen_fault_set(scan->fault, OMEN_INVALID_ARGUMENT, "DIMENSION_MISMATCH",
                             "columns.vectors_f32_le",
                             "columns.vectors_f32_le has %" PRIu64 " bytes, no multiple of the %zu "
                             "bytes of a query of dimension %u",
                             bytes, dim * sizeof(float), dim);
        return false;
    }
    scan->queries += bytes / (dim * sizeof(float));
    return true;
}

omen_code omen_search_request_check(struct omen_search_request *out, uint64_t queries,
                                    struct omen_fault *fault)
{
    if (out->collection[0] == '\0')
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_NAME", "collection",
                              "collection is empty: it must name one, in 1 to %u bytes",
                              OMEN_NAME_BYTES_MAX);
    if (out->k > OMEN_K_MAX)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_LIMIT", "options.k",
                              "options.k is %u, the limit is %u", out->k, OMEN_K_MAX);
    if (out->ef > OMEN_EF_MAX)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_LIMIT", "options.ef",
                              "options.ef is %u, the limit is %u", out->ef, OMEN_EF_MAX);
    if (queries == 0)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_LIMIT", "queries",
                              "there are 0 queries, it must be 1 to %u", OMEN_SEARCH_QUERIES_MAX);
    if (queries > OMEN_SEARCH_QUERIES_MAX)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "TOO_LARGE", "queries",
                              "there are %" PRIu64 " queries, the limit is %u", queries,
                              OMEN_SEARCH_QUERIES_MAX);
    out->count = (uint32_t)queries;
    return OMEN_OK;
}

/* ---- the vectors -------------------------------------------------------------------------- */

omen_code omen_decode_queries(const omen_message *message, uint32_t dim, float *rows,
                              struct omen_fault *fault)
{
    struct queries_reader reader = {.fault = fault, .rows = rows, .dim = dim};
    struct omen_cursor cursor;
    pb_istream_t stream = omen_wire_open(&cursor, message);
    size_t total = stream.bytes_left;
    struct omen_field field;
    bool ok = true;

    fault->code = OMEN_OK;
    while (ok && omen_wire_next(&stream, &field)) {
        pb_istream_t inner;

        if (field.tag == omendb_v1_SearchRequest_queries_tag)
            ok = omen_wire_enter(&stream, &field, &inner) &&
                 omen_wire_leave(&stream, &inner, read_query(&inner, &reader));
        else if (field.tag == omendb_v1_SearchRequest_columns_tag)
            ok = omen_wire_enter(&stream, &field, &inner) &&
                 omen_wire_leave(&stream, &inner, read_columns(&inner, &reader));
        else
            ok = omen_wire_skip(&stream, &field);
    }
    if (!ok || field.broken) fault_broken(fault, &stream, total);
    return fault->code;
}

static bool read_query(pb_istream_t *stream, struct queries_reader *reader)
{
    struct omen_wire_vector vector = {.dim = reader->dim};
    struct omen_field field;
    bool ok = true;

    vector.row = reader->rows + (size_t)reader->index * reader->dim;
    while (ok && omen_wire_next(stream, &field)) {
        pb_istream_t inner;

        if (field.tag == omendb_v1_Query_vector_tag)
            ok = omen_wire_enter(stream, &field, &inner) &&
                 omen_wire_leave(stream, &inner, omen_wire_vector_read(&inner, &vector));
        else
            ok = omen_wire_skip(stream, &field);
    }
    if (!ok || field.broken) return false;
    if (vector.components != reader->dim) {
        (void)omen_fault_query_dimension(reader->fault, reader->index, vector.components,
                                         reader->dim);
        return false;
    }
    reader->index++;
    return true;
}

/* Like read_query() for a block of rows, whose length the first walk has found to be whole. */
static bool read_columns(pb_istream_t *stream, struct queries_reader *reader)
{
    pb_byte_t *at = (pb_byte_t *)(reader->rows + (size_t)reader->index * reader->dim);
    pb_istream_t again = *stream;
    struct omen_cursor start = *(struct omen_cursor *)stream->state;
    struct omen_field field;
    uint32_t dim = 0;
    size_t bytes = 0;
    size_t length = 0;
    bool ok = true;

    while (ok && omen_wire_next(stream, &field))
        ok = field.tag == omendb_v1_QueryColumns_dim_tag ? omen_wire_uint32(stream, &field, &dim)
                                                         : omen_wire_skip(stream, &field);
    if (!ok || field.broken) return false;
    again.state = &start;
    while (ok && omen_wire_next(&again, &field)) {
        if (field.tag != omendb_v1_QueryColumns_vectors_f32_le_tag) {
            ok = omen_wire_skip(&again, &field);
            continue;
        }
        if (dim != reader->dim) {
            (void)omen_fault_set(reader->fault, OMEN_INVALID_ARGUMENT, "DIMENSION_MISMATCH",
                                 "columns.dim",
                                 "columns.dim is %u (from query %u on), the collection has %u", dim,
                                 reader->index, reader->dim);
            return false;
        }
        ok = omen_wire_bytes(&again, &field, at + bytes, SIZE_MAX, &length);
        bytes += length;
    }
    reader->index += (uint32_t)(bytes / (reader->dim * sizeof(float)));
    return ok;
}
