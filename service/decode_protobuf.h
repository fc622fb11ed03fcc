/* decode_protobuf.h - requests of the control plane, by protobuf-c: they are small and rare, so
 * that a walk over descriptors costs nothing.
 */
#ifndef OMEN_DECODE_PROTOBUF_H
#define OMEN_DECODE_PROTOBUF_H

#include <protobuf-c/protobuf-c.h>

#include "service/fault.h"
#include "service/listener.h"

/* The message as a struct of this type. NULL, with the fault BAD_MESSAGE or MEMORY_BUDGET, if it is
 * none. Owns: what is returned, release it with the type's own free_unpacked(). */
void *omen_protobuf_unpack(const ProtobufCMessageDescriptor *type, const omen_message *message,
                           struct omen_fault *fault);

#endif
