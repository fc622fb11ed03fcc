/* offline.c - see offline.h. */
#include "engine/offline.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "engine/memory.h"
#include "engine/snapshot_file.h"

#define PATH_BYTES 4096u
#define NAME_BYTES 128u
#define FOLDER     "snapshots"
#define COPY_BYTES (1u << 20)

/* The lock of a server, taken without making its file: a copy of a data directory may have none, or
 * be on a disk that nobody may write to. */
static omen_code lock(struct omen_offline *offline, omen_error *err)
{
    char path[PATH_BYTES];

    (void)snprintf(path, sizeof path, "%s/LOCK", offline->data_dir);
    offline->lock = open(path, O_RDONLY | O_CLOEXEC);
    if (offline->lock < 0 && errno == ENOENT) return OMEN_OK;
    if (offline->lock < 0) return omen_fail(err, OMEN_UNAVAILABLE, "open %s: %m", path);
    if (flock(offline->lock, LOCK_EX | LOCK_NB) == 0) return OMEN_OK;
    return omen_fail(err, OMEN_FAILED_PRECONDITION,
                     "the data directory %s is in use by another process: stop the server first",
                     offline->data_dir);
}

omen_code omen_offline_open(struct omen_offline *offline, const char *data_dir, omen_error *err)
{
    offline->storage = omen_storage_files();
    offline->data_dir = data_dir;
    offline->lock = -1;
    offline->dir = offline->storage->ops->open_dir(offline->storage, data_dir);
    if (offline->dir < 0)
        return omen_fail(err, errno == ENOENT ? OMEN_NOT_FOUND : OMEN_UNAVAILABLE, "open %s: %m",
                         data_dir);
    return lock(offline, err);
}

void omen_offline_close(struct omen_offline *offline)
{
    if (offline->dir >= 0) offline->storage->ops->close(offline->storage, offline->dir);
    if (offline->lock >= 0) (void)close(offline->lock);
}

struct names {
    char (*at)[NAME_BYTES];
    size_t count, room;
    bool snapshots; /* what is wanted; else collections */
    bool no_memory;
};

static bool is_wanted(const struct names *names, const char *name)
{
    static const char end[] = ".snapshot";
    const size_t length = strlen(name);

    if (length >= NAME_BYTES) return false;
    if (names->snapshots) return length >= sizeof end && strcmp(name + length - 9, end) == 0;
    return length == 2u * OMEN_INCARNATION_BYTES && strspn(name, "0123456789abcdef") == length;
}

static bool note_name(void *user, const char *name)
{
    struct names *names = user;

    if (!is_wanted(names, name)) return true;
    if (names->count == names->room) {
        const size_t room = names->room * 2 + 16;
        char(*more)[NAME_BYTES] = omen_realloc(names->at, room * sizeof *more);

        names->no_memory = more == NULL;
        if (more == NULL) return false;
        names->at = more;
        names->room = room;
    }
    (void)snprintf(names->at[names->count++], NAME_BYTES, "%s", name);
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Sorted. names->at is freed by the caller, also after a failure. */
static omen_code list_names(struct omen_offline *offline, int dir, struct names *names,
                            omen_error *err)
{
    if (offline->storage->ops->list(offline->storage, dir, note_name, names) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "list %s: %m", offline->data_dir);
    if (names->no_memory)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the names of %zu files", names->count);
    if (names->count > 1) qsort(names->at, names->count, sizeof *names->at, by_name);
    return OMEN_OK;
}

omen_code omen_offline_visit(struct omen_offline *offline,
                             omen_code (*visit)(void *user, const char *name, omen_error *err),
                             void *user, omen_error *err)
{
    struct names names = {.at = NULL};
    omen_code code = list_names(offline, offline->dir, &names, err);

    for (size_t i = 0; i < names.count && code == OMEN_OK; i++)
        code = visit(user, names.at[i], err);
    omen_free(names.at);
    return code;
}

omen_code omen_offline_visit_snapshots(struct omen_offline *offline,
                                       omen_code (*visit)(void *user, int dir, const char *name,
                                                          omen_error *err),
                                       void *user, omen_error *err)
{
    struct names names = {.snapshots = true};
    char path[PATH_BYTES];
    omen_code code = OMEN_OK;

    (void)snprintf(path, sizeof path, "%s/" FOLDER, offline->data_dir);
    const int dir = offline->storage->ops->open_dir(offline->storage, path);
    if (dir < 0 && errno == ENOENT) return OMEN_OK;
    if (dir < 0) return omen_storage_fail(err, "open %s", path);
    code = list_names(offline, dir, &names, err);
    for (size_t i = 0; i < names.count && code == OMEN_OK; i++)
        code = visit(user, dir, names.at[i], err);
    omen_free(names.at);
    offline->storage->ops->close(offline->storage, dir);
    return code;
}

/* Blocks of zeros are left out: the file of originals has holes. */
static omen_code copy_bytes(struct omen_storage *storage, int from, int to, char *block,
                            omen_error *err)
{
    const int64_t size = storage->ops->size(storage, from);

    if (size < 0) return omen_fail(err, OMEN_UNAVAILABLE, "the size of a file: %m");
    for (uint64_t at = 0; at < (uint64_t)size;) {
        const ssize_t got = storage->ops->read(storage, from, block, COPY_BYTES, at);
        struct iovec part = {block, (size_t)got};
        uint64_t offset = at;

        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return omen_fail(err, OMEN_UNAVAILABLE, "read a file: %m");
        at += (uint64_t)got;
        if (block[0] == 0 && memcmp(block, block + 1, (size_t)got - 1) == 0) continue;
        const omen_code code = omen_storage_write_all(storage, to, &part, 1, &offset, err);
        if (code != OMEN_OK) return code;
    }
    if (storage->ops->truncate(storage, to, (uint64_t)size) != 0 ||
        storage->ops->sync(storage, to, true) != 0)
        return omen_storage_fail(err, "sync a copy");
    return OMEN_OK;
}

omen_code omen_offline_copy(struct omen_offline *offline, int from, int to, const char *name,
                            omen_error *err)
{
    struct omen_storage *storage = offline->storage;
    char *block = omen_alloc(COPY_BYTES);
    const int old = storage->ops->open(storage, from, name, O_RDONLY);
    const int made =
        old < 0 ? -1 : storage->ops->open(storage, to, name, O_RDWR | O_CREAT | O_EXCL);
    omen_error why = {0};
    omen_code code = OMEN_OK;

    if (made < 0)
        code = omen_storage_fail(&why, "open");
    else if (block == NULL)
        code = omen_fail(&why, OMEN_RESOURCE_EXHAUSTED, "no memory to copy");
    if (code == OMEN_OK) code = copy_bytes(storage, old, made, block, &why);
    if (code == OMEN_OK && storage->ops->sync(storage, to, true) != 0)
        code = omen_fail(&why, OMEN_UNAVAILABLE, "sync its directory: %m");
    if (made >= 0) storage->ops->close(storage, made);
    if (old >= 0) storage->ops->close(storage, old);
    omen_free(block);
    return code == OMEN_OK ? OMEN_OK : omen_fail(err, code, "copy %s: %s", name, why.message);
}

/* Checks the section that was announced, or looks for one behind a header that is damaged. */
static omen_code check_section(struct omen_offline *offline, struct omen_sections_reader *reader,
                               bool *ended, omen_error *err)
{
    struct omen_section section = {.type = OMEN_SECTION_END};
    bool found = true;
    omen_error why;
    omen_code code = omen_sections_next(reader, &section, &why);

    *ended = code == OMEN_OK && section.type == OMEN_SECTION_END;
    if (code == OMEN_OK && !*ended) {
        code = omen_sections_check(reader, &why);
        if (code == OMEN_DATA_LOSS) {
            omen_offline_damage(offline, FOLDER ": %s", why.message);
            return OMEN_OK;
        }
    } else if (code == OMEN_DATA_LOSS) {
        omen_offline_damage(offline, FOLDER ": %s", why.message);
        code = omen_sections_find(reader, &found, &why);
        *ended = !found;
    }
    return code == OMEN_OK ? OMEN_OK : omen_fail(err, code, "%s", why.message);
}

omen_code omen_offline_check_snapshot(struct omen_offline *offline, int dir, const char *name,
                                      uint64_t *bytes, omen_error *err)
{
    const struct omen_snapshot_place place = {offline->storage, dir, name, name};
    const uint64_t damages = offline->report->damages;
    struct omen_snapshot_info info;
    struct omen_sections_reader reader = {.file = -1};
    bool ended = false;
    omen_error why;
    omen_code code = omen_snapshot_read_info(&place, &info, &why);

    if (code == OMEN_DATA_LOSS) {
        omen_offline_damage(offline, FOLDER ": %s", why.message);
        return omen_fail(err, code, "%s", why.message); /* its stamp is not known for sure */
    }
    if (code != OMEN_OK) return omen_fail(err, code, "%s", why.message);
    *bytes = info.bytes;
    code =
        omen_sections_open(offline->storage, dir, name, omen_snapshot_stamp(info.id), &reader, err);
    while (code == OMEN_OK && !ended)
        code = check_section(offline, &reader, &ended, err);
    omen_sections_close(&reader);
    if (code == OMEN_OK && offline->report->damages > damages)
        code = omen_fail(err, OMEN_DATA_LOSS, "%s is damaged", name);
    return code;
}

static void tell(struct omen_offline *offline, bool damage, const char *format, va_list args)
{
    char sentence[OMEN_ERROR_MAX];

    (void)vsnprintf(sentence, sizeof sentence, format, args);
    if (damage) offline->report->damages++;
    if (offline->tell != NULL) offline->tell(offline->user, damage, sentence);
}

void omen_offline_damage(struct omen_offline *offline, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell(offline, true, format, args);
    va_end(args);
}

void omen_offline_note(struct omen_offline *offline, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell(offline, false, format, args);
    va_end(args);
}
