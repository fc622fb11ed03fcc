/* sections.c - see sections.h. */
#include "engine/sections.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/memory.h"
#include "engine/record.h"

#define HEADER_CHECKSUM_AT 36u
/* Writes and syncs of this size: a log on the same disk never waits long for its own. */
#define WRITE_BYTES (4u << 20)
#define SYNC_BYTES  (32u << 20)
/* Read and checked while it is in the cache. */
#define READ_BYTES (256u << 10)

static const char zeros[8];

struct header {
    uint32_t type, version, index, number;
    uint64_t stamp, length;
    uint32_t checksum, header_checksum;
};
_Static_assert(sizeof(struct header) == OMEN_SECTION_HEADER_BYTES, "as on disk");

static size_t padding_of(uint64_t length)
{
    return (size_t)(-length & 7);
}

#define BESIDE_BYTES (OMEN_SECTIONS_NAME_BYTES + 4u)

static void name_beside(const struct omen_sections_writer *w, char beside[BESIDE_BYTES])
{
    (void)snprintf(beside, BESIDE_BYTES, "%s.new", w->name);
}

omen_code omen_sections_create(struct omen_storage *storage, int dir, const char *name,
                               uint64_t stamp, struct omen_sections_writer *out, omen_error *err)
{
    char beside[BESIDE_BYTES];

    *out = (struct omen_sections_writer){.storage = storage, .dir = dir, .stamp = stamp};
    (void)snprintf(out->name, sizeof out->name, "%s", name);
    name_beside(out, beside);
    out->file = storage->ops->open(storage, dir, beside, O_RDWR | O_CREAT | O_TRUNC);
    if (out->file >= 0) return OMEN_OK;
    return omen_storage_fail(err, "create %s", beside);
}

omen_code omen_sections_finish(struct omen_sections_writer *writer, omen_error *err)
{
    const struct omen_section end = {.type = OMEN_SECTION_END};
    struct omen_storage *storage = writer->storage;
    char beside[BESIDE_BYTES];
    omen_code code = omen_sections_write(writer, &end, "", err);

    name_beside(writer, beside);
    if (code == OMEN_OK && storage->ops->sync(storage, writer->file, true) != 0)
        code = omen_fail(err, OMEN_UNAVAILABLE, "sync %s: %m", beside);
    if (code == OMEN_OK && storage->ops->rename(storage, writer->dir, beside, writer->name) != 0)
        code = omen_storage_fail(err, "rename %s", beside);
    if (code != OMEN_OK) {
        omen_sections_abandon(writer);
        return code;
    }
    storage->ops->close(storage, writer->file);
    if (storage->ops->sync(storage, writer->dir, true) != 0)
        code = omen_fail(err, OMEN_UNAVAILABLE, "sync the directory of %s: %m", writer->name);
    return code;
}

void omen_sections_abandon(struct omen_sections_writer *writer)
{
    char beside[BESIDE_BYTES];

    name_beside(writer, beside);
    writer->storage->ops->close(writer->storage, writer->file);
    (void)writer->storage->ops->remove(writer->storage, writer->dir, beside);
}

static omen_code write_at_end(struct omen_sections_writer *w, const void *bytes, size_t count,
                              omen_error *err)
{
    const char *at = bytes;

    while (count > 0) {
        const size_t step = count < WRITE_BYTES ? count : WRITE_BYTES;
        struct iovec part = {(void *)(uintptr_t)at, step};
        omen_code code = omen_storage_write_all(w->storage, w->file, &part, 1, &w->offset, err);

        if (code != OMEN_OK) return code;
        if (w->offset - w->synced >= SYNC_BYTES) {
            if (w->storage->ops->sync(w->storage, w->file, false) != 0)
                return omen_fail(err, OMEN_UNAVAILABLE, "sync at offset %" PRIu64 ": %m",
                                 w->offset);
            w->synced = w->offset;
        }
        at += step;
        count -= step;
    }
    return OMEN_OK;
}

omen_code omen_sections_write(struct omen_sections_writer *writer,
                              const struct omen_section *section, const void *payload,
                              omen_error *err)
{
    omen_error failure;
    struct header header = {.type = section->type,
                            .version = section->version,
                            .index = section->index,
                            .number = writer->number,
                            .stamp = writer->stamp,
                            .length = section->length};
    omen_code code;

    assert(section->length <= OMEN_SECTION_BYTES_MAX);
    header.checksum = omen_record_checksum(0, payload, (size_t)section->length);
    header.header_checksum = omen_record_checksum(0, &header, HEADER_CHECKSUM_AT);
    code = write_at_end(writer, &header, sizeof header, &failure);
    if (code == OMEN_OK) code = write_at_end(writer, payload, (size_t)section->length, &failure);
    if (code == OMEN_OK) code = write_at_end(writer, zeros, padding_of(section->length), &failure);
    writer->number++;
    if (code != OMEN_OK) return omen_fail(err, code, "%s: %s", writer->name, failure.message);
    return OMEN_OK;
}

/* ---- reading ------------------------------------------------------------------------------- */

omen_code omen_sections_open(struct omen_storage *storage, int dir, const char *name,
                             uint64_t stamp, struct omen_sections_reader *out, omen_error *err)
{
    *out = (struct omen_sections_reader){.storage = storage, .stamp = stamp};
    (void)snprintf(out->name, sizeof out->name, "%s", name);
    out->file = storage->ops->open(storage, dir, name, O_RDONLY);
    if (out->file < 0 && errno == ENOENT)
        return omen_fail(err, OMEN_NOT_FOUND, "%s is missing", name);
    const int64_t size = out->file < 0 ? -1 : storage->ops->size(storage, out->file);
    if (size < 0) return omen_fail(err, OMEN_UNAVAILABLE, "open %s: %m", name);
    out->size = (uint64_t)size;
    return OMEN_OK;
}

void omen_sections_close(struct omen_sections_reader *reader)
{
    if (reader->file >= 0) reader->storage->ops->close(reader->storage, reader->file);
    reader->file = -1;
}

static omen_code read_all(const struct omen_sections_reader *r, void *out, size_t count,
                          uint64_t offset, omen_error *err)
{
    size_t got = count;

    if (offset > r->size || count > r->size - offset)
        return omen_fail(err, OMEN_DATA_LOSS, "%s is damaged at offset %" PRIu64 ": it ends there",
                         r->name, r->size);
    if (omen_storage_read_all(r->storage, r->file, out, &got, offset) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "read %s at offset %" PRIu64 ": %m", r->name,
                         offset + got);
    if (got < count)
        return omen_fail(err, OMEN_DATA_LOSS, "%s is damaged at offset %" PRIu64 ": it ends there",
                         r->name, offset + got);
    return OMEN_OK;
}

omen_code omen_sections_next(struct omen_sections_reader *reader, struct omen_section *out,
                             omen_error *err)
{
    struct header header;
    const char *flaw = NULL;
    omen_code code = read_all(reader, &header, sizeof header, reader->offset, err);

    if (code != OMEN_OK) return code;
    if (omen_record_checksum(0, &header, HEADER_CHECKSUM_AT) != header.header_checksum)
        flaw = "a section's header has a wrong checksum";
    else if (header.number != reader->number || header.stamp != reader->stamp)
        flaw = "the section belongs elsewhere";
    else if (header.length > OMEN_SECTION_BYTES_MAX)
        flaw = "the section is longer than any can be";
    else if (header.type == OMEN_SECTION_END &&
             (header.length != 0 || reader->offset + sizeof header != reader->size))
        flaw = "something follows the last section";
    if (flaw != NULL)
        return omen_fail(err, OMEN_DATA_LOSS, "%s is damaged at offset %" PRIu64 ": %s",
                         reader->name, reader->offset, flaw);
    reader->number++;
    reader->offset += sizeof header;
    reader->length = header.length;
    reader->checksum = header.checksum;
    *out = (struct omen_section){header.type, header.version, header.index, header.length};
    return OMEN_OK;
}

omen_code omen_sections_read(struct omen_sections_reader *reader, void *out, omen_error *err)
{
    const uint64_t begin = reader->offset;
    const size_t padding = padding_of(reader->length);
    unsigned char rest[8] = {0};
    uint32_t checksum = 0;
    omen_code code = OMEN_OK;

    for (uint64_t done = 0; done < reader->length && code == OMEN_OK;) {
        const uint64_t left = reader->length - done;
        const size_t step = left < READ_BYTES ? (size_t)left : READ_BYTES;

        code = read_all(reader, (char *)out + done, step, begin + done, err);
        if (code != OMEN_OK) return code;
        checksum = omen_record_checksum(checksum, (char *)out + done, step);
        done += step;
    }
    code = read_all(reader, rest, padding, begin + reader->length, err);
    if (code != OMEN_OK) return code;
    if (checksum != reader->checksum)
        return omen_fail(err, OMEN_DATA_LOSS,
                         "%s is damaged at offset %" PRIu64 " or in the %" PRIu64
                         " bytes behind it: the checksum is wrong",
                         reader->name, begin, reader->length);
    if (memcmp(rest, zeros, sizeof rest) != 0)
        return omen_fail(err, OMEN_DATA_LOSS,
                         "%s is damaged at offset %" PRIu64 ": the padding is not zero",
                         reader->name, begin + reader->length);
    reader->offset = begin + reader->length + padding;
    return OMEN_OK;
}

/* ---- damaged files ------------------------------------------------------------------------- */

void omen_sections_skip(struct omen_sections_reader *reader)
{
    const uint64_t behind = reader->offset + reader->length + padding_of(reader->length);

    reader->offset = behind < reader->size ? behind : reader->size;
}

omen_code omen_sections_check(struct omen_sections_reader *reader, omen_error *err)
{
    const struct omen_sections_reader begin = *reader;
    char *piece = omen_alloc(READ_BYTES);
    uint32_t checksum = 0;
    omen_code code = OMEN_OK;

    if (piece == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory to read a section");
    for (uint64_t done = 0; done < begin.length && code == OMEN_OK;) {
        const uint64_t left = begin.length - done;
        const size_t step = left < READ_BYTES ? (size_t)left : READ_BYTES;

        code = read_all(reader, piece, step, begin.offset + done, err);
        checksum = omen_record_checksum(checksum, piece, step);
        done += step;
    }
    if (code == OMEN_OK) /* the padding follows */
        code = read_all(reader, piece, padding_of(begin.length), begin.offset + begin.length, err);
    if (code == OMEN_OK &&
        (checksum != begin.checksum || memcmp(piece, zeros, padding_of(begin.length)) != 0))
        code = omen_fail(err, OMEN_DATA_LOSS,
                         "%s is damaged at offset %" PRIu64 " or in the %" PRIu64
                         " bytes behind it: the checksum is wrong",
                         begin.name, begin.offset, begin.length);
    omen_free(piece);
    omen_sections_skip(reader);
    return code;
}

/* A header that can be the next one, or a later one. */
static bool is_header(const struct omen_sections_reader *reader, const char *bytes)
{
    struct header header;

    memcpy(&header, bytes, sizeof header);
    return header.stamp == reader->stamp && header.number >= reader->number &&
           header.length <= OMEN_SECTION_BYTES_MAX &&
           omen_record_checksum(0, &header, HEADER_CHECKSUM_AT) == header.header_checksum;
}

omen_code omen_sections_find(struct omen_sections_reader *reader, bool *found, omen_error *err)
{
    char *block = omen_alloc(READ_BYTES);
    uint64_t at = reader->offset + 8;
    struct header header;
    omen_code code = OMEN_OK;

    *found = false;
    if (block == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory to read a section");
    while (!*found && at + sizeof header <= reader->size) {
        const uint64_t left = reader->size - at;
        const size_t step = left < READ_BYTES ? (size_t)left : READ_BYTES;
        size_t i = 0;

        code = read_all(reader, block, step, at, err);
        if (code != OMEN_OK) break;
        while (i + sizeof header <= step && !is_header(reader, block + i))
            i += 8;
        at += i;
        *found = i + sizeof header <= step;
        if (*found) memcpy(&header, block + i, sizeof header);
    }
    omen_free(block);
    if (!*found) return code;
    reader->offset = at;
    reader->number = header.number;
    return OMEN_OK;
}
