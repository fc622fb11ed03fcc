/* wire.h - reading protobuf fields straight from a message's slices, with nanopb's primitives.
 *
 * A reader walks a message once, front to back; it can be copied, and then starts again from where
 * the copy was taken. Bulk bytes are copied once, from the slices to where they are needed.
 */
#ifndef OMEN_WIRE_H
#define OMEN_WIRE_H

#include <pb_decode.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service/listener.h"

/* Where a reader stands in its message. */
struct omen_cursor {
    const omen_message *message;
    size_t index; /* of the slice after this one */
    const uint8_t *at;
    size_t left; /* of this slice */
};

/* A place to read from again; `stream` reads from `cursor`, which omen_wire_again() sees to. */
struct omen_wire_mark {
    pb_istream_t stream;
    struct omen_cursor cursor;
};

/* A field's head. */
struct omen_field {
    uint32_t tag;
    pb_wire_type_t type;
    bool broken; /* the message does not parse here; not the same as its end */
};

/* A stream over the whole message; `cursor` must live as long as it. */
pb_istream_t omen_wire_open(struct omen_cursor *cursor, const omen_message *message);

/* Marks where `stream` stands; and a stream from a mark, which must live as long as it and is used
 * up by it: copy the mark to read from it twice. */
struct omen_wire_mark omen_wire_mark(const pb_istream_t *stream);
pb_istream_t *omen_wire_again(struct omen_wire_mark *mark);

/* The next field of the (sub)message. False at its end, and where it is broken. */
bool omen_wire_next(pb_istream_t *stream, struct omen_field *field);

/* Enters a submessage or a run of bytes: read `inner`, then leave it, saying whether that went well
 * (what was not read is skipped). */
bool omen_wire_enter(pb_istream_t *stream, const struct omen_field *field, pb_istream_t *inner);
bool omen_wire_leave(pb_istream_t *stream, pb_istream_t *inner, bool ok);

/* Each reads the field's value and is false when it does not parse. */
bool omen_wire_skip(pb_istream_t *stream, const struct omen_field *field);
bool omen_wire_uint64(pb_istream_t *stream, const struct omen_field *field, uint64_t *out);
/* Larger values than 32 bits are cut off to UINT32_MAX, so that limits refuse them. */
bool omen_wire_uint32(pb_istream_t *stream, const struct omen_field *field, uint32_t *out);
bool omen_wire_bool(pb_istream_t *stream, const struct omen_field *field, bool *out);
/* The first `room` bytes go to `out`; *length is the whole length, which may be larger. */
bool omen_wire_bytes(pb_istream_t *stream, const struct omen_field *field, void *out, size_t room,
                     size_t *length);

/* A vector on its way in. */
struct omen_wire_vector {
    float *row; /* room for dim floats; NULL: count only */
    uint32_t dim;
    uint64_t components; /* that were there, beyond dim too; dim only if each was there whole */
};

/* Reads an omendb.v1.Vector: f32_le, or floats packed, unpacked or in several runs. */
bool omen_wire_vector_read(pb_istream_t *stream, struct omen_wire_vector *vector);

#endif
