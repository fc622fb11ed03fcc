/* keeping_storage.c - see keeping_storage.h. */
#include "tests/durability/keeping_storage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 64

static struct omen_storage *inner_of(struct omen_storage *storage)
{
    return ((struct keeping_storage *)storage)->inner;
}

static int open_dir(struct omen_storage *s, const char *path)
{
    return inner_of(s)->ops->open_dir(inner_of(s), path);
}
static int list(struct omen_storage *s, int dir, omen_storage_name_fn *visit, void *user)
{
    return inner_of(s)->ops->list(inner_of(s), dir, visit, user);
}
static int open_file(struct omen_storage *s, int dir, const char *name, int flags)
{
    return inner_of(s)->ops->open(inner_of(s), dir, name, flags);
}
static int64_t size_of(struct omen_storage *s, int file)
{
    return inner_of(s)->ops->size(inner_of(s), file);
}
static ssize_t read_at(struct omen_storage *s, int file, void *bytes, size_t count, uint64_t offset)
{
    return inner_of(s)->ops->read(inner_of(s), file, bytes, count, offset);
}
static ssize_t write_at(struct omen_storage *s, int file, const struct iovec *parts, int part_count,
                        uint64_t offset)
{
    return inner_of(s)->ops->write(inner_of(s), file, parts, part_count, offset);
}
static int truncate_file(struct omen_storage *s, int file, uint64_t size)
{
    return inner_of(s)->ops->truncate(inner_of(s), file, size);
}
static int sync_any(struct omen_storage *s, int file_or_dir, bool whole)
{
    return inner_of(s)->ops->sync(inner_of(s), file_or_dir, whole);
}
static int rename_file(struct omen_storage *s, int dir, const char *from, const char *to)
{
    return inner_of(s)->ops->rename(inner_of(s), dir, from, to);
}
static int make_dir(struct omen_storage *s, int dir, const char *name)
{
    return inner_of(s)->ops->make_dir(inner_of(s), dir, name);
}
static int remove_dir(struct omen_storage *s, int dir, const char *name)
{
    return inner_of(s)->ops->remove_dir(inner_of(s), dir, name);
}
static int allocate(struct omen_storage *s, int file, uint64_t offset, uint64_t count)
{
    return inner_of(s)->ops->allocate(inner_of(s), file, offset, count);
}
static int punch(struct omen_storage *s, int file, uint64_t offset, uint64_t count)
{
    return inner_of(s)->ops->punch(inner_of(s), file, offset, count);
}
static void *map(struct omen_storage *s, int file, uint64_t offset, size_t count)
{
    return inner_of(s)->ops->map(inner_of(s), file, offset, count);
}
static void unmap(struct omen_storage *s, void *at, size_t count)
{
    inner_of(s)->ops->unmap(inner_of(s), at, count);
}
static int64_t free_bytes(struct omen_storage *s, int dir)
{
    return inner_of(s)->ops->free_bytes(inner_of(s), dir);
}
static void close_any(struct omen_storage *s, int file_or_dir)
{
    inner_of(s)->ops->close(inner_of(s), file_or_dir);
}

static unsigned char *read_whole(struct omen_storage *s, int dir, const char *name, size_t *size)
{
    const int file = s->ops->open(s, dir, name, O_RDONLY);
    unsigned char *bytes = NULL;

    *size = 0;
    if (file < 0) return NULL;
    const int64_t all = s->ops->size(s, file);
    if (all >= 0) bytes = malloc((size_t)all + 1);
    while (bytes != NULL && *size < (size_t)all) {
        const ssize_t got = s->ops->read(s, file, bytes + *size, (size_t)all - *size, *size);

        if (got <= 0) break;
        *size += (size_t)got;
    }
    s->ops->close(s, file);
    if (bytes != NULL && all >= 0 && *size == (size_t)all) return bytes;
    free(bytes);
    return NULL;
}

/* A file that comes back after a power cut is removed again: the first copy does. */
static int remove_file(struct omen_storage *s, int dir, const char *name)
{
    struct keeping_storage *keeping = (struct keeping_storage *)s;
    struct kept_file *there = keeping->files;

    while (there != NULL && strcmp(there->name, name) != 0)
        there = there->next;
    if (strncmp(name, "log-", 4) == 0 && there == NULL) {
        size_t size = 0;
        unsigned char *bytes = read_whole(keeping->inner, dir, name, &size);

        if (bytes != NULL) {
            there = calloc(1, sizeof *there);
            assert_non_null(there);
            (void)snprintf(there->name, sizeof there->name, "%s", name);
            there->bytes = bytes;
            there->size = size;
            there->next = keeping->files;
            keeping->files = there;
        }
    }
    return keeping->inner->ops->remove(keeping->inner, dir, name);
}

void keeping_storage_init(struct keeping_storage *keeping, struct omen_storage *inner)
{
    static const struct omen_storage_ops ops = {
        .open_dir = open_dir,
        .list = list,
        .open = open_file,
        .size = size_of,
        .read = read_at,
        .write = write_at,
        .truncate = truncate_file,
        .sync = sync_any,
        .rename = rename_file,
        .remove = remove_file,
        .make_dir = make_dir,
        .remove_dir = remove_dir,
        .allocate = allocate,
        .punch = punch,
        .map = map,
        .unmap = unmap,
        .free_bytes = free_bytes,
        .close = close_any,
    };

    *keeping = (struct keeping_storage){.base = {.ops = &ops}, .inner = inner};
}

void keeping_storage_deinit(struct keeping_storage *keeping)
{
    while (keeping->files != NULL) {
        struct kept_file *file = keeping->files;

        keeping->files = file->next;
        free(file->bytes);
        free(file);
    }
}

/* ---- copying ------------------------------------------------------------------------------- */

struct names {
    char names[NAMES_MAX][64];
    uint32_t count;
};

static bool note(void *user, const char *name)
{
    struct names *names = user;

    if (strncmp(name, "log-", 4) != 0) return true;
    assert_true(names->count < NAMES_MAX);
    (void)snprintf(names->names[names->count++], 64, "%s", name);
    return true;
}

static void put(struct omen_storage *s, int dir, const char *name, unsigned char *bytes,
                size_t size)
{
    const int file = s->ops->open(s, dir, name, O_RDWR | O_CREAT | O_TRUNC);
    struct iovec part = {bytes, size};
    uint64_t offset = 0;

    assert_true(file >= 0);
    assert_int_equal(omen_storage_write_all(s, file, &part, 1, &offset, NULL), OMEN_OK);
    s->ops->close(s, file);
}

void keeping_storage_copy_log(struct keeping_storage *keeping, const char *from,
                              struct omen_storage *to_storage, const char *to_parent,
                              const char *name)
{
    struct omen_storage *s = keeping->inner;
    struct names names = {.count = 0};
    char path[700];
    const int parent = to_storage->ops->open_dir(to_storage, to_parent);
    const int dir = s->ops->open_dir(s, from);

    assert_true(parent >= 0 && dir >= 0);
    assert_int_equal(to_storage->ops->make_dir(to_storage, parent, name), 0);
    (void)snprintf(path, sizeof path, "%s/%s", to_parent, name);
    const int to = to_storage->ops->open_dir(to_storage, path);
    assert_true(to >= 0);
    for (struct kept_file *file = keeping->files; file != NULL; file = file->next)
        put(to_storage, to, file->name, file->bytes, file->size);
    assert_int_equal(s->ops->list(s, dir, note, &names), 0);
    for (uint32_t i = 0; i < names.count; i++) {
        size_t size = 0;
        unsigned char *bytes = read_whole(s, dir, names.names[i], &size);

        assert_non_null(bytes);
        put(to_storage, to, names.names[i], bytes, size);
        free(bytes);
    }
    s->ops->close(s, dir);
    to_storage->ops->close(to_storage, to);
    to_storage->ops->close(to_storage, parent);
}
