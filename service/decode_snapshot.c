/* decode_snapshot.c - the requests about snapshots, by protobuf-c; see snapshots.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "omendb/v1/snapshot.pb-c.h"
#include "service/decode_protobuf.h"
#include "service/snapshots.h"

static void copy_name(char out[OMEN_REQUEST_NAME_BYTES], const char *name)
{
    (void)snprintf(out, OMEN_REQUEST_NAME_BYTES, "%s", name);
}

omen_code omen_decode_create_snapshot(const omen_message *message, struct omen_create_snapshot *out,
                                      struct omen_fault *fault)
{
    Omendb__V1__CreateSnapshotRequest *request =
        omen_protobuf_unpack(&omendb__v1__create_snapshot_request__descriptor, message, fault);

    memset(out, 0, sizeof *out);
    if (request == NULL) return fault->code;
    copy_name(out->collection, request->collection);
    copy_name(out->name, request->name);
    omendb__v1__create_snapshot_request__free_unpacked(request, NULL);
    return OMEN_OK;
}

omen_code omen_decode_list_snapshots(const omen_message *message, struct omen_fault *fault)
{
    Omendb__V1__ListSnapshotsRequest *request =
        omen_protobuf_unpack(&omendb__v1__list_snapshots_request__descriptor, message, fault);

    if (request == NULL) return fault->code;
    omendb__v1__list_snapshots_request__free_unpacked(request, NULL);
    return OMEN_OK;
}

omen_code omen_decode_delete_snapshot(const omen_message *message, struct omen_name_request *out,
                                      struct omen_fault *fault)
{
    Omendb__V1__DeleteSnapshotRequest *request =
        omen_protobuf_unpack(&omendb__v1__delete_snapshot_request__descriptor, message, fault);

    memset(out, 0, sizeof *out);
    if (request == NULL) return fault->code;
    copy_name(out->name, request->name);
    omendb__v1__delete_snapshot_request__free_unpacked(request, NULL);
    return OMEN_OK;
}

omen_code omen_decode_verify_snapshot(const omen_message *message, struct omen_name_request *out,
                                      struct omen_fault *fault)
{
    Omendb__V1__VerifySnapshotRequest *request =
        omen_protobuf_unpack(&omendb__v1__verify_snapshot_request__descriptor, message, fault);

    memset(out, 0, sizeof *out);
    if (request == NULL) return fault->code;
    copy_name(out->name, request->name);
    omendb__v1__verify_snapshot_request__free_unpacked(request, NULL);
    return OMEN_OK;
}

omen_code omen_decode_download(const omen_message *message, struct omen_download_request *out,
                               struct omen_fault *fault)
{
    Omendb__V1__DownloadSnapshotRequest *request =
        omen_protobuf_unpack(&omendb__v1__download_snapshot_request__descriptor, message, fault);

    memset(out, 0, sizeof *out);
    if (request == NULL) return fault->code;
    copy_name(out->name, request->name);
    out->offset = request->offset;
    out->has_id = request->id.len > 0;
    if (out->has_id && request->id.len != sizeof out->id)
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_TOKEN", "id",
                             "id has %zu bytes, it must have %zu, or none", request->id.len,
                             sizeof out->id);
    else if (out->has_id)
        memcpy(out->id, request->id.data, sizeof out->id);
    else if (out->offset != 0)
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_OFFSET", "id",
                             "offset is %" PRIu64 " and there is no id: whoever goes on must say "
                             "with which snapshot",
                             out->offset);
    omendb__v1__download_snapshot_request__free_unpacked(request, NULL);
    return fault->code;
}

static omen_code take_chunk(const Omendb__V1__SnapshotChunk *chunk,
                            struct omen_restore_request *out, struct omen_fault *fault)
{
    if (chunk->data.len > OMEN_SNAPSHOT_CHUNK_BYTES)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "TOO_LARGE", "chunk.data",
                              "chunk.data has %zu bytes, at most %u are allowed", chunk->data.len,
                              OMEN_SNAPSHOT_CHUNK_BYTES);
    const uint32_t checksum = omen_snapshot_checksum(chunk->data.data, chunk->data.len);
    if (checksum != chunk->crc32)
        return omen_fault_set(fault, OMEN_DATA_LOSS, "BAD_CHUNK", "chunk.crc32",
                              "the chunk at offset %" PRIu64
                              " was damaged on its way: its checksum "
                              "is %08" PRIx32 ", it came with %08" PRIx32,
                              chunk->offset, checksum, chunk->crc32);
    out->data = malloc(chunk->data.len + 1);
    if (out->data == NULL)
        return omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                              "no memory for a chunk of %zu bytes", chunk->data.len);
    if (chunk->data.len > 0) memcpy(out->data, chunk->data.data, chunk->data.len);
    out->offset = chunk->offset;
    out->bytes = chunk->data.len;
    return OMEN_OK;
}

omen_code omen_decode_restore(const omen_message *message, struct omen_restore_request *out,
                              struct omen_fault *fault)
{
    Omendb__V1__RestoreSnapshotRequest *request =
        omen_protobuf_unpack(&omendb__v1__restore_snapshot_request__descriptor, message, fault);

    memset(out, 0, sizeof *out);
    if (request == NULL) return fault->code;
    if (request->body_case == OMENDB__V1__RESTORE_SNAPSHOT_REQUEST__BODY_BEGIN) {
        out->begin = true;
        copy_name(out->collection, request->begin->collection);
        copy_name(out->snapshot, request->begin->snapshot);
    } else if (request->body_case == OMENDB__V1__RESTORE_SNAPSHOT_REQUEST__BODY_CHUNK) {
        (void)take_chunk(request->chunk, out, fault);
    } else {
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", "body",
                             "a message has begin or chunk, this one has neither");
    }
    omendb__v1__restore_snapshot_request__free_unpacked(request, NULL);
    return fault->code;
}
