/* storage.h - the few calls of a file system on which the log stands, so that tests can put another
 * one under it: one that refuses a call, or loses power (storage_memory.h).
 *
 * The calls are those of POSIX in shape and meaning: -1 with errno when they fail, handles are
 * small numbers, a write may do less than was asked. What was written is durable after sync() of
 * the file, what was created, renamed or removed after sync() of the directory; before that power
 * loss may keep any part of it, in any order, but a rename is whole or not done.
 *
 * Threads: any; a handle is used by one at a time.
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
    void (*close)(struct omen_storage *storage, int file_or_dir);
};

struct omen_storage {
    const struct omen_storage_ops *ops; /* an implementation's struct starts with this */
};

/* The file system. Static. */
struct omen_storage *omen_storage_files(void);

/* Writes all of the parts at *offset and moves it on. Changes the parts.
 * Fails: OMEN_UNAVAILABLE, with *offset where the writing stopped. */
OMEN_CHECKED omen_code omen_storage_write_all(struct omen_storage *storage, int file,
                                              struct iovec *parts, int part_count, uint64_t *offset,
                                              omen_error *err);

/* Makes a file with these contents, durable under its name or not there at all: written beside it
 * as <name>.new, synced, renamed, and the directory synced. Replaces an older one. Fails:
 * OMEN_UNAVAILABLE; then the old one or the new one is there. */
OMEN_CHECKED omen_code omen_storage_replace(struct omen_storage *storage, int dir, const char *name,
                                            const void *bytes, size_t count, omen_error *err);

#endif
