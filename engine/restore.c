/* restore.c - a snapshot becomes a collection again, under another name and in a new incarnation.
 *
 * Happy path: the bytes are kept in snapshots/<id>.part as they come; when all are there they are
 * checked and unpacked into <incarnation>.making: the originals as they are, the checkpoint with
 * name and incarnation exchanged, a manifest that names it, and a log that begins behind it. That
 * directory is loaded as at a start, and renamed.
 *
 * Failure modes: nothing that came over the network is believed before its checksum was found
 * right, and then only what a snapshot can hold: two files of known names. Whatever fails removes
 * the part and the directory; what a crash leaves of them the next start removes.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/uio.h>

#include "engine/checkpoint.h"
#include "engine/directory.h"
#include "engine/engine_state.h"
#include "engine/estimate.h"
#include "engine/log_trim.h"
#include "engine/memory.h"
#include "engine/settings.h"
#include "engine/snapshot_file.h"
#include "engine/snapshots.h"

#define RAW_CHECKPOINT "checkpoint.raw" /* as it came, before its settings are exchanged */

struct omen_restore {
    omen_engine *engine;
    char collection[OMEN_NAME_BYTES_MAX + 1];
    int folder; /* the storage's, like the file */
    int file;
    uint64_t bytes;
    char part[OMEN_SNAPSHOT_PART_NAME_BYTES];
};

/* Unpacking one snapshot into a directory. */
struct unpacking {
    struct omen_storage *storage;
    struct omen_snapshot_info info;
    const char *name; /* the new ones */
    uint8_t incarnation[OMEN_INCARNATION_BYTES];
    char checkpoint_name[OMEN_CHECKPOINT_NAME_BYTES];
    int dir;
    int files[2]; /* the checkpoint as it came, and the originals */
    uint64_t sizes[2];
};

static omen_code restore_from(omen_engine *engine, const char *name,
                              const struct omen_snapshot_place *place,
                              struct omen_collection_info *info, omen_error *err);
static omen_code unpack(struct unpacking *u, const struct omen_snapshot_place *place,
                        const char *path, omen_error *err);
static omen_code take_part(void *user, const struct omen_snapshot_part *part, omen_error *err);
static omen_code exchange_settings(struct unpacking *u, omen_error *err);
static omen_code finish_directory(struct unpacking *u, omen_error *err);

/* ---- bytes on their way in ---------------------------------------------------------------- */

omen_code omen_restore_begin(omen_engine *engine, const char *collection, omen_restore **out,
                             omen_error *err)
{
    struct omen_storage *storage = engine->storage;
    uint8_t id[OMEN_SNAPSHOT_ID_BYTES];
    omen_restore *restore = NULL;
    omen_code code = omen_name_check(collection, err);

    *out = NULL;
    if (code == OMEN_OK) code = omen_engine_name_is_free(engine, collection, err);
    if (code != OMEN_OK) return code;
    restore = omen_alloc_zeroed(sizeof *restore);
    if (restore == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory to restore");
    restore->engine = engine;
    restore->file = restore->folder = -1;
    (void)snprintf(restore->collection, sizeof restore->collection, "%s", collection);
    code = omen_snapshots_open(engine, true, &restore->folder, err);
    if (code == OMEN_OK) code = omen_snapshots_new_id(id, restore->part, err);
    if (code == OMEN_OK) {
        restore->file =
            storage->ops->open(storage, restore->folder, restore->part, O_RDWR | O_CREAT | O_EXCL);
        if (restore->file < 0) code = omen_storage_fail(err, "create %s", restore->part);
    }
    if (code != OMEN_OK) {
        omen_restore_cancel(restore);
        return code;
    }
    *out = restore;
    return OMEN_OK;
}

omen_code omen_restore_write(omen_restore *restore, const void *bytes, size_t count,
                             omen_error *err)
{
    struct iovec part = {(void *)(uintptr_t)bytes, count};
    const omen_code code = omen_snapshots_check_room(restore->engine, count, err);

    if (code != OMEN_OK) return code;
    return omen_storage_write_all(restore->engine->storage, restore->file, &part, 1,
                                  &restore->bytes, err);
}

uint64_t omen_restore_bytes(const omen_restore *restore)
{
    return restore->bytes;
}

void omen_restore_cancel(omen_restore *restore)
{
    if (restore == NULL) return;
    struct omen_storage *storage = restore->engine->storage;

    if (restore->file >= 0) {
        storage->ops->close(storage, restore->file);
        (void)storage->ops->remove(storage, restore->folder, restore->part);
    }
    if (restore->folder >= 0) storage->ops->close(storage, restore->folder);
    omen_free(restore);
}

omen_code omen_restore_end(omen_restore *restore, struct omen_collection_info *info,
                           omen_error *err)
{
    const struct omen_snapshot_place place = {restore->engine->storage, restore->folder,
                                              restore->part, "the snapshot"};
    const omen_code code = restore_from(restore->engine, restore->collection, &place, info, err);

    omen_restore_cancel(restore);
    return code;
}

omen_code omen_snapshot_restore(omen_engine *engine, const char *snapshot, const char *collection,
                                struct omen_collection_info *info, omen_error *err)
{
    char entry[OMEN_SNAPSHOT_FILE_NAME_BYTES];
    int dir = -1;
    omen_code code = omen_name_check(collection, err);

    if (code == OMEN_OK) code = omen_engine_name_is_free(engine, collection, err);
    if (code == OMEN_OK) code = omen_snapshots_open(engine, false, &dir, err);
    if (code != OMEN_OK) return code;
    omen_snapshots_file_name(snapshot, entry);
    const struct omen_snapshot_place place = {engine->storage, dir, entry, entry};
    if (dir >= 0) code = restore_from(engine, collection, &place, info, err);
    if (dir < 0 || code == OMEN_NOT_FOUND)
        code =
            omen_fail_because(err, OMEN_NOT_FOUND, "SNAPSHOT_NOT_FOUND",
                              "snapshot '%.*s' does not exist", (int)OMEN_NAME_BYTES_MAX, snapshot);
    if (dir >= 0) engine->storage->ops->close(engine->storage, dir);
    return code;
}

/* ---- the collection ----------------------------------------------------------------------- */

static omen_code check_version(const struct omen_snapshot_info *info, omen_error *err)
{
    if (info->algorithm_version >= OMEN_ALGORITHM_VERSION_MIN &&
        info->algorithm_version <= OMEN_ALGORITHM_VERSION)
        return OMEN_OK;
    return omen_fail_because(err, OMEN_UNIMPLEMENTED, "OTHER_ALGORITHM",
                             "the snapshot has algorithm version %" PRIu32 ", and this server "
                             "restores those of version %u",
                             info->algorithm_version, OMEN_ALGORITHM_VERSION);
}

/* Before anything is unpacked; what is loaded counts from then on as it does at a start. */
static omen_code check_memory(omen_engine *engine, const struct omen_snapshot_info *info,
                              omen_error *err)
{
    const struct omen_memory_budget *budget = &engine->memory;
    const uint64_t needed = omen_estimate_memory(&info->settings, info->points, budget->captures);
    const uint64_t used = atomic_load_explicit(&budget->used, memory_order_relaxed);

    if (budget->limit == 0 || used + needed <= budget->limit) return OMEN_OK;
    return omen_fail_because(err, OMEN_RESOURCE_EXHAUSTED, "MEMORY_LIMIT",
                             "%" PRIu64 " bytes of memory are needed, and %" PRIu64 " of %" PRIu64
                             " are in use",
                             needed, used, budget->limit);
}

/* Everything that may fail happens in <incarnation>.making. */
static omen_code restore_from(omen_engine *engine, const char *name,
                              const struct omen_snapshot_place *place,
                              struct omen_collection_info *info, omen_error *err)
{
    struct unpacking u = {.storage = engine->storage, .name = name, .dir = -1, .files = {-1, -1}};
    char making[OMEN_DIRECTORY_NAME_BYTES];
    const size_t size = strlen(engine->data_dir) + sizeof making + 1;
    omen_collection *c = NULL;
    char *path = NULL;
    omen_code code = omen_snapshot_read_info(place, &u.info, err);

    if (code == OMEN_OK) code = check_version(&u.info, err);
    if (code == OMEN_OK) code = omen_snapshots_check_room(engine, u.info.bytes, err);
    if (code == OMEN_OK) code = check_memory(engine, &u.info, err);
    if (code != OMEN_OK) return code;
    if (getrandom(u.incarnation, sizeof u.incarnation, 0) != (ssize_t)sizeof u.incarnation)
        return omen_fail(err, OMEN_UNAVAILABLE, "no random bytes for an incarnation");
    path = omen_alloc(size);
    if (path == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a path of %zu bytes", size);
    omen_directory_name(u.incarnation, ".making", making);
    (void)snprintf(path, size, "%s/%s", engine->data_dir, making);
    code = omen_directory_make(engine->storage, engine->dir, making, err);
    if (code == OMEN_OK) code = unpack(&u, place, path, err);
    if (code == OMEN_OK)
        code = omen_collection_load(engine, path, &c, err); /* takes path */
    else
        omen_free(path);
    if (code == OMEN_OK) code = omen_engine_adopt(engine, c, info, err); /* takes c */
    if (code != OMEN_OK) {
        omen_directory_remove(engine->storage, engine->dir, engine->data_dir, making);
        return code;
    }
    omen_engine_tell(engine, OMEN_EVENT_INFO, "collection '%s' restored: %" PRIu64 " points", name,
                     info->points);
    return OMEN_OK;
}

static omen_code unpack(struct unpacking *u, const struct omen_snapshot_place *place,
                        const char *path, omen_error *err)
{
    omen_code code = OMEN_OK;

    omen_checkpoint_name(u->info.log_position, u->checkpoint_name);
    u->dir = u->storage->ops->open_dir(u->storage, path);
    if (u->dir < 0) return omen_storage_fail(err, "open %s", path);
    code = omen_snapshot_read(place, &u->info, take_part, u, err);
    if (code == OMEN_OK) code = exchange_settings(u, err);
    if (code == OMEN_OK) code = finish_directory(u, err);
    for (size_t i = 0; i < 2; i++)
        if (u->files[i] >= 0) u->storage->ops->close(u->storage, u->files[i]);
    u->storage->ops->close(u->storage, u->dir);
    return code;
}

static omen_code take_part(void *user, const struct omen_snapshot_part *part, omen_error *err)
{
    struct unpacking *u = user;
    const char *const names[2] = {
        u->checkpoint_name, omen_originals_name(u->info.settings.originals == OMEN_ORIGINALS_F16)};
    struct iovec bytes = {(void *)(uintptr_t)part->bytes, part->count};
    uint64_t at = part->at;
    size_t i = 0;

    while (i < 2 && strcmp(part->name, names[i]) != 0)
        i++;
    if (i == 2 || part->at != u->sizes[i])
        return omen_fail(err, OMEN_DATA_LOSS,
                         "the snapshot has bytes of a file '%.*s' from offset %" PRIu64
                         ", which do not belong there",
                         (int)OMEN_SNAPSHOT_NAME_BYTES, part->name, part->at);
    if (u->files[i] < 0) {
        const char *name = i == 0 ? RAW_CHECKPOINT : names[i];

        u->files[i] = u->storage->ops->open(u->storage, u->dir, name, O_RDWR | O_CREAT | O_EXCL);
        if (u->files[i] < 0) return omen_storage_fail(err, "create %s", name);
    }
    u->sizes[i] += part->count;
    return omen_storage_write_all(u->storage, u->files[i], &bytes, 1, &at, err);
}

/* One of the checkpoint's sections; SETTINGS, which say whose it is, become the new one's. */
static omen_code copy_section(struct unpacking *u, struct omen_sections_reader *reader,
                              struct omen_sections_writer *writer, struct omen_section *section,
                              omen_error *err)
{
    struct omen_settings_made made = {.name = ""};
    uint8_t settings[OMEN_SETTINGS_BYTES_MAX];
    unsigned char *payload = omen_alloc((size_t)section->length);
    omen_code code = OMEN_OK;

    if (payload == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory for %" PRIu64 " bytes",
                         section->length);
    code = omen_sections_read(reader, payload, err);
    if (code == OMEN_OK && section->type == OMEN_CHECKPOINT_SETTINGS) {
        code = omen_settings_read(payload, (size_t)section->length, section->version, &made, err);
        section->length = omen_settings_write(settings, section->version, u->name, u->incarnation,
                                              &made.settings);
        if (code == OMEN_OK) code = omen_sections_write(writer, section, settings, err);
    } else if (code == OMEN_OK) {
        code = omen_sections_write(writer, section, payload, err);
    }
    omen_free(payload);
    return code;
}

static omen_code exchange_settings(struct unpacking *u, omen_error *err)
{
    const uint64_t stamp = u->info.log_position;
    struct omen_section section = {.type = OMEN_CHECKPOINT_STATE};
    struct omen_sections_reader reader;
    struct omen_sections_writer writer;
    omen_code code = OMEN_OK;

    if (u->files[0] < 0)
        return omen_fail_because(err, OMEN_DATA_LOSS, "BAD_SNAPSHOT",
                                 "the snapshot has no checkpoint");
    code = omen_sections_open(u->storage, u->dir, RAW_CHECKPOINT, stamp, &reader, err);
    if (code == OMEN_OK)
        code = omen_sections_create(u->storage, u->dir, u->checkpoint_name, stamp, &writer, err);
    if (code != OMEN_OK) {
        omen_sections_close(&reader);
        return code;
    }
    for (;;) {
        code = omen_sections_next(&reader, &section, err);
        if (code != OMEN_OK || section.type == OMEN_SECTION_END) break;
        code = copy_section(u, &reader, &writer, &section, err);
        if (code != OMEN_OK) break;
    }
    omen_sections_close(&reader);
    if (code == OMEN_OK) return omen_sections_finish(&writer, err);
    omen_sections_abandon(&writer);
    return code;
}

/* What else a collection's directory has, and syncs. */
static omen_code finish_directory(struct unpacking *u, omen_error *err)
{
    const struct omen_manifest manifest = {.positions = {u->info.log_position}, .count = 1};
    omen_code code = OMEN_OK;

    (void)u->storage->ops->remove(u->storage, u->dir, RAW_CHECKPOINT);
    if (u->files[1] >= 0 && u->storage->ops->sync(u->storage, u->files[1], true) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "sync the originals: %m");
    code = omen_manifest_store(u->storage, u->dir, &manifest, err);
    if (code == OMEN_OK)
        code = omen_log_trim_begin(u->storage, u->dir, u->info.log_position + 1, err);
    return code;
}
