/* sections.h - a file made of sections, each with its type, version, length and checksums: how
 * checkpoints are written and read.
 *
 * On disk, little-endian, every section 8-byte aligned and behind the one before it:
 *
 *     offset size
 *      0     4    type (checkpoint.h says what there is)
 *      4     4    version of this type's payload
 *      8     4    index: which part, of what comes in several
 *     12     4    number of the section in the file, 0, 1, 2, ...
 *     16     8    stamp: the same in all sections of a file, and other files have another
 *     24     8    length of the payload
 *     32     4    CRC32C of the payload
 *     36     4    CRC32C of the 36 bytes before
 *     40     n    payload, then zeros up to a multiple of 8
 *
 * The last section has type 0 and no payload, and the file ends behind it. So every flipped bit, a
 * file that was cut off, and a sector that another file or an older write left are seen.
 */
#ifndef OMEN_SECTIONS_H
#define OMEN_SECTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/storage.h"

#define OMEN_SECTION_HEADER_BYTES 40u
#define OMEN_SECTION_END          0u
#define OMEN_SECTION_BYTES_MAX    (128u << 20)

struct omen_section {
    uint32_t type, version, index;
    uint64_t length;
};

#define OMEN_SECTIONS_NAME_BYTES 96u

struct omen_sections_writer {
    struct omen_storage *storage; /* borrowed, like the directory */
    int dir;
    int file;
    uint64_t stamp;
    char name[OMEN_SECTIONS_NAME_BYTES]; /* it will have */

    uint64_t offset;
    uint32_t number;
    uint64_t synced; /* bytes that need no sync any more */
};

/* Begins the file, as <name>.new.
 * Owns: *out, release it with omen_sections_finish() or omen_sections_abandon(). Fails:
 * OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_sections_create(struct omen_storage *storage, int dir, const char *name,
                                            uint64_t stamp, struct omen_sections_writer *out,
                                            omen_error *err);

/* Writes the last section and makes the file durable under its name, in the place of an older one.
 * Releases the writer, also on failure. Fails: OMEN_UNAVAILABLE; then it is there or not. */
OMEN_CHECKED omen_code omen_sections_finish(struct omen_sections_writer *writer, omen_error *err);

/* Releases the writer; the file is removed, if the storage lets us. */
void omen_sections_abandon(struct omen_sections_writer *writer);

/* Appends a section of section->length bytes, at most OMEN_SECTION_BYTES_MAX. Now and then syncs
 * what was written, so that the last sync is short. Fails: OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_sections_write(struct omen_sections_writer *writer,
                                           const struct omen_section *section, const void *payload,
                                           omen_error *err);

struct omen_sections_reader {
    struct omen_storage *storage; /* borrowed */
    int file;
    char name[OMEN_SECTIONS_NAME_BYTES];
    uint64_t size;
    uint64_t stamp;

    uint64_t offset; /* of the next header, or of the payload that waits */
    uint32_t number;
    uint64_t length; /* of the payload that waits */
    uint32_t checksum;
};

/* Owns: *out, release it with omen_sections_close(), also after a failure.
 * Fails: OMEN_NOT_FOUND, OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_sections_open(struct omen_storage *storage, int dir, const char *name,
                                          uint64_t stamp, struct omen_sections_reader *out,
                                          omen_error *err);
void omen_sections_close(struct omen_sections_reader *reader);

/* The next section's header; its payload waits. Behind the last one type is OMEN_SECTION_END.
 * Fails: OMEN_DATA_LOSS (damaged: err names file and offset), OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_sections_next(struct omen_sections_reader *reader,
                                          struct omen_section *out, omen_error *err);

/* Reads the payload that waits, all of it, into `out`. Fails: as omen_sections_next(); `out` then
 * holds anything. */
OMEN_CHECKED omen_code omen_sections_read(struct omen_sections_reader *reader, void *out,
                                          omen_error *err);

/* ---- for who reads a damaged file ---------------------------------------------------------- */

/* Checks the payload that waits, and goes behind it also where it is damaged.
 * Fails: as omen_sections_read(), OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_sections_check(struct omen_sections_reader *reader, omen_error *err);

/* Goes behind the payload that waits, or that omen_sections_read() found damaged. */
void omen_sections_skip(struct omen_sections_reader *reader);

/* Where omen_sections_next() found damage: goes to the next section whose header is whole. *found
 * is false if there is none. Fails: OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_sections_find(struct omen_sections_reader *reader, bool *found,
                                          omen_error *err);

#endif
