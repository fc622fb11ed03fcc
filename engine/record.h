/* record.h - the byte layout of a log record: header, checksum, padding (the table is in log.h).
 *
 * Pure functions over bytes; they know no files. The checksum covers everything of a record but the
 * length, the checksum itself and the padding; a wrong length shows as a wrong checksum, and the
 * padding must be zero, so no flipped bit goes unseen.
 */
#ifndef OMEN_RECORD_H
#define OMEN_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/log.h"

/* A payload's largest size: OMEN_RECORD_BYTES_MAX counts the header too. */
#define OMEN_RECORD_PAYLOAD_MAX (OMEN_RECORD_BYTES_MAX - OMEN_RECORD_HEADER_BYTES)

struct omen_record_header {
    uint64_t position;
    uint32_t length; /* of the payload, without padding */
    uint32_t checksum;
    uint32_t unsynced; /* records before this one that no sync had covered; format 1: 0 */
    uint16_t algorithm_version;
    uint8_t type; /* an omen_record_type, or what a newer or broken writer wrote */
    uint8_t format_version;
};

/* CRC32C (Castagnoli, as in RFC 3720) of the bytes; 0 starts, and the result of one call goes on
 * with the next: crc(crc(0, a), b) == crc(0, ab). */
uint32_t omen_record_checksum(uint32_t checksum, const void *bytes, size_t count);

/* On disk: header, payload, padding. */
size_t omen_record_stored_bytes(uint32_t length);

/* Writes the header's bytes, computing the checksum from it and the payload's parts, which hold
 * header->length bytes together. header->checksum is not read. */
void omen_record_encode(const struct omen_record_header *header, const struct iovec *parts,
                        int part_count, unsigned char out[OMEN_RECORD_HEADER_BYTES]);

/* Reads a header. False if no writer of any version can have written it: an impossible length, or
 * something in the field that format 1 keeps zero. */
OMEN_CHECKED bool omen_record_decode(const unsigned char bytes[OMEN_RECORD_HEADER_BYTES],
                                     struct omen_record_header *out);

/* The last position that was synced, as the fact that these bytes were written proves: for a mark
 * its own, for a record the last one before its group. Format 1 does not tell; of it a record
 * counts as synced where it stands whole. */
uint64_t omen_record_synced(const struct omen_record_header *header);

/* Why the stored bytes of a record (as many as omen_record_stored_bytes() says) do not match its
 * header; NULL if they do. */
const char *omen_record_flaw(const struct omen_record_header *header, const unsigned char *bytes);

#endif
