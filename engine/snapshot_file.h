/* snapshot_file.h - one snapshot as one file: files of a collection at one position of its log, in
 * parts with checksums, so that it can be copied, sent, resumed at any byte, and checked alone.
 *
 * It consists of sections (sections.h), whose stamp is the first half of the snapshot's id:
 *
 *     type  name     payload
 *      16   ABOUT    struct omen_stored_snapshot; its version is that of the whole format
 *      17   PART     of a file: where in it (u64), the file's name (56 bytes, zeros behind it),
 * then 1..OMEN_SNAPSHOT_PART_MAX of its bytes 0   END
 *
 * ABOUT is the first one; the parts of one file follow one another from its first byte to its last.
 * The types are none of a checkpoint's, so that no file is taken for the other.
 */
#ifndef OMEN_SNAPSHOT_FILE_H
#define OMEN_SNAPSHOT_FILE_H

#include "engine/engine.h"
#include "engine/sections.h"

#define OMEN_SNAPSHOT_FORMAT_VERSION 1u
#define OMEN_SNAPSHOT_ABOUT          16u
#define OMEN_SNAPSHOT_PART           17u
#define OMEN_SNAPSHOT_PART_MAX       (1u << 20) /* so that damage is named within a MiB */
#define OMEN_SNAPSHOT_NAME_BYTES     56u

/* ABOUT as on disk, little-endian. */
struct omen_stored_snapshot {
    uint8_t id[OMEN_SNAPSHOT_ID_BYTES]; /* random */
    char name[72];                      /* of the snapshot, then zeros */
    char collection[72];                /* the same of the collection */
    uint8_t incarnation[OMEN_INCARNATION_BYTES];
    uint32_t settings[10]; /* dim, metric, links, candidates, probes, epoch points, epoch bytes,
                              checkpoint bytes, target recall, originals */
    uint32_t algorithm_version;
    uint32_t zero;
    uint64_t log_position;
    uint64_t points;
    uint64_t created_unix_s;
};

/* ---- writing ------------------------------------------------------------------------------ */

struct omen_snapshot_writer {
    struct omen_sections_writer sections;
    unsigned char *part; /* room for a payload */
};

/* Begins the file `name` of the directory `dir`, with ABOUT. info->bytes is not read.
 * Owns: *writer, release it with omen_snapshot_write_end() or omen_snapshot_write_abandon().
 * Fails: OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED; then there is nothing to release. */
OMEN_CHECKED omen_code omen_snapshot_write_begin(struct omen_snapshot_writer *writer,
                                                 struct omen_storage *storage, int dir,
                                                 const char *name,
                                                 const struct omen_snapshot_info *info,
                                                 omen_error *err);
/* The first `bytes` of the open file `from`, which is of the same storage, as the file `name`.
 * Fails: OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED; OMEN_DATA_LOSS (it is shorter). */
OMEN_CHECKED omen_code omen_snapshot_write_file(struct omen_snapshot_writer *writer, int from,
                                                const char *name, uint64_t bytes, omen_error *err);
/* Makes the file durable under its name. Releases the writer, also on failure.
 * Fails: OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_snapshot_write_end(struct omen_snapshot_writer *writer, uint64_t *bytes,
                                               omen_error *err);
void omen_snapshot_write_abandon(struct omen_snapshot_writer *writer);

/* ---- reading ------------------------------------------------------------------------------ */

struct omen_snapshot_part {
    char name[OMEN_SNAPSHOT_NAME_BYTES + 1];
    uint64_t at;
    const void *bytes; /* borrowed until the visitor's return */
    size_t count;
};
typedef omen_code omen_snapshot_part_fn(void *user, const struct omen_snapshot_part *part,
                                        omen_error *err);

/* A snapshot's file, and what sentences call it. */
struct omen_snapshot_place {
    struct omen_storage *storage; /* all borrowed */
    int dir;
    const char *name;
    const char *title;
};

/* Of its sections, by its id. */
uint64_t omen_snapshot_stamp(const uint8_t *id);

/* Reads ABOUT.
 * Fails: OMEN_NOT_FOUND, OMEN_DATA_LOSS BAD_SNAPSHOT (damaged, or no snapshot), OMEN_UNIMPLEMENTED
 *        NEWER_FORMAT, OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_snapshot_read_info(const struct omen_snapshot_place *place,
                                               struct omen_snapshot_info *info, omen_error *err);

/* Reads and checks all of it up to the end, and shows each part; `part` may be NULL.
 * Fails: as omen_snapshot_read_info() and part(), OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_snapshot_read(const struct omen_snapshot_place *place,
                                          struct omen_snapshot_info *info,
                                          omen_snapshot_part_fn *part, void *user, omen_error *err);

#endif
