/* collection_fuzz.c - the bytes of each request of the control plane, which protobuf-c unpacks. */
#include <stdlib.h>
#include <string.h>

#include "service/decode.h"
#include "service/snapshots.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/message.h"

static void check(const struct omen_fault *fault, omen_code code, const char *name)
{
    if (code != OMEN_OK)
        fuzz_check_fault(fault, code);
    else
        FUZZ_CHECK(strlen(name) < OMEN_REQUEST_NAME_BYTES, "a name without an end");
}

static void check_restore(const omen_message *message)
{
    struct omen_restore_request restore;
    struct omen_fault fault = {0};
    const omen_code code = omen_decode_restore(message, &restore, &fault);

    check(&fault, code, restore.collection);
    if (code == OMEN_OK)
        FUZZ_CHECK(restore.begin != (restore.data != NULL), "neither begin nor a chunk, or both");
    else
        FUZZ_CHECK(restore.data == NULL, "data behind a refusal");
    if (restore.data != NULL)
        FUZZ_CHECK(restore.bytes <= OMEN_SNAPSHOT_CHUNK_BYTES, "a chunk of %zu", restore.bytes);
    free(restore.data);
}

static void check_snapshots(const omen_message *message)
{
    struct omen_create_snapshot create;
    struct omen_download_request download;
    struct omen_name_request named;
    struct omen_fault fault = {0};
    omen_code code = omen_decode_create_snapshot(message, &create, &fault);

    check(&fault, code, create.name);
    check(&fault, code, create.collection);
    code = omen_decode_delete_snapshot(message, &named, &fault);
    check(&fault, code, named.name);
    code = omen_decode_verify_snapshot(message, &named, &fault);
    check(&fault, code, named.name);
    code = omen_decode_list_snapshots(message, &fault);
    check(&fault, code, "");
    code = omen_decode_download(message, &download, &fault);
    check(&fault, code, download.name);
    if (code == OMEN_OK)
        FUZZ_CHECK(download.has_id || download.offset == 0, "an offset without an id");
    check_restore(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    omen_message *message = fuzz_message_create(data, size, fuzz_hash(data, size) | 1);
    struct omen_create_request create;
    struct omen_get_request get;
    struct omen_update_request update;
    struct omen_name_request named;
    struct omen_fault fault = {0};
    omen_code code = omen_decode_create(message, &create, &fault);

    check(&fault, code, create.name);
    if (code == OMEN_OK)
        FUZZ_CHECK(create.settings.metric >= OMEN_METRIC_L2 &&
                       create.settings.metric <= OMEN_METRIC_INNER_PRODUCT,
                   "metric %d", (int)create.settings.metric);
    code = omen_decode_get(message, &get, &fault);
    check(&fault, code, get.name);
    code = omen_decode_update(message, &update, &fault);
    check(&fault, code, update.name);
    if (code == OMEN_OK)
        FUZZ_CHECK(update.target_recall == 0 || (update.target_recall >= OMEN_TARGET_RECALL_MIN &&
                                                 update.target_recall <= OMEN_TARGET_RECALL_MAX),
                   "target %u", update.target_recall);
    code = omen_decode_delete(message, &named, &fault);
    check(&fault, code, named.name);
    code = omen_decode_validate(message, &named, &fault);
    check(&fault, code, named.name);
    code = omen_decode_list(message, &fault);
    check(&fault, code, "");
    check_snapshots(message);
    omen_message_destroy(message);
    return 0;
}
