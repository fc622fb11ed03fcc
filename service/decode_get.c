/* decode_get.c - a GetRequest: counted first, so that nothing is allocated for ids beyond the
 * limit.
 */
#include "service/decode.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "omendb/v1/vector.pb.h"
#include "service/decode_fields.h"
#include "service/wire.h"

#define MESSAGE "GetRequest"

static bool read_head(pb_istream_t *stream, struct omen_points_get *out, uint64_t *count,
                      struct omen_fault *fault)
{
    struct omen_field field;
    bool ok = true;

    while (ok && omen_wire_next(stream, &field)) {
        switch (field.tag) {
        case omendb_v1_GetRequest_collection_tag:
            ok = omen_decode_name(stream, &field, out->collection, fault);
            break;
        case omendb_v1_GetRequest_without_vectors_tag:
            ok = omen_wire_bool(stream, &field, &out->without_vectors);
            break;
        case omendb_v1_GetRequest_ids_tag:
            ++*count;
            ok = omen_wire_skip(stream, &field);
            break;
        default:
            ok = omen_wire_skip(stream, &field);
        }
    }
    return ok && !field.broken;
}

static bool read_ids(pb_istream_t *stream, struct omen_points_get *out, struct omen_fault *fault)
{
    struct omen_field field;
    uint32_t at = 0;
    bool ok = true;

    while (ok && omen_wire_next(stream, &field)) {
        struct omen_given_id *id = &out->ids[at];

        if (field.tag != omendb_v1_GetRequest_ids_tag) {
            ok = omen_wire_skip(stream, &field);
            continue;
        }
        id->refusal = OMEN_REFUSED_ID_MISSING;
        ok = omen_decode_id(stream, &field, id);
        if (ok && id->refusal != 0) {
            char name[OMEN_FIELD_MAX];

            (void)snprintf(name, sizeof name, "ids[%u]", at);
            (void)omen_fault_id(fault, name, id->refusal, id->detail);
            return false;
        }
        at++;
    }
    return ok && !field.broken;
}

omen_code omen_points_get_check(struct omen_points_get *out, uint64_t count,
                                struct omen_fault *fault)
{
    if (omen_decode_name_check(out->collection, fault) != OMEN_OK) return fault->code;
    if (count == 0)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_LIMIT", "ids",
                              "there are 0 ids, it must be 1 to %u", OMEN_GET_IDS_MAX);
    if (count > OMEN_GET_IDS_MAX)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "TOO_LARGE", "ids",
                              "there are %" PRIu64 " ids, the limit is %u", count,
                              OMEN_GET_IDS_MAX);
    out->count = (uint32_t)count;
    out->ids = calloc(count, sizeof *out->ids);
    if (out->ids != NULL) return OMEN_OK;
    return omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                          "no memory for %u ids", out->count);
}

omen_code omen_decode_points_get(const omen_message *message, struct omen_points_get *out,
                                 struct omen_fault *fault)
{
    struct omen_cursor cursor;
    pb_istream_t stream = omen_wire_open(&cursor, message);
    struct omen_wire_mark again = omen_wire_mark(&stream);
    size_t total = stream.bytes_left;
    uint64_t count = 0;

    memset(out, 0, sizeof *out);
    fault->code = OMEN_OK;
    if (!read_head(&stream, out, &count, fault))
        omen_decode_fault_broken(fault, &stream, total, MESSAGE);
    else if (omen_points_get_check(out, count, fault) == OMEN_OK &&
             !read_ids(omen_wire_again(&again), out, fault))
        omen_decode_fault_broken(fault, &again.stream, total, MESSAGE);
    return fault->code;
}
