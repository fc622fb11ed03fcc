/* storage_memory.c - see storage_memory.h.
 *
 * A file's changes since its last sync are kept in order. A sync applies them to the durable image;
 * a restart after a power cut makes of durable image and changes one of the many states that the
 * disk may be in. A call during which the power goes has recorded its change before: it may be
 * found done, in part or not at all, but nobody was told.
 *
 * What this does not do: pages that the kernel drops after a failed sync (here they stay, and a
 * later sync would cover them), and bytes that nobody wrote (here a lost sector has its old bytes,
 * or zeros).
 */
#include "engine/storage_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/memory.h"

#define SECTOR      512u
#define BLOCK       4096u /* what a file takes of the room at a time */
#define NAME_BYTES  64u
#define HANDLES_MAX 256

struct image {
    unsigned char *bytes;
    size_t size;
    size_t room;
};

/* A write, or a change of size. */
struct change {
    struct change *next;
    uint64_t size_after;
    uint64_t offset;
    size_t count; /* 0: a change of size */
    unsigned char bytes[];
};

/* Somebody reads this part of a file: later writes are copied here. */
struct mapping {
    struct mapping *next;
    unsigned char *at;
    uint64_t offset;
    size_t count;
};

struct file {
    struct file *next; /* of all files; freed with the storage */
    struct image now;
    struct mapping *mappings;
    unsigned char *blocks; /* for each, whether it takes room */
    size_t block_count;    /* as long as `blocks` is */
    uint32_t handles;
    struct image durable;
    struct change *changes; /* since the last sync, oldest first */
    struct change **changes_end;
    size_t change_count;
};

struct names {
    struct name {
        char text[NAME_BYTES];
        struct file *file; /* or: */
        struct dir *dir;
    } * at;
    size_t count;
};

/* `to` is given to the file or directory (both NULL: taken away), and `from`, if not empty, is
 * taken away. */
struct move {
    struct move *next;
    char from[NAME_BYTES];
    char to[NAME_BYTES];
    struct file *file;
    struct dir *dir;
};

struct dir {
    struct dir *next;
    char key[300]; /* of one that was not made here; else empty */
    struct names now;
    struct names durable;
    struct move *moves; /* since the last sync, oldest first */
    struct move **moves_end;
};

struct handle {
    struct file *file;
    struct dir *dir;
    bool taken;
    bool stale; /* from before a power cut */
};

struct memory {
    struct omen_storage base; /* must be first */
    pthread_mutex_t mutex;
    /* Under the mutex. */
    uint64_t random;
    struct file *files;
    struct dir *dirs;
    struct handle handles[HANDLES_MAX];
    struct omen_storage_faults faults;
    uint64_t changes; /* calls, since the faults were set */
    uint64_t failing; /* calls of fail_calls, since then */
    uint64_t room;    /* bytes */
    bool dead;
};

static int open_dir(struct omen_storage *storage, const char *path);
static int list(struct omen_storage *storage, int dir, omen_storage_name_fn *visit, void *user);
static int open_file(struct omen_storage *storage, int dir, const char *name, int flags);
static int64_t size_of(struct omen_storage *storage, int file);
static ssize_t read_at(struct omen_storage *storage, int file, void *bytes, size_t count,
                       uint64_t offset);
static ssize_t write_at(struct omen_storage *storage, int file, const struct iovec *parts,
                        int part_count, uint64_t offset);
static int truncate_file(struct omen_storage *storage, int file, uint64_t size);
static int sync_any(struct omen_storage *storage, int file_or_dir, bool whole);
static int rename_file(struct omen_storage *storage, int dir, const char *from, const char *to);
static int remove_file(struct omen_storage *storage, int dir, const char *name);
static int make_dir(struct omen_storage *storage, int dir, const char *name);
static int remove_dir(struct omen_storage *storage, int dir, const char *name);
static int allocate(struct omen_storage *storage, int file, uint64_t offset, uint64_t count);
static int punch(struct omen_storage *storage, int file, uint64_t offset, uint64_t count);
static void *map(struct omen_storage *storage, int file, uint64_t offset, size_t count);
static void unmap(struct omen_storage *storage, void *at, size_t count);
static int64_t free_bytes(struct omen_storage *storage, int dir);
static void close_any(struct omen_storage *storage, int file_or_dir);

static const struct omen_storage_ops memory_ops = {
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

static struct dir *find_dir(struct memory *m, const char *path);
static struct name *find_name(const struct names *names, const char *text);
static void forget_changes(struct file *file);
static void forget_moves(struct dir *dir);

static int fail(int code)
{
    errno = code;
    return -1;
}

static uint64_t next_random(struct memory *m)
{
    uint64_t x = m->random += 0x9e3779b97f4a7c15u;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static struct memory *lock(struct omen_storage *storage)
{
    struct memory *m = (struct memory *)storage;

    (void)pthread_mutex_lock(&m->mutex);
    return m;
}

/* The mutex's end, and the errno that the call has set. */
static void unlock(struct memory *m)
{
    const int code = errno;

    (void)pthread_mutex_unlock(&m->mutex);
    errno = code;
}

/* ---- making, faults ------------------------------------------------------------------------ */

omen_code omen_storage_memory_create(uint64_t seed, struct omen_storage **out, omen_error *err)
{
    struct memory *m = omen_alloc_zeroed(sizeof *m);

    *out = NULL;
    if (m == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a storage in memory");
    m->base.ops = &memory_ops;
    m->random = seed;
    m->room = UINT64_MAX;
    (void)pthread_mutex_init(&m->mutex, NULL);
    *out = &m->base;
    return OMEN_OK;
}

void omen_storage_memory_destroy(struct omen_storage *storage)
{
    struct memory *m = (struct memory *)storage;

    if (m == NULL) return;
    while (m->files != NULL) {
        struct file *file = m->files;

        m->files = file->next;
        forget_changes(file);
        while (file->mappings != NULL) {
            struct mapping *mapping = file->mappings;

            file->mappings = mapping->next;
            omen_pages_unmap(mapping->at, mapping->count);
            omen_free(mapping);
        }
        omen_free(file->blocks);
        omen_free(file->now.bytes);
        omen_free(file->durable.bytes);
        omen_free(file);
    }
    while (m->dirs != NULL) {
        struct dir *dir = m->dirs;

        m->dirs = dir->next;
        forget_moves(dir);
        omen_free(dir->now.at);
        omen_free(dir->durable.at);
        omen_free(dir);
    }
    (void)pthread_mutex_destroy(&m->mutex);
    omen_free(m);
}

void omen_storage_memory_set_faults(struct omen_storage *storage,
                                    const struct omen_storage_faults *faults)
{
    struct memory *m = lock(storage);

    m->faults = *faults;
    m->changes = 0;
    m->failing = 0;
    unlock(m);
}

uint64_t omen_storage_memory_changes(struct omen_storage *storage)
{
    struct memory *m = lock(storage);
    const uint64_t changes = m->changes;

    unlock(m);
    return changes;
}

bool omen_storage_memory_is_dead(struct omen_storage *storage)
{
    struct memory *m = lock(storage);
    const bool dead = m->dead;

    unlock(m);
    return dead;
}

/* At the start of a call: 0, or the errno with which it is refused. */
static int refusal(struct memory *m, enum omen_storage_call call)
{
    if (m->dead) return EIO;
    if ((m->faults.fail_calls & call) != 0 && ++m->failing == m->faults.fail_at)
        return m->faults.fail_errno;
    return 0;
}

/* At the end of a change: does the power go during it? Then nobody hears that it was done. */
static int end_change(struct memory *m)
{
    if (++m->changes != m->faults.cut_at) return 0;
    m->dead = true;
    return fail(EIO);
}

/* ---- images -------------------------------------------------------------------------------- */

/* What lies between the old size and a larger one is zero. */
static bool resize(struct image *image, uint64_t size)
{
    if (size > image->room) {
        const size_t room = size < 2 * image->room ? 2 * image->room : (size_t)size + 256;
        unsigned char *more = omen_realloc(image->bytes, room);

        if (more == NULL) return false;
        image->bytes = more;
        image->room = room;
    }
    if (size > image->size) memset(image->bytes + image->size, 0, (size_t)size - image->size);
    image->size = (size_t)size;
    return true;
}

static bool apply(struct image *image, const struct change *change)
{
    if (change->count == 0) return resize(image, change->size_after);
    if (change->offset + change->count > image->size &&
        !resize(image, change->offset + change->count))
        return false;
    memcpy(image->bytes + change->offset, change->bytes, change->count);
    return true;
}

static void forget_changes(struct file *file)
{
    while (file->changes != NULL) {
        struct change *change = file->changes;

        file->changes = change->next;
        omen_free(change);
    }
    file->changes_end = &file->changes;
    file->change_count = 0;
}

/* What has changed of the file's bytes, to whoever reads them. */
static void show(const struct file *file, const struct change *change)
{
    for (const struct mapping *m = file->mappings; m != NULL; m = m->next) {
        const uint64_t end = change->offset + change->count;
        const uint64_t from = change->offset > m->offset ? change->offset : m->offset;
        const uint64_t to = end < m->offset + m->count ? end : m->offset + m->count;

        if (from < to)
            memcpy(m->at + (from - m->offset), change->bytes + (from - change->offset),
                   (size_t)(to - from));
    }
}

/* Takes `change`, with its bytes; NULL means that there was no memory for it. */
static bool record(struct file *file, struct change *change)
{
    if (change == NULL) return false;
    const uint64_t end = change->offset + change->count;
    if (change->count > 0) change->size_after = end > file->now.size ? end : file->now.size;
    if (!apply(&file->now, change)) {
        omen_free(change);
        return false;
    }
    show(file, change);
    change->next = NULL;
    *file->changes_end = change;
    file->changes_end = &change->next;
    file->change_count++;
    return true;
}

/* ---- room ---------------------------------------------------------------------------------- */

static bool is_named(const struct memory *m, const struct file *file)
{
    for (const struct dir *dir = m->dirs; dir != NULL; dir = dir->next)
        for (size_t i = 0; i < dir->now.count; i++)
            if (dir->now.at[i].file == file) return true;
    return false;
}

static uint64_t blocks_used(const struct memory *m)
{
    uint64_t used = 0;

    for (const struct file *file = m->files; file != NULL; file = file->next) {
        if (file->handles == 0 && !is_named(m, file)) continue;
        for (size_t i = 0; i < file->block_count; i++)
            used += file->blocks[i];
    }
    return used;
}

/* Makes the file's list of blocks cover `end` bytes. */
static bool list_blocks(struct file *file, uint64_t end)
{
    const size_t count = (size_t)((end + BLOCK - 1) / BLOCK);
    unsigned char *more = file->blocks;

    if (count <= file->block_count) return true;
    more = omen_realloc(file->blocks, count);
    if (more == NULL) return false;
    memset(more + file->block_count, 0, count - file->block_count);
    file->blocks = more;
    file->block_count = count;
    return true;
}

/* Takes room for a part of a file; returns for how much of it there was some. */
static size_t take_room(const struct memory *m, struct file *file, uint64_t offset, size_t count)
{
    const bool bounded = m->room != UINT64_MAX;
    uint64_t used = bounded ? blocks_used(m) : 0;

    if (!list_blocks(file, offset + count)) return 0;
    for (uint64_t at = offset / BLOCK; at * BLOCK < offset + count; at++) {
        if (file->blocks[at] != 0) continue;
        if (bounded && (used + 1) * BLOCK > m->room)
            return at * BLOCK > offset ? (size_t)(at * BLOCK - offset) : 0;
        file->blocks[at] = 1;
        used++;
    }
    return count;
}

/* The whole blocks between two offsets. */
static void give_room(struct file *file, uint64_t from, uint64_t end)
{
    for (uint64_t at = (from + BLOCK - 1) / BLOCK;
         at < file->block_count && (at + 1) * BLOCK <= end; at++)
        file->blocks[at] = 0;
}

void omen_storage_memory_set_room(struct omen_storage *storage, uint64_t bytes)
{
    struct memory *m = lock(storage);

    m->room = bytes;
    unlock(m);
}

uint64_t omen_storage_memory_used(struct omen_storage *storage)
{
    struct memory *m = lock(storage);
    const uint64_t used = blocks_used(m) * BLOCK;

    unlock(m);
    return used;
}

/* ---- what is left of a file ---------------------------------------------------------------- */

/* A sector as it was after `count` of the changes that touch it. */
static void build_sector(const struct file *file, uint64_t at, size_t count,
                         unsigned char sector[SECTOR])
{
    memset(sector, 0, SECTOR);
    if (at < file->durable.size) {
        const size_t left = file->durable.size - (size_t)at;
        memcpy(sector, file->durable.bytes + at, left < SECTOR ? left : SECTOR);
    }
    for (const struct change *c = file->changes; c != NULL && count > 0; c = c->next) {
        if (c->count == 0) {
            if (c->size_after >= at + SECTOR) continue;
            const size_t keep = c->size_after > at ? (size_t)(c->size_after - at) : 0;
            memset(sector + keep, 0, SECTOR - keep);
        } else {
            if (c->offset >= at + SECTOR || c->offset + c->count <= at) continue;
            const uint64_t from = c->offset > at ? c->offset : at;
            const uint64_t end =
                c->offset + c->count < at + SECTOR ? c->offset + c->count : at + SECTOR;
            memcpy(sector + (from - at), c->bytes + (from - c->offset), (size_t)(end - from));
        }
        count--;
    }
}

static size_t count_touching(const struct file *file, uint64_t at)
{
    size_t count = 0;

    for (const struct change *c = file->changes; c != NULL; c = c->next)
        count += c->count == 0 ? c->size_after < at + SECTOR
                               : c->offset < at + SECTOR && c->offset + c->count > at;
    return count;
}

/* How many of n changes come through, where `luck` of 4 come through whole. */
static size_t survivors(struct memory *m, uint64_t luck, size_t n)
{
    if (next_random(m) % 4 < luck) return n;
    return (size_t)(next_random(m) % (n + 1));
}

/* One of the states in which the disk may have the file. */
static bool survive(struct memory *m, struct file *file)
{
    const uint64_t luck = next_random(m) % 5;
    struct image left = {NULL, 0, 0};
    uint64_t size = file->durable.size;
    size_t moment = survivors(m, luck, file->change_count);

    for (const struct change *c = file->changes; c != NULL && moment > 0; c = c->next, moment--)
        size = c->size_after;
    if (!resize(&left, size)) return false;
    for (uint64_t at = 0; at < size; at += SECTOR) {
        unsigned char sector[SECTOR];
        const size_t n = count_touching(file, at);
        const size_t bytes = size - at < SECTOR ? (size_t)(size - at) : SECTOR;

        build_sector(file, at, n == 0 ? 0 : survivors(m, luck, n), sector);
        memcpy(left.bytes + at, sector, bytes);
    }
    forget_changes(file);
    omen_free(file->durable.bytes);
    file->durable = left;
    file->now.size = 0;
    if (!resize(&file->now, size) || !list_blocks(file, size)) return false;
    if (size > 0) memcpy(file->now.bytes, left.bytes, (size_t)size);
    for (size_t i = 0; i < file->block_count; i++)
        file->blocks[i] = i * BLOCK < size;
    return true;
}

/* ---- names --------------------------------------------------------------------------------- */

static struct name *find_name(const struct names *names, const char *text)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->at[i].text, text) == 0) return &names->at[i];
    return NULL;
}

static void take_away(struct names *names, const char *text)
{
    struct name *name = find_name(names, text);

    if (name != NULL) *name = names->at[--names->count];
}

static bool give(struct names *names, const char *text, struct file *file, struct dir *dir)
{
    struct name *name = find_name(names, text);

    if (name == NULL) {
        struct name *more = omen_realloc(names->at, (names->count + 1) * sizeof *more);
        if (more == NULL) return false;
        names->at = more;
        name = &more[names->count++];
        (void)snprintf(name->text, sizeof name->text, "%s", text);
    }
    name->file = file;
    name->dir = dir;
    return true;
}

static bool apply_move(struct names *names, const struct move *move)
{
    if (move->from[0] != 0) take_away(names, move->from);
    if (move->file != NULL || move->dir != NULL)
        return give(names, move->to, move->file, move->dir);
    take_away(names, move->to);
    return true;
}

static void forget_moves(struct dir *dir)
{
    while (dir->moves != NULL) {
        struct move *move = dir->moves;

        dir->moves = move->next;
        omen_free(move);
    }
    dir->moves_end = &dir->moves;
}

/* `moved` is what `to` stands for from now on: its file or its directory, or nothing. */
static bool move_name(struct dir *dir, const char *from, const char *to, struct name moved)
{
    struct move *move = omen_alloc_zeroed(sizeof *move);

    if (move == NULL) return false;
    (void)snprintf(move->from, sizeof move->from, "%s", from);
    (void)snprintf(move->to, sizeof move->to, "%s", to);
    move->file = moved.file;
    move->dir = moved.dir;
    if (!apply_move(&dir->now, move)) {
        omen_free(move);
        return false;
    }
    *dir->moves_end = move;
    dir->moves_end = &move->next;
    return true;
}

static bool copy_names(const struct names *from, struct names *to)
{
    to->count = 0;
    for (size_t i = 0; i < from->count; i++)
        if (!give(to, from->at[i].text, from->at[i].file, from->at[i].dir)) return false;
    return true;
}

omen_code omen_storage_memory_restart(struct omen_storage *storage, omen_error *err)
{
    struct memory *m = lock(storage);
    bool done = true;

    for (struct dir *dir = m->dirs; dir != NULL; dir = dir->next) {
        const uint64_t luck = next_random(m) % 5;
        for (const struct move *move = dir->moves; move != NULL; move = move->next)
            if (next_random(m) % 4 < luck) done = done && apply_move(&dir->durable, move);
        forget_moves(dir);
        done = done && copy_names(&dir->durable, &dir->now);
    }
    for (struct file *file = m->files; file != NULL; file = file->next)
        if (file->changes != NULL) done = done && survive(m, file);
    for (int i = 0; i < HANDLES_MAX; i++)
        m->handles[i].stale = m->handles[i].taken;
    m->faults = (struct omen_storage_faults){0};
    m->dead = false;
    unlock(m);
    return done ? OMEN_OK : omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "memory after a power cut");
}

unsigned char *omen_storage_memory_bytes(struct omen_storage *storage, const char *path,
                                         const char *name, size_t *size)
{
    struct memory *m = lock(storage);
    unsigned char *bytes = NULL;
    const struct dir *dir = find_dir(m, path);
    const struct name *found = dir == NULL ? NULL : find_name(&dir->now, name);

    *size = 0;
    if (found != NULL) {
        bytes = found->file->now.bytes;
        *size = found->file->now.size;
    }
    unlock(m);
    return bytes;
}

/* ---- the calls ----------------------------------------------------------------------------- */

static int take_handle(struct memory *m, struct file *file, struct dir *dir)
{
    for (int i = 0; i < HANDLES_MAX; i++) {
        if (m->handles[i].taken) continue;
        m->handles[i] = (struct handle){.file = file, .dir = dir, .taken = true};
        if (file != NULL) file->handles++;
        return i;
    }
    return fail(EMFILE);
}

static struct file *file_of(struct memory *m, int handle)
{
    const struct handle *h = &m->handles[handle];

    return h->taken && !h->stale ? h->file : NULL;
}

static struct dir *dir_of(struct memory *m, int handle)
{
    const struct handle *h = &m->handles[handle];

    return h->taken && !h->stale ? h->dir : NULL;
}

static struct dir *create_dir(struct memory *m, const char *key)
{
    struct dir *dir = omen_alloc_zeroed(sizeof *dir);

    if (dir == NULL) return NULL;
    (void)snprintf(dir->key, sizeof dir->key, "%s", key);
    dir->moves_end = &dir->moves;
    dir->next = m->dirs;
    m->dirs = dir;
    return dir;
}

/* By the file system's directory, or by the path alone. */
static struct dir *find_keyed(const struct memory *m, const char *path, char *key, size_t room)
{
    struct stat status;

    if (stat(path, &status) == 0)
        (void)snprintf(key, room, "%ju %ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    else
        (void)snprintf(key, room, "%s", path);
    for (struct dir *dir = m->dirs; dir != NULL; dir = dir->next)
        if (strcmp(dir->key, key) == 0) return dir;
    return NULL;
}

/* The directory of a path, made if it is the first of one; NULL if it is not in the one above it.
 */
static struct dir *find_dir(struct memory *m, const char *path)
{
    char key[sizeof m->dirs->key];
    char above[sizeof m->dirs->key];
    struct dir *dir = find_keyed(m, path, key, sizeof key);
    const char *slash = strrchr(path, '/');

    if (dir != NULL || slash == NULL) return dir != NULL ? dir : create_dir(m, key);
    (void)snprintf(above, sizeof above, "%.*s", (int)(slash - path), path);
    char ignored[sizeof key];
    dir = find_keyed(m, above, ignored, sizeof ignored);
    if (dir == NULL) return create_dir(m, key);
    const struct name *name = find_name(&dir->now, slash + 1);
    return name == NULL ? NULL : name->dir;
}

static int open_dir(struct omen_storage *storage, const char *path)
{
    struct memory *m = lock(storage);
    const int code = refusal(m, OMEN_STORAGE_OPEN);
    int handle = -1;

    if (code != 0) {
        handle = fail(code);
    } else {
        struct dir *dir = find_dir(m, path);
        handle = dir == NULL ? fail(ENOENT) : take_handle(m, NULL, dir);
    }
    unlock(m);
    return handle;
}

static int list(struct omen_storage *storage, int dir_handle, omen_storage_name_fn *visit,
                void *user)
{
    struct memory *m = lock(storage);
    const struct dir *dir = dir_of(m, dir_handle);
    const int code = dir == NULL ? EBADF : refusal(m, OMEN_STORAGE_READ);

    for (size_t i = 0; code == 0 && i < dir->now.count; i++)
        if (!visit(user, dir->now.at[i].text)) break;
    unlock(m);
    return code == 0 ? 0 : fail(code);
}

static struct file *create(struct memory *m, struct dir *dir, const char *name)
{
    struct file *file = omen_alloc_zeroed(sizeof *file);

    if (file == NULL) return NULL;
    file->changes_end = &file->changes;
    if (!move_name(dir, "", name, (struct name){.file = file})) {
        omen_free(file);
        return NULL;
    }
    file->next = m->files;
    m->files = file;
    return file;
}

static bool set_size(struct file *file, uint64_t size)
{
    struct change *change = omen_alloc_zeroed(sizeof *change);

    if (change != NULL) change->size_after = size;
    return record(file, change);
}

static int open_file(struct omen_storage *storage, int dir_handle, const char *name, int flags)
{
    struct memory *m = lock(storage);
    struct dir *dir = dir_of(m, dir_handle);
    const struct name *found = dir == NULL ? NULL : find_name(&dir->now, name);
    struct file *file = found == NULL ? NULL : found->file;
    int code = dir == NULL ? EBADF : refusal(m, OMEN_STORAGE_OPEN);

    if (code == 0 && strlen(name) >= NAME_BYTES) code = ENAMETOOLONG;
    if (code == 0 && found != NULL && file == NULL) code = EISDIR;
    if (code == 0 && file != NULL && (flags & O_EXCL) != 0) code = EEXIST;
    if (code == 0 && file == NULL && (flags & O_CREAT) == 0) code = ENOENT;
    if (code == 0 && file == NULL) {
        file = create(m, dir, name);
        if (file == NULL) code = ENOMEM;
    } else if (code == 0 && (flags & O_TRUNC) != 0) {
        if (!set_size(file, 0)) code = ENOMEM;
        give_room(file, 0, UINT64_MAX);
    }
    const int handle = code == 0 ? take_handle(m, file, NULL) : fail(code);
    unlock(m);
    return handle;
}

static int64_t size_of(struct omen_storage *storage, int handle)
{
    struct memory *m = lock(storage);
    const struct file *file = file_of(m, handle);
    const int code = file == NULL ? EBADF : refusal(m, OMEN_STORAGE_READ);
    const int64_t size = code == 0 ? (int64_t)file->now.size : fail(code);

    unlock(m);
    return size;
}

static size_t shorten(struct memory *m, size_t count)
{
    if (!m->faults.short_transfers || count < 2 || next_random(m) % 2 == 0) return count;
    return 1 + (size_t)(next_random(m) % (count - 1));
}

static ssize_t read_at(struct omen_storage *storage, int handle, void *bytes, size_t count,
                       uint64_t offset)
{
    struct memory *m = lock(storage);
    const struct file *file = file_of(m, handle);
    const int code = file == NULL ? EBADF : refusal(m, OMEN_STORAGE_READ);
    ssize_t got = code == 0 ? 0 : fail(code);

    if (code == 0 && offset < file->now.size) {
        const size_t left = file->now.size - (size_t)offset;
        got = (ssize_t)shorten(m, left < count ? left : count);
        memcpy(bytes, file->now.bytes + offset, (size_t)got);
    }
    unlock(m);
    return got;
}

static struct change *gather(const struct iovec *parts, int part_count, uint64_t offset,
                             size_t count)
{
    struct change *change = omen_alloc(sizeof *change + count);
    size_t done = 0;

    if (change == NULL) return NULL;
    *change = (struct change){.offset = offset, .count = count};
    for (int i = 0; i < part_count && done < count; i++) {
        const size_t left = count - done;
        const size_t step = parts[i].iov_len < left ? parts[i].iov_len : left;
        if (step > 0) memcpy(change->bytes + done, parts[i].iov_base, step);
        done += step;
    }
    return change;
}

static ssize_t write_at(struct omen_storage *storage, int handle, const struct iovec *parts,
                        int part_count, uint64_t offset)
{
    struct memory *m = lock(storage);
    struct file *file = file_of(m, handle);
    const int code = file == NULL ? EBADF : refusal(m, OMEN_STORAGE_WRITE);
    size_t count = 0;
    ssize_t written = code == 0 ? 0 : fail(code);

    for (int i = 0; i < part_count; i++)
        count += parts[i].iov_len;
    if (code == 0 && count > 0) {
        count = take_room(m, file, offset, shorten(m, count));
        written = count > 0 && record(file, gather(parts, part_count, offset, count))
                      ? (ssize_t)count
                      : fail(ENOSPC);
    }
    if (written >= 0 && end_change(m) != 0) written = -1;
    unlock(m);
    return written;
}

static int truncate_file(struct omen_storage *storage, int handle, uint64_t size)
{
    struct memory *m = lock(storage);
    struct file *file = file_of(m, handle);
    int code = file == NULL ? EBADF : refusal(m, OMEN_STORAGE_TRUNCATE);

    if (code == 0 && !set_size(file, size)) code = ENOSPC;
    if (code == 0) give_room(file, size, UINT64_MAX);
    const int result = code == 0 ? end_change(m) : fail(code);
    unlock(m);
    return result;
}

static bool make_durable(struct file *file, struct dir *dir)
{
    if (file != NULL) {
        for (const struct change *c = file->changes; c != NULL; c = c->next)
            if (!apply(&file->durable, c)) return false;
        forget_changes(file);
    } else {
        for (const struct move *move = dir->moves; move != NULL; move = move->next)
            if (!apply_move(&dir->durable, move)) return false;
        forget_moves(dir);
    }
    return true;
}

/* When the power goes during a sync, what it should cover is there in part. */
static int sync_any(struct omen_storage *storage, int handle, bool whole)
{
    struct memory *m = lock(storage);
    struct file *file = file_of(m, handle);
    struct dir *dir = dir_of(m, handle);
    const int code = file == NULL && dir == NULL ? EBADF : refusal(m, OMEN_STORAGE_SYNC);

    (void)whole;
    int result = code == 0 ? end_change(m) : fail(code);
    if (result == 0 && !make_durable(file, dir)) result = fail(EIO);
    unlock(m);
    return result;
}

static int rename_file(struct omen_storage *storage, int dir_handle, const char *from,
                       const char *to)
{
    struct memory *m = lock(storage);
    struct dir *dir = dir_of(m, dir_handle);
    const struct name *name = dir == NULL ? NULL : find_name(&dir->now, from);
    int code = dir == NULL ? EBADF : refusal(m, OMEN_STORAGE_RENAME);

    if (code == 0 && name == NULL) code = ENOENT;
    if (code == 0 && !move_name(dir, from, to, *name)) code = ENOMEM;
    const int result = code == 0 ? end_change(m) : fail(code);
    unlock(m);
    return result;
}

static int remove_file(struct omen_storage *storage, int dir_handle, const char *name)
{
    struct memory *m = lock(storage);
    struct dir *dir = dir_of(m, dir_handle);
    int code = dir == NULL ? EBADF : refusal(m, OMEN_STORAGE_REMOVE);

    const struct name *found = dir == NULL ? NULL : find_name(&dir->now, name);
    if (code == 0 && (found == NULL || found->file == NULL)) code = ENOENT;
    if (code == 0 && !move_name(dir, "", name, (struct name){.file = NULL})) code = ENOMEM;
    const int result = code == 0 ? end_change(m) : fail(code);
    unlock(m);
    return result;
}

static int make_dir(struct omen_storage *storage, int dir_handle, const char *name)
{
    struct memory *m = lock(storage);
    struct dir *dir = dir_of(m, dir_handle);
    struct dir *made = NULL;
    int code = dir == NULL ? EBADF : refusal(m, OMEN_STORAGE_OPEN);

    if (code == 0 && strlen(name) >= NAME_BYTES) code = ENAMETOOLONG;
    if (code == 0 && find_name(&dir->now, name) != NULL) code = EEXIST;
    if (code == 0) {
        made = create_dir(m, "");
        if (made == NULL || !move_name(dir, "", name, (struct name){.dir = made})) code = ENOMEM;
    }
    unlock(m);
    return code == 0 ? 0 : fail(code);
}

static int remove_dir(struct omen_storage *storage, int dir_handle, const char *name)
{
    struct memory *m = lock(storage);
    struct dir *dir = dir_of(m, dir_handle);
    const struct name *found = dir == NULL ? NULL : find_name(&dir->now, name);
    int code = dir == NULL ? EBADF : refusal(m, OMEN_STORAGE_REMOVE);

    if (code == 0 && (found == NULL || found->dir == NULL)) code = ENOENT;
    if (code == 0 && found->dir->now.count > 0) code = ENOTEMPTY;
    if (code == 0 && !move_name(dir, "", name, (struct name){.dir = NULL})) code = ENOMEM;
    const int result = code == 0 ? end_change(m) : fail(code);
    unlock(m);
    return result;
}

static int allocate(struct omen_storage *storage, int handle, uint64_t offset, uint64_t count)
{
    struct memory *m = lock(storage);
    struct file *file = file_of(m, handle);
    int code = file == NULL ? EBADF : refusal(m, OMEN_STORAGE_ALLOCATE);

    if (code == 0 && take_room(m, file, offset, (size_t)count) < count) code = ENOSPC;
    if (code == 0 && offset + count > file->now.size && !set_size(file, offset + count))
        code = ENOSPC;
    const int result = code == 0 ? end_change(m) : fail(code);
    unlock(m);
    return result;
}

static int punch(struct omen_storage *storage, int handle, uint64_t offset, uint64_t count)
{
    struct memory *m = lock(storage);
    struct file *file = file_of(m, handle);
    int code = file == NULL ? EBADF : refusal(m, OMEN_STORAGE_WRITE);

    if (code == 0 && offset + count > file->now.size)
        count = offset < file->now.size ? file->now.size - offset : 0;
    if (code == 0 && count > 0) {
        struct change *zeros = omen_alloc_zeroed(sizeof *zeros + (size_t)count);

        if (zeros != NULL) *zeros = (struct change){.offset = offset, .count = (size_t)count};
        if (!record(file, zeros)) code = ENOMEM;
        give_room(file, offset, offset + count);
    }
    const int result = code == 0 ? end_change(m) : fail(code);
    unlock(m);
    return result;
}

static void *map(struct omen_storage *storage, int handle, uint64_t offset, size_t count)
{
    struct memory *m = lock(storage);
    struct file *file = file_of(m, handle);
    const int code = file == NULL ? EBADF : refusal(m, OMEN_STORAGE_READ);
    struct mapping *mapping = code == 0 ? omen_alloc(sizeof *mapping) : NULL;
    unsigned char *at = mapping == NULL ? NULL : omen_pages_map(count);

    if (at != NULL) {
        *mapping = (struct mapping){file->mappings, at, offset, count};
        file->mappings = mapping;
        if (offset < file->now.size) {
            const size_t left = file->now.size - (size_t)offset;
            memcpy(at, file->now.bytes + offset, left < count ? left : count);
        }
    } else {
        omen_free(mapping);
        errno = code == 0 ? ENOMEM : code;
    }
    unlock(m);
    return at;
}

static void unmap(struct omen_storage *storage, void *at, size_t count)
{
    struct memory *m = lock(storage);

    for (struct file *file = m->files; file != NULL; file = file->next) {
        for (struct mapping **link = &file->mappings; *link != NULL; link = &(*link)->next) {
            struct mapping *mapping = *link;

            if (mapping->at != at) continue;
            *link = mapping->next;
            omen_pages_unmap(at, count);
            omen_free(mapping);
            unlock(m);
            return;
        }
    }
    unlock(m);
}

static int64_t free_bytes(struct omen_storage *storage, int dir_handle)
{
    struct memory *m = lock(storage);
    const int code = dir_of(m, dir_handle) == NULL ? EBADF : refusal(m, OMEN_STORAGE_READ);
    const uint64_t used = blocks_used(m) * BLOCK;
    const uint64_t left = used < m->room ? m->room - used : 0;

    unlock(m);
    if (code != 0) return fail(code);
    return left > INT64_MAX ? INT64_MAX : (int64_t)left;
}

static void close_any(struct omen_storage *storage, int handle)
{
    struct memory *m = lock(storage);

    if (m->handles[handle].file != NULL) m->handles[handle].file->handles--;
    m->handles[handle] = (struct handle){0};
    unlock(m);
}
