/* directory.c - see directory.h. */
#include "engine/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/memory.h"

#define PATH_BYTES 4096u
#define NAME_BYTES 128u

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text);
    size_t m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

/* A new directory survives power loss only once its parent is synced. */
static omen_code sync_parent(const char *path, omen_error *err)
{
    char copy[PATH_BYTES];
    omen_code code = OMEN_OK;
    int fd;

    (void)snprintf(copy, sizeof copy, "%s", path);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        code = omen_fail(err, OMEN_UNAVAILABLE, "sync the directory above %s: %s", path,
                         strerror(errno));
    if (fd >= 0) (void)close(fd);
    return code;
}

omen_code omen_directory_lock(const char *data_dir, int *fd, omen_error *err)
{
    char path[PATH_BYTES];

    *fd = -1;
    if (mkdir(data_dir, 0700) == 0) {
        omen_code code = sync_parent(data_dir, err);

        if (code != OMEN_OK) return code;
    } else if (errno != EEXIST) {
        return omen_fail(err, OMEN_UNAVAILABLE, "create the data directory %s: %s", data_dir,
                         strerror(errno));
    }
    (void)snprintf(path, sizeof path, "%s/LOCK", data_dir);
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0) return omen_fail(err, OMEN_UNAVAILABLE, "open %s: %s", path, strerror(errno));
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0) return OMEN_OK;
    (void)close(*fd);
    *fd = -1;
    return omen_fail(err, OMEN_FAILED_PRECONDITION,
                     "the data directory %s is in use by another process", data_dir);
}

void omen_directory_name(const uint8_t *incarnation, const char *state,
                         char out[OMEN_DIRECTORY_NAME_BYTES])
{
    for (size_t i = 0; i < OMEN_INCARNATION_BYTES; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", incarnation[i]);
    (void)snprintf(out + 2 * OMEN_INCARNATION_BYTES,
                   OMEN_DIRECTORY_NAME_BYTES - 2 * OMEN_INCARNATION_BYTES, "%s", state);
}

/* ---- what is in it --------------------------------------------------------------------------- */

/* The names in a directory, collected before anything is done about them: whoever lists a directory
 * must not change it. */
struct names {
    char (*at)[NAME_BYTES];
    size_t count, room;
    bool no_memory;
};

static bool note_name(void *user, const char *name)
{
    struct names *names = user;

    if (strlen(name) >= NAME_BYTES || name[0] == '.') return true; /* none of ours */
    if (names->count == names->room) {
        const size_t room = names->room == 0 ? 64 : 2 * names->room;
        char(*more)[NAME_BYTES] = omen_realloc(names->at, room * sizeof *more);

        names->no_memory = more == NULL;
        if (more == NULL) return false;
        names->at = more;
        names->room = room;
    }
    (void)snprintf(names->at[names->count++], NAME_BYTES, "%s", name);
    return true;
}

static omen_code list_names(struct omen_storage *storage, int dir, const char *path,
                            struct names *names, omen_error *err)
{
    *names = (struct names){.at = NULL};
    if (storage->ops->list(storage, dir, note_name, names) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "read %s: %m", path);
    if (names->no_memory)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the names of %zu files", names->count);
    return OMEN_OK;
}

static char *join(const char *data_dir, const char *name)
{
    const size_t size = strlen(data_dir) + strlen(name) + 2;
    char *path = omen_alloc(size);

    if (path != NULL) (void)snprintf(path, size, "%s/%s", data_dir, name);
    return path;
}

omen_code omen_directory_visit(struct omen_storage *storage, int dir, const char *data_dir,
                               omen_directory_visit_fn *visit, void *user, omen_error *err)
{
    struct names names;
    omen_code code = list_names(storage, dir, data_dir, &names, err);

    for (size_t i = 0; i < names.count && code == OMEN_OK; i++) {
        const char *name = names.at[i];

        if (ends_with(name, ".making") || ends_with(name, ".dropped")) {
            omen_directory_remove(storage, dir, data_dir, name);
        } else if (strlen(name) == 2 * OMEN_INCARNATION_BYTES) {
            char *path = join(data_dir, name);

            code = path == NULL ? omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a path")
                                : visit(user, path, err);
        } /* else somebody else's: lost+found, a note of the operator's */
    }
    omen_free(names.at);
    return code;
}

omen_code omen_directory_make(struct omen_storage *storage, int dir, const char *name,
                              omen_error *err)
{
    if (storage->ops->make_dir(storage, dir, name) == 0) return OMEN_OK;
    return omen_storage_fail(err, "create %s", name);
}

omen_code omen_directory_rename(struct omen_storage *storage, int dir, const char *from,
                                const char *to, omen_error *err)
{
    if (storage->ops->rename(storage, dir, from, to) != 0)
        return omen_storage_fail(err, "rename %s", from);
    if (storage->ops->sync(storage, dir, true) == 0) return OMEN_OK;
    const omen_code code = omen_fail(err, OMEN_UNAVAILABLE, "sync the data directory: %m");
    /* Whoever is told of a failure goes on under the old name. */
    (void)storage->ops->rename(storage, dir, to, from);
    return code;
}

void omen_directory_remove(struct omen_storage *storage, int dir, const char *data_dir,
                           const char *name)
{
    struct names names = {.at = NULL};
    char *path = join(data_dir, name);
    const int inside = path == NULL ? -1 : storage->ops->open_dir(storage, path);

    if (inside >= 0 && list_names(storage, inside, path, &names, NULL) == OMEN_OK)
        for (size_t i = 0; i < names.count; i++)
            (void)storage->ops->remove(storage, inside, names.at[i]);
    if (inside >= 0) storage->ops->close(storage, inside);
    (void)storage->ops->remove_dir(storage, dir, name);
    omen_free(names.at);
    omen_free(path);
}
