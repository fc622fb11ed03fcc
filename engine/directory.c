/* directory.c - see directory.h. */
#include "engine/directory.h"

#include <dirent.h>
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

omen_code omen_directory_visit(const char *data_dir,
                               omen_code (*visit)(void *user, char *path, omen_error *err),
                               void *user, omen_error *err)
{
    DIR *dir = opendir(data_dir);
    omen_code code = OMEN_OK;

    if (dir == NULL)
        return omen_fail(err, OMEN_UNAVAILABLE, "read %s: %s", data_dir, strerror(errno));
    for (struct dirent *entry = readdir(dir); entry != NULL && code == OMEN_OK;
         entry = readdir(dir)) {
        size_t size = strlen(data_dir) + strlen(entry->d_name) + 2;
        char *path;

        if (strcmp(entry->d_name, "LOCK") == 0 || entry->d_name[0] == '.') continue;
        path = omen_alloc(size);
        if (path == NULL) {
            code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a path of %zu bytes", size);
            break;
        }
        (void)snprintf(path, size, "%s/%s", data_dir, entry->d_name);
        if (ends_with(path, ".making") || ends_with(path, ".dropped")) {
            omen_directory_remove(path);
            omen_free(path);
        } else if (strlen(entry->d_name) == 2 * OMEN_INCARNATION_BYTES) {
            code = visit(user, path, err);
        } else {
            omen_free(path); /* somebody else's: lost+found, a note of the operator's */
        }
    }
    (void)closedir(dir);
    return code;
}

omen_code omen_directory_make(const char *path, omen_error *err)
{
    if (mkdir(path, 0700) == 0) return OMEN_OK;
    return omen_fail(err, OMEN_UNAVAILABLE, "create %s: %s", path, strerror(errno));
}

omen_code omen_directory_rename(const char *data_dir, const char *from, const char *to,
                                omen_error *err)
{
    omen_code code = OMEN_OK;
    const int fd = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) return omen_fail(err, OMEN_UNAVAILABLE, "open %s: %s", data_dir, strerror(errno));
    if (rename(from, to) != 0) {
        code = omen_fail(err, OMEN_UNAVAILABLE, "rename %s: %s", from, strerror(errno));
    } else if (fsync(fd) != 0) {
        code = omen_fail(err, OMEN_UNAVAILABLE, "sync %s: %s", data_dir, strerror(errno));
        (void)rename(to, from); /* whoever is told of a failure goes on under the old name */
    }
    (void)close(fd);
    return code;
}

void omen_directory_remove(const char *path)
{
    DIR *dir = opendir(path);

    if (dir == NULL) return;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    }
    (void)closedir(dir);
    (void)rmdir(path);
}
