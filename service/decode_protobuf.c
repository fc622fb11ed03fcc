/* decode_protobuf.c - see decode_protobuf.h. The slices are joined, unpacked into protobuf-c's own
 * structs, and freed. */
#include "service/decode_protobuf.h"

#include <stdlib.h>

#include "service/decode.h"

void *omen_protobuf_unpack(const ProtobufCMessageDescriptor *type, const omen_message *message,
                           struct omen_fault *fault)
{
    uint8_t *bytes = omen_message_flatten(message);
    size_t length = omen_message_bytes(message);
    ProtobufCMessage *unpacked = NULL;

    fault->code = OMEN_OK;
    if (bytes == NULL) {
        (void)omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for a request of %zu bytes", length);
        return NULL;
    }
    unpacked = protobuf_c_message_unpack(type, NULL, length, bytes);
    free(bytes);
    if (unpacked == NULL)
        (void)omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_MESSAGE", NULL,
                             "%zu bytes are not a valid %s", length, type->short_name);
    return unpacked;
}
