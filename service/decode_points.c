/* decode_points.c - see decode_points.h: vectors go from the slices into the chunk's own rows in
 * one copy.
 *
 * Happy path: each point gets a row, each PointColumns a block of rows. A column block is walked
 * twice, because the number of its rows must be known before they are read, whatever the order of
 * its fields.
 *
 * Failure modes: an item whose vector or id does not fit is refused by itself; a message that does
 * not parse, or holds more than a record does, fails as a whole. Nothing is kept for more items
 * than an item error can number, however little room each takes in the message.
 */
#include "service/decode_points.h"

#include <inttypes.h>
#include <stdlib.h>

#include "omendb/v1/vector.pb.h"
#include "service/decode_fields.h"

#define ITEMS_MAX 65536u /* an item's index has 16 bits */

struct columns_head {
    uint32_t dim;
    uint32_t ttl_s;
    uint64_t ids;
    uint64_t bytes;
};

static bool create_chunk(struct omen_points_reader *reader, size_t message_bytes);
static bool read_items(struct omen_points_reader *reader, pb_istream_t *stream, uint32_t tag,
                       bool *more);
static bool read_point(pb_istream_t *stream, struct omen_points_reader *reader);
static bool read_columns(pb_istream_t *stream, struct omen_points_reader *reader);
static bool read_delete(pb_istream_t *stream, const struct omen_field *field,
                        struct omen_points_reader *reader);
static bool check_record(const struct omen_points_reader *reader);

/* The record grows evenly with every four points, because their indexes are padded to 8 bytes. */
uint32_t omen_chunk_points_max(uint32_t dim)
{
    size_t empty = omen_chunk_record_bytes(0, dim);
    size_t four = omen_chunk_record_bytes(4, dim) - empty;
    uint32_t points = (uint32_t)((OMEN_RECORD_BYTES_MAX - empty) / four) * 4 + 3;

    while (omen_chunk_record_bytes(points, dim) > OMEN_RECORD_BYTES_MAX)
        points--;
    return points;
}

bool omen_points_read(struct omen_points_reader *reader, const struct omen_wire_mark *mark,
                      pb_istream_t *out_stream)
{
    const uint32_t tags[] = {reader->tags->points, reader->tags->columns, reader->tags->deletes};
    bool ok = create_chunk(reader, mark->stream.bytes_left);

    *out_stream = mark->stream;
    for (size_t i = 0; ok && i < sizeof tags / sizeof *tags; i++) {
        struct omen_wire_mark copy = *mark;
        pb_istream_t *stream = omen_wire_again(&copy);
        bool more = false;

        if (tags[i] == 0) continue;
        ok = read_items(reader, stream, tags[i], &more);
        out_stream->bytes_left = stream->bytes_left;
        out_stream->errmsg = stream->errmsg;
        if (i < 2) reader->points = reader->index;
        if (!more) break;
    }
    return ok && check_record(reader);
}

/* The chunk gets as many rows as the message can fill, and not more than a record holds. */
static bool create_chunk(struct omen_points_reader *reader, size_t message_bytes)
{
    const struct omen_points_target *target = reader->target;
    size_t rows = message_bytes / (target->dim * sizeof(float)) + 1;

    reader->points_max = omen_chunk_points_max(target->dim);
    if (rows > reader->points_max) rows = reader->points_max;
    reader->fault->code =
        omen_chunk_create(target->stream, (uint32_t)rows, &reader->chunk, &reader->fault->error);
    return reader->fault->code == OMEN_OK;
}

/* Reads the fields of one tag, and says whether others of ours come, before or after. */
static bool read_items(struct omen_points_reader *reader, pb_istream_t *stream, uint32_t tag,
                       bool *more)
{
    const struct omen_points_tags *tags = reader->tags;
    struct omen_field field;
    bool ok = true;

    while (ok && omen_wire_next(stream, &field)) {
        pb_istream_t inner;

        if (field.tag != tag) {
            *more = *more || field.tag == tags->columns || field.tag == tags->deletes;
            ok = omen_wire_skip(stream, &field);
        } else if (tag == tags->deletes) {
            ok = read_delete(stream, &field, reader);
        } else if (tag == tags->columns) {
            ok = omen_wire_enter(stream, &field, &inner) &&
                 omen_wire_leave(stream, &inner, read_columns(&inner, reader));
        } else {
            ok = omen_wire_enter(stream, &field, &inner) &&
                 omen_wire_leave(stream, &inner, read_point(&inner, reader));
        }
    }
    return ok && !field.broken;
}

/* ---- limits ------------------------------------------------------------------------------- */

/* `points` is more than points_max, and not more than the message has bytes. */
static bool fault_too_many(const struct omen_points_reader *reader, uint64_t points)
{
    uint32_t dim = reader->target->dim;

    (void)omen_fault_set(reader->fault, OMEN_INVALID_ARGUMENT, "TOO_LARGE", NULL,
                         "%s holds %" PRIu64 " points or more: as a record "
                         "%zu bytes, the limit is %u (%u points of dimension %u)",
                         reader->subject, points, omen_chunk_record_bytes((uint32_t)points, dim),
                         OMEN_RECORD_BYTES_MAX, reader->points_max, dim);
    return false;
}

static bool check_items(const struct omen_points_reader *reader)
{
    if (reader->index < ITEMS_MAX) return true;
    (void)omen_fault_set(reader->fault, OMEN_INVALID_ARGUMENT, "TOO_LARGE", NULL,
                         "%s holds more than %u points and deletes, which is the limit",
                         reader->subject, ITEMS_MAX);
    return false;
}

/* What keys, deletes and times to live add is known only now. */
static bool check_record(const struct omen_points_reader *reader)
{
    size_t bytes = omen_chunk_bytes(reader->chunk);

    if (bytes <= OMEN_RECORD_BYTES_MAX) return true;
    (void)omen_fault_set(reader->fault, OMEN_INVALID_ARGUMENT, "TOO_LARGE", NULL,
                         "%s holds %u points and %u deletes: as a record %zu bytes, the limit is "
                         "%u",
                         reader->subject, reader->points, reader->index - reader->points, bytes,
                         OMEN_RECORD_BYTES_MAX);
    return false;
}

/* ---- points one by one, deletes ----------------------------------------------------------- */

static bool read_point(pb_istream_t *stream, struct omen_points_reader *reader)
{
    struct omen_wire_vector vector = {.dim = reader->target->dim};
    struct omen_given_id id = {.refusal = OMEN_REFUSED_ID_MISSING};
    uint32_t index = reader->index;
    uint32_t ttl_s = 0;
    struct omen_field field;
    bool ok = true;

    if (index >= reader->points_max) return fault_too_many(reader, (uint64_t)index + 1);
    if (!check_items(reader)) return false;
    reader->index++;
    vector.row = omen_chunk_row(reader->chunk);
    while (ok && omen_wire_next(stream, &field)) {
        pb_istream_t inner;

        if (field.tag == omendb_v1_Point_id_tag)
            ok = omen_decode_id(stream, &field, &id);
        else if (field.tag == omendb_v1_Point_vector_tag)
            ok = omen_wire_enter(stream, &field, &inner) &&
                 omen_wire_leave(stream, &inner, omen_wire_vector_read(&inner, &vector));
        else if (field.tag == omendb_v1_Point_ttl_s_tag)
            ok = omen_wire_uint32(stream, &field, &ttl_s);
        else
            ok = omen_wire_skip(stream, &field);
    }
    if (!ok || field.broken) return false;

    uint32_t given = vector.components > UINT32_MAX ? UINT32_MAX : (uint32_t)vector.components;
    if (id.refusal != 0)
        omen_chunk_refuse(reader->chunk, index, NULL, id.refusal, id.detail);
    else if (given != vector.dim)
        omen_chunk_refuse(reader->chunk, index, &id.id, OMEN_REFUSED_DIMENSION, given);
    else if (vector.row == NULL)
        return fault_too_many(reader, (uint64_t)index + 1);
    else
        omen_chunk_add(reader->chunk, index, &id.id, ttl_s);
    return true;
}

static bool read_delete(pb_istream_t *stream, const struct omen_field *field,
                        struct omen_points_reader *reader)
{
    struct omen_given_id id = {.refusal = OMEN_REFUSED_ID_MISSING};

    if (!check_items(reader) || !omen_decode_id(stream, field, &id)) return false;
    if (id.refusal != 0)
        omen_chunk_refuse(reader->chunk, reader->index++, NULL, id.refusal, id.detail);
    else
        omen_chunk_delete(reader->chunk, reader->index++, &id.id);
    return true;
}

/* ---- points in columns -------------------------------------------------------------------- */

/* Reads the ids of one field, a packed run or a single one, into ids[*count...] while there is
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
        case omendb_v1_PointColumns_ttl_s_tag:
            ok = omen_wire_uint32(stream, &field, &head->ttl_s);
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

static bool check_head(const struct columns_head *head, const struct omen_points_reader *reader)
{
    uint64_t wanted = head->ids * head->dim * sizeof(float);
    char name[OMEN_FIELD_MAX];

    if (head->ids > reader->points_max - reader->index)
        return fault_too_many(reader, reader->index + head->ids);
    if (wanted == head->bytes) return true;
    (void)snprintf(name, sizeof name, "%s.vectors_f32_le", reader->columns);
    (void)omen_fault_set(reader->fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", name,
                         "%s has %" PRIu64 " bytes, but %" PRIu64
                         " ids of dimension %u need %" PRIu64,
                         name, head->bytes, head->ids, head->dim, wanted);
    return false;
}

static void refuse_columns(const struct omen_points_reader *reader, const uint64_t *ids,
                           uint32_t first, const struct columns_head *head)
{
    for (uint32_t i = 0; i < head->ids; i++) {
        struct omen_id id = omen_id_num(ids[i]);

        omen_chunk_refuse(reader->chunk, first + i, &id, OMEN_REFUSED_DIMENSION, head->dim);
    }
}

static bool read_columns(pb_istream_t *stream, struct omen_points_reader *reader)
{
    struct omen_wire_mark again = omen_wire_mark(stream);
    struct columns_head head = {0};
    uint32_t first = reader->index;
    uint32_t room = reader->points_max - first;
    uint64_t *ids = malloc((room + 1) * sizeof *ids);
    bool ok = false;

    if (ids == NULL) {
        (void)omen_fault_set(reader->fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the ids of a chunk");
        goto done;
    }
    ok = read_head(stream, ids, room, &head) && check_head(&head, reader);
    if (!ok || head.ids == 0) goto done;

    uint32_t count = (uint32_t)head.ids;
    reader->index += count;
    if (head.dim != reader->target->dim) {
        refuse_columns(reader, ids, first, &head);
        goto done;
    }
    float *rows = omen_chunk_rows(reader->chunk, count);
    if (rows == NULL) {
        ok = fault_too_many(reader, reader->index);
        goto done;
    }
    ok = read_rows(omen_wire_again(&again), rows);
    omen_chunk_add_many(reader->chunk, count, first, ids, head.ttl_s);

done:
    free(ids);
    return ok;
}
