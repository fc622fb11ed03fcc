/* record.c - see record.h. The checksum is libisal's, which uses the CPU's CRC instructions. */
#include "engine/record.h"

#include <assert.h>
#include <endian.h>
#include <isa-l/crc.h>
#include <limits.h>
#include <string.h>

#define CHECKSUM_AT      4u /* where the checksum stands in the header */
#define CHECKSUMMED_FROM 8u /* the first byte that it covers */

static uint32_t get_u32(const unsigned char *bytes);
static void put_u32(unsigned char *bytes, uint32_t value);

uint32_t omen_record_checksum(uint32_t checksum, const void *bytes, size_t count)
{
    assert(count <= INT_MAX); /* a record is far smaller */
    /* libisal declares the buffer writable and only reads it. It neither complements what it is
     * given nor what it returns; RFC 3720 wants both. */
    unsigned char *readable = (unsigned char *)(uintptr_t)bytes;
    return ~crc32_iscsi(readable, (int)count, ~checksum);
}

size_t omen_record_stored_bytes(uint32_t length)
{
    return OMEN_RECORD_HEADER_BYTES + (((size_t)length + 7) & ~(size_t)7);
}

void omen_record_encode(const struct omen_record_header *header, const struct iovec *parts,
                        int part_count, unsigned char out[OMEN_RECORD_HEADER_BYTES])
{
    const uint64_t position = htole64(header->position);
    const uint16_t algorithm_version = htole16(header->algorithm_version);

    put_u32(out, header->length);
    memcpy(out + 8, &position, sizeof position);
    out[16] = header->type;
    out[17] = header->format_version;
    memcpy(out + 18, &algorithm_version, sizeof algorithm_version);
    put_u32(out + 20, header->unsynced);

    uint32_t checksum = omen_record_checksum(0, out + CHECKSUMMED_FROM,
                                             OMEN_RECORD_HEADER_BYTES - CHECKSUMMED_FROM);
    for (int i = 0; i < part_count; i++)
        checksum = omen_record_checksum(checksum, parts[i].iov_base, parts[i].iov_len);
    put_u32(out + CHECKSUM_AT, checksum);
}

bool omen_record_decode(const unsigned char bytes[OMEN_RECORD_HEADER_BYTES],
                        struct omen_record_header *out)
{
    uint64_t position;
    uint16_t algorithm_version;

    memcpy(&position, bytes + 8, sizeof position);
    memcpy(&algorithm_version, bytes + 18, sizeof algorithm_version);
    *out = (struct omen_record_header){.position = le64toh(position),
                                       .length = get_u32(bytes),
                                       .checksum = get_u32(bytes + CHECKSUM_AT),
                                       .unsynced = get_u32(bytes + 20),
                                       .algorithm_version = le16toh(algorithm_version),
                                       .type = bytes[16],
                                       .format_version = bytes[17]};
    return out->length <= OMEN_RECORD_PAYLOAD_MAX &&
           (out->unsynced == 0 || (out->format_version > 1 && out->unsynced < out->position));
}

uint64_t omen_record_synced(const struct omen_record_header *header)
{
    if (header->type == OMEN_RECORD_FILE || header->format_version < 2) return header->position;
    return header->position - 1 - header->unsynced;
}

const char *omen_record_flaw(const struct omen_record_header *header, const unsigned char *bytes)
{
    const size_t used = OMEN_RECORD_HEADER_BYTES + (size_t)header->length;

    if (omen_record_checksum(0, bytes + CHECKSUMMED_FROM, used - CHECKSUMMED_FROM) !=
        header->checksum)
        return "the checksum is wrong";
    for (size_t i = used; i < omen_record_stored_bytes(header->length); i++)
        if (bytes[i] != 0) return "the padding is not zero";
    return NULL;
}

static uint32_t get_u32(const unsigned char *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof value);
    return le32toh(value);
}

static void put_u32(unsigned char *bytes, uint32_t value)
{
    value = htole32(value);
    memcpy(bytes, &value, sizeof value);
}
