/* reply_insert.c - what an insert stream answers, encoded by nanopb from its own structs.
 *
 * Item errors keep only numbers until here: their sentences are made one at a time, while they are
 * encoded, so that an Ack with hundreds of them needs no memory but its own bytes.
 */
#include "service/reply.h"

#include <pb_encode.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "omendb/v1/vector.pb.h"

static bool encode_errors(pb_ostream_t *stream, const pb_field_t *field, void *const *arg);
static struct omen_payload encode(const omendb_v1_InsertResponse *response);

struct omen_payload omen_reply_opened(const struct omen_opened *opened)
{
    omendb_v1_InsertResponse response = omendb_v1_InsertResponse_init_zero;
    omendb_v1_Opened *body = &response.body.opened;

    response.which_body = omendb_v1_InsertResponse_opened_tag;
    *body = (omendb_v1_Opened){
        .next_seq = opened->state.next_seq,
        .dim = opened->info.settings.dim,
        .max_chunk_bytes = OMEN_RECORD_BYTES_MAX,
        .credit_bytes = OMEN_STREAM_BYTES_MAX,
    };
    _Static_assert(sizeof body->session_id == OMEN_SESSION_ID_BYTES, "vector.options");
    _Static_assert(sizeof body->incarnation == OMEN_INCARNATION_BYTES, "vector.options");
    memcpy(body->session_id, opened->state.session_id, sizeof body->session_id);
    memcpy(body->incarnation, opened->info.incarnation, sizeof body->incarnation);
    return encode(&response);
}

struct omen_payload omen_reply_ack(const struct omen_ack *ack)
{
    omendb_v1_InsertResponse response = omendb_v1_InsertResponse_init_zero;
    omendb_v1_Ack *body = &response.body.ack;
    struct omen_ack source = *ack; /* nanopb's argument is not const */

    response.which_body = omendb_v1_InsertResponse_ack_tag;
    body->received_seq = ack->received_seq;
    body->durable_seq = ack->durable_seq;
    body->searchable_seq = ack->searchable_seq;
    body->errors_complete_seq = ack->errors_complete_seq;
    body->log_position = ack->log_position;
    body->errors.funcs.encode = encode_errors;
    body->errors.arg = &source;
    return encode(&response);
}

static bool encode_errors(pb_ostream_t *stream, const pb_field_t *field, void *const *arg)
{
    const struct omen_ack *ack = *arg;

    for (size_t i = 0; i < ack->error_count; i++) {
        const struct omen_item_error *item = &ack->errors[i];
        omendb_v1_ItemError error = omendb_v1_ItemError_init_zero;
        omen_error sentence = {0};

        error.code = (int32_t)omen_item_error_describe(item, ack->dim, &sentence);
        error.seq = item->seq;
        error.index = item->index;
        error.has_id =
            item->refusal != OMEN_REFUSED_ID_MISSING && item->refusal != OMEN_REFUSED_ID_KIND;
        error.id.which_kind = omendb_v1_PointId_num_tag;
        error.id.kind.num = item->id;
        (void)snprintf(error.reason, sizeof error.reason, "%s", sentence.reason);
        (void)snprintf(error.message, sizeof error.message, "%s", sentence.message);
        if (!pb_encode_tag_for_field(stream, field) ||
            !pb_encode_submessage(stream, omendb_v1_ItemError_fields, &error))
            return false;
    }
    return true;
}

static struct omen_payload encode(const omendb_v1_InsertResponse *response)
{
    struct omen_payload payload = {0};
    size_t bytes = 0;

    if (!pb_get_encoded_size(&bytes, omendb_v1_InsertResponse_fields, response)) return payload;
    payload.data = malloc(bytes + 1);
    if (payload.data == NULL) return payload;
    pb_ostream_t stream = pb_ostream_from_buffer(payload.data, bytes);
    if (!pb_encode(&stream, omendb_v1_InsertResponse_fields, response)) {
        free(payload.data);
        return (struct omen_payload){0};
    }
    payload.bytes = stream.bytes_written;
    return payload;
}
