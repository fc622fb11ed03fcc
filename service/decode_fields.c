/* decode_fields.c - see decode_fields.h. */
#include "service/decode_fields.h"

#include <string.h>

#include "omendb/v1/vector.pb.h"

void omen_decode_fault_broken(struct omen_fault *fault, const pb_istream_t *stream, size_t total,
                              const char *message)
{
    if (fault->code != OMEN_OK) return; /* somebody has said it better */
    (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
                         "not a valid %s: %s near byte %zu of %zu", message, PB_GET_ERROR(stream),
                         total - stream->bytes_left, total);
}

bool omen_decode_name(pb_istream_t *stream, const struct omen_field *field,
                      char out[OMEN_REQUEST_NAME_BYTES], struct omen_fault *fault)
{
    size_t length = 0;

    if (!omen_wire_bytes(stream, field, out, OMEN_REQUEST_NAME_BYTES - 1, &length)) return false;
    if (length < OMEN_REQUEST_NAME_BYTES) {
        out[length] = '\0';
        if (strlen(out) == length) return true;
    }
    (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_NAME", "collection",
                         "collection is a name of %zu bytes, the limit is %u, without NUL", length,
                         OMEN_NAME_BYTES_MAX);
    return false;
}

omen_code omen_decode_name_check(const char *name, struct omen_fault *fault)
{
    if (name[0] != '\0') return OMEN_OK;
    return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_NAME", "collection",
                          "collection is empty: it must name one, in 1 to %u bytes",
                          OMEN_NAME_BYTES_MAX);
}

/* The two kinds are a oneof: of two, the last counts. */
bool omen_decode_id(pb_istream_t *stream, const struct omen_field *head, struct omen_given_id *out)
{
    pb_istream_t inner;
    struct omen_field field;
    uint64_t num = 0;
    size_t bytes = 0;
    bool ok = true;

    if (!omen_wire_enter(stream, head, &inner)) return false;
    while (ok && omen_wire_next(&inner, &field)) {
        if (field.tag == omendb_v1_PointId_num_tag) {
            ok = omen_wire_uint64(&inner, &field, &num);
            out->id = omen_id_num(num);
            out->refusal = 0;
        } else if (field.tag == omendb_v1_PointId_key_tag) {
            ok = omen_wire_bytes(&inner, &field, out->key, sizeof out->key, &bytes);
            out->id = omen_id_key(out->key, (uint32_t)bytes);
            out->refusal = bytes == 0 || bytes > OMEN_KEY_BYTES_MAX ? OMEN_REFUSED_KEY_LENGTH : 0;
            out->detail = (uint32_t)bytes;
        } else {
            ok = omen_wire_skip(&inner, &field);
        }
    }
    return omen_wire_leave(stream, &inner, ok && !field.broken);
}

bool omen_decode_token(pb_istream_t *stream, const struct omen_field *head,
                       struct omen_given_token *out, struct omen_fault *fault)
{
    pb_istream_t inner;
    struct omen_field field;
    size_t bytes = 0;
    bool ok = true;

    if (!omen_wire_enter(stream, head, &inner)) return false;
    while (ok && omen_wire_next(&inner, &field)) {
        if (field.tag == omendb_v1_ReadToken_incarnation_tag)
            ok = omen_wire_bytes(&inner, &field, out->incarnation, sizeof out->incarnation, &bytes);
        else if (field.tag == omendb_v1_ReadToken_log_position_tag)
            ok = omen_wire_uint64(&inner, &field, &out->log_position);
        else
            ok = omen_wire_skip(&inner, &field);
    }
    out->given = true;
    if (!omen_wire_leave(stream, &inner, ok && !field.broken)) return false;
    if (bytes == OMEN_INCARNATION_BYTES) return true;
    (void)omen_fault_token(fault, "min_read.incarnation", bytes);
    return false;
}
