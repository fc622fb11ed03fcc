/* wire.c - see wire.h.
 *
 * nanopb's generated decoder would call a function for each float; its primitives let a whole array
 * be one pb_read(), which is a memcpy from the slices. Little-endian machines only, asserted below.
 *
 * Failure modes: a field that is cut off, or of the wrong wire type, is "broken" and ends the
 * reading; what is merely wrong (too long, too many) is measured and left to the caller's sentence.
 */
#include "service/wire.h"

#include <string.h>

#include "omendb/v1/vector.pb.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "floats are copied as they come");

static bool cursor_read(pb_istream_t *stream, pb_byte_t *buffer, size_t count);
static bool read_floats(pb_istream_t *stream, struct omen_wire_vector *vector);
static bool append_float(pb_istream_t *stream, struct omen_wire_vector *vector);
static bool append_run(pb_istream_t *stream, struct omen_wire_vector *vector);
static bool append_floats(pb_istream_t *stream, struct omen_wire_vector *vector);

pb_istream_t omen_wire_open(struct omen_cursor *cursor, const omen_message *message)
{
    *cursor = (struct omen_cursor){.message = message};
    return (pb_istream_t){
        .callback = cursor_read, .state = cursor, .bytes_left = omen_message_bytes(message)};
}

/* nanopb's callback: `buffer` NULL skips. nanopb has checked bytes_left. */
static bool cursor_read(pb_istream_t *stream, pb_byte_t *buffer, size_t count)
{
    struct omen_cursor *cursor = stream->state;

    while (count > 0) {
        if (cursor->left == 0) {
            if (!omen_message_slice(cursor->message, cursor->index, &cursor->at, &cursor->left))
                return false;
            cursor->index++;
            continue;
        }
        size_t step = count < cursor->left ? count : cursor->left;
        if (buffer != NULL) {
            memcpy(buffer, cursor->at, step);
            buffer += step;
        }
        cursor->at += step;
        cursor->left -= step;
        count -= step;
    }
    return true;
}

/* Skips `count` bytes in the slices, without nanopb's loop over a small buffer. */
static bool advance(pb_istream_t *stream, size_t count)
{
    if (stream->bytes_left < count) PB_RETURN_ERROR(stream, "end of message");
    if (!cursor_read(stream, NULL, count)) PB_RETURN_ERROR(stream, "end of message");
    stream->bytes_left -= count;
    return true;
}

struct omen_wire_mark omen_wire_mark(const pb_istream_t *stream)
{
    return (struct omen_wire_mark){*stream, *(const struct omen_cursor *)stream->state};
}

pb_istream_t *omen_wire_again(struct omen_wire_mark *mark)
{
    mark->stream.state = &mark->cursor;
    return &mark->stream;
}

bool omen_wire_next(pb_istream_t *stream, struct omen_field *field)
{
    bool end = false;

    field->broken = false;
    if (stream->bytes_left == 0) return false;
    if (!pb_decode_tag(stream, &field->type, &field->tag, &end) || field->tag == 0) {
        field->broken = true;
        if (stream->errmsg == NULL) stream->errmsg = "field number 0";
        return false;
    }
    return true;
}

bool omen_wire_enter(pb_istream_t *stream, const struct omen_field *field, pb_istream_t *inner)
{
    if (field->type != PB_WT_STRING) PB_RETURN_ERROR(stream, "wrong wire type");
    return pb_make_string_substream(stream, inner);
}

bool omen_wire_leave(pb_istream_t *stream, pb_istream_t *inner, bool ok)
{
    if (ok && advance(inner, inner->bytes_left)) return pb_close_string_substream(stream, inner);
    if (stream->errmsg == NULL) stream->errmsg = inner->errmsg;
    return false;
}

bool omen_wire_skip(pb_istream_t *stream, const struct omen_field *field)
{
    uint32_t length = 0;

    if (field->type != PB_WT_STRING) return pb_skip_field(stream, field->type);
    return pb_decode_varint32(stream, &length) && advance(stream, length);
}

bool omen_wire_uint64(pb_istream_t *stream, const struct omen_field *field, uint64_t *out)
{
    if (field->type != PB_WT_VARINT) PB_RETURN_ERROR(stream, "wrong wire type");
    return pb_decode_varint(stream, out);
}

bool omen_wire_uint32(pb_istream_t *stream, const struct omen_field *field, uint32_t *out)
{
    uint64_t value = 0;

    if (!omen_wire_uint64(stream, field, &value)) return false;
    *out = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
    return true;
}

bool omen_wire_bool(pb_istream_t *stream, const struct omen_field *field, bool *out)
{
    uint64_t value = 0;

    if (!omen_wire_uint64(stream, field, &value)) return false;
    *out = value != 0;
    return true;
}

bool omen_wire_bytes(pb_istream_t *stream, const struct omen_field *field, void *out, size_t room,
                     size_t *length)
{
    pb_istream_t inner;

    if (!omen_wire_enter(stream, field, &inner)) return false;
    *length = inner.bytes_left;
    return omen_wire_leave(stream, &inner, pb_read(&inner, out, *length < room ? *length : room));
}

/* ---- vectors ------------------------------------------------------------------------------ */

/* The two ways are a oneof: of two, the last counts; but two FloatVectors are merged, as protobuf
 * says of messages, and so their values follow one another. */
bool omen_wire_vector_read(pb_istream_t *stream, struct omen_wire_vector *vector)
{
    struct omen_field field;
    uint32_t last = 0;

    while (omen_wire_next(stream, &field)) {
        pb_istream_t inner;
        bool ok = false;

        if (field.tag != last && (field.tag == omendb_v1_Vector_f32_le_tag ||
                                  field.tag == omendb_v1_Vector_floats_tag)) {
            vector->components = 0;
            last = field.tag;
        }
        if (field.tag == omendb_v1_Vector_f32_le_tag) {
            vector->components = 0;
            ok = omen_wire_enter(stream, &field, &inner) &&
                 omen_wire_leave(stream, &inner, append_floats(&inner, vector));
        } else if (field.tag == omendb_v1_Vector_floats_tag) {
            ok = omen_wire_enter(stream, &field, &inner) &&
                 omen_wire_leave(stream, &inner, read_floats(&inner, vector));
        } else {
            ok = omen_wire_skip(stream, &field);
        }
        if (!ok) return false;
    }
    return !field.broken;
}

static bool read_floats(pb_istream_t *stream, struct omen_wire_vector *vector)
{
    struct omen_field field;

    while (omen_wire_next(stream, &field)) {
        pb_istream_t inner;
        bool ok = false;

        if (field.tag != omendb_v1_FloatVector_values_tag)
            ok = omen_wire_skip(stream, &field);
        else if (field.type == PB_WT_32BIT)
            ok = append_float(stream, vector);
        else
            ok = omen_wire_enter(stream, &field, &inner) &&
                 omen_wire_leave(stream, &inner, append_run(&inner, vector));
        if (!ok) return false;
    }
    return !field.broken;
}

static bool append_float(pb_istream_t *stream, struct omen_wire_vector *vector)
{
    float value = 0;

    if (!pb_decode_fixed32(stream, &value)) return false;
    if (vector->row != NULL && vector->components < vector->dim)
        vector->row[vector->components] = value;
    vector->components++;
    return true;
}

/* A run of the readable form that ends inside a float is no protobuf. */
static bool append_run(pb_istream_t *stream, struct omen_wire_vector *vector)
{
    if (stream->bytes_left % sizeof(float) != 0)
        PB_RETURN_ERROR(stream, "packed floats end inside one");
    return append_floats(stream, vector);
}

/* Takes all that is left of the stream. */
static bool append_floats(pb_istream_t *stream, struct omen_wire_vector *vector)
{
    size_t bytes = stream->bytes_left;
    uint64_t before = vector->components;
    size_t count = bytes / sizeof(float);

    vector->components = before + count;
    /* A part of a component is too few or too many, but never enough: it would leave a component
     * that nobody wrote, or be forgotten. */
    if (bytes % sizeof(float) != 0 && vector->components == vector->dim) vector->components++;
    if (vector->row == NULL || before >= vector->dim || count > vector->dim - before)
        return advance(stream, bytes);
    if (!pb_read(stream, (pb_byte_t *)(vector->row + before), count * sizeof(float))) return false;
    return advance(stream, stream->bytes_left);
}
