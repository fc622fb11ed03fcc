/* reply_wire.h - writing protobuf fields by hand, for answers too large for a walk over
 * descriptors: the size of a thing, and the thing. Field numbers are below 16, so that a tag is one
 * byte.
 */
#ifndef OMEN_REPLY_WIRE_H
#define OMEN_REPLY_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/engine.h"
#include "omendb/v1/vector.pb.h"

enum omen_wire_type { OMEN_WIRE_VARINT = 0, OMEN_WIRE_LENGTH = 2, OMEN_WIRE_FIXED32 = 5 };

static inline size_t omen_varint_bytes(uint64_t value)
{
    return (size_t)(70 - __builtin_clzll(value | 1)) / 7; /* 7 bits to a byte */
}

static inline uint8_t *omen_put_varint(uint8_t *at, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *at++ = (uint8_t)(value | 0x80);
    *at++ = (uint8_t)value;
    return at;
}

static inline uint8_t *omen_put_tag(uint8_t *at, unsigned number, enum omen_wire_type type)
{
    *at++ = (uint8_t)(number << 3 | (unsigned)type);
    return at;
}

/* A number's field is left out when it is 0, and bytes when there are none. */
static inline size_t omen_number_bytes(uint64_t value)
{
    return value == 0 ? 0 : 1 + omen_varint_bytes(value);
}

static inline uint8_t *omen_put_number(uint8_t *at, unsigned number, uint64_t value)
{
    if (value == 0) return at;
    return omen_put_varint(omen_put_tag(at, number, OMEN_WIRE_VARINT), value);
}

static inline size_t omen_bytes_bytes(size_t bytes)
{
    return bytes == 0 ? 0 : 1 + omen_varint_bytes(bytes) + bytes;
}

static inline uint8_t *omen_put_bytes(uint8_t *at, unsigned number, const void *data, size_t bytes)
{
    if (bytes == 0) return at;
    at = omen_put_varint(omen_put_tag(at, number, OMEN_WIRE_LENGTH), bytes);
    memcpy(at, data, bytes);
    return at + bytes;
}

/* A PointId, without the field that it is: below 128 bytes. Its tag stays even when the number is
 * 0, because that is an id, too. */
static inline size_t omen_id_bytes(const struct omen_id *id)
{
    return id->key_bytes == 0 ? 1 + omen_varint_bytes(id->num) : 2 + (size_t)id->key_bytes;
}

static inline uint8_t *omen_put_id(uint8_t *at, unsigned number, const struct omen_id *id)
{
    *at++ = (uint8_t)(number << 3 | OMEN_WIRE_LENGTH);
    *at++ = (uint8_t)omen_id_bytes(id);
    if (id->key_bytes > 0)
        return omen_put_bytes(at, omendb_v1_PointId_key_tag, id->key, id->key_bytes);
    return omen_put_varint(omen_put_tag(at, omendb_v1_PointId_num_tag, OMEN_WIRE_VARINT), id->num);
}

#endif
