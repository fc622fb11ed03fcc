/* load_checkpoint.c - from which checkpoint a collection starts.
 *
 * The newest that the manifest names; if that is damaged the one before, which costs a longer
 * replay; if none is left, the log from its first record, where that has not been trimmed. A
 * manifest that is damaged, or missing beside a trimmed log, is made up for by what files there
 * are: one that has its name is whole, and the originals were synced before.
 *
 * Too little memory, or a file of a newer server, are no reason to take an older one: that would
 * only hide it.
 */
#include <inttypes.h>
#include <string.h>

#include "engine/checkpoint.h"
#include "engine/engine_state.h"

static omen_code find_files(omen_collection *c, int dir, const struct omen_log_report *log,
                            omen_error *err);
static omen_code load_newest(omen_collection *c, int dir, const struct omen_log_report *log,
                             omen_error *err);
static omen_code load_one(omen_collection *c, int dir, uint64_t position,
                          const struct omen_log_report *log, omen_error *err);

/* The directory's own name: all collections have files of the same names. */
static const char *place_of(const omen_collection *c)
{
    const char *slash = strrchr(c->dir, '/');

    return slash == NULL ? c->dir : slash + 1;
}

static void tell_damage(omen_collection *c, const char *what, const char *instead)
{
    c->checkpoints.info.damaged++;
    omen_engine_tell(c->engine, OMEN_EVENT_ERROR, "%s: %s; %s", place_of(c), what, instead);
}

omen_code omen_collection_load_checkpoint(omen_collection *collection,
                                          const struct omen_log_report *log, omen_error *err)
{
    omen_collection *c = collection;
    struct omen_storage *storage = omen_collection_storage(c);
    const int dir = storage->ops->open_dir(storage, c->dir);
    omen_code code;

    if (dir < 0) return omen_fail(err, OMEN_UNAVAILABLE, "open %s: %m", c->dir);
    code = find_files(c, dir, log, err);
    if (code == OMEN_OK) code = load_newest(c, dir, log, err);
    storage->ops->close(storage, dir);
    return code;
}

static omen_code find_files(omen_collection *c, int dir, const struct omen_log_report *log,
                            omen_error *err)
{
    struct omen_storage *storage = omen_collection_storage(c);
    struct omen_manifest *manifest = &c->checkpoints.manifest;
    omen_error why;
    omen_code code = omen_manifest_load(storage, dir, manifest, &why);

    if (code == OMEN_OK && (manifest->count > 0 || log->first_position == 1)) {
        omen_manifest_clean(storage, dir, manifest);
        return OMEN_OK;
    }
    if (code != OMEN_OK && code != OMEN_DATA_LOSS) return omen_fail(err, code, "%s", why.message);
    tell_damage(c, code == OMEN_OK ? "the manifest of checkpoints is missing" : why.message,
                "the files that are there are looked at instead");
    return omen_manifest_find(storage, dir, manifest, err);
}

static omen_code load_newest(omen_collection *c, int dir, const struct omen_log_report *log,
                             omen_error *err)
{
    struct omen_manifest *manifest = &c->checkpoints.manifest;
    omen_error why = {0};

    while (manifest->count > 0) {
        const uint64_t position = manifest->positions[0];
        omen_code code = load_one(c, dir, position, log, &why);

        if (code == OMEN_OK) {
            c->checkpoints.info.position = position;
            atomic_store(&c->checkpoints.file_position, position);
            return OMEN_OK;
        }
        omen_collection_empty(c);
        if (code == OMEN_RESOURCE_EXHAUSTED || code == OMEN_UNIMPLEMENTED)
            return omen_fail(err, code, "%s", why.message);
        /* The next one that is written counts beside one that is whole. */
        manifest->positions[0] = manifest->positions[1];
        manifest->positions[1] = 0;
        manifest->count--;
        tell_damage(c, why.message,
                    manifest->count > 0 ? "the older checkpoint is read instead"
                                        : "the log would have to be read from its beginning");
    }
    if (log->first_position == 1) return OMEN_OK;
    return omen_fail(err, OMEN_DATA_LOSS,
                     "the log begins at record %" PRIu64 ", and no checkpoint is whole%s%.140s",
                     log->first_position, why.message[0] == '\0' ? "" : ": ", why.message);
}

/* Where the log cannot go on from it, it is as good as damaged. */
static omen_code load_one(omen_collection *c, int dir, uint64_t position,
                          const struct omen_log_report *log, omen_error *err)
{
    omen_code code = omen_checkpoint_read(c, dir, position, err);

    if (code != OMEN_OK || (position + 1 >= log->first_position && position <= log->last_position))
        return code;
    return omen_fail(err, OMEN_DATA_LOSS,
                     "there is a checkpoint of record %" PRIu64 ", but the log has records %" PRIu64
                     " to %" PRIu64,
                     position, log->first_position, log->last_position);
}
