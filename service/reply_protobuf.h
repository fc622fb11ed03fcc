/* reply_protobuf.h - answers of the control plane, by protobuf-c, and what several of them show.
 * All of it is in reply_collection.c.
 */
#ifndef OMEN_REPLY_PROTOBUF_H
#define OMEN_REPLY_PROTOBUF_H

#include "engine/engine.h"
#include "omendb/v1/collection.pb-c.h"
#include "service/listener.h"

/* Without memory the payload has no data. */
struct omen_payload omen_protobuf_pack(const ProtobufCMessage *message);

/* A collection's settings. Fills all of *out. */
void omen_reply_config(Omendb__V1__CollectionConfig *out,
                       const struct omen_collection_settings *settings);

#endif
