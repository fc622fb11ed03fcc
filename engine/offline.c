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

#define PATH_BYTES 4096u
#define NAME_BYTES (2u * OMEN_INCARNATION_BYTES + 1u)

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
    bool no_memory;
};

static bool note_name(void *user, const char *name)
{
    struct names *names = user;

    if (strlen(name) != NAME_BYTES - 1 || strspn(name, "0123456789abcdef") != NAME_BYTES - 1)
        return true;
    if (names->count == names->room) {
        const size_t room = names->room * 2 + 16;
        char(*more)[NAME_BYTES] = omen_realloc(names->at, room * sizeof *more);

        names->no_memory = more == NULL;
        if (more == NULL) return false;
        names->at = more;
        names->room = room;
    }
    memcpy(names->at[names->count++], name, NAME_BYTES);
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

omen_code omen_offline_visit(struct omen_offline *offline,
                             omen_code (*visit)(void *user, const char *name, omen_error *err),
                             void *user, omen_error *err)
{
    struct names names = {.at = NULL};
    omen_code code = OMEN_OK;

    if (offline->storage->ops->list(offline->storage, offline->dir, note_name, &names) != 0)
        code = omen_fail(err, OMEN_UNAVAILABLE, "list %s: %m", offline->data_dir);
    else if (names.no_memory)
        code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the names of %zu collections", names.count);
    if (names.count > 1) qsort(names.at, names.count, sizeof *names.at, by_name);
    for (size_t i = 0; i < names.count && code == OMEN_OK; i++)
        code = visit(user, names.at[i], err);
    omen_free(names.at);
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
