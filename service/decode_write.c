/* decode_write.c - UpsertRequest and DeleteRequest: first all but the items, since the collection's
 * name may stand anywhere and gives the dimension, then the items into one chunk.
 */
#include "service/decode.h"

#include <string.h>

#include "omendb/v1/vector.pb.h"
#include "service/decode_fields.h"
#include "service/decode_points.h"
#include "service/wire.h"

struct form {
    const char *message;
    uint32_t mode; /* field numbers; 0: there is none */
    uint32_t wait_for;
    struct omen_points_tags items;
};

_Static_assert(omendb_v1_UpsertRequest_collection_tag == 1 &&
                   omendb_v1_DeleteRequest_collection_tag == 1,
               "one reader for both");
#define COLLECTION_TAG 1u

static const struct form forms[] = {
    [OMEN_WRITE_POINTS] = {"UpsertRequest",
                           omendb_v1_UpsertRequest_mode_tag,
                           omendb_v1_UpsertRequest_wait_for_tag,
                           {omendb_v1_UpsertRequest_points_tag, omendb_v1_UpsertRequest_columns_tag,
                            0}},
    [OMEN_WRITE_DELETES] = {"DeleteRequest",
                            0,
                            omendb_v1_DeleteRequest_wait_for_tag,
                            {0, 0, omendb_v1_DeleteRequest_ids_tag}},
};

static omen_code check(struct omen_write_request *out, uint32_t mode, uint32_t wait_for,
                       struct omen_fault *fault)
{
    if (mode == 0) mode = OMEN_WRITE_UPSERT;
    if (omen_decode_name_check(out->collection, fault) != OMEN_OK ||
        omen_mode_check(mode, "mode", fault) != OMEN_OK)
        return fault->code;
    if (wait_for > omendb_v1_WaitFor_WAIT_FOR_SEARCHABLE)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_LIMIT", "wait_for",
                              "wait_for is %u, it must be 0, 1 or 2", wait_for);
    out->mode = (omen_write_mode)mode;
    out->wait_durable = wait_for == omendb_v1_WaitFor_WAIT_FOR_DURABLE;
    return OMEN_OK;
}

omen_code omen_decode_write(const omen_message *message, enum omen_write_kind kind,
                            struct omen_write_request *out, struct omen_fault *fault)
{
    const struct form *form = &forms[kind];
    struct omen_cursor cursor;
    pb_istream_t stream = omen_wire_open(&cursor, message);
    size_t total = stream.bytes_left;
    struct omen_field field;
    uint32_t mode = 0;
    uint32_t wait_for = 0;
    bool ok = true;

    memset(out, 0, sizeof *out);
    out->kind = kind;
    fault->code = OMEN_OK;
    while (ok && omen_wire_next(&stream, &field)) {
        if (field.tag == COLLECTION_TAG)
            ok = omen_decode_name(&stream, &field, out->collection, fault);
        else if (field.tag == form->mode)
            ok = omen_wire_uint32(&stream, &field, &mode);
        else if (field.tag == form->wait_for)
            ok = omen_wire_uint32(&stream, &field, &wait_for);
        else
            ok = omen_wire_skip(&stream, &field);
    }
    if (!ok || field.broken) {
        omen_decode_fault_broken(fault, &stream, total, form->message);
        return fault->code;
    }
    return check(out, mode, wait_for, fault);
}

omen_code omen_decode_write_items(const omen_message *message, enum omen_write_kind kind,
                                  const struct omen_points_target *target,
                                  struct omen_write_items *out, struct omen_fault *fault)
{
    const struct form *form = &forms[kind];
    struct omen_cursor cursor;
    pb_istream_t stream = omen_wire_open(&cursor, message);
    struct omen_wire_mark mark = omen_wire_mark(&stream);
    size_t total = stream.bytes_left;
    struct omen_points_reader reader = {.target = target,
                                        .tags = &form->items,
                                        .subject = "the request",
                                        .columns = "columns",
                                        .fault = fault};

    memset(out, 0, sizeof *out);
    fault->code = OMEN_OK;
    if (!omen_points_read(&reader, &mark, &stream))
        omen_decode_fault_broken(fault, &stream, total, form->message);
    else if (reader.index == 0)
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
                             "the request holds %s: there is nothing to write",
                             kind == OMEN_WRITE_POINTS ? "no points" : "no ids");
    if (fault->code != OMEN_OK) {
        omen_chunk_destroy(reader.chunk);
        return fault->code;
    }
    out->chunk = reader.chunk;
    out->points = reader.points;
    out->deletes = reader.index - reader.points;
    return OMEN_OK;
}
