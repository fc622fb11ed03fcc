/* decode_insert.c - an InsertRequest into an omen_chunk: vectors go from the slices into the
 * chunk's own rows in one copy.
 *
 * Happy path: the message holds one Chunk; each point gets a row, each PointColumns a block of
 * rows. A column block is walked twice, because the number of its rows must be known before they
 * are read, whatever the order of its fields.
 *
 * Failure modes: a point whose vector or id does not fit is refused by itself (an item error); a
 * message that does not parse, says nothing, or holds more points than a record fails as a whole.
 */
#include "service/decode.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "omendb/v1/vector.pb.h"
#include "service/wire.h"

struct chunk_decoder {
    const struct omen_insert_target *target;
    struct omen_insert_request *out;
    struct omen_fault *fault;
    uint32_t points_max; /* that one record holds */
    uint32_t index;      /* of the next point */
};

struct columns_head {
    uint32_t dim;
    uint64_t ids;
    uint64_t bytes;
};

static bool decode_open(pb_istream_t *stream, struct omen_insert_open *open,
                        struct omen_fault *fault);
static bool decode_chunk(pb_istream_t *stream, struct chunk_decoder *decoder);
static bool create_chunk(struct chunk_decoder *decoder, size_t message_bytes);
static bool decode_point(pb_istream_t *stream, struct chunk_decoder *decoder);
static bool decode_columns(pb_istream_t *stream, struct chunk_decoder *decoder);

static void fault_broken(struct omen_fault *fault, const pb_istream_t *stream, size_t total)
{
    if (fault->code != OMEN_OK) return; /* somebody has said it better */
    (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
                         "not a valid InsertRequest: %s near byte %zu of %zu", PB_GET_ERROR(stream),
                         total - stream->bytes_left, total);
}

omen_code omen_decode_insert(const omen_message *message, const struct omen_insert_target *target,
                             struct omen_insert_request *out, struct omen_fault *fault)
{
    struct chunk_decoder decoder = {.target = target, .out = out, .fault = fault};
    struct omen_cursor cursor;
    pb_istream_t stream = omen_wire_open(&cursor, message);
    size_t total = stream.bytes_left;
    struct omen_field field;
    uint32_t bodies = 0;
    bool ok = true;

    memset(out, 0, sizeof *out);
    fault->code = OMEN_OK;
    while (ok && omen_wire_next(&stream, &field)) {
        pb_istream_t inner;

        if (field.tag <= omendb_v1_InsertRequest_flush_tag && ++bodies > 1) {
            (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", "body",
                                 "a message holds one of open, chunk and flush, this one several");
            break;
        }
        if (field.tag == omendb_v1_InsertRequest_open_tag) {
            out->kind = OMEN_INSERT_OPEN;
            ok = omen_wire_enter(&stream, &field, &inner) &&
                 omen_wire_leave(&stream, &inner, decode_open(&inner, &out->open, fault));
        } else if (field.tag == omendb_v1_InsertRequest_chunk_tag) {
            out->kind = OMEN_INSERT_CHUNK;
            ok = omen_wire_enter(&stream, &field, &inner) && create_chunk(&decoder, total) &&
                 omen_wire_leave(&stream, &inner, decode_chunk(&inner, &decoder));
        } else {
            if (field.tag == omendb_v1_InsertRequest_flush_tag) out->kind = OMEN_INSERT_FLUSH;
            ok = omen_wire_skip(&stream, &field);
        }
    }
    out->points = decoder.index;
    if (!ok || field.broken)
        fault_broken(fault, &stream, total);
    else if (bodies == 0)
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", "body",
                             "the message of %zu bytes holds no open, chunk or flush", total);
    if (fault->code != OMEN_OK) {
        omen_chunk_destroy(out->chunk);
        out->chunk = NULL;
    }
    return fault->code;
}

/* ---- Open --------------------------------------------------------------------------------- */

/* A text without NUL bytes and shorter than `room`. */
static bool read_text(pb_istream_t *stream, const struct omen_field *field, char *out, size_t room,
                      const char *name, struct omen_fault *fault)
{
    size_t length = 0;

    if (!omen_wire_bytes(stream, field, out, room - 1, &length)) return false;
    if (length >= room) {
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_LIMIT", name,
                             "%s has %zu bytes, the limit is %zu", name, length, room - 1);
        return false;
    }
    out[length] = '\0';
    if (strlen(out) != length) {
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", name,
                             "%s holds a NUL byte at offset %zu", name, strlen(out));
        return false;
    }
    return true;
}

static bool read_session_id(pb_istream_t *stream, const struct omen_field *field, uint8_t *out,
                            struct omen_fault *fault)
{
    static const uint8_t zeros[OMEN_SESSION_ID_BYTES];
    size_t length = 0;

    if (!omen_wire_bytes(stream, field, out, OMEN_SESSION_ID_BYTES, &length)) return false;
    if (length == 0 || (length == OMEN_SESSION_ID_BYTES && memcmp(out, zeros, sizeof zeros) != 0))
        return true;
    (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_SESSION_ID", "open.session_id",
                         "open.session_id has %zu bytes%s, it must have %u and not all zero",
                         length, length == OMEN_SESSION_ID_BYTES ? " of zero" : "",
                         OMEN_SESSION_ID_BYTES);
    return false;
}

static bool check_mode(uint32_t mode, struct omen_fault *fault)
{
    if (mode >= OMEN_WRITE_INSERT_ONLY && mode <= OMEN_WRITE_UPDATE_ONLY) return true;
    (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MODE", "open.mode",
                         mode == 0 ? "open.mode is not set (%u): say INSERT_ONLY, UPSERT or "
                                     "UPDATE_ONLY"
                                   : "open.mode is %u, it must be 1, 2 or 3",
                         mode);
    return false;
}

static bool decode_open(pb_istream_t *stream, struct omen_insert_open *open,
                        struct omen_fault *fault)
{
    struct omen_field field;
    uint32_t mode = 0;
    bool ok = true;

    while (ok && omen_wire_next(stream, &field)) {
        switch (field.tag) {
        case omendb_v1_Open_collection_tag:
            ok = read_text(stream, &field, open->collection, sizeof open->collection,
                           "open.collection", fault);
            break;
        case omendb_v1_Open_session_id_tag:
            ok = read_session_id(stream, &field, open->session_id, fault);
            break;
        case omendb_v1_Open_mode_tag:
            ok = omen_wire_uint32(stream, &field, &mode);
            break;
        case omendb_v1_Open_client_name_tag:
            ok = read_text(stream, &field, open->client_name, sizeof open->client_name,
                           "open.client_name", fault);
            break;
        default:
            ok = omen_wire_skip(stream, &field);
        }
    }
    if (!ok || field.broken || !check_mode(mode, fault)) return false;
    open->mode = (omen_write_mode)mode;
    return true;
}

/* ---- Chunk -------------------------------------------------------------------------------- */

/* See decode.h. The record grows evenly with every four points, because their indexes are padded
 * to 8 bytes. */
uint32_t omen_chunk_points_max(uint32_t dim)
{
    size_t empty = omen_chunk_record_bytes(0, dim);
    size_t four = omen_chunk_record_bytes(4, dim) - empty;
    uint32_t points = (uint32_t)((OMEN_RECORD_BYTES_MAX - empty) / four) * 4 + 3;

    while (omen_chunk_record_bytes(points, dim) > OMEN_RECORD_BYTES_MAX)
        points--;
    return points;
}

/* The chunk gets as many rows as the message can fill, and not more than a record holds. */
static bool create_chunk(struct chunk_decoder *decoder, size_t message_bytes)
{
    const struct omen_insert_target *target = decoder->target;

    if (target->stream == NULL) {
        (void)omen_fault_set(decoder->fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", "body",
                             "the first message of a stream must be open, this one is chunk");
        return false;
    }
    decoder->points_max = omen_chunk_points_max(target->dim);
    size_t rows = message_bytes / (target->dim * sizeof(float)) + 1;
    if (rows > decoder->points_max) rows = decoder->points_max;
    decoder->fault->code = omen_chunk_create(target->stream, (uint32_t)rows, &decoder->out->chunk,
                                             &decoder->fault->error);
    return decoder->fault->code == OMEN_OK;
}

/* `points` is more than points_max, and not more than the message has bytes. */
static bool fault_too_large(const struct chunk_decoder *decoder, uint64_t points)
{
    uint32_t dim = decoder->target->dim;

    (void)omen_fault_set(decoder->fault, OMEN_INVALID_ARGUMENT, "TOO_LARGE", "chunk",
                         "chunk %" PRIu64 " holds %" PRIu64 " points or more: as a record "
                         "%zu bytes, the limit is %u (%u points of dimension %u)",
                         decoder->out->seq, points, omen_chunk_record_bytes((uint32_t)points, dim),
                         OMEN_RECORD_BYTES_MAX, decoder->points_max, dim);
    return false;
}

static bool decode_chunk(pb_istream_t *stream, struct chunk_decoder *decoder)
{
    struct omen_field field;
    bool ok = true;

    while (ok && omen_wire_next(stream, &field)) {
        pb_istream_t inner;

        switch (field.tag) {
        case omendb_v1_Chunk_seq_tag:
            ok = omen_wire_uint64(stream, &field, &decoder->out->seq);
            break;
        case omendb_v1_Chunk_points_tag:
            ok = omen_wire_enter(stream, &field, &inner) &&
                 omen_wire_leave(stream, &inner, decode_point(&inner, decoder));
            break;
        case omendb_v1_Chunk_columns_tag:
            ok = omen_wire_enter(stream, &field, &inner) &&
                 omen_wire_leave(stream, &inner, decode_columns(&inner, decoder));
            break;
        default:
            ok = omen_wire_skip(stream, &field);
        }
    }
    if (!ok || field.broken) return false;
    if (decoder->out->seq == 0) {
        (void)omen_fault_set(decoder->fault, OMEN_INVALID_ARGUMENT, "SEQUENCE_GAP", "chunk.seq",
                             "chunk.seq is 0, the first chunk of a session is 1");
        return false;
    }
    return true;
}

/* ---- points one by one -------------------------------------------------------------------- */

enum id_kind { ID_MISSING, ID_NUMBER, ID_KEY };

static bool decode_id(pb_istream_t *stream, enum id_kind *kind, uint64_t *number)
{
    struct omen_field field;
    bool ok = true;

    while (ok && omen_wire_next(stream, &field)) {
        if (field.tag == omendb_v1_PointId_num_tag) {
            *kind = ID_NUMBER;
            ok = omen_wire_uint64(stream, &field, number);
        } else {
            if (field.tag == omendb_v1_PointId_key_tag) {
                *kind = ID_KEY;
                *number = 0;
            }
            ok = omen_wire_skip(stream, &field);
        }
    }
    return ok && !field.broken;
}

static bool decode_point(pb_istream_t *stream, struct chunk_decoder *decoder)
{
    omen_chunk *chunk = decoder->out->chunk;
    struct omen_wire_vector vector = {.dim = decoder->target->dim};
    enum id_kind kind = ID_MISSING;
    uint64_t id = 0;
    uint32_t index = decoder->index++;
    struct omen_field field;
    bool ok = true;

    if (index >= decoder->points_max) return fault_too_large(decoder, (uint64_t)index + 1);
    vector.row = omen_chunk_row(chunk);
    while (ok && omen_wire_next(stream, &field)) {
        pb_istream_t inner;

        if (field.tag == omendb_v1_Point_id_tag)
            ok = omen_wire_enter(stream, &field, &inner) &&
                 omen_wire_leave(stream, &inner, decode_id(&inner, &kind, &id));
        else if (field.tag == omendb_v1_Point_vector_tag)
            ok = omen_wire_enter(stream, &field, &inner) &&
                 omen_wire_leave(stream, &inner, omen_wire_vector_read(&inner, &vector));
        else
            ok = omen_wire_skip(stream, &field);
    }
    if (!ok || field.broken) return false;

    uint32_t given = vector.components > UINT32_MAX ? UINT32_MAX : (uint32_t)vector.components;
    if (kind == ID_MISSING)
        omen_chunk_refuse(chunk, index, 0, OMEN_REFUSED_ID_MISSING, 0);
    else if (kind == ID_KEY)
        omen_chunk_refuse(chunk, index, 0, OMEN_REFUSED_ID_KIND, 0);
    else if (given != vector.dim)
        omen_chunk_refuse(chunk, index, id, OMEN_REFUSED_DIMENSION, given);
    else if (vector.row == NULL)
        return fault_too_large(decoder, (uint64_t)index + 1);
    else
        omen_chunk_add(chunk, index, id);
    return true;
}

/* ---- points in columns -------------------------------------------------------------------- */

/* Reads the ids of one field, a packed run or a single one, into ids[head->ids...] while there is
 * room, and counts them all. */
static bool read_ids(pb_istream_t *stream, const struct omen_field *field, uint64_t *ids,
                     uint32_t room, uint64_t *count)
{
    pb_istream_t inner;
    bool ok = true;
    uint64_t id = 0;

    if (field->type == PB_WT_VARINT) {
        if (!omen_wire_uint64(stream, field, &id)) return false;
        if (*count < room) ids[*count] = id;
        ++*count;
        return true;
    }
    if (!omen_wire_enter(stream, field, &inner)) return false;
    while (ok && inner.bytes_left > 0) {
        ok = pb_decode_varint(&inner, &id);
        if (*count < room) ids[*count] = id;
        ++*count;
    }
    return omen_wire_leave(stream, &inner, ok);
}

/* The first walk: how many ids and bytes there are. */
static bool read_head(pb_istream_t *stream, uint64_t *ids, uint32_t room, struct columns_head *head)
{
    struct omen_field field;
    bool ok = true;

    while (ok && omen_wire_next(stream, &field)) {
        size_t length = 0;

        switch (field.tag) {
        case omendb_v1_PointColumns_dim_tag:
            ok = omen_wire_uint32(stream, &field, &head->dim);
            break;
        case omendb_v1_PointColumns_ids_tag:
            ok = read_ids(stream, &field, ids, room, &head->ids);
            break;
        case omendb_v1_PointColumns_vectors_f32_le_tag:
            ok = omen_wire_bytes(stream, &field, NULL, 0, &length);
            head->bytes += length;
            break;
        default:
            ok = omen_wire_skip(stream, &field);
        }
    }
    return ok && !field.broken;
}

/* The second walk: the vectors, into their rows. The first has checked every length. */
static bool read_rows(pb_istream_t *stream, float *rows)
{
    pb_byte_t *at = (pb_byte_t *)rows;
    struct omen_field field;
    bool ok = true;

    while (ok && omen_wire_next(stream, &field)) {
        if (field.tag == omendb_v1_PointColumns_vectors_f32_le_tag) {
            size_t length = 0;
            ok = omen_wire_bytes(stream, &field, at, SIZE_MAX, &length);
            at += length;
        } else {
            ok = omen_wire_skip(stream, &field);
        }
    }
    return ok && !field.broken;
}

static bool check_head(const struct columns_head *head, const struct chunk_decoder *decoder)
{
    uint64_t wanted = head->ids * head->dim * sizeof(float);

    if (head->ids > decoder->points_max - decoder->index)
        return fault_too_large(decoder, decoder->index + head->ids);
    if (wanted == head->bytes) return true;
    (void)omen_fault_set(decoder->fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE",
                         "chunk.columns.vectors_f32_le",
                         "chunk.columns.vectors_f32_le has %" PRIu64 " bytes, but %" PRIu64
                         " ids of dimension %u need %" PRIu64,
                         head->bytes, head->ids, head->dim, wanted);
    return false;
}

static bool decode_columns(pb_istream_t *stream, struct chunk_decoder *decoder)
{
    omen_chunk *chunk = decoder->out->chunk;
    pb_istream_t again = *stream;
    struct omen_cursor start = *(struct omen_cursor *)stream->state;
    struct columns_head head = {0};
    uint32_t first = decoder->index;
    uint32_t room = decoder->points_max - first;
    uint64_t *ids = malloc((room + 1) * sizeof *ids);
    bool ok = false;

    if (ids == NULL) {
        (void)omen_fault_set(decoder->fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the ids of a chunk");
        goto done;
    }
    ok = read_head(stream, ids, room, &head) && check_head(&head, decoder);
    if (!ok || head.ids == 0) goto done;

    uint32_t count = (uint32_t)head.ids;
    decoder->index += count;
    if (head.dim != decoder->target->dim) {
        for (uint32_t i = 0; i < count; i++)
            omen_chunk_refuse(chunk, first + i, ids[i], OMEN_REFUSED_DIMENSION, head.dim);
        goto done;
    }
    float *rows = omen_chunk_rows(chunk, count);
    if (rows == NULL) {
        ok = fault_too_large(decoder, decoder->index);
        goto done;
    }
    again.state = &start;
    ok = read_rows(&again, rows);
    omen_chunk_add_many(chunk, count, first, ids);

done:
    free(ids);
    return ok;
}
