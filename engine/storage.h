/* storage.h - the few calls of a file system on which collections stand, so that tests can put
 * another one under them: one that refuses a call, is full, or loses power (storage_memory.h).
 *
 * The calls are those of POSIX in shape and meaning: -1 with errno when they fail, handles are
 * small numbers, a write may do less than was asked. What was written is durable after sync() of
 * the file, what was created, renamed or removed after sync() of the directory; before that power
 * loss may keep any part of it, in any order, but a rename is whole or not done.
 *
 * Threads: any; a handle is used by one at a time, but may be read beside its writer where nothing
 * is written.
 */
#ifndef OMEN_STORAGE_H
#define OMEN_STORAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "engine/status.h"

struct omen_storage;

/* Called with each name in a directory. False ends the listing. */
typedef bool omen_storage_name_fn(void *user, const char *name);

struct omen_storage_ops {
    int (*open_dir)(struct omen_storage *storage, const char *path);
    int (*list)(struct omen_storage *storage, int dir, omen_storage_name_fn *visit, void *user);
    int (*open)(struct omen_storage *storage, int dir, const char *name,
                int flags); /* of open(2) */
    int64_t (*size)(struct omen_storage *storage, int file);
    ssize_t (*read)(struct omen_storage *storage, int file, void *bytes, size_t count,
                    uint64_t offset);
    ssize_t (*write)(struct omen_storage *storage, int file, const struct iovec *parts,
                     int part_count, uint64_t offset);
    int (*truncate)(struct omen_storage *storage, int file, uint64_t size);
    /* `whole`: all of a file's metadata (fsync), else what reading needs (fdatasync). */
    int (*sync)(struct omen_storage *storage, int file_or_dir, bool whole);
    int (*rename)(struct omen_storage *storage, int dir, const char *from, const char *to);
    int (*remove)(struct omen_storage *storage, int dir, const char *name);
    int (*make_dir)(struct omen_storage *storage, int dir, const char *name);
    int (*remove_dir)(struct omen_storage *storage, int dir, const char *name); /* an empty one */
    /* Gives these bytes of the file room on the disk, and the file the size that it takes: writing
     * there does not fail for lack of room. EOPNOTSUPP where a file system cannot. */
    int (*allocate)(struct omen_storage *storage, int file, uint64_t offset, uint64_t count);
    /* Makes these bytes zeros, and gives whole blocks of them back. EOPNOTSUPP as above. */
    int (*punch)(struct omen_storage *storage, int file, uint64_t offset, uint64_t count);
    /* The file's bytes to read, as they are and as later writes leave them; NULL on failure. Only
     * what is inside the file may be touched, and holes only where the disk is not full: tmpfs
     * needs a page for them, and kills who reads when it has none. */
    void *(*map)(struct omen_storage *storage, int file, uint64_t offset, size_t count);
    void (*unmap)(struct omen_storage *storage, void *at, size_t count);
    /* What the file system of a directory still has for us, in bytes. */
    int64_t (*free_bytes)(struct omen_storage *storage, int dir);
    void (*close)(struct omen_storage *storage, int file_or_dir);
};

struct omen_storage {
    const struct omen_storage_ops *ops; /* an implementation's struct starts with this */
};

/* The file system. Static. */
struct omen_storage *omen_storage_files(void);

/* What a call's failure means, by errno: OMEN_RESOURCE_EXHAUSTED DISK_FULL when there is no room
 * (ENOSPC, EDQUOT), which may pass; else OMEN_UNAVAILABLE. The sentence ends with errno's text.
 * Whatever the errno of a sync: it is no lack of room that may pass (the kernel may have dropped
 * the pages), so failed syncs do not come here. */
OMEN_CHECKED OMEN_PRINTF(2, 3) omen_code
    omen_storage_fail(omen_error *err, const char *format, ...);

/* Reads *count bytes at `offset`, or what there is before the file's end. Says in *count how many
 * were read. Returns 0, or -1 with errno. */
int omen_storage_read_all(struct omen_storage *storage, int file, void *bytes, size_t *count,
                          uint64_t offset);

/* Writes all of the parts at *offset and moves it on. Changes the parts.
 * Fails: as omen_storage_fail(), with *offset where the writing stopped. */
OMEN_CHECKED omen_code omen_storage_write_all(struct omen_storage *storage, int file,
                                              struct iovec *parts, int part_count, uint64_t *offset,
                                              omen_error *err);

/* Makes a file with these contents, durable under its name or not there at all: written beside it
 * as <name>.new, synced, renamed, and the directory synced. Replaces an older one. Fails:
 * OMEN_UNAVAILABLE, then the old one or the new one is there; OMEN_RESOURCE_EXHAUSTED DISK_FULL,
 * then the old one is. */
OMEN_CHECKED omen_code omen_storage_replace(struct omen_storage *storage, int dir, const char *name,
                                            const void *bytes, size_t count, omen_error *err);

#endif
