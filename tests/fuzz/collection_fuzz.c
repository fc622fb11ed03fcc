/* collection_fuzz.c - the bytes of each request of the control plane, which protobuf-c unpacks. */
#include <string.h>

#include "service/decode.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/message.h"

static void check(const struct omen_fault *fault, omen_code code, const char *name)
{
    if (code != OMEN_OK)
        fuzz_check_fault(fault, code);
    else
        FUZZ_CHECK(strlen(name) < OMEN_REQUEST_NAME_BYTES, "a name without an end");
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
    omen_message_destroy(message);
    return 0;
}
