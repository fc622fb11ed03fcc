/* decode_fields.h - fields that several messages have, for the decoders of gRPC's messages alone.
 *
 * Each is false when the message is broken there or the value is refused; then the fault says so,
 * unless the stream's own error is all there is to say.
 */
#ifndef OMEN_DECODE_FIELDS_H
#define OMEN_DECODE_FIELDS_H

#include "service/decode.h"
#include "service/wire.h"

/* `message` is its type's name: "SearchRequest". Keeps a fault that is there already. */
void omen_decode_fault_broken(struct omen_fault *fault, const pb_istream_t *stream, size_t total,
                              const char *message);

/* The field `collection`; BAD_NAME if it cannot be one. */
bool omen_decode_name(pb_istream_t *stream, const struct omen_field *field,
                      char out[OMEN_REQUEST_NAME_BYTES], struct omen_fault *fault);
/* BAD_NAME if there was none. */
omen_code omen_decode_name_check(const char *name, struct omen_fault *fault);

/* An omendb.v1.PointId. */
bool omen_decode_id(pb_istream_t *stream, const struct omen_field *field,
                    struct omen_given_id *out);

/* An omendb.v1.ReadToken. */
bool omen_decode_token(pb_istream_t *stream, const struct omen_field *field,
                       struct omen_given_token *out, struct omen_fault *fault);

#endif
