/* manifest.c - which checkpoint files count; see manifest.h. */
#include "engine/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sections.h"

#define MANIFEST       "checkpoints.omen"
#define MANIFEST_STAMP 0x7473656666696e6du
#define POSITIONS      1u /* the one type of section */

void omen_checkpoint_name(uint64_t position, char name[OMEN_CHECKPOINT_NAME_BYTES])
{
    (void)snprintf(name, OMEN_CHECKPOINT_NAME_BYTES, "checkpoint-%020" PRIu64 ".omen", position);
}

static omen_code read_positions(struct omen_sections_reader *reader, struct omen_manifest *out,
                                omen_error *err)
{
    struct omen_section section;
    omen_code code = omen_sections_next(reader, &section, err);

    if (code != OMEN_OK) return code;
    if (section.version > OMEN_MANIFEST_VERSION)
        return omen_fail(err, OMEN_UNIMPLEMENTED,
                         MANIFEST " has version %u; this server reads up to %u", section.version,
                         OMEN_MANIFEST_VERSION);
    if (section.type != POSITIONS || section.length > sizeof out->positions ||
        section.length % sizeof *out->positions != 0)
        return omen_fail(err, OMEN_DATA_LOSS,
                         MANIFEST " has a section of type %u, %" PRIu64 " bytes", section.type,
                         section.length);
    code = omen_sections_read(reader, out->positions, err);
    if (code == OMEN_OK) code = omen_sections_next(reader, &section, err);
    if (code == OMEN_OK && section.type != OMEN_SECTION_END)
        code = omen_fail(err, OMEN_DATA_LOSS, MANIFEST " has more than one section");
    return code;
}

omen_code omen_manifest_load(struct omen_storage *storage, int dir, struct omen_manifest *out,
                             omen_error *err)
{
    struct omen_sections_reader reader;
    omen_code code = omen_sections_open(storage, dir, MANIFEST, MANIFEST_STAMP, &reader, err);

    *out = (struct omen_manifest){.count = 0};
    if (code == OMEN_OK) code = read_positions(&reader, out, err);
    omen_sections_close(&reader);
    if (code == OMEN_NOT_FOUND) return OMEN_OK;
    while (code == OMEN_OK && out->count < OMEN_CHECKPOINTS_KEPT && out->positions[out->count] != 0)
        out->count++;
    return code;
}

omen_code omen_manifest_store(struct omen_storage *storage, int dir,
                              const struct omen_manifest *manifest, omen_error *err)
{
    const struct omen_section section = {.type = POSITIONS,
                                         .version = OMEN_MANIFEST_VERSION,
                                         .length = manifest->count * sizeof(uint64_t)};
    struct omen_sections_writer writer;
    omen_code code = omen_sections_create(storage, dir, MANIFEST, MANIFEST_STAMP, &writer, err);

    if (code != OMEN_OK) return code;
    code = omen_sections_write(&writer, &section, manifest->positions, err);
    if (code == OMEN_OK) return omen_sections_finish(&writer, err);
    omen_sections_abandon(&writer);
    return code;
}

/* ---- without one ---------------------------------------------------------------------------- */

static bool find_newest(void *user, const char *name)
{
    struct omen_manifest *found = user;
    char wanted[OMEN_CHECKPOINT_NAME_BYTES];
    uint64_t position = 0;

    if (strncmp(name, "checkpoint-", 11) != 0) return true;
    position = strtoull(name + 11, NULL, 10);
    omen_checkpoint_name(position, wanted);
    if (strcmp(name, wanted) != 0 || position == 0) return true;
    if (position > found->positions[0]) {
        found->positions[1] = found->positions[0];
        found->positions[0] = position;
    } else if (position > found->positions[1]) {
        found->positions[1] = position;
    }
    return true;
}

omen_code omen_manifest_find(struct omen_storage *storage, int dir, struct omen_manifest *out,
                             omen_error *err)
{
    _Static_assert(OMEN_CHECKPOINTS_KEPT == 2, "as many are looked for");
    *out = (struct omen_manifest){.count = 0};
    if (storage->ops->list(storage, dir, find_newest, out) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "list the collection's directory: %m");
    out->count = out->positions[0] == 0 ? 0 : out->positions[1] == 0 ? 1 : 2;
    return OMEN_OK;
}

/* ---- cleaning ------------------------------------------------------------------------------ */

struct cleaning {
    const struct omen_manifest *manifest;
    char name[OMEN_SECTIONS_NAME_BYTES]; /* of a file to remove; empty: none */
};

static bool look_at(void *user, const char *name)
{
    struct cleaning *cleaning = user;
    char kept[OMEN_CHECKPOINT_NAME_BYTES];

    if (strncmp(name, "checkpoint-", 11) != 0 || strlen(name) >= sizeof cleaning->name) return true;
    for (uint32_t i = 0; i < cleaning->manifest->count; i++) {
        omen_checkpoint_name(cleaning->manifest->positions[i], kept);
        if (strcmp(name, kept) == 0) return true;
    }
    (void)snprintf(cleaning->name, sizeof cleaning->name, "%s", name);
    return false;
}

void omen_manifest_clean(struct omen_storage *storage, int dir,
                         const struct omen_manifest *manifest)
{
    struct cleaning cleaning = {.manifest = manifest};

    /* One at a time: names must not change under a listing. */
    do {
        cleaning.name[0] = '\0';
        if (storage->ops->list(storage, dir, look_at, &cleaning) != 0) return;
        if (cleaning.name[0] == '\0') return;
    } while (storage->ops->remove(storage, dir, cleaning.name) == 0);
}
