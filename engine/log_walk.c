/* log_walk.c - see log_walk.h.
 *
 * Happy path: read a block, show its records one by one, read the next block from the first record
 * that does not fit.
 *
 * Failure modes: a header or payload that ends after the file does, a wrong checksum, padding that
 * is not zero and a position out of order are flaws and end the walk without failing. Nothing of a
 * record is used before its checksum was found right.
 */
#include "engine/log_walk.h"

#include <errno.h>
#include <inttypes.h>

#include "engine/memory.h"

/* Eight times the largest record, so that little is read twice where a record crosses blocks. */
#define WINDOW_BYTES (4u << 20)
_Static_assert(WINDOW_BYTES >= 2 * OMEN_RECORD_BYTES_MAX, "a record must fit the window");

static omen_code look(struct omen_log_walk *walk, uint64_t offset,
                      struct omen_record_header *header, const unsigned char **bytes,
                      omen_error *err);
static omen_code show(struct omen_log_walk *walk, uint64_t offset, size_t count,
                      const unsigned char **bytes, omen_error *err);
static bool could_follow(const struct omen_log_walk *walk, const unsigned char *bytes);
static bool is_mark(const struct omen_log_walk *walk, const struct omen_record_header *header);
static omen_code refuse_stranger(const struct omen_log_walk *walk,
                                 const struct omen_record_header *header, omen_error *err);

omen_code omen_log_walk_init(struct omen_log_walk *walk, const struct omen_log_source *source,
                             omen_error *err)
{
    struct omen_record_header header;
    const unsigned char *bytes = NULL;

    *walk = (struct omen_log_walk){.source = *source, .position = source->first};
    walk->window_room = source->end < WINDOW_BYTES ? (size_t)source->end : WINDOW_BYTES;
    walk->window = omen_alloc(walk->window_room);
    if (walk->window == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory for %zu bytes to read %s",
                         walk->window_room, source->name);

    omen_code code = look(walk, 0, &header, &bytes, err);
    if (code != OMEN_OK || walk->flaw != NULL) return code;
    code = refuse_stranger(walk, &header, err);
    if (code != OMEN_OK) return code;
    if (header.position != source->first || header.length != 0)
        return omen_fail(err, OMEN_DATA_LOSS,
                         "%s at offset 0: the file's own record says position %" PRIu64
                         ", length %" PRIu32,
                         source->name, header.position, header.length);
    walk->offset = OMEN_RECORD_HEADER_BYTES;
    return OMEN_OK;
}

void omen_log_walk_deinit(struct omen_log_walk *walk)
{
    omen_free(walk->window);
    walk->window = NULL;
}

omen_code omen_log_walk_next(struct omen_log_walk *walk, struct omen_record_header *header,
                             const unsigned char **payload, omen_error *err)
{
    const unsigned char *bytes = NULL;

    *payload = NULL;
    if (walk->flaw != NULL || walk->offset == walk->source.end) return OMEN_OK;
    omen_code code = look(walk, walk->offset, header, &bytes, err);
    if (code != OMEN_OK || walk->flaw != NULL) return code;
    if (is_mark(walk, header)) {
        if (walk->offset + OMEN_RECORD_HEADER_BYTES == walk->source.end)
            walk->source.end = walk->offset;
        else
            walk->flaw = "there is something behind the mark of a sync";
        return OMEN_OK;
    }
    code = refuse_stranger(walk, header, err);
    if (code != OMEN_OK) return code;
    if (header->position != walk->position) {
        walk->flaw = "the position is out of order";
        return OMEN_OK;
    }
    walk->offset += omen_record_stored_bytes(header->length);
    walk->position++;
    *payload = bytes + OMEN_RECORD_HEADER_BYTES;
    return OMEN_OK;
}

/* Records begin at multiples of 8. A payload may contain bytes that look like a record, so a find
 * must also have a position that could follow. Two finds need no claim: behind a file's own record,
 * which was synced before anything else went in, any record; and a whole record that stands where
 * another one belongs, since no unfinished write makes that. */
omen_code omen_log_walk_was_synced(struct omen_log_walk *walk, bool *synced, omen_error *err)
{
    struct omen_record_header header;
    const unsigned char *bytes = NULL;
    const char *flaw = walk->flaw;
    omen_code code = OMEN_OK;

    *synced = false;
    for (uint64_t at = walk->offset; at < walk->source.end && !*synced && code == OMEN_OK;
         at += 8) {
        if (walk->source.end - at < OMEN_RECORD_HEADER_BYTES) break;
        code = show(walk, at, OMEN_RECORD_HEADER_BYTES, &bytes, err);
        if (code != OMEN_OK || !could_follow(walk, bytes)) continue;
        walk->flaw = NULL;
        code = look(walk, at, &header, &bytes, err);
        if (code != OMEN_OK || walk->flaw != NULL) continue;
        *synced = omen_record_synced(&header) >= walk->position ||
                  (header.type != OMEN_RECORD_FILE && (at == walk->offset || walk->offset == 0));
    }
    walk->flaw = flaw;
    return code;
}

/* Cheap, before the checksum is computed at every eighth byte. */
static bool could_follow(const struct omen_log_walk *walk, const unsigned char *bytes)
{
    struct omen_record_header header;

    return omen_record_decode(bytes, &header) && header.position >= walk->position &&
           header.position - walk->position <= walk->source.end / OMEN_RECORD_HEADER_BYTES &&
           (header.type != OMEN_RECORD_FILE || header.format_version >= 2);
}

/* The mark of a sync (log.h): written behind the last record, and overwritten by the next. */
static bool is_mark(const struct omen_log_walk *walk, const struct omen_record_header *header)
{
    return header->type == OMEN_RECORD_FILE && header->format_version >= 2 &&
           header->format_version <= OMEN_LOG_FORMAT_VERSION && header->length == 0 &&
           walk->offset != 0 && header->position == walk->position - 1;
}

/* The record at `offset`, if one is there: its header and its bytes. Else walk->flaw says why not.
 */
static omen_code look(struct omen_log_walk *walk, uint64_t offset,
                      struct omen_record_header *header, const unsigned char **bytes,
                      omen_error *err)
{
    if (walk->source.end - offset < OMEN_RECORD_HEADER_BYTES) {
        walk->flaw = "the header is cut short";
        return OMEN_OK;
    }
    omen_code code = show(walk, offset, OMEN_RECORD_HEADER_BYTES, bytes, err);
    if (code != OMEN_OK) return code;
    if (!omen_record_decode(*bytes, header)) {
        walk->flaw = "the header is impossible";
        return OMEN_OK;
    }
    const size_t stored = omen_record_stored_bytes(header->length);
    if (walk->source.end - offset < stored) {
        walk->flaw = "the payload is cut short";
        return OMEN_OK;
    }
    code = show(walk, offset, stored, bytes, err);
    if (code == OMEN_OK) walk->flaw = omen_record_flaw(header, *bytes);
    return code;
}

/* `count` bytes of the file at `offset`, which are all before the end. */
static omen_code show(struct omen_log_walk *walk, uint64_t offset, size_t count,
                      const unsigned char **bytes, omen_error *err)
{
    if (offset < walk->window_offset || offset + count > walk->window_offset + walk->window_bytes) {
        walk->window_offset = offset;
        walk->window_bytes = 0;
    }
    while (walk->window_bytes < offset - walk->window_offset + count) {
        const uint64_t at = walk->window_offset + walk->window_bytes;
        const uint64_t left = walk->source.end - at;
        size_t room = walk->window_room - walk->window_bytes;
        if (left < room) room = (size_t)left;
        const ssize_t got = walk->source.storage->ops->read(
            walk->source.storage, walk->source.file, walk->window + walk->window_bytes, room, at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return omen_fail(err, OMEN_UNAVAILABLE, "read %s at offset %" PRIu64 ": %m",
                             walk->source.name, at);
        if (got == 0)
            return omen_fail(err, OMEN_UNAVAILABLE,
                             "read %s at offset %" PRIu64 ": the file ended before offset %" PRIu64,
                             walk->source.name, at, walk->source.end);
        walk->window_bytes += (size_t)got;
    }
    *bytes = walk->window + (offset - walk->window_offset);
    return OMEN_OK;
}

/* A record with a good checksum that this program must not skip and cannot read. */
static omen_code refuse_stranger(const struct omen_log_walk *walk,
                                 const struct omen_record_header *header, omen_error *err)
{
    const bool own_place = walk->offset == 0;

    if (header->format_version > OMEN_LOG_FORMAT_VERSION)
        return omen_fail(err, OMEN_UNIMPLEMENTED,
                         "%s at offset %" PRIu64 ": the format version is %u and this program "
                         "reads up to %u: it was written by a newer one",
                         walk->source.name, walk->offset, header->format_version,
                         OMEN_LOG_FORMAT_VERSION);
    if (header->format_version == 0)
        return omen_fail(err, OMEN_DATA_LOSS,
                         "%s at offset %" PRIu64 ": there is no format version 0",
                         walk->source.name, walk->offset);
    if (header->type > OMEN_RECORD_CHECKPOINT || (header->type == OMEN_RECORD_FILE) != own_place)
        return omen_fail(err, OMEN_DATA_LOSS,
                         "%s at offset %" PRIu64 ": a record of type %u does not belong here",
                         walk->source.name, walk->offset, header->type);
    return OMEN_OK;
}
