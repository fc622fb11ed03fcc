/* decode_search.c - a SearchRequest into limits that hold and one block of floats.
 *
 * The message is walked twice: the collection's name may stand anywhere in it, and without the
 * collection nobody knows how long a query must be. The first walk reads all but the vectors and
 * refuses what the limits refuse, before anything is allocated; the second fills the block.
 *
 * A query that cannot be run fails by itself: its options carry the refusal to its result.
 */
#include "service/decode.h"

#include <inttypes.h>
#include <string.h>

#include "omendb/v1/vector.pb.h"
#include "service/decode_fields.h"
#include "service/wire.h"

#define MESSAGE "SearchRequest"

struct scan {
    struct omen_search_request *out;
    struct omen_fault *fault;
    uint64_t queries; /* counted; checked at the end */
};

struct queries_reader {
    struct omen_fault *fault;
    const struct omen_search_request *request;
    const struct omen_search_rows *out;
    uint32_t index; /* of the next query */
};

static bool scan_field(pb_istream_t *stream, const struct omen_field *field, struct scan *scan);
static bool scan_columns(pb_istream_t *stream, struct scan *scan);
static bool read_options(pb_istream_t *stream, struct omen_query_options *out);
static bool read_query(pb_istream_t *stream, struct queries_reader *reader);
static bool read_columns(pb_istream_t *stream, struct queries_reader *reader);

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
        omen_decode_fault_broken(fault, &stream, total, MESSAGE);
        return fault->code;
    }
    return omen_search_request_check(out, scan.queries, fault);
}

static bool scan_field(pb_istream_t *stream, const struct omen_field *field, struct scan *scan)
{
    struct omen_search_request *out = scan->out;
    pb_istream_t inner;
    uint32_t layout = 0;

    switch (field->tag) {
    case omendb_v1_SearchRequest_collection_tag:
        return omen_decode_name(stream, field, out->collection, scan->fault);
    case omendb_v1_SearchRequest_queries_tag:
        scan->queries++;
        return omen_wire_skip(stream, field);
    case omendb_v1_SearchRequest_columns_tag:
        return omen_wire_enter(stream, field, &inner) &&
               omen_wire_leave(stream, &inner, scan_columns(&inner, scan));
    case omendb_v1_SearchRequest_options_tag:
        return omen_wire_enter(stream, field, &inner) &&
               omen_wire_leave(stream, &inner, read_options(&inner, &out->options));
    case omendb_v1_SearchRequest_min_read_tag:
        return omen_decode_token(stream, field, &out->min_read, scan->fault);
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

static bool read_options(pb_istream_t *stream, struct omen_query_options *out)
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

/* How many queries there are must be known: what is no whole number of rows fails the request. */
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
        (void)omen_fault_set(scan->fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", "columns.dim",
                             "columns.dim is %u, it must be %u to %u", dim, OMEN_DIM_MIN,
                             OMEN_DIM_MAX);
        return false;
    }
    if (bytes % (dim * sizeof(float)) != 0) {
        (void)omen_fault_set(scan->fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE",
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
    if (omen_decode_name_check(out->collection, fault) != OMEN_OK) return fault->code;
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

/* ---- the queries -------------------------------------------------------------------------- */

omen_code omen_decode_queries(const omen_message *message,
                              const struct omen_search_request *request,
                              const struct omen_search_rows *out, struct omen_fault *fault)
{
    struct queries_reader reader = {.fault = fault, .request = request, .out = out};
    struct omen_cursor cursor;
    pb_istream_t stream = omen_wire_open(&cursor, message);
    struct omen_wire_mark again = omen_wire_mark(&stream);
    pb_istream_t *columns = omen_wire_again(&again);
    size_t total = stream.bytes_left;
    struct omen_field field;
    bool ok = true;

    fault->code = OMEN_OK;
    while (ok && omen_wire_next(&stream, &field)) {
        pb_istream_t inner;

        ok = field.tag == omendb_v1_SearchRequest_queries_tag
                 ? omen_wire_enter(&stream, &field, &inner) &&
                       omen_wire_leave(&stream, &inner, read_query(&inner, &reader))
                 : omen_wire_skip(&stream, &field);
    }
    if (!ok || field.broken) omen_decode_fault_broken(fault, &stream, total, MESSAGE);
    /* Columns come after the queries, wherever they stand. */
    while (ok && reader.index < request->count && omen_wire_next(columns, &field)) {
        pb_istream_t inner;

        ok = field.tag == omendb_v1_SearchRequest_columns_tag
                 ? omen_wire_enter(columns, &field, &inner) &&
                       omen_wire_leave(columns, &inner, read_columns(&inner, &reader))
                 : omen_wire_skip(columns, &field);
    }
    if (!ok || field.broken) omen_decode_fault_broken(fault, columns, total, MESSAGE);
    return fault->code;
}

/* A query's options are those of the request, or its own as a whole. */
static bool read_query(pb_istream_t *stream, struct queries_reader *reader)
{
    const struct omen_search_rows *out = reader->out;
    struct omen_wire_vector vector = {.dim = out->dim};
    struct omen_query_options *options = &out->each[reader->index];
    struct omen_query_options own = {0};
    struct omen_field field;
    bool has_own = false;
    bool ok = true;

    vector.row = out->rows + (size_t)reader->index * out->dim;
    while (ok && omen_wire_next(stream, &field)) {
        pb_istream_t inner;

        if (field.tag == omendb_v1_Query_vector_tag) {
            ok = omen_wire_enter(stream, &field, &inner) &&
                 omen_wire_leave(stream, &inner, omen_wire_vector_read(&inner, &vector));
        } else if (field.tag == omendb_v1_Query_options_tag) {
            has_own = true;
            ok = omen_wire_enter(stream, &field, &inner) &&
                 omen_wire_leave(stream, &inner, read_options(&inner, &own));
        } else {
            ok = omen_wire_skip(stream, &field);
        }
    }
    if (!ok || field.broken) return false;
    *options = has_own ? own : reader->request->options;
    omen_query_options_set_given(options, vector.components, out->dim);
    reader->index++;
    return true;
}

void omen_query_options_set_given(struct omen_query_options *options, uint64_t components,
                                  uint32_t dim)
{
    if (components == dim) return;
    options->refusal = OMEN_REFUSED_DIMENSION;
    options->detail = components > UINT32_MAX ? UINT32_MAX : (uint32_t)components;
}

/* Like read_query() for a block of rows, whose length the first walk has found to be whole. */
static bool read_columns(pb_istream_t *stream, struct queries_reader *reader)
{
    const struct omen_search_rows *out = reader->out;
    struct omen_wire_mark mark = omen_wire_mark(stream);
    pb_istream_t *again = omen_wire_again(&mark);
    pb_byte_t *at = (pb_byte_t *)(out->rows + (size_t)reader->index * out->dim);
    struct omen_field field;
    uint32_t dim = 0;
    size_t bytes = 0;
    size_t length = 0;
    bool ok = true;

    while (ok && omen_wire_next(stream, &field))
        ok = field.tag == omendb_v1_QueryColumns_dim_tag ? omen_wire_uint32(stream, &field, &dim)
                                                         : omen_wire_skip(stream, &field);
    if (!ok || field.broken) return false;
    while (ok && omen_wire_next(again, &field)) {
        if (field.tag != omendb_v1_QueryColumns_vectors_f32_le_tag) {
            ok = omen_wire_skip(again, &field);
            continue;
        }
        ok = omen_wire_bytes(again, &field, at + (dim == out->dim ? bytes : 0),
                             dim == out->dim ? SIZE_MAX : 0, &length);
        bytes += length;
    }
    for (size_t i = 0; bytes > 0 && i < bytes / (dim * sizeof(float)); i++) {
        struct omen_query_options *options = &out->each[reader->index++];

        *options = reader->request->options;
        omen_query_options_set_given(options, dim, out->dim);
    }
    return ok;
}
