/* snapshot_file.c - see snapshot_file.h. Nothing of a section is used before its checksum was found
 * right; a file that ends without END, or goes on behind it, is damaged. */
#include "engine/snapshot_file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/memory.h"
#include "engine/settings.h"

#define PART_HEADER_BYTES (8u + OMEN_SNAPSHOT_NAME_BYTES)
#define PAYLOAD_MAX       (PART_HEADER_BYTES + OMEN_SNAPSHOT_PART_MAX)

_Static_assert(sizeof(struct omen_stored_snapshot) == 248, "no padding");
_Static_assert(OMEN_NAME_BYTES_MAX < sizeof((struct omen_stored_snapshot *)0)->name, "a name fits");

uint64_t omen_snapshot_stamp(const uint8_t *id)
{
    uint64_t stamp;

    memcpy(&stamp, id, sizeof stamp);
    return stamp;
}

/* ---- writing ------------------------------------------------------------------------------ */

omen_code omen_snapshot_write_begin(struct omen_snapshot_writer *writer,
                                    struct omen_storage *storage, int dir, const char *name,
                                    const struct omen_snapshot_info *info, omen_error *err)
{
    const struct omen_collection_settings *s = &info->settings;
    struct omen_stored_snapshot about = {
        .settings = {s->dim, s->metric, s->links, s->candidates, s->probes, s->epoch_points,
                     s->epoch_bytes, s->checkpoint_bytes, s->target_recall, s->originals},
        .algorithm_version = info->algorithm_version,
        .log_position = info->log_position,
        .points = info->points,
        .created_unix_s = info->created_unix_s};
    const struct omen_section section = {.type = OMEN_SNAPSHOT_ABOUT,
                                         .version = OMEN_SNAPSHOT_FORMAT_VERSION,
                                         .length = sizeof about};
    omen_code code = OMEN_OK;

    writer->part = omen_alloc(PAYLOAD_MAX);
    if (writer->part == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a part of a snapshot");
    memcpy(about.id, info->id, sizeof about.id);
    memcpy(about.name, info->name, sizeof info->name);
    memcpy(about.collection, info->collection, sizeof info->collection);
    memcpy(about.incarnation, info->incarnation, sizeof about.incarnation);
    code = omen_sections_create(storage, dir, name, omen_snapshot_stamp(info->id),
                                &writer->sections, err);
    if (code != OMEN_OK) {
        omen_free(writer->part);
        return code;
    }
    code = omen_sections_write(&writer->sections, &section, &about, err);
    if (code != OMEN_OK) omen_snapshot_write_abandon(writer);
    return code;
}

void omen_snapshot_write_abandon(struct omen_snapshot_writer *writer)
{
    omen_sections_abandon(&writer->sections);
    omen_free(writer->part);
}

/* `count` bytes, or less where the file ends. */
static omen_code read_some(struct omen_snapshot_writer *writer, int from, uint64_t at,
                           size_t *count, omen_error *err)
{
    if (omen_storage_read_all(writer->sections.storage, from, writer->part + PART_HEADER_BYTES,
                              count, at) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "read at offset %" PRIu64 ": %m", at + *count);
    return OMEN_OK;
}

omen_code omen_snapshot_write_file(struct omen_snapshot_writer *writer, int from, const char *name,
                                   uint64_t bytes, omen_error *err)
{
    omen_code code = OMEN_OK;

    for (uint64_t at = 0; at < bytes && code == OMEN_OK;) {
        size_t count =
            bytes - at < OMEN_SNAPSHOT_PART_MAX ? (size_t)(bytes - at) : OMEN_SNAPSHOT_PART_MAX;
        const size_t wanted = count;

        code = read_some(writer, from, at, &count, err);
        if (code == OMEN_OK && count < wanted)
            code = omen_fail(err, OMEN_DATA_LOSS,
                             "%s ends at offset %" PRIu64 ", and has %" PRIu64 " bytes", name,
                             at + count, bytes);
        if (code != OMEN_OK) break;
        const struct omen_section section = {.type = OMEN_SNAPSHOT_PART,
                                             .version = OMEN_SNAPSHOT_FORMAT_VERSION,
                                             .length = PART_HEADER_BYTES + count};
        memset(writer->part, 0, PART_HEADER_BYTES);
        memcpy(writer->part, &at, sizeof at);
        (void)strncpy((char *)writer->part + sizeof at, name, OMEN_SNAPSHOT_NAME_BYTES);
        code = omen_sections_write(&writer->sections, &section, writer->part, err);
        at += count;
    }
    return code;
}

omen_code omen_snapshot_write_end(struct omen_snapshot_writer *writer, uint64_t *bytes,
                                  omen_error *err)
{
    omen_free(writer->part);
    *bytes = writer->sections.offset + OMEN_SECTION_HEADER_BYTES;
    return omen_sections_finish(&writer->sections, err);
}

/* ---- reading ------------------------------------------------------------------------------ */

/* The stamp stands in the first section's header (sections.h), which is checked when it is read. */
static omen_code open_reader(struct omen_sections_reader *r,
                             const struct omen_snapshot_place *place, omen_error *err)
{
    struct omen_storage *storage = place->storage;
    omen_code code = omen_sections_open(storage, place->dir, place->name, 0, r, err);

    if (code != OMEN_OK) return code;
    (void)snprintf(r->name, sizeof r->name, "%s", place->title);
    if (r->size >= OMEN_SECTION_HEADER_BYTES &&
        storage->ops->read(storage, r->file, &r->stamp, sizeof r->stamp, 16) != sizeof r->stamp)
        return omen_fail(err, OMEN_UNAVAILABLE, "read %s: %m", r->name);
    return OMEN_OK;
}

static omen_code take_about(const struct omen_stored_snapshot *about,
                            const struct omen_sections_reader *r, struct omen_snapshot_info *info,
                            omen_error *err)
{
    struct omen_collection_settings *s = &info->settings;
    omen_error why;

    *info = (struct omen_snapshot_info){.algorithm_version = about->algorithm_version,
                                        .log_position = about->log_position,
                                        .points = about->points,
                                        .created_unix_s = about->created_unix_s,
                                        .bytes = r->size};
    memcpy(info->id, about->id, sizeof info->id);
    memcpy(info->name, about->name, OMEN_NAME_BYTES_MAX);
    memcpy(info->collection, about->collection, OMEN_NAME_BYTES_MAX);
    memcpy(info->incarnation, about->incarnation, sizeof info->incarnation);
    *s = (struct omen_collection_settings){
        about->settings[0], (omen_metric)about->settings[1],
        about->settings[2], about->settings[3],
        about->settings[4], about->settings[5],
        about->settings[6], about->settings[7],
        about->settings[8], (omen_originals_format)about->settings[9]};
    if (omen_snapshot_stamp(info->id) == r->stamp && omen_name_check(info->name, &why) == OMEN_OK &&
        omen_name_check(info->collection, &why) == OMEN_OK &&
        omen_settings_check(s, &why) == OMEN_OK)
        return OMEN_OK;
    return omen_fail(err, OMEN_DATA_LOSS, "%s: what it says about itself cannot be", r->name);
}

static omen_code read_about(struct omen_sections_reader *r, struct omen_snapshot_info *info,
                            omen_error *err)
{
    struct omen_stored_snapshot about;
    struct omen_section section = {0};
    omen_code code = omen_sections_next(r, &section, err);

    if (code == OMEN_OK && section.type != OMEN_SNAPSHOT_ABOUT)
        return omen_fail(err, OMEN_DATA_LOSS, "%s is no snapshot", r->name);
    if (code == OMEN_OK && section.version > OMEN_SNAPSHOT_FORMAT_VERSION)
        return omen_fail_because(err, OMEN_UNIMPLEMENTED, "NEWER_FORMAT",
                                 "%s has format version %" PRIu32 " and this program reads up to "
                                 "%u: it was written by a newer one",
                                 r->name, section.version, OMEN_SNAPSHOT_FORMAT_VERSION);
    if (code == OMEN_OK && section.length != sizeof about)
        return omen_fail(err, OMEN_DATA_LOSS, "%s: it says %" PRIu64 " bytes about itself", r->name,
                         section.length);
    if (code == OMEN_OK) code = omen_sections_read(r, &about, err);
    if (code == OMEN_OK) code = take_about(&about, r, info, err);
    return code;
}

/* Whoever asked for a snapshot is told that it is bad in one word, too. */
static omen_code with_reason(omen_code code, omen_error *err)
{
    if (code == OMEN_DATA_LOSS && err != NULL)
        (void)snprintf(err->reason, sizeof err->reason, "BAD_SNAPSHOT");
    return code;
}

omen_code omen_snapshot_read_info(const struct omen_snapshot_place *place,
                                  struct omen_snapshot_info *info, omen_error *err)
{
    struct omen_sections_reader r;
    omen_code code = open_reader(&r, place, err);

    if (code == OMEN_OK) code = read_about(&r, info, err);
    omen_sections_close(&r);
    return with_reason(code, err);
}

static omen_code show_part(struct omen_sections_reader *r, const struct omen_section *section,
                           unsigned char *payload, omen_snapshot_part_fn *part, void *user,
                           omen_error *err)
{
    struct omen_snapshot_part shown = {.bytes = payload + PART_HEADER_BYTES};
    const uint64_t offset = r->offset;
    omen_code code = OMEN_OK;

    if (section->type != OMEN_SNAPSHOT_PART || section->length > PAYLOAD_MAX ||
        section->length <= PART_HEADER_BYTES)
        return omen_fail(err, OMEN_DATA_LOSS,
                         "%s at offset %" PRIu64 ": a section of type %" PRIu32 " and %" PRIu64
                         " bytes does not belong here",
                         r->name, offset, section->type, section->length);
    code = omen_sections_read(r, payload, err);
    if (code != OMEN_OK || part == NULL) return code;
    memcpy(&shown.at, payload, sizeof shown.at);
    memcpy(shown.name, payload + sizeof shown.at, OMEN_SNAPSHOT_NAME_BYTES);
    shown.count = (size_t)section->length - PART_HEADER_BYTES;
    return part(user, &shown, err);
}

omen_code omen_snapshot_read(const struct omen_snapshot_place *place,
                             struct omen_snapshot_info *info, omen_snapshot_part_fn *part,
                             void *user, omen_error *err)
{
    unsigned char *payload = omen_alloc(PAYLOAD_MAX);
    struct omen_section section = {.type = OMEN_SNAPSHOT_ABOUT};
    struct omen_sections_reader r;
    omen_code code = OMEN_OK;

    if (payload == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a part of a snapshot");
    code = open_reader(&r, place, err);
    if (code == OMEN_OK) code = read_about(&r, info, err);
    while (code == OMEN_OK && section.type != OMEN_SECTION_END) {
        code = omen_sections_next(&r, &section, err);
        if (code == OMEN_OK && section.type != OMEN_SECTION_END)
            code = show_part(&r, &section, payload, part, user, err);
    }
    omen_sections_close(&r);
    omen_free(payload);
    return with_reason(code, err);
}
