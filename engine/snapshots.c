/* snapshots.c - the folder of snapshots: listing, reading, deleting; see engine.h and snapshots.h.
 *
 * There is no table of them in memory: the folder is the truth, a name appears in it by one rename
 * and goes by one removal, both under the engine's snapshots_mutex, and whoever has a file open
 * goes on reading it.
 */
#include "engine/snapshots.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/engine_state.h"
#include "engine/memory.h"
#include "engine/settings.h"
#include "engine/snapshot_file.h"

#define PATH_BYTES 4096u
#define FOLDER     "snapshots"
#define END        ".snapshot"

struct omen_snapshot_source {
    struct omen_storage *storage;
    int file;
};

/* Names of entries, collected before anything is done about them. */
struct names {
    char (*at)[OMEN_SNAPSHOT_FILE_NAME_BYTES];
    size_t count, room;
    bool parts; /* what is wanted: unfinished ones, or snapshots */
    bool no_memory;
};

static omen_code list_names(const omen_engine *engine, int dir, bool parts, struct names *names,
                            omen_error *err);

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text);
    const size_t m = strlen(end);

    return n > m && strcmp(text + n - m, end) == 0;
}

omen_code omen_snapshots_open(const omen_engine *engine, bool make, int *dir, omen_error *err)
{
    struct omen_storage *storage = engine->storage;
    char path[PATH_BYTES];
    bool made = false;

    (void)snprintf(path, sizeof path, "%s/" FOLDER, engine->data_dir);
    if (make) made = storage->ops->make_dir(storage, engine->dir, FOLDER) == 0;
    *dir = storage->ops->open_dir(storage, path);
    if (*dir < 0 && errno == ENOENT && !make) return OMEN_OK;
    if (*dir < 0) return omen_storage_fail(err, "open %s", path);
    /* The folder's own name must survive as well. */
    if (!made || storage->ops->sync(storage, engine->dir, true) == 0) return OMEN_OK;
    const omen_code code = omen_fail(err, OMEN_UNAVAILABLE, "sync %s: %m", engine->data_dir);
    storage->ops->close(storage, *dir);
    *dir = -1;
    return code;
}

void omen_snapshots_clean(omen_engine *engine)
{
    struct names names = {.at = NULL};
    omen_error err;
    int dir = -1;

    if (omen_snapshots_open(engine, false, &dir, &err) != OMEN_OK || dir < 0) return;
    if (list_names(engine, dir, true, &names, &err) == OMEN_OK)
        for (size_t i = 0; i < names.count; i++)
            (void)engine->storage->ops->remove(engine->storage, dir, names.at[i]);
    omen_free(names.at);
    engine->storage->ops->close(engine->storage, dir);
}

omen_code omen_snapshots_new_id(uint8_t id[OMEN_SNAPSHOT_ID_BYTES],
                                char part[OMEN_SNAPSHOT_PART_NAME_BYTES], omen_error *err)
{
    if (getrandom(id, OMEN_SNAPSHOT_ID_BYTES, 0) != (ssize_t)OMEN_SNAPSHOT_ID_BYTES)
        return omen_fail(err, OMEN_UNAVAILABLE, "no random bytes for a snapshot");
    for (size_t i = 0; i < OMEN_SNAPSHOT_ID_BYTES; i++)
        (void)snprintf(part + 2 * i, 3, "%02x", id[i]);
    memcpy(part + (size_t)2 * OMEN_SNAPSHOT_ID_BYTES, ".part", sizeof ".part");
    return OMEN_OK;
}

omen_code omen_snapshots_check_room(omen_engine *engine, uint64_t bytes, omen_error *err)
{
    const uint64_t left = omen_room_free_bytes(&engine->room); /* 0: nobody knows */

    if (left == 0 || left >= engine->room.reserve + bytes) return OMEN_OK;
    return omen_fail_because(err, OMEN_RESOURCE_EXHAUSTED, "DISK_FULL",
                             "%" PRIu64 " bytes more on the disk are needed and %" PRIu64
                             " are free, of which %" PRIu64 " are reserved",
                             bytes, left, engine->room.reserve);
}

void omen_snapshots_file_name(const char *name, char out[OMEN_SNAPSHOT_FILE_NAME_BYTES])
{
    (void)snprintf(out, OMEN_SNAPSHOT_FILE_NAME_BYTES, "%.*s" END, (int)OMEN_NAME_BYTES_MAX, name);
}

/* Fails: OMEN_NOT_FOUND SNAPSHOT_NOT_FOUND, OMEN_UNAVAILABLE. */
static omen_code open_snapshot(const omen_engine *engine, int dir, const char *name, int *file,
                               omen_error *err)
{
    char entry[OMEN_SNAPSHOT_FILE_NAME_BYTES];
    omen_error why;

    *file = -1;
    errno = ENOENT;
    omen_snapshots_file_name(name, entry);
    if (dir >= 0 && omen_name_check(name, &why) == OMEN_OK)
        *file = engine->storage->ops->open(engine->storage, dir, entry, O_RDONLY);
    if (*file >= 0) return OMEN_OK;
    if (errno != ENOENT) return omen_storage_fail(err, "open " FOLDER "/%s", entry);
    return omen_fail_because(err, OMEN_NOT_FOUND, "SNAPSHOT_NOT_FOUND",
                             "snapshot '%.*s' does not exist", (int)OMEN_NAME_BYTES_MAX, name);
}

omen_code omen_snapshots_adopt(omen_engine *engine, int dir, const char *part, const char *name,
                               omen_error *err)
{
    struct omen_storage *storage = engine->storage;
    char entry[OMEN_SNAPSHOT_FILE_NAME_BYTES];
    omen_error why;
    int file = -1;
    omen_code code = OMEN_OK;

    omen_snapshots_file_name(name, entry);
    (void)pthread_mutex_lock(&engine->snapshots_mutex);
    if (open_snapshot(engine, dir, name, &file, &why) == OMEN_OK) {
        storage->ops->close(storage, file);
        code = omen_fail_because(err, OMEN_ALREADY_EXISTS, "SNAPSHOT_EXISTS",
                                 "snapshot '%s' exists", name);
    } else if (storage->ops->rename(storage, dir, part, entry) != 0) {
        code = omen_storage_fail(err, "rename " FOLDER "/%s", part);
    } else if (storage->ops->sync(storage, dir, true) != 0) {
        code = omen_fail(err, OMEN_UNAVAILABLE, "sync " FOLDER ": %m");
        (void)storage->ops->remove(storage, dir, entry); /* who is told so finds nothing */
    }
    (void)pthread_mutex_unlock(&engine->snapshots_mutex);
    return code;
}

/* ---- listing ------------------------------------------------------------------------------ */

static bool note_name(void *user, const char *name)
{
    struct names *names = user;
    const bool part = ends_with(name, ".part") || ends_with(name, ".part.new");

    if (names->parts ? !part : !ends_with(name, END)) return true;
    if (strlen(name) >= sizeof names->at[0]) return true; /* none of ours */
    if (names->count == names->room) {
        const size_t room = names->room * 2 + 16;
        char(*more)[OMEN_SNAPSHOT_FILE_NAME_BYTES] = omen_realloc(names->at, room * sizeof *more);

        names->no_memory = more == NULL;
        if (more == NULL) return false;
        names->at = more;
        names->room = room;
    }
    (void)snprintf(names->at[names->count++], sizeof names->at[0], "%s", name);
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Sorted. *names is freed by the caller, also after a failure. */
static omen_code list_names(const omen_engine *engine, int dir, bool parts, struct names *names,
                            omen_error *err)
{
    *names = (struct names){.parts = parts};
    if (engine->storage->ops->list(engine->storage, dir, note_name, names) != 0)
        return omen_storage_fail(err, "list " FOLDER);
    if (names->no_memory)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the names of %zu snapshots", names->count);
    if (names->count > 1) qsort(names->at, names->count, sizeof names->at[0], by_name);
    return OMEN_OK;
}

/* False: it is gone, or its name is none. */
static bool describe(const omen_engine *engine, int dir, const char *entry,
                     struct omen_snapshot_info *info)
{
    const struct omen_snapshot_place place = {engine->storage, dir, entry, entry};
    char name[OMEN_NAME_BYTES_MAX + 1] = "";
    omen_error why;
    int file = -1;

    memcpy(name, entry, strlen(entry) - strlen(END));
    if (omen_name_check(name, &why) != OMEN_OK) return false;
    if (open_snapshot(engine, dir, name, &file, &why) != OMEN_OK) return false;
    const int64_t size = engine->storage->ops->size(engine->storage, file);
    engine->storage->ops->close(engine->storage, file);
    if (omen_snapshot_read_info(&place, info, &why) != OMEN_OK)
        *info = (struct omen_snapshot_info){.bytes = size < 0 ? 0 : (uint64_t)size};
    memcpy(info->name, name, sizeof name); /* the file's name is the one that counts */
    return true;
}

omen_code omen_snapshot_list(omen_engine *engine, struct omen_snapshot_info **out, size_t *count,
                             omen_error *err)
{
    struct names names = {.at = NULL};
    int dir = -1;
    omen_code code = omen_snapshots_open(engine, false, &dir, err);

    *out = NULL;
    *count = 0;
    if (code != OMEN_OK || dir < 0) return code;
    code = list_names(engine, dir, false, &names, err);
    if (code == OMEN_OK) *out = omen_alloc((names.count + 1) * sizeof **out);
    if (code == OMEN_OK && *out == NULL)
        code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a list of snapshots");
    for (size_t i = 0; code == OMEN_OK && i < names.count; i++)
        if (describe(engine, dir, names.at[i], &(*out)[*count])) ++*count;
    omen_free(names.at);
    engine->storage->ops->close(engine->storage, dir);
    return code;
}

void omen_snapshot_list_free(struct omen_snapshot_info *list)
{
    omen_free(list);
}

/* ---- reading, deleting -------------------------------------------------------------------- */

omen_code omen_snapshot_delete(omen_engine *engine, const char *name, omen_error *err)
{
    struct omen_storage *storage = engine->storage;
    char entry[OMEN_SNAPSHOT_FILE_NAME_BYTES];
    int file = -1;
    int dir = -1;
    omen_code code = omen_snapshots_open(engine, false, &dir, err);

    if (code != OMEN_OK) return code;
    (void)pthread_mutex_lock(&engine->snapshots_mutex);
    code = open_snapshot(engine, dir, name, &file, err);
    if (code == OMEN_OK) {
        storage->ops->close(storage, file);
        omen_snapshots_file_name(name, entry);
        if (storage->ops->remove(storage, dir, entry) != 0)
            code = omen_storage_fail(err, "remove " FOLDER "/%s", entry);
        else if (storage->ops->sync(storage, dir, true) != 0)
            code = omen_fail(err, OMEN_UNAVAILABLE, "sync " FOLDER ": %m");
    }
    (void)pthread_mutex_unlock(&engine->snapshots_mutex);
    if (dir >= 0) storage->ops->close(storage, dir);
    if (code == OMEN_OK) omen_engine_tell(engine, OMEN_EVENT_INFO, "snapshot '%s' deleted", name);
    return code;
}

omen_code omen_snapshot_verify(omen_engine *engine, const char *name,
                               struct omen_snapshot_info *info, omen_error *err)
{
    char entry[OMEN_SNAPSHOT_FILE_NAME_BYTES];
    int file = -1;
    int dir = -1;
    omen_code code = omen_snapshots_open(engine, false, &dir, err);

    if (code == OMEN_OK) code = open_snapshot(engine, dir, name, &file, err);
    if (code == OMEN_OK) {
        omen_snapshots_file_name(name, entry);
        const struct omen_snapshot_place place = {engine->storage, dir, entry, entry};
        code = omen_snapshot_read(&place, info, NULL, NULL, err);
        engine->storage->ops->close(engine->storage, file);
    }
    if (dir >= 0) engine->storage->ops->close(engine->storage, dir);
    return code;
}

omen_code omen_snapshot_source_open(omen_engine *engine, const char *name,
                                    omen_snapshot_source **out, struct omen_snapshot_info *info,
                                    omen_error *err)
{
    struct omen_storage *storage = engine->storage;
    char entry[OMEN_SNAPSHOT_FILE_NAME_BYTES];
    int file = -1;
    int dir = -1;
    omen_code code = omen_snapshots_open(engine, false, &dir, err);

    *out = NULL;
    if (code != OMEN_OK) return code;
    omen_snapshots_file_name(name, entry);
    const struct omen_snapshot_place place = {storage, dir, entry, entry};
    (void)pthread_mutex_lock(&engine->snapshots_mutex); /* both are of the same file */
    code = open_snapshot(engine, dir, name, &file, err);
    if (code == OMEN_OK) code = omen_snapshot_read_info(&place, info, err);
    (void)pthread_mutex_unlock(&engine->snapshots_mutex);
    if (code == OMEN_OK) *out = omen_alloc(sizeof **out);
    if (code == OMEN_OK && *out == NULL)
        code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory to read a snapshot");
    if (code == OMEN_OK)
        **out = (struct omen_snapshot_source){storage, file};
    else if (file >= 0)
        storage->ops->close(storage, file);
    if (dir >= 0) storage->ops->close(storage, dir);
    return code;
}

omen_code omen_snapshot_source_read(omen_snapshot_source *source, uint64_t offset, void *bytes,
                                    size_t *count, omen_error *err)
{
    if (omen_storage_read_all(source->storage, source->file, bytes, count, offset) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "read a snapshot at offset %" PRIu64 ": %m",
                         offset + *count);
    return OMEN_OK;
}

void omen_snapshot_source_close(omen_snapshot_source *source)
{
    if (source == NULL) return;
    source->storage->ops->close(source->storage, source->file);
    omen_free(source);
}
