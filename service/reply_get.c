/* reply_get.c - a GetResponse, written by hand: its vectors are megabytes, and copied once.
 */
#include "service/reply.h"

#include <stdlib.h>

#include "omendb/v1/vector.pb.h"
#include "service/reply_wire.h"

static size_t result_bytes(const struct omen_points_got *got, uint32_t i)
{
    size_t vector = got->vectors != NULL && got->points[i].found ? got->dim * sizeof(float) : 0;

    return 2 + omen_id_bytes(&got->ids[i].id) + omen_number_bytes(got->points[i].found) +
           omen_bytes_bytes(vector) + omen_number_bytes(got->points[i].expires_s);
}

static uint8_t *put_result(uint8_t *at, const struct omen_points_got *got, uint32_t i)
{
    const struct omen_got *point = &got->points[i];

    at = omen_put_tag(at, omendb_v1_GetResponse_results_tag, OMEN_WIRE_LENGTH);
    at = omen_put_varint(at, result_bytes(got, i));
    at = omen_put_id(at, omendb_v1_GetResult_id_tag, &got->ids[i].id);
    at = omen_put_number(at, omendb_v1_GetResult_found_tag, point->found);
    if (got->vectors != NULL && point->found)
        at = omen_put_bytes(at, omendb_v1_GetResult_f32_le_tag, got->vectors + (size_t)i * got->dim,
                            got->dim * sizeof(float));
    return omen_put_number(at, omendb_v1_GetResult_expires_unix_s_tag, point->expires_s);
}

struct omen_payload omen_reply_get(const struct omen_points_got *got)
{
    struct omen_payload payload = {0};
    size_t token = omen_bytes_bytes(OMEN_INCARNATION_BYTES) + omen_number_bytes(got->log_position);
    size_t bytes = omen_bytes_bytes(token);

    for (uint32_t i = 0; i < got->count; i++)
        bytes += omen_bytes_bytes(result_bytes(got, i));
    payload.data = malloc(bytes + 1);
    if (payload.data == NULL) return payload;
    payload.bytes = bytes;

    uint8_t *at = payload.data;
    for (uint32_t i = 0; i < got->count; i++)
        at = put_result(at, got, i);
    at =
        omen_put_varint(omen_put_tag(at, omendb_v1_GetResponse_token_tag, OMEN_WIRE_LENGTH), token);
    at = omen_put_bytes(at, omendb_v1_ReadToken_incarnation_tag, got->incarnation,
                        OMEN_INCARNATION_BYTES);
    (void)omen_put_number(at, omendb_v1_ReadToken_log_position_tag, got->log_position);
    return payload;
}
