/* decode_insert.c - an InsertRequest: an Open, a Flush, or a Chunk, whose points are
 * decode_points.c's.
 */
#include "service/decode.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "omendb/v1/vector.pb.h"
#include "service/decode_fields.h"
#include "service/decode_points.h"
#include "service/wire.h"

static bool decode_open(pb_istream_t *stream, struct omen_insert_open *open,
                        struct omen_fault *fault);
static bool decode_chunk(pb_istream_t *stream, const struct omen_points_target *target,
                         struct omen_insert_request *out, struct omen_fault *fault);

omen_code omen_decode_insert(const omen_message *message, const struct omen_points_target *target,
                             struct omen_insert_request *out, struct omen_fault *fault)
{
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
            ok = omen_wire_enter(&stream, &field, &inner) &&
                 omen_wire_leave(&stream, &inner, decode_chunk(&inner, target, out, fault));
        } else {
            if (field.tag == omendb_v1_InsertRequest_flush_tag) out->kind = OMEN_INSERT_FLUSH;
            ok = omen_wire_skip(&stream, &field);
        }
    }
    if (!ok || field.broken)
        omen_decode_fault_broken(fault, &stream, total, "InsertRequest");
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

omen_code omen_mode_check(uint32_t mode, const char *field, struct omen_fault *fault)
{
    if (mode >= OMEN_WRITE_INSERT_ONLY && mode <= OMEN_WRITE_UPDATE_ONLY) return OMEN_OK;
    return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MODE", field,
                          mode == 0 ? "%s is not set (%u): say INSERT_ONLY, UPSERT or UPDATE_ONLY"
                                    : "%s is %u, it must be 1, 2 or 3",
                          field, mode);
}

static bool read_incarnation(pb_istream_t *stream, const struct omen_field *field,
                             struct omen_insert_open *open, struct omen_fault *fault)
{
    size_t length = 0;

    if (!omen_wire_bytes(stream, field, open->incarnation, OMEN_INCARNATION_BYTES, &length))
        return false;
    open->has_incarnation = length > 0;
    if (length == 0 || length == OMEN_INCARNATION_BYTES) return true;
    (void)omen_fault_token(fault, "open.incarnation", length);
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
        case omendb_v1_Open_errors_seen_seq_tag:
            ok = omen_wire_uint64(stream, &field, &open->errors_seen_seq);
            break;
        case omendb_v1_Open_incarnation_tag:
            ok = read_incarnation(stream, &field, open, fault);
            break;
        default:
            ok = omen_wire_skip(stream, &field);
        }
    }
    if (!ok || field.broken || omen_mode_check(mode, "open.mode", fault) != OMEN_OK) return false;
    open->mode = (omen_write_mode)mode;
    return true;
}

/* ---- Chunk -------------------------------------------------------------------------------- */

static bool read_seq(pb_istream_t *stream, uint64_t *seq)
{
    struct omen_field field;
    bool ok = true;

    while (ok && omen_wire_next(stream, &field))
        ok = field.tag == omendb_v1_Chunk_seq_tag ? omen_wire_uint64(stream, &field, seq)
                                                  : omen_wire_skip(stream, &field);
    return ok && !field.broken;
}

static bool decode_chunk(pb_istream_t *stream, const struct omen_points_target *target,
                         struct omen_insert_request *out, struct omen_fault *fault)
{
    static const struct omen_points_tags tags = {
        omendb_v1_Chunk_points_tag, omendb_v1_Chunk_columns_tag, omendb_v1_Chunk_deletes_tag};
    struct omen_wire_mark mark = omen_wire_mark(stream);
    char subject[40];
    struct omen_points_reader reader = {.target = target,
                                        .tags = &tags,
                                        .subject = subject,
                                        .columns = "chunk.columns",
                                        .fault = fault};
    bool ok = true;

    if (target->stream == NULL) {
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", "body",
                             "the first message of a stream must be open, this one is chunk");
        return false;
    }
    if (!read_seq(stream, &out->seq)) return false;
    if (out->seq == 0) {
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "SEQUENCE_GAP", "chunk.seq",
                             "chunk.seq is 0, the first chunk of a session is 1");
        return false;
    }
    (void)snprintf(subject, sizeof subject, "chunk %" PRIu64, out->seq);
    ok = omen_points_read(&reader, &mark, stream);
    out->chunk = reader.chunk;
    out->points = reader.points;
    out->deletes = reader.index - reader.points;
    return ok;
}
