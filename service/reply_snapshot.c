/* reply_snapshot.c - snapshots as the control plane shows them, by protobuf-c; see snapshots.h. */
#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>

#include "omendb/v1/snapshot.pb-c.h"
#include "service/reply_protobuf.h"
#include "service/snapshots.h"

/* A Snapshot and all that it points to. */
struct shown {
    Omendb__V1__Snapshot snapshot;
    Omendb__V1__CollectionConfig config;
    struct omen_snapshot_info info;
};

static void show(struct shown *shown, const struct omen_snapshot_info *info)
{
    Omendb__V1__Snapshot *out = &shown->snapshot;

    shown->info = *info;
    omendb__v1__snapshot__init(out);
    out->name = shown->info.name;
    out->bytes = info->bytes;
    if (info->settings.dim == 0) return; /* the file does not tell what it is */
    omen_reply_config(&shown->config, &info->settings);
    out->config = &shown->config;
    out->id.data = shown->info.id;
    out->id.len = sizeof shown->info.id;
    out->collection = shown->info.collection;
    out->incarnation.data = shown->info.incarnation;
    out->incarnation.len = sizeof shown->info.incarnation;
    out->points = info->points;
    out->log_position = info->log_position;
    out->algorithm_version = info->algorithm_version;
    out->created_unix_s = info->created_unix_s;
}

struct omen_payload omen_reply_snapshot(const struct omen_snapshot_info *info)
{
    Omendb__V1__CreateSnapshotResponse response = OMENDB__V1__CREATE_SNAPSHOT_RESPONSE__INIT;
    struct shown shown;

    show(&shown, info);
    response.snapshot = &shown.snapshot;
    return omen_protobuf_pack(&response.base);
}

struct omen_payload omen_reply_snapshots(const struct omen_snapshot_info *infos, size_t count)
{
    Omendb__V1__ListSnapshotsResponse response = OMENDB__V1__LIST_SNAPSHOTS_RESPONSE__INIT;
    struct shown *shown = calloc(count + 1, sizeof *shown);
    Omendb__V1__Snapshot **list = calloc(count + 1, sizeof(Omendb__V1__Snapshot *));
    struct omen_payload payload = {0};

    if (shown != NULL && list != NULL) {
        for (size_t i = 0; i < count; i++) {
            show(&shown[i], &infos[i]);
            list[i] = &shown[i].snapshot;
        }
        response.snapshots = list;
        response.n_snapshots = count;
        payload = omen_protobuf_pack(&response.base);
    }
    free(list);
    free(shown);
    return payload;
}

uint32_t omen_snapshot_checksum(const void *bytes, size_t count)
{
    return crc32_gzip_refl(0, bytes, count);
}

struct omen_payload omen_reply_snapshot_chunk(uint64_t offset, const void *bytes, size_t count)
{
    Omendb__V1__DownloadSnapshotResponse response = OMENDB__V1__DOWNLOAD_SNAPSHOT_RESPONSE__INIT;
    Omendb__V1__SnapshotChunk chunk = OMENDB__V1__SNAPSHOT_CHUNK__INIT;

    chunk.offset = offset;
    chunk.data.data = (uint8_t *)(uintptr_t)bytes; /* packed from, never written to */
    chunk.data.len = count;
    chunk.crc32 = omen_snapshot_checksum(bytes, count);
    response.body_case = OMENDB__V1__DOWNLOAD_SNAPSHOT_RESPONSE__BODY_CHUNK;
    response.chunk = &chunk;
    return omen_protobuf_pack(&response.base);
}
