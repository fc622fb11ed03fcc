/* snapshot.c - making a snapshot: a checkpoint, its originals, and the file that holds both.
 *
 * Happy path: have a checkpoint written; hold on to its slots; copy its file and the originals of
 * its slots into <id>.part, sync, and give that its name.
 *
 * The originals are copied while writers write. That is sound because of how slots are used again:
 * the original of a point that lives at the checkpoint P can be erased, and its slot used again, at
 * the second CHECKPOINT record behind P at the earliest, and that one is not written while a reader
 * from between P and the first is there (grace.h). We are such a reader: we pin, and then see that
 * the boundary of P is the last one published, which happens before its turn. So no row that the
 * checkpoint needs is changed, and what is written meanwhile stands in slots that it does not use.
 *
 * Failure modes: whatever fails removes the part, and a crash leaves it for the next start to
 * remove; a name appears only with all of its bytes behind it.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine/checkpoint.h"
#include "engine/engine_state.h"
#include "engine/fault_point.h"
#include "engine/settings.h"
#include "engine/snapshot_file.h"
#include "engine/snapshots.h"

#define ATTEMPTS 20 /* to be faster than the next checkpoint */

/* What is copied, and from where; files and directories are the storage's. */
struct copying {
    omen_engine *engine;
    omen_collection *collection;
    struct omen_snapshot_info info;
    uint32_t pin;
    bool pinned;
    int dir;        /* of the collection */
    int checkpoint; /* its file */
    char checkpoint_name[OMEN_CHECKPOINT_NAME_BYTES];
    uint64_t checkpoint_bytes;
    uint32_t slots;
    int folder;
};

static omen_code check_name(omen_engine *engine, const char *name, omen_error *err);
static omen_code pin_checkpoint(struct copying *copying, omen_error *err);
static omen_code read_state(struct copying *copying, omen_error *err);
static omen_code copy_files(struct copying *copying, omen_error *err);
static void let_go(struct copying *copying);

omen_code omen_snapshot_create(omen_engine *engine, const char *collection, const char *name,
                               struct omen_snapshot_info *info, omen_error *err)
{
    struct copying copying = {.engine = engine, .dir = -1, .checkpoint = -1, .folder = -1};
    omen_code code = omen_name_check(name, err);

    if (code == OMEN_OK)
        code = omen_collection_acquire(engine, collection, &copying.collection, err);
    if (code == OMEN_OK) code = check_name(engine, name, err);
    if (code == OMEN_OK) code = omen_snapshots_open(engine, true, &copying.folder, err);
    if (code == OMEN_OK) code = pin_checkpoint(&copying, err);
    if (code == OMEN_OK) {
        (void)snprintf(copying.info.name, sizeof copying.info.name, "%s", name);
        code = copy_files(&copying, err);
    }
    if (code == OMEN_OK) {
        *info = copying.info;
        omen_engine_tell(engine, OMEN_EVENT_INFO,
                         "snapshot '%s' of collection '%s': %" PRIu64 " points, %" PRIu64
                         " bytes, up to record %" PRIu64,
                         name, collection, info->points, info->bytes, info->log_position);
    }
    let_go(&copying);
    return code;
}

static omen_code check_name(omen_engine *engine, const char *name, omen_error *err)
{
    struct omen_snapshot_info *list = NULL;
    size_t count = 0;
    bool there = false;
    omen_code code = omen_snapshot_list(engine, &list, &count, err);

    if (code != OMEN_OK) return code;
    for (size_t i = 0; i < count; i++)
        there = there || strcmp(list[i].name, name) == 0;
    omen_snapshot_list_free(list);
    if (there)
        return omen_fail_because(err, OMEN_ALREADY_EXISTS, "SNAPSHOT_EXISTS",
                                 "snapshot '%s' exists", name);
    if (count >= OMEN_SNAPSHOTS_MAX)
        return omen_fail_because(err, OMEN_RESOURCE_EXHAUSTED, "SNAPSHOT_LIMIT",
                                 "there are %zu snapshots; that is the limit", count);
    return OMEN_OK;
}

/* Has a checkpoint written and holds on to it, unless another one came in between: then the slots
 * of the first may be used again by now, and the newer one is taken. */
static omen_code pin_checkpoint(struct copying *copying, omen_error *err)
{
    struct omen_storage *storage = copying->engine->storage;
    omen_collection *c = copying->collection;
    struct omen_manifest manifest;

    copying->dir = storage->ops->open_dir(storage, c->dir);
    if (copying->dir < 0) return omen_storage_fail(err, "open %s", c->dir);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        omen_code code = omen_collection_checkpoint(c, err);

        if (code != OMEN_OK) return code;
        copying->pin = omen_grace_enter(&c->grace);
        copying->pinned = true;
        code = omen_manifest_load(storage, copying->dir, &manifest, err);
        if (code != OMEN_OK) return code;
        if (manifest.count > 0 &&
            manifest.positions[0] ==
                atomic_load_explicit(&c->published.checkpoint_position, memory_order_acquire)) {
            copying->info.log_position = manifest.positions[0];
            return read_state(copying, err);
        }
        omen_grace_leave(&c->grace, copying->pin);
        copying->pinned = false;
    }
    return omen_fail(err, OMEN_UNAVAILABLE,
                     "checkpoints follow each other too fast for a snapshot: try again later");
}

/* Opens the checkpoint, and describes the snapshot by what it says. */
static omen_code read_state(struct copying *copying, omen_error *err)
{
    struct omen_storage *storage = copying->engine->storage;
    const omen_collection *c = copying->collection;
    struct omen_snapshot_info *info = &copying->info;
    const char *name = copying->checkpoint_name;
    struct omen_checkpoint_state state;
    struct omen_sections_reader reader;
    struct omen_collection_info now_has;
    struct omen_section section;
    struct timespec now;

    omen_checkpoint_name(info->log_position, copying->checkpoint_name);
    omen_code code =
        omen_sections_open(storage, copying->dir, name, info->log_position, &reader, err);
    if (code == OMEN_OK) code = omen_sections_next(&reader, &section, err);
    if (code == OMEN_OK &&
        (section.type != OMEN_CHECKPOINT_STATE || section.length != sizeof state))
        code = omen_fail(err, OMEN_DATA_LOSS, "%s does not begin with its state", name);
    if (code == OMEN_OK) code = omen_sections_read(&reader, &state, err);
    copying->checkpoint_bytes = reader.size;
    omen_sections_close(&reader);
    if (code != OMEN_OK) return code;
    copying->checkpoint = storage->ops->open(storage, copying->dir, name, O_RDONLY);
    if (copying->checkpoint < 0) return omen_storage_fail(err, "open %s", name);
    copying->slots = state.slots;
    info->points = state.points;
    info->algorithm_version = state.algorithm;
    omen_collection_get_info(copying->collection, &now_has);
    info->settings = now_has.settings;
    memcpy(info->collection, c->name, sizeof info->collection);
    memcpy(info->incarnation, c->incarnation, sizeof info->incarnation);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    info->created_unix_s = (uint64_t)now.tv_sec;
    return OMEN_OK;
}

static omen_code copy_files(struct copying *copying, omen_error *err)
{
    struct omen_storage *storage = copying->engine->storage;
    const struct omen_originals *originals = &copying->collection->originals;
    const uint64_t row_bytes = originals->row_bytes;
    char part[OMEN_SNAPSHOT_PART_NAME_BYTES];
    struct omen_snapshot_writer writer;
    omen_error why = {0};
    omen_code code = omen_snapshots_new_id(copying->info.id, part, err);

    if (code == OMEN_OK)
        code = omen_snapshots_check_room(
            copying->engine, copying->checkpoint_bytes + copying->slots * row_bytes, err);
    if (code != OMEN_OK) return code;
    code = omen_snapshot_write_begin(&writer, storage, copying->folder, part, &copying->info, err);
    if (code != OMEN_OK) return code;
    code = omen_snapshot_write_file(&writer, copying->checkpoint, copying->checkpoint_name,
                                    copying->checkpoint_bytes, &why);
    if (code == OMEN_OK)
        code =
            omen_snapshot_write_file(&writer, originals->file, omen_originals_name(originals->half),
                                     copying->slots * row_bytes, &why);
    if (code != OMEN_OK) {
        omen_snapshot_write_abandon(&writer);
        return omen_fail_because(err, code, why.reason, "snapshot '%s': %s", copying->info.name,
                                 why.message);
    }
    code = omen_snapshot_write_end(&writer, &copying->info.bytes, err);
    OMEN_FAULT_POINT("snapshot"); /* it is there, without its name */
    if (code == OMEN_OK)
        code =
            omen_snapshots_adopt(copying->engine, copying->folder, part, copying->info.name, err);
    if (code != OMEN_OK) (void)storage->ops->remove(storage, copying->folder, part);
    return code;
}

static void let_go(struct copying *copying)
{
    struct omen_storage *storage = copying->engine->storage;
    const int handles[] = {copying->checkpoint, copying->dir, copying->folder};

    if (copying->pinned) omen_grace_leave(&copying->collection->grace, copying->pin);
    for (size_t i = 0; i < sizeof handles / sizeof *handles; i++)
        if (handles[i] >= 0) storage->ops->close(storage, handles[i]);
    omen_collection_release(copying->collection);
}
