/* snapshots.h - SnapshotService's requests and answers: what its methods share. */
#ifndef OMEN_SNAPSHOTS_SERVICE_H
#define OMEN_SNAPSHOTS_SERVICE_H

#include "engine/engine.h"
#include "service/decode.h"
#include "service/fault.h"
#include "service/listener.h"

/* Of one message of a download, and the most of one message of a restore. */
#define OMEN_SNAPSHOT_SENT_BYTES  (256u << 10)
#define OMEN_SNAPSHOT_CHUNK_BYTES (1u << 20)

/* ---- requests; each fails with OMEN_INVALID_ARGUMENT BAD_MESSAGE, OMEN_RESOURCE_EXHAUSTED ---- */

struct omen_create_snapshot {
    char collection[OMEN_REQUEST_NAME_BYTES];
    char name[OMEN_REQUEST_NAME_BYTES];
};
omen_code omen_decode_create_snapshot(const omen_message *message, struct omen_create_snapshot *out,
                                      struct omen_fault *fault);
omen_code omen_decode_list_snapshots(const omen_message *message, struct omen_fault *fault);
omen_code omen_decode_delete_snapshot(const omen_message *message, struct omen_name_request *out,
                                      struct omen_fault *fault);
omen_code omen_decode_verify_snapshot(const omen_message *message, struct omen_name_request *out,
                                      struct omen_fault *fault);

struct omen_download_request {
    char name[OMEN_REQUEST_NAME_BYTES];
    uint64_t offset;
    bool has_id;
    uint8_t id[OMEN_SNAPSHOT_ID_BYTES];
};
/* Fails: also BAD_TOKEN (an id of another length), BAD_OFFSET (an offset without an id). */
omen_code omen_decode_download(const omen_message *message, struct omen_download_request *out,
                               struct omen_fault *fault);

struct omen_restore_request {
    bool begin; /* else a chunk */
    char collection[OMEN_REQUEST_NAME_BYTES];
    char snapshot[OMEN_REQUEST_NAME_BYTES]; /* empty: chunks follow */
    uint64_t offset;
    uint8_t *data; /* yours, free() it; of a chunk */
    size_t bytes;
};
/* Fails: also OMEN_INVALID_ARGUMENT TOO_LARGE, OMEN_DATA_LOSS BAD_CHUNK (a wrong checksum). Then
 * there is no data. */
omen_code omen_decode_restore(const omen_message *message, struct omen_restore_request *out,
                              struct omen_fault *fault);

/* ---- answers ------------------------------------------------------------------------------ */

/* A CreateSnapshotResponse; a VerifySnapshotResponse and the first message of a download have the
 * same field. */
struct omen_payload omen_reply_snapshot(const struct omen_snapshot_info *info);
struct omen_payload omen_reply_snapshots(const struct omen_snapshot_info *infos, size_t count);

/* SnapshotChunk.crc32 of at most OMEN_SNAPSHOT_CHUNK_BYTES. */
uint32_t omen_snapshot_checksum(const void *bytes, size_t count);

/* A DownloadSnapshotResponse with these bytes. */
struct omen_payload omen_reply_snapshot_chunk(uint64_t offset, const void *bytes, size_t count);

#endif
