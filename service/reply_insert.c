/* reply_insert.c - what writes answer, streamed or not, encoded by nanopb from its own structs.
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

/* The argument of encode_errors(). */
struct errors {
    const struct omen_item_error *items;
    size_t count;
    uint32_t dim;
    bool with_seq;
};

static bool encode_errors(pb_ostream_t *stream, const pb_field_t *field, void *const *arg);
static struct omen_payload encode(const pb_msgdesc_t *fields, const void *message);

struct omen_payload omen_reply_opened(const struct omen_opened *opened)
{
    omendb_v1_InsertResponse response = omendb_v1_InsertResponse_init_zero;
    omendb_v1_Opened *body = &response.body.opened;

    response.which_body = omendb_v1_InsertResponse_opened_tag;
    *body = (omendb_v1_Opened){
        .next_seq = opened->state.next_seq,
        .dim = opened->info.settings.dim,
        .max_chunk_bytes = OMEN_RECORD_BYTES_MAX,
        .credit_bytes = opened->credit_bytes,
        .errors_from_seq = opened->state.errors_from_seq,
    };
    _Static_assert(sizeof body->session_id == OMEN_SESSION_ID_BYTES, "vector.options");
    _Static_assert(sizeof body->incarnation == OMEN_INCARNATION_BYTES, "vector.options");
    memcpy(body->session_id, opened->state.session_id, sizeof body->session_id);
    memcpy(body->incarnation, opened->info.incarnation, sizeof body->incarnation);
    return encode(omendb_v1_InsertResponse_fields, &response);
}

struct omen_payload omen_reply_ack(const struct omen_ack *ack)
{
    omendb_v1_InsertResponse response = omendb_v1_InsertResponse_init_zero;
    omendb_v1_Ack *body = &response.body.ack;
    struct errors source = {ack->errors, ack->error_count, ack->dim, true};

    response.which_body = omendb_v1_InsertResponse_ack_tag;
    body->received_seq = ack->received_seq;
    body->durable_seq = ack->durable_seq;
    body->searchable_seq = ack->searchable_seq;
    body->errors_complete_seq = ack->errors_complete_seq;
    body->log_position = ack->log_position;
    body->credit_bytes = ack->credit_bytes;
    body->errors.funcs.encode = encode_errors;
    body->errors.arg = &source;
    return encode(omendb_v1_InsertResponse_fields, &response);
}

struct omen_payload omen_reply_drain(const struct omen_drain *drain)
{
    omendb_v1_InsertResponse response = omendb_v1_InsertResponse_init_zero;

    _Static_assert((int)OMEN_DRAIN_SHUTDOWN == (int)omendb_v1_DrainReason_DRAIN_REASON_SHUTDOWN &&
                       (int)OMEN_DRAIN_MAX_AGE == (int)omendb_v1_DrainReason_DRAIN_REASON_MAX_AGE,
                   "reply.h");
    response.which_body = omendb_v1_InsertResponse_drain_tag;
    response.body.drain = (omendb_v1_Drain){
        .reason = (omendb_v1_DrainReason)drain->reason,
        .received_seq = drain->received_seq,
        .retry_after_ms = drain->retry_after_ms,
    };
    return encode(omendb_v1_InsertResponse_fields, &response);
}

struct omen_payload omen_reply_written(const struct omen_written *written)
{
    omendb_v1_UpsertResponse response = omendb_v1_UpsertResponse_init_zero;
    struct errors source = {written->errors, written->error_count, written->dim, false};

    _Static_assert(omendb_v1_UpsertResponse_errors_tag == omendb_v1_DeleteResponse_errors_tag &&
                       omendb_v1_UpsertResponse_token_tag == omendb_v1_DeleteResponse_token_tag,
                   "one encoder for both");
    _Static_assert(sizeof response.token.incarnation == OMEN_INCARNATION_BYTES, "vector.options");
    response.errors.funcs.encode = encode_errors;
    response.errors.arg = &source;
    response.has_token = true;
    memcpy(response.token.incarnation, written->incarnation, OMEN_INCARNATION_BYTES);
    response.token.log_position = written->log_position;
    return encode(omendb_v1_UpsertResponse_fields, &response);
}

static void set_id(omendb_v1_PointId *out, const struct omen_item_error *item)
{
    if (item->key_bytes == 0) {
        out->which_kind = omendb_v1_PointId_num_tag;
        out->kind.num = item->num;
        return;
    }
    out->which_kind = omendb_v1_PointId_key_tag;
    out->kind.key.size = item->key_bytes;
    memcpy(out->kind.key.bytes, item->key, item->key_bytes);
}

static bool encode_errors(pb_ostream_t *stream, const pb_field_t *field, void *const *arg)
{
    const struct errors *errors = *arg;

    for (size_t i = 0; i < errors->count; i++) {
        const struct omen_item_error *item = &errors->items[i];
        omendb_v1_ItemError error = omendb_v1_ItemError_init_zero;
        omen_error sentence = {0};

        error.code = (int32_t)omen_item_error_describe(item, errors->dim, &sentence);
        error.seq = errors->with_seq ? item->seq : 0;
        error.index = item->index;
        error.has_id = item->has_id;
        if (item->has_id) set_id(&error.id, item);
        (void)snprintf(error.reason, sizeof error.reason, "%s", sentence.reason);
        (void)snprintf(error.message, sizeof error.message, "%s", sentence.message);
        omen_make_utf8(error.message);
        if (!pb_encode_tag_for_field(stream, field) ||
            !pb_encode_submessage(stream, omendb_v1_ItemError_fields, &error))
            return false;
    }
    return true;
}

static struct omen_payload encode(const pb_msgdesc_t *fields, const void *message)
{
    struct omen_payload payload = {0};
    size_t bytes = 0;

    if (!pb_get_encoded_size(&bytes, fields, message)) return payload;
    payload.data = malloc(bytes + 1);
    if (payload.data == NULL) return payload;
    pb_ostream_t stream = pb_ostream_from_buffer(payload.data, bytes);
    if (!pb_encode(&stream, fields, message)) {
        free(payload.data);
        return (struct omen_payload){0};
    }
    payload.bytes = stream.bytes_written;
    return payload;
}
